package mapreduce

import "fmt"

// check verifies the invariants of a schedule that has nothing left to do:
//
//   - A task that may begin does not wait while a worker that is able has a free
//     slot for its kind, and has not failed it. For a map nothing else is asked: no
//     reduce is in its way.
//   - After a look for reduces that only wait, none that can run to its end waits
//     for one of those.
//   - active counts the attempts that run or are on their way.
func (s *schedule) check() error {
	for _, j := range s.jobs {
		var active [2]int
		for _, r := range s.tasks.running { // order-free: counts
			if r.job == j.job.id {
				active[r.kind]++
			}
		}
		for kind := range j.job.tasks {
			if n := active[kind] + len(j.proposed[kind]); n != j.active[kind] {
				return fmt.Errorf("job %d has %d active %v attempts, %d were counted", j.job.id, n, TaskKind(kind), j.active[kind])
			}
			if err := s.checkWaiting(j, TaskKind(kind)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *schedule) checkWaiting(j *scheduledJob, kind TaskKind) error {
	done, all := j.job.completed[MapTask], len(j.job.splits)
	if j.job.state != JobRunning || kind == ReduceTask && done*100 < all*j.job.spec.ReduceAfter {
		return nil
	}
	for i := range j.job.tasks[kind] {
		if !j.waits(kind, i) {
			continue
		}
		for _, id := range s.roster {
			w := s.workers[id]
			if w == nil || !w.confirmed || w.condemned || !w.row.able(&j.job.spec, kind) {
				continue
			}
			if j.failed[kind][i] == id || s.spared(w, j, kind) {
				continue
			}
			if w.row.slots[kind] > len(w.running[kind])+w.proposed[kind]+w.zombies[kind] {
				return fmt.Errorf("%s of job %d waits while worker %d has a free slot", taskName(kind, i), j.job.id, id)
			}
			if kind == MapTask || done < all || !s.looks {
				continue
			}
			for _, a := range w.watched() {
				if s.idles(a) {
					return fmt.Errorf("%s of job %d waits for attempt %v on worker %d, which only waits", taskName(kind, i), j.job.id, a.attempt, id)
				}
			}
		}
	}
	return nil
}
