package gfs

import (
	"context"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// ServerInfo describes a chunkserver as the master sees it.
type ServerInfo struct {
	ID       uint32
	UUID     [16]byte // of the disk
	Addr     string
	Rack     string
	Zone     string
	Alive    bool
	Awaited  bool          // not heard of by a master that has just started, nor given up yet
	Draining bool          // everything is being moved away from it
	Silent   time.Duration // since it was last heard
	Capacity int64         // bytes
	Used     int64         // bytes
	Chunks   int64         // replicas
	Read     int64         // bytes a second, lately
	Written  int64         // bytes a second, lately
}

// Servers lists the chunkservers, also those that are dead and have not been forgotten.
func (c *Client) Servers(ctx context.Context) ([]ServerInfo, error) {
	resp, err := askMaster[serversResp](ctx, c, methodServers, &rpc.Empty{})
	if err != nil {
		return nil, opError("servers", "", err)
	}
	all := make([]ServerInfo, len(resp.servers))
	for i, s := range resp.servers {
		all[i] = ServerInfo{
			ID: uint32(s.id), UUID: s.uuid, Addr: s.addr, Rack: s.rack, Zone: s.zone,
			Alive: s.alive, Awaited: s.awaited, Draining: s.draining, Silent: s.silent, Capacity: s.capacity, Used: s.used,
			Chunks: int64(s.chunks), Read: s.read, Written: s.written,
		}
	}
	return all, nil
}

// Drain has everything moved away from a chunkserver, which goes on to serve until that
// is done. Chunks is 0 then, and it can be stopped.
func (c *Client) Drain(ctx context.Context, server uint32) error {
	return c.drain(ctx, "drain", &drainReq{server: serverID(server)})
}

// Undrain ends a Drain: the chunkserver gets new replicas again.
func (c *Client) Undrain(ctx context.Context, server uint32) error {
	return c.drain(ctx, "undrain", &drainReq{server: serverID(server), stop: true})
}

// Forget tells the master that a chunkserver which is dead is gone for good, with its
// disk: it is not waited for, now or after a restart.
func (c *Client) Forget(ctx context.Context, server uint32) error {
	return c.drain(ctx, "forget", &drainReq{server: serverID(server), forget: true})
}

func (c *Client) drain(ctx context.Context, op string, req *drainReq) error {
	_, err := tellMaster[rpc.Empty](ctx, c, methodDrain, req)
	return opError(op, "", err)
}

// Usage says how much is at a path and below it.
type Usage struct {
	Files       int64
	Directories int64
	Chunks      int64
	Bytes       int64  // of content
	Stored      int64  // of all replicas that are known
	Policy      Policy // of the directory itself
}

// Usage returns how much is at a path and below it.
func (c *Client) Usage(ctx context.Context, name string) (Usage, error) {
	err := checkPath(name)
	var resp *usageResp
	if err == nil {
		resp, err = askMaster[usageResp](ctx, c, methodUsage, &usageReq{path: name})
	}
	if err != nil {
		return Usage{}, opError("usage", name, err)
	}
	return Usage{
		Files: int64(resp.files), Directories: int64(resp.dirs), Chunks: int64(resp.chunks),
		Bytes: resp.bytes, Stored: resp.stored,
		Policy: Policy{
			Replication: int(resp.policy.goal), Retention: resp.policy.retention,
			MaxFiles: int64(resp.policy.maxFiles), MaxChunks: int64(resp.policy.maxChunks),
		},
	}, nil
}

// A Fault is a chunk that has not the replicas it should have.
type Fault struct {
	Path    string
	Index   int64 // of the chunk in the file
	Handle  uint64
	Version uint64
	Have    int // replicas that are current and whole; 0: the data cannot be read now
	Goal    int
}

// Check is what Fsck has found.
type Check struct {
	Files   int64   // looked at
	Chunks  int64   // looked at
	Faults  []Fault // at most maxFaults, the first in the order of their paths
	Missing int64   // chunks of which no replica is known
	Short   int64   // chunks with fewer replicas than they should have, those included
	Garbage int64   // replicas that are of no use and not deleted yet
}

// maxFaults bounds the faults that Fsck returns; all are counted.
const maxFaults = 10_000

// Fsck looks at every chunk of the files at a path and below it, and tells which have not
// the replicas they should have. It asks the master what it knows, and reads no data.
func (c *Client) Fsck(ctx context.Context, name string) (Check, error) {
	if err := checkPath(name); err != nil {
		return Check{}, opError("fsck", name, err)
	}
	var all Check
	after := ""
	for {
		resp, err := askMaster[fsckResp](ctx, c, methodFsck, &fsckReq{path: name, after: after})
		if err != nil {
			return all, opError("fsck", name, err)
		}
		all.Files += int64(resp.files)
		all.Chunks += int64(resp.chunks)
		all.Garbage = int64(resp.leaving)
		for _, f := range resp.faults {
			if f.have == 0 {
				all.Missing++
			}
			if f.have < f.goal {
				all.Short++
			}
			if len(all.Faults) < maxFaults {
				all.Faults = append(all.Faults, Fault{
					Path: f.path, Index: int64(f.index), Handle: uint64(f.handle), Version: uint64(f.version),
					Have: int(f.have), Goal: int(f.goal),
				})
			}
		}
		if resp.next == "" || resp.next == after {
			return all, nil
		}
		after = resp.next
	}
}

// ClusterInfo is what a master tells of itself.
type ClusterInfo struct {
	ChunkSize int64         // bytes
	Epoch     uint64        // of the master
	Shadow    bool          // it is a shadow
	SafeMode  bool          // it does not know yet where enough of the chunks are
	Lag       time.Duration // how old what a shadow tells may be
	Queued    int           // chunks that wait to be repaired
	Repairs   int           // replicas on their way to chunks that lack one
	Moves     int           // replicas on their way from fuller to emptier chunkservers
}

// Cluster asks the master, or a shadow while no master answers, how things stand.
func (c *Client) Cluster(ctx context.Context) (ClusterInfo, error) {
	resp, err := askMaster[clusterResp](ctx, c, methodCluster, &rpc.Empty{})
	if err != nil {
		return ClusterInfo{}, opError("cluster", "", err)
	}
	return ClusterInfo{
		ChunkSize: resp.chunkSize, Epoch: resp.epoch, Shadow: resp.shadow, SafeMode: resp.safeMode, Lag: resp.lag,
		Queued: int(resp.queued), Repairs: int(resp.repairs), Moves: int(resp.moves),
	}, nil
}
