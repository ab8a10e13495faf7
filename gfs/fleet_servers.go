package gfs

import (
	"slices"
	"time"
)

// A fleetServer is a chunkserver as the fleet knows it.
type fleetServer struct {
	row    serverRow
	here   *incarnation   // nil: it is not registered, or dead
	past   []*incarnation // returning ones, the oldest first
	waited bool           // a new master waits to hear of it

	seen     time.Duration // the last sign of life
	capacity int64
	used     int64
	read     int64
	written  int64
	cloning  uint64 // clones that it has said to have under way

	rack, zone, host int // labels: equal numbers are equal names

	incoming  int64      // bytes of clones on their way to it
	outgoing  int64      // bytes that are to go when the replica has been moved
	clones    []*cloning // on their way to it
	gives     bool       // it may give replicas; only valid while moves are looked for
	clonesIn  int        // moves are among them
	clonesOut int
	movesIn   int
	movesOut  int
	primaries int // leases that it has
	recent    creationRate

	unreached int           // orders to begin clones in a row that it did not answer
	restUntil time.Duration // it is given no clones before
}

func (s *fleetServer) location() location {
	return location{s.row.id, s.row.addr, s.row.rack, s.row.zone}
}

// incarnationState is what an incarnation is. Legal transitions:
//
//	reporting → complete             its last report has come
//	reporting, complete → returning  the chunkserver has registered again
//	any → dead                       it is silent; or what came after it is complete, or silent
type incarnationState uint8

const (
	incarnationReporting incarnationState = iota // alive; what it has is not all known
	incarnationComplete                          // alive
	incarnationReturning                         // the chunkserver is about to say what of it is still there: not to be read, not to be repaired
	incarnationDead                              // what it had is to be removed from the table
)

// An incarnation is a chunkserver from one registration to the next. Replicas belong to
// an incarnation, so that they are all dead at once with it.
type incarnation struct {
	server   *fleetServer
	slot     uint32
	state    incarnationState
	boot     uint64
	attempt  uint64        // of the process to register
	clock    time.Duration // its own, of the last heartbeat
	replicas int
	doomed   int
	leaving  int64 // bytes of doomed replicas
	dooms    doomQueue
}

func (i *incarnation) alive() bool { return i.state <= incarnationComplete }

// setServer tells of a row of the durable side that is new or has changed: a server has
// registered, is drained, is not drained any more, is forgotten.
func (f *fleet) setServer(now time.Time, row serverRow) {
	f.clock(now)
	s := f.servers[row.id]
	if s == nil || s.row.draining == row.draining && s.row.forgotten == row.forgotten {
		f.setRow(row)
		return
	}
	f.setRow(row)
	f.sweepAll()
}

func (f *fleet) setRow(row serverRow) {
	s := f.servers[row.id]
	if s == nil {
		f.insertServer(&fleetServer{row: row})
		f.label(f.servers[row.id])
		return
	}
	if row.forgotten && !s.row.forgotten {
		f.bereave(s)
		f.heard(s)
	}
	s.row = row
	f.label(s)
	f.noteRacks()
	f.mean.valid = false
	f.newRoom()
}

// register takes in that a chunkserver has started, or was given up. The durable side
// knows it by that id, and the fleet its row, or learns it now. Reports follow.
func (f *fleet) register(now time.Time, id serverID, m *registerReq) {
	f.clock(now)
	s := f.servers[id]
	if s == nil {
		s = &fleetServer{row: serverRow{location: location{id: id}, uuid: m.uuid}}
		f.insertServer(s)
	}
	s.row.addr, s.row.rack, s.row.zone, s.row.forgotten = m.addr, m.rack, m.zone, false
	f.label(s)
	if s.here != nil && s.here.boot == m.boot && m.attempt <= s.here.attempt {
		return // it came twice, or late: reports follow a later one
	}
	if s.here != nil {
		if s.here.boot != m.boot { // the process that had leases is no more
			f.dropLeasesOf(s)
		}
		f.dropClonesOf(s)
		f.retire(s.here)
	}
	s.here = f.newIncarnation(s, m.boot)
	s.here.attempt = m.attempt
	s.unreached, s.restUntil = 0, 0
	s.seen, s.capacity, s.used, s.read, s.written = f.now, m.capacity, m.used, 0, 0
	f.mean.valid = false
	f.noteRacks()
	f.newRoom()
}

func (f *fleet) newIncarnation(s *fleetServer, boot uint64) *incarnation {
	i := &incarnation{server: s, boot: boot}
	if n := len(f.free); n > 0 {
		i.slot = f.free[n-1]
		f.free = f.free[:n-1]
		f.slots[i.slot] = i
		return i
	}
	i.slot = uint32(len(f.slots))
	f.slots = append(f.slots, i)
	return i
}

// retire makes an incarnation one whose replicas are expected to be reported anew.
func (f *fleet) retire(i *incarnation) {
	f.pardon(i)
	i.state = incarnationReturning
	i.server.past = append(i.server.past, i)
	i.server.here = nil
	f.freeSlot(i)
}

// kill makes an incarnation dead.
func (f *fleet) kill(i *incarnation) {
	f.pardon(i)
	i.state = incarnationDead
	if i.replicas > 0 {
		f.sweepAll()
	}
	f.freeSlot(i)
}

// freeSlot gives the number of an incarnation free that has nothing any more.
func (f *fleet) freeSlot(i *incarnation) {
	if i.replicas > 0 || i.alive() || f.slots[i.slot] != i {
		return
	}
	f.slots[i.slot] = nil
	f.free = append(f.free, i.slot)
	i.server.past = slices.DeleteFunc(i.server.past, func(p *incarnation) bool { return p == i })
}

// bereave makes a server dead.
func (f *fleet) bereave(s *fleetServer) {
	if s.here != nil {
		here := s.here
		s.here = nil
		f.dropClonesOf(s)
		f.kill(here)
		f.mean.valid = false
		f.noteRacks()
	}
	f.endPast(s)
}

// endPast gives up what earlier incarnations of a server had and the present one has not
// reported.
func (f *fleet) endPast(s *fleetServer) {
	past := s.past
	s.past = nil
	for _, i := range past {
		f.kill(i)
	}
}

// checkSilence looks for the dead.
func (f *fleet) checkSilence() {
	for _, s := range f.roster {
		if s.here != nil && f.now-s.seen > f.cfg.dead {
			f.bereave(s)
			f.acts.dead = append(f.acts.dead, s.row.id)
		}
	}
}

// heard notes that what a server has is known, as of this master's time.
func (f *fleet) heard(s *fleetServer) {
	if s.waited {
		s.waited = false
		f.unheard--
		f.checkSettled()
	}
}

// incarnationOf returns the present incarnation of a server if it is the one that speaks.
func (f *fleet) incarnationOf(id serverID, boot uint64) *incarnation {
	s := f.servers[id]
	if s == nil || s.here == nil || s.here.boot != boot {
		return nil
	}
	return s.here
}

// report takes in a part of what a chunkserver has. The error is errUnregistered if it
// has to register first.
func (f *fleet) report(now time.Time, m *reportReq) error {
	f.clock(now)
	i := f.incarnationOf(m.server, m.boot)
	if i == nil || i.attempt != m.attempt {
		return errUnregistered
	}
	i.server.seen = f.now
	for k := range m.replicas {
		f.observe(i, &m.replicas[k])
	}
	if m.last && i.state == incarnationReporting {
		i.state = incarnationComplete
		f.endPast(i.server)
		f.heard(i.server)
		f.newRoom()
	}
	return nil
}

// heartbeat takes in a sign of life and fills in the answer: leases that are extended,
// replicas to be deleted. The error is errUnregistered if the chunkserver has to register,
// ErrStale if a later heartbeat has been taken in already: what this one says has passed.
func (f *fleet) heartbeat(now time.Time, m *heartbeatReq, answer *heartbeatResp) error {
	f.clock(now)
	i := f.incarnationOf(m.server, m.boot)
	if i == nil || i.state == incarnationReporting {
		// Who gives signs of life has reported everything: what made it another incarnation
		// was a registration that came late, and nothing is reported to that any more.
		return errUnregistered
	}
	if m.clock < i.clock {
		return ErrStale
	}
	i.clock = m.clock
	s := i.server
	s.seen = f.now
	s.capacity, s.used, s.read, s.written, s.cloning = m.capacity, m.used, m.read, m.written, m.cloning
	for k := range m.changes {
		f.observe(i, &m.changes[k])
	}
	if i.state == incarnationComplete {
		f.heard(s)
	}
	if !f.leads() {
		return nil
	}
	answer.epoch = f.epoch
	for k := range m.extend {
		f.extend(i, m.clock, &m.extend[k], answer)
	}
	f.missClones(s)
	f.deliver(i, answer)
	return nil
}

// observe takes in what a chunkserver says of a replica.
func (f *fleet) observe(i *incarnation, r *replicaState) {
	if r.handle == 0 {
		return
	}
	if r.health < gone {
		f.note(i, r)
	} else if e := f.table.find(r.handle); e != nil {
		if at := f.indexOf(f.table.words(r.handle, e), i); at >= 0 {
			f.removeReplica(r.handle, e, at)
		}
	}
	f.cloneSeen(i, r)
	f.assess(r.handle)
}

// note takes in a replica that an incarnation has.
func (f *fleet) note(i *incarnation, r *replicaState) {
	if e := f.table.find(r.handle); e != nil {
		words := f.table.words(r.handle, e)
		if at := f.indexOf(words, i); at >= 0 {
			f.updateReplica(i, r, e, &words[at])
			return
		}
	}
	f.insertReplica(i, r)
}

// indexOf returns which of the replicas is that of a server, in this incarnation or an
// earlier one, or -1.
func (f *fleet) indexOf(words []replicaWord, i *incarnation) int {
	for k, w := range words {
		if f.slots[w.slot()].server == i.server {
			return k
		}
	}
	return -1
}

func (f *fleet) insertReplica(i *incarnation, r *replicaState) {
	if e := f.table.find(r.handle); e != nil && e.n == maxReplicasKnown {
		return
	}
	e := f.table.add(r.handle, replicaWord(i.slot)<<replicaSlotShift|replicaWord(r.health), r.version)
	i.replicas++
	f.noteLength(r, e)
}

// updateReplica takes in what is new of a replica. What an earlier incarnation had is
// now what this one has. Versions do not go down within one: a message that was sent
// before the version was raised may come after.
func (f *fleet) updateReplica(i *incarnation, r *replicaState, e *chunkEntry, w *replicaWord) {
	v := f.table.versionOf(r.handle, e, *w)
	if old := f.slots[w.slot()]; old != i {
		f.undoom(e, w)
		f.table.setVersion(r.handle, e, w, e.version)
		*w = replicaWord(i.slot)<<replicaSlotShift | replicaWord(r.health)
		f.table.setVersion(r.handle, e, w, r.version)
		i.replicas++
		old.replicas--
		f.freeSlot(old)
		f.noteLength(r, e)
		return
	}
	if r.version < v {
		return
	}
	if r.version > v {
		f.undoom(e, w)
		f.table.setVersion(r.handle, e, w, r.version)
	}
	*w = *w&^replicaHealth | replicaWord(r.health)
	f.noteLength(r, e)
}

// noteLength takes in how long a replica is. A chunk never becomes shorter.
func (f *fleet) noteLength(r *replicaState, e *chunkEntry) {
	if r.version < e.version || r.length <= int64(e.length) || r.length > MaxChunkSize {
		return
	}
	f.setLength(r.handle, e, uint32(r.length))
}

func (f *fleet) setLength(h handle, e *chunkEntry, length uint32) {
	more := int64(length) - int64(e.length)
	e.length = length
	for _, w := range f.table.words(h, e) {
		if w&replicaDoomed != 0 {
			f.slots[w.slot()].leaving += more
		}
	}
}

// removeReplica removes the i-th replica of a chunk. The entry is zero if it was the last.
func (f *fleet) removeReplica(h handle, e *chunkEntry, i int) {
	w := &f.table.words(h, e)[i]
	f.undoom(e, w)
	owner := f.slots[w.slot()]
	if e.n == 1 {
		f.dequeue(e)
		f.cover(e, 0, 0)
	}
	f.table.removeAt(h, e, i)
	owner.replicas--
	f.freeSlot(owner)
}

// serverList describes the chunkservers, in the order of their ids.
func (f *fleet) serverList(now time.Time) []serverStatus {
	f.clock(now)
	list := make([]serverStatus, 0, len(f.roster))
	for _, s := range f.roster {
		if s.row.forgotten {
			continue
		}
		st := serverStatus{
			location: s.location(), uuid: s.row.uuid, alive: s.here != nil, awaited: s.here == nil && s.waited, draining: s.row.draining,
			silent: f.now - s.seen, capacity: s.capacity, used: s.used, read: s.read, written: s.written,
		}
		if s.here != nil {
			st.chunks = uint64(s.here.replicas)
		}
		for _, i := range s.past {
			st.chunks += uint64(i.replicas)
		}
		list = append(list, st)
	}
	return list
}

// locationOf returns where a chunkserver is, with its boot, if it is alive.
func (f *fleet) locationOf(id serverID) (at location, boot uint64, alive bool) {
	s := f.servers[id]
	if s == nil || s.here == nil {
		return location{}, 0, false
	}
	return s.location(), s.here.boot, true
}
