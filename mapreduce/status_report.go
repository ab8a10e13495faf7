package mapreduce

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// ClusterReport is what status.json holds: how a coordinator, its workers and its
// jobs are doing. All lists are bounded.
type ClusterReport struct {
	Coordinator string    `json:"coordinator"` // its address
	Leading     bool      `json:"leading"`     // it serves; otherwise only History is filled
	Epoch       uint64    `json:"epoch"`
	Time        time.Time `json:"time"` // of this report

	Jobs    []JobReport    `json:"jobs"`    // that have not ended, the oldest first, without their details
	History []JobReport    `json:"history"` // that have ended, the latest first, without their details
	Workers []WorkerReport `json:"workers"` // in the order in which they joined
	Gone    []GoneReport   `json:"gone"`    // workers that are dead, the latest first

	WorkersAlive int `json:"workers_alive"` // also those that Workers leaves out
	JobsRunning  int `json:"jobs_running"`  // also those that Jobs leaves out
}

// JobReport is what status.json?job=N holds: how one job is doing, or has done. The
// details, which lists of jobs leave out, are bounded: of many tasks several share
// a cell.
type JobReport struct {
	ID         JobID        `json:"id"`
	Name       string       `json:"name"`
	State      string       `json:"state"` // as JobState.String has it
	Failure    string       `json:"failure,omitempty"`
	Waiting    string       `json:"waiting,omitempty"` // why nobody can run its tasks, as in JobStatus
	Output     string       `json:"output"`
	Maps       TaskProgress `json:"maps"`
	Reduces    TaskProgress `json:"reduces"`
	InputBytes int64        `json:"input_bytes"`
	InputDone  int64        `json:"input_done"`
	SideFiles  int          `json:"side_files"` // that completed tasks have written besides the output
	Backups    Backups      `json:"backups"`
	Seconds    float64      `json:"seconds"` // since this coordinator knows of it, until its end
	Failed     int          `json:"failed"`  // attempts that failed or were lost, and maps whose output was

	// Predecessor is the aborted job in whose place this one was submitted, if there is one.
	Predecessor JobID `json:"predecessor,omitempty"`

	Details *JobDetails `json:"details,omitempty"`
}

// JobDetails is what is known of one job beyond its JobReport.
type JobDetails struct {
	MapCells    []TaskCell      `json:"map_cells"`
	ReduceCells []TaskCell      `json:"reduce_cells"`
	Samples     []Sample        `json:"samples"`
	Running     []AttemptReport `json:"running"`  // the longest first
	Failures    []FailureReport `json:"failures"` // the latest first
	Logs        []LogReport     `json:"logs"`     // those written to last are first
	// Counters are as in JobStatus, and Skipped begins with some of what is there.
	Counters map[string]int64 `json:"counters"`
	Skipped  []string         `json:"skipped"`
}

// TaskCell counts the tasks from First on that share a cell of the grid.
type TaskCell struct {
	First     int `json:"first"`
	Tasks     int `json:"tasks"`
	Running   int `json:"running"`
	Completed int `json:"completed"`
	Failures  int `json:"failures"` // attempts of these tasks that failed or were lost
}

// Sample is how far a job was at a time.
type Sample struct {
	Seconds        float64 `json:"seconds"`          // since the job was submitted or this coordinator took over
	InputBytes     int64   `json:"input_bytes"`      // of the maps that have completed
	ReadBytes      int64   `json:"read_bytes"`       // CounterMapBytesIn, with what runs, as are the next two
	MapOutputBytes int64   `json:"map_output_bytes"` // CounterMapBytesOut, in a job with reduces
	OutputBytes    int64   `json:"output_bytes"`     // CounterReduceBytesOut, or of a MapOnly's maps
	Maps           int     `json:"maps"`             // completed
	Reduces        int     `json:"reduces"`          // completed
}

func (s *Sample) at() time.Duration { return time.Duration(s.Seconds * float64(time.Second)) }

// AttemptReport is an attempt that runs.
type AttemptReport struct {
	Job       JobID   `json:"job"`
	Task      string  `json:"task"`
	Attempt   string  `json:"attempt"`
	Worker    string  `json:"worker"`    // its address
	Seconds   float64 `json:"seconds"`   // since it began
	Records   uint64  `json:"records"`   // steps of progress it has told of: records, or keys and blocks
	Silent    float64 `json:"silent"`    // seconds since it has made progress
	Straggles bool    `json:"straggles"` // it takes much longer than others have taken
	Backup    bool    `json:"backup"`    // another attempt of the same task runs since before it
}

// FailureReport is an attempt that failed or was lost, or a map whose output was.
type FailureReport struct {
	Task    string    `json:"task"`
	Attempt string    `json:"attempt"`
	Worker  string    `json:"worker"` // its address
	Time    time.Time `json:"time"`
	Error   string    `json:"error"`
	Log     string    `json:"log,omitempty"` // the end of what the attempt has logged
}

// LogReport is the end of what an attempt has logged.
type LogReport struct {
	Task    string    `json:"task"`
	Attempt string    `json:"attempt"`
	Worker  string    `json:"worker"` // its address
	Time    time.Time `json:"time"`   // when the coordinator was told of it last
	Text    string    `json:"text"`   // lines, at most 4 KiB of them
}

// WorkerReport is a worker that counts as alive.
type WorkerReport struct {
	ID       int      `json:"id"`
	Addr     string   `json:"addr"`
	Host     string   `json:"host"`
	Rack     string   `json:"rack,omitempty"`
	Labels   []string `json:"labels,omitempty"`
	Maps     int      `json:"maps"`     // that it runs at a time
	Reduces  int      `json:"reduces"`  // likewise
	Awaited  bool     `json:"awaited"`  // it has not yet registered with this coordinator, as it should
	Seen     float64  `json:"seen"`     // seconds since it was heard of
	Attempts int      `json:"attempts"` // that it runs, also those that Running leaves out
	Running  []string `json:"running"`
}

// GoneReport is a worker that is dead.
type GoneReport struct {
	ID   int       `json:"id"`
	Addr string    `json:"addr"`
	Time time.Time `json:"time"` // when it was given up
	Ran  []string  `json:"ran"`  // tasks that it was running
}

const (
	// maxCells bounds the cells of a grid, and so the size of a report whatever
	// the number of tasks.
	maxCells = 512
	// maxRows bounds the rows of a list.
	maxRows = 200
	// maxWorkerTasks bounds the tasks named that a worker runs.
	maxWorkerTasks = 8
	// straggles is how many times the median an attempt takes that counts as
	// straggling.
	straggles = 1.5
)

// jobTask names a task and its job.
func jobTask(ref taskRef) string {
	return fmt.Sprintf("job %d %s", ref.job, taskName(ref.kind, ref.index))
}

// summary returns the report of a job without its details.
func (h *history) summary(now time.Time, t *tasks, id JobID) JobReport {
	s := t.status(id)
	r := JobReport{
		ID: id, Name: s.Name, State: s.State.String(), Failure: s.Failure, Output: s.Output,
		Maps: s.Maps, Reduces: s.Reduces, InputBytes: s.InputBytes, InputDone: s.InputDone, SideFiles: s.SideFiles,
		Backups: s.Backups, Predecessor: t.jobs[id].predecessor,
	}
	if j := h.jobs[id]; j != nil {
		r.Seconds, r.Failed = now.Sub(j.began).Seconds(), j.failed
	} else {
		r.Seconds = s.Ended.Sub(s.Submitted).Seconds()
	}
	return r
}

// job returns the report of a job, without what runs.
func (h *history) job(now time.Time, t *tasks, id JobID) *JobReport {
	r, row := h.summary(now, t, id), t.jobs[id]
	r.Details = &JobDetails{
		MapCells: cells(row.tasks[MapTask]), ReduceCells: cells(row.tasks[ReduceTask]), Counters: row.tally.values(),
		Running: []AttemptReport{}, Samples: []Sample{}, Failures: []FailureReport{}, Logs: []LogReport{}, Skipped: []string{},
	}
	for _, record := range row.skipped() {
		if len(r.Details.Skipped) == maxRows {
			break
		}
		text := record.String()
		r.Details.Skipped = append(r.Details.Skipped, text[:min(len(text), maxFailureBytes)])
	}
	if j := h.jobs[id]; j != nil {
		r.Details.Samples = slices.Clone(j.samples)
		r.Details.Failures = append(r.Details.Failures, j.failures...)
		slices.Reverse(r.Details.Failures)
		r.Details.Logs = append(r.Details.Logs, j.logs...)
		slices.Reverse(r.Details.Logs)
	}
	return &r
}

// cells counts tasks in as many cells as there may be.
func cells(all []task) []TaskCell {
	per := max(1, (len(all)+maxCells-1)/maxCells)
	grid := make([]TaskCell, 0, (len(all)+per-1)/per)
	for first := 0; first < len(all); first += per {
		c := TaskCell{First: first, Tasks: min(per, len(all)-first)}
		for i := range all[first : first+c.Tasks] {
			t := &all[first+i]
			c.Failures += int(t.failures) + int(t.losses)
			switch t.state {
			case taskRunning:
				c.Running++
			case taskCompleted:
				c.Completed++
			}
		}
		grid = append(grid, c)
	}
	return grid
}

// jobReport returns the report of a job, or nil if it is not known. What it has
// read of jobs that have not ended must be confirmed before it is told.
func (l *ledger) jobReport(now time.Time, id JobID) *JobReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.schedule == nil || l.history.jobs[id] == nil {
		return l.history.find(id)
	}
	r := l.history.job(now, l.tasks, id)
	s := l.schedule.status(id)
	r.Details.Running, r.Details.Counters, r.Waiting = l.running(now, id), s.Counters, s.Waiting
	return r
}

// running returns the attempts of a job that run, the longest first. The caller
// holds mu.
func (l *ledger) running(now time.Time, id JobID) []AttemptReport {
	found := []AttemptReport{}
	history := l.history.jobs[id]
	median := [2]time.Duration{history.median(MapTask), history.median(ReduceTask)}
	for _, w := range l.schedule.workers { // order-free: sorted below
		for kind := range w.running {
			for _, a := range w.running[kind] { // order-free: likewise
				if a.task.job != id {
					continue
				}
				began := l.history.began[a.attempt]
				took := now.Sub(began)
				found = append(found, AttemptReport{
					Job: id, Task: taskName(a.task.kind, a.task.index), Attempt: a.attempt.String(), Worker: w.row.addr,
					Seconds: took.Seconds(), Records: a.progress, Silent: now.Sub(a.since).Seconds(),
					Backup:    l.tasks.task(a.task).attempt != a.attempt,
					Straggles: median[kind] > 0 && now.Sub(history.since(a.task.kind, began)) > time.Duration(straggles*float64(median[kind])),
				})
			}
		}
	}
	slices.SortFunc(found, func(a, b AttemptReport) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Attempt, b.Attempt))
	})
	return found[:min(len(found), maxRows)]
}

// report returns how everything is doing. It must be confirmed before it is told.
func (l *ledger) report(now time.Time) *ClusterReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &ClusterReport{
		Time: now, Epoch: l.tasks.epoch,
		Jobs: []JobReport{}, History: []JobReport{}, Workers: []WorkerReport{}, Gone: append([]GoneReport{}, l.history.gone...),
	}
	slices.Reverse(r.Gone)
	for _, j := range slices.Backward(l.history.ended) {
		summary := *j
		summary.Details = nil
		r.History = append(r.History, summary)
	}
	s := l.schedule
	if s == nil {
		return r
	}
	r.Leading, r.JobsRunning, r.WorkersAlive = true, len(s.jobs), len(s.workers)
	for _, j := range s.jobs[:min(len(s.jobs), maxRows)] {
		summary := l.history.summary(now, l.tasks, j.job.id)
		summary.Waiting = s.stuck(j.job)
		r.Jobs = append(r.Jobs, summary)
	}
	for _, id := range s.roster {
		w := s.workers[id]
		if w == nil || len(r.Workers) == maxRows {
			continue // it is gone, or there are too many
		}
		report := WorkerReport{
			ID: int(id), Addr: w.row.addr, Host: w.row.host, Rack: w.row.rack, Labels: w.row.labels,
			Maps: w.row.slots[MapTask], Reduces: w.row.slots[ReduceTask], Awaited: !w.confirmed, Seen: now.Sub(w.seen).Seconds(),
			Running: []string{},
		}
		for _, a := range w.watched() {
			if report.Attempts++; report.Attempts <= maxWorkerTasks {
				report.Running = append(report.Running, jobTask(a.task))
			}
		}
		r.Workers = append(r.Workers, report)
	}
	return r
}
