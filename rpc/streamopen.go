package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/trilith-go/trilith/internal/wire"
)

// OpenStream opens a stream to a handler of HandleStream and returns when the
// server has taken it. ctx bounds the opening only; an error says, as for calls,
// whether the handler can have been started. If its handler answers with RedirectTo,
// the stream ends with an error of outcome NotExecuted that wraps ErrUnavailable;
// opened again, it goes to where that points.
func OpenStream[Req any](ctx context.Context, c *Client, method string, req *Req) (*Stream, error) {
	return c.openStream(ctx, method, req)
}

func (c *Client) openStream(ctx context.Context, method string, req any) (*Stream, error) {
	var st *Stream // of the last attempt that succeeded
	inv := &Invocation{Method: method, Attempt: 1, Stream: true, Req: req}
	open := func(ctx context.Context) (err error) {
		if st != nil {
			st.Close() // an interceptor wants another
		}
		st, err = c.attemptStream(ctx, method, req)
		return err
	}
	for i := len(c.cfg.Interceptors) - 1; i >= 0; i-- {
		inner := open
		open = func(ctx context.Context) error { return c.cfg.Interceptors[i](ctx, inv, inner) }
	}
	err := open(ctx)
	if err == nil && st != nil {
		c.ctr.streams.Add(1)
		return st, nil
	}
	if st != nil {
		st.Close() // an interceptor has dropped the reply
	}
	var e *Error
	switch {
	case err == nil:
		err = errors.New("an interceptor has not opened it")
	case errors.As(err, &e) && e == err:
		return nil, err
	}
	return nil, &Error{Op: "open stream", Method: method, Outcome: OutcomeOf(err), Err: err}
}

// attemptStream opens a stream. As for a call, a connection that turns out to be of
// no use gives way to another.
func (c *Client) attemptStream(ctx context.Context, method string, req any) (*Stream, error) {
	fail := func(addr string, outcome Outcome, err error) error {
		var e *Error
		if errors.As(err, &e) && e == err { // of the dial
			addr, err = e.Addr, e.Err
		}
		return &Error{Op: "open stream", Method: method, Addr: addr, Outcome: outcome, Err: err}
	}
	if ctx.Err() != nil {
		return nil, fail("", NotExecuted, ctxError(ctx))
	}
	for try := 1; ; try++ {
		cc, err := c.connect(ctx)
		if err != nil {
			return nil, fail("", NotExecuted, err)
		}
		st, outcome, err := cc.open(ctx, method, req)
		if err == nil {
			return st, nil
		}
		if errors.Is(err, ErrShutdown) || errors.Is(err, ErrConnLost) {
			c.forget(cc)
		}
		if err = fail(cc.addr, outcome, err); !unused(err) || try == 2 {
			return nil, err
		}
	}
}

// open asks the server for a stream and waits until it has taken it.
func (c *clientConn) open(ctx context.Context, method string, req any) (*Stream, Outcome, error) {
	head := requestHead{method: method}
	if method == "" || len(method) > maxMethod {
		return nil, NotExecuted, fmt.Errorf("%w: a method's name has 1 to %d bytes", ErrNoMethod, maxMethod)
	}
	fields, err := appendMessage(nil, req)
	switch {
	case err != nil:
		return nil, NotExecuted, malformed(req, err)
	case len(fields) > maxInline:
		return nil, NotExecuted, tooLarge("the request of a stream", len(fields), maxInline)
	}
	c.mu.Lock()
	if err := c.mayOpen(ctx); err != nil {
		c.mu.Unlock()
		return nil, NotExecuted, err
	}
	c.lastStream++
	st := newStream(&c.mux, c.lastStream, method, false)
	c.streams[st.id] = st
	b := head.append(make([]byte, 0, maxRequestHead+len(fields)))
	c.add(kindOpen, st.id, append(b, fields...))
	c.unlockAndWrite(noRounds)
	select {
	case <-st.accepted:
	case <-ctx.Done():
		st.Close()
		return nil, OutcomeUnknown, ctxError(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.refused != nil {
		return nil, st.refused.outcome, st.refused.err
	}
	return st, Executed, nil
}

// mayOpen reports why no stream can be opened now. The lock is held.
func (c *clientConn) mayOpen(ctx context.Context) error {
	if err := c.waitRoom(ctx); err != nil {
		return err
	}
	limit := min(c.lim.MaxStreams, c.remote.maxStreams)
	switch {
	case c.err != nil:
		return c.err
	case c.draining:
		return fmt.Errorf("%w: the server takes no new streams on this connection", ErrShutdown)
	case len(c.streams) >= limit:
		return fmt.Errorf("%w: %d streams are open, the limit of the connection", ErrOverloaded, limit)
	}
	return nil
}

// open takes a stream on the server: the handler runs on a goroutine of its own.
func (c *serverConn) open(id uint64, payload []byte) error {
	var head requestHead
	d := wire.NewDecoder(payload)
	head.parse(&d, &c.lim)
	if head.flags != 0 {
		d.Fail("unknown flags of a stream %#x", head.flags)
	}
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: stream: %w", ErrProtocol, err)
	}
	meth := c.s.methods[string(head.name)]
	fields := append([]byte(nil), d.Rest()...)
	c.handOver() // nothing that is ready waits for what may block here
	c.mu.Lock()
	c.waitRoom(context.Background())
	if id <= c.lastStream {
		c.mu.Unlock()
		return fmt.Errorf("%w: stream %d was opened before", ErrProtocol, id)
	}
	c.lastStream = id
	if err := c.mayTake(meth, string(head.name)); err != nil {
		c.s.ctr.failures.Add(1)
		c.add(kindReset, id, appendError(nil, NotExecuted, err))
		c.unlockAndWrite(noRounds)
		return nil
	}
	st := newStream(&c.mux, id, meth.name, true)
	st.ctx = &callContext{peer: &c.peer, method: meth}
	c.streams[id] = st
	c.appendCredit(id, 0) // the client's sign that the stream is taken
	c.unlockAndWrite(noRounds)
	c.s.ctr.streams.Add(1)
	c.s.workers.wg.Go(func() { c.serveStream(meth, fields, st) })
	return nil
}

// mayTake reports why a stream is refused, or takes what it will hold. The lock
// is held.
func (c *serverConn) mayTake(meth *method, name string) error {
	switch {
	case c.err != nil:
		return c.err
	case meth == nil || meth.stream == nil:
		return fmt.Errorf("%w for streams: %q", ErrNoMethod, name)
	case c.handlers >= c.lim.MaxStreams, !c.budget.reserve(c.lim.firstWindow()):
		return c.overloaded()
	case !c.s.begin(1):
		c.budget.release(c.lim.firstWindow())
		return ErrShutdown
	}
	c.handlers++
	return nil
}

// serveStream runs the handler of a stream. Until it returns, the stream counts and
// holds its window, even if the client has reset it.
func (c *serverConn) serveStream(meth *method, fields []byte, st *Stream) {
	err := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = c.panicked(meth, r)
			}
		}()
		return meth.stream(st.ctx, c.s, fields, st)
	}()
	c.mu.Lock() // before the client can hear of the end and open another
	c.handlers--
	st.returned = true
	if c.streams[st.id] != st {
		c.budget.release(st.window)
	}
	c.mu.Unlock()
	if err == nil {
		st.Close()
	} else {
		c.s.ctr.failures.Add(1)
		st.reset(outcomeOfHandler(err), err)
		st.Close()
	}
	st.ctx.cancel(canceled)
	c.s.finish()
}
