package gfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// A fakeServer is a chunkserver.
type fakeServer struct {
	c    *fakeCluster
	loc  location
	host *transport.Host
	srv  *rpc.Server
	down atomic.Bool

	replicas map[handle]*fakeReplica
	buffer   map[dataID][]byte
	applied  map[dataID]int64 // where what was applied is, as a real one knows for a while
	syncs    int
	verifier writeVerifier
	appends  int

	delay     atomic.Int64             // of each read, in ns
	readErr   atomic.Pointer[error]    // of each read
	writeErr  atomic.Pointer[[]error]  // of the next mutations
	loseReply atomic.Int64             // how many replies to mutations get lost after the fact
	dropPush  atomic.Int64             // how many data get lost after they were pushed
	reads     atomic.Int64             // that were served or refused
	inRead    atomic.Int64             // reads under way now
	mostReads atomic.Int64             // under way at once
	inWrite   atomic.Int64             // writes under way now
	mostWrite atomic.Int64             // under way at once
	writeWait atomic.Pointer[chan int] // non-nil: mutations wait for it
}

type fakeReplica struct {
	version version
	data    []byte
}

func (s *fakeServer) read(ctx context.Context, r *readReq) (*readResp, error) {
	s.reads.Add(1)
	fakeMost(&s.mostReads, s.inRead.Add(1))
	defer s.inRead.Add(-1)
	if d := s.delay.Load(); d > 0 {
		select {
		case <-time.After(time.Duration(d)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := s.readErr.Load(); err != nil {
		return nil, *err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	k := s.replicas[r.handle]
	switch {
	case k == nil:
		return nil, errNoChunk
	case k.version != r.version:
		return nil, ErrStale
	}
	end := min(r.off+r.n, int64(len(k.data)))
	data := getPiece(int(max(0, end-r.off)))
	if len(data) > 0 {
		copy(data, k.data[r.off:end])
	}
	return &readResp{length: int64(len(k.data)), Body: rpc.Body{Data: data, Release: func() { putPiece(data) }}}, nil
}

// fakeMost keeps the greatest value.
func fakeMost(most *atomic.Int64, n int64) {
	for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
	}
}

func (s *fakeServer) length(_ context.Context, r *replicaReq) (*lengthResp, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	k := s.replicas[r.handle]
	if k == nil || k.version != r.version {
		return nil, ErrStale
	}
	return &lengthResp{int64(len(k.data))}, nil
}

// push receives data and puts it into the buffers of all members itself.
func (s *fakeServer) push(_ context.Context, req *pushReq, st *rpc.Stream) error {
	members := []*fakeServer{s}
	for _, l := range req.rest {
		members = append(members, s.c.servers[l.id-1])
	}
	head := make([]byte, pushHead)
	for {
		head = head[:pushHead]
		if _, err := io.ReadFull(st, head); err != nil {
			return nil
		}
		var f pushFrame
		if err := f.parse(head, maxPush); err != nil {
			return err
		}
		head = append(head, make([]byte, 4*pushPieces(f.phase, f.n))...)
		if _, err := io.ReadFull(st, head[pushHead:]); err != nil {
			return err
		}
		if err := f.parseSums(head); err != nil {
			return err
		}
		data := make([]byte, f.n)
		if _, err := io.ReadFull(st, data); err != nil {
			return err
		}
		if !slices.Equal(pushSums(nil, f.phase, data), f.sums) {
			return ErrChecksum
		}
		lost := 0
		s.c.mu.Lock()
		for i, m := range members {
			if m.down.Load() {
				lost = len(members) - i
				break
			}
			if m.dropPush.Add(-1) < 0 {
				m.buffer[f.id] = data
			}
		}
		s.c.cond.Broadcast()
		s.c.mu.Unlock()
		ack := binary.LittleEndian.AppendUint64(nil, f.id.client)
		ack = binary.LittleEndian.AppendUint64(ack, f.id.n)
		if _, err := st.Write(binary.LittleEndian.AppendUint32(ack, uint32(lost))); err != nil {
			return err
		}
	}
}

// mutate is what a primary does, with all its secondaries at once: off -1 appends.
func (s *fakeServer) mutate(ctx context.Context, h handle, v version, id dataID, off, n int64) (int64, error) {
	fakeMost(&s.mostWrite, s.inWrite.Add(1))
	defer s.inWrite.Add(-1)
	if wait := s.writeWait.Load(); wait != nil {
		select {
		case <-*wait:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if q := s.writeErr.Load(); q != nil && len(*q) > 0 {
		rest := (*q)[1:]
		s.writeErr.Store(&rest)
		return 0, (*q)[0]
	}
	off, err := s.apply(h, v, id, off, n)
	if err == nil && s.loseReply.Add(-1) >= 0 {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return off, err
}

func (s *fakeServer) apply(h handle, v version, id dataID, off, n int64) (int64, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.chunks[h]
	if k == nil || k.version != v || !k.leased || int(s.loc.id)-1 != k.members[0] {
		return 0, ErrStale
	}
	if at, ok := s.applied[id]; ok {
		return at, nil
	}
	data := s.buffer[id]
	if data == nil { // it may be under way
		late := false
		defer time.AfterFunc(time.Second, func() {
			c.mu.Lock()
			late = true
			c.cond.Broadcast()
			c.mu.Unlock()
		}).Stop()
		for data == nil && !late {
			c.cond.Wait()
			data = s.buffer[id]
		}
		if data == nil {
			return 0, errNoData
		}
		if k.version != v {
			return 0, ErrStale
		}
	}
	for _, i := range k.members {
		if c.servers[i].down.Load() {
			c.raise(h, i)
			return 0, ErrStale
		}
	}
	if int64(len(data)) != n {
		return 0, fs.ErrInvalid
	}
	full := false
	if off < 0 {
		off = int64(len(s.replicas[h].data))
		if full = off+n > c.chunkSize; full {
			data = make([]byte, c.chunkSize-off)
		}
	}
	for _, i := range k.members {
		r := c.servers[i].replicas[h]
		if grow := int(off) + len(data) - len(r.data); grow > 0 {
			r.data = append(r.data, make([]byte, grow)...)
		}
		copy(r.data[off:], data)
		delete(c.servers[i].buffer, id)
	}
	if full {
		return 0, errChunkFull
	}
	s.applied[id] = off
	s.appends++
	return off, nil
}

func (s *fakeServer) sync(ctx context.Context, r *replicaReq) (*writeResp, error) {
	if wait := s.writeWait.Load(); wait != nil {
		select {
		case <-*wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	k := s.c.chunks[r.handle]
	if k == nil || k.version != r.version || !k.leased || int(s.loc.id)-1 != k.members[0] {
		return nil, ErrStale
	}
	if s.c.failSync--; s.c.failSync == 0 {
		return nil, rpc.ErrTooLarge
	}
	s.syncs++
	return &writeResp{r.version, s.verifier}, nil
}

func (c *fakeCluster) startServer(i int) {
	host := fmt.Sprintf("c%d", i)
	s := &fakeServer{
		c: c, loc: location{id: serverID(i + 1), addr: host + ":1", rack: fmt.Sprintf("r%d", i%2)},
		replicas: make(map[handle]*fakeReplica), buffer: make(map[dataID][]byte), applied: make(map[dataID]int64),
	}
	srv, err := rpc.NewServer(rpc.ServerConfig{})
	if err != nil {
		c.t.Fatal(err)
	}
	rpc.Handle(srv, methodRead, s.read)
	rpc.Handle(srv, methodLength, s.length)
	rpc.Handle(srv, methodWrite, func(ctx context.Context, r *writeReq) (*writeResp, error) {
		_, err := s.mutate(ctx, r.handle, r.version, r.data, r.off, r.n)
		return &writeResp{r.version, s.verifier}, err
	})
	rpc.Handle(srv, methodAppend, func(ctx context.Context, r *appendReq) (*appendResp, error) {
		off, err := s.mutate(ctx, r.handle, r.version, r.data, -1, r.n)
		return &appendResp{off, r.version, s.verifier}, err
	})
	rpc.Handle(srv, methodSync, s.sync)
	rpc.HandleStream(srv, methodPush, s.push)
	s.host = c.listen(srv, host)
	s.srv = srv
	c.servers = append(c.servers, s)
	c.t.Cleanup(func() { srv.Close() })
}

// kill makes a server vanish, as when its process is killed.
func (s *fakeServer) kill() {
	s.down.Store(true)
	s.srv.Close()
}
