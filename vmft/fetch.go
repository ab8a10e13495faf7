package vmft

import (
	"bytes"
	"time"
)

// CompleteFetched is Complete with an event that the backup may get by itself, so that it is
// not in the log (§4.2: disk reads on the backup): by Config.Fetch, with name. The event is
// in the log nevertheless if there is no Fetch, or no backup at the time.
//
// The channel is closed when no backup needs what the event was made of any more: because it
// has executed the entry, or has been replaced, or because the event is in the log. Until
// then that must not change. If the term ends first it stays open.
func (p *Port) CompleteFetched(event, name []byte, numbers ...uint64) (<-chan struct{}, error) {
	done := make(chan struct{})
	if p.l.n.cfg.Fetch == nil {
		close(done)
		return done, p.Complete(event, numbers...)
	}
	event = p.tagged(event)
	cmd := appendCompletion(make([]byte, 0, len(event)+10*len(numbers)+10), event, numbers)
	return done, p.l.enqueue(&proposal{
		kind: kindFetched, cmd: cmd, name: bytes.Clone(name), fetched: func() { close(done) },
		size: int64(len(cmd)), queued: true, silent: true, done: make(chan struct{}, 1),
	})
}

// fetchable decides whether the backup fetches an event, at a position, and returns the
// entry. l.qmu is held.
func (l *leader) fetchable(p *proposal, position uint64) (kind byte, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	backup := l.core.record.Backup
	if backup.IsZero() || l.core.peer.member != backup {
		p.fetched()
		return kindCompletion, p.cmd
	}
	data, event := fetchedEntry(p.cmd, p.name)
	l.flight.r.give(event)
	l.flight.fetches.wait(position, backup.Incarnation, p.fetched)
	return kindFetched, data
}

// fetchPause is how long a backup waits before it tries again to fetch an event, at first and
// at last.
const (
	fetchPause     = time.Millisecond
	fetchPauseMost = 100 * time.Millisecond
)

// fetch gets the event of an entry, as often as it takes. It reports false if the node is
// not to execute it any more.
func (f *follower) fetch(e entry) bool {
	_, sum, name, err := parseFetched(e.data)
	if err != nil || f.n.cfg.Fetch == nil {
		return true // which applying it finds out
	}
	var told time.Time
	for attempt, pause := 0, fetchPause; ; attempt, pause = attempt+1, min(2*pause, fetchPauseMost) {
		event, err := f.n.cfg.Fetch(f.ctx, name, attempt)
		if f.ctx.Err() != nil {
			return false
		}
		if err == nil && f.host.free.streamed {
			event = plain(event)
		}
		if err == nil && eventSum(event) == sum {
			f.host.free.give(event)
			return true
		}
		if attempt > 3 && time.Since(told) > f.n.cfg.Stall {
			f.n.cfg.Logger.Warn("what the primary has read cannot be read here; trying again", "error", err)
			told = time.Now()
		}
		if f.n.sleep(f.ctx, pause) != nil {
			return false
		}
	}
}
