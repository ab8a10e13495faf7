package main

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/mapreduce"
)

// strikes crash who leads at chosen points of the job: when so many files have been opened
// by maps, when the first file of a reduce is made, when the first file is given its final
// name. Whoever comes to such a point waits until another leads and has one that stands by,
// so the job cannot be over before.
type strikes struct {
	ctx  context.Context
	c    *chaos
	work sync.WaitGroup

	mu     sync.Mutex // guards what follows
	counts [points]int
	due    []strike
	err    error

	turn   sync.Mutex // held by the one that is under way; guards pauses
	pauses map[*standby.Group][]time.Duration
}

// A point is one that a job passes many times.
type point int

const (
	opening    point = iota // a map opens a file of the input
	creating                // a task makes a file
	committing              // the coordinator gives a file its final name
	points
)

// A strike crashes the leader of a group when a point is passed for the n-th time.
type strike struct {
	point point
	n     int
	group func() *standby.Group
}

// newStrikes returns strikes for a job on so many files.
func newStrikes(ctx context.Context, c *chaos, files int) *strikes {
	masters := func() *standby.Group { return c.masters }
	coordinators := func() *standby.Group { return c.coordinators }
	return &strikes{ctx: ctx, c: c, pauses: make(map[*standby.Group][]time.Duration), due: []strike{
		{opening, 1 + files/3, masters}, {opening, 1 + files*2/3, coordinators}, {creating, 1, masters}, {committing, 1, coordinators},
	}}
}

// pass passes a point.
func (s *strikes) pass(ctx context.Context, p point) {
	s.mu.Lock()
	s.counts[p]++
	var struck []strike
	var left []strike
	for _, d := range s.due {
		if d.point == p && d.n <= s.counts[p] {
			struck = append(struck, d)
		} else {
			left = append(left, d)
		}
	}
	s.due = left
	s.mu.Unlock()
	if len(struck) == 0 {
		return
	}
	done := make(chan struct{})
	s.work.Go(func() { // beside the caller, who may be what is crashed
		defer close(done)
		for _, d := range struck {
			if err := s.hit(d.group()); err != nil {
				s.mu.Lock()
				s.err = err
				s.mu.Unlock()
			}
		}
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// hit crashes the leader of a group and starts it again when another leads.
func (s *strikes) hit(g *standby.Group) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := g.Await(s.ctx, g.Paired); err != nil {
		return err
	}
	victim := g.Primary()
	for ; victim < 0; victim = g.Primary() { // a slow machine changes its mind
		if err := g.Await(s.ctx, g.Paired); err != nil {
			return err
		}
	}
	began := time.Now()
	g.Crash(victim)
	if err := g.Await(s.ctx, func() bool { return g.Primary() >= 0 }); err != nil {
		return err
	}
	s.pauses[g] = append(s.pauses[g], time.Since(began))
	if err := g.Start(s.ctx, victim); err != nil {
		return err
	}
	return g.Await(s.ctx, g.Paired)
}

// wait returns when no strike is under way, and what has gone wrong.
func (s *strikes) wait() error {
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// workers returns files as workers see them, coordinators as coordinators do.
func (s *strikes) workers(files chaosFiles) mapreduce.FileSystem {
	return &workerFiles{files, s}
}

func (s *strikes) coordinators(files chaosFiles) mapreduce.FileSystem {
	return &coordinatorFiles{files, s}
}

// chaosFiles know where they are.
type chaosFiles interface {
	mapreduce.FileSystem
	mapreduce.Locator
}

type workerFiles struct {
	chaosFiles
	strikes *strikes
}

// Open implements mapreduce.FileSystem.
func (f *workerFiles) Open(ctx context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	f.strikes.pass(ctx, opening)
	return f.chaosFiles.Open(ctx, name)
}

// Create implements mapreduce.FileSystem.
func (f *workerFiles) Create(ctx context.Context, name string) (io.WriteCloser, error) {
	f.strikes.pass(ctx, creating)
	return f.chaosFiles.Create(ctx, name)
}

type coordinatorFiles struct {
	chaosFiles
	strikes *strikes
}

// Commit implements mapreduce.FileSystem.
func (f *coordinatorFiles) Commit(ctx context.Context, temporary, final string) error {
	f.strikes.pass(ctx, committing)
	return f.chaosFiles.Commit(ctx, temporary, final)
}
