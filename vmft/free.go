package vmft

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// kinds of entries of a free-running machine. Each begins with an instruction count, as a
// uvarint: whoever applies it runs the processor to exactly there first.
const (
	kindProgress   = 6  // it has come so far, and nothing has happened
	kindInput      = 7  // an event from outside
	kindCompletion = 8  // outputs that are done, and the event that tells of it, if any
	kindTimer      = 9  // time has passed
	kindPreempt    = 10 // the running thread's turn is over
)

// A runner is a processor under the log. Both sides have one, and apply the same entries to
// it; on the primary the processor stands already where the next entry says.
//
// Invariants, checked by check: the processor stands where the last entry has told, and on a
// backup has never been past that; what is kept is in the order of its numbers, and what has
// left and is not kept was completed by an entry.
type runner struct {
	p        Processor
	told     uint64 // the count of the last entry
	outputs  uint64 // the number of the last output
	kept     []kept // outputs that are not done, and some that are; the oldest first
	finished int    // how many of these are done
	size     int64  // bytes of those that are not
	live     bool   // it is the primary's
	fresh    []Output
	fleeting func(output []byte) bool // outputs that are not kept; nil: none is
	given    [][]byte                 // events of entries that don't have them, the next first
	fetching bool                     // there are such entries
	streamed bool                     // events are tagged: of streams, or of the processor itself
	fault    error                    // why it is not what the log says any more
	transfer *transfer                // its state is sent; nil: what it is told is
	bugs     bugs
}

type kept struct {
	Output
	done bool
}

func byNumber(k kept, n uint64) int { return int(int64(k.Number - n)) }

var _ Machine = (*runner)(nil)

// ErrDiverged says that a processor cannot have come where the log says that the primary's
// has: it is not deterministic, or another one than it says.
var ErrDiverged = errors.New("vmft: the processor has diverged from the log")

func newRunner(p Processor) *runner { return &runner{p: p, told: p.Position()} }

// become says whose the processor is from here on.
func (r *runner) become(live bool) {
	r.live, r.fresh, r.given = live, nil, nil
	r.transfer.void()
}

// appendCount appends the beginning of an entry's data: where the processor stands.
func (r *runner) appendCount(dst []byte) []byte {
	return binary.AppendUvarint(dst, r.p.Position())
}

// appendCompletion appends what comes after the count in an entry that completes outputs.
func appendCompletion(dst []byte, event []byte, numbers []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(numbers)))
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, n)
	}
	return append(dst, event...)
}

// apply executes an entry. Its output is empty, or says why the event was refused.
func (r *runner) apply(e entry, dst []byte) []byte {
	if r.fault != nil {
		return append(dst, r.fault.Error()...)
	}
	if e.kind == kindDelta {
		if err := r.takePart(e.data); err != nil {
			r.fault = fmt.Errorf("a delta after %d: %w", r.told, err)
		}
		return dst
	}
	d := wire.NewDecoder(e.data)
	count := d.Uvarint()
	var numbers []uint64
	if e.kind == kindCompletion {
		for range d.Count(1) {
			numbers = append(numbers, d.Uvarint())
		}
	}
	event, err := d.Rest(), d.Err()
	if e.kind == kindFetched {
		numbers, event, err = r.fetched(e.data)
	}
	if err != nil {
		r.fault = fmt.Errorf("an entry at %d: %w", r.told, err)
		return append(dst, r.fault.Error()...)
	}
	if r.runTo(count); r.fault != nil {
		return append(dst, r.fault.Error()...)
	}
	dst = r.do(numbers, event, dst)
	if r.bugs.runPast && !r.live {
		r.p.Run(count + 40)
		r.drain()
	}
	return dst
}

// do takes note of outputs that are done, and gives the processor an event. It appends why
// that was refused.
func (r *runner) do(numbers []uint64, event, dst []byte) []byte {
	for _, n := range numbers {
		r.complete(n)
	}
	if len(event) > 0 {
		if err := r.p.Inject(event); err != nil {
			dst = append(dst, err.Error()...)
		}
		r.drain()
	}
	return dst
}

// maxIdleRuns is how often Run may return without having executed anything before that is
// taken for a fault: an interrupt may be left over.
const maxIdleRuns = 1000

// runTo executes up to a count, exactly.
func (r *runner) runTo(count uint64) {
	r.drain()
	if at := r.p.Position(); at > count {
		r.fault = fmt.Errorf("%w: it stands at %d, the log at %d", ErrDiverged, at, count)
		return
	}
	for idle := 0; r.p.Position() < count; {
		before := r.p.Position()
		at := r.p.Run(count)
		r.drain()
		_, waits := r.p.Idle()
		_, exited := r.p.Exited()
		if idle++; at > before {
			idle = 0
		}
		if at < count && (waits || exited || idle > maxIdleRuns) || at > count {
			r.fault = fmt.Errorf("%w: after %d it stops at %d (idle %v, exited %v), the log goes on at %d", ErrDiverged, r.told, at, waits, exited, count)
			return
		}
	}
	r.told = count
}

// drain numbers the outputs that have left, and keeps them.
func (r *runner) drain() {
	for {
		at, data, ok := r.p.NextOutput()
		if !ok {
			return
		}
		r.outputs++
		o := Output{Number: r.outputs, Position: at, Data: data}
		if r.fleeting == nil || !r.fleeting(data) {
			r.kept = append(r.kept, kept{Output: o})
			r.size += int64(len(data))
		}
		if r.live {
			r.fresh = append(r.fresh, o)
		}
	}
}

// take returns the outputs that have left since the last time, on the primary.
func (r *runner) take() (fresh []Output) {
	fresh, r.fresh = r.fresh, nil
	return fresh
}

// complete forgets an output that is done.
func (r *runner) complete(number uint64) {
	i, ok := slices.BinarySearchFunc(r.kept, number, byNumber)
	if !ok || r.kept[i].done {
		return
	}
	if t := r.transfer; t != nil && r.live && number <= t.sent {
		t.done = append(t.done, number)
	}
	k := &r.kept[i]
	r.size -= int64(len(k.Data))
	k.done, k.Data = true, nil
	r.finished++
	n := 0
	for n < len(r.kept) && r.kept[n].done {
		n++
	}
	r.kept, r.finished = r.kept[n:], r.finished-n
	if r.finished > 32 && r.finished > len(r.kept)/2 {
		r.kept = slices.DeleteFunc(r.kept, func(k kept) bool { return k.done })
		r.finished = 0
	}
}

// pending returns the outputs that are not known to be done, in their order: what a new
// primary does again.
func (r *runner) pending() (all []Output) {
	if r.bugs.forgetPending {
		return nil
	}
	if r.bugs.halfDelta && r.transfer != nil && r.transfer.begun {
		r.half()
	}
	for _, k := range r.kept {
		if !k.done {
			k.Again = true
			all = append(all, k.Output)
		}
	}
	if r.bugs.reissueAnyhow {
		slices.Reverse(all)
	}
	return all
}

// Apply implements Machine, for commands, of which a processor understands none.
func (r *runner) Apply(_ uint64, _ time.Time, _, dst []byte) []byte { return dst }

// Fingerprint implements Machine.
func (r *runner) Fingerprint() string {
	switch {
	case r.transfer != nil:
		return r.p.Fingerprint() + " transfer 1"
	case r.fetching:
		return r.p.Fingerprint() + " fetched 1"
	}
	return r.p.Fingerprint()
}

// head appends the runner's own part of the state.
func (r *runner) head(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, r.told)
	dst = binary.AppendUvarint(dst, r.outputs)
	dst = binary.AppendUvarint(dst, uint64(len(r.kept)-r.finished))
	for _, k := range r.kept {
		if !k.done {
			dst = binary.AppendUvarint(dst, k.Number)
			dst = binary.AppendUvarint(dst, k.Position)
			dst = wire.AppendBytes(dst, k.Data)
		}
	}
	if t := r.transfer; t != nil {
		dst = wire.AppendBytes(wire.AppendBool(dst, t.begun), t.partial)
	}
	return dst
}

// Freeze implements Machine.
func (r *runner) Freeze() (io.WriterTo, error) {
	r.drain()
	image, err := r.p.Freeze()
	if err != nil {
		return nil, err
	}
	head := r.head(nil)
	return &runnerImage{append(le.AppendUint64(nil, uint64(len(head))), head...), image}, nil
}

type runnerImage struct {
	head  []byte
	image io.WriterTo
}

// WriteTo implements io.WriterTo.
func (m *runnerImage) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m.head)
	if err != nil {
		return int64(n), err
	}
	k, err := m.image.WriteTo(w)
	return int64(n) + k, err
}

// maxRunnerHead bounds what an image has in front of the processor's, in bytes.
const maxRunnerHead = 1 << 30

// Restore implements Machine.
func (r *runner) Restore(in io.Reader) error {
	var n [8]byte
	if _, err := io.ReadFull(in, n[:]); err != nil {
		return err
	}
	size := le.Uint64(n[:])
	if size > maxRunnerHead {
		return fmt.Errorf("%w: an image with %d bytes of outputs", errFormat, size)
	}
	head, err := io.ReadAll(io.LimitReader(in, int64(size)))
	if err != nil {
		return err
	}
	fresh := runner{p: r.p, live: r.live, fleeting: r.fleeting, fetching: r.fetching, streamed: r.streamed, bugs: r.bugs}
	if r.transfer != nil {
		fresh.transfers()
	}
	d := wire.NewDecoder(head)
	fresh.told, fresh.outputs = d.Uvarint(), d.Uvarint()
	for range d.Count(3) {
		o := Output{Number: d.Uvarint(), Position: d.Uvarint(), Data: slices.Clone(d.Bytes())}
		fresh.kept = append(fresh.kept, kept{Output: o})
		fresh.size += int64(len(o.Data))
	}
	if fresh.transfer != nil {
		fresh.transfer.sent = fresh.outputs
		fresh.transfer.begun = d.Bool()
		fresh.transfer.partial = slices.Clone(d.Bytes())
	}
	if err := d.Finish(); err != nil {
		return err
	}
	if err := r.p.Restore(in); err != nil {
		return err
	}
	for ok := true; ok; { // of a life before
		_, _, ok = r.p.NextOutput()
	}
	if at := r.p.Position(); at != fresh.told {
		return fmt.Errorf("%w: an image at %d of a processor at %d", errFormat, fresh.told, at)
	}
	*r = fresh
	return r.check()
}

// sum is a hash of the state.
func (r *runner) sum() uint64 {
	of := r.p.Hash()
	sum := sha256.Sum256(r.head(of[:]))
	return le.Uint64(sum[:])
}

// check returns what is wrong with the state.
func (r *runner) check() error {
	switch {
	case r.fault != nil:
		return r.fault
	case !r.live && r.p.Position() != r.told:
		return fmt.Errorf("the processor stands at %d, the log has told of %d", r.p.Position(), r.told)
	case r.p.Position() < r.told:
		return fmt.Errorf("the processor stands at %d, before the log at %d", r.p.Position(), r.told)
	}
	size, done := int64(0), 0
	for i, k := range r.kept {
		if i > 0 && k.Number <= r.kept[i-1].Number || k.Number > r.outputs || k.Position > r.told && !r.live {
			return fmt.Errorf("output %d at %d is kept out of order", k.Number, k.Position)
		}
		size += int64(len(k.Data))
		if k.done {
			done++
		}
	}
	if size != r.size || done != r.finished {
		return fmt.Errorf("%d bytes are kept, not %d; %d are done, not %d", size, r.size, done, r.finished)
	}
	return nil
}
