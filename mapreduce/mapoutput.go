package mapreduce

import (
	"bytes"
	"errors"
	"io"

	"github.com/trilith-go/trilith/internal/vfs"
)

// mapOutput is what a map task has made: one region for each partition, in memory or
// in a file that vanishes when it is closed.
type mapOutput struct {
	ends     []int64  // of the regions; each begins where the one before ends
	pieces   [][]byte // of whole blocks
	file     vfs.File // nil if pieces hold the regions
	reserved int64    // memory to be given back on close
	raw      int64    // bytes of the pairs, before they were packed
}

// size returns the bytes of all regions.
func (o *mapOutput) size() int64 {
	if len(o.ends) == 0 {
		return 0
	}
	return o.ends[len(o.ends)-1]
}

// region returns where a region begins and how long it is.
func (o *mapOutput) region(p int) (off, n int64) {
	if p > 0 {
		off = o.ends[p-1]
	}
	return off, o.ends[p] - off
}

// at returns a region.
func (o *mapOutput) at(p int) region {
	off, n := o.region(p)
	if o.file != nil {
		return region{file: o.file, off: off, n: n}
	}
	var data [][]byte
	for _, piece := range o.pieces {
		if n == 0 {
			break
		}
		size := int64(len(piece))
		if off >= size {
			off -= size
			continue
		}
		piece = piece[off:min(off+n, size)]
		data, off, n = append(data, piece), 0, n-int64(len(piece))
	}
	return region{data: data}
}

func (o *mapOutput) close() {
	if o.file != nil {
		_ = o.file.Close() // it was only read since it was written
	}
}

const (
	// maxPiece and minPiece bound the pieces of memory that blocks are kept in, if
	// a block does not need more.
	maxPiece = 15*(blockHeader+blockBytes+1<<10) + blockRoom // sixteen blocks of small pairs
	minPiece = 16 << 10

	// flushBytes is how much is gathered for one write to a file.
	flushBytes = 256 << 10
)

// pieceSink keeps blocks in memory, as long as that is granted, and beyond it in a
// file.
type pieceSink struct {
	reserve func(n int64) bool // asks for memory, or gives it back if n is negative
	scratch func() (vfs.File, error)

	pieces   [][]byte
	reserved int64
	file     *fileSink // has all blocks, if there is one
}

var _ blockSink = (*pieceSink)(nil)

// room implements blockSink.
func (s *pieceSink) room() []byte {
	if s.file != nil {
		return s.file.room()
	}
	if room := roomIn(s.last()); room != nil {
		return room
	}
	// While the pieces are small, blocks are copied into what is left of them.
	if s.reserved < maxPiece || !s.grow(maxPiece) {
		return nil
	}
	return roomIn(s.last())
}

// roomIn returns the rest of a piece, if it is large enough for a block.
func roomIn(piece []byte) []byte {
	if cap(piece)-len(piece) < blockRoom {
		return nil
	}
	return piece[len(piece):len(piece):cap(piece)]
}

// last returns the piece that is being filled, or nil.
func (s *pieceSink) last() []byte {
	if len(s.pieces) == 0 {
		return nil
	}
	return s.pieces[len(s.pieces)-1]
}

// grow adds a piece, if its memory is granted.
func (s *pieceSink) grow(size int64) bool {
	if !s.reserve(size) {
		return false
	}
	s.reserved += size
	s.pieces = append(s.pieces, make([]byte, 0, size))
	return true
}

// put implements blockSink.
func (s *pieceSink) put(block []byte) error {
	if s.file != nil {
		return s.file.put(block)
	}
	piece := s.last()
	if len(piece)+len(block) > cap(piece) {
		// Each piece as large as all before it, so that what is left unused is little.
		if !s.grow(max(min(max(s.reserved, minPiece), maxPiece), int64(len(block)))) {
			return s.spill(block)
		}
		piece = s.last()
	}
	s.pieces[len(s.pieces)-1] = appendBlock(piece, block)
	return nil
}

// appendBlock appends a block for which there is room, unless it has been laid out there.
func appendBlock(dst, block []byte) []byte {
	n := len(dst)
	dst = dst[:n+len(block)]
	if &dst[n] != &block[0] {
		copy(dst[n:], block)
	}
	return dst
}

// spill moves to a file.
func (s *pieceSink) spill(block []byte) error {
	f, err := s.scratch()
	if err != nil {
		return err
	}
	s.file = newFileSink(f)
	for i, piece := range s.pieces {
		if err := s.file.put(piece); err != nil {
			return err
		}
		s.pieces[i] = nil
	}
	s.reserve(-s.reserved)
	s.pieces, s.reserved = nil, 0
	return s.file.put(block)
}

// finish returns what the sink has, as a map's output.
func (s *pieceSink) finish(ends []int64, raw int64) (*mapOutput, error) {
	if s.file != nil {
		if err := s.file.drain(); err != nil {
			return nil, err
		}
		return &mapOutput{ends: ends, file: s.file.file, raw: raw}, nil
	}
	if last := len(s.pieces) - 1; last >= 0 {
		if unused := int64(cap(s.pieces[last]) - len(s.pieces[last])); unused > minPiece {
			s.pieces[last] = bytes.Clone(s.pieces[last])
			s.reserve(-unused)
			s.reserved -= unused
		}
	}
	return &mapOutput{ends: ends, pieces: s.pieces, reserved: s.reserved, raw: raw}, nil
}

// abandon frees what the sink has.
func (s *pieceSink) abandon() error {
	s.reserve(-s.reserved)
	s.pieces, s.reserved = nil, 0
	if s.file == nil {
		return nil
	}
	return s.file.close()
}

// fileSink writes blocks through a buffer.
type fileSink struct {
	file vfs.File
	w    io.Writer
	buf  []byte
}

var _ blockSink = (*fileSink)(nil)

func newFileSink(f vfs.File) *fileSink {
	return &fileSink{file: f, w: f, buf: make([]byte, 0, flushBytes)}
}

// put implements blockSink.
func (s *fileSink) put(block []byte) error {
	if len(s.buf)+len(block) > cap(s.buf) {
		if err := s.drain(); err != nil {
			return err
		}
		if len(block) > cap(s.buf) {
			_, err := s.w.Write(block)
			return err
		}
	}
	s.buf = appendBlock(s.buf, block)
	return nil
}

// room implements blockSink.
func (s *fileSink) room() []byte { return roomIn(s.buf) }

// drain writes what has been gathered.
func (s *fileSink) drain() error {
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

// close gives up what has not been written.
func (s *fileSink) close() error { return s.file.Close() }

// toFile lets write fill a file with regions.
func toFile(scratch func() (vfs.File, error), pack *packer, write func(*regionWriter) ([]int64, error)) (out *mapOutput, err error) {
	f, err := scratch()
	if err != nil {
		return nil, err
	}
	sink := newFileSink(f)
	defer func() { // also if the job's combiner panics
		if out == nil {
			err = errors.Join(err, sink.close())
		}
	}()
	w := newRegionWriter(sink, pack)
	ends, err := write(w)
	if err == nil {
		err = sink.drain()
	}
	if err != nil {
		return nil, err
	}
	return &mapOutput{ends: ends, file: f, raw: w.raw}, nil
}
