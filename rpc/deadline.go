package rpc

import (
	"sync"
	"time"
)

// A streamDeadline is a deadline that can be waited for with a channel and moved
// at any time. The zero value is no deadline.
type streamDeadline struct {
	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	passed chan struct{} // closed once the deadline has passed
}

// set moves the deadline to t; the zero time is none.
func (d *streamDeadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // the timer has fired; let it finish with the old channel
	}
	d.timer = nil
	closed := d.passed != nil && isClosed(d.passed)
	if d.passed == nil || closed {
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

// isSet reports whether there is a deadline.
func (d *streamDeadline) isSet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.timer != nil || d.passed != nil && isClosed(d.passed)
}

// wait returns a channel that is closed when the deadline passes.
func (d *streamDeadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
