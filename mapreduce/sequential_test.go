package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/trilith-go/trilith/internal/vfs"
)

// wordCount is the job of the paper's first example.
var wordCount = Job[string, int, int]{
	Name: "wordcount",
	Map: func(_ *Task, line Record, emit func(string, int)) error {
		for word := range strings.FieldsSeq(line.Text()) {
			emit(word, 1)
		}
		return nil
	},
	Reduce: func(_ *Task, _ string, counts iter.Seq[int], emit func(int)) error {
		sum := 0
		for n := range counts {
			sum += n
		}
		emit(sum)
		return nil
	},
	Combine: func(a, b int) int { return a + b },
}

// newMemoryFiles returns a file system in memory.
func newMemoryFiles() FileSystem { return &directory{fs: vfs.NewMemory(1), root: "/files"} }

func TestSequential(t *testing.T) {
	input := ReadOnly(fstest.MapFS{
		"a": {Data: []byte("to be or not\nto be\n")},
		"b": {Data: []byte("that is the question")},
	})
	out := newMemoryFiles()
	result, err := RunSequential(t.Context(), wordCount, Spec{Input: []string{"*"}, Output: "out", Reduces: 2, SplitBytes: 4},
		RunConfig{FileSystem: out, Input: input})
	if err != nil {
		t.Fatal(err)
	}
	if result.Reduces != 2 || result.InputBytes != 39 {
		t.Errorf("result is %+v", result)
	}
	var lines []string
	for _, name := range result.Files {
		content, err := read(t, out, name)
		if err != nil {
			t.Fatal(err)
		}
		part := strings.SplitAfter(content, "\n")
		part = part[:len(part)-1]
		if !slices.IsSorted(part) {
			t.Errorf("%s is not sorted: %q", name, part)
		}
		lines = append(lines, part...)
	}
	slices.Sort(lines)
	want := "be\t2\n is\t1\n not\t1\n or\t1\n question\t1\n that\t1\n the\t1\n to\t2\n"
	if got := strings.Join(lines, " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if left, _ := out.Glob(t.Context(), "out/"+attemptPrefix+"*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Values come in the order in which they were emitted.
func TestSequentialOrder(t *testing.T) {
	order := Job[int, string, string]{
		Name: "order",
		Map: func(_ *Task, r Record, emit func(int, string)) error {
			emit(len(r.Value)%3, fmt.Sprintf("%s@%d", r.File, r.Offset))
			return nil
		},
		Reduce: func(_ *Task, _ int, places iter.Seq[string], emit func(string)) error {
			emit(strings.Join(slices.Collect(places), ","))
			return nil
		},
	}
	out := newMemoryFiles()
	_, err := RunSequential(t.Context(), order, Spec{Input: []string{"*"}, Output: ".", SplitBytes: 5}, RunConfig{
		FileSystem: out,
		Input:      ReadOnly(fstest.MapFS{"a": {Data: []byte("x\nyy\nz\n")}, "b": {Data: []byte("1\n2\n\n")}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "0\tb@4\n1\ta@0,a@5,b@0,b@2\n2\ta@2\n"
	if got, err := read(t, out, "part-00000"); got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestErrorsOfTheJobsCode(t *testing.T) {
	boom := errors.New("boom")
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte("one\ntwo\n")}})
	for name, c := range map[string]struct {
		change func(j *Job[string, int, int])
		is     error
		says   string
	}{
		"map error": {func(j *Job[string, int, int]) {
			j.Map = func(_ *Task, r Record, _ func(string, int)) error {
				if r.Text() == "two" {
					return boom
				}
				return nil
			}
		}, boom, "map task 0: record at f:4: boom"},
		"map panic": {func(j *Job[string, int, int]) {
			j.Map = func(*Task, Record, func(string, int)) error { panic("ouch") }
		}, ErrPanic, "record at f:0: ouch"},
		"reduce error": {func(j *Job[string, int, int]) {
			j.Reduce = func(*Task, string, iter.Seq[int], func(int)) error { return boom }
		}, boom, `reduce task 0: key "one": boom`},
		"reduce panic": {func(j *Job[string, int, int]) {
			j.Reduce = func(_ *Task, word string, _ iter.Seq[int], _ func(int)) error { panic(word) }
		}, ErrPanic, `key "one": one`},
		"bad partition": {func(j *Job[string, int, int]) {
			j.Partition = func(string, int) int { return 7 }
		}, ErrConfig, "returned 7 for 1 partitions"},
	} {
		job := wordCount
		c.change(&job)
		out := newMemoryFiles()
		_, err := RunSequential(t.Context(), job, Spec{Input: []string{"f"}, Output: "out"}, RunConfig{FileSystem: out, Input: input})
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if files, _ := out.Glob(t.Context(), "**"); len(files) > 0 {
			t.Errorf("%s: left behind: %q", name, files)
		}
	}
}

func TestBadConfigurationNamesTheField(t *testing.T) {
	type spec = Spec
	good := spec{Input: []string{"f"}, Output: "out"}
	for field, change := range map[string]func(*spec){
		"Spec.Output":      func(s *spec) { s.Output = "/abs" },
		"Spec.Reduces":     func(s *spec) { s.Reduces = -1 },
		"Spec.SplitBytes":  func(s *spec) { s.SplitBytes = -1 },
		"Spec.MaxAttempts": func(s *spec) { s.MaxAttempts = 1000 },
		"Spec.TaskTimeout": func(s *spec) { s.TaskTimeout = -1 },
		"Spec.Args":        func(s *spec) { s.Args = map[string]string{"x": strings.Repeat("y", maxTextBytes)} },
	} {
		s := good
		change(&s)
		_, err := RunSequential(context.Background(), wordCount, s, RunConfig{FileSystem: newMemoryFiles()})
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for field, job := range map[string]Definition{
		"Job.Name":     Job[string, int, int]{Name: "a b", Map: wordCount.Map, Reduce: wordCount.Reduce},
		"Job.Map":      Job[string, int, int]{Name: "a", Reduce: wordCount.Reduce},
		"Job.Reduce":   Job[string, int, int]{Name: "a", Map: wordCount.Map},
		"MapOnly.Name": MapOnly[string, int]{Name: "a b", Map: wordCount.Map},
		"MapOnly.Map":  MapOnly[string, int]{Name: "a"},
		"Keys": Job[*int, int, int]{Name: "a", Map: func(*Task, Record, func(*int, int)) error { return nil },
			Reduce: func(*Task, *int, iter.Seq[int], func(int)) error { return nil }},
	} {
		if _, err := NewRegistry(job); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := NewRegistry(wordCount, wordCount); !errors.Is(err, ErrConfig) {
		t.Errorf("two jobs of one name: %v", err)
	}
}

func TestOutputMustBeEmpty(t *testing.T) {
	out := newMemoryFiles()
	write(t, out, "out/mine", "precious")
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte("x\n")}})
	_, err := RunSequential(t.Context(), wordCount, Spec{Input: []string{"f"}, Output: "out"}, RunConfig{FileSystem: out, Input: input})
	if !errors.Is(err, ErrOutputExists) || !strings.Contains(err.Error(), "out/mine") {
		t.Errorf("output into a directory in use: %v", err)
	}
}
