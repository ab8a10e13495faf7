package rv64

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/trilith-go/trilith/internal/wire"
)

// What a delta says of a page begins with how many pages further on it is than the last one
// (the first: than page -1), plus nothing, and with one of these, in one number: 0 ends them.
const (
	pageGone  = 0 // it reads as zeroes, and is not there
	pageFresh = 1 // it has zeroes, but for some words
	pageDiff  = 2 // it is what it was, but for some words
	pageKinds = 3
)

// A tracked is what is known of the 2 MiB of addresses of a leaf since the last delta.
type tracked struct {
	changed [leafPages / 64]uint64
	before  [leafPages]*page // what they were then, if that is known; nobody else has these
}

// maxBefore is of how many pages of a memory it is remembered what they were.
const maxBefore = 2 * manyPages

// note takes note that the page of addr, which is p now, is about to change.
func (m *memory) note(addr uint64, p *page) {
	if m.tracks == nil {
		return
	}
	n, i := int(addr>>leafShift), addr>>pageShift%leafPages
	t := m.tracks[n]
	if t == nil {
		t = new(tracked)
		m.tracks[n] = t
	}
	word, bit := &t.changed[i/64], uint64(1)<<(i%64)
	if *word&bit != 0 {
		return
	}
	*word |= bit
	m.noted++
	if t.before[i] == nil && p != nil && m.kept < maxBefore {
		old := *p
		t.before[i] = &old
		m.kept++
	}
}

// changed returns how many pages have changed since the last delta: all if there was none.
func (m *memory) changed() int {
	if m.tracks == nil {
		return m.resident
	}
	return m.noted
}

// eachChanged calls f for each page that has, in order, and forgets that it has.
func (m *memory) eachChanged(f func(number uint64, p *page, before **page)) {
	for _, n := range m.used {
		t := m.tracks[n]
		if t == nil || t.changed == [leafPages / 64]uint64{} {
			continue
		}
		l := m.leaves[n]
		for w := range t.changed {
			for ; t.changed[w] != 0; t.changed[w] &= t.changed[w] - 1 {
				i := w*64 + bits.TrailingZeros64(t.changed[w])
				f(uint64(n*leafPages+i), l.pages[i], &t.before[i])
			}
		}
	}
	m.noted = 0
}

// compare writes what has changed.
func (m *memory) compare(s *deltaSpace) {
	s.written = make([]byte, 0, 128*m.noted+64)
	last := uint64(0)
	m.eachChanged(func(number uint64, p *page, before **page) {
		s.written = appendPage(s.written, number-last, *before, p)
		if last = number; p == nil && *before != nil {
			*before = nil
			m.kept--
		}
	})
	if m.kept >= maxBefore { // others are wanted from here on
		m.forgetBefore()
	}
}

// share has all that has changed, or all there is if nothing is known, written later: the
// memory copies it before it changes it.
func (m *memory) share(s *deltaSpace) {
	if m.tracks != nil && s.before != 0 {
		m.eachChanged(func(number uint64, p *page, _ **page) {
			s.pages = append(s.pages, numberedPage{number, p})
			if l := m.leaves[number/leafPages]; l.epoch == m.epoch {
				l.owned[number%leafPages/64] &^= 1 << (number % 64)
			}
		})
		m.forgetBefore()
		return
	}
	for _, n := range m.used {
		l := m.leaves[n]
		for i, p := range l.pages {
			if p != nil {
				s.pages = append(s.pages, numberedPage{uint64(n*leafPages + i), p})
			}
		}
		if l.epoch == m.epoch {
			l.owned = [leafPages / 64]uint64{}
		}
	}
	m.tracks, m.noted, m.kept = make(map[int]*tracked), 0, 0
}

// forgetBefore forgets what pages were.
func (m *memory) forgetBefore() {
	for _, n := range m.used {
		if t := m.tracks[n]; t != nil {
			t.before = [leafPages]*page{}
		}
	}
	m.kept = 0
}

// appendPage appends what a page is: the words in which it differs from what it was, which
// is brought up to date. Nil is zeroes that nobody has.
func appendPage(dst []byte, further uint64, before, now *page) []byte {
	kind := uint64(pageDiff)
	switch {
	case now == nil:
		return binary.AppendUvarint(dst, further*pageKinds+pageGone+1)
	case before == nil:
		kind = pageFresh
	}
	dst = binary.AppendUvarint(dst, further*pageKinds+kind+1)
	old := before
	if old == nil {
		old = &zeroPage
	}
	done := 0 // bytes that are written or the same
	for at := 0; at < pageSize; at += pageBlock {
		if *(*[pageBlock]byte)(now[at:]) == *(*[pageBlock]byte)(old[at:]) {
			continue
		}
		from := at
		for binary.LittleEndian.Uint64(now[from:]) == binary.LittleEndian.Uint64(old[from:]) {
			from += 8
		}
		to := at + pageBlock
		for to < pageSize && *(*[pageBlock]byte)(now[to:]) != *(*[pageBlock]byte)(old[to:]) {
			to += pageBlock
		}
		at = to - pageBlock
		for binary.LittleEndian.Uint64(now[to-8:]) == binary.LittleEndian.Uint64(old[to-8:]) {
			to -= 8
		}
		dst = appendRun(dst, from-done, now[from:to])
		if done = to; before != nil {
			copy(before[from:to], now[from:to])
		}
	}
	return append(dst, 0)
}

// pageBlock is how many bytes are compared at once.
const pageBlock = 32

// appendRun appends words, and how many are left out before them.
func appendRun(dst []byte, skip int, words []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(words)/8))
	dst = binary.AppendUvarint(dst, uint64(skip/8))
	return append(dst, words...)
}

var errPages = errors.New("its pages make no sense")

// eachPage reads what a delta says of pages, and returns how long that is. Runs are offsets
// and bytes.
func eachPage(b []byte, page func(number uint64, kind uint64), run func(at int, words []byte)) (size int, err error) {
	d := wire.NewDecoder(b)
	number, first := uint64(0), true
	for {
		head := d.Uvarint()
		if d.Err() != nil {
			return 0, errPages
		}
		if head == 0 {
			return len(b) - d.Len(), nil
		}
		head--
		further, kind := head/pageKinds, head%pageKinds
		if number += further; number >= addressEnd>>pageShift || further == 0 && !first {
			return 0, errPages
		}
		first = false
		page(number, kind)
		if kind == pageGone {
			continue
		}
		for at := 0; ; {
			n := d.Int(pageSize / 8)
			if n == 0 {
				break
			}
			at += 8 * d.Int(pageSize/8)
			words := d.Next(8 * n)
			if d.Err() != nil || at+8*n > pageSize {
				return 0, errPages
			}
			run(at, words)
			at += 8 * n
		}
	}
}

// skipPages returns how long what a delta says of pages is.
func skipPages(b []byte) (size int, err error) {
	return eachPage(b, func(uint64, uint64) {}, func(int, []byte) {})
}

// applyPages does what a delta says, which was read before. What has changed is forgotten.
func (m *memory) applyPages(b []byte) {
	var p *page
	_, _ = eachPage(b, func(number, kind uint64) { // skipPages has seen it
		if p = m.settlePage(number, kind); kind == pageFresh {
			*p = zeroPage
		}
	}, func(at int, words []byte) { copy(p[at:], words) })
	m.tracks, m.noted, m.kept = make(map[int]*tracked), 0, 0
}

// settlePage returns a page for changing it, or does away with it.
func (m *memory) settlePage(number, kind uint64) *page {
	addr := number << pageShift
	l, i := m.leafFor(addr), number%leafPages
	word, bit := i/64, uint64(1)<<(i%64)
	if kind == pageGone {
		m.drop(l, int(i))
		return nil
	}
	switch old := l.pages[i]; {
	case old == nil:
		l.pages[i] = new(page)
		m.resident++
	case l.owned[word]&bit == 0:
		fresh := *old
		l.pages[i] = &fresh
	}
	l.owned[word] |= bit
	l.stale[word] |= bit
	return l.pages[i]
}
