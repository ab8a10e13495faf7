package testutil

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Bubble runs f in a synctest bubble, as synctest.Test does; tests use it instead.
//
// Under the race detector it runs one goroutine at a time (GOMAXPROCS 1) while a
// bubble lasts. In Go 1.26 all timers of a bubble share one race context, and a
// goroutine that looks at the channel of a timer that is due while nobody waits for
// it runs that timer itself, at the same time as others do: then the detector
// corrupts its own memory, and the process dies of a SIGSEGV in __tsan. What races is
// found all the same, as the detector goes by what happens before what, not by the
// clock.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if raceEnabled {
		single.enter()
		defer single.leave()
	}
	synctest.Test(t, f)
}

// alone keeps GOMAXPROCS at 1 while any of several parallel tests is in a bubble.
type alone struct {
	mu      sync.Mutex
	bubbles int
	before  int
}

var single alone

func (a *alone) enter() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bubbles++; a.bubbles == 1 {
		a.before = runtime.GOMAXPROCS(1)
	}
}

func (a *alone) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bubbles--; a.bubbles == 0 {
		runtime.GOMAXPROCS(a.before)
	}
}
