package gfs

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// maxDirty is how many chunks may have been written since the last Sync; to write to
// more syncs first.
const maxDirty = 4096

// markDirty notes what was written to a chunk that was not among the dirty ones. f.mu is held.
func (f *File) markDirty(index uint64, u *unsynced) {
	if f.dirty == nil {
		f.dirty = make(map[uint64]*unsynced)
	}
	f.dirty[index] = u
}

// Sync makes everything that was written to f durable: it returns when all members of
// each chunk's lease have it on stable storage, and so survives the loss of power of all
// of them. It returns the first error of the writes before it.
//
// What a loss of power has taken before Sync was called is not brought back by it: it
// fails with ErrLost, and a *LostError says which ranges have to be written again. It says
// so once. That is found by a verifier that comes with the answers to writes, and changes
// when the replicas of a chunk may have lost some. A writer of more than 4,096 chunks has
// the same errors from Write, WriteAt and Append, which sync in between.
func (f *File) Sync() error { return f.SyncContext(f.context()) }

// SyncContext is Sync that ends with ctx.
func (f *File) SyncContext(ctx context.Context) error {
	ctx, end := f.within(ctx)
	defer end()
	if err := f.lock(ctx, f.write); err != nil {
		return f.fail("sync", err)
	}
	err := f.settle(ctx)
	f.unlock()
	if err == nil {
		err = f.syncChunks(ctx)
	}
	return f.fail("sync", err)
}

// syncChunks syncs the chunks that were written. One at a time does so: what another has
// begun to sync is not durable yet, and may fail to be.
func (f *File) syncChunks(ctx context.Context) error {
	f.mu.Lock()
	if f.syncing == nil {
		f.syncing = make(chan struct{}, 1)
	}
	turn := f.syncing
	f.mu.Unlock()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return endedBy(ctx, nil)
	}
	f.mu.Lock()
	todo := f.dirty
	f.dirty = nil
	f.mu.Unlock()
	for _, index := range slices.Sorted(maps.Keys(todo)) {
		verifier, err := f.syncChunk(ctx, index)
		if err != nil {
			f.undone(todo)
			return err
		}
		todo[index].seen(verifier)
		f.mu.Lock()
		f.lost = append(f.lost, todo[index].lost...)
		f.mu.Unlock()
		delete(todo, index)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.lost) == 0 {
		return nil
	}
	var lost []Range
	lost, f.lost = f.lost, nil
	slices.SortFunc(lost, func(a, b Range) int { return cmp.Compare(a.Off, b.Off) })
	return &LostError{Ranges: lost}
}

// undone notes that chunks are still to be synced.
func (f *File) undone(todo map[uint64]*unsynced) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for index, before := range todo { // order-free: each has its own entry
		u := f.dirty[index]
		if u == nil {
			f.markDirty(index, before)
		} else {
			u.join(before)
		}
	}
}

// syncChunk returns the chunk's verifier.
func (f *File) syncChunk(ctx context.Context, index uint64) (writeVerifier, error) {
	w, err := f.writers.take(f, index)
	if err != nil {
		return 0, err
	}
	defer f.writers.done(w)
	m := mutation{w: w}
	m.ask = m.askSync
	_, err = m.run(ctx)
	return m.verifier, err
}
