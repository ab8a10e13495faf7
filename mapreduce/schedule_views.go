package mapreduce

import "fmt"

// order tells a worker to begin an attempt.
type order struct {
	attempt Attempt
	task    taskRef
}

// orders compares what a worker should run with what it says it does. Nothing is
// remembered of what it was told before, so that no message needs to arrive.
func (s *schedule) orders(id workerID, doing []progress) (begin []order, stop []Attempt) {
	w := s.workers[id]
	if w == nil {
		return nil, nil
	}
	does := make(map[Attempt]bool, len(doing))
	for _, p := range doing {
		does[p.attempt] = true
		if r, ok := s.tasks.running[p.attempt]; !ok || r.worker != id {
			stop = append(stop, p.attempt)
		}
	}
	for _, a := range w.watched() {
		if !does[a.attempt] {
			begin = append(begin, order{a.attempt, a.task})
		}
	}
	return begin, stop
}

// over returns those of the jobs that have ended or are not known: what a worker
// holds for them it can drop.
func (s *schedule) over(jobs []JobID) (ended []JobID) {
	for _, id := range jobs {
		if j := s.tasks.jobs[id]; j == nil || j.state != JobRunning {
			ended = append(ended, id)
		}
	}
	return ended
}

// location says where the output of a map is.
type location struct {
	index   int
	attempt Attempt // zero: there is none at present
	addr    string  // of the worker that holds it
	size    byte    // of the wanted region, as sizeCode has it
}

// locations returns where the output of a job's maps is, as far as that has
// changed since a position, the first being 0: at most limit changes, and the
// position after them. It reports false if the job does not run.
func (s *schedule) locations(id JobID, partition, since, limit int) (changed []location, next int, ok bool) {
	j := s.find(id)
	if j == nil || j.job.state != JobRunning || partition >= j.job.spec.Reduces || since > len(j.changes) {
		return nil, since, false
	}
	next = min(len(j.changes), since+limit)
	changed = make([]location, 0, next-since)
	for _, i := range j.changes[since:next] {
		m := &j.job.tasks[MapTask][i]
		l := location{index: i}
		if w := s.tasks.workers[m.worker]; m.state == taskCompleted && w != nil {
			l.attempt, l.addr, l.size = m.attempt, w.addr, m.sizes[partition]
		}
		changed = append(changed, l)
	}
	return changed, next, true
}

// tellParts is in how many parts, about, reduces are told of maps that complete in
// quick succession: telling R reduces of M maps then takes no M·R messages. Of maps
// that complete slowly they are told when their question has been held back for long
// enough, and of the last one at once.
const tellParts = 64

// tellStep returns how many changes are worth telling at once.
func (j *scheduledJob) tellStep() int {
	return min(max(1, len(j.job.splits)/tellParts), locateLimit)
}

// tells reports whether a change of a map's output is one at which those are woken
// who wait for such changes.
func (s *schedule) tells(id JobID) bool {
	j := s.find(id)
	return j != nil && (j.mapped() || len(j.changes)%j.tellStep() == 0)
}

// worth reports whether changes between two positions are to be told at once: they are
// the first, or enough, or the rest.
func (s *schedule) worth(id JobID, since, next int) bool {
	j := s.find(id)
	return next > since && (since == 0 || j == nil || j.mapped() || next-since >= j.tellStep())
}

// stuck says why none of the workers can run the tasks of a kind that a job has
// left, if that is so.
func (s *schedule) stuck(j *job) string {
	if j.state != JobRunning {
		return ""
	}
	for kind := range j.tasks {
		if j.completed[kind] == len(j.tasks[kind]) {
			continue
		}
		able, labels, any := false, false, false
		for _, id := range s.roster {
			w := s.workers[id]
			if w == nil || !w.confirmed || w.condemned {
				continue
			}
			any = true
			labels = labels || hasLabels(w.row.labels, j.spec.Labels)
			if able = s.tasks.able(w.row, j, TaskKind(kind)); able {
				break
			}
		}
		switch {
		case able:
		case !any:
			return "there are no workers"
		case !labels:
			return fmt.Sprintf("no worker has the labels %q", j.spec.Labels)
		case len(j.spec.Labels) > 0:
			return fmt.Sprintf("no worker with the labels %q takes %v tasks", j.spec.Labels, TaskKind(kind))
		default:
			return fmt.Sprintf("no worker takes %v tasks", TaskKind(kind))
		}
	}
	return ""
}
