package gfs

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// This file is a model of what surrounds a fleet: the durable side, chunkservers with
// disks and clocks of their own, a shell, a network that delays and loses, and faults.
// A replica's contents are the numbers of the mutations that it has seen.

// fleetEvent is something that happens at a time.
type fleetEvent struct {
	at  time.Duration
	seq int
	do  func()
}

type fleetEvents []fleetEvent

func (q fleetEvents) Len() int { return len(q) }
func (q fleetEvents) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q fleetEvents) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *fleetEvents) Push(x any)   { *q = append(*q, x.(fleetEvent)) }
func (q *fleetEvents) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}

// modelChunk is a chunk of the durable side, and what was acknowledged of it.
type modelChunk struct {
	row   chunkRow
	acked []int
	maker uint64 // epoch
}

// modelMaster is a master's fleet, that of the leader or of a standby.
type modelMaster struct {
	*fleet
	n     int // which
	term  uint64
	since time.Duration       // when that began
	known int                 // rows of servers, then
	heard map[serverID]uint64 // the term in which each server was last heard
}

// early fails if a new master does something that it may not do before every server that
// is known has been heard, or has had time to be.
func (m *modelMaster) early(w *modelWorld, what string) {
	if w.now-m.since >= m.cfg.grace {
		return
	}
	for _, row := range w.rows[:m.known] {
		if !row.forgotten && m.heard[row.id] != m.term {
			w.failf("master %d is to %s %v after it began to lead, and has not heard server %d", m.n, what, w.now-m.since, row.id)
		}
	}
}

// modelWorld is everything.
type modelWorld struct {
	r       *rand.Rand
	cfg     fleetConfig
	now     time.Duration
	events  fleetEvents
	seq     int
	known   map[handle]modelLeader // by clients
	chunks  map[handle]*modelChunk
	order   []handle
	rows    []serverRow
	servers []*modelServer
	masters [2]*modelMaster // the leader first
	epoch   uint64
	handle  handle
	muts    int
	calm    bool // no more faults
	bugs    modelBugs
	err     error
	counts  map[string]int
	trace   func(format string, args ...any)
}

// modelBugs are for the test of the test.
type modelBugs struct {
	unanswered bool // a grant is logged though a member has not answered
	fleetBugs
}

// A modelLeader is a primary, as a client remembers it.
type modelLeader struct {
	server  serverID
	version version
}

func (w *modelWorld) chunk(h handle) (chunkRow, bool) {
	if c := w.chunks[h]; c != nil {
		return c.row, true
	}
	return chunkRow{}, false
}

var modelStart = time.Date(2003, 10, 19, 0, 0, 0, 0, time.UTC)

func (w *modelWorld) time() time.Time { return modelStart.Add(w.now) }

func (w *modelWorld) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, fleetEvent{w.now + d, w.seq, do})
}

// soon is a delay of the network.
func (w *modelWorld) soon(do func()) {
	d := time.Duration(w.r.ExpFloat64() * float64(20*time.Millisecond))
	if !w.calm && w.r.IntN(20) == 0 {
		d *= 200
	}
	w.after(d, do)
}

func (w *modelWorld) failf(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %v: %s", w.now, fmt.Sprintf(format, args...))
	}
}

func (w *modelWorld) logf(format string, args ...any) {
	if w.trace != nil {
		w.trace("%12v "+format, append([]any{w.now}, args...)...)
	}
}

func (w *modelWorld) chance(percent int) bool { return !w.calm && w.r.IntN(100) < percent }

// newModelWorld builds a world of some servers in some racks.
func newModelWorld(seed uint64, bugs modelBugs) *modelWorld {
	w := &modelWorld{r: rand.New(rand.NewPCG(seed, 1)), chunks: make(map[handle]*modelChunk), known: make(map[handle]modelLeader), counts: make(map[string]int), bugs: bugs}
	w.cfg = fleetConfig{chunkSize: 100, cloneTime: time.Minute, cloneRate: int64(w.r.IntN(2) * 50), clones: 1 + w.r.IntN(8), clonesEach: 1 + w.r.IntN(3),
		compares: 1 + w.r.IntN(4), balanceEach: 5 * time.Second, band: 0.02, doomBatch: 1 + w.r.IntN(5)}
	n := 3 + w.r.IntN(6)
	racks := 1 + w.r.IntN(4)
	for i := range n {
		w.addServer(fmt.Sprintf("r%d", i%racks), fmt.Sprintf("h%d:1", i))
	}
	for n := range w.masters {
		w.masters[n] = w.newMaster(n)
	}
	w.elect(false)
	for _, s := range w.servers {
		s.start()
	}
	w.after(time.Second, w.load)
	w.after(30*time.Second, w.fault)
	w.tick()
	return w
}

func (w *modelWorld) newMaster(n int) *modelMaster {
	m := &modelMaster{fleet: newFleet(w.cfg, w), n: n, heard: make(map[serverID]uint64)}
	m.planted = w.bugs.fleetBugs
	return m
}

// elect makes a new leader: the standby, or the same one after a restart.
func (w *modelWorld) elect(standby bool) {
	w.epoch++
	if standby {
		w.masters[0], w.masters[1] = w.masters[1], w.masters[0]
	}
	old := 1 - btoi(!standby)
	n := w.masters[old].n
	w.masters[old] = w.newMaster(n) // it has restarted
	for _, row := range w.rows {
		w.masters[old].setServer(w.time(), row)
	}
	m := w.masters[0]
	m.term, m.since, m.known = w.epoch, w.now, len(w.rows)
	m.begin(w.time(), w.epoch, w.rows)
	w.counts["elections"]++
	w.logf("epoch %d, master %d leads", w.epoch, m.n)
}

func (w *modelWorld) leader() *modelMaster { return w.masters[0] }

// leads reports whether a master is up still and leads in that epoch.
func (w *modelWorld) leads(m *modelMaster, epoch uint64) bool {
	return w.masters[0] == m && w.epoch == epoch
}

// touch tells both of a change of the durable side, the standby later.
func (w *modelWorld) touch(h handle) {
	w.leader().touched(h)
	if m := w.masters[1]; m != nil {
		w.soon(func() { m.touched(h) })
	}
}

func (w *modelWorld) tick() {
	m := w.leader()
	acts := m.tick(w.time())
	w.masters[1].tick(w.time())
	w.act(m, acts)
	w.after(500*time.Millisecond, w.tick)
}

// act does what the fleet of a leader wants.
func (w *modelWorld) act(m *modelMaster, acts fleetActions) {
	epoch := m.term
	for _, a := range acts.adopt {
		if c := w.chunks[a.handle]; c != nil && c.row.version < a.version {
			w.counts["adopted"]++
			w.logf("chunk %d: version %x adopted", a.handle, a.version)
			c.row.version = a.version
			w.touch(a.handle)
		}
	}
	for _, a := range acts.revoke {
		w.counts["revoked"]++
		w.call(m, a.primary.id, a.boot, func(s *modelServer) bool { return s.revoke(epoch, a.handle, a.version) }, func(ok bool) {
			m.revoked(w.time(), a.handle, a.version, ok)
		})
	}
	for _, a := range acts.compare {
		w.compare(m, a)
	}
	if len(acts.clone) > 0 {
		m.early(w, "copy")
	}
	for _, a := range acts.clone {
		w.counts["clones"]++
		w.call(m, a.to.id, a.boot, func(s *modelServer) bool { return s.clone(epoch, a) }, func(ok bool) {
			if !ok {
				m.cloneFailed(w.time(), a.handle, a.to.id)
			}
		})
	}
}

// call makes a request of a master's to a server: it may not arrive, and its answer may
// not either. done is called with whether there was a good answer, if the master still is.
func (w *modelWorld) call(m *modelMaster, to serverID, boot uint64, do func(s *modelServer) bool, done func(ok bool)) {
	epoch := m.term
	end := func(ok bool) {
		if w.leads(m, epoch) {
			done(ok)
		}
	}
	w.soon(func() {
		s := w.server(to)
		if s == nil || !s.up || s.cut || w.chance(3) || boot != 0 && boot != s.boot {
			w.after(time.Second, func() { end(false) })
			return
		}
		ok := do(s)
		if w.chance(3) {
			w.after(time.Second, func() { end(false) })
			return
		}
		w.soon(func() { end(ok) })
	})
}

func (w *modelWorld) server(id serverID) *modelServer {
	for _, s := range w.servers {
		if s.id == id && !s.lost {
			return s
		}
	}
	return nil
}

// compare asks all holders what they have, and judges.
func (w *modelWorld) compare(m *modelMaster, a compareAction) {
	w.counts["compares"]++
	got := make([]*modelReplica, len(a.holders))
	left := len(a.holders)
	for i, k := range a.holders {
		w.call(m, k.id, k.boot, func(s *modelServer) bool {
			if r := s.disk[a.handle]; r != nil {
				copied := *r
				copied.data = slices.Clone(r.data)
				got[i] = &copied
			} else {
				got[i] = &modelReplica{health: gone}
			}
			return true
		}, func(ok bool) {
			if !ok {
				got[i] = nil
			}
			if left--; left == 0 {
				w.judge(m, a, got)
			}
		})
	}
}

func (w *modelWorld) judge(m *modelMaster, a compareAction, got []*modelReplica) {
	var best *modelReplica
	for i, r := range got {
		if r == nil {
			m.compared(w.time(), a.handle, nil) // not now
			return
		}
		if r.health < corrupt && (best == nil || r.health == sound && best.health != sound || r.health == best.health && len(r.data) > len(best.data)) {
			best = got[i]
		}
	}
	var verdicts []verdict
	left := 0
	for i, r := range got {
		k := a.holders[i]
		switch {
		case r.health >= corrupt:
			verdicts = append(verdicts, verdict{k.id, k.boot, k.version, r.health, k.health})
		case !slices.Equal(r.data, best.data):
			verdicts = append(verdicts, verdict{k.id, k.boot, k.version, corrupt, k.health})
		case r.health == sound:
			verdicts = append(verdicts, verdict{k.id, k.boot, k.version, sound, k.health})
		default:
			left++
			w.call(m, k.id, k.boot, func(s *modelServer) bool { return s.accept(a.handle, k.version) }, func(ok bool) {
				if ok {
					verdicts = append(verdicts, verdict{k.id, k.boot, k.version, sound, k.health})
				}
				if left--; left == 0 {
					m.compared(w.time(), a.handle, verdicts)
				}
			})
		}
	}
	if left == 0 {
		m.compared(w.time(), a.handle, verdicts)
	}
}

// load is a client that does something.
func (w *modelWorld) load() {
	if !w.calm {
		w.after(time.Duration(w.r.ExpFloat64()*float64(2*time.Second)), w.load)
	}
	m := w.leader()
	if len(w.order) < 3 || w.r.IntN(10) == 0 && len(w.order) < 40 {
		w.create(m, 1+w.r.IntN(4))
		return
	}
	h := w.order[w.r.IntN(len(w.order))]
	switch w.r.IntN(40) {
	case 0:
		w.logf("chunk %d is dropped", h)
		delete(w.chunks, h)
		w.order = slices.DeleteFunc(w.order, func(o handle) bool { return o == h })
		w.touch(h)
	case 1:
		w.chunks[h].row.goal = uint8(1 + w.r.IntN(4))
		w.touch(h)
	case 2:
		w.chunks[h].row.live = uint32(w.r.IntN(2))
		w.touch(h)
	case 3:
		m.wanted(h)
	case 4:
		if where := m.locate(h, nil); len(where) > 0 {
			m.bad(w.time(), &badReq{handle: h, server: where[w.r.IntN(len(where))].id})
		}
	default:
		w.write(m, h)
	}
}

// create makes a chunk, as the shell does.
func (w *modelWorld) create(m *modelMaster, goal int) {
	places, err := m.place(w.time(), goal, nil, nil)
	if err != nil {
		return
	}
	w.handle++
	h, v, epoch := w.handle, m.firstVersion(), m.term
	m.creating(w.time(), h)
	w.raise(m, h, places, func(s *modelServer) bool { return s.make(epoch, h, v) }, func(members []grantMember) {
		if len(members) < len(places) && !w.bugs.unanswered || len(members) == 0 {
			m.abandon(w.time(), h)
			return
		}
		w.counts["created"]++
		w.logf("chunk %d is created, goal %d, on %v", h, goal, members)
		w.chunks[h] = &modelChunk{row: chunkRow{v, 1, 1, uint8(goal)}, maker: epoch}
		w.order = append(w.order, h)
		w.touch(h)
		w.lease(m, h, v, members)
	})
}

// raise asks all places for something, and hands on those that have answered.
func (w *modelWorld) raise(m *modelMaster, h handle, places []holder, do func(s *modelServer) bool, then func([]grantMember)) {
	answers := make([]*grantMember, len(places))
	left := len(places)
	for i, p := range places {
		w.call(m, p.id, p.boot, func(s *modelServer) bool {
			if do(s) {
				answers[i] = &grantMember{s.id, s.boot, s.clock(), int64(len(s.disk[h].data))}
				return true
			}
			return false
		}, func(ok bool) {
			if !ok {
				answers[i] = nil
			}
			if left--; left > 0 {
				return
			}
			var members []grantMember
			for _, a := range answers {
				if a != nil {
					members = append(members, *a)
				}
			}
			then(members)
		})
	}
}

// write is a client that mutates a chunk, by its lease or a new one.
func (w *modelWorld) write(m *modelMaster, h handle) {
	if k, ok := w.known[h]; ok && w.r.IntN(6) == 0 { // what it was told, perhaps by an earlier master
		if s := w.server(k.server); s != nil && s.mutate(h, k.version) {
			return
		}
	}
	if l, ok := m.lease(w.time(), h); ok {
		if s := w.server(l.members[0].id); s != nil && s.up && s.mutate(h, l.version) {
			return
		}
	}
	var without []serverID
	if w.r.IntN(4) == 0 { // as a primary asks that could not reach one
		for _, s := range w.servers {
			if !s.up || s.cutPeers {
				without = append(without, s.id)
			}
		}
	}
	w.grant(m, h, without, 3)
}

func (w *modelWorld) grant(m *modelMaster, h handle, without []serverID, tries int) {
	epoch := m.term
	plan, err := m.planGrant(w.time(), h, grantWish{without: without})
	if err != nil {
		w.counts["plan: "+err.Error()]++
		return
	}
	from := make(map[serverID]version)
	for _, p := range plan.members {
		from[p.id] = p.version
	}
	w.raise(m, h, plan.members, func(s *modelServer) bool { return s.raise(epoch, h, from[s.id], plan.to) }, func(members []grantMember) {
		if len(members) == 0 || !plan.answered(members) && !w.bugs.unanswered {
			m.abandon(w.time(), h)
			for _, p := range plan.members {
				if !slices.ContainsFunc(members, func(g grantMember) bool { return g.id == p.id }) {
					without = append(without, p.id)
				}
			}
			if tries > 0 {
				w.grant(m, h, without, tries-1)
			}
			return
		}
		c := w.chunks[h]
		if c == nil {
			m.abandon(w.time(), h)
			return
		}
		w.counts["grants"]++
		w.logf("chunk %d is granted at %x to %v", h, plan.to, members)
		c.row.version = plan.to
		w.touch(h)
		w.lease(m, h, plan.to, members)
	})
}

// lease ends a grant.
func (w *modelWorld) lease(m *modelMaster, h handle, v version, members []grantMember) {
	epoch := m.term
	w.soon(func() {
		if !w.leads(m, epoch) {
			return
		}
		term := m.granted(w.time(), h, v, members, true)
		var others []serverID
		for _, k := range members[1:] {
			others = append(others, k.id)
		}
		w.call(m, members[0].id, members[0].boot, func(s *modelServer) bool { return s.takeLease(epoch, term, others) }, func(ok bool) {
			if ok {
				m.taken(w.time(), h, v)
				w.known[h] = modelLeader{members[0].id, v}
			}
			if s := w.server(members[0].id); s != nil {
				for range 1 + w.r.IntN(3) {
					s.mutate(h, v)
				}
			}
		})
	})
}
