package gfs

import (
	"fmt"
	"io/fs"

	"github.com/trilith-go/trilith/internal/wire"
)

// An outcomeCode is the first byte of a command's output. All but outcomeOK are followed by
// a text, and nothing has been done.
type outcomeCode uint8

const (
	outcomeOK outcomeCode = iota
	outcomeMalformed
	outcomeNotExist
	outcomeExist
	outcomePermission
	outcomeInvalid
	outcomeIsDir
	outcomeNotDir
	outcomeNotEmpty
	outcomeStale
	outcomeQuota
	outcomeTooLarge
	outcomeOldEpoch
)

// outcomes are the errors that the outcomes stand for.
var outcomes = [...]error{
	outcomeMalformed:  wire.ErrCorrupt,
	outcomeNotExist:   fs.ErrNotExist,
	outcomeExist:      fs.ErrExist,
	outcomePermission: fs.ErrPermission,
	outcomeInvalid:    fs.ErrInvalid,
	outcomeIsDir:      ErrIsDir,
	outcomeNotDir:     ErrNotDir,
	outcomeNotEmpty:   ErrNotEmpty,
	outcomeStale:      ErrStale,
	outcomeQuota:      ErrQuota,
	outcomeTooLarge:   ErrTooLarge,
	outcomeOldEpoch:   errOldEpoch,
}

// A refusal is why a command was refused, or a read.
type refusal struct {
	outcome outcomeCode
	path    string // may be another than was asked for: a directory above
	why     string // more about it, or ""
}

// Error returns what is wrong, with what, and why.
func (f *refusal) Error() string {
	s := f.Unwrap().Error()
	if f.path != "" {
		s += ": " + f.path
	}
	if f.why != "" {
		s += ": " + f.why
	}
	return s
}

// Unwrap returns the sentinel.
func (f *refusal) Unwrap() error { return outcomes[f.outcome] }

func refuse(o outcomeCode, path, format string, args ...any) error {
	return &refusal{o, path, fmt.Sprintf(format, args...)}
}

func refuseAt(o outcomeCode, key []byte) error { return &refusal{o, keyPath(key), ""} }

// appendOutcome appends what a command comes to: what it returns is already there, from
// start on, unless there is an error.
func appendOutcome(dst []byte, start int, err error) []byte {
	if err == nil {
		return dst
	}
	f, ok := err.(*refusal)
	if !ok {
		f = &refusal{outcome: outcomeMalformed, why: err.Error()}
	}
	dst = append(dst[:start], byte(f.outcome))
	dst = wire.AppendString(dst, f.path)
	return wire.AppendString(dst, f.why)
}

// decodeOutcome takes the output of a command apart: what it returned, in out, or the
// error, which matches those of gfs.go and of package fs.
func decodeOutcome(out []byte) (rest []byte, err error) {
	d := wire.NewDecoder(out)
	o := outcomeCode(d.Byte())
	if d.Err() == nil && o == outcomeOK {
		return d.Rest(), nil
	}
	f := &refusal{o, d.String(), d.String()}
	if int(o) >= len(outcomes) {
		d.Fail("outcome %d", o)
	}
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("output of a command: %w", err)
	}
	return nil, f
}
