package gfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// How long what applies a mutation waits for what it needs.
const (
	// dataWait is for data that has been pushed and is not even arriving: the primary
	// waits primaryDataWait, as the client has only just begun.
	dataWait        = 3 * time.Second
	primaryDataWait = 5 * time.Second
	// gapWait is for the mutations before it.
	gapWait = 5 * time.Second
)

func (s *Chunkserver) handleRead(_ context.Context, req *readReq) (*readResp, error) {
	r, err := s.store.readAt(req.handle, req.version, req.off, req.n)
	if err != nil {
		return nil, err
	}
	s.counts.reads.Add(1)
	return &readResp{length: r.length, Body: rpc.Body{Data: r.data, Release: r.free}}, nil
}

func (s *Chunkserver) handleLength(_ context.Context, req *replicaReq) (*lengthResp, error) {
	n, err := s.store.length(req.handle, req.version)
	return &lengthResp{length: n}, err
}

func (s *Chunkserver) handlePush(ctx context.Context, req *pushReq, st *rpc.Stream) error {
	r := receiver{buffer: s.buffer, st: st, count: &s.counts.pushed}
	if len(req.rest) > 0 {
		peer, err := s.peers.take(req.rest[0].addr)
		if err != nil {
			return err
		}
		defer peer.done()
		r.next = openNext(ctx, st, peer.client, req.rest, func(err error) {
			if errors.Is(err, rpc.ErrClosed) || errors.Is(err, context.Canceled) {
				return // whoever pushes has ended it
			}
			s.log.Warn("chain is cut off", "at", req.rest[0].addr, "err", err)
		})
		defer r.next.close()
	}
	return r.serve(ctx)
}

func (s *Chunkserver) handleWrite(ctx context.Context, req *writeReq) (*writeResp, error) {
	c, err := s.mutate(ctx, req.handle, req.version, func(p *primary, ref uint64) error {
		return p.write(s.clock(), ref, mutationWrite, req.data, req.off, req.n)
	}, req.data, req.n)
	return &writeResp{version: c.version, verifier: c.verifier}, err
}

func (s *Chunkserver) handleAppend(ctx context.Context, req *appendReq) (*appendResp, error) {
	c, err := s.mutate(ctx, req.handle, req.version, func(p *primary, ref uint64) error {
		return p.append(s.clock(), ref, req.data, req.n)
	}, req.data, req.n)
	return &c, err
}

func (s *Chunkserver) handleSync(ctx context.Context, req *replicaReq) (*writeResp, error) {
	c, err := s.mutate(ctx, req.handle, req.version, func(p *primary, ref uint64) error {
		return p.write(s.clock(), ref, mutationSync, dataID{}, 0, 0)
	}, dataID{}, 0)
	return &writeResp{version: c.version, verifier: c.verifier}, err
}

// mutate has the primary here order a mutation with n bytes of data, and waits until
// every member has it. It returns where in the chunk it went, and what those members have:
// their version and verifier.
func (s *Chunkserver) mutate(ctx context.Context, h handle, v version, begin func(p *primary, ref uint64) error, id dataID, n int64) (appendResp, error) {
	verifier := writeVerifier(0)
	r, err := s.leader(h, v)
	if err == nil {
		err = r.current()
	}
	if err == nil { // while the lease lasts the replica is sound, and keeps its verifier
		verifier, err = s.store.verifier(h)
	}
	if err != nil {
		return appendResp{}, err
	}
	c := &mutationCall{done: make(chan struct{}), err: errNoData}
	c.holders.Store(1)
	if n > 0 {
		data, err := s.buffer.get(ctx, id, n, primaryDataWait)
		if err != nil {
			return appendResp{}, err
		}
		c.blob = &data.blob
		c.free = func(used bool) {
			if used {
				s.buffer.drop(data)
			}
			s.buffer.unpin(data)
		}
	}
	for {
		wait, err := r.begin(v, c, begin)
		switch {
		case err == nil:
		case errors.Is(err, errPrimaryBusy):
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
			fallthrough
		default:
			c.release()
			return appendResp{}, err
		}
		break
	}
	select {
	case <-c.done:
		s.counts.mutations.Add(1)
		return appendResp{c.off, c.version, verifier}, c.err
	case <-ctx.Done():
		return appendResp{}, rpc.Uncertain(ctx.Err()) // it goes on
	}
}

// current refuses mutations under a lease of an earlier master. The present one does not
// know of that lease, and may have a replica copied that it takes to be at rest.
func (r *role) current() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch := r.s.store.epoch(); r.epoch < epoch && !r.s.cfg.planted.anyVersion {
		return fmt.Errorf("%w: the lease on %x is of epoch %d, and epoch %d has begun", ErrStale, uint64(r.handle), r.epoch, epoch)
	}
	return nil
}

// handleApply applies a mutation as a secondary.
func (s *Chunkserver) handleApply(ctx context.Context, req *applyReq) (*applyResp, error) {
	r := s.role(req.handle)
	if r == nil {
		return nil, fmt.Errorf("%w: nothing is known of mutations of %x", ErrStale, uint64(req.handle))
	}
	if err := r.current(); err != nil {
		return nil, err
	}
	if applied, past, err := r.past(req.version, req.serial); past || err != nil {
		return &applyResp{applied: applied}, err
	}
	b, free, err := s.dataOf(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { free(err == nil) }()
	var now bool
	if now, err = r.await(ctx, req.version, req.serial); err != nil {
		return nil, err
	}
	if now {
		err = s.perform(req.handle, req.version, req.kind, req.off, req.n, b)
	}
	var applied uint64
	applied, err = r.done(req.version, now, err)
	return &applyResp{applied: applied}, err
}

// dataOf returns the data of a mutation, if it has any, and what is to be called when it
// is not needed any more.
func (s *Chunkserver) dataOf(ctx context.Context, req *applyReq) (b *blob, free func(used bool), err error) {
	nothing := func(bool) {}
	switch req.kind {
	case mutationWrite:
		data, err := s.buffer.get(ctx, req.data, req.n, dataWait)
		if err != nil {
			return nil, nil, err
		}
		return &data.blob, func(used bool) {
			if used {
				s.buffer.drop(data)
			}
			s.buffer.unpin(data)
		}, nil
	case mutationResend:
		if int64(len(req.resent)) != req.n || req.off < 0 || req.n == 0 {
			return nil, nil, fmt.Errorf("%w: %d bytes for a mutation of %d at %d", errNoData, len(req.resent), req.n, req.off)
		}
		return newBlob(req.resent, req.off), nothing, nil
	case mutationPad, mutationSync:
		return nil, nothing, nil
	default:
		return nil, nil, fmt.Errorf("%w: mutation of kind %d", rpc.ErrMessage, req.kind)
	}
}

// perform applies a mutation to the replica here.
func (s *Chunkserver) perform(h handle, v version, kind mutationKind, off, n int64, b *blob) error {
	switch kind {
	case mutationPad:
		if n < 0 || off < 0 || off > s.size()-n {
			return fmt.Errorf("%w: padding of %d bytes at %d", ErrTooLarge, n, off)
		}
		return s.store.pad(h, v, off, off+n)
	case mutationSync:
		return s.store.sync(h, v)
	default:
		return s.store.write(h, v, off, b, s.size())
	}
}
