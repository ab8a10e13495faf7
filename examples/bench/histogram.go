package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width grows with the duration:
// each power of two is divided into 64, so that a percentile is off by at most
// 1.6 %. It never allocates; what is longer than a minute counts as a minute.
type histogram struct {
	count   uint64
	buckets [buckets]uint32
}

const (
	fineBits = 6
	fine     = 1 << fineBits
	longest  = time.Minute
)

// buckets is one more than the bucket of the longest duration, 2^35 ns < 1 min < 2^36 ns.
const buckets = (36 - fineBits + 1) * fine

func (h *histogram) add(d time.Duration) {
	h.count++
	h.buckets[bucket(d)]++
}

// bucket returns the number of a duration's bucket. Durations below fine have a
// bucket each; above, the position of the highest bit and the fineBits bits after
// it make the number.
func bucket(d time.Duration) int {
	n := uint64(max(0, min(d, longest)))
	if n < fine {
		return int(n)
	}
	shift := bits.Len64(n) - fineBits - 1
	return shift<<fineBits + int(n>>shift)
}

// floor returns the shortest duration in a bucket.
func floor(b int) time.Duration {
	if b < 2*fine {
		return time.Duration(b)
	}
	shift := b>>fineBits - 1
	return time.Duration(b-shift<<fineBits) << shift
}

// merge adds another histogram's counts.
func (h *histogram) merge(o *histogram) {
	h.count += o.count
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// percentile returns the duration that a fraction p of those counted do not
// exceed, as the middle of its bucket. Of nothing it is zero.
func (h *histogram) percentile(p float64) time.Duration {
	rank := uint64(p * float64(h.count))
	var seen uint64
	for i, n := range h.buckets {
		seen += uint64(n)
		if seen > rank {
			return (floor(i) + floor(i+1)) / 2
		}
	}
	return 0
}
