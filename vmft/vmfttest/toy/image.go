package toy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// Hash is that of a free-running machine.
func (t *Toy) Hash() (sum [32]byte) {
	h := sha256.New()
	_, _ = t.image().WriteTo(h) // a hash takes everything
	h.Sum(sum[:0])
	return sum
}

// Freeze is that of a free-running machine.
func (t *Toy) Freeze() (io.WriterTo, error) {
	for i := range t.shared {
		t.shared[i] = true
	}
	return t.image(), nil
}

func (t *Toy) image() *frozen {
	return &frozen{head: append([]byte(t.name), t.state.append(nil)...), pages: t.pages}
}

type frozen struct {
	head  []byte
	pages [pageCount]*[pageWords]uint64
}

// WriteTo implements io.WriterTo.
func (m *frozen) WriteTo(w io.Writer) (int64, error) {
	b := wire.AppendBytes(nil, m.head)
	for i, p := range m.pages {
		if p == nil || *p == [pageWords]uint64{} {
			continue // zeroes are as good as none
		}
		b = binary.AppendUvarint(b, uint64(i)+1)
		for _, word := range p {
			b = binary.LittleEndian.AppendUint64(b, word)
		}
	}
	n, err := w.Write(append(b, 0))
	return int64(n), err
}

// Restore is that of a free-running machine.
func (t *Toy) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d := wire.NewDecoder(b)
	head, ok := bytes.CutPrefix(d.Bytes(), []byte(t.name))
	if !ok {
		return errors.New("toy: an image of another toy")
	}
	state, err := parseState(head)
	if err != nil {
		return err
	}
	var pages [pageCount]*[pageWords]uint64
	for n := d.Uvarint(); n > 0 && n <= pageCount && d.Err() == nil; n = d.Uvarint() {
		pages[n-1] = new([pageWords]uint64)
		for i := range pages[n-1] {
			pages[n-1][i] = d.Uint64()
		}
	}
	if err := d.Finish(); err != nil {
		return err
	}
	t.state, t.pages, t.shared, t.outputs = state, pages, [pageCount]bool{}, nil
	t.changed, t.begun = [pageCount]bool{}, true
	return nil
}

func (s *state) append(dst []byte) []byte {
	for _, v := range []uint64{s.count, s.skipped, s.asked, uint64(s.status), uint64(s.running), uint64(len(s.threads))} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = wire.AppendBool(dst, s.exited)
	dst = append(dst, s.emitted[:]...)
	for i := range s.threads {
		th := &s.threads[i]
		for _, v := range th.r {
			dst = binary.AppendUvarint(dst, v)
		}
		dst = binary.AppendUvarint(dst, th.pc)
		dst = append(dst, th.waits, th.into)
		dst = binary.AppendUvarint(dst, th.due)
	}
	dst = wire.AppendBytes(dst, s.ready)
	dst = binary.AppendUvarint(dst, uint64(len(s.inputs)))
	for _, word := range s.inputs {
		dst = binary.LittleEndian.AppendUint64(dst, word)
	}
	return dst
}

func parseState(b []byte) (s state, err error) {
	d := wire.NewDecoder(b)
	s = state{count: d.Uvarint(), skipped: d.Uvarint(), asked: d.Uvarint(), status: int64(d.Uvarint()), running: uint8(d.Int(math.MaxUint8))}
	s.threads = make([]thread, d.Int(maxThreads))
	s.exited = d.Bool()
	copy(s.emitted[:], d.Next(len(s.emitted)))
	for i := range s.threads {
		th := &s.threads[i]
		for j := range th.r {
			th.r[j] = d.Uvarint()
		}
		th.pc = d.Uvarint()
		th.waits, th.into = d.Byte(), d.Byte()%registers
		th.due = d.Uvarint()
	}
	s.ready = slices.Clone(d.Bytes())
	for range d.Count(8) {
		s.inputs = append(s.inputs, d.Uint64())
	}
	if err := d.Finish(); err != nil {
		return s, err
	}
	for _, i := range s.ready {
		if int(i) >= len(s.threads) {
			return s, fmt.Errorf("toy: an image with thread %d of %d", i, len(s.threads))
		}
	}
	if int(s.running) >= len(s.threads) && s.running != nobody {
		return s, fmt.Errorf("toy: an image in which thread %d of %d runs", s.running, len(s.threads))
	}
	return s, nil
}
