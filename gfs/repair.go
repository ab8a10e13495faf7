package gfs

// A worth is what a replica is good for.
type worth uint8

const (
	worthNothing  worth = iota // dead, or doomed
	worthGood                  // current
	worthSpare                 // current, on a server that is drained
	worthDoubted               // current, but a client could not read it: to be compared
	worthExpected              // was current, and may be again: its server is reporting
	worthSuspect               // of the right version; serves nothing until compared
	worthCorrupt               // of the right version
	worthStale                 // of a lower version (§4.5)
	worthAhead                 // of a higher version than anybody has explained
)

// worth judges a replica of a chunk that exists.
func (f *fleet) worth(h handle, e *chunkEntry, w replicaWord, row *chunkRow) worth {
	i := f.slots[w.slot()]
	if i.state == incarnationDead || w&replicaDoomed != 0 {
		return worthNothing
	}
	v := row.version
	if w&replicaOdd != 0 || e.version != v {
		if is := f.table.versionOf(h, e, w); is < v && !f.planted.anyVersion {
			return worthStale
		} else if is > v && !f.explained(h, is, v) {
			return worthAhead
		}
	}
	switch {
	case w.health() == suspect:
		return worthSuspect
	case w.health() == corrupt:
		return worthCorrupt
	case i.state == incarnationReturning:
		return worthExpected
	case w&replicaDoubted != 0:
		return worthDoubted
	case i.server.row.draining:
		return worthSpare
	}
	return worthGood
}

// A chunkCensus counts the replicas of a chunk by what they are good for.
type chunkCensus struct {
	goal                   int
	good, spare, expected  int
	doubted, suspect       int
	corrupt, stale, doomed int
	ahead                  version // the highest
	rack                   int     // of one that is good
	apart                  bool    // good ones are in several racks
}

// copies is how many replicas there are that can be read and copied.
func (c *chunkCensus) copies() int { return c.good + c.spare + c.doubted }

// lost reports whether there are only corrupt replicas. What one lacks another may have,
// or it lacks nothing, and only could not be made durable.
func (c *chunkCensus) lost() bool { return c.copies() == 0 && c.suspect == 0 && c.corrupt > 0 }

// missing is how many replicas are to be made, those not counted of which it may turn
// out that they are good.
func (c *chunkCensus) missing() int {
	return c.goal - c.good - c.expected - c.doubted - c.suspect
}

func (f *fleet) census(h handle, e *chunkEntry, row *chunkRow) chunkCensus {
	c := chunkCensus{goal: max(1, int(row.goal))}
	for _, w := range f.table.words(h, e) {
		switch f.worth(h, e, w, row) {
		case worthNothing:
			c.doomed++
		case worthGood:
			rack := f.slots[w.slot()].server.rack
			c.apart = c.apart || c.good > 0 && rack != c.rack
			c.rack = rack
			c.good++
		case worthSpare:
			c.spare++
		case worthDoubted:
			c.doubted++
		case worthExpected:
			c.expected++
		case worthSuspect:
			c.suspect++
		case worthCorrupt:
			c.corrupt++
		case worthStale:
			c.stale++
		case worthAhead:
			c.ahead = max(c.ahead, f.table.versionOf(h, e, w))
		}
	}
	return c
}

// chunk returns the durable row of a chunk that exists.
func (f *fleet) chunk(h handle) (chunkRow, bool) {
	row, ok := f.view.chunk(h)
	return row, ok && row.refs > 0
}

// cover keeps count of the chunks that have a current replica, and of those that have
// some, and fewer than they should have.
func (f *fleet) cover(e *chunkEntry, copies, goal int) {
	f.covered += mark(e, entryCovered, copies > 0)
	f.short += mark(e, entryShort, copies > 0 && copies < goal)
}

// mark sets or clears a flag, and returns by how many more entries have it.
func mark(e *chunkEntry, flag uint8, want bool) int {
	switch is := e.flags&flag != 0; {
	case want && !is:
		e.flags |= flag
		return 1
	case !want && is:
		e.flags &^= flag
		return -1
	}
	return 0
}

// assess judges a chunk anew: what is of no use is doomed, and what is to be done is
// queued. It is called whenever something has changed that concerns the chunk.
func (f *fleet) assess(h handle) {
	row, exists := f.chunk(h)
	e := f.table.find(h)
	if e == nil {
		if !exists && f.leads() {
			f.forget(h)
		}
		return
	}
	if !exists {
		f.cover(e, 0, 0)
		if f.settled() && !f.occupied(h) {
			f.orphan(h, e)
		}
		return
	}
	f.table.rebase(h, e, row.version)
	c := f.census(h, e, &row)
	f.cover(e, c.copies(), c.goal)
	if !f.settled() || f.occupied(h) {
		return
	}
	if f.adopting[h] <= row.version {
		delete(f.adopting, h)
	}
	if f.attempted[h] <= row.version {
		delete(f.attempted, h)
	}
	switch l := f.leases[h]; {
	case c.ahead > 0:
		f.dequeue(e)
		f.adopt(h, c.ahead)
	case l != nil && !f.planted.openCopies:
		f.dequeue(e)
		f.lacks(h, l, &c)
	case f.clones[h] != nil || f.compares[h] != nil:
	default:
		if c.good >= c.goal && c.good+c.spare+c.doubted+c.suspect+c.corrupt+c.stale > c.goal {
			f.trim(h, e, &row, &c, nil)
		}
		f.enqueue(h, e, f.laneOf(h, e, &row, &c))
	}
}

// adopt wants the version of a chunk to be one that was met (§4.5).
func (f *fleet) adopt(h handle, v version) {
	if f.adopting[h] >= v || !f.settled() {
		return
	}
	f.adopting[h] = v
	f.acts.adopt = append(f.acts.adopt, adoptAction{h, v})
}

// adoptFailed notes that a version was not adopted, as adopt wanted. The next tick looks at
// the chunk again.
func (f *fleet) adoptFailed(h handle, v version) {
	if f.adopting[h] == v {
		delete(f.adopting, h)
		f.touched(h)
	}
}

// locate appends where clients can read a chunk: the current replicas, those last that a
// client could not read; or, if there is none, those that are corrupt, of which some
// blocks may be whole.
func (f *fleet) locate(h handle, dst []location) []location {
	e := f.table.find(h)
	row, exists := f.chunk(h)
	if e == nil || !exists {
		return dst
	}
	n := len(dst)
	for _, kind := range [...]worth{worthGood, worthSpare, worthDoubted, worthCorrupt} {
		if kind == worthCorrupt && len(dst) > n {
			break
		}
		for _, w := range f.table.words(h, e) {
			if f.worth(h, e, w, &row) == kind && f.slots[w.slot()].alive() {
				dst = append(dst, f.slots[w.slot()].server.location())
			}
		}
	}
	return dst
}

// stock returns how many current replicas a chunk has and how long it is, as far as
// that was reported.
func (f *fleet) stock(h handle) (have int, length int64) {
	e := f.table.find(h)
	row, exists := f.chunk(h)
	if e == nil || !exists {
		return 0, 0
	}
	c := f.census(h, e, &row)
	return c.copies(), int64(e.length)
}
