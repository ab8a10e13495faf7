package rpc

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/trilith-go/trilith/internal/wire"
)

// This file carries errors over the wire: an error becomes its text, the codes
// and standard sentinels that it matches, and what it says of the outcome.

const (
	maxErrorText  = 4 << 10 // bytes of an error's text that are sent
	maxErrorCodes = 16      // codes of one error that are sent
	maxRedirects  = 16      // addresses in one redirect
	maxAddr       = 255     // bytes of an address in a redirect
)

// sentinels are the errors of the standard library that survive the wire.
var sentinels = []struct {
	code string
	err  error
}{
	{"fs.ErrNotExist", fs.ErrNotExist},
	{"fs.ErrExist", fs.ErrExist},
	{"fs.ErrPermission", fs.ErrPermission},
	{"fs.ErrInvalid", fs.ErrInvalid},
	{"fs.ErrClosed", fs.ErrClosed},
	{"io.EOF", io.EOF},
	{"io.ErrUnexpectedEOF", io.ErrUnexpectedEOF},
	{"io.ErrShortWrite", io.ErrShortWrite},
	{"context.Canceled", context.Canceled},
	{"context.DeadlineExceeded", context.DeadlineExceeded},
	{"os.ErrDeadlineExceeded", os.ErrDeadlineExceeded},
	{"net.ErrClosed", net.ErrClosed},
	{"errors.ErrUnsupported", errors.ErrUnsupported},
}

// refusal marks the error of a handler that did not execute the request.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// Refuse marks err as a refusal: the handler has not executed the request and
// never will, so that the caller may send it again, here or elsewhere. An
// exactly-once call that is refused is forgotten by the duplicate table.
func Refuse(err error) error { return &refusal{err} }

// uncertain marks the error of a handler that does not know the outcome.
type uncertain struct{ err error }

func (u *uncertain) Error() string { return u.err.Error() }
func (u *uncertain) Unwrap() error { return u.err }

// Uncertain marks err as one that leaves the outcome unknown: the handler
// cannot say whether the request took effect, or will. A caller that retries
// sends it again, and the duplicate table tells.
func Uncertain(err error) error { return &uncertain{err} }

// redirect is the refusal of a server that knows who serves instead.
type redirect struct {
	addrs []string
	heard bool // it came over a connection: who passes it on does not refuse
}

func (r *redirect) Error() string {
	if len(r.addrs) == 0 {
		return "rpc: not served here"
	}
	return "rpc: served by " + strings.Join(r.addrs, ", ")
}

func (r *redirect) Is(target error) bool { return target == ErrUnavailable }

// RedirectTo is the refusal of a handler whose service lives at one of addrs:
// the request was not executed here, and clients follow it there whatever their
// semantics. Without addrs they try the next of their configured addresses. A
// stream has been taken before its handler runs, and cannot follow: it ends with
// this error, and one that the client opens then is opened there.
func RedirectTo(addrs ...string) error { return &redirect{addrs: addrs} }

// WithoutRedirect returns err as one that sends nobody elsewhere, if it does. It is for a
// service that passes on what another says, as that of its log, which is served at other
// addresses: its clients must not go there. What is returned matches all that err matches,
// and ErrUnavailable, for which clients with several addresses try the next.
func WithoutRedirect(err error) error {
	var d *redirect
	if !errors.As(err, &d) || d.heard {
		return err
	}
	return &stay{err}
}

// stay hides the redirect in an error.
type stay struct{ err error }

func (s *stay) Error() string        { return s.err.Error() }
func (s *stay) Unwrap() error        { return ErrUnavailable }
func (s *stay) Is(target error) bool { return errors.Is(s.err, target) }
func (s *stay) As(target any) bool {
	if _, hidden := target.(**redirect); hidden {
		return false
	}
	return errors.As(s.err, target)
}

// outcomeOfHandler returns what the error of a handler says of the outcome. The
// outcome of a call that the handler itself made elsewhere says nothing about
// the handler's, so only the explicit marks count.
func outcomeOfHandler(err error) Outcome {
	if err == nil {
		return Executed
	}
	var (
		r *refusal
		d *redirect
		u *uncertain
	)
	switch {
	case errors.As(err, &r), errors.As(err, &d) && !d.heard:
		return NotExecuted
	case errors.As(err, &u):
		return OutcomeUnknown
	}
	return Executed
}

// appendError appends err, with outcome as what the server knows.
func appendError(dst []byte, outcome Outcome, err error) []byte {
	dst = append(dst, byte(outcome))
	var to []string
	var d *redirect
	if errors.As(err, &d) && !d.heard {
		to = d.addrs[:min(len(d.addrs), maxRedirects)]
	}
	dst = append(dst, byte(len(to)))
	for _, a := range to {
		dst = wire.AppendString(dst, a[:min(len(a), maxAddr)])
	}
	codes := codesOf(err)
	dst = append(dst, byte(len(codes)))
	for _, c := range codes {
		dst = wire.AppendString(dst, c)
	}
	text := err.Error()
	return wire.AppendString(dst, text[:min(len(text), maxErrorText)])
}

// codesOf lists the codes in err's tree, the standard ones last.
func codesOf(err error) []string {
	var codes []string
	var walk func(error)
	walk = func(err error) {
		if len(codes) >= maxErrorCodes {
			return
		}
		if c, ok := err.(Code); ok && len(c) <= MaxCodeLen && !slices.Contains(codes, string(c)) {
			codes = append(codes, string(c))
		}
		switch e := err.(type) {
		case *Error:
			walk(e.Err)
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	for _, s := range sentinels {
		if len(codes) < maxErrorCodes && errors.Is(err, s.err) {
			codes = append(codes, s.code)
		}
	}
	return codes
}

// remoteError is an error as it arrived: it matches what it matched there.
type remoteError struct {
	text  string
	codes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.codes }

// decodeError reads what appendError wrote.
func decodeError(d *wire.Decoder) (Outcome, error) {
	outcome := Outcome(d.Byte())
	if outcome > Executed {
		d.Fail("outcome %d is not known", outcome)
	}
	var to []string
	redirected := false
	for range d.Int(maxRedirects) {
		to = append(to, d.String())
	}
	var codes []error
	for range d.Int(maxErrorCodes) {
		c := d.String()
		codes = append(codes, codeError(c))
		redirected = redirected || c == string(errRedirect)
	}
	text := d.String()
	if err := d.Err(); err != nil {
		return OutcomeUnknown, err
	}
	if redirected || len(to) > 0 {
		return outcome, &redirect{addrs: to, heard: true}
	}
	if len(codes) == 1 && codes[0].Error() == text {
		return outcome, codes[0]
	}
	return outcome, &remoteError{text, codes}
}

// errRedirect travels with a redirect, so that one without addresses is known.
const errRedirect = Code("rpc: redirect")

// Unwrap returns the code by which a redirect is known on the wire.
func (r *redirect) Unwrap() error {
	if r.heard {
		return nil
	}
	return errRedirect
}

func codeError(c string) error {
	for _, s := range sentinels {
		if s.code == c {
			return s.err
		}
	}
	return Code(c)
}
