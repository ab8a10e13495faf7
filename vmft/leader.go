package vmft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A leader is a node while it is the primary.
type leader struct {
	n     *Node
	host  *host
	store *store // nil: no journal
	epoch uint64 // in which it went live
	term  context.Context
	end   context.CancelCauseFunc
	work  sync.WaitGroup

	kick  chan struct{} // wakes the applier
	dirty chan struct{} // wakes the syncer; closed when nothing will be appended any more
	chain chan struct{} // wakes the claimer

	// started is the last position that was handed to the machine, set before Apply is
	// called: whoever sees anything of a command sees started at or beyond it.
	started atomic.Uint64
	busy    atomic.Int64 // since when the applier is at it, UnixNano; 0: it waits
	flight  *flight      // of a processor; nil: the machine is none

	qmu     sync.Mutex // guards the queue: what follows, and the queued of proposals
	queue   []*proposal
	idle    bool // the applier waits for kick
	pending int  // proposals that were taken up and not answered
	lately  int  // proposals that were answered together, the last time
	bytes   int64
	down    error // why nothing is accepted any more
	jobs    []func()
	full    bool // what is kept for the follower is too much; the applier waits
	held    bool // nothing is taken up while the machine is being handed over

	mu       sync.Mutex // guards what follows; taken after qmu
	core     *primary
	outputs  gate[crowd]
	freed    []crowd    // what settle is about to return
	running  crowd      // that are being executed
	waiting  []*reading // the oldest first
	kept     []batch    // what the follower may not have, in order
	keptSize int64
	executed uint64   // the last position that this node has executed
	trimmed  uint64   // the last one that the follower had when kept was last trimmed
	spare    buffers  // of batches that are neither kept nor executed any more
	stopped  bool     // full, for those who have only this lock
	cloning  bool     // a clone is being made, and kept begins with what its image lacks
	session  *session // the stream to the follower
	pace     pace
	applied  uint64        // by the follower
	lag      time.Duration // of the follower's execution
	looked   time.Time     // when the lag was looked at
	applier  applier
	pool     sync.Pool // of *proposal

	comparison comparison
}

// proposal is a command on its way.
type proposal struct {
	kind   byte
	cmd    []byte
	size   int64
	queued bool // waits to be taken up; false in the queue: withdrawn
	silent bool // nobody waits for it
	index  uint64
	out    []byte
	err    error
	done   chan struct{} // has room for one: index, out and err are set
	next   *proposal     // in a crowd

	name    []byte // of an event that may be fetched
	fetched func() // is called when that is done
}

// A crowd is proposals that go on together, in the order of their positions.
type crowd struct {
	first, last *proposal
	count       int
	bytes       int64
}

func (c *crowd) add(p *proposal) { c.join(crowd{p, p, 1, p.size}) }

// join appends another crowd, which is of no use any more.
func (c *crowd) join(d crowd) {
	if d.count == 0 {
		return
	}
	if c.count == 0 {
		*c = d
		return
	}
	c.last.next = d.first
	c.last = d.last
	c.count += d.count
	c.bytes += d.bytes
}

// each takes the crowd apart, and calls f with one after the other.
func (c *crowd) each(f func(p *proposal)) {
	for p := c.first; p != nil; {
		next := p.next // before p is another's
		p.next = nil
		f(p)
		p = next
	}
	*c = crowd{}
}

// reading is a read that waits to be confirmed. Readers that wait for the same share it.
type reading struct {
	position, round uint64
	ready           chan struct{}
}

// propose makes a command an entry, and waits until its output is released.
func (l *leader) propose(ctx context.Context, kind byte, cmd []byte) (index uint64, out []byte, err error) {
	if ctx.Err() != nil {
		return 0, nil, l.n.notLogged(causeOf(ctx))
	}
	l.qmu.Lock()
	if l.down != nil {
		err := l.down
		l.qmu.Unlock()
		return 0, nil, l.n.notLogged(err)
	}
	p, _ := l.pool.Get().(*proposal)
	if p == nil {
		p = &proposal{done: make(chan struct{}, 1)}
	}
	p.kind, p.cmd, p.size, p.queued = kind, cmd, int64(len(cmd)), true
	l.queue = append(l.queue, p)
	l.wake()
	l.qmu.Unlock()
	if err := l.wait(ctx, p); err != nil {
		return 0, nil, err
	}
	index, out, err = p.index, p.out, p.err
	p.index, p.out, p.err, p.cmd = 0, nil, nil, nil
	l.pool.Put(p)
	return index, out, err
}

// wake wakes the applier. l.qmu is held.
func (l *leader) wake() {
	if l.idle {
		l.idle = false
		l.kick <- struct{}{} // has room: there is one for each time it idles
	} else {
		l.flight.interrupt()
	}
}

// wait waits until p is done. With an error p is left alone: it may still be on its way,
// but its command is its caller's again.
func (l *leader) wait(ctx context.Context, p *proposal) error {
	if ctx.Done() == nil {
		<-p.done
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	l.qmu.Lock()
	withdrawn := p.queued
	p.queued = false
	l.qmu.Unlock()
	if withdrawn {
		return l.n.notLogged(causeOf(ctx))
	}
	// The command was copied into a batch when it was taken up: nothing but the result is
	// still to come.
	select {
	case <-p.done:
		return nil
	default:
		return &Error{Op: "propose", Addr: l.n.addr, Outcome: ErrUnknown, Err: causeOf(ctx)}
	}
}

// causeOf returns why a context has ended, as an error that matches ctx.Err too.
func causeOf(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// confirm waits until what was read before the call may be answered.
func (l *leader) confirm(ctx context.Context) (index uint64, err error) {
	l.mu.Lock()
	index = l.started.Load() // under the lock, so that readers are held in order
	round := l.core.ask()
	if err := l.over(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if l.core.confirmed >= round && l.core.release() >= index {
		l.mu.Unlock()
		return index, nil
	}
	var r *reading
	if n := len(l.waiting); n > 0 && l.waiting[n-1].position == index && l.waiting[n-1].round == round {
		r = l.waiting[n-1]
	} else {
		r = &reading{position: index, round: round, ready: make(chan struct{})}
		l.waiting = append(l.waiting, r)
	}
	l.session.wake()
	l.mu.Unlock()
	select {
	case <-r.ready:
	case <-ctx.Done():
		return 0, causeOf(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return index, l.over()
}

// over returns why the leader does not lead any more. l.mu is held.
func (l *leader) over() error {
	if l.term.Err() != nil {
		return context.Cause(l.term)
	}
	return nil
}

// settle lets go what may go, after anything that the core was told. It returns what the
// caller delivers once it has given up l.mu, which is held.
func (l *leader) settle() (released crowd) {
	position := l.core.release()
	l.freed = l.outputs.release(position, l.freed[:0])
	for _, outputs := range l.freed {
		released.join(outputs)
	}
	clear(l.freed)
	l.flight.release(position)
	l.flight.fetched()
	n := 0
	for n < len(l.waiting) && l.waiting[n].position <= position && l.waiting[n].round <= l.core.confirmed {
		close(l.waiting[n].ready)
		n++
	}
	l.waiting = slices.Delete(l.waiting, 0, n)
	if !l.core.step().none() {
		poke(l.chain)
	}
	return released
}

// poke puts a token into a channel with room for one, unless there is one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// deliver hands released outputs to their callers.
func (l *leader) deliver(released crowd) {
	if released.count == 0 {
		return
	}
	l.qmu.Lock()
	l.pending -= released.count
	l.bytes -= released.bytes
	l.lately = released.count
	if len(l.queue) > 0 {
		l.wake()
	}
	l.qmu.Unlock()
	released.each(func(p *proposal) { p.done <- struct{}{} })
}

// refuse answers proposals with an error.
func (l *leader) refuse(proposals crowd, outcome, why error) {
	proposals.each(func(p *proposal) {
		p.index, p.out = 0, nil
		p.err = &Error{Op: "propose", Addr: l.n.addr, Outcome: outcome, Err: why}
		p.done <- struct{}{}
	})
}

// stop refuses all that is queued, and what comes from now on. It reports whether it was
// the first to.
func (l *leader) stop(why error) bool {
	l.qmu.Lock()
	if l.down != nil {
		l.qmu.Unlock()
		return false
	}
	l.down = why
	var queue crowd
	for _, p := range l.queue {
		if p.queued {
			p.queued = false
			queue.add(p)
		}
	}
	l.queue = nil
	l.wake()
	l.qmu.Unlock()
	l.refuse(queue, ErrNotLogged, why)
	return true
}

// finish ends the term: nothing will be released any more.
func (l *leader) finish(why error) {
	l.stop(why)
	l.mu.Lock()
	if l.term.Err() != nil {
		l.mu.Unlock()
		return
	}
	l.core.fence()
	l.end(why)
	var left crowd
	for _, outputs := range l.outputs.empty(nil) {
		left.join(outputs)
	}
	left.join(l.running)
	l.running = crowd{}
	left.join(l.flight.abandon())
	waiting := l.waiting
	l.waiting = nil
	s := l.session
	l.mu.Unlock()
	s.close()
	l.refuse(left, ErrUnknown, why)
	for _, r := range waiting {
		close(r.ready)
	}
	poke(l.chain)
}

// fail ends the term, and the node, because its disk or its machine has failed.
func (l *leader) fail(cause error) {
	l.n.cfg.Logger.Error("the node has failed", "addr", l.n.addr, "error", cause)
	why := fmt.Errorf("%w: %w", ErrFailed, cause)
	l.n.failed(why)
	l.finish(why)
}

// drain waits until all that was taken up is answered, for a while.
func (l *leader) drain(ctx context.Context) error {
	l.qmu.Lock()
	l.wake()
	l.qmu.Unlock()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		l.qmu.Lock()
		pending, queued := l.pending, len(l.queue)
		l.qmu.Unlock()
		if pending == 0 && queued == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-l.term.Done():
			return context.Cause(l.term)
		case <-ctx.Done():
			return causeOf(ctx)
		}
	}
}

// claims is the goroutine that does with the arbiter what the core wants.
func (l *leader) claims() {
	for l.term.Err() == nil {
		l.mu.Lock()
		step := l.core.step()
		l.mu.Unlock()
		if step.none() {
			l.n.unasked()
			select {
			case <-l.chain:
			case <-l.term.Done():
			}
			continue
		}
		r, err := l.n.consult(l.term, step)
		l.mu.Lock()
		switch {
		case err != nil:
			l.core.unclear()
		case step.read:
			l.core.saw(r)
		default:
			l.core.claimed(r)
		}
		released := l.settle()
		won, fenced, passed := l.core.record == r && step.claim == r, l.core.fenced, l.core.passed.Epoch != 0
		if won && r.Backup.IsZero() {
			l.drop()
		} else if won {
			l.session.wake()
		}
		awaits := l.flight.awaits()
		l.mu.Unlock()
		l.deliver(released)
		l.room()
		l.nudge(awaits)
		switch {
		case won:
			l.n.note(r, "")
		case passed:
			l.n.note(r, "handed over")
			l.n.tell(r, l.session)
			l.finish(fmt.Errorf("%w: %v", ErrFenced, r))
		case fenced && err == nil:
			l.n.note(r, "fenced")
			l.n.tell(r, l.session)
			l.finish(fmt.Errorf("%w: %v", ErrFenced, r))
		case err != nil:
			l.n.pause(l.term, err)
		}
	}
}

// drop lets go of what was kept for a follower. l.mu is held.
func (l *leader) drop() {
	l.session.close()
	l.session = nil
	l.n.detector.unwatch()
	l.kept, l.keptSize, l.cloning = nil, 0, false
	l.pace.reset()
}

var errBusy = errors.New("the primary has a backup already, or is making one")
