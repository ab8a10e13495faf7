package gfs

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// pathLocks are the read and write locks on paths (§4.1). A single command of the log
// is atomic by itself; locks are for operations that take time: a snapshot that first
// revokes leases, a chunk whose replicas are made before it is logged. An operation
// holds read locks on the directories above its path, and a read or write lock on the
// path itself. A write lock on a directory so excludes all operations below it.
//
// Locks are taken in one order, by level and then by name, so nobody waits in a circle,
// and each is given in the order in which it was asked for. There are entries for paths
// that are locked, and no others.
type pathLocks struct {
	mu    sync.Mutex
	paths map[string]*pathLock
	spare []*pathLock // that nobody has any more
}

// spareLocks bounds pathLocks.spare.
const spareLocks = 256

// A pathLock is the lock of one path. Guarded by pathLocks.mu.
type pathLock struct {
	readers int
	writer  bool
	queue   []*pathWaiter
}

type pathWaiter struct {
	write bool
	given chan struct{} // closed when the lock has been given
}

// A lockWish is a path to be locked, and the directories above it for reading.
type lockWish struct {
	path  string
	write bool
}

// newPathLocks returns locks of which none is held.
func newPathLocks() *pathLocks { return &pathLocks{paths: make(map[string]*pathLock)} }

// A heldLocks is what one operation holds.
type heldLocks struct {
	locks *pathLocks
	held  []lockWish
	room  [6]lockWish // for held, as a rule
}

// acquire takes all locks that an operation needs, or none if ctx ends before.
func (l *pathLocks) acquire(ctx context.Context, wishes ...lockWish) (*heldLocks, error) {
	h := &heldLocks{locks: l}
	h.held = lockOrder(h.room[:0], wishes)
	l.mu.Lock()
	for i := range h.held {
		waiter := l.take(h.held[i])
		if waiter == nil {
			continue
		}
		l.mu.Unlock()
		if err := l.await(ctx, h.held[i], waiter); err != nil {
			h.held = h.held[:i]
			h.release()
			return nil, err
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
	return h, nil
}

// release gives up all that is held.
func (h *heldLocks) release() {
	h.locks.mu.Lock()
	for _, w := range h.held {
		h.locks.unlock(w)
	}
	h.locks.mu.Unlock()
	h.held = nil
}

// lockOrder appends every lock that wishes amount to, once, in the order in which they
// are to be taken, to all, which is empty.
func lockOrder(all, wishes []lockWish) []lockWish {
	if len(wishes) == 1 { // the way down to one path is in that order
		path := wishes[0].path
		if path != "." {
			all = append(all, lockWish{path: "."})
		}
		for i := range len(path) {
			if path[i] == '/' {
				all = append(all, lockWish{path: path[:i]})
			}
		}
		return append(all, wishes[0])
	}
	for _, w := range wishes {
		all = append(all, w)
		for dir := w.path; dir != "."; {
			if dir = parentOf(dir); dir != "" {
				all = append(all, lockWish{path: dir})
			}
		}
	}
	slices.SortFunc(all, func(a, b lockWish) int {
		if c := cmp.Or(cmp.Compare(pathLevel(a.path), pathLevel(b.path)), strings.Compare(a.path, b.path)); c != 0 {
			return c
		}
		if a.write == b.write {
			return 0
		}
		if a.write {
			return -1
		}
		return 1
	})
	return slices.CompactFunc(all, func(a, b lockWish) bool { return a.path == b.path }) // the write lock, if both are wished for
}

// pathLevel is the number of elements of a path.
func pathLevel(p string) int {
	if p == "." {
		return 0
	}
	return strings.Count(p, "/") + 1
}

// parentOf returns the directory that a path is in; "." is in itself.
func parentOf(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return "."
}

// take takes a lock, or else returns who waits for it. The mutex is held.
func (l *pathLocks) take(w lockWish) *pathWaiter {
	p := l.paths[w.path]
	if p == nil {
		if last := len(l.spare) - 1; last >= 0 {
			p, l.spare = l.spare[last], l.spare[:last]
		} else {
			p = new(pathLock)
		}
		l.paths[w.path] = p
	}
	if len(p.queue) == 0 && p.admits(w.write) {
		p.give(w.write)
		return nil
	}
	waiter := &pathWaiter{write: w.write, given: make(chan struct{})}
	p.queue = append(p.queue, waiter)
	return waiter
}

// await waits until the lock has been given, or ctx ends.
func (l *pathLocks) await(ctx context.Context, w lockWish, waiter *pathWaiter) error {
	select {
	case <-waiter.given:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.paths[w.path] // is there: somebody has it, or waits
	if i := slices.Index(p.queue, waiter); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		l.settle(w.path, p) // whoever was behind may be let in now
	} else {
		l.unlock(w) // it was given meanwhile
	}
	return context.Cause(ctx)
}

// unlock gives one lock up. The mutex is held.
func (l *pathLocks) unlock(w lockWish) {
	p := l.paths[w.path]
	if w.write {
		p.writer = false
	} else {
		p.readers--
	}
	l.settle(w.path, p)
}

// settle lets in those who can be, and forgets a lock that nobody has or wants.
func (l *pathLocks) settle(path string, p *pathLock) {
	for len(p.queue) > 0 && p.admits(p.queue[0].write) {
		p.give(p.queue[0].write)
		close(p.queue[0].given)
		p.queue = p.queue[1:]
	}
	if len(p.queue) == 0 && p.readers == 0 && !p.writer {
		delete(l.paths, path)
		if p.queue = nil; len(l.spare) < spareLocks {
			l.spare = append(l.spare, p)
		}
	}
}

func (p *pathLock) admits(write bool) bool {
	return !p.writer && (!write || p.readers == 0)
}

func (p *pathLock) give(write bool) {
	if write {
		p.writer = true
	} else {
		p.readers++
	}
}
