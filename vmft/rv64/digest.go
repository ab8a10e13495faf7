package rv64

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// A sum is the digest of a set of pages: the sum, modulo 2^128, of a hash of each
// page with its address. So it can follow a change without looking at the pages
// that stayed. Pages of zeroes do not count: whether a page that was only read or
// cleared is resident makes no difference.
type sum struct{ hi, lo uint64 }

func (s *sum) add(t sum) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, t.lo, 0)
	s.hi, _ = bits.Add64(s.hi, t.hi, carry)
}

func (s *sum) sub(t sum) {
	var borrow uint64
	s.lo, borrow = bits.Sub64(s.lo, t.lo, 0)
	s.hi, _ = bits.Sub64(s.hi, t.hi, borrow)
}

func pageSum(addr uint64, p *page) sum {
	if *p == zeroPage {
		return sum{}
	}
	var buf [8 + pageSize]byte
	binary.LittleEndian.PutUint64(buf[:], addr)
	copy(buf[8:], p[:])
	h := sha256.Sum256(buf[:])
	return sum{binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:])}
}

// digest returns the sum over all pages. Its cost is that of the pages written
// since the last time.
func (m *memory) digest() sum {
	for _, n := range m.used {
		l := m.leaves[n]
		if l.stale == [leafPages / 64]uint64{} {
			continue
		}
		l = m.leafFor(uint64(n) << leafShift)
		for w := range l.stale {
			for ; l.stale[w] != 0; l.stale[w] &= l.stale[w] - 1 {
				i := w*64 + bits.TrailingZeros64(l.stale[w])
				fresh := pageSum(uint64(n)<<leafShift+uint64(i)<<pageShift, l.pages[i])
				m.total.sub(l.sums[i])
				m.total.add(fresh)
				l.sums[i] = fresh
			}
		}
	}
	m.flushWrite() // so that the next store to each page is seen
	return m.total
}
