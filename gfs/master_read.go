package gfs

import (
	"context"
	"time"
)

// lookupAhead is how many chunks a lookup tells of beyond those that were asked for (§2.4).
const lookupAhead = 8

func (m *Master) stat(ctx context.Context, req *statReq) (*statResp, error) {
	if err := checkPath(req.path); err != nil {
		return nil, err
	}
	a, err := m.state.stat(m.who(ctx), req.path)
	if err != nil {
		return nil, m.confirmed(ctx, err)
	}
	a.path = "" // which the client knows
	m.measure(&a)
	if err := m.confirm(ctx); err != nil {
		return nil, err
	}
	return &statResp{attributes: a}, nil
}

// measure fills in what chunkservers have told of a file: its size. All chunks but the
// last are full, or as good as: what is beyond a chunk's end reads as zeros.
func (m *Master) measure(a *attributes) {
	if a.dir || a.chunks == 0 {
		return
	}
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	a.size = int64(a.chunks-1) * m.cfg.ChunkSize
	h := a.last.handle
	if h == 0 {
		return
	}
	_, length := m.fleet.stock(h)
	a.size += length
	now := time.Now()
	if lease, ok := m.fleet.lease(now, h); ok {
		a.open, a.last.version, a.last.where = true, lease.version, lease.members
		return
	}
	leased := m.fleet.leased(now, h) || m.log == nil
	if !leased && !m.fleet.mutable(now, h) {
		return
	}
	// A lease that an earlier master granted may be in force, of which nobody has told this
	// one. What has no replica left then, as far as that is known, does not grow.
	a.last.where = m.fleet.locate(h, nil)
	a.open = leased || len(a.last.where) > 0 || !m.fleet.settled()
}

func (m *Master) lookup(ctx context.Context, req *lookupReq) (*lookupResp, error) {
	if err := checkPath(req.path); err != nil {
		return nil, err
	}
	resp := &lookupResp{chunkSize: m.cfg.ChunkSize}
	var err error
	resp.file, resp.chunks, resp.found, err = m.state.lookup(m.who(ctx), req.path, req.file, req.first, req.count+lookupAhead)
	if err != nil {
		return nil, m.confirmed(ctx, err)
	}
	m.fleetMu.Lock()
	for i := range resp.found {
		k := &resp.found[i]
		k.where = m.fleet.locate(k.handle, nil)
		if len(k.where) == 0 && k.index < req.first+req.count {
			m.fleet.wanted(k.handle)
		}
	}
	m.fleetMu.Unlock()
	if err := m.confirm(ctx); err != nil {
		return nil, err
	}
	return resp, nil
}

func (m *Master) readDir(ctx context.Context, req *readDirReq) (*readDirResp, error) {
	if err := checkPath(req.path); err != nil {
		return nil, err
	}
	entries, more, err := m.state.readDir(m.who(ctx), req.path, req.after, req.limit, req.deleted)
	if err != nil {
		return nil, m.confirmed(ctx, err)
	}
	for i := range entries {
		m.measure(&entries[i])
	}
	if err := m.confirm(ctx); err != nil {
		return nil, err
	}
	return &readDirResp{entries: entries, more: more}, nil
}

func (m *Master) usage(ctx context.Context, req *usageReq) (*usageResp, error) {
	if err := checkPath(req.path); err != nil {
		return nil, err
	}
	who := m.who(ctx)
	resp, err := m.state.usage(who, req.path)
	if err != nil {
		return nil, m.confirmed(ctx, err)
	}
	for after := ""; ; {
		walk, err := m.state.walkChunks(who, req.path, after, 0)
		if err != nil {
			return nil, m.confirmed(ctx, err)
		}
		m.fleetMu.Lock()
		for _, c := range walk.chunks {
			have, length := m.fleet.stock(c.handle)
			resp.bytes += length
			resp.stored += int64(have) * length
		}
		m.fleetMu.Unlock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if after = walk.next; after == "" {
			break
		}
	}
	if err := m.confirm(ctx); err != nil {
		return nil, err
	}
	return &resp, nil
}

func (m *Master) fsck(ctx context.Context, req *fsckReq) (*fsckResp, error) {
	if err := checkPath(req.path); err != nil {
		return nil, err
	}
	walk, err := m.state.walkChunks(m.who(ctx), req.path, req.after, 0)
	if err != nil {
		return nil, m.confirmed(ctx, err)
	}
	resp := &fsckResp{files: walk.files, chunks: uint64(len(walk.chunks)), next: walk.next}
	m.fleetMu.Lock()
	for _, c := range walk.chunks {
		row, exists := m.state.chunk(c.handle)
		have, _ := m.fleet.stock(c.handle)
		if exists && have < int(row.goal) {
			resp.faults = append(resp.faults, fsckFault{
				path: c.path, index: c.index, handle: c.handle, version: row.version, have: uint64(have), goal: uint64(row.goal),
			})
		}
	}
	resp.leaving = uint64(m.fleet.stats().doomed)
	m.fleetMu.Unlock()
	if err := m.confirm(ctx); err != nil {
		return nil, err
	}
	return resp, nil
}

func (m *Master) servers(ctx context.Context, _ *emptyReq) (*serversResp, error) {
	m.fleetMu.Lock()
	list := m.fleet.serverList(time.Now())
	m.fleetMu.Unlock()
	return &serversResp{servers: list}, m.confirm(ctx)
}

func (m *Master) cluster(ctx context.Context, _ *emptyReq) (*clusterResp, error) {
	if err := m.confirm(ctx); err != nil {
		return nil, err
	}
	resp := &clusterResp{chunkSize: m.cfg.ChunkSize, epoch: m.epoch.Load(), shadow: m.log == nil, lag: m.Lag()}
	if !resp.shadow {
		resp.safeMode = m.safeMode()
		m.fleetMu.Lock()
		st := m.fleet.stats()
		m.fleetMu.Unlock()
		resp.queued, resp.moves, resp.repairs = uint64(st.queued), uint64(st.moves), uint64(st.clones-st.moves)
	}
	return resp, nil
}

// safeMode reports whether too few of the replicas have been reported yet for leases to
// be granted.
func (m *Master) safeMode() bool {
	chunks := m.state.counts().chunks
	m.fleetMu.Lock()
	defer m.fleetMu.Unlock()
	return m.fleet.safeMode(chunks)
}
