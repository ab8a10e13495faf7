package mapreduce

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// addWorker adds a worker and returns its id.
func (c *core) addWorker(w workerRow) workerID {
	w.token = fmt.Sprint("worker", c.tasks.worker)
	w.addr = w.token + ":1"
	c.do(commandJoin(c.tasks.epoch, &w))
	return c.tasks.worker
}

// runningTasks returns what a worker runs of a kind, or all do if id is 0.
func (c *core) runningTasks(id workerID, kind TaskKind) (found []taskRef) {
	for _, a := range c.tasks.runningOf(id) {
		if r := c.tasks.running[a]; r.kind == kind {
			found = append(found, r.taskRef)
		}
	}
	return found
}

// completeMap completes a map that runs.
func (c *core) completeMap(ref taskRef) {
	c.t.Helper()
	j := c.tasks.jobs[ref.job]
	if st := c.do(commandComplete(c.tasks.epoch, ref, c.tasks.task(ref).attempt, make([]byte, j.spec.Reduces), nil, nil)); st != statusOK {
		c.t.Fatalf("complete %v: status %d", ref, st)
	}
}

// A job's reduces begin when enough of its maps have completed, and maps run on.
func TestReducesBeginEarly(t *testing.T) {
	for after, wanted := range map[int]int{1: 1, DefaultReduceAfter: 1, 30: 3, 50: 5, 91: 10, Barrier: 10} {
		c := newCore(t)
		c.join(1, 1)
		j := testJob("a", 10, 2)
		j.spec.ReduceAfter = after
		c.submit(j)
		for i := range 10 {
			if n := len(c.runningTasks(0, ReduceTask)); (n > 0) != (i >= wanted) {
				t.Errorf("after %d %% of the maps: %d reduces run when %d maps of 10 have completed", after, n, i)
			}
			if n := len(c.runningTasks(0, MapTask)); n != 1 {
				t.Fatalf("%d maps run on the one slot while reduces wait", n)
			}
			c.completeMap(c.runningTasks(0, MapTask)[0])
		}
		if len(c.runningTasks(0, ReduceTask)) != 1 {
			t.Errorf("after %d %%: no reduce runs when all maps have completed", after)
		}
	}
}

// One worker with one slot whose reduces have begun runs a map again that was lost.
func TestALostMapRunsBesideItsReduces(t *testing.T) {
	c := newCore(t)
	c.join(1, 1)
	c.submit(testJob("a", 2, 3))
	c.complete(MapTask)
	c.complete(MapTask)
	ref := taskRef{1, MapTask, 0}
	c.do(commandLost(c.tasks.epoch, ref, c.tasks.task(ref).attempt, true, "lost"))
	if !slices.Equal(c.runningTasks(1, MapTask), []taskRef{ref}) || len(c.runningTasks(1, ReduceTask)) != 1 {
		t.Errorf("the worker runs %v and %v, want the lost map beside a reduce", c.runningTasks(1, MapTask), c.runningTasks(1, ReduceTask))
	}
}

// A reduce that waits for maps gives way to one that need not wait, and only then,
// and only if it has not fetched everything.
func TestWaitingReducesGiveWay(t *testing.T) {
	for _, fetched := range []bool{false, true} {
		c := newCore(t)
		c.join(1, 2)
		c.submit(testJob("slow", 4, 2))
		c.completeMap(taskRef{1, MapTask, 0})
		c.completeMap(taskRef{1, MapTask, 1})
		waiting := c.reducers()
		if len(waiting) != 2 {
			t.Fatalf("%d reduces run early, want 2", len(waiting))
		}
		if fetched {
			for _, a := range waiting {
				c.s.alive(c.now, 1, [2]int{}, []progress{{attempt: a, fetched: true}})
			}
		}
		c.submit(testJob("quick", 1, 1))
		c.completeMap(taskRef{1, MapTask, 2}) // its slot is for the new job
		c.pass(time.Second)
		if got := c.reducers(); !slices.Equal(got, waiting) {
			t.Fatalf("reduces gave way to nothing: %v, were %v", got, waiting)
		}
		c.completeMap(taskRef{2, MapTask, 0})
		c.now = c.now.Add(time.Second)
		c.s.alive(c.now, 1, [2]int{}, nil)
		if fetched {
			for _, a := range waiting {
				c.s.alive(c.now, 1, [2]int{}, []progress{{attempt: a, fetched: true}})
			}
		}
		c.settle()
		got := c.runningTasks(1, ReduceTask)
		if runs := slices.Contains(got, taskRef{2, ReduceTask, 0}); runs == fetched {
			t.Errorf("fetched %v: the reduces that run are %v", fetched, got)
		}
		if len(got) != 2 {
			t.Errorf("%v run, want two: the older of the reduces that wait stays", got)
		}
		for i := range 2 {
			if task := c.tasks.task(taskRef{1, ReduceTask, i}); task.failures+task.losses != 0 {
				t.Errorf("giving way counts against %d: %+v", i, task)
			}
		}
	}
}

// A reduce may wait for maps as long as it takes; when it has them all it may not.
func TestWaitingIsNoLackOfProgress(t *testing.T) {
	c := newCore(t)
	c.join(1, 1)
	j := testJob("a", 2, 1)
	j.spec.NoBackups = true
	c.submit(j)
	c.complete(MapTask)
	reduce, ref := c.reducers()[0], taskRef{1, ReduceTask, 0}
	run := func(d time.Duration, doing ...progress) {
		for range d / time.Second {
			c.now = c.now.Add(time.Second)
			for i := range doing {
				doing[i].count++
			}
			c.s.alive(c.now, 1, [2]int{}, doing)
			c.settle()
		}
	}
	second := c.tasks.task(taskRef{1, MapTask, 1}).attempt
	run(5*DefaultTaskTimeout, progress{attempt: second})
	if task := c.tasks.task(ref); task.failures != 0 || task.attempt != reduce {
		t.Fatalf("a reduce that waits for a map: %+v", task)
	}
	c.complete(MapTask)
	run(DefaultTaskTimeout - time.Second)
	if task := c.tasks.task(ref); task.failures != 0 {
		t.Fatalf("a reduce whose last map has just completed: %+v", task)
	}
	run(3 * time.Second)
	if task := c.tasks.task(ref); task.failures != 1 {
		t.Errorf("a reduce that hangs: %+v", task)
	}
}

// Jobs share the slots: who has least is next, and the older one of equals.
func TestJobsShareTheSlots(t *testing.T) {
	c := newCore(t)
	c.join(6, 1)
	share := func() (got []int) {
		got = make([]int, len(c.tasks.order))
		for _, ref := range c.runningTasks(0, MapTask) {
			got[ref.job-1]++
		}
		return got
	}
	c.submit(testJob("a", 100, 1))
	if got := share(); !slices.Equal(got, []int{6}) {
		t.Errorf("one job has %v slots of 6", got)
	}
	c.submit(testJob("b", 100, 1))
	c.submit(testJob("c", 2, 1))
	for range 4 {
		c.completeMap(c.runningTasks(0, MapTask)[0])
	}
	if got := share(); !slices.Equal(got, []int{2, 2, 2}) {
		t.Errorf("three jobs have %v slots of 6", got)
	}
	for len(c.runningTasks(0, MapTask)) > 0 && c.tasks.jobs[3].completed[MapTask] < 2 {
		i := slices.IndexFunc(c.runningTasks(0, MapTask), func(ref taskRef) bool { return ref.job == 3 })
		c.completeMap(c.runningTasks(0, MapTask)[i])
	}
	if got := share(); !slices.Equal(got, []int{3, 3, 0}) {
		t.Errorf("when the third job's maps have completed the jobs have %v slots of 6", got)
	}
	c.do(commandEnd(c.tasks.epoch, 1, JobCanceled, "enough"))
	if got := share(); !slices.Equal(got, []int{0, 6, 0}) {
		t.Errorf("when the first job was cancelled the jobs have %v slots of 6", got)
	}
}

// A map goes to a worker on the host of its input, or else in its rack, whether the
// worker is there before the map or the map before the worker.
func TestMapsAreRunNearTheirInput(t *testing.T) {
	place := func(host string, rack string) workerRow {
		return workerRow{host: host, rack: rack, slots: [2]int{1, 1}}
	}
	input := func(j *job, host ...string) { j.splits = append(j.splits, Split{hosts: host}) }
	where := func(c *core, index int) string {
		w := c.tasks.workers[c.tasks.task(taskRef{1, MapTask, index}).worker]
		if w == nil {
			return "nowhere"
		}
		return w.host
	}
	// The workers wait: h1 is busy, h2 is in its rack.
	c := newCore(t)
	for _, w := range []workerRow{place("h3", "s"), place("h4", ""), place("h1", "r"), place("h2", "r")} {
		c.addWorker(w)
	}
	j := testJob("a", 0, 1)
	input(j, "h1")
	input(j, "h1")
	input(j, "elsewhere")
	c.submit(j)
	if where(c, 0) != "h1" || where(c, 1) != "h2" {
		t.Errorf("maps whose input is on h1 run on %s and %s, want h1 and h2, in the same rack", where(c, 0), where(c, 1))
	}
	// The maps wait. That h1 is in rack r is known once there is a worker on it.
	c = newCore(t)
	j = testJob("a", 0, 1)
	for range 3 {
		input(j, "elsewhere")
	}
	input(j, "h1")
	input(j, "h1")
	c.submit(j)
	c.addWorker(place("h1", "r"))
	c.addWorker(place("h2", "r"))
	c.addWorker(place("h3", "s"))
	if where(c, 3) != "h1" || where(c, 4) != "h2" || where(c, 0) != "h3" {
		t.Errorf("maps run on %s, %s and %s, want h1, h2 and h3", where(c, 3), where(c, 4), where(c, 0))
	}
}

// Workers take the kinds of tasks that they are for, of the jobs whose labels they
// have, and a job that nobody may run says so.
func TestLabelsAndKinds(t *testing.T) {
	c := newCore(t)
	j := testJob("a", 3, 2)
	j.spec.Labels = []string{"big", "near"}
	c.submit(j)
	c.submit(testJob("b", 3, 2))
	says := func(id JobID, what string) {
		t.Helper()
		s := c.s.status(id)
		if (what == "") != (s.Waiting == "") || !strings.Contains(s.Waiting, what) || !strings.Contains(s.String(), s.Waiting) {
			t.Errorf("job %d waits because %q, want %q", id, s.Waiting, what)
		}
	}
	says(1, "there are no workers")
	only := func(kind TaskKind, labels ...string) workerID {
		w := workerRow{host: "h", labels: labels}
		w.slots[kind] = 1
		return c.addWorker(w)
	}
	only(MapTask, "big")
	says(1, `no worker has the labels ["big" "near"]`)
	says(2, "no worker takes reduce tasks")
	only(ReduceTask, "big", "cheap", "near")
	says(1, `no worker with the labels ["big" "near"] takes map tasks`)
	says(2, "")
	mapper := only(MapTask, "big", "near", "new")
	says(1, "")
	for range 3 {
		for _, ref := range c.runningTasks(0, MapTask) {
			if w := c.tasks.task(ref).worker; ref.job == 1 && w != mapper {
				t.Errorf("%v runs on worker %d", ref, w)
			}
		}
		c.complete(MapTask)
	}
	for len(c.runningTasks(0, ReduceTask)) > 0 {
		c.complete(MapTask)
		c.complete(ReduceTask)
	}
	for id, job := range c.tasks.jobs {
		if job.state != JobCommitting {
			t.Errorf("job %d is %v", id, job.state)
		}
	}
}

// Without the last worker that may run it, a job says that it waits.
func TestJobSaysThatItsWorkersAreGone(t *testing.T) {
	c := newCore(t)
	c.join(1, 1)
	special := c.addWorker(workerRow{host: "s", slots: [2]int{1, 1}, labels: []string{"gpu"}})
	j := testJob("a", 2, 1)
	j.spec.Labels = []string{"gpu"}
	c.submit(j)
	if s := c.s.status(1); s.Waiting != "" || s.Maps.Running != 1 {
		t.Errorf("%+v", s)
	}
	c.do(commandDead(c.tasks.epoch, special, nil))
	if s := c.s.status(1); !strings.Contains(s.Waiting, "gpu") || s.Maps.Running != 0 {
		t.Errorf("%+v", s)
	}
}
