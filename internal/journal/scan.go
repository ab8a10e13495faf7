package journal

import (
	"bytes"
	"fmt"
	"io"
)

const (
	// windowSize is how much of a segment is in memory at a time, unless a record is
	// larger.
	windowSize = 256 << 10
	// sectorSize is what a crash leaves either as written or as before.
	sectorSize = 512
)

// scanner reads the records of one segment in order.
type scanner struct {
	r      io.ReaderAt
	path   string // for errors
	seed   uint32 // of the checksums
	size   int64  // bytes there are to read
	offset int64  // where the next record begins
	next   uint64 // the sequence number that it has if it is data
	marked uint64 // the sequence number of the last mark so far
	proven int64  // where that begins: what is before it has been synced

	window []byte // a part of the segment
	at     int64  // where it begins
}

// badRecord says that no record can be read at a place. It may be a torn tail.
type badRecord struct {
	offset int64
	end    int64 // of what was looked at: the header if it is bad, else the record
	what   string
}

func (b *badRecord) Error() string { return b.what }

// bytes returns n bytes of the segment, which there must be. They are valid until
// the next call.
func (s *scanner) bytes(offset int64, n int) ([]byte, error) {
	if from := offset - s.at; from >= 0 && from+int64(n) <= int64(len(s.window)) {
		return s.window[from : from+int64(n)], nil
	}
	want := int(min(int64(max(n, windowSize)), s.size-offset))
	if want > cap(s.window) {
		s.window = make([]byte, want)
	}
	s.window, s.at = s.window[:want], offset
	if got, err := s.r.ReadAt(s.window, offset); got < want {
		s.window = s.window[:0]
		return nil, &Error{Op: "read", Path: s.path, Offset: offset + int64(got), Err: err}
	}
	return s.window[:n], nil
}

// scan returns the next record that holds data. The payload is valid until the
// next call. The error is io.EOF where the segment ends between two records; a
// *badRecord where a crash may have cut it; or an *Error.
func (s *scanner) scan() (sequence uint64, payload []byte, err error) {
	for {
		if s.offset >= s.size {
			return 0, nil, io.EOF
		}
		h, payload, err := s.record()
		if err != nil {
			return 0, nil, err
		}
		begin := s.offset
		s.offset += recordHeaderSize + int64(h.length)
		if h.kind == kindData {
			s.next++
			return h.sequence, payload, nil
		}
		s.marked, s.proven = h.sequence, begin
	}
}

// record reads the record at s.offset.
func (s *scanner) record() (h recordHeader, payload []byte, err error) {
	bad := &badRecord{offset: s.offset, end: s.offset + recordHeaderSize}
	if bad.end > s.size {
		bad.what = "the header of a record is cut off"
		return h, nil, bad
	}
	b, err := s.bytes(s.offset, recordHeaderSize)
	if err != nil {
		return h, nil, err
	}
	h, ok := decodeRecordHeader(b, s.seed)
	if !ok {
		bad.what = "the header of a record is wrong"
		return h, nil, bad
	}
	want := s.next
	if h.kind == kindMark {
		want--
	}
	if h.sequence != want {
		return h, nil, corrupt(s.path, s.offset, "record %d where %d should be", h.sequence, want)
	}
	bad.end += int64(h.length)
	if bad.end > s.size {
		bad.what = fmt.Sprintf("record %d is cut off", h.sequence)
		return h, nil, bad
	}
	if b, err = s.bytes(s.offset, recordHeaderSize+h.length); err != nil {
		return h, nil, err
	}
	payload = b[recordHeaderSize:]
	if !h.holds(b, payload) {
		bad.what = fmt.Sprintf("the checksum of record %d is wrong", h.sequence)
		return h, nil, bad
	}
	return h, payload, nil
}

// judge returns nil if a bad record can be the torn tail of the last segment, and
// otherwise the damage. See "What a start accepts" in the documentation.
func (s *scanner) judge(bad *badRecord) error {
	marked, err := s.markedBehind(bad.offset)
	if err != nil {
		return err
	}
	if marked {
		return corrupt(s.path, bad.offset, "%s, and it had been synced", bad.what)
	}
	unwritten, err := s.unwritten(bad)
	if err != nil {
		return err
	}
	if !unwritten {
		return corrupt(s.path, bad.offset, "%s, though all of it was written", bad.what)
	}
	return nil
}

// markedBehind reports whether a mark anywhere behind offset says that the record there
// had been synced. It looks at every byte, since where records begin is not known
// behind a bad one.
func (s *scanner) markedBehind(offset int64) (bool, error) {
	// A mark that covers s.next has at least that number, and no more than there is
	// room for records.
	last := s.next + uint64((s.size-offset)/recordHeaderSize)
	for at := offset; at+recordHeaderSize <= s.size; {
		n := int(min(windowSize, s.size-at))
		b, err := s.bytes(at, n)
		if err != nil {
			return false, err
		}
		for i := 0; i+recordHeaderSize <= n; i++ {
			if b[i+12] != kindMark {
				continue
			}
			h, ok := decodeRecordHeader(b[i:i+recordHeaderSize], s.seed)
			if ok && h.kind == kindMark && h.sequence >= s.next && h.sequence <= last && h.holds(b[i:], nil) {
				return true, nil
			}
		}
		at += int64(n - recordHeaderSize + 1)
	}
	return false, nil
}

// unwritten reports whether the file, or all in it but zeros, ends within the bad
// record, or a sector of it was never written: is zero from the record's beginning,
// if that is in it, to the end of the sector or the file.
func (s *scanner) unwritten(bad *badRecord) (bool, error) {
	if bad.end > s.size {
		return true, nil
	}
	if bad.end < s.size {
		if blank, err := s.blank(bad.end); blank || err != nil {
			return blank, err
		}
	}
	for from := bad.offset; from < bad.end; {
		to := min((from/sectorSize+1)*sectorSize, s.size)
		b, err := s.bytes(from, int(to-from))
		if err != nil {
			return false, err
		}
		if from == bad.offset && b[0] == stopByte {
			b = b[1:] // of the batch before
		}
		if zero(b) {
			return true, nil
		}
		from = to
	}
	return false, nil
}

// ended reports whether there is nothing from an offset on but what may be behind
// the last record: a stop byte and zeros.
func (s *scanner) ended(offset int64) (bool, error) {
	b, err := s.bytes(offset, 1)
	if err != nil {
		return false, err
	}
	if b[0] == stopByte {
		offset++
	}
	return s.blank(offset)
}

// blank reports whether there is nothing but zeros from an offset on.
func (s *scanner) blank(offset int64) (bool, error) {
	for offset < s.size {
		n := int(min(windowSize, s.size-offset))
		b, err := s.bytes(offset, n)
		if err != nil {
			return false, err
		}
		if !zero(b) {
			return false, nil
		}
		offset += int64(n)
	}
	return true, nil
}

func zero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
