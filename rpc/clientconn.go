package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

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

// A call is one unary call in progress. It is recycled, unless its caller left. What a
// small call needs fits in a cache line.
type call struct {
	done    chan struct{} // of capacity 1: the response is here, or more.err is set
	payload []byte        // of a response that came in one frame; kept for the next
	id      uint64
	next    *call     // to be woken by this one's caller
	more    *callMore // nil until some call has needed it
	size    uint32    // counted in unanswered
	flags   byte      // the response's
	first   bool      // the call's first attempt
	ended   bool      // the response is here, or none will come
	sending bool      // more.out is not finished
}

// callMore is the part of a call that few need.
type callMore struct {
	err     error         // why there is no response
	left    bool          // the caller has gone
	outDone chan struct{} // closed when out is finished
	in      inflow        // of a response that comes in chunks
	into    []byte        // the caller's memory for a body
	out     outflow       // of a request that goes in chunks
}

// woken is called by the caller of cl when it has been woken. It wakes the next of those
// whose responses came together: so they run one after the other, on one core while what
// they do is short, and take neither the lock nor the outgoing buffer from each other; if
// one has more to do, another core takes the next.
func (cl *call) woken() {
	if next := cl.next; next != nil {
		cl.next = nil
		next.done <- struct{}{}
	}
}

// large returns cl.more.
func (cl *call) large() *callMore {
	if cl.more == nil {
		cl.more = new(callMore)
	}
	return cl.more
}

// left reports whether the caller has gone.
func (cl *call) left() bool { return cl.more != nil && cl.more.left }

// keepBytes is the most that a recycled struct keeps in a buffer of its own.
const keepBytes = 4 << 10

// kept returns b emptied, or nil if it is too large to be kept.
func kept(b []byte) []byte {
	if cap(b) > keepBytes {
		return nil
	}
	return b[:0]
}

// reset readies a call that ended, and that nothing refers to, for another.
func (cl *call) reset() {
	if cl.more != nil {
		*cl.more = callMore{}
	}
	cl.payload = kept(cl.payload)
	cl.flags, cl.ended = 0, false
}

// An outgoing is an encoded request.
type outgoing struct {
	head   requestHead
	fields []byte
	body   []byte
}

// begin sends a request, whose response will be in cl when cl.done holds a token. If
// it returns an error, the server cannot have seen the request.
func (c *clientConn) begin(ctx context.Context, o *outgoing, cl *call) error {
	c.mu.Lock()
	var slot uint32
	if n := len(c.free); n > 0 && c.err == nil && !c.draining && !c.full() {
		slot = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		var err error
		if slot, err = c.slot(ctx); err == nil {
			if err = c.waitRoom(ctx); err != nil {
				c.freeSlot(slot)
			}
		}
		if err != nil {
			c.mu.Unlock()
			return err
		}
	}
	c.calls++
	cl.id = c.calls<<slotBits | uint64(slot)
	c.slots[slot] = cl
	c.pending++
	rounds := c.addRequest(o, cl)
	if c.gathering {
		c.coming--
		c.gathering = c.coming > 0 && c.unanswered <= eagerWrite
		c.gathered = c.coming == 0
	}
	if c.gathering || c.writing {
		c.mu.Unlock()
	} else {
		c.unlockAndWrite(rounds)
	}
	return nil
}

// wait waits for the response to cl and returns nil, or leaves cl when ctx ends.
func (c *clientConn) wait(ctx context.Context, cl *call) error {
	select {
	case <-cl.done:
	case <-ctx.Done():
		if c.leave(cl) {
			return ctxError(ctx)
		}
		<-cl.done
	}
	cl.woken()
	return nil
}

// addRequest adds the frames of a request. The lock is held. It returns how
// many rounds the caller may write.
func (c *clientConn) addRequest(o *outgoing, cl *call) (rounds int) {
	fields := o.fields
	if o.head.flags&flagChunked != 0 {
		fields = nil
	}
	b := c.buffered()
	start := len(b.b)
	b.b = appendHead(b.b, kindRequest, cl.id, o.head.size()+len(fields))
	b.b = append(o.head.append(b.b), fields...)
	size := len(b.b) - start
	if o.head.flags&flagChunked != 0 {
		size += len(o.fields) + len(o.body)
	}
	cl.size = uint32(min(size, 1<<30)) // beyond eagerWrite, more is all the same
	c.unanswered += int(cl.size)
	if c.unanswered <= eagerWrite && len(c.streams) == 0 {
		rounds = fewRounds
	}
	if o.head.flags&flagChunked != 0 {
		done := make(chan struct{})
		more := cl.large()
		more.outDone, cl.sending = done, true
		more.out = outflow{kind: kindChunk, id: cl.id, rest: [2][]byte{o.fields, o.body}, done: func(error) {
			cl.sending = false
			close(done)
			c.handOver(cl)
		}}
		c.pushBulk(&more.out)
	}
	return rounds
}

// slot takes a free slot, waiting for one if all are taken. The lock is held.
func (c *clientConn) slot(ctx context.Context) (uint32, error) {
	for {
		switch {
		case c.err != nil:
			return 0, c.err
		case c.draining:
			return 0, fmt.Errorf("%w: the server takes no new calls on this connection", ErrShutdown)
		case len(c.free) > 0:
			slot := c.free[len(c.free)-1]
			c.free = c.free[:len(c.free)-1]
			return slot, nil
		case len(c.slots) < min(c.lim.MaxCalls, c.remote.maxCalls):
			c.slots = append(c.slots, nil)
			return uint32(len(c.slots) - 1), nil
		}
		turn := make(chan struct{})
		c.queue = append(c.queue, turn)
		c.mu.Unlock()
		var err error
		select {
		case <-turn:
		case <-c.ended:
		case <-ctx.Done():
			err = ctxError(ctx)
		}
		c.mu.Lock()
		if err != nil {
			if i := slices.Index(c.queue, turn); i >= 0 {
				c.queue = slices.Delete(c.queue, i, i+1)
			} else {
				c.wakeOne() // the turn was ours; it is the next one's
			}
			return 0, err
		}
	}
}

func (c *clientConn) freeSlot(slot uint32) {
	c.slots[slot] = nil
	c.free = append(c.free, slot)
	c.wakeOne()
	c.closeIfDrained()
}

func (c *clientConn) wakeOne() {
	if len(c.queue) > 0 && len(c.free) > 0 {
		close(c.queue[0])
		c.queue = c.queue[1:]
	}
}

// find returns the call with this id, or nil. The lock is held.
func (c *clientConn) find(id uint64) *call {
	slot := id & (1<<slotBits - 1)
	if slot >= uint64(len(c.slots)) {
		return nil
	}
	if cl := c.slots[slot]; cl != nil && cl.id == id {
		return cl
	}
	return nil
}

// end notes that the response of cl is here, or that none will come. The lock
// is held.
func (c *clientConn) end(cl *call, err error) {
	if cl.first {
		c.firsts++
	}
	c.unanswered -= int(cl.size)
	c.pending--
	if cl.sending && c.err == nil {
		// The server has answered before it had all of the request: it needs
		// no more of it, and must know that no more comes.
		c.cutBulk(&cl.more.out)
		c.add(kindCancel, cl.id, nil)
	}
	cl.ended = true // now, or the cut would have handed it over too
	if err != nil {
		cl.large().err = err
	}
	c.handOver(cl)
}

// handOver gives a call to its caller when nothing more can happen to it.
// The lock is held.
func (c *clientConn) handOver(cl *call) {
	if !cl.ended || cl.sending {
		return
	}
	c.freeSlot(uint32(cl.id & (1<<slotBits - 1))) // its caller may recycle it at once
	switch {
	case cl.left():
	case c.taking:
		c.ready = append(c.ready, cl)
	default:
		cl.done <- struct{}{}
	}
}

// leave gives up a call whose context has ended and reports whether it did;
// otherwise the response has just come. Afterwards nothing refers to the
// caller's memory.
func (c *clientConn) leave(cl *call) bool {
	c.mu.Lock()
	if cl.ended && !cl.sending {
		c.mu.Unlock()
		return false
	}
	more, sending := cl.large(), cl.sending
	more.left = true
	if cl.first {
		cl.first = false
		c.ctr.calls.Add(1)
	}
	if !cl.ended && c.err == nil {
		c.add(kindCancel, cl.id, nil)
	}
	if sending {
		c.cutBulk(&more.out)
	}
	var letGo chan struct{}
	if more.in.lent && more.in.busy {
		letGo = make(chan struct{})
		more.in.letGo = letGo
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	c.unlockAndWrite(noRounds)
	if sending {
		c.reclaim(more.outDone)
	}
	if letGo != nil {
		<-letGo
	}
	return true
}

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
