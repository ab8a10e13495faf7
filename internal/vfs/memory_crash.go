package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// A crash draws one of these for every file: the extremes, which careless code
// survives least, are as likely as what lies between.
const (
	loseAll    = iota // as at the last sync
	keepAll           // as if it had been synced now
	keepSize          // the size of now, and nothing of what was written
	keepFirst         // what was written, up to a place in the file
	keepSome          // each sector by itself
	crashKinds        // how many there are
)

// survivor returns what a crash leaves. m.mu is held.
func (m *Memory) survivor(seed uint64) *Memory {
	rng := rand.New(rand.NewPCG(seed, 1))
	after := NewMemory(rng.Uint64())
	after.run = rand.NewPCG(m.run, seed).Uint64()
	after.capacity.Store(m.capacity.Load())

	s := survival{rng: rng, nodes: make(map[*node]*node), names: make(map[*node]map[string]*node)}
	s.keepChanges(m.pending)
	after.root = s.copy(m.root)
	for _, n := range s.files {
		after.used.Add(n.content.taken())
	}
	return after
}

// survival is the work of one crash.
type survival struct {
	rng   *rand.Rand
	names map[*node]map[string]*node // directory → entries after the crash, where they differ from the durable
	nodes map[*node]*node            // before → after
	files []*node                    // after
}

// keepChanges decides which of the pending changes of directories survive: an
// early part of them, as with an ordered journal, or any selection and what that
// builds on.
func (s *survival) keepChanges(pending []*change) {
	ordered := s.rng.IntN(2) == 0
	limit := s.rng.IntN(len(pending) + 1)
	kept := make([]bool, len(pending))
	for i := range pending {
		kept[i] = ordered && i < limit || !ordered && s.rng.IntN(2) == 0
	}
	withEarlier(pending, kept)
	for i, c := range pending {
		if !kept[i] {
			continue
		}
		for _, e := range c.edits {
			names := s.names[e.dir]
			if names == nil {
				names = maps.Clone(e.dir.durable)
				s.names[e.dir] = names
			}
			if e.to == nil {
				delete(names, e.name)
			} else {
				names[e.name] = e.to
			}
		}
	}
}

// copy returns a node as it is after the crash, once for all its names.
func (s *survival) copy(n *node) *node {
	if after := s.nodes[n]; after != nil {
		after.links++
		return after
	}
	if !n.dir {
		after := &node{links: 1}
		s.nodes[n] = after
		n.content.survive(s.rng, &after.content)
		s.files = append(s.files, after)
		return after
	}
	after := newDir()
	s.nodes[n] = after
	names := s.names[n]
	if names == nil {
		names = n.durable
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		to := s.copy(names[name])
		after.entries[name] = to
		after.durable[name] = to
	}
	return after
}

// survive makes after what a crash leaves of c.
func (c *content) survive(rng *rand.Rand, after *content) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	kind := rng.IntN(crashKinds)
	size, limit := c.survivingSize(rng, kind)

	after.modified = c.modified
	after.pages = make([]*page, len(c.pages))
	for i, p := range c.pages {
		if p != nil {
			after.pages[i] = new(*p)
		}
	}

	keep := func(s int64) bool {
		switch kind {
		case keepAll:
			return true
		case keepFirst:
			return s < limit
		case keepSome:
			return rng.IntN(2) == 0
		default:
			return false
		}
	}
	for _, s := range slices.Sorted(maps.Keys(c.undo)) {
		if !keep(s) {
			after.put(s, c.undo[s])
		}
	}
	// Beyond the synced size there is nothing to bring back: what is lost is zero.
	zero := new(sector)
	for s := (c.synced + SectorSize - 1) / SectorSize; s*SectorSize < c.size; s++ {
		if !keep(s) {
			after.put(s, zero)
		}
	}
	after.cut(size)
	after.synced = size
}

// survivingSize draws the size after a crash, and the sector before which
// keepFirst keeps what was written.
func (c *content) survivingSize(rng *rand.Rand, kind int) (size, limit int64) {
	first, last := min(c.synced, c.size)/SectorSize, max(c.synced, c.size)/SectorSize+1
	for s := range c.undo {
		first = min(first, s)
	}
	limit = first + rng.Int64N(last-first+1)
	switch kind {
	case loseAll:
		return c.synced, limit
	case keepAll, keepSize:
		return c.size, limit
	}
	switch rng.IntN(3) {
	case 0:
		return c.synced, limit
	case 1:
		return c.size, limit
	}
	between := (first + rng.Int64N(last-first+1)) * SectorSize
	return min(max(between, min(c.synced, c.size)), max(c.synced, c.size)), limit
}

// put makes a sector what it is said to have been, in pages of its own.
func (c *content) put(s int64, data *sector) {
	at := s * SectorSize
	i := at / pageSize
	for int64(len(c.pages)) <= i {
		c.pages = append(c.pages, nil)
	}
	if c.pages[i] == nil {
		if *data == (sector{}) {
			return
		}
		c.pages[i] = new(page)
	}
	copy(c.pages[i][at%pageSize:], data[:])
}
