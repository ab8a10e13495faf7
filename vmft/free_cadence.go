package vmft

import "time"

// A cadence decides, on a primary under state transfer, when what has changed is sent. What
// it decides shows in how long outputs wait and in what freezing costs, and nowhere else.
//
// Outputs that somebody may wait for are sent for at once. What only frees a buffer of the
// sender's, as the word that an input has come in, waits for a while, for more to come; and
// what nobody waits for, for an interval. But the processor runs for some times as long as the
// last freezing has taken in any case, so that it never stands still for much of its time.
type cadence struct {
	every  time.Duration // the interval
	last   time.Duration // when the last was frozen, as the monotonic clock shows it
	cost   time.Duration // of freezing, lately
	urgent bool          // somebody waits
	soft   bool          // a buffer does
}

const (
	// softShare is what part of the interval that waits which only frees a buffer.
	softShare = 8
	// freezeShare is how many times as long as freezing has taken the processor runs.
	freezeShare = 3
)

// wants takes note that something waits to be released.
func (c *cadence) wants(urgent bool) {
	c.urgent, c.soft = c.urgent || urgent, true
}

// due returns how long it is until the next is frozen, 0: it is due now.
func (c *cadence) due(shown time.Duration) time.Duration {
	gap := c.every
	switch {
	case c.urgent:
		gap = 0
	case c.soft:
		gap = c.every / softShare
	}
	return max(c.last+max(gap, freezeShare*c.cost)-shown, 0)
}

// took takes note of one that was frozen, and of how long that took.
func (c *cadence) took(shown, cost time.Duration) {
	c.last, c.urgent, c.soft = shown, false, false
	c.cost = (3*c.cost + cost) / 4
}

// urgent reports whether somebody may wait for an output, rather than a buffer.
func urgent(o *Output, streams bool) bool {
	if !streams || !isNote(o.Data) {
		return true
	}
	switch o.Data[0] {
	case noteGot, noteLimit, noteTaken:
		return false
	}
	return true
}
