package mapreduce

import (
	"bytes"
	"io"
)

// cursor stands at a pair of a region.
type cursor struct {
	blocks blockReader
	rest   []byte // of the present block
	key    []byte // valid until the next call of advance, as value is
	value  []byte
	prefix uint64
	live   bool // it stands at a pair; otherwise the region is at its end
	again  bool // the key is that of the pair before, in the same block
}

// advance moves to the next pair.
func (c *cursor) advance() error {
	if len(c.rest) == 0 {
		block, err := c.blocks.next()
		if err != nil {
			*c = cursor{blocks: c.blocks}
			if err == io.EOF {
				err = nil
			}
			return err
		}
		c.rest = block
		c.key = nil // which was in the block before
		c.live = false
	}
	key, value, rest, err := cutPair(c.rest)
	if err != nil {
		c.live = false
		return err
	}
	c.again = c.live && len(key) == len(c.key) && string(key) == string(c.key)
	if !c.again {
		c.prefix = prefixOf(key)
	}
	c.key, c.value, c.rest, c.live = key, value, rest, true
	return nil
}

// merger walks through several sorted regions as if they were one. Of equal keys,
// those of earlier regions come first: with the regions in the order of their map
// tasks that is the order in which a sequential run emits them.
//
// It is a tree of losers: each inner node holds the loser of the match between
// the winners below it, so that the next pair costs one match a level.
type merger struct {
	cursors []cursor
	losers  []int32 // of the inner nodes 1 … n-1; losers[0] is the winner of all
	err     error
}

// newMerger stands at the first pair, if there is one.
func newMerger(regions []blockReader) *merger {
	m := &merger{cursors: make([]cursor, len(regions)), losers: make([]int32, max(len(regions), 1))}
	for i := range m.cursors {
		m.cursors[i].blocks = regions[i]
		if err := m.cursors[i].advance(); err != nil {
			m.err = err
			return m
		}
	}
	if n := len(regions); n > 1 {
		m.losers[0] = m.play(1, n)
	}
	return m
}

// play fills the subtree under an inner node and returns its winner. The leaves
// of the tree, the cursors, are its nodes n … 2n-1.
func (m *merger) play(node, n int) int32 {
	if node >= n {
		return int32(node - n)
	}
	a, b := m.play(2*node, n), m.play(2*node+1, n)
	if m.before(b, a) {
		a, b = b, a
	}
	m.losers[node] = b
	return a
}

// before reports whether the pair of cursor i comes before that of cursor j.
func (m *merger) before(i, j int32) bool {
	a, b := &m.cursors[i], &m.cursors[j]
	switch {
	case !a.live || !b.live:
		return a.live
	case a.prefix != b.prefix:
		return a.prefix < b.prefix
	}
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return i < j
}

// head returns the cursor at the present pair, or nil at the end or after an
// error.
func (m *merger) head() *cursor {
	if m.err != nil || len(m.cursors) == 0 {
		return nil
	}
	if c := &m.cursors[m.losers[0]]; c.live {
		return c
	}
	return nil
}

// advance moves to the next pair. It may be called only if head is not nil.
func (m *merger) advance() {
	winner := m.losers[0]
	if m.err = m.cursors[winner].advance(); m.err != nil {
		return
	}
	if m.cursors[winner].again {
		return // it has won against all others with that key
	}
	for node := (int(winner) + len(m.cursors)) / 2; node >= 1; node /= 2 {
		if m.before(m.losers[node], winner) {
			m.losers[node], winner = winner, m.losers[node]
		}
	}
	m.losers[0] = winner
}

// groups walks through merged pairs group by group.
type groups struct {
	m      *merger
	key    []byte // of the present group, a copy
	prefix uint64
	begun  bool // key is set
	fresh  bool // the head is the first pair of the group and was not taken
	taken  bool // the head is a pair of the group that was handed out
}

var _ groupReader = (*groups)(nil)

// nextKey implements groupReader.
func (g *groups) nextKey() ([]byte, bool, error) {
	for g.begun {
		if _, ok := g.nextValue(); !ok {
			break
		}
	}
	head := g.m.head()
	if head == nil {
		g.begun = false
		return nil, false, g.m.err
	}
	g.key = append(g.key[:0], head.key...)
	g.prefix = head.prefix
	g.begun, g.fresh, g.taken = true, true, false
	return g.key, true, nil
}

// nextValue implements groupReader.
func (g *groups) nextValue() ([]byte, bool) {
	if !g.begun {
		return nil, false
	}
	if g.taken {
		g.m.advance()
		g.taken = false
	}
	head := g.m.head()
	if head == nil {
		return nil, false
	}
	if !g.fresh && !head.again && (head.prefix != g.prefix || !bytes.Equal(head.key, g.key)) {
		return nil, false
	}
	g.fresh, g.taken = false, true
	return head.value, true
}

// combined merges regions into one, with the values of equal keys joined by fold
// if it is not nil.
func combined(regions []blockReader, fold func(dst, a, b []byte) ([]byte, error), add func(key, value []byte) error) error {
	m := newMerger(regions)
	if fold == nil {
		for head := m.head(); head != nil; head = m.head() {
			if err := add(head.key, head.value); err != nil {
				return err
			}
			m.advance()
		}
		return m.err
	}
	g := &groups{m: m}
	var acc, next []byte
	for {
		key, ok, err := g.nextKey()
		if err != nil || !ok {
			return err
		}
		value, ok := g.nextValue()
		acc = append(acc[:0], value...)
		for ok {
			if value, ok = g.nextValue(); ok {
				if next, err = fold(next[:0], acc, value); err != nil {
					return err
				}
				acc, next = next, acc
			}
		}
		if m.err != nil {
			return m.err
		}
		if err := add(key, acc); err != nil {
			return err
		}
	}
}
