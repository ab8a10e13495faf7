package rv64

import (
	"errors"
	"fmt"
)

// What fails, other than the guest itself. Errors of this package match one of these
// or are of the configuration.
var (
	ErrBadProgram = errors.New("rv64: not a static riscv64 program for Linux")
	ErrBadEvent   = errors.New("rv64: the event can't be injected")
	ErrBadImage   = errors.New("rv64: not an image of such a machine")
	ErrBadLog     = errors.New("rv64: not a log of such a machine")
	ErrDiverged   = errors.New("rv64: the replay differs from the recording")
)

// An Error says what was tried on what.
type Error struct {
	Op   string // "load", "inject", "restore", …
	Path string // a file or a position, if there is one
	Err  error
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("rv64: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("rv64: %s %s: %v", e.Op, e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
