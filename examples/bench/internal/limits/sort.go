package limits

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"
)

const (
	// RecordBytes is the size of the records that Sort sorts.
	RecordBytes = 100
	// KeyBytes is how many bytes of a record, the first ones, are its key.
	KeyBytes = 10
)

// sortKey is a record's key, and where the record is.
type sortKey struct {
	high  uint64 // the first eight bytes
	low   uint16 // the last two
	index uint32 // of the record
}

// digits are the buckets of the first pass: the first two bytes of the keys.
const digits = 1 << 16

// Sort sorts records of RecordBytes by their first KeyBytes. All of them are read
// into memory; their keys are scattered into buckets by their first two bytes (a
// radix sort's first pass), each bucket is sorted, and the records are written in the
// order of the keys. Each goroutine reads one half of the file and writes about one
// half of the output.
func Sort(input, output string) (err error) {
	f, size, err := openInput(input)
	if err != nil {
		return err
	}
	defer f.Close()
	if size%RecordBytes != 0 {
		return fmt.Errorf("%s has %d bytes: %w", input, size, io.ErrUnexpectedEOF)
	}
	n := int(size / RecordBytes)
	s := &sorter{data: make([]byte, size), keys: make([]sortKey, n)}
	var group errgroup.Group
	for i := range workers {
		group.Go(func() error { return s.read(f, i, n*i/workers, n*(i+1)/workers) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.place()
	for i := range workers {
		group.Go(func() error { s.scatter(i, n*i/workers, n*(i+1)/workers); return nil })
	}
	_ = group.Wait() // scatter cannot fail
	out, err := createOutput(output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOutput(out)) }()
	for i := range workers {
		group.Go(func() error { return s.write(out, i) })
	}
	return group.Wait()
}

type sorter struct {
	data  []byte
	keys  []sortKey
	begin [digits + 1]int      // of each bucket in keys
	next  [workers][digits]int // first the sizes of each reader's buckets, then where it scatters to
	cut   [workers + 1]int     // buckets that a writer begins with
}

func (s *sorter) key(i int) (high uint64, low uint16) {
	r := s.data[i*RecordBytes:][:KeyBytes]
	return binary.BigEndian.Uint64(r), binary.BigEndian.Uint16(r[8:])
}

// read reads some of the records and counts how many go into each bucket.
func (s *sorter) read(f io.ReaderAt, reader, from, to int) error {
	const step = blockBytes / RecordBytes
	sizes := &s.next[reader]
	for from < to {
		until := min(from+step, to)
		if _, err := f.ReadAt(s.data[from*RecordBytes:until*RecordBytes], int64(from)*RecordBytes); err != nil {
			return err
		}
		for ; from < until; from++ {
			r := s.data[from*RecordBytes:]
			sizes[binary.BigEndian.Uint16(r)]++
		}
	}
	return nil
}

// place finds where the buckets are, and where each reader's part of them, and
// divides them among the writers.
func (s *sorter) place() {
	at := 0
	for d := range digits {
		s.begin[d] = at
		for r := range workers {
			size := s.next[r][d]
			s.next[r][d] = at
			at += size
		}
		for w := 1; w < workers; w++ {
			if s.begin[d] < len(s.keys)*w/workers {
				s.cut[w] = d + 1
			}
		}
	}
	s.begin[digits] = at
	s.cut[workers] = digits
}

// scatter puts the keys of some of the records into their buckets.
func (s *sorter) scatter(reader, from, to int) {
	next := &s.next[reader]
	for i := from; i < to; i++ {
		high, low := s.key(i)
		d := high >> 48
		s.keys[next[d]] = sortKey{high, low, uint32(i)}
		next[d]++
	}
}

// write sorts some of the buckets and writes their records.
func (s *sorter) write(out *os.File, writer int) error {
	from, to := s.begin[s.cut[writer]], s.begin[s.cut[writer+1]]
	buf := make([]byte, 0, blockBytes)
	at := int64(from) * RecordBytes
	for d := s.cut[writer]; d < s.cut[writer+1]; d++ {
		bucket := s.keys[s.begin[d]:s.begin[d+1]]
		slices.SortFunc(bucket, func(a, b sortKey) int {
			if a.high != b.high {
				return cmp.Compare(a.high, b.high)
			}
			if a.low != b.low {
				return cmp.Compare(a.low, b.low)
			}
			return cmp.Compare(a.index, b.index) // a bucket keeps no order
		})
		for _, k := range bucket {
			buf = append(buf, s.data[int(k.index)*RecordBytes:][:RecordBytes]...)
			if len(buf)+RecordBytes > cap(buf) {
				if _, err := out.WriteAt(buf, at); err != nil {
					return err
				}
				at += int64(len(buf))
				buf = buf[:0]
			}
		}
	}
	if at += int64(len(buf)); at != int64(to)*RecordBytes {
		return fmt.Errorf("wrote up to %d of %d", at, int64(to)*RecordBytes)
	}
	_, err := out.WriteAt(buf, at-int64(len(buf)))
	return err
}
