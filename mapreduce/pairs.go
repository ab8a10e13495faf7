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

// pairBuffer holds pairs in the order in which they were added, until they are
// sorted. A pair in the arena is what it is in a region: the lengths of key and
// value as uvarints, then both.
type pairBuffer struct {
	chunks [][]byte
	pairs  []pair
	spare  []pair   // as long as pairs, while sorting
	free   [][]byte // chunks that were used before
	bytes  int64    // in all chunks
	parts  []partSize
}

// partSize says what a partition of a pairBuffer has.
type partSize struct {
	pairs int
	bytes int64
}

func newPairBuffer(partitions int) *pairBuffer {
	return &pairBuffer{parts: make([]partSize, partitions)}
}

// size returns the memory in use, that needed for sorting included.
func (b *pairBuffer) size() int64 {
	return int64(len(b.chunks))*chunkBytes + 2*16*int64(len(b.pairs))
}

// add copies a pair into the buffer.
func (b *pairBuffer) add(part int, key, value []byte) {
	n := len(key) + len(value) + 2*binary.MaxVarintLen32
	c := len(b.chunks) - 1
	if c < 0 || len(b.chunks[c])+n > min(cap(b.chunks[c]), chunkBytes) {
		b.newChunk(n)
		c++
	}
	chunk := b.chunks[c]
	place := uint32(c)<<chunkBits | uint32(len(chunk))
	before := len(chunk)
	chunk = appendPair(chunk, key, value)
	b.chunks[c] = chunk
	b.pairs = append(b.pairs, pair{prefixOf(key), place, uint16(part), uint16(min(len(key), longKey))})
	size := &b.parts[part]
	size.pairs++
	size.bytes += int64(len(chunk) - before)
	b.bytes += int64(len(chunk) - before)
}

// newChunk begins a chunk for a pair of up to n bytes. A pair that is larger than
// a chunk gets one of its own size.
func (b *pairBuffer) newChunk(n int) {
	if k := len(b.free); k > 0 && n <= chunkBytes {
		b.chunks = append(b.chunks, b.free[k-1])
		b.free = b.free[:k-1]
		return
	}
	b.chunks = append(b.chunks, make([]byte, 0, max(n, chunkBytes)))
}

// reset empties the buffer and keeps its memory for the next pairs.
func (b *pairBuffer) reset() {
	for _, c := range b.chunks {
		if cap(c) == chunkBytes {
			b.free = append(b.free, c[:0])
		}
	}
	clear(b.chunks)
	b.chunks, b.pairs, b.bytes = b.chunks[:0], b.pairs[:0], 0
	clear(b.parts)
}

// full reports whether no further pair can be addressed.
func (b *pairBuffer) full() bool { return len(b.chunks) >= maxArena/chunkBytes }

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
