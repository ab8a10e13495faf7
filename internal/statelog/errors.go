package statelog

import (
	"errors"
	"fmt"
)

var (
	// ErrNotLogged says that a command was not and never will be applied.
	ErrNotLogged = errors.New("the command was not logged")
	// ErrUnknown says that a command may have been applied, or may be after a
	// restart, or not.
	ErrUnknown = errors.New("the outcome of the command is unknown")
	// ErrClosed says that the log was closed by its owner.
	ErrClosed = errors.New("the log is closed")
	// ErrFailed says that the log cannot go on: its disk failed, or its machine.
	ErrFailed = errors.New("the log has failed; discard the machine and open the directory again")
	// ErrFingerprint says that what is logged is of another code or format than the
	// machine.
	ErrFingerprint = errors.New("the log belongs to another version of the machine")
	// ErrTooLarge says that a command is larger than Config.MaxCommand.
	ErrTooLarge = errors.New("the command is too large")
	// ErrConfig says that a field of Config is wrong.
	ErrConfig = errors.New("bad configuration")
)

// Error is the error of every call of this package. It matches both its outcome,
// if the call was a proposal, and its cause.
type Error struct {
	Op      string // "open", "lead", "propose", "confirm", "checkpoint", "close"
	Outcome error  // ErrNotLogged or ErrUnknown if Op is "propose", else nil
	Err     error  // why
}

// Error implements error.
func (e *Error) Error() string {
	if e.Outcome != nil {
		return fmt.Sprintf("statelog: %s: %v: %v", e.Op, e.Outcome, e.Err)
	}
	return fmt.Sprintf("statelog: %s: %v", e.Op, e.Err)
}

// Unwrap returns the outcome and the cause.
func (e *Error) Unwrap() []error {
	if e.Outcome != nil {
		return []error{e.Outcome, e.Err}
	}
	return []error{e.Err}
}

// NotLogged reports whether the command was not and never will be applied. It is
// how users of [Log] that do not import this package tell.
func (e *Error) NotLogged() bool { return e.Outcome == ErrNotLogged }

func invalid(field, what string) error {
	return &Error{Op: "open", Err: fmt.Errorf("%w: Config.%s %s", ErrConfig, field, what)}
}
