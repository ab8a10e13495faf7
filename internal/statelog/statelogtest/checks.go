//lint:bubble
package statelogtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
)

// pause sleeps for a moment of the bubble's time that depends on a seed.
func pause(rng *rand.Rand) {
	time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
}

// crowd runs callers, each with a generator of its own, and waits for them.
func crowd(callers int, call func(rng *rand.Rand)) {
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() { call(rand.New(rand.NewPCG(7, uint64(n)))) })
	}
	wg.Wait()
}

// order: concurrent commands are applied one at a time, each once, and everybody
// gets the output of his own.
func order(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	const callers, each = 30, 40
	crowd(callers, func(rng *rand.Rand) {
		for range each {
			r.propose(context.Background(), rng.IntN(200))
			if rng.IntN(4) == 0 {
				pause(rng)
			}
		}
	})
	r.verify()
	if n := r.count(Done); n != callers*each || len(r.book.Entries()) != n {
		r.fail("%d of %d commands were acknowledged, %d applied", n, callers*each, len(r.book.Entries()))
	}
	return r.end()
}

// ownership: a command is its caller's again when Propose returns, also one that was
// given up, and an output is for good. The run overwrites both.
func ownership(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	crowd(20, func(rng *rand.Rand) {
		for range 20 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(2000))*time.Microsecond)
			r.propose(ctx, 1000)
			cancel()
			r.propose(context.Background(), 1000)
		}
	})
	r.verify()
	return r.end()
}

// reads: whoever reads and then confirms sees everything that was acknowledged or
// read before he began.
func reads(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	crowd(20, func(rng *rand.Rand) {
		for range 50 {
			switch rng.IntN(3) {
			case 0:
				r.propose(context.Background(), 8)
			case 1:
				pause(rng)
			default:
				if err := r.read(context.Background()); err != nil {
					r.fail("Confirm: %w", err)
				}
			}
		}
	})
	r.verify()
	if len(r.reads) < 200 {
		r.fail("only %d reads", len(r.reads))
	}
	return r.end()
}

// machineTime: the time of the machine follows the clock, but never fast.
func machineTime(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	first := r.propose(context.Background(), 8).entry.At
	time.Sleep(5 * time.Second)
	second := r.propose(context.Background(), 8).entry.At
	if d := time.Duration(second - first); d < 4*time.Second || d > 6*time.Second {
		r.fail("5s on the clock are %v to the machine", d)
	}
	time.Sleep(10 * time.Minute)
	third := r.propose(context.Background(), 8).entry.At
	if d := time.Duration(third - second); d <= 0 || d > 10*time.Minute+time.Second {
		r.fail("10m on the clock are %v to the machine", d)
	}
	r.verify()
	return r.end()
}

func bigCommands(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	crowd(3, func(rng *rand.Rand) {
		for n := range 4 {
			if p := r.propose(context.Background(), 1<<20*(n+1)-rng.IntN(1000)); p.outcome != Done {
				r.fail("a command of %d MiB was refused", n+1)
			}
		}
	})
	r.verify()
	return r.end()
}

// cancel: a caller who does not wait is told the truth.
func cancel(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	over, stop := context.WithCancel(context.Background())
	stop()
	if p := r.propose(over, 8); p.outcome != NotLogged {
		r.fail("a proposal whose context is over has outcome %d", p.outcome)
	}
	if _, _, err := r.log.Propose(over, make([]byte, 8)); !errors.Is(err, context.Canceled) {
		r.fail("error %v does not match that of the context", err)
	}
	crowd(30, func(rng *rand.Rand) {
		for range 30 {
			ctx, stop := context.WithTimeout(context.Background(), time.Duration(rng.IntN(1500))*time.Microsecond)
			r.propose(ctx, 100)
			stop()
		}
	})
	if err := r.read(context.Background()); err != nil {
		r.fail("Confirm: %w", err)
	}
	r.verify()
	return r.end()
}

// blockedMachine: while the machine is stuck in a command, others can be given up,
// and what is called not logged is never applied.
func blockedMachine(s *Subject) error {
	gate := make(chan struct{})
	r := &run{Subject: s}
	err := r.start(func() *Book {
		b := NewBook()
		b.gate = gate
		return b
	})
	if err != nil {
		return err
	}
	var waiting sync.WaitGroup
	waiting.Go(func() { r.propose(context.Background(), 100) }) // stuck in the machine
	synctest.Wait()
	ctx, stop := context.WithCancel(context.Background())
	for range 50 {
		waiting.Go(func() { r.propose(ctx, 100) })
	}
	synctest.Wait()
	stop()
	synctest.Wait()
	close(gate)
	waiting.Wait()
	if p := r.propose(context.Background(), 8); p.outcome != Done {
		r.fail("the log does not go on")
	}
	r.verify()
	return r.end()
}

// term: Lead tells an epoch once; its term ends with the log, for a reason.
func term(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	term, epoch, err := r.log.Lead(ctx)
	if err != nil || epoch == 0 {
		r.fail("Lead: epoch %d, %w", epoch, err)
		return r.end()
	}
	if _, again, err := r.log.Lead(ctx); err == nil && again <= epoch {
		r.fail("epoch %d was told after %d", again, epoch)
	} else if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		r.fail("Lead while the term lasts: %w", err)
	}
	stop()
	if term.Err() != nil {
		r.fail("the term ended with the context of Lead, or before")
	}
	var second error
	var waiting sync.WaitGroup
	waiting.Go(func() { _, _, second = r.log.Lead(context.Background()) })
	synctest.Wait()
	err = r.end()
	waiting.Wait()
	switch {
	case err != nil:
		return err
	case term.Err() == nil || context.Cause(term) == nil:
		return errors.New("the term outlives the log")
	case second == nil:
		return errors.New("Lead on a log that has ended succeeds")
	}
	p := &run{Subject: s, log: r.log, book: r.book}
	if got := p.propose(context.Background(), 8); got.outcome != NotLogged {
		return fmt.Errorf("a proposal to a log that has ended has outcome %d", got.outcome)
	}
	if err := p.read(context.Background()); err == nil {
		return errors.New("Confirm on a log that has ended succeeds")
	}
	return nil
}

// stopInFlight: Stop in the middle of proposals answers them all, truthfully.
func stopInFlight(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	if err := r.interrupt(r.Stop); err != nil {
		return err
	}
	if !s.Volatile {
		if err := r.start(NewBook); err != nil {
			return err
		}
		r.verify()
		return r.end()
	}
	r.verify()
	return r.err
}

// interrupt ends the log while a crowd is at work, and waits until everybody has
// noticed.
func (r *run) interrupt(end func() error) error {
	var work sync.WaitGroup
	for n := range 20 {
		rng := rand.New(rand.NewPCG(8, uint64(n)))
		work.Go(func() {
			for r.propose(context.Background(), rng.IntN(300)).outcome == Done {
				pause(rng)
				if rng.IntN(3) == 0 && r.read(context.Background()) != nil {
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	err := end()
	work.Wait()
	return err
}

// epochs: they rise with every start.
func epochs(s *Subject) error { return risingEpochs(s, s.Stop) }

// epochsAcrossCrashes: also after crashes, from the moment they were told.
func epochsAcrossCrashes(s *Subject) error { return risingEpochs(s, s.Crash) }

func risingEpochs(s *Subject, end func() error) error {
	last := uint64(0)
	for n := range 6 {
		r, err := begin(s)
		if err != nil {
			return err
		}
		_, epoch, err := r.log.Lead(context.Background())
		if err != nil {
			return err
		}
		if epoch <= last {
			return fmt.Errorf("epoch %d follows %d", epoch, last)
		}
		last = epoch
		if n%2 == 1 {
			r.propose(context.Background(), 8)
		}
		if err := end(); err != nil {
			return err
		}
	}
	return nil
}

// fingerprint: a machine of another version does not get the log.
func fingerprint(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	r.propose(context.Background(), 8)
	if err := r.end(); err != nil {
		return err
	}
	err = r.start(func() *Book { return &Book{fingerprint: "book/2"} })
	if err == nil {
		_ = r.end()
		return errors.New("a machine with another fingerprint was started")
	}
	if !errors.Is(err, statelog.ErrFingerprint) {
		return fmt.Errorf("another fingerprint: the error is %w", err)
	}
	if err := r.start(NewBook); err != nil {
		return err
	}
	r.verify()
	return r.end()
}

// restart: everything that was acknowledged is there after each of several orderly
// stops, at the same index and time.
func restart(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	for range 5 {
		crowd(10, func(rng *rand.Rand) {
			for range 30 {
				r.propose(context.Background(), rng.IntN(300))
				pause(rng)
			}
		})
		before := r.book.Entries()
		if err := r.end(); err != nil {
			return err
		}
		if err := r.start(NewBook); err != nil {
			return err
		}
		if after := r.book.Entries(); len(after) != len(before) {
			r.fail("%d commands before the restart, %d after it", len(before), len(after))
		}
		r.verify()
	}
	return r.end()
}

// crash: what was acknowledged or confirmed survives crashes.
func crash(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	for range 6 {
		if err := r.interrupt(r.Crash); err != nil {
			return err
		}
		if err := r.start(NewBook); err != nil {
			return err
		}
		r.verify()
	}
	if done := r.count(Done); done < 100 {
		r.fail("only %d commands were acknowledged", done)
	}
	if r.count(Unknown)+r.count(NotLogged) == 0 {
		r.fail("no crash hit a proposal")
	}
	return r.end()
}

// confirmedReads: what a confirmed read saw of commands that nobody waits for any
// more survives a crash too.
func confirmedReads(s *Subject) error {
	r, err := begin(s)
	if err != nil {
		return err
	}
	for range 10 {
		if err := r.abandon(); err != nil {
			return err
		}
		if err := r.start(NewBook); err != nil {
			return err
		}
		r.verify()
	}
	return r.end()
}

// abandon proposes, reads while that is on its way, and crashes.
func (r *run) abandon() error {
	ctx, stop := context.WithCancel(context.Background())
	var proposed sync.WaitGroup
	defer proposed.Wait()
	defer stop()
	for range 5 {
		proposed.Go(func() { r.propose(ctx, 100) })
	}
	for range 20 {
		if err := r.read(context.Background()); err != nil {
			r.fail("Confirm: %w", err)
		}
		time.Sleep(50 * time.Microsecond)
	}
	return r.Crash()
}
