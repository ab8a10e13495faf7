package gfs

// btdepth bounds the height of a tree: nodes that have come to have few children make
// it higher than it need be, yet never by much.
const btdepth = 32

// A btcursor goes through a tree in order. It is not valid any more once the tree has
// been written.
type btcursor struct {
	leafCursor
	path [btdepth]struct {
		in *btinner
		at int
	}
	depth int
}

// seek sets the cursor to the first entry whose key is at least key, and reports
// whether there is one.
func (c *btcursor) seek(t *btree, key []byte) bool {
	n := t.root
	c.depth = 0
	for n.inner != nil {
		c.path[c.depth].in, c.path[c.depth].at = n.inner, n.inner.child(key)
		n = n.inner.kids[c.path[c.depth].at]
		c.depth++
	}
	if c.leafCursor.seek(n.leaf, key) {
		return true
	}
	return c.nextLeaf()
}

// forward goes to the next entry and reports whether there is one.
func (c *btcursor) forward() bool { return c.step() || c.nextLeaf() }

func (c *btcursor) nextLeaf() bool {
	for d := c.depth - 1; d >= 0; d-- {
		p := &c.path[d]
		if p.at++; p.at == len(p.in.kids) {
			continue
		}
		n := p.in.kids[p.at]
		for d++; d < c.depth; d++ {
			c.path[d].in, c.path[d].at = n.inner, 0
			n = n.inner.kids[0]
		}
		c.begin(n.leaf)
		return c.step()
	}
	return false
}

// A btbuilder makes a tree of entries that come in order, of full leaves.
type btbuilder struct {
	leaf  leafBuilder
	level []btpart // the leaves so far
	end   []byte   // the last key of the leaf before
	count int
}

// add appends an entry, which must be greater than the one before; if not, it reports
// false, and adds nothing.
func (b *btbuilder) add(key, value []byte) bool {
	if b.count > 0 && string(key) <= string(b.leaf.last) {
		return false
	}
	// A little room is left: what comes next in a leaf is likely soon.
	if b.leaf.entries > 0 && b.leaf.size()+len(key)+len(value)+12 > leafMax-leafMax/16 {
		b.flush()
	}
	if b.leaf.entries == 0 {
		var sep []byte
		if len(b.level) > 0 {
			sep = shortestBetween(b.end, key)
		}
		b.level = append(b.level, btpart{sep: sep})
	}
	b.leaf.add(key, value)
	b.count++
	return true
}

func (b *btbuilder) flush() {
	b.end = append(b.end[:0], b.leaf.last...)
	b.level[len(b.level)-1].node = &btnode{leaf: leafStore(nil, b.leaf.finish())}
	last := b.leaf.last
	b.leaf.reset()
	b.leaf.last = last
}

// finish returns the tree.
func (b *btbuilder) finish() btree {
	if b.count == 0 {
		return newBtree()
	}
	b.flush()
	level := b.level
	for len(level) > 1 {
		var upper []btpart
		for n := (len(level) + innerMax - 1) / innerMax; n > 0; n-- {
			size := (len(level) + n - 1) / n // evenly
			in := &btinner{kids: make([]*btnode, 0, size+1), seps: make([][]byte, 0, size+1)}
			for _, p := range level[:size] {
				in.kids = append(in.kids, p.node)
				in.seps = append(in.seps, p.sep)
			}
			upper = append(upper, btpart{in.seps[0], &btnode{inner: in}})
			in.seps[0] = nil
			in.index()
			level = level[size:]
		}
		level = upper
	}
	return btree{root: level[0].node, count: b.count}
}
