//lint:bubble
package mapreduce

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// logging is a job whose first map logs and then does what it is told to.
func logging(then func(t *Task) error) Definition {
	return Job[string, int, int]{
		Name: "logging",
		Map: func(t *Task, r Record, emit func(string, int)) error {
			if t.Index() > 0 {
				return nil
			}
			t.Logf("read %d bytes\nof <b>%s</b>", len(r.Value), r.File)
			return then(t)
		},
		Reduce: func(*Task, string, iter.Seq[int], func(int)) error { return nil },
	}
}

// What an attempt that fails has logged is shown with its error; what one that
// completes has logged is kept, and so is both after the job's end.
func TestTaskLogs(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(4)
		c := newTestCluster(t, 1, input, logging(func(t *Task) error {
			if t.Attempt().N == 1 {
				return errors.New("not this time")
			}
			return nil
		}))
		defer c.close()
		id, wait := c.submit(testSpec(input, 2, 1))
		wait()
		h := c.coordinator.StatusHandler()
		job := getJSON[JobReport](t, h, fmt.Sprintf("/status.json?job=%d", id))
		if f := job.Details.Failures; len(f) != 1 || !strings.HasSuffix(f[0].Log, "bytes\nof <b>input</b>") || !strings.Contains(f[0].Error, "not this time") {
			t.Errorf("the failures are %+v", f)
		}
		if l := job.Details.Logs; len(l) != 2 || l[0].Task != "map task 0" || l[0].Worker != "worker0:1" || l[0].Attempt == l[1].Attempt {
			t.Errorf("the logs are %+v", l)
		}
		wantAll(t, get(t, h, fmt.Sprintf("/?job=%d", id), 200), "Logs", "of &lt;b&gt;input&lt;/b&gt;")

		time.Sleep(sampleEvery) // until the report is saved
		c.killCoordinator(transport.CrashReset)
		c.reviveCoordinator()
		c.until(id, func(s *JobStatus) bool { return s.State == JobSucceeded })
		h = c.coordinator.StatusHandler()
		after := getJSON[JobReport](t, h, fmt.Sprintf("/status.json?job=%d", id))
		if !slices.Equal(after.Details.Failures, job.Details.Failures) || !slices.Equal(after.Details.Logs, job.Details.Logs) {
			t.Errorf("after a restart the failures are %+v and the logs %+v", after.Details.Failures, after.Details.Logs)
		}
	})
}

// What an attempt has logged shows while it runs, and outlives its worker.
func TestTaskLogOfADeadWorker(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(4)
		release := make(chan struct{})
		c := newTestCluster(t, 2, input, logging(func(t *Task) error {
			select {
			case <-release:
			case <-t.Context().Done():
			}
			return nil
		}))
		defer c.close()
		spec := testSpec(input, 2, 1)
		spec.NoBackups, spec.TaskTimeout = true, time.Hour
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Running == 1 && s.Maps.Completed == 1 })
		time.Sleep(2 * time.Second) // until the next sign of life
		h := c.coordinator.StatusHandler()
		report := func() *JobDetails {
			return getJSON[JobReport](t, h, fmt.Sprintf("/status.json?job=%d", id)).Details
		}
		logs := report().Logs
		if len(logs) != 1 {
			t.Fatalf("the logs are %+v", logs)
		}
		var victim int
		if _, err := fmt.Sscanf(logs[0].Worker, "worker%d:1", &victim); err != nil {
			t.Fatal(err)
		}
		c.killWorker(victim, transport.CrashReset)
		close(release)
		wait()
		lost := 0
		for _, f := range report().Failures {
			if f.Attempt == logs[0].Attempt {
				lost++
				if f.Log != logs[0].Text {
					t.Errorf("the failure is %+v, the log was %+v", f, logs[0])
				}
			}
		}
		if lost != 1 {
			t.Errorf("%d failures of the attempt whose worker died", lost)
		}
	})
}

// Logs are bounded: each in bytes, those of a job in number.
func TestTaskLogsAreBounded(t *testing.T) {
	task := &Task{}
	for i := range 10_000 {
		task.Logf("line %d of %s", i, strings.Repeat("x", 20))
	}
	text := task.log.tell()
	if len(text) > maxLogBytes || !strings.HasPrefix(text, "…\nline ") || !strings.HasSuffix(text, "line 9999 of xxxxxxxxxxxxxxxxxxxx") {
		t.Errorf("the log has %d bytes: %.40q", len(text), text)
	}
	if again := task.log.tell(); again != "" {
		t.Errorf("told again: %.40q", again)
	}
	if task.log.retell(); task.log.tell() != text {
		t.Error("not told again")
	}
	h := newHistory(1)
	h.jobs[1] = &jobHistory{}
	for i := range 10 * maxLogsKept {
		h.logged(LogReport{Attempt: fmt.Sprint(i % (2 * maxLogsKept)), Text: text}, 1)
	}
	if kept := h.jobs[1].logs; len(kept) != maxLogsKept || kept[maxLogsKept-1].Attempt != fmt.Sprint(2*maxLogsKept-1) {
		t.Errorf("%d logs are kept", len(kept))
	}
}
