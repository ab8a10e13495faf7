package gfs

import (
	"encoding/hex"
	"sync/atomic"

	"github.com/trilith-go/trilith/rpc"
)

// ChunkserverStatus is what a chunkserver is doing. Counts are since its start.
type ChunkserverStatus struct {
	Addr      string // by which others reach it
	Disk      string // the id of the disk
	Server    uint32 // the id by which the masters know it; 0: not registered yet
	Epoch     uint64 // of the master that it obeys
	ChunkSize int64  // bytes; 0: not known yet

	Replicas  int    // on the disk
	Suspect   int    // of these: not served until they have been compared
	Corrupt   int    // of these: with bytes that do not match their checksum
	Damaged   int    // files that could not be read at the start
	Capacity  int64  // bytes that replicas may take
	Used      int64  // bytes that they take
	Leases    int    // on chunks of which this server is the primary
	Cloning   int    // replicas being copied from others
	Buffered  int64  // bytes of pushed data in memory
	Waiting   int    // pushed data that is in memory, or is waited for
	Reads     uint64 // calls of clients
	Mutations uint64 // as the primary, answered
	Pushed    int64  // bytes received
	Read      int64  // bytes read from the disk
	Written   int64  // bytes written to the disk
	Faults    uint64 // writes of the disk that failed: it is full, or worse
	Clones    uint64 // completed
	Scrubbed  uint64 // replicas read to look for rot
	Rotten    uint64 // blocks that did not match their checksum then

	RPC rpc.ServerStats
}

// chunkserverCounts are the counts that nothing else keeps.
type chunkserverCounts struct {
	reads, mutations, clones, scrubbed, rotten atomic.Uint64
	pushed                                     atomic.Int64
}

// Status returns what the server is doing.
func (s *Chunkserver) Status() ChunkserverStatus {
	uuid := s.store.uuid()
	st := ChunkserverStatus{
		Addr: s.addr, Disk: hex.EncodeToString(uuid[:]), Server: s.id.Load(), Epoch: s.store.epoch(),
		ChunkSize: s.chunkSize.Load(), Damaged: s.store.damaged, Faults: s.store.faults.Load(),
		Read: s.store.read.Load(), Written: s.store.written.Load(), RPC: s.server.Stats(),
	}
	st.Capacity, st.Used = s.store.space()
	st.Buffered, st.Waiting = s.buffer.stats()
	for _, h := range s.store.handles() {
		st.Replicas++
		switch s.store.state(h).health {
		case suspect:
			st.Suspect++
		case corrupt:
			st.Corrupt++
		}
		if s.leading(h) {
			st.Leases++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Cloning = len(s.clones)
	n := &s.counts
	st.Reads, st.Mutations, st.Pushed = n.reads.Load(), n.mutations.Load(), n.pushed.Load()
	st.Clones, st.Scrubbed, st.Rotten = n.clones.Load(), n.scrubbed.Load(), n.rotten.Load()
	return st
}
