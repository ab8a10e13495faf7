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
		// Those who have just been answered ask again: let them in before the next
		// batch begins. It is the difference between one fsync a round of callers and
		// two.
		runtime.Gosched()
	}
}
