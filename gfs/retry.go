package gfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// The pauses between the attempts of a client: the n-th is drawn evenly between zero
// and retryMin·2ⁿ, at most retryMax, so that clients who failed together do not come
// back together.
const (
	retryMin = 5 * time.Millisecond
	retryMax = time.Second
)

// errPatience ends what has been tried for as long as ClientConfig.Patience.
var errPatience = errors.New("out of patience")

// retryPause waits before attempt n+1, n from 1. It fails if ctx ends first.
func retryPause(ctx context.Context, n int) error {
	bound := retryMax
	if n < 20 {
		bound = min(retryMax, retryMin<<n)
	}
	t := time.NewTimer(rand.N(bound) + 1)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A retry counts the attempts of an operation and keeps why they failed.
type retry struct {
	n   int
	why error // the last error that was not the context's end
}

// again notes that an attempt failed with err and pauses. It returns nil if there is to
// be another attempt, else the error of the operation.
func (r *retry) again(ctx context.Context, err error) error {
	r.note(ctx, err)
	r.n++
	if retryPause(ctx, r.n) != nil {
		return r.ended(ctx)
	}
	return nil
}

// note keeps err, unless it says no more than that ctx has ended.
func (r *retry) note(ctx context.Context, err error) {
	if r.why == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		r.why = err
	}
}

// ended returns the error of an operation that ctx has ended.
func (r *retry) ended(ctx context.Context) error {
	return endedBy(ctx, r.why)
}

// endedBy says why ctx has ended, and with it what was tried when err was the last error.
func endedBy(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, errPatience):
		cause = ErrUnavailable
	case !errors.Is(cause, ctx.Err()) && !errors.Is(cause, ErrClosed):
		cause = fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	switch {
	case err == nil:
		return cause
	case errors.Is(err, cause): // and it may say what was tried
		return err
	}
	return fmt.Errorf("%w; the last attempt: %w", cause, err)
}

// askMaster reads from the master, or from its shadows while no master answers
// (§5.1.3).
func askMaster[Resp, Req any](ctx context.Context, c *Client, method string, req *Req) (*Resp, error) {
	ctx, end := c.begin(ctx)
	defer end()
	if c.shadows == nil {
		return callMaster[Resp](ctx, c, c.master.AtLeastOnce(), method, req)
	}
	if !c.shadowed(time.Now()) {
		brief, cancel := context.WithTimeout(ctx, shadowAfter)
		resp, err := callMaster[Resp](brief, c, c.master.AtLeastOnce(), method, req)
		late := brief.Err() != nil
		cancel()
		if err == nil || ctx.Err() != nil || !late && !masterAway(err) && rpc.OutcomeOf(err) == rpc.Executed {
			return resp, err
		}
		c.turnToShadows(time.Now())
	}
	return callMaster[Resp](ctx, c, c.shadows.AtLeastOnce(), method, req)
}

const (
	// shadowAfter is how long a read waits for the master before a shadow is asked, and
	// shadowFor how long the shadows are then asked first.
	shadowAfter = 3 * time.Second
	shadowFor   = 5 * time.Second
)

// shadowed reports whether the shadows are asked first.
func (c *Client) shadowed(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.shadowUntil)
}

func (c *Client) turnToShadows(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shadowUntil = now.Add(shadowFor)
}

// tellMaster makes the master change something, exactly once.
func tellMaster[Resp, Req any](ctx context.Context, c *Client, method string, req *Req) (*Resp, error) {
	ctx, end := c.begin(ctx)
	defer end()
	return callMaster[Resp](ctx, c, c.master.ExactlyOnce(), method, req)
}

// callMaster calls a master, again as long as it says that it cannot serve yet. ctx is
// that of an operation.
func callMaster[Resp, Req any](ctx context.Context, c *Client, to rpc.Caller, method string, req *Req) (*Resp, error) {
	var r retry
	for {
		c.count.masterCalls.Add(1)
		resp, err := rpc.Call[Resp](ctx, to, method, req)
		switch {
		case err == nil:
			return resp, nil
		case ctx.Err() != nil:
			r.note(ctx, err)
			return nil, r.ended(ctx)
		case errors.Is(err, rpc.ErrClosed):
			return nil, ErrClosed
		case !masterAway(err):
			return nil, answered(err)
		}
		if err := r.again(ctx, answered(err)); err != nil {
			return nil, err
		}
	}
}

// masterAway reports whether a master's answer means that it does not serve yet, or not
// any more, or not in time. A command of an older epoch was refused by the log; what is
// called again is another command.
func masterAway(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, ErrSafeMode) || errors.Is(err, errOldEpoch) || errors.Is(err, rpc.ErrUnavailable) || errors.Is(err, rpc.ErrOverloaded)
}

// An answer is an error that a server has returned, without the words of the call that
// brought it. It matches all that the call's error does, the outcome too.
type answer struct{ err *rpc.Error }

func (a answer) Error() string { return a.err.Err.Error() }
func (a answer) Unwrap() error { return a.err }

// answered strips the words of the call from an answer; other errors stay.
func answered(err error) error {
	if e, ok := err.(*rpc.Error); ok && e.Outcome == rpc.Executed && e.Err != nil {
		return answer{e}
	}
	return err
}

// refused reports whether an error of the master says that trying again is of no use.
func refused(err error) bool {
	for _, f := range []error{
		fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrInvalid,
		ErrIsDir, ErrNotDir, ErrQuota, ErrNoSpace, ErrTooLarge, ErrReadOnly, ErrClosed, errMoved,
	} {
		if errors.Is(err, f) {
			return true
		}
	}
	return false
}

// errMoved reports a file that is not where it was opened any more.
var errMoved = errors.New("the path names another file than the one that was opened")

// opError dresses the error of an operation.
func opError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Op: op, Path: path, Err: err}
}
