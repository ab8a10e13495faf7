package main

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A caller performs one operation and returns when it is done. It is called by
// one goroutine at a time, again and again.
type caller func() error

// A load is a cell in which callers, each on a goroutine of its own, perform one
// operation after another.
type load struct {
	callers []caller
	bytes   int // moved by each operation, both ways
	close   func() error

	histograms []histogram // by caller, kept from turn to turn
}

var _ cell = (*load)(nil)

// The phases of a turn.
const (
	warming int32 = iota
	measuring
	over
)

func (l *load) Close() error { return l.close() }

func (l *load) measure(ctx context.Context, warmup, turn time.Duration) ([]metric, error) {
	if l.histograms == nil {
		l.histograms = make([]histogram, len(l.callers))
	}
	clear(l.histograms)
	runtime.GC() // pay for the previous turn's garbage

	var phase atomic.Int32
	var failure atomic.Pointer[error]
	var wg sync.WaitGroup
	failed := make(chan struct{}, 1)
	for i, call := range l.callers {
		wg.Go(func() {
			if err := drive(call, &l.histograms[i], &phase); err != nil {
				failure.CompareAndSwap(nil, &err)
				select {
				case failed <- struct{}{}:
				default:
				}
			}
		})
	}
	wait := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-failed:
		}
	}
	var before, after runtime.MemStats
	wait(warmup)
	runtime.ReadMemStats(&before)
	begin := time.Now()
	phase.Store(measuring)
	wait(turn)
	phase.Store(over)
	elapsed := time.Since(begin)
	runtime.ReadMemStats(&after)
	wg.Wait()
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.metrics(elapsed, after.Mallocs-before.Mallocs), nil
}

// drive calls until the turn is over, noting how long each call took. The end of
// a call is the beginning of the next, so that there is one look at the clock for
// each.
func drive(call caller, h *histogram, phase *atomic.Int32) error {
	epoch := time.Now()
	var last time.Duration
	for {
		if err := call(); err != nil {
			return err
		}
		now := time.Since(epoch)
		switch phase.Load() {
		case measuring:
			h.add(now - last)
		case over:
			return nil
		}
		last = now
	}
}

func (l *load) metrics(elapsed time.Duration, mallocs uint64) []metric {
	var all histogram
	for i := range l.histograms {
		all.merge(&l.histograms[i])
	}
	rate := float64(all.count) / elapsed.Seconds()
	micros := func(p float64) float64 { return float64(all.percentile(p)) / 1e3 }
	return []metric{
		{"calls/s", rate},
		{"MB/s", rate * float64(l.bytes) / 1e6},
		{"p50_us", micros(0.50)},
		{"p99_us", micros(0.99)},
		{"p999_us", micros(0.999)},
		{"allocs", float64(mallocs) / float64(max(all.count, 1))},
	}
}
