//lint:bubble
package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
)

// This file runs the real shells on a network in memory, in bubbles in which time
// costs nothing, and makes things fail.

// slowCount is a word count whose functions take their time, and are counted.
type slowCount struct {
	maps, reduces atomic.Int64 // records and keys
	pause         time.Duration
}

func (s *slowCount) job() Job[string, string, string] {
	return Job[string, string, string]{
		Name: "slow",
		Map: func(t *Task, line Record, emit func(string, string)) error {
			s.maps.Add(1)
			if err := s.sleep(t); err != nil {
				return err
			}
			return places.Map(t, line, emit)
		},
		Reduce: func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
			s.reduces.Add(1)
			if err := s.sleep(t); err != nil {
				return err
			}
			return places.Reduce(t, word, at, emit)
		},
	}
}

func (s *slowCount) sleep(t *Task) error {
	select {
	case <-time.After(s.pause):
		return nil
	case <-t.Context().Done():
		return t.Context().Err()
	}
}

// testCluster is a cluster whose parts can be killed.
type testCluster struct {
	t           *testing.T
	network     *transport.Network
	jobs        *Registry
	input       FileSystem
	files       FileSystem
	journal     *vfs.Memory
	inject      vfs.Hook // if set, what becomes of the journal's calls
	timeout     time.Duration
	build       string // the coordinator's
	coordinator *Coordinator
	workers     []*Worker // nil where dead
	client      *Client
}

func newTestCluster(t *testing.T, workers int, input fstest.MapFS, jobs ...Definition) *testCluster {
	t.Helper()
	registry, err := NewRegistry(jobs...)
	if err != nil {
		t.Fatal(err)
	}
	network, err := transport.NewNetwork(transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{
		t: t, network: network, jobs: registry, input: ReadOnly(input), files: newMemoryFiles(),
		journal: vfs.NewMemory(1), timeout: 3 * time.Second, build: "test", workers: make([]*Worker, workers),
	}
	c.startCoordinator()
	for i := range workers {
		c.startWorker(i)
	}
	c.client, err = NewClient(ClientConfig{Transport: network.Host("client"), Coordinators: []string{"coordinator:1"}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *testCluster) startCoordinator() {
	c.t.Helper()
	if err := c.tryCoordinator(); err != nil {
		c.t.Fatal(err)
	}
}

// tryCoordinator starts a coordinator, unless its disk fails.
func (c *testCluster) tryCoordinator() error {
	disk := vfs.FS(c.journal)
	if c.inject != nil {
		disk = vfs.Inject(disk, c.inject)
	}
	coordinator, err := StartCoordinator(c.t.Context(), CoordinatorConfig{
		Transport: c.network.Host("coordinator"), Addr: "coordinator:1", Jobs: c.jobs, FileSystem: c.files, Input: c.input,
		Dir: "/journal", disk: disk, WorkerTimeout: c.timeout, Build: "test",
	})
	if err == nil {
		c.coordinator = coordinator
	}
	return err
}

func (c *testCluster) startWorker(i int) {
	c.t.Helper()
	host := fmt.Sprint("worker", i)
	w, err := StartWorker(c.t.Context(), WorkerConfig{
		Transport: c.network.Host(host), Addr: host + ":1", Coordinators: []string{"coordinator:1"}, Jobs: c.jobs,
		FileSystem: c.files, Input: c.input, Slots: 1, Dir: "/scratch", disk: vfs.NewMemory(uint64(i)), Build: "test",
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.workers[i] = w
}

// killWorker cuts a worker's power. What it leaves in the file system stays.
func (c *testCluster) killWorker(i int, mode transport.CrashMode) {
	c.network.Host(fmt.Sprint("worker", i)).Crash(mode)
	_ = c.workers[i].Close() // its goroutines; nobody hears of it
	c.workers[i] = nil
}

func (c *testCluster) reviveWorker(i int) {
	c.network.Host(fmt.Sprint("worker", i)).Restart()
	c.startWorker(i)
}

// killCoordinator cuts the coordinator's power, and its disk's.
func (c *testCluster) killCoordinator(mode transport.CrashMode) {
	c.network.Host("coordinator").Crash(mode)
	after := c.journal.Crash()
	if c.coordinator != nil {
		_ = c.coordinator.Close()
	}
	c.journal = after
	c.coordinator = nil
}

func (c *testCluster) reviveCoordinator() {
	c.network.Host("coordinator").Restart()
	c.startCoordinator()
}

func (c *testCluster) close() {
	_ = c.client.Close()
	for _, w := range c.workers {
		if w != nil {
			if err := w.Close(); err != nil {
				c.t.Error(err)
			}
			checkBudget(c.t, w)
		}
	}
	if c.coordinator != nil {
		if err := c.coordinator.Close(); err != nil {
			c.t.Error(err)
		}
	}
	if err := c.network.Close(); err != nil {
		c.t.Error(err)
	}
}

// submit submits a job of the cluster and returns a function that waits for it.
func (c *testCluster) submit(spec Spec) (id JobID, wait func() *Result) {
	c.t.Helper()
	id, err := c.client.Submit(c.t.Context(), c.jobs.Names()[0], spec)
	if err != nil {
		c.t.Fatal(err)
	}
	return id, func() *Result {
		c.t.Helper()
		result, err := c.client.Wait(c.t.Context(), id)
		if err != nil {
			c.t.Fatal(err)
		}
		return result
	}
}

// until waits until the job's status is as wanted.
func (c *testCluster) until(id JobID, is func(*JobStatus) bool) {
	c.t.Helper()
	for range 10_000 {
		s, err := c.client.Status(c.t.Context(), id)
		if err != nil {
			c.t.Fatal(err)
		}
		if is(s) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatal("the job never got there")
}

// testInput has some lines for some maps.
func testInput(lines int) fstest.MapFS {
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, "line %d of words word%d\n", i, i%7)
	}
	return fstest.MapFS{"input": {Data: b.Bytes()}}
}

func testSpec(input fstest.MapFS, maps, reduces int) Spec {
	return Spec{Input: []string{"input"}, Output: "out", Reduces: reduces, SplitBytes: int64(len(input["input"].Data)/maps + 1)}
}

// Workers die at any time, silently or not, and come back or not. The output is
// that of a sequential run.
func TestWorkersDie(t *testing.T) {
	again := int64(0)
	lack := func() string {
		return testutil.Lack(map[string]int64{"lines were mapped again": again}, map[string]int64{"lines were mapped again": 50})
	}
	testutil.Enough(t, 25, lack, func(i int) {
		seed := uint64(i)
		testutil.Bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 21))
			slow := &slowCount{pause: 100 * time.Millisecond}
			input := testInput(40)
			spec := testSpec(input, 12, 3)
			want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
			lines := slow.maps.Swap(0)

			c := newTestCluster(t, 4, input, slow.job())
			defer c.close()
			_, wait := c.submit(spec)
			for range 1 + r.IntN(4) {
				time.Sleep(time.Duration(r.IntN(2500)) * time.Millisecond)
				victim := 1 + r.IntN(3) // one lives on
				if c.workers[victim] != nil {
					c.killWorker(victim, transport.CrashMode(r.IntN(2)))
				}
				if r.IntN(2) == 0 {
					time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
					c.reviveWorker(victim)
				}
			}
			checkSameOutput(t, fmt.Sprint("seed ", seed), c.files, wait(), want)
			again += slow.maps.Load() - lines
		})
	})
}

// The coordinator dies at any time, with what its disk has not synced, and is
// started again; sometimes a worker dies while it is away.
func TestCoordinatorDies(t *testing.T) {
	for seed := range uint64(25) {
		testutil.Bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 22))
			slow := &slowCount{pause: 100 * time.Millisecond}
			input := testInput(40)
			spec := testSpec(input, 12, 3)
			want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
			c := newTestCluster(t, 3, input, slow.job())
			defer c.close()
			_, wait := c.submit(spec)
			for range 1 + r.IntN(3) {
				time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
				c.killCoordinator(transport.CrashMode(r.IntN(2)))
				if r.IntN(3) == 0 && c.workers[2] != nil {
					c.killWorker(2, transport.CrashSilent)
				}
				time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
				c.reviveCoordinator()
			}
			checkSameOutput(t, fmt.Sprint("seed ", seed), c.files, wait(), want)
		})
	}
}

// A new coordinator keeps the completed maps of workers that are still there.
func TestNewCoordinatorKeepsCompletedMaps(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: 100 * time.Millisecond}
		input := testInput(40)
		c := newTestCluster(t, 3, input, slow.job())
		defer c.close()
		id, wait := c.submit(testSpec(input, 12, 3))
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed == s.Maps.Total && s.Reduces.Running > 0 })
		c.killCoordinator(transport.CrashReset)
		time.Sleep(2 * time.Second)
		c.reviveCoordinator()
		wait()
		if n := slow.maps.Load(); n != 40 {
			t.Errorf("%d lines were mapped, want 40: no map was lost", n)
		}
	})
}

// A map whose output's worker has died after all maps completed runs again, while
// the reduces wait for it.
func TestReducesWaitForALostMap(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: 300 * time.Millisecond}
		input := testInput(40)
		spec := testSpec(input, 12, 3)
		want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
		slow.maps.Store(0)
		c := newTestCluster(t, 3, input, slow.job())
		defer c.close()
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed == s.Maps.Total-1 })
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed == s.Maps.Total })
		c.killWorker(1, transport.CrashSilent)
		checkSameOutput(t, "a lost map", c.files, wait(), want)
		if n := slow.maps.Load(); n <= 40 {
			t.Errorf("%d lines were mapped; those of the dead worker must be again", n)
		}
	})
}

// A worker that is cut off and comes back after it was taken for dead does no harm.
func TestWorkerIsCutOff(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: 100 * time.Millisecond}
		input := testInput(60)
		spec := testSpec(input, 12, 3)
		want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
		c := newTestCluster(t, 3, input, slow.job())
		defer c.close()
		_, wait := c.submit(spec)
		time.Sleep(700 * time.Millisecond)
		if err := c.network.Partition([]string{"worker1"}, []string{"coordinator", "worker0", "worker2"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		c.network.Heal()
		checkSameOutput(t, "cut off", c.files, wait(), want)
	})
}

func TestTaskThatHangsIsGivenToAnother(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var hung atomic.Bool
		job := places
		job.Map = func(t *Task, line Record, emit func(string, string)) error {
			if line.Offset == 0 && !hung.Swap(true) {
				time.Sleep(time.Minute) // and does not look at its context
			}
			return places.Map(t, line, emit)
		}
		input := testInput(20)
		c := newTestCluster(t, 2, input, job)
		defer c.close()
		begin := time.Now()
		spec := testSpec(input, 4, 1)
		spec.NoBackups = true // or it would end sooner
		_, wait := c.submit(spec)
		wait()
		if took := time.Since(begin); took < DefaultTaskTimeout || took > 2*DefaultTaskTimeout {
			t.Errorf("it took %v, want a little more than the timeout of %v", took, DefaultTaskTimeout)
		}
	})
}

func TestJobFailsWithTheLastError(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var tries atomic.Int64
		job := places
		job.Map = func(_ *Task, line Record, _ func(string, string)) error {
			if strings.Contains(line.Text(), "line 7 ") {
				panic(fmt.Sprintf("try %d", tries.Add(1)))
			}
			return nil
		}
		input := testInput(20)
		c := newTestCluster(t, 2, input, job)
		defer c.close()
		id, err := c.client.Submit(t.Context(), job.Name, testSpec(input, 4, 1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.client.Wait(t.Context(), id)
		if !errors.Is(err, ErrJobFailed) {
			t.Fatalf("a job whose map panics: %v", err)
		}
		for _, says := range []string{"map task 1 failed 4 times", "record at input:", "try 4", "cluster_test.go"} {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("the error does not say %q: %v", says, err)
			}
		}
		time.Sleep(time.Minute)
		if names, _ := c.files.Glob(t.Context(), "**"); len(names) > 0 {
			t.Errorf("left behind: %q", names)
		}
	})
}

func TestCancel(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: time.Second}
		input := testInput(100)
		c := newTestCluster(t, 2, input, slow.job())
		defer c.close()
		id, err := c.client.Submit(t.Context(), "slow", testSpec(input, 4, 1))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := c.client.Cancel(t.Context(), id, "no longer needed"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.client.Wait(t.Context(), id); !errors.Is(err, ErrCanceled) || !strings.Contains(err.Error(), "no longer needed") {
			t.Errorf("a cancelled job: %v", err)
		}
		time.Sleep(time.Second)
		if n := slow.maps.Load(); n > 10 {
			t.Errorf("%d lines were mapped in 3 seconds", n)
		}
		before := slow.maps.Load()
		time.Sleep(10 * time.Second)
		if n := slow.maps.Load(); n > before {
			t.Errorf("%d lines were mapped after the job was cancelled", n-before)
		}
		if err := c.client.Cancel(t.Context(), id+100, ""); !errors.Is(err, ErrUnknownJob) {
			t.Errorf("cancelling what there is not: %v", err)
		}
	})
}

func TestWorkerOfOtherCodeIsRefused(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newTestCluster(t, 0, testInput(1), wordCount)
		defer c.close()
		newer := wordCount
		newer.Version = "2"
		other, err := NewRegistry(newer)
		if err != nil {
			t.Fatal(err)
		}
		for name, cfg := range map[string]WorkerConfig{
			"binary": {Jobs: c.jobs, Build: "other"},
			"job":    {Jobs: other, Build: "test"},
		} {
			cfg.Transport, cfg.Addr, cfg.Coordinators = c.network.Host(name), name+":1", []string{"coordinator:1"}
			cfg.FileSystem, cfg.disk, cfg.Dir = c.files, vfs.NewMemory(1), "/scratch"
			w, err := StartWorker(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Wait(t.Context()); !errors.Is(err, ErrFingerprint) || !strings.Contains(err.Error(), name) {
				t.Errorf("another %s: %v", name, err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDismiss(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(10)
		c := newTestCluster(t, 3, input, wordCount)
		defer c.close()
		_, wait := c.submit(testSpec(input, 3, 2))
		wait()
		if err := c.coordinator.Dismiss(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, w := range c.workers {
			if err := w.Wait(t.Context()); err != nil {
				t.Errorf("worker %d ended with %v", i, err)
			}
		}
	})
}

// A submission that is repeated is one job, and another into the same directory is
// refused.
func TestSubmissions(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: time.Second}
		input := testInput(10)
		c := newTestCluster(t, 1, input, slow.job())
		defer c.close()
		_, wait := c.submit(testSpec(input, 3, 2))
		if _, err := c.client.Submit(t.Context(), "slow", testSpec(input, 3, 2)); !errors.Is(err, ErrOutputExists) {
			t.Errorf("a second job into one directory: %v", err)
		}
		if _, err := c.client.Submit(t.Context(), "fast", testSpec(input, 3, 2)); !errors.Is(err, ErrUnknownJob) {
			t.Errorf("a job that there is not: %v", err)
		}
		spec := testSpec(input, 3, 2)
		spec.Output, spec.Input = "other", []string{"nothing"}
		if _, err := c.client.Submit(t.Context(), "slow", spec); !errors.Is(err, ErrNoInput) {
			t.Errorf("a job without input: %v", err)
		}
		wait()
		if _, err := c.client.Submit(t.Context(), "slow", testSpec(input, 3, 2)); !errors.Is(err, ErrOutputExists) {
			t.Errorf("a job into a directory with output: %v", err)
		}
		jobs, err := c.client.Jobs(t.Context())
		if err != nil || len(jobs) != 1 || jobs[0].State != JobSucceeded {
			t.Errorf("the jobs are %v, %v", jobs, err)
		}
	})
}
