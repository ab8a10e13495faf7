package mapreduce

import "time"

const (
	// defaultBackupAge is how long an attempt has run at least that gets a backup: by
	// then it has told how it gets on.
	defaultBackupAge = 2 * time.Second
	// backupLooks is how often in that time, at most, it is looked for tasks that need
	// a backup.
	backupLooks = 4
	// backupShare bounds the backups that run at a time: of the running tasks of a
	// job and a kind one in so many, and always one.
	backupShare = 5
	// An attempt gets a backup if it is expected to end that much later than the
	// backup, as a part of the time that the backup takes; and, when all but one in
	// lastTasks of the tasks have completed, if it is any later.
	backupGain = 0.5
	lastTasks  = 20
)

// pace is how long tasks of a kind have taken that have completed.
type pace struct {
	count int
	total time.Duration
}

// mean returns 0 if nothing is known.
func (p *pace) mean() time.Duration { return p.total / time.Duration(max(p.count, 1)) }

// observePace takes in how long an attempt took that has completed its task.
func (s *schedule) observePace(now time.Time, w *scheduledWorker, e effect) {
	j, a := s.find(e.task.job), w.running[e.task.kind][e.attempt]
	if j == nil || a == nil {
		return
	}
	p, took := &j.paces[e.task.kind], now.Sub(j.since(a))
	p.count++
	p.total += took
	if mean := p.mean(); mean > 0 {
		w.measured++
		w.slowness += (float64(took)/float64(mean) - w.slowness) / float64(w.measured)
	}
}

// since returns from when on an attempt had all it works on.
func (j *scheduledJob) since(a *watch) time.Time { return j.later(a.task.kind, a.begun) }

// later returns a time, or for a reduce when the last map completed, if that is later:
// before that it can only wait.
func (j *scheduledJob) later(kind TaskKind, t time.Time) time.Time {
	if kind == ReduceTask && j.fed.After(t) {
		return j.fed
	}
	return t
}

// expect returns how long a task that takes mean on the average is expected to take
// on a worker.
func (w *scheduledWorker) expect(mean time.Duration) time.Duration {
	if w.measured == 0 {
		return mean
	}
	return time.Duration(float64(mean) * w.slowness)
}

// remaining returns for how long an attempt is expected to run on. What a map has
// read of its split says how far it is. Of what else runs only its age is known: if
// it is more than usual, as much again is to be expected.
func (j *scheduledJob) remaining(now time.Time, a *watch, mean time.Duration) time.Duration {
	elapsed := now.Sub(j.since(a))
	if a.task.kind == MapTask {
		size := j.job.splits[a.task.index].bytes()
		if read := a.counters.get(CounterMapBytesIn); read > 0 && size > 0 {
			return time.Duration(float64(elapsed) * float64(max(size-read, 0)) / float64(read))
		}
	}
	return max(elapsed, mean-elapsed)
}

// backUp gives tasks that will end late to a second worker too, if one has nothing
// else to do and is expected to be done sooner.
func (s *schedule) backUp(now time.Time) {
	for _, j := range s.jobs {
		for _, kind := range []TaskKind{MapTask, ReduceTask} {
			if j.job.state == JobRunning && !j.job.spec.NoBackups && j.paces[kind].count > 0 {
				s.backUpKind(now, j, kind)
			}
		}
	}
}

func (s *schedule) backUpKind(now time.Time, j *scheduledJob, kind TaskKind) {
	if j.open(kind) || kind == ReduceTask && !j.mapped() {
		return // there is something better to do, or it waits for something
	}
	running := len(j.job.tasks[kind]) - j.job.completed[kind]
	backups := 0
	var late *watch // of those that have none, the last to end
	var longest time.Duration
	mean := j.paces[kind].mean()
	for _, id := range s.roster {
		w := s.workers[id]
		if w == nil {
			continue
		}
		for _, a := range w.running[kind] { // order-free: a count, and the greatest in an order without ties
			if a.task.job != j.job.id {
				continue
			}
			task := s.tasks.task(a.task)
			switch {
			case task.backup != nil:
				if task.backup.attempt == a.attempt {
					backups++
				}
			case now.Sub(j.since(a)) < s.cfg.backupAge, a.stopped, j.proposed[kind][a.task.index], task.trouble != nil && task.trouble.careful:
				// It is young, ends, has one already, or could take another worker with it.
			default:
				left := j.remaining(now, a, mean)
				if late == nil || left > longest || left == longest && a.attempt.N < late.attempt.N {
					late, longest = a, left
				}
			}
		}
	}
	if late == nil || backups >= max(1, running/backupShare) {
		return
	}
	gain := backupGain
	if running*lastTasks <= len(j.job.tasks[kind]) {
		gain = 0
	}
	for _, id := range s.roster {
		w := s.workers[id]
		if id == s.tasks.task(late.task).worker || !s.takes(w, j, kind) || s.avoids(w, j, kind, late.task.index) {
			continue
		}
		if takes := w.expect(mean); float64(longest) > float64(takes)*(1+gain) {
			to := assignment{late.task, id, true}
			s.promise(j, to)
			s.propose(commandAssign(s.epoch, []assignment{to}))
			return
		}
	}
}
