package testutil_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

// judged is a testing.TB that can be failed.
type judged struct {
	testing.TB
	failure string
}

func (j *judged) Helper() {}

func (j *judged) Failed() bool { return j.failure != "" }

func (j *judged) Errorf(format string, args ...any) { j.failure = fmt.Sprintf(format, args...) }

func TestEnough(t *testing.T) {
	for _, c := range []struct {
		name    string
		enough  int // runs, for what is wanted; 0 means never
		fails   int // the run that fails, plus 1
		runs    int
		failure string
	}{
		{name: "as planned", enough: 3, runs: 5},
		{name: "just so", enough: 5, runs: 5},
		{name: "more", enough: 23, runs: 23},
		{name: "at last", enough: 50, runs: 50},
		{name: "never", runs: 50, failure: "in 50 runs, too few to prove anything: ham 50 times, want 1000"},
		{name: "a failure", fails: 2, runs: 2, failure: "bad"},
		{name: "a failure later", fails: 17, runs: 17, failure: "bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &judged{TB: t}
			got := make(map[string]int)
			want := map[string]int{"eggs": 0, "ham": c.enough}
			if c.enough == 0 {
				want["ham"] = 1000
			}
			runs := 0
			testutil.Enough(j, 5, func() string { return testutil.Lack(got, want) }, func(i int) {
				if i != runs {
					t.Errorf("run %d has number %d", runs, i)
				}
				runs++
				got["ham"]++
				if runs == c.fails {
					j.Errorf("bad")
				}
			})
			if runs != c.runs || !strings.Contains(j.failure, c.failure) || (j.failure == "") != (c.failure == "") {
				t.Errorf("%d runs, %q; want %d and %q", runs, j.failure, c.runs, c.failure)
			}
		})
	}
}
