package gfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// A fakeCluster is a master and chunkservers that do what the messages say and nothing
// more, all in one place, with faults on demand.
type fakeCluster struct {
	t         testing.TB
	net       *transport.Network
	chunkSize int64
	servers   []*fakeServer
	calls     map[string]*atomic.Int64 // of the master, by method
	hang      atomic.Pointer[chan int] // non-nil: the master waits for it

	mu       sync.Mutex // guards what follows, and all of the servers but what is atomic
	cond     *sync.Cond // data has been pushed
	files    map[string]*fakeFile
	chunks   map[handle]*fakeChunk
	nextFile fileID
	nextChnk handle
	goal     int
	failSync int // counts down to the sync that fails
	bad      []badReq
	refuse   map[string][]error // errors that the next calls of a master's method get
	hidden   int
}

type fakeFile struct {
	attributes
	list []handle
}

type fakeChunk struct {
	version version
	members []int // of servers, the first the primary; all have it at version
	leased  bool
	refs    int
}

// newFake starts a cluster of n chunkservers.
func newFake(t testing.TB, n int, chunkSize int64) *fakeCluster {
	t.Helper()
	c := &fakeCluster{
		t: t, net: transporttest.NewNetwork(t, transport.NetworkConfig{}), chunkSize: chunkSize, goal: 3,
		calls: make(map[string]*atomic.Int64), files: make(map[string]*fakeFile),
		chunks: make(map[handle]*fakeChunk), refuse: make(map[string][]error),
	}
	c.cond = sync.NewCond(&c.mu)
	c.files["."] = &fakeFile{attributes: attributes{path: ".", id: 1, dir: true, mode: 0o777}}
	c.nextFile = 1
	c.startMaster("m", &c.hang)
	for i := range n {
		c.startServer(i)
	}
	return c
}

// startMaster starts a master, or a shadow of it that is always up to date. It waits for
// what hang points to, if that is not nil.
func (c *fakeCluster) startMaster(host string, hang *atomic.Pointer[chan int]) {
	table, err := rpc.NewSessionTable(rpc.SessionTableConfig{})
	if err != nil {
		c.t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerConfig{Sessions: table})
	if err != nil {
		c.t.Fatal(err)
	}
	fakeHandle(c, s, hang, methodCluster, func(*rpc.Empty) (*clusterResp, error) { return &clusterResp{chunkSize: c.chunkSize, epoch: 1}, nil })
	fakeHandle(c, s, hang, methodStat, c.stat)
	fakeHandle(c, s, hang, methodLookup, c.lookup)
	fakeHandle(c, s, hang, methodReadDir, c.readDir)
	fakeHandle(c, s, hang, methodCreate, c.create)
	fakeHandle(c, s, hang, methodMkdir, c.mkdir)
	fakeHandle(c, s, hang, methodRemove, c.remove)
	fakeHandle(c, s, hang, methodRestore, c.undelete)
	fakeHandle(c, s, hang, methodRename, c.rename)
	fakeHandle(c, s, hang, methodCopy, c.snapshot)
	fakeHandle(c, s, hang, methodSetAttr, c.setAttr)
	fakeHandle(c, s, hang, methodPolicy, func(*policyReq) (*rpc.Empty, error) { return nil, nil })
	fakeHandle(c, s, hang, methodGrant, c.grant)
	fakeHandle(c, s, hang, methodBad, func(r *badReq) (*rpc.Empty, error) { c.bad = append(c.bad, *r); return nil, nil })
	fakeHandle(c, s, hang, methodServers, c.list)
	fakeHandle(c, s, hang, methodDrain, func(*drainReq) (*rpc.Empty, error) { return nil, nil })
	fakeHandle(c, s, hang, methodUsage, c.usage)
	fakeHandle(c, s, hang, methodFsck, c.fsck)
	c.listen(s, host)
	c.t.Cleanup(func() { s.Close(); table.Close() })
}

func (c *fakeCluster) listen(s *rpc.Server, host string) *transport.Host {
	h := c.net.Host(host)
	if _, err := s.Listen(context.Background(), h, ":1"); err != nil {
		c.t.Fatal(err)
	}
	return h
}

// fakeHandle registers a master's method, which runs under the cluster's lock and may be
// refused.
func fakeHandle[Req, Resp any](c *fakeCluster, s *rpc.Server, hanging *atomic.Pointer[chan int], method string, h func(*Req) (*Resp, error)) {
	count := c.calls[method]
	if count == nil {
		count = new(atomic.Int64)
		c.calls[method] = count
	}
	rpc.Handle(s, method, func(ctx context.Context, req *Req) (*Resp, error) {
		count.Add(1)
		if hang := hanging.Load(); hang != nil {
			select {
			case <-*hang:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if q := c.refuse[method]; len(q) > 0 {
			c.refuse[method] = q[1:]
			return nil, q[0]
		}
		return h(req)
	})
}

// masterCalls returns how many calls the master has had.
func (c *fakeCluster) masterCalls() int64 {
	n := int64(0)
	for _, k := range c.calls {
		n += k.Load()
	}
	return n
}

// dial returns a client on a host of its own.
func (c *fakeCluster) dial(cfg ClientConfig) *Client {
	c.t.Helper()
	if cfg.Transport == nil {
		cfg.Transport = c.net.Host("client")
	}
	cfg.Masters = []string{"m:1"}
	client, err := Dial(context.Background(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// The master.

func (c *fakeCluster) find(p string) (*fakeFile, error) {
	f := c.files[p]
	if f == nil {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if up := c.files[dir]; up != nil && !up.dir {
				return nil, fmt.Errorf("%s: %w", dir, ErrNotDir)
			}
		}
		return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	return f, nil
}

func (c *fakeCluster) stat(r *statReq) (*statResp, error) {
	f, err := c.find(r.path)
	if err != nil {
		return nil, err
	}
	return &statResp{c.attributes(f)}, nil
}

func (c *fakeCluster) attributes(f *fakeFile) attributes {
	a := f.attributes
	a.chunks = uint64(len(f.list))
	if n := len(f.list); n > 0 {
		k := c.chunks[f.list[n-1]]
		a.open = k.leased
		a.last = c.info(uint64(n-1), f.list[n-1])
		if !a.open {
			a.size = int64(n-1)*c.chunkSize + int64(len(c.servers[k.members[0]].replicas[f.list[n-1]].data))
		}
	}
	return a
}

func (c *fakeCluster) info(index uint64, h handle) chunkInfo {
	k := c.chunks[h]
	info := chunkInfo{index: index, handle: h, version: k.version}
	for _, i := range k.members {
		info.where = append(info.where, c.servers[i].loc)
	}
	return info
}

func (c *fakeCluster) lookup(r *lookupReq) (*lookupResp, error) {
	f, err := c.find(r.path)
	switch {
	case err != nil:
		return nil, err
	case f.dir:
		return nil, ErrIsDir
	case r.file != 0 && f.id != r.file:
		return nil, ErrStale
	}
	resp := &lookupResp{file: f.id, chunks: uint64(len(f.list)), chunkSize: c.chunkSize}
	for i := r.first; i < min(r.first+r.count, uint64(len(f.list))); i++ {
		if f.list[i] != 0 {
			resp.found = append(resp.found, c.info(i, f.list[i]))
		}
	}
	return resp, nil
}

func (c *fakeCluster) readDir(r *readDirReq) (*readDirResp, error) {
	f, err := c.find(r.path)
	if err == nil && !f.dir {
		err = ErrNotDir
	}
	if err != nil {
		return nil, err
	}
	resp := &readDirResp{}
	for p, f := range c.files {
		if p == "." || path.Dir(p) != r.path || (f.deleted != 0) != r.deleted || path.Base(p) <= r.after {
			continue
		}
		a := c.attributes(f)
		a.path = path.Base(p)
		resp.entries = append(resp.entries, a)
	}
	slices.SortFunc(resp.entries, func(a, b attributes) int { return cmp.Compare(a.path, b.path) })
	if limit := min(int(r.limit), 3); len(resp.entries) > limit { // small pages test more
		resp.entries, resp.more = resp.entries[:limit], true
	}
	return resp, nil
}

func (c *fakeCluster) add(p string, dir bool, mode uint32) *fakeFile {
	c.nextFile++
	f := &fakeFile{attributes: attributes{path: p, id: c.nextFile, dir: dir, mode: mode, goal: 3, modified: time.Now().UnixNano()}}
	c.files[p] = f
	return f
}

func (c *fakeCluster) parents(p string, add bool) error {
	dir := path.Dir(p)
	if f := c.files[dir]; f != nil {
		if !f.dir {
			return ErrNotDir
		}
		return nil
	}
	if !add {
		return fmt.Errorf("%s: %w", dir, fs.ErrNotExist)
	}
	if err := c.parents(dir, add); err != nil {
		return err
	}
	c.add(dir, true, 0o755)
	return nil
}

func (c *fakeCluster) create(r *createReq) (*createResp, error) {
	if f := c.files[r.path]; f != nil {
		switch {
		case r.exclusive:
			return nil, fs.ErrExist
		case f.dir:
			return nil, ErrIsDir
		}
		return &createResp{file: f.id, existed: true}, nil
	}
	if err := c.parents(r.path, r.parents); err != nil {
		return nil, err
	}
	return &createResp{file: c.add(r.path, false, r.mode).id}, nil
}

func (c *fakeCluster) mkdir(r *mkdirReq) (*rpc.Empty, error) {
	if f := c.files[r.path]; f != nil {
		if r.parents && f.dir {
			return nil, nil
		}
		return nil, fs.ErrExist
	}
	if err := c.parents(r.path, r.parents); err != nil {
		return nil, err
	}
	c.add(r.path, true, r.mode)
	return nil, nil
}

// below returns the paths at p and below it.
func (c *fakeCluster) below(p string) []string {
	var all []string
	for q := range c.files {
		if q == p || strings.HasPrefix(q, p+"/") {
			all = append(all, q)
		}
	}
	slices.Sort(all)
	return all
}

func (c *fakeCluster) remove(r *removeReq) (*pathResp, error) {
	f, err := c.find(r.path)
	if err != nil {
		return nil, err
	}
	below := c.below(r.path)
	if len(below) > 1 && !r.all {
		return nil, ErrNotEmpty
	}
	if f.deleted != 0 {
		delete(c.files, r.path)
		return &pathResp{}, nil
	}
	c.hidden++
	hidden := fmt.Sprintf("%s.deleted.%d", r.path, c.hidden)
	c.move(r.path, hidden)
	f.deleted = time.Now().UnixNano()
	return &pathResp{hidden}, nil
}

func (c *fakeCluster) move(from, to string) {
	for _, p := range c.below(from) {
		f := c.files[p]
		delete(c.files, p)
		f.path = to + strings.TrimPrefix(p, from)
		c.files[f.path] = f
	}
}

func (c *fakeCluster) undelete(r *undeleteReq) (*pathResp, error) {
	from := r.path
	if c.files[from] == nil || c.files[from].deleted == 0 {
		from = ""
		for p, f := range c.files {
			if f.deleted != 0 && strings.HasPrefix(p, r.path+".deleted.") && (from == "" || f.deleted >= c.files[from].deleted && p > from) {
				from = p
			}
		}
	}
	if from == "" {
		return nil, fs.ErrNotExist
	}
	to := r.to
	if to == "" {
		to = from[:strings.Index(from, ".deleted.")]
	}
	if c.files[to] != nil {
		return nil, fs.ErrExist
	}
	c.files[from].deleted = 0
	c.move(from, to)
	return &pathResp{to}, nil
}

func (c *fakeCluster) rename(r *pairReq) (*rpc.Empty, error) {
	if _, err := c.find(r.from); err != nil {
		return nil, err
	}
	if c.files[r.to] != nil {
		return nil, fs.ErrExist
	}
	if err := c.parents(r.to, false); err != nil {
		return nil, err
	}
	c.move(r.from, r.to)
	return nil, nil
}

func (c *fakeCluster) snapshot(r *pairReq) (*rpc.Empty, error) {
	f, err := c.find(r.from)
	if err != nil {
		return nil, err
	}
	if c.files[r.to] != nil {
		return nil, fs.ErrExist
	}
	g := c.add(r.to, false, f.mode)
	g.list = slices.Clone(f.list)
	for _, h := range g.list {
		if k := c.chunks[h]; k != nil {
			k.refs++
			k.leased = false
		}
	}
	return nil, nil
}

func (c *fakeCluster) setAttr(r *setAttrReq) (*rpc.Empty, error) {
	f, err := c.find(r.path)
	if err != nil {
		return nil, err
	}
	if r.mode >= 0 {
		f.mode = uint32(r.mode)
	}
	f.owner, f.group = cmp.Or(r.owner, f.owner), cmp.Or(r.group, f.group)
	f.goal = cmp.Or(r.goal, f.goal)
	f.modified = cmp.Or(r.modTime, f.modified)
	return nil, nil
}

func (c *fakeCluster) list(*rpc.Empty) (*serversResp, error) {
	resp := &serversResp{}
	for _, s := range c.servers {
		resp.servers = append(resp.servers, serverStatus{location: s.loc, alive: !s.down.Load(), chunks: uint64(len(s.replicas))})
	}
	return resp, nil
}

func (c *fakeCluster) usage(r *usageReq) (*usageResp, error) {
	resp := &usageResp{}
	for _, p := range c.below(r.path) {
		if c.files[p].dir {
			resp.dirs++
		} else {
			resp.files++
			resp.chunks += uint64(len(c.files[p].list))
		}
	}
	return resp, nil
}

// fsck answers with one file a page.
func (c *fakeCluster) fsck(r *fsckReq) (*fsckResp, error) {
	resp := &fsckResp{}
	for p := range c.files {
		if c.files[p].dir || p <= r.after || resp.next != "" && p >= resp.next {
			continue
		}
		resp.next = p
	}
	if f := c.files[resp.next]; f != nil {
		resp.files, resp.chunks = 1, uint64(len(f.list))
		resp.faults = append(resp.faults, fsckFault{path: resp.next, have: 0, goal: 3})
	}
	return resp, nil
}

// grant makes the chunk if need be, forks it if it is shared, and raises its version
// unless a primary that the client does not complain about has the lease.
func (c *fakeCluster) grant(r *grantReq) (*grantResp, error) {
	f, err := c.find(r.path)
	switch {
	case err != nil:
		return nil, err
	case f.dir:
		return nil, ErrIsDir
	case f.id != r.file:
		return nil, ErrStale
	}
	index := r.index
	if r.last {
		index = uint64(max(len(f.list), 1) - 1)
	}
	for uint64(len(f.list)) <= index {
		f.list = append(f.list, 0)
	}
	h := f.list[index]
	switch {
	case h == 0:
		h = c.newChunk(nil)
	case c.chunks[h].refs > 1:
		c.chunks[h].refs--
		h = c.newChunk(c.chunks[h])
	}
	f.list[index] = h
	k := c.chunks[h]
	if k.leased && c.servers[k.members[0]].down.Load() {
		k.leased = false
	}
	if !k.leased || r.known == k.version {
		c.raise(h, -1)
	}
	if len(k.members) == 0 {
		return nil, ErrUnavailable
	}
	k.leased = true
	return &grantResp{chunk: c.info(index, h), chunks: uint64(len(f.list)), chunkSize: c.chunkSize, lease: time.Minute}, nil
}

// newChunk makes a chunk, as a copy of one if it is not nil.
func (c *fakeCluster) newChunk(of *fakeChunk) handle {
	c.nextChnk++
	h := c.nextChnk
	k := &fakeChunk{version: 1, refs: 1}
	c.chunks[h] = k
	if of != nil {
		for from, other := range c.chunks {
			if other != of {
				continue
			}
			k.members = slices.Clone(of.members)
			for _, i := range k.members {
				c.servers[i].replicas[h] = &fakeReplica{version: 1, data: slices.Clone(c.servers[i].replicas[from].data)}
			}
		}
		return h
	}
	for i := range c.servers {
		s := c.servers[(int(h)+i)%len(c.servers)]
		if !s.down.Load() && len(k.members) < c.goal {
			k.members = append(k.members, int(s.loc.id)-1)
			s.replicas[h] = &fakeReplica{version: 1}
		}
	}
	return h
}

// raise raises the version of a chunk on the members that are up, and drops the others,
// and the one excluded.
func (c *fakeCluster) raise(h handle, exclude int) {
	k := c.chunks[h]
	k.version++
	k.members = slices.DeleteFunc(k.members, func(i int) bool { return i == exclude || c.servers[i].down.Load() })
	for _, i := range k.members {
		c.servers[i].replicas[h].version = k.version
	}
}

// expire ends all leases.
func (c *fakeCluster) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.chunks {
		k.leased = false
	}
}

// chunkOf returns a chunk of a file, and the servers that have it.
func (c *fakeCluster) chunkOf(p string, index int) (*fakeChunk, handle, []*fakeServer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.files[p].list[index]
	k := c.chunks[h]
	var all []*fakeServer
	for _, i := range k.members {
		all = append(all, c.servers[i])
	}
	return k, h, all
}

// reports returns what was reported as bad.
func (c *fakeCluster) reports() []badReq {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bad)
}

// refuseNext makes the next calls of a master's method fail.
func (c *fakeCluster) refuseNext(method string, errs ...error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse[method] = errs
}

// isCode reports an error that does not match what it should.
func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, not %v", err, want)
	}
}
