package gfs

import (
	"slices"
	"time"
)

// A comparing is a comparison under way.
type comparing struct{ due time.Duration }

// compareTime is how long a comparison may take.
const compareTime = 5 * time.Minute

func (f *fleet) startCompare(h handle, e *chunkEntry) {
	row, exists := f.chunk(h)
	if !exists {
		return
	}
	c := f.census(h, e, &row)
	act := compareAction{handle: h, version: row.version, mend: f.mending(h, c.goal)}
	for _, w := range f.table.words(h, e) {
		switch k := f.worth(h, e, w, &row); {
		case k == worthGood, k == worthSpare, k == worthDoubted, k == worthSuspect, k == worthCorrupt && c.copies() == 0:
			if f.slots[w.slot()].alive() {
				act.holders = append(act.holders, f.holder(h, e, w))
			}
		}
	}
	f.dequeue(e)
	f.compares[h] = &comparing{f.now + compareTime}
	f.after(compareTime, timerCompare, h)
	f.acts.compare = append(f.acts.compare, act)
}

// A mending says when a replica that none vouches for, as all were interrupted, may be
// taken for the truth. A server that is away may have one that was not, with everything
// that was acknowledged: so it is waited for, unless there are as many replicas as there
// should be. Servers that were forgotten are not waited for.
type mending struct {
	enough  int  // so many replicas that can be looked at are
	present bool // all servers are here: whoever can be looked at is, if all can
	waited  bool // it has been waited for long enough
}

// allows reports whether it may, if so many of a number of replicas have answered.
func (m *mending) allows(answered, of int) bool {
	return answered >= m.enough || m.waited || m.present && answered == of
}

func (f *fleet) mending(h handle, goal int) mending {
	since, known := f.orphaned[h]
	if !known {
		since, f.orphaned[h] = f.now, f.now
	}
	away := slices.ContainsFunc(f.roster, func(s *fleetServer) bool {
		return !s.row.forgotten && (s.here == nil || s.here.state != incarnationComplete)
	})
	return mending{enough: goal, present: !away, waited: f.now-since >= f.cfg.mendAfter}
}

// holder describes a replica of a server that is alive.
func (f *fleet) holder(h handle, e *chunkEntry, w replicaWord) holder {
	i := f.slots[w.slot()]
	k := holder{location: i.server.location(), boot: i.boot, version: f.table.versionOf(h, e, w), health: w.health()}
	if k.health == sound && w&replicaDoubted != 0 {
		k.health = suspect
	}
	return k
}

// A verdict is what a comparison has found of a replica: sound, corrupt or gone. Of a
// suspect that is as good as the others the shell says so to the chunkserver first.
type verdict struct {
	server  serverID
	boot    uint64
	version version // that it had
	health  health
	was     health // when it was to be compared
}

// compared ends a comparison: a replica without a verdict stays what it was. If that
// leaves something to compare, it has failed, and is tried again later.
func (f *fleet) compared(now time.Time, h handle, verdicts []verdict) {
	f.clock(now)
	for _, v := range verdicts {
		f.judge(h, v)
	}
	if f.compares[h] != nil {
		f.compareOver(h, !f.unsure(h))
	} else {
		f.assess(h)
	}
}

func (f *fleet) judge(h handle, v verdict) {
	i := f.incarnationOf(v.server, v.boot)
	if i == nil {
		return
	}
	e, w := f.replicaOf(i, h)
	if w == nil || f.table.versionOf(h, e, *w) != v.version {
		return
	}
	if v.health >= gone {
		f.removeReplica(h, e, f.indexOf(f.table.words(h, e), i))
		return
	}
	if v.health == sound && w.health() == corrupt && v.was != corrupt { // that was found since
		return
	}
	*w = *w&^(replicaHealth|replicaDoubted) | replicaWord(v.health)
}

// unsure reports whether there is a replica of which is to be found out what it is worth.
func (f *fleet) unsure(h handle) bool {
	row, exists := f.chunk(h)
	e := f.table.find(h)
	if e == nil || !exists {
		return false
	}
	c := f.census(h, e, &row)
	return c.suspect+c.doubted > 0 || c.lost()
}

func (f *fleet) compareOver(h handle, ok bool) {
	delete(f.compares, h)
	if !ok {
		f.failed(h, 0)
	} else {
		delete(f.orphaned, h)
	}
	f.assess(h)
}

// bad takes in that a client could not read a replica. That is a reason to look at it,
// and no proof.
func (f *fleet) bad(now time.Time, m *badReq) {
	f.clock(now)
	s := f.servers[m.server]
	if s == nil || s.here == nil {
		return
	}
	_, w := f.replicaOf(s.here, m.handle)
	if w == nil || *w&replicaDoubted != 0 {
		return
	}
	*w |= replicaDoubted
	f.assess(m.handle)
}
