package mapreduce

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// runningOf returns the attempts that a worker runs, or that all do if id is 0, in
// the order in which they were issued.
func (t *tasks) runningOf(id workerID) []Attempt {
	var found []Attempt
	for a, r := range t.running { // order-free: sorted below
		if id == 0 || r.worker == id {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b Attempt) int { return cmp.Compare(a.N, b.N) })
	return found
}

// check verifies the invariants of the table.
func (t *tasks) check() error {
	for _, a := range t.runningOf(0) {
		r := t.running[a]
		j := t.jobs[r.job]
		switch {
		case a.Epoch != t.epoch:
			return fmt.Errorf("attempt %v runs in epoch %d", a, t.epoch)
		case t.workers[r.worker] == nil:
			return fmt.Errorf("attempt %v runs on worker %d, which is dead", a, r.worker)
		case j == nil || j.state != JobRunning:
			return fmt.Errorf("attempt %v runs for job %d, which does not", a, r.job)
		case !t.workers[r.worker].able(&j.spec, r.kind):
			return fmt.Errorf("attempt %v runs on worker %d, which is not for tasks like %v: %+v", a, r.worker, r.taskRef, t.workers[r.worker])
		}
		if task := t.task(r.taskRef); task.state != taskRunning || !task.runs(a, r.worker) {
			return fmt.Errorf("attempt %v runs on worker %d, but its task is %+v", a, r.worker, task)
		}
	}
	if len(t.order) != len(t.jobs) {
		return fmt.Errorf("%d jobs in order, %d in the table", len(t.order), len(t.jobs))
	}
	for _, id := range slices.Sorted(maps.Keys(t.jobs)) {
		if err := t.checkJob(t.jobs[id]); err != nil {
			return fmt.Errorf("job %d: %w", id, err)
		}
	}
	return nil
}

// runs reports whether an attempt on a worker is one of the task's.
func (t *task) runs(a Attempt, id workerID) bool {
	return t.attempt == a && t.worker == id || t.backup != nil && *t.backup == backup{id, a}
}

func (t *tasks) checkJob(j *job) error {
	if err := t.checkAborted(j); err != nil {
		return err
	}
	skips, files := 0, 0
	sums := tally{names: j.tally.names, sums: make([]int64, len(j.tally.names))}
	for kind := range j.tasks {
		completed := 0
		for i := range j.tasks[kind] {
			name := func() string { return taskName(TaskKind(kind), i) } // costs too much to be made in vain
			task := &j.tasks[kind][i]
			if task.trouble != nil {
				skips += len(task.trouble.skipped)
			}
			if task.files != nil {
				files += len(task.files.names)
				if err := j.claims.has(taskRef{j.id, TaskKind(kind), i}, task.files.names); err != nil {
					return err
				}
			}
			if b := task.backup; b != nil {
				if _, ok := t.running[b.attempt]; !ok || task.state != taskRunning || b.worker == task.worker || b.attempt == task.attempt {
					return fmt.Errorf("%s has a backup %+v that does not run, or not apart from it: %+v", name(), *b, task)
				}
			}
			if err := sums.add(task.counts, 1); err != nil {
				return fmt.Errorf("%s: %w", name(), err)
			}
			switch task.state {
			case taskRunning:
				if _, ok := t.running[task.attempt]; !ok {
					return fmt.Errorf("%s is running, but its attempt %v is not", name(), task.attempt)
				}
			case taskCompleted:
				completed++
				if TaskKind(kind) != MapTask || j.state != JobRunning {
					continue
				}
				if len(task.sizes) != j.spec.Reduces {
					return fmt.Errorf("%s is completed with %d sizes for %d regions", name(), len(task.sizes), j.spec.Reduces)
				}
				if j.last() == MapTask {
					continue // its output is a file
				}
				if t.workers[task.worker] == nil {
					return fmt.Errorf("%s is completed, but its worker %d is dead", name(), task.worker)
				}
			}
		}
		if completed != j.completed[kind] {
			return fmt.Errorf("%d %v tasks are completed, %d were counted", completed, TaskKind(kind), j.completed[kind])
		}
	}
	if skips != j.skips || skips > j.spec.SkipBadRecords {
		return fmt.Errorf("%d records are skipped, %d were counted, %d are allowed", skips, j.skips, j.spec.SkipBadRecords)
	}
	if files != len(j.claims) {
		return fmt.Errorf("tasks have %d files, %d are claimed", files, len(j.claims))
	}
	if !slices.Equal(sums.sums, j.tally.sums) {
		return fmt.Errorf("the counters %q are %d, those of the tasks sum up to %d", j.tally.names, j.tally.sums, sums.sums)
	}
	if (j.state == JobCommitting || j.state == JobSucceeded) && !j.done() || j.state == JobRunning && j.done() {
		return fmt.Errorf("state %d with %d of %d %v tasks completed", j.state, j.completed[j.last()], len(j.tasks[j.last()]), j.last())
	}
	return nil
}

// sizeCode writes the size of a region in one byte: 0 for none, and otherwise the
// logarithm, in steps of an eighth of a power of two.
func sizeCode(n int64) byte {
	if n <= 0 {
		return 0
	}
	octave := bits.Len64(uint64(n)) - 1
	fraction := uint64(n) << 3 >> octave & 7
	return byte(min(1+8*octave+int(fraction), 255))
}

// maxSize returns the largest size with that code: what has to be reckoned with.
func maxSize(code byte) int64 {
	if code == 0 {
		return 0
	}
	octave, fraction := (int(code)-1)/8, (int64(code)-1)%8
	return (8+fraction+1)<<octave>>3 + 1
}
