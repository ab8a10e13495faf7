package gfs

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// A simReplica is a replica on a disk.
type simReplica struct {
	version version
	data    []byte
	dirty   uint64 // the boot that may have mutated it since it was clean; 0: none
	suspect bool
	rotten  bool

	verifier writeVerifier
}

// simDiskOp is an operation on a disk. A disk that can lose its power is a log of them.
type simDiskOp struct {
	handle handle
	put    *simReplica // nil: removed
}

// A simDisk holds replicas. With power failures it loses what it has not synced; without,
// it has the page cache of a machine on which processes are killed.
type simDisk struct {
	uuid     [16]byte
	power    bool
	replicas map[handle]*simReplica // of machines that keep their power
	log      *sim.Log[simDiskOp]
}

// A simServer is a chunkserver.
type simServer struct {
	*simHost
	bugs   *simBugs
	disk   *simDisk
	rack   string
	master int
	boot   uint64
	born   time.Time
	id     serverID
	epoch  uint64

	attempts uint64

	replicas map[handle]*simReplica
	roles    map[handle]*simRole
	buffer   map[dataID][]byte
	clones   map[handle]bool
	changes  map[handle]bool
}

// A simRole is what a server does for a chunk that is mutated.
type simRole struct {
	secondary secondary
	primary   *primary
	calls     map[uint64]*simMutation
	ref       uint64
	waiting   []*simWaiting
	due       time.Duration
}

type simMutation struct {
	data  []byte
	reply func(any, error)
}

// A simWaiting is a mutation whose turn has not come.
type simWaiting struct {
	req   *applyReq
	data  []byte
	until time.Duration
	reply func(any, error)
}

func bootSimServer(n *sim.Node[*simMessage], disk *simDisk, rack string, master int, bugs *simBugs) *simServer {
	s := &simServer{simHost: newSimHost(n), bugs: bugs, disk: disk, rack: rack, master: master, born: n.Now(), boot: 1 + n.Uint64N(1<<60),
		replicas: make(map[handle]*simReplica), roles: make(map[handle]*simRole), buffer: make(map[dataID][]byte),
		clones: make(map[handle]bool), changes: make(map[handle]bool)}
	s.serve = s.handle
	if disk.power {
		disk.log = sim.OpenLog[simDiskOp](n, "disk")
		for _, op := range disk.log.Records() {
			if op.put == nil {
				delete(s.replicas, op.handle)
				continue
			}
			r := *op.put
			r.data = bytes.Clone(r.data)
			s.replicas[op.handle] = &r
		}
	} else {
		s.replicas = disk.replicas
	}
	for _, r := range s.replicas { // order-free
		if r.dirty != 0 {
			r.suspect = true
			n.Count("suspects", 1)
		}
	}
	s.register()
	return s
}

func (s *simServer) clock() time.Duration { return s.now().Sub(s.born) }

// store makes a change of a replica, and calls done when it is durable.
func (s *simServer) store(h handle, r *simReplica, done func()) {
	if r == nil {
		delete(s.replicas, h)
	} else {
		s.replicas[h] = r
	}
	if !s.disk.power {
		if done != nil {
			done()
		}
		return
	}
	op := simDiskOp{handle: h}
	if r != nil {
		kept := *r
		kept.data = bytes.Clone(r.data)
		op.put = &kept
	}
	s.disk.log.Append(op)
	if done != nil {
		s.onSync(s.disk.log.Sync, done)
	}
}

func (s *simServer) register() {
	used := int64(0)
	for _, r := range s.replicas { // order-free
		used += int64(len(r.data))
	}
	s.attempts++
	attempt := s.attempts
	req := &registerReq{uuid: s.disk.uuid, boot: s.boot, attempt: attempt, addr: simAddr(s.n.ID()), rack: s.rack, capacity: 1 << 20, used: used, epoch: s.epoch}
	s.call(s.master, req, time.Second, func(body any, err error) {
		if err != nil {
			s.after(50*time.Millisecond, s.register)
			return
		}
		resp := body.(*registerResp)
		s.id, s.epoch = resp.server, max(s.epoch, resp.epoch)
		clear(s.changes)
		report := &reportReq{server: s.id, boot: s.boot, attempt: attempt, last: true}
		for _, h := range slices.Sorted(maps.Keys(s.replicas)) {
			report.replicas = append(report.replicas, s.tell(h))
		}
		s.call(s.master, report, time.Second, func(_ any, err error) {
			if err != nil {
				s.after(50*time.Millisecond, s.register)
				return
			}
			s.beat()
		})
	})
}

func (s *simServer) tell(h handle) replicaState {
	r := s.replicas[h]
	if r == nil {
		return replicaState{handle: h, health: gone}
	}
	state := replicaState{handle: h, version: r.version, length: int64(len(r.data))}
	switch {
	case r.rotten:
		state.health = corrupt
	case r.suspect:
		state.health = suspect
	}
	return state
}

func (s *simServer) beat() {
	req := &heartbeatReq{server: s.id, boot: s.boot, clock: s.clock(), capacity: 1 << 20, cloning: uint64(len(s.clones))}
	sent := s.changes
	if len(sent) > 0 {
		for _, h := range slices.Sorted(maps.Keys(sent)) {
			req.changes = append(req.changes, s.tell(h))
		}
		s.changes = make(map[handle]bool)
	}
	for h, r := range s.roles { // order-free: sorted below
		if p := r.primary; p != nil && p.wants(s.clock()) {
			req.extend = append(req.extend, replicaState{handle: h, version: p.version})
		}
	}
	slices.SortFunc(req.extend, func(a, b replicaState) int { return cmp.Compare(a.handle, b.handle) })
	s.call(s.master, req, 400*time.Millisecond, func(body any, err error) {
		switch {
		case err == errUnregistered:
			s.register()
			return
		case err != nil:
			for h := range sent { // order-free
				s.changes[h] = true
			}
		default:
			s.told(body.(*heartbeatResp))
		}
		s.after(simBeat, s.beat)
	})
}

func (s *simServer) told(resp *heartbeatResp) {
	if resp.epoch < s.epoch {
		return
	}
	s.epoch = resp.epoch
	for _, t := range resp.extended {
		if r := s.roles[t.handle]; r != nil && r.primary != nil {
			r.primary.extend(t)
		}
	}
	for _, d := range resp.delete {
		if r := s.replicas[d.handle]; r != nil && r.version == d.version {
			s.n.Count("deleted", 1)
			s.store(d.handle, nil, nil)
			delete(s.roles, d.handle)
			s.changes[d.handle] = true
		}
	}
}

func (s *simServer) obey(o *order) error {
	switch {
	case o.epoch < s.epoch:
		return errOldEpoch
	case o.server != s.id || o.boot != 0 && o.boot != s.boot:
		return errUnregistered
	}
	s.epoch = o.epoch
	return nil
}

func (s *simServer) role(h handle) *simRole {
	r := s.roles[h]
	if r == nil {
		r = &simRole{calls: make(map[uint64]*simMutation)}
		s.roles[h] = r
	}
	return r
}

// A simPush is pushed data.
type simPush struct {
	id   dataID
	data []byte
}

func (s *simServer) handle(_ int, body any, reply func(any, error)) {
	switch req := body.(type) {
	case *simPush:
		s.buffer[req.id] = req.data
	case *readReq:
		s.read(req, reply)
	case *writeReq:
		s.mutate(req.handle, req.version, req.data, reply, func(p *primary, ref uint64) error {
			return p.write(s.clock(), ref, mutationWrite, req.data, req.off, req.n)
		})
	case *appendReq:
		s.mutate(req.handle, req.version, req.data, reply, func(p *primary, ref uint64) error {
			return p.append(s.clock(), ref, req.data, req.n)
		})
	case *replicaReq:
		s.mutate(req.handle, req.version, dataID{}, reply, func(p *primary, ref uint64) error {
			return p.write(s.clock(), ref, mutationSync, dataID{}, 0, 0)
		})
	case *applyReq:
		s.apply(req, reply)
	default:
		s.ordered(body, reply)
	}
}

// ordered does what the master orders.
func (s *simServer) ordered(body any, reply func(any, error)) {
	switch req := body.(type) {
	case *makeReq:
		if err := s.obey(&req.order); err != nil {
			reply(nil, err)
			return
		}
		if s.again(req.handle, req.version, reply) {
			return
		}
		s.bring(req.handle, &simReplica{version: req.version, dirty: s.boot}, reply)
	case *raiseReq:
		s.raise(req, reply)
	case *forkReq:
		err := s.obey(&req.order)
		if err == nil && s.again(req.to, req.toVersion, reply) {
			return
		}
		src := s.replicas[req.from]
		if err == nil && (src == nil || src.version < req.fromVersion || src.suspect || src.rotten) {
			err = ErrStale
		}
		if err != nil {
			reply(nil, err)
			return
		}
		s.bring(req.to, &simReplica{version: req.toVersion, data: bytes.Clone(src.data), dirty: s.boot, verifier: src.verifier}, reply)
	case *leaseReq:
		s.lease(req, reply)
	case *revokeReq:
		s.revoke(req, s.clock()+300*time.Millisecond, reply)
	case *cloneReq:
		err := s.obey(&req.order)
		if err == nil && !s.clones[req.handle] {
			s.clones[req.handle] = true
			s.clone(req)
		}
		reply(nil, err)
	case *digestReq:
		s.digest(req, reply)
	case *blocksReq: // the first half
		s.read(&readReq{handle: req.handle, version: req.version, n: simChunkSize / 2}, func(body any, err error) {
			if err != nil {
				reply(nil, err)
				return
			}
			reply(&blocksResp{Body: body.(*readResp).Body, verifier: s.replicas[req.handle].verifier}, nil)
		})
	case *acceptReq:
		err := s.obey(&req.order)
		r := s.replicas[req.handle]
		if err == nil && (r == nil || r.version != req.version || r.rotten) {
			err = ErrStale
		}
		if err == nil {
			r.suspect, r.dirty = false, 0
			if !s.bugs.sameVerifier {
				r.verifier = req.verifier
			}
			s.changes[req.handle] = true
			s.store(req.handle, r, func() { reply(nil, nil) })
			return
		}
		reply(nil, err)
	}
}

// again answers an order to make a replica that is there.
func (s *simServer) again(h handle, v version, reply func(any, error)) bool {
	old := s.replicas[h]
	switch {
	case old == nil:
		return false
	case old.version != v:
		reply(nil, ErrStale)
	default:
		s.store(h, old, func() {
			reply(&raiseResp{boot: s.boot, clock: s.clock(), length: int64(len(old.data))}, nil)
		})
	}
	return true
}

// bring makes a replica durable and then answers.
func (s *simServer) bring(h handle, r *simReplica, reply func(any, error)) {
	s.store(h, r, func() {
		if s.replicas[h] == r {
			s.raised(h, r.version)
		}
		reply(&raiseResp{boot: s.boot, clock: s.clock(), length: int64(len(r.data))}, nil)
	})
	s.changes[h] = true
}

func (s *simServer) raise(req *raiseReq, reply func(any, error)) {
	err := s.obey(&req.order)
	r := s.replicas[req.handle]
	if err == nil && (r == nil || r.version < req.from || r.version > req.to || r.suspect || r.rotten) {
		err = ErrStale
	}
	if err != nil {
		reply(nil, err)
		return
	}
	r.version, r.dirty = req.to, s.boot
	s.raised(req.handle, req.to) // none of an older version from now on
	s.changes[req.handle] = true
	s.store(req.handle, r, func() {
		reply(&raiseResp{boot: s.boot, clock: s.clock(), length: int64(len(r.data))}, nil)
	})
}

func (s *simServer) raised(h handle, v version) {
	r := s.role(h)
	r.secondary.raise(v)
	if r.primary != nil {
		r.primary.raised(v)
		s.follow(h, r)
	}
	s.retry(h, r)
}

func (s *simServer) lease(req *leaseReq, reply func(any, error)) {
	err := s.obey(&req.order)
	rep := s.replicas[req.handle]
	r := s.role(req.handle)
	if err == nil && (rep == nil || rep.version != req.version || r.secondary.version != req.version) {
		err = ErrStale
	}
	if err == nil {
		p := r.primary
		switch {
		case p != nil && p.version == req.version && p.over == nil:
			p.extend(req.leaseTerm)
		case p != nil && p.lease(s.clock(), req.leaseTerm, req.others):
		case p != nil && p.version == req.version:
			err = ErrStale
		default:
			if p != nil {
				p.fail(ErrStale)
				s.follow(req.handle, r)
			}
			others := req.others
			if s.bugs.lostMember && len(others) > 0 {
				others = others[1:]
			}
			r.primary = newPrimary(req.leaseTerm, others, int64(len(rep.data)), simChunkSize)
		}
		s.follow(req.handle, r)
	}
	reply(nil, err)
}

func (s *simServer) revoke(req *revokeReq, limit time.Duration, reply func(any, error)) {
	if err := s.obey(&req.order); err != nil {
		reply(nil, err)
		return
	}
	r := s.roles[req.handle]
	if r == nil || r.primary == nil || r.primary.version > req.version || r.primary.over != nil {
		reply(nil, nil)
		return
	}
	r.primary.revoke()
	switch {
	case r.primary.idle():
		r.primary.fail(ErrStale)
		s.follow(req.handle, r)
		s.n.Count("revoked", 1)
		reply(nil, nil)
	case s.clock() > limit:
		r.primary.fail(ErrStale)
		s.follow(req.handle, r)
		reply(nil, ErrUnavailable)
	default:
		s.after(10*time.Millisecond, func() { s.revoke(req, limit, reply) })
	}
}

// clone copies a replica in two halves, as a crash may come in between.
func (s *simServer) clone(req *cloneReq) {
	over := func(err error) {
		delete(s.clones, req.handle)
		s.changes[req.handle] = true
		if err == nil {
			s.n.Count("cloned", 1)
		}
	}
	src := simNode(req.from[s.n.Uint64N(uint64(len(req.from)))])
	s.call(src, &blocksReq{handle: req.handle, version: req.version}, 500*time.Millisecond, func(body any, err error) {
		if err != nil {
			over(err)
			return
		}
		verifier := body.(*blocksResp).verifier
		data := bytes.Clone(body.(*blocksResp).Data)
		if s.bugs.halfClone {
			s.store(req.handle, &simReplica{version: req.version, data: bytes.Clone(data), verifier: verifier}, nil)
			s.changes[req.handle] = true
		}
		s.call(src, &readReq{handle: req.handle, version: req.version, off: simChunkSize / 2, n: simChunkSize / 2}, 500*time.Millisecond, func(body any, err error) {
			if err != nil {
				over(err)
				return
			}
			if rest := body.(*readResp).Data; len(rest) > 0 {
				data = append(append(data, make([]byte, simChunkSize/2-len(data))...), rest...)
			}
			if old := s.replicas[req.handle]; old != nil && old.version >= req.version && !old.rotten && !old.suspect {
				over(ErrStale)
				return
			}
			s.store(req.handle, &simReplica{version: req.version, data: data, verifier: verifier}, func() { over(nil) })
		})
	})
}

func (s *simServer) digest(req *digestReq, reply func(any, error)) {
	err := s.obey(&req.order)
	r := s.replicas[req.handle]
	if err == nil && r == nil {
		err = errNoChunk
	}
	if err != nil {
		reply(nil, err)
		return
	}
	h := fnv.New64()
	h.Write(r.data)
	d := &digestResp{version: r.version, length: int64(len(r.data)), sum: h.Sum64(), health: s.tell(req.handle).health,
		verifier: r.verifier, kept: !r.suspect || !s.disk.power}
	if r.rotten {
		d.bad = []uint64{0}
	}
	reply(d, nil)
}

func (s *simServer) read(req *readReq, reply func(any, error)) {
	r := s.replicas[req.handle]
	switch {
	case r == nil:
		reply(nil, errNoChunk)
	case r.version < req.version && !s.bugs.skipVersion:
		reply(nil, ErrStale)
	case r.suspect:
		reply(nil, errSuspect)
	case r.rotten:
		reply(nil, ErrChecksum)
	default:
		resp := &readResp{length: int64(len(r.data))}
		resp.Data = bytes.Clone(r.data[min(req.off, int64(len(r.data))):min(req.off+req.n, int64(len(r.data)))])
		reply(resp, nil)
	}
}

func (s *simServer) mutate(h handle, v version, id dataID, reply func(any, error), begin func(p *primary, ref uint64) error) {
	r := s.roles[h]
	switch {
	case r == nil || r.primary == nil || r.primary.version != v || r.primary.over != nil || epochOfVersion(v) < s.epoch:
		reply(nil, ErrStale)
		return
	case id != dataID{} && s.buffer[id] == nil:
		reply(nil, errNoData)
		return
	}
	r.ref++
	if err := begin(r.primary, r.ref); err != nil {
		reply(nil, err)
		return
	}
	r.calls[r.ref] = &simMutation{data: s.buffer[id], reply: reply}
	s.follow(h, r)
}

// follow does what a primary says.
func (s *simServer) follow(h handle, r *simRole) {
	p := r.primary
	next := p.tick(s.clock())
	for _, a := range p.take() {
		c := r.calls[a.op.ref]
		switch a.kind {
		case actApply:
			s.perform(h, a.version, a.op.kind, a.op.off, a.op.n, c.data, func(err error) {
				p.applied(s.clock(), a.version, a.op.ref, err)
				s.follow(h, r)
			})
		case actSend:
			s.pass(h, r, p, a, c)
		case actReform:
			req := &reformReq{handle: h, version: a.version, server: s.id, boot: s.boot, failed: a.failed}
			s.call(s.master, req, 2*time.Second, func(_ any, err error) {
				p.reformed(a.version, err)
				s.follow(h, r)
			})
		case actAnswer:
			delete(r.calls, a.op.ref)
			if c == nil {
				continue
			}
			verifier := writeVerifier(0)
			if r := s.replicas[h]; r != nil {
				verifier = r.verifier
			}
			c.reply(&appendResp{off: a.op.off, version: a.version, verifier: verifier}, a.err)
		}
	}
	if p != r.primary || next == 0 || r.due != 0 && r.due <= next && r.due > s.clock() {
		return
	}
	r.due = next
	s.after(max(next-s.clock(), time.Millisecond), func() {
		if r.due == next {
			r.due = 0
		}
		if r.primary != nil {
			s.follow(h, r)
		}
	})
}

func (s *simServer) pass(h handle, r *simRole, p *primary, a primaryAction, c *simMutation) {
	req := &applyReq{handle: h, version: a.version, serial: a.op.serial, kind: a.op.kind, data: a.op.data, off: a.op.off, n: a.op.n}
	if a.resend && c != nil {
		req.kind, req.resent = mutationResend, c.data
	}
	s.call(simNode(a.to), req, 3*time.Second, func(body any, err error) {
		applied := uint64(0)
		if err == nil {
			applied = body.(*applyResp).applied
		}
		if err == errSimTimeout {
			err = fmt.Errorf("%w: %w", errUnreached, err)
		}
		p.answered(s.clock(), a.version, a.to.id, a.op.serial, applied, err)
		s.follow(h, r)
	})
}

// perform applies a mutation to the replica here.
func (s *simServer) perform(h handle, v version, kind mutationKind, off, n int64, data []byte, done func(error)) {
	r := s.replicas[h]
	switch {
	case r == nil:
		done(errNoChunk)
		return
	case r.version != v && !s.bugs.skipVersion:
		done(ErrStale)
		return
	}
	if kind == mutationSync {
		if s.bugs.forgetSync {
			done(nil)
			return
		}
		s.store(h, r, func() { done(nil) })
		return
	}
	if end := off + n; int64(len(r.data)) < end {
		r.data = append(r.data, make([]byte, end-int64(len(r.data)))...)
	}
	if kind != mutationPad {
		copy(r.data[off:off+n], data)
	}
	s.store(h, r, nil)
	done(nil)
}

// apply applies a mutation as a secondary, when its turn comes.
func (s *simServer) apply(req *applyReq, reply func(any, error)) {
	r := s.roles[req.handle]
	if r == nil || epochOfVersion(req.version) < s.epoch && !s.bugs.skipVersion {
		reply(nil, ErrStale)
		return
	}
	if s.bugs.skipVersion {
		r.secondary.version = req.version
	}
	if s.bugs.pastGap && req.serial > r.secondary.applied {
		r.secondary.applied = req.serial - 1
	}
	if r.primary != nil && req.version == r.secondary.version {
		r.primary.follows(req.version)
		s.follow(req.handle, r)
	}
	data := req.resent
	if req.kind == mutationWrite {
		if data = s.buffer[req.data]; data == nil {
			if turn, _ := r.secondary.offer(req.version, req.serial); turn == turnNow {
				r.secondary.busy = false
			}
			reply(nil, errNoData)
			return
		}
	}
	r.waiting = append(r.waiting, &simWaiting{req: req, data: data, until: s.clock() + 500*time.Millisecond, reply: reply})
	s.retry(req.handle, r)
	s.after(500*time.Millisecond, func() { s.retry(req.handle, r) })
}

// retry offers again what waits.
func (s *simServer) retry(h handle, r *simRole) {
	waiting := r.waiting
	r.waiting = nil
	slices.SortStableFunc(waiting, func(a, b *simWaiting) int { return cmp.Compare(a.req.serial, b.req.serial) })
	for _, w := range waiting {
		turn, err := r.secondary.offer(w.req.version, w.req.serial)
		switch turn {
		case turnNow:
			v := w.req.version
			s.perform(h, v, w.req.kind, w.req.off, w.req.n, w.data, func(err error) {
				r.secondary.done(v, err)
				if err == nil && v != r.secondary.version {
					err = ErrStale
				}
				w.reply(&applyResp{applied: r.secondary.applied}, err)
				s.retry(h, r)
			})
		case turnPast:
			w.reply(&applyResp{applied: r.secondary.applied}, nil)
		case turnNever:
			w.reply(nil, err)
		default:
			if s.clock() >= w.until {
				w.reply(nil, r.secondary.gap(w.req.serial))
			} else {
				r.waiting = append(r.waiting, w)
			}
		}
	}
}
