package nodes

import (
	"context"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// An Event is something that a node has seen or done.
type Event struct {
	Node   string // its address
	At     time.Time
	Role   vmft.Role   // the new one, or ""
	Record vmft.Record // the newest of the chain, as the node knows it
	Note   string
	Ended  bool // there is no node any more
	Killed bool // for somebody has killed it
}

// lookEvery is how often a node's Status is looked at. What is in it has times of its own.
const lookEvery = 5 * time.Millisecond

// Watch tells of what happens to a node, until it or ctx ends.
func Watch(ctx context.Context, n *vmft.Node, tell func(Event)) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var last vmft.Change
	var before vmft.Status
	for {
		s := n.Status()
		news := s.History
		for i := len(news) - 1; i >= 0; i-- {
			if news[i] == last {
				news = news[i+1:]
				break
			}
		}
		for _, c := range news {
			tell(Event{Node: s.Addr, At: c.At, Record: c.Record, Note: c.Note})
			last = c
		}
		if waits := s.Arbiter != nil; waits != (before.Arbiter != nil) {
			note := "the lock is there again, or of no use any more"
			if waits {
				note = fmt.Sprintf("waits for the lock: %v", s.Arbiter)
			}
			tell(Event{Node: s.Addr, At: time.Now(), Record: s.Newest, Note: note})
		}
		if s.Role != before.Role {
			tell(Event{Node: s.Addr, At: time.Now(), Role: s.Role, Record: s.Newest})
		}
		if before = s; s.Role == vmft.RoleEnded {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Text says what has happened.
func (e Event) Text() string {
	switch {
	case e.Killed:
		return "was killed: " + e.Note
	case e.Role != "":
		return "is " + article(e.Role)
	case e.Note != "":
		return e.Note
	}
	return e.Record.String()
}

func article(r vmft.Role) string {
	switch r {
	case vmft.RolePrimary, vmft.RoleBackup:
		return "the " + string(r)
	case vmft.RoleCandidate, vmft.RoleSpare:
		return "a " + string(r)
	}
	return string(r)
}

// leads reports whether an event is a record that was written, told by its primary.
func (e Event) leads() bool { return e.Role == "" && e.Record.Primary.Addr == e.Node }

// Millis shows a time in milliseconds.
func Millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }
