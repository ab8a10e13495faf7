//lint:bubble
package mapreduce

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
)

// get asks a handler and returns what it says.
func get(t *testing.T, h http.Handler, target string, status int) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	if w.Code != status {
		t.Fatalf("GET %s: status %d, want %d: %s", target, w.Code, status, w.Body)
	}
	return w.Body.String()
}

// getJSON asks a handler for a report.
func getJSON[T any](t *testing.T, h http.Handler, target string) *T {
	t.Helper()
	report := new(T)
	if err := json.Unmarshal([]byte(get(t, h, target, http.StatusOK)), report); err != nil {
		t.Fatal(err)
	}
	return report
}

func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in %s", part, text)
		}
	}
}

// The page of a job that runs shows its tasks, what runs where, and the worker that
// dies with what it ran; after the end, and after a restart, the same is history.
func TestStatusPageShowsAJob(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: 100 * time.Millisecond}
		input := testInput(60)
		c := newTestCluster(t, 3, input, slow.job())
		defer c.close()
		h := c.coordinator.StatusHandler()
		time.Sleep(time.Second) // until the workers have registered
		wantAll(t, get(t, h, "/", http.StatusOK), "No job is running", "worker0:1", "worker2:1")

		spec := testSpec(input, 12, 3)
		spec.NoBackups = true // or the dead worker's map would be done before it is known to be dead
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed >= 4 })
		c.killWorker(1, transport.CrashReset)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed == s.Maps.Total && s.Reduces.Running > 0 })
		page := get(t, h, "/", http.StatusOK)
		wantAll(t, page, "Job 1: slow", "12 map tasks", "3 reduce tasks", `class="run"`, `class="done"`, `done bad"`,
			"Running attempts", "<dt>map.records.in</dt>", "reduce task 0", "Failed workers", "worker1:1", "its worker died", "Input mapped", "<path")
		cluster := getJSON[ClusterReport](t, h, "/status.json")
		if !cluster.Leading || cluster.JobsRunning != 1 || cluster.WorkersAlive != 2 || len(cluster.Jobs) != 1 || len(cluster.Workers) != 2 {
			t.Errorf("the cluster is %+v", cluster)
		}
		if len(cluster.Gone) != 1 || cluster.Gone[0].Addr != "worker1:1" || len(cluster.Gone[0].Ran) != 2 {
			t.Errorf("the dead are %+v, want worker1 and the map and the reduce it ran", cluster.Gone)
		}
		job := getJSON[JobReport](t, h, "/status.json?job=1")
		if job.Maps.Completed != 12 || job.State != "running" || len(job.Details.MapCells) != 12 || len(job.Details.Running) == 0 || job.Failed == 0 {
			t.Errorf("the job is %+v", job)
		}

		wait()
		time.Sleep(sampleEvery) // until the report is saved
		c.killCoordinator(transport.CrashReset)
		c.reviveCoordinator()
		c.until(id, func(s *JobStatus) bool { return s.State == JobSucceeded })
		h = c.coordinator.StatusHandler()
		wantAll(t, get(t, h, "/", http.StatusOK), "No job is running", "History", "Job 1: slow", "succeeded", "its worker died")
		after := getJSON[JobReport](t, h, "/status.json?job=1")
		if after.State != "succeeded" || len(after.Details.Failures) != len(job.Details.Failures) || len(after.Details.Samples) <= len(job.Details.Samples) {
			t.Errorf("after a restart the job is %+v", after)
		}
		if last := after.Details.Samples[len(after.Details.Samples)-1]; last.InputBytes != after.InputBytes || last.Reduces != 3 || last.ReadBytes == 0 || last.MapOutputBytes == 0 || last.OutputBytes == 0 {
			t.Errorf("the last sample is %+v, of %d bytes of input", last, after.InputBytes)
		}
	})
}

// A handler outlives its coordinator, and then shows what it remembers.
func TestStatusPageAfterClose(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(10)
		c := newTestCluster(t, 1, input, (&slowCount{}).job())
		_, wait := c.submit(testSpec(input, 2, 1))
		wait()
		h := c.coordinator.StatusHandler()
		c.close()
		wantAll(t, get(t, h, "/", http.StatusOK), "does not lead at present", "Job 1: slow", "succeeded")
	})
}

// Whatever files are called and errors say, it is text.
func TestStatusPageEscapes(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const evil = `<script>alert("x")</script>'"><img src=x onerror=alert(1)>`
		job := Job[string, int, int]{
			Name:   "evil",
			Map:    func(*Task, Record, func(string, int)) error { return fmt.Errorf("%s", evil) },
			Reduce: func(*Task, string, iter.Seq[int], func(int)) error { return nil },
		}
		input := testInput(1)
		c := newTestCluster(t, 1, input, job)
		defer c.close()
		spec := testSpec(input, 1, 1)
		spec.Output = evil
		id, _ := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.State == JobFailed })
		h := c.coordinator.StatusHandler()
		page := get(t, h, "/", http.StatusOK)
		wantAll(t, page, "&lt;script&gt;alert(", "&lt;img src=x", "Failures")
		for _, tag := range []string{"<script>", "<img"} {
			if strings.Contains(page, tag) {
				t.Errorf("the page has %s as it came", tag)
			}
		}
		if got := getJSON[JobReport](t, h, "/status.json?job=1"); got.Output != evil || !strings.Contains(got.Failure, evil) || got.Failed != DefaultMaxAttempts {
			t.Errorf("the job is %+v", got)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		wantAll(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'", "script-src 'self'")
	})
}

func TestStatusPageRefuses(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newTestCluster(t, 1, testInput(1), (&slowCount{}).job())
		defer c.close()
		h := c.coordinator.StatusHandler()
		wantAll(t, get(t, h, "/?job=7", http.StatusNotFound), "job 7 is not known")
		get(t, h, "/status.json?job=7", http.StatusNotFound)
		get(t, h, "/?job=%3Cscript%3E", http.StatusBadRequest)
		get(t, h, "/status.json?job=0", http.StatusBadRequest)
		get(t, h, "/statuspage/page.html", http.StatusNotFound)
		wantAll(t, get(t, h, "/status.js", http.StatusOK), "fetch(")
		wantAll(t, get(t, h, "/status.css", http.StatusOK), "--ink")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST: status %d", w.Code)
		}
		mounted := http.StripPrefix("/mapreduce", h)
		wantAll(t, get(t, mounted, "/mapreduce/", http.StatusOK), `href="status.css"`)
	})
}

// The page of a job of the paper's size is as small as any.
func TestStatusPageIsBounded(t *testing.T) {
	const maps, reduces = 200_000, 5_000
	l := newLedger()
	l.Apply(1, time.Time{}, commandLead(1), nil)
	l.begin(scheduleConfig{workerTimeout: time.Second, grace: time.Second})
	j := &job{token: "t", name: "big", spec: Spec{Output: "out", Reduces: reduces, MaxAttempts: 4}, splits: make([]Split, maps)}
	for i := range j.splits {
		j.splits[i].Pieces = []Piece{{"input", int64(i) << 26, 1 << 26}}
	}
	id, _ := l.tasks.submit(time.Time{}, j)
	l.history.observe(time.Now(), l.tasks, l.tasks.takeEffects())
	for i := range maps / 2 {
		j.tasks[MapTask][i].state = taskCompleted
	}
	for range 4 * maxSamples {
		l.history.jobs[id].sample(time.Now(), j, nil)
	}
	for i := range 10 * maxFailuresKept {
		l.history.observe(time.Now(), l.tasks, []effect{{kind: effectFailure, task: taskRef{id, MapTask, i}, text: strings.Repeat("x", 1<<20)}})
	}
	r := l.jobReport(time.Now(), id)
	d := r.Details
	if len(d.MapCells) > maxCells || len(d.ReduceCells) > maxCells || len(d.Samples) > maxSamples || len(d.Failures) != maxFailuresKept || r.Failed != 10*maxFailuresKept {
		t.Fatalf("%d and %d cells, %d samples, %d failures", len(d.MapCells), len(d.ReduceCells), len(d.Samples), len(d.Failures))
	}
	tasks, completed := 0, 0
	for _, c := range d.MapCells {
		tasks, completed = tasks+c.Tasks, completed+c.Completed
	}
	if tasks != maps || completed != maps/2 {
		t.Errorf("the cells have %d tasks, %d completed", tasks, completed)
	}
	var page strings.Builder
	if err := statusTemplate.Execute(&page, statusView{Cluster: l.report(time.Now()), Job: newJobView(r)}); err != nil {
		t.Fatal(err)
	}
	if page.Len() > 1<<20 {
		t.Errorf("the page has %d bytes", page.Len())
	}
	wantAll(t, page.String(), "200000 map tasks, 391 a cell", "map tasks 0 to 390: 391 completed")
}

// Samples span the whole job, however long it takes.
func TestSamplesSpanTheJob(t *testing.T) {
	begin := time.Unix(0, 0)
	j := &job{spec: Spec{Reduces: 1}}
	j.tasks[ReduceTask] = make([]task, 1)
	h := newHistory(1)
	h.jobs[1] = newJobHistory(begin, j)
	table := newTasks()
	table.jobs[1] = j
	const span = 10 * time.Minute
	for at := time.Duration(0); at <= span; at += sampleEvery {
		h.sample(begin.Add(at), table, func(JobID) map[string]int64 { return map[string]int64{CounterMapBytesIn: int64(at)} })
	}
	s := h.jobs[1].samples
	if len(s) < maxSamples/2 || len(s) > maxSamples || s[0].Seconds != 0 || s[len(s)-1].Seconds < 0.98*span.Seconds() {
		t.Errorf("%d samples from %v s to %v s", len(s), s[0].Seconds, s[len(s)-1].Seconds)
	}
	for i := 1; i < len(s); i++ {
		if s[i].Seconds <= s[i-1].Seconds {
			t.Errorf("sample %d is of %v s, after one of %v s", i, s[i].Seconds, s[i-1].Seconds)
		}
	}
}

// An attempt straggles that takes much longer than others took.
func TestStragglers(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := fstest.MapFS{}
		for i := range 6 {
			input[fmt.Sprint("f", i)] = &fstest.MapFile{Data: []byte(fmt.Sprintln("line", i))}
		}
		job := Job[string, string, string]{
			Name: "uneven",
			Map: func(t *Task, line Record, emit func(string, string)) error {
				pause := 100 * time.Millisecond
				if strings.HasSuffix(line.Text(), "5") {
					pause = 5 * time.Second
				}
				return (&slowCount{pause: pause}).sleep(t)
			},
			Reduce: places.Reduce,
		}
		c := newTestCluster(t, 2, input, job)
		defer c.close()
		id, wait := c.submit(Spec{Input: []string{"f*"}, Output: "out", SplitBytes: 7})
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed == 5 })
		time.Sleep(time.Second)
		r := getJSON[JobReport](t, c.coordinator.StatusHandler(), "/status.json?job=1")
		for _, a := range r.Details.Running {
			if late := a.Task == "map task 5"; a.Straggles != late || a.Seconds < 0.9 && !a.Backup {
				t.Errorf("what runs is %+v", a)
			}
		}
		wantAll(t, get(t, c.coordinator.StatusHandler(), "/", http.StatusOK), "straggler")
		wait()
	})
}

func TestHistoryStore(t *testing.T) {
	disk := vfs.NewMemory(1)
	s := &historyStore{fs: disk, dir: "/c/history", keep: 3}
	if r, err := s.load(); err != nil || len(r) != 0 {
		t.Fatalf("of nothing: %v, %v", r, err)
	}
	ids := func() []JobID {
		reports, err := s.load()
		if err != nil {
			t.Log(err)
		}
		var found []JobID
		for _, r := range reports {
			found = append(found, r.ID)
		}
		return found
	}
	for id := JobID(8); id <= 12; id++ {
		if err := s.save([]*JobReport{{ID: id, Details: &JobDetails{}}}); err != nil {
			t.Fatal(err)
		}
	}
	s.fs = disk.Crash()
	if got := ids(); !slices.Equal(got, []JobID{10, 11, 12}) {
		t.Errorf("kept %v, want the last 3", got)
	}
	for name, text := range map[string]string{s.name(11): "{", s.name(12): `{"id": 99, "details": {}}`} {
		if err := vfs.WriteFile(s.fs, filepath.Join(s.dir, name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(); !slices.Equal(got, []JobID{10}) {
		t.Errorf("of damaged files loaded %v, want 10 alone", got)
	}
}

// A history that is full forgets the jobs that were submitted first, also when it
// finds the table to remember more than it does.
func TestHistoryIsBounded(t *testing.T) {
	table := newTasks()
	h := newHistory(3)
	for i := range 10 {
		j := &job{token: fmt.Sprint(i), name: "j", spec: Spec{Output: fmt.Sprint(i), Reduces: 1, MaxAttempts: 1}}
		id, _ := table.submit(time.Time{}, j)
		table.end(time.Time{}, id, JobCanceled, "")
	}
	for range 2 {
		h.begin(time.Now(), table)
		if len(h.ended) != 3 || h.ended[0].ID != 8 || h.ended[2].ID != 10 {
			t.Fatalf("it has %d jobs", len(h.ended))
		}
	}
	if h.takeUnsaved(); len(h.takeUnsaved()) != 0 {
		t.Error("reports are to be saved twice")
	}
}
