package testutil_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// recorder is a testing.TB that notes a failure and goes on.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
}

func TestEventuallyReturnsWhenTheConditionHolds(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		begin := time.Now()
		ready := begin.Add(3 * time.Second)
		testutil.Eventually(t, time.Minute, func() bool { return !time.Now().Before(ready) }, "three seconds")
		if took := time.Since(begin); took < 3*time.Second || took > 3*time.Second+100*time.Millisecond {
			t.Errorf("returned after %v, want soon after 3s", took)
		}
	})
}

func TestEventuallyNeedsNoTimeForWhatAlreadyHolds(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		begin := time.Now()
		testutil.Eventually(t, 0, func() bool { return true }, "nothing")
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %v, want none", took)
		}
	})
}

func TestEventuallyFailsAtItsTimeout(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		begin := time.Now()
		r := &recorder{TB: t}
		testutil.Eventually(r, 5*time.Second, func() bool { return false }, "the sky to fall")
		want := testutil.Patience * 5 * time.Second
		if took := time.Since(begin); took != want {
			t.Errorf("gave up after %v, want %v", took, want)
		}
		if !strings.Contains(r.failure, want.String()) || !strings.Contains(r.failure, "the sky to fall") {
			t.Errorf("failure %q does not name the timeout and what was waited for", r.failure)
		}
	})
}

func TestUntil(t *testing.T) {
	n := 0
	if !testutil.Until(t.Context(), func() bool { n++; return n == 5 }) || n != 5 {
		t.Errorf("asked %d times, want 5", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n = 0
	ended := testutil.Until(ctx, func() bool {
		if n++; n == 3 {
			cancel()
		}
		return false
	})
	if ended || n < 3 {
		t.Errorf("true after the end: %t; asked %d times", ended, n)
	}
}
