package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestVMFT runs each subject on each case of vmft for a moment.
func TestVMFT(t *testing.T) {
	w, err := newWorkspace(1<<20, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	calls := []string{"calls/s", "p50_us", "p99_us", "p999_us", "allocs"}
	for kase, want := range map[string][]string{
		"apply64/conc1": calls, "apply64/conc64": calls, "apply64/conc1024": calls, "client64/conc64": calls,
		"failover": {"ms"}, "gfs-failover": {"ms", "append_ms"}, "clone": {"pause_ms", "total_ms"}, "overhead": {"ratio"},
	} {
		t.Run(kase, func(t *testing.T) {
			if strings.HasSuffix(kase, "failover") && testing.Short() {
				t.Skip("takes seconds")
			}
			p := plan{rounds: 1, turn: 20 * time.Millisecond, warmup: 5 * time.Millisecond, work: w}
			results := measured(t, &vmftSuite, kase, vmftSuite.subjects, p)
			if len(results) == 0 {
				t.Error("no subjects")
			}
			for _, r := range results {
				if got := metricNames(r); !slices.Equal(got, want) {
					t.Errorf("%s has metrics %v, want %v", r.subject, got, want)
				}
				for _, m := range r.metrics {
					if m.value < 0 || m.name == "calls/s" && m.value == 0 {
						t.Errorf("%s: %s is %v", r.subject, m.name, m.value)
					}
				}
			}
		})
	}
}
