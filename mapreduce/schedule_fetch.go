package mapreduce

import "fmt"

// fetchReport is what reduces say of one completed map. Those on one worker share
// what may be wrong with it, and count as one.
type fetchReport struct {
	attempt Attempt
	by      map[workerID]bool // where reduces have said so
	total   int               // how often they have
}

const (
	// A map is condemned when reduces on two workers could not have its output, when
	// those on one have said so this many times, or when one on its own worker has.
	fetchReports = 3
	// A reduce is condemned when it, or others on its worker, alone could not have
	// this many outputs, from more than one worker.
	reducerReports = 8
)

// unfetched takes in that a reduce attempt could not have the output of a map
// attempt.
func (s *schedule) unfetched(reducer Attempt, ref taskRef, a Attempt) {
	j := s.find(ref.job)
	r, running := s.tasks.running[reducer]
	if j == nil || j.job.state != JobRunning || !running || r.job != ref.job || r.kind != ReduceTask ||
		ref.kind != MapTask || ref.index >= len(j.job.splits) {
		return
	}
	m := s.tasks.task(ref)
	if m.state != taskCompleted || m.attempt != a {
		return // it is known to be lost
	}
	report := j.reports[ref.index]
	if report == nil || report.attempt != a {
		report = &fetchReport{attempt: a, by: make(map[workerID]bool)}
		j.reports[ref.index] = report
	}
	report.by[r.worker] = true
	report.total++
	own := r.worker == m.worker // there is no network that could be at fault
	if own || len(report.by) > 1 || report.total >= fetchReports {
		if !own && len(report.by) == 1 && s.condemnReducer(j, reducer, r) {
			return
		}
		s.propose(commandLost(s.epoch, ref, a, true, "reduces could not fetch its output"))
		delete(j.reports, ref.index)
	}
}

// condemnReducer fails a reduce attempt whose worker alone complains of so many maps,
// of more than one worker, that it is likelier to be the one that is cut off.
func (s *schedule) condemnReducer(j *scheduledJob, reducer Attempt, r runningAttempt) bool {
	count := 0
	sources := make(map[workerID]bool)
	for index, report := range j.reports { // order-free: a count and a set
		if len(report.by) == 1 && report.by[r.worker] {
			count++
			sources[s.tasks.task(taskRef{r.job, MapTask, index}).worker] = true
		}
	}
	if count < reducerReports || len(sources) < 2 {
		return false
	}
	s.propose(commandFailed(s.epoch, reducer, fmt.Sprintf("its worker alone could not fetch the output of %d maps from %d workers", count, len(sources)), 0))
	for index, report := range j.reports { // order-free: each is judged by itself
		if len(report.by) == 1 && report.by[r.worker] {
			delete(j.reports, index)
		}
	}
	return true
}
