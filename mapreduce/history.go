package mapreduce

import (
	"cmp"
	"slices"
	"time"
)

const (
	// maxSamples bounds the samples of a job. When there are as many, every other
	// one is dropped, and from then on they are taken half as often: they always
	// span the whole job.
	maxSamples = 240
	// sampleEvery is how often a sample is taken at first.
	sampleEvery = 250 * time.Millisecond
	// maxFailuresKept bounds the failures of a job that are kept: the last ones.
	maxFailuresKept = 100
	// maxGoneKept bounds the workers that are gone and still shown.
	maxGoneKept = 50
	// maxTookKept bounds the durations of which stragglers are measured by the
	// median: the last ones of each kind of a job.
	maxTookKept = 64
	// maxFailureBytes bounds the text of a failure that is shown.
	maxFailureBytes = 4 << 10
	// maxGoneTasks bounds the tasks named that went with a worker.
	maxGoneTasks = 16
)

// history is what has happened, as the status page shows it, beyond what the task
// table remembers. It is fed with the effects of all commands while this process
// leads, and loses nothing that a job depends on. The ledger's lock guards it.
type history struct {
	jobs    map[JobID]*jobHistory // that have not ended
	ended   []*JobReport          // in the order of submission; each is complete and never changed
	keep    int                   // bounds ended: the jobs submitted first are forgotten first
	unsaved []*JobReport          // of those, what is to be written to disk
	began   map[Attempt]time.Time // of what runs
	addrs   map[workerID]string   // of all workers that are shown as doing something
	gone    []GoneReport          // the oldest first
}

// jobHistory is what has happened to a job that has not ended.
type jobHistory struct {
	began     time.Time // or when this process began to lead
	inputDone int64     // bytes of the splits whose map has completed
	samples   []Sample
	every     time.Duration // between samples
	failures  []FailureReport
	logs      []LogReport // those written to last are last
	failed    int         // all failures, also those that are not kept
	took      [2][]time.Duration
	fed       time.Time // when the last map completed: until then reduces wait
}

func newHistory(keep int) *history {
	h := &history{keep: keep}
	h.reset()
	return h
}

// reset forgets what is going on: another epoch begins.
func (h *history) reset() {
	h.jobs, h.began, h.addrs = make(map[JobID]*jobHistory), make(map[Attempt]time.Time), make(map[workerID]string)
}

// begin takes in the table as it is when this process begins to lead.
func (h *history) begin(now time.Time, t *tasks) {
	h.reset()
	for id, w := range t.workers { // order-free: each is noted by itself
		h.addrs[id] = w.addr
	}
	for _, id := range t.order {
		j := t.jobs[id]
		if !j.state.Ended() {
			h.jobs[id] = newJobHistory(now, j)
		} else if h.find(id) == nil && (len(h.ended) < h.keep || id > h.ended[0].ID) {
			h.end(now, t, id) // it ended while another process led
		}
	}
}

func newJobHistory(now time.Time, j *job) *jobHistory {
	h := &jobHistory{began: now, every: sampleEvery}
	for i := range j.splits {
		if m := &j.tasks[MapTask][i]; m.state == taskCompleted {
			h.inputDone += j.splits[i].bytes()
		}
	}
	h.sample(now, j, j.tally.values())
	return h
}

// find returns the report of a job that has ended, or nil.
func (h *history) find(id JobID) *JobReport {
	if i, found := h.search(id); found {
		return h.ended[i]
	}
	return nil
}

// search returns where in ended a job is or belongs.
func (h *history) search(id JobID) (int, bool) {
	return slices.BinarySearchFunc(h.ended, id, func(r *JobReport, id JobID) int { return cmp.Compare(r.ID, id) })
}

// observe takes in what commands have changed.
func (h *history) observe(now time.Time, t *tasks, effects []effect) {
	for _, e := range effects {
		switch e.kind {
		case effectWorkerJoined:
			h.addrs[e.worker] = t.workers[e.worker].addr
		case effectWorkerGone:
			h.workerGone(now, e.worker, effects)
		case effectJobBegan:
			h.jobs[e.task.job] = newJobHistory(now, t.jobs[e.task.job])
		case effectJobEnded:
			h.end(now, t, e.task.job)
		case effectStarted:
			h.began[e.attempt] = now
		default:
			h.observeTask(now, t, e)
		}
	}
}

// observeTask takes in an effect on a task.
func (h *history) observeTask(now time.Time, t *tasks, e effect) {
	began, running := h.began[e.attempt]
	if e.kind == effectStopped {
		delete(h.began, e.attempt)
	}
	j, row := h.jobs[e.task.job], t.jobs[e.task.job]
	if j == nil || row == nil {
		return
	}
	switch e.kind {
	case effectStopped:
		if running && t.task(e.task).completedBy(e.attempt) {
			j.took[e.task.kind] = appendBounded(j.took[e.task.kind], now.Sub(j.since(e.task.kind, began)), maxTookKept)
		}
	case effectMapDone:
		j.inputDone += row.splits[e.task.index].bytes()
		if row.completed[MapTask] == len(row.splits) {
			j.fed = now
		}
	case effectMapLost:
		j.inputDone -= row.splits[e.task.index].bytes()
	case effectFailure:
		j.failed++
		j.failures = appendBounded(j.failures, FailureReport{
			Task: taskName(e.task.kind, e.task.index), Attempt: e.attempt.String(), Worker: h.addrs[e.worker],
			Time: now, Error: e.text[:min(len(e.text), maxFailureBytes)], Log: j.log(e.attempt.String()),
		}, maxFailuresKept)
	}
}

// workerGone takes in the death of a worker: among the same effects is what it ran.
func (h *history) workerGone(now time.Time, id workerID, effects []effect) {
	g := GoneReport{ID: int(id), Addr: h.addrs[id], Time: now, Ran: []string{}}
	for _, e := range effects {
		if e.kind == effectFailure && e.worker == id && len(g.Ran) < maxGoneTasks {
			g.Ran = append(g.Ran, jobTask(e.task))
		}
	}
	h.gone = appendBounded(h.gone, g, maxGoneKept)
	delete(h.addrs, id)
}

// end keeps the report of a job that has ended.
func (h *history) end(now time.Time, t *tasks, id JobID) {
	if j := h.jobs[id]; j != nil {
		j.sample(now, t.jobs[id], t.jobs[id].tally.values())
	}
	r := h.job(now, t, id)
	delete(h.jobs, id)
	at, _ := h.search(id)
	h.ended = slices.Insert(h.ended, at, r)
	h.ended = slices.Delete(h.ended, 0, max(0, len(h.ended)-h.keep))
	h.unsaved = appendBounded(h.unsaved, r, h.keep)
}

// restore takes in reports from disk, in the order of their ids and not too many.
func (h *history) restore(reports []*JobReport) {
	h.ended = reports
}

// takeUnsaved returns the reports that have come since the last call.
func (h *history) takeUnsaved() []*JobReport {
	r := h.unsaved
	h.unsaved = nil
	return r
}

// sample takes a sample of each job whose time has come. counters returns those of
// a job, with what runs.
func (h *history) sample(now time.Time, t *tasks, counters func(JobID) map[string]int64) {
	for id, j := range h.jobs { // order-free: each is sampled by itself
		if now.Sub(j.began)-j.samples[len(j.samples)-1].at() >= j.every {
			j.sample(now, t.jobs[id], counters(id))
		}
	}
}

func (h *jobHistory) sample(now time.Time, j *job, counters map[string]int64) {
	if len(h.samples) >= maxSamples {
		for i := range maxSamples / 2 {
			h.samples[i] = h.samples[2*i]
		}
		h.samples = h.samples[:maxSamples/2]
		h.every *= 2
	}
	s := Sample{
		Seconds: now.Sub(h.began).Seconds(), InputBytes: h.inputDone, ReadBytes: counters[CounterMapBytesIn],
		MapOutputBytes: counters[CounterMapBytesOut], OutputBytes: counters[CounterReduceBytesOut],
		Maps: j.completed[MapTask], Reduces: j.completed[ReduceTask],
	}
	if j.last() == MapTask { // whose output is the job's
		s.MapOutputBytes, s.OutputBytes = 0, s.MapOutputBytes
	}
	h.samples = append(h.samples, s)
}

// since returns from when on an attempt that began at a time had all it works on.
func (h *jobHistory) since(kind TaskKind, began time.Time) time.Time {
	if kind == ReduceTask && h.fed.After(began) {
		return h.fed
	}
	return began
}

// median returns the median of how long completed attempts of a kind took, or 0 if
// there are too few to tell.
func (h *jobHistory) median(kind TaskKind) time.Duration {
	const enough = 3
	if len(h.took[kind]) < enough {
		return 0
	}
	return slices.Sorted(slices.Values(h.took[kind]))[len(h.took[kind])/2]
}

// appendBounded appends to a list that forgets its oldest entries.
func appendBounded[T any](list []T, v T, limit int) []T {
	if len(list) >= limit {
		list = slices.Delete(list, 0, len(list)-limit+1)
	}
	return append(list, v)
}
