package vmft

import (
	"fmt"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// simKind says what a message is.
type simKind uint8

const (
	simCall      simKind = iota + 1 // a client's call
	simRead                         // a client's read
	simReply                        // the answer to either
	simElsewhere                    // no answer to be had here
	simClaim                        // to the arbiter: write record, or, if that is zero, tell the newest
	simChain                        // the arbiter's answer
	simJoin                         // may I be your backup?
	simImage                        // yes: this is the machine
	simAttach                       // I have everything up to position: go on from there
	simEntries                      // entries from position+1 on
	simAck                          // I have everything up to position
	simLost                         // I do not follow, or do not know, your session
	simBeat                         // I live
	simTold                         // this is the newest record
	simInput                        // an event for a processor
	simTaken                        // it is safe
	simOutput                       // one has left a processor
	simDone                         // it is done
)

var simKindNames = [...]string{"", "call", "read", "reply", "elsewhere", "claim", "chain", "join", "image", "attach", "entries", "ack", "lost", "beat", "told", "input", "taken", "output", "done"}

type simMessage struct {
	kind     simKind
	id       uint64
	client   int
	seq      uint64
	result   simResult
	record   Record
	member   Member
	session  ID
	position uint64
	round    uint64
	entries  []simEntry
	image    simMachine
	free     freePart // of groups that run a processor
}

func (m *simMessage) String() string {
	return fmt.Sprintf("%s id=%x c%d/%d %v %v s=%x pos=%d round=%d n=%d %+v", simKindNames[m.kind], m.id, m.client, m.seq, m.record, m.member, uint64(m.session), m.position, m.round, len(m.entries), m.result)
}

// simItem is what is in a journal: an image, which is first, or an entry.
type simItem struct {
	image *simMachine
	entry simEntry
}

// simDisk is what survives a node's crash, with its sim.Logs.
type simDisk struct {
	current ID          // the journal that counts; switched in one step
	mixed   *simMachine // by one of the bugs: an image that lies on the entries of another life
}

// simNode is a process of the group.
type simNode struct {
	n       *sim.Node[*simMessage]
	model   *simModel
	arbiter int
	peers   []int
	durable bool
	bugs    bugs
	disk    *simDisk

	self    Member
	boot    time.Time
	machine simMachine
	base    uint64     // the position before entries[0]
	entries []simEntry // the log since
	journal *sim.Log[simItem]
	logBase uint64 // the position of the image that the journal begins with
	clock   clock
	fresh   bool // it has never had any state

	p       *primary
	b       *backup
	pulse   pulse
	joining ID     // the session that an image is awaited for; 0: none
	pending ID     // the session of an image that is being made durable
	staged  uint64 // the position of that image
	alone   bool   // it has handed over, and has heard nothing of the new primary yet
	grace   int    // ticks until a restarted process contests
	tries   int
	ticks   int
	asked   uint64 // id of the request to the arbiter that is out; 0: none
	askedAt time.Time
	outputs gate[*simMessage]
	reads   []simRead1
	syncs   map[uint64]uint64 // key → position
	keys    uint64
	next    uint64    // position up to which the follower has been sent entries
	ackedAt time.Time // when the follower acknowledged something new, or was sent all of it again
}

type simRead1 struct {
	reply           *simMessage
	position, round uint64
}

const (
	simTick    = 10 * time.Millisecond
	simTimeout = 80 * time.Millisecond
	tickKey    = 1
)

func bootSimNode(n *sim.Node[*simMessage], disk *simDisk, model *simModel, arbiter int, peers []int, durable bool, b bugs) *simNode {
	s := &simNode{n: n, model: model, arbiter: arbiter, peers: peers, durable: durable, bugs: b, disk: disk, keys: tickKey, syncs: make(map[uint64]uint64)}
	s.boot = n.Now()
	s.pulse = pulse{timeout: simTimeout, tick: simTick}
	s.clock.step = time.Second
	s.fresh = true
	s.restart()
	n.After(0, tickKey)
	return s
}

// restart begins anew with what is on the disk.
func (s *simNode) restart() {
	s.reborn()
	s.machine, s.entries, s.base, s.logBase = simMachine{}, nil, 0, 0
	s.journal, s.tries = nil, 0
	clear(s.syncs)
	if s.durable && s.fresh && s.disk.current == 0 {
		s.self.Log = ID(s.id())
	}
	s.recover()
	s.b = newRestarted(s.self, s.fresh, s.machine.position)
	s.b.bugs = s.bugs
	s.grace = 20
}

// reborn gives the process another incarnation: it forgets who it was.
func (s *simNode) reborn() {
	s.self = Member{Addr: s.n.Name(), Incarnation: ID(s.n.Uint64N(1<<62) + 1)}
	if s.bugs.trustRestart && !s.durable {
		s.self.Incarnation = ID(s.n.ID() + 1)
	}
	s.p, s.b = nil, nil
	s.joining, s.pending, s.asked, s.alone = 0, 0, 0, false
	s.outputs, s.reads = gate[*simMessage]{}, nil
	s.pulse.heard()
}

func (s *simNode) open(id ID) *sim.Log[simItem] { return sim.OpenLog[simItem](s.n, id.String()) }

// recover reads the journal that counts.
func (s *simNode) recover() {
	if !s.durable || s.disk.current == 0 {
		return
	}
	s.journal = s.open(s.disk.current)
	s.self.Log = s.disk.current
	for _, item := range s.journal.Records() {
		if item.image != nil {
			s.machine = *item.image
			s.base, s.logBase = s.machine.position, s.machine.position
			continue
		}
		s.machine.apply(item.entry)
		s.entries = append(s.entries, item.entry)
	}
	if s.bugs.mixedClone && s.disk.mixed != nil { // what was in the old log before the image is still there
		s.machine = *s.disk.mixed
		s.base, s.entries = s.machine.position, nil
		for i, item := range s.journal.Records() {
			if item.image == nil && s.logBase+uint64(i) > s.machine.position {
				s.machine.apply(item.entry)
				s.entries = append(s.entries, item.entry)
			}
		}
	}
	s.fresh = false
}

// store adds an entry to the log, and to the journal.
func (s *simNode) store(e simEntry) {
	s.entries = append(s.entries, e)
	if s.durable {
		s.journal.Append(simItem{entry: e})
	}
}

// sync makes what has been stored durable.
func (s *simNode) sync() {
	if !s.durable {
		return
	}
	s.keys++
	s.syncs[s.keys] = s.base + uint64(len(s.entries))
	s.journal.Sync(s.keys)
}

func (s *simNode) id() uint64 { return s.n.Uint64N(1<<62) + 1 }

func (s *simNode) Timer(key uint64) {
	if key == tickKey {
		s.tick()
		s.n.After(simTick, tickKey)
	} else if position, ok := s.syncs[key]; ok {
		delete(s.syncs, key)
		switch {
		case s.pending != 0 && position == s.staged:
			s.installed()
		case s.p != nil:
			s.p.sync(position)
		case s.b != nil:
			s.b.sync(position)
		}
	}
	s.pump()
	if s.n.Tracing() {
		s.n.Logf("%v", s)
	}
}

// tick is what a node does again and again.
func (s *simNode) tick() {
	s.pulse.gap = 0 // the hastier it is, the more happens
	silent := s.pulse.look(s.n.Now())
	switch {
	case s.p != nil:
		if silent && !s.p.peer.member.IsZero() {
			s.p.lose()
			if s.p.peer.member.IsZero() {
				s.pulse.heard()
			}
		}
		if s.n.Uint64N(400) == 0 && s.p.waits() && s.p.peer.acked == s.p.appended && s.p.handOver(s.p.peer.member) {
			s.n.Count("handed over", 1)
		}
		if s.p.admit(s.p.peer.session) {
			s.n.Count("admitted", 1)
		}
		if s.n.Now().Sub(s.ackedAt) > 4*simTick {
			s.next, s.ackedAt = s.p.peer.acked, s.n.Now() // once more, from where it is
		}
		s.ticks++
		s.feed(s.ticks%2 == 0)
	case s.b != nil && !s.b.primary.IsZero():
		if silent {
			s.b.lose()
		}
		if s.b.suspect && !s.b.sealed && !s.b.joined() && s.tries > 30 {
			s.leave("gives up as a candidate")
			return
		}
		if s.b.suspect {
			s.tries++
		}
		if s.ticks++; s.ticks%2 == 0 {
			s.beat()
		}
		if s.alone && s.ticks%2 == 0 && s.b.sign() != 0 {
			s.attach()
		}
	case s.b != nil:
		if s.grace--; s.grace <= 0 {
			s.b.lose()
		}
		s.search()
	default:
		s.search()
	}
}

// search looks for a primary to follow.
func (s *simNode) search() {
	if s.joining != 0 && s.tries < 20 {
		s.tries++
		return
	}
	if s.pending != 0 || s.b != nil && s.b.claim.Epoch != 0 {
		return
	}
	s.tries = 0
	s.joining = ID(s.id())
	for _, peer := range s.peers {
		s.n.Send(peer, &simMessage{kind: simJoin, session: s.joining, member: s.self})
	}
}

// beat tells the primary that it has a follower, for as long as it has.
func (s *simNode) beat() {
	for _, peer := range s.peers {
		if session := s.b.sign(); session != 0 && simName(peer) == s.b.primary.Addr {
			s.n.Send(peer, &simMessage{kind: simBeat, member: s.self, session: session})
		}
	}
}

// pump does what the cores say.
func (s *simNode) pump() {
	if s.p != nil {
		s.lead()
	}
	if s.b != nil {
		s.follow()
	}
}

func (s *simNode) lead() {
	p := s.p
	if err := p.check(); err != nil {
		s.n.Failf("%v", err)
	}
	for _, reply := range s.outputs.release(p.release(), nil) {
		s.model.leaves(p.record.Epoch, s.self.Incarnation)
		s.n.Send(int(reply.position), reply)
	}
	kept := s.reads[:0]
	for _, r := range s.reads {
		if r.round <= p.confirmed && r.position <= p.released {
			s.n.Send(int(r.reply.position), r.reply)
			continue
		}
		kept = append(kept, r)
	}
	s.reads = kept
	if p.passed.Epoch != 0 {
		s.stay(p.passed)
		return
	}
	if p.fenced {
		s.n.Count("fenced", 1)
		s.leave("is fenced")
		return
	}
	s.chain(p.step())
	s.feed(false)
}

func (s *simNode) follow() {
	b := s.b
	if err := b.check(); err != nil {
		s.n.Failf("%v", err)
	}
	if position, round, news := b.ack(); news {
		s.ackTo(position, round)
	}
	for s.machine.position < s.base+uint64(len(s.entries)) { // it executes a little later than it acknowledges
		s.machine.apply(s.entries[s.machine.position-s.base])
		b.apply(s.machine.position)
	}
	switch {
	case b.ready():
		s.goLive(b.record)
	case b.out:
		s.leave("is out")
	default:
		s.chain(b.step())
	}
}

func (s *simNode) ackTo(position, round uint64) {
	for _, peer := range s.peers {
		s.n.Send(peer, &simMessage{kind: simAck, member: s.self, session: s.b.session, position: position, round: round})
	}
}

// chain asks the arbiter for what a core wants, one thing at a time.
func (s *simNode) chain(step chainStep) {
	switch {
	case step.none():
		return
	case s.asked != 0 && s.n.Now().Sub(s.askedAt) < 6*simTick:
		return
	case s.asked != 0 && s.p != nil:
		s.p.unclear()
		step = s.p.step()
	}
	s.asked, s.askedAt = s.id(), s.n.Now()
	s.n.Send(s.arbiter, &simMessage{kind: simClaim, id: s.asked, record: step.claim})
}

// stay makes the node, which has handed over by a record, the backup of that.
func (s *simNode) stay(r Record) {
	s.n.Count("stayed", 1)
	s.p, s.asked, s.joining = nil, 0, 0
	s.outputs, s.reads = gate[*simMessage]{}, nil
	clear(s.syncs)
	s.b = newMember(s.self, r, s.machine.position)
	s.b.bugs = s.bugs
	s.b.session = ID(s.id())
	s.tries, s.alone = 0, true
	s.pulse.heard()
	s.attach()
}

// goLive makes the node the primary of a record that it has won.
func (s *simNode) goLive(r Record) {
	if r.Primary.Incarnation != s.self.Incarnation {
		s.n.Failf("goes live as %v in %v", s.self, r)
		return
	}
	if s.durable && s.journal == nil { // the first of all
		s.journal = s.open(s.self.Log)
		s.disk.current = s.self.Log
	}
	s.n.Count("live", 1)
	s.b, s.joining, s.asked, s.alone = nil, 0, 0, false
	s.fresh = false
	s.pulse.heard()
	s.p = newPrimary(s.self, r, s.machine.position)
	s.p.bugs = s.bugs
	s.p.synced = s.machine.position
	if s.durable { // what it has applied and not synced is nobody's promise yet
		s.p.synced = min(s.p.synced, s.logBase+uint64(max(0, s.journal.Safe()-1)))
		if s.logBase == 0 {
			s.p.synced = min(s.machine.position, uint64(s.journal.Safe()))
		}
		s.p.released = min(s.p.released, s.p.synced)
	}
	s.outputs = gate[*simMessage]{}
	s.clock.begin(s.machine.at, s.n.Now().Sub(s.boot))
	if s.bugs.ownClock {
		s.clock.last = s.n.Now().UnixNano()
	}
	s.propose(simEntry{client: -1})
	s.sync()
	s.pump()
}

func (s *simNode) propose(e simEntry) simResult {
	e.at = s.clock.advance(s.n.Now().Sub(s.boot))
	if s.clock.last == 0 {
		s.clock.last = 1
	}
	s.store(e)
	result := s.machine.apply(e)
	s.p.append(s.machine.position)
	return result
}

// feed sends the follower what it does not have.
func (s *simNode) feed(beat bool) {
	p := s.p
	if p == nil || p.peer.member.IsZero() {
		return
	}
	end := s.base + uint64(len(s.entries))
	if s.next < s.base {
		s.next = p.peer.acked
	}
	if s.next < end || p.asked > p.sent {
		from := min(max(s.next, p.peer.acked), end)
		s.sendPeer(&simMessage{kind: simEntries, member: s.self, session: p.peer.session, position: from, round: p.send(), entries: s.entries[from-s.base : len(s.entries) : len(s.entries)], record: p.record})
		s.next = end
	} else if beat {
		s.sendPeer(&simMessage{kind: simEntries, member: s.self, session: p.peer.session, position: end, round: p.send(), record: p.record})
	}
}

func (s *simNode) sendPeer(m *simMessage) {
	for _, peer := range s.peers {
		if s.n.Name() != "" && simName(peer) == s.p.peer.member.Addr {
			s.n.Send(peer, m)
		}
	}
}

func simName(id int) string { return fmt.Sprintf("node%d", id) }

// leave ends what the node was, as if its process had been started again.
func (s *simNode) leave(why string) {
	if s.n.Tracing() {
		s.n.Logf("%v %s", s.self, why)
	}
	s.restart()
}

// String describes the node in a trace.
func (s *simNode) String() string {
	if s.p != nil {
		return fmt.Sprintf("primary %+v", *s.p)
	}
	if s.b != nil {
		return fmt.Sprintf("backup %+v", *s.b)
	}
	return "spare"
}
