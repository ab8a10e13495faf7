package vmft

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// maxTable bounds the table in an image, in bytes.
const maxTable = 1 << 31

// A streamMachine is a processor whose connections are streams: a processor too. Its table
// takes part in images and hashes. What it is told and what it lets out begins with a tag.
//
// The table sees the processor's outputs in order, and all of them up to a position before
// anything happens to it there: when it sees them is never visible.
type streamMachine struct {
	Processor
	table *streamTable
	queue []streamOutput
	head  int
}

type streamOutput struct {
	at   uint64
	wire []byte
}

func newStreamMachine(p Processor, net Network) *streamMachine {
	return &streamMachine{Processor: p, table: newStreamTable(net)}
}

// streamed makes a processor one whose connections are streams.
func streamed(p Processor, net Network) Processor {
	m := newStreamMachine(p, net)
	if turns, ok := p.(Preempter); ok {
		return &preemptedStreams{m, turns}
	}
	return m
}

// A preemptedStreams is a streamMachine whose processor is a Preempter.
type preemptedStreams struct {
	*streamMachine
	turns Preempter
}

// Preempt implements Preempter.
func (m *preemptedStreams) Preempt() []byte { return plain(m.turns.Preempt()) }

// streams returns the machine itself, to whoever has it as a Processor.
func (m *streamMachine) streams() *streamMachine { return m }

// streamsOf returns the streamMachine that a processor is, or nil.
func streamsOf(p Processor) *streamMachine {
	if s, ok := p.(interface{ streams() *streamMachine }); ok {
		return s.streams()
	}
	return nil
}

// plain tags an event of the processor itself.
func plain(event []byte) []byte { return append([]byte{tagPlain}, event...) }

// Skip implements Processor.
func (m *streamMachine) Skip(d time.Duration) []byte { return plain(m.Processor.Skip(d)) }

func (m *streamMachine) put(at uint64, wire []byte) {
	m.queue = append(m.queue, streamOutput{at, wire})
}

// drain has the table see all outputs.
func (m *streamMachine) drain() {
	for {
		at, out, ok := m.Processor.NextOutput()
		if !ok {
			return
		}
		note := func(n streamNote) { m.put(at, n.append(nil)) }
		if !m.table.effect(out, note) {
			m.put(at, plain(out))
		}
	}
}

// Inject gives the machine an event: of the processor itself, or of a stream.
func (m *streamMachine) Inject(event []byte) error {
	if len(event) > 0 && event[0] == tagPlain {
		m.drain()
		return m.Processor.Inject(event[1:])
	}
	e, err := parseStreamEvent(event)
	if err != nil {
		return err
	}
	m.drain()
	at := m.Position()
	note := func(n streamNote) { m.put(at, n.append(nil)) }
	fresh := e.kind == streamOpen && m.table.byID[e.id] == nil
	if err := m.table.told(&e, m.Processor.Inject, note); err != nil {
		return fmt.Errorf("telling the processor of a stream: %w", err)
	}
	if !fresh {
		return nil
	}
	queued := len(m.queue)
	m.drain()
	welcome := m.table.welcome(e.id)
	m.queue = slices.Insert(m.queue, queued, streamOutput{at, welcome.append(nil)})
	return nil
}

// NextOutput takes the next output: of the processor itself, or a streamNote.
func (m *streamMachine) NextOutput() (at uint64, out []byte, ok bool) {
	if m.head == len(m.queue) {
		m.queue, m.head = m.queue[:0], 0
		m.drain()
		if len(m.queue) == 0 {
			return 0, nil, false
		}
	}
	o := m.queue[m.head]
	m.queue[m.head] = streamOutput{}
	m.head++
	return o.at, o.wire, true
}

// Hash is that of the processor and the table.
func (m *streamMachine) Hash() [32]byte {
	m.drain()
	sum := m.Processor.Hash()
	return sha256.Sum256(m.table.append(sum[:]))
}

// Fingerprint is that of machines which can read one another's images and logs.
func (m *streamMachine) Fingerprint() string { return m.Processor.Fingerprint() + " streams 1" }

// Freeze makes an image of the processor and the table. Outputs that were not taken are not
// in it.
func (m *streamMachine) Freeze() (io.WriterTo, error) {
	m.drain()
	image, err := m.Processor.Freeze()
	if err != nil {
		return nil, err
	}
	return &streamImage{m.table.append(nil), image}, nil
}

type streamImage struct {
	table     []byte
	processor io.WriterTo
}

// WriteTo implements io.WriterTo.
func (i *streamImage) WriteTo(w io.Writer) (int64, error) {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(i.table)))
	n, err := w.Write(append(head, i.table...))
	if err != nil {
		return int64(n), err
	}
	k, err := i.processor.WriteTo(w)
	return int64(n) + k, err
}

// Restore replaces the state by that of an image.
func (m *streamMachine) Restore(r io.Reader) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("reading an image: %w", err)
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > maxTable {
		return fmt.Errorf("reading an image: %w: a table of %d bytes", errFormat, size)
	}
	// It grows as it comes: an image that is cut off may claim any size.
	b, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return fmt.Errorf("reading an image: %w", err)
	}
	if len(b) < int(size) {
		return fmt.Errorf("reading an image: %w", errors.Join(io.ErrUnexpectedEOF, errFormat))
	}
	table := newStreamTable(m.table.net)
	table.bugs, table.deltas = m.table.bugs, m.table.deltas
	if err := table.decode(b); err != nil {
		return err
	}
	if err := m.Processor.Restore(r); err != nil {
		return err
	}
	m.table, m.queue, m.head = table, nil, 0
	return nil
}
