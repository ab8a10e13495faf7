package gfs

import (
	"encoding/binary"
	"math/bits"
)

// A btindex finds the leaf of a [btree] that has a key without a search through the
// nodes above it, each of which is a miss of the cache or two in a large tree. It is a
// hash table: one line of memory of the table, one look at the leaf, and a key that is
// nowhere mostly costs the first alone.
//
// It belongs to the tree that is written: a frozen one has none. It holds no key and no
// pointer, but a word for each entry: a part of the hash of the key, after which restart
// of the leaf it lies, or did when the word was written, and the number of the leaf.
// Whether the key is really there the leaf tells, and so there is nothing that depends on
// the seed of the hash but where words lie.
//
// Words are in segments by the first bits of the hash: a segment that is full grows, or
// becomes two, so that no write takes long, and no more than a fifth of the memory is
// unused on average.
//
// Invariants, which check tests: there is a word for each entry, and no other, in its
// segment, with no free word between it and its home; a leaf has a number if and only if
// it is in the tree.
type btindex struct {
	seed     [2]uint64
	depth    uint8 // segments has 1<<depth places
	segments []*btSegment
	leaves   [][]byte // by number
	free     []uint32 // numbers that no leaf has
}

// A btSegment has the words whose hashes begin with the same depth bits. It may be in
// several places of segments, which are then next to each other.
type btSegment struct {
	depth uint8
	used  int
	words []uint64 // open addressing, from the beginning of a line on; 0 is free
}

const (
	// btLine is how many words there are in a line of the cache.
	btLine = 8
	// The bits of a word, from the lowest: the number of the leaf, the restart, and what
	// there is room for of the hash.
	btLeafBits    = 22
	btRestartBits = 6
	btTagShift    = btLeafBits + btRestartBits
	btLeafMask    = 1<<btLeafBits - 1
	btRestartMask = 1<<btRestartBits - 1
	btTagMask     = 1<<64 - 1<<btTagShift
	// btDeepest bounds the depth: beyond, hashes tell keys apart no more.
	btDeepest = 24
)

// btSizes are the lines that a segment has: those that fit the allocator's sizes.
var btSizes = [...]int{64, 84, 106, 128}

// newBtindex returns the index of a tree that has one leaf, without entries. The seed
// is to be one that nobody who chooses keys knows.
func newBtindex(seed [2]uint64) *btindex {
	return &btindex{seed: seed, segments: []*btSegment{newBtSegment(0, btSizes[0])}}
}

func newBtSegment(depth uint8, lines int) *btSegment {
	return &btSegment{depth: depth, words: make([]uint64, lines*btLine)}
}

// hash returns the hash of a key, in the place that it has in a word.
func (x *btindex) hash(key []byte) uint64 {
	h := x.seed[0] ^ uint64(len(key))
	for ; len(key) > 8; key = key[8:] {
		h = btMix(h^binary.LittleEndian.Uint64(key), x.seed[1])
	}
	var last [8]byte
	copy(last[:], key)
	h = btMix(h^binary.LittleEndian.Uint64(last[:]), x.seed[1])
	return btMix(h, 0x9e3779b97f4a7c15) & btTagMask
}

// btMix is the folded product of wyhash.
func btMix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// home returns the line in which a word is first looked for. It depends on bits of the
// hash that do not choose the segment.
func (s *btSegment) home(word uint64) int {
	lines := uint64(len(s.words) / btLine)
	return int(word>>btTagShift&0xfff*lines>>12) * btLine
}

func (x *btindex) segment(hash uint64) *btSegment {
	return x.segments[hash>>(63-x.depth)>>1]
}

// get returns the value of a key.
func (x *btindex) get(key []byte) ([]byte, bool) {
	hash := x.hash(key)
	s := x.segment(hash)
	for i := s.home(hash); ; {
		word := s.words[i]
		if word == 0 {
			return nil, false
		}
		if word&btTagMask == hash {
			leaf := x.leaves[word&btLeafMask-1]
			if value, ok := leafGetAfter(leaf, key, int(word>>btLeafBits&btRestartMask)); ok {
				return value, true
			}
		}
		if i++; i == len(s.words) {
			i = 0
		}
	}
}

// add notes that a leaf has got a key, after a restart.
func (x *btindex) add(key []byte, leaf uint32, restart int) {
	x.insert(x.hash(key) | btRestart(restart) | uint64(leaf))
}

func btRestart(n int) uint64 { return uint64(n) & btRestartMask << btLeafBits }

func (x *btindex) insert(word uint64) {
	s := x.segment(word)
	if s.full() {
		s = x.enlarge(s, word)
	}
	s.insert(word)
}

// full reports whether so few words are free that a search would take long.
func (s *btSegment) full() bool { return s.used >= len(s.words)-len(s.words)/btLine }

// grow gives a segment the next of btSizes, if there is one.
func (s *btSegment) grow() bool {
	for _, lines := range btSizes {
		if lines*btLine > len(s.words) {
			s.resize(lines)
			return true
		}
	}
	return false
}

func (s *btSegment) insert(word uint64) {
	i := s.home(word)
	for s.words[i] != 0 {
		if i++; i == len(s.words) {
			i = 0
		}
	}
	s.words[i] = word
	s.used++
}

// enlarge makes room in a segment, and returns the one that a word belongs to.
func (x *btindex) enlarge(s *btSegment, word uint64) *btSegment {
	if s.grow() {
		return s
	}
	if s.depth >= btDeepest { // which needs more entries than there is memory for
		s.resize(len(s.words) / btLine * 5 / 4)
		return s
	}
	if s.depth == x.depth {
		twice := make([]*btSegment, 2*len(x.segments))
		for i, s := range x.segments {
			twice[2*i], twice[2*i+1] = s, s
		}
		x.segments, x.depth = twice, x.depth+1
	}
	parts := [2]*btSegment{newBtSegment(s.depth+1, btSizes[0]), newBtSegment(s.depth+1, btSizes[0])}
	for _, w := range s.words {
		if w == 0 {
			continue
		}
		p := parts[w>>(63-s.depth)&1]
		if p.full() {
			p.grow()
		}
		p.insert(w)
	}
	// The places of s are next to each other: the first half is for a bit of 0.
	span := 1 << (x.depth - s.depth)
	first := int(word>>(63-x.depth)>>1) &^ (span - 1)
	for i := range span {
		x.segments[first+i] = parts[2*i/span]
	}
	return x.segment(word)
}

// resize gives a segment other memory.
func (s *btSegment) resize(lines int) {
	old := s.words
	s.words, s.used = make([]uint64, lines*btLine), 0
	for _, w := range old {
		if w != 0 {
			s.insert(w)
		}
	}
}

// find returns the place of a word, which is there, whatever restart it names.
func (s *btSegment) find(word uint64) int {
	i := s.home(word)
	for s.words[i]&^(btRestartMask<<btLeafBits) != word {
		if i++; i == len(s.words) {
			i = 0
		}
	}
	return i
}

// move notes that a key is in another leaf now, after a restart.
func (x *btindex) move(key []byte, from, to uint32, restart int) {
	hash := x.hash(key)
	s := x.segment(hash)
	s.words[s.find(hash|uint64(from))] = hash | btRestart(restart) | uint64(to)
}

// remove notes that a leaf has a key no more.
func (x *btindex) remove(key []byte, leaf uint32) {
	word := x.hash(key) | uint64(leaf)
	s := x.segment(word)
	hole := s.find(word)
	s.used--
	for i := hole; ; {
		if i++; i == len(s.words) {
			i = 0
		}
		w := s.words[i]
		if w == 0 {
			break
		}
		// w may go back to the hole unless its home is behind it.
		if home := s.home(w); (i-home+len(s.words))%len(s.words) >= (i-hole+len(s.words))%len(s.words) {
			s.words[hole] = w
			hole = i
		}
	}
	s.words[hole] = 0
}

// number gives a leaf a number, if there is one left.
func (x *btindex) number(n *btnode) bool {
	if last := len(x.free) - 1; last >= 0 {
		n.number = x.free[last]
		x.free = x.free[:last]
	} else if len(x.leaves) < btLeafMask {
		x.leaves = append(x.leaves, nil)
		n.number = uint32(len(x.leaves))
	} else {
		return false
	}
	x.leaves[n.number-1] = n.leaf
	return true
}

// forget takes the number of a leaf that is empty.
func (x *btindex) forget(n *btnode) {
	x.leaves[n.number-1] = nil
	x.free = append(x.free, n.number)
}
