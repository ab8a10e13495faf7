package gfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Limits and times of a primary.
const (
	// primaryWindow is how many mutations of one chunk may be in progress.
	primaryWindow = 128
	// resendPause is how long a primary waits before it sends again what failed.
	resendPause = 50 * time.Millisecond
	// failingPatience is how long a secondary may answer with errors that may pass, or
	// be unreachable, and silentPatience how long it may not answer at all, before the
	// primary asks for a new grant without it. A sync may take syncPatience.
	failingPatience = time.Second
	silentPatience  = 8 * time.Second
	syncPatience    = 30 * time.Second
)

// errUnreached marks what happened to a call that a member has not answered.
var errUnreached = errors.New("gfs: no answer")

// errPrimaryBusy tells the shell to try again when something has changed.
var errPrimaryBusy = errors.New("gfs: too many mutations in progress")

// A primary orders the mutations of one chunk while it has the lease (§3.1): it gives
// them serial numbers, has them applied here and on all secondaries, and answers each
// when every member of the grant has it. It is told the time, by the chunkserver's own
// clock, and everything that happens, and says what to do: see primaryAction.
//
// When a secondary fails, or does not answer for a while, the primary asks the master to
// grant the lease anew without it (actReform). With the new grant it gives everything
// that is in progress new serial numbers and has the remaining members apply it again,
// with the data: all of it is idempotent, and none of it has been answered.
//
// Invariants, which check looks for:
//   - serial numbers count from 1 in each version, without gaps
//   - a mutation is begun, and answered with success, only while the lease lasts
//   - it is answered with success only when it is applied here and every member of
//     the present grant has applied it and all before it
//   - appends get places one after the other, and never beyond the chunk
//   - every mutation that was begun is answered once
type primary struct {
	handle    handle
	version   version
	until     time.Duration // the lease, by the chunkserver's clock
	members   []*primaryMember
	chunkSize int64
	length    int64 // where the next record goes

	last      uint64 // the last serial number given
	ops       []*primaryOp
	applying  bool // one is being applied here
	reforming bool // the master has been asked, and has not granted yet
	revoked   bool // nothing new is begun
	touched   bool // something was begun since the lease was last extended
	over      error

	actions []primaryAction
}

// A primaryMember is a secondary.
type primaryMember struct {
	where location
	acked uint64        // it has applied all up to this
	since time.Duration // of the oldest sign that it is not well: 0 as long as it owes nothing
	bad   error         // its last answer that was none
}

// A primaryOp is a mutation in progress.
type primaryOp struct {
	ref    uint64 // the shell's name for it
	serial uint64
	kind   mutationKind
	data   dataID
	off    int64
	n      int64
	answer error // if everything goes well
	local  bool  // applied here
	sends  []primarySend
}

// A primarySend is what is under way of a mutation to one member.
type primarySend struct {
	out    bool          // sent, not answered
	again  time.Duration // when to send it again, if not 0
	resend bool          // with the data
}

// A primaryAction is something to do.
type primaryAction struct {
	kind    actionKind
	version version
	op      primaryOp  // actApply, actSend, actAnswer; without its sends
	to      location   // actSend
	resend  bool       // actSend: with the data
	err     error      // actAnswer
	failed  []serverID // actReform
}

type actionKind uint8

const (
	actApply  actionKind = iota + 1 // apply op here, then call applied
	actSend                         // send op to a member, then call answered
	actAnswer                       // op is over
	actReform                       // ask the master for a grant without failed, then call reformed
)

// newPrimary returns the primary of a chunk that is length bytes long here.
func newPrimary(term leaseTerm, others []location, length, chunkSize int64) *primary {
	p := &primary{handle: term.handle, version: term.version, until: term.until, length: length, chunkSize: chunkSize}
	p.enlist(others)
	return p
}

func (p *primary) enlist(others []location) {
	p.members = nil
	for _, l := range others {
		p.members = append(p.members, &primaryMember{where: l})
	}
}

// take returns what is to be done since it was last called.
func (p *primary) take() []primaryAction {
	a := p.actions
	p.actions = nil
	return a
}

func (p *primary) act(a primaryAction) {
	a.version = p.version
	a.op.sends = nil
	p.actions = append(p.actions, a)
}

// leased says why nothing can be begun now.
func (p *primary) leased(now time.Duration) error {
	switch {
	case p.over != nil:
		return p.over
	case now >= p.until:
		return fmt.Errorf("%w: the lease on %x at version %d is over", ErrStale, uint64(p.handle), p.version)
	case p.revoked:
		return fmt.Errorf("%w: the lease on %x at version %d is revoked", ErrStale, uint64(p.handle), p.version)
	case p.reforming || len(p.ops) >= primaryWindow:
		return errPrimaryBusy
	}
	return nil
}

// write begins a write, or a sync (of kind mutationSync).
func (p *primary) write(now time.Duration, ref uint64, kind mutationKind, data dataID, off, n int64) error {
	if kind == mutationWrite && (n <= 0 || off < 0 || off > p.chunkSize-n) {
		return fmt.Errorf("%w: writing %d bytes at %d of a chunk of %d", fs.ErrInvalid, n, off, p.chunkSize)
	}
	if err := p.leased(now); err != nil {
		return err
	}
	p.begin(now, &primaryOp{ref: ref, kind: kind, data: data, off: off, n: n})
	return nil
}

// append begins the append of a record (§3.3). If it does not fit the chunk is padded,
// and the answer is errChunkFull; at once if it is full already.
func (p *primary) append(now time.Duration, ref uint64, data dataID, n int64) error {
	if n <= 0 || n > p.chunkSize/4 {
		return fmt.Errorf("%w: a record of %d bytes; a quarter of a chunk is the most, %d", ErrTooLarge, n, p.chunkSize/4)
	}
	if err := p.leased(now); err != nil {
		return err
	}
	op := &primaryOp{ref: ref, kind: mutationWrite, data: data, off: p.length, n: n}
	if n > p.chunkSize-p.length {
		if p.length == p.chunkSize {
			return errChunkFull
		}
		op.kind, op.data, op.n, op.answer = mutationPad, dataID{}, p.chunkSize-p.length, errChunkFull
	}
	p.begin(now, op)
	return nil
}

func (p *primary) begin(now time.Duration, op *primaryOp) {
	if op.kind != mutationSync {
		p.length = max(p.length, op.off+op.n)
	}
	p.touched = true
	p.last++
	op.serial = p.last
	op.sends = make([]primarySend, len(p.members))
	p.ops = append(p.ops, op)
	p.send(now, op)
	p.apply()
}

// send sends op to every member.
func (p *primary) send(now time.Duration, op *primaryOp) {
	for i, m := range p.members {
		if m.since == 0 {
			m.since = now
		}
		p.sendTo(i, op)
	}
}

func (p *primary) sendTo(i int, op *primaryOp) {
	s := &op.sends[i]
	s.out, s.again = true, 0
	p.act(primaryAction{kind: actSend, op: *op, to: p.members[i].where, resend: s.resend && op.kind == mutationWrite})
}

// apply has the next mutation applied here, one at a time.
func (p *primary) apply() {
	if p.applying || p.reforming || p.over != nil {
		return
	}
	for _, op := range p.ops {
		if !op.local {
			p.applying = true
			p.act(primaryAction{kind: actApply, op: *op})
			return
		}
	}
}

// applied says how the applying of a mutation here, at a version, went.
func (p *primary) applied(now time.Duration, v version, ref uint64, err error) {
	p.applying = false
	if p.over != nil {
		return
	}
	if err != nil && errors.Is(err, ErrStale) && (v != p.version || p.reforming) {
		p.apply() // the version was raised for the new grant: once more, at that
		return
	}
	if err != nil {
		p.fail(err)
		return
	}
	for _, op := range p.ops {
		if op.ref == ref {
			op.local = true
		}
	}
	p.finish(now)
	p.apply()
}

// answered says what a member has answered to the mutation of a serial number: that it
// has applied all up to a serial number, or an error.
func (p *primary) answered(now time.Duration, v version, from serverID, serial, applied uint64, err error) {
	if p.over != nil || v != p.version || p.reforming {
		return
	}
	i := slices.IndexFunc(p.members, func(m *primaryMember) bool { return m.where.id == from })
	if i < 0 {
		return
	}
	m := p.members[i]
	op := p.find(serial)
	if op != nil {
		op.sends[i].out = false
	}
	if err == nil {
		applied = min(applied, p.last)
		m.bad = nil
		if applied > m.acked {
			m.acked, m.since = applied, now
		}
		if m.acked == p.last {
			m.since = 0
		}
		if op != nil && applied < serial { // it has lost something: again
			op.sends[i].again = now + resendPause
		}
		p.finish(now)
		return
	}
	if op == nil || serial <= m.acked {
		return // it is known by another answer that it has it
	}
	switch {
	case errors.Is(err, errNoData):
		op.sends[i].resend = true
		p.sendTo(i, op)
	case transient(err):
		if m.bad == nil {
			m.since = now
		}
		m.bad = err
		op.sends[i].again = now + resendPause
	default:
		p.reform(i, err)
	}
}

// transient reports whether an error of a member may pass by itself: it has not come so
// far, or could not be reached.
func transient(err error) bool {
	return errors.Is(err, errGap) || errors.Is(err, errUnreached)
}

// find returns the mutation in progress that has a serial number.
func (p *primary) find(serial uint64) *primaryOp {
	if len(p.ops) == 0 || serial < p.ops[0].serial || serial > p.last {
		return nil
	}
	return p.ops[serial-p.ops[0].serial]
}

// finish answers what everybody has.
func (p *primary) finish(now time.Duration) {
	if p.reforming {
		return
	}
	for len(p.ops) > 0 {
		op := p.ops[0]
		if !op.local || slices.ContainsFunc(p.members, func(m *primaryMember) bool { return m.acked < op.serial }) {
			return
		}
		if now >= p.until {
			p.fail(fmt.Errorf("%w: the lease on %x ended before everybody had the mutation", ErrStale, uint64(p.handle)))
			return
		}
		p.ops = p.ops[1:]
		p.act(primaryAction{kind: actAnswer, op: *op, err: op.answer})
	}
}

// fail ends it all: everything in progress is answered with the error.
func (p *primary) fail(err error) {
	if p.over != nil {
		return
	}
	p.over = err
	for _, op := range p.ops {
		p.act(primaryAction{kind: actAnswer, op: *op, err: err})
	}
	p.ops = nil
}

// reform asks for a grant without a member, and without others that are not well.
func (p *primary) reform(i int, why error) {
	p.reforming = true
	p.members[i].bad = why
	var failed []serverID
	for j, m := range p.members {
		if j == i || m.bad != nil {
			failed = append(failed, m.where.id)
		}
	}
	p.act(primaryAction{kind: actReform, failed: failed, err: why})
}

// tick does what is due, and returns when to call it again; 0: not before something
// happens.
func (p *primary) tick(now time.Duration) (next time.Duration) {
	if p.over != nil || len(p.ops) == 0 {
		return 0
	}
	if now >= p.until {
		p.fail(fmt.Errorf("%w: the lease on %x ended before everybody had the mutation", ErrStale, uint64(p.handle)))
		return 0
	}
	next = p.until
	if p.reforming {
		return next
	}
	for i, m := range p.members {
		if m.acked == p.last {
			continue
		}
		limit := p.patience(m)
		if now >= limit {
			p.reform(i, fmt.Errorf("%s does not answer", m.where.addr))
			return p.until
		}
		next = min(next, limit)
		for _, op := range p.ops {
			s := &op.sends[i]
			if s.again == 0 || op.serial <= m.acked {
				continue
			}
			if now >= s.again {
				p.sendTo(i, op)
			} else {
				next = min(next, s.again)
			}
		}
	}
	return next
}

// patience returns until when a member that owes something is waited for.
func (p *primary) patience(m *primaryMember) time.Duration {
	if m.bad != nil {
		return m.since + failingPatience
	}
	if op := p.find(m.acked + 1); op != nil && op.kind == mutationSync {
		return m.since + syncPatience
	}
	return m.since + silentPatience
}

// reformed says what the master has answered to actReform of a version. If it has
// granted, lease was called before.
func (p *primary) reformed(v version, err error) {
	if v != p.version || !p.reforming {
		return
	}
	if err == nil {
		err = fmt.Errorf("%w: the master has not granted the lease on %x anew", ErrStale, uint64(p.handle))
	}
	p.fail(err)
}

// lease takes over a grant of a higher version, if it was asked for, and reports whether
// it did. Everything in progress is sent to the new members.
func (p *primary) lease(now time.Duration, term leaseTerm, others []location) bool {
	if p.over != nil || !p.reforming || term.version <= p.version {
		return false
	}
	p.version, p.until, p.reforming, p.last = term.version, term.until, false, 0
	p.enlist(others)
	for _, op := range p.ops {
		p.last++
		op.serial = p.last
		op.sends = make([]primarySend, len(p.members))
		for i := range op.sends {
			op.sends[i].resend = true
		}
	}
	for _, op := range p.ops {
		p.send(now, op)
	}
	p.finish(now)
	p.apply()
	return true
}

// raised is told that the replica here has come to a version. If that is not the
// primary's, and no new grant was asked for, it is one no more.
func (p *primary) raised(v version) {
	if v > p.version && !p.reforming {
		p.fail(fmt.Errorf("%w: the chunk %x has come to version %d", ErrStale, uint64(p.handle), v))
	}
}

// follows is told that the replica here is about to take a mutation at a version. If that
// is above the primary's, there is another one, even if a new grant was asked for: whoever
// has had no answer here may have tried again there, and have written something newer
// since, over which what is in progress here must not go.
func (p *primary) follows(v version) {
	if v > p.version {
		p.fail(fmt.Errorf("%w: the chunk %x has another primary, at version %d", ErrStale, uint64(p.handle), v))
	}
}

// extend prolongs the lease, if it is still the same and has not been revoked.
func (p *primary) extend(term leaseTerm) {
	if term.version == p.version && !p.revoked && p.over == nil {
		p.until = max(p.until, term.until)
		p.touched = false
	}
}

// wants reports whether the lease should be extended: mutations have gone on since it
// last was.
func (p *primary) wants(now time.Duration) bool {
	return (p.touched || len(p.ops) > 0) && p.over == nil && !p.revoked && now < p.until
}

// revoke lets nothing new begin. What is in progress ends first; idle tells when.
func (p *primary) revoke() { p.revoked = true }

// idle reports whether nothing is in progress.
func (p *primary) idle() bool { return len(p.ops) == 0 && !p.applying }
