package vmft

import (
	"errors"
	"fmt"
	"os"

	"github.com/trilith-go/trilith/rpc"
)

// The errors of the package; they cross the wire.
const (
	// ErrNotLogged says that a command was not and never will be applied.
	ErrNotLogged = rpc.Code("vmft: the command was not logged")
	// ErrUnknown says that a command may have been applied, or may be, or not.
	ErrUnknown = rpc.Code("vmft: the outcome of the command is unknown")
	// ErrClosed says that the node was closed by its owner.
	ErrClosed = rpc.Code("vmft: the node is closed")
	// ErrNotPrimary says that another node is the primary, or that none is now.
	ErrNotPrimary = rpc.Code("vmft: this node is not the primary")
	// ErrFenced says that another has won the epoch after the one this primary served in.
	ErrFenced = rpc.Code("vmft: another primary has taken over")
	// ErrFailed says that the node cannot go on: its disk failed, or its machine.
	ErrFailed = rpc.Code("vmft: the node has failed")
	// ErrPoweredOff says that the machine was switched off.
	ErrPoweredOff = rpc.Code("vmft: the machine was switched off")
	// ErrFingerprint says that two nodes, or a node and its directory, have different
	// versions of the machine.
	ErrFingerprint = rpc.Code("vmft: another version of the machine")
	// ErrTooLarge says that a command is larger than Config.MaxCommand.
	ErrTooLarge = rpc.Code("vmft: the command is too large")
	// ErrGap says that a record was claimed whose predecessor is not in the chain.
	ErrGap = rpc.Code("vmft: the epoch before the claimed one is not in the chain")
	// ErrNoQuery says that the machine answers no queries: it is no Reader.
	ErrNoQuery = rpc.Code("vmft: the machine answers no queries")
	// ErrNoCommand says that the machine takes no commands: it runs by itself, and takes what
	// comes through a Port.
	ErrNoCommand = rpc.Code("vmft: the machine takes no commands")
	// ErrRefused says that a processor could make no sense of an event: it had no effect.
	ErrRefused = rpc.Code("vmft: the processor refuses the event")
	// ErrNoStreams says that the machine has no connections: its node has no Config.Network.
	ErrNoStreams = rpc.Code("vmft: the machine has no connections")
	// ErrConfig says that a field of a configuration is wrong.
	ErrConfig = rpc.Code("vmft: bad configuration")
)

// Error is the error of every call of this package. It matches both its outcome, if the
// call was a proposal, and its cause.
type Error struct {
	Op      string // "start", "lead", "propose", "confirm", "claim", "newest", …
	Addr    string // of the node, or the directory of the arbiter
	Outcome error  // ErrNotLogged or ErrUnknown if Op is "propose", else nil
	Err     error  // why
}

// Error implements error.
func (e *Error) Error() string {
	s := "vmft: " + e.Op
	if e.Addr != "" {
		s += " at " + e.Addr
	}
	if e.Outcome != nil {
		s += fmt.Sprintf(": %v", e.Outcome)
	}
	return fmt.Sprintf("%s: %v", s, e.Err)
}

// Unwrap returns the outcome and the cause.
func (e *Error) Unwrap() []error {
	if e.Outcome != nil {
		return []error{e.Outcome, e.Err}
	}
	return []error{e.Err}
}

// Timeout and Temporary make it a net.Error, for the operations of a [Stream].
func (e *Error) Timeout() bool { return errors.Is(e.Err, os.ErrDeadlineExceeded) }

// Temporary is what Timeout is.
func (e *Error) Temporary() bool { return e.Timeout() }

// NotLogged reports whether the command was not and never will be applied. It is how users
// of a Log that do not import this package tell.
func (e *Error) NotLogged() bool { return e.Outcome == ErrNotLogged }

func invalid(field, what string) error {
	return &Error{Op: "start", Err: fmt.Errorf("%w: Config.%s %s", ErrConfig, field, what)}
}

var errFormat = errors.New("malformed")
