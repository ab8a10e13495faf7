package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// CallInfo describes the call or stream that a handler serves.
type CallInfo struct {
	Method    string
	Semantics Semantics
	// Session, Seq and Watermark identify an exactly-once call; Hash tells its
	// request from another with the same Seq.
	Session   SessionID
	Seq       uint64
	Watermark uint64
	Hash      uint64
}

type callInfoKey struct{}

// CallFromContext returns the call that a handler's context belongs to.
func CallFromContext(ctx context.Context) (CallInfo, bool) {
	c, ok := ctx.Value(callInfoKey{}).(*callContext)
	if !ok {
		return CallInfo{}, false
	}
	if c.semantics == ExactlyOnce {
		m := c.more
		return CallInfo{
			Method: c.method.name, Semantics: ExactlyOnce,
			Session: m.session, Seq: m.seq, Watermark: m.mark, Hash: m.hash,
		}, true
	}
	return CallInfo{Method: c.method.name, Semantics: c.semantics}, true
}

// PeerFromContext returns the peer that a handler's call came from.
func PeerFromContext(ctx context.Context) (Peer, bool) {
	c, ok := ctx.Value(callInfoKey{}).(*callContext)
	if !ok {
		return Peer{}, false
	}
	return *c.peer, true
}

// A callContext is a handler's context. It makes its channel and timer only
// when somebody asks for them, and implements AfterFunc, so that a context
// derived from it costs no goroutine. One is made for every call, and may be kept by
// the handler, so it is small: what few calls need is in more.
type callContext struct {
	method    *method
	peer      *Peer
	more      *contextMore // of a call with a deadline, or exactly once, from the beginning; of others when it is needed
	mu        sync.Mutex   // guards what follows, and more
	done      chan struct{}
	semantics Semantics
	kept      bool // what the handler returns is kept for whoever asks again
	ended     contextEnd
}

// A contextEnd is whether a context has ended, and why.
type contextEnd uint8

const (
	goesOn contextEnd = iota
	canceled
	deadlineExceeded
)

func (e contextEnd) err() error {
	switch e {
	case canceled:
		return context.Canceled
	case deadlineExceeded:
		return context.DeadlineExceeded
	}
	return nil
}

// contextMore is the part of a callContext that few calls need.
type contextMore struct {
	session  SessionID // of an exactly-once call, like the next three
	seq      uint64
	mark     uint64
	hash     uint64
	deadline time.Time // zero: none
	timer    *time.Timer
	detach   func() bool // set when the connection of a kept call was lost
	after    map[uint64]func()
	afters   uint64
}

// moreLocked returns c.more.
func (c *callContext) moreLocked() *contextMore {
	if c.more == nil {
		c.more = new(contextMore)
	}
	return c.more
}

var _ context.Context = (*callContext)(nil)

// Deadline is the caller's, less the time the request was under way.
func (c *callContext) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more == nil {
		return time.Time{}, false
	}
	return c.more.deadline, !c.more.deadline.IsZero()
}

// Done is closed when the caller is gone or its deadline passes, and when the
// handler has returned.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended != goesOn {
			close(c.done)
		} else {
			c.armLocked()
		}
	}
	return c.done
}

func (c *callContext) armLocked() {
	if m := c.more; m != nil && m.timer == nil && !m.deadline.IsZero() {
		m.timer = time.AfterFunc(time.Until(m.deadline), func() { c.cancel(deadlineExceeded) })
	}
}

// Err says why Done is closed.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.more; c.ended == goesOn && m != nil && !m.deadline.IsZero() && !time.Now().Before(m.deadline) {
		return context.DeadlineExceeded
	}
	return c.ended.err()
}

// Value finds the call itself; there is nothing else to find.
func (c *callContext) Value(key any) any {
	if key == (callInfoKey{}) {
		return c
	}
	return nil
}

// AfterFunc is what package context looks for before it starts a goroutine to
// wait for Done.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != goesOn {
		go f()
		return func() bool { return false }
	}
	c.armLocked()
	m := c.moreLocked()
	if m.after == nil {
		m.after = make(map[uint64]func())
	}
	m.afters++
	id := m.afters
	m.after[id] = f
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := m.after[id]
		delete(m.after, id)
		return waiting
	}
}

// keep tells that what the handler returns is kept, and will be asked for again
// if the connection is lost: the context goes on then. It reports whether the
// context had not ended before.
func (c *callContext) keep() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = true
	return c.ended == goesOn
}

// lost tells that the connection is gone. The context ends, or that of a call
// whose result is kept ends with the server's.
func (c *callContext) lost(server context.Context) {
	c.mu.Lock()
	if c.kept && c.ended == goesOn {
		c.moreLocked().detach = context.AfterFunc(server, func() { c.cancel(canceled) })
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.cancel(canceled)
}

// cancel ends the context, once.
func (c *callContext) cancel(why contextEnd) {
	c.mu.Lock()
	if c.ended != goesOn {
		c.mu.Unlock()
		return
	}
	c.ended = why
	if c.done != nil {
		close(c.done)
	}
	if c.more != nil {
		c.more.end()
	}
	c.mu.Unlock()
}

// end lets go of what waits for the end of the context.
func (m *contextMore) end() {
	if m.timer != nil {
		m.timer.Stop()
	}
	if m.detach != nil {
		m.detach()
	}
	for _, f := range m.after {
		go f()
	}
	m.after = nil
}

// ctxError says why ctx has ended: what ctx.Err returns, and the cause beside
// it if there is one.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
