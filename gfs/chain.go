package gfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// maxPending is how many data may be on their way down one chain without having been
// acknowledged; push waits beyond that.
const maxPending = 1024

// A chain is the client's end of a chain of chunkservers that data is pushed down: see
// push.go for the protocol. It may be used concurrently.
type chain struct {
	members []location // the first is pushed to, and passes on
	st      *rpc.Stream
	slots   chan struct{} // of capacity maxPending: one taken for each data in pending
	over    chan struct{} // closed when err is set
	ended   chan struct{} // closed when no more acknowledgements are read

	writing chan struct{} // of capacity 1: held by who writes a frame
	frame   pushFrame     // the writer's
	head    []byte        // the writer's

	mu      sync.Mutex // guards what follows
	pending map[dataID]chan struct{}
	failed  map[dataID]bool // what was pending when err was set
	err     error           // why not all members have everything, once that is so
}

// openChain opens a chain to members, in this order: the nearest to the caller first,
// then each the nearest to the one before it. dial returns the client of an address,
// which stays the dialer's. ctx bounds the opening, and only of the first hop: that
// another cannot be reached shows in wait and in the next push.
func openChain(ctx context.Context, dial func(ctx context.Context, addr string) (*rpc.Client, error), members []location) (*chain, error) {
	if len(members) == 0 || len(members) > maxChain {
		return nil, fmt.Errorf("a chain of %d members", len(members))
	}
	client, err := dial(ctx, members[0].addr)
	if err != nil {
		return nil, err
	}
	st, err := rpc.OpenStream(ctx, client, methodPush, &pushReq{rest: members[1:]})
	if err != nil {
		return nil, err
	}
	c := &chain{
		members: members, st: st,
		slots: make(chan struct{}, maxPending), over: make(chan struct{}), ended: make(chan struct{}),
		writing: make(chan struct{}, 1), pending: make(map[dataID]chan struct{}),
	}
	go c.listen()
	return c, nil
}

// push sends data down the chain under an id that names no other, and returns when it
// has left; data is the caller's again. It waits while the chain is full. It fails once
// it is known that some member has not got all there was: the chain is of no use then,
// but to those members that come before it. If ctx ends while data is being sent, the
// chain ends with it.
func (c *chain) push(ctx context.Context, id dataID, data []byte) error {
	return c.pushAt(ctx, id, data, 0)
}

// pushAt is push of data that will be written at an offset of a chunk. A wrong offset
// does no harm; the right one saves the chunkservers a part of their work.
func (c *chain) pushAt(ctx context.Context, id dataID, data []byte, off int64) error {
	return c.pushSummed(ctx, id, data, off, nil)
}

// pushSummed is pushAt with the sums of data's pieces, if somebody has taken them.
func (c *chain) pushSummed(ctx context.Context, id dataID, data []byte, off int64, sums []uint32) error {
	if len(data) == 0 || len(data) > maxPush {
		return fmt.Errorf("%w: data of %d bytes", ErrTooLarge, len(data))
	}
	if err := c.enter(ctx, id); err != nil {
		return err
	}
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-c.over:
		return c.broken()
	case <-ctx.Done():
		c.settle(id)
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		c.settle(id)
		return err
	}
	f := &c.frame
	f.id, f.n, f.phase = id, len(data), int(off%blockSize)
	if f.sums = append(f.sums[:0], sums...); sums == nil {
		f.sums = pushSums(f.sums, f.phase, data)
	}
	c.head = f.append(c.head[:0])

	stop := context.AfterFunc(ctx, func() { c.st.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := c.st.WriteAfter(c.head, data)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline is set, or about to be: the next would fail
	}
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			err = cause
		}
		c.end(fmt.Errorf("push to %s: %w", c.members[0].addr, err))
		c.st.Close()
	}
	return err
}

// enter makes id pending.
func (c *chain) enter(ctx context.Context, id dataID) error {
	select {
	case c.slots <- struct{}{}:
	case <-c.over:
		return c.broken()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.err
	if err == nil && c.pending[id] != nil {
		err = fmt.Errorf("data %x:%d is on its way already", id.client, id.n)
	}
	if err != nil {
		<-c.slots
		return err
	}
	c.pending[id] = make(chan struct{})
	return nil
}

// settle ends the waiting for an id: it has arrived everywhere, or was never sent.
func (c *chain) settle(id dataID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done := c.pending[id]; done != nil {
		delete(c.pending, id)
		close(done)
		<-c.slots
	}
}

// fail notes that not all members have what has the id. c.mu is held.
func (c *chain) fail(id dataID) {
	if c.failed == nil {
		c.failed = make(map[dataID]bool)
	}
	c.failed[id] = true
}

// wait waits until all members have the data with an id that was pushed, or it is known
// that they will not: then it returns an error that matches errNoData.
func (c *chain) wait(ctx context.Context, id dataID) error {
	c.mu.Lock()
	done := c.pending[id]
	c.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed[id] {
		return fmt.Errorf("%w: %w", errNoData, c.err)
	}
	return nil
}

// broken returns why not all members have everything that was pushed, or nil as long as
// nothing of the kind is known.
func (c *chain) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// end makes everything that is pending fail, and whatever is pushed later. The first
// error stays.
func (c *chain) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.over)
	for id, done := range c.pending { // order-free: all of them fail
		c.fail(id)
		delete(c.pending, id)
		close(done)
	}
}

// listen reads acknowledgements until the stream ends.
func (c *chain) listen() {
	defer close(c.ended)
	var ack [pushAck]byte
	for {
		if _, err := io.ReadFull(c.st, ack[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			c.end(fmt.Errorf("push to %s: %w", c.members[0].addr, err))
			c.st.Close()
			return
		}
		id, lost := parseAck(ack[:])
		if lost == 0 {
			c.settle(id)
			continue
		}
		at := max(0, len(c.members)-int(min(lost, maxChain)))
		c.end(fmt.Errorf("push to %s: cut off", c.members[at].addr))
	}
}

// close ends the chain. What has been pushed and not acknowledged may or may not arrive:
// to be sure, wait first. It is idempotent.
func (c *chain) close() {
	c.end(ErrClosed)
	c.st.Close()
	<-c.ended
}
