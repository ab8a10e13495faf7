package vmft

import (
	"fmt"
	"time"
)

// A flight is what a leader has besides if its machine is a processor: it runs that between
// two batches of what has come in, on the applier's goroutine, and holds its outputs back.
// The methods of a nil flight do what there is to be done for other machines.
//
// After each turn of running the log is told how far that was (progress), at once if
// something has left on the way: so between two turns the processor stands where the log
// says, and the outputs of a turn wait for one entry.
type flight struct {
	l       *leader
	r       *runner
	pilot   *pilot
	next    move // what was decided
	decided bool

	unsent bool      // the log has something that is not on its way yet
	sent   time.Time // when everything was
	stood  uint64    // the count that the log had told of then

	// Guarded by l.mu.
	held     gate[Output] // that have left the processor
	out      []Output     // that may leave the node
	news     chan struct{}
	progress mileage
	position uint64   // of the processor, after the last entry
	ready    []Output // scratch of release
	notes    []Output // of streams, that may leave
	fetches  fetches

	streams *streamPort // nil: connections are its user's
	courier *courier    // nil: what it is told is logged
}

// sendEvery is how long entries that nobody waits for are kept back, so that the follower is
// sent several at once: each message costs both sides a switch of threads or more, and the
// caches and predictions that go with it. It delays a follower's execution, and no output, and
// is never more than one lagSends of the lag that is all right.
const (
	sendEvery = 10 * time.Millisecond
	lagSends  = 10
)

// routine reports whether an entry is of a kind that nobody waits for but by an output.
func routine(kind byte) bool {
	return kind == kindProgress || kind == kindTimer || kind == kindPreempt
}

// newFlight takes the processor over. What is not known to be done is done again, as soon as
// it may leave.
func newFlight(l *leader) *flight {
	r := l.host.free
	if r == nil {
		return nil
	}
	f := &flight{l: l, r: r, pilot: newPilot(r.p, l.n.cfg.MaxStep), news: make(chan struct{}, 1), position: r.told}
	for _, o := range r.pending() {
		f.held.push(l.host.position, o)
	}
	r.become(true)
	f.fetches.bugs = r.bugs
	f.courier = newCourier(l)
	f.board()
	return f
}

// free returns the runner of a configuration with a processor, and makes it the machine.
func (c *Config) free() *runner {
	if c.Processor == nil {
		return nil
	}
	r := newRunner(c.Processor)
	if c.Network != nil {
		r.p = streamed(c.Processor, c.Network)
		r.fleeting, r.streamed = isNote, true
	}
	r.fetching = c.Fetch != nil
	r.bugs = c.planted.core
	if c.Mode == ModeTransfer {
		r.transfers()
		if m := streamsOf(r.p); m != nil {
			m.table.deltas = true
		}
	}
	c.Machine = r
	return r
}

// interrupt lets the applier look at what has come in.
func (f *flight) interrupt() {
	if f != nil {
		f.r.p.Interrupt()
	}
}

// count puts in front of what was proposed where the processor stands.
func (f *flight) count(data []byte) []byte {
	if f == nil || f.courier != nil {
		return data
	}
	return append(f.r.appendCount(make([]byte, 0, len(data)+10)), data...)
}

// decide returns what the processor does next. l.qmu is held.
func (f *flight) decide() move {
	shown, send := time.Since(f.l.applier.began), time.Duration(-1)
	if f.courier != nil && !f.l.full && f.l.down == nil {
		if send = f.schedule(shown); send == 0 {
			return move{kind: kindDelta}
		}
	}
	m := move{wait: -1} // whoever changes that wakes the applier
	if !f.l.full && !f.l.held && f.l.down == nil && f.r.size <= f.l.n.cfg.BufferBytes {
		m = f.pilot.next(f.r.p, shown)
	}
	if m.wait != 0 && send > 0 && (m.wait < 0 || m.wait > send) {
		m.wait = send
	}
	return m
}

// rest returns how long the applier waits for something to come in: not at all if the
// processor runs, without an end if that is negative. l.qmu is held.
func (f *flight) rest() time.Duration {
	if f == nil {
		return -1
	}
	f.next, f.decided = f.decide(), true
	return f.next.wait
}

// doze waits for a while, or until there is something to be done.
func (l *leader) doze(wait time.Duration) {
	if wait < 0 {
		<-l.kick
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-l.kick:
	case <-t.C:
		l.qmu.Lock()
		if !l.idle {
			<-l.kick // at the same moment
		}
		l.idle = false
		l.qmu.Unlock()
	}
}

// turn lets the processor run for a while, or time pass for it.
func (f *flight) turn() {
	if f == nil {
		return
	}
	if !f.decided {
		f.l.qmu.Lock()
		f.next = f.decide()
		f.l.qmu.Unlock()
	}
	f.decided = false
	switch m := f.next; {
	case m.wait != 0:
	case m.kind == kindDelta:
		f.capture()
	case m.kind != 0:
		f.enter(m.kind, m.event)
	default:
		from, began := f.r.p.Position(), time.Now()
		to := f.r.p.Run(m.until)
		f.pilot.took(to-from, time.Since(began))
		if to > from {
			f.enter(kindProgress, nil)
		}
	}
}

// published takes note that all that was logged is on its way. l.mu is held.
func (f *flight) published() {
	if f != nil {
		f.unsent, f.sent, f.stood = false, time.Now(), f.r.told
	}
}

// overdue reports whether what was logged has been kept back for long enough.
func (f *flight) overdue() bool {
	c := &f.l.n.cfg
	return time.Since(f.sent) >= min(sendEvery, c.MaxLag/lagSends) || f.r.told-f.stood >= uint64(c.MaxLagInstructions/lagSends)
}

// hold takes what has left the processor up to an entry, and reports whether that entry has to
// be on its way now. l.mu is held.
func (f *flight) hold(position uint64) (now bool) {
	if f == nil || f.courier != nil {
		return false
	}
	f.position = f.r.told
	f.progress.mark(position, f.position)
	for _, o := range f.r.take() {
		if f.r.bugs.socketEarly && isNote(o.Data) || !f.held.push(position, o) {
			f.leave(o)
		} else {
			now = true
		}
	}
	return f.unsent && (now || f.overdue())
}

// release lets what has waited for a position leave. l.mu is held.
func (f *flight) release(position uint64) {
	if f == nil || f.held.len() == 0 {
		return
	}
	f.ready = f.held.release(position, f.ready[:0])
	for _, o := range f.ready {
		f.leave(o)
	}
	clear(f.ready)
}

// fetched takes note of how far the backup is. l.mu is held.
func (f *flight) fetched() {
	if f != nil {
		f.fetches.see(f.l.core.record.Backup.Incarnation, f.l.applied)
	}
}

// leave hands an output to who has to do with it. l.mu is held.
func (f *flight) leave(o Output) {
	switch {
	case f.streams == nil:
		f.out = append(f.out, o)
		poke(f.news)
	case o.Number == 0 || isNote(o.Data):
		f.notes = append(f.notes, o)
		poke(f.streams.news)
	default:
		o.Data = o.Data[1:] // without the tag
		f.out = append(f.out, o)
		poke(f.news)
	}
}

// stands returns the count that the log has told of. It is called on the applier's goroutine.
func (f *flight) stands() uint64 {
	if f == nil {
		return 0
	}
	return f.r.told
}

// lag returns how far a follower that has applied up to a position is behind, as a time that
// counts as much as so many instructions. l.mu is held.
func (f *flight) lag(applied uint64) time.Duration {
	if f == nil {
		return 0
	}
	c := &f.l.n.cfg
	return time.Duration(float64(f.progress.behind(applied)) / float64(c.MaxLagInstructions) * float64(c.MaxLag))
}

// status adds the processor's part. l.mu is held.
func (f *flight) status(s *Status) {
	if f == nil {
		return
	}
	s.Instructions, s.Held = f.position, s.Held+f.held.len()
	s.LagInstructions = f.progress.behind(f.l.applied)
	if f.streams != nil {
		s.Streams = int(f.streams.count.Load())
	}
	if c := f.courier; c != nil {
		s.Held += len(c.outputs)
		s.Deltas, s.DeltaBytes, s.DeltaPause, s.DeltaPauseMost = c.count, c.size, c.pause, c.longest
	}
}

// astray takes note of how far the processor is, and gives up one that cannot follow the
// log. It is made anew, from an image; if the primary has gone already there is none to make
// it of, and the node has failed.
func (f *follower) astray() bool {
	r := f.host.free
	if r == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count = r.told
	if r.fault == nil {
		return false
	}
	f.n.cfg.Logger.Error("the processor cannot follow the log", "error", r.fault)
	f.n.diverged(f.host.position, r.told)
	if f.core.live {
		f.n.failed(fmt.Errorf("%w: %w", ErrFailed, r.fault))
		return true
	}
	f.core.out = true
	f.look()
	return true
}
