package statelog

import (
	"slices"
	"time"
)

const (
	// settleEvery is how many answered commands gather, at most, before their room is
	// given to others.
	settleEvery = 32
	// keepScratch is the largest buffer for outputs that is kept.
	keepScratch = 1 << 20
)

// applier is what the goroutine that applies commands keeps for itself.
type applier struct {
	stopped bool // guarded by Solo.mu: there will be no more commands
	clock   clock
	began   time.Time // when clock showed 0
	index   uint64    // the last index that was given away
	logged  int64     // bytes since the last image
	scratch []byte    // an output, before it is its caller's
	header  [recordOverhead]byte

	answered int   // commands that were answered and still take room
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
		l.mu.Lock()
		l.settleAnswered()
		l.spare = batch[:0]
		l.mu.Unlock()
		l.freezeIfDue()
	}
}

// take waits for commands, or for another reason to look around, and takes all that
// are queued. It returns false when there will be no more.
func (l *Solo) take() (batch []*proposal, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.images.due() {
		if l.applier.stopped {
			return nil, false
		}
		l.idle = true
		l.mu.Unlock()
		<-l.kick
		l.mu.Lock()
	}
	batch, l.queue, l.spare = l.queue, l.spare, nil
	l.taken++
	return slices.DeleteFunc(batch, func(p *proposal) bool { return p.withdrawn }), true
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
			for _, p := range batch[i:] {
				l.refuse(p, ErrNotLogged, l.reason())
			}
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

// reason returns why there is no more service.
func (l *Solo) reason() error { return *l.down.Load() }

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
		l.refuse(p, ErrUnknown, lost)
	case free:
		a.answered++
		a.bytes += p.size
		p.done <- struct{}{} // p may be another's from here on
		if a.answered == settleEvery {
			l.mu.Lock()
			l.settleAnswered()
			l.mu.Unlock()
		}
	}
}

// settleAnswered gives away the room of what has been answered. l.mu is held.
func (l *Solo) settleAnswered() {
	a := &l.applier
	if a.answered > 0 {
		l.settle(a.answered, a.bytes)
	}
	a.answered, a.bytes = 0, 0
}
