package mapreduce

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A region is one partition of one map task's output: pairs sorted by key, in
// blocks. A block is
//
//	length uint32    of the payload, little end first
//	crc    uint32    CRC-32C of the payload, little end first
//	payload          whole pairs: key and value lengths as uvarints, then both
//
// It is the format in memory, on disk and on the wire. A region says nothing of
// its own length: who hands it over does, and a region may be empty.
const (
	blockHeader = 8
	// blockBytes is the payload size from which on a block is closed. A pair is
	// never divided, so that a block may be as large as a pair.
	blockBytes = 64 << 10
	// maxBlock bounds the payload of a block.
	maxBlock = blockBytes + MaxRecordBytes + 2*binary.MaxVarintLen32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// regionWriter lays out regions one after the other: in memory, or through a
// buffer into a file.
type regionWriter struct {
	buf   []byte
	start int       // where the open block begins in buf, or -1
	flush io.Writer // nil: all stays in buf
	done  int64     // bytes that have left buf
}

// flushBytes is how much a regionWriter gathers for one write.
const flushBytes = 512 << 10

// newMemoryRegions returns a writer whose buf is the result. size is what the
// regions will take; more is possible.
func newMemoryRegions(size int64) *regionWriter {
	return &regionWriter{buf: make([]byte, 0, size), start: -1}
}

func newFileRegions(w io.Writer) *regionWriter {
	return &regionWriter{buf: make([]byte, 0, flushBytes+blockBytes+blockHeader), start: -1, flush: w}
}

// offset returns how many bytes have been written.
func (w *regionWriter) offset() int64 { return w.done + int64(len(w.buf)) }

// add appends a pair to the open region.
func (w *regionWriter) add(key, value []byte) error {
	w.open()
	w.buf = appendPair(w.buf, key, value)
	return w.closeIfFull()
}

// addEncoded appends a pair that is encoded as it stands in a region.
func (w *regionWriter) addEncoded(pair []byte) error {
	w.open()
	w.buf = append(w.buf, pair...)
	return w.closeIfFull()
}

func (w *regionWriter) open() {
	if w.start < 0 {
		w.start = len(w.buf)
		w.buf = append(w.buf, make([]byte, blockHeader)...)
	}
}

func (w *regionWriter) closeIfFull() error {
	if len(w.buf)-w.start < blockHeader+blockBytes {
		return nil
	}
	return w.end()
}

// end closes the region's last block. What follows belongs to another region.
func (w *regionWriter) end() error {
	if w.start < 0 {
		return nil
	}
	block := w.buf[w.start:]
	payload := block[blockHeader:]
	binary.LittleEndian.PutUint32(block, uint32(len(payload)))
	binary.LittleEndian.PutUint32(block[4:], crc32.Checksum(payload, castagnoli))
	w.start = -1
	if w.flush != nil && len(w.buf) >= flushBytes {
		return w.drain()
	}
	return nil
}

// drain writes what has been gathered, between blocks.
func (w *regionWriter) drain() error {
	n, err := w.flush.Write(w.buf)
	w.done += int64(n)
	w.buf = w.buf[:0]
	return err
}

// blockReader returns the payloads of a region's blocks, checked.
type blockReader interface {
	// next returns the next payload, valid until the call after it, or io.EOF.
	next() ([]byte, error)
}

// region is where a region is: in memory, or in a file. The zero region is empty.
type region struct {
	data   []byte
	file   io.ReaderAt
	off, n int64
}

// size returns how many bytes it has.
func (r region) size() int64 { return int64(len(r.data)) + r.n }

// blocks reads the region.
func (r region) blocks() blockReader {
	if r.file == nil {
		return &memoryBlocks{r.data}
	}
	return newStreamBlocks(io.NewSectionReader(r.file, r.off, r.n))
}

// memoryBlocks reads a region in memory, without copying it.
type memoryBlocks struct{ rest []byte }

func (r *memoryBlocks) next() ([]byte, error) {
	if len(r.rest) == 0 {
		return nil, io.EOF
	}
	if len(r.rest) < blockHeader {
		return nil, corrupt("a block's header is cut off")
	}
	n := int64(binary.LittleEndian.Uint32(r.rest))
	if n > maxBlock || n > int64(len(r.rest)-blockHeader) {
		return nil, corrupt("a block of %d bytes, %d are left", n, len(r.rest)-blockHeader)
	}
	sum := binary.LittleEndian.Uint32(r.rest[4:])
	payload := r.rest[blockHeader : blockHeader+n]
	r.rest = r.rest[blockHeader+n:]
	return payload, checkBlock(payload, sum)
}

// streamBlocks reads a region from a stream that ends with it.
type streamBlocks struct {
	r   *bufio.Reader
	buf []byte
}

// readerBytes is the memory that a region on disk needs while it is merged, if
// its pairs are small.
const readerBytes = blockBytes + 2*blockHeader

func newStreamBlocks(r io.Reader) *streamBlocks {
	return &streamBlocks{r: bufio.NewReaderSize(r, readerBytes)}
}

func (r *streamBlocks) next() ([]byte, error) {
	header, err := r.r.Peek(blockHeader)
	if err == io.EOF && len(header) == 0 {
		return nil, io.EOF
	}
	if err != nil {
		return nil, cutOff(err)
	}
	n := int(binary.LittleEndian.Uint32(header))
	sum := binary.LittleEndian.Uint32(header[4:])
	if n > maxBlock {
		return nil, corrupt("a block of %d bytes", n)
	}
	if _, err := r.r.Discard(blockHeader); err != nil {
		return nil, cutOff(err)
	}
	if r.buf, err = readGrowing(r.r, r.buf[:0], n); err != nil {
		return nil, cutOff(err)
	}
	return r.buf, checkBlock(r.buf, sum)
}

// eagerBytes is how much memory is taken on a peer's word; the rest is taken as
// the bytes arrive.
const eagerBytes = 1 << 20

// readGrowing appends n bytes from r to dst.
func readGrowing(r io.Reader, dst []byte, n int) ([]byte, error) {
	for n > 0 {
		step := min(n, max(eagerBytes, len(dst)))
		at := len(dst)
		if cap(dst)-at < step {
			grown := make([]byte, at, at+step)
			copy(grown, dst)
			dst = grown
		}
		dst = dst[:at+step]
		if _, err := io.ReadFull(r, dst[at:]); err != nil {
			return dst[:at], err
		}
		n -= step
	}
	return dst, nil
}

func checkBlock(payload []byte, sum uint32) error {
	if got := crc32.Checksum(payload, castagnoli); got != sum {
		return corrupt("checksum of a block of %d bytes is %08x, not %08x", len(payload), got, sum)
	}
	if len(payload) == 0 {
		return corrupt("an empty block")
	}
	return nil
}

func cutOff(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return corrupt("a block is cut off")
	}
	return err
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// cutPair takes the first pair off a payload.
func cutPair(payload []byte) (key, value, rest []byte, err error) {
	k, n := binary.Uvarint(payload)
	v, m := binary.Uvarint(payload[max(n, 0):])
	if n <= 0 || m <= 0 {
		return nil, nil, nil, corrupt("a pair without lengths")
	}
	rest = payload[n+m:]
	if k > uint64(len(rest)) || v > uint64(len(rest))-k {
		return nil, nil, nil, corrupt("a pair of %d and %d bytes, %d are left", k, v, len(rest))
	}
	return rest[:k:k], rest[k : k+v : k+v], rest[k+v:], nil
}
