package vmft

import "time"

// pace slows the primary when the backup's execution falls too far behind (§2.4). It is the
// paper's slow feedback loop: each look takes away a little of the primary's time while the
// lag is beyond the bound, and gives a little back when it is not.
//
// Invariant: share is from minShare to 1.
type pace struct {
	bound time.Duration // the lag that is all right
	share float64       // of the time that the primary may execute; 0 means it was never set
	marks []mark        // positions and when they were applied here, the oldest first
}

// A mark is when the primary applied a position.
type mark struct {
	position uint64
	at       time.Time
}

const (
	minShare  = 0.02
	maxMarks  = 4096
	paceEvery = 50 * time.Millisecond // how often look is called
)

// applied takes note that the primary has applied a position. One mark a millisecond is
// enough.
func (p *pace) applied(position uint64, now time.Time) {
	if n := len(p.marks); n > 0 && now.Sub(p.marks[n-1].at) < time.Millisecond {
		return
	}
	if len(p.marks) == maxMarks { // the older half gets coarser
		kept := p.marks[:0]
		for i, m := range p.marks {
			if i%2 == 0 || i > maxMarks/2 {
				kept = append(kept, m)
			}
		}
		p.marks = kept
	}
	p.marks = append(p.marks, mark{position, now})
}

// lag returns how long ago the primary applied what the backup, which has applied up to a
// position, applies next.
func (p *pace) lag(position uint64, now time.Time) time.Duration {
	n := 0
	for n < len(p.marks) && p.marks[n].position <= position {
		n++
	}
	p.marks = append(p.marks[:0], p.marks[n:]...)
	if len(p.marks) == 0 {
		return 0
	}
	return now.Sub(p.marks[0].at)
}

// look adjusts the share to a lag, and returns it.
func (p *pace) look(lag time.Duration) float64 {
	if p.share == 0 {
		p.share = 1
	}
	switch {
	case lag > 2*p.bound:
		p.share *= 0.8
	case lag > p.bound:
		p.share *= 0.95
	case lag < p.bound/2:
		p.share = p.share*1.05 + 0.005
	}
	p.share = min(max(p.share, minShare), 1)
	return p.share
}

// rest returns how long the primary pauses after it has executed for a while.
func (p *pace) rest(executed time.Duration) time.Duration {
	if p.share == 0 || p.share >= 1 {
		return 0
	}
	return time.Duration(float64(executed) * (1 - p.share) / p.share)
}

// reset forgets the backup.
func (p *pace) reset() { p.marks, p.share = p.marks[:0], 1 }
