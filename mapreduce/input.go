package mapreduce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/sync/errgroup"
)

// An Input divides a job's input into splits and reads them. Its methods are
// called concurrently, Splits by the coordinator, Read by workers.
type Input interface {
	// Splits divides the input that the Spec names, in the order in which a
	// sequential run would read it. spec.SplitBytes may be 0: then the size of the
	// splits is up to the Input.
	Splits(ctx context.Context, fsys FileSystem, spec *Spec) ([]Split, error)

	// Read yields the records of a split, the same each time. A record's memory
	// must never be changed later, unless the Input says that it is. An error ends
	// the split and fails the attempt.
	Read(ctx context.Context, fsys FileSystem, split Split) iter.Seq2[Record, error]
}

// Split is the input of one map task.
type Split struct {
	// Pieces are ranges of files, read one after the other.
	Pieces []Piece
	// Data is for inputs that are not, or not only, files. At most 64 KiB.
	Data []byte

	hosts []string // that hold the data, the best first
}

// Piece is a range of a file.
type Piece struct {
	Name   string
	Offset int64
	Length int64
}

const (
	// maxSplits bounds the map tasks of a job.
	maxSplits = 1 << 20
	// maxSplitData bounds Split.Data.
	maxSplitData = 64 << 10

	// opensAtOnce bounds the files that are opened at a time to find their sizes.
	opensAtOnce = 8

	// Splits are of this size unless Spec.SplitBytes says otherwise: as small as
	// gives the input's size defaultSplits splits, within these bounds; with a combiner
	// combinedSplits, as it joins the more the more there is in a split, and a key is
	// sorted, handed over and merged once a split.
	minSplitBytes  = 16 << 20
	maxSplitBytes  = 64 << 20
	defaultSplits  = 64
	combinedSplits = 16
)

// Text is input of lines that end with a newline; the last line of a file need
// not. A Record's Value is the line without its newline, its Offset where it
// begins. A file of more than SplitBytes is divided; a line belongs to the split
// in which its first byte lies. Smaller files are packed, several to a split, in
// the order of their names.
type Text struct {
	// Reuse says that a record is not needed any more when Map returns: what is read
	// next takes its memory, which spares the garbage collector half of the work of
	// reading. A Map that keeps no Value and no Text, nor a part of them, may say so;
	// emit copies what it is given. Default: a record may be kept.
	Reuse bool

	// Blocks makes one Record of many lines: as many as were read at once, with
	// newlines between them and none behind the last. That is for a Map that searches
	// the text as a whole and finds the line where it finds something, as grep does,
	// which is faster than to look at each line. Counters and Spec.SkipBadRecords then
	// have to do with blocks. Where one ends depends on how the input is divided, so
	// what Map emits should depend on the lines alone. Default: a line is a record.
	Blocks bool
}

var _ Input = Text{}

// Splits implements Input.
func (Text) Splits(ctx context.Context, fsys FileSystem, spec *Spec) ([]Split, error) {
	return fileSplits(ctx, fsys, spec, 1, nil)
}

// fileSplits divides the input files into splits. Every cut within a file is at a
// multiple of unit bytes. look, if it is not nil, has a look at each file.
func fileSplits(ctx context.Context, fsys FileSystem, spec *Spec, unit int64, look func(name string, f io.ReaderAt, size int64) error) ([]Split, error) {
	names, err := expand(ctx, fsys, spec.Input)
	if err != nil {
		return nil, err
	}
	files := make([]Piece, len(names))
	var group errgroup.Group
	group.SetLimit(opensAtOnce)
	for i, name := range names {
		group.Go(func() error {
			f, size, err := fsys.Open(ctx, name)
			if err != nil {
				return fmt.Errorf("find the size of an input file: %w", err)
			}
			files[i] = Piece{Name: name, Length: size}
			if look != nil {
				err = look(name, f, size)
			}
			return errors.Join(err, f.Close())
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var total int64
	for _, f := range files {
		total += f.Length
	}
	size := spec.SplitBytes
	if size == 0 {
		splits := int64(defaultSplits)
		if spec.combined {
			splits = combinedSplits
		}
		size = min(max(total/splits, minSplitBytes), maxSplitBytes)
	}
	return packSplits(files, max(size, unit), unit), nil
}

// packSplits divides files into splits of about size bytes, of which unit bytes stay
// together.
func packSplits(files []Piece, size, unit int64) []Split {
	var splits []Split
	var open Split
	var have int64
	closeOpen := func() {
		if len(open.Pieces) > 0 {
			splits = append(splits, open)
		}
		open, have = Split{}, 0
	}
	for _, f := range files {
		if f.Length == 0 {
			continue
		}
		if have+f.Length > size {
			closeOpen()
		}
		if f.Length <= size {
			open.Pieces = append(open.Pieces, f)
			have += f.Length
			continue
		}
		n := (f.Length + size - 1) / size
		units := f.Length / unit
		cut := func(i int64) int64 { return (units/n*i + units%n*i/n) * unit }
		for i := range n {
			from, to := cut(i), cut(i+1)
			splits = append(splits, Split{Pieces: []Piece{{Name: f.Name, Offset: from, Length: to - from}}})
		}
	}
	closeOpen()
	return splits
}

// Read implements Input.
func (x Text) Read(ctx context.Context, fsys FileSystem, split Split) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r := &lineReader{reuse: x.Reuse, blocks: x.Blocks}
		for _, piece := range split.Pieces {
			more, err := r.readPiece(ctx, fsys, piece, yield)
			if err != nil {
				yield(Record{}, fmt.Errorf("read %s: %w", piece.Name, err))
				return
			}
			if !more {
				return
			}
		}
	}
}

const (
	// readBytes is how much of a file is read at a time, reuseBytes if it is always
	// into the same memory: what fits into the processor's own cache.
	readBytes  = 1 << 20
	reuseBytes = 256 << 10
)

// lineReader reads the lines that begin in pieces of files, one after the other.
type lineReader struct {
	reuse  bool
	blocks bool   // many lines are one record
	buf    []byte // for the next block, if memory is used again

	file io.ReaderAt
	size int64 // of the file
	off  int64 // of the next byte to be read
	end  int64 // of the piece
}

// readPiece yields the lines that begin in a piece. It reports whether yield wants
// more.
func (r *lineReader) readPiece(ctx context.Context, fsys FileSystem, piece Piece, yield func(Record, error) bool) (bool, error) {
	f, size, err := fsys.Open(ctx, piece.Name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	at, end := piece.Offset, piece.Offset+piece.Length
	if end > size {
		return false, fmt.Errorf("%d bytes long now, %d when the job began: %w", size, end, io.ErrUnexpectedEOF)
	}
	// What comes before the first newline is the rest of a line that began earlier.
	// Beginning one byte early leaves a line that begins exactly here whole.
	skip := at > 0
	if skip {
		at--
	}
	r.file, r.size, r.off, r.end = f, size, at, end
	var block []byte // what has been read from at on
	for at < end {
		seen := len(block) // there is no newline in it
		if seen > MaxRecordBytes {
			return false, fmt.Errorf("line at byte %d: %w", at, tooLarge(seen))
		}
		if r.off == size {
			return skip || yield(Record{File: piece.Name, Offset: at, Value: block}, nil), nil
		}
		if block, err = r.extend(block); err != nil {
			return false, err
		}
		for at < end {
			n := bytes.IndexByte(block[seen:], '\n')
			if n < 0 {
				break
			}
			n += seen
			seen = 0
			if n > MaxRecordBytes {
				return false, fmt.Errorf("line at byte %d: %w", at, tooLarge(n))
			}
			if r.blocks && !skip && r.off <= end { // all lines that have been read begin in the piece
				n = bytes.LastIndexByte(block[:min(len(block), MaxRecordBytes+1)], '\n')
			}
			if !skip && !yield(Record{File: piece.Name, Offset: at, Value: block[:n:n]}, nil) {
				return false, nil
			}
			skip = false
			block = block[n+1:]
			at += int64(n) + 1
		}
	}
	return true, nil
}

// beyondBytes is how much is read at a time to find the end of a line that goes
// on beyond its piece.
const beyondBytes int64 = 16 << 10

// extend reads more into a block, behind the beginning of a line that ended the last.
// In the piece it reads large blocks; beyond it only the rest of a line is wanted.
func (r *lineReader) extend(rest []byte) ([]byte, error) {
	// At least as much again as is left over, so that a long line is not copied
	// too often.
	want := max(beyondBytes, int64(len(rest)))
	if r.off < r.end {
		most := int64(readBytes)
		if r.reuse {
			most = reuseBytes
		}
		want = min(r.end-r.off, max(most, int64(len(rest))))
	}
	want = min(want, r.size-r.off)
	block := r.block(len(rest) + int(want))
	copy(block, rest)
	n, err := r.file.ReadAt(block[len(rest):], r.off)
	if int64(n) < want {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF // the file shrank
		}
		return nil, err
	}
	r.off += want
	return block, nil
}

// block returns memory for a block.
func (r *lineReader) block(n int) []byte {
	if !r.reuse {
		return make([]byte, n) // records refer to it for as long as they like
	}
	if n > len(r.buf) {
		r.buf = make([]byte, max(n, reuseBytes+int(beyondBytes)))
	}
	return r.buf[:n]
}
