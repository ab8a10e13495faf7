package vmft

import "time"

// pulse judges by signs of life whether a peer has fallen silent. Silence is added up tick
// by tick, and a tick that is late counts as one: while this process did not run itself, it
// could not have heard anything. A network of its own sends a peer's signs while it is well.
type pulse struct {
	timeout time.Duration // the silence after which the peer is suspected
	tick    time.Duration // how often look is called
	last    time.Time     // of look
	silent  time.Duration
}

// heard takes note of a sign of life.
func (p *pulse) heard() { p.silent = 0 }

// look adds the time since the last look and reports whether the peer is silent for too
// long.
func (p *pulse) look(now time.Time) bool {
	if !p.last.IsZero() {
		p.silent += min(max(now.Sub(p.last), 0), 2*p.tick)
	}
	p.last = now
	return p.silent >= p.timeout
}

// vitals are a node's own: since when it has been busy with what must not take long. A node
// in which one of them hangs gives no sign of life.
type vitals struct {
	stall time.Duration // what is too long
}

// well reports whether nothing hangs: each of the times, since when something is in
// progress, is zero or not too long ago.
func (v vitals) well(now time.Time, since ...time.Time) bool {
	for _, t := range since {
		if !t.IsZero() && now.Sub(t) > v.stall {
			return false
		}
	}
	return true
}
