package vmft

import "time"

// A pilot decides, on the primary, what a processor does next: how far it runs before the
// world is looked at again, when time passes for it, when another thread gets its turn. What
// it decides goes into the log, so it may depend on anything.
//
// The processor's time follows the primary's monotonic clock: it is never more than a
// millisecond behind while it runs, since the rest is skipped, and may be ahead, since
// instructions take the time that they take. What was missed between two primaries, or
// while this process did not run, is left out beyond a step.
type pilot struct {
	step  time.Duration // the most that is skipped at once
	slice time.Duration // of running, after which a Preempter is told to; 0: it is none
	base  time.Duration // what the monotonic clock showed at the processor's time 0
	turn  uint64        // instructions until the next look
	ran   time.Duration // since the last preemption

	skipped bool // the last move: whatever it has missed, it runs before it misses more
}

// A move is what the processor does next: an event if kind is not 0, else running if until
// is not 0, else waiting: for as long, or until something comes in if that is negative.
type move struct {
	kind  byte
	event []byte
	until uint64
	wait  time.Duration
}

const (
	pilotLag   = time.Millisecond       // that the processor's time may be behind
	pilotTurn  = 500 * time.Microsecond // that a turn should take
	leastTurn  = 1 << 10                // instructions
	mostTurn   = 1 << 24
	pilotSlice = 10 * time.Millisecond
)

// newPilot returns the pilot of a processor that is taken over while the monotonic clock
// shows 0.
func newPilot(p Processor, step time.Duration) *pilot {
	n := &pilot{step: step, base: -p.Now(), turn: 1 << 16}
	if _, ok := p.(Preempter); ok {
		n.slice = pilotSlice
	}
	return n
}

// next returns what the processor does when the monotonic clock shows so much.
func (n *pilot) next(p Processor, shown time.Duration) move {
	if _, exited := p.Exited(); exited {
		return move{wait: -1}
	}
	wake, idle := p.Idle()
	if !idle {
		wake = 0
	}
	behind := shown - n.base - p.Now()
	switch {
	case idle && wake < 0:
		return move{wait: -1}
	case idle && behind < wake:
		return move{wait: wake - behind}
	case idle, behind > pilotLag && !n.skipped:
		n.skipped = !idle
		if behind > n.step+wake { // whatever has stood still, it was not the processor
			n.base += behind - n.step - wake
			behind = n.step + wake
		}
		return move{kind: kindTimer, event: p.Skip(max(behind, wake))}
	case n.slice > 0 && n.ran >= n.slice:
		n.ran = 0
		return move{kind: kindPreempt, event: p.(Preempter).Preempt()}
	}
	n.skipped = false
	return move{until: p.Position() + n.turn}
}

// took takes note of how long so many instructions took.
func (n *pilot) took(instructions uint64, d time.Duration) {
	n.ran += d
	switch {
	case d > 2*pilotTurn && instructions > 0:
		n.turn = max(n.turn/2, leastTurn)
	case d < pilotTurn/2 && instructions >= n.turn:
		n.turn = min(2*n.turn, mostTurn)
	}
}

// A mileage tells how many instructions a follower is behind: it has the counts that belong
// to positions of the log, the oldest first.
//
// Invariant: both rise.
type mileage struct{ marks []milestone }

type milestone struct{ position, count uint64 }

// mark takes note that the entry at a position is at a count.
func (m *mileage) mark(position, count uint64) {
	if n := len(m.marks); n > 0 && position <= m.marks[n-1].position {
		return
	}
	if len(m.marks) >= maxMarks { // every other one is enough
		kept := m.marks[:0]
		for i := 1; i < len(m.marks); i += 2 {
			kept = append(kept, m.marks[i])
		}
		m.marks = kept
	}
	m.marks = append(m.marks, milestone{position, count})
}

// behind returns how many instructions come after a position, as far as is known.
func (m *mileage) behind(position uint64) uint64 {
	n := 0
	for n+1 < len(m.marks) && m.marks[n+1].position <= position {
		n++
	}
	m.marks = append(m.marks[:0], m.marks[n:]...)
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1].count - m.marks[0].count
}
