package vmft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// kindDelta is the kind of the entries of state transfer: part of a delta, which is what has
// changed since the one before it. Its data begin with a byte:
//
//	partFirst  it begins a delta, and what has come of another before, whose primary has gone, is void
//	partLast   it ends one: a checksum of the whole, 4 bytes, comes before the bytes
//
// A delta is applied where its last entry is, and has no effect before that.
const kindDelta = 16

const (
	partFirst = 1
	partLast  = 2
	// deltaPart is how many bytes an entry has of a delta, at most.
	deltaPart = 1 << 20
	// maxDelta bounds a delta, in bytes.
	maxDelta = 1 << 36
)

// A transfer is what a runner has besides under state transfer.
//
// On a primary the log stands where the last delta was frozen, and the processor is ahead of
// it: what it is told is no entry. On a backup the processor is what the last whole delta has
// made it, whatever has come of the next.
type transfer struct {
	done    []uint64 // outputs that were completed since the last delta
	sent    uint64   // the number of the last output that a delta has
	partial []byte   // what has come of a delta
	begun   bool     // something has
}

// transfers makes the runner's mode state transfer.
func (r *runner) transfers() { r.transfer = &transfer{} }

// tell gives a primary's processor what an entry would have said under replay: an event, and
// outputs that are done. It returns why the event was refused, or nothing.
func (r *runner) tell(kind byte, data, dst []byte) []byte {
	var numbers []uint64
	if kind == kindCompletion {
		d := wire.NewDecoder(data)
		for range d.Count(1) {
			numbers = append(numbers, d.Uvarint())
		}
		if data = d.Rest(); d.Err() != nil {
			return append(dst, d.Err().Error()...)
		}
	}
	return r.do(numbers, data, dst)
}

// A runnerDelta is one that is frozen.
type runnerDelta struct {
	head    []byte
	changes io.WriterTo
	size    int // about; -1: unknown
}

// delta freezes what has changed since the last one. From here on the log is to say that, for
// the next one follows it.
func (r *runner) delta() (*runnerDelta, error) {
	r.drain()
	changes, err := r.p.(Transferable).Delta()
	if err != nil {
		return nil, fmt.Errorf("freezing what has changed at %d: %w", r.p.Position(), err)
	}
	t := r.transfer
	b := binary.AppendUvarint(nil, r.told)
	r.told = r.p.Position()
	b = binary.AppendUvarint(b, r.told)
	b = binary.AppendUvarint(b, r.outputs)
	b = binary.AppendUvarint(b, uint64(len(t.done)))
	for _, n := range t.done {
		b = binary.AppendUvarint(b, n)
	}
	for i, _ := slices.BinarySearchFunc(r.kept, t.sent+1, byNumber); i < len(r.kept); i++ {
		if k := &r.kept[i]; !k.done {
			b = binary.AppendUvarint(b, k.Number)
			b = binary.AppendUvarint(b, k.Position)
			b = wire.AppendBytes(b, k.Data)
		}
	}
	b = append(b, 0)
	t.done, t.sent = nil, r.outputs
	d := &runnerDelta{head: b, changes: changes, size: -1}
	if sized, ok := changes.(interface{ Len() int }); ok {
		d.size = len(b) + sized.Len()
	}
	return d, nil
}

// append appends what the delta is on the channel.
func (d *runnerDelta) append(dst []byte) ([]byte, error) {
	w := byteWriter(append(dst, d.head...))
	if _, err := d.changes.WriteTo(&w); err != nil {
		return nil, fmt.Errorf("writing what has changed: %w", err)
	}
	if len(w) > maxDelta {
		return nil, fmt.Errorf("%d bytes have changed, and at most %d can be sent", len(w), maxDelta)
	}
	return w, nil
}

// A byteWriter is what was written.
type byteWriter []byte

// Write implements io.Writer.
func (w *byteWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

// deltaEntries calls entry with the data of the entries that say a delta. part is how many
// bytes each has of it. The data are used again for the next.
func deltaEntries(delta []byte, part int, entry func(data []byte)) {
	sum := crc32.Checksum(delta, castagnoli)
	b := make([]byte, 0, min(len(delta), part)+5)
	for head := byte(partFirst); ; head = 0 {
		n := min(len(delta), part)
		if n == len(delta) {
			b = le.AppendUint32(append(b[:0], head|partLast), sum)
			entry(append(b, delta...))
			return
		}
		entry(append(append(b[:0], head), delta[:n]...))
		delta = delta[n:]
	}
}

var errDelta = errors.New("a delta that makes no sense")

// takePart takes an entry of a delta. The primary's processor is where it leads already.
func (r *runner) takePart(data []byte) error {
	t := r.transfer
	switch {
	case t == nil:
		return fmt.Errorf("%w: a delta in a log of events", errDelta)
	case r.live:
		return nil
	case len(data) == 0 || data[0] > partFirst|partLast || data[0]&partFirst == 0 && !t.begun:
		return fmt.Errorf("%w: it begins with %.2x", errDelta, data)
	}
	head, data := data[0], data[1:]
	if head&partFirst != 0 {
		t.partial = t.partial[:0]
	}
	t.begun = true
	if head&partLast == 0 {
		t.partial = append(t.partial, data...)
		return nil
	}
	if len(data) < 4 {
		return fmt.Errorf("%w: it ends with %x", errDelta, data)
	}
	sum, whole := le.Uint32(data), data[4:]
	if len(t.partial) > 0 {
		whole = append(t.partial, whole...)
	}
	if crc32.Checksum(whole, castagnoli) != sum {
		return fmt.Errorf("%w: its checksum is wrong", errDelta)
	}
	if err := r.applyDelta(whole); err != nil {
		return err
	}
	t.begun = false
	if t.partial = whole[:0]; cap(whole) > 4*deltaPart {
		t.partial = nil
	}
	return nil
}

// void forgets a delta of which the rest will not come.
func (t *transfer) void() {
	if t != nil {
		t.partial, t.begun = nil, false
	}
}

// A deltaHead is what a delta says of the runner.
type deltaHead struct {
	from, to uint64 // instruction counts
	outputs  uint64
	done     []uint64
	fresh    []kept
}

func (h *deltaHead) decode(d *wire.Decoder) {
	h.from, h.to, h.outputs = d.Uvarint(), d.Uvarint(), d.Uvarint()
	for range d.Count(1) {
		h.done = append(h.done, d.Uvarint())
	}
	for n := d.Uvarint(); n != 0; n = d.Uvarint() { // 0 after an error, too
		h.fresh = append(h.fresh, kept{Output: Output{Number: n, Position: d.Uvarint(), Data: slices.Clone(d.Bytes())}})
	}
}

// applyDelta makes the state what it was where a delta was frozen.
func (r *runner) applyDelta(b []byte) error {
	var h deltaHead
	d := wire.NewDecoder(b)
	h.decode(&d)
	changes := d.Rest()
	switch {
	case d.Err() != nil:
		return fmt.Errorf("%w: %w", errDelta, d.Err())
	case h.from != r.told:
		return fmt.Errorf("%w: it follows %d, and the processor stands at %d", ErrDiverged, h.from, r.told)
	}
	if err := r.p.(Transferable).ApplyDelta(changes); err != nil {
		return err
	}
	if at := r.p.Position(); at != h.to {
		return fmt.Errorf("%w: a delta to %d leads to %d", ErrDiverged, h.to, at)
	}
	r.take1(&h)
	return r.check()
}

// take1 takes over the runner's own part of a delta.
func (r *runner) take1(h *deltaHead) {
	r.told, r.outputs = h.to, h.outputs
	for _, n := range h.done {
		r.complete(n)
	}
	for _, k := range h.fresh {
		r.kept = append(r.kept, k)
		r.size += int64(len(k.Data))
	}
	r.transfer.done, r.transfer.sent = nil, h.outputs
}

// half is what a backup that goes live must not do: it takes over what has come of a delta.
func (r *runner) half() {
	var h deltaHead
	d := wire.NewDecoder(r.transfer.partial)
	if h.decode(&d); d.Err() == nil {
		h.to = r.told
		r.take1(&h)
	}
}
