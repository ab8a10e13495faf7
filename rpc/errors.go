package rpc

import (
	"errors"
	"strings"
)

// A Code is an error constant that keeps its identity on the wire. Packages
// that serve over rpc declare their sentinels as codes:
//
//	const ErrStaleVersion = rpc.Code("gfs: stale chunk version")
//
// Codes compare by value, so errors.Is(err, ErrStaleVersion) answers the same
// whether err was returned in this process or arrived over a connection, and no
// registry is needed. A Code is at most MaxCodeLen bytes long; a longer one
// crosses the wire as plain text.
type Code string

// MaxCodeLen bounds the length in bytes of a Code that crosses the wire.
const MaxCodeLen = 128

// Error returns the code's text.
func (c Code) Error() string { return string(c) }

// The errors of the package. Each of them crosses the wire.
const (
	// ErrNotExecuted matches every error whose Outcome is NotExecuted: the
	// request has certainly not been executed, and never will be.
	ErrNotExecuted = Code("rpc: not executed")

	// ErrOutcomeUnknown matches every error whose Outcome is OutcomeUnknown:
	// the request may have been executed, or may yet be.
	ErrOutcomeUnknown = Code("rpc: outcome unknown")

	// ErrClosed reports a Client, Server or Stream that has been closed here.
	ErrClosed = Code("rpc: closed")

	// ErrConnLost reports a connection that broke, or that its peer closed.
	ErrConnLost = Code("rpc: connection lost")

	// ErrNoMethod reports a method for which the server has no handler of the
	// kind (unary or stream) that was asked for.
	ErrNoMethod = Code("rpc: no such method")

	// ErrMessage reports a message that could not be encoded or decoded.
	ErrMessage = Code("rpc: malformed message")

	// ErrTooLarge reports a message or body beyond a limit of either side.
	ErrTooLarge = Code("rpc: message too large")

	// ErrOverloaded reports a server that refused the request because one of
	// its limits or budgets is used up. The request was not executed.
	ErrOverloaded = Code("rpc: server overloaded")

	// ErrShutdown reports a server that is draining. The request was not
	// executed.
	ErrShutdown = Code("rpc: server is shutting down")

	// ErrUnavailable is for handlers that cannot serve now. Refuse(ErrUnavailable)
	// says that the request was not executed, and that it is worth trying again,
	// later or elsewhere: clients that retry do so.
	ErrUnavailable = Code("rpc: service unavailable")

	// ErrPanic reports a handler that panicked. The connection and the server
	// live on; the stack is in the server's log.
	ErrPanic = Code("rpc: handler panicked")

	// ErrProtocol reports a peer that broke the protocol of this package.
	ErrProtocol = Code("rpc: protocol violation")

	// ErrHandshake reports a peer that does not speak this protocol at all.
	ErrHandshake = Code("rpc: peer does not speak the trilith protocol")

	// ErrVersion reports a peer none of whose protocol versions is known here.
	ErrVersion = Code("rpc: no protocol version in common")

	// ErrCluster reports a peer that belongs to another cluster.
	ErrCluster = Code("rpc: peer belongs to another cluster")

	// ErrSecret reports a peer that does not know the cluster's secret, or
	// that requires one where none was configured.
	ErrSecret = Code("rpc: cluster secrets do not match")

	// ErrNode reports a peer whose certificate does not bear the node id that
	// it gave itself.
	ErrNode = Code("rpc: node id does not match the certificate")

	// ErrNoSessions reports an exactly-once call to a server that keeps no
	// duplicate table. The request was not executed.
	ErrNoSessions = Code("rpc: server keeps no sessions for exactly-once calls")
)

// Outcome says what is known of the execution of a request that failed.
type Outcome uint8

const (
	// OutcomeUnknown: the request may have been executed, or may yet be.
	OutcomeUnknown Outcome = iota
	// NotExecuted: the request has not been executed and never will be.
	NotExecuted
	// Executed: the handler ran to its end, and the error is its answer.
	Executed
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case NotExecuted:
		return "not executed"
	case Executed:
		return "executed"
	default:
		return "outcome unknown"
	}
}

// Error is the error of every failed call. Err matches the codes above, the
// codes and standard sentinels that a handler returned (fs.ErrNotExist and its
// like survive the wire), and the context's errors.
type Error struct {
	Op      string  // what was tried: "call", "open stream", "dial", "listen", "handshake", …
	Method  string  // the method called, if any
	Addr    string  // the peer's address, if one was chosen
	Outcome Outcome // what is known of the execution
	Err     error   // why it failed
}

// Error returns all that is known, in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("rpc: ")
	b.WriteString(e.Op)
	if e.Method != "" {
		b.WriteByte(' ')
		b.WriteString(e.Method)
	}
	if e.Addr != "" {
		b.WriteString(" at ")
		b.WriteString(e.Addr)
	}
	b.WriteString(": ")
	b.WriteString(strings.TrimPrefix(e.Err.Error(), "rpc: "))
	if e.Outcome != Executed && e.Method != "" {
		b.WriteString(" (")
		b.WriteString(e.Outcome.String())
		b.WriteByte(')')
	}
	return b.String()
}

// Unwrap returns Err, as a cause: what errors in its tree say of an outcome, that
// of a dial or of a call which a handler made itself, is not what is known of this
// call's.
func (e *Error) Unwrap() error {
	if e.Err == nil {
		return nil
	}
	return cause{e.Err}
}

// A cause matches what the error matches, but for an outcome.
type cause struct{ error }

func (c cause) Is(target error) bool {
	return target != ErrNotExecuted && target != ErrOutcomeUnknown && errors.Is(c.error, target)
}

func (c cause) As(target any) bool { return errors.As(c.error, target) }

// Is reports whether target names this error's outcome, ErrNotExecuted or
// ErrOutcomeUnknown.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotExecuted:
		return e.Outcome == NotExecuted
	case ErrOutcomeUnknown:
		return e.Outcome == OutcomeUnknown
	}
	return false
}

// Timeout reports whether a deadline passed; with Temporary it makes an Error a
// net.Error, as users of a Stream expect.
func (e *Error) Timeout() bool { return isTimeout(e.Err) }

// Temporary is what Timeout is.
func (e *Error) Temporary() bool { return e.Timeout() }

// OutcomeOf returns what err says of the execution of the request: Executed for
// nil, and OutcomeUnknown for an error that says nothing.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Executed
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Outcome
	case errors.Is(err, ErrNotExecuted):
		return NotExecuted
	}
	return OutcomeUnknown
}
