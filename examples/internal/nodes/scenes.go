package nodes

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// Patience is how long nothing may happen that is waited for.
const Patience = time.Minute

// Scenes are what happens to a group: first it is formed, then its primary is killed again
// and again.
type Scenes struct {
	*Group
	Out    io.Writer
	Failed <-chan error // what ends the show; nil: nothing
	record vmft.Record  // the newest of the chain
	seen   []Event      // since the last scene began
}

// A Witness is a client of the service.
type Witness interface {
	// Watch begins anew to look.
	Watch()
	// Settle waits until the service is back, and says what was seen since Watch.
	Settle(ctx context.Context) (string, error)
}

// Form starts the nodes, one after the other, each in its role.
func (s *Scenes) Form(ctx context.Context) error {
	began := time.Now()
	for i, formed := range []func(e Event) bool{
		func(e Event) bool { return e.Role == vmft.RolePrimary },
		func(e Event) bool { return e.leads() && !e.Record.Backup.IsZero() },
		func(e Event) bool { return e.Role == vmft.RoleSpare && e.Node == s.Addrs[2] },
	} {
		if err := s.members[i].start(ctx); err != nil {
			return err
		}
		if err := s.await(ctx, formed); err != nil {
			return fmt.Errorf("starting %s: %w", s.name(s.Addrs[i]), err)
		}
	}
	for i, addr := range s.Addrs {
		fmt.Fprintf(s.Out, "node %d is %s\n", i+1, addr)
	}
	s.print("the beginning", began)
	return nil
}

// Run kills one primary after the other for a while, or until ctx ends if that is 0, one
// every so often, never if that is 0, and returns how many.
func (s *Scenes) Run(ctx context.Context, length, every time.Duration, w Witness) (kills int, err error) {
	var end, next <-chan time.Time
	if length > 0 {
		t := time.NewTimer(length)
		defer t.Stop()
		end = t.C
	}
	if every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		next = t.C
	}
	for {
		select {
		case <-next:
			kills++
			if err := s.failover(ctx, kills, w); err != nil {
				return kills, fmt.Errorf("fail-over %d: %w", kills, err)
			}
		case e := <-s.events: // nothing is expected, but a node can end
			if err := s.see(e); err != nil {
				return kills, err
			}
		case err := <-s.Failed:
			return kills, err
		case <-end:
			return kills, nil
		case <-ctx.Done():
			return kills, context.Cause(ctx)
		}
	}
}

// failover kills the primary, waits until another is live and has a backup, and starts
// what was killed again.
func (s *Scenes) failover(ctx context.Context, number int, w Witness) error {
	s.seen = nil
	old := slices.Index(s.Addrs, s.record.Primary.Addr)
	if old < 0 {
		return fmt.Errorf("nobody here is the primary: %v", s.record)
	}
	epoch := s.record.Epoch
	w.Watch()
	began := time.Now()
	if err := s.members[old].kill(); err != nil {
		return err
	}
	if err := s.await(ctx, func(e Event) bool {
		return e.leads() && e.Record.Epoch > epoch && !e.Record.Backup.IsZero()
	}); err != nil {
		return err
	}
	saw, err := w.Settle(ctx)
	if err != nil {
		return err
	}
	if err := s.members[old].start(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, func(e Event) bool { return e.Role == vmft.RoleSpare && e.Node == s.Addrs[old] }); err != nil {
		return err
	}
	s.print(fmt.Sprintf("fail-over %d: %s of %s, the primary of epoch %d", number, s.Killing, s.name(s.Addrs[old]), epoch), began)
	fmt.Fprintf(s.Out, "  %s\n\n", saw)
	return nil
}

// await takes in events until one is what is waited for.
func (s *Scenes) await(ctx context.Context, what func(Event) bool) error {
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	for {
		select {
		case e := <-s.events:
			if err := s.see(e); err != nil {
				return err
			}
			if what(e) {
				return nil
			}
		case err := <-s.Failed:
			return err
		case <-timer.C:
			return fmt.Errorf("nothing has happened for %v after %v", Patience, s.record)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// see takes note of an event.
func (s *Scenes) see(e Event) error {
	if e.Ended {
		return fmt.Errorf("%s has ended: %s", s.name(e.Node), e.Note)
	}
	if e.Record.Epoch > s.record.Epoch {
		s.record = e.Record
	}
	s.seen = append(s.seen, e)
	return nil
}

// print shows a scene: what was seen, in the order in which it has happened.
func (s *Scenes) print(title string, began time.Time) {
	slices.SortStableFunc(s.seen, func(a, b Event) int { return a.At.Compare(b.At) })
	fmt.Fprintln(s.Out, title)
	for _, e := range s.seen {
		switch {
		case e.At.Before(began), e.Role == vmft.RoleCandidate, e.Role == vmft.RolePrimary: // told by a record
		case e.Role == "" && e.Note == "" && !e.leads(): // told by its primary
		default:
			text := e.Text()
			for _, addr := range s.Addrs {
				text = strings.ReplaceAll(text, addr, s.name(addr))
			}
			fmt.Fprintf(s.Out, "  %+10.1f ms  %s: %s\n", e.At.Sub(began).Seconds()*1e3, s.name(e.Node), text)
		}
	}
	s.seen = nil
}
