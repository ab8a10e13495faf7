package statelogtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/testutil"
)

// Subject is a log to be tested, from an empty one on. Start and Stop or Crash
// alternate.
type Subject struct {
	// Start brings the log up, for the first time or again, until it leads and
	// everything in it is applied, and returns it with the machine that may be read
	// beside it. It calls newMachine once for every replica that it starts. If that
	// has another fingerprint than the log the error matches
	// statelog.ErrFingerprint.
	Start func(newMachine func() *Book) (statelog.Log, *Book, error)
	// Stop ends the log in an orderly way and leaves no goroutine.
	Stop func() error
	// Crash ends it without warning, losing what may be lost, and leaves no
	// goroutine. Nil: the log does not survive a crash.
	Crash func() error
	// Volatile is set if the log does not survive Stop either.
	Volatile bool
}

// Check is one promise of [statelog.Log].
type Check struct {
	Name string
	Run  func(s *Subject) error // in a synctest bubble
	// Durable is set if it says something about logs only that survive Stop,
	// Crashing if only about those that survive a crash.
	Durable, Crashing bool
}

// Checks are all the checks there are.
var Checks = []Check{
	{Name: "Order", Run: order},
	{Name: "Ownership", Run: ownership},
	{Name: "Reads", Run: reads},
	{Name: "Time", Run: machineTime},
	{Name: "BigCommands", Run: bigCommands},
	{Name: "Cancel", Run: cancel},
	{Name: "BlockedMachine", Run: blockedMachine},
	{Name: "Term", Run: term},
	{Name: "StopInFlight", Run: stopInFlight},
	{Name: "Epochs", Run: epochs, Durable: true},
	{Name: "Fingerprint", Run: fingerprint, Durable: true},
	{Name: "Restart", Run: restart, Durable: true},
	{Name: "Crash", Run: crash, Crashing: true},
	{Name: "ConfirmedReads", Run: confirmedReads, Crashing: true},
	{Name: "EpochsAcrossCrashes", Run: epochsAcrossCrashes, Crashing: true},
}

// Fits reports whether a check says something about a subject.
func (c *Check) Fits(s *Subject) bool {
	return !(c.Durable && s.Volatile) && !(c.Crashing && s.Crash == nil)
}

// TestLog runs all checks that fit, each on a new subject and in a bubble of its
// own.
func TestLog(t *testing.T, newSubject func() *Subject) {
	for _, c := range Checks {
		t.Run(c.Name, func(t *testing.T) {
			if !c.Fits(newSubject()) {
				t.Skip("does not fit this log")
			}
			testutil.Bubble(t, func(t *testing.T) {
				s := newSubject()
				if err := c.Run(s); err != nil {
					t.Error(err)
					_ = s.Stop() // a check that has failed leaves it as it is
				}
			})
		})
	}
}

// Outcome is what became of a proposal, as its caller was told.
type Outcome uint8

// The outcomes.
const (
	Done      Outcome = iota + 1 // applied, and safe
	NotLogged                    // never to be applied
	Unknown                      // either
)

// OutcomeOf returns the outcome that an error of Propose tells.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Done
	}
	var told interface{ NotLogged() bool }
	if errors.As(err, &told) && told.NotLogged() {
		return NotLogged
	}
	return Unknown
}

// proposal is a command and what became of it.
type proposal struct {
	id      uint64
	sum     uint64
	floor   uint64 // the last position that anybody had been told of before it was made
	outcome Outcome
	entry   Entry // if Done
}

// run is the life of a subject in one check.
type run struct {
	*Subject
	log  statelog.Log
	book *Book

	mu        sync.Mutex // guards what follows
	told      uint64     // the last position that anybody has been told of
	ids       uint64
	proposals []*proposal
	reads     []Entry // the last entry of each read that was confirmed
	err       error
}

// begin starts a subject.
func begin(s *Subject) (*run, error) {
	r := &run{Subject: s}
	return r, r.start(NewBook)
}

func (r *run) start(newMachine func() *Book) (err error) {
	if r.log, r.book, err = r.Start(newMachine); err != nil {
		return fmt.Errorf("starting the log: %w", err)
	}
	return nil
}

// fail takes note of what is wrong; the first counts.
func (r *run) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// end stops the subject and returns the first thing that was wrong.
func (r *run) end() error {
	if err := r.Stop(); err != nil {
		r.fail("stopping the log: %w", err)
	}
	return r.err
}

// command makes a command that differs from all others.
func (r *run) command(size int) (*proposal, []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids++
	cmd := make([]byte, max(8, size))
	le.PutUint64(cmd, r.ids)
	for filled := 8; filled < len(cmd); {
		filled += copy(cmd[filled:], cmd[:filled])
	}
	p := &proposal{id: r.ids, sum: sum(cmd), floor: r.told}
	r.proposals = append(r.proposals, p)
	return p, cmd
}

// propose makes a proposal and takes note of its outcome.
func (r *run) propose(ctx context.Context, size int) *proposal {
	p, cmd := r.command(size)
	index, out, err := r.log.Propose(ctx, cmd)
	clear(cmd) // it is ours again
	p.outcome = OutcomeOf(err)
	if err != nil {
		return p
	}
	e, err := decodeEntry(out)
	switch {
	case err != nil:
		r.fail("%w", err)
	case e.Index != index:
		r.fail("Propose returns index %d, Apply was called with %d", index, e.Index)
	case e.ID != p.id || e.Sum != p.sum:
		r.fail("proposal %d got the output of %d, or was changed on its way", p.id, e.ID)
	}
	clear(out) // and so is the output
	p.entry = e
	r.mu.Lock()
	r.told = max(r.told, e.Position)
	r.mu.Unlock()
	return p
}

// read reads the machine and confirms what it saw.
func (r *run) read(ctx context.Context) error {
	r.mu.Lock()
	floor := r.told
	r.mu.Unlock()
	seen := r.book.Entries()
	index, err := r.log.Confirm(ctx)
	if err != nil {
		return err
	}
	n := uint64(len(seen))
	if n < floor {
		r.fail("a read sees %d commands, %d had been acknowledged or read before it began", n, floor)
	}
	if n == 0 {
		return nil
	}
	last := seen[n-1]
	if index < last.Index {
		r.fail("a read saw index %d, Confirm called after it returns %d", last.Index, index)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = max(r.told, n)
	r.reads = append(r.reads, last)
	return nil
}

// verify compares what is in the machine with what callers were told. Nothing is in
// progress.
func (r *run) verify() {
	entries := r.book.Entries()
	applied := make(map[uint64]Entry)
	for i, e := range entries {
		if e.Position != uint64(i+1) {
			r.fail("entry %d says that it is number %d", i+1, e.Position)
		}
		if i > 0 && (e.Index <= entries[i-1].Index || e.At < entries[i-1].At) {
			r.fail("indices or times do not rise from %+v to %+v", entries[i-1], e)
		}
		if other, twice := applied[e.ID]; twice {
			r.fail("command %d was applied twice: %+v and %+v", e.ID, other, e)
		}
		applied[e.ID] = e
	}
	for _, p := range r.proposals {
		e, there := applied[p.id]
		switch {
		case p.outcome == Done && !there:
			r.fail("command %d was acknowledged and is not there", p.id)
		case p.outcome == Done && e != p.entry:
			r.fail("command %d was acknowledged as %+v and is there as %+v", p.id, p.entry, e)
		case p.outcome == NotLogged && there:
			r.fail("command %d was reported as not logged and was applied as %+v", p.id, e)
		case there && e.Sum != p.sum:
			r.fail("command %d was changed on its way", p.id)
		case there && e.Position <= p.floor:
			r.fail("command %d is number %d in the log; number %d was known before it was proposed", p.id, e.Position, p.floor)
		}
	}
	for _, seen := range r.reads {
		if n := int(seen.Position); n > len(entries) || entries[n-1] != seen {
			r.fail("a confirmed read saw %+v, which is not there", seen)
		}
	}
}

// count returns how many proposals had an outcome.
func (r *run) count(want Outcome) int {
	n := 0
	for _, p := range r.proposals {
		if p.outcome == want {
			n++
		}
	}
	return n
}
