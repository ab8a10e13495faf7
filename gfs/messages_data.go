package gfs

import "github.com/trilith-go/trilith/rpc"

// The methods of a chunkserver that clients call. Chunkservers call Read too, to clone.
const (
	methodRead   = "gfs.Read"
	methodLength = "gfs.Length"
	methodPush   = "gfs.Push" // a stream: see push.go
	methodWrite  = "gfs.Write"
	methodAppend = "gfs.Append"
	methodSync   = "gfs.Sync"
)

// readReq reads from a replica.
type readReq struct {
	handle  handle
	version version
	off     int64
	n       int64
}

func (m *readReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
	signed(c, &m.off)
	signed(c, &m.n)
}

// readResp has what there is, up to n bytes, and how long the replica is.
type readResp struct {
	length int64
	rpc.Body
}

func (m *readResp) code(c *coder) { signed(c, &m.length) }

// replicaReq names a replica at a version: Length and Sync.
type replicaReq struct {
	handle  handle
	version version
}

func (m *replicaReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
}

type lengthResp struct{ length int64 }

func (m *lengthResp) code(c *coder) { signed(c, &m.length) }

// A dataID names data that a client has pushed: ⟨the client's random id, n⟩.
type dataID struct {
	client uint64
	n      uint64
}

func (d *dataID) code(c *coder) {
	number(c, &d.client)
	number(c, &d.n)
}

// writeReq asks the primary to write data that has been pushed, or is under way
// (§3.1, step 4), within one chunk.
type writeReq struct {
	handle  handle
	version version
	data    dataID
	off     int64
	n       int64
}

func (m *writeReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
	m.data.code(c)
	signed(c, &m.off)
	signed(c, &m.n)
}

// appendReq asks the primary to append data that has been pushed as one record (§3.3).
type appendReq struct {
	handle  handle
	version version
	data    dataID
	n       int64
}

func (m *appendReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
	m.data.code(c)
	signed(c, &m.n)
}

// writeResp says at which version all members had a write, or a sync, when it was
// acknowledged: not that of the request, if the primary went on without one of them. A sync
// makes durable what was acknowledged with the verifier that it is answered with.
type writeResp struct {
	version  version
	verifier writeVerifier
}

func (m *writeResp) code(c *coder) {
	number(c, &m.version)
	number(c, &m.verifier)
}

// appendResp says where in the chunk the record is, on all replicas that have its version,
// and otherwise what a writeResp says.
type appendResp struct {
	off      int64
	version  version
	verifier writeVerifier
}

func (m *appendResp) code(c *coder) {
	signed(c, &m.off)
	number(c, &m.version)
	number(c, &m.verifier)
}
