package testutil

import (
	"context"
	"testing"
	"time"
)

// The pause between two looks at a condition starts at minPause, so that what is
// quick stays quick, and doubles up to maxPause, so that what is slow is not
// slowed further by being watched.
const (
	minPause = 200 * time.Microsecond
	maxPause = 20 * time.Millisecond
)

// Eventually waits until cond returns true and fails the test at once if it has
// not done so within timeout; message says what was waited for. cond runs on the
// calling goroutine, which must be the test's own, and is asked a last time when
// the timeout has passed.
//
// The timeout bounds a broken test, it does not measure: choose it far above what
// a loaded machine needs. Under the race detector, where a virtual machine is 50 times
// slower, it is five times as long.
func Eventually(t testing.TB, timeout time.Duration, cond func() bool, message string) {
	t.Helper()
	timeout *= patience
	deadline := time.Now().Add(timeout)
	for pause := minPause; !cond(); pause = min(2*pause, maxPause) {
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("still not so after %v: %s", timeout, message)
			return // for a TB whose Fatalf returns
		}
		time.Sleep(min(pause, left))
	}
}

// Until is Eventually for other goroutines than the test's own: it waits until cond
// returns true, for as long as ctx lasts, and reports whether it has.
func Until(ctx context.Context, cond func() bool) bool {
	for pause := minPause; !cond(); pause = min(2*pause, maxPause) {
		select {
		case <-ctx.Done():
			return cond()
		case <-time.After(pause):
		}
	}
	return true
}
