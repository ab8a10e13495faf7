package gfs

import (
	"fmt"
	"maps"
	"slices"
)

// check verifies the invariants of a fleet.
func (f *fleet) check() error {
	counts, err := f.checkTable()
	if err != nil {
		return err
	}
	if err := f.checkServers(counts); err != nil {
		return err
	}
	if err := f.checkLanes(); err != nil {
		return err
	}
	if err := f.checkClones(); err != nil {
		return err
	}
	primaries := make(map[serverID]int)
	for _, h := range slices.Sorted(maps.Keys(f.leases)) {
		l := f.leases[h]
		primaries[l.primary]++
		if f.clones[h] != nil || f.compares[h] != nil {
			return fmt.Errorf("chunk %d is copied or compared under a lease", h)
		}
		if !slices.Contains(l.members, l.primary) {
			return fmt.Errorf("the primary of chunk %d is no member", h)
		}
		if l.timer > l.expires {
			return fmt.Errorf("the lease of chunk %d expires at %v, and its timer at %v", h, l.expires, l.timer)
		}
	}
	for _, s := range f.roster {
		if s.primaries != primaries[s.row.id] {
			return fmt.Errorf("server %d has %d leases, %d were counted", s.row.id, primaries[s.row.id], s.primaries)
		}
	}
	for _, h := range slices.Sorted(maps.Keys(f.busy)) {
		if f.clones[h] != nil || f.compares[h] != nil {
			return fmt.Errorf("chunk %d is copied or compared while the shell is about it", h)
		}
	}
	return nil
}

// A slotCount is what check counts of an incarnation.
type slotCount struct {
	replicas, doomed int
	leaving          int64
}

func (f *fleet) checkTable() (map[uint32]slotCount, error) {
	t := &f.table
	counts := make(map[uint32]slotCount)
	chunks, replicas, covered, short, odd, more := 0, 0, 0, 0, 0, 0
	if !slices.IsSorted(t.order) || len(t.order) != len(t.pages) {
		return nil, fmt.Errorf("%d pages, %d in order", len(t.pages), len(t.order))
	}
	for _, no := range t.order {
		used := 0
		p := t.pages[no]
		for i := range p.entries {
			e := &p.entries[i]
			h := handle(no<<replicaPageShift | uint64(i))
			if e.n == 0 {
				if *e != (chunkEntry{}) {
					return nil, fmt.Errorf("chunk %d has no replicas, and %+v", h, *e)
				}
				continue
			}
			used++
			if e.n > inlineReplicas {
				more++
			}
			if e.flags&entryCovered != 0 {
				covered++
			}
			if e.flags&entryShort != 0 {
				short++
			}
			words := t.words(h, e)
			if len(words) != int(e.n) {
				return nil, fmt.Errorf("chunk %d has %d replicas, %d were counted", h, len(words), e.n)
			}
			replicas += len(words)
			for _, w := range words {
				if err := f.checkWord(h, e, w, counts); err != nil {
					return nil, err
				}
				odd += btoi(w&replicaOdd != 0)
			}
		}
		if used != p.used || used == 0 {
			return nil, fmt.Errorf("page %d has %d entries, %d were counted", no, used, p.used)
		}
		chunks += used
	}
	if chunks != t.chunks || replicas != t.count || odd != len(t.odd) || more != len(t.more) || covered != f.covered || short != f.short {
		return nil, fmt.Errorf("%d chunks, %d replicas, %d odd, %d long, %d covered, %d short; %d, %d, %d, %d, %d, %d were counted", chunks, replicas, odd, more, covered, short,
			t.chunks, t.count, len(t.odd), len(t.more), f.covered, f.short)
	}
	return counts, nil
}

func (f *fleet) checkWord(h handle, e *chunkEntry, w replicaWord, counts map[uint32]slotCount) error {
	i := f.slots[w.slot()]
	if i == nil {
		return fmt.Errorf("chunk %d has a replica of nobody, %d", h, w.slot())
	}
	k := counts[w.slot()]
	k.replicas++
	if w&replicaDoomed != 0 {
		k.doomed++
		k.leaving += int64(e.length)
		if !slices.Contains(i.dooms.waiting, h) && !slices.Contains(i.dooms.ordered, h) {
			return fmt.Errorf("chunk %d is doomed on server %d, which will not be told", h, i.server.row.id)
		}
	}
	counts[w.slot()] = k
	v, ok := f.table.odd[oddReplica{h, w.slot()}]
	if ok != (w&replicaOdd != 0) || ok && v == e.version {
		return fmt.Errorf("chunk %d: a replica of version %d (%d, %t): %x", h, e.version, v, ok, w)
	}
	return nil
}

func (f *fleet) checkServers(counts map[uint32]slotCount) error {
	unheard := 0
	for _, s := range f.roster {
		if s.waited {
			unheard++
		}
		if s.here != nil && (!s.here.alive() || f.slots[s.here.slot] != s.here) {
			return fmt.Errorf("server %d is there, and not alive", s.row.id)
		}
		for _, i := range s.past {
			if i.state != incarnationReturning || f.slots[i.slot] != i {
				return fmt.Errorf("server %d has a past in state %d", s.row.id, i.state)
			}
		}
	}
	if unheard != f.unheard {
		return fmt.Errorf("%d servers are waited for, %d were counted", unheard, f.unheard)
	}
	for n, i := range f.slots {
		if k := counts[uint32(n)]; i == nil && k.replicas > 0 || i != nil && k != (slotCount{i.replicas, i.doomed, i.leaving}) {
			return fmt.Errorf("incarnation %d has %+v, and says %+v", n, k, i)
		}
	}
	return nil
}

func (f *fleet) checkLanes() error {
	var live [laneCount]int
	queued := 0
	in := make(map[handle]uint8)
	for lane := range f.lanes {
		for _, h := range f.lanes[lane].entries {
			if e := f.table.find(h); e != nil && int(e.lane) == lane {
				in[h] = uint8(lane)
			}
		}
	}
	for _, no := range f.table.order {
		p := f.table.pages[no]
		for i := range p.entries {
			e, h := &p.entries[i], handle(no<<replicaPageShift|uint64(i))
			live[e.lane]++
			if e.lane != laneNone && e.lane < laneParked {
				queued++
			}
			if e.lane != laneNone && e.lane != laneResting && in[h] != e.lane {
				return fmt.Errorf("chunk %d should be in lane %d", h, e.lane)
			}
		}
	}
	for lane := range f.lanes {
		if lane != int(laneNone) && f.lanes[lane].live != live[lane] {
			return fmt.Errorf("lane %d has %d chunks, %d were counted", lane, live[lane], f.lanes[lane].live)
		}
	}
	if queued != f.queued {
		return fmt.Errorf("%d chunks are queued, %d were counted", queued, f.queued)
	}
	return nil
}

func (f *fleet) checkClones() error {
	moving := 0
	type busy struct {
		in, out, movesIn, movesOut int
		bytes, leaving             int64
	}
	at := make(map[*fleetServer]*busy)
	for _, s := range f.roster {
		at[s] = new(busy)
	}
	for _, h := range slices.Sorted(maps.Keys(f.clones)) {
		k := f.clones[h]
		at[k.target].in++
		at[k.target].bytes += k.bytes
		at[k.source].out++
		if k.moved != nil {
			moving++
			at[k.target].movesIn++
			at[k.source].movesOut++
			at[k.moved].leaving += k.bytes
		}
		if !slices.Contains(k.target.clones, k) || k.target.here == nil {
			return fmt.Errorf("a clone of chunk %d goes to server %d, which does not know", h, k.target.row.id)
		}
		if f.compares[h] != nil {
			return fmt.Errorf("chunk %d is copied while it is compared", h)
		}
	}
	if moving != f.balance.moving || len(f.clones)-moving > f.cfg.clones || moving > max(0, f.cfg.moves) || len(f.compares) > f.cfg.compares {
		return fmt.Errorf("%d clones, %d of them moves (%d were counted), %d comparisons", len(f.clones), moving, f.balance.moving, len(f.compares))
	}
	for _, s := range f.roster {
		k := *at[s]
		if k != (busy{s.clonesIn, s.clonesOut, s.movesIn, s.movesOut, s.incoming, s.outgoing}) || len(s.clones) != k.in {
			return fmt.Errorf("server %d has %+v, and says %+v", s.row.id, k, s)
		}
		if k.in-k.movesIn > f.cfg.clonesEach || k.out-k.movesOut > f.cfg.clonesEach || k.movesIn > f.cfg.movesEach || k.movesOut > f.cfg.movesEach {
			return fmt.Errorf("server %d has more than the limits allow: %+v", s.row.id, k)
		}
	}
	return nil
}
