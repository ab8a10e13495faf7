package vmft

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// A freePart is what a message says of a processor.
type freePart struct {
	entries []entry
	image   []byte
	at      int64
	output  Output
	event   []byte
}

// freeNode is a process of a group that runs a processor: what the shells do for the cores of
// free-running machines, as simply as it can be said. Its log is in memory.
type freeNode struct {
	n       *sim.Node[*simMessage]
	model   *freeModel
	arbiter int
	world   int
	peers   []int
	bugs    bugs

	self    Member
	boot    time.Time
	host    *host
	base    uint64 // the position before entries[0]
	entries []entry
	clock   clock
	fresh   bool // it has never had any state

	p       *primary
	b       *backup
	pulse   pulse
	joining ID   // the session that an image is awaited for; 0: none
	alone   bool // it has handed over, and has heard nothing of the new primary yet
	grace   int  // ticks until a process that follows nobody contests
	tries   int
	ticks   int
	asked   uint64 // id of the request to the arbiter that is out; 0: none
	askedAt time.Time
	next    uint64    // position up to which the follower has been sent entries
	ackedAt time.Time // when the follower acknowledged something new, or was sent all of it again

	pilot *pilot
	live  time.Time         // since when
	acks  gate[*simMessage] // of inputs, to their sender
	held  gate[Output]
	out   []Output // that have left, and are not done

	transfer *simTransfer // its state is sent; nil: it is replayed
}

const (
	freeTurnKey = 2
	freeTurn    = 5 * time.Millisecond
)

func bootFreeNode(n *sim.Node[*simMessage], model *freeModel, arbiter, world int, peers []int, b bugs, transfer bool) *freeNode {
	s := &freeNode{n: n, model: model, arbiter: arbiter, world: world, peers: peers, bugs: b, boot: n.Now(), fresh: true}
	s.pulse = pulse{timeout: simTimeout, tick: simTick}
	s.clock.step = time.Second
	if transfer {
		s.transfer = &simTransfer{}
	}
	s.restart()
	n.After(0, tickKey)
	n.After(0, freeTurnKey)
	return s
}

func (s *freeNode) id() uint64 { return s.n.Uint64N(1<<62) + 1 }

// restart begins anew, with nothing.
func (s *freeNode) restart() {
	s.self = Member{Addr: s.n.Name(), Incarnation: ID(s.id())}
	r := newRunner(toy.New(freeProgram))
	if s.transfer != nil {
		r = s.transfer.runner(s.n)
	}
	r.bugs = s.bugs
	s.host = &host{machine: r, sessions: r, free: r}
	s.entries, s.base, s.tries, s.joining, s.asked, s.alone = nil, 0, 0, 0, 0, false
	s.p, s.acks, s.held, s.out = nil, gate[*simMessage]{}, gate[Output]{}, nil
	s.pulse.heard()
	s.b = newRestarted(s.self, s.fresh, 0)
	s.b.bugs = s.bugs
	s.grace = 20
}

func (s *freeNode) Timer(key uint64) {
	switch key {
	case tickKey:
		s.tick()
		s.n.After(simTick, tickKey)
	case freeTurnKey:
		if s.serves() {
			s.turn()
		}
		s.n.After(freeTurn, freeTurnKey)
	}
	s.pump()
}

// turn lets the processor do what the pilot says.
func (s *freeNode) turn() {
	r := s.host.free
	switch m := s.pilot.next(r.p, s.n.Now().Sub(s.live)); {
	case m.wait != 0:
	case m.kind != 0:
		s.propose(m.kind, m.event)
		if m.kind == kindPreempt {
			s.n.Count("preempted", 1)
		}
	default:
		from := r.p.Position()
		to := r.p.Run(from + 1 + s.n.Uint64N(400))
		s.pilot.took(to-from, freeTurn)
		s.propose(kindProgress, nil)
	}
	s.send()
	if s.n.Uint64N(20) == 0 {
		s.stamp()
		s.propose(kindCheck, binary.AppendUvarint(nil, s.id()))
	}
}

// propose makes an entry of where the processor stands and applies it.
func (s *freeNode) propose(kind byte, data []byte) {
	if s.transfer != nil && kind != kindCheck {
		s.tell(kind, data)
		return
	}
	s.log(entry{kind: kind, data: append(s.host.free.appendCount(nil), data...)})
}

func (s *freeNode) log(e entry) (refused []byte) {
	e.at = s.clock.advance(s.n.Now().Sub(s.boot))
	s.entries = append(s.entries, e)
	refused = s.apply(e)
	s.p.append(s.host.position)
	if s.transfer != nil {
		return refused
	}
	for _, o := range s.host.free.take() {
		if !s.held.push(s.host.position, o) {
			s.n.Failf("output %d was released before it was there", o.Number)
		}
	}
	return refused
}

// apply executes an entry, and compares the state where that is asked for.
func (s *freeNode) apply(e entry) []byte {
	out := s.host.apply(e, nil)
	if err := s.host.fault(); err != nil {
		s.n.Failf("%v", err)
	} else if err := s.host.free.check(); err != nil && !s.bugs.runPast {
		s.n.Failf("%v", err)
	}
	if e.kind == kindCheck && s.host.fault() == nil {
		s.model.compare(string(e.data), s.host.free.sum())
	}
	return out
}

// tick is what a node does again and again.
func (s *freeNode) tick() {
	silent := s.pulse.look(s.n.Now())
	s.ticks++
	switch {
	case s.p != nil:
		if silent && !s.p.peer.member.IsZero() {
			if s.p.lose(); s.p.peer.member.IsZero() {
				s.pulse.heard()
			}
		}
		if s.p.waits() && s.n.Uint64N(300) == 0 && s.stamped() && s.p.peer.acked == s.p.appended && s.p.handOver(s.p.peer.member) {
			s.n.Count("handed over", 1)
		}
		s.p.admit(s.p.peer.session)
		if s.n.Now().Sub(s.ackedAt) > 4*simTick {
			s.next, s.ackedAt = s.p.peer.acked, s.n.Now() // once more, from where it is
		}
		s.feed(s.ticks%2 == 0)
		if s.ticks%8 == 0 {
			for _, o := range s.out { // the network may have lost them
				s.n.Send(s.world, &simMessage{kind: simOutput, free: freePart{output: o}})
			}
		}
	case !s.b.primary.IsZero():
		if silent {
			s.b.lose()
		}
		if s.b.suspect {
			s.tries++
		}
		if s.b.suspect && !s.b.sealed && !s.b.joined() && s.tries > 30 {
			s.restart() // it gives up as a candidate
		} else if s.ticks%2 == 0 && s.b.sign() != 0 {
			s.toPrimary(&simMessage{kind: simBeat, member: s.self, session: s.b.sign()})
			if s.alone {
				s.attach()
			}
		}
	default:
		if s.grace--; s.grace <= 0 {
			s.b.lose()
		}
		s.search()
	}
}

func (s *freeNode) toPrimary(m *simMessage) { s.sendTo(s.b.primary.Addr, m) }

func (s *freeNode) sendTo(addr string, m *simMessage) {
	for _, peer := range s.peers {
		if simName(peer) == addr {
			s.n.Send(peer, m)
		}
	}
}

// search looks for a primary to follow.
func (s *freeNode) search() {
	if s.tries++; s.joining != 0 && s.tries < 20 || s.b.claim.Epoch != 0 {
		return
	}
	s.tries, s.joining = 0, ID(s.id())
	for _, peer := range s.peers {
		s.n.Send(peer, &simMessage{kind: simJoin, session: s.joining, member: s.self})
	}
}

// pump does what the cores say.
func (s *freeNode) pump() {
	if s.p != nil {
		s.lead()
	} else {
		s.follow()
	}
}

func (s *freeNode) lead() {
	p := s.p
	if err := p.check(); err != nil {
		s.n.Failf("%v", err)
	}
	position := p.release()
	for _, o := range s.held.release(position, nil) {
		s.model.leaves(p.record.Epoch, s.self.Incarnation)
		s.model.issue(s, o)
		s.out = append(s.out, o)
		s.n.Send(s.world, &simMessage{kind: simOutput, free: freePart{output: o}})
	}
	for _, m := range s.acks.release(position, nil) {
		s.n.Send(s.world, m)
	}
	if p.passed.Epoch != 0 {
		s.stay(p.passed)
		return
	}
	if p.fenced {
		s.n.Count("fenced", 1)
		s.restart()
		return
	}
	s.chain(p.step())
	s.feed(false)
}

func (s *freeNode) follow() {
	b := s.b
	if err := b.check(); err != nil {
		s.n.Failf("%v", err)
	}
	if position, round, news := b.ack(); news {
		s.toPrimary(&simMessage{kind: simAck, member: s.self, session: b.session, position: position, round: round})
	}
	// It executes later than it acknowledges; once it is live, all that it has.
	for most := s.n.Uint64N(s.entriesATime()); s.host.position < s.base+uint64(len(s.entries)) && (most > 0 || b.live); most-- {
		s.apply(s.entries[s.host.position-s.base])
		b.apply(s.host.position)
	}
	switch {
	case b.ready():
		s.goLive(b.record)
	case b.out:
		s.restart()
	default:
		s.chain(b.step())
	}
}

// chain asks the arbiter for what a core wants, one thing at a time.
func (s *freeNode) chain(step chainStep) {
	switch {
	case step.none() || s.asked != 0 && s.n.Now().Sub(s.askedAt) < 6*simTick:
		return
	case s.asked != 0 && s.p != nil:
		s.p.unclear()
		step = s.p.step()
	}
	s.asked, s.askedAt = s.id(), s.n.Now()
	s.n.Send(s.arbiter, &simMessage{kind: simClaim, id: s.asked, record: step.claim})
}

// goLive makes the node the primary of a record that it has won: what is not known to be
// done is done again, when it may leave.
func (s *freeNode) goLive(r Record) {
	s.n.Count("live", 1)
	s.b, s.joining, s.asked, s.fresh, s.alone = nil, 0, 0, false, false
	s.pulse.heard()
	s.p = newPrimary(s.self, r, s.host.position)
	s.p.bugs = s.bugs
	free := s.host.free
	if free.transfer != nil && free.transfer.begun {
		s.n.Count("torn", 1)
	}
	pending := free.pending()
	s.n.Count("done again", uint64(len(pending)))
	for _, o := range pending {
		s.held.push(s.host.position, o)
	}
	free.become(true)
	s.model.takeOver(s)
	s.live = s.n.Now()
	s.pilot = newPilot(free.p, s.clock.step)
	s.clock.begin(s.host.at, s.n.Now().Sub(s.boot))
	s.log(entry{kind: kindEpoch})
	if s.transfer != nil {
		*s.transfer = simTransfer{last: s.host.position, cadence: cadence{every: 2 * freeTurn}}
	}
	s.pump()
}

// feed sends the follower what it does not have.
func (s *freeNode) feed(beat bool) {
	p := s.p
	if p == nil || p.peer.member.IsZero() {
		return
	}
	end := s.base + uint64(len(s.entries))
	s.next = max(s.next, p.peer.acked)
	m := &simMessage{kind: simEntries, member: s.self, session: p.peer.session, position: end, record: p.record}
	if s.next < end || p.asked > p.sent {
		m.position = min(s.next, end)
		if s.transfer != nil { // a few at a time: deltas come in parts
			end = min(end, m.position+1+s.n.Uint64N(6))
		}
		m.free.entries = s.entries[m.position-s.base : end-s.base : end-s.base]
	} else if !beat {
		return
	}
	m.round = p.send()
	s.next = end
	s.sendTo(p.peer.member.Addr, m)
}

// Receive is what a node does with a message.
func (s *freeNode) Receive(from int, m *simMessage) {
	switch m.kind {
	case simInput:
		s.input(from, m)
	case simDone:
		i := slices.IndexFunc(s.out, func(o Output) bool { return o.Number == m.position })
		if s.serves() && i >= 0 {
			s.out = slices.Delete(s.out, i, i+1)
			s.propose(kindCompletion, appendCompletion(nil, m.free.event, []uint64{m.position}))
		}
	case simChain:
		s.heardChain(m)
	case simBeat:
		s.heardBeat(m)
	case simJoin:
		s.join(from, m)
	case simImage:
		s.takeImage(m)
	case simAttach:
		if s.p != nil && s.p.attach(m.member, m.session, m.position) {
			s.next = m.position
			s.pulse.heard()
			s.feed(true)
		} else {
			s.n.Send(from, &simMessage{kind: simLost, session: m.session})
		}
	case simEntries:
		s.takeEntries(from, m)
	case simAck:
		if s.p != nil && s.p.ack(m.session, m.position, m.round) {
			if m.position >= s.next {
				s.ackedAt = s.n.Now()
			}
			s.pulse.heard()
			s.p.heard()
		}
	case simLost:
		if s.b != nil && m.session == s.b.session && !s.b.joined() && !s.b.sealed && s.b.claim.Epoch == 0 && !s.b.primary.IsZero() {
			s.restart()
		}
	}
	s.pump()
}

// serves reports whether the node is the primary, and does not hand over.
func (s *freeNode) serves() bool { return s.p != nil && !s.p.fenced && s.p.heir.IsZero() }

// input gives the processor an event, where it stands; the sender is told when it is safe.
func (s *freeNode) input(from int, m *simMessage) {
	if !s.serves() {
		s.n.Send(from, &simMessage{kind: simElsewhere, id: m.id})
		return
	}
	s.model.logged[m.id]++
	if s.transfer != nil {
		s.takeInput(from, m)
		return
	}
	refused := s.log(entry{kind: kindInput, data: append(s.host.free.appendCount(nil), m.free.event...)})
	if len(refused) > 0 {
		return
	}
	ack := &simMessage{kind: simTaken, id: m.id}
	if s.bugs.ackInputEarly || !s.acks.push(s.host.position, ack) {
		s.n.Send(from, ack)
	}
}

func (s *freeNode) heardBeat(m *simMessage) {
	switch {
	case s.p == nil:
	case m.session == s.p.peer.session && m.session != 0:
		s.pulse.heard()
		s.p.heard()
	case m.member.Addr == s.p.peer.member.Addr && m.member.Incarnation != s.p.peer.member.Incarnation:
		s.p.lose() // another incarnation: the one we knew has gone
	}
}

func (s *freeNode) heardChain(m *simMessage) {
	if m.id != s.asked {
		return
	}
	s.asked = 0
	switch {
	case s.p != nil && s.p.claim.Epoch != 0:
		if m.record.Epoch == s.p.claim.Epoch {
			s.p.claimed(m.record)
		}
	case s.p != nil:
		s.p.saw(m.record)
	case s.b.claim.Epoch != 0:
		s.b.claimed(m.record)
	default:
		s.b.saw(m.record)
	}
}

// join sends whoever wants to be the backup an image of now.
func (s *freeNode) join(from int, m *simMessage) {
	switch p := s.p; {
	case p == nil:
	case !p.fenced && !p.sealed && p.record.Backup.IsZero() && p.claim.Epoch == 0 && p.peer.member.IsZero():
		var b bytes.Buffer
		s.stamp()
		image, err := s.host.sessions.Freeze()
		if err == nil {
			_, err = image.WriteTo(&b)
		}
		if err != nil {
			s.n.Failf("%v", err)
		}
		s.n.Send(from, &simMessage{kind: simImage, session: m.session, member: s.self, record: p.record, position: s.host.position, free: freePart{image: b.Bytes(), at: s.host.at}})
	case p.record.Backup.Addr == m.member.Addr && p.record.Backup.Incarnation != m.member.Incarnation:
		p.lose() // the backup was started again
	}
}

// takeImage begins a life as a clone, if an image was asked for.
func (s *freeNode) takeImage(m *simMessage) {
	if s.p != nil || m.session != s.joining || s.joining == 0 ||
		s.b.claim.Epoch != 0 || s.b.live || m.record.Epoch < s.b.record.Epoch || m.record.entitles(s.self) {
		return
	}
	s.restart()
	s.fresh = false
	if err := s.host.sessions.Restore(bytes.NewReader(m.free.image)); err != nil {
		s.n.Failf("%v", err)
		return
	}
	s.host.position, s.host.at, s.base = m.position, m.free.at, m.position
	s.b = newCandidate(s.self, m.member, m.record, m.session, m.position)
	s.b.bugs = s.bugs
	s.n.Count("clones", 1)
	s.attach()
}

// attach asks the primary for the log, from where the node is on.
func (s *freeNode) attach() {
	s.toPrimary(&simMessage{kind: simAttach, member: s.self, session: s.b.session, position: s.b.received})
}

// stay makes the node, which has handed over by a record, the backup of that.
func (s *freeNode) stay(r Record) {
	s.n.Count("stayed", 1)
	s.p, s.asked, s.joining = nil, 0, 0
	s.acks, s.held, s.out = gate[*simMessage]{}, gate[Output]{}, nil
	s.host.free.become(false)
	s.b = newMember(s.self, r, s.host.position)
	s.b.bugs = s.bugs
	s.b.session = ID(s.id())
	s.tries, s.alone = 0, true
	s.pulse.heard()
	s.attach()
}

// takeEntries takes the log on.
func (s *freeNode) takeEntries(from int, m *simMessage) {
	b := s.b
	if b == nil || m.session != b.session || b.session == 0 || m.member.Incarnation != b.primary.Incarnation {
		if b == nil || b.primary.IsZero() {
			s.n.Send(from, &simMessage{kind: simBeat, member: s.self}) // whom it looks for is gone
		}
		return
	}
	s.pulse.heard()
	b.heard()
	s.tries, s.alone = 0, false
	if !b.told(m.record) || m.position > b.received {
		return // a gap: it will be sent again
	}
	entries := m.free.entries[min(uint64(len(m.free.entries)), b.received-m.position):]
	if b.receive(m.session, b.received+uint64(len(entries)), m.round) {
		s.entries = append(s.entries, entries...)
	}
	if position, round, news := b.ack(); news || len(m.free.entries) > 0 && b.sign() != 0 {
		s.toPrimary(&simMessage{kind: simAck, member: s.self, session: b.session, position: position, round: round})
	}
}
