package gfs

import (
	"bytes"
	"errors"
	"fmt"
)

// check returns which of its invariants the tree breaks.
func (t *btree) check() error {
	entries := 0
	var last []byte
	if err := t.checkNode(t.root, nil, nil, &last, &entries, true); err != nil {
		return err
	}
	if entries != t.count {
		return fmt.Errorf("%d entries, %d counted", entries, t.count)
	}
	if t.index != nil {
		return t.checkIndex()
	}
	return nil
}

// checkIndex checks that the index has the entries of the tree, each in its leaf.
func (t *btree) checkIndex() error {
	x := t.index
	words, used, leaves := 0, 0, 0
	var last *btSegment
	for i, s := range x.segments {
		if s == last {
			continue
		}
		if last = s; s.depth > x.depth || i&(1<<(x.depth-s.depth)-1) != 0 {
			return fmt.Errorf("a segment of depth %d at %d of depth %d", s.depth, i, x.depth)
		}
		used += s.used
		for _, w := range s.words {
			if w != 0 {
				words++
			}
		}
	}
	if words != t.count || used != t.count {
		return fmt.Errorf("%d words for %d entries, %d counted", words, t.count, used)
	}
	var walk func(n *btnode) error
	walk = func(n *btnode) error {
		if n.inner != nil {
			for _, kid := range n.inner.kids {
				if err := walk(kid); err != nil {
					return err
				}
			}
			return nil
		}
		leaves++
		if n.number == 0 || int(n.number) > len(x.leaves) || len(n.leaf) != len(x.leaves[n.number-1]) ||
			len(n.leaf) > 0 && &n.leaf[0] != &x.leaves[n.number-1][0] {
			return fmt.Errorf("leaf %d is another in the index", n.number)
		}
		var c leafCursor
		for c.begin(n.leaf); c.step(); {
			if value, ok := x.get(c.key); !ok || !bytes.Equal(value, c.value) {
				return fmt.Errorf("key %q is not in the index", c.key)
			}
		}
		return nil
	}
	if err := walk(t.root); err != nil {
		return err
	}
	if leaves+len(x.free) != len(x.leaves) {
		return fmt.Errorf("%d leaves of %d numbers, %d of them free", leaves, len(x.leaves), len(x.free))
	}
	return nil
}

// checkNode checks a node whose keys are at least low, and less than high unless that
// is nil.
func (t *btree) checkNode(n *btnode, low, high []byte, last *[]byte, entries *int, root bool) error {
	if n.gen > t.gen {
		return fmt.Errorf("a node of generation %d in one of %d", n.gen, t.gen)
	}
	if n.inner == nil {
		return t.checkLeaf(n, low, high, last, entries, root)
	}
	in := n.inner
	switch {
	case len(in.kids) < 2 && root || len(in.kids) == 0 || len(in.kids) > innerMax || len(in.kids) != len(in.seps):
		return fmt.Errorf("%d children, %d separators", len(in.kids), len(in.seps))
	case len(in.seps[0]) > 0:
		return fmt.Errorf("the first separator is %q", in.seps[0])
	}
	for i, kid := range in.kids {
		from, to := low, high
		if i > 0 {
			from = in.seps[i]
			w, half := kid.weight()
			if before, _ := in.kids[i-1].weight(); w+before <= half {
				return fmt.Errorf("neighbours of weight %d and %d", before, w)
			}
		}
		if i+1 < len(in.kids) {
			to = in.seps[i+1]
		}
		if err := t.checkNode(kid, from, to, last, entries, false); err != nil {
			return err
		}
	}
	return nil
}

func (t *btree) checkLeaf(n *btnode, low, high []byte, last *[]byte, entries *int, root bool) error {
	var c leafCursor
	own := 0
	for c.begin(n.leaf); c.step(); own++ {
		if *entries > 0 && bytes.Compare(*last, c.key) >= 0 || bytes.Compare(c.key, low) < 0 || high != nil && bytes.Compare(c.key, high) >= 0 {
			return fmt.Errorf("key %q after %q, in a leaf from %q to %q", c.key, *last, low, high)
		}
		if value, ok := leafGet(n.leaf, c.key); !ok || !bytes.Equal(value, c.value) {
			return fmt.Errorf("key %q is not found in its leaf", c.key)
		}
		*last = append((*last)[:0], c.key...)
		*entries++
	}
	if own == 0 && !root || own > 1 && len(n.leaf) > leafMax {
		return fmt.Errorf("a leaf of %d entries and %d bytes", own, len(n.leaf))
	}
	return nil
}

// A metadataCheck counts anew what metadata keeps counted.
type metadataCheck struct {
	m        *metadata
	refs     map[handle]chunkRow // goal: the least that it may be
	uses     []uint64
	policies map[fileID]*policyRow
	ids      map[fileID]bool
	expiry   btree
	pages    int
	dirs     int
}

// check returns which of its invariants the metadata breaks. It takes time in
// proportion to all there is: it is for tests.
func (m *metadata) check() error {
	c := &metadataCheck{
		m: m, refs: make(map[handle]chunkRow), uses: make([]uint64, len(m.names.names)),
		policies: make(map[fileID]*policyRow), ids: make(map[fileID]bool), expiry: newBtree(),
	}
	return errors.Join(
		wrapCheck("namespace", m.ns.tree.check()), wrapCheck("lists", m.lists.tree.check()),
		wrapCheck("expiry", m.expiry.check()), c.entries(), c.counted(),
	)
}

func wrapCheck(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// entries goes through the namespace.
func (c *metadataCheck) entries() (err error) {
	var cur btcursor
	for ok := cur.seek(&c.m.ns.tree, nil); ok; ok = cur.forward() {
		var e nsEntry
		if err := e.decode(cur.value); err != nil {
			return fmt.Errorf("%q: %w", cur.key, err)
		}
		if again := e.append(nil); !bytes.Equal(again, cur.value) {
			return fmt.Errorf("%q: its entry is %x, read and written again %x", cur.key, cur.value, again)
		}
		if err := c.entry(cur.key, &e); err != nil {
			return fmt.Errorf("%q: %w", cur.key, err)
		}
	}
	return nil
}

func (c *metadataCheck) entry(key []byte, e *nsEntry) error {
	m := c.m
	if c.ids[e.id] || e.id == 0 || e.id >= m.nextFile {
		return fmt.Errorf("id %d, of %d", e.id, m.nextFile)
	}
	c.ids[e.id] = true
	if len(key) > 0 {
		if facts, found, dir := m.ns.dir(keyParent(key)); !found || !dir {
			return fmt.Errorf("it is in %q, %v", keyParent(key), facts)
		}
	}
	if e.dir {
		c.dirs++
		if d := m.ns.dirs[string(key)]; d != nil && d.dirFacts != e.facts() {
			return fmt.Errorf("indexed as %v", d.dirFacts)
		} else if d != nil && d.above != nil && d.above != m.ns.dirs[string(keyParent(key))] {
			return fmt.Errorf("indexed as in %v", d.above.dirFacts)
		}
	}
	if _, _, is := hiddenName(keyName(key)); is != e.hidden {
		return fmt.Errorf("hidden: %v", e.hidden)
	}
	if e.hidden {
		c.expiry.put(appendExpiry(nil, e.expires, key), nil)
	}
	c.uses[e.owner]++
	c.uses[e.group]++
	if e.policy {
		c.policies[e.id] = &policyRow{policy: m.policies[e.id].policy}
	}
	for dir := key; len(dir) > 0; {
		dir = keyParent(dir)
		if facts, _, _ := m.ns.dir(dir); facts.policy && m.counted(m.policies[facts.id]) {
			c.policies[facts.id].count(e)
		}
	}
	return c.chunks(key, e)
}

func (c *metadataCheck) chunks(key []byte, e *nsEntry) error {
	hidden, held, length := keyHidden(key), uint64(0), uint64(0)
	c.m.eachHandle(e, 0, func(index uint64, h handle) bool {
		row := c.refs[h]
		row.refs++
		if !hidden {
			row.live++
			row.goal = max(row.goal, e.goal)
		}
		c.refs[h] = row
		held, length = held+1, index+1
		return true
	})
	if held != e.held || length != e.length {
		return fmt.Errorf("%d chunks of %d, it says %d of %d", held, length, e.held, e.length)
	}
	if e.paged() {
		c.m.lists.pages(e.id, func(uint64, []byte) { c.pages++ })
	}
	return nil
}

// counted compares what was found with what is kept.
func (c *metadataCheck) counted() error {
	m := c.m
	if len(c.policies) != len(m.policies) || m.policies[rootID] != m.root {
		return fmt.Errorf("%d policies, %d directories have one", len(m.policies), len(c.policies))
	}
	for id, row := range c.policies { // order-free: any error will do
		if *row != *m.policies[id] {
			return fmt.Errorf("directory %d: %+v below, counted %+v", id, *row, *m.policies[id])
		}
	}
	for id, uses := range c.uses {
		name := m.names.names[id]
		if uses != m.names.uses[id] || (uses == 0) != (name == freeName) {
			return fmt.Errorf("name %q: used %d times, counted %d", name, uses, m.names.uses[id])
		}
		if got, ok := m.names.ids[name]; uses > 0 && (!ok || got != nameID(id)) {
			return fmt.Errorf("name %q is found as %d, not %d", name, got, id)
		}
	}
	if len(m.ns.dirs) != min(c.dirs, maxDirs) && c.dirs <= maxDirs {
		return fmt.Errorf("%d directories, %d indexed", c.dirs, len(m.ns.dirs))
	}
	if c.pages != m.lists.tree.count {
		return fmt.Errorf("%d pages of handles, files have %d", m.lists.tree.count, c.pages)
	}
	if !sameKeys(&c.expiry, &m.expiry) {
		return fmt.Errorf("%d hidden entries, %d in expiry, or others", c.expiry.count, m.expiry.count)
	}
	return c.rows()
}

func (c *metadataCheck) rows() error {
	m, n := c.m, 0
	for h, ok := m.chunks.after(0); ok; h, ok = m.chunks.after(h) {
		n++
		have, _ := m.chunks.get(h)
		want := c.refs[h]
		if have.refs != want.refs || have.live != want.live || have.goal < want.goal || h >= m.nextHandle {
			return fmt.Errorf("chunk %d: %+v, files say %+v", h, have, want)
		}
	}
	if n != len(c.refs) || n != m.chunks.count {
		return fmt.Errorf("%d chunks, files have %d, counted %d", n, len(c.refs), m.chunks.count)
	}
	return nil
}

// sameKeys reports whether two trees have the same keys.
func sameKeys(a, b *btree) bool {
	var x, y btcursor
	ok, also := x.seek(a, nil), y.seek(b, nil)
	for ok && also && bytes.Equal(x.key, y.key) {
		ok, also = x.forward(), y.forward()
	}
	return !ok && !also
}
