package rv64

import (
	"slices"
	"strings"
)

// chunkSize is the unit in which files are kept, shared with images and hashed.
const chunkSize = 64 << 10

// A chunk is part of a file's content: chunkSize bytes, or less at its end.
type chunk struct {
	data   []byte
	epoch  uint64 // of the disk when it was made: an older one belongs to an image too
	summed bool   // sum is that of data. Not part of the state
	sum    sum
}

// An inode is a file, directory, link or device on the disk.
type inode struct {
	id     int
	mode   uint32 // type and permissions
	nlink  int
	uid    uint32
	gid    uint32
	atime  int64 // Unix ns
	mtime  int64
	ctime  int64
	size   int64
	chunks []*chunk // nil: zeroes
	target string   // of a symbolic link
	names  []dirent // of a directory, sorted by name
	parent int      // of a directory
	device deviceKind
	opens  int // open files that use it: it is kept without a name until they are closed

	// Of the shared disk.
	key    uint64 // what it is in the catalog; 0: it is on the local disk
	body   uint64 // the object that has its content, if it is a file
	writer int    // the thread that writes to it; 0: none
	failed int64  // the errno of what has failed since the last fsync
	stale  bool   // it is among the mount's stale ones
}

type dirent struct {
	name  string
	inode int
}

// A disk is the tree of files of the guest. Number 0 is nobody's, 1 the root.
type disk struct {
	inodes []*inode
	free   []int // numbers that may be given again, the next one last
	epoch  uint64
	used   int64 // bytes of all files
	limit  int64
	gone   func(id int) // is told of each inode that is released
	mount  *mount
}

const rootInode = 1

func newDisk(limit int64) *disk {
	d := &disk{inodes: make([]*inode, 1, 64), limit: limit}
	root := d.add(sIFDIR|0o755, 0)
	root.parent, root.nlink = root.id, 2
	return d
}

func (d *disk) inode(id int) *inode {
	if id <= 0 || id >= len(d.inodes) {
		return nil
	}
	return d.inodes[id]
}

// add makes an inode that no directory names yet.
func (d *disk) add(mode uint32, now int64) *inode {
	in := &inode{mode: mode, atime: now, mtime: now, ctime: now}
	if n := len(d.free); n > 0 {
		in.id = d.free[n-1]
		d.free = d.free[:n-1]
		d.inodes[in.id] = in
	} else {
		in.id = len(d.inodes)
		d.inodes = append(d.inodes, in)
	}
	return in
}

// release drops an inode that has neither a name nor an open file any more.
func (d *disk) release(in *inode) {
	if in.nlink > 0 || in.opens > 0 {
		return
	}
	if in.mounted() {
		d.mount.released(in)
	} else {
		d.truncate(in, 0)
	}
	if d.gone != nil {
		d.gone(in.id)
	}
	d.inodes[in.id] = nil
	d.free = append(d.free, in.id)
}

func (in *inode) isDir() bool { return in.mode&sIFMT == sIFDIR }

func (in *inode) find(name string) (int, bool) {
	return slices.BinarySearchFunc(in.names, name, func(e dirent, name string) int { return strings.Compare(e.name, name) })
}

func (d *disk) lookup(dir *inode, name string) *inode {
	switch name {
	case ".":
		return dir
	case "..":
		return d.inode(dir.parent)
	}
	if i, ok := dir.find(name); ok {
		return d.inode(dir.names[i].inode)
	}
	return nil
}

// link gives an inode a name in a directory, where there is none such.
func (d *disk) link(dir *inode, name string, in *inode, now int64) {
	i, _ := dir.find(name)
	dir.names = slices.Insert(dir.names, i, dirent{name, in.id})
	dir.mtime, dir.ctime = now, now
	if dir.mounted() {
		d.mount.linked(dir, name, in)
	}
	if in.isDir() {
		in.parent, in.nlink = dir.id, 2
		dir.nlink++
		return
	}
	in.nlink++
	in.ctime = now
}

// unlink takes a name away.
func (d *disk) unlink(dir *inode, name string, now int64) {
	i, _ := dir.find(name)
	in := d.inode(dir.names[i].inode)
	dir.names = slices.Delete(dir.names, i, i+1)
	dir.mtime, dir.ctime, in.ctime = now, now, now
	if dir.mounted() {
		d.mount.unlinked(dir, name)
	}
	if in.isDir() {
		dir.nlink--
		in.nlink = 0
	} else {
		in.nlink--
	}
	d.release(in)
}

// read copies what there is at an offset.
func (in *inode) read(b []byte, off int64) (n int) {
	if off >= in.size {
		return 0
	}
	b = b[:min(int64(len(b)), in.size-off)]
	for n < len(b) {
		i, at := int((off+int64(n))/chunkSize), int((off+int64(n))%chunkSize)
		part := b[n:min(len(b), n+chunkSize-at)]
		clear(part)
		if i < len(in.chunks) && in.chunks[i] != nil && at < len(in.chunks[i].data) {
			copy(part, in.chunks[i].data[at:])
		}
		n += len(part)
	}
	return n
}

// write changes a file, growing it if it must. It returns an errno if the disk is full.
func (d *disk) write(in *inode, b []byte, off int64, now int64) int64 {
	end := off + int64(len(b))
	if end > in.size {
		if errno := d.truncate(in, end); errno != 0 {
			return errno
		}
	}
	for n := 0; n < len(b); {
		i, at := int((off+int64(n))/chunkSize), int((off+int64(n))%chunkSize)
		part := b[n:min(len(b), n+chunkSize-at)]
		copy(d.own(in, i, at+len(part))[at:], part)
		n += len(part)
	}
	in.mtime, in.ctime = now, now
	return 0
}

// own returns a chunk's bytes for changing them, at least n.
func (d *disk) own(in *inode, i, n int) []byte {
	c := in.chunks[i]
	if c == nil || c.epoch != d.epoch || len(c.data) < n {
		fresh := &chunk{epoch: d.epoch}
		size := n
		if c != nil {
			size = max(n, len(c.data))
			if len(c.data) < n { // a file that grows: not one copy for each write
				size = max(n, min(2*len(c.data), chunkSize))
			}
		}
		fresh.data = make([]byte, size)
		if c != nil {
			copy(fresh.data, c.data)
		}
		in.chunks[i], c = fresh, fresh
	}
	c.summed = false
	return c.data
}

// truncate changes the size of a file.
func (d *disk) truncate(in *inode, size int64) int64 {
	if size > in.size && (size > d.limit || d.used+size-in.size > d.limit) {
		return -eNOSPC
	}
	n := int((size + chunkSize - 1) / chunkSize)
	if n < len(in.chunks) {
		clear(in.chunks[n:])
		in.chunks = in.chunks[:n]
	}
	if rest := int(size % chunkSize); size < in.size && rest != 0 && in.chunks[n-1] != nil && len(in.chunks[n-1].data) > rest {
		clear(d.own(in, n-1, rest)[rest:])
	}
	for len(in.chunks) < n {
		in.chunks = append(in.chunks, nil)
	}
	d.used += size - in.size
	in.size = size
	return 0
}

// path gives the name of a directory from the root.
func (d *disk) path(id int) string {
	var parts []string
	for in := d.inode(id); in != nil && in.id != rootInode; in = d.inode(in.parent) {
		dir := d.inode(in.parent)
		if dir == nil {
			return "(deleted)"
		}
		name := ""
		for _, e := range dir.names {
			if e.inode == in.id {
				name = e.name
			}
		}
		if name == "" {
			return "(deleted)"
		}
		parts = append(parts, name)
	}
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}

// mkdirAll makes the directories of a path, for what the kernel puts there itself.
func (d *disk) mkdirAll(path string, now int64) *inode {
	dir := d.inode(rootInode)
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		next := d.lookup(dir, name)
		if next == nil || !next.isDir() {
			if next != nil {
				d.unlink(dir, name, now)
			}
			next = d.add(sIFDIR|0o755, now)
			d.link(dir, name, next, now)
		}
		dir = next
	}
	return dir
}

// place puts something under a name, in place of what is there.
func (d *disk) place(path string, in *inode, now int64) {
	i := strings.LastIndexByte(path, '/')
	dir := d.mkdirAll(path[:i], now)
	if old := d.lookup(dir, path[i+1:]); old != nil {
		d.unlink(dir, path[i+1:], now)
	}
	d.link(dir, path[i+1:], in, now)
}
