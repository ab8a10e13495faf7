package gfs

import "fmt"

// secondaryWindow is how far ahead of what is applied a mutation may be to be waited for.
const secondaryWindow = 1024

// A secondary puts the mutations of one replica, at one version, into the order of their
// serial numbers (§3.1). Whoever has a mutation offers it, again and again, until it is
// told to apply it, and then says how that went.
//
// Invariants: what is applied is 1, 2, 3, … without gaps and each once; one is applied at
// a time; after one has failed none is applied any more.
type secondary struct {
	version version
	applied uint64 // all up to this are applied
	busy    bool   // applied+1 is being applied
	failed  error  // why it could not be
}

// A turn is what a secondary says of a mutation that it is offered.
type turn uint8

const (
	turnNow   turn = iota // apply it, then call done
	turnLater             // others have to be applied first, or this one is being: wait
	turnPast              // it has been applied
	turnNever             // it will not be: the error says why
)

// offer says what to do with a mutation.
func (s *secondary) offer(v version, serial uint64) (turn, error) {
	switch {
	case v != s.version:
		return turnNever, fmt.Errorf("%w: mutation at version %d of a replica at %d", ErrStale, v, s.version)
	case serial == 0 || serial > s.applied+secondaryWindow:
		return turnNever, s.gap(serial)
	case serial <= s.applied:
		return turnPast, nil
	case s.failed != nil:
		return turnNever, s.failed
	case serial > s.applied+1 || s.busy:
		return turnLater, nil
	default:
		s.busy = true
		return turnNow, nil
	}
}

// gap is the answer to a mutation whose predecessors have not come.
func (s *secondary) gap(serial uint64) error {
	return fmt.Errorf("%w: mutation %d, after %d", errGap, serial, s.applied)
}

// done ends the turn of the mutation that was to be applied at a version. If the replica
// has come to another since, nothing is waiting for it.
func (s *secondary) done(v version, err error) {
	if v != s.version {
		return
	}
	s.busy = false
	if err != nil {
		s.failed = err
		return
	}
	s.applied++
}

// raise makes it the secondary of another version: serial numbers start again, and the
// turn that is under way is over.
func (s *secondary) raise(v version) {
	if v != s.version {
		*s = secondary{version: v}
	}
}
