package vmft

import "fmt"

// A primary decides, on the side of the primary, what may leave, and what is claimed. It
// deals in positions alone: entries and outputs are the shell's.
//
// States of an epoch, and the transitions that are legal:
//
//	paired ── suspect ── sealed ─► alone       a claim of the next epoch was won
//	alone ── gated ─► paired                   likewise
//	paired, alone ── sealed ─► fenced, passed  it has handed over, and is the new one's backup
//	any ─► fenced                              another's record follows
//
// Invariants, checked by check: what was released is in the journal, if there is one; what
// was released while there was a backup, or a candidate on which outputs are gated, was
// acknowledged by it; nothing is released while sealed; a claim follows the record; the log
// ends where it is handed over.
type primary struct {
	self   Member
	record Record // the newest link that this primary has won

	suspect bool   // the backup gives no sign of life
	sealed  bool   // nothing leaves in this epoch any more
	gated   bool   // alone, and outputs wait for the candidate already
	fenced  bool   // another goes on; all is over
	heir    Member // whom the machine is being handed over to
	passed  Record // by which it was; zero: it was not
	claim   Record // the link that is being written; zero: none

	appended uint64 // the last position of the log
	synced   uint64 // the last one in the own journal
	released uint64 // the last one whose output may leave

	peer peerState // who follows the log now

	asked     uint64 // rounds of confirmation that were asked for
	sent      uint64 // the last one that went out
	confirmed uint64 // the last one that holds

	bugs bugs
}

// A peerState is who receives the log: the backup, or a candidate. It stays known while
// its stream is down.
type peerState struct {
	member   Member
	session  ID
	acked    uint64 // the last position that it has acknowledged
	answered uint64 // the last round of confirmation
}

// bugs can be planted, so that tests prove that they would be found.
type bugs struct {
	ackAfterClaim    bool // a backup goes on acknowledging while it claims
	releaseEarly     bool // outputs do not wait for the backup
	confirmAlone     bool // a read is answered without a confirmation
	contestAnyway    bool // who is not a member claims too
	trustRestart     bool // a restarted process counts as the member that it was
	mixedClone       bool // a clone's image lands in the old log
	ownClock         bool // a new primary sets the machine's time by its own clock
	claimBeforeGate  bool // a newcomer is named before outputs wait for it
	keepAfterUnknown bool // a claim with an unknown result counts as lost, and the old epoch goes on

	// Of free-running machines.
	ackInputEarly bool // an input is acknowledged to its sender when it is in the log
	socketEarly   bool // what a stream sends does not wait for the backup
	runPast       bool // a backup executes past the last entry
	forgetPending bool // a new primary does not do again what is not known to be done
	reissueAnyhow bool // or in another order
	fetchUnseen   bool // what a backup is to fetch may change at once
	halfDelta     bool // what has come of a delta counts, though the rest has not
}

// newPrimary returns the core of a primary that a record has just made one, at a position up
// to which it has everything. So has its backup, if the record names one: that has handed
// over.
func newPrimary(self Member, record Record, position uint64) *primary {
	p := &primary{self: self, record: record, appended: position, synced: position, released: position}
	if !record.Backup.IsZero() {
		p.peer = peerState{member: record.Backup, acked: position}
	}
	return p
}

// durable reports whether the own journal counts.
func (p *primary) durable() bool { return p.self.Log != 0 }

// waits reports whether outputs wait for a follower.
func (p *primary) waits() bool { return !p.record.Backup.IsZero() || p.gated }

// append takes note of positions that were given away.
func (p *primary) append(position uint64) { p.appended = max(p.appended, position) }

// sync takes note of what is in the journal.
func (p *primary) sync(position uint64) { p.synced = max(p.synced, position) }

// attach takes note of a new stream to a follower, which has everything up to a position,
// and reports whether it may be: one that is followed already may, and anybody while there
// is neither a backup nor another candidate.
func (p *primary) attach(m Member, session ID, position uint64) bool {
	switch {
	case p.fenced || p.sealed || m.IsZero() || session == 0 || position > p.appended || !p.heir.IsZero():
		return false
	case p.peer.member == m:
		if position < p.peer.acked {
			return false // it has lost what it acknowledged, and is not who it says it is
		}
		p.peer.session, p.sent, p.suspect = session, p.confirmed, false
		return true
	case p.waits() || p.claim.Epoch != 0 || !p.peer.member.IsZero():
		return false
	}
	p.peer = peerState{member: m, session: session, acked: position, answered: p.confirmed}
	return true
}

// ack takes note of an acknowledgement. It reports whether it is one of this session.
func (p *primary) ack(session ID, position, round uint64) bool {
	if session == 0 || session != p.peer.session || position > p.appended || round > p.asked {
		return false
	}
	p.peer.acked = max(p.peer.acked, position)
	p.peer.answered = max(p.peer.answered, round)
	p.name()
	p.settle()
	return true
}

// admit says that a candidate has nearly caught up. From now on outputs wait for it; when it
// has everything that was released before, its membership is claimed. It reports false if
// that cannot be yet.
func (p *primary) admit(session ID) bool {
	if p.fenced || p.sealed || p.waits() || p.claim.Epoch != 0 || session == 0 || session != p.peer.session || !p.heir.IsZero() {
		return false
	}
	p.gated = true
	p.name()
	return true
}

// name claims the record that names the candidate, when that has all that it must have.
func (p *primary) name() {
	if !p.gated || p.sealed || p.claim.Epoch != 0 || !p.record.Backup.IsZero() {
		return
	}
	if p.peer.acked >= p.released || p.bugs.claimBeforeGate {
		p.gated = !p.bugs.claimBeforeGate
		p.claim = Record{Epoch: p.record.Epoch + 1, Primary: p.self, Backup: p.peer.member}
	}
}

// lose says that the follower seems to be dead, or is not to be followed any further.
func (p *primary) lose() {
	switch {
	case p.fenced || p.peer.member.IsZero() && p.record.Backup.IsZero():
	case p.record.Backup.IsZero() && p.claim.Epoch == 0:
		p.peer, p.gated = peerState{}, false // a candidate goes without a trace
	default:
		p.suspect = true // also one whose admission is not known yet
	}
	p.settle()
}

// heard says that the follower lives.
func (p *primary) heard() { p.suspect = false }

// handOver begins to make another the primary: the backup, or a candidate of a newer
// version that has the last image. Nothing leaves from here on, and nothing may be appended,
// so it is called when all has left. The record names this primary as the backup: it has
// all that the heir has, and no output leaves before one of them has done more than win it.
// So the heir can be lost at once, and the machine is not.
func (p *primary) handOver(to Member) bool {
	if p.fenced || p.sealed || p.claim.Epoch != 0 || to.IsZero() || to != p.peer.member || p.peer.acked < p.appended || p.durable() && p.synced < p.appended {
		return false
	}
	p.heir, p.sealed = to, true
	p.claim = Record{Epoch: p.record.Epoch + 1, Primary: to, Backup: p.self}
	return true
}

// step returns what is wanted of the arbiter now.
func (p *primary) step() chainStep {
	switch {
	case p.fenced:
		return chainStep{}
	case p.claim.Epoch != 0:
		return chainStep{claim: p.claim}
	case p.suspect && !p.record.Backup.IsZero():
		return chainStep{read: true}
	}
	return chainStep{}
}

// saw takes note of the newest record of the chain. While the backup is suspected it is
// also the sign that the arbiter can be reached: the primary seals itself, and claims.
func (p *primary) saw(r Record) {
	if p.fenced || p.claim.Epoch != 0 {
		return // the claim's own result says more
	}
	switch {
	case r.Epoch > p.record.Epoch:
		p.fence()
	case p.suspect && !p.record.Backup.IsZero():
		p.sealed = true
		p.claim = p.record.alone(p.self)
	}
}

// claimed takes note of the record that stands where one was claimed.
func (p *primary) claimed(r Record) {
	if p.fenced || p.claim.Epoch == 0 || r.Epoch != p.claim.Epoch {
		return
	}
	switch {
	case r != p.claim:
		p.fence()
		return
	case r.Primary != p.self:
		p.fence()
		p.passed = r
		return
	}
	p.record, p.claim = r, Record{}
	p.sealed, p.gated = false, false
	if r.Backup.IsZero() {
		p.peer, p.suspect = peerState{}, false
	}
	p.settle()
}

// unclear says that the result of the claim is unknown. It will be made again.
func (p *primary) unclear() {
	if p.bugs.keepAfterUnknown {
		p.claim, p.sealed = Record{}, false
		p.gated, p.suspect, p.heir = false, true, Member{}
	}
}

// fence ends everything.
func (p *primary) fence() { p.fenced, p.sealed, p.gated, p.claim = true, true, false, Record{} }

// ask returns the round of confirmation that a read which has just arrived waits for: one
// that has not been sent yet.
func (p *primary) ask() uint64 {
	if p.asked == p.sent {
		p.asked++
	}
	round := p.asked
	p.settle()
	return round
}

// send returns the round that goes out with the next message to the follower.
func (p *primary) send() uint64 {
	p.sent = p.asked
	return p.sent
}

// settle confirms what holds. Alone, nobody else can have gone live.
func (p *primary) settle() {
	switch {
	case p.sealed && !p.bugs.confirmAlone:
	case p.bugs.confirmAlone, !p.waits():
		p.confirmed, p.sent = p.asked, p.asked
	default:
		p.confirmed = max(p.confirmed, p.peer.answered)
	}
}

// release returns the position up to which outputs may leave.
func (p *primary) release() uint64 {
	if p.sealed {
		return p.released
	}
	limit := p.appended
	if p.durable() {
		limit = min(limit, p.synced)
	}
	if p.waits() && !p.bugs.releaseEarly {
		limit = min(limit, p.peer.acked)
	}
	p.released = max(p.released, limit)
	return p.released
}

// check returns what is wrong with the state.
func (p *primary) check() error {
	switch {
	case p.released > p.appended:
		return fmt.Errorf("released %d, the log ends at %d", p.released, p.appended)
	case p.durable() && p.released > p.synced:
		return fmt.Errorf("released %d, the journal has %d", p.released, p.synced)
	case (p.claim.Epoch != 0 || !p.gated) && p.waits() && !p.sealed && p.released > p.peer.acked && p.bugs == bugs{}:
		return fmt.Errorf("released %d, %v has %d", p.released, p.peer.member, p.peer.acked)
	case !p.heir.IsZero() && p.appended > p.peer.acked:
		return fmt.Errorf("handed over at %d, the log ends at %d", p.peer.acked, p.appended)
	case p.confirmed > p.asked:
		return fmt.Errorf("confirmed round %d of %d", p.confirmed, p.asked)
	case p.claim.Epoch != 0 && p.claim.Epoch != p.record.Epoch+1:
		return fmt.Errorf("claims %v after %v", p.claim, p.record)
	case p.record.Primary != p.self:
		return fmt.Errorf("%v is the primary of %v", p.self, p.record)
	}
	return nil
}
