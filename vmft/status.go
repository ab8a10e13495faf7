package vmft

import (
	"sync/atomic"
	"time"
)

// stats are counts of a node's life.
type stats struct {
	stops  atomic.Uint64 // times that the primary stood still for its buffer
	logged atomic.Int64  // bytes on the logging channel
	checks atomic.Uint64 // hashes that were compared
	clones atomic.Uint64
	pause  atomic.Int64 // of the last clone, in nanoseconds
	copied atomic.Int64 // how long that took in all
}

func (s *stats) paused(d time.Duration) { s.pause.Store(int64(d)) }

func (s *stats) cloned(d time.Duration) {
	s.clones.Add(1)
	s.copied.Store(int64(d))
}

// A Role is what a node is at a time.
type Role string

// The roles.
const (
	RolePrimary   Role = "primary"   // its outputs leave
	RoleBackup    Role = "backup"    // it follows, and would go live
	RoleCandidate Role = "candidate" // it follows, and is not a member yet
	RoleSpare     Role = "spare"     // it looks for a primary
	RoleEnded     Role = "ended"     // it is closed, or has failed
)

// A Change is one in the chain of epochs, as a node has seen it, or a step of its own on
// the way to the next: it suspects the primary, it claims, it is live.
type Change struct {
	At     time.Time // on this node's clock
	Record Record
	Note   string // what it meant for the node, or what the node did in it, if anything
}

// maxHistory is how many changes a node remembers.
const maxHistory = 256

// Status is what a node tells about itself.
type Status struct {
	Addr   string
	Role   Role
	Self   Member
	Newest Record // of the chain, as far as the node knows

	Applied  uint64        // the last position that the machine has executed
	Released uint64        // the last one whose output may have left; on a primary
	Acked    uint64        // the last one that the backup has acknowledged, or this backup has
	Synced   uint64        // the last one in the journal, if there is one
	Lag      time.Duration // of the backup's execution; on a primary
	Silence  time.Duration // the longest of the peer's lately after which it was heard: how noisy it is
	Share    float64       // of its time that the primary may execute: 1 unless it is slowed

	Instructions    uint64 // that a Processor has retired, as far as the log has told
	LagInstructions uint64 // how many of them the backup is behind; on a primary
	Streams         int    // that it has; on a primary

	Mode           Mode          // how the backup is kept
	Deltas         uint64        // that this primary has sent, under ModeTransfer
	DeltaBytes     int64         // of the last
	DeltaPause     time.Duration // for which it interrupted the processor
	DeltaPauseMost time.Duration // the longest of these

	Queued    int   // proposals that wait to be taken up
	Pending   int   // proposals that were taken up and not answered
	Held      int   // batches of outputs that wait for the backup or the journal
	KeptBytes int64 // of the log, kept for the backup; or received and not executed
	Stops     uint64
	LogBytes  int64 // sent on the logging channel since the start

	Clones    uint64        // backups that this node has made
	LastPause time.Duration // for which the last of them interrupted the machine
	LastClone time.Duration // that it took in all
	Checks    uint64        // hashes of the state that were compared
	Diverged  uint64        // the position at which they last differed; 0: they never did
	// DivergedInstructions is how many instructions a Processor had retired there.
	DivergedInstructions uint64

	Arbiter  error             // why the arbiter could not be asked, the last time
	Refusals map[string]string // why peers do not want to be followed by this node
	History  []Change          // the oldest first
	Err      error             // why the node has ended
}

// Status returns the state of the node.
func (n *Node) Status() Status {
	s := n.brief()
	n.mu.Lock()
	defer n.mu.Unlock()
	s.History = append(s.History, n.history...)
	s.Refusals = make(map[string]string)
	for addr, why := range n.refusals {
		if why != "" {
			s.Refusals[addr] = why
		}
	}
	return s
}

// brief returns the state without what grows.
func (n *Node) brief() Status {
	s := Status{
		Addr: n.addr, Stops: n.stats.stops.Load(), LogBytes: n.stats.logged.Load(), Clones: n.stats.clones.Load(), Share: 1, Mode: n.cfg.Mode,
		LastPause: time.Duration(n.stats.pause.Load()), LastClone: time.Duration(n.stats.copied.Load()), Checks: n.stats.checks.Load(),
	}
	n.mu.Lock()
	f := n.follower
	s.Newest, s.Arbiter, s.Err, s.Diverged = n.newest, n.arbiter, n.err, n.diverge
	s.DivergedInstructions = n.divergedAt
	n.mu.Unlock()
	s.Silence = n.detector.noise()
	l := n.leading.Load()
	switch {
	case n.ctx.Err() != nil:
		s.Role = RoleEnded
	case l != nil && l.term.Err() == nil:
		l.status(&s)
	case f != nil:
		f.status(&s)
	default:
		s.Role = RoleSpare
	}
	return s
}

func (l *leader) status(s *Status) {
	l.qmu.Lock()
	s.Queued, s.Pending = len(l.queue), l.pending
	l.qmu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Role, s.Self, s.Newest = RolePrimary, l.core.self, l.core.record
	s.Applied, s.Released, s.Acked = l.started.Load(), l.core.released, l.core.peer.acked
	if l.store != nil {
		s.Synced = l.core.synced
	}
	s.Lag, s.Held, s.KeptBytes = l.lag, l.outputs.len(), l.keptSize
	if l.pace.share > 0 {
		s.Share = l.pace.share
	}
	l.flight.status(s)
}

func (f *follower) status(s *Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Self, s.Applied, s.Acked, s.KeptBytes = f.core.self, f.core.applied, f.core.acked, f.queued
	s.Instructions = f.count
	if f.core.durable() {
		s.Synced = f.core.synced
	}
	switch {
	case f.core.joined():
		s.Role = RoleBackup
	case !f.core.primary.IsZero():
		s.Role = RoleCandidate
	default:
		s.Role = RoleSpare
	}
	if f.core.record.Epoch > s.Newest.Epoch {
		s.Newest = f.core.record
	}
}

// note takes note of a record of the chain.
func (n *Node) note(r Record, what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Epoch < n.newest.Epoch || r == n.newest && what == "" {
		return
	}
	n.newest = r
	if len(n.history) == maxHistory {
		n.history = append(n.history[:0], n.history[1:]...)
	}
	n.history = append(n.history, Change{At: time.Now(), Record: r, Note: what})
}

// diverged takes note that two machines with one log have different states, and of where a
// processor stood.
func (n *Node) diverged(position, instructions uint64) {
	n.cfg.Logger.Error("the states of primary and backup differ: the machine is not deterministic", "position", position, "instructions", instructions)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.diverge, n.divergedAt = position, instructions
}
