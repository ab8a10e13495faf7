package gfs

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// Log is the log that a master's durable state is kept in: that of a single process with
// a journal, which is the default, or of a replicated group. All its methods may be
// called concurrently.
type Log interface {
	// Lead blocks until this process may serve in a new epoch; term ends when it no
	// longer may. Each epoch is told once and is greater than every one before it.
	Lead(ctx context.Context) (term context.Context, epoch uint64, err error)
	// Propose returns once cmd is applied and its output released. cmd is borrowed; the
	// output is the caller's. An error that has, somewhere in its tree, a method
	// NotLogged() bool that returns true says that cmd was not and never will be
	// applied; any other leaves that open.
	Propose(ctx context.Context, cmd []byte) (index uint64, out []byte, err error)
	// Confirm is the read barrier: whoever read the machine at or before index may
	// answer.
	Confirm(ctx context.Context) (index uint64, err error)
}

// A serviceLog is a Log that may be one of several. Where the others are reached is not
// where their masters are, so its errors send clients nowhere: those try the next master
// that they know.
type serviceLog struct{ Log }

// Propose implements Log.
func (l serviceLog) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	index, out, err := l.Log.Propose(ctx, cmd)
	return index, out, rpc.WithoutRedirect(err)
}

// Confirm implements Log.
func (l serviceLog) Confirm(ctx context.Context) (uint64, error) {
	index, err := l.Log.Confirm(ctx)
	return index, rpc.WithoutRedirect(err)
}

// Close closes the log, if it can be closed.
func (l serviceLog) Close() error {
	if closer, ok := l.Log.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// termPatience is how long a term may last in which the log refuses commands.
const termPatience = 10 * time.Second

// termOver returns nil if err is that of a term that ends. If the log has refused a command
// it waits for that end, as the log refuses a little earlier.
func termOver(term context.Context, err error) error {
	if term.Err() != nil {
		return nil
	}
	var refused interface{ NotLogged() bool }
	if !errors.As(err, &refused) {
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

// Machine is what a Log drives: a master's durable state. It is called from one
// goroutine.
type Machine interface {
	// Apply executes a command and appends its output to dst. cmd is borrowed. index
	// and at never go back.
	Apply(index uint64, at time.Time, cmd, dst []byte) []byte
	// Freeze returns an image of now, in milliseconds; Apply goes on.
	Freeze() (io.WriterTo, error)
	// Restore makes the machine the one of an image.
	Restore(r io.Reader) error
	// Fingerprint names the format and the version of the code: a log that was written
	// under another is refused.
	Fingerprint() string
}
