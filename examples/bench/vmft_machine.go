package main

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// pages is a machine with a state of any size, which each command changes somewhere. An
// image shares its pages with the machine, which copies one before it changes it.
type pages struct {
	count  uint64 // of commands
	pages  [][]byte
	shared []bool // with an image
}

const pageSize = 64 << 10

var _ vmft.Machine = (*pages)(nil)

func newPages(size int64) *pages {
	m := &pages{}
	for range size / pageSize {
		m.pages = append(m.pages, make([]byte, pageSize))
	}
	m.shared = make([]bool, len(m.pages))
	return m
}

// Apply implements vmft.Machine.
func (m *pages) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	m.count++
	if len(m.pages) > 0 {
		i := m.count % uint64(len(m.pages))
		if m.shared[i] {
			m.pages[i], m.shared[i] = slices.Clone(m.pages[i]), false
		}
		copy(m.pages[i], cmd)
	}
	return binary.LittleEndian.AppendUint64(dst, m.count)
}

// Freeze implements vmft.Machine.
func (m *pages) Freeze() (io.WriterTo, error) {
	for i := range m.shared {
		m.shared[i] = true
	}
	return &pagesImage{m.count, slices.Clone(m.pages)}, nil
}

// Restore implements vmft.Machine.
func (m *pages) Restore(r io.Reader) error {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	m.count, m.pages = binary.LittleEndian.Uint64(head[:]), nil
	for {
		page := make([]byte, pageSize)
		_, err := io.ReadFull(r, page)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		m.pages = append(m.pages, page)
	}
	m.shared = make([]bool, len(m.pages))
	return nil
}

// Fingerprint implements vmft.Machine.
func (m *pages) Fingerprint() string { return "examples/bench/pages/1" }

type pagesImage struct {
	count uint64
	pages [][]byte
}

// WriteTo implements io.WriterTo.
func (p *pagesImage) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64(nil, p.count))
	written := int64(n)
	for _, page := range p.pages {
		if err != nil {
			break
		}
		n, err = w.Write(page)
		written += int64(n)
	}
	return written, err
}
