package mapreduce

import "time"

// An attempt may have failed because of where it ran: the disk is full there, say.
// Nobody can tell from one failure, and a cluster of one worker has no choice; so
// nothing here keeps a task from running if there is nobody else.
const (
	// A worker on which an attempt has failed rests for one in so many parts of the
	// worker timeout, and after each further failure without a success between them
	// twice as long as before, up to restDoublings times. Then it is tried again,
	// with one task of each kind at a time until one has completed.
	restPart      = 8
	restDoublings = 8
)

// failedOn takes in that an attempt of a task has failed on a worker. What fails in
// a record does not count: the job's code does so wherever it runs.
func (s *schedule) failedOn(now time.Time, ref taskRef, id workerID) {
	if j := s.find(ref.job); j != nil {
		j.failed[ref.kind][ref.index] = id
	}
	w := s.workers[id]
	if w == nil || now.Before(w.rests) {
		return // attempts that fail together do so for one reason
	}
	w.rests = now.Add(s.cfg.workerTimeout / restPart << min(w.failures, restDoublings))
	w.failures++
}

// completedOn takes in that a worker has completed a task.
func (s *schedule) completedOn(ref taskRef, w *scheduledWorker) {
	w.failures, w.rests = 0, time.Time{}
	if j := s.find(ref.job); j != nil {
		delete(j.failed[ref.kind], ref.index)
	}
}

// spared reports whether a worker is given no task of a kind of a job, as attempts
// have failed on it and others can do the work.
func (s *schedule) spared(w *scheduledWorker, j *scheduledJob, kind TaskKind) bool {
	tried := len(w.running[kind]) + w.proposed[kind]
	return w.failures > 0 && (tried > 0 || s.rests(w)) && s.others(w, j, kind)
}

// avoids reports whether a task had better run elsewhere than on a worker, as it has
// failed there and others can do it, be it later.
func (s *schedule) avoids(w *scheduledWorker, j *scheduledJob, kind TaskKind, index int) bool {
	id, failed := j.failed[kind][index]
	return failed && id == w.row.id && s.others(w, j, kind)
}

// rests reports whether a worker rests.
func (s *schedule) rests(w *scheduledWorker) bool { return s.checked.Before(w.rests) }

// others reports whether there is another worker, be it busy, for tasks of a kind of a
// job, that does not rest, or not as long: who rests the shortest is never kept from
// working by that.
func (s *schedule) others(w *scheduledWorker, j *scheduledJob, kind TaskKind) bool {
	for _, id := range s.roster {
		other := s.workers[id]
		if other != nil && other != w && s.willing(other, j, kind) && (!s.rests(other) || other.rests.Before(w.rests)) {
			return true
		}
	}
	return false
}
