package gfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/trilith-go/trilith/internal/vfs"
)

// A chunkBuilder makes a replica under a temporary name, from its first byte to its
// last. It ends with commit or abort.
type chunkBuilder struct {
	s          *chunkStore
	handle     handle
	name       string // without suffix
	data, meta vfs.File
	sums       []uint32
	length     int64
	verifier   writeVerifier
}

// build begins a replica. It fails with errBusyChunk if one of that handle is being made.
func (s *chunkStore) build(h handle) (*chunkBuilder, error) {
	if err := s.claim(h); err != nil {
		return nil, err
	}
	b := &chunkBuilder{s: s, handle: h, name: chunkFile(s.dir, h)}
	var err error
	if b.data, err = vfs.Create(s.fs, b.name+dataSuffix+newSuffix); err == nil {
		b.meta, err = vfs.Create(s.fs, b.name+metaSuffix+newSuffix)
	}
	if err == nil {
		err = s.room(metaSize(0))
	}
	s.used.Add(replicaSize(0))
	if err != nil {
		b.abort()
		return nil, s.failed("make", h, err)
	}
	return b, nil
}

// claim makes the caller the only one who makes or repairs a replica, until disclaim.
func (s *chunkStore) claim(h handle) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.building[h] {
		return fmt.Errorf("%w: a replica of %x is being made", errBusyChunk, uint64(h))
	}
	s.building[h] = true
	return nil
}

func (s *chunkStore) disclaim(h handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.building, h)
}

// append adds blocks, which must match their sums. Only the last may be less than whole.
func (b *chunkBuilder) append(p []byte, sums []uint32) error {
	if b.length%blockSize != 0 || blocksOf(int64(len(p))) != len(sums) || b.length+int64(len(p)) > MaxChunkSize {
		return fmt.Errorf("%w: %d bytes in %d blocks after %d", fs.ErrInvalid, len(p), len(sums), b.length)
	}
	if err := verify(p, sums, len(b.sums)); err != nil {
		return err
	}
	length := b.length + int64(len(p))
	grow := replicaSize(length) - replicaSize(b.length)
	if err := b.s.room(grow); err != nil {
		return err
	}
	if _, err := b.data.WriteAt(p, b.length); err != nil {
		return b.s.failed("make", b.handle, err)
	}
	b.s.used.Add(grow)
	b.s.written.Add(int64(len(p)))
	b.sums, b.length = append(b.sums, sums...), length
	return nil
}

// commit makes the replica durable at a version and puts it in its place. If mutated, it
// notes that mutations may follow. One that is there and at a higher version, or at the
// same and sound, stays: then commit fails with ErrStale or does nothing.
func (b *chunkBuilder) commit(v version, mutated bool) error {
	s := b.s
	head := chunkHead{handle: b.handle, version: v, length: b.length, verifier: b.verifier}
	if mutated {
		head.dirty, head.run = s.boot, s.run
	}
	err := b.finish(head)
	if err == nil {
		var stays bool
		if stays, err = b.makeWay(v); stays {
			b.abort()
			return nil
		}
	}
	if err == nil {
		err = b.place()
	}
	if err != nil {
		b.abort()
		return b.s.failed("make", b.handle, err)
	}
	c := &storedChunk{handle: b.handle, version: v, length: b.length, dirty: mutated, kept: true, verifier: b.verifier,
		touched: time.Now(), anyVersion: s.bugs.anyVersion}
	s.mu.Lock()
	s.chunks[b.handle] = c
	delete(s.building, b.handle)
	s.mu.Unlock()
	s.notify(b.handle)
	return nil
}

// finish makes the content of both files durable, and closes them.
func (b *chunkBuilder) finish(head chunkHead) error {
	err := error(nil)
	if b.length > 0 {
		err = b.data.Sync()
	}
	if err == nil {
		_, err = b.meta.WriteAt(appendSums(head.encode(), b.sums), 0)
	}
	if err == nil {
		err = b.meta.Sync()
	}
	return errors.Join(err, b.shut())
}

// shut closes both files.
func (b *chunkBuilder) shut() error {
	var err error
	for _, f := range []*vfs.File{&b.data, &b.meta} {
		if *f != nil {
			err = errors.Join(err, (*f).Close())
			*f = nil
		}
	}
	return err
}

// makeWay deletes the replica that is there, unless it stays.
func (b *chunkBuilder) makeWay(v version) (stays bool, err error) {
	c, err := b.s.find(b.handle)
	if err != nil {
		return false, b.s.removeFiles(b.name) // what could not be read at start
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version > v {
		return false, fmt.Errorf("%w: the replica is at version %d, not %d", ErrStale, c.version, v)
	}
	if c.version == v && c.health == sound {
		return true, nil
	}
	return false, b.s.remove(c)
}

// place gives the files their names. Nothing has those names, durably.
func (b *chunkBuilder) place() error {
	err := b.s.fs.Rename(b.name+dataSuffix+newSuffix, b.name+dataSuffix)
	if err == nil {
		err = b.s.fs.Rename(b.name+metaSuffix+newSuffix, b.name+metaSuffix)
	}
	if err == nil {
		err = b.s.fs.SyncDir(filepath.Dir(b.name))
	}
	if err != nil {
		_ = b.s.removeFiles(b.name) // the first error is the one that counts
	}
	return err
}

// abort removes what there is. What it cannot remove, the next start does.
func (b *chunkBuilder) abort() {
	_ = b.shut()
	_ = b.s.fs.Remove(b.name + dataSuffix + newSuffix)
	_ = b.s.fs.Remove(b.name + metaSuffix + newSuffix)
	b.s.used.Add(-replicaSize(b.length))
	b.s.disclaim(b.handle)
}

// make makes an empty replica, and notes that mutations may follow. One that is there at
// that version stays.
func (s *chunkStore) make(h handle, v version) (length int64, err error) {
	if h == 0 {
		return 0, fmt.Errorf("%w: handle 0", fs.ErrInvalid)
	}
	if c, err := s.find(h); err == nil {
		if got := c.state(); got.health != gone && got.version != v {
			return 0, fmt.Errorf("%w: there is a replica of %x at version %d", fs.ErrExist, uint64(h), got.version)
		}
		return s.raise(h, v, v)
	}
	b, err := s.build(h)
	if err != nil {
		return 0, err
	}
	return 0, b.commit(v, true)
}

// fork copies a replica that is at version v or later for another chunk, and notes that mutations
// may follow. The copy is durable. One that is there at that version stays.
func (s *chunkStore) fork(from handle, v version, to handle, toVersion version, pace pacer) (int64, error) {
	if to == 0 || to == from {
		return 0, fmt.Errorf("%w: copying %x to %x", fs.ErrInvalid, uint64(from), uint64(to))
	}
	if c, err := s.find(to); err == nil && c.state().version == toVersion {
		return s.raise(to, toVersion, toVersion)
	}
	src, err := s.pin(from)
	if err != nil {
		return 0, err
	}
	defer s.unpin(src)
	b, err := s.build(to)
	if err != nil {
		return 0, err
	}
	if err := s.copyTo(b, from, v, pace); err != nil {
		b.abort()
		return 0, err
	}
	length := b.length
	return length, b.commit(toVersion, true)
}

// copyTo copies a replica that is at version v or later, and does not change meanwhile.
func (s *chunkStore) copyTo(b *chunkBuilder, from handle, v version, pace pacer) error {
	stamp := uint64(0)
	for off := int64(0); ; off += segmentSize {
		r, err := s.readAt(from, v, off, segmentSize)
		if err != nil {
			return err
		}
		if off == 0 {
			stamp, v, b.verifier = r.stamp, r.version, r.verifier
		}
		if r.version != v || r.stamp != stamp {
			err = fmt.Errorf("%w: replica of %x changes while it is copied", ErrStale, uint64(from))
		}
		done := off+segmentSize >= r.length
		if err == nil && len(r.data) > 0 {
			err = b.append(r.data, r.sums)
		}
		if err == nil && pace != nil {
			err = pace(len(r.data))
		}
		r.free()
		if err != nil || done {
			return err
		}
	}
}

// delete deletes a replica, if it is at that version.
func (s *chunkStore) delete(h handle, v version) error {
	c, err := s.find(h)
	if err != nil {
		return nil // that is what was wanted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.version != v {
		return fmt.Errorf("%w: replica of %x at version %d, not %d", ErrStale, uint64(h), c.version, v)
	}
	return s.remove(c)
}

// remove deletes a replica durably. c.mu is held.
func (s *chunkStore) remove(c *storedChunk) error {
	if c.gone {
		return nil
	}
	if err := s.removeFiles(chunkFile(s.dir, c.handle)); err != nil {
		return s.failed("delete", c.handle, err)
	}
	c.gone = true
	s.used.Add(-replicaSize(c.length))
	s.mu.Lock()
	delete(s.chunks, c.handle)
	if c.pins == 0 && c.data != nil {
		s.shut(c)
	}
	s.mu.Unlock()
	s.notify(c.handle)
	return nil
}

// removeFiles removes the files of a replica, durably. The one without which the other
// is nothing goes first.
func (s *chunkStore) removeFiles(name string) error {
	found := false
	for _, suffix := range []string{metaSuffix, dataSuffix} {
		err := s.fs.Remove(name + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		found = found || err == nil
	}
	if !found {
		return nil
	}
	return s.fs.SyncDir(filepath.Dir(name))
}

// accept ends the suspicion of a replica that is at version v. fetch returns the content
// of a block that others have whole, or nil if none has. Without one, a block of a
// suspect replica is taken as it is: a write that nobody had synced was cut short. A
// corrupt replica is made whole, or stays corrupt: then accept fails with ErrChecksum. If
// the disk may not have all that it was given, as after it has refused to make something
// durable, all is written again: nobody knows what it has dropped. The replica has the
// verifier from then on.
func (s *chunkStore) accept(h handle, v version, verifier writeVerifier, fetch func(block int) []byte) error {
	if err := s.claim(h); err != nil {
		return err
	}
	defer s.disclaim(h)
	c, err := s.pin(h)
	if err != nil {
		return err
	}
	defer s.unpin(c)
	c.mu.RLock()
	at, was, length := c.version, c.health, c.length
	rewrite := !c.kept || was == corrupt
	c.mu.RUnlock()
	if at != v {
		return fmt.Errorf("%w: replica of %x at version %d, not %d", ErrStale, uint64(h), at, v)
	}
	if was == sound {
		return nil
	}
	for off := int64(0); off < length; off += segmentSize {
		bad, r, err := c.inspect(off)
		if err != nil {
			return err
		}
		for i := range r.sums {
			block := int(off/blockSize) + i
			var content []byte
			switch {
			case bad[i]:
				content = fetch(block)
			case rewrite:
				content, err = c.block(block)
			default:
				continue
			}
			if err == nil {
				err = s.mend(c, block, content, was)
			}
			if err != nil {
				return err
			}
		}
	}
	return s.trust(c, was, verifier)
}

// block returns a block of a replica, verified.
func (c *storedChunk) block(n int) ([]byte, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	lo := int64(n) * blockSize
	if c.gone || n >= len(c.sums) || c.length <= lo {
		return nil, fmt.Errorf("%w: replica of %x has changed", ErrStale, uint64(c.handle))
	}
	p := make([]byte, min(c.length-lo, blockSize))
	if err := c.fill(p, lo); err != nil {
		return nil, err
	}
	return p, verify(p, c.sums[n:n+1], n)
}

// mend replaces a block, or takes it as it is if there is nothing to replace it with.
func (s *chunkStore) mend(c *storedChunk, block int, content []byte, was health) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lo := int64(block) * blockSize
	have := min(c.length-lo, blockSize)
	last := lo+have == c.length
	switch {
	case c.gone || c.health != was:
		return fmt.Errorf("%w: replica of %x has changed", ErrStale, uint64(c.handle))
	case len(content) > 0 && (int64(len(content)) == have || last && len(content) <= blockSize):
		_, err := c.data.WriteAt(content, lo)
		if err == nil && last {
			err = c.data.Truncate(lo + int64(len(content)))
		}
		if err != nil {
			return s.failed("mend", c.handle, err)
		}
	case was == corrupt:
		return fmt.Errorf("%w in block %d of the replica of %x, and nobody has it whole", ErrChecksum, block, uint64(c.handle))
	default:
		content = make([]byte, have)
		if n, err := c.data.ReadAt(content, lo); err != nil && !errors.Is(err, io.EOF) {
			return s.failed("read", c.handle, err)
		} else if int64(n) < have { // cannot be: the length is the file's
			return fmt.Errorf("%w: replica of %x is too short", ErrChecksum, uint64(c.handle))
		}
	}
	if last {
		length := lo + int64(len(content))
		s.used.Add(replicaSize(length) - replicaSize(c.length))
		c.length = length
	}
	sums := pushSums(nil, 0, content)
	if _, err := c.meta.WriteAt(appendSums(nil, sums), chunkHeader+4*int64(block)); err != nil {
		return s.failed("mend", c.handle, err)
	}
	c.sums[block] = sums[0]
	c.mutation++
	return nil
}

// trust makes a replica durable and sound.
func (s *chunkStore) trust(c *storedChunk, was health, verifier writeVerifier) error {
	if err := s.flush(c, c.mutation); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.health != was {
		return fmt.Errorf("%w: replica of %x has changed", ErrStale, uint64(c.handle))
	}
	if err := s.writeHead(c, c.durable(verifier)); err != nil {
		return err
	}
	c.health, c.dirty, c.kept, c.verifier = sound, false, true, verifier
	s.notify(c.handle)
	return nil
}
