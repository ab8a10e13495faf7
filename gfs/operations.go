package gfs

import (
	"context"
	"sync"
	"time"
)

// An operation is the context of what a client does: it ends with that of the caller,
// with the client, and when the client's patience does.
type operation struct {
	context.Context
	of         *operations
	cancel     context.CancelCauseFunc
	deadline   time.Time
	prev, next *operation
}

// The operations of a client that have not ended, in the order in which they began. As
// all are given the same time, that is the order in which their time is over, and one
// timer does for them all.
type operations struct {
	mu     sync.Mutex // guards what follows
	first  *operation
	last   *operation
	timer  *time.Timer // nil: none has been needed yet
	armed  bool        // the timer will fire, at the deadline of first or before
	closed bool
}

// begin returns the context of one operation. end frees what it holds. What is begun
// within an operation is a part of it.
func (c *Client) begin(ctx context.Context) (_ context.Context, end func()) {
	if o, ok := ctx.(*operation); ok && o.of == &c.operations {
		return o, func() {}
	}
	o := &operation{of: &c.operations, deadline: time.Now().Add(c.cfg.Patience)}
	o.Context, o.cancel = context.WithCancelCause(ctx)
	o.of.add(o)
	return o, o.end
}

func (o *operation) end() {
	o.of.remove(o)
	o.cancel(nil)
}

func (s *operations) add(o *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		o.cancel(ErrClosed)
		return
	}
	if o.prev = s.last; o.prev != nil {
		o.prev.next = o
	} else {
		s.first = o
	}
	s.last = o
	s.arm()
}

func (s *operations) remove(o *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink(o)
}

// unlink takes an operation out, if it is in. s.mu is held.
func (s *operations) unlink(o *operation) {
	if o.prev == nil && s.first != o {
		return
	}
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		s.first = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		s.last = o.prev
	}
	o.prev, o.next = nil, nil
}

// arm sees to it that the timer fires in time. s.mu is held.
func (s *operations) arm() {
	if s.armed || s.first == nil || s.closed {
		return
	}
	s.armed = true
	left := time.Until(s.first.deadline)
	if s.timer == nil {
		s.timer = time.AfterFunc(left, s.expire)
		return
	}
	s.timer.Reset(left)
}

// expire ends the operations whose time is over.
func (s *operations) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	for now := time.Now(); s.first != nil && !s.first.deadline.After(now); {
		o := s.first
		s.unlink(o)
		o.cancel(errPatience)
	}
	s.arm()
}

// close ends all operations, and those that are begun later.
func (s *operations) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for s.first != nil {
		o := s.first
		s.unlink(o)
		o.cancel(ErrClosed)
	}
}
