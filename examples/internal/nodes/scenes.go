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
// and again, by the program or by whoever is at the keyboard.
type Scenes struct {
	*Group
	Out    io.Writer
	Failed <-chan error // what ends the show; nil: nothing
	record vmft.Record  // the newest of the chain
	seen   []Event      // since the last scene began
	dead   []int        // members that somebody else has killed
}

// A Witness is a client of the service.
type Witness interface {
	// Watch begins anew to look.
	Watch()
	// Settle waits until the service is back, and says what was seen since Watch, or nothing.
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
		fmt.Fprintf(s.Out, "node %d is %s%s\n", i+1, addr, s.members[i].label())
	}
	s.print("the beginning", began)
	return nil
}

// Run kills one primary after the other for a while, or until ctx ends if that is 0, one
// every so often, never if that is 0, and returns how many fail-overs there were. Members
// that somebody else kills are started again, too.
func (s *Scenes) Run(ctx context.Context, length, every time.Duration, w Witness) (failovers int, err error) {
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
			failovers++
			if err := s.failover(ctx, failovers, w); err != nil {
				return failovers, fmt.Errorf("fail-over %d: %w", failovers, err)
			}
		case e := <-s.events: // nothing is expected
			before := s.record
			if err := s.see(e); err != nil {
				return failovers, err
			}
			moved := s.record.Primary.Addr != before.Primary.Addr
			if !moved && len(s.dead) == 0 {
				break
			}
			if moved || s.killed(before.Primary.Addr) {
				failovers++
			}
			if err := s.unrest(ctx, failovers, before, e.At, w); err != nil {
				return failovers, err
			}
		case err := <-s.Failed:
			return failovers, err
		case <-end:
			return failovers, nil
		case <-ctx.Done():
			return failovers, context.Cause(ctx)
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
	before := s.record
	w.Watch()
	began := time.Now()
	if err := s.members[old].kill(); err != nil {
		return err
	}
	s.dead = append(s.dead, old)
	saw, err := s.recover(ctx, before, w)
	if err != nil {
		return err
	}
	s.print(fmt.Sprintf("fail-over %d: %s of %s, the primary of epoch %d", number, s.Killing, s.name(s.Addrs[old]), before.Epoch), began)
	s.end(saw, w)
	return nil
}

// lookBack is how much earlier than what tells of it a fail-over can have begun.
const lookBack = 3 * time.Second

// unrest is what happens when a member was killed or replaced, and not by this program.
func (s *Scenes) unrest(ctx context.Context, number int, before vmft.Record, at time.Time, w Witness) error {
	saw, err := s.recover(ctx, before, w)
	if err != nil {
		return err
	}
	began, killed := at, false
	for _, e := range s.seen {
		killed = killed || e.Killed && e.Node == before.Primary.Addr
		if e.At.Before(began) && e.At.After(at.Add(-lookBack)) {
			began = e.At
		}
	}
	title := "a backup or a spare was lost"
	if s.record.Primary.Addr != before.Primary.Addr {
		what := "does not answer"
		if killed {
			what = "was killed"
		}
		title = fmt.Sprintf("fail-over %d: %s, the primary of epoch %d, %s", number, s.name(before.Primary.Addr), before.Epoch, what)
	}
	s.print(title, began)
	s.end(saw, w)
	return nil
}

// recover waits until there is a pair again, and starts who was killed.
func (s *Scenes) recover(ctx context.Context, before vmft.Record, w Witness) (saw string, err error) {
	paired := func(Event) bool {
		r := s.record
		return !r.Backup.IsZero() && !s.killed(r.Primary.Addr) && !s.killed(r.Backup.Addr)
	}
	if !paired(Event{}) {
		if err := s.await(ctx, paired); err != nil {
			return "", err
		}
	}
	if saw, err = w.Settle(ctx); err != nil {
		return "", err
	}
	for len(s.dead) > 0 {
		if err := s.revive(ctx); err != nil {
			return "", err
		}
	}
	return saw, nil
}

// revive starts one of the dead again, and waits until it is of use.
func (s *Scenes) revive(ctx context.Context) error {
	i := s.dead[0]
	s.dead = s.dead[1:]
	began := time.Now()
	if err := s.members[i].start(ctx); err != nil {
		return err
	}
	return s.await(ctx, func(e Event) bool { return e.Node == s.Addrs[i] && e.Role != "" && e.At.After(began) })
}

// killed reports whether the member at an address is one of the dead.
func (s *Scenes) killed(addr string) bool {
	i := slices.Index(s.Addrs, addr)
	return i >= 0 && slices.Contains(s.dead, i)
}

// end says what was seen in a scene, and who runs.
func (s *Scenes) end(saw string, w Witness) {
	if saw != "" {
		fmt.Fprintf(s.Out, "  %s\n", saw)
	}
	for i, m := range s.members {
		if label := m.label(); label != "" {
			fmt.Fprintf(s.Out, "  node %d%s is %s\n", i+1, label, s.role(s.Addrs[i]))
		}
	}
	fmt.Fprintln(s.Out)
	w.Watch()
}

// role is what a member is in the newest record.
func (s *Scenes) role(addr string) string {
	switch addr {
	case s.record.Primary.Addr:
		return "the primary"
	case s.record.Backup.Addr:
		return "the backup"
	}
	return "a spare"
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
			if len(s.dead) > Size-2 { // one that is alone needs another
				if err := s.revive(ctx); err != nil {
					return err
				}
				if what(e) {
					return nil
				}
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

// see takes note of an event. It is an error if nobody can go on.
func (s *Scenes) see(e Event) error {
	switch {
	case e.Killed:
		s.dead = append(s.dead, slices.Index(s.Addrs, e.Node))
		if r := s.record; !s.Durable && s.killed(r.Primary.Addr) && (r.Backup.IsZero() || s.killed(r.Backup.Addr)) {
			return fmt.Errorf("all who had the state of epoch %d are dead: it is lost, as it was in memory", r.Epoch)
		}
	case e.Ended:
		return fmt.Errorf("%s has ended: %s", s.name(e.Node), e.Note)
	}
	if e.Record.Epoch > s.record.Epoch {
		s.record = e.Record
	}
	s.seen = append(s.seen, e)
	if n := len(s.seen); n > maxSeen {
		s.seen = append(s.seen[:0], s.seen[n/2:]...)
	}
	return nil
}

// maxSeen is how many events are remembered while nothing is shown.
const maxSeen = 1000

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
