package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// This file simulates the core of a cluster: the task table behind a log that
// loses what it has not synced, the schedule, and workers that crash, hang, fail
// and lose messages. What the shells do is in simCoordinator and, in
// schedule_sim_worker_test.go, simWorker, as simply as it can be said.

// simKind is a kind of message.
type simKind uint8

const (
	simRegister simKind = iota
	simRegistered
	simPoll
	simOrders
	simUnknown
	simComplete
	simCompleted
	simFailed
	simLocate
	simLocations
	simFetch
	simData
	simUnfetched
	simAnnounce
	simSubmit
	simSubmitted
	simWait
	simEnded
)

// simMsg is any message between any nodes.
type simMsg struct {
	kind    simKind
	token   string
	worker  workerID
	epoch   uint64
	attempt Attempt
	of      Attempt // the map attempt of a fetch, or of a complaint
	ref     taskRef
	held    []Attempt
	doing   []progress
	zombies [2]int
	begin   []order
	stop    []Attempt
	over    []JobID
	status  status
	locs    []location
	pos     int
	job     *job
	state   JobState
	found   bool
	at      span
	record  uint64
}

func (m simMsg) String() string {
	return fmt.Sprintf("%s w%d e%d %v of %v %v %v pos %d %v %v %v", [...]string{"register", "registered", "poll", "orders", "unknown",
		"complete", "completed", "failed", "locate", "locations", "fetch", "data", "unfetched", "announce", "submit", "submitted", "wait", "ended"}[m.kind],
		m.worker, m.epoch, m.attempt, m.of, m.ref, m.status, m.pos, m.begin, m.stop, m.locs)
}

// simFile is what an attempt has written: a reduce's output, with the maps whose
// data is in it, and files besides.
type simFile struct {
	maps  []int
	names []string
}

// simFiles is the file system that all share. It never fails.
type simFiles struct {
	written   map[Attempt]simFile
	committed map[taskRef]Attempt   // output
	besides   map[simBeside]Attempt // the other files
}

// simBeside names a file that is not output.
type simBeside struct {
	job  JobID
	name string
}

// simNames are the names of the files that a task writes besides its output: every
// other task has some.
func simNames(ref taskRef) []string {
	if ref.index%2 > 0 {
		return nil
	}
	return []string{fmt.Sprintf("a-%v-%d", ref.kind, ref.index), fmt.Sprintf("b-%v-%d", ref.kind, ref.index)}
}

// simRecord is a record of the coordinator's log: a command, or an image.
type simRecord struct {
	at    time.Time
	cmd   []byte
	image []byte
}

// simWorld is a cluster and what it has to do.
type simWorld struct {
	w       *sim.World[simMsg]
	planted plantedBugs
	files   simFiles
	jobs    []*job
	rows    []workerRow // by node
	ended   map[string]JobState
	table   *tasks // of the coordinator that is up, or was last
	changed bool   // the table or what is committed, since it was checked
	tokens  int
	workers int
	winners map[taskRef]Attempt
	fatal   map[simPlace]map[Attempt]bool // attempts that may have ended in a record
}

// simPlace is a record of a task.
type simPlace struct {
	ref    taskRef
	record uint64
}

const (
	// simRecords is how many records a task has in which it may fail, of which the
	// last is fatal to the first map of a job. simSkips is how many a job may skip:
	// all there are.
	simRecords = 2
	simSkips   = simRecords * 8
)

// mayEnd notes that an attempt may end in a record.
func (s *simWorld) mayEnd(ref taskRef, a Attempt, record uint64) {
	place := simPlace{ref, record}
	if s.fatal[place] == nil {
		s.fatal[place] = make(map[Attempt]bool)
	}
	s.fatal[place][a] = true
}

// checkSkips verifies that what is skipped was fatal more than once.
func (s *simWorld) checkSkips(j *job) error {
	for _, r := range j.skipped() {
		place := simPlace{taskRef{j.id, r.Kind, r.Index}, r.Record}
		if n := len(s.fatal[place]); n < 2 {
			return fmt.Errorf("record %v is skipped after %d failures", place, n)
		}
	}
	return nil
}

const simTimeout = 400 * time.Millisecond

func simCluster(planted plantedBugs) func(w *sim.World[simMsg]) {
	return func(w *sim.World[simMsg]) {
		r := w.Rand()
		s := &simWorld{
			w: w, planted: planted, workers: 2 + r.IntN(2), ended: make(map[string]JobState), winners: make(map[taskRef]Attempt), fatal: make(map[simPlace]map[Attempt]bool),
			files: simFiles{written: make(map[Attempt]simFile), committed: make(map[taskRef]Attempt), besides: make(map[simBeside]Attempt)},
		}
		w.Add("coordinator", func(n *sim.Node[simMsg]) sim.Process[simMsg] { return s.bootCoordinator(n) })
		s.rows = make([]workerRow, 1+s.workers)
		for i := range s.workers {
			s.rows[1+i] = simRow(r, i)
			w.Add(fmt.Sprint("worker", i), func(n *sim.Node[simMsg]) sim.Process[simMsg] { return s.bootWorker(n) })
		}
		for i := range 1 + r.IntN(3) {
			s.jobs = append(s.jobs, simJob(r, i))
		}
		w.AddImmortal("client", func(n *sim.Node[simMsg]) sim.Process[simMsg] {
			n.After(0, 0)
			return &simClient{n: n, s: s}
		})
		w.Invariant(s.check)
		w.Done(func() bool { return len(s.ended) == len(s.jobs) })
		w.AtEnd(s.checkOutput)
	}
}

// simLabels are those that workers may have and jobs may want.
var simLabels = []string{"a", "b"}

// simRow returns what kind of worker the i-th one is. The first can do everything.
func simRow(r *rand.Rand, i int) workerRow {
	w := workerRow{host: fmt.Sprint("host", r.IntN(2)), rack: fmt.Sprint("rack", r.IntN(2)), slots: [2]int{1 + i%2, 1 + i%2}, labels: simLabels}
	if i > 0 {
		w.labels = simLabels[:r.IntN(3)]
		if kind := r.IntN(6); kind < 2 {
			w.slots[kind] = 0
		}
	}
	return w
}

// simJob returns the i-th job.
func simJob(r *rand.Rand, i int) *job {
	j := &job{
		token: fmt.Sprint("job", i), name: "job", splits: make([]Split, r.IntN(5)),
		spec: Spec{
			Output: fmt.Sprint("out", i), Reduces: r.IntN(4), MaxAttempts: maxMaxAttempts, SkipBadRecords: simSkips, TaskTimeout: simTimeout,
			ReduceAfter: []int{1, DefaultReduceAfter, 50, Barrier}[r.IntN(4)],
		},
	}
	for i := range j.splits {
		j.splits[i].hosts = []string{fmt.Sprint("host", r.IntN(3))}
	}
	if r.IntN(3) == 0 {
		j.spec.Labels = simLabels[r.IntN(2):]
	}
	if r.IntN(3) == 0 {
		j.spec.Abort, j.spec.Resubmits = true, r.IntN(3)
	}
	return j
}

// check verifies the table of the coordinator, and that winners stay.
func (s *simWorld) check() error {
	if !s.changed {
		return nil
	}
	s.changed = false
	if err := s.table.check(); err != nil {
		return err
	}
	for _, id := range s.table.order {
		j := s.table.jobs[id]
		if err := errors.Join(j.checkSimCounts(), s.checkSkips(j)); err != nil {
			return err
		}
		for i := range j.tasks[j.last()] {
			ref := taskRef{id, j.last(), i}
			if task := s.table.task(ref); task.state == taskCompleted {
				if before, ok := s.winners[ref]; ok && before != task.attempt {
					return fmt.Errorf("the winner of %v was %v and is %v", ref, before, task.attempt)
				}
				// Only what is safe binds; and all that is announced is safe.
				if _, announced := s.files.committed[ref]; announced {
					s.winners[ref] = task.attempt
				}
			}
		}
	}
	return nil
}

// simCounts is what an attempt counts: itself, and something of its own.
func simCounts(a Attempt) counts { return counts{{"attempts", 1}, {"numbers", int64(a.N)}} }

// checkSimCounts verifies that one attempt counts of each task that was ever
// completed: the last that has completed it. In the end that is every task.
func (j *job) checkSimCounts() error {
	var attempts, numbers int64
	lost := false
	for _, tasks := range j.tasks {
		for i := range tasks {
			if len(tasks[i].counts) > 0 {
				attempts++
				numbers += int64(tasks[i].attempt.N)
				lost = lost || tasks[i].state != taskCompleted // and the attempt forgotten
			}
		}
	}
	got := j.tally.values()
	if got["attempts"] != attempts || !lost && got["numbers"] != numbers {
		return fmt.Errorf("job %d counts %v, want %d attempts whose numbers sum up to %d", j.id, got, attempts, numbers)
	}
	if all := len(j.tasks[MapTask]) + len(j.tasks[ReduceTask]); j.state == JobSucceeded && int(attempts) != all {
		return fmt.Errorf("job %d has succeeded, and %d of %d tasks count", j.id, attempts, all)
	}
	return nil
}

// checkOutput verifies that every file is there and has every map's data once.
func (s *simWorld) checkOutput() error {
	for _, j := range s.jobs {
		if got := s.ended[j.token]; got != JobSucceeded && (got != JobAborted || !j.spec.Abort) {
			return fmt.Errorf("%s ended in state %v", j.token, got)
		}
	}
	for _, id := range s.table.order {
		j := s.table.jobs[id]
		if j.state == JobAborted {
			s.w.Count("aborted jobs", 1)
			continue
		}
		s.w.Count("skipped records", uint64(j.skips))
		s.w.Count("backups", uint64(j.backups.Started))
		s.w.Count("backups that won", uint64(j.backups.Won))
		for kind := range j.tasks {
			for i := range j.tasks[kind] {
				if err := s.checkFiles(j, taskRef{id, TaskKind(kind), i}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkFiles verifies that the files of a task are there.
func (s *simWorld) checkFiles(j *job, ref taskRef) error {
	for _, name := range simNames(ref) {
		if _, ok := s.files.besides[simBeside{j.id, name}]; !ok {
			return fmt.Errorf("job %d has succeeded without %s", j.id, name)
		}
		s.w.Count("files besides output", 1)
	}
	if ref.kind != j.last() {
		return nil
	}
	a, ok := s.files.committed[ref]
	if !ok {
		return fmt.Errorf("job %d has succeeded without the file of %s", j.id, taskName(ref.kind, ref.index))
	}
	if f := s.files.written[a]; ref.kind == ReduceTask && len(f.maps) != len(j.splits) {
		return fmt.Errorf("the file of reduce %d has the data of %d maps, not %d", ref.index, len(f.maps), len(j.splits))
	}
	if ref.kind == MapTask {
		s.w.Count("output of maps", 1)
	}
	return nil
}

// simClient submits the jobs and waits for them. Aborted ones it submits again until
// it is told that they allow no more.
type simClient struct {
	n *sim.Node[simMsg]
	s *simWorld
}

func (c *simClient) Receive(_ int, m simMsg) {
	i := slices.IndexFunc(c.s.jobs, func(j *job) bool { return j.token == m.token })
	if i < 0 || m.kind != simEnded {
		return // it was about the job before
	}
	switch m.state {
	case JobSucceeded, JobFailed:
		c.s.ended[m.token] = m.state
	case JobAborted:
		if m.status == statusSpent {
			c.s.ended[m.token] = m.state
			c.n.Count("resubmissions spent", 1)
			break
		}
		again := *c.s.jobs[i]
		again.token, again.predecessor = m.token+"+", m.ref.job
		c.s.jobs[i] = &again
	}
}

func (c *simClient) Timer(uint64) {
	for _, j := range c.s.jobs {
		if _, ok := c.s.ended[j.token]; !ok {
			c.n.Send(0, simMsg{kind: simSubmit, job: j, token: j.token})
		}
	}
	c.n.After(200*time.Millisecond, 0)
}

// simCoordinator is the shell of the coordinator.
type simCoordinator struct {
	n        *sim.Node[simMsg]
	s        *simWorld
	log      *sim.Log[simRecord]
	tasks    *tasks
	schedule *schedule // nil until its epoch is safe
	wait     map[uint64]func()
	waits    uint64
}

func (s *simWorld) bootCoordinator(n *sim.Node[simMsg]) sim.Process[simMsg] {
	c := &simCoordinator{n: n, s: s, log: sim.OpenLog[simRecord](n, "log"), tasks: newTasks(), wait: make(map[uint64]func())}
	c.tasks.planted = s.planted
	for _, r := range c.log.Records() {
		if r.image != nil {
			if err := c.tasks.restore(bytes.NewReader(r.image)); err != nil {
				n.Failf("restore: %v", err)
			}
			continue
		}
		c.tasks.apply(r.at, r.cmd, nil)
	}
	if c.log.End() > 0 {
		n.Count("coordinator restarts", 1)
		c.checkpoint()
	}
	s.table, s.changed = c.tasks, true
	c.tasks.observed = true
	c.log.Append(simRecord{at: n.Now(), cmd: commandLead(c.tasks.epoch + 1)})
	c.tasks.lead(n.Now(), c.tasks.epoch+1)
	c.tasks.takeEffects()
	c.after(func() {
		cfg := scheduleConfig{workerTimeout: simTimeout, grace: simTimeout, backupAge: 60 * time.Millisecond}
		c.schedule = newSchedule(cfg, c.tasks, n.Now())
		c.n.After(0, 0)
	})
	return c
}

// checkpoint replaces the log by an image of what it holds, and checks that the
// image is all of it.
func (c *simCoordinator) checkpoint() {
	var image, again bytes.Buffer
	if _, err := c.tasks.freeze().WriteTo(&image); err != nil {
		c.n.Failf("freeze: %v", err)
	}
	restored := newTasks()
	err := restored.restore(bytes.NewReader(image.Bytes()))
	if err == nil {
		_, err = restored.WriteTo(&again)
	}
	if err != nil || !bytes.Equal(image.Bytes(), again.Bytes()) {
		c.n.Failf("the image of a restored table differs: %v", err)
	}
	c.log.Reset(simRecord{image: image.Bytes()})
}

// after calls done when all that is logged is safe.
func (c *simCoordinator) after(done func()) {
	c.waits++
	c.wait[c.waits] = done
	c.log.Sync(c.waits)
}

// propose logs and applies a command, and hands its output on once it is safe.
func (c *simCoordinator) propose(cmd []byte, done func(out []byte)) {
	c.log.Append(simRecord{at: c.n.Now(), cmd: cmd})
	out := c.tasks.apply(c.n.Now(), cmd, nil)
	c.s.changed = true
	c.schedule.observe(c.n.Now(), c.tasks.takeEffects())
	c.after(func() { done(out) })
}

// step does what the schedule wants until it wants no more.
func (c *simCoordinator) step() {
	for actions := c.schedule.step(c.n.Now()); len(actions) > 0; actions = c.schedule.step(c.n.Now()) {
		for _, a := range actions {
			if a.sweep != 0 {
				continue
			}
			if a.command != nil {
				if command(a.command[0]) == cmdYield {
					c.n.Count("yields", 1)
				}
				c.propose(a.command, func([]byte) {})
				continue
			}
			c.after(func() { c.commit(a.commit, 0) })
		}
	}
	if err := c.schedule.check(); err != nil {
		c.n.Failf("%v", err)
	}
}

// commit commits the files of one task after those of the other, with time for a
// crash between them.
func (c *simCoordinator) commit(id JobID, n int) {
	j := c.tasks.jobs[id]
	ref := taskRef{id, MapTask, n}
	if n >= len(j.splits) {
		ref = taskRef{id, ReduceTask, n - len(j.splits)}
	}
	if ref.index == len(j.tasks[ReduceTask]) && ref.kind == ReduceTask {
		c.propose(commandEnd(c.tasks.epoch, id, JobSucceeded, ""), func([]byte) {})
		return
	}
	if files := c.tasks.task(ref).files; files != nil {
		for i, name := range files.names {
			commitSim(c, c.s.files.besides, simBeside{id, name}, files.attempt)
			if w := c.s.files.written[files.attempt]; !slices.Equal(w.names, files.names) {
				c.n.Failf("committing file %d of %v: it has written %q, not %q", i, files.attempt, w.names, files.names)
			}
		}
	}
	if ref.kind == j.last() {
		commitSim(c, c.s.files.committed, ref, c.tasks.task(ref).attempt)
	}
	c.s.changed = true
	c.after(func() { c.commit(id, n+1) })
}

// commitSim gives one file its final name.
func commitSim[T comparable](c *simCoordinator, committed map[T]Attempt, name T, winner Attempt) {
	if before, ok := committed[name]; ok && before != winner {
		c.n.Failf("committing %v would replace the file of %v by that of %v", name, before, winner)
	} else if _, written := c.s.files.written[winner]; !ok && !written {
		c.n.Failf("committing %v: the file of %v is gone", name, winner)
	}
	committed[name] = winner
}

func (c *simCoordinator) Timer(key uint64) {
	if key > 0 {
		done := c.wait[key]
		delete(c.wait, key)
		done()
	} else {
		c.n.After(20*time.Millisecond, 0)
	}
	if c.schedule != nil {
		c.step()
	}
}

func (c *simCoordinator) Receive(from int, m simMsg) {
	if c.schedule == nil {
		return
	}
	reply := func(m simMsg) { c.after(func() { c.n.Send(from, m) }) }
	ignore := func([]byte) {}
	epoch := c.tasks.epoch
	switch m.kind {
	case simRegister:
		w := c.s.rows[from]
		w.token, w.addr = m.token, fmt.Sprint(from)
		c.propose(commandJoin(epoch, &w), func([]byte) {})
		for _, w := range c.schedule.workers { // order-free: tokens are unique
			if w.row.token == m.token {
				c.schedule.confirm(c.n.Now(), w.row.id, func(a Attempt) bool { return slices.Contains(m.held, a) })
				reply(simMsg{kind: simRegistered, token: m.token, worker: w.row.id, epoch: epoch})
			}
		}
	case simPoll:
		if m.epoch != epoch || !c.schedule.alive(c.n.Now(), m.worker, m.zombies, m.doing) {
			reply(simMsg{kind: simUnknown, worker: m.worker, epoch: m.epoch})
			break
		}
		begin, stop := c.schedule.orders(m.worker, m.doing)
		reply(simMsg{kind: simOrders, worker: m.worker, epoch: epoch, begin: begin, stop: stop, over: c.schedule.over(m.over)})
	case simComplete:
		c.propose(commandComplete(epoch, m.ref, m.attempt, m.sizes(c.tasks), simCounts(m.attempt), simNames(m.ref)), func(out []byte) {
			if status(out[0]) == statusStale {
				c.n.Count("stale completions", 1)
			}
			c.n.Send(from, simMsg{kind: simCompleted, attempt: m.attempt, status: status(out[0])})
		})
	case simFailed:
		c.propose(commandFailed(epoch, m.attempt, "failed", m.record), ignore)
	case simLocate:
		locs, next, ok := c.schedule.locations(m.ref.job, m.ref.index, m.pos, 3)
		reply(simMsg{kind: simLocations, attempt: m.attempt, locs: locs, pos: next, found: ok})
	case simAnnounce:
		c.schedule.announced(m.attempt, m.at)
	case simUnfetched:
		c.schedule.unfetched(m.attempt, m.ref, m.of)
	case simSubmit:
		c.submit(from, m)
	}
	c.step()
}

func (c *simCoordinator) submit(from int, m simMsg) {
	for _, id := range c.tasks.order {
		if j := c.tasks.jobs[id]; j.token == m.token {
			ended := simMsg{kind: simEnded, token: m.token, state: j.state, ref: taskRef{job: id}}
			c.after(func() { c.n.Send(from, ended) })
			return
		}
	}
	c.propose(commandSubmit(c.tasks.epoch, m.job), func(out []byte) {
		if status(out[0]) == statusSpent {
			c.n.Send(from, simMsg{kind: simEnded, token: m.token, state: JobAborted, status: statusSpent})
		}
	})
}

// sizes returns the region sizes of a completed map.
func (m *simMsg) sizes(t *tasks) []byte {
	if j := t.jobs[m.ref.job]; j != nil && m.ref.kind == MapTask {
		return bytes.Repeat([]byte{1}, j.spec.Reduces)
	}
	return nil
}
