// Package rpctest makes the calls of a program under test go wrong: requests and
// replies are lost, delayed and repeated, on either side, as a seed says.
//
// A [Faults] gives interceptors for package rpc's clients and servers. What
// happens to a call is decided by a hash of the seed, the side, the method and
// the number of the attempt among those of its method, never by a generator that
// goroutines share: the n-th attempt of a method meets the same fate in every
// run, whatever else goes on. [Faults.Counts] tells how often each fault took
// place, so that a test can assert that it has tested something.
//
//	faults, err := rpctest.New(rpctest.Config{Seed: seed, DropRequest: 0.1, DropReply: 0.1})
//	client, err := rpc.NewClient(rpc.ClientConfig{…, Interceptors: []rpc.ClientInterceptor{faults.Client}})
//	… calls …
//	if faults.Counts().DroppedReplies == 0 {
//		t.Error("no reply was lost: nothing was tested")
//	}
//
// # What each fault means
//
// On a client, a dropped request is an attempt that fails without having been
// sent, and a dropped reply one whose answer is thrown away; either looks like a
// connection that broke, with the outcome unknown. A repeated request is sent a
// second time when it has been answered.
//
// On a server, a dropped request is refused (not executed), and a dropped reply
// is replaced by an error that leaves the outcome unknown. An rpc.SessionTable
// stands before the server's interceptors, so it keeps that error as the call's
// result. A repeated request runs the handler a second time.
//
// Calls that promise at most one execution are never repeated: no connection
// repeats a request, only callers do. On a server that goes for exactly-once
// calls too, unless Config.Guarded says that a machine behind a log tells the
// repetitions.
//
// Connections that break, hosts that crash and networks that fall apart are
// transport.Network's to make.
package rpctest
