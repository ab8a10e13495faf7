package mapreduce

import (
	"bytes"
	"cmp"
	"io"
	"math"
)

// cursor stands at a pair of a region.
type cursor struct {
	blocks blockReader
	rest   []byte // of the present block
	key    []byte // valid until the next call of advance, as value is
	value  []byte
	prefix uint64 // of the key
	live   bool   // it stands at a pair; otherwise the region is at its end
	again  bool   // the key is that of the pair before
	last   []byte // the last key of the block before, a copy
}

// advance moves to the next pair.
func (c *cursor) advance() error {
	if len(c.rest) == 0 {
		c.last = append(c.last[:0], c.key...)
		block, err := c.blocks.next()
		if err != nil {
			*c = cursor{blocks: c.blocks, prefix: math.MaxUint64} // behind most keys
			if err == io.EOF {
				err = nil
			}
			return err
		}
		c.rest = block
		c.key = c.last
	}
	key, value, rest, err := cutPair(c.rest)
	if err != nil {
		c.live = false
		return err
	}
	prefix := prefixOf(key)
	c.again = c.live && prefix == c.prefix && len(key) == len(c.key) && (len(key) <= 8 || string(key[8:]) == string(c.key[8:]))
	c.key, c.value, c.rest, c.prefix, c.live = key, value, rest, prefix, true
	return nil
}

// compare compares the keys. A region at its end comes after all others.
func (c *cursor) compare(d *cursor) int {
	switch {
	case c.prefix < d.prefix:
		return -1
	case c.prefix > d.prefix:
		return 1
	case !c.live:
		return 1
	case !d.live:
		return -1
	case len(c.key) <= 8 || len(d.key) <= 8: // one ends within the prefix, so the longer has it and more
		return cmp.Compare(len(c.key), len(d.key))
	}
	return bytes.Compare(c.key[8:], d.key[8:])
}

// merger walks through several sorted regions as if they were one. Of equal keys,
// those of earlier regions come first: with the regions in the order of their map
// tasks that is the order in which a sequential run emits them.
//
// It is a tree of losers: each inner node holds the loser of the match between
// the winners below it, so that the next pair costs one match a level. A key is often in
// many regions, so the tree remembers which matches were tied: when the winner moves on,
// a loser with its key needs no match, it comes next.
type merger struct {
	cursors []cursor
	losers  []int32 // of the inner nodes 1 … n-1; losers[0] is the winner of all
	tied    []bool  // of the inner nodes: the loser has the winner's key
	same    bool    // the present pair has the key of the one before
	err     error
}

// newMerger stands at the first pair, if there is one.
func newMerger(regions []blockReader) *merger {
	n := len(regions)
	m := &merger{cursors: make([]cursor, n), losers: make([]int32, max(n, 1)), tied: make([]bool, n)}
	for i := range m.cursors {
		m.cursors[i].blocks = regions[i]
		if err := m.cursors[i].advance(); err != nil {
			m.err = err
			return m
		}
	}
	if n > 1 {
		m.losers[0] = m.play(1)
	}
	return m
}

// play fills the subtree under an inner node and returns its winner. The leaves
// of the tree, the cursors, are its nodes n … 2n-1.
func (m *merger) play(node int) int32 {
	if n := len(m.cursors); node >= n {
		return int32(node - n)
	}
	a, b := m.play(2*node), m.play(2*node+1)
	m.losers[node] = a
	return m.match(node, b)
}

// match plays cursor i against the loser of an inner node and returns the winner.
func (m *merger) match(node int, i int32) int32 {
	j := m.losers[node]
	a, b := &m.cursors[i], &m.cursors[j]
	if a.prefix != b.prefix {
		m.tied[node] = false
		winner := i
		if a.prefix > b.prefix { // no processor could foretell it, so it is to be a move, not a jump
			winner = j
		}
		m.losers[node] = i ^ j ^ winner // the other
		return winner
	}
	order := a.compare(b)
	m.tied[node] = order == 0
	if order < 0 || order == 0 && i < j {
		return i
	}
	m.losers[node] = i
	return j
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
	c := &m.cursors[winner]
	if m.err = c.advance(); m.err != nil {
		return
	}
	if m.same = c.again; m.same {
		return // it has won against all others with that key
	}
	// What the winner leaves behind is greater than the key it had. As soon as a loser
	// with that key has taken its place, same is set.
	for node := (int(winner) + len(m.cursors)) / 2; node >= 1; node /= 2 {
		switch loser := m.losers[node]; {
		case !m.tied[node] && m.same: // it has lost to that key
		case !m.tied[node]:
			winner = m.match(node, winner)
		case !m.same:
			m.losers[node], winner = winner, loser
			m.tied[node], m.same = false, true
		case loser < winner:
			m.losers[node], winner = winner, loser
		}
	}
	m.losers[0] = winner
}

// groups walks through merged pairs group by group.
type groups struct {
	m     *merger
	key   []byte // of the present group, a copy
	begun bool   // key is set
	fresh bool   // the head is a pair of the group that was not handed out
	taken bool   // the head is a pair of the group that was handed out
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
	g.begun, g.fresh, g.taken = true, true, false
	return g.key, true, nil
}

// nextValue implements groupReader.
func (g *groups) nextValue() ([]byte, bool) {
	if g.taken {
		g.m.advance()
		g.taken, g.fresh = false, g.m.same
	}
	head := g.m.head()
	if !g.fresh || head == nil {
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
