package rpc

import (
	"context"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"time"
)

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

// decodeResponse fills m, a pointer to a response, from its fields: decodeMessage, but that
// JSON has nothing for a handler's response of nil, and whoever passes m may have used it
// before.
func decodeResponse(src []byte, m any) error {
	if len(src) > 0 {
		return decodeMessage(src, m)
	}
	if own, ok := m.(encoding.BinaryUnmarshaler); ok {
		return own.UnmarshalBinary(nil)
	}
	body := bodyOf(m)
	var kept Body
	if body != nil {
		kept = *body
	}
	reflect.ValueOf(m).Elem().SetZero()
	if body = bodyOf(m); body != nil {
		*body = kept
	}
	return nil
}
