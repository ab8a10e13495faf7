package gfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// busyPause is how long a grant waits for a chunk that something else is being done with.
const busyPause = 10 * time.Millisecond

// grant tells a client who the primary of a chunk is (§3.1). It makes the chunk if there
// is none, copies it first if a snapshot shares it (§3.4), and grants a lease if nobody
// has one.
func (m *Master) grant(ctx context.Context, req *grantReq) (*grantResp, error) {
	if err := checkPath(req.path); err != nil {
		return nil, err
	}
	if m.safeMode() {
		return nil, rpc.Refuse(fmt.Errorf("%w: %w", rpc.ErrUnavailable, ErrSafeMode))
	}
	own, cancel := m.term.join(ctx)
	defer cancel()
	for {
		resp, err := m.tryGrant(ctx, own, req)
		if !errors.Is(err, errChunkBusy) && !errors.Is(err, errSuperseded) {
			return resp, refuseBusy(err)
		}
		if err := pauseBusy(own); err != nil {
			return nil, rpc.Refuse(err)
		}
	}
}

// tryGrant is one attempt at a grant, under locks: they are not held while a chunk that
// is busy is waited for, as whoever wants to write them keeps away all others. ctx is
// that of the call, and own ends with the term too.
func (m *Master) tryGrant(ctx, own context.Context, req *grantReq) (*grantResp, error) {
	held, err := m.locks.acquire(own, lockWish{path: req.path})
	if err != nil {
		return nil, rpc.Refuse(err)
	}
	defer held.release()
	place, err := m.state.chunkAt(m.who(ctx), req.path, req.file, req.index, req.last)
	if err != nil {
		return nil, m.confirmed(ctx, err)
	}
	release, err := m.chunks.acquire(own, chunkKey{file: place.file, index: place.index})
	if err != nil {
		return nil, rpc.Refuse(err)
	}
	defer release()
	return m.grantAt(ctx, req)
}

// pauseBusy waits for busyPause, unless ctx ends before.
func pauseBusy(ctx context.Context) error {
	pause := time.NewTimer(busyPause)
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refuseBusy marks what is worth trying again.
func refuseBusy(err error) error {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNoSpace) {
		return rpc.Refuse(err)
	}
	return err
}

// grantAt grants a lease. The lock on the place in the file is held.
func (m *Master) grantAt(ctx context.Context, req *grantReq) (*grantResp, error) {
	header := m.header(ctx)
	place, err := m.state.chunkAt(header.who, req.path, req.file, req.index, req.last)
	if err != nil {
		return nil, err
	}
	resp := &grantResp{chunks: max(place.chunks, place.index+1), chunkSize: m.cfg.ChunkSize}
	resp.chunk.index = place.index
	var g *grant
	var log func(ctx context.Context, g *grant) error
	switch {
	case place.handle == 0:
		g = newMake(m.fleet, int(place.goal), m.near(ctx))
		log = func(ctx context.Context, g *grant) error {
			cmd := cmdAddChunk{cmdHeader: header, path: req.path, file: place.file, index: place.index, handle: g.chunk, version: g.version}
			return m.logChunk(ctx, cmd.append(nil), cmd.result)
		}
	case place.row.refs > 1:
		g = newFork(m.fleet, place.handle)
		log = func(ctx context.Context, g *grant) error {
			cmd := cmdFork{cmdHeader: header, path: req.path, file: place.file, index: place.index, from: place.handle, to: g.chunk, version: g.version}
			return m.logChunk(ctx, cmd.append(nil), cmd.result)
		}
	default:
		if lease, ok := m.leaseOf(place.handle); ok && req.known < lease.version {
			resp.chunk.handle, resp.chunk.version, resp.chunk.where, resp.lease = place.handle, lease.version, lease.members, lease.left
			return resp, nil
		}
		g = newGrant(m.fleet, place.handle, grantWish{}, true)
	}
	if err := m.carryOut(header.epoch, g, log); err != nil {
		return nil, err
	}
	resp.chunk.handle, resp.chunk.version, resp.chunk.where, resp.lease = g.chunk, g.version, g.locations(), m.cfg.Lease
	return resp, nil
}

func (m *Master) leaseOf(h handle) (leaseView, bool) {
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	return m.fleet.lease(time.Now(), h)
}

// near is where the client of a call is, as far as its address tells: a chunk's first
// replica goes near to who writes it.
func (m *Master) near(ctx context.Context) *location {
	peer, ok := rpc.PeerFromContext(ctx)
	if !ok || peer.Addr == nil {
		return nil
	}
	return &location{addr: peer.Addr.String()}
}

// logChunk proposes the command that gives a file the chunk that was made for it.
func (m *Master) logChunk(ctx context.Context, cmd []byte, result func([]byte) (chunkResult, error)) error {
	out, err := m.propose(ctx, cmd)
	if err != nil {
		return err
	}
	r, err := result(out)
	if err == nil && r.existed {
		return errSuperseded
	}
	return err
}

// carryOut does what a grant wants done, step by step. log logs it; nil logs that the
// version of the chunk has risen. It goes on though the client has left, until the term
// ends: were the outcome of a command unknown in the same term, then replicas of a chunk
// that comes to be would pass for garbage.
func (m *Master) carryOut(epoch uint64, g *grant, log func(context.Context, *grant) error) error {
	ctx := m.term.context()
	first := g.kind
	step := m.withFleet(func(now time.Time) grantStep { return g.begin(now) })
	for {
		switch step.what {
		case stepIssue:
			h, err := m.issue.take(ctx, epoch, func() (handle, error) { return m.reserve(ctx, epoch) })
			step = m.withFleet(func(now time.Time) grantStep { return g.issued(now, h, err) })
		case stepAsk:
			step = m.askAll(ctx, epoch, g)
		case stepLog:
			var err error
			if log == nil || g.kind != first { // the chunk is there, if only since an earlier round
				err = m.logVersion(ctx, epoch, g)
			} else {
				err = log(ctx, g)
			}
			step = m.withFleet(func(now time.Time) grantStep { return g.logged(now, err) })
		case stepLease:
			where := g.locations()
			_, err := orderTo[rpc.Empty](ctx, m, where[0], orderTimeout, methodLease,
				&leaseReq{order: m.order(epoch, where[0].id), leaseTerm: step.term, others: where[1:]})
			step = m.withFleet(func(now time.Time) grantStep { return g.leased(now, err) })
		case stepDone:
			if errors.Is(step.err, ErrReadOnly) { // the term has ended meanwhile
				return errNotLeading
			}
			return step.err
		default:
			return fmt.Errorf("a grant that waits for nothing")
		}
	}
}

// logVersion proposes that the version of a chunk has risen.
func (m *Master) logVersion(ctx context.Context, epoch uint64, g *grant) error {
	cmd := cmdGrant{epoch: epoch, handle: g.chunk, from: g.from, to: g.version}
	out, err := m.propose(ctx, cmd.append(nil))
	if err != nil {
		return err
	}
	return cmd.result(out)
}

func (m *Master) withFleet(f func(now time.Time) grantStep) grantStep {
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	return f(time.Now())
}

// askAll asks all that a grant wants asked, side by side.
func (m *Master) askAll(ctx context.Context, epoch uint64, g *grant) grantStep {
	var last grantStep
	var wg sync.WaitGroup
	asked := g.asked // others may be asked once all have answered
	for i := range asked {
		wg.Go(func() {
			resp, err := m.ask(ctx, epoch, g.kind, g, asked[i])
			m.fleetMu.Lock()
			defer m.fleetMu.Unlock()
			if step := g.answered(time.Now(), i, resp, err); step.what != stepWait {
				last = step
			}
		})
	}
	wg.Wait()
	return last
}

// ask asks one chunkserver.
func (m *Master) ask(ctx context.Context, epoch uint64, kind grantKind, g *grant, a grantAsk) (*raiseResp, error) {
	order := order{epoch: epoch, server: a.to.id, boot: a.boot}
	switch kind {
	case grantMake:
		return orderTo[raiseResp](ctx, m, a.to, orderTimeout, methodMake, &makeReq{order: order, handle: g.chunk, version: g.version})
	case grantFork:
		return orderTo[raiseResp](ctx, m, a.to, forkTimeout, methodFork,
			&forkReq{order: order, from: g.source, fromVersion: a.from, to: g.chunk, toVersion: g.version})
	default:
		return orderTo[raiseResp](ctx, m, a.to, orderTimeout, methodRaise,
			&raiseReq{order: order, handle: g.chunk, from: a.from, to: g.version})
	}
}

// reserve has the log reserve handles.
func (m *Master) reserve(ctx context.Context, epoch uint64) (handle, error) {
	cmd := cmdReserve{epoch: epoch, n: handleRange}
	out, err := m.propose(ctx, cmd.append(nil))
	if err != nil {
		return 0, err
	}
	return cmd.result(out)
}

// cutOff reports whether most of the members of a grant, as far as the master can tell,
// are alive and do not answer the primary.
func (m *Master) cutOff(req *reformReq) bool {
	lease, ok := m.leaseOf(req.handle)
	if !ok || lease.version != req.version || len(lease.members) == 0 || lease.members[0].id != req.server {
		return false
	}
	alive := 0 // of those that failed; lease.members has none that is dead
	for _, l := range lease.members {
		if slices.Contains(req.failed, l.id) {
			alive++
		}
	}
	return 2*alive > len(lease.members)
}

// reform grants a primary its lease anew, without secondaries that do not answer it.
func (m *Master) reform(_ context.Context, req *reformReq) (*rpc.Empty, error) {
	if m.cutOff(req) {
		// More of the members are alive that do not answer the primary than do: so it is the
		// primary that is left out. Were it the others, the chunk would depend on few.
		g := newGrant(m.fleet, req.handle, grantWish{without: []serverID{req.server}, of: req.version}, true)
		if err := m.carryOut(m.epoch.Load(), g, nil); err == nil {
			m.events.addf("chunk %x goes on at version %d without its primary %d, which %v do not answer", uint64(req.handle), g.version, req.server, req.failed)
			return nil, fmt.Errorf("%w: chunk %x has another primary", ErrStale, uint64(req.handle))
		}
	}
	g := newGrant(m.fleet, req.handle, grantWish{prefer: req.server, without: req.failed, of: req.version}, true)
	if err := m.carryOut(m.epoch.Load(), g, nil); err != nil {
		return nil, refuseBusy(err)
	}
	m.events.addf("chunk %x goes on at version %d with %d members, without %v", uint64(req.handle), g.version, len(g.asked), req.failed)
	return &rpc.Empty{}, nil
}
