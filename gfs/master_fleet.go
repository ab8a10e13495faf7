package gfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/rpc"
)

// register makes a chunkserver known. A master that leads logs where it is, so that the
// next one knows whom to wait for; one that does not knows it from the log.
func (m *Master) register(ctx context.Context, req *registerReq) (*registerResp, error) {
	row, known := m.state.serverOf(req.uuid)
	epoch := m.epoch.Load()
	if epoch != 0 && !known && req.epoch != 0 {
		// It would all be garbage.
		return nil, rpc.Refuse(fmt.Errorf("%w: the disk has served the master of another cluster, in epoch %d, and this one does not know it; give the chunkserver the addresses of its own master, or an empty directory", fs.ErrInvalid, req.epoch))
	}
	if epoch != 0 && (!known || row.forgotten || row.addr != req.addr || row.rack != req.rack || row.zone != req.zone) {
		own, cancel := m.term.join(ctx)
		defer cancel()
		cmd := cmdServer{epoch: epoch, uuid: req.uuid, addr: req.addr, rack: req.rack, zone: req.zone}
		out, err := m.propose(own, cmd.append(nil))
		if err != nil {
			return nil, err
		}
		if _, err := cmd.result(out); err != nil {
			return nil, err
		}
	}
	if row, known = m.enlist(req); !known {
		return nil, rpc.Refuse(fmt.Errorf("%w: the master that leads has not registered this chunkserver yet", rpc.ErrUnavailable))
	}
	m.events.addf("chunkserver %d at %s has registered", row.id, req.addr)
	m.cfg.Logger.Info("chunkserver registered", "id", row.id, "addr", req.addr, "rack", req.rack)
	return &registerResp{server: row.id, epoch: epoch, chunkSize: m.cfg.ChunkSize, heartbeat: m.cfg.Heartbeat}, nil
}

// enlist has the fleet know a chunkserver that is in the state. What the state has is read
// under the fleet's lock, or it could be older than what the fleet was told meanwhile.
func (m *Master) enlist(req *registerReq) (row serverRow, known bool) {
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	if row, known = m.state.serverOf(req.uuid); known {
		now := time.Now()
		m.fleet.setServer(now, row)
		m.fleet.register(now, row.id, req)
	}
	return row, known
}

func (m *Master) report(_ context.Context, req *reportReq) (*rpc.Empty, error) {
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	if err := m.fleet.report(time.Now(), req); err != nil {
		return nil, err
	}
	if req.last {
		m.poke()
	}
	return &rpc.Empty{}, nil
}

func (m *Master) heartbeat(ctx context.Context, req *heartbeatReq) (*heartbeatResp, error) {
	resp := new(heartbeatResp)
	m.fleetMu.Lock()
	err := m.fleet.heartbeat(time.Now(), req, resp)
	m.fleetMu.Unlock()
	if err != nil {
		return nil, err
	}
	if len(req.changes) > 0 {
		m.poke()
	}
	if len(resp.extended)+len(resp.delete) > 0 { // only whoever still leads may say so
		if err := m.confirm(ctx); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// reportBad takes in that a client could not read a replica.
func (m *Master) reportBad(_ context.Context, req *badReq) (*rpc.Empty, error) {
	m.fleetMu.Lock()
	m.fleet.bad(time.Now(), req)
	m.fleetMu.Unlock()
	m.poke()
	return &rpc.Empty{}, nil
}

func (m *Master) drain(ctx context.Context, req *drainReq) (*rpc.Empty, error) {
	if who := m.who(ctx); !who.super {
		return nil, fmt.Errorf("%w: only super users drain chunkservers", fs.ErrPermission)
	}
	epoch := m.epoch.Load()
	var err error
	var out []byte
	if req.forget {
		m.fleetMu.Lock()
		at, _, alive := m.fleet.locationOf(req.server)
		m.fleetMu.Unlock()
		if alive {
			return nil, fmt.Errorf("%w: chunkserver %d at %s is alive; only one that is dead can be forgotten", fs.ErrInvalid, req.server, at.addr)
		}
		cmd := cmdForget{epoch: epoch, server: req.server}
		if out, err = m.propose(ctx, cmd.append(nil)); err == nil {
			err = cmd.result(out)
		}
	} else {
		cmd := cmdDrain{epoch: epoch, server: req.server, on: !req.stop}
		if out, err = m.propose(ctx, cmd.append(nil)); err == nil {
			err = cmd.result(out)
		}
	}
	if err != nil {
		return nil, err
	}
	if row, ok := m.refreshServer(req.server); ok {
		m.events.addf("chunkserver %d: draining %v, forgotten %v", row.id, row.draining, row.forgotten)
	}
	m.poke()
	return &rpc.Empty{}, nil
}

// refreshServer has the fleet know what the state has of a chunkserver now: see enlist.
func (m *Master) refreshServer(id serverID) (row serverRow, known bool) {
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	if row, known = m.state.server(id); known {
		m.fleet.setServer(time.Now(), row)
	}
	return row, known
}

// lead serves one term. The error is one after which there can be no other.
func (m *Master) lead(ctx, termCtx context.Context, epoch uint64) error {
	termCtx, cancel := context.WithCancelCause(termCtx)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	defer cancel(ErrClosed)
	if err := m.takeOver(termCtx, epoch); err != nil {
		return rpc.TermOver(termCtx, err)
	}
	m.state.watch(true)
	defer m.state.watch(false)
	m.fleetMu.Lock()
	m.fleet.begin(time.Now(), epoch, m.state.known())
	m.fleet.review(time.Now()) // what it heard while another led, it held against what the log had then
	m.fleetMu.Unlock()
	m.term.set(termCtx)
	m.epoch.Store(epoch)
	defer func() {
		m.epoch.Store(0)
		m.fleetMu.Lock()
		m.fleet.follow()
		m.fleetMu.Unlock()
	}()
	m.events.addf("leading in epoch %d", epoch)
	m.cfg.Logger.Info("leading", "epoch", epoch)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel(ErrClosed)
	tick := time.NewTicker(m.cfg.Heartbeat / 4)
	defer tick.Stop()
	background.Go(func() { m.hailAll(termCtx, epoch) })
	background.Go(func() { m.collectForever(termCtx, epoch) })
	for {
		select {
		case <-termCtx.Done():
			return nil
		case <-m.kick:
		case <-tick.C:
		}
		m.act(termCtx, epoch, &background)
		m.sample()
	}
}

// hailsAtOnce bounds the chunkservers that are hailed side by side.
const hailsAtOnce = 64

// hailAll tells all chunkservers who leads now. One that does not hear of it finds out by
// its next heartbeat.
func (m *Master) hailAll(ctx context.Context, epoch uint64) {
	var hails errgroup.Group
	hails.SetLimit(hailsAtOnce)
	for _, row := range m.state.known() {
		hails.Go(func() error {
			_, err := orderTo[rpc.Empty](ctx, m, row.location, orderTimeout, methodHail, &hailReq{order: m.order(epoch, row.id)})
			if err != nil && ctx.Err() == nil {
				m.cfg.Logger.Debug("a chunkserver was not told who leads", "id", row.id, "addr", row.addr, "error", err)
			}
			return nil // the others are to be told all the same
		})
	}
	_ = hails.Wait() // there is none
}

// takeOver logs that an epoch begins, and what the configuration says of the cluster.
func (m *Master) takeOver(ctx context.Context, epoch uint64) error {
	cmd := cmdLead{epoch: epoch, chunkSize: m.cfg.ChunkSize}
	out, err := m.propose(ctx, cmd.append(nil))
	if err != nil {
		return err
	}
	if err := cmd.result(out); err != nil {
		return err
	}
	super := identity{super: true}
	root, err := m.state.policy(super, ".")
	if err != nil {
		return err
	}
	want := root
	want.goal = orDefault(uint8(m.cfg.Replication), root.goal)
	want.retention = orDefault(m.cfg.Retention, root.retention)
	if want == root {
		return nil
	}
	set := cmdSetPolicy{cmdHeader: cmdHeader{epoch: epoch, who: super, when: wallClock()}, policyReq: policyReq{path: ".", policy: want}}
	if out, err = m.propose(ctx, set.append(nil)); err != nil {
		return err
	}
	return set.result(out)
}

// act does what the fleet wants. What takes time goes on in the background.
func (m *Master) act(ctx context.Context, epoch uint64, background *sync.WaitGroup) {
	touched := m.state.takeTouched()
	m.fleetMu.Lock()
	for _, h := range touched {
		m.fleet.touched(h)
	}
	acts := m.fleet.tick(time.Now())
	m.fleetMu.Unlock()
	for _, id := range acts.dead {
		m.events.addf("chunkserver %d is given up for dead: %v without a sign of life", id, m.cfg.ServerTimeout)
		m.cfg.Logger.Warn("chunkserver is dead", "id", id)
	}
	for _, a := range acts.adopt {
		background.Go(func() {
			m.events.addf("chunk %x: version %d was met, which is higher than the log knows", uint64(a.handle), a.version)
			cmd := cmdAdopt{epoch: epoch, handle: a.handle, version: a.version}
			out, err := m.propose(ctx, cmd.append(nil))
			if err == nil {
				_, err = cmd.result(out)
			}
			if err != nil {
				m.cfg.Logger.Warn("a version could not be adopted", "chunk", uint64(a.handle), "version", a.version, "error", err)
				m.fleetMu.Lock()
				m.fleet.adoptFailed(a.handle, a.version)
				m.fleetMu.Unlock()
			}
		})
	}
	for _, a := range acts.revoke {
		background.Go(func() {
			_, err := orderTo[rpc.Empty](ctx, m, a.primary, orderTimeout, methodRevoke,
				&revokeReq{order: order{epoch: epoch, server: a.primary.id, boot: a.boot}, handle: a.handle, version: a.version})
			m.fleetMu.Lock()
			m.fleet.revoked(time.Now(), a.handle, a.version, err == nil)
			m.fleetMu.Unlock()
			m.poke()
		})
	}
	for _, a := range acts.clone {
		background.Go(func() { m.clone(ctx, epoch, a) })
	}
	for _, a := range acts.compare {
		background.Go(func() { m.compare(ctx, epoch, a) })
	}
	if acts.again {
		m.poke()
	}
}

// clone orders one replica to be copied. That it is complete is in a heartbeat.
func (m *Master) clone(ctx context.Context, epoch uint64, a cloneAction) {
	_, err := orderTo[rpc.Empty](ctx, m, a.to, orderTimeout, methodClone,
		&cloneReq{order: order{epoch: epoch, server: a.to.id, boot: a.boot}, handle: a.handle, version: a.version, from: a.from, rate: a.rate})
	if err != nil {
		m.cfg.Logger.Warn("a clone could not be begun", "chunk", uint64(a.handle), "to", a.to.addr, "error", err)
		m.fleetMu.Lock()
		if rpc.OutcomeOf(err) != rpc.Executed {
			m.fleet.unreached(time.Now(), a.to.id)
		}
		m.fleet.cloneFailed(time.Now(), a.handle, a.to.id)
		m.fleetMu.Unlock()
		m.poke()
	}
}

// digestTimeout bounds the reading of a whole replica.
const digestTimeout = time.Minute

// compare compares the replicas of a chunk.
func (m *Master) compare(ctx context.Context, epoch uint64, a compareAction) {
	replicas := make([]digested, len(a.holders))
	var wg sync.WaitGroup
	for i, h := range a.holders {
		wg.Go(func() {
			resp, err := orderTo[digestResp](ctx, m, h.location, digestTimeout, methodDigest,
				&digestReq{order: order{epoch: epoch, server: h.id, boot: h.boot}, handle: a.handle})
			replicas[i] = digested{holder: h, err: err}
			if err == nil {
				replicas[i].digest = *resp
			}
		})
	}
	wg.Wait()
	todo := compareReplicas(replicas, a.mend)
	accepted := make([]bool, len(replicas))
	verifier := todo.verifier(replicas, func() writeVerifier { return writeVerifier(rand.Uint64() | 1) })
	if todo.mend >= 0 {
		var others []location
		for _, i := range todo.from {
			others = append(others, replicas[i].location)
		}
		accepted[todo.mend] = m.accept(ctx, epoch, a, replicas[todo.mend].holder, others, verifier)
		m.events.addf("chunk %x: no replica was without fault; that of chunkserver %d counts", uint64(a.handle), replicas[todo.mend].id)
	}
	for _, i := range todo.accept {
		wg.Go(func() { accepted[i] = m.accept(ctx, epoch, a, replicas[i].holder, nil, verifier) })
	}
	wg.Wait()
	m.fleetMu.Lock()
	m.fleet.compared(time.Now(), a.handle, todo.verdicts(replicas, func(i int) bool { return accepted[i] }))
	m.fleetMu.Unlock()
	if todo.mend >= 0 && accepted[todo.mend] {
		m.raiseMended(ctx, epoch, a.handle)
	}
	m.poke()
}

// mendedRaises bounds how often the version of a chunk is tried to be raised that is busy.
const mendedRaises = 100

// raiseMended raises the version of a chunk after one replica came to count as the truth
// that none vouched for. One on a server that is away may contain something else: when it
// returns it is stale, and not another truth.
func (m *Master) raiseMended(ctx context.Context, epoch uint64, h handle) {
	for range mendedRaises {
		err := m.carryOut(epoch, newGrant(m.fleet, h, grantWish{}, false), nil)
		if err == nil {
			return
		}
		if !errors.Is(err, errChunkBusy) {
			m.cfg.Logger.Warn("the version of a chunk that was mended could not be raised", "chunk", uint64(h), "error", err)
			return
		}
		if pauseBusy(ctx) != nil {
			return
		}
	}
}

// accept ends the suspicion of a replica.
func (m *Master) accept(ctx context.Context, epoch uint64, a compareAction, h holder, others []location, verifier writeVerifier) bool {
	_, err := orderTo[rpc.Empty](ctx, m, h.location, digestTimeout, methodAccept,
		&acceptReq{order: order{epoch: epoch, server: h.id, boot: h.boot}, handle: a.handle, version: h.version, others: others, verifier: verifier})
	if err != nil {
		m.cfg.Logger.Warn("a replica could not be accepted", "chunk", uint64(a.handle), "server", h.id, "error", err)
	}
	return err == nil
}

const (
	// collectEvery is how often what was removed is looked at, and the least that passes
	// of the log's time: a log lets no more pass between two commands than a minute or
	// so. collectBatch is how much is dropped in one command.
	collectEvery = 10 * time.Second
	collectBatch = 1000
)

// collectForever collects now and then, until ctx ends.
func (m *Master) collectForever(ctx context.Context, epoch uint64) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.collect(ctx, epoch)
		}
	}
}

// collect drops what was removed long enough ago (§4.4.1). Its commands also let the
// log's time pass when nothing else happens.
func (m *Master) collect(ctx context.Context, epoch uint64) {
	m.fleetMu.Lock()
	settled := m.fleet.settled()
	m.fleetMu.Unlock()
	for settled {
		cmd := cmdCollect{epoch: epoch, limit: collectBatch}
		out, err := m.propose(ctx, cmd.append(nil))
		if err != nil {
			return
		}
		r, err := cmd.result(out)
		if err != nil && !errors.Is(err, errOldEpoch) {
			m.cfg.Logger.Error("what was removed cannot be collected", "error", err)
		}
		if err != nil || r.due == 0 {
			return
		}
	}
}
