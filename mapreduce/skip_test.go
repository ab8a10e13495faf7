//lint:bubble
package mapreduce

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// An attempt announces strides, single records where one is known to be fatal, and
// nothing that is to be skipped.
func TestRecordWatch(t *testing.T) {
	var told []span
	task := &Task{spec: &Spec{SkipBadRecords: 1}}
	task.watch(care{skip: []uint64{2, 1001}, careful: true, near: span{1000, 3}}, func(s span) error {
		told = append(told, s)
		return nil
	})
	var skipped []uint64
	for n := range uint64(1300) {
		skip, err := task.records.enter()
		if err != nil {
			t.Fatal(err)
		}
		if skip {
			skipped = append(skipped, n)
		} else if task.records.at.Load() != n+1 {
			t.Fatalf("at %d in record %d", task.records.at.Load(), n)
		}
		task.records.leave()
	}
	if err := task.records.end(); err != nil {
		t.Fatal(err)
	}
	want := []span{{0, 256}, {256, 256}, {512, 256}, {768, 232}, {1000, 1}, {1002, 1}, {1003, 256}, {1259, 256}, {}}
	if !slices.Equal(told, want) || !slices.Equal(skipped, []uint64{2, 1001}) || task.counters.counts()[0].n != 2 {
		t.Errorf("announced %v, skipped %v", told, skipped)
	}
}

// picky fails in its own way on lines 3 and 17, and on the key "line".
func picky(fail func(t *Task, what string) error) Job[string, string, string] {
	job := places
	job.Map = func(t *Task, line Record, emit func(string, string)) error {
		err := places.Map(t, line, emit) // what a bad record has emitted does not count
		if text := line.Text(); err == nil && (strings.HasPrefix(text, "line 3 ") || strings.HasPrefix(text, "line 17 ")) {
			err = fail(t, text)
		}
		return err
	}
	job.Reduce = func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
		if err := places.Reduce(t, word, at, emit); err != nil || word != "line" {
			return err
		}
		return fail(t, word)
	}
	return job
}

func errorOn(_ *Task, what string) error { return errors.New("cannot take " + what) }
func panicOn(_ *Task, what string) error { panic("cannot take " + what) }

// skipSpec lets a job skip what picky fails on.
func skipSpec() Spec {
	spec := testSpec(testInput(20), 4, 2)
	spec.SkipBadRecords = 3
	return spec
}

// A record on which the code returns an error, panics or hangs is skipped after two
// failures, as a sequential run skips it.
func TestBadRecordsAreSkipped(t *testing.T) {
	input := testInput(20)
	spec := skipSpec()
	want := sequentialOutput(t, picky(errorOn), spec, ReadOnly(input))
	for name, fail := range map[string]func(*Task, string) error{
		"error": errorOn, "panic": panicOn,
		"hang": func(t *Task, _ string) error { <-t.Context().Done(); return t.Context().Err() },
	} {
		testutil.Bubble(t, func(t *testing.T) {
			c := newTestCluster(t, 2, input, picky(fail))
			defer c.close()
			_, wait := c.submit(spec)
			result := wait()
			checkSameOutput(t, name, c.files, result, want)
			if n := result.Counters[CounterMapSkipped]; n != 2 {
				t.Errorf("%s: %d records were skipped, want 2", name, n)
			}
			if n := result.Counters[CounterReduceSkipped]; n != 1 || len(result.Skipped) != 3 {
				t.Errorf("%s: %d keys were skipped, want 1; listed are %v", name, n, result.Skipped)
			}
			for _, s := range result.Skipped {
				if says := map[string]string{"error": "cannot take line", "panic": "cannot take line", "hang": "no progress"}[name]; !strings.Contains(s.Error, says) {
					t.Errorf("%s: %v does not say %q", name, s, says)
				}
			}
		})
	}
}

// What is beyond the limit fails the job, and so does any bad record by default.
func TestTooManyBadRecordsFailTheJob(t *testing.T) {
	for _, limit := range []int{0, 2} {
		testutil.Bubble(t, func(t *testing.T) {
			c := newTestCluster(t, 2, testInput(20), picky(errorOn))
			defer c.close()
			spec := skipSpec()
			spec.SkipBadRecords = limit
			id, err := c.client.Submit(t.Context(), "places", spec)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.client.Wait(t.Context(), id); !errors.Is(err, ErrJobFailed) || !strings.Contains(err.Error(), "failed 4 times") {
				t.Errorf("limit %d: %v", limit, err)
			}
			if s, err := c.client.Status(t.Context(), id); err != nil || len(s.Skipped) != limit {
				t.Errorf("limit %d: skipped %v, %v", limit, s.Skipped, err)
			}
		})
	}
}

// A record that takes its worker with it, without a word, is found out and skipped;
// the coordinator may be another one by then.
func TestFatalRecordsAreSkipped(t *testing.T) {
	input := testInput(20)
	spec := skipSpec()
	want := sequentialOutput(t, picky(errorOn), spec, ReadOnly(input))
	for _, restart := range []bool{false, true} {
		testutil.Bubble(t, func(t *testing.T) {
			fatal := make(chan Attempt)
			c := newTestCluster(t, 3, input, picky(func(t *Task, _ string) error {
				fatal <- t.Attempt()
				<-t.Context().Done()
				return t.Context().Err()
			}))
			defer c.close()
			deaths := 0
			done := make(chan struct{})
			killed := make(chan struct{})
			go func() {
				defer close(killed)
				for {
					select {
					case a := <-fatal:
						deaths++
						c.killWorker(c.runs(a), transport.CrashSilent)
						if restart && deaths%3 == 0 {
							c.killCoordinator(transport.CrashReset)
							c.reviveCoordinator()
						}
						for i, w := range c.workers {
							if w == nil {
								c.reviveWorker(i)
							}
						}
					case <-done:
						return
					}
				}
			}()
			_, wait := c.submit(spec)
			result := wait()
			close(done)
			<-killed
			checkSameOutput(t, "fatal records", c.files, result, want)
			if len(result.Skipped) != 3 || deaths < 6 || deaths > 30 {
				t.Errorf("after %d deaths %v are skipped", deaths, result.Skipped)
			}
		})
	}
}

// runs returns which worker runs an attempt.
func (c *testCluster) runs(a Attempt) int {
	for i, w := range c.workers {
		if w == nil {
			continue
		}
		w.mu.Lock()
		_, runs := w.running[a]
		w.mu.Unlock()
		if runs {
			return i
		}
	}
	c.t.Fatalf("nobody runs attempt %v", a)
	return -1
}

// Of two attempts that die together neither is blamed: one of them is innocent.
func TestWhoDiesTogetherIsNotBlamed(t *testing.T) {
	c := newCore(t)
	c.join(1, 2)
	j := testJob("a", 2, 1)
	j.spec.SkipBadRecords = 5
	c.submit(j)
	j = c.tasks.jobs[1]
	for range 3 {
		for _, a := range c.tasks.runningOf(0) {
			c.s.announced(a, span{7, 1})
		}
		c.now = c.now.Add(time.Minute)
		c.settle()
		c.join(1, 2)
	}
	if j.skips != 0 {
		t.Errorf("skipped %v", j.skipped())
	}
	for i := range 2 {
		if tr := j.tasks[MapTask][i].trouble; tr == nil || len(tr.suspects) > 0 || tr.near != (span{7, 1}) {
			t.Errorf("map %d: %+v", i, tr)
		}
	}
}
