package mapreduce

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// ledger is the task table as a Machine, with the schedule beside it while this
// process leads, and with those who wait for changes.
type ledger struct {
	mu       sync.Mutex // guards all that follows
	tasks    *tasks
	schedule *schedule // nil unless this process leads
	history  *history  // of what the schedule has seen
	watchers map[watchKey]chan struct{}

	kick chan struct{} // of capacity 1: the schedule may want something done
}

// watchKey names what one can wait for: a change of what a worker has to do, the end
// of a job, or news of its maps' output. The other fields are zero.
type watchKey struct {
	worker workerID
	job    JobID
	maps   JobID
}

var _ Machine = (*ledger)(nil)

func newLedger() *ledger {
	return &ledger{
		tasks: newTasks(), history: newHistory(DefaultHistory),
		watchers: make(map[watchKey]chan struct{}), kick: make(chan struct{}, 1),
	}
}

// Apply implements Machine.
func (l *ledger) Apply(_ uint64, at time.Time, cmd, dst []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	dst = l.tasks.apply(at, cmd, dst)
	if l.schedule == nil {
		return dst
	}
	effects, now := l.tasks.takeEffects(), time.Now()
	l.history.observe(now, l.tasks, effects)
	l.schedule.observe(now, effects)
	for _, e := range effects {
		l.announce(e)
	}
	l.poke()
	return dst
}

// announce wakes those who wait for what has changed.
func (l *ledger) announce(e effect) {
	switch e.kind {
	case effectStarted, effectStopped, effectWorkerGone:
		l.wake(watchKey{worker: e.worker})
	case effectMapDone, effectMapLost:
		if l.schedule.tells(e.task.job) {
			l.wake(watchKey{maps: e.task.job})
		}
	case effectJobEnded, effectJobWon:
		if e.kind == effectJobEnded {
			l.wake(watchKey{job: e.task.job})
		}
		l.wake(watchKey{maps: e.task.job})
		for id := range l.schedule.workers {
			l.wake(watchKey{worker: id}) // they hold what nobody needs any more
		}
	}
}

func (l *ledger) wake(key watchKey) {
	if c := l.watchers[key]; c != nil {
		close(c)
		delete(l.watchers, key)
	}
}

// watch returns a channel that is closed at the next change. The caller holds mu.
func (l *ledger) watch(key watchKey) <-chan struct{} {
	c := l.watchers[key]
	if c == nil {
		c = make(chan struct{})
		l.watchers[key] = c
	}
	return c
}

// poke has the schedule asked what it wants.
func (l *ledger) poke() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Freeze implements Machine.
func (l *ledger) Freeze() (io.WriterTo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tasks.freeze(), nil
}

// Restore implements Machine. The image may come over a network, which nobody is to wait
// for who wants to know whether this process leads.
func (l *ledger) Restore(r io.Reader) error {
	image, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tasks.restore(bytes.NewReader(image))
}

// Fingerprint implements Machine.
func (l *ledger) Fingerprint() string { return imageFormat }

// begin makes the ledger serve in the epoch that has been logged.
func (l *ledger) begin(cfg scheduleConfig) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks.takeEffects()
	l.tasks.observed = true
	now := time.Now()
	l.history.begin(now, l.tasks)
	l.schedule = newSchedule(cfg, l.tasks, now)
	l.poke()
}

// finish ends the service; whoever waits finds that out.
func (l *ledger) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks.observed = false
	l.tasks.takeEffects()
	l.schedule = nil
	for key := range l.watchers {
		l.wake(key)
	}
}

// log takes in the log of an attempt that runs. The caller holds mu.
func (l *ledger) log(a Attempt, text string) {
	r, ok := l.tasks.running[a]
	if !ok {
		return
	}
	l.history.logged(LogReport{
		Task: taskName(r.kind, r.index), Attempt: a.String(), Worker: l.history.addrs[r.worker], Time: time.Now(), Text: text,
	}, r.job)
}

// step returns what is to be done.
func (l *ledger) step() []action {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.schedule == nil {
		return nil
	}
	return l.schedule.step(time.Now())
}
