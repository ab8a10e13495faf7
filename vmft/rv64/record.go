package rv64

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/trilith-go/trilith/internal/wire"
)

// A log is a magic string, an image of where it starts, and entries, each with its
// length before it: how many instructions after the last one, the kind, and an
// event, a digest or nothing. One that was cut off is good up to there.
const logMagic = "rv64log\x01"

const (
	entryEvent = iota + 1
	entryDigest
	entryEnd
)

// DefaultInterval is after how many instructions a recording is compared, if nothing
// else is asked for.
const DefaultInterval = 100_000_000

// maxEntry bounds an entry of a log.
const maxEntry = 2 << 20

// A Recorder runs a machine and writes down what it is told. It is for one
// goroutine, as the machine is, which nobody else may run or give events to.
type Recorder struct {
	m        *Machine
	w        *bufio.Writer
	interval uint64
	last     uint64 // the position of the last entry
	due      uint64 // that of the next digest
	err      error
}

// NewRecorder starts a log with the state of m as it is. Every interval instructions
// it writes a digest (0: DefaultInterval): a replay that differs is found within that
// many.
func NewRecorder(m *Machine, w io.Writer, interval uint64) (*Recorder, error) {
	if interval == 0 {
		interval = DefaultInterval
	}
	r := &Recorder{m: m, w: bufio.NewWriter(w), interval: interval, last: m.Position(), due: m.Position() + interval}
	image, err := m.Freeze()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		return nil, err
	}
	r.w.WriteString(logMagic)
	r.w.Write(binary.LittleEndian.AppendUint64(nil, uint64(b.Len())))
	if _, err := r.w.Write(b.Bytes()); err != nil {
		return nil, &Error{Op: "record", Err: err}
	}
	return r, nil
}

func (r *Recorder) entry(kind byte, data []byte) {
	at := r.m.Position()
	b := append(binary.AppendUvarint(nil, at-r.last), kind)
	b = append(b, data...)
	r.last = at
	if _, err := r.w.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil && r.err == nil {
		r.err = &Error{Op: "record", Path: fmt.Sprint("at ", at), Err: err}
	}
}

// Run is the machine's, with digests on the way.
func (r *Recorder) Run(until uint64) uint64 {
	for {
		at := r.m.Run(min(until, r.due))
		if at < r.due {
			return at
		}
		h := r.m.Hash()
		r.entry(entryDigest, h[:])
		if r.due += r.interval; at >= until {
			return at
		}
	}
}

// Inject is the machine's. The event is in the log before it has an effect, though
// not on a disk: that needs Flush.
func (r *Recorder) Inject(event []byte) error {
	if _, exited := r.m.Exited(); exited {
		return nil
	}
	if len(event) > maxEntry-64 {
		return &Error{Op: "inject", Path: fmt.Sprint("at ", r.m.Position()), Err: ErrBadEvent}
	}
	if err := r.m.Inject(event); err != nil {
		return err
	}
	r.entry(entryEvent, event)
	return r.err
}

// Flush hands all entries to the writer.
func (r *Recorder) Flush() error {
	if err := r.w.Flush(); err != nil && r.err == nil {
		r.err = &Error{Op: "record", Err: err}
	}
	return r.err
}

// Close ends the log with a digest of the state. It does not close the writer.
func (r *Recorder) Close() error {
	h := r.m.Hash()
	r.entry(entryDigest, h[:])
	r.entry(entryEnd, nil)
	return r.Flush()
}

// A Divergence is where a replay has turned out to differ from its recording. It
// matches ErrDiverged.
type Divergence struct {
	// After is the last position where both were the same, At the one where they were
	// found not to be.
	After, At uint64
	// Reason says what differed.
	Reason string
}

func (d *Divergence) Error() string {
	return fmt.Sprintf("%v between instructions %d and %d: %s", ErrDiverged, d.After, d.At, d.Reason)
}

// Is makes errors.Is find ErrDiverged.
func (d *Divergence) Is(target error) bool { return target == ErrDiverged }

// A Replayer runs a machine as a log says.
type Replayer struct {
	m    *Machine
	r    *bufio.Reader
	next logEntry // its position is MaxUint64 after the last
	same uint64   // where the last digest was right
	end  uint64   // where the log ended, once it has
	done bool

	// list has all entries, for a Debugger; index is that of the one after next.
	list  []logEntry
	index int

	// Output is called for each output, if it is set. Data is borrowed.
	Output func(Output)
}

type logEntry struct {
	at   uint64
	kind byte
	data []byte
}

// NewReplayer makes a machine of the start of a log. Of the Config, only Stepper and
// Logger count. The error matches ErrBadLog or ErrBadImage.
func NewReplayer(log io.Reader, cfg Config) (*Replayer, error) {
	r := &Replayer{r: bufio.NewReaderSize(log, 1<<16)}
	head := make([]byte, len(logMagic)+8)
	if _, err := io.ReadFull(r.r, head); err != nil || string(head[:len(logMagic)]) != logMagic {
		return nil, &Error{Op: "replay", Err: ErrBadLog}
	}
	size := binary.LittleEndian.Uint64(head[len(logMagic):])
	if size > math.MaxInt64 {
		return nil, &Error{Op: "replay", Err: ErrBadLog}
	}
	var err error
	part := &io.LimitedReader{R: r.r, N: int64(size)}
	if r.m, err = NewFrom(part, cfg); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, part); err != nil {
		return nil, &Error{Op: "replay", Err: err}
	}
	r.same = r.m.Position()
	r.next.at = r.same
	return r, r.read()
}

// Machine is the one that is run. It may be looked at between two calls of Run.
func (r *Replayer) Machine() *Machine { return r.m }

// read reads the next entry.
func (r *Replayer) read() error {
	if r.list != nil {
		r.take()
		return nil
	}
	bad := func(err error) error {
		return &Error{Op: "replay", Path: fmt.Sprint("after ", r.next.at), Err: fmt.Errorf("%w: %v", ErrBadLog, err)}
	}
	n, err := binary.ReadUvarint(r.r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.finish()
		return nil
	}
	if err != nil || n > maxEntry {
		return bad(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.finish()
		return nil
	} else if err != nil {
		return bad(err)
	}
	d := wire.NewDecoder(b)
	at := r.next.at + d.Uvarint()
	r.next = logEntry{at: at, kind: d.Byte(), data: d.Rest()}
	if err := d.Err(); err != nil || at < r.m.Position() || r.next.kind == 0 || r.next.kind > entryEnd {
		return bad(err)
	}
	if r.next.kind == entryEnd {
		r.finish()
	}
	return nil
}

func (r *Replayer) finish() {
	r.end, r.done = r.next.at, true
	r.next = logEntry{at: math.MaxUint64}
}

// Done reports whether the machine is where the log ends.
func (r *Replayer) Done() bool { return r.done && r.m.Position() >= r.end }

// Run goes on to a position, or to the end of the log. Outputs go to Output. The
// error matches ErrDiverged (and is a *Divergence) or ErrBadLog.
func (r *Replayer) Run(until uint64) (uint64, error) {
	for {
		to := min(until, r.next.at)
		if r.done {
			to = min(to, r.end)
		}
		if err := r.runTo(to); err != nil {
			return r.m.Position(), err
		}
		if r.next.at > to {
			return to, nil
		}
		if err := r.apply(); err != nil {
			return r.m.Position(), err
		}
		if err := r.read(); err != nil {
			return r.m.Position(), err
		}
	}
}

func (r *Replayer) runTo(to uint64) error {
	for r.m.Position() < to {
		before := r.m.Position()
		at := r.m.Run(to)
		_, exited := r.m.Exited()
		_, idle := r.m.Idle()
		if err := r.drain(); err != nil {
			return err
		}
		if at < to && (exited || idle) {
			what := "waits for an event"
			if exited {
				what = "has exited"
			}
			return &Divergence{After: r.same, At: max(before, at), Reason: fmt.Sprintf("the program %s at %d, before the log's next entry at %d", what, at, to)}
		}
		if at < to && at == before && r.m.stop.Load() {
			return nil
		}
	}
	return nil
}

func (r *Replayer) apply() error {
	switch r.next.kind {
	case entryEvent:
		if err := r.m.Inject(r.next.data); err != nil {
			return &Divergence{After: r.same, At: r.next.at, Reason: err.Error()}
		}
		return r.drain()
	case entryDigest:
		h := r.m.Hash()
		if !bytes.Equal(h[:], r.next.data) {
			return &Divergence{After: r.same, At: r.next.at, Reason: fmt.Sprintf("the state's hash is %x, and was %x", h[:8], r.next.data[:min(8, len(r.next.data))])}
		}
		r.same = r.next.at
	}
	return nil
}

// drain takes the outputs.
func (r *Replayer) drain() error {
	for r.Output != nil {
		_, b, ok := r.m.NextOutput()
		if !ok {
			break
		}
		o, err := ParseOutput(b)
		if err != nil {
			return err
		}
		r.Output(o)
	}
	r.m.drop()
	return nil
}

// drop forgets the outputs.
func (m *Machine) drop() { m.kernel.outputs, m.kernel.outputBytes = nil, 0 }
