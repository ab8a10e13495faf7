package mapreduce

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	// MaxRecordBytes bounds a line of text, and an encoded key and value
	// together: 64 MiB.
	MaxRecordBytes = 64 << 20

	// chunkBytes is the size of the pieces that arenas are made of. The place of
	// a pair in an arena is the index of its chunk and an offset, in 32 bits.
	chunkBytes = 1 << 20
	chunkBits  = 20

	// maxArena bounds the bytes of an arena.
	maxArena = 1 << 31
)

func tooLarge(n int) error {
	return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, n, MaxRecordBytes)
}

// pair refers to a key and value in an arena. It is what gets sorted: 16 bytes,
// of which the first are mostly enough to compare.
type pair struct {
	prefix uint64 // the first 8 bytes of the key, big end first, padded with zeros
	place  uint32 // where it is in the arena
	part   uint16 // its partition
	length uint16 // of the key, or longKey
}

// longKey is the length of a key in a pair if it is that long or longer.
const longKey = math.MaxUint16

// sortMemory is the memory in which a map task gathers and sorts what it emits: two
// buffers, of which one is sorted and spilled while the other is filled, and what they
// share. It has a share of its own, and claims more of the worker's as it grows.
type sortMemory struct {
	granted int64              // bytes that may be held
	claimed int64              // of them, those beyond the share
	most    int64              // that may ever be granted
	claim   func(n int64) bool // takes them from the pool
	held    int64
	table   int64 // of them, by the combiner
	keys    int   // that the combiner of the last task had to hold at a time
	left    any   // the entries that it has left, all free, for the next: warm, and of the right size
	unused  int64 // the bytes of left, which held counts

	buffers    [2]*pairBuffer // the first is filled
	free       [][]byte       // chunks that neither has
	spare      []pair         // for sorting: as long as any buffer's pairs need it to be
	sparePairs int            // the length of spare that held counts
	pack       packer
}

const pairBytes = 16

func newSortMemory(share, most int64, claim func(n int64) bool) *sortMemory {
	m := &sortMemory{granted: share, most: most, claim: claim}
	for i := range m.buffers {
		m.buffers[i] = &pairBuffer{mem: m}
	}
	return m
}

// begin makes the memory ready for a task.
func (m *sortMemory) begin(partitions int) {
	for _, b := range m.buffers {
		b.counts = make([]int, partitions)
	}
}

// rest empties the memory, for a task to come.
func (m *sortMemory) rest() {
	for _, b := range m.buffers {
		b.reset()
		b.counts = nil
	}
	m.held -= m.table - m.unused
	m.table = 0
}

// dropTable drops what the combiner of the last task has left.
func (m *sortMemory) dropTable() {
	m.held -= m.unused
	m.left, m.unused = nil, 0
}

// take reports whether n more bytes may be held, and counts them as held.
func (m *sortMemory) take(n int64) bool { return m.takeUpTo(n, m.held+n) }

// takeTable is take for the table of the combiner: as much again is left to the pairs
// that are in it. What earlier tasks have left to the pairs makes way for it.
func (m *sortMemory) takeTable(n int64) bool {
	if !m.takeUpTo(n, max(m.held+n, 2*(m.table+n))) {
		if !m.dropUnused() || !m.takeUpTo(n, max(m.held+n, 2*(m.table+n))) {
			return false
		}
	}
	m.table += n
	return true
}

// dropUnused drops what no pairs are in, and reports whether there was anything.
func (m *sortMemory) dropUnused() bool {
	held := m.held
	m.dropTable()
	m.held -= int64(len(m.free)) * chunkBytes
	m.free = nil
	if len(m.buffers[0].pairs)+len(m.buffers[1].pairs) == 0 {
		for _, b := range m.buffers {
			m.held -= int64(cap(b.pairs)) * pairBytes
			b.pairs = nil
		}
		m.held -= int64(m.sparePairs) * pairBytes
		m.spare, m.sparePairs = nil, 0
	}
	return m.held < held
}

func (m *sortMemory) takeUpTo(n, total int64) bool {
	if more := total - m.granted; more > 0 {
		if total > m.most || !m.claim(more) {
			return false
		}
		m.granted += more
		m.claimed += more
	}
	m.held += n
	return true
}

// pairBuffer holds pairs in the order in which they were added, until they are
// sorted. A pair in the arena is what it is in a region: the lengths of key and
// value as uvarints, then both.
type pairBuffer struct {
	mem     *sortMemory
	chunks  [][]byte
	pairs   []pair
	counts  []int // of pairs, by partition
	touched byte  // see touch
}

// size returns the memory in use, that needed for sorting included.
func (b *pairBuffer) size() int64 {
	return int64(len(b.chunks))*chunkBytes + 2*pairBytes*int64(cap(b.pairs))
}

// fits reports whether there is room for a pair of so many bytes.
func (b *pairBuffer) fits(n int) bool {
	c := len(b.chunks) - 1
	return len(b.pairs) < cap(b.pairs) && c >= 0 && b.fitsChunk(n)
}

func (b *pairBuffer) fitsChunk(n int) bool {
	c := len(b.chunks) - 1
	if c < 0 {
		return false
	}
	used := len(b.chunks[c])
	return used < chunkBytes && used+n+2*binary.MaxVarintLen32 <= cap(b.chunks[c])
}

// add copies a pair into the buffer, where it fits.
func (b *pairBuffer) add(part int, key, value []byte) {
	c := len(b.chunks) - 1
	chunk := b.chunks[c]
	place := uint32(c)<<chunkBits | uint32(len(chunk))
	b.chunks[c] = appendPair(chunk, key, value)
	b.pairs = append(b.pairs, pair{prefixOf(key), place, uint16(part), uint16(min(len(key), longKey))})
	b.counts[part]++
}

// grow makes room for a pair of n bytes, if the memory may be held or must.
func (b *pairBuffer) grow(n int, must bool) bool {
	m := b.mem
	if len(b.chunks) == maxArena/chunkBytes {
		return false
	}
	if len(b.pairs) == cap(b.pairs) {
		more := max(cap(b.pairs)/2, minPairs)
		spare := max(cap(b.pairs)+more-m.sparePairs, 0)
		if !m.takeIf(int64(more+spare)*pairBytes, must) {
			return false
		}
		grown := make([]pair, len(b.pairs), len(b.pairs)+more)
		copy(grown, b.pairs)
		b.pairs = grown
		m.sparePairs += spare
	}
	if b.fitsChunk(n) {
		return true
	}
	// A pair that is larger than a chunk gets one of its own size.
	size := max(n+2*binary.MaxVarintLen32, chunkBytes)
	if k := len(m.free); k > 0 && size == chunkBytes {
		b.chunks = append(b.chunks, m.free[k-1])
		m.free = m.free[:k-1]
		return true
	}
	if !m.takeIf(int64(size), must) {
		return false
	}
	b.chunks = append(b.chunks, make([]byte, 0, size))
	return true
}

func (m *sortMemory) takeIf(n int64, must bool) bool {
	if m.take(n) {
		return true
	}
	if must {
		m.held += n
	}
	return must
}

// minPairs is for how many pairs a buffer has room at least.
const minPairs = 4 << 10

// prepare makes spare long enough to sort the buffer.
func (b *pairBuffer) prepare() {
	if len(b.mem.spare) < len(b.pairs) {
		b.mem.spare = make([]pair, b.mem.sparePairs)
	}
}

// reset empties the buffer and leaves its memory to the next pairs.
func (b *pairBuffer) reset() {
	for _, c := range b.chunks {
		if cap(c) == chunkBytes {
			b.mem.free = append(b.mem.free, c[:0])
		} else {
			b.mem.held -= int64(cap(c))
		}
	}
	clear(b.chunks)
	b.chunks, b.pairs = b.chunks[:0], b.pairs[:0]
	clear(b.counts)
}

// touch reads a little of each pair that comes soon, so that the processor waits for
// them all together and not for one after the other: sorted, they lie far apart.
func (b *pairBuffer) touch(pairs []pair) {
	for _, p := range pairs {
		b.touched ^= b.chunks[p.place>>chunkBits][p.place&(chunkBytes-1)]
	}
}

// touchAhead is how many pairs are touched at a time.
const touchAhead = 16

// encoded returns the pair as it stands in the arena, and what follows it.
func (b *pairBuffer) encoded(place uint32) []byte {
	return b.chunks[place>>chunkBits][place&(chunkBytes-1):]
}

// keyLength returns the length of the key of a pair.
func (b *pairBuffer) keyLength(p pair) int {
	if p.length < longKey {
		return int(p.length)
	}
	return len(b.key(p))
}

// key returns the key of a pair.
func (b *pairBuffer) key(p pair) []byte {
	src := b.encoded(p.place)
	k, n := uvarint(src)
	_, m := uvarint(src[n:])
	return src[n+m : n+m+k]
}

// appendPair appends a pair as it stands in arenas and regions.
func appendPair(dst, key, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	dst = append(dst, key...)
	return append(dst, value...)
}

// uvarint reads a length of our own making, mostly one byte.
func uvarint(src []byte) (v, n int) {
	if src[0] < 0x80 {
		return int(src[0]), 1
	}
	u, n := binary.Uvarint(src)
	return int(u), n
}

// prefixOf returns the first 8 bytes of a key so that comparing two of them is
// comparing the keys as far as they go.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	n := len(key)
	if n >= 4 { // two overlapping halves
		return uint64(binary.BigEndian.Uint32(key))<<32 | uint64(binary.BigEndian.Uint32(key[n-4:]))<<(64-8*n)
	}
	var p uint64
	for i, b := range key {
		p |= uint64(b) << (56 - 8*i)
	}
	return p
}
