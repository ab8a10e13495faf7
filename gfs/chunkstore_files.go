package gfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/trilith-go/trilith/internal/vfs"
)

// pin returns a replica with its files open, which they stay until unpin.
func (s *chunkStore) pin(h handle) (*storedChunk, error) {
	s.mu.Lock()
	c := s.chunks[h]
	if c == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %x", errNoChunk, uint64(h))
	}
	if c.pins++; c.recent != nil {
		s.idle.Remove(c.recent)
		c.recent = nil
	}
	isOpen := c.data != nil
	s.mu.Unlock()
	if isOpen {
		return c, nil
	}
	if err := s.open(c); err != nil {
		s.unpin(c)
		return nil, err
	}
	return c, nil
}

// open opens the files of a pinned replica and reads its checksums.
func (s *chunkStore) open(c *storedChunk) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data != nil {
		return nil
	}
	if c.gone {
		return fmt.Errorf("%w: %x", errNoChunk, uint64(c.handle))
	}
	name := chunkFile(s.dir, c.handle)
	data, err := s.fs.OpenFile(name+dataSuffix, os.O_RDWR)
	if err != nil {
		return s.unreadable(c, err)
	}
	meta, err := s.fs.OpenFile(name+metaSuffix, os.O_RDWR)
	if err != nil {
		data.Close()
		return s.unreadable(c, err)
	}
	sums, err := readSums(meta, blocksOf(c.length))
	if err != nil {
		data.Close()
		meta.Close()
		return s.unreadable(c, err)
	}
	s.mu.Lock() // pin looks at them under it
	c.data, c.meta, c.sums = data, meta, sums
	s.opened++
	s.mu.Unlock()
	return nil
}

// unreadable notes that a replica's files are not as they should be, and returns the
// error as others see it. c.mu is held.
func (s *chunkStore) unreadable(c *storedChunk, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.spoil(c, err)
	}
	return fmt.Errorf("%w: replica of %x: %w", ErrUnavailable, uint64(c.handle), err)
}

// spoil makes a sound replica corrupt. c.mu is held.
func (s *chunkStore) spoil(c *storedChunk, why error) {
	if c.health != sound || c.gone {
		return
	}
	s.log.Error("replica is corrupt", "chunk", uint64(c.handle), "version", uint64(c.version), "why", why)
	c.health = corrupt
	s.notify(c.handle)
}

// readSums reads n checksums. Those that are missing are 0.
func readSums(meta vfs.File, n int) ([]uint32, error) {
	b := make([]byte, 4*n)
	if _, err := meta.ReadAt(b, chunkHeader); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	sums := make([]uint32, n, n+n/4+16)
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return sums, nil
}

// unpin ends the use of a pinned replica.
func (s *chunkStore) unpin(c *storedChunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.pins--; c.pins > 0 || c.data == nil {
		return
	}
	c.recent = s.idle.PushFront(c)
	if s.chunks[c.handle] != c {
		s.shut(c) // deleted, or replaced
		return
	}
	for s.opened > s.maxOpen && s.idle.Len() > 0 {
		s.evict()
	}
}

// evict closes the files that have not been used for longest. s.mu is held.
func (s *chunkStore) evict() { s.shut(s.idle.Back().Value.(*storedChunk)) }

// shut closes the files of a replica that nobody uses. s.mu is held. Closing makes
// nothing durable, and its errors say nothing that a sync would not.
func (s *chunkStore) shut(c *storedChunk) {
	s.idle.Remove(c.recent)
	c.data.Close()
	c.meta.Close()
	c.recent, c.data, c.meta, c.sums = nil, nil, nil, nil
	s.opened--
}
