package vmft

import "fmt"

// streamWindow is how many bytes of one direction of a stream may be on their way, or have
// arrived without having been read.
const streamWindow = 256 << 10

// streamPiece is how much memory is taken at a time for bytes that are kept.
const streamPiece = 8 << 10

// A streamID names a resumable stream: random bytes of the client that opened it.
type streamID [16]byte

// sending is one direction of a stream, at the end that sends: what was given to the stream
// and may have to be sent again.
//
// Invariants: base <= end; the pieces hold the bytes from base to end, and none is empty;
// done only if ended, and then base == end.
type sending struct {
	base  uint64   // what is before it has arrived
	end   uint64   // what is before it was given to the stream
	kept  [][]byte // what is between; bytes that are there never change
	ended bool     // nothing comes after end
	done  bool     // and the far end knows
}

// write gives b to the stream, and copies it.
func (s *sending) write(b []byte) {
	s.end += uint64(len(b))
	if n := len(s.kept); n > 0 {
		last := s.kept[n-1]
		fits := min(cap(last)-len(last), len(b))
		s.kept[n-1] = append(last, b[:fits]...)
		b = b[fits:]
	}
	if len(b) > 0 {
		s.kept = append(s.kept, append(make([]byte, 0, max(len(b), streamPiece)), b...))
	}
}

// arrived forgets what is before an offset: the far end has it, and the end of the direction
// too if ended. It returns how much of it was new.
func (s *sending) arrived(to uint64, ended bool) (fresh uint64, err error) {
	if to > s.end || ended && (!s.ended || to != s.end) {
		return 0, fmt.Errorf("%w: %d bytes have arrived, of %d", errFormat, to, s.end)
	}
	s.done = s.done || ended
	if to <= s.base {
		return 0, nil
	}
	fresh = to - s.base
	for n := fresh; n > 0; {
		first := s.kept[0]
		if uint64(len(first)) > n {
			s.kept[0] = first[n:]
			break
		}
		n -= uint64(len(first))
		s.kept[0] = nil
		s.kept = s.kept[1:]
	}
	s.base = to
	return fresh, nil
}

// at returns kept bytes from an offset on: up to the end of a piece, and n at most. They
// never change.
func (s *sending) at(from uint64, n int) []byte {
	if from < s.base || from >= s.end {
		return nil
	}
	skip := from - s.base
	for _, p := range s.kept {
		if skip < uint64(len(p)) {
			return p[skip:min(uint64(len(p)), skip+uint64(n))]
		}
		skip -= uint64(len(p))
	}
	return nil
}

// share returns a copy that goes its own way, with the same memory for what is kept now.
func (s *sending) share() sending {
	c := *s
	c.kept = make([][]byte, len(s.kept))
	for i, p := range s.kept {
		c.kept[i] = p[:len(p):len(p)]
	}
	return c
}

// check reports a broken invariant.
func (s *sending) check() error {
	n := uint64(0)
	for _, p := range s.kept {
		if n += uint64(len(p)); len(p) == 0 {
			return fmt.Errorf("an empty piece is kept")
		}
	}
	if s.base+n != s.end || s.done && (!s.ended || n > 0) {
		return fmt.Errorf("%d bytes are kept from %d to %d (ended %v, done %v)", n, s.base, s.end, s.ended, s.done)
	}
	return nil
}

// receiving is one direction of a stream, at the end that receives.
//
// Invariants: read <= got <= read + streamWindow.
type receiving struct {
	read  uint64 // what is before it was read
	got   uint64 // what is before it has arrived
	ended bool   // nothing comes after got
}

// limit is the offset that the far end may send up to.
func (r *receiving) limit() uint64 { return r.read + streamWindow }

// take takes bytes that are at an offset, and returns those of them that are new.
func (r *receiving) take(at uint64, b []byte) (fresh []byte, err error) {
	end := at + uint64(len(b))
	switch {
	case end < at || at > r.got:
		return nil, fmt.Errorf("%w: %d bytes at %d, where %d were expected", errFormat, len(b), at, r.got)
	case end <= r.got:
		return nil, nil
	case r.ended:
		return nil, fmt.Errorf("%w: %d bytes at %d, after the end at %d", errFormat, len(b), at, r.got)
	case end > r.limit():
		return nil, fmt.Errorf("%w: bytes up to %d, beyond the window's end at %d", errFormat, end, r.limit())
	}
	fresh = b[r.got-at:]
	r.got = end
	return fresh, nil
}

// finish takes the end, which is at an offset, and reports whether it is news.
func (r *receiving) finish(at uint64) (fresh bool, err error) {
	if at != r.got {
		return false, fmt.Errorf("%w: the end at %d, where %d was expected", errFormat, at, r.got)
	}
	fresh = !r.ended
	r.ended = true
	return fresh, nil
}

// consume takes note that n bytes more were read.
func (r *receiving) consume(n uint64) { r.read = min(r.read+n, r.got) }
