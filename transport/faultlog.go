package transport

import (
	"fmt"
	"sync"
	"time"
)

// A Fault is something bad that happened, or the end of it.
type Fault struct {
	At   time.Duration // since the network was made
	Kind FaultKind
	// From and To are the link, or From alone the host. Both are empty for
	// what concerns the whole network.
	From, To string
	// Index is the number of the packet on the link, or of the connection.
	Index  uint64
	Detail string // the sides of a partition, a link's new shape
}

// String describes f in one line.
func (f Fault) String() string {
	s := fmt.Sprintf("%v %v", f.At, f.Kind)
	if f.From != "" {
		s += " " + f.From
	}
	if f.To != "" {
		s += fmt.Sprintf(" → %s", f.To)
	}
	switch f.Kind {
	case FaultCut, FaultLoss, FaultDuplicate, FaultReorder, FaultOverflow, FaultReset, FaultBreak:
		s += fmt.Sprintf(" #%d", f.Index)
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// A FaultKind says what happened.
type FaultKind uint8

// The kinds of faults. Those of one packet or connection are counted each time.
const (
	FaultPartition       FaultKind = iota + 1 // Partition was called
	FaultPartitionOneWay                      // PartitionOneWay was called
	FaultHeal                                 // Heal was called
	FaultHold                                 // Hold was called
	FaultRelease                              // Release was called
	FaultLink                                 // SetLink was called
	FaultCrash                                // a host crashed
	FaultRestart                              // a host is back
	FaultPause                                // a host paused
	FaultResume                               // a host goes on
	FaultReset                                // a connection was reset, by a verdict or by Reset
	FaultBreak                                // a connection was broken by BreakAfter
	FaultCut                                  // a packet met a partition, or a host that is silent
	FaultLoss                                 // a packet was lost by a verdict
	FaultDuplicate                            // a packet was doubled
	FaultReorder                              // a packet was delayed
	FaultOverflow                             // a packet met a full queue
	faultKinds
)

// String returns the kind's name.
func (k FaultKind) String() string {
	names := [faultKinds]string{
		"", "partition", "one-way partition", "heal", "hold", "release", "link", "crash", "restart",
		"pause", "resume", "reset", "break", "cut", "loss", "duplicate", "reorder", "overflow",
	}
	if k == 0 || k >= faultKinds {
		return fmt.Sprintf("FaultKind(%d)", uint8(k))
	}
	return names[k]
}

// A faultLog remembers the latest faults and counts all.
type faultLog struct {
	limit int

	mu     sync.Mutex // guards the rest
	faults []Fault    // a ring once it is full
	oldest int
	counts [faultKinds]uint64
}

// add notes f, which happened at now on the network's clock.
func (l *faultLog) add(now time.Duration, f Fault) {
	f.At = now - epoch
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[f.Kind]++
	if len(l.faults) < l.limit {
		l.faults = append(l.faults, f)
		return
	}
	l.faults[l.oldest] = f
	l.oldest = (l.oldest + 1) % l.limit
}

// Faults returns the latest faults, oldest first, as many as
// NetworkConfig.FaultLog says.
func (n *Network) Faults() []Fault {
	n.log.mu.Lock()
	defer n.log.mu.Unlock()
	return append(append([]Fault(nil), n.log.faults[n.log.oldest:]...), n.log.faults[:n.log.oldest]...)
}

// FaultCount returns how many faults of the kind there have been.
func (n *Network) FaultCount(kind FaultKind) uint64 {
	if kind >= faultKinds {
		return 0
	}
	n.log.mu.Lock()
	defer n.log.mu.Unlock()
	return n.log.counts[kind]
}
