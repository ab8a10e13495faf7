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
//	length uint32    of what is stored, little end first; with packedBit, packed
//	crc    uint32    CRC-32C of length and of what is stored, little end first
//	stored           the payload, or its length as a uvarint and the payload deflated
//
// where the payload is whole pairs: key and value lengths as uvarints, then both. It
// is the format in memory, on disk and on the wire. A region says nothing of its own
// length: who hands it over does, and a region may be empty.
const (
	blockHeader = 8
	// packedBit marks a block whose payload is compressed.
	packedBit = 1 << 31
	// blockBytes is the payload size from which on a block is closed. A pair is
	// never divided, so that a block may be as large as a pair.
	blockBytes = 64 << 10
	// maxBlock bounds the payload of a block, and what is stored of it.
	maxBlock = blockBytes + MaxRecordBytes + 2*binary.MaxVarintLen32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockSink takes blocks, one after the other.
type blockSink interface {
	// put takes a block, and does not keep the slice.
	put(block []byte) error
	// room returns memory, of no bytes yet, in which the next block may be laid out,
	// which spares put a copy; nil if there is none.
	room() []byte
}

// blockRoom is the memory that a block needs if its pairs are small.
const blockRoom = blockHeader + blockBytes + blockBytes/16

// regionWriter lays out regions, one after the other, block by block.
type regionWriter struct {
	sink  blockSink
	pack  *packer // compresses the payloads; nil: they are stored as they are
	block []byte  // the open block: room for its header and the payload so far; empty if there is none
	own   []byte  // memory for a block where the sink has none
	done  int64   // bytes of the blocks that sink has
	raw   int64   // bytes of their payloads
}

func newRegionWriter(sink blockSink, pack *packer) *regionWriter {
	return &regionWriter{sink: sink, pack: pack}
}

// open begins a block, if there is none.
func (w *regionWriter) open() {
	if len(w.block) > 0 {
		return
	}
	var room []byte
	if w.pack == nil { // what is packed is small only when it has been
		room = w.sink.room()
	}
	if room == nil {
		if w.own == nil {
			w.own = make([]byte, blockRoom)
		}
		room = w.own
	}
	w.block = room[:blockHeader]
}

// offset returns how many bytes have been written, between blocks.
func (w *regionWriter) offset() int64 { return w.done }

// add appends a pair to the open region.
func (w *regionWriter) add(key, value []byte) error {
	w.open()
	w.block = appendPair(w.block, key, value)
	return w.endIfFull()
}

// addEncoded appends a pair that is encoded as it stands in a region.
func (w *regionWriter) addEncoded(pair []byte) error {
	w.open()
	w.block = append(w.block, pair...)
	return w.endIfFull()
}

func (w *regionWriter) endIfFull() error {
	if len(w.block) < blockHeader+blockBytes {
		return nil
	}
	return w.end()
}

// end closes the region's last block. What follows belongs to another region.
func (w *regionWriter) end() error {
	if len(w.block) == 0 {
		return nil
	}
	payload := w.block[blockHeader:]
	block, length := w.block, uint32(len(payload))
	if w.pack != nil {
		if packed := w.pack.deflate(payload); packed != nil {
			block, length = packed, packedBit|uint32(len(packed)-blockHeader)
		}
	}
	binary.LittleEndian.PutUint32(block, length)
	binary.LittleEndian.PutUint32(block[4:], blockSum(block))
	if err := w.sink.put(block); err != nil {
		return err
	}
	w.done += int64(len(block))
	w.raw += int64(len(payload))
	w.block = nil
	return nil
}

// blockSum returns the checksum of a block, of which block[4:8] has no part.
func blockSum(block []byte) uint32 {
	return crc32.Update(crc32.Checksum(block[:4], castagnoli), castagnoli, block[blockHeader:])
}

// storedBytes returns how much is stored of a block with that header.
func storedBytes(header []byte) int64 {
	return int64(binary.LittleEndian.Uint32(header) &^ packedBit)
}

// checkBlock checks a whole block.
func checkBlock(block []byte) error {
	if got, want := blockSum(block), binary.LittleEndian.Uint32(block[4:]); got != want {
		return corrupt("checksum of a block of %d bytes is %08x, not %08x", len(block)-blockHeader, got, want)
	}
	if len(block) == blockHeader {
		return corrupt("an empty block")
	}
	return nil
}

// blockReader returns the payloads of a region's blocks, checked.
type blockReader interface {
	// next returns the next payload, valid until the call after it, or io.EOF.
	next() ([]byte, error)
}

// region is where a region is: in memory, in pieces of whole blocks, or in a file. The
// zero region is empty.
type region struct {
	data   [][]byte
	file   io.ReaderAt
	off, n int64
	// damaged, if not nil, is called when the region turns out to be unreadable.
	damaged func(error)
}

// size returns how many bytes it has.
func (r region) size() int64 {
	n := r.n
	for _, piece := range r.data {
		n += int64(len(piece))
	}
	return n
}

// blocks reads the region.
func (r region) blocks() blockReader {
	var blocks blockReader = &memoryBlocks{rest: r.data}
	if r.file != nil {
		blocks = newStreamBlocks(io.NewSectionReader(r.file, r.off, r.n), r.n)
	}
	if r.damaged != nil {
		blocks = &watchedBlocks{blocks, r.damaged}
	}
	return blocks
}

// watchedBlocks tells when blocks cannot be read.
type watchedBlocks struct {
	blockReader
	damaged func(error)
}

func (r *watchedBlocks) next() ([]byte, error) {
	payload, err := r.blockReader.next()
	if err != nil && err != io.EOF {
		r.damaged(err)
	}
	return payload, err
}

// memoryBlocks reads a region in memory, without copying it.
type memoryBlocks struct {
	piece  []byte   // what is left of the present piece
	rest   [][]byte // the pieces after it
	unpack unpacker
}

func (r *memoryBlocks) next() ([]byte, error) {
	for len(r.piece) == 0 {
		if len(r.rest) == 0 {
			return nil, io.EOF
		}
		r.piece, r.rest = r.rest[0], r.rest[1:]
	}
	if len(r.piece) < blockHeader {
		return nil, corrupt("a block's header is cut off")
	}
	n := storedBytes(r.piece)
	if n > maxBlock || n > int64(len(r.piece)-blockHeader) {
		return nil, corrupt("a block of %d bytes, %d are left", n, len(r.piece)-blockHeader)
	}
	block := r.piece[:blockHeader+n]
	r.piece = r.piece[blockHeader+n:]
	return r.unpack.payload(block)
}

// streamBlocks reads regions from a stream, one after the other.
type streamBlocks struct {
	r      *bufio.Reader
	left   int64  // bytes of the present region
	behind int    // bytes of the block that next has returned, still in r
	large  []byte // a block that is larger than the buffer of r
	unpack unpacker
}

// readerBytes is the memory that a region on disk needs while it is merged, if its
// pairs are small and it is not packed; most of it is the buffer that it is read
// through, a block at a time.
const (
	readerBuffer = blockBytes + 8<<10
	readerBytes  = readerBuffer + 8<<10
)

func newStreamBlocks(r io.Reader, n int64) *streamBlocks {
	return &streamBlocks{r: bufio.NewReaderSize(r, readerBuffer), left: n}
}

func (r *streamBlocks) next() ([]byte, error) {
	_, _ = r.r.Discard(r.behind) // it is buffered
	r.behind = 0
	if r.left == 0 {
		return nil, io.EOF
	}
	header, err := r.r.Peek(int(min(r.left, blockHeader)))
	if err != nil {
		return nil, cutOff(err)
	}
	if r.left < blockHeader {
		return nil, corrupt("a block's header is cut off")
	}
	n := storedBytes(header)
	if n > maxBlock || n > r.left-blockHeader {
		return nil, corrupt("a block of %d bytes, %d are left", n, r.left-blockHeader)
	}
	n += blockHeader
	r.left -= n
	if n > int64(r.r.Size()) {
		if r.large, err = readGrowing(r.r, r.large[:0], int(n)); err != nil {
			return nil, cutOff(err)
		}
		return r.unpack.payload(r.large)
	}
	block, err := r.r.Peek(int(n))
	if err != nil {
		return nil, cutOff(err)
	}
	r.behind = int(n)
	return r.unpack.payload(block)
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
	var k, v uint64
	n, m := 1, 1
	if len(payload) > 1 && payload[0]|payload[1] < 0x80 { // as most are
		k, v = uint64(payload[0]), uint64(payload[1])
	} else {
		k, n = binary.Uvarint(payload)
		v, m = binary.Uvarint(payload[max(n, 0):])
	}
	if n <= 0 || m <= 0 {
		return nil, nil, nil, corrupt("a pair without lengths")
	}
	rest = payload[n+m:]
	if k > uint64(len(rest)) || v > uint64(len(rest))-k {
		return nil, nil, nil, corrupt("a pair of %d and %d bytes, %d are left", k, v, len(rest))
	}
	return rest[:k:k], rest[k : k+v : k+v], rest[k+v:], nil
}
