package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Beside the errors of the operating system (see [ErrRefused] and the others in
// its group), the in-memory network has these.
var (
	// ErrBadAddress says that an address, or the name of a host, can't be used.
	ErrBadAddress = errors.New("bad address")
	// ErrUnknownHost says that the in-memory network has no host of that name.
	ErrUnknownHost = errors.New("unknown host")
	// ErrHostDown says that the host on which the call was made has crashed, or
	// had crashed since the connection or listener was made.
	ErrHostDown = errors.New("host is down")
	// ErrConfig says that a configuration can't work; the message names the field.
	ErrConfig = errors.New("bad configuration")
)

// Error is what this package's functions and in-memory connections return. It
// is a net.Error.
type Error struct {
	Op   string // "dial", "listen", "accept", "read", "write", …
	Addr string // what it was tried on, as given; may be empty
	Err  error  // the cause
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("transport: ")
	b.WriteString(e.Op)
	if e.Addr != "" {
		b.WriteString(" ")
		b.WriteString(e.Addr)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether time ran out: a deadline, a context's deadline, or a
// connection that the network gave up ([ErrTimedOut]).
func (e *Error) Timeout() bool {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return true
	}
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](e.Err)
	return ok && t.Timeout()
}

// Temporary reports whether a deadline passed, after which the connection is as
// good as before. crypto/tls asks; others should ask errors.Is.
func (e *Error) Temporary() bool { return errors.Is(e.Err, os.ErrDeadlineExceeded) }

// badConfig is an ErrConfig that names the field and says what is wrong with it.
func badConfig(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrConfig, field, fmt.Errorf(format, args...))
}
