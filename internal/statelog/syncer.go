package statelog

import "runtime"

// sync is the goroutine that makes the log safe and releases what has waited for
// it. It ends when the applier has, with everything safe, or with the journal.
func (l *Solo) sync() {
	for range l.dirty {
		if !l.syncAll() {
			return
		}
	}
	l.syncAll()
}

// syncAll syncs until there is nothing left to sync; the last call lets the journal
// note that. It reports whether the journal is alive.
func (l *Solo) syncAll() bool {
	var outputs []*proposal
	var readers []chan struct{}
	for {
		l.gather()
		before := l.safe.Load()
		safe, err := l.journal.Sync()
		if err != nil {
			l.fail(err)
			return false
		}
		if safe == before {
			return true
		}
		l.gateMu.Lock()
		outputs, readers = l.gate.reach(safe, outputs[:0], readers[:0])
		l.gateMu.Unlock()
		l.safe.Store(safe)
		l.deliver(outputs)
		for _, ready := range readers {
			close(ready)
		}
	}
}

// maxYields bounds how often the syncer waits for others.
const maxYields = 4

// gather lets those propose first who are about to, for as long as some do: those who
// have just been answered, and ask again, and those who come together. Otherwise the
// first of them would have a sync to themselves, while the others wait for the next: a
// round of callers would take three syncs or four instead of two.
func (l *Solo) gather() {
	for range maxYields {
		before := l.proposals()
		runtime.Gosched()
		if l.proposals() <= before {
			return
		}
	}
}

// proposals returns how many have not been answered.
func (l *Solo) proposals() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) - l.withdrawn + l.pending
}
