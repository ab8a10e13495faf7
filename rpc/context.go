package rpc

import (
	"context"
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
	if c.once != nil {
		return *c.once, true
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
// derived from it costs no goroutine.
type callContext struct {
	method    *method
	peer      *Peer
	once      *CallInfo // all about an exactly-once call; nil for another
	deadline  time.Time // zero: none
	semantics Semantics

	kept bool       // what the handler returns is kept for whoever asks again; guarded by mu
	mu   sync.Mutex // guards what follows
	done chan struct{}
	err  error
	more *contextMore // made when it is needed
}

// contextMore is the part of a callContext that few calls need. A context is
// made for every call, so it is kept small.
type contextMore struct {
	timer  *time.Timer
	detach func() bool // set when the connection of a kept call was lost
	after  map[uint64]func()
	afters uint64
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
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done is closed when the caller is gone or its deadline passes, and when the
// handler has returned.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		} else {
			c.armLocked()
		}
	}
	return c.done
}

func (c *callContext) armLocked() {
	if m := c.moreLocked(); m.timer == nil && !c.deadline.IsZero() {
		m.timer = time.AfterFunc(time.Until(c.deadline), func() { c.cancel(context.DeadlineExceeded) })
	}
}

// Err says why Done is closed.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return c.err
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
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	c.armLocked()
	m := c.more
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
	return c.err == nil
}

// lost tells that the connection is gone. The context ends, or that of a call
// whose result is kept ends with the server's.
func (c *callContext) lost(server context.Context) {
	c.mu.Lock()
	if c.kept && c.err == nil {
		c.moreLocked().detach = context.AfterFunc(server, func() { c.cancel(context.Canceled) })
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.cancel(context.Canceled)
}

// cancel ends the context, once.
func (c *callContext) cancel(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	m := c.more
	if m == nil {
		return
	}
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
