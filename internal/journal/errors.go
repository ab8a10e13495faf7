package journal

import (
	"errors"
	"fmt"
)

var (
	// ErrFailed says that the journal has failed for good; see the package's
	// documentation. The error holds the cause too.
	ErrFailed = errors.New("the journal has failed and must be opened again")
	// ErrClosed says that the journal has been closed.
	ErrClosed = errors.New("the journal is closed")
	// ErrCorrupt says that what is on disk was not left so by a crash: something
	// that had been made safe is damaged or missing.
	ErrCorrupt = errors.New("damaged")
	// ErrVersion says that the files are of a format that this code can't read.
	ErrVersion = errors.New("unknown version of the format")
	// ErrTooLarge says that a record is larger than MaxRecord.
	ErrTooLarge = errors.New("the record is too large")
	// ErrSequence says that a sequence number is not one for which the call can be
	// made.
	ErrSequence = errors.New("no such sequence number")
	// ErrCompacted says that a record has been replaced by a checkpoint.
	ErrCompacted = errors.New("the record has been replaced by a checkpoint")
	// ErrExists says that there is a journal already.
	ErrExists = errors.New("the directory holds a journal already")
	// ErrConfig says that a field of Config is wrong.
	ErrConfig = errors.New("bad configuration")
)

// Error is the error of every call of this package.
type Error struct {
	Op     string // "open", "create", "append", "sync", "write", "checkpoint", "read", "close"
	Path   string // the file or directory
	Offset int64  // where in the file; 0 if that says nothing
	Err    error  // why
}

// Error implements error.
func (e *Error) Error() string {
	if e.Offset > 0 || errors.Is(e.Err, ErrCorrupt) {
		return fmt.Sprintf("journal: %s: %s at offset %d: %v", e.Op, e.Path, e.Offset, e.Err)
	}
	return fmt.Sprintf("journal: %s: %s: %v", e.Op, e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// corrupt describes damage.
func corrupt(path string, offset int64, format string, args ...any) *Error {
	return &Error{Op: "open", Path: path, Offset: offset,
		Err: fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))}
}
