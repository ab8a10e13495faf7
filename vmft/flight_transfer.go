package vmft

import (
	"context"
	"time"
)

// A courier is what a flight has besides under state transfer. What the processor is told is
// not logged, and what leaves it is held until a delta is logged that has what it follows
// from; inputs are safe at that position, too.
//
// A delta is frozen between two turns. It is written at once if it is short, and else on a
// goroutine of its own, while the processor runs; one after the other is sent, the next when
// the last is safe, and had by who is to become the backup, if there is somebody: it would
// never catch up with large ones otherwise. A primary that is alone and has no journal sends
// none: all is safe that has happened. What it has become meanwhile is in the image that makes
// the next backup.
type courier struct {
	cadence cadence
	part    int // bytes of an entry

	// The applier's.
	changed bool // the processor is not what the log says
	scratch []byte

	// Guarded by l.mu, and so is the cadence.
	flying  *captured // that is being written, or logged
	outputs []Output  // that have left the processor since the last delta
	waiting crowd     // proposals that were done since then
	last    uint64    // position of the last delta
	count   uint64    // of deltas
	size    int64     // bytes of the last
	pause   time.Duration
	longest time.Duration
}

// A captured is a delta on its way into the log, with what waits for it.
type captured struct {
	delta   *runnerDelta
	ready   chan struct{} // closed when it is written
	data    []byte
	err     error
	outputs []Output
	waiting crowd
	count   uint64
}

// inlineDelta is how long a delta may be, about, to be written at once.
const inlineDelta = 256 << 10

// newCourier returns what a flight has under state transfer, or nil.
func newCourier(l *leader) *courier {
	if l.host.free.transfer == nil {
		return nil
	}
	return &courier{cadence: cadence{every: l.n.cfg.TransferEvery}, part: l.n.cfg.planted.part(), last: l.host.position}
}

// part is how many bytes an entry has of a delta.
func (p *planted) part() int {
	if p.deltaPart > 0 {
		return p.deltaPart
	}
	return deltaPart
}

// transfers returns the courier, or nil.
func (f *flight) transfers() *courier {
	if f == nil {
		return nil
	}
	return f.courier
}

// enter tells the processor something, and logs it under replay.
func (f *flight) enter(kind byte, event []byte) {
	if f.courier == nil {
		f.l.note(kind, f.count(event))
		return
	}
	if kind != kindProgress {
		f.r.tell(kind, event, nil)
	}
	f.moved()
}

// tell gives the processor what was proposed, which is in a batch that is not logged. Only
// that the machine is switched off is.
func (f *flight) tell(b *batch, taken crowd) {
	l, c := f.l, f.courier
	l.mu.Lock()
	l.running = taken // an event that hangs does not keep its caller beyond the term
	over := l.over()
	l.mu.Unlock()
	if over != nil {
		l.refuse(taken, ErrUnknown, over)
		return
	}
	outs, off := l.applier.outs[:0], false
	b.each(func(e entry) {
		var out []byte
		if off = off || e.kind == kindOff; e.kind != kindOff {
			out = f.r.tell(e.kind, e.data, nil)
		}
		outs = append(outs, out)
	})
	l.applier.outs, c.changed = outs, true
	l.applier.spare.put(b.data)
	if off {
		f.stamp()
		l.note(kindOff, nil)
	}
	l.mu.Lock()
	if l.over() != nil {
		l.mu.Unlock() // who has ended the term has answered them
		return
	}
	l.running = crowd{}
	p := taken.first
	for _, out := range outs {
		p.index, p.out = l.host.position, out
		c.cadence.wants(!p.silent)
		p = p.next
	}
	if off {
		released := f.entrust(nil, &taken)
		l.mu.Unlock()
		l.deliver(released)
		return
	}
	c.waiting.join(taken)
	l.mu.Unlock()
	f.moved()
}

// moved takes what has left the processor, and lets it go if nobody has to have anything.
func (f *flight) moved() {
	l, c := f.l, f.courier
	f.r.drain()
	c.changed = true
	l.mu.Lock()
	f.gather()
	var released crowd
	if f.lonely() && l.over() == nil {
		released = f.entrust(c.outputs, &c.waiting)
	}
	l.mu.Unlock()
	l.deliver(released)
}

// gather takes what has left the processor. l.mu is held.
func (f *flight) gather() {
	c := f.courier
	for _, o := range f.r.take() {
		c.cadence.wants(urgent(&o, f.streams != nil))
		c.outputs = append(c.outputs, o)
	}
	f.position = f.r.p.Position()
}

// lonely reports whether nobody and nothing has to have what has changed. l.mu is held.
func (f *flight) lonely() bool { return !f.l.cloning && f.bare() }

// bare reports whether nobody has what has changed but who makes a clone of it. l.mu is held.
func (f *flight) bare() bool {
	return f.l.store == nil && !f.l.core.waits() && f.l.core.peer.member.IsZero()
}

// entrust holds outputs and what is waited for until the log is safe as far as it is now.
// It returns what is to be delivered. l.mu is held.
func (f *flight) entrust(outputs []Output, waiting *crowd) (released crowd) {
	l, c := f.l, f.courier
	position := l.host.position
	f.progress.mark(position, f.position)
	released = l.settle() // what has waited for longer goes first
	for _, o := range outputs {
		if !f.held.push(position, o) {
			f.leave(o)
		}
	}
	if waiting.count > 0 && !l.outputs.push(position, *waiting) {
		released.join(*waiting)
	}
	*waiting = crowd{}
	if f.lonely() {
		c.outputs, c.cadence.urgent, c.cadence.soft = nil, false, false
	}
	return released
}

// abandon returns what waits for a delta that will not be. l.mu is held.
func (f *flight) abandon() (left crowd) {
	if c := f.transfers(); c != nil {
		if c.flying != nil {
			left.join(c.flying.waiting)
			c.flying.waiting = crowd{}
		}
		left.join(c.waiting)
		c.waiting = crowd{}
	}
	return left
}

// schedule returns how long it is until what has changed is sent: not before something else
// happens if that is negative. l.qmu is held.
func (f *flight) schedule(shown time.Duration) time.Duration {
	l, c := f.l, f.courier
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case f.lonely():
		if len(c.outputs) > 0 || c.waiting.count > 0 {
			return 0
		}
		return -1
	case !c.changed || c.flying != nil || !l.core.heir.IsZero() || !f.landed():
		return -1
	}
	return c.cadence.due(shown)
}

// awaits reports whether the applier may wait for something that has just happened to the log:
// what is to be sent waits until the last is safe. l.mu is held.
func (f *flight) awaits() bool {
	c := f.transfers()
	return c != nil && (c.cadence.soft || f.lonely()) && f.landed()
}

// landed reports whether everybody has the last delta who should. l.mu is held.
func (f *flight) landed() bool {
	l, last := f.l, f.courier.last
	return l.core.released >= last && (l.session == nil || l.session.id != l.core.peer.session || l.core.peer.acked >= last)
}

// nudge wakes the applier, if it may send what has changed.
func (l *leader) nudge(awaits bool) {
	if awaits {
		l.qmu.Lock()
		l.wake()
		l.qmu.Unlock()
	}
}

// capture freezes what has changed, and sends it.
func (f *flight) capture() {
	l, c := f.l, f.courier
	l.mu.Lock()
	lonely := f.lonely()
	l.mu.Unlock()
	if lonely {
		f.moved()
		return
	}
	began := time.Now()
	d, err := f.r.delta()
	if err != nil {
		l.fail(err)
		return
	}
	v := &captured{delta: d, ready: make(chan struct{}), count: f.r.told}
	inline := d.size >= 0 && d.size <= inlineDelta
	if inline {
		v.data, v.err = d.append(c.scratch[:0])
		c.scratch = v.data
		close(v.ready)
	}
	took := time.Since(began)
	c.changed = false
	l.mu.Lock()
	f.gather()
	v.outputs, v.waiting = c.outputs, c.waiting
	c.outputs, c.waiting, c.flying = nil, crowd{}, v
	c.cadence.took(began.Sub(l.applier.began), took)
	c.pause, c.longest = took, max(c.longest, took)
	l.mu.Unlock()
	if inline {
		f.land()
		return
	}
	l.work.Go(func() {
		v.data, v.err = d.append(nil)
		close(v.ready)
		l.do(f.land) // or whoever ends the term does
	})
}

// land logs what was frozen, once it is written, and has wait for it what does.
func (f *flight) land() {
	l, c := f.l, f.courier
	v := c.flying
	if v == nil {
		return
	}
	<-v.ready
	if v.err != nil {
		l.fail(v.err)
		return
	}
	deltaEntries(v.data, c.part, func(data []byte) { l.note(kindDelta, data) })
	l.mu.Lock()
	c.flying = nil
	if l.over() != nil {
		l.mu.Unlock()
		return
	}
	c.last, c.size = l.host.position, int64(len(v.data))
	c.count++
	f.position = v.count // that the log has told of
	released := f.entrust(v.outputs, &v.waiting)
	l.mu.Unlock()
	l.deliver(released)
}

// stamp makes the log say what the processor is, under state transfer: under replay it does.
func (f *flight) stamp() {
	if f.transfers() == nil {
		return
	}
	f.land()
	if f.courier.changed {
		f.capture()
		f.land()
	}
}

// rebase is stamp before an image is made: what the next delta follows is what is in that.
// Where nobody else has the log, nothing is logged.
func (f *flight) rebase() error {
	c := f.transfers()
	if c == nil {
		return nil
	}
	f.land()
	f.l.mu.Lock()
	bare := f.bare()
	f.l.mu.Unlock()
	if !bare {
		f.stamp()
		return nil
	}
	if _, err := f.r.delta(); err != nil {
		return err
	}
	c.changed = false
	f.l.mu.Lock()
	f.gather()
	outputs := c.outputs
	c.outputs = nil
	released := f.entrust(outputs, &c.waiting)
	f.l.mu.Unlock()
	f.l.deliver(released)
	return nil
}

// stamped waits until the log says at least what the processor is now.
func (l *leader) stamped(ctx context.Context) error {
	if l.flight.transfers() == nil {
		return nil
	}
	done := make(chan struct{})
	l.do(func() {
		defer close(done)
		l.flight.stamp()
	})
	select {
	case <-done:
		return nil
	case <-l.term.Done():
		return context.Cause(l.term)
	case <-ctx.Done():
		return causeOf(ctx)
	}
}
