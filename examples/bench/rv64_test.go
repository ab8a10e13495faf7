package main

import (
	"os/exec"
	"slices"
	"testing"
	"time"
)

// TestRV64 measures each case of rv64 for a moment.
func TestRV64(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain to build a guest with")
	}
	cases := []string{"fib", "http", "freeze", "record"} // the other kernels differ in nothing but their names
	if testing.Short() {
		cases = cases[:1]
	}
	for _, kase := range cases {
		p := plan{rounds: 1, turn: 50 * time.Millisecond}
		results := measured(t, &rv64Suite, kase, []string{"interpreter", "native"}, p)
		want := map[string][]string{"http": {"req/s"}, "freeze": {"pause_ms"}, "record": {"ratio"}}[kase]
		if want == nil {
			want = []string{"mips", "s", "slowdown"}
		}
		if got := metricNames(results[0]); !slices.Equal(got, want) {
			t.Errorf("%s has metrics %v, want %v", kase, got, want)
		}
		for _, m := range results[0].metrics {
			if m.value <= 0 {
				t.Errorf("%s: %s is %v", kase, m.name, m.value)
			}
		}
	}
}
