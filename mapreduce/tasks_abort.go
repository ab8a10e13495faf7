package mapreduce

import (
	"fmt"
	"time"
)

// maxResubmits bounds how often a job may be submitted again.
const maxResubmits = 1000

// abort ends the jobs that wish to end with the coordinator that ran them. One that
// has all its output goes on: it only has to be given its names.
func (t *tasks) abort(at time.Time) {
	for _, id := range t.order {
		if j := t.jobs[id]; j.state == JobRunning && j.spec.Abort && !t.planted.ignoreAbort {
			t.abandon(at, j, JobAborted, fmt.Sprintf("its coordinator, of epoch %d, is no more", j.epoch))
		}
	}
}

// replaces reports whether a job may take the place of the aborted one that it
// names. If another has before, it returns that.
func (t *tasks) replaces(j *job) (successor JobID, st status) {
	old := t.jobs[j.predecessor]
	switch {
	case old == nil || old.state != JobAborted:
		return 0, statusStale
	case old.successor != 0:
		return old.successor, statusOK
	case old.resubmitsLeft() == 0 && !t.planted.resubmitAlways:
		return 0, statusSpent
	}
	return 0, statusOK
}

// succeed notes that a job has taken the place of an aborted one.
func (t *tasks) succeed(j *job) {
	if old := t.jobs[j.predecessor]; old != nil {
		old.successor = j.id
	}
}

// resubmitsLeft returns how often a job may still be submitted again.
func (j *job) resubmitsLeft() int { return max(j.spec.Resubmits-j.resubmitted, 0) }

// latest returns the job that is in the place of one now.
func (t *tasks) latest(id JobID) JobID {
	for j := t.jobs[id]; j != nil && j.successor != 0; j = t.jobs[id] {
		id = j.successor // it was submitted later
	}
	return id
}

// checkAborted verifies what aborting and submitting again leave true of a job.
func (t *tasks) checkAborted(j *job) error {
	if j.state == JobRunning && j.spec.Abort && j.epoch != t.epoch {
		return fmt.Errorf("it goes on in epoch %d, although it was to end with epoch %d", t.epoch, j.epoch)
	}
	if j.resubmitted > j.spec.Resubmits {
		return fmt.Errorf("it was submitted again %d times, %d are allowed", j.resubmitted, j.spec.Resubmits)
	}
	if old := t.jobs[j.predecessor]; old != nil && old.successor != j.id {
		return fmt.Errorf("it is in the place of job %d, as is job %d", old.id, old.successor)
	}
	if j.successor == 0 {
		return nil
	}
	if next := t.jobs[j.successor]; j.state != JobAborted || j.successor <= j.id || next != nil && next.resubmitted != j.resubmitted+1 {
		return fmt.Errorf("it is %v, and job %d has taken its place: %+v", j.state, j.successor, next)
	}
	return nil
}
