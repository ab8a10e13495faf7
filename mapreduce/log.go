package mapreduce

import (
	"context"
	"io"
	"time"
)

// Log is what a coordinator keeps its state in: commands that survive, in one
// order, applied to a [Machine]. The default is a journal in a directory, or
// memory; a replicated log takes its place, and then the coordinator survives its
// machine. An error of Propose that has, somewhere in its tree, a method
// NotLogged() bool that returns true says that the command was not and never will
// be applied; any other leaves that open. All methods may be called concurrently.
type Log interface {
	// Lead blocks until this process may serve in a new epoch; term ends when it
	// no longer may.
	Lead(ctx context.Context) (term context.Context, epoch uint64, err error)
	// Propose returns once cmd is applied and its output released. cmd is
	// borrowed until it returns; the output is the caller's.
	Propose(ctx context.Context, cmd []byte) (index uint64, out []byte, err error)
	// Confirm is the read barrier: whoever read the machine before calling it
	// may answer when it returns.
	Confirm(ctx context.Context) (index uint64, err error)
}

// Machine is the state of a coordinator as a [Log] sees it. Its methods are called
// from one goroutine; cmd is borrowed.
type Machine interface {
	// Apply carries out a command and appends its output to dst.
	Apply(index uint64, at time.Time, cmd, dst []byte) []byte
	// Freeze returns an image of now, in milliseconds, while Apply goes on.
	Freeze() (io.WriterTo, error)
	// Restore replaces the state by that of an image.
	Restore(r io.Reader) error
	// Fingerprint names the format of commands and images.
	Fingerprint() string
}
