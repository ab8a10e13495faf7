package gfs

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/rpc"
)

// header begins the command that a client's call leads to.
func (m *Master) header(ctx context.Context) cmdHeader {
	return cmdHeader{epoch: m.epoch.Load(), who: m.who(ctx), when: wallClock()}
}

// mutate locks paths, and proposes a command.
func (m *Master) mutate(ctx context.Context, cmd []byte, wishes ...lockWish) ([]byte, error) {
	out, err := m.mutatePaths(ctx, cmd, wishes...)
	m.poke()
	return out, err
}

// mutatePaths is mutate for what is of no concern to any chunk, so that there is nothing to
// do afterwards.
func (m *Master) mutatePaths(ctx context.Context, cmd []byte, wishes ...lockWish) ([]byte, error) {
	for _, w := range wishes {
		if err := checkPath(w.path); err != nil {
			return nil, err
		}
	}
	held, err := m.locks.acquire(ctx, wishes...)
	if err != nil {
		return nil, rpc.Refuse(err)
	}
	defer held.release()
	_, out, err := m.guard.Propose(ctx, cmd)
	return out, err
}

// propose proposes a command and returns its output. Within an exactly-once call it is
// carried out once, so a handler calls it once.
func (m *Master) propose(ctx context.Context, cmd []byte) ([]byte, error) {
	_, out, err := m.guard.Propose(ctx, cmd)
	m.poke()
	return out, err
}

// commandRoom is more than most commands take beside their paths, in bytes.
const commandRoom = 80

func (m *Master) create(ctx context.Context, req *createReq) (*createResp, error) {
	cmd := cmdCreate{cmdHeader: m.header(ctx), createReq: *req}
	out, err := m.mutatePaths(ctx, cmd.append(make([]byte, 0, commandRoom+len(req.path))), lockWish{path: req.path, write: true})
	if err != nil {
		return nil, err
	}
	resp, err := cmd.result(out)
	return respond(&resp, err)
}

func (m *Master) mkdir(ctx context.Context, req *mkdirReq) (*rpc.Empty, error) {
	cmd := cmdMkdir{cmdHeader: m.header(ctx), mkdirReq: *req}
	out, err := m.mutatePaths(ctx, cmd.append(make([]byte, 0, commandRoom+len(req.path))), lockWish{path: req.path, write: true})
	if err != nil {
		return nil, err
	}
	_, err = cmd.result(out)
	return respond(&rpc.Empty{}, err)
}

func (m *Master) remove(ctx context.Context, req *removeReq) (*pathResp, error) {
	cmd := cmdRemove{cmdHeader: m.header(ctx), removeReq: *req}
	out, err := m.mutate(ctx, cmd.append(nil), lockWish{path: req.path, write: true})
	if err != nil {
		return nil, err
	}
	hidden, err := cmd.result(out)
	return respond(&pathResp{path: hidden}, err)
}

func (m *Master) undelete(ctx context.Context, req *undeleteReq) (*pathResp, error) {
	cmd := cmdUndelete{cmdHeader: m.header(ctx), undeleteReq: *req}
	wishes := []lockWish{{path: req.path, write: true}}
	if req.to != "" {
		wishes = append(wishes, lockWish{path: req.to, write: true})
	}
	out, err := m.mutate(ctx, cmd.append(nil), wishes...)
	if err != nil {
		return nil, err
	}
	path, err := cmd.result(out)
	return respond(&pathResp{path: path}, err)
}

func (m *Master) rename(ctx context.Context, req *pairReq) (*rpc.Empty, error) {
	cmd := cmdRename{cmdHeader: m.header(ctx), pairReq: *req}
	out, err := m.mutate(ctx, cmd.append(nil), lockWish{path: req.from, write: true}, lockWish{path: req.to, write: true})
	if err != nil {
		return nil, err
	}
	return respond(&rpc.Empty{}, cmd.result(out))
}

func (m *Master) setAttr(ctx context.Context, req *setAttrReq) (*rpc.Empty, error) {
	cmd := cmdSetAttr{cmdHeader: m.header(ctx), setAttrReq: *req}
	out, err := m.mutate(ctx, cmd.append(nil), lockWish{path: req.path, write: true})
	if err != nil {
		return nil, err
	}
	return respond(&rpc.Empty{}, cmd.result(out))
}

func (m *Master) setPolicy(ctx context.Context, req *policyReq) (*rpc.Empty, error) {
	cmd := cmdSetPolicy{cmdHeader: m.header(ctx), policyReq: *req}
	out, err := m.mutate(ctx, cmd.append(nil), lockWish{path: req.path, write: true})
	if err != nil {
		return nil, err
	}
	return respond(&rpc.Empty{}, cmd.result(out))
}

// respond returns a response, or an error without one.
func respond[Resp any](resp *Resp, err error) (*Resp, error) {
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// snapshot makes a copy of a file or tree that shares its chunks (§3.4). First the
// leases on the chunks below are ended, so that whoever writes there next asks the
// master, which then copies the chunk before it is changed. The write locks keep new
// leases from being granted until the snapshot is in the log.
func (m *Master) snapshot(ctx context.Context, req *pairReq) (*rpc.Empty, error) {
	if err := errors.Join(checkPath(req.from), checkPath(req.to)); err != nil {
		return nil, err
	}
	held, err := m.locks.acquire(ctx, lockWish{path: req.from, write: true}, lockWish{path: req.to, write: true})
	if err != nil {
		return nil, rpc.Refuse(err)
	}
	defer held.release()
	own, cancel := m.term.join(ctx)
	defer cancel()
	// The command bears the epoch in which the leases were ended: in a later one there
	// may be others. Where there is nothing to copy, the command says so, as it may be
	// the repetition of one that was carried out.
	cmd := cmdSnapshot{cmdHeader: m.header(ctx), pairReq: *req}
	if err := m.revokeBelow(own, cmd.epoch, cmd.who, req.from); err != nil && !errors.As(err, new(*refusal)) {
		return nil, rpc.Refuse(err)
	}
	out, err := m.propose(ctx, cmd.append(nil))
	if err != nil {
		return nil, err
	}
	return respond(&rpc.Empty{}, cmd.result(out))
}

// revokesAtOnce bounds the leases that a snapshot ends side by side.
const revokesAtOnce = 64

// revokeBelow ends the leases on all chunks at a path and below it.
func (m *Master) revokeBelow(ctx context.Context, epoch uint64, who identity, path string) error {
	for after := ""; ; {
		walk, err := m.state.walkChunks(who, path, after, 0)
		if err != nil {
			return err
		}
		var group errgroup.Group
		group.SetLimit(revokesAtOnce)
		for _, c := range walk.chunks {
			if m.mutable(c.handle) {
				group.Go(func() error { return m.endLease(ctx, epoch, c.handle) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if after = walk.next; after == "" {
			return nil
		}
	}
}

func (m *Master) mutable(h handle) bool {
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	return m.fleet.mutable(time.Now(), h)
}

// endLease returns when nobody can act as the primary of a chunk any more: it has said
// so; or the version has been raised on the members that are left, which the primary
// cannot do without; or the time of the lease is over. The lease may be that of an earlier
// master: this one does not know who has it.
func (m *Master) endLease(ctx context.Context, epoch uint64, h handle) error {
	v, primary, err := m.claimLease(ctx, h)
	if err != nil {
		return err
	}
	wish := grantWish{}
	if v != 0 {
		_, err = orderTo[rpc.Empty](ctx, m, primary, orderTimeout, methodRevoke,
			&revokeReq{order: m.order(epoch, primary.id), handle: h, version: v})
		if err != nil && rpc.OutcomeOf(err) != rpc.Executed {
			wish.without = []serverID{primary.id} // otherwise it acts no more, and may be a member
		}
		m.fleetMu.Lock()
		now := time.Now()
		m.fleet.revoked(now, h, v, err == nil) // if it is still in force it is not extended any more
		m.fleet.abandon(now, h)
		m.fleetMu.Unlock()
	}
	if !m.mutable(h) {
		return nil
	}
	g := newGrant(m.fleet, h, wish, false)
	if err := m.carryOut(epoch, g, nil); err == nil {
		return nil
	}
	pause := time.NewTicker(m.cfg.Lease / 20)
	defer pause.Stop()
	for m.mutable(h) {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// claimLease waits until nobody grants a chunk's lease anew, and keeps others from doing
// so. It returns the version and the primary of the lease, or no version if there is no
// lease; if there is, fleet.abandon ends the claim.
func (m *Master) claimLease(ctx context.Context, h handle) (v version, primary location, err error) {
	for {
		m.fleetMu.Lock()
		if l := m.fleet.leases[h]; m.fleet.occupied(h) {
		} else if l == nil {
			m.fleetMu.Unlock()
			return 0, location{}, nil
		} else if m.fleet.hold(time.Now(), h) {
			v, primary = l.version, location{id: l.primary}
			if at, _, alive := m.fleet.locationOf(l.primary); alive {
				primary = at
			}
			m.fleetMu.Unlock()
			return v, primary, nil
		}
		m.fleetMu.Unlock()
		if err := pauseBusy(ctx); err != nil {
			return 0, location{}, err
		}
	}
}

// term is what the present time as leader hangs on.
type term struct {
	mu  sync.Mutex
	ctx context.Context
}

func (t *term) set(ctx context.Context) {
	t.mu.Lock()
	t.ctx = ctx
	t.mu.Unlock()
}

// context returns that of the term.
func (t *term) context() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil {
		return context.Background()
	}
	return t.ctx
}

// join returns a context that carries nothing of a call but its end, and ends with the
// term: what is proposed under it is proposed by the master itself.
func (t *term) join(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithCancelCause(t.context())
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return own, func() { stop(); cancel(nil) }
}
