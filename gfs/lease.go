package gfs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// errChunkBusy tells the shell that a chunk can't be granted now: another operation on it
// is under way, it is being copied, or its version is being adopted. It tries again.
var errChunkBusy = errors.New("gfs: chunk is busy")

// Versions. The versions that a master of an epoch grants begin at that epoch times
// 1<<versionEpochShift. So no two masters ever raise replicas to the same version: a
// replica to which a grant reached that was never logged can be told from one that has
// seen the mutations of a later grant, even if nobody knew of it when that was made.
const versionEpochShift = 24

func epochOfVersion(v version) uint64 { return uint64(v >> versionEpochShift) }

// versionAfter is what a master of an epoch grants first after v.
func versionAfter(v version, epoch uint64) version {
	return max(v+1, version(epoch)<<versionEpochShift)
}

// explained reports whether a version above that of the chunk is that of a grant which
// was begun and never logged: the replica then is as good as one of the chunk's version,
// as no mutation of a later one can have happened.
//
// Who only listens may be behind the log, and takes any such version for explained.
func (f *fleet) explained(h handle, w, v version) bool {
	epoch := epochOfVersion(w)
	return !f.leads() || w == versionAfter(v, epoch) && epoch <= max(f.epoch, epochOfVersion(v)) ||
		epoch == f.epoch && w <= f.attempted[h]
}

// firstVersion returns the version of new chunks.
func (f *fleet) firstVersion() version { return versionAfter(0, f.epoch) }

// A leaseEntry is a lease that a master has granted (§3.1).
type leaseEntry struct {
	version  version
	primary  serverID
	boot     uint64 // of the primary
	members  []serverID
	expires  time.Duration // by the master's clock, with a margin for the difference between the two clocks
	taken    bool          // the primary has answered that it has the lease
	timer    time.Duration // when the timer is due that looks after it
	revoking bool          // it is not extended; the chunk is to be copied
	short    bool          // the chunk lacks replicas, and a timer waits to revoke the lease for that
	urgent   bool          // there is only one copy, and the timer does not wait
}

// A grantPlan is how a lease can be granted: raise the members to the version to, log the
// grant, then call granted. Whoever has a plan must end it by granted or abandon.
//
// All members must have answered. One that has not may have the version all the same,
// and would be taken for current while the others go on without it: then the plan is
// abandoned, and another made without that member, at a version that it can't have. A new
// chunk that could not be made everywhere is given another handle, for the same reason.
type grantPlan struct {
	handle  handle
	from    version  // of the chunk
	to      version  // above any that a replica may have
	members []holder // the primary first; each with the version that it is to be raised from
}

// grantWish says what kind of grant is wanted.
type grantWish struct {
	prefer  serverID   // the primary, if it is a member; 0: whoever has least to do
	without []serverID // not to be members
	of      version    // unless 0, only if prefer has the lease at this version now
}

// comparesAwaited is how many failed attempts to compare suspects a grant waits for.
const comparesAwaited = 2

// planGrant begins a grant: until it is ended nothing else is done with the chunk. The
// error is errChunkBusy if it can't be begun now, ErrStale if the lease is another's, ErrUnavailable if no replica can be
// a member, errNoChunk if there is no such chunk, ErrReadOnly if the fleet does not lead.
func (f *fleet) planGrant(now time.Time, h handle, wish grantWish) (grantPlan, error) {
	f.clock(now)
	if !f.leads() {
		return grantPlan{}, ErrReadOnly
	}
	if wish.of != 0 { // looked at here, as a lease may be ended at any time before the grant is begun
		l, ok := f.lease(now, h)
		if !ok || l.version != wish.of || len(l.members) == 0 || l.members[0].id != wish.prefer {
			return grantPlan{}, fmt.Errorf("%w: %d is not the primary of chunk %x at version %d", ErrStale, wish.prefer, uint64(h), wish.of)
		}
	}
	row, exists := f.chunk(h)
	if !exists {
		return grantPlan{}, errNoChunk
	}
	if _, held := f.held[h]; held || f.occupied(h) {
		return grantPlan{}, errChunkBusy
	}
	e := f.table.find(h)
	if e == nil {
		return grantPlan{}, ErrUnavailable
	}
	f.table.rebase(h, e, row.version)
	plan := grantPlan{handle: h, from: row.version}
	top := row.version
	suspects := false
	for _, w := range f.table.words(h, e) {
		v := f.table.versionOf(h, e, w)
		top = max(top, v)
		switch f.worth(h, e, w, &row) {
		case worthAhead:
			f.adopt(h, v)
			return grantPlan{}, errChunkBusy
		case worthGood, worthSpare, worthDoubted:
			if s := f.slots[w.slot()].server; !slices.Contains(wish.without, s.row.id) {
				plan.members = append(plan.members, f.holder(h, e, w))
			}
		case worthSuspect:
			suspects = suspects || f.slots[w.slot()].alive()
		}
	}
	if len(plan.members) == 0 {
		f.wanted(h)
		return grantPlan{}, ErrUnavailable
	}
	if !f.quiet && len(plan.members) < int(row.goal) {
		// The others may be alive, and have not been heard yet: a grant without them would
		// make them stale, and what is written would depend on few.
		return grantPlan{}, errChunkBusy
	}
	if suspects && len(plan.members) < int(row.goal) && f.leases[h] == nil && f.failures[h].times < comparesAwaited {
		f.assess(h) // likewise: it is compared first, which takes no longer than a clone would
		return grantPlan{}, errChunkBusy
	}
	f.orderMembers(plan.members, wish.prefer)
	switch plan.to = versionAfter(max(top, f.attempted[h]), f.epoch); {
	case f.planted.sameAgain:
		plan.to = versionAfter(row.version, f.epoch)
	case f.planted.flatVersions:
		plan.to = top + 1
	}
	f.cancel(h)
	f.dequeue(e)
	f.busy[h] = f.now
	f.attempted[h] = plan.to
	return plan, nil
}

// orderMembers puts the primary first: the one preferred, else the one with the fewest
// leases, then with the least traffic.
func (f *fleet) orderMembers(members []holder, prefer serverID) {
	slices.SortFunc(members, func(a, b holder) int {
		if a.id == prefer || b.id == prefer {
			return cmp.Compare(btoi(b.id == prefer), btoi(a.id == prefer))
		}
		s, o := f.servers[a.id], f.servers[b.id]
		return cmp.Or(cmp.Compare(btoi(s.row.draining), btoi(o.row.draining)), cmp.Compare(s.primaries, o.primaries),
			cmp.Compare(s.read+s.written, o.read+o.written), cmp.Compare(a.id, b.id))
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// answered reports whether all members of a plan have, so that it may be logged.
func (p *grantPlan) answered(by []grantMember) bool {
	for _, m := range p.members {
		if !slices.ContainsFunc(by, func(b grantMember) bool { return b.id == m.id && b.boot == m.boot }) {
			return false
		}
	}
	return true
}

// creating begins the creation of a chunk that the durable side does not have yet: its
// replicas are no garbage. It is ended by granted or abandon.
func (f *fleet) creating(now time.Time, h handle) {
	f.clock(now)
	f.busy[h] = f.now
}

// hold begins an operation on a chunk that must not meet a grant or a clone, and reports
// whether it may begin now. It is ended by abandon.
func (f *fleet) hold(now time.Time, h handle) bool {
	f.clock(now)
	if _, held := f.held[h]; held || f.occupied(h) {
		return false
	}
	f.cancel(h)
	f.busy[h] = f.now
	if e := f.table.find(h); e != nil {
		f.dequeue(e)
	}
	return true
}

// A grantMember is a chunkserver that has made a replica or has raised its version.
type grantMember struct {
	id     serverID
	boot   uint64
	clock  time.Duration // its own, when it answered
	length int64
}

// granted ends a grant, or a creation, that is logged and applied: the members have the
// version to. The first is the primary, and the lease counts from its clock; now must not
// be earlier than when its answer arrived. The shell tells it the term that is returned,
// which is zero without lease: then the version is raised, and nobody may mutate.
func (f *fleet) granted(now time.Time, h handle, to version, members []grantMember, lease bool) leaseTerm {
	f.clock(now)
	delete(f.busy, h)
	if f.attempted[h] <= to {
		delete(f.attempted, h)
	}
	for _, m := range members {
		if i := f.incarnationOf(m.id, m.boot); i != nil {
			f.note(i, &replicaState{handle: h, version: to, length: m.length, health: sound})
		}
	}
	old := f.leases[h]
	f.endLease(h)
	var term leaseTerm
	if lease && len(members) > 0 && f.leads() {
		l := &leaseEntry{version: to, primary: members[0].id, boot: members[0].boot, expires: f.now + f.cfg.lease + f.cfg.drift}
		for _, m := range members {
			l.members = append(l.members, m.id)
		}
		if old != nil {
			l.timer = old.timer
		} else {
			l.timer = l.expires
			f.timers.push(fleetTimer{l.timer, h, timerLease})
		}
		f.leases[h] = l
		if s := f.servers[l.primary]; s != nil {
			s.primaries++
		}
		term = leaseTerm{h, to, members[0].clock + f.cfg.lease}
	}
	f.assess(h)
	return term
}

// taken tells that the primary has answered that it has the lease. Before that the lease
// can't be revoked: the revocation could arrive before it.
func (f *fleet) taken(now time.Time, h handle, v version) {
	f.clock(now)
	if l := f.leases[h]; l != nil && l.version == v {
		l.taken = true
	}
}

// abandon ends an operation that has changed nothing, or is logged and needs no grant.
func (f *fleet) abandon(now time.Time, h handle) {
	f.clock(now)
	delete(f.busy, h)
	f.assess(h)
}

// occupied reports whether the shell is about an operation on the chunk.
func (f *fleet) occupied(h handle) bool {
	_, ok := f.busy[h]
	return ok
}

// A leaseView is a lease in force, as clients may be told.
type leaseView struct {
	version version
	members []location // alive; the primary first
	left    time.Duration
}

// lease returns the lease on a chunk if there is one that can be told to a client: it is
// not about to end, and its primary is alive.
func (f *fleet) lease(now time.Time, h handle) (leaseView, bool) {
	f.clock(now)
	l := f.leases[h]
	if l == nil || l.revoking || f.occupied(h) || f.incarnationOf(l.primary, l.boot) == nil {
		return leaseView{}, false
	}
	v := leaseView{version: l.version, left: l.expires - f.cfg.drift - f.now}
	if row, exists := f.chunk(h); !exists || row.version != l.version || v.left <= 0 {
		return leaseView{}, false
	}
	for _, id := range l.members {
		if at, _, alive := f.locationOf(id); alive {
			v.members = append(v.members, at)
		}
	}
	return v, true
}

// leased reports whether anybody may act as primary of the chunk: a lease was granted, and
// it is neither over by any clock nor known to have ended.
func (f *fleet) leased(now time.Time, h handle) bool {
	f.clock(now)
	l := f.leases[h]
	return l != nil && l.expires > f.now
}

// mutable reports whether anybody may act as primary of the chunk, also under a lease that
// an earlier master granted, of which this one knows nothing. Once this one has raised the
// version such a lease is worth nothing.
func (f *fleet) mutable(now time.Time, h handle) bool {
	if f.leased(now, h) {
		return true
	}
	row, exists := f.chunk(h)
	return exists && f.now < f.fenced() && epochOfVersion(row.version) < f.epoch
}

// extend prolongs a lease if its primary asks for it, and may go on.
func (f *fleet) extend(i *incarnation, clock time.Duration, r *replicaState, answer *heartbeatResp) {
	l := f.leases[r.handle]
	if l == nil || l.primary != i.server.row.id || l.boot != i.boot || l.version != r.version ||
		l.revoking || l.expires <= f.now || f.occupied(r.handle) {
		return
	}
	if row, exists := f.chunk(r.handle); !exists || row.version != l.version {
		return
	}
	l.taken = true
	l.expires = max(l.expires, f.now+f.cfg.lease+f.cfg.drift)
	answer.extended = append(answer.extended, leaseTerm{r.handle, r.version, clock + f.cfg.lease})
}

// endLease drops a lease.
func (f *fleet) endLease(h handle) {
	l := f.leases[h]
	if l == nil {
		return
	}
	delete(f.leases, h)
	if s := f.servers[l.primary]; s != nil {
		s.primaries--
	}
}

// leaseDue looks after a lease whose timer was due at a time.
func (f *fleet) leaseDue(h handle, due time.Duration) {
	l := f.leases[h]
	switch {
	case l == nil || l.timer != due:
	case l.expires > f.now:
		l.timer = l.expires
		f.timers.push(fleetTimer{l.timer, h, timerLease})
	default:
		f.leaseOver(h, l)
	}
}

// leaseOver ends a lease that nobody acts upon any more.
func (f *fleet) leaseOver(h handle, l *leaseEntry) {
	f.endLease(h)
	if l.revoking && !f.occupied(h) {
		f.held[h] = f.now + f.cfg.patience
		f.after(f.cfg.patience, timerHeld, h)
	}
	f.assess(h)
}

// revoked tells how it ended that a lease was to be revoked, by the fleet or by the
// shell: whether the primary has confirmed that it acts no more. If not it counts as
// over when it expires.
func (f *fleet) revoked(now time.Time, h handle, v version, ok bool) {
	f.clock(now)
	l := f.leases[h]
	if l == nil || l.version != v {
		return
	}
	if !ok || !l.taken {
		l.revoking = true
		return
	}
	f.leaseOver(h, l)
}

// revokeDue revokes a lease for the sake of copying the chunk, if it still lacks replicas.
func (f *fleet) revokeDue(h handle) {
	l, e := f.leases[h], f.table.find(h)
	if l == nil || e == nil || !l.short || l.revoking || f.occupied(h) {
		return
	}
	l.short, l.urgent = false, false
	row, exists := f.chunk(h)
	if !exists {
		return
	}
	c := f.census(h, e, &row)
	if c.missing() <= 0 || c.copies() == 0 {
		return
	}
	if !l.taken || f.now < f.fenced() || f.pickTarget(h, e, &c, false) == nil { // it can't be, or would help nobody
		l.short, l.urgent = true, true
		f.after(min(f.cfg.patience, f.cfg.heartbeat), timerRevoke, h)
		return
	}
	l.revoking = true
	if at, boot, alive := f.locationOf(l.primary); alive {
		f.acts.revoke = append(f.acts.revoke, revokeAction{h, l.version, at, boot})
	}
}

// lacks notes that a chunk under a lease lacks replicas: it can't be copied while it is
// mutated, and its lease is revoked if that lasts.
func (f *fleet) lacks(h handle, l *leaseEntry, c *chunkCensus) {
	urgent := c.copies() == 1
	if l.revoking || l.urgent || l.short && !urgent || c.missing() <= 0 || c.copies() == 0 {
		return
	}
	l.short, l.urgent = true, urgent
	wait := f.cfg.patience
	if urgent {
		wait = 0
	}
	f.after(wait, timerRevoke, h)
}

// release lets leases on a chunk be granted again.
func (f *fleet) release(h handle) { delete(f.held, h) }

// dropLeasesOf ends the leases that a process had which is no more.
func (f *fleet) dropLeasesOf(s *fleetServer) {
	if s.primaries == 0 {
		return
	}
	for _, h := range slices.Sorted(maps.Keys(f.leases)) {
		if l := f.leases[h]; l.primary == s.row.id {
			f.leaseOver(h, l)
		}
	}
}
