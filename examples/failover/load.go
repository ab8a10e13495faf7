package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/examples/internal/nodes"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// patience is how long a call may take before the service counts as down.
const patience = nodes.Patience

// A load is clients, each of which counts.
type load struct {
	counters []*counter
	work     sync.WaitGroup
	over     atomic.Bool
	failed   chan error
}

// A counter is a client and its counter.
type counter struct {
	name   string
	client *vmft.Client
	acked  atomic.Int64 // increments that were acknowledged
	pause  atomic.Int64 // the longest call since the last look, in nanoseconds
}

func newLoad(t transport.Transport, addrs []string, clients int) (*load, error) {
	l := &load{failed: make(chan error, clients)}
	for i := range clients {
		client, err := vmft.Dial(t, addrs...)
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.counters = append(l.counters, &counter{name: fmt.Sprintf("counter%d", i), client: client})
	}
	return l, nil
}

func (l *load) close() error {
	var err error
	for _, c := range l.counters {
		err = errors.Join(err, c.client.Close())
	}
	return err
}

// run begins to count.
func (l *load) run(ctx context.Context) {
	for _, c := range l.counters {
		l.work.Go(func() {
			for !l.over.Load() {
				if err := c.increment(ctx); err != nil {
					l.failed <- err
					return
				}
			}
		})
	}
}

// stop ends the counting; what is in progress is completed, so that nothing is in doubt.
func (l *load) stop() error {
	l.over.Store(true)
	l.work.Wait()
	select {
	case err := <-l.failed:
		return err
	default:
		return nil
	}
}

// increment adds one. The sum tells at once whether every call so far was executed once.
func (c *counter) increment(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	out, err := c.client.Call(ctx, []byte("add "+c.name+" 1"))
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if want := strconv.FormatInt(c.acked.Load()+1, 10); string(out) != want {
		return fmt.Errorf("%s: increment %s was answered by %q", c.name, want, out)
	}
	c.acked.Add(1)
	for took := int64(time.Since(began)); ; {
		if old := c.pause.Load(); took <= old || c.pause.CompareAndSwap(old, took) {
			return nil
		}
	}
}

// pauses returns the longest call since the last time it was asked, of the client that
// waited least and of the one that waited most.
func (l *load) pauses() (least, most time.Duration) {
	for i, c := range l.counters {
		d := time.Duration(c.pause.Swap(0))
		if i == 0 || d < least {
			least = d
		}
		most = max(most, d)
	}
	return least, most
}

// Watch implements nodes.Witness.
func (l *load) Watch() { l.pauses() }

// Settle waits until every client is answered again, and tells of the pauses.
func (l *load) Settle(ctx context.Context) (string, error) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for _, c := range l.counters {
		for before := c.acked.Load(); c.acked.Load() == before; {
			select {
			case <-ticker.C:
			case err := <-l.failed:
				return "", err
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}
	}
	least, most := l.pauses()
	return fmt.Sprintf("clients saw a pause of %s to %s", nodes.Millis(least), nodes.Millis(most)), nil
}

// acked returns how many increments were acknowledged.
func (l *load) acked() (n int64) {
	for _, c := range l.counters {
		n += c.acked.Load()
	}
	return n
}

// prove compares the counters with what was acknowledged.
func (l *load) prove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, c := range l.counters {
		out, err := c.client.Query(ctx, []byte("get "+c.name))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if want := c.acked.Load(); string(out) != strconv.FormatInt(want, 10) {
			return fmt.Errorf("%s: %d increments were acknowledged, and it is %q", c.name, want, out)
		}
	}
	return nil
}
