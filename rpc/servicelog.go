package rpc

import (
	"context"
	"errors"
	"io"
	"time"
)

// A ServiceLog is the Log of a service that may be one of several on one replicated log.
// Where the others are reached is not where their services are, so its errors send
// clients nowhere (see WithoutRedirect): those try the next service that they know.
type ServiceLog struct{ Log }

// Propose implements Log.
func (l ServiceLog) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	index, out, err := l.Log.Propose(ctx, cmd)
	return index, out, WithoutRedirect(err)
}

// Confirm implements Log.
func (l ServiceLog) Confirm(ctx context.Context) (uint64, error) {
	index, err := l.Log.Confirm(ctx)
	return index, WithoutRedirect(err)
}

// Close closes the log, if it can be closed.
func (l ServiceLog) Close() error {
	if closer, ok := l.Log.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// termPatience is how long a term may last in which the log refuses commands.
const termPatience = 10 * time.Second

// TermOver takes an error that a leader of a log has met, and returns nil if it is that of
// a term that ends, so that the leader stands by for the next; otherwise it returns the
// error. If it is one of Propose that says whether the command was logged, TermOver waits
// up to ten seconds for that end, as a log refuses a little before its term is over. term
// is the context of Log.Lead.
func TermOver(term context.Context, err error) error {
	if term.Err() != nil {
		return nil
	}
	var proposed interface{ NotLogged() bool }
	if !errors.As(err, &proposed) {
		return err
	}
	patience := time.NewTimer(termPatience)
	defer patience.Stop()
	select {
	case <-term.Done():
		return nil
	case <-patience.C:
		return err
	}
}
