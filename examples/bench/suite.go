package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A suite is a list of cases, each measured on several subjects.
type suite struct {
	name     string
	about    string
	cases    []string
	subjects []string
	// baseline returns the subject that the table shows the others' ratio to, in the
	// first metric of a case, or "".
	baseline func(kase string) string
	// rounds is the number of turns, unless -rounds says otherwise.
	rounds int
	// timed says that a turn takes as long as -duration says; otherwise it takes as
	// long as it takes.
	timed bool
	// duration is how long a subject is measured in all, unless -duration says otherwise;
	// 0 is what that says by default.
	duration time.Duration
	// size is that of what is made, in MiB, unless -size says otherwise; 0 is what that
	// says by default.
	size int64
	// works says that there is a workspace, with what to work on.
	works bool
	// open sets up a subject for a case. A nil cell says that the subject has
	// nothing to set against the case.
	open func(ctx context.Context, kase, subject string, w *workspace) (cell, error)
}

// A cell is a subject set up for a case.
type cell interface {
	// measure warms up and measures for a while. It returns the same metrics in the
	// same order each time.
	measure(ctx context.Context, warmup, turn time.Duration) ([]metric, error)
	Close() error
}

// A metric is one figure.
type metric struct {
	name  string // unit last: calls/s, p50_us
	value float64
}

// A named value is a case or a subject of a suite.
type named[T any] struct {
	name  string
	value T
}

// names returns the names in a list.
func names[T any](list []named[T]) []string {
	var names []string
	for _, n := range list {
		names = append(names, n.name)
	}
	return names
}

// find returns the value of a name that is in the list.
func find[T any](list []named[T], name string) T {
	i := slices.IndexFunc(list, func(n named[T]) bool { return n.name == name })
	return list[i].value
}

// A plan says how long to measure.
type plan struct {
	rounds int
	turn   time.Duration // the length of one turn of one subject
	warmup time.Duration // before each turn
	work   *workspace    // nil in a suite that has none
}

// A result is what was measured of a subject on a case.
type result struct {
	subject string
	metrics []metric
}

// measure sets up the subjects for a case and gives them turns. All are set up
// before the first is measured and stay idle between their turns.
func (s *suite) measure(ctx context.Context, kase string, subjects []string, p plan) (_ []result, err error) {
	var cells []cell
	var results []result
	defer func() {
		for i, c := range cells {
			if e := c.Close(); e != nil && err == nil {
				err = fmt.Errorf("%s/%s: closing: %w", kase, results[i].subject, e)
			}
		}
	}()
	for _, subject := range subjects {
		c, err := s.open(ctx, kase, subject, p.work)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: setting up: %w", kase, subject, err)
		}
		if c != nil {
			cells = append(cells, c)
			results = append(results, result{subject: subject})
		}
	}
	turns := make([][][]metric, len(cells)) // by cell and round
	for range p.rounds {
		for i, c := range cells {
			m, err := c.measure(ctx, p.warmup, p.turn)
			if err != nil {
				return nil, fmt.Errorf("%s/%s: %w", kase, results[i].subject, err)
			}
			turns[i] = append(turns[i], m)
		}
	}
	for i := range results {
		results[i].metrics = medians(turns[i])
	}
	return results, nil
}

// medians returns the median of each metric over the turns.
func medians(turns [][]metric) []metric {
	var out []metric
	for i, m := range turns[0] {
		var values []float64
		for _, turn := range turns {
			values = append(values, turn[i].value)
		}
		slices.Sort(values)
		n := len(values)
		out = append(out, metric{m.name, (values[(n-1)/2] + values[n/2]) / 2})
	}
	return out
}
