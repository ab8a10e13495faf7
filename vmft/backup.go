package vmft

import "fmt"

// A backup decides, on the side of whoever follows a primary, what may be acknowledged,
// and when to go live. It begins as a candidate: a clone that has an image and takes in
// the log, and may contest nothing; the record that names it makes it the backup. The
// core of a process that was restarted on a journal is the same, without a stream.
//
// States and the transitions that are legal:
//
//	candidate ─► backup ── suspect ── sealed ─► live    its claim was won
//	backup, candidate ─► live                           the primary has handed over
//	candidate, backup ─► out                            a record that does not name it
//	spare ── suspect ── sealed ─► live                  it has a member's journal, or begins the chain
//
// Invariants, checked by check: what is acknowledged is in the buffer, and in the journal
// if there is one; what is applied has been received; nothing is acknowledged once sealed;
// whoever claims is entitled to.
type backup struct {
	self    Member
	record  Record // the newest link of the chain that it has heard of
	primary Member // whom it follows; nobody: a restarted process
	session ID     // of the stream; 0: there is none

	suspect bool   // the primary gives no sign of life
	sealed  bool   // nothing is acknowledged any more
	off     bool   // the log has ended with a power-off
	fresh   bool   // it has never had any state, and may begin the chain
	live    bool   // it is the primary of record
	out     bool   // it is not a member, and never will be under this incarnation
	claim   Record // the link that is being written; zero: none

	received uint64 // the last position in the buffer
	synced   uint64 // the last one in the own journal
	applied  uint64 // the last one that the machine has executed
	acked    uint64 // the last one that was acknowledged
	round    uint64 // the last confirmation that the primary has asked for
	answered uint64 // the last one that was given

	promised uint64 // by one of the bugs
	bugs     bugs
}

// newCandidate returns the core of a clone that has the image at a position, durably if
// it has a journal.
func newCandidate(self, primary Member, record Record, session ID, position uint64) *backup {
	return &backup{
		self: self, primary: primary, record: record, session: session,
		received: position, synced: position, applied: position, acked: position,
	}
}

// newMember returns the core of a former primary that has handed over by a record, which
// names it as the backup, at the position where its log has ended. It has no stream yet.
func newMember(self Member, record Record, position uint64) *backup {
	return newCandidate(self, record.Primary, record, 0, position)
}

// newRestarted returns the core of a process that follows nobody, and has recovered
// everything up to a position from its journal, or has nothing: a spare. If the newest
// record names its journal it may go on; if there is no chain yet, and it is fresh, begin.
func newRestarted(self Member, fresh bool, position uint64) *backup {
	return &backup{
		self: self, fresh: fresh,
		received: position, synced: position, applied: position, acked: position,
	}
}

// entitled reports whether it may write the record after the newest that it knows.
func (b *backup) entitled() bool {
	return b.bugs.contestAnyway || b.record.entitles(b.self) && (b.record.Epoch > 0 || b.fresh)
}

func (b *backup) durable() bool { return b.self.Log != 0 }

// joined reports whether the newest known record names it as the backup.
func (b *backup) joined() bool { return b.record.Backup.Incarnation == b.self.Incarnation }

// attach takes note of a new stream from the same primary.
func (b *backup) attach(session ID) bool {
	if b.sealed || b.live || b.out || session == 0 {
		return false
	}
	b.session, b.suspect = session, false
	return true
}

// receive takes note of entries that continue the log, up to a position, and of the round
// of confirmation that came with them.
func (b *backup) receive(session ID, position, round uint64) bool {
	if session == 0 || session != b.session || b.live || b.out || position < b.received {
		return false
	}
	if b.sealed {
		if b.bugs.ackAfterClaim { // of what it will not have when it is live
			b.promised, b.round = max(b.promised, position), max(b.round, round)
		}
		return false
	}
	b.received = position
	b.round = max(b.round, round)
	return true
}

// sync takes note of what is in the journal, apply of what the machine has executed.
func (b *backup) sync(position uint64)  { b.synced = max(b.synced, position) }
func (b *backup) apply(position uint64) { b.applied = max(b.applied, position) }

// ack returns what is to be acknowledged now: a position, and a round of confirmation. It
// reports false if there is nothing new.
func (b *backup) ack() (position, round uint64, news bool) {
	if b.session == 0 || b.live || b.out || b.sealed && !b.bugs.ackAfterClaim {
		return 0, 0, false
	}
	position = b.received
	if b.durable() {
		position = min(position, b.synced)
	}
	if b.promised > 0 && b.bugs.ackAfterClaim {
		position = b.promised
	}
	news = position > b.acked || b.round > b.answered
	b.acked, b.answered = max(b.acked, position), b.round
	return b.acked, b.answered, news
}

// powerOff takes note of the entry that ends the log: a primary that falls silent after
// it was switched off.
func (b *backup) powerOff() { b.off = true }

// lose says that the primary seems to be dead, heard that it lives.
func (b *backup) lose() { b.suspect = true }

func (b *backup) heard() {
	if b.session != 0 {
		b.suspect = false
	}
}

// sign returns the session that a sign of life is for: one that is sealed lives no more, as
// far as the primary is concerned.
func (b *backup) sign() ID {
	if b.sealed || b.live || b.out {
		return 0
	}
	return b.session
}

// detach says that the stream is down.
func (b *backup) detach() { b.session = 0 }

// step returns what is wanted of the arbiter now.
func (b *backup) step() chainStep {
	switch {
	case b.live || b.out || b.off:
		return chainStep{}
	case b.claim.Epoch != 0:
		return chainStep{claim: b.claim}
	case b.suspect:
		return chainStep{read: true}
	}
	return chainStep{}
}

// saw takes note of the newest record of the chain. While the primary is suspected it is
// also the sign that the arbiter can be reached: a member seals itself, and claims.
func (b *backup) saw(r Record) {
	if b.claim.Epoch != 0 || !b.told(r) || r != b.record {
		return
	}
	if b.suspect && !b.off && b.entitled() {
		b.sealed = true
		b.claim = b.record.alone(b.self)
	}
}

// told takes note of a record that follows the one it knows, from whomever. It reports
// whether this process is still a follower.
func (b *backup) told(r Record) bool {
	switch {
	case b.live || b.out:
		return false
	case r.Epoch <= b.record.Epoch:
		return true
	}
	b.record, b.claim = r, Record{}
	switch b.self.Incarnation {
	case r.Primary.Incarnation: // its claim was won, or the primary has handed over
		b.live, b.sealed = true, true
	case r.Backup.Incarnation:
	default:
		b.out = !b.primary.IsZero()
		b.sealed = b.out // who follows nobody goes on as a spare
	}
	return !b.live && !b.out
}

// claimed takes note of the record that stands where one was claimed.
func (b *backup) claimed(r Record) {
	if b.claim.Epoch != 0 && r.Epoch == b.claim.Epoch {
		b.told(r)
	}
}

// ready reports whether it can serve: it is live, and has executed everything that it has
// received, which is at least what it has acknowledged.
func (b *backup) ready() bool { return b.live && b.applied == b.received }

// check returns what is wrong with the state.
func (b *backup) check() error {
	switch {
	case b.acked > b.received && !b.bugs.ackAfterClaim:
		return fmt.Errorf("acknowledged %d, received %d", b.acked, b.received)
	case b.durable() && b.acked > b.synced && !b.bugs.ackAfterClaim:
		return fmt.Errorf("acknowledged %d, the journal has %d", b.acked, b.synced)
	case b.applied > b.received:
		return fmt.Errorf("applied %d, received %d", b.applied, b.received)
	case b.claim.Epoch != 0 && !b.sealed:
		return fmt.Errorf("claims %v and is not sealed", b.claim)
	case b.claim.Epoch != 0 && !b.entitled():
		return fmt.Errorf("%v claims %v after %v", b.self, b.claim, b.record)
	case b.live && b.record.Primary.Incarnation != b.self.Incarnation:
		return fmt.Errorf("%v is live in %v", b.self, b.record)
	}
	return nil
}
