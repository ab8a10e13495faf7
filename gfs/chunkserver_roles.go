package gfs

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// A role is what a chunkserver does for one chunk that is mutated: it has the order of
// mutations as a secondary, and while it has the lease the primary. There is one from the
// first order of the master on, and not before: what comes without is of the past.
type role struct {
	s      *Chunkserver
	handle handle

	mu        sync.Mutex // guards what follows
	epoch     uint64     // of the order that brought the replica to its version
	secondary secondary
	primary   *primary // the last there was; over when its lease is
	calls     map[uint64]*mutationCall
	ref       uint64
	timer     *time.Timer   // ticks the primary
	changed   chan struct{} // not nil: somebody waits for a change; closed then
	touched   time.Time
	forgotten bool // the table has it no more
}

// A mutationCall is a mutation that a client waits for. Its data stays in memory until
// everyone has let go of it who works on it, also if the call has failed before.
type mutationCall struct {
	blob *blob
	free func(used bool) // lets go of the data in the buffer; nil: there is none
	off  int64           // where it went

	version version // of the members that have it
	err     error
	done    chan struct{}

	holders atomic.Int32 // the call itself, until it is over, and who works on it
}

// hold returns the data, unless nobody holds it any more; then release must follow.
func (c *mutationCall) hold() (*blob, bool) {
	for {
		n := c.holders.Load()
		if n == 0 {
			return nil, false
		}
		if c.holders.CompareAndSwap(n, n+1) {
			return c.blob, true
		}
	}
}

// release ends a hold. The last one lets go of the data: what was written is not needed
// any more, what was not may be asked for again.
func (c *mutationCall) release() {
	if c.holders.Add(-1) == 0 && c.free != nil {
		c.free(c.err == nil)
	}
}

// role returns the role in a chunk, or nil.
func (s *Chunkserver) role(h handle) *role {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roles[h]
}

// takeRole returns the role in a chunk, which is new if need be, locked.
func (s *Chunkserver) takeRole(h handle) *role {
	for {
		s.mu.Lock()
		r := s.roles[h]
		if r == nil {
			r = &role{s: s, handle: h, calls: make(map[uint64]*mutationCall)}
			s.roles[h] = r
		}
		s.mu.Unlock()
		r.mu.Lock()
		if !r.forgotten {
			r.touched = time.Now()
			return r
		}
		r.mu.Unlock()
	}
}

// forget forgets a role. r.mu is held.
func (r *role) forget() {
	r.forgotten = true
	r.s.mu.Lock()
	delete(r.s.roles, r.handle)
	r.s.mu.Unlock()
}

// allRoles returns the roles there are, in no order.
func (s *Chunkserver) allRoles() []*role {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*role, 0, len(s.roles))
	for _, r := range s.roles {
		all = append(all, r)
	}
	return all
}

// leader returns the role in which this server is the primary of a chunk.
func (s *Chunkserver) leader(h handle, v version) (*role, error) {
	if r := s.role(h); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if err := r.leads(v); err != nil {
			return nil, err
		}
		return r, nil
	}
	if _, err := s.store.find(h); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: no lease on %x here", ErrStale, uint64(h))
}

// leads says why this is not the primary at a version. r.mu is held.
func (r *role) leads(v version) error {
	if r.primary == nil || r.primary.version != v || r.primary.over != nil {
		return fmt.Errorf("%w: no lease on %x at version %d here", ErrStale, uint64(r.handle), v)
	}
	return nil
}

// leading reports whether this server has, or had until just now, the lease on a chunk.
func (s *Chunkserver) leading(h handle) bool {
	r := s.role(h)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.primary != nil && r.primary.over == nil && s.clock() < r.primary.until
}

// forgetRoles forgets what nothing has been ordered of for long.
func (s *Chunkserver) forgetRoles() {
	for _, r := range s.allRoles() {
		r.mu.Lock()
		p := r.primary
		if time.Since(r.touched) > forgetAfter && (p == nil || p.idle() && s.clock() >= p.until) {
			r.forget()
		}
		r.mu.Unlock()
	}
}

// endRoles fails everything in progress.
func (s *Chunkserver) endRoles() {
	for _, r := range s.allRoles() {
		r.mu.Lock()
		if r.primary != nil {
			r.primary.fail(ErrClosed)
			r.follow(r.primary)
		}
		r.stir()
		r.mu.Unlock()
	}
}

// stir tells those who wait that something has changed. r.mu is held.
func (r *role) stir() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// wait returns what is closed at the next change. r.mu is held.
func (r *role) wait() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// past reports whether a secondary has applied a mutation already, and how far it is.
// What was in progress here under an earlier lease ends.
func (r *role) past(v version, serial uint64) (applied uint64, past bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.cfg.planted.apply(r, v, serial)
	if v != r.secondary.version {
		return 0, false, fmt.Errorf("%w: mutation at version %d of a replica at %d", ErrStale, v, r.secondary.version)
	}
	if r.primary != nil && r.primary.version == v {
		return 0, false, fmt.Errorf("%w: this is the primary of %x at version %d", ErrStale, uint64(r.handle), v)
	}
	if p := r.primary; p != nil {
		p.follows(v)
		r.follow(p)
	}
	return r.secondary.applied, serial <= r.secondary.applied, nil
}

// await waits for the turn of a mutation; it is not now if it has passed.
func (r *role) await(ctx context.Context, v version, serial uint64) (now bool, err error) {
	var limit <-chan time.Time
	for {
		r.mu.Lock()
		r.s.cfg.planted.apply(r, v, serial)
		turn, err := r.secondary.offer(v, serial)
		if turn != turnLater {
			r.touched = time.Now()
			r.mu.Unlock()
			return turn == turnNow, err
		}
		changed, gap := r.wait(), r.secondary.gap(serial)
		r.mu.Unlock()
		if limit == nil {
			timer := time.NewTimer(gapWait)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-changed:
		case <-limit:
			return false, gap
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// done ends the turn of a mutation, if it had one, and returns how far the secondary is.
func (r *role) done(v version, now bool, err error) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now {
		r.secondary.done(v, err)
		r.stir()
	}
	if err == nil && v != r.secondary.version {
		err = fmt.Errorf("%w: the replica of %x has come to version %d", ErrStale, uint64(r.handle), r.secondary.version)
	}
	return r.secondary.applied, err
}

// raised is told that the replica has come to a version by an order of the master.
// r.mu is held.
func (r *role) raised(v version) {
	r.secondary.raise(v)
	if p := r.primary; p != nil {
		p.raised(v)
		r.follow(p)
	}
	r.stir()
}

// lead makes the server the primary, or prolongs what it is. r.mu is held.
func (r *role) lead(term leaseTerm, others []location, length int64) error {
	if r.secondary.version != term.version {
		return fmt.Errorf("%w: a lease at version %d on a replica at %d", ErrStale, term.version, r.secondary.version)
	}
	p := r.primary
	switch {
	case p != nil && p.version == term.version && p.over == nil:
		p.extend(term)
		return nil
	case p != nil && p.lease(r.s.clock(), term, others):
	case p != nil && p.version == term.version:
		return fmt.Errorf("%w: the lease on %x at version %d is over", ErrStale, uint64(r.handle), term.version)
	default:
		if p != nil {
			p.fail(fmt.Errorf("%w: another lease on %x", ErrStale, uint64(r.handle)))
			r.follow(p)
		}
		p = newPrimary(term, others, length, r.s.size())
		r.primary = p
	}
	r.follow(p)
	return nil
}

// begin begins a mutation. If the primary is busy, it returns what is closed when to try
// again.
func (r *role) begin(v version, c *mutationCall, begin func(p *primary, ref uint64) error) (<-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.leads(v); err != nil {
		return nil, err
	}
	r.ref++
	if err := begin(r.primary, r.ref); err != nil {
		return r.wait(), err
	}
	r.calls[r.ref] = c
	r.touched = time.Now()
	r.follow(r.primary)
	return nil, nil
}

// follow does what a primary says. r.mu is held.
func (r *role) follow(p *primary) {
	next := p.tick(r.s.clock())
	for _, a := range p.take() {
		switch a.kind {
		case actApply:
			c := r.calls[a.op.ref]
			r.s.goOn(func() { r.applyHere(p, a, c) })
		case actSend:
			c := r.calls[a.op.ref]
			r.s.goOn(func() { r.send(p, a, c) })
		case actReform:
			r.s.log.Warn("asking for another grant", "chunk", uint64(r.handle), "version", uint64(a.version), "without", a.failed, "why", a.err)
			r.s.goOn(func() { r.reform(p, a) })
		case actAnswer:
			c := r.calls[a.op.ref]
			delete(r.calls, a.op.ref)
			c.off, c.version, c.err = a.op.off, a.version, a.err
			c.release()
			close(c.done)
		}
	}
	if p == r.primary {
		r.arm(next)
	}
	r.stir()
}

// arm has the primary ticked at a time of the clock; 0: not at all. r.mu is held.
func (r *role) arm(next time.Duration) {
	if next == 0 {
		if r.timer != nil {
			r.timer.Stop()
		}
		return
	}
	d := max(next-r.s.clock(), time.Millisecond)
	if r.timer != nil {
		r.timer.Reset(d)
		return
	}
	r.timer = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.primary != nil {
			r.follow(r.primary)
		}
	})
}

// applyHere applies a mutation to the replica here.
func (r *role) applyHere(p *primary, a primaryAction, c *mutationCall) {
	err := error(nil)
	if b, held := c.hold(); held {
		err = r.s.perform(r.handle, a.version, a.op.kind, a.op.off, a.op.n, b)
		c.release()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.applied(r.s.clock(), a.version, a.op.ref, err)
	r.follow(p)
}

// send passes a mutation on to a secondary.
func (r *role) send(p *primary, a primaryAction, c *mutationCall) {
	req := &applyReq{
		handle: r.handle, version: a.version, serial: a.op.serial, kind: a.op.kind,
		data: a.op.data, off: a.op.off, n: a.op.n,
	}
	if a.resend {
		b, held := c.hold()
		if !held {
			return
		}
		req.kind, req.resent = mutationResend, b.bytes(nil)
		c.release()
	}
	applied, err := r.s.sendApply(a.to.addr, req)
	r.mu.Lock()
	defer r.mu.Unlock()
	p.answered(r.s.clock(), a.version, a.to.id, a.op.serial, applied, err)
	r.follow(p)
}

// sendApply calls a secondary. The error matches errUnreached if it has not answered.
func (s *Chunkserver) sendApply(addr string, req *applyReq) (uint64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, syncPatience)
	defer cancel()
	peer, err := s.peers.take(addr)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnreached, err)
	}
	defer peer.done()
	resp, err := rpc.Call[applyResp](ctx, peer.client, methodApply, req)
	if err != nil {
		if rpc.OutcomeOf(err) != rpc.Executed {
			err = fmt.Errorf("%w: %w", errUnreached, err)
		}
		return 0, err
	}
	return resp.applied, nil
}
