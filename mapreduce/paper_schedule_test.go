//lint:bubble
package mapreduce

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// What the paper says of the master's schedule, on real shells.

// §3.2: "for each completed map task, the master stores the locations and sizes of the
// R intermediate file regions produced by the map task. Updates to this location and
// size information are received as map tasks are completed. The information is pushed
// incrementally to workers that have in-progress reduce tasks."
func TestPaper32ReducesFetchWhileMapsRun(t *testing.T) {
	for _, after := range []int{0, Barrier} {
		testutil.Bubble(t, func(t *testing.T) {
			slow := &slowCount{pause: 300 * time.Millisecond}
			input := testInput(60)
			spec := testSpec(input, 20, 3)
			spec.ReduceAfter = after
			want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
			c := newTestCluster(t, 3, input, slow.job())
			defer c.close()
			id, wait := c.submit(spec)
			early := int64(0)
			c.until(id, func(s *JobStatus) bool {
				if s.Maps.Completed < s.Maps.Total {
					early = max(early, s.Counters[CounterShuffleFetched])
					if after == Barrier && s.Reduces.Running > 0 {
						t.Errorf("%d reduces run before the last map has completed", s.Reduces.Running)
					}
				}
				return s.Maps.Completed == s.Maps.Total
			})
			result := wait()
			checkSameOutput(t, fmt.Sprint("after ", after), c.files, result, want)
			total := result.Counters[CounterShuffleFetched]
			if fetched := early*2 > total; fetched == (after == Barrier) {
				t.Errorf("after %d %%: %d bytes of %d were fetched while maps ran", after, early, total)
			}
		})
	}
}

// §3.3: "If the master receives a completion message for an already completed map task,
// it ignores the message. Otherwise, it records the names of R files".
func TestPaper33SecondCompletionIsIgnored(t *testing.T) {
	c := newCore(t)
	c.join(2, 1)
	c.submit(testJob("a", 1, 2))
	ref := taskRef{1, MapTask, 0}
	first := c.tasks.task(ref).attempt
	backup := assignment{ref, 2, true}
	c.s.promise(c.s.find(1), backup)
	c.do(commandAssign(1, []assignment{backup}))
	second := c.tasks.task(ref).backup.attempt
	complete := func(a Attempt, size byte) status {
		return c.do(commandComplete(1, ref, a, []byte{size, size}, counts{{"n", 1}}, nil))
	}
	if complete(first, 1) != statusOK || complete(first, 1) != statusOK || complete(second, 2) != statusStale {
		t.Error("the completion does not count, or its repetition is refused, or another counts")
	}
	j := c.tasks.jobs[1]
	if m := c.tasks.task(ref); m.attempt != first || m.sizes[0] != 1 || j.completed[MapTask] != 1 || j.tally.values()["n"] != 1 {
		t.Errorf("after three completions the map is %+v, %v", m, j.tally.values())
	}
}

// startWorkerFor starts a worker of a certain kind, which the test closes.
func (c *testCluster) startWorkerFor(host string, cfg WorkerConfig) *Worker {
	c.t.Helper()
	cfg.Transport, cfg.Addr, cfg.Coordinators = c.network.Host(host), host+":1", []string{"coordinator:1"}
	cfg.Jobs, cfg.FileSystem, cfg.Input, cfg.Slots, cfg.Build = c.jobs, c.files, c.input, 1, "test"
	cfg.Dir, cfg.disk = "/scratch", vfs.NewMemory(1)
	w, err := StartWorker(c.t.Context(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return w
}

// A job waits, and says so, until there are workers with its labels that take what it
// has; then those run it, and no others.
func TestLabelsOnRealWorkers(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(20)
		c := newTestCluster(t, 1, input, places)
		defer c.close()
		spec := testSpec(input, 4, 2)
		spec.Labels = []string{"gpu", "big", "gpu"}
		want := sequentialOutput(t, places, spec, ReadOnly(input))
		id, wait := c.submit(spec)
		time.Sleep(time.Minute)
		says := func(what string) {
			t.Helper()
			s, err := c.client.Status(t.Context(), id)
			if err != nil || s.Maps.Running+s.Maps.Completed > 0 || !strings.Contains(s.Waiting, what) {
				t.Errorf("a job of which no worker may run %s: %v, %v", what, s, err)
			}
			page := get(t, c.coordinator.StatusHandler(), "/", 200)
			wantAll(t, page, "It waits: no worker")
		}
		says(`["big" "gpu"]`)
		reducer := c.startWorkerFor("reducer", WorkerConfig{Kinds: []TaskKind{ReduceTask}, Labels: []string{"gpu", "new", "big"}, Rack: "7"})
		time.Sleep(time.Second)
		says("takes map tasks")
		mapper := c.startWorkerFor("mapper", WorkerConfig{Kinds: []TaskKind{MapTask}, Labels: []string{"big", "gpu"}, Rack: "7"})
		checkSameOutput(t, "labels", c.files, wait(), want)
		r := getJSON[ClusterReport](t, c.coordinator.StatusHandler(), "/status.json")
		for _, w := range r.Workers {
			if w.Addr == "mapper:1" && (w.Rack != "7" || w.Maps != 1 || w.Reduces != 0) {
				t.Errorf("the mapper is %+v", w)
			}
		}
		for _, w := range []*Worker{reducer, mapper} {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A small job that is submitted after a large one does not wait for its end, and what
// a cancelled job held is free.
func TestSeveralJobs(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: 200 * time.Millisecond}
		input := testInput(300)
		c := newTestCluster(t, 3, input, slow.job())
		defer c.close()
		large, small := testSpec(input, 100, 3), testSpec(input, 100, 2)
		small.Output, small.Input = "small", []string{"few"}
		few := testInput(12)["input"]
		input["few"] = few
		small.SplitBytes = int64(len(few.Data)/4 + 1)
		first, _ := c.submit(large)
		time.Sleep(4 * time.Second)
		second, wait := c.submit(small)
		begun := time.Now()
		wait()
		took := time.Since(begun)
		s, err := c.client.Status(t.Context(), first)
		if err != nil || s.State != JobRunning || s.Maps.Completed > s.Maps.Total/2 {
			t.Errorf("when the small job had ended the large one is %v, %v", s, err)
		}
		// Alone it takes 4 maps of 3 records and 2 reduces of about 15 keys: some 5 s.
		if took > 12*time.Second {
			t.Errorf("the small job took %v beside the large one", took)
		}
		if err := c.client.Cancel(t.Context(), first, "enough"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.client.Wait(t.Context(), first); !errors.Is(err, ErrCanceled) {
			t.Errorf("the cancelled job: %v", err)
		}
		time.Sleep(time.Second)
		for i, w := range c.workers {
			if len(w.store.attempts()) > 0 || len(w.running) > 0 {
				t.Errorf("worker %d still runs %d attempts and holds %v", i, len(w.running), w.store.attempts())
			}
		}
		if names, err := c.files.Glob(t.Context(), "**"); err != nil || len(names) != 2 {
			t.Errorf("there are the files %q, %v, want the output of job %d", names, err, second)
		}
	})
}
