package mapreduce

import (
	"bytes"
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// core is a table and a schedule without shells, for tests that step through it.
type core struct {
	t     testing.TB
	tasks *tasks
	s     *schedule
	now   time.Time
	big   bool // too big to be checked after each step
}

func newCore(t testing.TB) *core {
	c := &core{t: t, tasks: newTasks(), now: time.Unix(1000, 0)}
	c.lead()
	return c
}

// lead begins another epoch.
func (c *core) lead() {
	c.tasks.apply(c.now, commandLead(c.tasks.epoch+1), nil)
	c.tasks.takeEffects()
	c.tasks.observed = true
	c.s = newSchedule(scheduleConfig{workerTimeout: 10 * time.Second, grace: 10 * time.Second, backupAge: defaultBackupAge}, c.tasks, c.now)
}

// do carries out a command and what follows from it, and returns its status.
func (c *core) do(cmd []byte) status {
	out := c.tasks.apply(c.now, cmd, nil)
	c.s.observe(c.now, c.tasks.takeEffects())
	c.settle()
	return status(out[0])
}

func (c *core) settle() {
	for actions := c.s.step(c.now); len(actions) > 0; actions = c.s.step(c.now) {
		for _, a := range actions {
			if a.command != nil {
				c.tasks.apply(c.now, a.command, nil)
				c.s.observe(c.now, c.tasks.takeEffects())
			}
		}
	}
	if c.big {
		return
	}
	if err := cmp.Or(c.tasks.check(), c.s.check()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *core) join(n, slots int) {
	for i := range n {
		host := fmt.Sprint("host", i)
		c.do(commandJoin(c.tasks.epoch, &workerRow{token: host, addr: host + ":1", host: host, slots: [2]int{slots, slots}}))
	}
}

func (c *core) submit(j *job) {
	c.t.Helper()
	if st := c.do(commandSubmit(c.tasks.epoch, j)); st != statusOK {
		c.t.Fatalf("submit: status %d", st)
	}
}

// complete completes what runs of one kind.
func (c *core) complete(kind TaskKind) {
	for _, a := range c.tasks.runningOf(0) {
		if r, ok := c.tasks.running[a]; ok && r.kind == kind {
			var sizes []byte
			if kind == MapTask {
				sizes = bytes.Repeat([]byte{1}, c.tasks.jobs[r.job].spec.Reduces)
			}
			c.do(commandComplete(c.tasks.epoch, r.taskRef, a, sizes, nil, nil))
		}
	}
}

func testJob(token string, maps, reduces int) *job {
	return &job{token: token, name: "job", splits: make([]Split, maps), spec: Spec{Output: token, Reduces: reduces}.withDefaults()}
}

// With a barrier reduces start when the last map has completed, and each task runs
// once.
func TestScheduleRunsEachTaskOnce(t *testing.T) {
	c := newCore(t)
	c.join(3, 1)
	j := testJob("a", 7, 4)
	j.spec.ReduceAfter = Barrier
	c.submit(j)
	for c.tasks.jobs[1].completed[MapTask] < 7 {
		for _, r := range c.tasks.running {
			if r.kind != MapTask {
				t.Fatal("a reduce runs before all maps have completed")
			}
		}
		c.complete(MapTask)
	}
	for c.tasks.jobs[1].state == JobRunning {
		c.complete(ReduceTask)
	}
	if c.tasks.jobs[1].state != JobCommitting || c.tasks.issued != 11 {
		t.Errorf("state %v after %d attempts, want 11", c.tasks.jobs[1].state, c.tasks.issued)
	}
}

func TestSchedulePrefersTheHostOfTheInput(t *testing.T) {
	c := newCore(t)
	j := testJob("a", 3, 1)
	for i := range j.splits {
		j.splits[i].hosts = []string{fmt.Sprint("host", 2-i)}
	}
	c.submit(j)
	c.join(3, 1)
	for a, r := range c.tasks.running {
		if got, want := c.tasks.workers[r.worker].host, fmt.Sprint("host", 2-r.index); got != want {
			t.Errorf("attempt %v of map %d runs on %s, want %s", a, r.index, got, want)
		}
	}
}

// reducing returns a core whose maps have completed and whose reduces run.
func reducing(t *testing.T, workers, maps, reduces int) *core {
	c := newCore(t)
	c.join(workers, 8)
	c.submit(testJob("a", maps, reduces))
	for c.tasks.jobs[1].completed[MapTask] < maps {
		c.complete(MapTask)
	}
	return c
}

func (c *core) reducers() (found []Attempt) {
	for _, a := range c.tasks.runningOf(0) {
		if c.tasks.running[a].kind == ReduceTask {
			found = append(found, a)
		}
	}
	return found
}

func (c *core) complain(reducer Attempt, index int) {
	ref := taskRef{1, MapTask, index}
	c.s.unfetched(reducer, ref, c.tasks.task(ref).attempt)
	c.settle()
}

// elsewhere returns the maps whose output is on none of these reduces' workers.
func (c *core) elsewhere(reducers ...Attempt) (maps []int) {
	for i := range c.tasks.jobs[1].splits {
		on := c.tasks.task(taskRef{1, MapTask, i}).worker
		if !slices.ContainsFunc(reducers, func(a Attempt) bool { return c.tasks.running[a].worker == on }) {
			maps = append(maps, i)
		}
	}
	return maps
}

// Reports from two reducers condemn a map; one reducer has to insist, but not if the
// output is on its own worker.
func TestFetchFailuresCondemnTheMap(t *testing.T) {
	c := reducing(t, 3, 6, 3)
	r := c.reducers()
	task := func(index int) *task { return c.tasks.task(taskRef{1, MapTask, index}) }
	both := c.elsewhere(r[0], r[1])[0]
	first := task(both).attempt
	c.complain(r[0], both)
	if task(both).attempt != first {
		t.Error("one report condemns a map")
	}
	c.complain(r[1], both)
	if got := task(both); got.attempt == first || got.losses != 1 {
		t.Errorf("two reducers' reports do not condemn a map: %+v", got)
	}
	one := c.elsewhere(r[2])[0]
	for range fetchReports {
		c.complain(r[2], one)
	}
	if got := task(one); got.losses != 1 {
		t.Errorf("%d reports of one reducer do not condemn a map: %+v", fetchReports, got)
	}
	for index := range 6 {
		if m := task(index); m.losses == 0 && m.worker == c.tasks.running[r[0]].worker {
			if c.complain(r[0], index); task(index).losses != 1 {
				t.Errorf("a report from the worker that holds it does not condemn a map: %+v", task(index))
			}
			break
		}
	}
	// What is said of an attempt that is known to be lost has no effect.
	c.s.unfetched(r[0], taskRef{1, MapTask, both}, first)
	c.s.unfetched(r[1], taskRef{1, MapTask, both}, first)
	c.settle()
	if got := task(both); got.losses != 1 {
		t.Error("reports of an old attempt condemn a new one")
	}
}

// Reduces on one worker share what may be wrong with it: their reports count as those
// of one.
func TestFetchFailuresOfOneWorker(t *testing.T) {
	c := reducing(t, 2, 4, 8)
	var there []Attempt
	for _, a := range c.reducers() {
		if c.tasks.running[a].worker == 1 {
			there = append(there, a)
		}
	}
	index := c.elsewhere(there[0])[0]
	c.complain(there[0], index)
	c.complain(there[1], index)
	if m := c.tasks.task(taskRef{1, MapTask, index}); m.losses != 0 {
		t.Error("one report each of two reduces on one worker condemns a map")
	}
	c.complain(there[2], index)
	if m := c.tasks.task(taskRef{1, MapTask, index}); m.losses != 1 {
		t.Errorf("%d reports from one worker do not condemn a map", fetchReports)
	}
}

// A reducer that alone complains of many maps of several workers is the one that
// is cut off.
func TestFetchFailuresCondemnTheReducer(t *testing.T) {
	c := reducing(t, 3, 15, 2)
	r := c.reducers()
	others := c.elsewhere(r[0])
	for range fetchReports {
		for _, index := range others[:reducerReports+1] {
			c.complain(r[0], index)
		}
	}
	if _, runs := c.tasks.running[r[0]]; runs {
		t.Error("the reducer that cannot fetch anything still runs")
	}
	if _, runs := c.tasks.running[r[1]]; !runs {
		t.Error("the other reducer was stopped")
	}
	for i := range 15 {
		if m := c.tasks.task(taskRef{1, MapTask, i}); m.losses > 0 {
			t.Errorf("map %d was condemned", i)
		}
	}
}

// In a new epoch, what a worker does not hold any more is done again, and so is
// what was held by one that does not come back.
func TestNewEpochKeepsWhatIsHeld(t *testing.T) {
	c := reducing(t, 2, 6, 1)
	before := make([]Attempt, 6)
	for i := range before {
		before[i] = c.tasks.task(taskRef{1, MapTask, i}).attempt
	}
	c.lead()
	c.settle()
	if len(c.tasks.running) > 0 {
		t.Fatal("tasks are given to workers that have not registered")
	}
	c.s.confirm(c.now, 1, func(a Attempt) bool { return a != before[0] })
	c.settle()
	c.now = c.now.Add(6 * time.Second)
	c.s.alive(c.now, 1, [2]int{}, nil)
	c.settle()
	if c.tasks.workers[2] == nil {
		t.Fatal("a worker is dead before the grace period is over")
	}
	c.now = c.now.Add(6 * time.Second)
	c.s.alive(c.now, 1, [2]int{}, nil)
	c.settle()
	if c.tasks.workers[2] != nil {
		t.Error("a worker that did not come back is not dead")
	}
	for i := range before {
		m := c.tasks.task(taskRef{1, MapTask, i})
		kept := i != 0 && m.worker == 1 && m.attempt == before[i]
		again := m.state == taskRunning && m.worker == 1
		if !kept && !again {
			t.Errorf("map %d: %+v, was attempt %v", i, m, before[i])
		}
	}
}

func TestSizeCodes(t *testing.T) {
	for n := int64(1); n < 1<<31; n += n/100 + 1 {
		code := sizeCode(n)
		if limit := maxSize(code); limit < n || limit > n+n/6+2 {
			t.Fatalf("%d bytes have code %d, which stands for up to %d", n, code, limit)
		}
	}
	if sizeCode(0) != 0 || maxSize(0) != 0 || sizeCode(1<<62) != 255 {
		t.Error("the codes at the ends are wrong")
	}
}

// BenchmarkSchedule is the paper's M = 200,000, R = 5,000 on 2,000 workers, by the
// core alone: the time for each task from idle to completed, and the memory for
// each pair of map and reduce. Reduces begin early, and what it takes to tell them
// where the maps' output is, as it comes, is in the time of a location.
func BenchmarkSchedule(b *testing.B) {
	const maps, reduces, workers = 200_000, 5_000, 2_000
	var telling time.Duration
	var told, answers int
	for b.Loop() {
		c := newCore(b)
		c.big = true
		c.join(workers, 1)
		c.submit(testJob("a", maps, reduces))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const listeners = 50 // of 2,000 reduces that run
		var at [listeners]int
		listen := func() {
			if c.tasks.jobs[1].state != JobRunning {
				return
			}
			begun := time.Now()
			for p := range at {
				if changed, next, _ := c.s.locations(1, p, at[p], locateLimit); c.s.worth(1, at[p], next) {
					told, answers, at[p] = told+len(changed), answers+1, next
				}
			}
			telling += time.Since(begun)
		}
		for c.tasks.jobs[1].completed[MapTask] < maps {
			c.complete(MapTask)
			listen()
		}
		for at[0] < maps {
			listen()
		}
		for c.tasks.jobs[1].state == JobRunning {
			c.complete(ReduceTask)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(c)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/maps/reduces, "B/pair")
	}
	b.ReportMetric(float64((b.Elapsed()-telling).Microseconds())/float64(b.N)/(maps+reduces), "µs/task")
	b.ReportMetric(float64(telling.Nanoseconds())/float64(told), "ns/location")
	b.ReportMetric(float64(told)/float64(answers), "locations/answer")
}
