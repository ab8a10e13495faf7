package gfs

import (
	"cmp"
	"slices"
	"time"
)

// A doomQueue has the replicas of an incarnation that are to be deleted, in the order in
// which they were doomed. Those that have been pardoned, or are gone, are found out late.
type doomQueue struct {
	waiting []handle // not ordered yet, or to be ordered again
	ordered []handle
	last    time.Duration // when something was ordered
}

// doom makes a replica one that is to be deleted (§4.4). It counts for nothing from now
// on. The order goes out with a heartbeat, if it is right then.
func (f *fleet) doom(h handle, e *chunkEntry, w *replicaWord) {
	i := f.slots[w.slot()]
	if *w&replicaDoomed != 0 || !i.alive() {
		return
	}
	*w |= replicaDoomed
	i.doomed++
	i.leaving += int64(e.length)
	i.dooms.waiting = append(i.dooms.waiting, h)
}

// undoom takes that back.
func (f *fleet) undoom(e *chunkEntry, w *replicaWord) {
	if *w&replicaDoomed == 0 {
		return
	}
	*w &^= replicaDoomed | replicaSent
	i := f.slots[w.slot()]
	i.doomed--
	i.leaving -= int64(e.length)
}

// pardon takes back whatever is doomed of an incarnation.
func (f *fleet) pardon(i *incarnation) {
	for _, list := range [][]handle{i.dooms.waiting, i.dooms.ordered} {
		for _, h := range list {
			if e, w := f.replicaOf(i, h); w != nil {
				f.undoom(e, w)
			}
		}
	}
	i.dooms = doomQueue{}
}

// replicaOf returns the replica of a chunk that an incarnation has, or nil.
func (f *fleet) replicaOf(i *incarnation, h handle) (*chunkEntry, *replicaWord) {
	e := f.table.find(h)
	if e == nil {
		return nil, nil
	}
	words := f.table.words(h, e)
	for k := range words {
		if words[k].slot() == i.slot {
			return e, &words[k]
		}
	}
	return nil, nil
}

// orphan dooms all replicas of a chunk that is not there.
func (f *fleet) orphan(h handle, e *chunkEntry) {
	f.dequeue(e)
	f.cancel(h)
	f.forget(h)
	words := f.table.words(h, e)
	for k := range words {
		f.doom(h, e, &words[k])
	}
}

// forget drops what was remembered of a chunk beside its replicas.
func (f *fleet) forget(h handle) {
	delete(f.attempted, h)
	delete(f.adopting, h)
	delete(f.failures, h)
	delete(f.orphaned, h)
	f.release(h)
	f.endLease(h)
}

// deliver puts orders to delete into the answer to a heartbeat: each after another look
// at whether it is right, as much may have happened since. What has been ordered and is
// still there after a while is ordered again.
func (f *fleet) deliver(i *incarnation, answer *heartbeatResp) {
	q := &i.dooms
	if len(q.ordered) > 0 && f.now-q.last > 4*f.cfg.heartbeat {
		q.waiting = append(q.waiting, q.ordered...)
		q.ordered = nil
	}
	if len(q.waiting) == 0 || !f.settled() {
		return
	}
	n := 0
	for most := min(len(q.waiting), 2*f.cfg.doomBatch); n < most && len(answer.delete) < f.cfg.doomBatch; n++ {
		h := q.waiting[n]
		e, w := f.replicaOf(i, h)
		if w == nil || *w&replicaDoomed == 0 {
			continue
		}
		switch f.sentence(h, e, w) {
		case sentenceStands:
			*w |= replicaSent
			answer.delete = append(answer.delete, doomed{h, f.table.versionOf(h, e, *w)})
			q.ordered = append(q.ordered, h)
			q.last = f.now
		case sentenceWaits:
			q.waiting = append(q.waiting, h)
		case sentenceFalls:
			f.undoom(e, w)
			f.assess(h)
		}
	}
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
}

// A sentence is whether a doomed replica is to be deleted still.
type sentence uint8

const (
	sentenceStands sentence = iota
	sentenceWaits           // not now
	sentenceFalls           // it is needed
)

// sentence looks at a doomed replica again.
func (f *fleet) sentence(h handle, e *chunkEntry, w *replicaWord) sentence {
	if f.occupied(h) {
		return sentenceWaits
	}
	row, exists := f.chunk(h)
	if !exists {
		return sentenceStands
	}
	if f.leases[h] != nil {
		return sentenceWaits
	}
	c := f.census(h, e, &row)
	needed := c.copies() == 0
	switch f.worth(h, e, *w&^replicaDoomed, &row) {
	case worthGood, worthSpare, worthDoubted, worthAhead:
		needed = c.good < c.goal
	}
	switch {
	case !needed:
		return sentenceStands
	case *w&replicaSent != 0: // it may be gone already: it must not count
		return sentenceStands
	}
	return sentenceFalls
}

// trim dooms the replicas of a chunk that has enough good ones: what is stale, corrupt,
// suspect or on a server that is drained, and then good ones until there are as many as
// wanted. Of these it takes the one without which they are spread the most, the one that
// was moved, the one on the fullest server.
func (f *fleet) trim(h handle, e *chunkEntry, row *chunkRow, c *chunkCensus, moved *fleetServer) {
	words := f.table.words(h, e)
	for k := range words {
		switch f.worth(h, e, words[k], row) {
		case worthSpare, worthDoubted, worthSuspect, worthCorrupt, worthStale:
			f.doom(h, e, &words[k])
		}
	}
	c.spare, c.doubted, c.suspect, c.corrupt, c.stale = 0, 0, 0, 0, 0
	for ; c.good > c.goal; c.good-- {
		victim, best := -1, trimKey{}
		for k := range words {
			if f.worth(h, e, words[k], row) != worthGood {
				continue
			}
			s := f.slots[words[k].slot()].server
			key := trimKey{racks: f.racksWithout(h, e, row, k), moved: btoi(s == moved), use: s.settledUse(0)}
			if victim < 0 || key.before(best) {
				victim, best = k, key
			}
		}
		f.doom(h, e, &words[victim])
	}
}

// A trimKey says which replica is the first to go.
type trimKey struct {
	racks int // that are left
	moved int
	use   float64
}

func (k trimKey) before(o trimKey) bool {
	return cmp.Or(cmp.Compare(o.racks, k.racks), cmp.Compare(o.moved, k.moved), cmp.Compare(o.use, k.use)) < 0
}

// racksWithout counts the racks, and the hosts, of the good replicas but one.
func (f *fleet) racksWithout(h handle, e *chunkEntry, row *chunkRow, but int) int {
	words := f.table.words(h, e)
	racks, hosts := make([]int, 0, 8), make([]int, 0, 8)
	for k, w := range words {
		if k == but || f.worth(h, e, w, row) != worthGood {
			continue
		}
		s := f.slots[w.slot()].server
		if !slices.Contains(racks, s.rack) {
			racks = append(racks, s.rack)
		}
		if !slices.Contains(hosts, s.host) {
			hosts = append(hosts, s.host)
		}
	}
	return len(racks)<<8 + len(hosts)
}
