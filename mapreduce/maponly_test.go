//lint:bubble
package mapreduce

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// slowGrep passes lines with a digit 1 in them on, and takes its time.
func slowGrep(pause time.Duration, lines *atomic.Int64) MapOnly[int64, string] {
	return MapOnly[int64, string]{
		Name: "grep",
		Map: func(t *Task, line Record, emit func(int64, string)) error {
			lines.Add(1)
			select {
			case <-time.After(pause):
			case <-t.Context().Done():
				return t.Context().Err()
			}
			if strings.Contains(line.Text(), "1") {
				emit(line.Offset, line.Text())
				emit(-line.Offset, "again")
			}
			return nil
		},
	}
}

// pages is an Output with a beginning and an end.
type pages struct{}

func (pages) Begin(t *Task, w io.Writer) (ResultWriter[int64, string], error) {
	_, err := fmt.Fprintf(w, "%v task %d:\n", t.Kind(), t.Index())
	return &page{w: w}, err
}

type page struct {
	w io.Writer
	n int
}

func (p *page) Write(key int64, line string) error {
	p.n++
	_, err := fmt.Fprintf(p.w, "%d %s\n", key, line)
	return err
}

func (p *page) Close() error {
	_, err := fmt.Fprintf(p.w, "%d lines\n", p.n)
	return err
}

// A job without reduces writes a file for each split, in the order of the input, the
// same whichever way it is run.
func TestMapOnlyEqualsSequential(t *testing.T) {
	for seed := range seedsOf(20) {
		r := rand.New(rand.NewPCG(seed, 71))
		job := slowGrep(0, new(atomic.Int64))
		if seed%2 > 0 {
			job.Output = pages{}
		}
		input := ReadOnly(randomInput(r))
		spec := Spec{Input: []string{"**"}, Output: "out", SplitBytes: 1 + int64(r.IntN(1<<(4+r.IntN(12))))}
		want := sequentialOutput(t, job, spec, input)
		cfg := RunConfig{Input: input, FileSystem: newMemoryFiles(), Workers: 1 + r.IntN(4), Slots: 1 + r.IntN(3), Dir: t.TempDir()}
		result, err := Run(t.Context(), job, spec, cfg)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if result.Maps != len(want) || result.Reduces != 0 {
			t.Errorf("seed %d: %d maps and %d reduces for %d files", seed, result.Maps, result.Reduces, len(want))
		}
		checkSameOutput(t, fmt.Sprint("seed ", seed), cfg.FileSystem, result, want)
		size := 0
		for _, part := range want {
			size += len(part)
		}
		if n := result.Counters[CounterMapBytesOut]; n != int64(size) {
			t.Errorf("seed %d: %d bytes of output were counted, want %d", seed, n, size)
		}
	}
}

// The files, one after the other, are the output of one pass over the input.
func TestMapOnlyKeepsTheOrderOfTheInput(t *testing.T) {
	files := newMemoryFiles()
	input := testInput(50)
	copies := MapOnly[struct{}, string]{
		Name: "copy",
		Map: func(_ *Task, line Record, emit func(struct{}, string)) error {
			emit(struct{}{}, line.Text())
			return nil
		},
		Format: func(dst []byte, _ struct{}, line string) []byte { return append(append(dst, line...), '\n') },
	}
	result, err := Run(t.Context(), copies, testSpec(input, 11, 3), RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 11 {
		t.Errorf("the files are %q, want one for each of 11 splits", result.Files)
	}
	inOrderOfFiles := MergeConfig{Compare: func(a, b []byte) int { return 0 }}
	if err := MergeOutput(t.Context(), files, result.Files, "all", inOrderOfFiles); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, files, "all"); err != nil || got != string(input["input"].Data) {
		t.Errorf("the files together are %.100q, %v", got, err)
	}
}

// Nothing to map is nothing to do.
func TestMapOnlyOfNothing(t *testing.T) {
	input := ReadOnly(fstest.MapFS{"input": {}})
	job := slowGrep(0, new(atomic.Int64))
	spec := Spec{Input: []string{"input"}, Output: "out"}
	if parts := sequentialOutput(t, job, spec, input); len(parts) > 0 {
		t.Errorf("a sequential run wrote %q", parts)
	}
	result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: newMemoryFiles(), Input: input, Dir: t.TempDir()})
	if err != nil || len(result.Files) > 0 {
		t.Errorf("%+v, %v", result, err)
	}
}

// The output of a map that has completed is a file: its worker may die.
func TestMapOnlyOutputSurvivesItsWorker(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var lines atomic.Int64
		job := slowGrep(100*time.Millisecond, &lines)
		input := testInput(40)
		spec := testSpec(input, 20, 1)
		want := sequentialOutput(t, job, spec, ReadOnly(input))
		lines.Store(0)
		c := newTestCluster(t, 2, input, job)
		defer c.close()
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed >= 8 })
		c.killWorker(1, transport.CrashSilent)
		result := wait()
		checkSameOutput(t, "a dead worker", c.files, result, want)
		// What was running is done again, at most two lines.
		if n := lines.Load(); n > 42 {
			t.Errorf("%d lines were mapped, of 40", n)
		}
	})
}

// Workers and the coordinator die at any time.
func TestMapOnlySurvivesDeaths(t *testing.T) {
	for seed := range uint64(20) {
		testutil.Bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 72))
			job := slowGrep(100*time.Millisecond, new(atomic.Int64))
			job.Output = pages{}
			input := testInput(40)
			spec := testSpec(input, 12, 1)
			want := sequentialOutput(t, job, spec, ReadOnly(input))
			c := newTestCluster(t, 3, input, job)
			defer c.close()
			_, wait := c.submit(spec)
			for range 1 + r.IntN(3) {
				time.Sleep(time.Duration(r.IntN(900)) * time.Millisecond)
				if r.IntN(2) == 0 {
					c.killCoordinator(transport.CrashMode(r.IntN(2)))
					time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
					c.reviveCoordinator()
				} else if victim := 1 + r.IntN(2); c.workers[victim] != nil {
					c.killWorker(victim, transport.CrashMode(r.IntN(2)))
				}
			}
			checkSameOutput(t, fmt.Sprint("seed ", seed), c.files, wait(), want)
		})
	}
}

// An attempt that ends when its job has ended long ago leaves nothing.
func TestMapOnlyAttemptThatComesTooLate(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var slept atomic.Bool
		job := slowGrep(0, new(atomic.Int64))
		job.Map = func(t *Task, line Record, emit func(int64, string)) error {
			if t.Index() == 1 && !slept.Swap(true) {
				time.Sleep(time.Minute) // and does not look at its context
			}
			emit(line.Offset, line.Text())
			f, err := t.Create(fmt.Sprint("of/", line.Offset))
			if err != nil {
				return err
			}
			_, err = io.WriteString(f, line.Text())
			return err
		}
		input := testInput(8)
		spec := testSpec(input, 4, 1)
		c := newTestCluster(t, 2, input, job)
		defer c.close()
		begin := time.Now()
		_, wait := c.submit(spec)
		wait()
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("the job took %v", took)
		}
		want := tree(t, c.files)
		if len(want) != 4+8 {
			t.Errorf("the files are %q", slices.Sorted(maps.Keys(want)))
		}
		time.Sleep(2 * time.Minute)
		checkTree(t, "when the last attempt has ended", c.files, want)
	})
}

// A record on which Map fails is skipped, with all that it has emitted.
func TestMapOnlySkipsBadRecords(t *testing.T) {
	job := slowGrep(0, new(atomic.Int64))
	grep := job.Map
	job.Map = func(t *Task, line Record, emit func(int64, string)) error {
		if err := grep(t, line, emit); err != nil || !strings.Contains(line.Text(), "line 11 ") {
			return err
		}
		panic("cannot take it")
	}
	input := testInput(20)
	spec := testSpec(input, 4, 1)
	spec.SkipBadRecords = 1
	want := sequentialOutput(t, job, spec, ReadOnly(input))
	files := newMemoryFiles()
	result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	checkSameOutput(t, "skipped", files, result, want)
	if len(result.Skipped) != 1 || strings.Contains(strings.Join(want, ""), "line 11 ") {
		t.Errorf("skipped %v, wrote %q", result.Skipped, want)
	}
}

// A sequential run that fails leaves nothing, also of the tasks that have succeeded.
func TestMapOnlyThatFails(t *testing.T) {
	boom := errors.New("boom")
	job := slowGrep(0, new(atomic.Int64))
	job.Map = func(t *Task, _ Record, emit func(int64, string)) error {
		if t.Index() == 2 {
			return boom
		}
		emit(1, "x")
		return nil
	}
	input, files := testInput(20), newMemoryFiles()
	cfg := RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir()}
	if _, err := RunSequential(t.Context(), job, testSpec(input, 4, 1), cfg); !errors.Is(err, boom) {
		t.Errorf("sequential: %v", err)
	}
	if _, err := Run(t.Context(), job, testSpec(input, 4, 1), cfg); !errors.Is(err, ErrJobFailed) || !strings.Contains(err.Error(), "map task 2 failed 4 times") {
		t.Errorf("run: %v", err)
	}
	if names, err := files.Glob(t.Context(), "**"); err != nil || len(names) > 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

func TestMapOnlyHasNoPartitions(t *testing.T) {
	job := slowGrep(0, new(atomic.Int64))
	files := newMemoryFiles()
	write(t, files, "f", "1\n")
	spec := Spec{Input: []string{"f"}, Output: "out", Reduces: 2}
	if _, err := SampleBounds(t.Context(), job, spec, files); !errors.Is(err, ErrConfig) {
		t.Errorf("bounds of a job without reduces: %v", err)
	}
	spec.Bounds = [][]byte{{1}}
	if _, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "Spec.Bounds") {
		t.Errorf("a job without reduces with bounds: %v", err)
	}
}

// A map without reduces that has completed stays so, whoever dies.
func TestScheduleKeepsOutputOfMapOnly(t *testing.T) {
	c := newCore(t)
	c.join(3, 1)
	j := testJob("a", 7, 1)
	j.spec.Reduces = 0
	c.submit(j)
	c.complete(MapTask)
	for id := range workerID(2) {
		c.do(commandDead(c.tasks.epoch, id+1, nil))
	}
	if n := c.tasks.jobs[1].completed[MapTask]; n != 3 {
		t.Errorf("%d maps are completed after the deaths of their workers, want 3", n)
	}
	for c.tasks.jobs[1].state == JobRunning {
		c.complete(MapTask)
	}
	if c.tasks.jobs[1].state != JobCommitting {
		t.Errorf("the job is %v", c.tasks.jobs[1].state)
	}
	empty := testJob("b", 0, 1)
	empty.spec.Reduces = 0
	c.submit(empty)
	if c.tasks.jobs[2].state != JobCommitting {
		t.Errorf("a job of nothing is %v", c.tasks.jobs[2].state)
	}
}

// The order of the names of files is that of the tasks.
func TestNumerals(t *testing.T) {
	for _, tasks := range []int{1, 12, 100_000, 100_001, 1 << 20} {
		last := ""
		for i := 0; i < tasks; i += 1 + tasks/1000 {
			n := numeral(tasks, i)
			if len(n) < 5 || n <= last {
				t.Fatalf("task %d of %d is %q, after %q", i, tasks, n, last)
			}
			last = n
		}
	}
	if got := numeral(100_000, 7) + " " + numeral(100_001, 7); got != "00007 000007" {
		t.Error(got)
	}
}
