package mapreduce

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// FixedRecords is input of records of so many bytes each, with nothing between them.
// A Record's Value is all of it. A file that holds no whole number of records fails
// the job.
type FixedRecords int

var _ Input = FixedRecords(0)

// Reuse returns the same input with what Text.Reuse promises: a record is not needed any
// more when Map returns, and what is read next takes its memory.
func (n FixedRecords) Reuse() Input { return reusedRecords{n} }

// reusedRecords is FixedRecords that are read into the same memory again and again.
type reusedRecords struct{ FixedRecords }

// Read implements Input.
func (r reusedRecords) Read(ctx context.Context, fsys FileSystem, split Split) iter.Seq2[Record, error] {
	return r.read(ctx, fsys, split, true)
}

func (n FixedRecords) validate() error {
	if n < 1 || n > MaxRecordBytes {
		return fmt.Errorf("%w: FixedRecords is %d, not 1 to %d bytes", ErrConfig, int(n), MaxRecordBytes)
	}
	return nil
}

// Splits implements Input.
func (n FixedRecords) Splits(ctx context.Context, fsys FileSystem, spec *Spec) ([]Split, error) {
	if err := n.validate(); err != nil {
		return nil, err
	}
	splits, err := fileSplits(ctx, fsys, spec, int64(n), nil)
	if err != nil {
		return nil, err
	}
	for i := range splits {
		for _, p := range splits[i].Pieces {
			// All cuts but the end of a file are at whole records.
			if rest := p.Length % int64(n); rest != 0 {
				return nil, fmt.Errorf("%s: %d bytes are left over behind its last record of %d: %w", p.Name, rest, int(n), io.ErrUnexpectedEOF)
			}
		}
	}
	return splits, nil
}

// Read implements Input.
func (n FixedRecords) Read(ctx context.Context, fsys FileSystem, split Split) iter.Seq2[Record, error] {
	return n.read(ctx, fsys, split, false)
}

func (n FixedRecords) read(ctx context.Context, fsys FileSystem, split Split, reuse bool) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		err := n.validate()
		blocks := recordBlocks{reuse: reuse}
		if err == nil {
			blocks.bytes = n.blockBytes(reuse)
		}
		for i := 0; i < len(split.Pieces) && err == nil; i++ {
			var more bool
			if more, err = n.readPiece(ctx, fsys, split.Pieces[i], &blocks, yield); err != nil {
				err = fmt.Errorf("read %s: %w", split.Pieces[i].Name, err)
			} else if !more {
				return
			}
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

// blockBytes returns how much is read at a time, in whole records.
func (n FixedRecords) blockBytes(reuse bool) int64 {
	block := int64(readBytes)
	if reuse {
		block = reuseBytes
	}
	return max(block/int64(n), 1) * int64(n)
}

// recordBlocks makes the memory that records are read into.
type recordBlocks struct {
	bytes int64 // of a block, at most
	reuse bool
	buf   []byte
}

// next returns a block of n bytes, or the most there may be. Unless they may be used
// again, records refer to a block, which is never written to again.
func (b *recordBlocks) next(n int64) []byte {
	n = min(n, b.bytes)
	if !b.reuse {
		return make([]byte, n)
	}
	if int64(len(b.buf)) < n {
		b.buf = make([]byte, n)
	}
	return b.buf[:n]
}

// readPiece yields the records of a piece. It reports whether yield wants more.
func (n FixedRecords) readPiece(ctx context.Context, fsys FileSystem, p Piece, blocks *recordBlocks, yield func(Record, error) bool) (bool, error) {
	f, size, err := fsys.Open(ctx, p.Name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if end := p.Offset + p.Length; end > size {
		return false, fmt.Errorf("%d bytes long now, %d when the job began: %w", size, end, io.ErrUnexpectedEOF)
	}
	record := int64(n)
	for at, end := p.Offset, p.Offset+p.Length; at < end; {
		block := blocks.next(end - at)
		if _, err := io.ReadFull(io.NewSectionReader(f, at, int64(len(block))), block); err != nil {
			return false, err
		}
		for ; int64(len(block)) >= record; block = block[record:] {
			if !yield(Record{File: p.Name, Offset: at, Value: block[:record:record]}, nil) {
				return false, nil
			}
			at += record
		}
		if len(block) > 0 {
			return false, io.ErrUnexpectedEOF
		}
	}
	return true, nil
}
