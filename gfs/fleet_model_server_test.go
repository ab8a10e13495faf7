package gfs

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// modelReplica is a replica on a disk.
type modelReplica struct {
	version version
	data    []int
	health  health
	dirty   time.Duration // since when it may have mutations that an unclean stop interrupts; 0: it has none
	stamp   int           // of its last change
}

// modelLease is a lease as its primary knows it.
type modelLease struct {
	version version
	until   time.Duration // by its clock
	others  []serverID
	used    bool
}

// modelServer is a chunkserver and its disk.
type modelServer struct {
	w        *modelWorld
	id       serverID
	row      serverRow
	up       bool
	lost     bool // its disk is no more
	cut      bool // it can't reach masters, nor they it
	cutPeers bool // it can't reach other servers, nor they it
	boot     uint64
	started  time.Duration
	rate     float64 // of its clock
	epoch    uint64
	disk     map[handle]*modelReplica
	leases   map[handle]*modelLease
	cloning  map[handle]bool
	changes  [2]map[handle]bool // to be told to each master
	attempt  uint64
	stamp    int
}

func (w *modelWorld) addServer(rack, addr string) *modelServer {
	id := serverID(len(w.rows) + 1)
	row := serverRow{location: location{id: id, addr: addr, rack: rack}, uuid: [16]byte{byte(id)}}
	w.rows = append(w.rows, row)
	s := &modelServer{w: w, id: id, row: row, disk: make(map[handle]*modelReplica), rate: 0.995 + 0.01*w.r.Float64()}
	w.servers = append(w.servers, s)
	for _, m := range w.masters {
		if m != nil {
			m.setServer(w.time(), row)
		}
	}
	return s
}

func (s *modelServer) clock() time.Duration {
	return time.Duration(s.rate * float64(s.w.now-s.started))
}

// start starts the process: replicas that were dirty are suspect.
func (s *modelServer) start() {
	s.up, s.boot, s.started = true, s.w.r.Uint64(), s.w.now
	s.leases, s.cloning = make(map[handle]*modelLease), make(map[handle]bool)
	for _, h := range s.handles() {
		if r := s.disk[h]; r.dirty > 0 {
			if r.dirty = 0; r.health == sound {
				r.health = suspect
			}
		}
	}
	for n := range s.changes {
		s.register(n, s.boot)
	}
}

func (s *modelServer) handles() []handle { return slices.Sorted(maps.Keys(s.disk)) }

func (s *modelServer) change(h handle) {
	s.stamp++
	if r := s.disk[h]; r != nil {
		r.stamp = s.stamp
	}
	for n := range s.changes {
		s.changes[n][h] = true
	}
}

// master finds the n-th master, wherever it stands now.
func (w *modelWorld) master(n int) *modelMaster {
	if w.masters[0].n == n {
		return w.masters[0]
	}
	return w.masters[1]
}

// register tells the n-th master all, in parts.
func (s *modelServer) register(n int, boot uint64) {
	w := s.w
	if s.boot != boot || !s.up {
		return
	}
	s.changes[n] = make(map[handle]bool)
	w.soon(func() {
		if s.boot != boot || !s.up {
			return
		}
		if s.cut {
			w.after(time.Second, func() { s.register(n, boot) })
			return
		}
		m := w.master(n)
		s.attempt++
		m.register(w.time(), s.id, &registerReq{uuid: s.row.uuid, boot: boot, attempt: s.attempt, addr: s.row.addr, rack: s.row.rack, capacity: 1e6, used: s.used()})
		s.epoch = max(s.epoch, m.epoch)
		s.report(n, boot, s.attempt, m, s.handles())
	})
}

func (s *modelServer) report(n int, boot, attempt uint64, m *modelMaster, left []handle) {
	w := s.w
	w.soon(func() {
		if s.boot != boot || !s.up {
			return
		}
		part := left[:min(len(left), 1+w.r.IntN(10))]
		req := &reportReq{server: s.id, boot: boot, attempt: attempt, last: len(part) == len(left)}
		for _, h := range part {
			if r := s.disk[h]; r != nil {
				req.replicas = append(req.replicas, s.state(h))
			}
		}
		if s.cut || w.master(n) != m || m.fleet.report(w.time(), req) != nil {
			w.after(time.Second, func() { s.register(n, boot) })
			return
		}
		if req.last {
			m.heard[s.id] = m.term
			s.beat(n, boot, m)
			return
		}
		s.report(n, boot, attempt, m, left[len(part):])
	})
}

func (s *modelServer) state(h handle) replicaState {
	r := s.disk[h]
	if r == nil {
		return replicaState{handle: h, health: gone}
	}
	return replicaState{h, r.version, int64(len(r.data)), r.health}
}

func (s *modelServer) used() (n int64) {
	for _, r := range s.disk {
		n += int64(len(r.data))
	}
	return n
}

// beat sends heartbeats to the n-th master, one after another.
func (s *modelServer) beat(n int, boot uint64, m *modelMaster) {
	w := s.w
	if s.boot != boot || !s.up {
		return
	}
	s.rest()
	req := &heartbeatReq{server: s.id, boot: boot, clock: s.clock(), capacity: 1e6, used: s.used(), cloning: uint64(len(s.cloning))}
	stamps := make(map[handle]int)
	for _, h := range slices.Sorted(maps.Keys(s.changes[n])) {
		req.changes = append(req.changes, s.state(h))
		if r := s.disk[h]; r != nil {
			stamps[h] = r.stamp
		}
	}
	for _, h := range slices.Sorted(maps.Keys(s.leases)) {
		if l := s.leases[h]; l.used {
			req.extend = append(req.extend, replicaState{handle: h, version: l.version})
		}
	}
	again := func() { s.beat(n, boot, m) }
	w.soon(func() {
		if s.boot != boot || !s.up || s.cut || w.master(n) != m {
			w.after(3*time.Second, func() { s.rejoin(n, boot, m) })
			return
		}
		var resp heartbeatResp
		if m.heartbeat(w.time(), req, &resp) != nil {
			s.register(n, boot)
			return
		}
		m.heard[s.id] = m.term
		if len(resp.delete) > 0 {
			m.early(w, "delete")
		}
		if w.chance(3) { // the answer is lost
			w.after(3*time.Second, again)
			return
		}
		w.soon(func() {
			if s.boot != boot || !s.up {
				return
			}
			for h := range s.changes[n] { // order-free: a set
				if r := s.disk[h]; slices.ContainsFunc(req.changes, func(c replicaState) bool { return c.handle == h && (c.health == gone) == (r == nil) }) &&
					(r == nil || stamps[h] == r.stamp) {
					delete(s.changes[n], h)
				}
			}
			s.obey(&resp)
			w.after(3*time.Second, again)
		})
	})
}

// rejoin goes on after a heartbeat that was not answered.
func (s *modelServer) rejoin(n int, boot uint64, m *modelMaster) {
	if s.w.master(n) != m {
		if s.boot == boot && s.up {
			s.register(n, boot)
		}
		return
	}
	s.beat(n, boot, m)
}

func (s *modelServer) obey(resp *heartbeatResp) {
	if resp.epoch == 0 || !s.knows(resp.epoch) {
		return
	}
	for _, t := range resp.extended {
		if l := s.leases[t.handle]; l != nil && l.version == t.version && l.until > s.clock() {
			l.until, l.used = max(l.until, t.until), false
			s.w.counts["extended"]++
		}
	}
	for _, d := range resp.delete {
		if r := s.disk[d.handle]; r != nil && r.version == d.version {
			s.w.counts["deleted"]++
			s.w.logf("chunk %d at %x is deleted by %d", d.handle, d.version, s.id)
			delete(s.disk, d.handle)
			s.change(d.handle)
		}
	}
}

// knows takes in the epoch of an order, and refuses an older one.
func (s *modelServer) knows(epoch uint64) bool {
	if epoch < s.epoch {
		s.w.counts["fenced"]++
		return false
	}
	s.epoch = epoch
	return true
}

// rest cleans replicas that have not been mutated for long.
func (s *modelServer) rest() {
	for _, h := range s.handles() {
		if r := s.disk[h]; r.dirty > 0 && s.w.now-r.dirty > 2*time.Minute {
			r.dirty = 0
		}
		if l := s.leases[h]; l != nil && l.until <= s.clock() {
			delete(s.leases, h)
		}
	}
}

func (s *modelServer) make(epoch uint64, h handle, v version) bool {
	if !s.knows(epoch) || s.disk[h] != nil {
		return false
	}
	s.disk[h] = &modelReplica{version: v, dirty: s.w.now}
	s.change(h)
	return true
}

func (s *modelServer) raise(epoch uint64, h handle, from, to version) bool {
	r := s.disk[h]
	if !s.knows(epoch) || r == nil || r.health != sound || r.version != from && r.version != to {
		return false
	}
	if c := s.w.chunks[h]; c != nil {
		if missing := lacksData(r.data, c.acked); missing != 0 {
			s.w.failf("chunk %d: server %d is to be a member at %x, and has not mutation %d", h, s.id, to, missing)
		}
	}
	delete(s.leases, h)
	r.version, r.dirty = to, s.w.now
	s.change(h)
	return true
}

func lacksData(data, acked []int) int {
	for _, m := range acked {
		if !slices.Contains(data, m) {
			return m
		}
	}
	return 0
}

func (s *modelServer) takeLease(epoch uint64, t leaseTerm, others []serverID) bool {
	r := s.disk[t.handle]
	if !s.knows(epoch) || r == nil || r.version != t.version {
		return false
	}
	s.leases[t.handle] = &modelLease{t.version, t.until, others, true}
	return true
}

func (s *modelServer) revoke(epoch uint64, h handle, v version) bool {
	if !s.knows(epoch) {
		return false
	}
	if l := s.leases[h]; l != nil && l.version == v {
		delete(s.leases, h)
	}
	return true
}

func (s *modelServer) accept(h handle, v version) bool {
	r := s.disk[h]
	if r == nil || r.version != v || r.health == corrupt {
		return false
	}
	r.health = sound
	s.change(h)
	return true
}

// mutate is a primary that carries out a mutation at all members, and acknowledges it if
// all have. It reports whether they have.
func (s *modelServer) mutate(h handle, v version) bool {
	l, r := s.leases[h], s.disk[h]
	if !s.up || l == nil || l.version != v || l.until <= s.clock() || r == nil || r.version != v || r.health != sound {
		return false
	}
	s.w.muts++
	m := s.w.muts
	l.used = true
	s.apply(h, v, m)
	for _, id := range l.others {
		o := s.w.server(id)
		if o == nil || !o.up || o.cutPeers || s.cutPeers || !o.apply(h, v, m) {
			return false
		}
	}
	if l.until <= s.clock() {
		return false
	}
	s.w.counts["acked"]++
	if c := s.w.chunks[h]; c != nil {
		c.acked = append(c.acked, m)
	}
	return true
}

func (s *modelServer) apply(h handle, v version, m int) bool {
	r := s.disk[h]
	if r == nil || r.version != v || r.health != sound {
		return false
	}
	r.data, r.dirty = append(r.data, m), s.w.now
	s.change(h)
	return true
}

// clone copies a replica. It has what the source had when it began, if the source has the
// same version at the end.
func (s *modelServer) clone(epoch uint64, a cloneAction) bool {
	if !s.knows(epoch) || s.disk[a.handle] != nil || s.cloning[a.handle] || s.w.chance(5) {
		return false
	}
	boot := s.boot
	s.cloning[a.handle] = true
	s.tryClone(a, boot, a.from)
	return true
}

func (s *modelServer) tryClone(a cloneAction, boot uint64, from []location) {
	if len(from) == 0 {
		delete(s.cloning, a.handle)
		return
	}
	source := s.w.server(from[0].id)
	data, ok := source.read(s, a)
	if !ok {
		s.tryClone(a, boot, from[1:])
		return
	}
	s.w.after(time.Duration(s.w.r.ExpFloat64()*float64(4*time.Second)), func() {
		if !s.up || s.boot != boot {
			return
		}
		if _, ok := source.read(s, a); !ok {
			s.tryClone(a, boot, from[1:])
			return
		}
		delete(s.cloning, a.handle)
		if s.disk[a.handle] != nil || s.w.chance(5) {
			return
		}
		s.w.counts["cloned"]++
		s.w.logf("chunk %d at %x is copied from %d to %d", a.handle, a.version, source.id, s.id)
		s.disk[a.handle] = &modelReplica{version: a.version, data: data}
		s.change(a.handle)
	})
}

func (s *modelServer) read(by *modelServer, a cloneAction) ([]int, bool) {
	if s == nil || !s.up || s.cutPeers || by.cutPeers {
		return nil, false
	}
	r := s.disk[a.handle]
	if r == nil || r.version != a.version || r.health != sound {
		return nil, false
	}
	return slices.Clone(r.data), true
}

// checkModel verifies what must hold at any time: nothing acknowledged is lost, and whoever
// is told to clients or made a member has it all.
func (w *modelWorld) checkModel() error {
	if w.err != nil {
		return w.err
	}
	for _, m := range w.masters {
		if err := m.check(); err != nil {
			return fmt.Errorf("at %v, master %d: %w", w.now, m.n, err)
		}
	}
	m := w.leader()
	for _, h := range w.order {
		c := w.chunks[h]
		for _, at := range m.locate(h, nil) {
			s := w.server(at.id)
			if s == nil || !s.up {
				continue
			}
			if r := s.disk[h]; r != nil && r.health == sound && r.version >= c.row.version {
				if missing := lacksData(r.data, c.acked); missing != 0 {
					return fmt.Errorf("at %v: chunk %d can be read from server %d (%x), which has not mutation %d", w.now, h, at.id, r.version, missing)
				}
			}
		}
		if !w.safe(h, c) {
			return fmt.Errorf("at %v: chunk %d is lost", w.now, h)
		}
	}
	return nil
}

// safe reports whether somebody has all of a chunk that was acknowledged.
func (w *modelWorld) safe(h handle, c *modelChunk) bool {
	for _, s := range w.servers {
		if r := s.disk[h]; !s.lost && r != nil && r.health < corrupt && r.version >= c.row.version && lacksData(r.data, c.acked) == 0 {
			return true
		}
	}
	return false
}
