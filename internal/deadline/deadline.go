package deadline

import (
	"sync"
	"time"
)

// A Deadline is a moment that can be moved. The zero value is none. Its methods may be
// called concurrently.
type Deadline struct {
	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	passed chan struct{} // closed once the deadline has passed
}

// Set moves the deadline to t; the zero time is none.
func (d *Deadline) Set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // the timer has fired; let it finish with the old channel
	}
	d.timer = nil
	if d.passed == nil || isClosed(d.passed) {
		d.passed = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	passed := d.passed
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(passed) })
	} else {
		close(passed)
	}
}

// IsSet reports whether there is a deadline.
func (d *Deadline) IsSet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.timer != nil || d.passed != nil && isClosed(d.passed)
}

// Wait returns a channel that is closed when the deadline passes. A deadline that is moved
// before it has passed keeps the channel.
func (d *Deadline) Wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

// Passed reports whether the deadline has passed.
func (d *Deadline) Passed() bool { return isClosed(d.Wait()) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
