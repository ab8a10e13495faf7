package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// Semantics is what a call promises about executions of its handler.
type Semantics uint8

const (
	// AtMostOnce: one try. An error's Outcome says whether the request was
	// certainly not executed or may have been.
	AtMostOnce Semantics = iota
	// AtLeastOnce: tried until there is an answer, or the context or the client
	// ends, or an error says that another attempt makes no sense: ErrNoMethod,
	// ErrMessage, ErrTooLarge, or at all addresses ErrSecret, ErrCluster, ErrVersion
	// or ErrNode. For handlers that may run twice without harm.
	AtLeastOnce
	// ExactlyOnce: tried likewise; the server's duplicate table answers repeats. It
	// needs a server with a table, else ErrNoSessions ends the call, and so do the
	// table's ErrOutcomeUnknown, ErrSessionExpired, ErrSessionStale,
	// ErrSessionMismatch and ErrSessionResultTooLarge.
	ExactlyOnce
)

// String returns the semantics in words.
func (s Semantics) String() string {
	switch s {
	case AtLeastOnce:
		return "at least once"
	case ExactlyOnce:
		return "exactly once"
	default:
		return "at most once"
	}
}

// Caller makes calls with one of the semantics: a Client, or one of its views.
type Caller interface {
	caller() (*Client, Semantics)
}

var (
	_ Caller = (*Client)(nil)
	_ Caller = (*view)(nil)
)

// A view is a Client with other semantics.
type view struct {
	c   *Client
	sem Semantics
}

func (v *view) caller() (*Client, Semantics)   { return v.c, v.sem }
func (c *Client) caller() (*Client, Semantics) { return c, AtMostOnce }

// AtLeastOnce returns a view of the client whose calls are retried, but for errors
// that another attempt would meet too.
func (c *Client) AtLeastOnce() Caller { return &c.alo }

// ExactlyOnce returns a view of the client whose calls are retried and, by the
// server's duplicate table, executed once. The first call opens a session.
func (c *Client) ExactlyOnce() Caller { return &c.eo }

// Call calls a method and returns its response, or an *Error. req is borrowed
// until Call returns.
func Call[Resp, Req any](ctx context.Context, c Caller, method string, req *Req) (*Resp, error) {
	resp := new(Resp)
	client, sem := c.caller()
	if err := client.do(ctx, sem, method, req, resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// CallInto is Call into a response of the caller's, which is valid only if the
// error is nil. If it embeds a Body, the body is received into its Data when
// that has the capacity. JSON leaves what it does not name as it was, and adds to maps.
func CallInto[Resp, Req any](ctx context.Context, c Caller, method string, req *Req, resp *Resp) error {
	client, sem := c.caller()
	return client.do(ctx, sem, method, req, resp)
}

// An Invocation is one call as interceptors see it. They must not change it.
type Invocation struct {
	Method    string
	Semantics Semantics
	Attempt   int  // client: counts from 1; server: 0
	Stream    bool // a stream is opened, or handled, rather than a call made
	Req       any  // pointer to the request; server: as received
	Resp      any  // client: pointer to the response, filled by next; otherwise nil
}

// ClientInterceptor wraps every attempt of every call. It runs the attempt by
// calling next, any number of times, one after the other: not calling it drops
// the request, ignoring what it returns drops the reply. An error that it
// returns itself counts as an attempt whose outcome is unknown, unless it is an
// *Error that says otherwise. It must not keep inv.
type ClientInterceptor func(ctx context.Context, inv *Invocation, next func(context.Context) error) error

// An attempts is one call over all its attempts. It is recycled.
type attempts struct {
	c       *Client
	inv     Invocation
	out     outgoing
	fields  []byte      // the encoded request; the memory is kept for the next
	cl      *call       // of the attempt under way
	used    *clientConn // by the last attempt
	sends   int         // requests that have left and were not refused
	counted bool        // among the client's calls, by the connection
	session *session    // of an exactly-once call
}

// attempts returns what a call is made with.
func (c *Client) attempts(sem Semantics, method string, req, resp any) *attempts {
	a, _ := attemptsPool.Get().(*attempts)
	if a == nil {
		a = new(attempts)
	}
	a.c = c
	a.inv.Method, a.inv.Semantics, a.inv.Req, a.inv.Resp = method, sem, req, resp
	if sem == AtLeastOnce {
		a.out.head.flags = flagAtLeastOnce
	}
	return a
}

var attemptsPool sync.Pool

// do makes a call.
func (c *Client) do(ctx context.Context, sem Semantics, method string, req, resp any) error {
	a := c.attempts(sem, method, req, resp)
	err := a.encode(req)
	switch {
	case err != nil:
		err = &Error{Op: "call", Method: method, Outcome: NotExecuted, Err: err}
	case sem == ExactlyOnce:
		err = a.exactlyOnce(ctx)
	case len(c.cfg.Interceptors) > 0:
		if err = a.attempt(ctx, 1); err != nil {
			err = a.retry(ctx, err)
		}
	default:
		// The first attempt, mostly the last, is waited for from here, without what it
		// was begun with: hundreds of callers may be waiting, and the less memory each
		// of them comes back to, the more of them a core's cache holds.
		a.inv.Attempt = 1
		if err = a.begin(ctx); err == nil {
			cc, cl := a.used, a.cl
			if a.out.head.flags&flagChunked != 0 {
				a.fields = nil // they are being sent
			}
			a.recycle()
			if ctx.Done() == nil {
				<-cl.done
				cl.woken()
			} else {
				err = cc.wait(ctx, cl)
			}
			if err = c.finish(cc, cl, method, resp, err); err == nil {
				return nil
			}
			if a = c.resume(sem, method, req, resp, cc, err); a == nil {
				c.ctr.failures.Add(1)
				return err
			}
		}
		if err = a.elsewhere(ctx, err); err != nil {
			err = a.retry(ctx, err)
		}
	}
	if !a.counted {
		c.ctr.calls.Add(1)
	}
	a.recycle()
	if err != nil {
		c.ctr.failures.Add(1)
	}
	return err
}

// resume returns what a call goes on with whose first attempt was sent and has failed
// with err, or nil if it ends with that.
func (c *Client) resume(sem Semantics, method string, req, resp any, cc *clientConn, err error) *attempts {
	outcome := OutcomeOf(err)
	if sem == AtMostOnce && outcome == Executed {
		return nil
	}
	a := c.attempts(sem, method, req, resp)
	if a.encode(req) != nil {
		return nil // it was encoded before, so it has changed meanwhile
	}
	a.inv.Attempt, a.used, a.counted = 1, cc, true
	if outcome != NotExecuted {
		a.sends = 1
	}
	return a
}

// recycle is the end of a: it lets go of all that is not its own. What begin sets
// anew stays.
func (a *attempts) recycle() {
	a.inv.Req, a.inv.Resp = nil, nil
	a.out.head.flags, a.out.head.fields, a.out.head.body = 0, 0, 0
	a.out.fields, a.out.body = nil, nil
	a.fields = kept(a.fields)
	a.c, a.cl, a.used, a.session, a.sends, a.counted = nil, nil, nil, nil, 0, false
	attemptsPool.Put(a)
}

// encode lays out the request once for all attempts.
func (a *attempts) encode(req any) error {
	method := a.inv.Method
	if method == "" || len(method) > maxMethod {
		return fmt.Errorf("%w: a method's name has 1 to %d bytes", ErrNoMethod, maxMethod)
	}
	b, err := appendMessage(a.fields[:0], req)
	if err != nil {
		return malformed(req, err)
	}
	a.fields, a.out.fields = b, b
	if body := bodyOf(req); body != nil {
		a.out.body = body.Data
	}
	a.out.head.method = method
	a.out.head.fields, a.out.head.body = len(b), len(a.out.body)
	if len(b) > maxInline || len(a.out.body) > 0 {
		a.out.head.flags |= flagChunked
	}
	return nil
}

// retry makes more attempts, as the semantics allow, after a first that has failed
// with err.
func (a *attempts) retry(ctx context.Context, err error) error {
	const freeHops, maxHops = 3, 16 // redirects followed at once, and at all without retrying
	maybe := false                  // some attempt may have been executed
	hops := 0
	var why error // what the last attempt failed with that did not fail because ctx had ended
	for n := 1; ; n++ {
		if n > 1 {
			err = a.attempt(ctx, n)
		}
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			why = err
		}
		outcome := OutcomeOf(err)
		maybe = maybe || outcome == OutcomeUnknown
		var to *redirect
		hop := errors.As(err, &to) && outcome == NotExecuted
		if hop {
			hops++
			a.c.ctr.redirects.Add(1)
			if a.used != nil {
				a.c.redirected(a.used, to.addrs)
			}
		}
		if !hop && a.used != nil && outcome == NotExecuted && len(a.c.cfg.Addrs) > 1 && errors.Is(err, ErrUnavailable) {
			a.c.redirected(a.used, nil) // the next call goes there too
		}
		switch {
		case hop && hops <= freeHops && len(to.addrs) > 0:
			continue
		case hop && a.inv.Semantics == AtMostOnce && hops <= maxHops:
		case a.inv.Semantics == AtMostOnce || outcome == Executed || a.c.closing() || final(err):
			return a.failed(err, outcome, maybe)
		}
		if ctxErr := a.c.pause(ctx, n); ctxErr != nil {
			err = fmt.Errorf("%w; the last of %d attempts: %w", ctxErr, n, why)
			return a.failed(err, outcome, maybe)
		}
		a.c.ctr.retries.Add(1)
	}
}

// pause waits between attempts, until ctx or the client ends.
func (c *Client) pause(ctx context.Context, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()
	return c.cfg.Backoff.pause(ctx, n)
}

// failed dresses the error of a call's last attempt: what any attempt may have
// done, the call may have done.
func (a *attempts) failed(err error, outcome Outcome, maybe bool) error {
	if maybe && outcome == NotExecuted {
		outcome = OutcomeUnknown
	}
	var e *Error
	if errors.As(err, &e) && e == err && e.Outcome == outcome {
		return err
	}
	addr := ""
	if a.used != nil {
		addr = a.used.addr
	}
	return &Error{Op: "call", Method: a.inv.Method, Addr: addr, Outcome: outcome, Err: err}
}

// final reports whether another attempt makes no sense after err.
func final(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		err = e.Err // whose ErrOutcomeUnknown, if there is one, is the table's
	}
	if several, ok := err.(dialErrors); ok {
		return !slices.ContainsFunc(several, func(err error) bool { return !final(err) })
	}
	for _, f := range []error{
		ErrOutcomeUnknown, ErrNoMethod, ErrMessage, ErrTooLarge, ErrNoSessions, ErrCluster, ErrSecret, ErrVersion, ErrNode,
		ErrSessionExpired, ErrSessionStale, ErrSessionMismatch, ErrSessionResultTooLarge,
	} {
		if errors.Is(err, f) {
			return true
		}
	}
	return false
}

// intercepted makes one attempt through the interceptors from the i-th on.
func (a *attempts) intercepted(ctx context.Context, i int) error {
	if i == len(a.c.cfg.Interceptors) {
		return a.elsewhere(ctx, a.send(ctx))
	}
	return a.c.cfg.Interceptors[i](ctx, &a.inv, func(ctx context.Context) error {
		return a.intercepted(ctx, i+1)
	})
}

// attempt makes the n-th attempt.
func (a *attempts) attempt(ctx context.Context, n int) error {
	a.inv.Attempt, a.used = n, nil
	if len(a.c.cfg.Interceptors) > 0 {
		return a.intercepted(ctx, 0)
	}
	err := a.send(ctx)
	if err != nil {
		err = a.elsewhere(ctx, err)
	}
	return err
}

// elsewhere sends the request again if err says that the connection turned out to
// be of no use before the request was on it, or the server to be draining: another
// takes its place, which is no second try.
func (a *attempts) elsewhere(ctx context.Context, err error) error {
	if a.used == nil || !unused(err) {
		return err
	}
	a.c.forget(a.used)
	return a.send(ctx)
}

// unused reports whether err says that a connection was over before a request
// could be executed on it.
func unused(err error) bool {
	return err != nil && OutcomeOf(err) == NotExecuted && (errors.Is(err, ErrShutdown) || errors.Is(err, ErrConnLost))
}

// send sends the request and takes its response.
func (a *attempts) send(ctx context.Context) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	return a.finish(a.wait(ctx))
}

// begin sends the request. If it has, wait and finish must follow.
func (a *attempts) begin(ctx context.Context) error {
	a.used = nil
	if err := ctx.Err(); err != nil {
		return a.err("", NotExecuted, ctxError(ctx))
	}
	cc, err := a.c.connect(ctx)
	if err != nil {
		return a.err("", NotExecuted, err)
	}
	a.used = cc
	if a.out.head.fields > cc.remote.maxMessage {
		return a.err(cc.addr, NotExecuted, tooLarge("a message", a.out.head.fields, cc.remote.maxMessage))
	}
	if a.out.head.body > cc.remote.maxBody {
		return a.err(cc.addr, NotExecuted, tooLarge("a body", a.out.head.body, cc.remote.maxBody))
	}
	a.out.head.flags &^= flagDeadline
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left < maxTimeout {
			a.out.head.flags |= flagDeadline
			a.out.head.timeout = left
		}
	}
	cl, _ := a.c.spare.Get().(*call)
	if cl == nil {
		cl = &call{done: make(chan struct{}, 1)}
	}
	a.cl = cl
	if body := bodyOf(a.inv.Resp); body != nil {
		cl.large().into = body.Data
	}
	if a.session != nil && a.inv.Attempt > 1 {
		a.out.head.mark = a.session.watermark(a.out.head.session, a.out.head.mark)
	}
	cl.first = !a.counted
	if err := cc.begin(ctx, &a.out, cl); err != nil {
		return a.c.lost(cc, a.inv.Method, NotExecuted, err)
	}
	a.sends++
	a.counted = true
	return nil
}

// wait waits for the response, and returns an error if ctx has ended before it.
func (a *attempts) wait(ctx context.Context) error {
	if ctx.Done() == nil {
		<-a.cl.done
		a.cl.woken()
		return nil
	}
	return a.used.wait(ctx, a.cl)
}

// finish takes the response, if err is nil: otherwise that is why there is none.
func (a *attempts) finish(err error) error {
	err = a.c.finish(a.used, a.cl, a.inv.Method, a.inv.Resp, err)
	if err != nil && OutcomeOf(err) == NotExecuted {
		a.sends--
	}
	return err
}

// finish takes the response in cl, if err is nil: otherwise that is why there is none.
func (c *Client) finish(cc *clientConn, cl *call, method string, resp any, err error) error {
	if err == nil && cl.more != nil {
		err = cl.more.err
	}
	if err != nil { // and the connection may still refer to cl
		return c.lost(cc, method, OutcomeUnknown, err)
	}
	fields := cl.payload
	if cl.flags&flagChunked != 0 {
		fields = cl.more.in.fields
	}
	if cl.flags&flagError != 0 {
		d := wire.NewDecoder(fields)
		outcome, err := decodeError(&d)
		c.recycle(cl)
		return callError(method, cc.addr, outcome, err)
	}
	if err = decodeResponse(fields, resp); err != nil {
		err = callError(method, cc.addr, Executed, malformed(resp, err))
	} else if body := bodyOf(resp); body != nil {
		body.Data = cl.large().in.body
	}
	c.recycle(cl)
	return err
}

// recycle keeps a call that ended, and that nothing refers to, for another.
func (c *Client) recycle(cl *call) {
	cl.reset()
	c.spare.Put(cl)
}

// lost returns the error of a request that has no response.
func (c *Client) lost(cc *clientConn, method string, outcome Outcome, err error) error {
	if errors.Is(err, ErrShutdown) || errors.Is(err, ErrConnLost) {
		c.forget(cc)
	}
	return callError(method, cc.addr, outcome, err)
}

func (a *attempts) err(addr string, outcome Outcome, err error) error {
	return callError(a.inv.Method, addr, outcome, err)
}

// callError returns the error of an attempt to call method.
func callError(method, addr string, outcome Outcome, err error) error {
	var e *Error
	if errors.As(err, &e) && e == err && e.Method == "" && outcome == NotExecuted {
		addr, err = e.Addr, e.Err // of the dial
	}
	return &Error{Op: "call", Method: method, Addr: addr, Outcome: outcome, Err: err}
}
