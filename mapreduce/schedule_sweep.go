package mapreduce

import "slices"

// When a job ends, what its attempts have left behind is swept up; and once more when
// no worker can be at one of them any more. A worker cleans up behind itself, but it may
// die instead, and between the end of a job and the moment in which a worker hears of
// it an attempt may write another file.

// leaves notes that a worker may still be at an attempt that was stopped.
func (s *schedule) leaves(w *scheduledWorker, id JobID) {
	if !slices.Contains(w.leaving, id) {
		w.leaving = append(w.leaving, id)
		s.leaving[id]++
	}
}

// left notes that a worker is at nothing any more that was stopped.
func (s *schedule) left(w *scheduledWorker) {
	for _, id := range w.leaving {
		if s.leaving[id]--; s.leaving[id] > 0 {
			continue
		}
		delete(s.leaving, id)
		if s.find(id) == nil {
			s.pending = append(s.pending, action{sweep: id})
		}
	}
	w.leaving = nil
}

// inheritEnded has the leftovers of a job swept up that ended in an older epoch, perhaps
// with it: its coordinator may have had no time for that, and the workers may not have
// heard of it.
func (s *schedule) inheritEnded(j *job) {
	if j.state == JobSucceeded {
		return // its files were swept up before
	}
	s.pending = append(s.pending, action{sweep: j.id})
	for _, id := range s.roster {
		s.leaves(s.workers[id], j.id)
	}
}
