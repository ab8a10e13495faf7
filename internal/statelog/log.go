package statelog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/trilith-go/trilith/internal/journal"
)

// Solo is a [Log] on one computer, and the host of its machine.
type Solo struct {
	cfg     Config
	journal *journal.Journal // nil: in memory
	epoch   uint64

	term   context.Context // ends with the service
	end    context.CancelCauseFunc
	kick   chan struct{} // wakes the applier
	dirty  chan struct{} // wakes the syncer; closed when nothing will be appended any more
	closed chan struct{} // closed when Close is done
	failed error         // of the last sync; set before closed is closed
	work   sync.WaitGroup
	pool   sync.Pool // of *proposal; one per log, since channels belong to a synctest bubble

	// started is the last index that has been handed to the machine, set before
	// Apply is called: whoever sees anything of a command sees started at or beyond
	// it. Confirm depends on that.
	started atomic.Uint64
	safe    atomic.Uint64         // follows gate.synced
	down    atomic.Pointer[error] // why there is no more service: ErrFailed with its cause, or ErrClosed

	mu        sync.Mutex  // guards the queue: what follows, and the queued of proposals
	queue     []*proposal // of those who wait to be taken up, the oldest first
	withdrawn int         // how many in the queue do not wait any more
	idle      bool        // the applier waits for kick
	pending   int         // proposals that were taken up and not answered
	bytes     int64       // of their commands
	led       bool        // the epoch has been told
	images    imaging

	gateMu sync.Mutex // guards what follows, and the applied and notify of proposals
	gate   gate[*proposal, chan struct{}]
	lost   error // nothing will become safe any more

	applier applier // the applier's own
}

var _ Log = (*Solo)(nil)

// proposal is a command on its way.
type proposal struct {
	cmd     []byte
	size    int64 // of cmd
	queued  bool  // waits to be taken up; false in the queue: withdrawn
	at      int64
	index   uint64
	out     []byte
	err     error
	done    chan struct{} // has room for one: index, out and err are set
	applied bool          // the machine is done with cmd
	notify  chan struct{} // closed with applied, if not nil
}

// Propose implements [Log]. The error is an *[Error] that matches ErrNotLogged or
// ErrUnknown, and its cause: ErrTooLarge, ErrClosed, ErrFailed, or that of ctx.
func (l *Solo) Propose(ctx context.Context, cmd []byte) (index uint64, out []byte, err error) {
	if len(cmd) > l.cfg.MaxCommand {
		return 0, nil, notLogged(fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(cmd), l.cfg.MaxCommand))
	}
	if ctx.Err() != nil {
		return 0, nil, notLogged(causeOf(ctx))
	}
	p, err := l.enqueue(cmd)
	if err != nil {
		return 0, nil, notLogged(err)
	}
	if err := l.wait(ctx, p); err != nil {
		return 0, nil, err
	}
	index, out, err = p.index, p.out, p.err
	*p = proposal{done: p.done}
	l.pool.Put(p)
	return index, out, err
}

// wait waits until p is done. With an error p is left alone: it may still be on its
// way, but its command is its caller's again.
func (l *Solo) wait(ctx context.Context, p *proposal) error {
	if ctx.Done() == nil {
		<-p.done
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	if l.withdraw(p) {
		return notLogged(causeOf(ctx))
	}
	// The machine may be reading the command at this moment.
	l.gateMu.Lock()
	notify := make(chan struct{})
	if p.applied {
		close(notify)
	} else {
		p.notify = notify
	}
	l.gateMu.Unlock()
	select {
	case <-p.done:
		return nil
	case <-notify:
	}
	select {
	case <-p.done:
		return nil
	default:
		return &Error{Op: "propose", Outcome: ErrUnknown, Err: causeOf(ctx)}
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

func notLogged(err error) error { return &Error{Op: "propose", Outcome: ErrNotLogged, Err: err} }

// enqueue puts a command in the queue, where it waits until there is room for it:
// its caller waits too, so the queue needs no limit of its own.
func (l *Solo) enqueue(cmd []byte) (*proposal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if down := l.down.Load(); down != nil {
		return nil, *down
	}
	p, _ := l.pool.Get().(*proposal)
	if p == nil {
		p = &proposal{done: make(chan struct{}, 1)}
	}
	p.cmd, p.size, p.queued = cmd, int64(len(cmd)), true
	l.queue = append(l.queue, p)
	l.wake()
	return p, nil
}

// wake wakes the applier. l.mu is held.
func (l *Solo) wake() {
	if l.idle {
		l.idle = false
		l.kick <- struct{}{} // has room: there is one for each time it idles
	}
}

// withdraw takes a proposal back whose caller does not want to wait any longer, and
// reports whether that was possible: whether it was still queued.
func (l *Solo) withdraw(p *proposal) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.queued {
		return false
	}
	p.queued, p.cmd = false, nil
	if l.withdrawn++; l.withdrawn > len(l.queue)/2 {
		l.queue = slices.DeleteFunc(l.queue, func(p *proposal) bool { return !p.queued })
		l.withdrawn = 0
	}
	return true
}

// admit appends to batch, and takes off the queue, what there is room for. The
// order is kept: a great command that does not fit holds up the small ones behind
// it, or it would wait for ever. l.mu is held.
func (l *Solo) admit(batch []*proposal) []*proposal {
	n := 0
	for _, p := range l.queue {
		if p.queued {
			if l.pending > 0 && (l.pending >= l.cfg.MaxPending || l.bytes+p.size > l.cfg.MaxPendingBytes) {
				break
			}
			l.pending++
			l.bytes += p.size
			p.queued = false
			batch = append(batch, p)
		} else {
			l.withdrawn--
		}
		n++
	}
	l.queue = slices.Delete(l.queue, 0, n)
	return batch
}

// settle makes room for other proposals. l.mu is held.
func (l *Solo) settle(n int, bytes int64) {
	l.pending -= n
	l.bytes -= bytes
	if len(l.queue) > 0 {
		l.wake()
	}
}

// Confirm implements [Log]. It costs nothing while everything is safe, and
// otherwise waits for the sync that is under way.
func (l *Solo) Confirm(ctx context.Context) (index uint64, err error) {
	index = l.started.Load()
	if l.safe.Load() < index && !l.cfg.planted.confirmEarly {
		if index, err = l.await(ctx); err != nil {
			return 0, &Error{Op: "confirm", Err: err}
		}
	}
	if down := l.down.Load(); down != nil {
		return 0, &Error{Op: "confirm", Err: *down}
	}
	return index, nil
}

// await waits until everything that the machine has begun is safe, or nothing will
// be any more. Readers that wait for the same index share a channel: there are never
// more of those than proposals in progress.
func (l *Solo) await(ctx context.Context) (index uint64, err error) {
	l.gateMu.Lock()
	index = l.started.Load() // under the lock, so that readers are held in order
	if l.gate.synced >= index || l.lost != nil {
		l.gateMu.Unlock()
		return index, nil
	}
	ready, ok := l.gate.readers.last(index)
	if !ok {
		ready = make(chan struct{})
		l.gate.readers.push(index, ready)
	}
	l.gateMu.Unlock()
	select {
	case <-ready:
		return index, nil
	case <-ctx.Done():
		return 0, causeOf(ctx)
	}
}

// Lead implements [Log]. The one epoch of a Solo begins when it is opened; a
// second Lead waits until it ends, and then fails: another epoch takes another
// Open.
func (l *Solo) Lead(ctx context.Context) (term context.Context, epoch uint64, err error) {
	if ctx.Err() != nil {
		return nil, 0, &Error{Op: "lead", Err: causeOf(ctx)}
	}
	l.mu.Lock()
	first := !l.led && l.down.Load() == nil
	l.led = true
	l.mu.Unlock()
	if first {
		return l.term, l.epoch, nil
	}
	select {
	case <-l.term.Done():
		return nil, 0, &Error{Op: "lead", Err: context.Cause(l.term)}
	case <-ctx.Done():
		return nil, 0, &Error{Op: "lead", Err: causeOf(ctx)}
	}
}

// stop ends the service: no proposal is accepted any more, those in the queue are
// refused, the term ends. It reports whether there was any service to end.
func (l *Solo) stop(why error) bool {
	l.mu.Lock()
	if !l.down.CompareAndSwap(nil, &why) {
		l.mu.Unlock()
		return false
	}
	queue := slices.DeleteFunc(l.queue, func(p *proposal) bool { return !p.queued })
	for _, p := range queue {
		p.queued = false
	}
	l.queue, l.withdrawn = nil, 0
	l.mu.Unlock()
	l.end(why)
	for _, p := range queue {
		p.refuse(ErrNotLogged, why)
	}
	return true
}

// fail ends the service because the journal has failed. Outputs that wait for it
// will never be released.
func (l *Solo) fail(cause error) {
	why := fmt.Errorf("%w: %w", ErrFailed, cause)
	if l.stop(why) {
		l.cfg.Logger.Error("the log has failed", "dir", l.cfg.Dir, "error", cause)
	}
	l.gateMu.Lock()
	if l.lost == nil {
		l.lost = why
	}
	outputs, readers := l.gate.abandon(nil, nil)
	l.gateMu.Unlock()
	l.refuse(outputs, ErrUnknown, why)
	for _, ready := range readers {
		close(ready)
	}
}

// refuse answers proposals that were taken up with an error.
func (l *Solo) refuse(proposals []*proposal, outcome, why error) {
	l.settleAll(proposals)
	for _, p := range proposals {
		p.refuse(outcome, why)
	}
}

// refuse answers a proposal with an error.
func (p *proposal) refuse(outcome, why error) {
	p.index, p.out = 0, nil
	p.err = &Error{Op: "propose", Outcome: outcome, Err: why}
	p.done <- struct{}{} // p may be another's from here on
}

// deliver hands released outputs to their callers.
func (l *Solo) deliver(outputs []*proposal) {
	l.settleAll(outputs)
	for _, p := range outputs {
		p.done <- struct{}{} // p may be another's from here on
	}
}

// settleAll makes the room of proposals that are about to be answered others'.
func (l *Solo) settleAll(proposals []*proposal) {
	if len(proposals) == 0 {
		return
	}
	bytes := int64(0)
	for _, p := range proposals {
		bytes += p.size
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(len(proposals), bytes)
}

// Status is what a log tells about itself.
type Status struct {
	Epoch   uint64         // the epoch that this process serves in
	Applied uint64         // the index of the last command handed to the machine
	Safe    uint64         // the index up to which outputs may leave; in memory, Applied
	Queued  int            // proposals that wait to be taken up
	Pending int            // proposals that were taken up and not answered
	Err     error          // why there is no more service, if there is none
	Journal journal.Status // zero in memory
}

// Status returns the state of the log.
func (l *Solo) Status() Status {
	s := Status{Epoch: l.epoch, Applied: l.started.Load()}
	s.Safe = min(l.safe.Load(), s.Applied)
	l.mu.Lock()
	s.Queued, s.Pending = len(l.queue)-l.withdrawn, l.pending
	l.mu.Unlock()
	if down := l.down.Load(); down != nil {
		s.Err = *down
	}
	if l.journal != nil {
		s.Journal = l.journal.Status()
	}
	return s
}

// Close ends the term and refuses what is queued; what has been taken up is still
// applied, made safe and answered. It returns when no goroutine is left, with the
// error of the last sync if there was one. Further calls return the same.
func (l *Solo) Close() error {
	l.stop(ErrClosed)
	l.mu.Lock()
	first := !l.applier.stopped
	l.applier.stopped = true
	l.wake()
	l.mu.Unlock()
	if !first {
		<-l.closed
		return l.failed
	}
	l.work.Wait()
	if l.journal != nil {
		if err := l.journal.Close(); err != nil {
			l.failed = &Error{Op: "close", Err: err}
		}
	}
	close(l.closed)
	return l.failed
}
