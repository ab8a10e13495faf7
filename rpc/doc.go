// Package rpc makes remote calls: typed calls with one of three semantics, raw
// bodies that are not copied more than needed, and ordered streams, all
// multiplexed on one connection of any transport.Transport. The three systems of
// this module stand on it.
//
//	s, err := rpc.NewServer(rpc.ServerConfig{})
//	rpc.Handle(s, "Greet", func(ctx context.Context, req *Req) (*Resp, error) { … })
//	addr, err := s.Listen(ctx, t, ":7101")
//
//	c, err := rpc.NewClient(rpc.ClientConfig{Transport: t, Addrs: []string{"host:7101"}})
//	resp, err := rpc.Call[Resp](ctx, c, "Greet", &Req{…})
//
// # Semantics
//
// What can be promised about the execution of a request, when requests, replies
// and servers can be lost, is chosen call by call:
//
//   - At most once: Call(ctx, client, …). One try. The error says whether the
//     request was certainly not executed (ErrNotExecuted) or may have been
//     (ErrOutcomeUnknown). This is what Go's net/rpc gives, less the first case.
//   - At least once: Call(ctx, client.AtLeastOnce(), …). Tried again, with
//     growing random pauses, until there is an answer, ctx ends or the client is
//     closed. An error that the next attempt would meet too ends the call at once:
//     ErrNoMethod, ErrMessage, ErrTooLarge; of a handshake ErrSecret, ErrCluster,
//     ErrVersion and ErrNode, if every address answers so. For handlers that may run
//     twice without harm.
//   - Exactly once: Call(ctx, client.ExactlyOnce(), …). Tried again likewise, but
//     each request carries ⟨client id, sequence⟩, and the server's duplicate
//     table answers a repetition with the first execution's result. It also
//     carries the watermark X below which the client needs no answer any more,
//     so that the table can forget; a repetition of a call that is running waits
//     for it, or is told to come back (SessionTableConfig.NoWait). Ids are issued
//     by the server's side, and never twice.
//
// "Exactly once" has two strengths, and the difference is what a crash of the
// server can do.
//
// If a handler's effect is a command in a log, the table belongs into the machine
// that the log drives: SessionMachine puts it there, and a Guard proposes the
// commands. The effect, its result and the fact that it was executed are then one
// log entry: they survive together or not at all, on every replica, and exactly
// once holds across every crash and fail-over for which the log holds.
//
// If a handler has other effects (a file written, another service called), a
// SessionTable stands beside it. Without a directory it lives in memory: exactly
// once holds while the process lives, and a repetition across its death ends with
// ErrSessionExpired. With one, it syncs a record before the handler runs and
// another before the answer leaves. A crash between the two leaves a call of
// which nobody can know whether its effect took place; the table then answers
// ErrOutcomeUnknown and never runs the call again. So such a table promises: at
// most once always, exactly once without a crash in the middle of the handler,
// and it tells which.
//
// # Messages
//
// Requests and responses are pointers to structs. If the pointer type implements
// both encoding.BinaryAppender and encoding.BinaryUnmarshaler, a message is what
// these append and take; otherwise it is the JSON of the exported fields, by package
// encoding/json: less to write, and slower. Only one of the two is a mistake, half a
// codec: Server.Listen reports it for the types of the handlers, and at a client the
// call fails. Methods that a struct has from a field embedded in it count as its own.
// Both ends must use the same encoding, for nothing on the wire names it. Empty is the
// message without fields.
//
//	type Req struct{ Key string }
//
//	func (r *Req) AppendBinary(b []byte) ([]byte, error) { return append(b, r.Key...), nil }
//	func (r *Req) UnmarshalBinary(b []byte) error        { r.Key = string(b); return nil }
//
// AppendBinary appends to a buffer of the connection's, and may be called again for
// another attempt. What UnmarshalBinary is given is borrowed, from a buffer that is
// used again: it must copy what it keeps. It is given no bytes for a response of nil;
// with JSON that is the zero value.
//
// A struct that embeds Body carries raw bytes beside its fields, with either
// encoding, which must leave them out (JSON does). They reach the other end without
// being encoded, in chunks; who owns them when is said at Body. A struct that embeds
// none ignores those that arrive.
//
// The fields of a message are bounded by the Limits.MaxMessageBytes of both ends, and
// a body by MaxBodyBytes: beyond, the call fails with ErrTooLarge. The request that
// opens a stream has 16 KiB at most and no body. A message that cannot be encoded or
// decoded fails its call with ErrMessage: a request before it is executed, a response
// afterwards.
//
// # Errors
//
// Every failed call returns an *Error, whose Outcome says what is known of the
// execution. A handler's error arrives as its text and as the codes (type Code)
// and standard sentinels in its tree, so errors.Is answers the same at both ends.
// A handler that has not executed a request says so with Refuse or RedirectTo,
// and Uncertain if it cannot know.
//
// # The life of a call
//
//  1. Call encodes the request, takes a slot of the connection's call table, adds
//     the request to the frames that wait and, if nobody is writing, writes:
//     itself, for as little as fits any transport's buffer, by a goroutine otherwise.
//  2. The server's reader cuts the frame out of its buffer and hands the request to
//     a worker, a goroutine that was kept from an earlier call (or runs it itself,
//     with HandleInline).
//  3. The worker decodes, runs the handler, encodes the response into the
//     connection's outgoing buffer and becomes the writer if nobody is. Whoever
//     is the writer first lets others who are about to add frames do so: calls
//     that come together share system calls, and a lone one waits for nobody.
//  4. The client's reader takes all responses that it has read, and then wakes
//     their callers, which decode. Of those that call again at once the last
//     writes for all, or the reader does if some do not come back. If there are too
//     many for that, the reader wakes one and each the next, before it decodes.
//
// Bodies, long messages and streams leave in chunks of at most 256 KiB, taken in
// turn, between which all waiting small frames go first. So bulk delays a small call by
// what is in the write that is under way: one chunk. Of the message or body of a call
// that is the only one in progress, with nothing else to be sent, up to three chunks are
// in a write, if each of the last two writes with chunks took the transport 2 ms at
// most: a peer that is woken less often is quicker. A call that comes in the middle of
// such a write, on a connection that has just ceased to be so quick, waits for as much.
// A stream never has more than one chunk in a write. A body is received into its final
// place: memory of the caller's own, if it lent any.
//
// Which tool of Go is used where, and why: mutexes guard tables, and are never
// held across I/O. Those that all calls pass are tried for a moment before they
// are waited for (mutex.go says why). Channels of capacity one wake callers, because a caller waits
// for its answer and its context at once; a sync.Cond could not be combined with
// a context. Calls wait for workers in a queue under a mutex, and a channel holds a
// token for each idle worker that is told to look: its capacity is their number, so
// that telling never blocks. Closed channels tell any number of goroutines at once
// (a connection has ended, there is room again). Wait groups make Close wait for
// every goroutine.
// sync.Cond is what the transport's buffers use, where a reader and a writer wait
// for each other and for nothing else.
//
// # Trust and limits
//
// The handshake proves, if there is a secret, that both ends know it; then
// nothing but the limits stands between a client and a server. Every queue, table
// and message is bounded, by Limits or by a constant; memory follows what has
// arrived, with never more than 1 MiB on a peer's word, and that on its budget;
// what comes beyond is refused with an error that says so. An idle connection costs
// each side one goroutine and less than 16 KiB, its stack included; over TLS, what
// crypto/tls keeps comes on top: about 8 KiB, and a read buffer that grows with the
// longest record that has come, to some 35 KiB at most. Garbage on the port costs one
// connection, and so does a panic in its Read, its Write, its Close or its handshake: the
// stack is in the log. A panic elsewhere in the package ends the process; rescue.go says
// why. Confidentiality and integrity are the transport's: use transport.TLS.
//
// # Protocol, version 1
//
// After the handshake (see handshake.go) a connection carries frames:
//
//	length uvarint, kind byte, id uvarint, payload
//
//	request   client  flags, [time-out µs], method, [session, sequence, watermark],
//	                  then the message, or its length and the body's if chunked
//	response  server  flags, then the message or error, or the lengths if chunked
//	chunk     both    bytes of the message, then of the body, of the call id
//	cancel    client  the caller has gone, or no more of the request comes
//	open      client  as a request: a stream
//	credit    both    the peer may send so many bytes more; the first one of the
//	                  server, of 0 bytes, says that the stream is taken
//	data      both    bytes of a stream
//	fin       both    the end of one direction of a stream
//	reset     both    the end of a stream, with an error
//	ping, pong both   for connections that are silent
//	go-away   server  no new calls on this connection
//
// The low 16 bits of a call's id are its slot, of which the server says in the
// handshake how many there are; the rest rises from call to call. A client uses a
// slot again when it has the whole response and sends no more of the request. The
// ids of streams rise.
//
// # Reading the source
//
// The deterministic core is sessions*.go, the duplicate table and all that
// belongs to it. Pure too, though they name errors and types of the outside: the
// codecs frame.go, remote.go and codec.go. Shells: mux.go is one connection,
// reader.go its incoming and writer.go its outgoing side; clientconn.go with
// clientcall.go, and serverconn.go, are what only one end has. A call's way: call.go
// has the attempts of a call and session.go its session; servercall.go and workers.go
// run it; table.go, tablelog.go and guard.go put the duplicate table to work, and
// servicelog.go a log that has several leaders in turn. stream.go is what users see of
// a stream, streamflow.go how bytes come in, streamopen.go how it begins.
// client.go connects, server.go listens, handshake.go and limits.go keep strangers
// in check, and rescue.go says which panics cost only a connection.
package rpc
