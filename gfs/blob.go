package gfs

import (
	"hash/crc32"
	"math/bits"
	"sync"
)

// A blob is data for a mutation, with the checksum of each piece of it: see push.go.
type blob struct {
	n     int // bytes
	phase int
	sums  []uint32
	parts [][]byte // the data, in the parts of memory that it is in
}

// segmentSize is how many bytes of a replica are read, copied or received at a time: a
// multiple of blockSize.
const segmentSize = 1 << 20

// newBlob returns a blob of data, which it borrows, to be written at an offset.
func newBlob(data []byte, off int64) *blob {
	phase := int(off % blockSize)
	return &blob{n: len(data), phase: phase, parts: [][]byte{data}, sums: pushSums(nil, phase, data)}
}

// each calls f with the data from one place to another, in as few parts as it is in.
func (b *blob) each(from, to int, f func(p []byte) error) error {
	for _, p := range b.parts {
		if to <= 0 {
			break
		}
		if from < len(p) {
			if err := f(p[from:min(to, len(p))]); err != nil {
				return err
			}
			from = len(p)
		}
		from, to = from-len(p), to-len(p)
	}
	return nil
}

// update adds the data from one place to another to a checksum.
func (b *blob) update(sum uint32, from, to int) uint32 {
	_ = b.each(from, to, func(p []byte) error {
		sum = crc32.Update(sum, blockPoly, p)
		return nil
	}) // the function never fails
	return sum
}

// bytes appends all of the data.
func (b *blob) bytes(dst []byte) []byte {
	_ = b.each(0, b.n, func(p []byte) error {
		dst = append(dst, p...)
		return nil
	}) // the function never fails
	return dst
}

// A slab is memory that is used again: for data on its way between network and disk.
type slab struct{ b []byte }

const (
	minSlab = 12 // 4 KiB
	maxSlab = 23 // 8 MiB
)

var slabs [maxSlab - minSlab + 1]sync.Pool

// newSlab returns memory of n bytes, with anything in it.
func newSlab(n int) *slab {
	class := max(bits.Len(uint(max(n, 1)-1)), minSlab)
	if class > maxSlab {
		return &slab{make([]byte, n)}
	}
	if m, ok := slabs[class-minSlab].Get().(*slab); ok {
		m.b = m.b[:n]
		return m
	}
	return &slab{make([]byte, n, 1<<class)}
}

// free gives the memory back.
func (m *slab) free() {
	class := bits.Len(uint(cap(m.b))) - 1
	if class < minSlab || class > maxSlab || cap(m.b) != 1<<class {
		return
	}
	slabs[class-minSlab].Put(m)
}
