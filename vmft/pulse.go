package vmft

import "time"

// pulse judges by signs of life whether a peer has fallen silent. Silence is added up tick
// by tick, and a tick that is late counts as little more than one: while this process did
// not run itself, it could not have heard anything. A network of its own sends a peer's
// signs while it is well.
//
// On a busy machine signs come late, and so do those of a peer that is well. So the peer is
// given as long as timeout, and no less than a few times the longest silence of late that
// was none: where there is noise patience grows, up to a bound, and where there is none the
// timeout is what counts.
//
// Invariant: gap is at most what the bound of the patience makes of it.
type pulse struct {
	timeout time.Duration // the silence after which the peer is suspected
	tick    time.Duration // how often look is called
	last    time.Time     // of look
	silent  time.Duration
	gap     time.Duration // the longest silence that a sign has ended; it is forgotten slowly
}

const (
	gapsAllowed = 3                // silences of the longest length lately make a suspicion
	mostPatient = 4                // timeouts that the patience can grow to
	gapForgets  = 30 * time.Second // after which a gap counts half
)

// heard takes note of a sign of life.
func (p *pulse) heard() {
	p.gap = min(max(p.gap, p.silent), mostPatient*p.timeout/gapsAllowed)
	p.silent = 0
}

// patience is the silence after which the peer is suspected now.
func (p *pulse) patience() time.Duration {
	return min(max(p.timeout, gapsAllowed*p.gap), mostPatient*p.timeout)
}

// skip lets the time since the last look not count.
func (p *pulse) skip(now time.Time) { p.last = now }

// look adds the time since the last look and reports whether the peer is silent for too
// long.
func (p *pulse) look(now time.Time) bool {
	if !p.last.IsZero() {
		passed := min(max(now.Sub(p.last), 0), p.tick+p.tick/2)
		p.silent += passed
		p.gap -= time.Duration(float64(p.gap) * passed.Seconds() / (2 * gapForgets.Seconds()))
	}
	p.last = now
	return p.silent >= p.patience()
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
