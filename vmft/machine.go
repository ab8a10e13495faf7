package vmft

import (
	"io"
	"slices"
	"time"
)

// Machine is a deterministic state machine. Everything that it does follows from the
// commands, their positions and their times alone: it reads no clock, no random source and
// nothing else that differs from node to node, and lets no order of a map decide.
//
// A node calls its methods from one goroutine at a time.
type Machine interface {
	// Apply carries out a command, appends its output to dst and returns the result, as
	// append does. index and at never go back. cmd is borrowed: it may be neither changed
	// nor kept. A command that cannot be carried out is one whose output says so.
	Apply(index uint64, at time.Time, cmd, dst []byte) []byte
	// Freeze returns an image of the machine as it is now. It returns within milliseconds:
	// the image is written by WriterTo, once, on another goroutine and while Apply goes on,
	// and is not disturbed by it. Two machines with one log have equal images.
	Freeze() (io.WriterTo, error)
	// Restore replaces the state of the machine by that of an image, also when it has been
	// in use. It need not leave anything usable behind when it fails.
	Restore(r io.Reader) error
	// Fingerprint names the code and the format of commands and images. Two machines with
	// one fingerprint turn the same log into the same state.
	Fingerprint() string
}

// A Reader is a Machine that answers [Client.Query]. Query is called concurrently with
// Apply and with itself; query is borrowed.
type Reader interface {
	// Query appends the answer to dst, or fails. It may change nothing.
	Query(query, dst []byte) ([]byte, error)
}

// kinds of entries.
const (
	kindCommand = 1 // of a user of the node's Log
	kindCall    = 2 // of a client: for the duplicate table before the machine
	kindEpoch   = 3 // a primary has gone live
	kindCheck   = 4 // both sides hash their state here
	kindOff     = 5 // the last of all: the machine is switched off
)

// An entry is one in the log.
type entry struct {
	kind byte
	at   int64 // nanoseconds since 1970
	data []byte
}

// host is the machine with what the log itself keeps.
type host struct {
	machine  Machine
	upgrades []string // fingerprints of versions whose images the machine restores
	sessions Machine  // the duplicate table with the machine behind it; its images hold both
	free     *runner  // the machine, if it is free-running; else nil
	position uint64   // of the last entry that was applied
	at       int64    // its time
}

// apply executes the entry at the next position.
func (h *host) apply(e entry, dst []byte) []byte {
	h.position++
	h.at = max(h.at, e.at)
	switch e.kind {
	case kindCommand:
		return h.machine.Apply(h.position, machineTime(e.at), e.data, dst)
	case kindCall:
		return h.sessions.Apply(h.position, machineTime(e.at), e.data, dst)
	}
	if e.kind >= kindProgress && h.free != nil {
		return h.free.apply(e, dst)
	}
	return dst
}

// fault returns why the machine is not what the log says any more.
func (h *host) fault() error {
	if h.free == nil {
		return nil
	}
	return h.free.fault
}

func (h *host) fingerprint() string { return h.machine.Fingerprint() }

// accepts reports whether the machine can restore an image of a version.
func (h *host) accepts(fingerprint string) bool {
	return fingerprint == h.fingerprint() || slices.Contains(h.upgrades, fingerprint)
}
