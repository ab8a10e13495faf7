package gfs

import (
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// The methods of a master that clients call. Those of a shadow are the ones that read.
const (
	methodStat    = "gfs.Stat"
	methodLookup  = "gfs.Lookup"
	methodReadDir = "gfs.ReadDir"
	methodCreate  = "gfs.Create"
	methodMkdir   = "gfs.Mkdir"
	methodRemove  = "gfs.Remove"
	methodRestore = "gfs.Undelete"
	methodRename  = "gfs.Rename"
	methodCopy    = "gfs.Snapshot"
	methodSetAttr = "gfs.SetAttr"
	methodPolicy  = "gfs.SetPolicy"
	methodGrant   = "gfs.Grant"
	methodBad     = "gfs.ReportBad"
	methodServers = "gfs.Servers"
	methodDrain   = "gfs.Drain"
	methodUsage   = "gfs.Usage"
	methodFsck    = "gfs.Fsck"
	methodCluster = "gfs.Cluster"
)

// A location is where a chunkserver is: enough for a client to reach it and to see
// how far away it is.
type location struct {
	id   serverID
	addr string
	rack string
	zone string
}

func (l *location) code(c *coder) {
	number(c, &l.id)
	text(c, &l.addr)
	text(c, &l.rack)
	text(c, &l.zone)
}

// attributes are what a master tells of a file or directory.
type attributes struct {
	path     string
	id       fileID
	dir      bool
	mode     uint32 // permission bits, as in fs.FileMode
	owner    string
	group    string
	modified int64 // nanoseconds since 1970, UTC: when it was created, or the last chunk was added
	goal     uint8 // replicas wanted of each chunk; directories: of new files below, 0 if that comes from above
	chunks   uint64
	size     int64 // bytes, as far as the master knows
	// open says that a lease on the last chunk is in force: the size may have grown,
	// and its primary, or any replica, knows by how much.
	open    bool
	last    chunkInfo // of an open file
	deleted int64     // when it was removed, if it is one that can be undeleted; else 0
}

func (a *attributes) code(c *coder) {
	text(c, &a.path)
	number(c, &a.id)
	flag(c, &a.dir)
	number(c, &a.mode)
	text(c, &a.owner)
	text(c, &a.group)
	signed(c, &a.modified)
	number(c, &a.goal)
	number(c, &a.chunks)
	signed(c, &a.size)
	signed(c, &a.deleted)
	flag(c, &a.open)
	if a.open {
		a.last.code(c)
	}
}

// chunkInfo is what a client has to know of a chunk to read it.
type chunkInfo struct {
	index   uint64 // in the file
	handle  handle
	version version
	where   []location
}

func (k *chunkInfo) code(c *coder) {
	number(c, &k.index)
	number(c, &k.handle)
	number(c, &k.version)
	list(c, &k.where, func(c *coder, l *location) { l.code(c) })
}

// statReq asks for the attributes of a path.
type statReq struct{ path string }

func (m *statReq) code(c *coder) { text(c, &m.path) }

type statResp struct{ attributes }

// lookupReq asks where chunks of a file are (§3.1): count of them from first on. The
// master may add those that follow (§2.4).
type lookupReq struct {
	path  string
	file  fileID // 0: whichever file is there
	first uint64
	count uint64
}

func (m *lookupReq) code(c *coder) {
	text(c, &m.path)
	number(c, &m.file)
	number(c, &m.first)
	number(c, &m.count)
}

// lookupResp has the chunks that exist; holes are left out. Chunks without a
// location are there, but nobody known has them now.
type lookupResp struct {
	file      fileID
	chunks    uint64 // of the whole file
	chunkSize int64
	found     []chunkInfo
}

func (m *lookupResp) code(c *coder) {
	number(c, &m.file)
	number(c, &m.chunks)
	signed(c, &m.chunkSize)
	list(c, &m.found, func(c *coder, k *chunkInfo) { k.code(c) })
}

// readDirReq asks for entries of a directory, in the order of their names, after a name.
type readDirReq struct {
	path    string
	after   string // the name of the last entry of the page before; "" for the first page
	limit   uint64 // 0: as many as the master likes to give
	deleted bool   // those that were removed, instead of those that are there
}

func (m *readDirReq) code(c *coder) {
	text(c, &m.path)
	text(c, &m.after)
	number(c, &m.limit)
	flag(c, &m.deleted)
}

type readDirResp struct {
	entries []attributes // path is the name alone
	more    bool
}

func (m *readDirResp) code(c *coder) {
	list(c, &m.entries, func(c *coder, a *attributes) { a.code(c) })
	flag(c, &m.more)
}

// createReq makes a file, or opens one.
type createReq struct {
	path      string
	mode      uint32
	goal      uint8 // 0: what the directories above say
	exclusive bool  // fail if there is one
	parents   bool  // make the directories above too
}

func (m *createReq) code(c *coder) {
	text(c, &m.path)
	number(c, &m.mode)
	number(c, &m.goal)
	flag(c, &m.exclusive)
	flag(c, &m.parents)
}

type createResp struct {
	file    fileID
	existed bool
}

func (m *createResp) code(c *coder) {
	number(c, &m.file)
	flag(c, &m.existed)
}

type mkdirReq struct {
	path    string
	mode    uint32
	parents bool // make the directories above too; one that is there already is no error
}

func (m *mkdirReq) code(c *coder) {
	text(c, &m.path)
	number(c, &m.mode)
	flag(c, &m.parents)
}

// removeReq removes a file or directory: it gets a hidden name (§4.4.1). What has a
// hidden name already is gone for good.
type removeReq struct {
	path string
	all  bool // a directory with everything in it
}

func (m *removeReq) code(c *coder) {
	text(c, &m.path)
	flag(c, &m.all)
}

// undeleteReq gives what was removed its name back. path is a hidden path, or one from
// which something was removed: then it is the last that was.
type undeleteReq struct {
	path string
	to   string // "": where it was
}

func (m *undeleteReq) code(c *coder) {
	text(c, &m.path)
	text(c, &m.to)
}

// pathResp answers with a path: a hidden one (Remove), or that of what was undeleted.
type pathResp struct{ path string }

func (m *pathResp) code(c *coder) { text(c, &m.path) }

// pairReq is Rename and Snapshot. Neither replaces what is at the second path.
type pairReq struct{ from, to string }

func (m *pairReq) code(c *coder) {
	text(c, &m.from)
	text(c, &m.to)
}

// setAttrReq changes attributes.
type setAttrReq struct {
	path    string
	all     bool   // of everything below a directory too
	mode    int64  // -1: stays
	owner   string // "": stays
	group   string // "": stays
	goal    uint8  // 0: stays
	modTime int64  // nanoseconds since 1970; 0: stays
}

func (m *setAttrReq) code(c *coder) {
	text(c, &m.path)
	flag(c, &m.all)
	signed(c, &m.mode)
	text(c, &m.owner)
	text(c, &m.group)
	number(c, &m.goal)
	signed(c, &m.modTime)
}

// policyReq sets what holds in a directory and below. Each directory with a policy
// overrides those above it, field by field; quotas all count.
type policyReq struct {
	path string
	policy
}

// A policy is what a subtree is given (§2.7.1, §4.2, §4.4.1).
type policy struct {
	goal      uint8         // replicas of new files; 0: from above
	retention time.Duration // how long what is removed can be undeleted; 0: from above, negative: not at all
	maxFiles  uint64        // files and directories below; 0: no limit
	maxChunks uint64        // chunks of the files below, each counted once a file; 0: no limit
}

func (p *policy) code(c *coder) {
	number(c, &p.goal)
	signed(c, &p.retention)
	number(c, &p.maxFiles)
	number(c, &p.maxChunks)
}

func (m *policyReq) code(c *coder) {
	text(c, &m.path)
	m.policy.code(c)
}

// grantReq asks for the primary of a chunk (§3.1), and makes the chunk if there is none.
type grantReq struct {
	path  string
	file  fileID
	index uint64
	// last, instead of index, asks for the last chunk, of a file without chunks the
	// first: where records are appended.
	last bool
	// known is the version of which the client knows, but whose primary did not serve
	// it: 0 if it knows none.
	known version
}

func (m *grantReq) code(c *coder) {
	text(c, &m.path)
	number(c, &m.file)
	number(c, &m.index)
	flag(c, &m.last)
	number(c, &m.known)
}

// grantResp says who serves mutations of the chunk: the first of chunk.where is the
// primary. The lease lasts at least for the given time.
type grantResp struct {
	chunk     chunkInfo
	chunks    uint64 // of the whole file
	chunkSize int64
	lease     time.Duration
}

func (m *grantResp) code(c *coder) {
	m.chunk.code(c)
	number(c, &m.chunks)
	signed(c, &m.chunkSize)
	signed(c, &m.lease)
}

// badReq tells the master that a replica did not serve a reader: its checksums do not
// match, or it is not there.
type badReq struct {
	handle  handle
	version version
	server  serverID
	why     string
}

func (m *badReq) code(c *coder) {
	number(c, &m.handle)
	number(c, &m.version)
	number(c, &m.server)
	text(c, &m.why)
}

// drainReq moves everything away from a chunkserver, or stops doing so.
type drainReq struct {
	server serverID
	stop   bool
	forget bool // it is gone for good: do not wait for it, now or after a restart
}

func (m *drainReq) code(c *coder) {
	number(c, &m.server)
	flag(c, &m.stop)
	flag(c, &m.forget)
}

// serversResp lists the chunkservers.
type serversResp struct{ servers []serverStatus }

func (m *serversResp) code(c *coder) {
	list(c, &m.servers, func(c *coder, s *serverStatus) { s.code(c) })
}

// A serverStatus is one chunkserver as the master sees it.
type serverStatus struct {
	location
	uuid     [16]byte
	alive    bool
	awaited  bool // by a master that has just started
	draining bool
	silent   time.Duration // since the last heartbeat
	capacity int64         // bytes
	used     int64         // bytes
	chunks   uint64
	read     int64 // bytes a second
	written  int64 // bytes a second
}

func (s *serverStatus) code(c *coder) {
	s.location.code(c)
	fixed(c, s.uuid[:])
	flag(c, &s.alive)
	flag(c, &s.awaited)
	flag(c, &s.draining)
	signed(c, &s.silent)
	signed(c, &s.capacity)
	signed(c, &s.used)
	number(c, &s.chunks)
	signed(c, &s.read)
	signed(c, &s.written)
}

// usageReq asks how much is below a path.
type usageReq struct{ path string }

func (m *usageReq) code(c *coder) { text(c, &m.path) }

type usageResp struct {
	files, dirs, chunks uint64
	bytes               int64 // of content
	stored              int64 // of all replicas that are known
	policy              policy
}

func (m *usageResp) code(c *coder) {
	number(c, &m.files)
	number(c, &m.dirs)
	number(c, &m.chunks)
	signed(c, &m.bytes)
	signed(c, &m.stored)
	m.policy.code(c)
}

// fsckReq asks for the files below a path, after another, that are not as they should
// be; a page at a time.
type fsckReq struct {
	path  string
	after string
}

func (m *fsckReq) code(c *coder) {
	text(c, &m.path)
	text(c, &m.after)
}

type fsckResp struct {
	files   uint64 // looked at in this page
	chunks  uint64
	faults  []fsckFault
	next    string // after which to go on; "" at the end
	leaving uint64 // replicas known to be of no use, not yet deleted
}

func (m *fsckResp) code(c *coder) {
	number(c, &m.files)
	number(c, &m.chunks)
	list(c, &m.faults, func(c *coder, f *fsckFault) { f.code(c) })
	text(c, &m.next)
	number(c, &m.leaving)
}

// A fsckFault is a chunk that has not the replicas it should have.
type fsckFault struct {
	path    string
	index   uint64
	handle  handle
	version version
	have    uint64
	goal    uint64
}

func (f *fsckFault) code(c *coder) {
	text(c, &f.path)
	number(c, &f.index)
	number(c, &f.handle)
	number(c, &f.version)
	number(c, &f.have)
	number(c, &f.goal)
}

// clusterResp is what a client has to know first.
type clusterResp struct {
	chunkSize int64
	epoch     uint64
	shadow    bool
	safeMode  bool
	lag       time.Duration // how far a shadow is behind, at most
	queued    uint64        // chunks to be repaired
	repairs   uint64        // replicas on their way to chunks that lack one
	moves     uint64        // replicas on their way from fuller to emptier chunkservers
}

func (m *clusterResp) code(c *coder) {
	signed(c, &m.chunkSize)
	number(c, &m.epoch)
	flag(c, &m.shadow)
	flag(c, &m.safeMode)
	signed(c, &m.lag)
	number(c, &m.queued)
	number(c, &m.repairs)
	number(c, &m.moves)
}

// emptyReq is the request of methods that need none.
type emptyReq = rpc.Empty
