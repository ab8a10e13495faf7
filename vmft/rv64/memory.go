package rv64

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"
)

// Sizes of the address space, which is that of a 39-bit (Sv39) kernel.
const (
	pageShift = 12
	pageSize  = 1 << pageShift
	pageMask  = pageSize - 1

	addressBits = 38
	addressEnd  = 1 << addressBits // the first address that can't be mapped

	leafPages = 512 // pages of one leaf of the page table
	leafShift = pageShift + 9
	leafCount = addressEnd >> leafShift
)

type page [pageSize]byte

// zeroPage is what mapped pages read as that nobody has written.
var zeroPage page

// A leaf is the part of the page table for 2 MiB of addresses.
type leaf struct {
	epoch uint64                 // of the memory when the leaf was made: an older one belongs to an image too
	pages [leafPages]*page       // nil: reads as zeroes
	owned [leafPages / 64]uint64 // pages that belong to no image: written since the last freeze
	stale [leafPages / 64]uint64 // pages written since their sum was taken
	sums  [leafPages]sum
}

// Entries of the translation caches. The tag is the address of the page, or
// noTag; an access fits if its address without the bits inside the page, apart
// from those of its alignment, equals the tag.
type tlbEntry struct {
	tag  uint64
	page unsafe.Pointer // of the page's first byte
}

const (
	tlbSize = 4096
	tlbMask = tlbSize - 1
	noTag   = ^uint64(0)
)

// What an access can fail with.
type faultKind uint8

const (
	faultNone       faultKind = iota
	faultUnmapped             // no area there
	faultAccess               // the area does not permit it
	faultMisaligned           // an atomic access that is not aligned
	faultMemory               // the guest has no memory left
)

// A memory is a guest's address space: areas with permissions, and the pages that
// have been touched. It is used by one goroutine.
//
// Invariants: a page in the write cache is owned, stale, in an area that may be
// written, and contains no decoded instructions; a page in the read cache is in an
// area that may be read, and is the current one; what is outside all areas has no
// page.
type memory struct {
	read  [tlbSize]tlbEntry
	write [tlbSize]tlbEntry
	exec  tlbEntry

	areas    areas
	recent   int     // the index of the area that was asked for last, if it is still there
	leaves   []*leaf // leafCount of them, nil where nothing is
	used     []int   // the indices of those that are not nil, in order
	epoch    uint64
	resident int // pages there are
	limit    int // how many there may be

	tracks map[int]*tracked // by leaf, what has changed since the last delta; nil: there was none
	noted  int              // pages that have
	kept   int              // of which it is known what they were

	total sum             // over all pages, as far as none is stale
	code  map[uint64]bool // the numbers of pages from which instructions were decoded. Not part of the state
	// codeStale is set when a page of code may have changed. Whoever has decoded
	// instructions drops them and resets it. Not part of the state.
	codeStale bool

	fault struct { // of the last access that failed
		kind faultKind
		addr uint64
	}
}

func newMemory(limit int) *memory {
	m := &memory{leaves: make([]*leaf, leafCount), limit: limit}
	m.flush()
	return m
}

// flush empties the translation caches.
func (m *memory) flush() {
	for i := range m.read {
		m.read[i].tag = noTag
	}
	m.exec.tag = noTag
	m.flushWrite()
}

func (m *memory) flushWrite() {
	for i := range m.write {
		m.write[i].tag = noTag
	}
}

func (m *memory) fail(kind faultKind, addr uint64) bool {
	m.fault.kind, m.fault.addr = kind, addr
	return false
}

// permitted reports whether the page at addr may be accessed so.
func (m *memory) permitted(addr uint64, perm uint8) bool {
	i := m.recent
	if i >= len(m.areas) || addr < m.areas[i].start || addr >= m.areas[i].end {
		var ok bool
		if i, ok = m.areas.find(addr); !ok {
			return m.fail(faultUnmapped, addr)
		}
		m.recent = i
	}
	if m.areas[i].perm&perm == 0 {
		return m.fail(faultAccess, addr)
	}
	return true
}

// peek returns the page of addr, or the zero page if it has none.
func (m *memory) peek(addr uint64) *page {
	if l := m.leaves[addr>>leafShift]; l != nil {
		if p := l.pages[addr>>pageShift%leafPages]; p != nil {
			return p
		}
	}
	return &zeroPage
}

// leafFor returns the leaf of addr for changing it.
func (m *memory) leafFor(addr uint64) *leaf {
	slot := &m.leaves[addr>>leafShift]
	switch {
	case *slot == nil:
		*slot = &leaf{epoch: m.epoch}
		n := int(addr >> leafShift)
		i, _ := slices.BinarySearch(m.used, n)
		m.used = slices.Insert(m.used, i, n)
	case (*slot).epoch != m.epoch:
		fresh := *slot
		l := *fresh
		l.epoch, l.owned = m.epoch, [leafPages / 64]uint64{}
		*slot = &l
	}
	return *slot
}

// own returns the page of addr for writing, or nil when there is no memory left.
func (m *memory) own(addr uint64) *page {
	l := m.leafFor(addr)
	i := addr >> pageShift % leafPages
	word, bit := &l.owned[i/64], uint64(1)<<(i%64)
	if l.pages[i] == nil && m.resident >= m.limit {
		m.fail(faultMemory, addr)
		return nil
	}
	m.note(addr, l.pages[i])
	if *word&bit == 0 {
		old := l.pages[i]
		if old == nil {
			m.resident++
			l.pages[i] = new(page)
		} else {
			fresh := *old
			l.pages[i] = &fresh
		}
		*word |= bit
		m.forgetRead(addr)
	}
	l.stale[i/64] |= bit
	return l.pages[i]
}

// forgetRead drops what the read caches know of one page.
func (m *memory) forgetRead(addr uint64) {
	if e := &m.read[addr>>pageShift&tlbMask]; e.tag == addr&^pageMask {
		e.tag = noTag
	}
	if m.exec.tag == addr&^pageMask {
		m.exec.tag = noTag
	}
}

// fillRead makes an aligned load from addr's page hit the cache.
func (m *memory) fillRead(addr uint64) *page {
	if !m.permitted(addr, permRead) {
		return nil
	}
	p := m.peek(addr)
	m.read[addr>>pageShift&tlbMask] = tlbEntry{addr &^ pageMask, unsafe.Pointer(p)}
	return p
}

// fillWrite makes an aligned store to addr's page hit the cache, unless it holds
// code: then each store takes the slow way, and says so.
func (m *memory) fillWrite(addr uint64) *page {
	if !m.permitted(addr, permWrite) {
		return nil
	}
	p := m.own(addr)
	if p == nil {
		return nil
	}
	if m.code[addr>>pageShift] {
		m.codeStale = true
		return p
	}
	m.write[addr>>pageShift&tlbMask] = tlbEntry{addr &^ pageMask, unsafe.Pointer(p)}
	return p
}

// load reads size bytes (1, 2, 4 or 8), little-endian, at any alignment.
func (m *memory) load(addr uint64, size uint64) (v uint64, ok bool) {
	off := addr & pageMask
	p := (*page)(nil)
	if e := &m.read[addr>>pageShift&tlbMask]; e.tag == addr&^pageMask {
		p = (*page)(e.page)
	} else if p = m.fillRead(addr); p == nil {
		return 0, false
	}
	if off+size > pageSize {
		return m.loadAcross(addr, size)
	}
	switch size {
	case 1:
		return uint64(p[off]), true
	case 2:
		return uint64(binary.LittleEndian.Uint16(p[off:])), true
	case 4:
		return uint64(binary.LittleEndian.Uint32(p[off:])), true
	}
	return binary.LittleEndian.Uint64(p[off:]), true
}

func (m *memory) loadAcross(addr, size uint64) (v uint64, ok bool) {
	for i := range size {
		b, ok := m.load(addr+i, 1)
		if !ok {
			return 0, false
		}
		v |= b << (8 * i)
	}
	return v, true
}

// store writes the lowest size bytes of v, little-endian, at any alignment. If it
// fails, nothing is written.
func (m *memory) store(addr, size, v uint64) bool {
	off := addr & pageMask
	p := (*page)(nil)
	if e := &m.write[addr>>pageShift&tlbMask]; e.tag == addr&^pageMask {
		p = (*page)(e.page)
	} else if p = m.fillWrite(addr); p == nil {
		return false
	}
	if off+size > pageSize {
		if m.fillWrite(addr+size-1) == nil {
			return false
		}
		for i := range size {
			m.store(addr+i, 1, v>>(8*i))
		}
		return true
	}
	switch size {
	case 1:
		p[off] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(p[off:], uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(p[off:], uint32(v))
	default:
		binary.LittleEndian.PutUint64(p[off:], v)
	}
	return true
}

// fetch reads the instruction at pc, which is even: four bytes, of which the upper
// two are zero if it is compressed.
func (m *memory) fetch(pc uint64) (w uint32, ok bool) {
	half, ok := m.fetchHalf(pc)
	if !ok || half&3 != 3 {
		return half, ok
	}
	high, ok := m.fetchHalf(pc + 2)
	return half | high<<16, ok
}

func (m *memory) fetchHalf(pc uint64) (uint32, bool) {
	if m.exec.tag != pc&^pageMask {
		if !m.permitted(pc, permExec) {
			return 0, false
		}
		m.exec = tlbEntry{pc &^ pageMask, unsafe.Pointer(m.peek(pc))}
	}
	p := (*page)(m.exec.page)
	return uint32(binary.LittleEndian.Uint16(p[pc&pageMask:])), true
}

// markCode notes that instructions were decoded from the page of addr.
func (m *memory) markCode(addr uint64) {
	n := addr >> pageShift
	if m.code[n] {
		return
	}
	if m.code == nil {
		m.code = make(map[uint64]bool)
	}
	m.code[n] = true
	if e := &m.write[n&tlbMask]; e.tag == addr&^pageMask {
		e.tag = noTag
	}
}

// forgetCode is called by whoever has dropped all decoded instructions.
func (m *memory) forgetCode() {
	clear(m.code)
	m.codeStale = false
}

// mapArea maps an area, in place of what was there, with pages that read as zeroes.
func (m *memory) mapArea(a area) {
	m.discard(a.start, a.end)
	m.areas.insert(a)
	m.flush()
}

// unmap unmaps a range.
func (m *memory) unmap(start, end uint64) {
	m.discard(start, end)
	m.areas.remove(start, end)
	m.flush()
}

// protect changes the permissions of a range that is mapped throughout.
func (m *memory) protect(start, end uint64, perm uint8) {
	m.codeGone(start, end)
	m.areas.protect(start, end, perm)
	m.flush()
}

// codeGone notes that what was decoded from a range is no longer right.
func (m *memory) codeGone(start, end uint64) {
	// order-free: it is only asked whether there is one.
	for n := range m.code {
		if n >= start>>pageShift && n < end>>pageShift {
			m.codeStale = true
			return
		}
	}
}

// discard drops the pages of a range: they read as zeroes again.
func (m *memory) discard(start, end uint64) {
	m.codeGone(start, end)
	for a := start; a < end; {
		if m.leaves[a>>leafShift] == nil {
			a = (a>>leafShift + 1) << leafShift
			continue
		}
		i := a >> pageShift % leafPages
		if m.leaves[a>>leafShift].pages[i] != nil {
			l := m.leafFor(a)
			m.note(a, l.pages[i])
			m.drop(l, int(i))
		}
		a += pageSize
	}
	m.flush()
}

// drop does away with a page, if it is there.
func (m *memory) drop(l *leaf, i int) {
	if l.pages[i] == nil {
		return
	}
	l.pages[i] = nil
	l.owned[i/64] &^= 1 << (i % 64)
	l.stale[i/64] &^= 1 << (i % 64)
	m.total.sub(l.sums[i])
	l.sums[i] = sum{}
	m.resident--
}

// move takes the pages of n bytes at from to the address to, where there are none.
func (m *memory) move(from, to, n uint64) {
	m.codeGone(from, from+n)
	for off := uint64(0); off < n; off += pageSize {
		if m.leaves[(from+off)>>leafShift] == nil || m.peek(from+off) == &zeroPage {
			continue
		}
		p := m.peek(from + off)
		l, i := m.leafFor(to+off), (to+off)>>pageShift%leafPages
		m.note(to+off, l.pages[i])
		fresh := *p
		l.pages[i] = &fresh
		l.owned[i/64] |= 1 << (i % 64)
		l.stale[i/64] |= 1 << (i % 64)
		m.resident++
	}
	m.discard(from, from+n)
}

// dirty returns how many pages have been written since the last freeze.
func (m *memory) dirty() (n int) {
	for _, i := range m.used {
		if l := m.leaves[i]; l.epoch == m.epoch {
			for _, w := range l.owned {
				n += bits.OnesCount64(w)
			}
		}
	}
	return n
}
