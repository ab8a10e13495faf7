package gfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"io/fs"
	"time"
)

// maxRead is the most bytes of one read.
const maxRead = 4 << 20

// A reading is what was read of a replica. Its memory goes back with free.
type reading struct {
	data    []byte
	sums    []uint32 // of the blocks from the first that was touched
	version version
	length  int64 // of the replica
	stamp   uint64
	mem     *slab

	verifier writeVerifier
}

func (r *reading) free() {
	if r.mem != nil {
		r.mem.free()
		r.mem, r.data = nil, nil
	}
}

// readAt reads up to n bytes of a replica that is at a version or a later one. Every
// block that it touches is read whole and verified. It fails with ErrChecksum if one
// does not match: the replica is corrupt from then on.
func (s *chunkStore) readAt(h handle, v version, off, n int64) (reading, error) {
	return s.readAny(h, v, off, n, false)
}

// readAny is readAt, of suspect replicas too if told so.
func (s *chunkStore) readAny(h handle, v version, off, n int64, any bool) (reading, error) {
	if off < 0 || n < 0 {
		return reading{}, fmt.Errorf("%w: reading %d bytes at %d", fs.ErrInvalid, n, off)
	}
	if n > maxRead {
		return reading{}, fmt.Errorf("%w: reading %d bytes; %d are the most", ErrTooLarge, n, maxRead)
	}
	c, err := s.pin(h)
	if err != nil {
		return reading{}, err
	}
	defer s.unpin(c)
	r, first, err := c.load(v, off, n, any)
	if err == nil && r.mem != nil {
		s.read.Add(int64(len(r.mem.b)))
		err = verify(r.mem.b, r.sums, first)
	}
	if err != nil {
		r.free()
		if errors.Is(err, ErrChecksum) {
			c.mu.Lock()
			s.spoil(c, err)
			c.mu.Unlock()
		}
		return reading{}, err
	}
	return r, nil
}

// load reads all blocks that a range touches, and copies their sums. The first of them
// has the number first.
func (c *storedChunk) load(v version, off, n int64, any bool) (r reading, first int, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if err := c.serves(v, any); err != nil {
		return reading{}, 0, err
	}
	r = reading{version: c.version, length: c.length, stamp: c.mutation, verifier: c.verifier}
	n = min(n, c.length-off)
	if n <= 0 {
		return r, 0, nil
	}
	first = int(off / blockSize)
	last := blocksOf(off + n)
	lo, hi := int64(first)*blockSize, min(int64(last)*blockSize, c.length)
	r.mem = newSlab(int(hi - lo))
	r.sums = append(r.sums, c.sums[first:last]...)
	r.data = r.mem.b[off-lo : off-lo+n]
	return r, first, c.fill(r.mem.b, lo)
}

// serves says whether a replica may be read by who knows of version v. c.mu is held.
func (c *storedChunk) serves(v version, any bool) error {
	switch {
	case c.gone:
		return fmt.Errorf("%w: %x", errNoChunk, uint64(c.handle))
	case c.version < v && !c.anyVersion:
		return fmt.Errorf("%w: replica of %x at version %d; %d is asked for", ErrStale, uint64(c.handle), c.version, v)
	case c.health == suspect && !any:
		return fmt.Errorf("%w: %x", errSuspect, uint64(c.handle))
	}
	return nil
}

// fill reads from the data file. A file that is too short, or that the disk cannot
// read, is damaged like one with wrong bytes.
func (c *storedChunk) fill(p []byte, off int64) error {
	n, err := c.data.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: replica of %x: %w", ErrChecksum, uint64(c.handle), err)
}

// verify holds blocks against their sums.
func verify(p []byte, sums []uint32, first int) error {
	for i, sum := range sums {
		block := p[:min(len(p), blockSize)]
		if crc32.Checksum(block, blockPoly) != sum {
			return fmt.Errorf("%w in block %d", ErrChecksum, first+i)
		}
		p = p[len(block):]
	}
	return nil
}

// length returns how long a replica at a version or a later one is.
func (s *chunkStore) length(h handle, v version) (int64, error) {
	c, err := s.find(h)
	if err != nil {
		return 0, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.length, c.serves(v, false)
}

// verifier returns the verifier of a replica.
func (s *chunkStore) verifier(h handle) (writeVerifier, error) {
	c, err := s.find(h)
	if err != nil {
		return 0, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.verifier, nil
}

// A pacer holds back who reads or writes n bytes more, and may say that it is time to
// stop.
type pacer func(n int) error

// digest reads all of a replica, whatever its health, and says what is in it. Mutations
// may go on beside it; what it says of a replica that changes is of no use.
func (s *chunkStore) digest(h handle, pace pacer) (digestResp, error) {
	c, err := s.pin(h)
	if err != nil {
		return digestResp{}, err
	}
	defer s.unpin(c)
	var d digestResp
	sum := fnv.New64a()
	began := time.Now()
	for first := 0; ; first += segmentSize / blockSize {
		bad, r, err := c.inspect(int64(first) * blockSize)
		if err != nil {
			return d, err
		}
		d.version, d.length = r.version, r.length
		var b [4]byte
		for i, blockSum := range r.sums {
			if bad[i] {
				d.bad = append(d.bad, uint64(first+i))
				blockSum = 0
			}
			binary.LittleEndian.PutUint32(b[:], blockSum)
			sum.Write(b[:])
		}
		if len(r.sums) == 0 {
			break
		}
		s.read.Add(int64(len(r.sums)) * blockSize)
		if pace != nil {
			if err := pace(len(r.sums) * blockSize); err != nil {
				return d, err
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(d.bad) > 0 {
		s.spoil(c, fmt.Errorf("%w in block %d, and %d more", ErrChecksum, d.bad[0], len(d.bad)-1))
	}
	c.scrubbed = began
	d.sum, d.health, d.kept, d.verifier = sum.Sum64(), c.health, c.kept, c.verifier
	return d, nil
}

// inspect reads up to a segment and says which blocks of it are bad.
func (c *storedChunk) inspect(off int64) (bad [segmentSize / blockSize]bool, r reading, err error) {
	r, _, err = c.load(0, off, segmentSize, true)
	if err != nil && !errors.Is(err, ErrChecksum) {
		return bad, r, err
	}
	defer r.free()
	p := []byte(nil)
	if r.mem != nil {
		p = r.mem.b
	}
	for i, sum := range r.sums {
		block := p[:min(len(p), blockSize)]
		p = p[len(block):]
		if err != nil { // somewhere in it: look at each by itself
			c.mu.RLock()
			failed := c.fill(block, off+int64(i)*blockSize)
			c.mu.RUnlock()
			if failed != nil {
				bad[i] = true
				continue
			}
		}
		bad[i] = crc32.Checksum(block, blockPoly) != sum
	}
	return bad, r, nil
}
