package vmft

import "time"

// clock is the machine's time: the time of the last entry plus what a monotonic clock has
// measured since, but never more than a step. What another node's clock shows is of no
// account: a new primary goes on from the last entry.
type clock struct {
	last  int64         // nanoseconds since 1970
	shown time.Duration // by the monotonic clock at the last advance
	step  time.Duration // the most that one advance adds
}

// advance moves the clock to what the monotonic clock shows now and returns the time.
func (c *clock) advance(shown time.Duration) int64 {
	if elapsed := shown - c.shown; elapsed > 0 {
		c.last += int64(min(elapsed, c.step))
		c.shown = shown
	}
	return c.last
}

// begin takes over at the time of the last entry; the monotonic clock shows what it shows.
func (c *clock) begin(last int64, shown time.Duration) { c.last, c.shown = max(c.last, last), shown }

// machineTime returns a time as machines get it: equal if and only if the logged numbers
// are.
func machineTime(at int64) time.Time { return time.Unix(0, at).UTC() }
