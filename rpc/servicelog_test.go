package rpc

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// A refusingLog refuses everything, as one of which another process is the leader.
type refusingLog struct{ closed int }

func (*refusingLog) Lead(context.Context) (context.Context, uint64, error) {
	return nil, 0, fs.ErrInvalid
}

func (*refusingLog) Propose(context.Context, []byte) (uint64, []byte, error) {
	return 0, nil, errors.Join(testNotLogged{}, RedirectTo("log"))
}

func (*refusingLog) Confirm(context.Context) (uint64, error) { return 0, RedirectTo("log") }

func (l *refusingLog) Close() error { l.closed++; return fs.ErrClosed }

// TestServiceLog: the errors of a log keep what they say, but for where its leader is.
func TestServiceLog(t *testing.T) {
	inner := &refusingLog{}
	log := ServiceLog{inner}
	_, _, proposed := log.Propose(t.Context(), nil)
	_, confirmed := log.Confirm(t.Context())
	for _, err := range []error{proposed, confirmed} {
		if errors.As(err, new(*redirect)) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("a client would follow %v", err)
		}
	}
	if !errors.As(proposed, new(testNotLogged)) {
		t.Errorf("it is lost that nothing was logged: %v", proposed)
	}
	if err := log.Close(); err != fs.ErrClosed || inner.closed != 1 {
		t.Errorf("closed %d times: %v", inner.closed, err)
	}
	if err := (ServiceLog{}).Close(); err != nil {
		t.Error(err)
	}
}

// TestTermOver: a leader whose log refuses it waits for the end of its term, for as long
// as that can take; any other error is its own.
func TestTermOver(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		term, end := context.WithCancel(t.Context())
		began := time.Now()
		if err := TermOver(term, fs.ErrInvalid); err != fs.ErrInvalid || time.Since(began) > 0 {
			t.Errorf("an error of the log: %v after %v", err, time.Since(began))
		}
		refused := error(testNotLogged{})
		if err := TermOver(term, refused); err != refused || time.Since(began) != termPatience {
			t.Errorf("a term that does not end: %v after %v", err, time.Since(began))
		}
		time.AfterFunc(time.Second, end)
		began = time.Now()
		if err := TermOver(term, refused); err != nil || time.Since(began) != time.Second {
			t.Errorf("a term that ends: %v after %v", err, time.Since(began))
		}
		if err := TermOver(term, fs.ErrInvalid); err != nil {
			t.Errorf("after the term: %v", err)
		}
	})
}
