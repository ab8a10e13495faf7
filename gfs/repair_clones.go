package gfs

import (
	"cmp"
	"slices"
	"time"
)

// A cloning is a replica that is being copied.
type cloning struct {
	handle  handle
	version version
	target  *fleetServer
	source  *fleetServer
	moved   *fleetServer // from which the replica is to go then; nil: nobody
	bytes   int64        // reserved
	due     time.Duration
	missed  int // heartbeats that did not mention it
}

// missedClones is how many heartbeats say in a row that no clone is under way before one
// that should be has failed.
const missedClones = 3

// startRepairs begins as many clones and comparisons as the limits allow.
func (f *fleet) startRepairs() {
	budget := tickRepairs
	for lane := laneCompareFirst; lane <= laneCompare && len(f.compares) < f.cfg.compares; lane++ {
		f.walk(lane, &budget, func(h handle, e *chunkEntry) (stays, stop bool) {
			f.startCompare(h, e)
			return false, len(f.compares) >= f.cfg.compares
		})
	}
	if f.now < f.fenced() {
		return
	}
	for lane := laneWaits; lane <= laneSpread && f.roomForClones(); lane++ {
		f.walk(lane, &budget, func(h handle, e *chunkEntry) (stays, stop bool) {
			f.assess(h)
			if e.lane != lane {
				return false, false
			}
			stays = f.startClone(h, e)
			return stays, !f.roomForClones()
		})
	}
	if budget <= 0 {
		f.acts.again = true
	}
}

// fenced returns from when on a chunk without a lease is one that nobody mutates: before
// that the leases of an earlier master may be in force, of which this one knows nothing.
// A copy made meanwhile might lack what was written.
func (f *fleet) fenced() time.Duration {
	if f.planted.unfenced {
		return 0
	}
	return f.begun + f.cfg.lease + f.cfg.drift
}

func (f *fleet) roomForClones() bool { return len(f.clones)-f.balance.moving < f.cfg.clones }

// startClone begins to copy a chunk, and reports whether that has to wait for one of
// the servers.
func (f *fleet) startClone(h handle, e *chunkEntry) (waits bool) {
	row, exists := f.chunk(h)
	if !exists {
		return false
	}
	c := f.census(h, e, &row)
	target := f.pickTarget(h, e, &c, true)
	if target == nil {
		if f.pickTarget(h, e, &c, false) != nil {
			return true
		}
		f.park(h, e, &row, &c)
		return false
	}
	from, v := f.sources(h, e, &row, target)
	if len(from) == 0 || from[0].clonesOut >= f.cfg.clonesEach {
		return len(from) > 0
	}
	f.dequeue(e)
	rate := f.cfg.cloneRate
	if c.copies() > 1 && e.flags&entryWaits == 0 { // otherwise it gets all there is
		rate /= int64(f.cfg.clonesEach)
	}
	f.clone(&cloning{handle: h, version: v, target: target, source: from[0]}, e, from, rate)
	return false
}

// clone begins a clone.
func (f *fleet) clone(k *cloning, e *chunkEntry, from []*fleetServer, rate int64) {
	k.bytes = int64(cmp.Or(e.length, uint32(f.cfg.chunkSize)))
	limit := f.cfg.cloneTime
	if rate > 0 {
		limit += time.Duration(float64(k.bytes) / float64(rate) * float64(time.Second))
	}
	if f.planted.eager {
		defer f.note(k.target.here, &replicaState{handle: k.handle, version: k.version})
	}
	k.due = f.now + limit
	f.after(limit, timerClone, k.handle)
	f.clones[k.handle] = k
	k.target.incoming += k.bytes
	k.target.clonesIn++
	k.source.clonesOut++
	k.target.clones = append(k.target.clones, k)
	if k.moved != nil {
		f.balance.moving++
		k.target.movesIn++
		k.source.movesOut++
		k.moved.outgoing += k.bytes
	}
	act := cloneAction{handle: k.handle, version: k.version, to: k.target.location(), boot: k.target.here.boot, rate: rate}
	for _, s := range from {
		act.from = append(act.from, s.location())
	}
	f.acts.clone = append(f.acts.clone, act)
}

// sources returns the servers from which a chunk can be copied, the best first: the one
// with the fewest copies under way, then the nearest to the target. All have the same
// version, which is returned.
func (f *fleet) sources(h handle, e *chunkEntry, row *chunkRow, target *fleetServer) ([]*fleetServer, version) {
	var from []*fleetServer
	var v version
	for pass := range 2 { // doubted ones only if there are no others
		for _, w := range f.table.words(h, e) {
			switch k := f.worth(h, e, w, row); {
			case k == worthGood || k == worthSpare:
			case k == worthDoubted && pass > 0:
			default:
				continue
			}
			is := f.table.versionOf(h, e, w)
			if len(from) > 0 && is != v {
				if v == row.version || is != row.version && is < v {
					continue
				}
				from = from[:0]
			}
			v = is
			from = append(from, f.slots[w.slot()].server)
		}
		if len(from) > 0 {
			break
		}
	}
	at := target.location()
	slices.SortFunc(from, func(a, b *fleetServer) int {
		la, lb := a.location(), b.location()
		return cmp.Or(cmp.Compare(a.clonesOut, b.clonesOut), cmp.Compare(distance(&at, &la), distance(&at, &lb)), a.byID(b))
	})
	return from, v
}

// park sets a chunk aside for which there is no place now. If it has a replica of no use
// on a server that would be one, that is deleted first, one at a time.
func (f *fleet) park(h handle, e *chunkEntry, row *chunkRow, c *chunkCensus) {
	if c.suspect+c.doubted > 0 {
		f.enqueue(h, e, laneCompare)
		return
	}
	if c.missing() > 0 && c.doomed == 0 {
		words := f.table.words(h, e)
		victim := -1
		for k, w := range words {
			i := f.slots[w.slot()]
			switch kind := f.worth(h, e, w, row); {
			case !i.alive() || i.server.row.draining:
			case kind == worthStale, kind == worthCorrupt && victim < 0:
				victim = k
			}
		}
		if victim >= 0 {
			f.doom(h, e, &words[victim])
		}
	}
	f.release(h)
	f.enqueue(h, e, laneParked)
	if !f.parking.armed {
		f.parking = parkingState{armed: true, probe: parkedProbe}
		f.after(f.cfg.parkedRetry, timerParked, 0)
	}
}

// A parkingState says how chunks are looked at again for which there was no place. There
// may be very many of them, for ever: so only a few are tried, and more if that helps.
type parkingState struct {
	armed bool // a timer waits
	probe int  // how many are tried next
	live  int  // how many were parked when it was tried last
	left  int  // to be tried now
}

// parkedProbe is how many parked chunks are tried at first.
const parkedProbe = 256

// newRoom tells that there may be a place now for all that is parked.
func (f *fleet) newRoom() { f.parking.left = len(f.lanes[laneParked].entries) }

func (f *fleet) parkedDue() {
	p, live := &f.parking, f.lanes[laneParked].live
	if p.armed = live > 0; !p.armed {
		return
	}
	wait := f.cfg.parkedRetry
	if live < p.live {
		p.probe *= 2
		wait = min(wait, f.cfg.heartbeat)
	} else {
		p.probe = parkedProbe
	}
	p.live = live
	p.left = max(p.left, min(p.probe, len(f.lanes[laneParked].entries)))
	f.after(wait, timerParked, 0)
}

// unpark looks at some chunks again that were parked, until all are that should be.
func (f *fleet) unpark() {
	q := &f.lanes[laneParked]
	n := min(f.parking.left, len(q.entries), tickRepairs)
	entries := q.entries[:n]
	q.entries = q.entries[n:]
	for _, h := range entries {
		if e := f.table.find(h); e != nil && e.lane == laneParked {
			f.dequeue(e)
			f.assess(h)
		}
	}
	if f.parking.left -= n; n == 0 {
		f.parking.left = 0
	}
	f.acts.again = f.acts.again || f.parking.left > 0
}

// cloneSeen looks whether what a chunkserver says of a replica ends a clone.
func (f *fleet) cloneSeen(i *incarnation, r *replicaState) {
	k := f.clones[r.handle]
	if k == nil || k.target != i.server {
		return
	}
	switch {
	case r.version == k.version && r.health == sound:
		f.cloneEnd(k)
		k.target.unreached = 0
		delete(f.failures, r.handle)
		f.release(r.handle)
		if k.moved != nil {
			f.moveDone(k)
		}
	case r.health >= gone:
		f.cloneOver(r.handle, false)
	}
}

// unreached tells that a server did not answer the order to begin a clone: it is given no
// others for a while, the longer the more often that has happened in a row.
func (f *fleet) unreached(now time.Time, id serverID) {
	f.clock(now)
	if s := f.servers[id]; s != nil && !f.rests(s) { // others that were under way fail with it
		s.restUntil = f.now + min(f.cfg.retryFirst<<min(s.unreached, 20), f.cfg.retryMost)
		s.unreached++
	}
}

// rests reports whether a server is given no clones just now.
func (f *fleet) rests(s *fleetServer) bool { return s.restUntil > f.now }

// cloneFailed tells that a clone could not be begun, or has failed.
func (f *fleet) cloneFailed(now time.Time, h handle, target serverID) {
	f.clock(now)
	if k := f.clones[h]; k != nil && k.target.row.id == target {
		f.cloneOver(h, false)
	}
}

// cloneOver ends a clone that has not succeeded; whose fault it was decides whether the
// chunk has to rest.
func (f *fleet) cloneOver(h handle, blameless bool) {
	k := f.clones[h]
	f.cloneEnd(k)
	if !blameless {
		f.release(h)
		f.failed(h, k.target.row.id)
	}
	f.assess(h)
}

// cloneEnd frees what a clone has reserved.
func (f *fleet) cloneEnd(k *cloning) {
	delete(f.clones, k.handle)
	k.target.incoming -= k.bytes
	k.target.clonesIn--
	k.source.clonesOut--
	k.target.clones = slices.DeleteFunc(k.target.clones, func(o *cloning) bool { return o == k })
	if k.moved != nil {
		f.balance.moving--
		f.balance.next = min(f.balance.next, f.now+f.cfg.balanceEach)
		k.target.movesIn--
		k.source.movesOut--
		k.moved.outgoing -= k.bytes
	}
}

// missClones notices clones that a chunkserver does not know of.
func (f *fleet) missClones(s *fleetServer) {
	for _, k := range slices.Clone(s.clones) {
		if s.cloning > 0 {
			k.missed = 0
		} else if k.missed++; k.missed >= missedClones {
			f.cloneOver(k.handle, false)
		}
	}
}

// dropClonesOf ends the clones on their way to a server that has died.
func (f *fleet) dropClonesOf(s *fleetServer) {
	for _, k := range slices.Clone(s.clones) {
		f.cloneOver(k.handle, true)
	}
}

// cancel forgets a clone or comparison of a chunk, because something has begun that
// makes its result useless.
func (f *fleet) cancel(h handle) {
	if k := f.clones[h]; k != nil {
		f.cloneEnd(k)
	}
	delete(f.compares, h)
}
