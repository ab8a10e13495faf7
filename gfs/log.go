package gfs

import (
	"context"
	"io"
	"time"
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
