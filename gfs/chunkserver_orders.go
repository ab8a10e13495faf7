package gfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// revokeWait is how long the end of a lease waits for mutations in progress. It is
	// shorter than orderTimeout, so that the master hears how it ended, and need not do
	// without a primary that is well.
	revokeWait = 2 * time.Second
	// reformWait is how long one master has to answer a primary's request for another
	// grant, and reformPause how long the primary waits before it asks again.
	reformWait  = 10 * time.Second
	reformPause = 100 * time.Millisecond
)

// obey checks that an order is for this server, and of a master that no other has
// followed.
func (s *Chunkserver) obey(o *order) error {
	id := s.id.Load()
	if o.boot != 0 && o.boot != s.boot || o.boot == 0 && id == 0 || id != 0 && uint32(o.server) != id {
		return fmt.Errorf("%w: an order for server %d of boot %x reached server %d of boot %x", errUnregistered, o.server, o.boot, id, s.boot)
	}
	return s.store.obey(o.epoch)
}

// raised answers an order that has brought a replica to a version.
func (s *Chunkserver) raised(length int64) *raiseResp {
	return &raiseResp{boot: s.boot, clock: s.clock(), length: length}
}

// bring has a replica brought to a version by f, and the role with it.
func (s *Chunkserver) bring(o *order, h handle, v version, f func() (int64, error)) (*raiseResp, error) {
	r := s.takeRole(h)
	defer r.mu.Unlock()
	length, err := f()
	if err != nil {
		return nil, err
	}
	r.epoch = o.epoch
	r.raised(v)
	if s.log.IsDebug() {
		s.log.Debug("replica brought to a version", "chunk", uint64(h), "version", uint64(v), "length", length)
	}
	return s.raised(length), nil
}

func (s *Chunkserver) handleMake(_ context.Context, req *makeReq) (*raiseResp, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	return s.bring(&req.order, req.handle, req.version, func() (int64, error) { return s.store.make(req.handle, req.version) })
}

func (s *Chunkserver) handleRaise(_ context.Context, req *raiseReq) (*raiseResp, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	return s.bring(&req.order, req.handle, req.to, func() (int64, error) { return s.store.raise(req.handle, req.from, req.to) })
}

// handleHail reports to all masters at once, as another leads from now on.
func (s *Chunkserver) handleHail(_ context.Context, req *hailReq) (*rpc.Empty, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	for _, l := range s.masters {
		l.hurry()
	}
	return &rpc.Empty{}, nil
}

func (s *Chunkserver) handleFork(ctx context.Context, req *forkReq) (*raiseResp, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	goOn := func(int) error { return ctx.Err() }
	return s.bring(&req.order, req.to, req.toVersion, func() (int64, error) {
		return s.store.fork(req.from, req.fromVersion, req.to, req.toVersion, goOn)
	})
}

func (s *Chunkserver) handleLease(_ context.Context, req *leaseReq) (*rpc.Empty, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	if len(req.others) >= MaxReplication {
		return nil, fmt.Errorf("%w: %d secondaries", rpc.ErrMessage, len(req.others))
	}
	if s.chunkSize.Load() == 0 {
		return nil, fmt.Errorf("%w: the chunk size is not known yet", errUnregistered)
	}
	r := s.takeRole(req.handle)
	defer r.mu.Unlock()
	length, err := s.store.length(req.handle, req.version)
	if err == nil {
		err = r.lead(req.leaseTerm, req.others, length)
	}
	if s.log.IsDebug() {
		s.log.Debug("lease", "chunk", uint64(req.handle), "version", uint64(req.version), "others", req.others, "err", err)
	}
	return &rpc.Empty{}, err
}

// handleRevoke ends a lease of a version, or of an older one.
func (s *Chunkserver) handleRevoke(ctx context.Context, req *revokeReq) (*rpc.Empty, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	r := s.role(req.handle)
	if r == nil {
		return &rpc.Empty{}, nil
	}
	limit := time.NewTimer(revokeWait)
	defer limit.Stop()
	for {
		r.mu.Lock()
		p := r.primary
		if p == nil || p.version > req.version || p.over != nil {
			r.mu.Unlock()
			return &rpc.Empty{}, nil
		}
		p.revoke()
		if p.idle() {
			p.fail(fmt.Errorf("%w: the lease on %x is revoked", ErrStale, uint64(req.handle)))
			r.follow(p)
			r.mu.Unlock()
			return &rpc.Empty{}, nil
		}
		changed := r.wait()
		r.mu.Unlock()
		select {
		case <-changed:
			continue
		case <-limit.C:
		case <-ctx.Done():
		}
		r.mu.Lock()
		p.fail(fmt.Errorf("%w: the lease on %x is revoked", ErrStale, uint64(req.handle)))
		r.follow(p)
		r.mu.Unlock()
		// A secondary may still be about to apply what has failed here: the master has to
		// raise its version, so that it does not.
		return nil, fmt.Errorf("%w: mutations of %x were in progress for too long", ErrUnavailable, uint64(req.handle))
	}
}

func (s *Chunkserver) handleDigest(ctx context.Context, req *digestReq) (*digestResp, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	d, err := s.store.digest(req.handle, func(int) error { return ctx.Err() })
	return &d, err
}

// reform asks the master to grant a lease anew. The grant comes by handleLease.
func (r *role) reform(p *primary, a primaryAction) {
	err := r.s.askReform(&reformReq{
		handle: r.handle, version: a.version, server: serverID(r.s.id.Load()), boot: r.s.boot, failed: a.failed,
	}, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return p.over == nil && p.reforming && p.version == a.version
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	p.reformed(a.version, err)
	r.follow(p)
}

// askReform asks one master after the other, those that lead first, as long as it matters.
func (s *Chunkserver) askReform(req *reformReq, matters func() bool) error {
	for {
		for _, link := range s.leaders() {
			if !matters() {
				return nil
			}
			ctx, cancel := context.WithTimeout(s.ctx, reformWait)
			_, err := rpc.Call[rpc.Empty](ctx, link.client, methodReform, req)
			cancel()
			if err == nil || errors.Is(err, ErrStale) || errors.Is(err, errNoChunk) {
				return err
			}
			s.log.Warn("another grant is not to be had yet", "chunk", uint64(req.handle), "from", link.addr, "err", err)
		}
		if !s.pause(reformPause) {
			return ErrClosed
		}
	}
}
