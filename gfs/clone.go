package gfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// methodBlocks is how chunkservers read from one another: whole blocks with the sums that
// are stored of them, so that what arrives is held against what was once written.
const methodBlocks = "gfs.Blocks"

const (
	// maxClones is how many replicas a chunkserver copies at a time.
	maxClones = 16
	// blocksWait is how long another chunkserver may take to send a piece of a replica.
	blocksWait = 30 * time.Second
)

// blocksReq asks for blocks of a replica.
type blocksReq struct {
	handle  handle
	version version
	first   uint64 // the number of the first block
	count   uint64
	any     bool // of suspect replicas too: blocks that match are whole all the same
}

func (m *blocksReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
	number(c, &m.first)
	number(c, &m.count)
	flag(c, &m.any)
}

func (m *blocksReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *blocksReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

// blocksResp has what there is of the blocks asked for. While stamp stays the same, the
// replica does.
type blocksResp struct {
	version version
	length  int64 // of the replica
	boot    uint64
	stamp   uint64
	sums    []uint32

	verifier writeVerifier
	rpc.Body
}

func (m *blocksResp) code(c *coder) {
	number(c, &m.version)
	signed(c, &m.length)
	number(c, &m.boot)
	number(c, &m.stamp)
	list(c, &m.sums, func(c *coder, sum *uint32) { number(c, sum) })
	number(c, &m.verifier)
}

func (m *blocksResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *blocksResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (s *Chunkserver) handleBlocks(_ context.Context, req *blocksReq) (*blocksResp, error) {
	if req.first > MaxChunkSize/blockSize || req.count > maxRead/blockSize {
		return nil, fmt.Errorf("%w: %d blocks from %d on", ErrTooLarge, req.count, req.first)
	}
	r, err := s.store.readAny(req.handle, req.version, int64(req.first)*blockSize, int64(req.count)*blockSize, req.any)
	if err != nil {
		return nil, err
	}
	return &blocksResp{
		version: r.version, length: r.length, boot: s.boot, stamp: r.stamp, sums: r.sums, verifier: r.verifier,
		Body: rpc.Body{Data: r.data, Release: r.free},
	}, nil
}

// fetchBlocks reads blocks of another chunkserver's replica, verified, into memory of the
// caller's if that is large enough.
func (s *Chunkserver) fetchBlocks(ctx context.Context, addr string, req *blocksReq, mem []byte) (*blocksResp, error) {
	peer, err := s.peers.take(addr)
	if err != nil {
		return nil, err
	}
	defer peer.done()
	ctx, cancel := context.WithTimeout(ctx, blocksWait)
	defer cancel()
	resp := &blocksResp{Body: rpc.Body{Data: mem}}
	if err := rpc.CallInto(ctx, peer.client, methodBlocks, req, resp); err != nil {
		return nil, err
	}
	off := int64(req.first) * blockSize
	want := min(int64(req.count)*blockSize, max(resp.length-off, 0))
	if int64(len(resp.Data)) != want || len(resp.sums) != blocksOf(want) {
		return nil, fmt.Errorf("%w: %d bytes in %d blocks of a replica of %d", rpc.ErrMessage, len(resp.Data), len(resp.sums), resp.length)
	}
	return resp, verify(resp.Data, resp.sums, int(req.first))
}

// handleClone begins to copy a replica from another server (§4.3). How it ends is in a
// heartbeat: what the replica is then, or that it is not there.
func (s *Chunkserver) handleClone(_ context.Context, req *cloneReq) (*rpc.Empty, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	if req.handle == 0 || len(req.from) == 0 {
		return nil, fmt.Errorf("%w: a clone of %x from %d servers", rpc.ErrMessage, uint64(req.handle), len(req.from))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clones[req.handle] {
		return &rpc.Empty{}, nil // it has begun
	}
	if len(s.clones) >= maxClones {
		return nil, rpc.Refuse(fmt.Errorf("%w: %d clones are under way", ErrUnavailable, len(s.clones)))
	}
	s.clones[req.handle] = true
	s.goOn(func() {
		err := s.clone(req)
		s.mu.Lock()
		delete(s.clones, req.handle)
		s.mu.Unlock()
		if err == nil {
			s.counts.clones.Add(1)
			s.log.Debug("replica copied", "chunk", uint64(req.handle), "version", uint64(req.version))
		}
		if err != nil {
			s.log.Warn("clone failed", "chunk", uint64(req.handle), "version", uint64(req.version), "err", err)
		}
		s.changed(req.handle)
	})
	return &rpc.Empty{}, nil
}

// clone copies a replica, from the first source from which that works. One that is
// damaged here serves until the new one is whole.
func (s *Chunkserver) clone(req *cloneReq) error {
	if st := s.store.state(req.handle); st.health == sound && st.version >= req.version {
		return nil
	}
	failed := error(nil)
	for _, from := range req.from {
		if s.ctx.Err() != nil {
			return ErrClosed
		}
		err := s.cloneFrom(from.addr, req)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("from %s: %w", from.addr, err))
	}
	return failed
}

func (s *Chunkserver) cloneFrom(addr string, req *cloneReq) error {
	b, err := s.store.build(req.handle)
	if err != nil {
		return err
	}
	if err := s.copyFrom(b, addr, req); err != nil {
		b.abort()
		return err
	}
	return b.commit(req.version, false)
}

// copyFrom copies all blocks of a replica that is at the version and does not change
// meanwhile: at the end it is looked at once more.
func (s *Chunkserver) copyFrom(b *chunkBuilder, addr string, req *cloneReq) error {
	pace := s.pacer(req.rate)
	mem := newSlab(segmentSize)
	defer mem.free()
	var began *blocksResp
	for {
		resp, err := s.fetchBlocks(s.ctx, addr, &blocksReq{
			handle: req.handle, version: req.version, first: uint64(b.length / blockSize), count: segmentSize / blockSize,
		}, mem.b[:0])
		if err != nil {
			return err
		}
		if began == nil {
			began, b.verifier = resp, resp.verifier
		}
		if resp.version != req.version || resp.boot != began.boot || resp.stamp != began.stamp || resp.length != began.length {
			return fmt.Errorf("%w: the replica of %x changes while it is copied, or is at another version", ErrStale, uint64(req.handle))
		}
		if b.length == resp.length {
			return nil
		}
		if s.cfg.planted.halfClone && len(resp.sums) > 1 {
			return b.append(resp.Data[:blockSize], resp.sums[:1])
		}
		if err := b.append(resp.Data, resp.sums); err != nil {
			return err
		}
		if err := pace(len(resp.Data)); err != nil {
			return err
		}
	}
}

// pacer returns what holds a copy back to a rate of bytes a second; 0: only until the
// server is closed.
func (s *Chunkserver) pacer(rate int64) pacer {
	began, done := time.Now(), int64(0)
	return func(n int) error {
		if rate > 0 {
			done += int64(n)
			due := time.Duration(float64(done) / float64(rate) * float64(time.Second))
			if ahead := due - time.Since(began); ahead > 0 && !s.pause(ahead) {
				return ErrClosed
			}
		}
		return s.ctx.Err()
	}
}

// handleAccept ends the suspicion of a replica, with the help of others that have it.
func (s *Chunkserver) handleAccept(ctx context.Context, req *acceptReq) (*rpc.Empty, error) {
	if err := s.obey(&req.order); err != nil {
		return nil, err
	}
	fetch := func(block int) []byte {
		for _, from := range req.others {
			resp, err := s.fetchBlocks(ctx, from.addr, &blocksReq{
				handle: req.handle, version: req.version, first: uint64(block), count: 1, any: true,
			}, nil)
			if err == nil && resp.version == req.version && len(resp.Data) > 0 {
				return resp.Data
			}
		}
		return nil
	}
	return &rpc.Empty{}, s.store.accept(req.handle, req.version, req.verifier, fetch)
}
