package mapreduce

import (
	"fmt"
	"time"
)

// complete ends an attempt that has done its task. sizes are those of a map's
// regions, files what it has written besides. The answer is the same if the command
// is repeated: whether it is this attempt whose output counts.
func (t *tasks) complete(at time.Time, ref taskRef, a Attempt, sizes []byte, c counts, files []string) status {
	j := t.jobs[ref.job]
	if j == nil || ref.index >= len(j.tasks[ref.kind]) {
		return statusStale
	}
	task := &j.tasks[ref.kind][ref.index]
	r, running := t.running[a]
	switch {
	case running && r.taskRef == ref:
	case task.completedBy(a):
		if t.planted.countDuplicates {
			j.completed[ref.kind]++
		}
		return statusOK
	case t.planted.replaceWinner && ref.kind == j.last() && task.state == taskCompleted:
		task.attempt = a
		return statusOK
	default:
		return statusStale
	}
	if ref.kind == MapTask && len(sizes) != j.spec.Reduces {
		return statusStale
	}
	if err := j.claims.check(ref, files); err != nil && task.files == nil {
		t.abandon(at, j, JobFailed, err.Error())
		return statusStale
	}
	counted, ok := j.tally.intern(c)
	if !ok {
		t.abandon(at, j, JobFailed, fmt.Sprintf("%v: the tasks have more than %d different ones", ErrCounter, maxCounters))
		return statusStale
	}
	if task.files == nil && len(files) > 0 {
		task.files = &fileSet{a, files}
		j.claims.claim(ref, files)
	}
	if !t.planted.keepLostCounts {
		_ = j.tally.add(task.counts, -1) // of an execution whose output was lost; they were added
	}
	_ = j.tally.add(counted, 1)     // its own
	if b := task.backup; b != nil { // whoever has not won is stopped
		loser := b.attempt
		if a == loser {
			loser = task.attempt
			j.backups.Won++
		}
		t.stop(loser)
	}
	delete(t.running, a)
	task.state, task.worker, task.attempt, task.counts = taskCompleted, r.worker, a, counted
	t.notify(effect{kind: effectStopped, task: ref, worker: r.worker, attempt: a})
	j.completed[ref.kind]++
	if ref.kind == MapTask {
		task.sizes = sizes
		t.notify(effect{kind: effectMapDone, task: ref})
	}
	if j.done() {
		t.win(j)
	}
	return statusOK
}

// win makes a job won: what still runs for it, re-executed maps, is stopped.
func (t *tasks) win(j *job) {
	j.state = JobCommitting
	t.stopAll(j)
	t.notify(effect{kind: effectJobWon, task: taskRef{job: j.id}})
}

// failed ends an attempt that failed, and counts it against its task. record is 1 +
// the number of the record that it failed in, or 0.
func (t *tasks) failed(at time.Time, a Attempt, text string, record uint64) status {
	r, ok := t.running[a]
	if !ok {
		return statusStale
	}
	t.stop(a)
	t.notify(effect{kind: effectFailure, task: r.taskRef, worker: r.worker, attempt: a, text: text, blames: record == 0})
	t.blame(at, r.taskRef, text, record)
	return statusOK
}

// yield ends an attempt that another task needs the slot of. That is nobody's
// failure.
func (t *tasks) yield(a Attempt) status {
	if _, ok := t.running[a]; !ok {
		return statusStale
	}
	t.stop(a)
	return statusOK
}

// blame counts a failure against a task, and gives the job up if it is the last
// that it is allowed.
func (t *tasks) blame(at time.Time, ref taskRef, text string, record uint64) {
	j, task := t.jobs[ref.job], t.task(ref)
	task.failures++
	if record > 0 {
		t.suspect(ref, record-1, text)
	}
	if int(task.failures) >= j.spec.MaxAttempts && j.state == JobRunning {
		t.abandon(at, j, JobFailed, fmt.Sprintf("%s failed %d times, the last time with: %s", taskName(ref.kind, ref.index), task.failures, text))
	}
}

// countLoss counts an attempt that was lost without failing, with its worker or
// its output. That is rarely the task's fault; but it can be, so there is an end
// to it too.
func (t *tasks) countLoss(at time.Time, ref taskRef, text string) {
	j, task := t.jobs[ref.job], t.task(ref)
	task.losses++
	if int(task.losses) >= lossesPerFailure*j.spec.MaxAttempts && j.state == JobRunning {
		t.abandon(at, j, JobFailed, fmt.Sprintf("%s was lost %d times, the last time because %s", taskName(ref.kind, ref.index), task.losses, text))
	}
}

// lost makes a completed map idle whose output could not be had, although the
// worker that holds it lives. It counts as a loss of the map, unless it is known
// why it happened.
func (t *tasks) lost(at time.Time, ref taskRef, a Attempt, count bool, text string) status {
	j := t.jobs[ref.job]
	if j == nil || j.state != JobRunning || ref.kind != MapTask || ref.kind == j.last() || ref.index >= len(j.tasks[MapTask]) {
		return statusStale
	}
	m := &j.tasks[MapTask][ref.index]
	if m.state != taskCompleted || m.attempt != a {
		return statusStale
	}
	t.notify(effect{kind: effectFailure, task: ref, worker: m.worker, attempt: a, text: text})
	t.loseOutput(j, ref.index)
	if count {
		t.countLoss(at, ref, text)
	}
	return statusOK
}
