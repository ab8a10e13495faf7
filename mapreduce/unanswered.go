package mapreduce

import (
	"context"
	"strings"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// unansweredGrace is for how long a coordinator may not answer before the operator
	// is told: one that is just being started, or takes over, needs a moment.
	unansweredGrace = time.Second
	// unansweredAgain is after what time the same is told again.
	unansweredAgain = 30 * time.Second
)

// An unanswered is how long no coordinator has answered a worker, and what its operator was
// told about that. It belongs to the goroutine that registers and polls.
type unanswered struct {
	since time.Time // zero: it has answered
	told  time.Time
	what  string // without digits
}

// watchRegister is an interceptor that sees each attempt to register, of which there are as
// many as it takes.
func (w *Worker) watchRegister(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	if inv.Method == methodRegister && w.unanswered.since.IsZero() {
		w.unanswered.since = time.Now()
	}
	err := next(ctx)
	if inv.Method == methodRegister {
		w.answer(err)
	}
	return err
}

// answer takes note of what has become of an attempt to reach the coordinator. If it goes
// on failing that is told: once, when the reason is another, and every now and then.
func (w *Worker) answer(err error) {
	u, now := &w.unanswered, time.Now()
	switch {
	case w.ctx.Err() != nil:
		return
	case err == nil || rpc.OutcomeOf(err) == rpc.Executed:
		*u = unanswered{}
		return
	case u.since.IsZero():
		u.since = now
	}
	what := strings.Map(noDigit, err.Error()) // each connection has another port
	// A reason that alternates with another, as with several addresses, is not told each time.
	if now.Sub(u.since) < unansweredGrace || now.Sub(u.told) < unansweredGrace || what == u.what && now.Sub(u.told) < unansweredAgain {
		return
	}
	u.told, u.what = now, what
	w.cfg.Logger.Warn("waiting for the coordinator at "+strings.Join(w.cfg.Coordinators, ", "), "error", err)
}

// noDigit leaves digits out.
func noDigit(r rune) rune {
	if '0' <= r && r <= '9' {
		return -1
	}
	return r
}
