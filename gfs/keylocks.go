package gfs

import (
	"context"
	"sync"
)

// handleLocks let one operation at a time work on a chunk: granting its lease, forking
// it, taking a replica away. There are entries only for those that are held.
type handleLocks struct {
	mu   sync.Mutex
	held map[chunkKey]chan struct{} // closed when it is given up
}

// A chunkKey names a chunk, or the place in a file where one is to be made.
type chunkKey struct {
	handle handle
	file   fileID
	index  uint64
}

func newHandleLocks() *handleLocks { return &handleLocks{held: make(map[chunkKey]chan struct{})} }

// acquire takes the lock, unless ctx ends before.
func (l *handleLocks) acquire(ctx context.Context, key chunkKey) (release func(), err error) {
	for {
		l.mu.Lock()
		busy := l.held[key]
		if busy == nil {
			mine := make(chan struct{})
			l.held[key] = mine
			l.mu.Unlock()
			return func() { l.release(key, mine) }, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (l *handleLocks) release(key chunkKey, mine chan struct{}) {
	l.mu.Lock()
	delete(l.held, key)
	l.mu.Unlock()
	close(mine)
}

// A handleIssue hands out handles one by one of ranges that the log has reserved: a
// replica is made before the log knows of its chunk, and its handle must not be issued
// again, whatever happens in between.
type handleIssue struct {
	turn      chan struct{} // of capacity 1: full while a call has what follows, which may reserve a range
	next, end handle
	epoch     uint64 // in which the range was reserved
}

func newHandleIssue() *handleIssue { return &handleIssue{turn: make(chan struct{}, 1)} }

// handleRange is how many handles are reserved at a time.
const handleRange = 4096

// take returns a handle that was never issued before.
func (i *handleIssue) take(ctx context.Context, epoch uint64, reserve func() (first handle, err error)) (handle, error) {
	select {
	case i.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { <-i.turn }()
	if i.next == i.end || i.epoch != epoch {
		first, err := reserve()
		if err != nil {
			return 0, err
		}
		i.next, i.end, i.epoch = first, first+handleRange, epoch
	}
	h := i.next
	i.next++
	return h, nil
}
