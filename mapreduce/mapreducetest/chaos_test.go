package mapreducetest

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
)

// words is a job that is sensitive to everything: for each word, the lines it is in, in
// their order.
var words = mapreduce.Job[string, string, string]{
	Name: "words",
	Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		for word := range strings.FieldsSeq(line.Text()) {
			t.Counter("words").Add(1)
			emit(word, line.Text())
		}
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ string, lines iter.Seq[string], emit func(string)) error {
		var b strings.Builder
		for line := range lines {
			b.WriteString(line)
		}
		emit(b.String())
		return nil
	},
}

// count is a word count with a combiner.
var count = mapreduce.Job[string, int, int]{
	Name: "count",
	Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
		for word := range strings.FieldsSeq(line.Text()) {
			emit(word, 1)
		}
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ string, ones iter.Seq[int], emit func(int)) error {
		n := 0
		for one := range ones {
			n += one
		}
		emit(n)
		return nil
	},
	Combine: func(a, b int) int { return a + b },
}

// text is some input.
func text(lines int) *Memory {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "line %d of words word%d\n", i, i%7)
	}
	return NewMemory(map[string]string{"input": b.String()})
}

var spec = mapreduce.Spec{Input: []string{"*"}, Reduces: 3}

func TestJobsThatAreSound(t *testing.T) {
	for name, job := range map[string]mapreduce.Definition{"words": words, "count": count} {
		t.Run(name, func(t *testing.T) {
			r := Test(t, job, spec, Config{Input: text(60), Runs: 30, Seed: 100})
			if r.Runs < 30 || r.Repeats < 30 {
				t.Errorf("there have been %+v", r)
			}
			t.Logf("%+v", r)
		})
	}
}

// A job may have a time of its own, and directories be those of the operating system.
func TestEachFaultAlone(t *testing.T) {
	for fault := Fault(1); fault < AllFaults; fault <<= 1 {
		t.Run(fmt.Sprintf("%b", fault), func(t *testing.T) {
			output := func() mapreduce.FileSystem { return mapreduce.Dir(t.TempDir()) }
			t.Logf("%+v", Test(t, words, spec, Config{Input: text(60), Runs: 8, Faults: fault, Output: output}))
		})
	}
}

func TestByTheWallClock(t *testing.T) {
	report := Test(t, words, spec, Config{Input: text(40), Runs: 6, WallClock: true, Faults: WorkerCrashes | SlowWorkers | FileErrors})
	t.Logf("%+v", report)
}

// A line of input is enough for a test.
func TestOneLine(t *testing.T) {
	input := NewMemory(map[string]string{"stones.txt": "two stones and one stone on the two\n"})
	Test(t, count, mapreduce.Spec{Input: []string{"*"}}, Config{Input: input})
}

// badJobs are those that Test must find.
func badJobs() map[string]mapreduce.Definition {
	stateful, timed, global, mean, exact := words, words, count, count, words
	var lines atomic.Int64
	stateful.Map = func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		emit(fmt.Sprint(lines.Add(1)%7), line.Text()) // numbers lines as they come
		return nil
	}
	timed.Reduce = func(_ *mapreduce.Task, _ string, _ iter.Seq[string], emit func(string)) error {
		emit(time.Now().Format(time.RFC3339Nano))
		return nil
	}
	var seen sync.Map
	global.Map = func(t *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
		if _, again := seen.LoadOrStore(line.Offset, true); !again || t.Attempt().Epoch == 0 {
			emit("lines", 1) // once for each line, it believes; a sequential run does not count
		}
		return nil
	}
	mean.Map = func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
		emit("mean", len(line.Text())*int(line.Offset))
		return nil
	}
	mean.Combine = func(a, b int) int { return (a + b) / 2 }
	exact.Map = func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		emit(fmt.Sprint(t.Attempt()), line.Text())
		return nil
	}
	return map[string]mapreduce.Definition{
		"numbers from a variable": stateful, "the time of day": timed, "a memory of its own": global, "a mean as combiner": mean,
		"the number of the attempt": exact,
	}
}

func TestFindsBadJobs(t *testing.T) {
	for name, job := range badJobs() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				var err error
				testutil.Bubble(t, func(t *testing.T) {
					_, err = Run(t.Context(), job, spec, Config{Input: text(40), Seed: seed})
				})
				if err == nil {
					continue
				}
				if !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), "sequential run") {
					t.Errorf("seed %d: %v", seed, err)
				}
				t.Logf("seed %d: %v", seed, err)
				return
			}
			t.Error("not found")
		})
	}
}

// A job that fails in a sequential run is not run under faults.
func TestJobThatFails(t *testing.T) {
	boom := errors.New("boom")
	job := words
	job.Map = func(*mapreduce.Task, mapreduce.Record, func(string, string)) error { return boom }
	if _, err := Run(t.Context(), job, spec, Config{Input: text(10)}); !errors.Is(err, boom) || !strings.Contains(err.Error(), "sequential") {
		t.Errorf("got %v", err)
	}
}

// A job that never ends is given up.
func TestPatience(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		job := words
		job.Map = func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
			if t.Attempt().Epoch == 0 { // in the sequential run
				return words.Map(t, line, emit)
			}
			for t.Context().Err() == nil {
				t.Progress()
				select {
				case <-time.After(time.Second):
				case <-t.Context().Done():
				}
			}
			return nil
		}
		begin := time.Now()
		_, err := Run(t.Context(), job, spec, Config{Input: text(10), Patience: 10 * time.Minute})
		if !errors.Is(err, errPatience) || !strings.Contains(err.Error(), "10m") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestConfig(t *testing.T) {
	good := Config{Input: text(1)}
	for field, change := range map[string]func(*Config){
		"Input": func(c *Config) { c.Input = nil }, "Runs": func(c *Config) { c.Runs = -1 }, "Workers": func(c *Config) { c.Workers = 65 },
		"Faults": func(c *Config) { c.Faults = 1 << 7 }, "Patience": func(c *Config) { c.Patience = -1 },
	} {
		c := good
		change(&c)
		if _, err := Run(t.Context(), words, spec, c); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestReportSaysWhatDidNotHappen(t *testing.T) {
	r := Report{WorkerCrashes: 1, FileErrors: 1}
	if got := r.idle(WorkerCrashes | SlowWorkers | FileErrors); got != "no worker was slow, no task was executed again" {
		t.Errorf("got %q", got)
	}
}

func TestDiff(t *testing.T) {
	got := diff("part", []byte("a\nb\nc\nd\n"), []byte("a\nb\nc\nx\x00\ny"))
	want := "part differs in line 4, at byte 6; it has 10 bytes, in the sequential run 8:\n" +
		"         2  b\n         3  c\n" +
		"  -      4  d   ← sequential run\n  -      5  (end of the file)\n" +
		"  +      4  \"x\\x00\"   ← this run\n  +      5  y\n  +      6  (end of the file)"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, same := range []struct{ want, got string }{{"", "x"}, {"x\n", ""}, {"a\n", "a\nb\n"}, {strings.Repeat("x", 1000), "x"}} {
		if d := diff("part", []byte(same.want), []byte(same.got)); !strings.Contains(d, "- ") || !strings.Contains(d, "+ ") || len(d) > 600 {
			t.Errorf("%q and %q: %s", same.want, same.got, d)
		}
	}
}
