package vmft_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// sink is a machine that does next to nothing.
type sink struct{ counter }

func (*sink) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte { return append(dst, cmd[:8]...) }

// A command of 64 bytes, from a number of callers in the primary's process to a backup over
// TCP.
func BenchmarkApply64(b *testing.B) {
	for _, callers := range []int{1, 64, 1024} {
		for _, journal := range []bool{false, true} {
			name := fmt.Sprintf("conc%d/tcp", callers)
			if journal {
				name += "+journal"
			}
			b.Run(name, func(b *testing.B) { benchmarkApply(b, callers, journal) })
		}
	}
}

func benchmarkApply(b *testing.B, callers int, journal bool) {
	arbiter := vmft.MemoryArbiter()
	var nodes []*vmft.Node
	var peers []string
	for range 2 {
		cfg := vmft.Config{
			Transport: &transport.TCP{}, Addr: "127.0.0.1:0", Peers: slices.Clone(peers), Arbiter: arbiter,
			Machine: &sink{counter{values: map[string]uint64{}, version: "sink/1"}},
		}
		if journal {
			cfg.Dir = b.TempDir()
		}
		n, err := vmft.Start(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer n.Close()
		nodes, peers = append(nodes, n), append(peers, n.Addr())
		if len(nodes) == 1 {
			testutil.Eventually(b, 10*time.Second, func() bool { return n.Status().Role == vmft.RolePrimary }, "a primary")
		}
	}
	primary := nodes[0]
	testutil.Eventually(b, 10*time.Second, func() bool { return !primary.Status().Newest.Backup.IsZero() }, "a backup")
	cmd := make([]byte, 64)
	var next atomic.Int64
	took := make([][]time.Duration, callers)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				began := time.Now()
				if _, _, err := primary.Propose(context.Background(), cmd); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Sorted(func(yield func(time.Duration) bool) {
		for _, some := range took {
			for _, d := range some {
				if !yield(d) {
					return
				}
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50_us")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99_us")
}
