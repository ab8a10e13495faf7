package gfs

import "time"

// The methods of a master that chunkservers call.
const (
	methodRegister  = "gfs.Register"
	methodReport    = "gfs.Report"
	methodHeartbeat = "gfs.Heartbeat"
	methodReform    = "gfs.Reform"
)

// The methods of a chunkserver that a master calls. Each names the master's epoch.
const (
	methodMake   = "gfs.Make"
	methodRaise  = "gfs.Raise"
	methodLease  = "gfs.Lease"
	methodRevoke = "gfs.Revoke"
	methodFork   = "gfs.Fork"
	methodClone  = "gfs.Clone"
	methodDigest = "gfs.Digest"
	methodAccept = "gfs.Accept"
	methodHail   = "gfs.Hail"
)

// methodApply is how a primary passes a mutation on to a secondary (§3.1, step 5).
const methodApply = "gfs.Apply"

// registerReq makes a chunkserver known to a master. All that it holds follows in
// reports, the last of which says so.
type registerReq struct {
	uuid     [16]byte // of the disk
	boot     uint64   // of this start of the process, random
	attempt  uint64   // counts its registrations with this master
	addr     string
	rack     string
	zone     string
	capacity int64  // bytes
	used     int64  // bytes
	epoch    uint64 // the highest it has obeyed
}

func (m *registerReq) code(c *coder) {
	fixed(c, m.uuid[:])
	number(c, &m.boot)
	number(c, &m.attempt)
	text(c, &m.addr)
	text(c, &m.rack)
	text(c, &m.zone)
	signed(c, &m.capacity)
	signed(c, &m.used)
	number(c, &m.epoch)
}

type registerResp struct {
	server    serverID
	epoch     uint64 // 0 from a master that does not lead: it only listens
	chunkSize int64
	heartbeat time.Duration // how often
}

func (m *registerResp) code(c *coder) {
	number(c, &m.server)
	number(c, &m.epoch)
	signed(c, &m.chunkSize)
	signed(c, &m.heartbeat)
}

// A replicaState is what a chunkserver says of one of its replicas.
type replicaState struct {
	handle  handle
	version version
	length  int64 // bytes
	health  health
}

func (r *replicaState) code(c *coder) {
	number(c, &r.handle)
	number(c, &r.version)
	signed(c, &r.length)
	number(c, &r.health)
}

// health is what there is to say of a replica beyond its version.
type health uint8

const (
	// sound: all that is known is well.
	sound health = iota
	// suspect: an unclean stop has interrupted its mutations (it was mutated since it
	// was last known to be durable). It serves nothing until compared.
	suspect
	// corrupt: bytes of it do not match their checksum (§5.2). It serves what does.
	corrupt
	// gone: the chunkserver has it no more.
	gone
)

// String returns the health in a word.
func (h health) String() string {
	switch h {
	case sound:
		return "sound"
	case suspect:
		return "suspect"
	case corrupt:
		return "corrupt"
	default:
		return "gone"
	}
}

// reportReq tells a part of what a chunkserver holds, after it has registered.
type reportReq struct {
	server   serverID
	boot     uint64
	attempt  uint64 // of the registration that it belongs to
	replicas []replicaState
	last     bool
}

func (m *reportReq) code(c *coder) {
	number(c, &m.server)
	number(c, &m.boot)
	number(c, &m.attempt)
	list(c, &m.replicas, func(c *coder, r *replicaState) { r.code(c) })
	flag(c, &m.last)
}

// heartbeatReq says that a chunkserver lives, and what has changed (§2.3).
type heartbeatReq struct {
	server   serverID
	boot     uint64
	clock    time.Duration // the chunkserver's own, monotonic, since its boot
	capacity int64
	used     int64
	read     int64          // bytes a second, lately
	written  int64          // bytes a second, lately
	changes  []replicaState // since the last heartbeat that was answered
	extend   []replicaState // primaries that want their lease extended, as mutations go on
	cloning  uint64         // clones under way
}

func (m *heartbeatReq) code(c *coder) {
	number(c, &m.server)
	number(c, &m.boot)
	signed(c, &m.clock)
	signed(c, &m.capacity)
	signed(c, &m.used)
	signed(c, &m.read)
	signed(c, &m.written)
	list(c, &m.changes, func(c *coder, r *replicaState) { r.code(c) })
	list(c, &m.extend, func(c *coder, r *replicaState) { r.code(c) })
	number(c, &m.cloning)
}

// heartbeatResp may tell a chunkserver which replicas to delete (§4.4): it is free to do
// so, as nobody has use for them at that version.
type heartbeatResp struct {
	epoch    uint64 // 0 from a master that does not lead
	extended []leaseTerm
	delete   []doomed
}

func (m *heartbeatResp) code(c *coder) {
	number(c, &m.epoch)
	list(c, &m.extended, func(c *coder, l *leaseTerm) { l.code(c) })
	list(c, &m.delete, func(c *coder, d *doomed) { d.code(c) })
}

// A doomed replica is to be deleted, unless it has come to another version since.
type doomed struct {
	handle  handle
	version version
}

func (d *doomed) code(c *coder) {
	number(c, &d.handle)
	number(c, &d.version)
}

// A leaseTerm says until when a lease lasts, by the clock of the chunkserver that has
// it: a message that comes late shortens the lease and never lengthens it.
type leaseTerm struct {
	handle  handle
	version version
	until   time.Duration // of heartbeatReq.clock
}

func (l *leaseTerm) code(c *coder) {
	number(c, &l.handle)
	number(c, &l.version)
	signed(c, &l.until)
}

// reformReq is a primary's: some secondaries do not answer. The master grants it the
// lease anew, at a higher version, without them.
type reformReq struct {
	handle  handle
	version version
	server  serverID // the primary
	boot    uint64
	failed  []serverID
}

func (m *reformReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
	number(c, &m.server)
	number(c, &m.boot)
	list(c, &m.failed, func(c *coder, id *serverID) { number(c, id) })
}

// An order is what every message of a master to a chunkserver begins with. A
// chunkserver obeys no master of an older epoch (errOldEpoch), and no order for
// another disk (errUnregistered).
type order struct {
	epoch  uint64
	server serverID
	boot   uint64 // 0: whichever
}

func (o *order) code(c *coder) {
	number(c, &o.epoch)
	number(c, &o.server)
	number(c, &o.boot)
}

// makeReq makes an empty replica of a new chunk, durable before it is answered.
type makeReq struct {
	order
	handle  handle
	version version
}

func (m *makeReq) code(c *coder) {
	m.order.code(c)
	number(c, &m.handle)
	number(c, &m.version)
}

// raiseReq raises the version of a replica, durably (§4.5), and notes with it that
// mutations may follow. From then on it takes none of an older version. It is refused
// with ErrStale unless the replica is at a version from, the last that was granted, to
// to: between are those that were asked for in vain, of which it may have heard.
type raiseReq struct {
	order
	handle   handle
	from, to version
}

func (m *raiseReq) code(c *coder) {
	m.order.code(c)
	number(c, &m.handle)
	number(c, &m.from)
	number(c, &m.to)
}

// raiseResp answers makeReq, raiseReq and forkReq. A lease counts from clock.
type raiseResp struct {
	boot   uint64
	clock  time.Duration
	length int64
}

func (m *raiseResp) code(c *coder) {
	number(c, &m.boot)
	signed(c, &m.clock)
	signed(c, &m.length)
}

// leaseReq makes a replica the primary of its chunk (§3.1).
type leaseReq struct {
	order
	leaseTerm
	others []location // the secondaries: all other members of the grant
}

func (m *leaseReq) code(c *coder) {
	m.order.code(c)
	m.leaseTerm.code(c)
	list(c, &m.others, func(c *coder, l *location) { l.code(c) })
}

// revokeReq ends a lease. Mutations in progress end first, or fail.
type revokeReq struct {
	order
	handle  handle
	version version
}

func (m *revokeReq) code(c *coder) {
	m.order.code(c)
	number(c, &m.handle)
	number(c, &m.version)
}

// hailReq says that a master has begun to lead. A chunkserver that hears of it takes no
// mutations under grants of the former one any more, and reports at once: the new master
// waits for that before it grants anything.
type hailReq struct{ order }

func (m *hailReq) code(c *coder) { m.order.code(c) }

// forkReq copies a replica locally for a chunk that a snapshot shares (§3.4). The copy
// is durable before it is answered.
type forkReq struct {
	order
	from        handle
	fromVersion version
	to          handle
	toVersion   version
}

func (m *forkReq) code(c *coder) {
	m.order.code(c)
	number(c, &m.from)
	number(c, &m.fromVersion)
	number(c, &m.to)
	number(c, &m.toVersion)
}

// cloneReq makes a chunkserver copy a replica from another (§4.3). It is answered when
// the clone has begun; that it is complete is in a heartbeat.
type cloneReq struct {
	order
	handle  handle
	version version
	from    []location // the best first
	rate    int64      // bytes a second at most; 0: no limit
}

func (m *cloneReq) code(c *coder) {
	m.order.code(c)
	number(c, &m.handle)
	number(c, &m.version)
	list(c, &m.from, func(c *coder, l *location) { l.code(c) })
	signed(c, &m.rate)
}

// digestReq asks what a replica contains, to compare it with others.
type digestReq struct {
	order
	handle handle
}

func (m *digestReq) code(c *coder) {
	m.order.code(c)
	number(c, &m.handle)
}

// digestResp describes a replica after every block of it has been read and verified.
type digestResp struct {
	version version
	length  int64
	sum     uint64   // a hash of the checksums of all blocks, those of the list bad as 0
	bad     []uint64 // blocks that do not match their checksum
	health  health

	verifier writeVerifier
	kept     bool // nothing that was written to it can be lost: its machine has run on
}

func (m *digestResp) code(c *coder) {
	number(c, &m.version)
	signed(c, &m.length)
	number(c, &m.sum)
	list(c, &m.bad, func(c *coder, b *uint64) { number(c, b) })
	number(c, &m.health)
	number(c, &m.verifier)
	flag(c, &m.kept)
}

// acceptReq ends the suspicion of a replica. Blocks that do not match are taken from
// the others if one has them whole; those that nobody has whole were torn by the stop
// of all, in a write that nobody had synced: they are accepted as they are.
type acceptReq struct {
	order
	handle  handle
	version version
	others  []location

	verifier writeVerifier // what it has from then on
}

func (m *acceptReq) code(c *coder) {
	m.order.code(c)
	number(c, &m.handle)
	number(c, &m.version)
	list(c, &m.others, func(c *coder, l *location) { l.code(c) })
	number(c, &m.verifier)
}

// A mutationKind is what a mutation does.
type mutationKind uint8

const (
	mutationWrite  mutationKind = iota + 1 // data at an offset
	mutationPad                            // zeros to the end of the chunk
	mutationSync                           // everything so far made durable
	mutationResend                         // as mutationWrite, with the data in the message
)

// applyReq is a mutation as the primary has ordered it. Serial numbers count from 1 in
// each version, without gaps (§3.1).
type applyReq struct {
	handle  handle
	version version
	serial  uint64
	kind    mutationKind
	data    dataID
	off     int64
	n       int64
	resent  []byte // mutationResend: the data itself
}

func (m *applyReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
	number(c, &m.serial)
	number(c, &m.kind)
	m.data.code(c)
	signed(c, &m.off)
	signed(c, &m.n)
	raw(c, &m.resent)
}

// applyResp says how far the secondary has come.
type applyResp struct{ applied uint64 }

func (m *applyResp) code(c *coder) { number(c, &m.applied) }
