package gfs

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A btree is an ordered map of byte strings to byte strings, made to hold many small
// entries: leaves are packed, prefix-compressed blocks of a few kilobytes, so that
// there is no pointer for an entry, and all of a leaf is one object to the garbage
// collector.
//
// It is copied on write. freeze returns the tree as it is now in no time: its nodes are
// shared, and whatever is changed afterwards is copied first.
//
// Invariants, which check tests: keys are in order; the separators bound them; no leaf
// but an only one is empty; leaves are no larger than leafMax unless they have a single
// entry; two neighbours under one node do not both fit in half of one.
//
// Reads may run concurrently with one another and with those of frozen trees. Writes
// may run concurrently with reads of frozen trees.
type btree struct {
	root  *btnode
	gen   uint64   // nodes of an older generation are shared with a frozen tree
	count int      // entries
	index *btindex // a shorter way to the leaves, or nil

	build  leafBuilder // scratch, of the writer
	halves leafBuilder
	cursor leafCursor
}

// A btnode is a leaf, or an inner node if inner is not nil.
type btnode struct {
	gen    uint64
	leaf   []byte
	inner  *btinner
	number uint32 // of a leaf, in the index
}

// innerMax is how many children an inner node may have.
const innerMax = 64

// btinner has the children, in order. seps[i] is at most the least key below kids[i],
// and greater than all keys below kids[i-1]. seps[0] is empty.
//
// A search hardly touches the separators, each of which is a miss of the cache: heads
// are, side by side, the bytes of each that follow what all of them (but the first)
// begin with, the beginning of which is in prefix.
type btinner struct {
	kids   []*btnode
	seps   [][]byte
	heads  []btDigest
	same   int // how many bytes all begin with
	prefix [48]byte
}

// A btDigest is 24 bytes of a key as numbers that order as they do: as much as tells the
// names apart of most files below a few directories.
type btDigest [3]uint64

func btDigestOf(key []byte) btDigest {
	if len(key) < 24 {
		var buf [24]byte
		copy(buf[:], key)
		key = buf[:]
	}
	return btDigest{binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:]), binary.BigEndian.Uint64(key[16:])}
}

// atMost returns all ones if d is at most e, else 0: there is no branch to guess wrong.
func (d *btDigest) atMost(e *btDigest) int {
	_, more := bits.Sub64(e[2], d[2], 0)
	_, more = bits.Sub64(e[1], d[1], more)
	_, more = bits.Sub64(e[0], d[0], more)
	return int(more) - 1
}

// index writes heads, after a change of the separators.
func (in *btinner) index() {
	if len(in.seps) < 2 {
		in.heads, in.same = in.heads[:0], 0
		return
	}
	// As they are in order, what the first and the last begin with all begin with.
	in.same = leafCommon(in.seps[1], in.seps[len(in.seps)-1])
	copy(in.prefix[:], in.seps[1][:in.same])
	in.heads = append(in.heads[:0], btDigest{})
	for _, sep := range in.seps[1:] {
		in.heads = append(in.heads, btDigestOf(sep[in.same:]))
	}
}

// child returns the place of the child below which a key is.
func (in *btinner) child(key []byte) int {
	if len(in.seps) < 2 {
		return 0
	}
	var same []byte
	if in.same <= len(in.prefix) {
		same = in.prefix[:in.same]
	} else {
		same = in.seps[1][:in.same]
	}
	if len(key) < len(same) || string(key[:len(same)]) != string(same) {
		if string(key) < string(same) {
			return 0
		}
		return len(in.seps) - 1
	}
	head := btDigestOf(key[in.same:])
	lo := 0 // the head of lo is at most that of key
	for n := len(in.heads); n > 1; {
		half := n >> 1
		lo += half & in.heads[lo+half].atMost(&head)
		n -= half
	}
	if lo > 0 && in.heads[lo] == head {
		return in.tied(lo, key)
	}
	return lo
}

// tied is child for a key with the same head as the last separator that may be at most
// key.
func (in *btinner) tied(last int, key []byte) int {
	if string(in.seps[last]) <= string(key) {
		return last
	}
	lo, hi := 0, last // the separator of lo is at most key, that of hi greater
	for hi-lo > 1 {
		mid := int(uint(lo+hi) >> 1)
		if string(in.seps[mid]) <= string(key) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

func newBtree() btree { return btree{root: &btnode{}} }

// reindex gives the tree an index, in place of one that it has.
func (t *btree) reindex(seed [2]uint64) {
	t.index = newBtindex(seed)
	t.number(t.root)
}

// number numbers the leaves below a node, and notes their entries in the index.
func (t *btree) number(n *btnode) {
	if n.inner != nil {
		for i := range n.inner.kids {
			t.number(n.inner.kids[i])
		}
		return
	}
	if !t.numberLeaf(n) {
		return
	}
	c, restart := &t.cursor, -1
	for c.begin(n.leaf); c.step(); {
		if c.restarts() {
			restart++
		}
		t.index.add(c.key, n.number, restart)
	}
}

// numberLeaf gives a leaf that is new a number. With more leaves than there are numbers
// the tree goes on without an index.
func (t *btree) numberLeaf(n *btnode) bool {
	if t.index != nil && !t.index.number(n) {
		t.index = nil
	}
	return t.index != nil
}

// place makes a leaf's content another.
func (t *btree) place(n *btnode, leaf []byte) {
	if n.leaf = leaf; t.index != nil {
		t.index.leaves[n.number-1] = leaf
	}
}

// freeze returns the tree as it is now. It must not be written.
func (t *btree) freeze() btree {
	frozen := btree{root: t.root, gen: t.gen, count: t.count}
	t.gen++
	return frozen
}

// get returns the value of a key, which is in the tree's memory: good until a write.
func (t *btree) get(key []byte) ([]byte, bool) {
	if t.index != nil {
		return t.index.get(key)
	}
	n := t.root
	for n.inner != nil {
		n = n.inner.kids[n.inner.child(key)]
	}
	return leafGet(n.leaf, key)
}

// put sets the value of a key. Both may be in the tree's memory.
func (t *btree) put(key, value []byte) { t.change(key, value, false) }

// delete removes a key, if it is there.
func (t *btree) delete(key []byte) { t.change(key, nil, true) }

func (t *btree) change(key, value []byte, remove bool) {
	t.root = t.own(t.root)
	more := t.update(t.root, key, value, remove)
	if more != nil {
		old := t.root
		t.root = &btnode{gen: t.gen, inner: &btinner{kids: []*btnode{old}, seps: [][]byte{nil}}}
		t.adopt(t.root.inner, 0, more)
	}
	for t.root.inner != nil && len(t.root.inner.kids) == 1 {
		t.root = t.own(t.root.inner.kids[0])
	}
}

// own returns a node that may be changed: itself, or a copy if it is shared.
func (t *btree) own(n *btnode) *btnode {
	if n.gen == t.gen {
		return n
	}
	c := &btnode{gen: t.gen, number: n.number}
	if in := n.inner; in != nil {
		c.inner = &btinner{slices.Clone(in.kids), slices.Clone(in.seps), slices.Clone(in.heads), in.same, in.prefix}
		return c
	}
	t.place(c, slices.Clone(n.leaf))
	return c
}

// A btpart is a node that was divided off another, with its separator.
type btpart struct {
	sep  []byte
	node *btnode
}

// update changes the subtree of a node that is owned, and returns what it was divided
// into besides.
func (t *btree) update(n *btnode, key, value []byte, remove bool) []btpart {
	if n.inner == nil {
		return t.updateLeaf(n, key, value, remove)
	}
	in := n.inner
	i := in.child(key)
	in.kids[i] = t.own(in.kids[i])
	if more := t.update(in.kids[i], key, value, remove); more != nil {
		t.adopt(in, i, more)
		i += len(more)
	}
	t.settle(in, i)
	if len(in.kids) <= innerMax {
		return nil
	}
	half := len(in.kids) / 2
	if i == len(in.kids)-1 { // growing at the end: see leafHalves
		half = len(in.kids) - 1
	}
	part := btpart{in.seps[half], &btnode{gen: t.gen, inner: &btinner{
		kids: slices.Clone(in.kids[half:]), seps: slices.Clone(in.seps[half:]),
	}}}
	part.node.inner.seps[0] = nil
	part.node.inner.index()
	clear(in.kids[half:])
	clear(in.seps[half:])
	in.kids, in.seps = in.kids[:half], in.seps[:half]
	in.index()
	return []btpart{part}
}

// adopt inserts what child i was divided into after it.
func (t *btree) adopt(in *btinner, i int, more []btpart) {
	for k, p := range more {
		in.kids = slices.Insert(in.kids, i+1+k, p.node)
		in.seps = slices.Insert(in.seps, i+1+k, p.sep)
	}
	in.index()
}

func (t *btree) updateLeaf(n *btnode, key, value []byte, remove bool) []btpart {
	b := &t.build
	b.reset()
	last := false
	if remove {
		t.removeFrom(n, key)
	} else {
		var added bool
		if added, last = b.put(&t.cursor, n.leaf, key, value); added {
			t.count++
			if t.index != nil {
				t.index.add(key, n.number, b.section)
			}
		}
	}
	leaf := b.finish()
	if len(leaf) <= leafMax || b.entries == 1 {
		t.place(n, leafStore(n.leaf, leaf))
		return nil
	}
	return t.divide(n, leaf, last)
}

// removeFrom builds a leaf without a key.
func (t *btree) removeFrom(n *btnode, key []byte) {
	c := &t.cursor
	for c.begin(n.leaf); c.step(); {
		if string(c.key) == string(key) {
			t.count--
			if t.index != nil {
				t.index.remove(key, n.number)
			}
			continue
		}
		t.build.add(c.key, c.value)
	}
}

// divide makes n and further leaves of one that is too large.
func (t *btree) divide(n *btnode, leaf []byte, last bool) []btpart {
	h, c := &t.halves, &t.cursor
	left := leafHalves(c, leaf, last)
	h.reset()
	c.begin(leaf)
	for range left {
		c.step()
		h.add(c.key, c.value)
	}
	end := slices.Clone(h.last)
	first := slices.Clone(h.finish())
	one := h.entries == 1
	h.reset()
	node := &btnode{gen: t.gen}
	t.numberLeaf(node)
	var sep []byte
	for c.step() {
		if sep == nil {
			sep = shortestBetween(end, c.key)
		}
		h.add(c.key, c.value)
		if t.index != nil {
			t.index.move(c.key, n.number, node.number, len(h.restarts)-1)
		}
	}
	second := slices.Clone(h.finish())
	two := h.entries == 1
	var parts []btpart
	if len(first) <= leafMax || one {
		t.place(n, leafStore(nil, first))
	} else {
		parts = t.divide(n, first, false)
	}
	parts = append(parts, btpart{sep, node})
	if len(second) <= leafMax || two {
		t.place(node, leafStore(nil, second))
	} else {
		parts = append(parts, t.divide(node, second, false)...)
	}
	return parts
}

// weight is what a node counts towards a full one, whose weight is 2*half.
func (n *btnode) weight() (weight, half int) {
	if n.inner != nil {
		return len(n.inner.kids), innerMax / 2
	}
	return len(n.leaf), leafMax / 2
}

// settle joins child i with its neighbours as long as two fit in half of one, and takes
// out a leaf that is empty.
func (t *btree) settle(in *btinner, i int) {
	for len(in.kids) > 1 {
		w, half := in.kids[i].weight()
		switch {
		case w == 0:
			t.drop(in, i)
			i = min(i, len(in.kids)-1)
		case i > 0 && t.fits(in, i-1, w, half):
			i--
			t.join(in, i)
		case i+1 < len(in.kids) && t.fits(in, i+1, w, half):
			t.join(in, i)
		default:
			return
		}
	}
}

func (t *btree) fits(in *btinner, i, w, half int) bool {
	other, _ := in.kids[i].weight()
	return w+other <= half
}

// drop takes child i out, which is an empty leaf.
func (t *btree) drop(in *btinner, i int) {
	if t.index != nil {
		t.index.forget(in.kids[i])
	}
	in.kids = slices.Delete(in.kids, i, i+1)
	in.seps = slices.Delete(in.seps, i, i+1)
	in.seps[0] = nil
	in.index()
}

// join makes one of the children i and i+1.
func (t *btree) join(in *btinner, i int) {
	l, r := t.own(in.kids[i]), in.kids[i+1]
	in.kids[i] = l
	if l.inner != nil {
		seps := slices.Clone(r.inner.seps)
		seps[0] = in.seps[i+1]
		l.inner.kids = append(l.inner.kids, r.inner.kids...)
		l.inner.seps = append(l.inner.seps, seps...)
		l.inner.index()
	} else {
		t.build.reset()
		t.build.leafJoin(&t.cursor, l.leaf)
		t.joinLeaf(l, r)
		t.place(l, leafStore(l.leaf, t.build.finish()))
	}
	in.kids = slices.Delete(in.kids, i+1, i+2)
	in.seps = slices.Delete(in.seps, i+1, i+2)
	in.index()
}

// joinLeaf appends the entries of r to the leaf that is being built for l.
func (t *btree) joinLeaf(l, r *btnode) {
	if t.index == nil {
		t.build.leafJoin(&t.cursor, r.leaf)
		return
	}
	c := &t.cursor
	for c.begin(r.leaf); c.step(); {
		t.build.add(c.key, c.value)
		t.index.move(c.key, r.number, l.number, len(t.build.restarts)-1)
	}
	t.index.forget(r)
}

// before appends the greatest key that is less than a key to dst, with its value, if
// there is one.
func (t *btree) before(dst, key []byte) (found, value []byte, ok bool) {
	return t.root.before(dst, key)
}

func (n *btnode) before(dst, key []byte) (found, value []byte, ok bool) {
	if n.inner != nil {
		// The leaf that a key belongs to may have none that is less; then the one before has.
		for i := n.inner.child(key); i >= 0; i-- {
			if found, value, ok = n.inner.kids[i].before(dst, key); ok {
				return found, value, true
			}
		}
		return dst, nil, false
	}
	var c leafCursor
	found = dst
	for c.begin(n.leaf); c.step() && string(c.key) < string(key); ok = true {
		found, value = append(found[:len(dst)], c.key...), c.value
	}
	return found, value, ok
}
