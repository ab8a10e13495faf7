package statelog

import (
	"runtime"
	"slices"
	"time"
)

// keepScratch is the largest buffer for outputs that is kept.
const keepScratch = 1 << 20

// applier is what the goroutine that applies commands keeps for itself.
type applier struct {
	stopped bool // guarded by Solo.mu: there will be no more commands
	clock   clock
	began   time.Time // when clock showed 0
	index   uint64    // the last index that was given away
	logged  int64     // bytes since the last image
	scratch []byte    // an output, before it is its caller's
	header  [recordOverhead]byte
	batch   []*proposal

	answered int   // commands of the batch that were answered and still take room
	bytes    int64 // of those
}

// apply is the goroutine that gives commands their places in the log and applies
// them.
func (l *Solo) apply() {
	defer close(l.dirty)
	for {
		batch, ok := l.take()
		if !ok {
			return
		}
		taken := l.append(batch)
		for _, p := range taken {
			l.applyOne(p)
		}
		clear(batch)
		l.settleAnswered()
		l.freezeIfDue()
	}
}

// take waits for commands, or for another reason to look around, and takes up those
// in the queue that there is room for. It returns false when there will be no more.
func (l *Solo) take() (batch []*proposal, ok bool) {
	a := &l.applier
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		a.batch = l.admit(a.batch[:0])
		if len(a.batch) > 0 || l.images.due() {
			return a.batch, true
		}
		if a.stopped {
			return nil, false
		}
		l.idle = true
		l.mu.Unlock()
		<-l.kick
		if l.journal != nil {
			// Who comes first wakes the applier. Those who come with it had better be in
			// the same batch.
			runtime.Gosched()
		}
		l.mu.Lock()
	}
}

// append gives commands their index and time and appends them to the journal,
// whose sync begins while they are being applied. It returns those that are to be
// applied.
func (l *Solo) append(batch []*proposal) []*proposal {
	a := &l.applier
	at := a.clock.advance(time.Since(a.began))
	for i, p := range batch {
		p.at = at
		if l.journal == nil {
			a.index++
			p.index = a.index
			continue
		}
		putRecordHeader(&a.header, kindCommand, at)
		index, err := l.journal.Append(a.header[:], p.cmd)
		if err != nil {
			l.fail(err)
			l.refuse(batch[i:], ErrNotLogged, *l.down.Load())
			batch = batch[:i]
			break
		}
		p.index, a.index = index, index
		a.logged += recordOverhead + p.size
	}
	if l.journal != nil && len(batch) > 0 {
		select {
		case l.dirty <- struct{}{}:
		default: // the syncer has been told and has not looked yet
		}
	}
	return batch
}

// applyOne applies a command.
func (l *Solo) applyOne(p *proposal) {
	a := &l.applier
	l.started.Store(p.index)
	a.scratch = l.cfg.Machine.Apply(p.index, machineTime(p.at), p.cmd, a.scratch[:0])
	if len(a.scratch) > 0 {
		p.out = slices.Clone(a.scratch)
	}
	if cap(a.scratch) > keepScratch {
		a.scratch = nil
	}
	p.cmd = nil

	l.gateMu.Lock()
	p.applied = true
	if p.notify != nil {
		close(p.notify)
	}
	lost := l.lost
	free := lost == nil && l.gate.apply(p.index, p)
	l.gateMu.Unlock()
	switch {
	case lost != nil:
		l.refuse([]*proposal{p}, ErrUnknown, lost)
	case free:
		a.answered++
		a.bytes += p.size
		p.done <- struct{}{} // p may be another's from here on
	}
}

// settleAnswered gives away the room of what has been answered.
func (l *Solo) settleAnswered() {
	a := &l.applier
	if a.answered == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(a.answered, a.bytes)
	a.answered, a.bytes = 0, 0
}
