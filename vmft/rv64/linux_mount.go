package rv64

import (
	"fmt"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// A shared disk is mounted in the guest's tree: what is below has its content outside, where
// other hosts reach it too, and all the rest in the machine. The program waits until it is
// attached before its first instruction. From then on only bytes travel: a call that reads
// or writes is a request that leaves the machine, and its thread waits for the answer.
//
// A file has a key, which names it in the catalog, and a body: the object that holds its
// content. One that is emptied gets a new body, so that no request of before can meet one of
// after.

// mount is the shared disk.
type mount struct {
	leaving    uint64 // the request with whose answer the program has ended
	root       int    // the directory where it is; 0: there is no shared disk
	attaching  uint64 // the request to attach it; 0: it is attached
	incoming   []byte // the catalog, as far as it has come
	generation uint64
	objects    uint64 // how many numbers of objects were given out, in this generation
	requests   uint64 // and of requests

	// What is in the tables and not in the catalog: records, and inodes whose record is old.
	changes []byte
	stale   []int
	doomed  []uint64 // objects to be removed, once the catalog does not need them any more
	written int64    // when the catalog was last written to, Unix ns

	catalog  uint64        // the object that has it; 0: there is none yet, or it is damaged
	telling  bool          // the disk has been asked to let it count
	rooted   bool          // it does
	previous uint64        // the one that counts until then; 0: none
	due      bool          // a new one is needed
	tail     int64         // how long the catalog is
	whole    int64         // how long it was when it was new
	frames   uint64        // how many there are in it
	unsafe   []unsafeFrame // that were not answered, the oldest first
	errno    int64         // why it could not be written, if that was not told yet
}

// An unsafeFrame is one on its way to the disk. With it objects lose their last name there.
// One that begins a catalog has arrived when the disk has been told of that.
type unsafeFrame struct {
	requests []uint64 // that were not answered
	doomed   []uint64
}

const (
	wornCatalog  = 1 << 20           // bytes by which a catalog may grow beyond twice of what it was
	maxUnwritten = 64 << 10          // bytes of records that may wait for a reason to be written
	catalogEvery = 5 * 1_000_000_000 // ns after which a write is one
)

// A diskWait is what a thread that waits for the shared disk waits for.
type diskWait struct {
	request uint64 // 0: for a file that another thread writes to
	kind    DiskRequestKind
	file    int // plus 1
	inode   int
	off     int64
	n       int64
	seek    bool     // the file's offset goes on, and nobody else moves it
	locks   bool     // nobody else writes to the file
	list    []vector // where what is read goes
}

// mounted says that a file belongs to the shared disk.
func (in *inode) mounted() bool { return in.key != 0 }

// number gives out the number of an object.
func (m *mount) number() uint64 {
	m.objects++
	return m.generation<<32 | m.objects
}

// joins makes an inode one of the shared disk, when it gets its first name there.
func (m *mount) joins(in *inode) {
	in.key = m.number()
	if in.mode&sIFMT == sIFREG {
		in.body = m.number()
	}
	m.touch(in)
}

// linked takes note of a name on the shared disk, unlinked of the end of one.
func (m *mount) linked(dir *inode, name string, in *inode) {
	if !in.mounted() {
		m.joins(in)
	}
	m.changes = appendLink(m.changes, dir.key, name, in.key)
	m.touch(dir)
}

func (m *mount) unlinked(dir *inode, name string) {
	m.changes = appendUnlink(m.changes, dir.key, name)
	m.touch(dir)
}

// touch says that the record of an inode is old. One that is not of the shared disk has none.
func (m *mount) touch(in *inode) {
	if in.mounted() && !in.stale {
		in.stale = true
		m.stale = append(m.stale, in.id)
	}
}

// released lets go of the content of a file that is gone.
func (m *mount) released(in *inode) {
	if in.body != 0 {
		m.doomed = append(m.doomed, in.body)
	}
	if in.stale {
		m.stale = slices.DeleteFunc(m.stale, func(id int) bool { return id == in.id })
	}
}

// empty gives a file a new body, without content.
func (m *mount) empty(in *inode) {
	m.doomed = append(m.doomed, in.body)
	in.body, in.size = m.number(), 0
	m.touch(in)
}

// request has something done on the shared disk.
func (k *kernel) request(r DiskRequest) uint64 {
	k.mount.requests++
	r.ID, r.Generation = k.mount.requests, k.mount.generation
	k.asked = true
	k.emit(output{Kind: OutputDisk, Number: r.ID, Data: r.Append(nil)})
	return r.ID
}

// mountAt asks for the shared disk, and lets the program wait for it.
func (k *kernel) mountAt(path string) error {
	dir := k.disk.mkdirAll(path, k.set.start)
	if len(dir.names) > 0 || dir.id == rootInode || dir.device != deviceNone {
		return fmt.Errorf("Config.Shared %s is not an empty directory", path)
	}
	k.mount.root = dir.id
	t := k.current
	k.suspend()
	t.waiting = waitDisk
	k.mount.attaching = k.request(DiskRequest{Kind: DiskAttach})
	return nil
}

// attach mounts the disk with what is on it.
func (k *kernel) attach(c *catalog) {
	m, root := &k.mount, k.disk.inode(k.mount.root)
	m.attaching, m.incoming = 0, nil
	known := map[uint64]int{mountKey: root.id}
	if old := c.inodes[mountKey]; old != nil {
		root.mode, root.uid, root.gid = old.mode, old.uid, old.gid
		root.atime, root.mtime, root.ctime = old.atime, old.mtime, old.ctime
	}
	c.each(func(dirKey uint64, name string, read *inode) {
		dir := k.disk.inode(known[dirKey])
		in := k.disk.inode(known[read.key])
		if in == nil {
			in = k.disk.add(read.mode, 0)
			known[read.key] = in.id
			id := in.id
			*in = *read
			in.id = id
		}
		mtime, ctime, own := dir.mtime, dir.ctime, in.ctime
		k.disk.link(dir, name, in, 0)
		dir.mtime, dir.ctime, in.ctime = mtime, ctime, own
	})
	// Only now: what was read is in the catalog, and nothing of it is news.
	root.key = mountKey
	for id := range k.disk.inodes {
		if in := k.disk.inode(id); in != nil && in.mounted() {
			in.stale = false
		}
	}
	m.changes, m.stale = nil, nil
	for _, t := range k.threads {
		if t.waiting == waitDisk {
			t.waiting = waitNot
			k.ready = append(k.ready, t.id)
		}
	}
}

// record writes what has changed to the catalog. Nobody waits for that: whoever wants it to
// be safe lets a DiskSync follow.
func (k *kernel) record() {
	m := &k.mount
	if m.root == 0 || m.attaching != 0 || !m.due && len(m.changes) == 0 && len(m.stale) == 0 && len(m.doomed) == 0 {
		return
	}
	m.written = k.realtime()
	if m.catalog == 0 || m.rooted && m.tail > 2*m.whole+wornCatalog {
		k.recordAll()
		return
	}
	records := m.changes
	for _, id := range m.stale {
		in := k.disk.inode(id)
		records = in.appendRecord(records)
		in.stale = false
	}
	m.changes, m.stale = nil, nil
	f := unsafeFrame{doomed: m.doomed}
	if m.doomed = nil; len(records) > 0 {
		f.requests = k.writeFrame(records)
	}
	m.unsafe = append(m.unsafe, f)
	k.removeDoomed()
}

// unmount ends the program, once everything is safe on the shared disk that it has left
// there. It is called again with the answer to a sync.
func (k *kernel) unmount() {
	m := &k.mount
	first := m.leaving == 0
	m.leaving = 0
	if m.root != 0 && m.attaching == 0 && (first || m.unsettled()) {
		k.record()
		m.leaving = k.request(DiskRequest{Kind: DiskSync})
		return
	}
	k.emit(output{Kind: OutputExit, Number: uint64(k.exitCode)})
}

// unsettled reports whether a new catalog does not count yet.
func (m *mount) unsettled() bool { return m.catalog != 0 && !m.rooted && m.errno == 0 }

// writeFrame appends a frame to the catalog.
func (k *kernel) writeFrame(records []byte) (requests []uint64) {
	m := &k.mount
	b := appendFrame(nil, m.frames, records)
	m.frames++
	for len(b) > 0 {
		part := b[:min(len(b), maxDiskTransfer)]
		requests = append(requests, k.request(DiskRequest{Kind: DiskRecord, Object: m.catalog, Offset: m.tail, Data: part}))
		m.tail += int64(len(part))
		b = b[len(part):]
	}
	return requests
}

// recordAll begins a new catalog. The one before counts until the disk has been told.
func (k *kernel) recordAll() {
	m := &k.mount
	if m.catalog != 0 {
		m.previous = m.catalog
	}
	m.catalog, m.telling, m.rooted, m.due, m.tail, m.frames = m.number(), false, false, false, 0, 0
	records := k.snapshotRecords()
	m.changes, m.stale = nil, nil
	f := unsafeFrame{requests: k.writeFrame(records), doomed: m.doomed}
	m.whole, m.doomed = m.tail, nil
	m.unsafe = append(m.unsafe, f)
}

// snapshotRecords are those of everything that is on the shared disk.
func (k *kernel) snapshotRecords() (b []byte) {
	for _, id := range k.mount.stale {
		k.disk.inode(id).stale = false
	}
	seen := make(map[int]bool)
	for todo := []*inode{k.disk.inode(k.mount.root)}; len(todo) > 0; todo = todo[1:] {
		dir := todo[0]
		b = dir.appendRecord(b)
		for _, e := range dir.names {
			in := k.disk.inode(e.inode)
			b = appendLink(b, dir.key, e.name, in.key)
			if in.isDir() {
				todo = append(todo, in)
			} else if !seen[in.id] {
				seen[in.id] = true
				b = in.appendRecord(b)
			}
		}
	}
	return b
}

// removeDoomed has the objects removed that no catalog which counts names any more.
func (k *kernel) removeDoomed() {
	m := &k.mount
	for len(m.unsafe) > 0 && len(m.unsafe[0].requests) == 0 {
		for _, object := range m.unsafe[0].doomed {
			k.request(DiskRequest{Kind: DiskRemove, Object: object})
		}
		m.unsafe = m.unsafe[1:]
	}
}

// catalogDone is the answer to a request about the catalog.
func (k *kernel) catalogDone(id uint64, errno int64) {
	m := &k.mount
	if errno != 0 {
		m.errno, m.due = errno, true
		for _, f := range m.unsafe {
			m.doomed = append(m.doomed, f.doomed...)
		}
		if m.rooted { // it counts, as far as it goes
			m.previous = m.catalog
		} else {
			m.doomed = append(m.doomed, m.catalog)
		}
		m.unsafe, m.catalog, m.telling, m.rooted = nil, 0, false, false
		return
	}
	for i := range m.unsafe {
		f := &m.unsafe[i]
		n := slices.Index(f.requests, id)
		if n < 0 {
			continue
		}
		if f.requests = slices.Delete(f.requests, n, n+1); i > 0 || len(f.requests) > 0 || m.rooted {
			break
		}
		if !m.telling {
			m.telling = true
			f.requests = append(f.requests, k.request(DiskRequest{Kind: DiskRoot, Object: m.catalog}))
			break
		}
		if m.rooted = true; m.previous != 0 {
			f.doomed = append(f.doomed, m.previous)
			m.previous = 0
		}
	}
	k.removeDoomed()
}

func (k *kernel) mountState(c *codec) {
	m := &k.mount
	num(c, &m.leaving)
	num(c, &m.root)
	num(c, &m.attaching)
	c.bytes(&m.incoming)
	num(c, &m.generation)
	num(c, &m.objects)
	num(c, &m.requests)
	c.bytes(&m.changes)
	list(c, &m.stale, func(v *int) { num(c, v) })
	list(c, &m.doomed, func(v *uint64) { num(c, v) })
	num(c, &m.written)
	num(c, &m.catalog)
	c.bool(&m.telling)
	c.bool(&m.rooted)
	num(c, &m.previous)
	c.bool(&m.due)
	num(c, &m.tail)
	num(c, &m.whole)
	num(c, &m.frames)
	list(c, &m.unsafe, func(f *unsafeFrame) {
		list(c, &f.requests, func(v *uint64) { num(c, v) })
		list(c, &f.doomed, func(v *uint64) { num(c, v) })
	})
	num(c, &m.errno)
	if c.reading {
		for _, id := range m.stale {
			if in := k.disk.inode(id); in != nil {
				in.stale = true
			}
		}
	}
}

func (c *codec) diskWait(w *diskWait) {
	num(c, &w.request)
	num(c, &w.kind)
	num(c, &w.file)
	num(c, &w.inode)
	num(c, &w.off)
	num(c, &w.n)
	c.bool(&w.seek)
	c.bool(&w.locks)
	list(c, &w.list, func(v *vector) { num(c, &v.addr); num(c, &v.n) })
}

// checkMount reports whether all numbers of a state that was read lead somewhere.
func (k *kernel) checkMount() error {
	bad := func(what string, n int) error { return fmt.Errorf("%w: %s %d", wire.ErrCorrupt, what, n) }
	m := &k.mount
	if root := k.disk.inode(m.root); m.root != 0 && (root == nil || !root.isDir()) {
		return bad("shared disk at", m.root)
	}
	for _, id := range m.stale {
		if k.disk.inode(id) == nil {
			return bad("stale inode", id)
		}
	}
	for _, t := range k.threads {
		w := &t.disk
		in := k.disk.inode(w.inode)
		noFile := w.file < 0 || w.file > len(k.files) || w.file > 0 && k.files[w.file-1] == nil
		needs := w.request != 0 && w.kind != DiskSync // a file
		if noFile || w.inode != 0 && in == nil || needs && in == nil || (w.seek || w.kind == DiskWrite) && w.file == 0 {
			return bad("disk of thread", t.id)
		}
	}
	return nil
}
