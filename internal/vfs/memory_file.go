package vfs

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"sync"
	"syscall"
	"time"
)

const pageSize = 4096

type (
	page   [pageSize]byte
	sector [SectorSize]byte
)

// content is the content of a file: what it is now, and what is needed to tell
// what it was at the last sync.
type content struct {
	mu       sync.RWMutex // guards everything below
	pages    []*page      // nil: zeros; bytes beyond size are zero
	size     int64
	synced   int64             // the size at the last sync
	undo     map[int64]*sector // below synced: sectors changed since, as they were
	dropped  map[int64]bool    // those of undo that a sync has failed to write, and none will
	modified time.Time
}

// space returns how many bytes the pages take.
func (c *content) space() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.taken()
}

func (c *content) taken() int64 {
	n := int64(0)
	for _, p := range c.pages {
		if p != nil {
			n += pageSize
		}
	}
	return n
}

func (c *content) stat() (size int64, modified time.Time) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.size, c.modified
}

// readAt is as io.ReaderAt has it.
func (c *content) readAt(p []byte, off int64) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if off >= c.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		from := int(at % pageSize)
		part := p[done:min(n, done+pageSize-from)]
		if i := at / pageSize; i < int64(len(c.pages)) && c.pages[i] != nil {
			copy(part, c.pages[i][from:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// write puts p at off, or at the end if off is negative. alloc is asked before a
// page is added; when it refuses, the write falls short.
func (c *content) write(p []byte, off int64, alloc func() bool) (n int, end int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off < 0 {
		off = c.size
	}
	c.modified = time.Now()
	for n < len(p) {
		at := off + int64(n)
		i, from := at/pageSize, int(at%pageSize)
		part := p[n:min(len(p), n+pageSize-from)]
		for int64(len(c.pages)) <= i {
			c.pages = append(c.pages, nil)
		}
		if c.pages[i] == nil {
			if !alloc() {
				return n, at, ErrNoSpace
			}
			c.pages[i] = new(page)
		}
		c.save(at, at+int64(len(part)))
		c.redirty(at, at+int64(len(part)))
		copy(c.pages[i][from:], part)
		n += len(part)
		c.size = max(c.size, at+int64(len(part)))
	}
	return n, off + int64(n), nil
}

// save keeps what a crash may bring back of the bytes from from to to, which are
// about to change.
func (c *content) save(from, to int64) {
	for s := from / SectorSize; s*SectorSize < min(to, c.synced); s++ {
		if c.undo[s] != nil {
			continue
		}
		old := new(sector)
		c.sector(s, old)
		if c.undo == nil {
			c.undo = make(map[int64]*sector)
		}
		c.undo[s] = old
	}
}

// redirty lets the next sync write the bytes from from to to.
func (c *content) redirty(from, to int64) {
	if len(c.dropped) == 0 {
		return
	}
	for s := from / SectorSize; s*SectorSize < to; s++ {
		delete(c.dropped, s)
	}
}

// sector copies a sector as it is now.
func (c *content) sector(s int64, to *sector) {
	at := s * SectorSize
	if i := at / pageSize; i < int64(len(c.pages)) && c.pages[i] != nil {
		copy(to[:], c.pages[i][at%pageSize:])
	} else {
		clear(to[:])
	}
}

// truncate changes the size and returns how many bytes of pages were given back.
func (c *content) truncate(size int64) (freed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.modified = time.Now()
	if size >= c.size {
		c.size = size
		return 0
	}
	c.save(size, c.size)
	c.redirty(size, c.size)
	before := c.taken()
	c.cut(size)
	return before - c.taken()
}

// cut drops what is beyond size.
func (c *content) cut(size int64) {
	if keep := (size + pageSize - 1) / pageSize; keep < int64(len(c.pages)) {
		clear(c.pages[keep:])
		c.pages = c.pages[:keep]
	}
	if i := size / pageSize; size%pageSize != 0 && i < int64(len(c.pages)) && c.pages[i] != nil {
		clear(c.pages[i][size%pageSize:])
	}
	c.size = size
}

func (c *content) sync() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.synced = c.size
	maps.DeleteFunc(c.undo, func(s int64, _ *sector) bool { return !c.dropped[s] })
}

// drop makes the next syncs pass over what has been written since the last.
func (c *content) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.undo == nil {
		c.undo = make(map[int64]*sector)
	}
	for s := (c.synced + SectorSize - 1) / SectorSize; s*SectorSize < c.size; s++ {
		c.undo[s] = new(sector)
	}
	c.synced = c.size
	c.dropped = make(map[int64]bool, len(c.undo))
	for s := range c.undo {
		c.dropped[s] = true
	}
}

// memoryFile is an open file of a [Memory].
type memoryFile struct {
	fs   *Memory
	node *node
	name string
	flag int

	mu     sync.Mutex // guards what follows
	pos    int64
	closed bool
}

var _ File = (*memoryFile)(nil)

func (f *memoryFile) writable() bool { return f.flag&(os.O_WRONLY|os.O_RDWR) != 0 }
func (f *memoryFile) readable() bool { return f.flag&os.O_WRONLY == 0 }

// check returns the error that a call of this kind gets before it does anything.
func (f *memoryFile) check(allowed bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return fs.ErrClosed
	case f.fs.dead.Load():
		return ErrCrashed
	case !allowed:
		return syscall.EBADF
	}
	return nil
}

func (f *memoryFile) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	err := f.check(f.readable())
	if err == nil && off < 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, f.fail("read", err)
	}
	return f.node.content.readAt(p, off)
}

func (f *memoryFile) Read(p []byte) (int, error) {
	if err := f.check(f.readable()); err != nil {
		return 0, f.fail("read", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.node.content.readAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 {
		err = nil // the end is told when nothing is left, as the system does
	}
	return n, err
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.check(f.writable())
	if err == nil && (off < 0 || f.flag&os.O_APPEND != 0) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, f.fail("write", err)
	}
	n, _, err := f.write(p, off)
	return n, f.fail("write", err)
}

func (f *memoryFile) Write(p []byte) (int, error) {
	if err := f.check(f.writable()); err != nil {
		return 0, f.fail("write", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	off := f.pos
	if f.flag&os.O_APPEND != 0 {
		off = -1
	}
	n, end, err := f.write(p, off)
	f.pos = end
	return n, f.fail("write", err)
}

func (f *memoryFile) write(p []byte, off int64) (n int, end int64, err error) {
	m := f.fs
	n, end, err = f.node.content.write(p, off, func() bool {
		limit := m.capacity.Load()
		if m.used.Add(pageSize) > limit && limit > 0 {
			m.used.Add(-pageSize)
			return false
		}
		return true
	})
	if m.dead.Load() { // the power failed meanwhile; the writer learns nothing else
		return 0, end, ErrCrashed
	}
	return n, end, err
}

func (f *memoryFile) Sync() error {
	// The lock orders a sync before or after a crash, never across it.
	if err := f.check(true); err != nil {
		return f.fail("sync", err)
	}
	if err := f.fs.begin(); err != nil {
		return f.fail("sync", err)
	}
	f.node.content.sync()
	f.fs.mu.Unlock()
	return nil
}

func (f *memoryFile) Truncate(size int64) error {
	err := f.check(f.writable())
	if err == nil && size < 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return f.fail("truncate", err)
	}
	f.fs.used.Add(-f.node.content.truncate(size))
	return nil
}

func (f *memoryFile) Size() (int64, error) {
	if err := f.check(true); err != nil {
		return 0, f.fail("stat", err)
	}
	size, _ := f.node.content.stat()
	return size, nil
}

func (f *memoryFile) Close() error {
	f.mu.Lock()
	closed := f.closed
	f.closed = true
	f.mu.Unlock()
	if closed {
		return f.fail("close", fs.ErrClosed)
	}
	if err := f.fs.begin(); err != nil {
		return f.fail("close", err)
	}
	defer f.fs.mu.Unlock()
	f.node.handles--
	f.fs.release(f.node)
	return nil
}
