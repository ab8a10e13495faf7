package vmft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// A streamMark is what a stream was like in the last delta.
type streamMark struct {
	known                         bool
	read, got, base, end          uint64
	inEnd, outEnd, done, shut, no bool
}

func (s *tableStream) mark() streamMark {
	return streamMark{true, s.in.read, s.in.got, s.out.base, s.out.end, s.in.ended, s.out.ended, s.out.done, s.closed, s.deaf}
}

// appendDelta appends what has changed since the last delta: of streams that have, what is
// new of what they keep.
func (t *streamTable) appendDelta(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.conn)
	dst = binary.AppendUvarint(dst, uint64(len(t.gone)))
	for _, conn := range t.gone {
		dst = binary.AppendUvarint(dst, conn)
	}
	t.gone = nil
	for _, s := range t.list {
		m := s.mark()
		if m == s.sent {
			continue
		}
		from := max(m.base, s.sent.end)
		s.sent = m
		dst = binary.AppendUvarint(dst, s.conn)
		dst = append(dst, s.id[:]...)
		for _, v := range []uint64{m.read, m.got, m.base, from, m.end} {
			dst = binary.AppendUvarint(dst, v)
		}
		for _, v := range []bool{m.inEnd, m.outEnd, m.done, m.shut, m.no} {
			dst = wire.AppendBool(dst, v)
		}
		for from < m.end {
			b := s.out.at(from, streamWindow)
			dst = append(dst, b...)
			from += uint64(len(b))
		}
	}
	return append(dst, 0)
}

// applyDelta makes the table what it was where a delta was written. It may be later than that
// which the delta follows, and have some of what the delta has.
func (t *streamTable) applyDelta(b []byte) error {
	d := wire.NewDecoder(b)
	t.conn = d.Uvarint()
	for range d.Count(1) {
		if i, ok := t.find(d.Uvarint()); ok {
			delete(t.byID, t.list[i].id)
			t.list = slices.Delete(t.list, i, i+1)
		}
	}
	for conn := d.Uvarint(); conn != 0; conn = d.Uvarint() { // 0 after an error, too
		i, ok := t.find(conn)
		if !ok {
			t.list = slices.Insert(t.list, i, &tableStream{conn: conn})
		}
		s := t.list[i]
		copy(s.id[:], d.Next(len(s.id)))
		t.byID[s.id] = s
		var base, from, end uint64
		for _, v := range []*uint64{&s.in.read, &s.in.got, &base, &from, &end} {
			*v = d.Uvarint()
		}
		for _, v := range []*bool{&s.in.ended, &s.out.ended, &s.out.done, &s.closed, &s.deaf} {
			*v = d.Bool()
		}
		if base > from || from > end || end-from > uint64(d.Len()) || s.out.end > end {
			d.Fail("bytes %d to %d, of %d to %d, after %d", from, end, base, end, s.out.end)
			break
		}
		data := d.Next(int(end - from))
		if from > s.out.end { // what is between has arrived, and is not kept any more
			s.out.base, s.out.end, s.out.kept = from, from, nil
		}
		s.out.write(data[s.out.end-from:])
		if _, err := s.out.arrived(base, s.out.done); err != nil {
			return err
		}
		s.sent = s.mark()
	}
	t.gone = nil
	if err := d.Finish(); err != nil {
		return fmt.Errorf("reading what has changed of streams: %w", err)
	}
	return t.check()
}

var errNotTransferable = errors.New("vmft: the processor is no Transferable")

// Delta implements Transferable, if the processor does.
func (m *streamMachine) Delta() (io.WriterTo, error) {
	p, ok := m.Processor.(Transferable)
	if !ok {
		return nil, errNotTransferable
	}
	m.drain()
	changes, err := p.Delta()
	if err != nil {
		return nil, err
	}
	d := &streamImage{m.table.appendDelta(nil), changes}
	if sized, ok := changes.(interface{ Len() int }); ok {
		return sizedImage{d, len(d.table) + sized.Len()}, nil
	}
	return d, nil
}

// A sizedImage knows its size, about.
type sizedImage struct {
	io.WriterTo
	size int
}

// Len is about how many bytes it has.
func (s sizedImage) Len() int { return s.size }

// ApplyDelta implements Transferable, if the processor does.
func (m *streamMachine) ApplyDelta(delta []byte) error {
	p, ok := m.Processor.(Transferable)
	if !ok {
		return errNotTransferable
	}
	if len(delta) < 4 || uint64(le.Uint32(delta)) > uint64(len(delta)-4) {
		return fmt.Errorf("reading what has changed: %w: %d bytes", errFormat, len(delta))
	}
	table, rest := delta[4:4+le.Uint32(delta)], delta[4+le.Uint32(delta):]
	if err := p.ApplyDelta(rest); err != nil {
		return err
	}
	m.queue, m.head = nil, 0
	return m.table.applyDelta(table)
}
