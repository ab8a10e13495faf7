package mapreduce

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// A file of pairs is
//
//	magic   8 bytes
//	blocks
//	index   the length of each block's payload, as uvarints
//	trailer
//
// where a block is
//
//	length  uint32   of the payload, little end first, as all numbers are
//	crc     uint32   CRC-32C of where the block begins, as a uint64, and the payload
//	payload          whole pairs: key and value lengths as uvarints, then both
//
// and the trailer is
//
//	end     uint64   where the index begins
//	size    uint32   of the index
//	crc     uint32   CRC-32C of the index, end and size
//	magic   8 bytes
const (
	pairMagic        = "pairs\x00\x01\n"
	pairBlockHeader  = 8
	pairSummed       = 12 // of the trailer
	pairTrailerBytes = 16 + int64(len(pairMagic))

	// pairFileBlock is the payload size from which on a block is closed. A pair is
	// never divided.
	pairFileBlock = 64 << 10
	maxPairBlock  = pairFileBlock + MaxRecordBytes + 2*binary.MaxVarintLen32
	// maxPairIndex bounds the index, in bytes: enough for a file of a terabyte.
	maxPairIndex = 64 << 20
)

// pairWriter writes a file of pairs.
type pairWriter struct {
	w        io.Writer
	anyOrder bool
	block    []byte // the open one, with room for its header
	index    []byte
	end      int64  // of the blocks
	last     []byte // the key before
	begun    bool   // there is one
}

// newPairWriter begins a file.
func newPairWriter(w io.Writer, anyOrder bool) (*pairWriter, error) {
	_, err := io.WriteString(w, pairMagic)
	return &pairWriter{w: w, anyOrder: anyOrder, end: int64(len(pairMagic))}, err
}

// add adds a pair.
func (w *pairWriter) add(key, value []byte) error {
	if n := len(key) + len(value); n > MaxRecordBytes {
		return tooLarge(n)
	}
	if !w.anyOrder {
		if w.begun && bytes.Compare(key, w.last) < 0 {
			return fmt.Errorf("%w: a key of the file comes after one that is greater; PairFile.Keys must have the order of Job.Keys", ErrUnordered)
		}
		w.last, w.begun = append(w.last[:0], key...), true
	}
	if len(w.block) == 0 {
		w.block = append(w.block, make([]byte, pairBlockHeader)...)
	}
	w.block = binary.AppendUvarint(w.block, uint64(len(key)))
	w.block = binary.AppendUvarint(w.block, uint64(len(value)))
	w.block = append(append(w.block, key...), value...)
	if len(w.block)-pairBlockHeader >= pairFileBlock {
		return w.closeBlock()
	}
	return nil
}

func (w *pairWriter) closeBlock() error {
	payload := w.block[pairBlockHeader:]
	binary.LittleEndian.PutUint32(w.block, uint32(len(payload)))
	binary.LittleEndian.PutUint32(w.block[4:], pairBlockSum(w.end, payload))
	w.index = binary.AppendUvarint(w.index, uint64(len(payload)))
	if len(w.index) > maxPairIndex {
		return fmt.Errorf("%w: a file of %d bytes has too many blocks of pairs", ErrTooLarge, w.end)
	}
	w.end += int64(len(w.block))
	_, err := w.w.Write(w.block)
	w.block = w.block[:0]
	return err
}

// pairBlockSum returns the checksum of a block that begins at a place. That is in it so
// that one block is not taken for another.
func pairBlockSum(at int64, payload []byte) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], uint64(at))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, payload)
}

// Close implements ResultWriter.
func (w *pairWriter) Close() error {
	if len(w.block) > 0 {
		if err := w.closeBlock(); err != nil {
			return err
		}
	}
	tail := w.index
	tail = binary.LittleEndian.AppendUint64(tail, uint64(w.end))
	tail = binary.LittleEndian.AppendUint32(tail, uint32(len(w.index)))
	tail = binary.LittleEndian.AppendUint32(tail, crc32.Checksum(tail, castagnoli))
	_, err := w.w.Write(append(tail, pairMagic...))
	return err
}

// wholeFile is the length of a piece that ends where the file does.
const wholeFile = math.MaxInt64

// readPairs yields the pairs of the blocks that begin in a piece. It reports whether
// yield wants more.
func readPairs(ctx context.Context, fsys FileSystem, piece Piece, yield func(Record, error) bool) (bool, error) {
	f, size, err := fsys.Open(ctx, piece.Name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if end := piece.Offset + piece.Length; piece.Length != wholeFile && end > size {
		return false, fmt.Errorf("%d bytes long now, %d when the job began: %w", size, end, io.ErrUnexpectedEOF)
	}
	blocks, err := readPairIndex(f, size)
	if err != nil {
		return false, err
	}
	from, _ := slices.BinarySearch(blocks, piece.Offset)
	for blocks = blocks[from:]; len(blocks) > 1 && blocks[0] < piece.Offset+piece.Length; {
		// Several blocks at a time. Records refer to what is read, which is never
		// written to again.
		n := 1
		for n+1 < len(blocks) && blocks[n+1]-blocks[0] <= readBytes && blocks[n] < piece.Offset+piece.Length {
			n++
		}
		b := make([]byte, blocks[n]-blocks[0])
		if err := readAll(f, b, blocks[0]); err != nil {
			return false, err
		}
		for i := range n {
			from, end := blocks[i]-blocks[0], blocks[i+1]-blocks[0]
			more, err := yieldPairs(b[from:end], Record{File: piece.Name, Offset: blocks[i]}, yield)
			if !more || err != nil {
				return false, err
			}
		}
		blocks = blocks[n:]
	}
	return true, nil
}

// yieldPairs yields the pairs of a block, which begins at r.Offset.
func yieldPairs(block []byte, r Record, yield func(Record, error) bool) (bool, error) {
	payload := block[pairBlockHeader:]
	at := r.Offset
	damaged := func(format string, args ...any) (bool, error) {
		return false, fmt.Errorf("block at byte %d: %w", at, corrupt(format, args...))
	}
	if n := binary.LittleEndian.Uint32(block); int64(n) != int64(len(payload)) {
		return damaged("its length is %d, not %d as the index has it", n, len(payload))
	}
	sum := binary.LittleEndian.Uint32(block[4:])
	if got := pairBlockSum(at, payload); got != sum {
		return damaged("checksum of %d bytes is %08x, not %08x", len(payload), got, sum)
	}
	for rest := payload; len(rest) > 0; {
		r.Offset = at + int64(len(block)-len(rest))
		key, value, after, err := cutLengths(rest)
		if err != nil {
			return damaged("%w", err)
		}
		r.Key, r.Value, rest = key, value, after
		if !yield(r, nil) {
			return false, nil
		}
	}
	return true, nil
}

var errPairLengths = errors.New("a pair is cut off")

// cutLengths takes a pair off the front of src.
func cutLengths(src []byte) (key, value, rest []byte, err error) {
	k, n := binary.Uvarint(src)
	if n <= 0 {
		return nil, nil, nil, errPairLengths
	}
	v, m := binary.Uvarint(src[n:])
	if m <= 0 {
		return nil, nil, nil, errPairLengths
	}
	rest = src[n+m:]
	if k > uint64(len(rest)) || v > uint64(len(rest))-k {
		return nil, nil, nil, errPairLengths
	}
	return rest[:k:k], rest[k : k+v : k+v], rest[k+v:], nil
}

// pairTrailer is what the end of a file of pairs says.
type pairTrailer struct {
	end int64 // of the blocks
	n   int64 // bytes of the index
	sum uint32
}

// readPairTrailer reads and checks the end of a file of so many bytes.
func readPairTrailer(f io.ReaderAt, size int64) (t pairTrailer, err error) {
	if size < int64(len(pairMagic))+pairTrailerBytes {
		return t, corrupt("a file of %d bytes holds no pairs: it is too short", size)
	}
	b := make([]byte, pairTrailerBytes)
	if err := readAll(f, b, size-pairTrailerBytes); err != nil {
		return t, err
	}
	if string(b[16:]) != pairMagic {
		return t, corrupt("the file is cut off, or none of pairs: byte %d is not where one ends", size)
	}
	end, n := binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint32(b[8:]))
	if n > maxPairIndex || end != uint64(size-pairTrailerBytes-n) || end < uint64(len(pairMagic)) {
		return t, corrupt("the end of the file, at byte %d, says that its index has %d bytes and begins at %d", size-pairTrailerBytes, n, end)
	}
	return pairTrailer{int64(end), n, binary.LittleEndian.Uint32(b[12:])}, nil
}

// readPairIndex reads where the blocks of a file begin, and last where they end.
func readPairIndex(f io.ReaderAt, size int64) ([]int64, error) {
	t, err := readPairTrailer(f, size)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, len(pairMagic))
	if err := readAll(f, magic, 0); err != nil {
		return nil, err
	}
	if string(magic) != pairMagic {
		return nil, corrupt("the file does not begin as one of pairs does")
	}
	index := make([]byte, t.n+pairSummed)
	if err := readAll(f, index, t.end); err != nil {
		return nil, err
	}
	if got := crc32.Checksum(index, castagnoli); got != t.sum {
		return nil, corrupt("checksum of the index at byte %d is %08x, not %08x", t.end, got, t.sum)
	}
	blocks := []int64{int64(len(pairMagic))}
	for index = index[:t.n]; len(index) > 0; {
		n, m := binary.Uvarint(index)
		if m <= 0 || n == 0 || n > maxPairBlock {
			return nil, corrupt("the index at byte %d has a block of %d bytes", t.end, n)
		}
		index = index[m:]
		blocks = append(blocks, blocks[len(blocks)-1]+pairBlockHeader+int64(n))
	}
	if end := blocks[len(blocks)-1]; end != t.end {
		return nil, corrupt("the blocks end at byte %d, not at %d where the index begins", end, t.end)
	}
	return blocks, nil
}

// readAll fills b from a place where a file has that many bytes.
func readAll(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF // the file shrank
	}
	return fmt.Errorf("at byte %d: %w", at, err)
}
