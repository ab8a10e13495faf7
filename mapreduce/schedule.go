package mapreduce

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// scheduleConfig says how patient a schedule is.
type scheduleConfig struct {
	workerTimeout time.Duration // without a sign of life a worker is dead
	grace         time.Duration // in which workers come back to a new coordinator
	backupAge     time.Duration // that an attempt has at least which gets a backup
}

// action is what a schedule wants done: a command proposed, or, if that is nil, the
// files of a won job committed.
type action struct {
	command []byte
	commit  JobID
}

// schedule decides for one epoch what is to be done when: which task goes to which
// worker, who is dead, what has hung, which output is lost. It knows what is
// volatile (who was heard of when) and reads the task table; every decision that
// must last goes through the table as a command.
//
// The table's owner hands it the effects of all commands, and asks it for actions
// after each event. A decision costs a constant number of steps for each task that
// it assigns, whatever the number of tasks and workers.
type schedule struct {
	cfg     scheduleConfig
	tasks   *tasks
	epoch   uint64
	begun   time.Time
	checked time.Time // when timeouts were last looked for
	backed  time.Time // when it was last looked for tasks that need a backup
	workers map[workerID]*scheduledWorker
	roster  []workerID            // in the order in which they joined; some may be gone
	hosts   map[string][]workerID // the same by host
	ready   [2]queue[workerID]    // workers with a free slot, and some that have none any more
	jobs    []*scheduledJob       // that have not ended, the oldest first
	pending []action
}

// scheduledWorker is what is known of a worker beside its row in the table.
type scheduledWorker struct {
	row       *workerRow
	seen      time.Time
	confirmed bool      // it has registered with this coordinator
	condemned bool      // its death was proposed
	inherited []taskRef // maps completed in an older epoch whose output it should hold
	running   [2]map[Attempt]*watch
	proposed  [2]int  // assignments that are on their way through the log
	zombies   [2]int  // tasks that run on though they were stopped
	queued    [2]bool // it is in ready
	measured  int     // tasks that it has completed
	slowness  float64 // how long they took on the average, others taking 1
}

// free returns how many tasks of a kind a worker can take on.
func (w *scheduledWorker) free(kind TaskKind) int {
	return w.row.slots - len(w.running[kind]) - w.proposed[kind] - w.zombies[kind]
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

// scheduledJob is what is known of a job beside the table.
type scheduledJob struct {
	job      *job
	idle     [2]queue[int]         // idle tasks, and some that are not any more
	local    map[string]queue[int] // the same for maps, by the host of their input
	proposed [2]map[int]bool       // tasks whose assignment is on its way
	paces    [2]pace
	changes  []int                // maps, in the order in which their output came or was lost
	reports  map[int]*fetchReport // of maps whose output could not be had
}

// fetchReport is what reduces say of one completed map.
type fetchReport struct {
	attempt Attempt
	by      map[Attempt]int // how often each reduce attempt has said so
	total   int
}

const (
	// A map is condemned when two reduces could not have its output, or when one
	// has said so this many times.
	fetchReports = 3
	// A reduce is condemned when it alone could not have this many outputs, from
	// more than one worker.
	reducerReports = 8
)

// newSchedule begins an epoch: cmdLead has been applied.
func newSchedule(cfg scheduleConfig, t *tasks, now time.Time) *schedule {
	s := &schedule{cfg: cfg, tasks: t, epoch: t.epoch, begun: now, checked: now, backed: now,
		workers: make(map[workerID]*scheduledWorker), hosts: make(map[string][]workerID)}
	for id := workerID(1); id <= t.worker; id++ {
		if t.workers[id] != nil {
			s.addWorker(id, now)
		}
	}
	for _, id := range t.order {
		j := t.jobs[id]
		if j.state.Ended() {
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

func (s *schedule) addWorker(id workerID, now time.Time) *scheduledWorker {
	w := &scheduledWorker{row: s.tasks.workers[id], seen: now}
	for kind := range w.running {
		w.running[kind] = make(map[Attempt]*watch)
	}
	s.workers[id] = w
	s.roster = append(s.roster, id)
	s.hosts[w.row.host] = append(s.hosts[w.row.host], id)
	return w
}

func (s *schedule) removeWorker(id workerID) {
	host := s.workers[id].row.host
	s.hosts[host] = slices.DeleteFunc(s.hosts[host], func(other workerID) bool { return other == id })
	if len(s.hosts[host]) == 0 {
		delete(s.hosts, host)
	}
	delete(s.workers, id)
}

func (s *schedule) addJob(j *job) {
	sj := &scheduledJob{
		job: j, local: make(map[string]queue[int]), reports: make(map[int]*fetchReport),
		proposed: [2]map[int]bool{make(map[int]bool), make(map[int]bool)},
	}
	for kind := range j.tasks {
		for i := range j.tasks[kind] {
			switch j.tasks[kind][i].state {
			case taskIdle:
				sj.push(TaskKind(kind), i)
			case taskCompleted:
				if TaskKind(kind) == MapTask {
					sj.changes = append(sj.changes, i)
				}
			}
		}
	}
	s.jobs = append(s.jobs, sj)
}

// push queues an idle task.
func (j *scheduledJob) push(kind TaskKind, index int) {
	j.idle[kind].push(index)
	if kind == MapTask {
		for _, host := range j.job.splits[index].hosts {
			q := j.local[host]
			q.push(index)
			j.local[host] = q
		}
	}
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
	switch e.kind {
	case effectStarted:
		if w != nil {
			w.running[ref.kind][e.attempt] = &watch{task: ref, attempt: e.attempt, begun: now, since: now}
		}
	case effectStopped:
		if w != nil {
			s.observePace(now, w, e)
			delete(w.running[ref.kind], e.attempt)
		}
	case effectRefused, effectTaskIdle:
		if j != nil && ref.index < len(j.job.tasks[ref.kind]) && s.tasks.task(ref).state == taskIdle {
			j.push(ref.kind, ref.index)
		}
	case effectMapDone, effectMapLost:
		if j != nil {
			j.changes = append(j.changes, ref.index)
			delete(j.reports, ref.index)
		}
	}
	if w != nil {
		s.enqueue(e.worker)
	}
}

// enqueue notes that a worker may have a free slot.
func (s *schedule) enqueue(id workerID) {
	w := s.workers[id]
	for kind := range w.queued {
		if w.confirmed && !w.condemned && !w.queued[kind] && w.free(TaskKind(kind)) > 0 {
			w.queued[kind] = true
			s.ready[kind].push(id)
		}
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
	counters counts
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
	for _, p := range doing {
		for kind := range w.running {
			a := w.running[kind][p.attempt]
			if a == nil {
				continue
			}
			a.counters, a.record = p.counters, p.record
			if a.progress != p.count {
				a.progress, a.since = p.count, now
			}
		}
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

// unfetched takes in that a reduce attempt could not have the output of a map
// attempt.
func (s *schedule) unfetched(reducer Attempt, ref taskRef, a Attempt) {
	j := s.find(ref.job)
	r, running := s.tasks.running[reducer]
	if j == nil || j.job.state != JobRunning || !running || r.job != ref.job || r.kind != ReduceTask ||
		ref.kind != MapTask || ref.index >= len(j.job.splits) {
		return
	}
	if m := s.tasks.task(ref); m.state != taskCompleted || m.attempt != a {
		return // it is known to be lost
	}
	report := j.reports[ref.index]
	if report == nil || report.attempt != a {
		report = &fetchReport{attempt: a, by: make(map[Attempt]int)}
		j.reports[ref.index] = report
	}
	report.by[reducer]++
	report.total++
	if len(report.by) > 1 || report.total >= fetchReports {
		if len(report.by) == 1 && s.condemnReducer(j, reducer, r) {
			return
		}
		s.propose(commandLost(s.epoch, ref, a, true, "reduces could not fetch its output"))
		delete(j.reports, ref.index)
	}
}

// condemnReducer fails a reduce attempt that complains alone of so many maps, of
// more than one worker, that it is likelier to be the one that is cut off.
func (s *schedule) condemnReducer(j *scheduledJob, reducer Attempt, r runningAttempt) bool {
	count := 0
	sources := make(map[workerID]bool)
	for index, report := range j.reports { // order-free: a count and a set
		if len(report.by) == 1 && report.by[reducer] > 0 {
			count++
			sources[s.tasks.task(taskRef{r.job, MapTask, index}).worker] = true
		}
	}
	if count < reducerReports || len(sources) < 2 {
		return false
	}
	s.propose(commandFailed(s.epoch, reducer, fmt.Sprintf("it alone could not fetch the output of %d maps from %d workers", count, len(sources)), 0))
	for index, report := range j.reports { // order-free: each is judged by itself
		if len(report.by) == 1 && report.by[reducer] > 0 {
			delete(j.reports, index)
		}
	}
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
	s.assign()
	if now.Sub(s.backed) >= s.cfg.backupAge/backupLooks {
		s.backed = now
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
			limit := s.tasks.jobs[a.task.job].spec.TaskTimeout
			if !a.stopped && now.Sub(a.since) > limit {
				a.stopped = true
				s.propose(commandFailed(s.epoch, a.attempt, fmt.Sprintf("%v for %v on worker %s", ErrTaskTimeout, limit, w.row.addr), a.record))
			}
		}
	}
}

// assign gives idle tasks to workers with free slots, the workers taking turns.
func (s *schedule) assign() {
	var batch []assignment
	for _, kind := range []TaskKind{MapTask, ReduceTask} {
		for len(batch) < maxBatch {
			id, ok := s.ready[kind].pop()
			if !ok {
				break
			}
			w := s.workers[id]
			if w == nil {
				continue
			}
			w.queued[kind] = false
			if w.condemned || w.free(kind) <= 0 {
				continue
			}
			ref, ok := s.pick(kind, w.row.host)
			if !ok {
				w.queued[kind] = true
				s.ready[kind].push(id)
				break
			}
			better := s.nearer(ref, id)
			s.workers[better].proposed[kind]++
			batch = append(batch, assignment{ref, better, false})
			s.enqueue(id)
		}
	}
	if len(batch) > 0 {
		s.propose(commandAssign(s.epoch, batch))
	}
}

// nearer returns a worker on a host that has a map's input, if one has a free slot,
// or else the worker that was to get the task.
func (s *schedule) nearer(ref taskRef, id workerID) workerID {
	if ref.kind != MapTask {
		return id
	}
	for _, host := range s.tasks.jobs[ref.job].splits[ref.index].hosts {
		if host == s.workers[id].row.host {
			return id
		}
		for _, other := range s.hosts[host] {
			if w := s.workers[other]; w.confirmed && !w.condemned && w.free(MapTask) > 0 {
				return other
			}
		}
	}
	return id
}

// pick takes an idle task of the oldest job that has one: a map whose input is on
// the host, if there is one. Reduces begin when all maps have completed.
func (s *schedule) pick(kind TaskKind, host string) (taskRef, bool) {
	for _, j := range s.jobs {
		if j.job.state != JobRunning || kind == ReduceTask && j.job.completed[MapTask] < len(j.job.splits) {
			continue
		}
		take := func(q *queue[int]) (taskRef, bool) {
			for {
				i, ok := q.pop()
				if !ok {
					return taskRef{}, false
				}
				if j.job.tasks[kind][i].state == taskIdle && !j.proposed[kind][i] {
					j.proposed[kind][i] = true
					return taskRef{j.job.id, kind, i}, true
				}
			}
		}
		if kind == MapTask && len(j.local) > 0 {
			if q, ok := j.local[host]; ok {
				ref, ok := take(&q)
				j.local[host] = q
				if ok {
					return ref, true
				}
			}
		}
		if ref, ok := take(&j.idle[kind]); ok {
			return ref, true
		}
	}
	return taskRef{}, false
}

// queue is a first-in, first-out queue.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) pop() (v T, ok bool) {
	if q.head == len(q.items) {
		return v, false
	}
	v = q.items[q.head]
	q.head++
	if q.head*2 >= len(q.items) { // each item moves once at most
		n := copy(q.items, q.items[q.head:])
		q.items, q.head = q.items[:n], 0
	}
	return v, true
}
