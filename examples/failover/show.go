package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// A show is the group under load, while its primary is killed again and again.
type show struct {
	*group
	load   *load
	out    io.Writer
	record vmft.Record // the newest of the chain
	seen   []event     // since the last scene began
}

// show does what the program is for.
func (o *options) show(ctx context.Context, stdout io.Writer) (err error) {
	g, err := o.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	s := &show{group: g, out: stdout}
	if err := s.form(ctx); err != nil {
		return err
	}
	if s.load, err = newLoad(g.clients, g.addrs, o.clients); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.load.close()) }()
	began := time.Now()
	s.load.run(ctx)
	kills, err := s.killAll(ctx, began, o)
	if stopped := s.load.stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return err
	}
	took, acked := time.Since(began), s.load.acked()
	if err := s.load.prove(ctx); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d clients, %d increments in %.1f s, %.0f a second, while the primary was killed %d times.\n",
		o.clients, acked, took.Seconds(), float64(acked)/took.Seconds(), kills)
	fmt.Fprintf(stdout, "Every increment that was acknowledged was applied exactly once: the counters are what their clients were told, %d in all.\n", acked)
	return nil
}

// form starts the nodes, one after the other, each in its role.
func (s *show) form(ctx context.Context) error {
	began := time.Now()
	for i, formed := range []func(e event) bool{
		func(e event) bool { return e.Role == vmft.RolePrimary },
		func(e event) bool { return s.leads(e) && !e.Record.Backup.IsZero() },
		func(e event) bool { return e.Role == vmft.RoleSpare && e.Node == s.addrs[2] },
	} {
		if err := s.members[i].start(ctx); err != nil {
			return err
		}
		if err := s.await(ctx, formed); err != nil {
			return fmt.Errorf("starting %s: %w", s.name(s.addrs[i]), err)
		}
	}
	for i, addr := range s.addrs {
		fmt.Fprintf(s.out, "node %d is %s\n", i+1, addr)
	}
	s.print("the beginning", began)
	return nil
}

// killAll kills one primary after the other, and returns how many.
func (s *show) killAll(ctx context.Context, began time.Time, o *options) (kills int, err error) {
	end := time.NewTimer(o.length)
	defer end.Stop()
	next := time.NewTicker(o.every)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			kills++
			if err := s.failover(ctx, kills); err != nil {
				return kills, fmt.Errorf("fail-over %d: %w", kills, err)
			}
		case e := <-s.events: // nothing is expected, but a node can end
			if err := s.see(e); err != nil {
				return kills, err
			}
		case err := <-s.load.failed:
			return kills, err
		case <-end.C:
			return kills, nil
		case <-ctx.Done():
			return kills, context.Cause(ctx)
		}
	}
}

// failover kills the primary, waits until another is live and has a backup, and starts
// what was killed again.
func (s *show) failover(ctx context.Context, number int) error {
	s.seen = nil
	old := slices.Index(s.addrs, s.record.Primary.Addr)
	if old < 0 {
		return fmt.Errorf("nobody here is the primary: %v", s.record)
	}
	epoch := s.record.Epoch
	s.load.pauses()
	began := time.Now()
	if err := s.members[old].kill(); err != nil {
		return err
	}
	if err := s.await(ctx, func(e event) bool {
		return s.leads(e) && e.Record.Epoch > epoch && !e.Record.Backup.IsZero()
	}); err != nil {
		return err
	}
	least, most, err := s.load.settle(ctx)
	if err != nil {
		return err
	}
	if err := s.members[old].start(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, func(e event) bool { return e.Role == vmft.RoleSpare && e.Node == s.addrs[old] }); err != nil {
		return err
	}
	s.print(fmt.Sprintf("fail-over %d: %s of %s, the primary of epoch %d", number, s.killing, s.name(s.addrs[old]), epoch), began)
	fmt.Fprintf(s.out, "  clients saw a pause of %s to %s\n\n", millis(least), millis(most))
	return nil
}

// leads reports whether an event is a record that was written, told by its primary.
func (s *show) leads(e event) bool { return e.Role == "" && e.Record.Primary.Addr == e.Node }

// await takes in events until one is what is waited for.
func (s *show) await(ctx context.Context, what func(event) bool) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var failed <-chan error
	if s.load != nil {
		failed = s.load.failed
	}
	for {
		select {
		case e := <-s.events:
			if err := s.see(e); err != nil {
				return err
			}
			if what(e) {
				return nil
			}
		case err := <-failed:
			return err
		case <-timer.C:
			return fmt.Errorf("nothing has happened for %v after %v", patience, s.record)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// see takes note of an event.
func (s *show) see(e event) error {
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
func (s *show) print(title string, began time.Time) {
	slices.SortStableFunc(s.seen, func(a, b event) int { return a.At.Compare(b.At) })
	fmt.Fprintln(s.out, title)
	for _, e := range s.seen {
		switch {
		case e.At.Before(began), e.Role == vmft.RoleCandidate, e.Role == vmft.RolePrimary: // told by a record
		case e.Role == "" && e.Note == "" && !s.leads(e): // told by its primary
		default:
			text := e.text()
			for _, addr := range s.addrs {
				text = strings.ReplaceAll(text, addr, s.name(addr))
			}
			fmt.Fprintf(s.out, "  %+10.1f ms  %s: %s\n", e.At.Sub(began).Seconds()*1e3, s.name(e.Node), text)
		}
	}
	s.seen = nil
}
