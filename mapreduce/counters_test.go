//lint:bubble
package mapreduce

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

func TestCounterSet(t *testing.T) {
	task := &Task{}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 1000 {
				task.Counter(fmt.Sprint("c", n%10)).Add(int64(i))
			}
		})
	}
	wg.Wait()
	task.Counter("zero").Add(0)
	got := task.counters.counts()
	if len(got) != 10 || task.counters.err() != nil {
		t.Fatalf("got %v, %v", got, task.counters.err())
	}
	for i, c := range got {
		if c.name != fmt.Sprint("c", i) || c.n != 600 {
			t.Errorf("%s is %d, want 600", c.name, c.n)
		}
	}
}

func TestCounterIsRefused(t *testing.T) {
	for _, name := range []string{"", strings.Repeat("x", maxCounterBytes+1), "map.mine", CounterReduceKeysIn} {
		task := &Task{}
		task.Counter(name).Add(1)
		if err := task.counters.err(); !errors.Is(err, ErrCounter) || len(task.counters.counts()) > 0 {
			t.Errorf("counter %q: %v", name, err)
		}
	}
	task := &Task{}
	for i := range maxCounters + 1 {
		task.Counter(fmt.Sprint(i)).Add(1)
	}
	if err := task.counters.err(); !errors.Is(err, ErrCounter) || len(task.counters.counts()) != maxCounters {
		t.Errorf("%d counters: %v", maxCounters+1, err)
	}
}

// Tasks that are within the limit alone can be beyond it together.
func TestJobWithTooManyCountersFails(t *testing.T) {
	c := newCore(t)
	c.join(2, 1)
	c.submit(testJob("a", 2, 1))
	for index := range 2 {
		var many counts
		for i := range maxCounters {
			many = append(many, namedCount{fmt.Sprintf("%d-%03d", index, i), 1})
		}
		ref := taskRef{1, MapTask, index}
		c.do(commandComplete(c.tasks.epoch, ref, c.tasks.task(ref).attempt, []byte{1}, many, nil))
		if err := c.tasks.check(); err != nil {
			t.Fatal(err)
		}
	}
	if j := c.tasks.jobs[1]; j.state != JobFailed || !strings.Contains(j.err, "256 different") {
		t.Errorf("the job is %v: %s", j.state, j.err)
	}
}

// A map that is done again counts once, as its last execution says; so does a
// completion that is repeated.
func TestCountersAreNotDoubled(t *testing.T) {
	c := newCore(t)
	c.join(1, 1)
	c.submit(testJob("a", 1, 1))
	ref := taskRef{1, MapTask, 0}
	for n := range int64(3) {
		a := c.tasks.task(ref).attempt
		done := commandComplete(c.tasks.epoch, ref, a, []byte{1}, counts{{"n", 10 + n}}, nil)
		c.do(done)
		c.do(done)
		if got := c.tasks.status(1).Counters["n"]; got != 10+n {
			t.Errorf("execution %d: the counter is %d, want %d", n, got, 10+n)
		}
		c.do(commandLost(c.tasks.epoch, ref, a, true, "lost"))
		if got := c.tasks.status(1).Counters["n"]; got != 10+n {
			t.Errorf("when the output of execution %d is lost, the counter is %d", n, got)
		}
		if err := c.tasks.check(); err != nil {
			t.Error(err)
		}
	}
}

// counting is slowCount with counters.
func counting(pause time.Duration) Job[string, string, string] {
	slow := &slowCount{pause: pause}
	job := slow.job()
	mapWords := job.Map
	job.Map = func(t *Task, line Record, emit func(string, string)) error {
		t.Counter("lines").Add(1)
		if line.Offset%3 == 0 {
			t.Counter("thirds").Add(-line.Offset)
		}
		return mapWords(t, line, emit)
	}
	return job
}

// Whoever dies meanwhile, the counters are those of a sequential run.
func TestCountersWhileWorkersDie(t *testing.T) {
	for seed := range uint64(8) {
		testutil.Bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 31))
			job := counting(100 * time.Millisecond)
			input := testInput(40)
			spec := testSpec(input, 12, 3)
			oracle, err := RunSequential(t.Context(), job, spec, RunConfig{FileSystem: newMemoryFiles(), Input: ReadOnly(input)})
			if err != nil {
				t.Fatal(err)
			}
			c := newTestCluster(t, 3, input, job)
			defer c.close()
			id, wait := c.submit(spec)
			c.until(id, func(s *JobStatus) bool { return s.Maps.Completed >= 4+r.IntN(8) })
			c.killWorker(1, transport.CrashMode(r.IntN(2)))
			if r.IntN(2) == 0 {
				c.killCoordinator(transport.CrashReset)
				c.reviveCoordinator()
			}
			c.reviveWorker(1)
			result := wait()
			same := maps.Clone(oracle.Counters)
			for name, n := range same {
				if got := result.Counters[name]; got != n {
					t.Errorf("seed %d: %s is %d, sequentially it is %d", seed, name, got, n)
				}
			}
			moved := result.Counters[CounterShuffleFetched] + result.Counters[CounterShuffleLocal]
			if out := result.Counters[CounterMapBytesKept]; out == 0 || moved != out {
				t.Errorf("seed %d: maps put out %d bytes, reduces had %d", seed, out, moved)
			}
		})
	}
}

// A status shows what running attempts have counted, before any task completes.
func TestCountersAreLive(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(40)
		c := newTestCluster(t, 2, input, counting(time.Second))
		defer c.close()
		id, wait := c.submit(testSpec(input, 2, 1))
		last := int64(0)
		c.until(id, func(s *JobStatus) bool {
			if n := s.Counters["lines"]; n < last || n > 40 {
				t.Errorf("the counter went from %d to %d", last, n)
			}
			last = s.Counters["lines"]
			return s.Maps.Completed == 0 && last >= 10
		})
		if got := wait().Counters["lines"]; got != 40 {
			t.Errorf("in the end the counter is %d, want 40", got)
		}
	})
}
