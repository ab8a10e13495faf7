//go:build unix

package vmft_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

var soakFor = flag.Duration("soak.for", 0, "how long TestNoFalseFailOver goes on; 0: a few seconds")

// soakCallers is how many clients call at a time. With them and two nodes on one machine
// no processor is idle.
const soakCallers = 64

// Two nodes in the default configuration, in processes of their own, under as much load as
// the machine can make: nobody is taken for dead. Whatever else the machine is doing makes
// it the better test.
func TestNoFalseFailOver(t *testing.T) {
	length := *soakFor
	if length == 0 {
		if testing.Short() {
			t.Skip("takes seconds")
		}
		length = 2 * time.Second
	}
	addrs, lock := freeAddrs(t), filepath.Join(t.TempDir(), "lock")
	var nodes [2]*process
	nodes[0] = startProcess(t, addrs[0], strings.Join(addrs, ","), lock, "")
	nodes[0].await(t, "primary false")
	nodes[1] = startProcess(t, addrs[1], strings.Join(addrs, ","), lock, "")
	nodes[0].await(t, "primary true")
	epoch := nodes[0].epoch.Load()
	var calls atomic.Int64
	var work sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration
	end := time.Now().Add(length)
	for range soakCallers {
		work.Go(func() {
			c, err := vmft.Dial(&transport.TCP{}, addrs...)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			worst := time.Duration(0)
			for began := time.Now(); began.Before(end) && nodes[0].epoch.Load() == epoch; {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				_, err := c.Call(ctx, []byte("a"))
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				now := time.Now()
				worst, began = max(worst, now.Sub(began)), now
				calls.Add(1)
			}
			mu.Lock()
			longest = max(longest, worst)
			mu.Unlock()
		})
	}
	soakReport(t, &work, &calls)
	t.Logf("%d calls in %v, %.0f a second; the longest took %v; load average %s",
		calls.Load(), length, float64(calls.Load())/length.Seconds(), longest, loadAverage())
	for _, n := range nodes {
		if got := n.epoch.Load(); got != epoch {
			t.Errorf("%s is in epoch %d, it was %d: somebody was taken for dead", n.addr, got, epoch)
		}
	}
}

// soakReport tells once a minute how it goes, until work is done.
func soakReport(t *testing.T, work *sync.WaitGroup, calls *atomic.Int64) {
	done := make(chan struct{})
	go func() {
		work.Wait()
		close(done)
	}()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.Logf("%d calls, load average %s", calls.Load(), loadAverage())
		case <-done:
			return
		}
	}
}

// loadAverage is what the system says of its load, if it does.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
