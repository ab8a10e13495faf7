package vmft

import (
	"math"
	"runtime"
	"slices"
	"time"
)

// keepScratch is the largest buffer for outputs that is kept.
const keepScratch = 1 << 20

// applier is what the goroutine that applies commands keeps for itself.
type applier struct {
	clock   clock
	began   time.Time // when clock showed 0
	scratch []byte    // an output, before it is its caller's
	spare   buffers   // for batches
	outs    [][]byte  // of the batch
}

// apply is the goroutine that gives commands their places in the log and executes them.
func (l *leader) apply() {
	if l.dirty != nil {
		defer close(l.dirty)
	}
	l.note(kindEpoch, []byte(l.host.fingerprint()))
	for {
		l.busy.Store(0)
		b, taken, jobs, ok := l.take()
		if !ok {
			l.flight.stamp() // for what still waits
			l.flush()
			return
		}
		began := time.Now()
		l.busy.Store(began.UnixNano())
		for _, job := range jobs {
			job()
		}
		switch {
		case taken.count == 0:
		case l.flight.transfers() != nil:
			l.flight.tell(&b, taken)
		default:
			l.log(&b, taken, true)
		}
		l.flight.turn()
		l.rest(time.Since(began))
	}
}

// take waits for commands, or for something else to do between two of them, and takes up
// those that there is room for, in a batch. It returns false when there will be no more.
func (l *leader) take() (b batch, taken crowd, jobs []func(), ok bool) {
	l.qmu.Lock()
	defer l.qmu.Unlock()
	for {
		if jobs, l.jobs = l.jobs, nil; len(jobs) > 0 {
			return b, taken, jobs, true
		}
		if n, size := l.admit(); n > 0 {
			b, taken = l.batch(n, size)
			if taken.count > 0 {
				return b, taken, nil, true
			}
			continue // they were all withdrawn
		}
		if l.down != nil {
			return b, taken, nil, false
		}
		wait := l.flight.rest()
		if wait == 0 { // the processor runs
			return b, taken, nil, true
		}
		l.idle = true
		l.qmu.Unlock()
		l.flush()
		l.doze(wait)
		l.qmu.Lock()
		l.gather()
	}
}

// gather lets those who are about to propose do so first, so that all come into one batch,
// for as long as some do. l.qmu is held on entry and on return.
func (l *leader) gather() {
	for range maxYields {
		n := len(l.queue)
		if n == 0 || l.lately+l.pending < 2 && n < 2 {
			return // nobody else is here
		}
		l.qmu.Unlock()
		runtime.Gosched()
		l.qmu.Lock()
		if len(l.queue) == n {
			return
		}
	}
}

// maxYields bounds how often the applier waits for others.
const maxYields = 4

// admit returns how many proposals at the head of the queue there is room for, and the
// bytes of their batch. l.qmu is held.
func (l *leader) admit() (n, size int) {
	if l.full || l.held {
		return 0, 0
	}
	c := &l.n.cfg
	pending, bytes, space := l.pending, l.bytes, l.space()
	for _, p := range l.queue {
		if p.queued {
			if need := batchHead + size + len(p.cmd) + entryOverhead; need > space {
				if size == 0 {
					l.fill()
				}
				break
			}
			if pending > 0 && (pending >= c.MaxPending || bytes+p.size > c.MaxPendingBytes) || size > 0 && int64(size)+p.size > maxBatch {
				break
			}
			pending++
			bytes += p.size
			size += len(p.cmd) + entryOverhead
		}
		n++
	}
	return n, size
}

// space returns how many bytes the next batch may have: what the buffer for the follower
// has room for, and as much as it likes while that is empty.
func (l *leader) space() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cloning || l.keptSize == 0 {
		return math.MaxInt
	}
	return int(l.n.cfg.BufferBytes - l.keptSize)
}

// fill says that the buffer for the follower has no room for what comes next. l.qmu is held.
func (l *leader) fill() {
	l.mu.Lock()
	l.full, l.stopped = true, true
	l.mu.Unlock()
	l.n.stats.stops.Add(1)
}

// entryOverhead is the most that an entry is larger than its data.
const entryOverhead = 6

// batch makes a batch of the first n proposals of the queue, whose commands it copies: they
// are their callers' again. l.qmu is held.
func (l *leader) batch(n, size int) (b batch, taken crowd) {
	b = l.begin(size)
	for _, p := range l.queue[:n] {
		if !p.queued {
			continue
		}
		p.queued = false
		l.pending++
		l.bytes += p.size
		kind, data := p.kind, p.cmd
		if kind == kindFetched {
			kind, data = l.fetchable(p, b.first+uint64(taken.count))
		}
		b.data = addEntry(b.data, kind, l.flight.count(data))
		p.cmd = nil
		taken.add(p)
	}
	l.queue = slices.Delete(l.queue, 0, n)
	b.last = b.first + uint64(taken.count) - 1
	endBatch(b.data, taken.count)
	return b, taken
}

// begin returns an empty batch of now, with room for so many bytes.
func (l *leader) begin(size int) batch {
	a := &l.applier
	b := batch{first: l.host.position + 1, at: a.clock.advance(time.Since(a.began))}
	b.data = beginBatch(a.spare.get(batchHead+size), b.first, b.at)
	return b
}

// note logs an entry that nobody waits for.
func (l *leader) note(kind byte, data []byte) {
	b := l.begin(len(data) + entryOverhead)
	b.data = addEntry(b.data, kind, data)
	b.last = b.first
	endBatch(b.data, 1)
	l.log(&b, crowd{}, !routine(kind))
}

// log hands a batch to the journal and the follower, executes it, and holds its outputs
// back. One that is not urgent goes when somebody waits for it, or in company.
func (l *leader) log(b *batch, outputs crowd, urgent bool) {
	if l.store != nil {
		if err := l.store.append(b); err != nil {
			l.fail(err)
			l.refuse(outputs, ErrUnknown, err)
			return
		}
	}
	l.mu.Lock()
	l.running = outputs // a command that hangs does not keep its caller beyond the term
	over := l.over()
	l.core.append(b.last)
	kept := l.cloning || l.core.waits() || !l.core.peer.member.IsZero() // a stream that is down comes back
	if kept {
		l.kept = append(l.kept, *b)
		l.keptSize += int64(len(b.data))
	}
	if urgent {
		l.publish()
	} else {
		l.flight.unsent = true
	}
	l.mu.Unlock()
	if over != nil {
		l.refuse(outputs, ErrUnknown, over)
		return
	}
	l.execute(b, outputs.count)
	if err := l.host.fault(); err != nil {
		l.fail(err)
		return
	}

	l.mu.Lock()
	l.pace.applied(b.last, time.Now())
	if l.over() != nil {
		l.mu.Unlock() // who has ended the term has answered them
		return
	}
	l.running = crowd{}
	l.reuse(b, kept)
	p := outputs.first
	for i, out := range l.applier.outs {
		p.index, p.out = b.first+uint64(i), out
		p = p.next
	}
	free := outputs.count > 0 && !l.outputs.push(b.last, outputs)
	if l.flight.hold(b.last) {
		l.publish()
	}
	released := l.settle()
	if free {
		released.join(outputs)
	}
	l.bound()
	l.mu.Unlock()
	l.deliver(released)
	l.room()
}

// publish has the journal made safe, and the follower sent, all that was logged. It is called
// by the applier. l.mu is held.
func (l *leader) publish() {
	l.flight.published()
	if l.dirty != nil {
		poke(l.dirty)
	}
	l.session.wake()
}

// flush is publish before the applier pauses.
func (l *leader) flush() {
	if f := l.flight; f != nil && f.unsent {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.publish()
	}
}

// reuse has the memory of a batch that was executed used again, if it is not kept for the
// follower. l.mu is held.
func (l *leader) reuse(b *batch, kept bool) {
	l.executed = b.last
	if !kept || b.last <= l.trimmed {
		l.spare.put(b.data)
	}
	if len(l.applier.spare.free) == 0 {
		l.spare, l.applier.spare = l.applier.spare, l.spare
	}
}

// execute applies a batch, and keeps the outputs, if anybody waits for them.
func (l *leader) execute(b *batch, wanted int) {
	a := &l.applier
	clear(a.outs)
	a.outs = a.outs[:0]
	b.each(func(e entry) {
		l.started.Store(l.host.position + 1)
		a.scratch = l.host.apply(e, a.scratch[:0])
		if wanted > 0 {
			var out []byte
			if len(a.scratch) > 0 {
				out = slices.Clone(a.scratch)
			}
			a.outs = append(a.outs, out)
		}
		if cap(a.scratch) > keepScratch {
			a.scratch = nil
		}
	})
}

// rest pauses, if the backup is too far behind.
func (l *leader) rest(executed time.Duration) {
	l.mu.Lock()
	d := l.pace.rest(executed)
	l.mu.Unlock()
	if d <= 0 {
		return
	}
	l.flush()
	l.busy.Store(0)
	t := time.NewTimer(min(d, paceEvery))
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.term.Done():
	}
}

// bound gives a clone up that needs more of the log than there is room for. l.mu is held.
func (l *leader) bound() {
	if l.cloning && l.keptSize > l.n.cfg.CloneBytes {
		l.n.cfg.Logger.Warn("a clone is given up: the log has outgrown Config.CloneBytes", "bytes", l.keptSize)
		l.core.lose()
		l.drop()
	}
}

// room lets the applier go on that has stopped, when half of what is kept for the follower
// has been acknowledged (§2.4). It stops it when more is kept than may be: of a clone more
// may be than of a backup.
func (l *leader) room() {
	l.mu.Lock()
	kept, cloning, full := l.keptSize, l.cloning, l.stopped
	l.stopped = !cloning && (kept > l.n.cfg.BufferBytes || full && kept > l.n.cfg.BufferBytes/2)
	changed := l.stopped != full
	l.mu.Unlock()
	if !changed {
		return
	}
	l.qmu.Lock()
	l.mu.Lock()
	l.full = l.stopped
	l.mu.Unlock()
	if !l.full {
		l.wake()
	}
	l.qmu.Unlock()
	if !full {
		l.n.stats.stops.Add(1)
	}
}

// do runs f on the applier's goroutine, between two batches.
func (l *leader) do(f func()) {
	l.qmu.Lock()
	defer l.qmu.Unlock()
	if l.down == nil {
		l.jobs = append(l.jobs, f)
		l.wake()
	}
}

// syncs is the goroutine that makes the journal safe, and releases what has waited for it.
func (l *leader) syncs() {
	for range l.dirty {
		if !l.syncAll() {
			return
		}
	}
	l.syncAll()
}

func (l *leader) syncAll() bool {
	last := uint64(0)
	for {
		position, err := l.store.sync()
		if err != nil {
			l.fail(err)
			return false
		}
		if position == last {
			return true
		}
		last = position
		l.mu.Lock()
		l.core.sync(position)
		released := l.settle()
		awaits := l.flight.awaits()
		l.mu.Unlock()
		l.deliver(released)
		l.nudge(awaits)
		if l.store.logged.Load() >= l.n.cfg.CheckpointBytes {
			l.store.logged.Store(0)
			l.do(func() {
				l.flight.stamp()
				l.n.checkpoint(l.term, l.store, l.host, l.store.journal.Status().Last, &l.work)
			})
		}
	}
}
