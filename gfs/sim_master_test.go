package gfs

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

const (
	// simChunkSize is the size of a chunk in the simulation.
	simChunkSize = 1024
	// simBeat is how often chunkservers give a sign of life there: half of all that happens
	// in a seed follows from it.
	simBeat = 200 * time.Millisecond
)

var simFleetConfig = fleetConfig{
	chunkSize: simChunkSize, lease: 1500 * time.Millisecond, heartbeat: simBeat, dead: time.Second,
	retryFirst: 100 * time.Millisecond, retryMost: time.Second, cloneTime: 2 * time.Second, patience: 500 * time.Millisecond, mendAfter: 20 * time.Second,
	parkedRetry: time.Second, balanceEach: 500 * time.Millisecond,
}

// A simEntry is an entry of the master's log.
type simEntry struct {
	at  time.Time
	cmd []byte
}

// simMaster is a master.
type simMaster struct {
	*simHost
	bugs   *simBugs
	log    *sim.Log[simEntry]
	at     time.Time
	state  *state
	fleet  *fleet
	epoch  uint64
	next   handle
	end    handle
	ticks  int
	busy   map[chunkKey][]func() // who waits for a place in a file
	locked map[string]bool       // trees that a snapshot is being made of
}

func bootSimMaster(n *sim.Node[*simMessage], bugs *simBugs) *simMaster {
	m := &simMaster{simHost: newSimHost(n), bugs: bugs, log: sim.OpenLog[simEntry](n, "log"), state: newState(),
		busy: make(map[chunkKey][]func()), locked: make(map[string]bool)}
	m.serve = m.handle
	for i, e := range m.log.Records() {
		m.state.Apply(uint64(i)+1, e.at, e.cmd, nil)
		m.at = e.at
	}
	m.state.watch(true)
	m.fleet = newFleet(simFleetConfig, m.state)
	epoch := m.state.epoch() + 1
	lead := &cmdLead{epoch: epoch, chunkSize: simChunkSize}
	m.propose(lead.append(nil), func(out []byte) {
		if err := lead.result(out); err != nil {
			n.Failf("a new master cannot lead: %v", err)
		}
		m.epoch = epoch
		m.fleet.begin(m.now(), epoch, m.state.known())
		m.tick()
	})
	return m
}

// propose appends a command; done gets its output when it is safe.
func (m *simMaster) propose(cmd []byte, done func(out []byte)) {
	if now := m.now(); now.After(m.at) {
		m.at = now
	}
	index := m.log.Append(simEntry{at: m.at, cmd: cmd}) + 1
	out := m.state.Apply(uint64(index), m.at, cmd, nil)
	if m.bugs.unsafeReply {
		done(out)
		return
	}
	m.onSync(m.log.Sync, func() { done(out) })
}

func (m *simMaster) tick() {
	for _, h := range m.state.takeTouched() {
		m.fleet.touched(h)
	}
	acts := m.fleet.tick(m.now())
	m.ticks++
	if m.ticks%4 == 0 { // what is wrong stays wrong
		if err := m.fleet.check(); err != nil {
			m.n.Failf("the fleet: %v", err)
		}
	}
	for _, id := range acts.dead {
		m.n.Count("dead", 1)
		m.n.Logf("server %d is dead", id)
	}
	for _, a := range acts.adopt {
		m.n.Count("adopted", 1)
		m.propose((&cmdAdopt{epoch: m.epoch, handle: a.handle, version: a.version}).append(nil), func([]byte) {})
	}
	for _, a := range acts.revoke {
		m.call(simNode(a.primary), &revokeReq{order: order{m.epoch, a.primary.id, a.boot}, handle: a.handle, version: a.version}, time.Second,
			func(_ any, err error) { m.fleet.revoked(m.now(), a.handle, a.version, err == nil) })
	}
	for _, a := range acts.clone {
		m.n.Count("clones", 1)
		req := &cloneReq{order: order{m.epoch, a.to.id, a.boot}, handle: a.handle, version: a.version, from: a.from}
		m.call(simNode(a.to), req, time.Second, func(_ any, err error) {
			if err != nil {
				m.fleet.unreached(m.now(), a.to.id)
				m.fleet.cloneFailed(m.now(), a.handle, a.to.id)
			}
		})
	}
	for _, a := range acts.compare {
		m.compare(a)
	}
	if m.ticks%2 == 0 {
		m.propose((&cmdCollect{epoch: m.epoch, limit: 100}).append(nil), func([]byte) {})
	}
	m.after(simBeat/2, m.tick)
}

func (m *simMaster) compare(a compareAction) {
	m.n.Count("compares", 1)
	replicas := make([]digested, len(a.holders))
	left := len(replicas)
	if left == 0 {
		m.accept(a, nil)
	}
	for i, h := range a.holders {
		m.call(simNode(h.location), &digestReq{order: order{m.epoch, h.id, h.boot}, handle: a.handle}, time.Second, func(body any, err error) {
			replicas[i] = digested{holder: h, err: err}
			if err == nil {
				replicas[i].digest = *body.(*digestResp)
			}
			if left--; left == 0 {
				m.accept(a, replicas)
			}
		})
	}
}

func (m *simMaster) accept(a compareAction, replicas []digested) {
	todo := compareReplicas(replicas, a.mend)
	accepted := make([]bool, len(replicas))
	list := slices.Clone(todo.accept)
	verifier := todo.verifier(replicas, func() writeVerifier { return writeVerifier(m.n.Uint64N(1<<62) + 1) })
	if todo.mend >= 0 {
		m.n.Count("mended", 1)
		list = append(list, todo.mend)
	}
	left := len(list)
	end := func() {
		m.fleet.compared(m.now(), a.handle, todo.verdicts(replicas, func(i int) bool { return accepted[i] }))
		if todo.mend >= 0 && accepted[todo.mend] {
			m.carry(newGrant(m.fleet, a.handle, grantWish{}, false), nil, func(error) {})
		}
	}
	if left == 0 {
		end()
	}
	for _, i := range list {
		h := replicas[i].holder
		m.call(simNode(h.location), &acceptReq{order: order{m.epoch, h.id, h.boot}, handle: a.handle, version: h.version, verifier: verifier}, time.Second, func(_ any, err error) {
			accepted[i] = err == nil
			if left--; left == 0 {
				end()
			}
		})
	}
}

var errSimAgain = errors.New("try again")

var simSuper = identity{super: true}

func (m *simMaster) handle(_ int, body any, reply func(any, error)) {
	if m.epoch == 0 {
		reply(nil, errSimAgain)
		return
	}
	switch req := body.(type) {
	case *registerReq:
		m.register(req, reply)
	case *reportReq:
		reply(nil, m.fleet.report(m.now(), req))
	case *heartbeatReq:
		resp := new(heartbeatResp)
		err := m.fleet.heartbeat(m.now(), req, resp)
		reply(resp, err)
	case *createReq:
		cmd := &cmdCreate{cmdHeader{m.epoch, simSuper, 1}, *req}
		m.propose(cmd.append(nil), func(out []byte) { _, err := cmd.result(out); reply(nil, err) })
	case *removeReq:
		cmd := &cmdRemove{cmdHeader{m.epoch, simSuper, 1}, *req}
		m.propose(cmd.append(nil), func(out []byte) { _, err := cmd.result(out); reply(nil, err) })
	case *pairReq:
		m.snapshot(req, reply)
	case *lookupReq:
		m.lookup(req, reply)
	case *grantReq:
		m.enter(req, reply)
	case *reformReq:
		m.reform(req, reply)
	}
}

func (m *simMaster) register(req *registerReq, reply func(any, error)) {
	registered := func() {
		row, _ := m.state.serverOf(req.uuid)
		m.fleet.setServer(m.now(), row)
		m.fleet.register(m.now(), row.id, req)
		reply(&registerResp{server: row.id, epoch: m.epoch}, nil)
	}
	if _, known := m.state.serverOf(req.uuid); known {
		registered()
		return
	}
	cmd := &cmdServer{epoch: m.epoch, uuid: req.uuid, addr: req.addr, rack: req.rack}
	m.propose(cmd.append(nil), func([]byte) { registered() })
}

// lookup answers when what it has read is safe.
func (m *simMaster) lookup(req *lookupReq, reply func(any, error)) {
	resp := new(lookupResp)
	var err error
	if resp.file, resp.chunks, resp.found, err = m.state.lookup(simSuper, req.path, 0, 0, 100); err != nil {
		reply(nil, err)
		return
	}
	for i := range resp.found {
		resp.found[i].where = m.fleet.locate(resp.found[i].handle, nil)
	}
	m.onSync(m.log.Sync, func() { reply(resp, nil) })
}

// enter waits for the place in a file, and grants.
func (m *simMaster) enter(req *grantReq, reply func(any, error)) {
	place, err := m.state.chunkAt(simSuper, req.path, req.file, req.index, req.last)
	if err != nil {
		reply(nil, err)
		return
	}
	if m.locked[req.path] || m.fleet.safeMode(m.state.counts().chunks) {
		reply(nil, errSimAgain)
		return
	}
	key := chunkKey{file: place.file, index: place.index}
	if waiting, busy := m.busy[key]; busy {
		m.busy[key] = append(waiting, func() { m.grantAt(key, req, reply) })
		return
	}
	m.busy[key] = nil
	m.grantAt(key, req, reply)
}

func (m *simMaster) leave(key chunkKey) {
	waiting := m.busy[key]
	if len(waiting) == 0 {
		delete(m.busy, key)
		return
	}
	m.busy[key] = waiting[1:]
	waiting[0]()
}

func (m *simMaster) grantAt(key chunkKey, req *grantReq, reply func(any, error)) {
	place, err := m.state.chunkAt(simSuper, req.path, key.file, req.index, req.last)
	if err == nil && m.locked[req.path] {
		err = errSimAgain
	}
	if err != nil {
		reply(nil, err)
		m.leave(key)
		return
	}
	resp := &grantResp{}
	resp.chunk.index = place.index
	header := cmdHeader{m.epoch, simSuper, 1}
	var g *grant
	var log func(g *grant) ([]byte, func([]byte) error)
	switch {
	case place.handle == 0:
		g = newMake(m.fleet, 3, nil)
		log = func(g *grant) ([]byte, func([]byte) error) {
			cmd := &cmdAddChunk{cmdHeader: header, path: req.path, file: place.file, index: place.index, handle: g.chunk, version: g.version}
			return cmd.append(nil), func(out []byte) error { return simMade(cmd.result(out)) }
		}
	case place.row.refs > 1:
		m.n.Count("forks", 1)
		g = newFork(m.fleet, place.handle)
		log = func(g *grant) ([]byte, func([]byte) error) {
			cmd := &cmdFork{cmdHeader: header, path: req.path, file: place.file, index: place.index, from: place.handle, to: g.chunk, version: g.version}
			return cmd.append(nil), func(out []byte) error { return simMade(cmd.result(out)) }
		}
	default:
		if lease, ok := m.fleet.lease(m.now(), place.handle); ok && req.known < lease.version {
			resp.chunk.handle, resp.chunk.version, resp.chunk.where = place.handle, lease.version, lease.members
			reply(resp, nil)
			m.leave(key)
			return
		}
		g = newGrant(m.fleet, place.handle, grantWish{}, true)
	}
	m.carry(g, log, func(err error) {
		if err != nil {
			reply(nil, err)
		} else {
			m.n.Count("grants", 1)
			resp.chunk.handle, resp.chunk.version, resp.chunk.where = g.chunk, g.version, g.locations()
			reply(resp, nil)
		}
		m.leave(key)
	})
}

func simMade(r chunkResult, err error) error {
	if err == nil && r.existed {
		return errSuperseded
	}
	return err
}

// carry does what a grant wants.
func (m *simMaster) carry(g *grant, log func(g *grant) ([]byte, func([]byte) error), done func(error)) {
	first := g.kind
	var step func(s grantStep)
	step = func(s grantStep) {
		switch s.what {
		case stepIssue:
			m.issue(func(h handle) { step(g.issued(m.now(), h, nil)) })
		case stepAsk:
			for i, a := range slices.Clone(g.asked) {
				m.call(simNode(a.to), m.ask(g, a), 300*time.Millisecond, func(body any, err error) {
					resp, _ := body.(*raiseResp)
					if m.bugs.grantEarly && err != nil && g.missing == 1 && slices.ContainsFunc(g.answers, func(x grantMember) bool { return x.id != 0 }) {
						g.missing, g.answers = 0, slices.DeleteFunc(g.answers, func(x grantMember) bool { return x.id == 0 })
						step(grantStep{what: stepLog})
						return
					}
					if err != nil {
						resp = nil
					}
					if s := g.answered(m.now(), i, resp, err); s.what != stepWait {
						step(s)
					}
				})
			}
		case stepLog:
			cmd, result := m.logVersion(g)
			if log != nil && g.kind == first {
				cmd, result = log(g)
			}
			m.propose(cmd, func(out []byte) { step(g.logged(m.now(), result(out))) })
		case stepLease:
			where := g.locations()
			m.call(simNode(where[0]), &leaseReq{order: order{epoch: m.epoch, server: where[0].id}, leaseTerm: s.term, others: where[1:]},
				300*time.Millisecond, func(_ any, err error) { step(g.leased(m.now(), err)) })
		case stepDone:
			done(s.err)
		}
	}
	step(g.begin(m.now()))
}

func (m *simMaster) logVersion(g *grant) ([]byte, func([]byte) error) {
	cmd := &cmdGrant{epoch: m.epoch, handle: g.chunk, from: g.from, to: g.version}
	return cmd.append(nil), cmd.result
}

func (m *simMaster) ask(g *grant, a grantAsk) any {
	order := order{m.epoch, a.to.id, a.boot}
	switch g.kind {
	case grantMake:
		return &makeReq{order, g.chunk, g.version}
	case grantFork:
		return &forkReq{order, g.source, a.from, g.chunk, g.version}
	default:
		return &raiseReq{order, g.chunk, a.from, g.version}
	}
}

func (m *simMaster) issue(done func(h handle)) {
	if m.next < m.end {
		m.next++
		done(m.next - 1)
		return
	}
	cmd := &cmdReserve{epoch: m.epoch, n: 16}
	m.propose(cmd.append(nil), func(out []byte) {
		first, err := cmd.result(out)
		if err != nil {
			m.n.Failf("no handles: %v", err)
			return
		}
		if m.next >= m.end {
			m.next, m.end = first, first+16
		}
		m.issue(done)
	})
}

func (m *simMaster) reform(req *reformReq, reply func(any, error)) {
	g := newGrant(m.fleet, req.handle, grantWish{prefer: req.server, without: req.failed, of: req.version}, true)
	m.carry(g, nil, func(err error) {
		if err == nil {
			m.n.Count("reforms", 1)
		}
		reply(nil, err)
	})
}

// snapshot ends the leases of a file, and copies it. It keeps grants away, and waits for
// those that are under way, as the locks on paths do.
func (m *simMaster) snapshot(req *pairReq, reply func(any, error)) {
	if m.locked[req.from] {
		reply(nil, errSimAgain)
		return
	}
	m.locked[req.from] = true
	m.settled(req, reply)
}

func (m *simMaster) settled(req *pairReq, reply func(any, error)) {
	if len(m.busy) > 0 {
		m.after(10*time.Millisecond, func() { m.settled(req, reply) })
		return
	}
	_, _, found, err := m.state.lookup(simSuper, req.from, 0, 0, 100)
	if err != nil {
		delete(m.locked, req.from)
		reply(nil, err)
		return
	}
	left := 1
	end := func() {
		if left--; left > 0 {
			return
		}
		cmd := &cmdSnapshot{cmdHeader{m.epoch, simSuper, 1}, *req}
		m.propose(cmd.append(nil), func(out []byte) {
			delete(m.locked, req.from)
			err := cmd.result(out)
			if err == nil || errors.Is(err, fs.ErrExist) {
				m.n.Count("snapshots", 1)
			}
			reply(nil, err)
		})
	}
	for _, k := range found {
		left++
		m.settle(k.handle, end)
	}
	end()
}

// settle calls done when nobody can be the primary of a chunk.
func (m *simMaster) settle(h handle, done func()) {
	if m.fleet.occupied(h) {
		m.after(20*time.Millisecond, func() { m.settle(h, done) })
		return
	}
	l := m.fleet.leases[h]
	if l == nil {
		done()
		return
	}
	primary, _, alive := m.fleet.locationOf(l.primary)
	fence := func() {
		if m.fleet.leases[h] == nil {
			done()
			return
		}
		g := newGrant(m.fleet, h, grantWish{without: []serverID{l.primary}}, false)
		m.carry(g, nil, func(err error) {
			if err == nil || m.fleet.leases[h] == nil || !m.fleet.leased(m.now(), h) {
				done()
				return
			}
			m.after(50*time.Millisecond, func() { m.settle(h, done) })
		})
	}
	if !alive {
		fence()
		return
	}
	m.call(simNode(primary), &revokeReq{order: order{epoch: m.epoch, server: primary.id}, handle: h, version: l.version}, 500*time.Millisecond, func(_ any, err error) {
		m.fleet.revoked(m.now(), h, l.version, err == nil)
		if err == nil {
			done()
			return
		}
		fence()
	})
}
