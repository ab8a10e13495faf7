//lint:bubble
package mapreduce

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// slowWorker runs a job on four workers of which the first takes ten times as long
// as the others, and returns how long it takes.
func slowWorker(t *testing.T, backups bool) (took time.Duration, result *Result) {
	var c *testCluster
	job := places
	job.Name = "slow"
	job.Map = func(t *Task, line Record, emit func(string, string)) error {
		pause := 200 * time.Millisecond
		if c != nil && c.runs(t.Attempt()) == 0 {
			pause *= 10
		}
		select {
		case <-time.After(pause):
		case <-t.Context().Done():
			return t.Context().Err()
		}
		return places.Map(t, line, emit)
	}
	input := testInput(120)
	spec := testSpec(input, 24, 3)
	spec.NoBackups = !backups
	want := sequentialOutput(t, job, spec, ReadOnly(input))
	c = newTestCluster(t, 4, input, job)
	defer c.close()
	time.Sleep(time.Second) // until the workers have registered
	begin := time.Now()
	_, wait := c.submit(spec)
	result = wait()
	took = time.Since(begin)
	h := c.coordinator.StatusHandler()
	if r := getJSON[JobReport](t, h, "/status.json?job=1"); r.Backups != result.Backups {
		t.Errorf("the status page knows of backups %+v, the result of %+v", r.Backups, result.Backups)
	}
	if says := strings.Contains(get(t, h, "/?job=1", 200), "<dt>backup tasks</dt>"); says != backups {
		t.Errorf("backups %v: the page shows some: %v", backups, says)
	}
	checkSameOutput(t, fmt.Sprint("backups ", backups), c.files, result, want)
	return took, result
}

// §3.6: "When a MapReduce operation is close to completion, the master schedules
// backup executions of the remaining in-progress tasks. The task is marked as
// completed whenever either the primary or the backup execution completes", which
// "significantly reduces the time to complete large MapReduce operations" where a
// machine is slow.
func TestPaper36BackupTasks(t *testing.T) {
	var with, without time.Duration
	for _, backups := range []bool{false, true} {
		testutil.Bubble(t, func(t *testing.T) {
			took, result := slowWorker(t, backups)
			if backups {
				with = took
				if result.Backups.Won == 0 || result.Backups.Started > 4 {
					t.Errorf("backups: %+v", result.Backups)
				}
			} else {
				without = took
				if result.Backups != (Backups{}) {
					t.Errorf("backups, which are turned off: %+v", result.Backups)
				}
			}
			if n := result.Counters[CounterMapRecordsIn]; n != 120 {
				t.Errorf("%d records were counted, want 120", n)
			}
		})
	}
	if with*10 > without*9 {
		t.Errorf("it took %v with backups and %v without", with, without)
	}
}

// lateMaps returns a core with one map of n left running, the others having taken a
// second each, and a free worker.
func lateMaps(t *testing.T, n int) (c *core, late taskRef) {
	c = newCore(t)
	c.join(2, n)
	c.submit(testJob("a", n, 1))
	c.now = c.now.Add(time.Second)
	late = taskRef{1, MapTask, n - 1}
	for i := range n - 1 {
		ref := taskRef{1, MapTask, i}
		c.do(commandComplete(c.tasks.epoch, ref, c.tasks.task(ref).attempt, []byte{1}, nil, nil))
	}
	return c, late
}

// pass lets time pass while all workers are alive.
func (c *core) pass(d time.Duration) {
	c.t.Helper()
	c.now = c.now.Add(d)
	for id := range c.tasks.worker {
		c.s.alive(c.now, id+1, [2]int{}, nil)
	}
	c.settle()
	if err := c.tasks.check(); err != nil {
		c.t.Fatal(err)
	}
}

// A late task gets one backup, elsewhere; whichever completes first wins, and the
// other is stopped.
func TestBackupOfALateTask(t *testing.T) {
	for _, backupWins := range []bool{true, false} {
		c, late := lateMaps(t, 4)
		c.pass(500 * time.Millisecond)
		if c.tasks.task(late).backup != nil {
			t.Fatal("a task that is not late has a backup")
		}
		c.pass(2 * time.Second)
		task := *c.tasks.task(late)
		if task.backup == nil || task.backup.worker == task.worker {
			t.Fatalf("a late task has no backup elsewhere: %+v", task)
		}
		c.pass(2 * time.Second)
		if n := c.tasks.jobs[1].backups.Started; n != 1 {
			t.Errorf("%d backups of one task", n)
		}
		winner, loser := task.attempt, task.backup.attempt
		if backupWins {
			winner, loser = loser, winner
		}
		if st := c.do(commandComplete(c.tasks.epoch, late, winner, []byte{1}, nil, nil)); st != statusOK {
			t.Errorf("the first to complete: status %d", st)
		}
		if st := c.do(commandComplete(c.tasks.epoch, late, loser, []byte{1}, nil, nil)); st != statusStale {
			t.Errorf("the second to complete: status %d", st)
		}
		if _, runs := c.tasks.running[loser]; runs || (c.tasks.jobs[1].backups.Won == 1) != backupWins {
			t.Errorf("the loser runs: %v, backups %+v", runs, c.tasks.jobs[1].backups)
		}
	}
}

// When one of two attempts fails or dies the other goes on.
func TestBackupOutlivesTheFirstAttempt(t *testing.T) {
	c, late := lateMaps(t, 4)
	c.pass(3 * time.Second)
	b := c.tasks.task(late).backup
	if b == nil {
		t.Fatal("no backup")
	}
	c.do(commandFailed(c.tasks.epoch, c.tasks.task(late).attempt, "failed", 0))
	if task := c.tasks.task(late); task.state != taskRunning || task.attempt != b.attempt || task.worker != b.worker || task.failures != 1 {
		t.Errorf("the task is %+v, want it to be run by %+v", task, b)
	}
}

// A task that has almost read its input gets no backup: it would not win.
func TestNoBackupThatWouldNotWin(t *testing.T) {
	c, late := lateMaps(t, 4)
	c.tasks.jobs[1].splits[late.index].Pieces = []Piece{{Name: "f", Length: 1000}}
	task := c.tasks.task(late)
	c.s.workers[task.worker].running[MapTask][task.attempt].counters = counts{{CounterMapBytesIn, 900}}
	c.s.workers[task.worker].running[MapTask][task.attempt].begun = c.now.Add(-3 * time.Second)
	c.s.backUp(c.now)
	c.settle()
	if task.backup != nil {
		t.Error("a task that is almost done has a backup")
	}
}
