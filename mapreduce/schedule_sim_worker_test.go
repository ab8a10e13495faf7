package mapreduce

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// simWorker is the shell of a worker, with tasks that take their time.
type simWorker struct {
	n       *sim.Node[simMsg]
	s       *simWorld
	token   string
	slow    time.Duration // a step takes so many times longer
	id      workerID
	epoch   uint64
	tasks   []*simTask
	outputs map[Attempt]taskRef
}

// simTask is an attempt that a worker runs.
type simTask struct {
	order
	hung     bool
	bad      bool // its last record is, and is not skipped
	finished bool // waiting to be told so
	progress uint64
	pos      int
	where    map[int]location
	got      []int       // maps whose data is here
	tries    map[int]int // fetches of a map since it was last complained of
	total    int         // maps; known from the job
	only     bool        // the job has no reduces
}

const (
	simPollKey = iota
	simWorkKey
	simKeys
)

func (s *simWorld) bootWorker(n *sim.Node[simMsg]) sim.Process[simMsg] {
	s.tokens++
	n.After(0, simPollKey)
	slow := time.Duration(1)
	if n.Uint64N(4) == 0 {
		slow = 8
	}
	return &simWorker{n: n, s: s, slow: slow, token: fmt.Sprint("worker", s.tokens), outputs: make(map[Attempt]taskRef)}
}

func (w *simWorker) Timer(key uint64) {
	if key%simKeys == simPollKey {
		w.poll()
		w.n.After(50*time.Millisecond, simPollKey)
		return
	}
	for _, t := range w.tasks {
		if t.attempt.N == key/simKeys {
			w.work(t)
			w.n.After(w.slow*time.Duration(1+w.n.Uint64N(60))*time.Millisecond, key)
			return
		}
	}
}

func (w *simWorker) poll() {
	if w.id == 0 {
		var held []Attempt
		for a := range w.outputs {
			held = append(held, a)
		}
		slices.SortFunc(held, func(a, b Attempt) int { return cmp.Compare(a.N, b.N) })
		w.n.Send(0, simMsg{kind: simRegister, token: w.token, held: held})
		return
	}
	m := simMsg{kind: simPoll, worker: w.id, epoch: w.epoch}
	for _, t := range w.tasks {
		if !t.hung {
			t.progress++
		}
		m.doing = append(m.doing, progress{t.attempt, t.progress, 0, len(t.got) == t.total, nil, ""})
	}
	w.n.Send(0, m)
}

// work takes a task one step further.
func (w *simWorker) work(t *simTask) {
	switch {
	case t.hung:
	case t.finished:
		w.n.Send(0, simMsg{kind: simComplete, attempt: t.attempt, ref: t.task})
	case !w.s.w.Calm() && w.n.Uint64N(40) == 0:
		t.hung = true
		w.n.Count("hung attempts", 1)
	case t.bad && w.n.Uint64N(2) == 0:
		w.s.mayEnd(t.task, t.attempt, simRecords-1)
		w.n.Send(0, simMsg{kind: simFailed, attempt: t.attempt, record: simRecords})
	case !w.s.w.Calm() && w.n.Uint64N(40) == 0:
		w.n.Count("failed attempts", 1)
		record := w.n.Uint64N(1 + simRecords)
		if record > 0 {
			w.s.mayEnd(t.task, t.attempt, record-1)
		}
		w.n.Send(0, simMsg{kind: simFailed, attempt: t.attempt, record: record})
	case t.task.kind == MapTask && w.n.Uint64N(4) == 0:
		record := w.n.Uint64N(simRecords)
		w.s.mayEnd(t.task, t.attempt, record)
		w.n.Send(0, simMsg{kind: simAnnounce, attempt: t.attempt, at: span{record, 1}})
	case t.task.kind == MapTask:
		if w.n.Uint64N(2) == 0 {
			if !t.only {
				w.outputs[t.attempt] = t.task
			}
			w.s.files.written[t.attempt] = simFile{names: simNames(t.task)}
			t.finished = true
			w.n.Count("maps", 1)
		}
	case len(t.got) == t.total:
		w.s.files.written[t.attempt] = simFile{slices.Clone(t.got), simNames(t.task)}
		t.finished = true
		w.n.Count("reduces", 1)
	default:
		w.n.Send(0, simMsg{kind: simLocate, attempt: t.attempt, ref: t.task, pos: t.pos})
		w.fetch(t)
	}
}

// fetch asks for the data that is missing.
func (w *simWorker) fetch(t *simTask) {
	for i := range t.total {
		l, ok := t.where[i]
		if !ok || l.attempt == (Attempt{}) || slices.Contains(t.got, i) {
			continue
		}
		if t.tries[i]++; t.tries[i] > 4 {
			t.tries[i] = 0
			w.n.Count("fetch failures", 1)
			w.n.Send(0, simMsg{kind: simUnfetched, attempt: t.attempt, ref: taskRef{t.task.job, MapTask, i}, of: l.attempt})
		}
		to, _ := strconv.Atoi(l.addr)
		w.n.Send(to, simMsg{kind: simFetch, attempt: t.attempt, of: l.attempt, ref: taskRef{t.task.job, MapTask, i}})
	}
}

func (w *simWorker) find(a Attempt) *simTask {
	i := slices.IndexFunc(w.tasks, func(t *simTask) bool { return t.attempt == a })
	if i < 0 {
		return nil
	}
	return w.tasks[i]
}

// drop ends a task.
func (w *simWorker) drop(a Attempt) {
	if t := w.find(a); t != nil {
		w.tasks = slices.DeleteFunc(w.tasks, func(t *simTask) bool { return t.attempt == a })
	}
}

func (w *simWorker) Receive(from int, m simMsg) {
	switch m.kind {
	case simRegistered:
		if m.token == w.token && m.epoch >= w.epoch {
			if m.epoch > w.epoch || m.worker != w.id {
				// What runs was given out by a coordinator, or to a worker, that is no
				// more. The files of what has finished stay: one of them may have won
				// without the answer having come through.
				w.tasks = nil
			}
			w.id, w.epoch = m.worker, m.epoch
		}
	case simUnknown:
		if m.worker == w.id && m.epoch == w.epoch {
			w.id = 0
		}
	case simOrders:
		if m.worker != w.id || m.epoch != w.epoch {
			return
		}
		for _, a := range m.stop {
			w.drop(a)
		}
		for _, o := range m.begin {
			w.begin(o)
		}
	case simCompleted:
		if t := w.find(m.attempt); t != nil {
			w.drop(m.attempt)
			if m.status != statusOK {
				delete(w.outputs, m.attempt)
				if t.task.kind == ReduceTask || t.only {
					delete(w.s.files.written, m.attempt)
				} // else it may have won with its files before its output was lost
			}
		}
	case simLocations:
		if t := w.find(m.attempt); t != nil && m.found && m.pos > t.pos {
			t.pos = m.pos
			for _, l := range m.locs {
				t.where[l.index] = l
				t.tries[l.index] = 0
			}
		}
	case simFetch:
		_, found := w.outputs[m.of]
		w.n.Send(from, simMsg{kind: simData, attempt: m.attempt, of: m.of, ref: m.ref, found: found})
	case simData:
		if t := w.find(m.attempt); t != nil && m.found && !slices.Contains(t.got, m.ref.index) {
			t.got = append(t.got, m.ref.index)
		}
	}
}

func (w *simWorker) begin(o order) {
	if w.find(o.attempt) != nil || o.attempt.Epoch != w.epoch {
		return
	}
	j := w.s.table.jobs[o.task.job] // what a real worker is told with the order
	if j == nil {
		return
	}
	if o.task.kind == ReduceTask && j.completed[MapTask] < len(j.splits) {
		w.n.Count("early reduces", 1)
	}
	bad := o.task.kind == MapTask && o.task.index == 0 && !slices.Contains(w.s.table.task(o.task).trouble.care().skip, simRecords-1)
	w.tasks = append(w.tasks, &simTask{order: o, bad: bad, where: make(map[int]location), tries: make(map[int]int), total: len(j.splits), only: j.last() == MapTask})
	w.n.After(time.Duration(1+w.n.Uint64N(60))*time.Millisecond, o.attempt.N*simKeys+simWorkKey)
}

var simConfig = sim.Config{
	Faults: sim.Faults{
		Loss: 0.2, Duplicate: 0.2, Straggle: 0.1, CrashEvery: 400 * time.Millisecond,
		PartitionEvery: 600 * time.Millisecond, PauseEvery: 500 * time.Millisecond, Pause: 600 * time.Millisecond,
		Skew: time.Second, Drift: 0.05,
	},
	Chaos: 1500 * time.Millisecond,
	Calm:  time.Minute,
}

func TestSimulation(t *testing.T) {
	stats := sim.Run(t, simSeeds, simConfig, simCluster(plantedBugs{}))
	t.Logf("%+v", stats)
	for name, perThousand := range map[string]uint64{
		"coordinator restarts": 100, "stale completions": 300, "hung attempts": 200,
		"failed attempts": 200, "fetch failures": 200, "maps": 2000, "reduces": 1000, "skipped records": 500, "backups": 500, "backups that won": 100,
		"files besides output": 2000, "output of maps": 300,
		"early reduces": 700, "yields": 50, "aborted jobs": 60, "resubmissions spent": 20,
	} {
		if n := stats.Tally[name]; n < perThousand*stats.Seeds/1000 {
			t.Errorf("%s: only %d in %d seeds, want %d in 1000 at least; nothing was tested", name, n, stats.Seeds, perThousand)
		}
	}
}

// The simulation finds each of these.
func TestSimulationFindsPlantedBugs(t *testing.T) {
	for name, planted := range map[string]plantedBugs{
		"count a duplicate completion":         {countDuplicates: true},
		"commit by replacing":                  {replaceWinner: true},
		"accept an attempt of an older epoch":  {anyEpoch: true},
		"keep the map output of a dead worker": {keepDeadOutput: true},
		"skip a record on its first failure":   {skipAtOnce: true},
		"count a map whose output is lost":     {keepLostCounts: true},
		"forget what a lost map wrote besides": {forgetFiles: true},
		"run a job where its labels are not":   {ignoreLabels: true},
		"a reduce keeps a map from running":    {shareSlots: true},
		"a reduce that only waits stays":       {neverYield: true},
		"go on with what is to be aborted":     {ignoreAbort: true},
		"submit again without end":             {resubmitAlways: true},
	} {
		failure, stats := sim.Search(5_000, simConfig, simCluster(planted))
		if failure == nil {
			t.Errorf("%s: not found in %d seeds", name, stats.Seeds)
			continue
		}
		t.Logf("%s: found after %d seeds: %v", name, stats.Seeds, failure)
	}
}
