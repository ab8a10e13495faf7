package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// A callState is where a call stands. It goes on from each state to a later one.
type callState uint8

const (
	callReceiving callState = iota // its chunks arrive
	callRefused                    // answered, while chunks still arrive
	callRunning                    // its handler runs
	callSending                    // chunks of its response leave
)

// A serverCall is one call in progress on a server. It is recycled.
type serverCall struct {
	c      *serverConn
	m      *method
	id     uint64
	head   requestHead
	ctx    *callContext
	req    any       // what the request is decoded into
	came   time.Time // when an exactly-once call was complete
	state  callState
	flags  byte    // the response's
	fields []byte  // the request's message, then the response's; kept for the next
	in     inflow  // of a request that comes in chunks
	out    outflow // of a response that goes in chunks
	body   *Body   // of the request, once decoded
	answer *Body   // of the response
	held   int64   // of the connection's budget

	// Of a response that goes in chunks; guarded by the mux's lock.
	sent    bool // it has left, or never will
	watched bool // who has begun to send it looks for that

	refusal error // why it is not executed
}

// A spareCalls holds calls that can be used again: the goroutines that begin and end
// calls have one each, and exchange whole ones.
type spareCalls struct{ batch *callBatch }

type callBatch struct {
	n     int
	calls [maxBatch]*serverCall
}

var callBatches, emptyBatches sync.Pool // of *callBatch

// take returns a call.
func (s *spareCalls) take() *serverCall {
	b := s.batch
	if b == nil || b.n == 0 {
		more, _ := callBatches.Get().(*callBatch)
		if more == nil {
			return new(serverCall)
		}
		if b != nil {
			emptyBatches.Put(b)
		}
		b, s.batch = more, more
	}
	b.n--
	sc := b.calls[b.n]
	b.calls[b.n] = nil
	return sc
}

// put keeps a call that is over.
func (s *spareCalls) put(sc *serverCall) {
	b := s.batch
	if b == nil {
		if b, _ = emptyBatches.Get().(*callBatch); b == nil {
			b = new(callBatch)
		}
		s.batch = b
	}
	b.calls[b.n] = sc
	if b.n++; b.n == len(b.calls) {
		s.share()
	}
}

// share gives what is here to whoever needs it.
func (s *spareCalls) share() {
	if s.batch != nil && s.batch.n > 0 {
		callBatches.Put(s.batch)
		s.batch = nil
	}
}

// recycle is the end of a call, and keeps it in spare for another. Only now can the
// request's body go: the response may have lent it on.
func (sc *serverCall) recycle(spare *spareCalls) {
	if sc.body == nil || !sc.body.kept {
		freeBytes(sc.in.body)
	}
	if sc.chunked() { // rare, and much to clear
		sc.head, sc.in = requestHead{}, inflow{}
	}
	if sc.out.kind != 0 {
		sc.out = outflow{}
	}
	sc.c, sc.m, sc.ctx, sc.req, sc.body, sc.answer = nil, nil, nil, nil, nil, nil
	sc.head.name = nil
	sc.state, sc.flags, sc.held = 0, 0, 0
	sc.fields = kept(sc.fields)
	spare.put(sc)
}

// chunked reports whether the request's message and body come in chunks.
func (sc *serverCall) chunked() bool { return sc.head.flags&flagChunked != 0 }

// callOverhead is what a call is taken to hold besides its message and body.
const callOverhead = 1 << 10

// run executes a call and sends its response. The call is then over, or goes on by
// itself.
func (sc *serverCall) run(inline bool, spare *spareCalls) {
	err := sc.execute()
	sc.ctx.cancel(canceled)
	if err != nil {
		sc.setError(err)
	}
	sc.respond(inline, spare)
}

// setError makes err the response.
func (sc *serverCall) setError(err error) {
	sc.c.s.ctr.failures.Add(1)
	sc.dropAnswer()
	sc.fields = appendError(sc.fields[:0], outcomeOfHandler(err), err)
	sc.flags = flagError
}

// execute runs the handler, under the duplicate table if the call is to be
// executed exactly once beside it.
func (sc *serverCall) execute() (err error) {
	if sc.head.flags&flagExactlyOnce != 0 {
		return sc.executeOnce()
	}
	return sc.handle()
}

func (sc *serverCall) handle() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = sc.c.panicked(sc.m, r)
		}
	}()
	return sc.m.unary(sc.c.s, sc)
}

// panicked turns what a handler panicked with into its error.
func (c *serverConn) panicked(m *method, r any) error {
	c.ctr.panics.Add(1)
	c.log.Error("handler panicked", "method", m.name, "peer", c.peer.Addr, "panic", r, "stack", string(debug.Stack()))
	return fmt.Errorf("%w: %v", ErrPanic, r)
}

// decode fills req from the request.
func (sc *serverCall) decode(req any) error {
	fields := sc.fields
	if sc.in.fields != nil {
		fields = sc.in.fields
	}
	if err := decodeMessage(fields, req); err != nil {
		return Refuse(malformed(req, err))
	}
	if sc.body = bodyOf(req); sc.body != nil {
		sc.body.Data = sc.in.body
	}
	if sc.in.fields != nil {
		freeBytes(sc.in.fields)
		sc.in.fields = nil
	}
	return nil
}

// encode lays out the response in sc.fields; a nil one is empty.
func (sc *serverCall) encode(resp any, isNil bool) (err error) {
	sc.dropAnswer()
	sc.fields = sc.fields[:0]
	if isNil {
		return nil
	}
	sc.answer = bodyOf(resp)
	sc.fields, err = appendMessage(sc.fields, resp)
	switch {
	case err != nil:
		return malformed(resp, err)
	case len(sc.fields) > sc.c.remote.maxMessage:
		return tooLarge("the response", len(sc.fields), sc.c.remote.maxMessage)
	case sc.answer != nil && len(sc.answer.Data) > sc.c.remote.maxBody:
		return tooLarge("the response's body", len(sc.answer.Data), sc.c.remote.maxBody)
	}
	return nil
}

// dropAnswer lets go of a response's body that is not sent, or not any more.
func (sc *serverCall) dropAnswer() {
	if a := sc.answer; a != nil {
		sc.answer = nil
		if a.Release != nil {
			a.Release()
		}
	}
}

// respond sends what encode laid out. The call has finished when all of it has
// been handed to the transport.
func (sc *serverCall) respond(inline bool, spare *spareCalls) {
	c, flags := sc.c, sc.flags
	var body []byte
	if sc.answer != nil {
		body = sc.answer.Data
	}
	c.mu.Lock()
	if c.full() {
		c.waitRoom(context.Background())
	}
	if len(sc.fields) <= maxInline && len(body) == 0 {
		if c.err == nil {
			c.addResponse(sc.id, flags, sc.fields)
		}
		c.free(sc)
		if inline && len(c.buffered().b) < busyRead {
			c.owing = true
			c.mu.Unlock()
		} else {
			c.unlockAndWrite(workerRounds)
		}
		sc.leave(spare)
		return
	}
	// Who sends the response itself also ends the call; the connection's reader, which has
	// other things to do, and whoever sends for another, leave that to a goroutine.
	sc.state, sc.sent, sc.watched = callSending, false, !inline
	done := func(error) { // the lock is held
		if c.find(sc.id) == sc {
			c.free(sc)
		}
		if sc.sent = true; sc.watched {
			return
		}
		c.s.workers.wg.Go(func() {
			var spare spareCalls
			sc.leave(&spare)
			spare.share()
		})
	}
	if c.err != nil {
		sc.watched = true
		done(c.err)
		c.mu.Unlock()
		sc.leave(spare)
		return
	}
	var sizes [2 * binary.MaxVarintLen64]byte
	c.addResponse(sc.id, flags|flagChunked, appendSizes(sizes[:0], len(sc.fields), len(body)))
	// The slot must be free before the client can have the last of it.
	last := func() { c.free(sc) }
	sc.out = outflow{kind: kindChunk, id: sc.id, rest: [2][]byte{sc.fields, body}, last: last, done: done}
	c.pushBulk(&sc.out)
	c.unlockAndWrite(workerRounds)
	if inline {
		return // and sc may be another call by now
	}
	c.mu.Lock()
	sent := sc.sent
	sc.watched = false
	c.mu.Unlock()
	if sent {
		sc.leave(spare)
	}
}

// leave is the last that is done with a call whose response has been handed to the
// transport, or never will be.
func (sc *serverCall) leave(spare *spareCalls) {
	c := sc.c
	sc.dropAnswer()
	sc.recycle(spare)
	c.s.finish()
}
