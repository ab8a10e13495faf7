package statelogtest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// liar is a log that is wrong in one way.
type liar struct {
	*statelog.Solo
	lie   string
	calls atomic.Int64
}

var errLie = errors.New("told so")

func (l *liar) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	n := l.calls.Add(1)
	switch {
	case l.lie == "applies twice" && n%50 == 0:
		_, _, _ = l.Solo.Propose(ctx, cmd)
	case l.lie == "drops" && n%50 == 0:
		return l.Solo.Propose(ctx, nil) // applies another command
	}
	index, out, err := l.Solo.Propose(ctx, cmd)
	switch {
	case err != nil && l.lie == "calls everything not logged":
		err = &statelog.Error{Op: "propose", Outcome: statelog.ErrNotLogged, Err: errLie}
	case err != nil && l.lie == "calls everything unknown":
		err = &statelog.Error{Op: "propose", Outcome: statelog.ErrUnknown, Err: errLie}
	case err == nil && l.lie == "fails after the fact" && n%50 == 0:
		return 0, nil, &statelog.Error{Op: "propose", Outcome: statelog.ErrNotLogged, Err: errLie}
	case l.lie == "returns another index":
		index++
	case l.lie == "mangles outputs" && n%50 == 0:
		out = slices.Concat(out, out)
	}
	return index, out, err
}

func (l *liar) Confirm(ctx context.Context) (uint64, error) {
	index, err := l.Solo.Confirm(ctx)
	switch l.lie {
	case "confirms an old index":
		index /= 2
	case "confirms for ever":
		err = nil
	}
	return index, err
}

func (l *liar) Lead(ctx context.Context) (context.Context, uint64, error) {
	term, epoch, err := l.Solo.Lead(ctx)
	switch {
	case l.lie == "never ends a term":
		term = context.Background()
	case l.lie == "repeats epochs":
		epoch = 1
	case l.lie == "binds the term to the caller":
		term = ctx
	}
	return term, epoch, err
}

// lying returns a subject whose log has one lie.
func lying(lie string) *statelogtest.Subject {
	disk := vfs.NewMemory(1)
	var log *statelog.Solo
	return &statelogtest.Subject{
		Start: func(newMachine func() *statelogtest.Book) (statelog.Log, *statelogtest.Book, error) {
			book := newMachine()
			l, err := statelog.Open(statelog.Config{Machine: book, Dir: "log", FS: disk})
			if err != nil {
				return nil, nil, err
			}
			log = l
			return &liar{Solo: l, lie: lie}, book, nil
		},
		Stop: func() error { return log.Close() },
		Crash: func() error {
			disk = disk.Crash()
			_ = log.Close() // of the dead machine: its disk fails
			return nil
		},
	}
}

func TestAnHonestLogPasses(t *testing.T) {
	statelogtest.TestLog(t, func() *statelogtest.Subject { return lying("") })
}

func TestLyingLogsAreCaught(t *testing.T) {
	for _, lie := range []string{
		"applies twice", "drops", "calls everything not logged", "calls everything unknown",
		"fails after the fact", "returns another index", "mangles outputs", "confirms an old index",
		"confirms for ever", "never ends a term", "repeats epochs", "binds the term to the caller",
	} {
		var found bytes.Buffer
		for _, c := range statelogtest.Checks {
			if found.Len() > 0 || c.Name == "BigCommands" {
				continue
			}
			testutil.Bubble(t, func(t *testing.T) {
				s := lying(lie)
				if err := c.Run(s); err != nil {
					found.WriteString(c.Name + ": " + err.Error())
				}
				_ = s.Stop() // a check that has failed leaves it as it is
			})
		}
		if found.Len() == 0 {
			t.Errorf("%s: not caught", lie)
		}
		t.Logf("%s: %s", lie, &found)
	}
}
