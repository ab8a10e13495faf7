package mapreduce

import (
	"fmt"
	"time"
)

// JobStatus is how a job is doing.
type JobStatus struct {
	ID        JobID
	Name      string
	Input     []string // Spec.Input: the patterns; Client.Jobs leaves them out
	Output    string   // its directory
	State     JobState
	Failure   string // why it failed, was cancelled or aborted
	Waiting   string // why no worker there is can run the tasks that are left, if so
	Resubmits int    // how often it may still be submitted again, should it be aborted
	Successor JobID  // the job in its place, if it was aborted and submitted again
	Maps      TaskProgress
	Reduces   TaskProgress
	Submitted time.Time // by the coordinator's log, which is not the time of day
	Ended     time.Time // likewise; zero if it has not

	InputBytes int64 // of all splits
	InputDone  int64 // of those whose map has completed

	// Counters are those of the job's functions and of the library, by name:
	// what the attempts have counted that completed their tasks, and of tasks
	// that run for the first time, their attempts so far, as of a second ago.
	Counters map[string]int64

	// SideFiles counts those that completed tasks have written, see Task.Create.
	SideFiles int

	// Backups are those that slow tasks got, also of attempts that run.
	Backups Backups

	// Skipped are the records that Spec.SkipBadRecords has let go.
	Skipped []SkippedRecord
}

// TaskProgress counts tasks.
type TaskProgress struct {
	Total     int `json:"total"`
	Running   int `json:"running"`
	Completed int `json:"completed"`
}

// String returns the status in a line.
func (s *JobStatus) String() string {
	line := fmt.Sprintf("job %d %s %v: maps %d/%d", s.ID, s.Name, s.State, s.Maps.Completed, s.Maps.Total)
	if s.Reduces.Total > 0 {
		line += fmt.Sprintf(", reduces %d/%d", s.Reduces.Completed, s.Reduces.Total)
	}
	if s.Waiting != "" {
		line += "; it waits: " + s.Waiting
	}
	return line
}

// err returns the error of a job that has not succeeded.
func (s *JobStatus) err() error {
	switch s.State {
	case JobFailed:
		return &Error{Op: "run", Job: s.Name, Err: fmt.Errorf("%w: %s", ErrJobFailed, s.Failure)}
	case JobAborted:
		return &Error{Op: "run", Job: s.Name, Err: fmt.Errorf("%w: %s", ErrAborted, s.Failure)}
	case JobCanceled:
		return &Error{Op: "run", Job: s.Name, Err: fmt.Errorf("%w: %s", ErrCanceled, s.Failure)}
	}
	return nil
}

// result returns the result of a job that has succeeded.
func (s *JobStatus) result() *Result {
	r := &Result{Maps: s.Maps.Total, Reduces: s.Reduces.Total, InputBytes: s.InputBytes, Counters: s.Counters, Skipped: s.Skipped, Backups: s.Backups, SideFiles: s.SideFiles}
	if r.Files = partNames(s.Output, r.Reduces); r.Reduces == 0 {
		r.Files = partNames(s.Output, r.Maps)
	}
	return r
}

// status returns how a job is doing, or nil if it is not known.
func (t *tasks) status(id JobID) *JobStatus {
	j := t.jobs[id]
	if j == nil {
		return nil
	}
	s := &JobStatus{
		ID: id, Name: j.name, Input: j.spec.Input, Output: j.spec.Output, State: j.state, Failure: j.err, Submitted: j.submitted, Ended: j.ended,
		Maps:     TaskProgress{Total: len(j.splits), Completed: j.completed[MapTask]},
		Reduces:  TaskProgress{Total: j.spec.Reduces, Completed: j.completed[ReduceTask]},
		Counters: j.tally.values(), Skipped: j.skipped(), Backups: j.backups, SideFiles: len(j.claims),
		Resubmits: j.resubmitsLeft(), Successor: j.successor,
	}
	for i := range j.splits {
		n := j.splits[i].bytes()
		s.InputBytes += n
		if j.tasks[MapTask][i].state == taskCompleted {
			s.InputDone += n
		}
	}
	for _, r := range t.running { // order-free: counts
		if task := t.task(r.taskRef); r.job == id && task.worker == r.worker { // not its backup
			if r.kind == MapTask {
				s.Maps.Running++
			} else {
				s.Reduces.Running++
			}
		}
	}
	return s
}

// status returns how a job is doing, with what its running attempts have counted.
func (s *schedule) status(id JobID) *JobStatus {
	st := s.tasks.status(id)
	if st == nil || st.State.Ended() {
		return st
	}
	st.Waiting = s.stuck(s.tasks.jobs[id])
	for a, r := range s.tasks.running { // order-free: sums
		w := s.workers[r.worker]
		task := s.tasks.task(r.taskRef)
		if r.job != id || w == nil || task.attempt != a || len(task.counts) > 0 {
			continue // a backup, or another execution of what has been counted
		}
		if running := w.running[r.kind][a]; running != nil {
			for _, c := range running.counters {
				st.Counters[c.name] += c.n
			}
		}
	}
	return st
}
