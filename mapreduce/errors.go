package mapreduce

import (
	"strings"

	"github.com/trilith-go/trilith/rpc"
)

// The errors of the package. They are codes, so that errors.Is answers the same
// in the process of the coordinator and at the other end of a connection.
const (
	// ErrConfig reports a field of a Job, a Spec or a configuration that is
	// wrong; the message names it.
	ErrConfig = rpc.Code("mapreduce: bad configuration")

	// ErrNoInput reports a pattern of Spec.Input that matches no file.
	ErrNoInput = rpc.Code("mapreduce: no input")

	// ErrOutputExists reports a Spec.Output directory that is not empty. A job
	// never adds to or replaces what is there.
	ErrOutputExists = rpc.Code("mapreduce: output directory is not empty")

	// ErrUnknownJob reports a job name that is in no registry of this process,
	// or a job id that the coordinator does not know (any more).
	ErrUnknownJob = rpc.Code("mapreduce: unknown job")

	// ErrFingerprint reports a worker or client whose code is not that of the
	// coordinator.
	ErrFingerprint = rpc.Code("mapreduce: coordinator and peer do not run the same code")

	// ErrJobFailed reports a job that was given up because a task failed in
	// every attempt it was granted; the message holds the last attempt's error.
	ErrJobFailed = rpc.Code("mapreduce: job failed")

	// ErrCanceled reports a job that was cancelled.
	ErrCanceled = rpc.Code("mapreduce: job cancelled")

	// ErrAborted reports a job that was given up because its coordinator died, as
	// its Spec.Abort wished, and that is not submitted again (any more).
	ErrAborted = rpc.Code("mapreduce: job aborted")

	// ErrTaskTimeout reports an attempt that made no progress for Spec.TaskTimeout.
	ErrTaskTimeout = rpc.Code("mapreduce: task made no progress")

	// ErrPanic reports a panic in a function of the job; the message holds the
	// panic's value, the record or key, and the stack.
	ErrPanic = rpc.Code("mapreduce: panic in the job's code")

	// ErrProgram reports a program of a Command that could not be started, or has
	// failed; the message holds the end of what it wrote to its standard error.
	ErrProgram = rpc.Code("mapreduce: program failed")

	// ErrCorrupt reports map output, or a file of pairs, whose checksum or structure is
	// wrong.
	ErrCorrupt = rpc.Code("mapreduce: corrupt data")

	// ErrTooLarge reports a record, key or value beyond MaxRecordBytes.
	ErrTooLarge = rpc.Code("mapreduce: record too large")

	// ErrCounter reports a counter whose name is not allowed, or one too many.
	ErrCounter = rpc.Code("mapreduce: bad counter")

	// ErrSideFile reports a file that a task cannot write besides its output: its
	// name is not allowed or another task's, or there are too many.
	ErrSideFile = rpc.Code("mapreduce: bad side file")

	// ErrFull reports a coordinator that has as many unfinished jobs or workers
	// as its limits allow.
	ErrFull = rpc.Code("mapreduce: coordinator is full")

	// ErrUnordered reports a file for MergeOutput whose records are not in order, or
	// results that are not when they are written to a PairFile.
	ErrUnordered = rpc.Code("mapreduce: records are out of order")

	// ErrClosed reports a coordinator or worker that was closed here.
	ErrClosed = rpc.Code("mapreduce: closed")
)

// Error is the error of every failed operation of this package.
type Error struct {
	Op  string // what was tried: "run", "submit", "wait", "register", "map", "reduce", "commit", …
	Job string // the job's name, if there was one
	On  string // the file, task, address or field it was tried on, if any
	Err error  // why it failed
}

// Error returns all that is known, in one line unless Err has more.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("mapreduce: ")
	b.WriteString(e.Op)
	if e.Job != "" {
		b.WriteString(" job ")
		b.WriteString(e.Job)
	}
	if e.On != "" {
		b.WriteString(": ")
		b.WriteString(e.On)
	}
	b.WriteString(": ")
	b.WriteString(strings.TrimPrefix(e.Err.Error(), "mapreduce: "))
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
