package gfs

import (
	"cmp"
	"slices"
	"time"
)

// A chunkView is the durable side as the fleet sees it. Its answers may change between
// two calls of the fleet; of each change that matters the fleet is told by touched.
type chunkView interface {
	// chunk returns what is known of a chunk, and whether there is one.
	chunk(h handle) (chunkRow, bool)
}

// A fleet is what a master knows from reports and never logs: which chunkservers live,
// which replicas they have, which leases are in force, which repairs are under way
// (§2.6.2). It decides where replicas go, which are made, compared and deleted, and who
// may be given a lease; what must last of that (a grant, an adopted version) the shell
// logs, and tells the fleet of it when it is applied.
//
// A fleet is a plain data structure for one caller at a time. It reads the durable side
// while it is called, so whoever holds a lock of the durable side must not call it.
//
// A standby or shadow keeps a fleet too, which only listens: before begin and after
// follow it orders nothing. With begin a master's time as leader starts; until every
// known chunkserver has been heard since (or has not in time) the fleet collects no
// garbage, takes no replica for stale and repairs nothing.
//
// # What the shell does
//
//   - It hands on what chunkservers say: register, report, heartbeat; and what is durable
//     of them: setServer. Several times in a heartbeat it calls tick, and does what that
//     wants; it tells the end of each clone that can't be begun (cloneFailed, and before it
//     unreached if the server has not answered), comparison (compared) and revocation
//     (revoked). Of a clone that succeeds a heartbeat tells. After a comparison has made a
//     replica count that none vouched for it raises the version, as for a snapshot.
//   - A grant: planGrant; raise the members; log, if all have answered; granted; lease the
//     primary the term that granted returned, naming its boot; taken, when it has answered
//     that. If nothing was logged: abandon, and another
//     plan without those that have not answered. Without lease the same raises the version
//     for a snapshot.
//   - A new chunk: place; creating; make the replicas at firstVersion; log, if all were made;
//     granted. If not: abandon, and another handle. A fork is the same, beside an operation
//     on the old chunk: planGrant, or hold; abandon.
//   - The answer to a heartbeat that extends leases goes out only if the master still leads
//     (Log.Confirm): whoever leads next counts on it that no lease is extended any more.
//   - After each command that was applied: touched, for each chunk that it concerned.
//   - Clients ask locate, lease, stock; they complain with bad; wanted says that one waits.
//
// # Which replicas count
//
// A replica is current if it is sound and its version is that of the chunk, or one that
// was never granted (see explained). The others are stale, suspect, corrupt, or ahead of
// the log: then the version is adopted. Chunks are judged one at a time, by assess,
// whenever something has changed that concerns them; what there is to do is queued then,
// so that a fleet with nothing to do costs nothing however many chunks it has. Only
// events that concern many (a dead server, one that is drained) are followed by a sweep
// over all of them, in steps.
//
// # Invariants
//
// They are checked by check:
//
//   - Each replica belongs to an incarnation that is not free, and each incarnation
//     knows how many it has, and how many bytes of doomed ones.
//   - covered counts the chunks that exist and have a current replica, and short those
//     of them that have fewer than they should have.
//   - A chunk is in the lane that its entry names, once, and the lanes know how many
//     they have.
//   - A chunk is the subject of one thing at most: an operation of the shell, a clone, a
//     comparison; under a lease there are no clones and comparisons.
//   - No more clones are under way than the limits allow, and their bytes are reserved
//     where they go.
type fleet struct {
	cfg   fleetConfig
	view  chunkView
	epoch uint64        // 0: it only listens
	begun time.Duration // when it began to lead
	now   time.Duration // of the last event, since zero
	zero  time.Time     // of the first event

	servers map[serverID]*fleetServer
	roster  []*fleetServer // by id
	slots   []*incarnation // by number; 0 is none
	free    []uint32       // numbers of slots that are nobody's
	unheard int            // servers to be waited for
	quiet   bool           // they have been waited for: see settled

	table   replicaTable
	covered int
	short   int      // of these, those that have fewer than they should have
	fresh   []handle // touched, to be assessed

	busy      map[handle]time.Duration // operations of the shell, since when
	attempted map[handle]version       // versions of grants that may have reached a server and were not logged
	adopting  map[handle]version
	leases    map[handle]*leaseEntry
	held      map[handle]time.Duration // chunks whose lease was revoked to copy them, and until when
	clones    map[handle]*cloning
	compares  map[handle]*comparing
	orphaned  map[handle]time.Duration // chunks that are to be compared, since when
	failures  map[handle]repairFailure
	timers    timerQueue
	lanes     [laneCount]repairLane
	queued    int // chunks in lanes that are worked on
	parking   parkingState

	sweep   sweepState
	mean    meanUse
	labels  map[string]int // numbers of names of racks, zones and hosts
	racks   int            // of the living
	placed  uint64         // creations, ever
	balance balanceState
	checked time.Duration // when silence was last looked for
	acts    fleetActions
	planted fleetBugs
}

// fleetBugs are for the tests of the tests.
type fleetBugs struct {
	anyVersion   bool // stale replicas count as current
	impatient    bool // it does not wait for known chunkservers
	unfenced     bool // it does not wait for the leases of an earlier master
	eager        bool // a clone counts before it is complete
	openCopies   bool // chunks are copied while there are leases on them
	sameAgain    bool // a version that a grant has tried is tried again
	flatVersions bool // versions do not tell which master has tried them
}

// fleetConfig says how patient and how busy a fleet is. Zero fields mean the default.
type fleetConfig struct {
	chunkSize int64         // bytes; DefaultChunkSize
	lease     time.Duration // how long a lease lasts; DefaultLease
	drift     time.Duration // added to it before it counts as over, for clocks that differ; lease/50
	heartbeat time.Duration // how often chunkservers report; 3 s
	dead      time.Duration // silence after which a chunkserver is dead; 10 heartbeats
	grace     time.Duration // how long a new master waits for known chunkservers; dead
	covered   int           // of 10,000 chunks must have a replica before leases are granted; 9,990; at most 10,000

	clones      int           // under way in the cluster; 64
	clonesEach  int           // under way from a chunkserver, and to one; 4
	cloneRate   int64         // bytes a second that clones may take of a chunkserver; 0: no limit
	compares    int           // under way in the cluster; 32
	mendAfter   time.Duration // how long replicas that were all interrupted wait for servers that may have better ones; 10 min
	retryFirst  time.Duration // after a clone or comparison has failed; 1 s
	retryMost   time.Duration // twice as long each time, and at most this; 5 min
	cloneTime   time.Duration // a clone that takes longer than this, and than its rate explains, has failed; 10 min
	patience    time.Duration // how long a chunk that is short of replicas waits for its lease to end; lease
	parkedRetry time.Duration // how often chunks are looked at again for which there was no place; 30 s

	moves       int           // of replicas, to balance, under way in the cluster; 16; < 0: none
	movesEach   int           // under way from a chunkserver, and to one; 2
	moveRate    int64         // bytes a second that moves may take of a chunkserver; 0: as cloneRate
	band        float64       // two chunkservers whose use (of 1) differs by less are balanced; 0.05
	balanceEach time.Duration // how often the balance is looked at; heartbeat

	creations    int           // on a chunkserver within creationSpan, before others are preferred; 16
	creationSpan time.Duration // 10 s
	doomBatch    int           // orders to delete in one heartbeat's answer; 1,000
}

func (c fleetConfig) withDefaults() fleetConfig {
	c.chunkSize = cmp.Or(c.chunkSize, DefaultChunkSize)
	c.lease = cmp.Or(c.lease, DefaultLease)
	c.drift = cmp.Or(c.drift, c.lease/50)
	c.heartbeat = cmp.Or(c.heartbeat, 3*time.Second)
	c.dead = cmp.Or(c.dead, 10*c.heartbeat)
	c.grace = cmp.Or(c.grace, c.dead)
	c.covered = cmp.Or(c.covered, 9990)
	c.clones = cmp.Or(c.clones, 64)
	c.clonesEach = cmp.Or(c.clonesEach, 4)
	c.compares = cmp.Or(c.compares, 32)
	c.mendAfter = cmp.Or(c.mendAfter, 10*time.Minute)
	c.retryFirst = cmp.Or(c.retryFirst, time.Second)
	c.retryMost = cmp.Or(c.retryMost, 5*time.Minute)
	c.cloneTime = cmp.Or(c.cloneTime, 10*time.Minute)
	c.patience = cmp.Or(c.patience, c.lease)
	c.parkedRetry = cmp.Or(c.parkedRetry, 30*time.Second)
	c.moves = cmp.Or(c.moves, 16)
	c.movesEach = cmp.Or(c.movesEach, 2)
	c.moveRate = cmp.Or(c.moveRate, c.cloneRate)
	c.band = cmp.Or(c.band, 0.05)
	c.balanceEach = cmp.Or(c.balanceEach, c.heartbeat)
	c.creations = cmp.Or(c.creations, 16)
	c.creationSpan = cmp.Or(c.creationSpan, 10*time.Second)
	c.doomBatch = cmp.Or(c.doomBatch, 1000)
	return c
}

// fleetActions are what a fleet wants done. The shell does them in any order, side by
// side, and tells how those ended that have an end.
type fleetActions struct {
	dead    []serverID      // chunkservers that were given up for dead: for the log of events alone
	adopt   []adoptAction   // log that the chunk has this version (§4.5)
	revoke  []revokeAction  // end a lease; then revoked
	compare []compareAction // ask for digests; then compared
	clone   []cloneAction   // order a clone; if that fails, cloneFailed
	again   bool            // there is more to do right away: call tick again soon
}

// An adoptAction wants the version of a chunk raised to one that a replica has: it is
// higher than the log knows of. When it is applied the fleet is told by touched.
type adoptAction struct {
	handle  handle
	version version
}

// A revokeAction wants a lease ended.
type revokeAction struct {
	handle  handle
	version version
	primary location
	boot    uint64
}

// A compareAction wants the replicas of a chunk compared, some of which are suspect or
// could not be read by a client.
type compareAction struct {
	handle  handle
	version version
	holders []holder // the corrupt ones too, if there are no others that can be read
	mend    mending
}

// A holder is a replica as the fleet knows it.
type holder struct {
	location
	boot    uint64
	version version
	health  health // suspect too if a client could not read it
}

// A cloneAction wants a replica copied.
type cloneAction struct {
	handle  handle
	version version    // of the sources
	from    []location // the best first
	to      location
	boot    uint64
	rate    int64 // bytes a second; 0: no limit
}

// newFleet returns a fleet that only listens.
func newFleet(cfg fleetConfig, view chunkView) *fleet {
	return &fleet{
		cfg: cfg.withDefaults(), view: view,
		servers: make(map[serverID]*fleetServer), labels: make(map[string]int), slots: make([]*incarnation, 1),
		table: newReplicaTable(),
		busy:  make(map[handle]time.Duration), attempted: make(map[handle]version), adopting: make(map[handle]version),
		leases: make(map[handle]*leaseEntry), held: make(map[handle]time.Duration), clones: make(map[handle]*cloning),
		compares: make(map[handle]*comparing), orphaned: make(map[handle]time.Duration), failures: make(map[handle]repairFailure),
	}
}

// clock takes in what time it is. Time does not go back.
func (f *fleet) clock(now time.Time) {
	if f.zero.IsZero() {
		f.zero = now
	}
	f.now = max(f.now, now.Sub(f.zero))
}

// begin makes the fleet that of a leader. rows are the chunkservers that the durable side
// knows: those that are not forgotten are waited for.
func (f *fleet) begin(now time.Time, epoch uint64, rows []serverRow) {
	f.clock(now)
	f.follow()
	f.epoch, f.begun, f.quiet = epoch, f.now, false
	for _, row := range rows {
		f.setRow(row)
	}
	f.unheard = 0
	for _, s := range f.roster {
		s.waited = !s.row.forgotten
		if s.waited {
			f.unheard++
		}
	}
	f.checkSettled()
}

// follow ends the fleet's time as that of a leader: what it was about is forgotten,
// what it knows is kept.
func (f *fleet) follow() {
	f.epoch, f.quiet, f.acts = 0, false, fleetActions{}
	clear(f.busy)
	clear(f.attempted)
	clear(f.adopting)
	clear(f.leases)
	clear(f.held)
	clear(f.clones)
	clear(f.compares)
	clear(f.orphaned)
	clear(f.failures)
	f.timers = timerQueue{}
	for _, no := range f.table.order {
		p := f.table.pages[no]
		for i := range p.entries {
			p.entries[i].lane = laneNone
			p.entries[i].flags &^= entryWaits
		}
	}
	f.lanes, f.queued = [laneCount]repairLane{}, 0
	f.balance, f.parking = balanceState{}, parkingState{}
	for _, s := range f.roster {
		s.incoming, s.outgoing, s.clones = 0, 0, nil
		s.clonesIn, s.clonesOut, s.movesIn, s.movesOut, s.primaries = 0, 0, 0, 0, 0
		if s.here != nil {
			f.pardon(s.here)
		}
	}
}

// leads reports whether the fleet is that of a leader.
func (f *fleet) leads() bool { return f.epoch != 0 }

// settled reports whether every chunkserver that was known when the fleet began to lead
// has been heard since, or has had time enough. Before that nothing is taken for lost,
// stale or garbage.
func (f *fleet) settled() bool { return f.leads() && f.quiet }

// safeMode reports whether it is too early for leases: too few of the chunks (of which
// there are so many in all) have a replica that is known, and there may be more.
func (f *fleet) safeMode(chunks uint64) bool {
	if !f.leads() {
		return true
	}
	return !f.quiet && uint64(f.covered)*10000 < chunks*uint64(f.cfg.covered)
}

func (f *fleet) checkSettled() {
	if !f.leads() || f.quiet || (f.unheard > 0 && f.now-f.begun < f.cfg.grace && !f.planted.impatient) {
		return
	}
	f.quiet = true
	for _, s := range f.roster {
		s.waited = false
	}
	f.unheard = 0
	f.sweepAll()
}

// touched tells that a chunk was created or dropped, or that its version, its goal or
// its references have changed. It is cheap; what follows from it is found by the next tick.
func (f *fleet) touched(h handle) { f.fresh = append(f.fresh, h) }

// wanted tells that a client waits for a chunk to be repaired: it comes first (§4.3).
func (f *fleet) wanted(h handle) {
	if e := f.table.find(h); e != nil && e.flags&entryWaits == 0 {
		e.flags |= entryWaits
		delete(f.failures, h)
		f.assess(h)
	}
}

// review looks at all chunks again, in steps: the durable side was replaced as a whole.
func (f *fleet) review(now time.Time) {
	f.clock(now)
	f.sweepAll()
}

// Bounds of the work of one tick.
const (
	tickFresh  = 4 << 10  // touched chunks
	tickSweep  = 16 << 10 // entries of a sweep
	tickTimers = 4 << 10
)

// tick returns what is to be done now. It is called several times in a heartbeat, and
// again soon if it says so; its work is bounded.
func (f *fleet) tick(now time.Time) fleetActions {
	f.clock(now)
	if f.now-f.checked >= f.cfg.dead/16 {
		f.checked = f.now
		f.checkSilence()
		f.checkSettled()
	}
	n := min(len(f.fresh), tickFresh)
	for _, h := range f.fresh[:n] {
		f.assess(h)
	}
	if f.fresh = f.fresh[n:]; len(f.fresh) == 0 {
		f.fresh = nil
	}
	f.sweepStep()
	if f.leads() {
		f.runTimers()
		f.unpark()
		f.startRepairs()
		f.startMoves()
	}
	acts := f.acts
	f.acts = fleetActions{}
	acts.again = acts.again || len(f.fresh) > 0 || f.sweep.left > 0
	return acts
}

// A sweepState is how far a look at all chunks has come.
type sweepState struct {
	at   uint64 // the page that was looked at last
	left int    // pages still to be looked at
}

// sweepAll begins a look at all chunks.
func (f *fleet) sweepAll() { f.sweep.left = len(f.table.order) + 1 }

// sweepStep looks at some chunks more: it removes replicas that the dead had, and
// assesses.
func (f *fleet) sweepStep() {
	for seen := 0; f.sweep.left > 0 && seen < tickSweep; seen += replicaPageSize {
		no, ok := f.table.next(f.sweep.at)
		if !ok {
			f.sweep.left = 0
			return
		}
		f.sweep.at = no
		f.sweep.left--
		p := f.table.pages[no]
		for i := range p.entries {
			if p.entries[i].n == 0 {
				continue
			}
			h := handle(no<<replicaPageShift | uint64(i))
			f.bury(h, &p.entries[i])
			f.assess(h)
		}
	}
}

// bury removes the replicas of a chunk that dead incarnations had.
func (f *fleet) bury(h handle, e *chunkEntry) {
	for i := int(e.n) - 1; i >= 0; i-- {
		if f.slots[f.table.words(h, e)[i].slot()].state == incarnationDead {
			f.removeReplica(h, e, i)
		}
	}
}

// fleetStats are figures for the status page.
type fleetStats struct {
	alive, known     int // chunkservers
	chunks, replicas int // with a replica that is known; replicas of all sorts
	covered          int // chunks that exist and have a current replica
	short            int // of these, with fewer than they should have
	queued, parked   int // chunks to be repaired; those for which there is no place now
	clones, moves    int // under way; moves are among the clones
	compares         int
	leases           int
	doomed           int // replicas to be deleted
	unheard          int // chunkservers that a new master waits for
	sweeping         bool
}

// stats counts.
func (f *fleet) stats() fleetStats {
	st := fleetStats{
		known: len(f.roster), chunks: f.table.chunks, replicas: f.table.count, covered: f.covered, short: f.short,
		queued: f.queued, parked: f.lanes[laneParked].live, clones: len(f.clones), moves: f.balance.moving,
		compares: len(f.compares), leases: len(f.leases), unheard: f.unheard, sweeping: f.sweep.left > 0,
	}
	for _, s := range f.roster {
		if s.here != nil {
			st.alive++
			st.doomed += s.here.doomed
		}
	}
	return st
}

// byID compares chunkservers by their ids.
func (s *fleetServer) byID(o *fleetServer) int { return cmp.Compare(s.row.id, o.row.id) }

// insertServer keeps the roster in order.
func (f *fleet) insertServer(s *fleetServer) {
	i, _ := slices.BinarySearchFunc(f.roster, s, (*fleetServer).byID)
	f.roster = slices.Insert(f.roster, i, s)
	f.servers[s.row.id] = s
}
