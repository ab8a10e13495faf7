package jobs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"

	"github.com/trilith-go/trilith/mapreduce"
)

// PatternArg names the argument of Grep that holds the regular expression.
const PatternArg = "pattern"

// Grep is the distributed grep of the paper: Map emits the lines that match, and
// Reduce is the identity. The lines of a file come out in their order.
var Grep = mapreduce.Job[Place, []byte, []byte]{
	Name:  "grep",
	Input: mapreduce.Text{Reuse: true},
	Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(Place, []byte)) error {
		pattern, err := compile(t.Arg(PatternArg))
		if err != nil {
			return err
		}
		if pattern.Match(line.Value) {
			emit(Place{line.File, line.Offset}, line.Value)
		}
		return nil
	},
	Reduce: mapreduce.Values[Place, []byte],
}

// latest is the pattern that was compiled last: all tasks of a job have the same.
var latest atomic.Pointer[regexp.Regexp]

func compile(pattern string) (*regexp.Regexp, error) {
	if re := latest.Load(); re != nil && re.String() == pattern {
		return re, nil
	}
	if pattern == "" {
		return nil, fmt.Errorf("the argument %q, a regular expression, is missing", PatternArg)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("the argument %q: %w", PatternArg, err)
	}
	latest.Store(re)
	return re, nil
}

// Place is where a line begins. Places are ordered by file, then by offset.
type Place struct {
	File   string
	Offset int64
}

const offsetBytes = 8

// AppendBinary implements encoding.BinaryAppender. No file name contains a zero
// byte, so that of two names of which one begins with the other the shorter is less.
func (p Place) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(append(dst, p.File...), 0)
	return binary.BigEndian.AppendUint64(dst, uint64(p.Offset)), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (p *Place) UnmarshalBinary(src []byte) error {
	name := len(src) - offsetBytes - 1
	if name < 0 || src[name] != 0 {
		return errors.New("not the encoding of a place")
	}
	p.File = string(src[:name])
	p.Offset = int64(binary.BigEndian.Uint64(src[name+1:]))
	return nil
}

// AppendText implements encoding.TextAppender.
func (p Place) AppendText(dst []byte) ([]byte, error) {
	dst = append(append(dst, p.File...), ':')
	return strconv.AppendInt(dst, p.Offset, 10), nil
}
