package statelog

import (
	"context"
	"io"
	"time"
)

// Machine is a deterministic state machine. Everything that it does follows from
// the commands, their indices and their times alone: it reads no clock, no random
// source and nothing else that differs from run to run, and lets no order of a map
// decide.
//
// The log calls its methods from one goroutine, never two at a time.
type Machine interface {
	// Apply carries out a command, appends its output to dst and returns the
	// result, as append does. index and at rise: at never goes back, several
	// commands may share one. cmd is borrowed: it may be neither changed nor kept.
	// A command that cannot be carried out is one whose output says so. Apply may
	// not panic: the same command would be applied again at the next start.
	Apply(index uint64, at time.Time, cmd, dst []byte) []byte
	// Freeze returns an image of the machine as it is now. It returns within
	// milliseconds: the image is written by WriterTo, once, on another goroutine
	// and while Apply goes on, and is not disturbed by it.
	Freeze() (io.WriterTo, error)
	// Restore replaces the state of the machine by that of an image. It need not
	// leave anything usable behind when it fails.
	Restore(r io.Reader) error
	// Fingerprint names the code and the format of commands and images. Two
	// machines with one fingerprint turn the same log into the same state.
	Fingerprint() string
}

// Log is what the systems that run on a log know of it. An error of Propose that
// has, somewhere in its tree, a method NotLogged() bool that returns true says that
// the command was not and never will be applied; any other error leaves that open.
// All methods may be called concurrently.
type Log interface {
	// Lead blocks until this process may serve in a new epoch; term ends when it no
	// longer may, and its cause says why. ctx governs the wait alone. Each epoch is
	// told once and is greater than every one before it, in any process.
	Lead(ctx context.Context) (term context.Context, epoch uint64, err error)
	// Propose returns once cmd is applied and its output released. cmd is borrowed
	// until it returns; the output is the caller's. It blocks while too much is in
	// progress. When ctx ends a command that has not been taken up is withdrawn,
	// and the outcome of any other is unknown.
	Propose(ctx context.Context, cmd []byte) (index uint64, out []byte, err error)
	// Confirm is the read barrier: whoever read the machine at or before index, in
	// particular whoever read it before calling Confirm, may answer.
	Confirm(ctx context.Context) (index uint64, err error)
}
