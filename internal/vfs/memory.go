package vfs

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxPending bounds the changes of directories that are not durable yet. When
// there are more, the oldest become durable by themselves, as they do on a real
// file system after some seconds.
const maxPending = 1024

// Memory is a file system in memory that can crash. See the package's
// documentation for what a crash may take. It may be used concurrently, and in a
// synctest bubble.
//
// Relative names are relative to its root.
type Memory struct {
	dead     atomic.Bool
	used     atomic.Int64 // bytes of the pages of all files
	capacity atomic.Int64 // 0: unlimited

	run uint64 // which of the machine's: see Run

	mu      sync.Mutex // guards the rest, and every node's entries, durable, links and handles
	rng     *rand.Rand
	root    *node
	pending []*change // not durable, the oldest first
	locks   map[*node]*memoryLock
}

var _ FS = (*Memory)(nil)

// node is a file or a directory.
type node struct {
	content content // of a file; has its own lock

	dir     bool
	entries map[string]*node // of a directory: now
	durable map[string]*node // of a directory: what a crash leaves at least
	links   int              // of a file: names it has now
	handles int              // of a file: open handles
}

// change is one atomic change of entries that may not survive a crash.
type change struct{ edits []edit }

// edit makes name in dir stand for to, or for nothing if to is nil.
type edit struct {
	dir  *node
	name string
	to   *node
}

// NewMemory returns an empty file system. What its crashes take is drawn from the
// seed.
func NewMemory(seed uint64) *Memory {
	return &Memory{
		run:   rand.NewPCG(seed, 2).Uint64(),
		rng:   rand.New(rand.NewPCG(seed, 0)),
		root:  newDir(),
		locks: make(map[*node]*memoryLock),
	}
}

func newDir() *node {
	return &node{dir: true, entries: make(map[string]*node), durable: make(map[string]*node)}
}

// SetCapacity limits the space that files take to a number of bytes, rounded down
// to pages of 4096; 0 takes the limit away. Writes beyond it fall short with
// [ErrNoSpace].
func (m *Memory) SetCapacity(bytes int64) { m.capacity.Store(bytes) }

// Used returns how many bytes of space the files take, in whole pages.
func (m *Memory) Used() int64 { return m.used.Load() }

// Free implements [Spacer]. Without a capacity there is a tebibyte.
func (m *Memory) Free(dir string) (free, total int64, err error) {
	if _, err := m.Stat(dir); err != nil {
		return 0, 0, err
	}
	if total = m.capacity.Load(); total == 0 {
		total = 1 << 40
	}
	return max(0, total-m.used.Load()), total, nil
}

// Crash cuts the power: m and everything open in it are dead, every call on them
// fails with [ErrCrashed]. It returns the file system as the next start finds it.
func (m *Memory) Crash() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead.Store(true)
	return m.survivor(m.rng.Uint64())
}

// CrashImage returns the file system as the next start would find it if the power
// failed now, or when it did. m goes on if it has not crashed, and other seeds give
// other images of the same moment.
func (m *Memory) CrashImage(seed uint64) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.survivor(seed)
}

// DropUnsynced does to a file what a failed sync does on Linux: what has been
// written since the last Sync is still read, but counts as written, so that no
// later Sync makes it durable. Only writing it again and then syncing does.
func (m *Memory) DropUnsynced(name string) error {
	return m.named("drop", name, func() error {
		n, err := m.resolve(name)
		if err == nil && n.dir {
			err = syscall.EISDIR
		}
		if err == nil {
			n.content.drop()
		}
		return err
	})
}

// resolve returns the node of a cleaned name. m.mu is held.
func (m *Memory) resolve(name string) (*node, error) {
	at := m.root
	for elem := range strings.SplitSeq(strings.Trim(clean(name), "/"), "/") {
		if elem == "" {
			continue
		}
		if !at.dir {
			return nil, syscall.ENOTDIR
		}
		next := at.entries[elem]
		if next == nil {
			return nil, fs.ErrNotExist
		}
		at = next
	}
	return at, nil
}

// parent returns the directory that holds name, and name's last element.
func (m *Memory) parent(name string) (*node, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", fs.ErrInvalid // the root
	}
	n, err := m.resolve(dir)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	return n, base, err
}

func clean(name string) string { return path.Clean("/" + filepath.ToSlash(name)) }

// apply carries out a change of entries. m.mu is held.
func (m *Memory) apply(edits ...edit) {
	for _, e := range edits {
		old := e.dir.entries[e.name]
		if e.to == nil {
			delete(e.dir.entries, e.name)
		} else {
			e.dir.entries[e.name] = e.to
			e.to.links++
		}
		if old != nil {
			old.links--
			m.release(old)
		}
	}
	m.pending = append(m.pending, &change{edits})
	if len(m.pending) > maxPending {
		m.pending[0].commit()
		m.pending = slices.Delete(m.pending, 0, 1)
	}
}

// release gives back the space of a file that nothing refers to any more. A crash
// may still bring its name back, but then nothing depends on the space.
func (m *Memory) release(n *node) {
	if !n.dir && n.links == 0 && n.handles == 0 {
		m.used.Add(-n.content.space())
	}
}

func (c *change) commit() {
	for _, e := range c.edits {
		if e.to == nil {
			delete(e.dir.durable, e.name)
		} else {
			e.dir.durable[e.name] = e.to
		}
	}
}

// begin locks m for a call. On error it is not locked.
func (m *Memory) begin() error {
	m.mu.Lock()
	if m.dead.Load() {
		m.mu.Unlock()
		return ErrCrashed
	}
	return nil
}

// named runs fn with m locked and gives its error the names it is about.
func (m *Memory) named(op, name string, fn func() error) error {
	err := m.begin()
	if err == nil {
		err = fn()
		m.mu.Unlock()
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// OpenFile implements [FS].
func (m *Memory) OpenFile(name string, flag int) (File, error) {
	var f *memoryFile
	err := m.named("open", name, func() error {
		n, err := m.resolve(name)
		switch {
		case err == nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
			return fs.ErrExist
		case err == nil && n.dir:
			return syscall.EISDIR
		case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
			dir, base, err := m.parent(name)
			if err != nil {
				return err
			}
			n = new(node)
			n.content.modified = time.Now()
			m.apply(edit{dir, base, n})
		case err != nil:
			return err
		}
		n.handles++
		f = &memoryFile{fs: m, node: n, name: name, flag: flag}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if flag&os.O_TRUNC != 0 && f.writable() {
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Rename implements [FS].
func (m *Memory) Rename(oldname, newname string) error {
	return m.linked("rename", oldname, newname, func(n, newDir *node, newBase string) error {
		oldDir, oldBase, err := m.parent(oldname)
		if err != nil {
			return err
		}
		if n.dir && within(clean(newname), clean(oldname)) && clean(newname) != clean(oldname) {
			return syscall.EINVAL
		}
		if there := newDir.entries[newBase]; there != nil {
			switch {
			case there == n:
				return nil // as POSIX has it, also for two names of one file
			case there.dir && !n.dir:
				return fs.ErrExist
			case there.dir && len(there.entries) > 0:
				return syscall.ENOTEMPTY
			case !there.dir && n.dir:
				return syscall.ENOTDIR
			}
		}
		m.apply(edit{newDir, newBase, n}, edit{oldDir, oldBase, nil})
		return nil
	})
}

// Link implements [FS].
func (m *Memory) Link(oldname, newname string) error {
	return m.linked("link", oldname, newname, func(n, dir *node, base string) error {
		if n.dir {
			return fs.ErrPermission
		}
		if dir.entries[base] != nil {
			return fs.ErrExist
		}
		m.apply(edit{dir, base, n})
		return nil
	})
}

// linked resolves the old and the new name for fn, with m locked.
func (m *Memory) linked(op, oldname, newname string, fn func(n, dir *node, base string) error) error {
	err := m.begin()
	if err == nil {
		err = func() error {
			defer m.mu.Unlock()
			n, err := m.resolve(oldname)
			if err != nil {
				return err
			}
			dir, base, err := m.parent(newname)
			if err != nil {
				return err
			}
			return fn(n, dir, base)
		}()
	}
	if err != nil {
		return &os.LinkError{Op: op, Old: oldname, New: newname, Err: err}
	}
	return nil
}

// within reports whether a cleaned name is dir or below it.
func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// Remove implements [FS].
func (m *Memory) Remove(name string) error {
	return m.named("remove", name, func() error {
		dir, base, err := m.parent(name)
		if err != nil {
			return err
		}
		n := dir.entries[base]
		if n == nil {
			return fs.ErrNotExist
		}
		if n.dir && len(n.entries) > 0 {
			return syscall.ENOTEMPTY
		}
		m.apply(edit{dir, base, nil})
		return nil
	})
}

// ReadDir implements [FS].
func (m *Memory) ReadDir(name string) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	err := m.named("readdir", name, func() error {
		n, err := m.resolve(name)
		if err != nil {
			return err
		}
		if !n.dir {
			return syscall.ENOTDIR
		}
		for _, base := range slices.Sorted(maps.Keys(n.entries)) {
			list = append(list, fs.FileInfoToDirEntry(n.entries[base].info(base)))
		}
		return nil
	})
	return list, err
}

// MkdirAll implements [FS].
func (m *Memory) MkdirAll(name string) error {
	return m.named("mkdir", name, func() error {
		at := m.root
		for elem := range strings.SplitSeq(strings.Trim(clean(name), "/"), "/") {
			if elem == "" {
				continue
			}
			next := at.entries[elem]
			if next == nil {
				next = newDir()
				m.apply(edit{at, elem, next})
			}
			if !next.dir {
				return syscall.ENOTDIR
			}
			at = next
		}
		return nil
	})
}

// Stat implements [FS].
func (m *Memory) Stat(name string) (fs.FileInfo, error) {
	var info fs.FileInfo
	err := m.named("stat", name, func() error {
		n, err := m.resolve(name)
		if err != nil {
			return err
		}
		info = n.info(path.Base(clean(name)))
		return nil
	})
	return info, err
}

// SyncDir implements [FS].
func (m *Memory) SyncDir(name string) error {
	return m.named("syncdir", name, func() error {
		n, err := m.resolve(name)
		if err != nil {
			return err
		}
		if !n.dir {
			return syscall.ENOTDIR
		}
		m.syncEntries(n)
		return nil
	})
}

// syncEntries makes durable every change that touches a directory, and what those
// build on.
func (m *Memory) syncEntries(dir *node) {
	chosen := make([]bool, len(m.pending))
	for i, c := range m.pending {
		chosen[i] = slices.ContainsFunc(c.edits, func(e edit) bool { return e.dir == dir })
	}
	withEarlier(m.pending, chosen)
	var rest []*change
	for i, c := range m.pending {
		if chosen[i] {
			c.commit()
		} else {
			rest = append(rest, c)
		}
	}
	m.pending = rest
}

// withEarlier adds to the chosen among pending changes what those build on: the
// earlier changes of the same names.
func withEarlier(pending []*change, chosen []bool) {
	type place struct {
		dir  *node
		name string
	}
	needed := make(map[place]bool)
	for i, c := range slices.Backward(pending) {
		chosen[i] = chosen[i] || slices.ContainsFunc(c.edits, func(e edit) bool { return needed[place{e.dir, e.name}] })
		if chosen[i] {
			for _, e := range c.edits {
				needed[place{e.dir, e.name}] = true
			}
		}
	}
}

// nodeInfo is what Stat tells.
type nodeInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (n *node) info(name string) fs.FileInfo {
	if n.dir {
		return nodeInfo{name: name, mode: fs.ModeDir | 0o755}
	}
	size, modified := n.content.stat()
	return nodeInfo{name: name, size: size, mode: 0o644, modified: modified}
}

func (i nodeInfo) Name() string       { return i.name }
func (i nodeInfo) Size() int64        { return i.size }
func (i nodeInfo) Mode() fs.FileMode  { return i.mode }
func (i nodeInfo) ModTime() time.Time { return i.modified }
func (i nodeInfo) IsDir() bool        { return i.mode.IsDir() }
func (i nodeInfo) Sys() any           { return nil }
