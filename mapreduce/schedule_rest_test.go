//lint:bubble
package mapreduce

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// fail fails what a worker runs of a kind, and returns how much that was.
func (c *core) fail(id workerID, kind TaskKind) (failed int) {
	for _, a := range c.tasks.runningOf(id) {
		if c.tasks.running[a].kind == kind {
			c.do(commandFailed(c.tasks.epoch, a, "the disk is full", 0))
			failed++
		}
	}
	return failed
}

// A task that has failed on a worker waits for another one, though it be busy, and
// the worker does something else.
func TestAFailedTaskGoesElsewhere(t *testing.T) {
	c := newCore(t)
	c.join(2, 1)
	c.submit(testJob("a", 3, 1))
	failed := c.runningTasks(1, MapTask)[0]
	c.fail(1, MapTask)
	c.pass(2 * time.Second)
	if got := c.runningTasks(1, MapTask); len(got) != 1 || got[0] == failed {
		t.Errorf("after its rest the worker runs %v, %v has failed there", got, failed)
	}
	c.completeMap(c.runningTasks(1, MapTask)[0])
	c.pass(time.Minute / 10)
	if got := c.runningTasks(1, MapTask); len(got) > 0 {
		t.Errorf("the worker runs %v, which it has failed, though there is another", got)
	}
	c.completeMap(c.runningTasks(2, MapTask)[0])
	if got := c.runningTasks(2, MapTask); !slices.Equal(got, []taskRef{failed}) {
		t.Errorf("the other worker runs %v, want %v", got, failed)
	}
}

// If there is no other worker, a task is tried where it has failed, and at once.
func TestAFailedTaskIsTriedWhereItCan(t *testing.T) {
	c := newCore(t)
	c.join(1, 2)
	c.submit(testJob("a", 3, 1))
	for range DefaultMaxAttempts - 1 {
		if n := c.fail(1, MapTask); n != 2 {
			t.Fatalf("the only worker runs %d tasks, want 2", n)
		}
	}
	c = newCore(t)
	c.join(2, 1)
	c.submit(testJob("a", 1, 1))
	first := slices.IndexFunc([]workerID{1, 2}, func(id workerID) bool { return len(c.runningTasks(id, MapTask)) > 0 })
	for i := range DefaultMaxAttempts - 1 {
		if n := c.fail(workerID(1+(first+i)%2), MapTask); n != 1 {
			t.Fatalf("attempt %d of the only task did not run on the other worker", i+1)
		}
	}
}

// A worker on which everything fails is given less and less, and is as good as any
// again when it has completed something. What fails in a record is no fault of its.
func TestAWorkerRestsLongerAndLonger(t *testing.T) {
	c := newCore(t)
	c.join(2, 4)
	j := testJob("a", 1000, 1)
	j.spec.SkipBadRecords, j.spec.TaskTimeout = 10, time.Hour
	c.submit(j)
	began := func(d time.Duration) (n int) {
		for end := c.now.Add(d); c.now.Before(end); {
			c.pass(250 * time.Millisecond)
			n += c.fail(1, MapTask)
		}
		return n
	}
	if n := c.fail(1, MapTask); n != 4 {
		t.Fatalf("%d tasks ran at first, want 4", n)
	}
	if first, later := began(time.Minute), began(time.Minute); first < 3 || first > 7 || later > 1 {
		t.Errorf("the worker was given %d tasks in the first minute and %d in the second, all of which failed", first, later)
	}
	for began := c.now; len(c.runningTasks(1, MapTask)) == 0; {
		if c.pass(time.Second); c.now.Sub(began) > time.Hour {
			t.Fatal("the worker was given up")
		}
	}
	if n := len(c.runningTasks(1, MapTask)); n != 1 {
		t.Errorf("the worker is tried with %d tasks", n)
	}
	c.completeMap(c.runningTasks(1, MapTask)[0])
	a := c.tasks.runningOf(1)
	if len(a) != 4 {
		t.Fatalf("%d tasks run after one has completed, want 4", len(a))
	}
	c.do(commandFailed(c.tasks.epoch, a[0], "a bad record", 1))
	if n := len(c.runningTasks(1, MapTask)); n != 4 {
		t.Errorf("%d tasks run after a record was bad, want 4", n)
	}
}

// A worker whose disk is full costs a job few attempts, though it alone has nothing to
// do, and no task its last one.
func TestFullDiskBesideBusyWorkers(t *testing.T) {
	var tried atomic.Int64
	var c *testCluster
	job := places
	job.Name = "busy"
	job.Map = func(t *Task, line Record, emit func(string, string)) error {
		if c != nil && c.runs(t.Attempt()) == 0 {
			tried.Add(1)
			return vfs.ErrNoSpace
		}
		select {
		case <-time.After(time.Second):
		case <-t.Context().Done():
		}
		return places.Map(t, line, emit)
	}
	input := testInput(120)
	spec := testSpec(input, 24, 2)
	testutil.Bubble(t, func(t *testing.T) {
		want := sequentialOutput(t, job, spec, ReadOnly(input))
		c = newTestCluster(t, 3, input, job)
		defer c.close()
		time.Sleep(time.Second) // until the workers have registered
		begin := time.Now()
		_, wait := c.submit(spec)
		checkSameOutput(t, "a full disk", c.files, wait(), want)
		took := time.Since(begin)
		t.Logf("%d attempts on the full disk, %v", tried.Load(), took)
		if n := tried.Load(); n == 0 || n > 10 {
			t.Errorf("%d attempts ran on the worker with the full disk", n)
		}
		if took > 2*time.Minute {
			t.Errorf("two workers took %v for 24 maps of five seconds", took)
		}
	})
}
