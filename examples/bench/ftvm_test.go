package main

import (
	"slices"
	"testing"
	"time"
)

// TestFTVM runs each subject on each kind of case of ftvm for a moment.
func TestFTVM(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	w, err := newWorkspace(1<<20, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	http := []string{"req/s", "p50_us", "p99_us", "cpu_us", "mbit/s"}
	for kase, want := range map[string][]string{
		"cpu/fib": {"s", "mbit/s"}, "disk/backup": {"req/s", "cpu_us", "mbit/s"}, "http/half": http, "failover": {"ms"}, "clone": {"pause_ms", "total_ms"},
	} {
		t.Run(kase, func(t *testing.T) {
			p := plan{rounds: 1, turn: 100 * time.Millisecond, work: w}
			results := measured(t, &ftvmSuite, kase, ftvmSuite.subjects, p)
			if len(results) == 0 {
				t.Error("no subjects")
			}
			for _, r := range results {
				if got := metricNames(r); !slices.Equal(got, want) {
					t.Errorf("%s has metrics %v, want %v", r.subject, got, want)
				}
				if v := r.metrics[0].value; v <= 0 {
					t.Errorf("%s: %s is %v", r.subject, r.metrics[0].name, v)
				}
			}
		})
	}
}
