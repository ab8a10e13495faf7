package rpc

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/trilith-go/trilith/internal/wire"
)

// eagerWrite bounds the bytes that callers put on a connection themselves while
// answers are outstanding, and no stream is open. So few fit in any transport's buffer, so the write
// does not block and the caller's context stays in force; beyond, a goroutine
// writes.
const eagerWrite = 16 << 10

// A clientConn is the client's side of a connection: a table of calls. An id is
// a slot of the table and, above slotBits, a generation. A slot is free again
// when the response is here and nothing of the request is left to send, so the
// server sees at most one call a slot.
type clientConn struct {
	mux
	addr    string
	moved   func(addrs []string) // called when the handler of a stream says that it is served elsewhere
	shunned func()               // called when the server has fallen silent, before its calls are told

	// The reader's own:
	came  []received // responses in the read buffer that have not been taken yet
	ready []*call    // calls that those end

	// Guarded by mux.mu:
	calls      uint64 // made so far
	slots      []*call
	free       []uint32 // slots that no call has
	queue      []chan struct{}
	unanswered int    // bytes of requests without a response
	draining   bool   // no new calls: the server shuts down, or another serves
	taking     bool   // the reader takes responses: handOver leaves their callers to it
	gathering  bool   // the reader writes what those callers add, or the last of them does
	coming     int    // of those callers
	firsts     int    // calls whose first attempt has ended, not counted in ctr yet
	lastStream uint64 // the newest stream's id
}

var _ side = (*clientConn)(nil)

func (c *clientConn) frame(h frameHead, payload []byte) error {
	switch h.kind {
	case kindResponse:
		c.came = append(c.came, received{h.id, payload})
		if len(c.came) < maxTaken && len(payload) > 0 && payload[0]&flagChunked == 0 {
			return nil
		}
		return c.settle() // chunks follow, and need to know where to go
	case kindGoAway:
		if err := c.settle(); err != nil {
			return err
		}
		c.drain()
		return nil
	}
	return fmt.Errorf("%w: a server sent a frame of kind %d", ErrProtocol, h.kind)
}

// A received is a response, or the head of one, that lies in the read buffer.
type received struct {
	id      uint64
	payload []byte
}

const (
	// maxTaken bounds the responses that are taken together: the first one's caller
	// waits for the others.
	maxTaken = 64
	// maxHeld bounds those that are taken without letting go of the lock.
	maxHeld = 16
)

// settle takes the responses that have been read, many under one lock, and wakes
// their callers when it has let go of it: they want it for their next calls.
func (c *clientConn) settle() error {
	if len(c.came) == 0 {
		return nil
	}
	c.mu.Lock()
	c.taking = true
	var err error
	for i, a := range c.came {
		if i%maxHeld == maxHeld-1 {
			c.mu.Unlock()
			c.mu.Lock()
		}
		if err = c.response(a.id, a.payload); err != nil {
			break
		}
	}
	c.taking = false
	c.came = c.came[:0]
	c.count()
	if len(c.ready) > 1 && c.unanswered <= eagerWrite && len(c.streams) == 0 {
		c.gathering, c.coming = true, len(c.ready)
	}
	gathering := c.gathering
	c.unlockAndWrite(noRounds)
	c.wake(gathering)
	if gathering {
		c.gatherCalls()
	}
	return err
}

// wake wakes the callers of the calls that are ready: all, if their next calls are
// waited for; otherwise the first, which wakes the others.
func (c *clientConn) wake(all bool) {
	for i, cl := range c.ready {
		if !all && i+1 < len(c.ready) {
			cl.next = c.ready[i+1]
		}
	}
	for i, cl := range c.ready {
		c.ready[i] = nil
		if all || i == 0 {
			cl.done <- struct{}{}
		}
	}
	c.ready = c.ready[:0]
}

// count adds to the calls that are counted. The lock is held.
func (c *clientConn) count() {
	if c.firsts > 0 {
		c.ctr.calls.Add(uint64(c.firsts))
		c.firsts = 0
	}
}

// gatherCalls lets the callers that the reader has woken add their next calls, so
// that all leave in one write: the last of them writes, or else the reader does
// when no more come. So little cannot block it.
func (c *clientConn) gatherCalls() {
	const maxYields, maxStill = 64, 8
	c.mu.Lock()
	still := 0
	for n := 0; c.gathering && n < maxYields && still < maxStill; n++ {
		before := c.coming
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		still++
		if c.coming != before {
			still = 0
		}
	}
	if c.gathering {
		c.gathering = false
		c.gathered = c.out != nil
		c.unlockAndWrite(1)
		return
	}
	c.mu.Unlock()
}

// response takes the head of a response and, if it came whole, all of it. The
// lock is held.
func (c *clientConn) response(id uint64, payload []byte) error {
	cl := c.find(id)
	switch {
	case cl == nil || cl.ended:
		return fmt.Errorf("%w: a response to a call that was not made", ErrProtocol)
	case len(payload) == 0:
		return fmt.Errorf("%w: an empty response", ErrProtocol)
	}
	begun := cl.flags&flagChunked != 0
	cl.flags = payload[0]
	if cl.flags&flagChunked != 0 {
		return c.chunkedResponse(cl, begun, payload[1:])
	}
	if begun { // the server has cut short what it had begun
		cl.more.in = inflow{}
	}
	cl.payload = append(cl.payload, payload[1:]...)
	c.end(cl, nil)
	return nil
}

// chunkedResponse takes the lengths of a response that comes in chunks.
func (c *clientConn) chunkedResponse(cl *call, begun bool, lengths []byte) error {
	d := wire.NewDecoder(lengths)
	more := cl.large()
	if begun {
		d.Fail("it has begun already")
	}
	more.in.fieldsLeft = d.Int(c.lim.MaxMessageBytes)
	more.in.bodyLeft = d.Int(c.lim.MaxBodyBytes)
	if !more.left && more.in.bodyLeft <= cap(more.into) {
		more.in.body, more.in.lent = more.into[:0], true
	}
	if err := d.Finish(); err != nil {
		return fmt.Errorf("%w: response: %w", ErrProtocol, err)
	}
	if more.in.complete() {
		c.end(cl, nil)
	}
	return nil
}

func (c *clientConn) inflow(id uint64) (*inflow, error) {
	cl := c.find(id)
	if cl == nil || cl.ended || cl.more == nil || cl.more.in.complete() {
		return nil, fmt.Errorf("%w: a chunk that was not announced", ErrProtocol)
	}
	in := &cl.more.in
	if cl.more.left { // the caller is gone, with its memory
		in.discard()
	}
	if n := in.need(); n > 0 {
		in.grow(n)
	}
	return in, nil
}

func (c *clientConn) arrived(id uint64, in *inflow) {
	switch {
	case in.complete():
		c.end(c.find(id), nil)
	case c.err != nil:
		c.end(c.find(id), c.err)
	}
	c.count()
}

// reset follows a redirect, so that a stream that is opened again, now that this
// one has ended, is opened where it is served.
func (c *clientConn) reset(end streamEnd) {
	var to *redirect
	if end.outcome == NotExecuted && errors.As(end.err, &to) {
		c.moved(to.addrs)
	}
}

func (c *clientConn) calm() {
	if len(c.free) == len(c.slots) && len(c.queue) == 0 {
		c.slots, c.free = nil, nil
	}
}

func (c *clientConn) lost(err error) {
	if errors.Is(err, errSilent) {
		c.shunned()
	}
	c.mu.Lock()
	for _, cl := range c.slots {
		if cl != nil && !cl.ended && (cl.more == nil || !cl.more.in.busy) { // a busy one has its caller's memory in use: arrived ends it
			c.end(cl, err)
		}
	}
	c.count()
	for _, turn := range c.queue {
		close(turn)
	}
	c.queue = nil
	c.mu.Unlock()
}

// drain lets the calls in progress end, and the connection after them.
func (c *clientConn) drain() {
	c.mu.Lock()
	c.draining, c.drained = true, c.closeIfDrained
	for _, turn := range c.queue {
		close(turn)
	}
	c.queue = nil
	c.closeIfDrained()
	c.mu.Unlock()
}

// closeIfDrained ends a draining connection with nothing left on it, nor to be
// written. The lock is held.
func (c *clientConn) closeIfDrained() {
	if c.draining && len(c.free) == len(c.slots) && len(c.streams) == 0 && c.out == nil && !c.writing {
		c.failLocked(fmt.Errorf("%w: drained", ErrConnLost))
	}
}
