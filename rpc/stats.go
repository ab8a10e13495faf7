package rpc

import "sync/atomic"

// counters are what a client or server counts over all its connections.
type counters struct {
	_     [64]byte
	calls atomic.Uint64 // of a client
	_     [64]byte      // calls changes all the time

	failures, retries, redirects          atomic.Uint64
	conns, openConns, rejected, panics    atomic.Int64
	streams, bytesIn, bytesOut, overloads atomic.Int64

	// A server's calls and streams. Readers count the one and workers the other,
	// so they are apart, each in a cache line of its own.
	_        [64]byte
	started  atomic.Uint64
	_        [64]byte
	finished atomic.Uint64
	_        [64]byte
}

// running returns how many calls and streams are running. If none can start any
// more, it is exact when it is 0.
func (c *counters) running() int64 {
	finished := c.finished.Load()
	return int64(c.started.Load() - finished)
}

// ClientStats are counts since the client was made, but for those that say now.
type ClientStats struct {
	Calls     uint64 // unary calls of which an attempt has ended, each once however often it was sent
	Failures  uint64 // calls that returned an error
	Retries   uint64 // attempts beyond a call's first
	Redirects uint64 // redirects followed
	Streams   int64  // streams opened
	Conns     int64  // connections made
	OpenConns int64  // connections open now
	Panics    int64  // panics of connections, in their Read, Write, Close or handshake
	BytesIn   int64  // bytes read from connections
	BytesOut  int64  // bytes handed to connections
}

// ServerStats are counts since the server was made, but for those that say now.
type ServerStats struct {
	Calls     uint64 // requests that reached a handler
	Failures  uint64 // requests answered with an error
	Panics    int64  // panics of handlers, and of connections in their Read, Write, Close or handshake
	Overloads int64  // requests refused by a limit or budget
	Streams   int64  // streams accepted
	Conns     int64  // connections accepted
	Rejected  int64  // connections that failed their handshake or came beyond MaxConns
	OpenConns int64  // connections open now
	Running   int64  // handlers running now, and long responses being sent
	HeldBytes int64  // bytes held of the budget now
	BytesIn   int64  // bytes read from connections
	BytesOut  int64  // bytes handed to connections
}
