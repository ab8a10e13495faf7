package rv64

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
)

const (
	debugStride = 20_000_000 // instructions between the images of a Debugger
	debugImages = 64         // that it keeps; then every second is dropped
)

// A Debugger moves a machine along a log, forwards and backwards. It is for one
// goroutine.
type Debugger struct {
	r      *Replayer
	marks  []mark // by rising position
	stride uint64
}

// A mark is a place to which a Debugger can go back at once.
type mark struct {
	at    uint64
	image io.WriterTo
	index int // of the log's entry that comes next
}

// NewDebugger reads a log, as a whole, and stands at its start.
func NewDebugger(log io.Reader, cfg Config) (*Debugger, error) {
	r, err := NewReplayer(log, cfg)
	if err != nil {
		return nil, err
	}
	list := []logEntry{}
	for !r.done {
		list = append(list, r.next)
		if err := r.read(); err != nil {
			return nil, err
		}
	}
	r.list = append(list, logEntry{at: r.end, kind: entryEnd})
	d := &Debugger{r: r, stride: debugStride}
	r.seek(0)
	return d, d.mark()
}

// seek makes the entry i of the list the next one.
func (r *Replayer) seek(i int) {
	r.index, r.done, r.end = i, false, 0
	r.take()
}

// take takes the next entry from the list.
func (r *Replayer) take() {
	r.next = r.list[r.index]
	if r.index++; r.next.kind == entryEnd {
		r.finish()
	}
}

func (d *Debugger) mark() error {
	image, err := d.Machine().Freeze()
	if err != nil {
		return err
	}
	d.marks = append(d.marks, mark{d.Machine().Position(), image, d.r.index - 1})
	if len(d.marks) > debugImages {
		for i := 1; i < len(d.marks); i++ {
			d.marks = slices.Delete(d.marks, i, i+1)
		}
		d.stride *= 2
	}
	return nil
}

// Machine is the one that is moved. Only the Debugger may run it.
func (d *Debugger) Machine() *Machine { return d.r.m }

// End returns the position of the end of the log.
func (d *Debugger) End() uint64 { return d.r.list[len(d.r.list)-1].at }

// Goto moves to a position, or to the end of the log. Events that the log has at that
// position have happened. The error is that of [Replayer.Run].
func (d *Debugger) Goto(position uint64) error {
	m := d.Machine()
	if position < m.Position() {
		i := len(d.marks) - 1
		for i > 0 && d.marks[i].at > position {
			i--
		}
		var b bytes.Buffer
		if _, err := d.marks[i].image.WriteTo(&b); err != nil {
			return err
		}
		if err := m.Restore(&b); err != nil {
			return err
		}
		d.r.seek(d.marks[i].index)
		d.r.same = m.Position()
	}
	for m.Position() < min(position, d.End()) {
		next := position
		if last := d.marks[len(d.marks)-1].at; next > last+d.stride && m.Position() < last+d.stride {
			next = last + d.stride
		}
		if _, err := d.r.Run(next); err != nil {
			return err
		}
		if next != position {
			if err := d.mark(); err != nil {
				return err
			}
		}
	}
	_, err := d.r.Run(m.Position()) // the events of the position itself
	return err
}

// Step moves by n instructions, backwards if it is negative.
func (d *Debugger) Step(n int64) error {
	at := int64(min(d.Machine().Position(), math.MaxInt64))
	return d.Goto(uint64(max(0, at+min(n, math.MaxInt64-at))))
}

// Watch goes on until the 8 bytes at addr change, to just after the instruction or
// event that has changed them, or to the position limit. It looks after every
// instruction: several million a second.
func (d *Debugger) Watch(addr, limit uint64) (changed bool, err error) {
	m := d.Machine()
	old, was := m.Word(addr)
	for m.Position() < min(limit, d.End()) {
		if err := d.Step(1); err != nil {
			return false, err
		}
		if v, is := m.Word(addr); v != old || is != was {
			return true, nil
		}
	}
	return false, nil
}

// String says where the machine is.
func (d *Debugger) String() string {
	return fmt.Sprintf("instruction %d of %d: %v", d.Machine().Position(), d.End(), d.Machine().Backtrace()[0])
}
