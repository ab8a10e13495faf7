package gfs

import (
	"fmt"
	"sync"
	"time"
)

// eventsKept is how many events a master remembers.
const eventsKept = 200

// An event is something that an operator wants to have seen.
type event struct {
	At   time.Time
	What string
}

// An eventLog remembers the last events, for the status page.
type eventLog struct {
	mu     sync.Mutex
	events []event // a ring; next is the oldest once it is full
	next   int
}

func newEventLog() *eventLog { return &eventLog{} }

// addf adds an event.
func (l *eventLog) addf(format string, args ...any) {
	e := event{At: time.Now(), What: fmt.Sprintf(format, args...)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) < eventsKept {
		l.events = append(l.events, e)
		return
	}
	l.events[l.next] = e
	l.next = (l.next + 1) % eventsKept
}

// recent returns the events, the newest first.
func (l *eventLog) recent() []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]event, 0, len(l.events))
	for i := range l.events {
		out = append(out, l.events[(l.next+len(l.events)-1-i)%len(l.events)])
	}
	return out
}
