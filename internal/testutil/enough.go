package testutil

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// mostTimes is how many times as many runs as were planned Enough makes at most.
const mostTimes = 10

// Enough calls run with 0, 1, 2 and so on: planned times, and more, up to ten times as many
// in all, for as long as lack says that something has not happened often enough. A bubble
// fixes time but not the order of goroutines, and real processes fix neither, so the same
// seeds do not bring the same events each time: a test that wants to have seen some of
// each goes on until it has. It fails if it never does. After a failure nothing more is run.
func Enough(t testing.TB, planned int, lack func() string, run func(i int)) {
	t.Helper()
	missing := ""
	for i := range mostTimes * planned {
		if i >= planned {
			if missing = lack(); missing == "" {
				return
			}
		}
		if run(i); t.Failed() {
			return
		}
	}
	if missing = lack(); missing != "" {
		t.Errorf("in %d runs, too few to prove anything: %s", mostTimes*planned, missing)
	}
}

// Lack says what has happened less often than it should have, for [Enough].
func Lack[N int | int64 | uint64](got, want map[string]N) string {
	var missing []string
	for _, what := range slices.Sorted(maps.Keys(want)) {
		if got[what] < want[what] {
			missing = append(missing, fmt.Sprintf("%s %d times, want %d", what, got[what], want[what]))
		}
	}
	return strings.Join(missing, "; ")
}
