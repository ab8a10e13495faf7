package vmft

import "slices"

// buffers are memory of batches that have been done with, for batches to come.
type buffers struct{ free [][]byte }

const (
	// maxFree is how many buffers are kept.
	maxFree = 16
	// maxFreeSize is the size of the largest that is.
	maxFreeSize = 2 * maxBatch
)

// get returns an empty buffer with room for so many bytes.
func (s *buffers) get(size int) []byte {
	n := len(s.free)
	if n == 0 {
		return make([]byte, 0, size)
	}
	b := s.free[n-1]
	s.free[n-1] = nil
	s.free = s.free[:n-1]
	return slices.Grow(b, size)
}

// put takes a buffer back, which nobody reads any more.
func (s *buffers) put(b []byte) {
	if len(s.free) < maxFree && cap(b) <= maxFreeSize {
		s.free = append(s.free, b[:0])
	}
}
