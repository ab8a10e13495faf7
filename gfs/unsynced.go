package gfs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A writeVerifier stays with the replicas of a chunk, and all copies of them, for as long
// as they have every mutation that was ever acknowledged. It changes when those that are
// left may have lost some that were not synced. A new chunk has 0.
type writeVerifier uint64

// A Range is a part of a file.
type Range struct {
	Off int64 // in bytes
	Len int64
}

// LostError is the error, under [Error], of a Sync that has come too late: a power failure,
// or disks that refused to make it durable, may have taken what was written to Ranges, or a
// part of it, although it had been acknowledged. It matches ErrLost. Each range is told once: it is not written again by itself.
type LostError struct {
	Ranges []Range // in order; they may contain more than is lost
}

// Error returns all that is known, in one line.
func (e *LostError) Error() string {
	var b strings.Builder
	b.WriteString(ErrLost.Error())
	for i, r := range e.Ranges {
		if i == maxLostNamed {
			fmt.Fprintf(&b, ", and %d more ranges", len(e.Ranges)-i)
			break
		}
		sep := ", "
		if i == 0 {
			sep = ": write again "
		}
		fmt.Fprintf(&b, "%s%d bytes at %d", sep, r.Len, r.Off)
	}
	return b.String()
}

// Unwrap returns ErrLost.
func (e *LostError) Unwrap() error { return ErrLost }

const (
	// maxLostNamed is how many ranges are in the text of an error.
	maxLostNamed = 8
	// maxRanges is how many ranges of one chunk are told apart. Beyond that those that are
	// nearest to one another count as one, with what is between.
	maxRanges = 64
)

// unsynced is what was written to one chunk of a file since it was last synced, as
// acknowledged with one verifier, and what is known to be lost.
type unsynced struct {
	verifier writeVerifier
	written  rangeSet // in the file
	lost     rangeSet
}

// acknowledged notes that a range was acknowledged.
func (u *unsynced) acknowledged(r Range, v writeVerifier) {
	u.seen(v)
	u.written.add(r)
}

// seen notes the chunk's present verifier.
func (u *unsynced) seen(v writeVerifier) {
	if u.verifier == v {
		return
	}
	u.lost.addAll(u.written)
	u.written, u.verifier = nil, v
}

// join adds what was known before.
func (u *unsynced) join(before *unsynced) {
	if len(u.written) == 0 {
		u.verifier = before.verifier
	}
	if len(before.written) > 0 && before.verifier == u.verifier {
		u.written.addAll(before.written)
	} else {
		u.lost.addAll(before.written)
	}
	u.lost.addAll(before.lost)
}

// A rangeSet is a set of bytes: ranges in order, that do not touch, maxRanges at most.
type rangeSet []Range

func (s *rangeSet) addAll(other rangeSet) {
	for _, r := range other {
		s.add(r)
	}
}

func (s *rangeSet) add(r Range) {
	at, _ := slices.BinarySearchFunc(*s, r.Off, func(have Range, off int64) int { return cmp.Compare(have.Off+have.Len, off) })
	end := at // those from at to end touch it
	for ; end < len(*s) && (*s)[end].Off <= r.Off+r.Len; end++ {
		last := max(r.Off+r.Len, (*s)[end].Off+(*s)[end].Len)
		r.Off = min(r.Off, (*s)[end].Off)
		r.Len = last - r.Off
	}
	*s = slices.Replace(*s, at, end, r)
	if len(*s) > maxRanges {
		s.thin()
	}
}

// thin makes one of the two ranges that are nearest to one another.
func (s *rangeSet) thin() {
	all, best := *s, 1
	gap := func(i int) int64 { return all[i].Off - all[i-1].Off - all[i-1].Len }
	for i := range all {
		if i > 1 && gap(i) < gap(best) {
			best = i
		}
	}
	all[best-1].Len = all[best].Off + all[best].Len - all[best-1].Off
	*s = slices.Delete(all, best, best+1)
}
