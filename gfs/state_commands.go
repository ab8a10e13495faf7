package gfs

// The commands of the master's log. Each has append, which appends the encoded command
// to a slice, and result, which decodes the output that the log returned for it, or the
// error with which it was refused: then nothing has been done. Every command names the
// epoch of the master that proposes it, and is refused with errOldEpoch if another has
// begun since.

// A commandKind is the first byte of a command.
type commandKind uint8

const (
	commandLead commandKind = iota + 1
	commandCreate
	commandMkdir
	commandRemove
	commandUndelete
	commandRename
	commandSnapshot
	commandSetAttr
	commandSetPolicy
	commandAddChunk
	commandGrant
	commandFork
	commandReserve
	commandAdopt
	commandCollect
	commandServer
	commandDrain
	commandForget
)

// A cmdHeader begins every command that a client asks for.
type cmdHeader struct {
	epoch uint64
	who   identity
	when  int64 // nanoseconds since 1970, by the clock of the master
}

func (h *cmdHeader) code(c *coder) {
	number(c, &h.epoch)
	text(c, &h.who.user)
	list(c, &h.who.groups, func(c *coder, g *string) { text(c, g) })
	flag(c, &h.who.super)
	signed(c, &h.when)
	if c.in == nil {
		return
	}
	if h.when < 0 {
		c.in.Fail("the time %d", h.when)
	}
	h.who.bound(c)
}

// cmdLead begins an epoch. It is refused unless it is the newest, and the chunk size is
// that with which the first epoch began.
type cmdLead struct {
	epoch     uint64
	chunkSize int64 // bytes
}

func (m *cmdLead) code(c *coder) {
	number(c, &m.epoch)
	size(c, &m.chunkSize)
}

// cmdCreate makes a file, or opens one.
type cmdCreate struct {
	cmdHeader
	createReq
}

func (m *cmdCreate) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	number(c, &m.mode)
	number(c, &m.goal)
	flag(c, &m.exclusive)
	flag(c, &m.parents)
}

// cmdMkdir makes a directory.
type cmdMkdir struct {
	cmdHeader
	mkdirReq
}

func (m *cmdMkdir) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	number(c, &m.mode)
	flag(c, &m.parents)
}

// cmdRemove gives a file or directory a hidden name, or removes what has one for good.
// It returns the hidden path; "" if it is gone for good.
type cmdRemove struct {
	cmdHeader
	removeReq
}

func (m *cmdRemove) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	flag(c, &m.all)
}

// cmdUndelete gives what was removed a name again, and returns the path.
type cmdUndelete struct {
	cmdHeader
	undeleteReq
}

func (m *cmdUndelete) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	text(c, &m.to)
}

// cmdRename renames a file, or a directory with everything below it. What has a hidden
// name is undeleted by it.
type cmdRename struct {
	cmdHeader
	pairReq
}

func (m *cmdRename) code(c *coder) { codePair(c, &m.cmdHeader, &m.pairReq) }

// cmdSnapshot copies a file, or a directory with everything below it, except for what
// was removed (§3.4). The copies share the chunks. They belong to the user, or to whom
// the originals belong if the user is a super user.
type cmdSnapshot struct {
	cmdHeader
	pairReq
}

func (m *cmdSnapshot) code(c *coder) { codePair(c, &m.cmdHeader, &m.pairReq) }

func codePair(c *coder, h *cmdHeader, p *pairReq) {
	h.code(c)
	text(c, &p.from)
	text(c, &p.to)
}

// cmdSetAttr changes attributes. The goal of a directory is that of new files below.
type cmdSetAttr struct {
	cmdHeader
	setAttrReq
}

func (m *cmdSetAttr) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	flag(c, &m.all)
	signed(c, &m.mode)
	text(c, &m.owner)
	text(c, &m.group)
	number(c, &m.goal)
	signed(c, &m.modTime)
}

// cmdSetPolicy sets the policy of a directory. Only super users change quotas.
type cmdSetPolicy struct {
	cmdHeader
	policyReq
}

func (m *cmdSetPolicy) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	number(c, &m.policy.goal)
	signed(c, &m.policy.retention)
	number(c, &m.policy.maxFiles)
	number(c, &m.policy.maxChunks)
}

// cmdAddChunk adds a chunk to a file, of which replicas have been made already under a
// handle that was reserved (0: one is issued now, and no replica is made yet). If there
// is a chunk at the index, it is returned, and the handle given is of no use.
type cmdAddChunk struct {
	cmdHeader
	path    string
	file    fileID // 0: whichever file is there
	index   uint64
	last    bool // instead of index: the last chunk, or the first of a file without one
	handle  handle
	version version // of the replicas
}

func (m *cmdAddChunk) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	number(c, &m.file)
	number(c, &m.index)
	flag(c, &m.last)
	number(c, &m.handle)
	number(c, &m.version)
}

// cmdFork gives a file a chunk of its own instead of one that it shares (§3.4): a copy
// of the replicas has been made already under the handle to, which was reserved. It is
// refused with ErrStale if the file has not the chunk from there any more.
type cmdFork struct {
	cmdHeader
	path    string
	file    fileID // 0: whichever file is there
	index   uint64
	from    handle
	to      handle
	version version // of the new replicas
}

func (m *cmdFork) code(c *coder) {
	m.cmdHeader.code(c)
	text(c, &m.path)
	number(c, &m.file)
	number(c, &m.index)
	number(c, &m.from)
	number(c, &m.to)
	number(c, &m.version)
}

// chunkResult is what cmdAddChunk and cmdFork return.
type chunkResult struct {
	file    fileID
	chunks  uint64 // of the whole file
	index   uint64
	handle  handle
	version version
	existed bool // the chunk was there already
}

func (m *chunkResult) code(c *coder) {
	number(c, &m.file)
	number(c, &m.chunks)
	number(c, &m.index)
	number(c, &m.handle)
	number(c, &m.version)
	flag(c, &m.existed)
}

// cmdGrant notes that a lease has been granted: the version of the chunk rises from one
// to another (§4.5). It is refused with ErrStale if the chunk is gone, or at another
// version.
type cmdGrant struct {
	epoch    uint64
	handle   handle
	from, to version
}

func (m *cmdGrant) code(c *coder) {
	number(c, &m.epoch)
	number(c, &m.handle)
	number(c, &m.from)
	number(c, &m.to)
}

// cmdReserve issues n handles, the first of which it returns. They are never issued
// again, whether or not they come to name a chunk.
type cmdReserve struct {
	epoch uint64
	n     uint64 // at most maxReserve
}

// maxReserve bounds how many handles one command issues.
const maxReserve = 1 << 16

func (m *cmdReserve) code(c *coder) {
	number(c, &m.epoch)
	number(c, &m.n)
}

// cmdAdopt notes that a replica of a higher version was met, which the master takes
// over (§4.5). It returns the version that the chunk has now, and is refused with
// ErrStale if the chunk is gone.
type cmdAdopt struct {
	epoch   uint64
	handle  handle
	version version
}

func (m *cmdAdopt) code(c *coder) {
	number(c, &m.epoch)
	number(c, &m.handle)
	number(c, &m.version)
}

// cmdCollect drops what was removed and whose retention has passed by the log's time, as
// far as limit files and directories (0: 1,000). It returns how many were dropped, and
// how many that were removed are still due: 1,000 if there are more.
type cmdCollect struct {
	epoch uint64
	limit uint64
}

func (m *cmdCollect) code(c *coder) {
	number(c, &m.epoch)
	number(c, &m.limit)
}

// collectResult is what cmdCollect returns.
type collectResult struct{ dropped, due uint64 }

func (m *collectResult) code(c *coder) {
	number(c, &m.dropped)
	number(c, &m.due)
}

// cmdServer makes a chunkserver known, or notes where it is now, and returns its id. One
// that was forgotten is known again.
type cmdServer struct {
	epoch uint64
	uuid  [16]byte
	addr  string
	rack  string
	zone  string
}

func (m *cmdServer) code(c *coder) {
	number(c, &m.epoch)
	fixed(c, m.uuid[:])
	text(c, &m.addr)
	text(c, &m.rack)
	text(c, &m.zone)
}

// cmdDrain notes that everything is to be moved away from a chunkserver, or that it is
// not any more. It is refused with fs.ErrNotExist if there is no such chunkserver.
type cmdDrain struct {
	epoch  uint64
	server serverID
	on     bool
}

func (m *cmdDrain) code(c *coder) {
	number(c, &m.epoch)
	number(c, &m.server)
	flag(c, &m.on)
}

// cmdForget notes that a chunkserver is gone for good. It is refused with
// fs.ErrNotExist if there is no such chunkserver.
type cmdForget struct {
	epoch  uint64
	server serverID
}

func (m *cmdForget) code(c *coder) {
	number(c, &m.epoch)
	number(c, &m.server)
}
