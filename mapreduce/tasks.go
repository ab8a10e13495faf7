package mapreduce

import "time"

// workerID names an incarnation of a worker. The table issues them, from 1 on, and
// none twice.
type workerID uint32

// taskState is what a task is. Legal transitions:
//
//	idle      → running    an attempt is assigned to a worker
//	running   → idle       its only attempt failed, or its worker is dead, or the coordinator was replaced
//	running   → running    a backup was assigned, or one of two attempts ended without completing
//	running   → completed  the attempt is the first to complete
//	completed → idle       a map's output is lost, while reduces still need it; never the
//	                       output of a map in a job without reduces, which is a file
type taskState uint8

const (
	taskIdle taskState = iota
	taskRunning
	taskCompleted
)

// task is one map or reduce task.
type task struct {
	state    taskState
	failures uint8    // attempts that failed
	losses   uint8    // attempts that were lost with their worker or output
	worker   workerID // running: where; completed map: who holds the output
	attempt  Attempt  // running, or the one that completed
	backup   *backup  // running: the second attempt, if there is one; replaced, never changed
	sizes    []byte   // completed map: the size of each region, as sizeCode has it; never changed
	trouble  *trouble // nil unless bad records are skipped and something has failed; replaced, never changed
	counts   []byte   // what the last attempt to complete it adds to the job's tally, also when its output is lost; never changed
	files    *fileSet // those that it has won with besides its output; stays when its output is lost; never changed
}

// backup is a second attempt that runs beside the first, on another worker. The
// first to complete wins.
type backup struct {
	worker  workerID
	attempt Attempt
}

// job is one run of a Job.
type job struct {
	id        JobID
	token     string // identifies the submission, so that it can be repeated
	name      string
	build     string // of the binary that planned it
	spec      Spec   // never changed
	splits    []Split
	tasks     [2][]task // by TaskKind
	completed [2]int    // how many of them are
	tally     tally     // what they have counted
	skips     int       // records that are skipped
	claims    claims    // files that tasks have written besides their output
	backups   Backups
	state     JobState
	err       string // why it failed
	submitted time.Time
	ended     time.Time

	epoch       uint64 // in which it was submitted
	predecessor JobID  // the aborted job in whose place it is, or 0
	successor   JobID  // the job in the place of this one, which was aborted, or 0
	resubmitted int    // how many jobs there were in this place before it
}

// taskRef names a task.
type taskRef struct {
	job   JobID
	kind  TaskKind
	index int
}

// runningAttempt is an attempt that a worker was given and has not ended.
type runningAttempt struct {
	taskRef
	worker workerID
}

// tasks is the task table: the state of the coordinator that survives it. It is a
// deterministic machine: apply carries out one command at a time, and what it does
// follows from the commands alone.
//
// Invariants, which check verifies:
//
//   - An attempt runs only on a worker that is alive, and only for a running task
//     of a running job, whose attempt or backup it is; and it is of the present epoch.
//   - The worker takes tasks of that kind, and has the labels that the job wants.
//   - The two attempts of a task run on different workers.
//   - The output of a completed map of a running job is held by a living worker.
//   - completed counts the completed tasks, and tally has the sums of what those
//     attempts have counted that were the last to complete each task.
//   - A job is committing if and only if all its last tasks are completed and it has not
//     ended; the winner of a completed last task never changes. The last tasks are the
//     reduces, or the maps if there are none.
//   - A job that wishes to be aborted runs only in the epoch in which it was submitted;
//     one job at most takes its place, as often as it allows.
//   - The files that a task has won with never change, and no two tasks have one of the
//     same name; claims has them all.
type tasks struct {
	epoch   uint64
	issued  uint64 // attempts
	workers map[workerID]*workerRow
	worker  workerID // the last one issued
	jobs    map[JobID]*job
	order   []JobID // of jobs, as submitted
	job     JobID   // the last one issued
	running map[Attempt]runningAttempt

	// effects are what the commands have changed since they were last taken, for
	// the schedule. They are no part of the state.
	effects  []effect
	observed bool // somebody takes the effects

	planted plantedBugs
}

// plantedBugs are for the tests of the tests.
type plantedBugs struct {
	countDuplicates bool // a repeated completion of a map counts again
	replaceWinner   bool // the last reduce attempt to complete wins, not the first
	anyEpoch        bool // attempts survive the epoch in which they were issued
	keepDeadOutput  bool // what a dead worker held stays completed
	skipAtOnce      bool // a record is skipped on its first failure
	keepLostCounts  bool // what a map has counted whose output is lost stays in the sums beside what it counts again
	forgetFiles     bool // the files of a map whose output is lost are forgotten
	ignoreLabels    bool // a job is run by workers without its labels
	shareSlots      bool // a reduce takes a slot that a map could have
	neverYield      bool // a reduce that only waits keeps its slot
	ignoreAbort     bool // a job goes on that was to be aborted
	resubmitAlways  bool // an aborted job is submitted again more often than it allows
}

func newTasks() *tasks {
	return &tasks{
		workers: make(map[workerID]*workerRow),
		jobs:    make(map[JobID]*job),
		running: make(map[Attempt]runningAttempt),
	}
}

const (
	// maxJobsRunning bounds the jobs that have not ended.
	maxJobsRunning = 1 << 10
	// maxJobsKept bounds the jobs that have ended and are still known.
	maxJobsKept = 1 << 8
	// maxWorkers bounds the living workers.
	maxWorkers = 1 << 16
	// maxErrorBytes bounds the text of a failure that is kept.
	maxErrorBytes = 16 << 10
	// lossesPerFailure is how many lost attempts weigh as much as one that failed.
	lossesPerFailure = 4
)

// effectKind says what a command has changed.
type effectKind uint8

const (
	effectWorkerJoined effectKind = iota + 1 // worker
	effectWorkerGone                         // worker
	effectJobBegan                           // task.job
	effectJobWon                             // task.job
	effectJobEnded                           // task.job
	effectTaskIdle                           // task
	effectRefused                            // task could not be assigned to worker
	effectStarted                            // attempt of task on worker
	effectStopped                            // attempt of task on worker
	effectMapDone                            // task
	effectMapLost                            // task
	effectFailure                            // text is what went wrong with attempt of task on worker
)

// effect is one change.
type effect struct {
	kind    effectKind
	task    taskRef
	worker  workerID
	attempt Attempt
	text    string
	blames  bool // effectFailure: the worker may be the reason
}

func (t *tasks) notify(e effect) {
	if t.observed {
		t.effects = append(t.effects, e)
	}
}

// takeEffects returns the effects since the last call.
func (t *tasks) takeEffects() []effect {
	e := t.effects
	t.effects = nil
	return e
}

// lead begins an epoch: whatever runs was given out by an older coordinator, whose
// attempts nobody waits for.
func (t *tasks) lead(at time.Time, epoch uint64) status {
	if epoch <= t.epoch {
		return statusStale
	}
	t.epoch = epoch
	if t.planted.anyEpoch {
		return statusOK
	}
	for _, a := range t.runningOf(0) {
		t.stop(a)
	}
	t.abort(at)
	return statusOK
}

// loseOutputs makes the completed maps idle whose output a worker holds.
func (t *tasks) loseOutputs(j *job, id workerID) {
	if j.state != JobRunning || j.last() == MapTask {
		return
	}
	maps := j.tasks[MapTask]
	for i := range maps {
		if maps[i].state == taskCompleted && maps[i].worker == id {
			t.loseOutput(j, i)
		}
	}
}

func (t *tasks) loseOutput(j *job, index int) {
	m := &j.tasks[MapTask][index]
	// What it has counted stays, until it is done again: it need not be, if the
	// reduces have all they need, and the job's counters are complete all the same.
	m.state, m.worker, m.attempt, m.sizes = taskIdle, 0, Attempt{}, nil
	if t.planted.forgetFiles && m.files != nil {
		j.claims.release(m.files)
		m.files = nil
	}
	j.completed[MapTask]--
	ref := taskRef{j.id, MapTask, index}
	t.notify(effect{kind: effectMapLost, task: ref})
	t.notify(effect{kind: effectTaskIdle, task: ref})
}

// last returns the kind of the tasks whose output is the job's.
func (j *job) last() TaskKind { return j.spec.last() }

// done reports whether all tasks of the last kind have completed.
func (j *job) done() bool { return j.completed[j.last()] == len(j.tasks[j.last()]) }

// submit adds a job, or finds the one that was submitted with the same token. A
// job with nothing to map has its reduces all the same: their files are empty.
func (t *tasks) submit(at time.Time, j *job) (JobID, status) {
	if j.predecessor != 0 { // first, for its successor writes where it would
		if id, st := t.replaces(j); st != statusOK || id != 0 {
			return id, st
		}
		j.resubmitted = t.jobs[j.predecessor].resubmitted + 1
	}
	running := 0
	for _, id := range t.order {
		switch known := t.jobs[id]; {
		case known.token == j.token:
			return id, statusOK
		case !known.state.Ended():
			running++
			if known.spec.Output == j.spec.Output {
				return id, statusOutputTaken
			}
		}
	}
	if running >= maxJobsRunning {
		return 0, statusFull
	}
	t.job++
	j.id, j.epoch, j.submitted = t.job, t.epoch, at
	t.succeed(j)
	j.tasks[MapTask] = make([]task, len(j.splits))
	j.tasks[ReduceTask] = make([]task, j.spec.Reduces)
	t.jobs[j.id] = j
	t.order = append(t.order, j.id)
	t.forget()
	t.notify(effect{kind: effectJobBegan, task: taskRef{job: j.id}})
	if j.done() { // there is nothing to do
		t.win(j)
	}
	return j.id, statusOK
}

// forget drops the oldest of the jobs that have ended, if there are too many.
func (t *tasks) forget() {
	ended := 0
	for _, id := range t.order {
		if t.jobs[id].state.Ended() {
			ended++
		}
	}
	kept := t.order[:0]
	for _, id := range t.order {
		if ended > maxJobsKept && t.jobs[id].state.Ended() {
			ended--
			delete(t.jobs, id)
			continue
		}
		kept = append(kept, id)
	}
	t.order = kept
}

// assign gives a task to a worker and returns the attempt.
func (t *tasks) assign(to assignment) (Attempt, status) {
	j, w := t.jobs[to.task.job], t.workers[to.worker]
	if w == nil || j == nil || j.state != JobRunning || to.task.index >= len(j.tasks[to.task.kind]) ||
		!t.task(to.task).accepts(to) || !t.able(w, j, to.task.kind) {
		t.notify(effect{kind: effectRefused, task: to.task, worker: to.worker})
		return Attempt{}, statusStale
	}
	t.issued++
	a := Attempt{Epoch: t.epoch, N: t.issued}
	task := t.task(to.task)
	if to.backup {
		task.backup = &backup{to.worker, a}
		j.backups.Started++
	} else {
		task.state, task.worker, task.attempt = taskRunning, to.worker, a
	}
	t.running[a] = runningAttempt{to.task, to.worker}
	t.notify(effect{kind: effectStarted, task: to.task, worker: to.worker, attempt: a})
	return a, statusOK
}

// completedBy reports whether an attempt has completed the task.
func (t *task) completedBy(a Attempt) bool { return t.state == taskCompleted && t.attempt == a }

// accepts reports whether an assignment fits the state of its task.
func (t *task) accepts(to assignment) bool {
	if to.backup {
		return t.state == taskRunning && t.backup == nil && t.worker != to.worker
	}
	return t.state == taskIdle
}

// stop ends an attempt that did not complete. The task is idle again, unless
// another attempt of it runs.
func (t *tasks) stop(a Attempt) {
	r := t.running[a]
	delete(t.running, a)
	t.notify(effect{kind: effectStopped, task: r.taskRef, worker: r.worker, attempt: a})
	switch task := t.task(r.taskRef); {
	case task.state != taskRunning:
	case task.backup != nil && task.backup.attempt == a:
		task.backup = nil
	case task.backup != nil && task.attempt == a:
		task.worker, task.attempt, task.backup = task.backup.worker, task.backup.attempt, nil
	case task.attempt == a:
		task.state, task.worker, task.attempt = taskIdle, 0, Attempt{}
		t.notify(effect{kind: effectTaskIdle, task: r.taskRef})
	}
}

// end ends a job: succeeded if it was won and its files are committed, failed if
// they cannot be or it can't go on, cancelled if it is still running.
func (t *tasks) end(at time.Time, id JobID, to JobState, text string) status {
	j := t.jobs[id]
	if j == nil {
		return statusStale
	}
	switch {
	case j.state == to:
		return statusOK
	case to == JobSucceeded && j.state == JobCommitting:
		j.state, j.ended = to, at
		t.notify(effect{kind: effectJobEnded, task: taskRef{job: id}})
	case to == JobFailed && !j.state.Ended(), to == JobCanceled && j.state == JobRunning:
		t.abandon(at, j, to, text)
	default:
		return statusStale
	}
	return statusOK
}

// abandon ends a job that does not succeed.
func (t *tasks) abandon(at time.Time, j *job, to JobState, text string) {
	j.state, j.ended, j.err = to, at, text[:min(len(text), maxErrorBytes)]
	t.stopAll(j)
	t.notify(effect{kind: effectJobEnded, task: taskRef{job: j.id}})
}

// stopAll stops what runs for a job.
func (t *tasks) stopAll(j *job) {
	for kind := range j.tasks {
		for i := range j.tasks[kind] {
			for task := &j.tasks[kind][i]; task.state == taskRunning; {
				t.stop(task.attempt) // and then its backup
			}
		}
	}
}

// task returns a task that exists.
func (t *tasks) task(ref taskRef) *task { return &t.jobs[ref.job].tasks[ref.kind][ref.index] }
