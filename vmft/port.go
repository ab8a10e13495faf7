package vmft

import (
	"bytes"
	"context"
	"fmt"
)

// A Port connects a processor with the world, while its node is the primary in one epoch.
// What leaves the processor comes out of Next when it may leave (the output rule); what
// comes in is given to Input and Complete, and the node decides at which instruction.
//
// Next is for one goroutine at a time, all others for any number.
type Port struct {
	l    *leader
	term context.Context
}

// Port blocks until this node is the primary, in an epoch in which it was not asked for, as
// [Node.Lead] does, and returns the port of that: an epoch is told once, to the one or the
// other. Only nodes with a Config.Processor have
// ports: else the error matches ErrConfig.
func (n *Node) Port(ctx context.Context) (*Port, error) {
	if n.host.free == nil {
		return nil, &Error{Op: "port", Addr: n.addr, Err: invalid("Processor", "is missing")}
	}
	for {
		term, epoch, err := n.Lead(ctx)
		if err != nil {
			return nil, err
		}
		if l := n.leading.Load(); l != nil && l.epoch == epoch {
			return &Port{l: l, term: term}, nil
		}
	}
}

// Term ends when the node is no longer the primary; its cause says why.
func (p *Port) Term() context.Context { return p.term }

// Epoch is the one in which the node has gone live. An output that was taken from Next just
// before the term ended may be done after the next primary has done others: what is shared
// and can check it, a disk for example, is given the epoch, and refuses older ones.
func (p *Port) Epoch() uint64 { return p.l.epoch }

// Next returns the next output that may leave. At first these are the ones that an earlier
// primary may have done, or may not; then come new ones, in order. The data is the caller's.
// It blocks while there is none. The error is an *Error, when the term has ended or ctx has.
func (p *Port) Next(ctx context.Context) (Output, error) {
	f := p.l.flight
	for {
		p.l.mu.Lock()
		if len(f.out) > 0 && p.term.Err() == nil {
			o := f.out[0]
			f.out[0] = Output{}
			if f.out = f.out[1:]; len(f.out) == 0 {
				f.out = nil
			}
			p.l.mu.Unlock()
			o.Data = bytes.Clone(o.Data) // the one that is kept stays as it is
			return o, nil
		}
		p.l.mu.Unlock()
		select {
		case <-f.news:
		case <-p.term.Done():
			return Output{}, &Error{Op: "port", Addr: p.l.n.addr, Err: context.Cause(p.term)}
		case <-ctx.Done():
			return Output{}, &Error{Op: "port", Addr: p.l.n.addr, Err: causeOf(ctx)}
		}
	}
}

// Input gives the processor an event and returns when it is safe: from then on no fail-over
// loses it, and it may be acknowledged to whoever sent it. The event is borrowed until
// Input returns. The error is an *Error: it matches ErrRefused if the processor can make no
// sense of the event, and else says what became of it, as with [Node.Propose].
func (p *Port) Input(ctx context.Context, event []byte) error {
	l := p.l
	if len(event) > l.n.cfg.MaxCommand {
		return l.n.notLogged(fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(event), l.n.cfg.MaxCommand))
	}
	event = p.tagged(event)
	if l.n.cfg.planted.core.ackInputEarly {
		return l.submit(kindInput, event)
	}
	_, out, err := l.propose(ctx, kindInput, event)
	if err == nil && len(out) > 0 {
		err = &Error{Op: "input", Addr: l.n.addr, Err: fmt.Errorf("%w: %s", ErrRefused, out)}
	}
	return err
}

// Complete says that outputs are done: they will not be done again after a fail-over. Event
// tells the processor, if it waits to be told; nil: it does not. What it says goes into the
// log together with the event, in the order of calls, and Complete does not wait for that:
// if the node fails first, the next primary does the outputs again. The error is an *Error,
// if the term has ended. The event is borrowed.
func (p *Port) Complete(event []byte, numbers ...uint64) error {
	event = p.tagged(event)
	return p.l.submit(kindCompletion, appendCompletion(make([]byte, 0, len(event)+10*len(numbers)+10), event, numbers))
}

// tagged returns an event as the processor's of those that streams have to do with.
func (p *Port) tagged(event []byte) []byte {
	if p.l.flight.streams == nil || len(event) == 0 {
		return event
	}
	return plain(event)
}

// Inspect calls f with the processor while it stands still between two turns, and returns
// when that has been. f may look at it, and change nothing. Everything that has come out of
// Next left at a position that the processor f sees has passed.
func (p *Port) Inspect(ctx context.Context, f func(Processor)) error {
	done := make(chan struct{})
	p.l.do(func() {
		defer close(done)
		f(p.l.n.cfg.Processor)
	})
	select {
	case <-done:
		return nil
	case <-p.term.Done():
		return &Error{Op: "inspect", Addr: p.l.n.addr, Err: context.Cause(p.term)}
	case <-ctx.Done():
		return &Error{Op: "inspect", Addr: p.l.n.addr, Err: causeOf(ctx)}
	}
}

// submit queues an entry that nobody waits for.
func (l *leader) submit(kind byte, data []byte) error {
	return l.enqueue(&proposal{kind: kind, cmd: bytes.Clone(data), size: int64(len(data)), queued: true, silent: true, done: make(chan struct{}, 1)})
}

func (l *leader) enqueue(p *proposal) error {
	l.qmu.Lock()
	defer l.qmu.Unlock()
	if l.down != nil {
		return l.n.notLogged(l.down)
	}
	l.queue = append(l.queue, p)
	l.wake()
	return nil
}
