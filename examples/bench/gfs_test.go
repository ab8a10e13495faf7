package main

import (
	"slices"
	"testing"
	"time"
)

// TestEveryFileSystemCase runs each subject on each case of gfs, for a moment and on
// little: that it is set up, does what it is to do, and stops.
func TestEveryFileSystemCase(t *testing.T) {
	w := testWorkspace(t, 4<<20, "")
	w.files, w.stats, w.clients, w.lease = 2000, 4*listFiles, 20, 100*time.Millisecond
	rate, ops := []string{"MB/s"}, []string{"ops/s", "p50_us", "p99_us", "p999_us"}
	others := map[string][]string{
		"read1-slow": {"p50_us", "p999_us"}, "create": ops, "stat": ops, "list": ops, "stat2000": ops, "stat-idle2000": ops,
		"core-create": {"ops/s"}, "core-lookup": {"ops/s"}, "recover-1m": {"s"},
		"bytes-per-file": {"bytes", "name_bytes"}, "bytes-per-chunk": {"bytes", "replica_list_bytes"},
	}
	for _, kase := range gfsSuite.cases {
		if testing.Short() && !slices.Contains([]string{"read1", "write1", "append1", "rereplicate", "create", "stat"}, kase) {
			continue
		}
		t.Run(kase, func(t *testing.T) {
			p := plan{rounds: 1, turn: 50 * time.Millisecond, warmup: time.Millisecond, work: w}
			if kase == "read1-slow" {
				p.turn = time.Second // in which a slow answer fits
			}
			results := measured(t, &gfsSuite, kase, gfsSuite.subjects, p)
			if len(results) == 0 {
				t.Error("no subject")
			}
			want := rate
			if other := others[kase]; other != nil {
				want = other
			}
			for _, r := range results {
				if got := metricNames(r); !slices.Equal(got, want) {
					t.Errorf("%s has metrics %v, want %v", r.subject, got, want)
				}
				if r.metrics[0].value <= 0 {
					t.Errorf("%s: %+v", r.subject, r.metrics)
				}
			}
		})
	}
}
