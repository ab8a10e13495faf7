package gfs

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/internal/vfs"
)

// storeWrite is the most bytes that are written to a disk at once: one block. For larger
// writes the system looks for larger pieces of free memory, which is rarely memory that it
// has used lately: a machine that gets its memory from a host on demand takes several
// times as long for them, and any has to fetch it into its caches.
const storeWrite = blockSize

// zeroBlock is a block of a hole.
var (
	zeroBlock    [blockSize]byte
	zeroBlockSum = crc32.Checksum(zeroBlock[:], blockPoly)
)

// errBusyChunk says that a replica is being mutated.
var errBusyChunk = errors.New("gfs: replica is being mutated")

// mutable pins a replica for a mutation, and locks it. Nothing is locked if it fails.
func (s *chunkStore) mutable(h handle, v version) (*storedChunk, error) {
	c, err := s.pin(h)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	err = c.takes(v)
	if err == nil {
		err = s.begin(c)
	}
	if err != nil {
		s.leave(c)
		return nil, err
	}
	return c, nil
}

// leave undoes mutable.
func (s *chunkStore) leave(c *storedChunk) {
	c.mu.Unlock()
	s.unpin(c)
}

// takes says whether a replica may be mutated by who knows of version v. c.mu is held.
func (c *storedChunk) takes(v version) error {
	switch {
	case c.gone:
		return fmt.Errorf("%w: %x", errNoChunk, uint64(c.handle))
	case c.version != v && !c.anyVersion:
		return fmt.Errorf("%w: replica of %x at version %d, not %d", ErrStale, uint64(c.handle), c.version, v)
	case c.health == suspect:
		return fmt.Errorf("%w: %x", errSuspect, uint64(c.handle))
	case c.health != sound:
		return fmt.Errorf("%w: replica of %x is corrupt", ErrChecksum, uint64(c.handle))
	}
	return nil
}

// begin notes durably that a replica is being mutated, unless that is noted. c.mu is held.
func (s *chunkStore) begin(c *storedChunk) error {
	c.touched = time.Now()
	if c.dirty {
		return nil
	}
	if err := s.writeHead(c, s.mutated(c, c.version)); err != nil {
		return err
	}
	c.dirty = true
	return nil
}

// mutated is the header of a replica that is being mutated at a version, and durable that
// of one that is at rest. c.mu is held.
func (s *chunkStore) mutated(c *storedChunk, v version) chunkHead {
	head := chunkHead{handle: c.handle, version: v, dirty: s.boot, length: c.length, verifier: c.verifier}
	if c.kept {
		head.run = s.run
	}
	return head
}

func (c *storedChunk) durable(verifier writeVerifier) chunkHead {
	return chunkHead{handle: c.handle, version: c.version, length: c.length, verifier: verifier}
}

// writeHead writes and syncs the header. What the disk has after a failure is one or
// the other, and the next header replaces it; but after a sync that failed it is not known
// what it would take to sync later. c.mu is held.
func (s *chunkStore) writeHead(c *storedChunk, head chunkHead) error {
	if _, err := c.meta.WriteAt(head.encode(), 0); err != nil {
		return s.failed("write the header of", c.handle, err)
	}
	if err := c.meta.Sync(); err != nil {
		c.kept = false
		s.spoil(c, err)
		return s.failed("write the header of", c.handle, err)
	}
	return nil
}

// diskWarnings is how often a disk that fails is said to.
const diskWarnings = 10 * time.Second

// failed returns an error of the disk as others see it, and says now and then that the
// disk fails.
func (s *chunkStore) failed(op string, h handle, err error) error {
	if errors.Is(err, ErrNoSpace) { // more than the replicas may take
		return fmt.Errorf("%s the replica of %x: %w", op, uint64(h), err)
	}
	s.faults.Add(1)
	now, last := time.Now().UnixNano(), s.warned.Load()
	if now-last >= int64(diskWarnings) && s.warned.CompareAndSwap(last, now) {
		s.log.Error("the disk fails", "dir", s.dir, "what", op, "chunk", uint64(h), "err", err, "failures", s.faults.Load())
	}
	if errors.Is(err, vfs.ErrNoSpace) {
		return fmt.Errorf("%w: %s the replica of %x: %w", ErrNoSpace, op, uint64(h), err)
	}
	return fmt.Errorf("%s the replica of %x: %w", op, uint64(h), err)
}

// write writes data at an offset, below limit, of a replica at exactly version v. What
// is between its end and the offset becomes zeros.
func (s *chunkStore) write(h handle, v version, off int64, b *blob, limit int64) error {
	if off < 0 || b.n <= 0 || off > limit-int64(b.n) {
		return fmt.Errorf("%w: writing %d bytes at %d of a chunk of %d", fs.ErrInvalid, b.n, off, limit)
	}
	c, err := s.mutable(h, v)
	if err != nil {
		return err
	}
	defer s.leave(c)
	return s.put(c, off, b)
}

// put is write to a replica that is locked.
func (s *chunkStore) put(c *storedChunk, off int64, b *blob) error {
	end := off + int64(b.n)
	if err := s.room(replicaSize(max(end, c.length)) - replicaSize(c.length)); err != nil {
		return err
	}
	first := int(min(off, c.length) / blockSize)
	sums, err := s.sumsAfter(c, first, off, b)
	if err != nil {
		return err
	}
	at := off
	err = b.each(0, b.n, func(p []byte) error {
		for len(p) > 0 {
			n, err := c.data.WriteAt(p[:min(int64(len(p)), storeWrite-at%storeWrite)], at)
			if at += int64(n); err != nil {
				return err
			}
			p = p[n:]
		}
		return nil
	})
	if err != nil && at == off { // a full disk takes nothing, and nothing has changed
		return s.failed("write", c.handle, err)
	}
	s.written.Add(at - off)
	return s.settle(c, first, sums, off, end, err)
}

// settle ends a mutation of the bytes from off to end, which has changed the data file,
// or failed to: it writes the sums of the blocks from first on, or undoes what can be.
// c.mu is held.
func (s *chunkStore) settle(c *storedChunk, first int, sums []uint32, off, end int64, err error) error {
	if err == nil {
		_, err = c.meta.WriteAt(appendSums(nil, sums), chunkHeader+4*int64(first))
	}
	c.mutation++
	if err != nil {
		if undo := s.undo(c, first, off); undo != nil {
			s.spoil(c, fmt.Errorf("%w; %w", err, undo))
		}
		return s.failed("write", c.handle, err)
	}
	known := copy(c.sums[first:], sums)
	c.sums = append(c.sums, sums[known:]...)
	if end > c.length {
		s.used.Add(replicaSize(end) - replicaSize(c.length))
		c.length = end
	}
	s.notify(c.handle)
	return nil
}

// undo cuts off what a mutation at off has written, and puts the sums back from block
// first on. It fails if there was something before.
func (s *chunkStore) undo(c *storedChunk, first int, off int64) error {
	if off < c.length {
		return errors.New("a part was overwritten")
	}
	if err := c.data.Truncate(c.length); err != nil {
		return err
	}
	_, err := c.meta.WriteAt(appendSums(nil, c.sums[first:]), chunkHeader+4*int64(first))
	return err
}

// sumsAfter returns what the sums of the blocks from first to the last that is touched
// will be when data is written at off. A block of which something remains, and not only
// at its end, is read and verified before (§5.2).
func (s *chunkStore) sumsAfter(c *storedChunk, first int, off int64, b *blob) ([]uint32, error) {
	end := off + int64(b.n)
	aligned := b.phase == int(off%blockSize)
	sums := make([]uint32, 0, blocksOf(end)-first)
	for block := first; ; block++ {
		lo := int64(block) * blockSize
		if lo >= end {
			return sums, nil
		}
		have := int(min(max(c.length-lo, 0), blockSize)) // bytes that are there
		sum := uint32(0)
		if have > 0 {
			sum = c.sums[block]
		}
		from, to := int(max(off-lo, 0)), int(min(end-lo, blockSize)) // of the block
		switch {
		case from >= blockSize: // a hole
			sum = zeroExtended(sum, have, blockSize)
		case from == 0 && to >= have && aligned:
			sum = b.sums[block-int(off/blockSize)]
		case from == 0 && to >= have:
			sum = b.update(0, int(lo-off), int(lo-off)+to)
		case from >= have:
			sum = b.update(zeroExtended(sum, have, from), int(max(lo-off, 0)), int(lo-off)+to)
		default:
			var err error
			if sum, err = s.sumOver(c, block, have, from, to, off, b); err != nil {
				return nil, err
			}
		}
		sums = append(sums, sum)
	}
}

// sumOver returns what the sum of a block of have bytes will be when a part is
// overwritten.
func (s *chunkStore) sumOver(c *storedChunk, block, have, from, to int, off int64, b *blob) (uint32, error) {
	lo := int64(block) * blockSize
	mem := newSlab(have)
	defer mem.free()
	err := c.fill(mem.b, lo)
	if err == nil {
		err = verify(mem.b, c.sums[block:block+1], block)
	}
	if err != nil {
		s.spoil(c, err)
		return 0, err
	}
	sum := crc32.Checksum(mem.b[:from], blockPoly)
	sum = b.update(sum, int(lo-off)+from, int(lo-off)+to)
	if to < have {
		sum = crc32.Update(sum, blockPoly, mem.b[to:])
	}
	return sum, nil
}

// zeroExtended returns the sum of a block of have bytes after zeros up to a length.
func zeroExtended(sum uint32, have, to int) uint32 {
	if have == 0 && to == blockSize {
		return zeroBlockSum
	}
	return crc32.Update(sum, blockPoly, zeroBlock[:to-have])
}

// pad makes everything from off to end zeros.
func (s *chunkStore) pad(h handle, v version, off, end int64) error {
	if off < 0 || end < off || end > MaxChunkSize {
		return fmt.Errorf("%w: padding from %d to %d", fs.ErrInvalid, off, end)
	}
	c, err := s.mutable(h, v)
	if err != nil {
		return err
	}
	defer s.leave(c)
	for off < min(c.length, end) { // a primary knows of no such bytes, but they are here
		n := min(blockSize-off%blockSize, min(c.length, end)-off)
		if err := s.put(c, off, newBlob(zeroBlock[:n], off)); err != nil {
			return err
		}
		off += n
	}
	if c.length >= end {
		return nil
	}
	if err := s.room(replicaSize(end) - replicaSize(c.length)); err != nil {
		return err
	}
	first := int(c.length / blockSize)
	sums := make([]uint32, 0, blocksOf(end)-first)
	for block := first; block < blocksOf(end); block++ {
		lo := int64(block) * blockSize
		have, sum := int(max(c.length-lo, 0)), uint32(0)
		if have > 0 {
			sum = c.sums[block]
		}
		sums = append(sums, zeroExtended(sum, have, int(min(end-lo, blockSize))))
	}
	return s.settle(c, first, sums, c.length, end, c.data.Truncate(end))
}

// sync makes everything that has been written durable.
func (s *chunkStore) sync(h handle, v version) error {
	c, err := s.pin(h)
	if err != nil {
		return err
	}
	defer s.unpin(c)
	c.mu.RLock()
	err = c.takes(v)
	mutation, synced := c.mutation, c.synced
	c.mu.RUnlock()
	if err != nil || mutation == synced {
		return err
	}
	if err := s.flush(c, mutation); err != nil {
		return err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.takes(v) // another sync may have met the disk's error, which is told once
}

// flush makes what was written up to a mutation durable. After a failure nobody knows
// what a later sync would be worth: the replica is corrupt. c.mu is not held.
func (s *chunkStore) flush(c *storedChunk, mutation uint64) error {
	c.flushing.Lock() // until it is noted that it failed: the disk tells that once
	defer c.flushing.Unlock()
	var group errgroup.Group
	group.Go(c.data.Sync)
	group.Go(c.meta.Sync)
	err := group.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.kept = false
		s.spoil(c, err)
		_ = s.writeHead(c, s.mutated(c, c.version)) // so that the next start does not rely on it
		return s.failed("sync", c.handle, err)
	}
	c.synced = max(c.synced, mutation)
	return nil
}

// raise raises the version of a replica that is at from or later, but not beyond to,
// durably, and notes that it is being mutated. It returns the length.
func (s *chunkStore) raise(h handle, from, to version) (int64, error) {
	if to < from {
		return 0, fmt.Errorf("%w: raising from version %d to %d", fs.ErrInvalid, from, to)
	}
	c, err := s.pin(h)
	if err != nil {
		return 0, err
	}
	defer s.unpin(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if from < c.version && c.version <= to {
		from = c.version // that of an attempt to raise it that came to nothing, or of this one
	}
	if err := c.takes(from); err != nil {
		return 0, err
	}
	if c.version == to {
		return c.length, s.begin(c)
	}
	if err := s.writeHead(c, s.mutated(c, to)); err != nil {
		return 0, err
	}
	c.version, c.dirty, c.touched = to, true, time.Now()
	s.notify(h)
	return c.length, nil
}

// clean makes a replica durable that has not been touched for a while, and notes that
// it is. It fails with errBusyChunk if it was mutated meanwhile.
func (s *chunkStore) clean(h handle, idle time.Duration) error {
	c, err := s.pin(h)
	if err != nil {
		return err
	}
	defer s.unpin(c)
	c.mu.RLock()
	due := c.dirty && c.health == sound && !c.gone
	busy := time.Since(c.touched) < idle
	mutation := c.mutation
	c.mu.RUnlock()
	if !due {
		return nil
	}
	if busy {
		return errBusyChunk
	}
	// The sums must be durable before the header says so.
	if err := s.flush(c, mutation); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mutation != mutation || c.gone || c.health != sound || time.Since(c.touched) < idle {
		return errBusyChunk
	}
	if err := s.writeHead(c, c.durable(c.verifier)); err != nil {
		return err
	}
	c.dirty = false
	return nil
}
