package gfs

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// A leaf of a [btree] is one block of bytes:
//
//	entry: shared, unshared, size (uvarints), the unshared bytes of the key, the value
//	…
//	head of a restart: sixteen bytes of its key, as two numbers
//	…
//	restart: the offset of an entry that shares nothing (two bytes)
//	…
//	how many bytes all keys begin with, how many restarts (two bytes each)
//
// shared is how many bytes a key has in common with the one before. The heads are what
// follows what all keys begin with: a search for a key touches only them and the
// entries after one restart. A block without an entry is empty. All numbers have their
// little end first.

const (
	// leafMax is the size in bytes beyond which a leaf is divided. A leaf with a single
	// entry may be larger.
	leafMax = 4096
	// leafInterval is how many entries lie between restarts.
	leafInterval = 8
	// leafLargest is the size of the largest entry, so that offsets fit.
	leafLargest = 24 << 10
	// leafHeadSize is the size of the head of a restart.
	leafHeadSize = 16
)

// leafEntries returns the part of a leaf with entries, and the restarts.
func leafEntries(leaf []byte) (entries, restarts []byte) {
	if len(leaf) == 0 {
		return nil, nil
	}
	n := int(binary.LittleEndian.Uint16(leaf[len(leaf)-2:]))
	cut := len(leaf) - 4 - 2*n
	return leaf[:cut-leafHeadSize*n], leaf[cut : len(leaf)-4]
}

// leafGuess returns what leafSection does if the key is in the leaf; it need not if it
// is not.
func leafGuess(leaf, key []byte) int {
	n := int(binary.LittleEndian.Uint16(leaf[len(leaf)-2:]))
	same := int(binary.LittleEndian.Uint16(leaf[len(leaf)-4:]))
	cut := len(leaf) - 4 - 2*n
	restarts, heads := leaf[cut:len(leaf)-4], leaf[cut-leafHeadSize*n:cut]
	high, low := leafDigest(key[min(same, len(key)):])
	lo := 0
	for ; n > 1; n -= n >> 1 {
		half := n >> 1
		h := heads[leafHeadSize*(lo+half):]
		_, more := bits.Sub64(low, binary.LittleEndian.Uint64(h[8:]), 0)
		_, more = bits.Sub64(high, binary.LittleEndian.Uint64(h), more)
		lo += half & (int(more) - 1)
	}
	for ; lo > 0; lo-- { // whole keys are compared only if the heads are the same
		h := heads[leafHeadSize*lo:]
		if binary.LittleEndian.Uint64(h) != high || binary.LittleEndian.Uint64(h[8:]) != low {
			break
		}
		off := int(binary.LittleEndian.Uint16(restarts[2*lo:]))
		_, unshared, _, m := leafHead(leaf[off:])
		if string(leaf[off+m:off+m+unshared]) <= string(key) {
			break
		}
	}
	return int(binary.LittleEndian.Uint16(restarts[2*lo:]))
}

// leafDigest returns sixteen bytes of a key as two numbers that order as they do.
func leafDigest(key []byte) (high, low uint64) {
	if len(key) < leafHeadSize {
		var buf [leafHeadSize]byte
		copy(buf[:], key)
		key = buf[:]
	}
	return binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])
}

// leafHead reads the three numbers before an entry.
func leafHead(b []byte) (shared, unshared, size, n int) {
	if len(b) >= 3 && b[0]|b[1]|b[2] < 0x80 {
		return int(b[0]), int(b[1]), int(b[2]), 3
	}
	s, i := binary.Uvarint(b)
	u, j := binary.Uvarint(b[i:])
	v, k := binary.Uvarint(b[i+j:])
	return int(s), int(u), int(v), i + j + k
}

// leafSection returns the offset of the last restart whose key is at most key; of the
// first restart if there is none.
func leafSection(entries, restarts, key []byte) int {
	lo, hi := 0, len(restarts)/2 // the answer is in [lo, hi), or lo
	for hi-lo > 1 {
		mid := int(uint(lo+hi) >> 1)
		off := int(binary.LittleEndian.Uint16(restarts[2*mid:]))
		_, unshared, _, n := leafHead(entries[off:])
		if bytes.Compare(entries[off+n:off+n+unshared], key) <= 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	if len(restarts) == 0 {
		return 0
	}
	return int(binary.LittleEndian.Uint16(restarts[2*lo:]))
}

// leafGet returns the value of a key. It builds no key: how much of the key the entry
// before had in common tells on which side of it an entry is that shares more, or less.
func leafGet(leaf, key []byte) ([]byte, bool) {
	if len(leaf) == 0 {
		return nil, false
	}
	entries, _ := leafEntries(leaf)
	return leafWalk(entries, key, leafGuess(leaf, key))
}

// leafGetAfter is leafGet for a key that is likely to be after a restart, and before the
// next.
func leafGetAfter(leaf, key []byte, restart int) ([]byte, bool) {
	entries, restarts := leafEntries(leaf)
	if at := 2 * restart; at < len(restarts) {
		part := entries
		if at+2 < len(restarts) {
			part = entries[:binary.LittleEndian.Uint16(restarts[at+2:])]
		}
		if value, ok := leafWalk(part, key, int(binary.LittleEndian.Uint16(restarts[at:]))); ok {
			return value, true
		}
	}
	return leafGet(leaf, key)
}

// leafWalk looks for a key among the entries from a restart on.
func leafWalk(entries, key []byte, off int) ([]byte, bool) {
	match := 0 // bytes that key has in common with the entry before, which is less
	for off < len(entries) {
		shared, unshared, size, n := leafHead(entries[off:])
		off += n
		if shared < match {
			return nil, false // it differs from the one before where that equals key: it is greater
		}
		if shared == match {
			suffix, rest := entries[off:off+unshared], key[match:]
			c := leafCommon(suffix, rest)
			switch {
			case c == len(rest) && c == len(suffix):
				off += unshared
				return entries[off : off+size : off+size], true
			case c == len(rest), c < len(suffix) && suffix[c] > rest[c]:
				return nil, false
			}
			match += c
		}
		off += unshared + size
	}
	return nil, false
}

// leafCommon returns how many bytes a and b begin with in common.
func leafCommon(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) != binary.LittleEndian.Uint64(b[i:]) {
			break
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// A leafCursor goes through the entries of a leaf. It is not valid any more once the
// leaf has changed.
type leafCursor struct {
	entries []byte
	next    int    // the offset of the entry after the present one
	key     []byte // of the present entry; good until the next step
	value   []byte // in the leaf
	shared  int    // bytes of key that the entry before has too, as it is laid out
}

// restarts reports whether the present entry has all of its key, as those at a restart do
// and hardly any other.
func (c *leafCursor) restarts() bool { return c.shared == 0 }

// begin sets the cursor before the first entry.
func (c *leafCursor) begin(leaf []byte) {
	c.entries, _ = leafEntries(leaf)
	c.next, c.key, c.value = 0, c.key[:0], nil
}

// seek sets the cursor to the first entry whose key is at least key, and reports
// whether there is one.
func (c *leafCursor) seek(leaf, key []byte) bool {
	var restarts []byte
	c.entries, restarts = leafEntries(leaf)
	c.next, c.key, c.value = leafSection(c.entries, restarts, key), c.key[:0], nil
	for c.step() {
		if bytes.Compare(c.key, key) >= 0 {
			return true
		}
	}
	return false
}

// step goes to the next entry and reports whether there is one.
func (c *leafCursor) step() bool {
	if c.next >= len(c.entries) {
		return false
	}
	shared, unshared, size, n := leafHead(c.entries[c.next:])
	off := c.next + n
	c.shared = shared
	c.key = append(c.key[:shared], c.entries[off:off+unshared]...)
	off += unshared
	c.value = c.entries[off : off+size : off+size]
	c.next = off + size
	return true
}

// A leafBuilder makes a leaf of entries that are added in order.
type leafBuilder struct {
	buf      []byte
	restarts []uint16
	last     []byte // the key added last
	since    int    // entries since the last restart
	entries  int
	same     int // how many bytes all keys begin with; -1: what the first and the last do
	section  int // of put: after which restart the key is

	// Of put: the heads that the leaf had. Those of all restarts but the section's are as
	// they were, unless the keys have less in common now.
	heads    []byte
	headSame int
}

func (b *leafBuilder) reset() {
	b.buf, b.restarts, b.last, b.since, b.entries, b.same = b.buf[:0], b.restarts[:0], b.last[:0], 0, 0, -1
	b.heads = nil
}

// size returns how large the leaf is.
func (b *leafBuilder) size() int {
	if b.entries == 0 {
		return 0
	}
	return len(b.buf) + (leafHeadSize+2)*len(b.restarts) + 4
}

func (b *leafBuilder) add(key, value []byte) {
	shared := 0
	if b.entries == 0 || b.since == leafInterval {
		b.restarts = append(b.restarts, uint16(len(b.buf)))
		b.since = 0
	} else {
		shared = leafCommon(b.last, key)
	}
	b.since++
	b.entries++
	b.appendEntry(shared, key[shared:], value)
	b.last = append(b.last[:shared], key[shared:]...)
}

// finish returns the leaf, which is good until reset.
func (b *leafBuilder) finish() []byte {
	if b.entries == 0 {
		return nil
	}
	same := b.same
	if same < 0 {
		same = leafCommon(b.restartKey(0), b.last)
	}
	if heads := b.heads; heads != nil && same == b.headSame {
		cut := leafHeadSize * b.section
		b.buf = b.appendHead(append(b.buf, heads[:cut]...), b.section, same)
		b.buf = append(b.buf, heads[min(cut+leafHeadSize, len(heads)):]...)
	} else {
		for i := range b.restarts {
			b.buf = b.appendHead(b.buf, i, same)
		}
	}
	for _, r := range b.restarts {
		b.buf = binary.LittleEndian.AppendUint16(b.buf, r)
	}
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(same))
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(len(b.restarts)))
	return b.buf
}

// appendHead appends the head of a restart.
func (b *leafBuilder) appendHead(dst []byte, restart, same int) []byte {
	high, low := leafDigest(b.restartKey(restart)[same:])
	dst = binary.LittleEndian.AppendUint64(dst, high)
	return binary.LittleEndian.AppendUint64(dst, low)
}

// restartKey returns the key of a restart, which is in the leaf.
func (b *leafBuilder) restartKey(i int) []byte {
	off := int(b.restarts[i])
	_, unshared, _, n := leafHead(b.buf[off:])
	return b.buf[off+n : off+n+unshared : off+n+unshared]
}

// leafStore returns a copy of a built leaf, in old's memory if that may be used and
// fits well. Room is left in steps, so that a leaf that grows is not moved each time,
// and one that is full wastes little.
func leafStore(old, built []byte) []byte {
	const step = 512
	want := (len(built) + step - 1) / step * step
	if cap(old) >= len(built) && cap(old) <= want+step {
		return append(old[:0], built...)
	}
	return append(make([]byte, 0, want), built...)
}

// leafJoin appends the entries of a leaf to the builder's.
func (b *leafBuilder) leafJoin(c *leafCursor, leaf []byte) {
	for c.begin(leaf); c.step(); {
		b.add(c.key, c.value)
	}
}

// put makes a leaf of another with a key and its value, and reports whether the key is
// new, and whether it has come to be the last. An entry depends on the one before alone,
// so that nearly all of the leaf is copied as it is.
func (b *leafBuilder) put(c *leafCursor, leaf, key, value []byte) (added, last bool) {
	entries, restarts := leafEntries(leaf)
	c.entries, c.next, c.key, c.value = entries, leafSection(entries, restarts, key), c.key[:0], nil
	b.last = b.last[:0] // the key before the place
	at, before := c.next, 0
	for c.step() {
		if string(c.key) >= string(key) {
			break
		}
		b.last = append(b.last[:0], c.key...)
		at, before = c.next, before+1
	}
	end := at == len(entries)
	same := !end && string(c.key) == string(key)
	if !end && leafSectionEntries(entries, restarts, at) >= 2*leafInterval {
		return b.rebuild(c, leaf, key, value), false
	}
	b.entries = 2 // or more: one matters
	if same && at == 0 && c.next == len(entries) || len(entries) == 0 {
		b.entries = 1
	}
	if len(entries) > 0 { // a new first or last key may have less in common with the others
		b.same = int(binary.LittleEndian.Uint16(leaf[len(leaf)-4:]))
		b.heads, b.headSame = leaf[len(entries):len(leaf)-4-len(restarts)], b.same
		if at == 0 || end {
			_, unshared, _, n := leafHead(entries)
			b.same = min(b.same, leafCommon(key, entries[n:n+unshared]))
		}
	} else {
		b.same = len(key)
	}
	b.buf = append(b.buf, entries[:at]...)
	starts := b.copyRestarts(restarts, at)
	shared := leafCommon(b.last, key)
	if starts && same || at == 0 || end && before >= leafInterval {
		shared = 0
		b.restarts = append(b.restarts, uint16(at))
	}
	b.section = len(b.restarts) - 1
	b.appendEntry(shared, key[shared:], value)
	rest := at
	switch {
	case end:
	case same:
		rest = c.next
	case starts && at > 0: // what follows shares nothing, and goes on so
		b.restarts = append(b.restarts, uint16(len(b.buf)))
	default:
		shared = leafCommon(key, c.key)
		b.appendEntry(shared, c.key[shared:], c.value)
		rest = c.next
	}
	shift := len(b.buf) - rest
	b.buf = append(b.buf, entries[rest:]...)
	for i := 0; i < len(restarts); i += 2 {
		if off := int(binary.LittleEndian.Uint16(restarts[i:])); off > at {
			b.restarts = append(b.restarts, uint16(off+shift))
		}
	}
	return !same, end
}

// leafSectionEntries returns how many entries lie between the restarts around an offset.
func leafSectionEntries(entries, restarts []byte, at int) (n int) {
	from, to := 0, len(entries)
	for i := 0; i < len(restarts); i += 2 {
		off := int(binary.LittleEndian.Uint16(restarts[i:]))
		if off > at {
			to = off
			break
		}
		from = off
	}
	for from < to {
		_, unshared, size, head := leafHead(entries[from:])
		from += head + unshared + size
		n++
	}
	return n
}

// rebuild is put for a leaf of which a part has gone without a restart for too long.
func (b *leafBuilder) rebuild(c *leafCursor, leaf, key, value []byte) (added bool) {
	b.reset()
	placed, same := false, false
	for c.begin(leaf); c.step(); {
		if !placed && string(c.key) >= string(key) {
			placed, same = true, string(c.key) == string(key)
			b.add(key, value)
			b.section = len(b.restarts) - 1
			if same {
				continue
			}
		}
		b.add(c.key, c.value)
	}
	return !same
}

// copyRestarts copies those before an offset, and reports whether there is one at it.
func (b *leafBuilder) copyRestarts(restarts []byte, at int) bool {
	for i := 0; i < len(restarts); i += 2 {
		off := int(binary.LittleEndian.Uint16(restarts[i:]))
		if off >= at {
			return off == at
		}
		b.restarts = append(b.restarts, uint16(off))
	}
	return false
}

func (b *leafBuilder) appendEntry(shared int, suffix, value []byte) {
	b.buf = binary.AppendUvarint(b.buf, uint64(shared))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(suffix)))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(value)))
	b.buf = append(b.buf, suffix...)
	b.buf = append(b.buf, value...)
}

// leafHalves returns how many entries of a leaf the left part gets when it is divided:
// about half of the bytes, or all but the last one if the last was just added, because
// then it is likely that more will follow, and the left part stays full. Both parts
// get one at least.
func leafHalves(c *leafCursor, leaf []byte, last bool) int {
	entries, left, half := 0, 0, 0
	for c.begin(leaf); c.step(); {
		entries++
		if half == 0 && c.next >= len(c.entries)/2 {
			half = entries
		}
	}
	left = half
	if last {
		left = entries - 1
	}
	return min(max(left, 1), entries-1)
}

// shortestBetween returns the shortest key that is greater than a and at most b, where
// a < b.
func shortestBetween(a, b []byte) []byte {
	return slices.Clone(b[:leafCommon(a, b)+1])
}
