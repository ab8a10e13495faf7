package mapreduce

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// scheduleConfig says how patient a schedule is.
type scheduleConfig struct {
	workerTimeout time.Duration // without a sign of life a worker is dead
	grace         time.Duration // in which workers come back to a new coordinator
	backupAge     time.Duration // that an attempt has at least which gets a backup
}

// action is what a schedule wants done: a command proposed, or the files of a won job
// committed, or those removed that attempts of a job have left behind which has ended.
type action struct {
	command []byte
	commit  JobID
	sweep   JobID
}

// schedule decides for one epoch what is to be done when: which task goes to which
// worker, who is dead, what has hung, which output is lost. It knows what is
// volatile (who was heard of when) and reads the task table; every decision that
// must last goes through the table as a command.
//
// The table's owner hands it the effects of all commands, and asks it for actions
// after each event. What a task costs that it assigns grows with the number of jobs
// and of different sets of labels, and with nothing else.
type schedule struct {
	cfg     scheduleConfig
	tasks   *tasks
	epoch   uint64
	begun   time.Time
	checked time.Time // when timeouts were last looked for
	looked  time.Time // when it was last looked for reduces in others' way and for late tasks
	looks   bool      // it was in the last step
	workers map[workerID]*scheduledWorker
	roster  []workerID // in the order in which they joined; some may be gone
	where   whereabouts
	pools   []*pool         // of workers, in the order in which their first ones joined
	jobs    []*scheduledJob // that have not ended, the oldest first
	leaving map[JobID]int   // how many workers may still be at attempts that were stopped
	pending []action
}

// scheduledWorker is what is known of a worker beside its row in the table.
type scheduledWorker struct {
	row       *workerRow
	pool      *pool
	seen      time.Time
	confirmed bool      // it has registered with this coordinator
	condemned bool      // its death was proposed
	inherited []taskRef // maps completed in an older epoch whose output it should hold
	running   [2]map[Attempt]*watch
	proposed  [2]int    // assignments that are on their way through the log
	zombies   [2]int    // tasks that run on though they were stopped
	queued    [2]bool   // it is among those of its pool that are ready
	leaving   []JobID   // whose attempts it may still be at, though they were stopped
	measured  int       // tasks that it has completed
	slowness  float64   // how long they took on the average, others taking 1
	failures  int       // since it has completed a task, of those that count
	rests     time.Time // until then it is given none if others can do the work
}

// watch is how an attempt is doing.
type watch struct {
	task     taskRef
	attempt  Attempt
	progress uint64
	begun    time.Time
	counters counts
	record   uint64    // 1 + the one it is at, as last heard, or 0
	at       span      // the records that it has announced
	since    time.Time // when progress changed
	fetched  bool      // a reduce has the output of all maps
	stopped  bool      // its end was proposed
}

// watched returns the attempts that a worker runs, the oldest first.
func (w *scheduledWorker) watched() []*watch {
	var found []*watch
	for _, running := range w.running {
		for _, a := range running { // order-free: sorted below
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *watch) int { return cmp.Compare(a.attempt.N, b.attempt.N) })
	return found
}

// marks returns where the attempts of a worker are, as far as they have said so.
func (w *scheduledWorker) marks() (marks []mark) {
	for _, a := range w.watched() {
		if a.at.n > 0 {
			marks = append(marks, mark{a.attempt, a.at})
		}
	}
	return marks
}

// newSchedule begins an epoch: cmdLead has been applied.
func newSchedule(cfg scheduleConfig, t *tasks, now time.Time) *schedule {
	s := &schedule{cfg: cfg, tasks: t, epoch: t.epoch, begun: now, checked: now, looked: now,
		workers: make(map[workerID]*scheduledWorker), where: newWhereabouts(), leaving: make(map[JobID]int)}
	for _, id := range slices.Sorted(maps.Keys(t.workers)) {
		s.addWorker(id, now)
	}
	for _, id := range t.order {
		j := t.jobs[id]
		if j.state.Ended() {
			s.inheritEnded(j)
			continue
		}
		s.addJob(j)
		if j.state == JobCommitting {
			s.pending = append(s.pending, action{commit: id})
		}
		for i := range j.tasks[MapTask] {
			m := &j.tasks[MapTask][i]
			if w := s.workers[m.worker]; m.state == taskCompleted && w != nil && j.last() != MapTask {
				w.inherited = append(w.inherited, taskRef{id, MapTask, i})
			}
		}
	}
	return s
}

// find returns a job that has not ended, or nil.
func (s *schedule) find(id JobID) *scheduledJob {
	i := slices.IndexFunc(s.jobs, func(j *scheduledJob) bool { return j.job.id == id })
	if i < 0 {
		return nil
	}
	return s.jobs[i]
}

// observe takes in what commands have changed.
func (s *schedule) observe(now time.Time, effects []effect) {
	for _, e := range effects {
		switch e.kind {
		case effectWorkerJoined:
			w := s.addWorker(e.worker, now)
			w.confirmed = true
			s.enqueue(e.worker)
		case effectWorkerGone:
			s.removeWorker(e.worker)
		case effectJobBegan:
			s.addJob(s.tasks.jobs[e.task.job])
		case effectJobWon:
			s.pending = append(s.pending, action{commit: e.task.job})
		case effectJobEnded:
			s.jobs = slices.DeleteFunc(s.jobs, func(j *scheduledJob) bool { return j.job.id == e.task.job })
			s.pending = append(s.pending, action{sweep: e.task.job})
		default:
			s.observeTask(now, e)
		}
	}
}

// observeTask takes in an effect on a task.
func (s *schedule) observeTask(now time.Time, e effect) {
	ref, w, j := e.task, s.workers[e.worker], s.find(e.task.job)
	if w != nil && (e.kind == effectStarted || e.kind == effectRefused) {
		w.proposed[ref.kind]--
	}
	if j != nil && (e.kind == effectStarted || e.kind == effectRefused) {
		delete(j.proposed[ref.kind], ref.index)
	}
	if j != nil && (e.kind == effectStopped || e.kind == effectRefused) {
		j.active[ref.kind]--
	}
	switch e.kind {
	case effectStarted:
		if w != nil {
			w.running[ref.kind][e.attempt] = &watch{task: ref, attempt: e.attempt, begun: now, since: now}
		}
	case effectStopped:
		if w != nil {
			if j != nil && s.tasks.task(ref).completedBy(e.attempt) {
				s.observePace(now, w, e)
				s.completedOn(ref, w)
			}
			delete(w.running[ref.kind], e.attempt)
			if j == nil || j.job.tasks[ref.kind][ref.index].attempt != e.attempt { // it has not completed
				s.leaves(w, ref.job)
			}
		}
	case effectFailure:
		if e.blames {
			s.failedOn(now, ref, e.worker)
		}
	case effectRefused, effectTaskIdle:
		if j != nil && ref.index < len(j.job.tasks[ref.kind]) && s.tasks.task(ref).state == taskIdle {
			s.push(j, ref.kind, ref.index)
		}
	case effectMapDone, effectMapLost:
		if j != nil {
			j.changes = append(j.changes, ref.index)
			delete(j.reports, ref.index)
			if j.mapped() {
				j.fed = now
			}
		}
	}
	if w != nil {
		s.enqueue(e.worker)
	}
}

// confirm takes in that a worker has registered, and what it holds: the attempts
// of maps whose output it can serve. What it should hold besides is lost.
func (s *schedule) confirm(now time.Time, id workerID, holds func(Attempt) bool) {
	w := s.workers[id]
	if w == nil {
		return
	}
	w.seen, w.confirmed = now, true
	for _, ref := range w.inherited {
		j := s.find(ref.job)
		if j == nil {
			continue
		}
		if m := s.tasks.task(ref); m.state == taskCompleted && m.worker == id && !holds(m.attempt) {
			s.propose(commandLost(s.epoch, ref, m.attempt, false, "its worker does not hold the output any more"))
		}
	}
	w.inherited = nil
	s.enqueue(id)
}

// progress is what a worker says of an attempt that it runs.
type progress struct {
	attempt  Attempt
	count    uint64
	record   uint64 // 1 + the one it is at, or 0; told only where bad records are skipped
	fetched  bool   // a reduce has the output of all maps
	counters counts
	log      string // its end, if there is something new in it; for the status page alone
}

// alive takes in a sign of life of a worker: how many tasks it runs that were
// stopped, and how those are doing that were not. It reports whether the worker is
// known to this coordinator; if not it must register.
func (s *schedule) alive(now time.Time, id workerID, zombies [2]int, doing []progress) bool {
	w := s.workers[id]
	if w == nil || !w.confirmed {
		return false
	}
	w.seen = now
	w.zombies = zombies
	wanted := 0
	for _, p := range doing {
		for kind := range w.running {
			a := w.running[kind][p.attempt]
			if a == nil {
				continue
			}
			wanted++
			a.counters, a.record, a.fetched = p.counters, p.record, p.fetched
			if a.progress != p.count {
				a.progress, a.since = p.count, now
			}
		}
	}
	if zombies == [2]int{} && wanted == len(doing) {
		s.left(w)
	}
	s.enqueue(id)
	return true
}

// announced takes in which records an attempt is about to work on. It reports
// whether the attempt is wanted.
func (s *schedule) announced(a Attempt, at span) bool {
	r, ok := s.tasks.running[a]
	if !ok || s.workers[r.worker] == nil || s.workers[r.worker].running[r.kind][a] == nil {
		return false
	}
	s.workers[r.worker].running[r.kind][a].at = at
	return true
}

func (s *schedule) propose(command []byte) {
	s.pending = append(s.pending, action{command: command})
}

// checkEvery is in how many steps a timeout is watched.
const checkEvery = 16

// step returns what is to be done now.
func (s *schedule) step(now time.Time) []action {
	if now.Sub(s.checked) >= s.cfg.workerTimeout/checkEvery {
		s.checked = now
		s.checkWorkers(now)
	}
	s.looks = s.assign() && now.Sub(s.looked) >= s.cfg.backupAge/backupLooks
	if s.looks {
		s.looked = now
		s.giveWay()
		s.backUp(now)
	}
	actions := s.pending
	s.pending = nil
	return actions
}

// checkWorkers looks for the dead and for the hung.
func (s *schedule) checkWorkers(now time.Time) {
	s.roster = slices.DeleteFunc(s.roster, func(id workerID) bool { return s.workers[id] == nil })
	for _, id := range s.roster {
		w := s.workers[id]
		patience, since := s.cfg.workerTimeout, w.seen
		if !w.confirmed {
			patience, since = s.cfg.grace, s.begun
		}
		if now.Sub(since) > patience {
			if !w.condemned {
				w.condemned = true
				s.propose(commandDead(s.epoch, id, w.marks()))
			}
			continue
		}
		for _, a := range w.watched() {
			j := s.find(a.task.job)
			limit := j.job.spec.TaskTimeout
			if !a.stopped && !s.idles(a) && now.Sub(j.later(a.task.kind, a.since)) > limit {
				a.stopped = true
				s.propose(commandFailed(s.epoch, a.attempt, fmt.Sprintf("%v for %v on worker %s", ErrTaskTimeout, limit, w.row.addr), a.record))
			}
		}
	}
}
