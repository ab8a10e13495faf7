package gfs

import (
	"context"
	"slices"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// What tests of whole clusters, in gfs_test, see and do from within.

// A ChunkView is a chunk as the master knows it.
type ChunkView struct {
	Handle  uint64
	Version uint64
	Refs    int
	Goal    int
	Where   []string // the addresses of the current replicas, in order
	Primary string   // who has the lease; "": nobody
}

// ChunkOf returns a chunk of a file; Handle is 0 if there is none.
func (m *Master) ChunkOf(path string, index uint64) (ChunkView, error) {
	place, err := m.state.chunkAt(identity{super: true}, path, 0, index, false)
	if err != nil || place.handle == 0 {
		return ChunkView{}, err
	}
	row, _ := m.state.chunk(place.handle)
	v := ChunkView{Handle: uint64(place.handle), Version: uint64(row.version), Refs: int(row.refs), Goal: int(row.goal)}
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	for _, l := range m.fleet.locate(place.handle, nil) {
		v.Where = append(v.Where, l.addr)
	}
	slices.Sort(v.Where)
	if lease, ok := m.fleet.lease(time.Now(), place.handle); ok {
		v.Primary = lease.members[0].addr
	}
	return v, nil
}

// CheckInvariants holds the master against the invariants of its parts.
func (m *Master) CheckInvariants() error {
	m.state.mu.Lock()
	err := m.state.data.check()
	m.state.mu.Unlock()
	if err != nil {
		return err
	}
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	return m.fleet.check()
}

// Handles returns all chunks that there are.
func (m *Master) Handles() []uint64 {
	var all []uint64
	for _, row := range m.state.chunksAfter(nil, 0, 1<<20) {
		all = append(all, uint64(row.handle))
	}
	return all
}

// A ReplicaView is a replica as its chunkserver knows it.
type ReplicaView struct {
	Version uint64
	Length  int64
	Health  string
}

// Replica describes a replica, and reports whether there is one.
func (s *Chunkserver) Replica(h uint64) (ReplicaView, bool) {
	r := s.store.state(handle(h))
	return ReplicaView{Version: uint64(r.version), Length: r.length, Health: r.health.String()}, r.health != gone
}

// Replicas returns the chunks of which there are replicas.
func (s *Chunkserver) Replicas() []uint64 {
	var all []uint64
	for _, h := range s.store.handles() {
		all = append(all, uint64(h))
	}
	return all
}

// Content returns the bytes of a replica.
func (s *Chunkserver) Content(h uint64) ([]byte, error) {
	var all []byte
	for {
		r, err := s.store.readAny(handle(h), 0, int64(len(all)), maxRead, true)
		if err != nil {
			return nil, err
		}
		n := len(r.data)
		all = append(all, r.data...)
		r.free()
		if n == 0 {
			return all, nil
		}
	}
}

// RaiseReplica raises the version of a replica, as an order of a master would.
func (s *Chunkserver) RaiseReplica(h, from, to uint64) error {
	_, err := s.store.raise(handle(h), version(from), version(to))
	s.changed(handle(h))
	return err
}

// ReadReplica reads from one chunkserver, at a version.
func (c *Client) ReadReplica(ctx context.Context, addr string, h, v uint64, off, n int64) ([]byte, error) {
	peer, err := c.peers.take(addr)
	if err != nil {
		return nil, err
	}
	defer peer.done()
	resp, err := rpc.Call[readResp](ctx, peer.client, methodRead, &readReq{handle: handle(h), version: version(v), off: off, n: n})
	if err != nil {
		return nil, err
	}
	return resp.Data, nil
}

// Bugs are those that can be planted, by name.
func Bugs() map[string]func(*MasterConfig, *ChunkserverConfig) {
	return map[string]func(*MasterConfig, *ChunkserverConfig){
		"the master answers before the log is safe": func(m *MasterConfig, _ *ChunkserverConfig) { m.planted.unsafeLog = true },
		"a clone counts before it is complete":      func(_ *MasterConfig, s *ChunkserverConfig) { s.planted.halfClone = true },
		"stale replicas count as current":           func(m *MasterConfig, _ *ChunkserverConfig) { m.planted.fleet.anyVersion = true },
		"replicas of any version serve":             func(_ *MasterConfig, s *ChunkserverConfig) { s.planted.anyVersion = true },
		"mutations are applied past a gap":          func(_ *MasterConfig, s *ChunkserverConfig) { s.planted.pastGap = true },
		"interrupted replicas are trusted":          func(_ *MasterConfig, s *ChunkserverConfig) { s.planted.trusting = true },
	}
}

// Versions returns the versions of all chunks that there are.
func (m *Master) Versions() map[uint64]uint64 {
	all := make(map[uint64]uint64)
	for _, row := range m.state.chunksAfter(nil, 0, 1<<20) {
		all[uint64(row.handle)] = uint64(row.version)
	}
	return all
}

// Clones returns how many replicas have been copied to the chunkserver since it started.
func (s *Chunkserver) Clones() int { return int(s.counts.clones.Load()) }
