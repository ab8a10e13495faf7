//go:build unix

package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// This file makes the checks of the course's MapReduce lab, on real worker processes
// over TCP: word count, indexer, map parallelism, reduce parallelism, each map exactly
// once, no early exit, crashes and hangs. The workers are this test binary, and tell
// of themselves by files in the directory that all share.

const (
	// labMaps and labReduces are the tasks of a lab job, labWorkers its processes.
	labMaps, labReduces, labWorkers = 8, 6, 3
	// labPatience bounds what should have happened long ago.
	labPatience = time.Minute
)

// The processes of a lab are started with this in their environment.
const labEnv = "MAPREDUCE_TEST_LAB"

func init() {
	if os.Getenv(labEnv) != "" {
		roleJobs = labJobs
	}
}

// labJobs are the jobs of the checks.
func labJobs(dir string) []Definition {
	files := labFiles(dir)
	named := func(name string, change func(j *Job[string, string, string])) Definition {
		j := places
		j.Name = "lab-" + name
		change(&j)
		return j
	}
	return []Definition{
		wordCount,
		named("indexer", func(j *Job[string, string, string]) {
			j.Map = func(_ *Task, line Record, emit func(string, string)) error {
				for word := range strings.FieldsSeq(line.Text()) {
					emit(word, line.File)
				}
				return nil
			}
			j.Reduce = func(_ *Task, _ string, in iter.Seq[string], emit func(string)) error {
				documents := slices.Compact(slices.Collect(in)) // they come in order
				emit(fmt.Sprint(len(documents), " ", strings.Join(documents, ",")))
				return nil
			}
		}),
		named("maps-meet", func(j *Job[string, string, string]) {
			j.Map = func(t *Task, line Record, emit func(string, string)) error {
				if err := files.meet(t, "map", labWorkers); err != nil {
					return err
				}
				return places.Map(t, line, emit)
			}
		}),
		named("reduces-meet", func(j *Job[string, string, string]) {
			j.Reduce = func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
				if err := files.meet(t, "reduce", labWorkers); err != nil {
					return err
				}
				return places.Reduce(t, word, at, emit)
			}
		}),
		named("counted", func(j *Job[string, string, string]) {
			j.Map = func(t *Task, line Record, emit func(string, string)) error {
				// A line is a split, and a call of Map an execution of its task.
				if os.Getenv(roleEnv) != "" {
					if err := files.leave(fmt.Sprintf("execution-%d-*", t.Index())); err != nil {
						return err
					}
				}
				return places.Map(t, line, emit)
			}
		}),
		named("slow-end", func(j *Job[string, string, string]) {
			j.Reduce = func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
				if t.Index() == labReduces-1 {
					if err := files.await(t, "go", 1); err != nil {
						return err
					}
				}
				return places.Reduce(t, word, at, emit)
			}
		}),
		named("crashing", func(j *Job[string, string, string]) {
			j.Map = func(t *Task, line Record, emit func(string, string)) error {
				files.misbehave(t)
				return places.Map(t, line, emit)
			}
			j.Reduce = func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
				files.misbehave(t)
				return places.Reduce(t, word, at, emit)
			}
		}),
	}
}

// labFiles is the directory in which processes tell of themselves.
type labFiles string

// leave makes a file of its own.
func (l labFiles) leave(pattern string) error {
	f, err := os.CreateTemp(string(l), pattern)
	if err != nil {
		return err
	}
	return f.Close()
}

// count returns how many files there are whose names begin so.
func (l labFiles) count(prefix string) int {
	names, err := filepath.Glob(filepath.Join(string(l), prefix+"*"))
	if err != nil {
		return 0
	}
	return len(names)
}

// meet waits until n processes are in tasks of this kind at the same time.
func (l labFiles) meet(t *Task, kind string, n int) error {
	if os.Getenv(roleEnv) == "" {
		return nil // a sequential run
	}
	f, err := os.OpenFile(filepath.Join(string(l), fmt.Sprintf("%s-%d", kind, os.Getpid())), os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return l.await(t, kind+"-", n)
}

// await waits until there are n files whose names begin so.
func (l labFiles) await(t *Task, prefix string, n int) error {
	if os.Getenv(roleEnv) == "" {
		return nil
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.count(prefix) < n {
		select {
		case <-tick.C:
			t.Progress()
		case <-t.Context().Done():
			return context.Cause(t.Context())
		}
	}
	return nil
}

// misbehave ends or stops the process in the first execution of a task, in every other
// one of them.
func (l labFiles) misbehave(t *Task) {
	if os.Getenv(roleEnv) == "" || t.Index()%2 == 1 {
		return
	}
	what := []string{"exit", "stop"}[t.Index()/2%2]
	name := filepath.Join(string(l), fmt.Sprintf("%s-%v-%d", what, t.Kind(), t.Index()))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return // it has misbehaved
	}
	if err != nil {
		panic(err)
	}
	fmt.Fprint(f, os.Getpid())
	_ = f.Close()
	if what == "exit" {
		os.Exit(1)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
}

// lab is a coordinator in this process, and worker processes.
type lab struct {
	*processes
	files       FileSystem
	input       fstest.MapFS
	coordinator *Coordinator
	client      *Client
}

// newLab takes after what silence a worker counts as dead.
func newLab(t *testing.T, timeout time.Duration) *lab {
	t.Helper()
	t.Setenv(labEnv, "1")
	p := newProcesses(t)
	l := &lab{processes: p, files: Dir(p.dir), input: fstest.MapFS{}}
	for i := range labMaps {
		name := fmt.Sprintf("input/%d", i)
		text := fmt.Sprintf("document %d has words such as these: a%d b%d c%d\n", i, i%3, i%4, i*i)
		l.input[name] = &fstest.MapFile{Data: []byte(text)}
		write(t, l.files, name, text)
	}
	jobs, err := NewRegistry(labJobs(p.dir)...)
	if err != nil {
		t.Fatal(err)
	}
	l.coordinator, err = StartCoordinator(t.Context(), CoordinatorConfig{
		Transport: &transport.TCP{}, Addr: p.addr, Jobs: jobs, FileSystem: l.files, WorkerTimeout: timeout,
	})
	if err == nil {
		l.client, err = NewClient(ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{p.addr}})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.client.Close(), l.coordinator.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// spec gives each document, a line, a map of its own.
func (l *lab) spec() Spec {
	longest := 0
	for _, f := range l.input {
		longest = max(longest, len(f.Data))
	}
	return Spec{Input: []string{"input/*"}, Output: "out", Reduces: labReduces, SplitBytes: int64(longest), NoBackups: true}
}

// submit submits a job, and returns what waits for it and compares its output.
func (l *lab) submit(name string) (id JobID, check func()) {
	l.t.Helper()
	spec := l.spec()
	i := slices.IndexFunc(labJobs(l.dir), func(d Definition) bool {
		known, err := d.define()
		return err == nil && known.name == name
	})
	want := sequentialOutput(l.t, labJobs(l.dir)[i], spec, ReadOnly(l.input))
	id, err := l.client.Submit(l.t.Context(), name, spec)
	if err != nil {
		l.t.Fatal(err)
	}
	return id, func() {
		l.t.Helper()
		result, err := l.client.Wait(l.t.Context(), id)
		if err != nil {
			l.t.Fatal(err)
		}
		if result.Maps != labMaps {
			l.t.Errorf("%d maps, want %d", result.Maps, labMaps)
		}
		for partition, file := range result.Files {
			if got, err := read(l.t, l.files, file); err != nil || got != want[partition] {
				l.t.Errorf("%s has %.200q, %v, want %.200q", file, got, err, want[partition])
			}
		}
	}
}

func (l *lab) startWorkers() {
	for i := range labWorkers {
		l.start(fmt.Sprint("worker", i))
	}
}

func TestLabWordCountAndIndexer(t *testing.T) {
	for _, job := range []string{"wordcount", "lab-indexer"} {
		t.Run(job, func(t *testing.T) {
			l := newLab(t, labPatience)
			l.startWorkers()
			_, check := l.submit(job)
			check()
		})
	}
}

// Maps, and reduces, go on only when as many run as there are workers.
func TestLabParallelism(t *testing.T) {
	for kind, job := range map[string]string{"map": "lab-maps-meet", "reduce": "lab-reduces-meet"} {
		t.Run(kind, func(t *testing.T) {
			l := newLab(t, labPatience)
			l.startWorkers()
			_, check := l.submit(job)
			check()
			if n := labFiles(l.dir).count(kind + "-"); n != labWorkers {
				t.Errorf("%d processes have met, want %d", n, labWorkers)
			}
		})
	}
}

func TestLabEachMapOnce(t *testing.T) {
	l := newLab(t, labPatience)
	l.startWorkers()
	_, check := l.submit("lab-counted")
	check()
	for i := range labMaps {
		if n := labFiles(l.dir).count(fmt.Sprintf("execution-%d-", i)); n != 1 {
			t.Errorf("map %d was executed %d times", i, n)
		}
	}
}

// No worker leaves while there is something to do for any; when the job is done and the
// coordinator says so, all do.
func TestLabNoEarlyExit(t *testing.T) {
	l := newLab(t, labPatience)
	ended := make(chan error, labWorkers)
	for i := range labWorkers {
		cmd := l.command(fmt.Sprint("worker", i))
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		go func() { ended <- cmd.Wait() }()
	}
	id, check := l.submit("lab-slow-end")
	testutil.Eventually(t, labPatience, func() bool {
		s, err := l.client.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return s.Reduces.Completed == labReduces-1
	}, "all reduces but the last are done")
	if len(ended) > 0 {
		t.Errorf("a worker has left before the job's end: %v", <-ended)
	}
	write(t, l.files, "go", "")
	check()
	if err := l.coordinator.Dismiss(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range labWorkers {
		if err := <-ended; err != nil {
			t.Errorf("a worker that was dismissed: %v", err)
		}
	}
}

// Workers end and stop in the middle of tasks. Those that end are started again; those
// that stop go on when the job is done, too late, and do no harm.
func TestLabCrashesAndHangs(t *testing.T) {
	l := newLab(t, processTimeout)
	stop, deaths := make(chan struct{}), make(chan int)
	// Every stopped process is out of the game: there must be more than may stop.
	const workers = labMaps/4 + (labReduces+2)/4 + 2
	for i := range workers {
		go func() {
			for n := 0; ; n++ {
				if ended := l.runOnce(fmt.Sprint("worker", i), stop); !ended {
					deaths <- n
					return
				}
			}
		}()
	}
	_, check := l.submit("lab-crashing")
	check()
	stopped := l.wake()
	// Whatever they do now, the output stays.
	testutil.Eventually(t, labPatience, func() bool {
		return l.coordinator.clusterReport(time.Now()).WorkersAlive == workers
	}, "all workers are back")
	check()
	close(stop)
	total := 0
	for range workers {
		total += <-deaths
	}
	if total < 2 || stopped < 2 {
		t.Errorf("%d processes have ended and %d have stopped: nothing was tested", total, stopped)
	}
}

// wake lets the processes go on that have stopped, and returns how many have.
func (l *lab) wake() int {
	names, err := filepath.Glob(filepath.Join(l.dir, "stop-*"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			l.t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Sscan(string(content), &pid); err != nil {
			l.t.Fatal(err)
		}
		_ = syscall.Kill(pid, syscall.SIGCONT) // it is a child of this test's, which it has not waited for
	}
	return len(names)
}
