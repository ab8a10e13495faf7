package mapreduce

import (
	"slices"
	"time"
)

// scheduledJob is what is known of a job beside the table.
type scheduledJob struct {
	job      *job
	idle     [2]queue[int]         // idle tasks, and some that are not any more
	local    map[string]queue[int] // the same for maps, by the host of their input
	near     map[string]queue[int] // and by its rack
	proposed [2]map[int]bool       // tasks whose assignment is on its way
	active   [2]int                // attempts that run or are on their way
	paces    [2]pace
	fed      time.Time            // when the last map completed: since then reduces wait for nothing
	changes  []int                // maps, in the order in which their output came or was lost
	reports  map[int]*fetchReport // of maps whose output could not be had
	failed   [2]map[int]workerID  // where the last attempt has failed of a task that has not completed since
}

// mapped reports whether all maps have completed.
func (j *scheduledJob) mapped() bool { return j.job.completed[MapTask] == len(j.job.splits) }

// open reports whether a task of a kind waits for a worker, and may begin.
func (j *scheduledJob) open(kind TaskKind) bool {
	if j.job.state != JobRunning || kind == ReduceTask && j.job.completed[MapTask]*100 < len(j.job.splits)*j.job.spec.ReduceAfter {
		return false
	}
	for q := &j.idle[kind]; q.len() > 0; q.pop() {
		if j.waits(kind, q.items[q.head]) {
			return true
		}
	}
	return false
}

// waits reports whether a task waits for a worker.
func (j *scheduledJob) waits(kind TaskKind, index int) bool {
	return j.job.tasks[kind][index].state == taskIdle && !j.proposed[kind][index]
}

// take takes a task for a worker off a queue, if there is one that still waits.
func (s *schedule) take(j *scheduledJob, kind TaskKind, q *queue[int], w *scheduledWorker) (index int, ok bool) {
	for range q.len() {
		switch i, _ := q.pop(); {
		case !j.waits(kind, i):
		case s.avoids(w, j, kind, i):
			q.push(i)
		default:
			return i, true
		}
	}
	return 0, false
}

// takeAt does that with a queue of maps by place.
func (s *schedule) takeAt(j *scheduledJob, queues map[string]queue[int], place string, w *scheduledWorker) (index int, ok bool) {
	q, ok := queues[place]
	if !ok {
		return 0, false
	}
	index, ok = s.take(j, MapTask, &q, w)
	if queues[place] = q; q.len() == 0 {
		delete(queues, place)
	}
	return index, ok
}

// pool is the workers that have the same labels: what one of them may do all may.
type pool struct {
	labels  []string
	members int
	ready   [2]queue[workerID] // with a free slot, and some that have none any more
}

// whereabouts is where the workers are.
type whereabouts struct {
	hosts  map[string][]workerID
	racks  map[string][]workerID
	rackOf map[string]string // of hosts with workers that have told it
}

func newWhereabouts() whereabouts {
	return whereabouts{make(map[string][]workerID), make(map[string][]workerID), make(map[string]string)}
}

func (s *schedule) addWorker(id workerID, now time.Time) *scheduledWorker {
	w := &scheduledWorker{row: s.tasks.workers[id], seen: now}
	for kind := range w.running {
		w.running[kind] = make(map[Attempt]*watch)
	}
	i := slices.IndexFunc(s.pools, func(p *pool) bool { return slices.Equal(p.labels, w.row.labels) })
	if i < 0 {
		i = len(s.pools)
		s.pools = append(s.pools, &pool{labels: w.row.labels})
	}
	w.pool = s.pools[i]
	w.pool.members++
	s.workers[id] = w
	s.roster = append(s.roster, id)
	host, rack := w.row.host, w.row.rack
	s.where.hosts[host] = append(s.where.hosts[host], id)
	if rack == "" {
		return w
	}
	s.where.racks[rack] = append(s.where.racks[rack], id)
	if s.where.rackOf[host] != rack {
		s.where.rackOf[host] = rack
		for _, j := range s.jobs {
			q := j.local[host]
			for _, index := range q.items[q.head:] {
				j.near[rack] = pushed(j.near[rack], index)
			}
		}
	}
	return w
}

func (s *schedule) removeWorker(id workerID) {
	w := s.workers[id]
	s.left(w)
	without := func(ids map[string][]workerID, place string) {
		ids[place] = slices.DeleteFunc(ids[place], func(other workerID) bool { return other == id })
		if len(ids[place]) == 0 {
			delete(ids, place)
		}
	}
	without(s.where.hosts, w.row.host)
	without(s.where.racks, w.row.rack)
	if s.where.hosts[w.row.host] == nil {
		delete(s.where.rackOf, w.row.host)
	}
	if w.pool.members--; w.pool.members == 0 {
		s.pools = slices.DeleteFunc(s.pools, func(p *pool) bool { return p == w.pool })
	}
	delete(s.workers, id)
}

func (s *schedule) addJob(j *job) {
	sj := &scheduledJob{
		job: j, local: make(map[string]queue[int]), near: make(map[string]queue[int]), reports: make(map[int]*fetchReport),
		proposed: [2]map[int]bool{make(map[int]bool), make(map[int]bool)},
		failed:   [2]map[int]workerID{make(map[int]workerID), make(map[int]workerID)},
	}
	for kind := range j.tasks {
		for i := range j.tasks[kind] {
			switch j.tasks[kind][i].state {
			case taskIdle:
				s.push(sj, TaskKind(kind), i)
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
func (s *schedule) push(j *scheduledJob, kind TaskKind, index int) {
	j.idle[kind].push(index)
	if kind != MapTask {
		return
	}
	last := ""
	for _, host := range j.job.splits[index].hosts {
		j.local[host] = pushed(j.local[host], index)
		if rack := s.where.rackOf[host]; rack != last && rack != "" {
			j.near[rack] = pushed(j.near[rack], index)
			last = rack
		}
	}
}

// free returns how many tasks of a kind a worker can take on. Those of the other
// kind do not count: a reduce never keeps a map, on which it may wait, from running.
func (s *schedule) free(w *scheduledWorker, kind TaskKind) int {
	n := w.row.slots[kind] - len(w.running[kind]) - w.proposed[kind] - w.zombies[kind]
	if s.tasks.planted.shareSlots {
		n -= len(w.running[1-kind])
	}
	return n
}

// willing reports whether a worker is one for tasks of a kind of a job.
func (s *schedule) willing(w *scheduledWorker, j *scheduledJob, kind TaskKind) bool {
	return w.confirmed && !w.condemned && s.tasks.able(w.row, j.job, kind)
}

// takes reports whether a worker can take on a task of a kind of a job.
func (s *schedule) takes(w *scheduledWorker, j *scheduledJob, kind TaskKind) bool {
	return w != nil && s.free(w, kind) > 0 && s.willing(w, j, kind) && !s.spared(w, j, kind)
}

// enqueue notes that a worker may have a free slot.
func (s *schedule) enqueue(id workerID) {
	w := s.workers[id]
	for kind := range w.queued {
		if w.confirmed && !w.condemned && !w.queued[kind] && s.free(w, TaskKind(kind)) > 0 {
			w.queued[kind] = true
			w.pool.ready[kind].push(id)
		}
	}
}

// assign gives idle tasks to workers with free slots, the workers taking turns. It
// reports whether none is left that could be given to one.
func (s *schedule) assign() bool {
	var batch []assignment
	for _, kind := range []TaskKind{MapTask, ReduceTask} {
		for _, p := range s.pools {
			var left []workerID // without a task, each asked once
			for len(batch) < maxBatch {
				next, ok := s.match(kind, p, &left)
				if !ok {
					break
				}
				batch = append(batch, next)
			}
			for _, id := range left {
				s.enqueue(id)
			}
		}
	}
	if len(batch) > 0 {
		s.propose(commandAssign(s.epoch, batch))
	}
	return len(batch) < maxBatch
}

// match finds a worker of a pool and a task for it, if there are both. Workers that
// are spared are left.
func (s *schedule) match(kind TaskKind, p *pool, left *[]workerID) (assignment, bool) {
	j := s.turn(kind, p, nil)
	if j == nil {
		return assignment{}, false
	}
	for {
		id, ok := p.ready[kind].pop()
		if !ok {
			return assignment{}, false
		}
		w := s.workers[id]
		if w == nil {
			continue
		}
		w.queued[kind] = false
		if s.free(w, kind) <= 0 {
			continue // it has no free slot any more
		}
		if to, ok := s.matchWorker(kind, w, j); ok {
			s.enqueue(id)
			return to, true
		}
		*left = append(*left, id)
	}
}

// matchWorker finds a task for a worker: of a job whose turn it is, or, if the worker
// is given none of that, of those after it.
func (s *schedule) matchWorker(kind TaskKind, w *scheduledWorker, j *scheduledJob) (to assignment, ok bool) {
	for passed := []*scheduledJob(nil); j != nil; j = s.turn(kind, w.pool, passed) {
		if s.takes(w, j, kind) {
			if index, ok := s.pick(j, kind, w); ok {
				to := assignment{task: taskRef{j.job.id, kind, index}, worker: s.nearer(j, kind, index, w)}
				s.promise(j, to)
				return to, true
			}
		}
		passed = append(passed, j)
	}
	return assignment{}, false
}

// promise notes that an assignment is on its way.
func (s *schedule) promise(j *scheduledJob, to assignment) {
	s.workers[to.worker].proposed[to.task.kind]++
	j.proposed[to.task.kind][to.task.index] = true
	j.active[to.task.kind]++
}

// turn returns the job whose turn it is to get a slot of the pool's: of those that
// have a task waiting the one with the fewest attempts of that kind, and of equals
// the oldest. Reduces that would wait for maps come last. Those that were passed over
// are not asked.
func (s *schedule) turn(kind TaskKind, p *pool, passed []*scheduledJob) (best *scheduledJob) {
	for _, j := range s.jobs {
		if !hasLabels(p.labels, j.job.spec.Labels) && !s.tasks.planted.ignoreLabels || !j.open(kind) || slices.Contains(passed, j) {
			continue
		}
		switch {
		case best == nil:
			best = j
		case kind == ReduceTask && best.mapped() != j.mapped():
			if j.mapped() {
				best = j
			}
		case j.active[kind] < best.active[kind]:
			best = j
		}
	}
	return best
}

// pick takes an idle task of a job, if there is one for a worker: one on whose host
// the input is, or else in whose rack.
func (s *schedule) pick(j *scheduledJob, kind TaskKind, w *scheduledWorker) (index int, ok bool) {
	if kind == MapTask {
		if index, ok := s.takeAt(j, j.local, w.row.host, w); ok {
			return index, true
		}
		if index, ok := s.takeAt(j, j.near, w.row.rack, w); ok {
			return index, true
		}
	}
	return s.take(j, kind, &j.idle[kind], w)
}

// lookAround bounds how many workers of a place are asked whether they have a free
// slot.
const lookAround = 64

// nearer returns who gets a map that a worker was to get: one on a host that has the
// input, if it has a free slot, or else one in the rack of such a host, or else that
// worker.
func (s *schedule) nearer(j *scheduledJob, kind TaskKind, index int, w *scheduledWorker) workerID {
	id := w.row.id
	if kind != MapTask {
		return id
	}
	hosts := j.job.splits[index].hosts
	if slices.Contains(hosts, w.row.host) {
		return id
	}
	free := func(ids []workerID) (workerID, bool) {
		for _, other := range ids[:min(len(ids), lookAround)] {
			if o := s.workers[other]; s.takes(o, j, kind) && !s.avoids(o, j, kind, index) {
				return other, true
			}
		}
		return 0, false
	}
	for _, host := range hosts {
		if other, ok := free(s.where.hosts[host]); ok {
			return other
		}
	}
	for _, host := range hosts {
		rack := s.where.rackOf[host]
		if rack != "" && rack == w.row.rack {
			return id
		}
		if other, ok := free(s.where.racks[rack]); ok {
			return other
		}
	}
	return id
}

// giveWay stops reduces that wait for maps where those of another job could run to
// their end: nobody knows how long those maps will take, and whether they run at all.
func (s *schedule) giveWay() {
	if s.tasks.planted.neverYield {
		return
	}
	for _, j := range s.jobs {
		if !j.mapped() || !j.open(ReduceTask) {
			continue
		}
		wanted := 0
		for i := range j.job.tasks[ReduceTask] {
			if j.waits(ReduceTask, i) {
				wanted++
			}
		}
		for _, id := range s.roster {
			w := s.workers[id]
			if wanted <= 0 {
				break
			}
			if w == nil || !s.willing(w, j, ReduceTask) || s.rests(w) && s.others(w, j, ReduceTask) {
				continue
			}
			for _, a := range slices.Backward(w.watched()) {
				if wanted > 0 && s.idles(a) {
					wanted--
					a.stopped = true
					s.propose(commandYield(s.epoch, a.attempt))
				}
			}
		}
	}
}

// idles reports whether an attempt holds a slot in which it can only wait.
func (s *schedule) idles(a *watch) bool {
	j := s.find(a.task.job)
	return a.task.kind == ReduceTask && !a.fetched && !a.stopped && j != nil && !j.mapped()
}

// queue is a first-in, first-out queue.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

// pushed returns a queue with one more item.
func pushed[T any](q queue[T], v T) queue[T] {
	q.push(v)
	return q
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

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
