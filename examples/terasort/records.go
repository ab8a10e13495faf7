package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/trilith-go/trilith/examples/internal/jobs"
)

const (
	recordBytes = jobs.RecordBytes
	keyBytes    = jobs.KeyBytes
)

// appendRecord appends record i of a seed, laid out as gensort's binary records are:
// the key, a mark, the number in 32 hexadecimal digits, a mark, filler, a mark.
func appendRecord(dst []byte, seed, i uint64) []byte {
	a, b := mix(seed+2*i), mix(seed+2*i+1)
	dst = binary.BigEndian.AppendUint64(dst, a)
	dst = binary.BigEndian.AppendUint16(dst, uint16(b))
	dst = append(dst, 0x00, 0x11)
	dst = fmt.Appendf(dst, "%032X", i)
	dst = append(dst, 0x88, 0x99, 0xaa, 0xbb)
	for n := range 12 { // each filler digit is four times there
		digit := "0123456789ABCDEF"[b>>(16+4*n)&15]
		dst = append(dst, digit, digit, digit, digit)
	}
	return append(dst, 0xcc, 0xdd, 0xee, 0xff)
}

// mix makes a random number of a number (splitmix64).
func mix(x uint64) uint64 {
	x = (x + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// generate writes n records into a new file, which it removes if it fails, and returns
// their summary.
func generate(ctx context.Context, name string, seed, n uint64) (s summary, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return s, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(name) // that it is not whole is what to say
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	var record []byte
	for i := range n {
		record = appendRecord(record[:0], seed, i)
		if _, err := w.Write(record); err != nil {
			return s, err
		}
		if err := s.add(ctx, record); err != nil {
			return s, err
		}
	}
	return s, w.Flush()
}

// summary is what is known of records that were read one after the other.
type summary struct {
	records    uint64
	checksum   uint64 // the sum of the records' CRCs
	duplicates uint64 // records with the key of the one before
	unordered  uint64 // records with a lesser key than the one before
	first      uint64 // the number of the first of these
	last       []byte // the key of the last record
}

// add adds a record. It fails if ctx has ended, at which it looks now and then.
func (s *summary) add(ctx context.Context, record []byte) error {
	const often = 1 << 16
	if s.records%often == 0 && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.checksum += uint64(crc32.ChecksumIEEE(record))
	key := record[:keyBytes]
	if s.records > 0 {
		switch bytes.Compare(s.last, key) {
		case 0:
			s.duplicates++
		case 1:
			if s.unordered == 0 {
				s.first = s.records
			}
			s.unordered++
		}
	}
	s.last = append(s.last[:0], key...)
	s.records++
	return nil
}

// summarize reads files, one after the other.
func summarize(ctx context.Context, names []string) (summary, error) {
	var s summary
	for _, name := range names {
		if err := s.read(ctx, name); err != nil {
			return s, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return s, nil
}

func (s *summary) read(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	record := make([]byte, recordBytes)
	for {
		_, err := io.ReadFull(r, record)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.add(ctx, record); err != nil {
			return err
		}
	}
}

// sorts says what is wrong with records as a sorted version of others, if anything.
func (s *summary) sorts(input *summary) error {
	switch {
	case s.unordered > 0:
		return fmt.Errorf("%d records are out of order, the first is number %d", s.unordered, s.first)
	case s.records != input.records:
		return fmt.Errorf("there are %d records, but %d in the input", s.records, input.records)
	case s.checksum != input.checksum:
		return fmt.Errorf("the checksum is %x, that of the input %x", s.checksum, input.checksum)
	}
	return nil
}

func (s *summary) String() string {
	return fmt.Sprintf("%d records, checksum %x, %d duplicate keys", s.records, s.checksum, s.duplicates)
}
