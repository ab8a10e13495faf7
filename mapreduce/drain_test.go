package mapreduce

import (
	"context"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// A worker that is drained in the middle of a job takes no more tasks, and no map
// has to be done again: its output stays until the job has ended.
func TestDrain(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(40)
		slow := &slowCount{pause: 100 * time.Millisecond}
		c := newTestCluster(t, 2, input, slow.job())
		defer c.close()
		spec := testSpec(input, 20, 2)
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed >= 4 })

		patience, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := c.workers[0].Drain(patience); err != context.DeadlineExceeded {
			t.Errorf("a worker with output that is needed: %v, want it to go on", err)
		}
		result := wait()
		if err := c.workers[0].Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if n := slow.maps.Load(); n != 40 {
			t.Errorf("Map was called %d times for 40 records", n)
		}
		checkSameOutput(t, "after a drain", c.files, result, sequentialOutput(t, slow.job(), spec, c.input))

		again, wait := c.submit(Spec{Input: spec.Input, Output: "again", Reduces: 2, SplitBytes: spec.SplitBytes})
		wait()
		if s, err := c.client.Status(t.Context(), again); err != nil || s.State != JobSucceeded {
			t.Errorf("the worker that is left alone: %v, %v", s, err)
		}
	})
}

func TestDrainOfAWorkerThatNobodyKnows(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newTestCluster(t, 1, testInput(1), (&slowCount{}).job())
		defer c.close()
		c.killCoordinator(transport.CrashReset)
		c.killWorker(0, transport.CrashReset)
		c.reviveWorker(0)
		if err := c.workers[0].Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
