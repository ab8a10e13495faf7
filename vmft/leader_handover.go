package vmft

import (
	"context"
	"time"
)

// hold stops the taking up of commands, or lets it go on, unless the machine is being handed
// over for good.
func (l *leader) hold(held bool) {
	l.qmu.Lock()
	defer l.qmu.Unlock()
	l.mu.Lock()
	l.held = held || !l.core.heir.IsZero()
	l.mu.Unlock()
	if !l.held {
		l.wake()
	}
}

// handOver begins to hand the machine over to a follower, when that has executed everything.
// It decides so between two batches, and nothing is taken up any more.
func (l *leader) handOver(ctx context.Context, to func() Member) error {
	for {
		begun := make(chan bool, 1) // whoever waits may have gone
		l.do(func() {
			l.flight.stamp()
			l.qmu.Lock()
			defer l.qmu.Unlock()
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.applied >= l.host.position && l.core.handOver(to()) {
				l.held = true // a processor stands still, too
			}
			begun <- l.held && !l.core.heir.IsZero()
			l.core.ask() // it answers with what it has executed, too
			l.session.wake()
			poke(l.chain)
		})
		select {
		case done := <-begun:
			if done {
				return nil
			}
		case <-l.term.Done():
			return context.Cause(l.term)
		case <-ctx.Done():
			return causeOf(ctx)
		}
		if err := l.n.sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// dismiss does without a backup that cannot follow: a former primary of an older version,
// which has handed over.
func (l *leader) dismiss(m Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !m.IsZero() && l.core.peer.member == m {
		l.core.lose()
		poke(l.chain)
	}
}

// drainTaken waits until all that was taken up is answered.
func (l *leader) drainTaken(ctx context.Context) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		l.qmu.Lock()
		pending := l.pending
		l.qmu.Unlock()
		if pending == 0 {
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
