//lint:bubble
package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

var (
	longWords = NamedOutput[string, int]{Name: "long"}
	ledgers   = NamedOutput[int64, string]{Name: "pages", Output: pages{}}
)

// talkative is a job that writes all kinds of files besides its output, from Map and
// from Reduce.
func talkative(pause time.Duration) Job[string, string, string] {
	return Job[string, string, string]{
		Name: "talkative",
		Map: func(t *Task, line Record, emit func(string, string)) error {
			select {
			case <-time.After(pause):
			case <-t.Context().Done():
				return t.Context().Err()
			}
			for word := range strings.FieldsSeq(line.Text()) {
				if len(word) > 4 {
					longWords.Emit(t, word, len(word))
				}
			}
			fmt.Fprintf(t.Output("seen"), "%s:%d\n", line.File, line.Offset)
			return places.Map(t, line, emit)
		},
		Reduce: func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
			if err := ledgers.Emit(t, int64(len(word)), word); err != nil {
				return err
			}
			if strings.Contains(word, "1") {
				f, err := t.Create(fmt.Sprintf("words/%s/of-%d", word, t.Index()))
				if err != nil {
					return err
				}
				defer f.Close()
				if _, err := io.WriteString(f, word); err != nil {
					return err
				}
			}
			return places.Reduce(t, word, at, emit)
		},
	}
}

// tree returns all files of a job with their content.
func tree(t *testing.T, files FileSystem) map[string]string {
	t.Helper()
	names, err := files.Glob(context.Background(), "out/**")
	if err != nil {
		t.Fatal(err)
	}
	content := make(map[string]string)
	for _, name := range names {
		if content[name], err = read(t, files, name); err != nil {
			t.Fatal(err)
		}
	}
	return content
}

// sequentialTree returns the files that a sequential run writes.
func sequentialTree(t *testing.T, job Definition, spec Spec, input FileSystem) map[string]string {
	t.Helper()
	files := newMemoryFiles()
	result, err := RunSequential(t.Context(), job, spec, RunConfig{FileSystem: files, Input: input})
	if err != nil {
		t.Fatal(err)
	}
	all := tree(t, files)
	if len(all) != len(result.Files)+result.SideFiles {
		t.Fatalf("%d files are there, the result knows of %d and %d side files", len(all), len(result.Files), result.SideFiles)
	}
	return all
}

// checkTree compares all files with those that a sequential run wrote.
func checkTree(t *testing.T, what string, files FileSystem, want map[string]string) {
	t.Helper()
	got := tree(t, files)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s is there", what, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if content, ok := got[name]; !ok || content != want[name] {
			t.Fatalf("%s: %s has %.200q (%t), want %.200q", what, name, content, ok, want[name])
		}
	}
}

// What tasks write besides the output is the same whichever way a job is run.
func TestSideFilesEqualSequential(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 81))
		job := []Definition{talkative(0), MapOnly[string, string]{Name: "maps", Map: talkative(0).Map}}[seed%2]
		input := testInput(1 + r.IntN(60))
		spec := testSpec(input, 1+r.IntN(12), 1+r.IntN(4))
		want := sequentialTree(t, job, spec, ReadOnly(input))
		cfg := RunConfig{Input: ReadOnly(input), FileSystem: newMemoryFiles(), Workers: 1 + r.IntN(4), Slots: 1 + r.IntN(3), Dir: t.TempDir()}
		result, err := Run(t.Context(), job, spec, cfg)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if n := len(result.Files) + result.SideFiles; n != len(want) {
			t.Errorf("seed %d: the result knows of %d files, want %d", seed, n, len(want))
		}
		checkTree(t, fmt.Sprint("seed ", seed), cfg.FileSystem, want)
		side := int64(0)
		for name, content := range want {
			if !isPart(strings.TrimPrefix(name, "out/")) {
				side += int64(len(content))
			}
		}
		if n := result.Counters[CounterMapSideOut] + result.Counters[CounterReduceSideOut]; n != side {
			t.Errorf("seed %d: %d bytes of side files were counted, want %d", seed, n, side)
		}
	}
}

func TestNamesOfNamedOutputs(t *testing.T) {
	input := testInput(20)
	got := sequentialTree(t, talkative(0), testSpec(input, 2, 2), ReadOnly(input))
	want := []string{
		"out/long-m-00000", "out/long-m-00001", "out/pages-00000", "out/pages-00001", "out/part-00000", "out/part-00001",
		"out/seen-m-00000", "out/seen-m-00001",
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(got)), func(name string) bool { return strings.HasPrefix(name, "out/words/") })
	if !slices.Equal(names, want) {
		t.Errorf("the files are %q, want %q", names, want)
	}
	if page := got["out/pages-00000"]; !strings.HasPrefix(page, "reduce task 0:\n") || !strings.HasSuffix(page, "lines\n") {
		t.Errorf("an Output's file is %q", page)
	}
	job := MapOnly[string, string]{Name: "maps", Map: talkative(0).Map}
	got = sequentialTree(t, job, testSpec(input, 2, 2), ReadOnly(input))
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"out/long-00000", "out/long-00001", "out/part-00000", "out/part-00001", "out/seen-00000", "out/seen-00001"}) {
		t.Errorf("the files without reduces are %q", names)
	}
}

// Workers and the coordinator die at any time: what is there in the end is what one
// attempt of each task has written, and nothing else.
func TestSideFilesSurviveDeaths(t *testing.T) {
	for seed := range uint64(20) {
		testutil.Bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 82))
			input := testInput(40)
			spec := testSpec(input, 12, 3)
			want := sequentialTree(t, talkative(0), spec, ReadOnly(input))
			c := newTestCluster(t, 3, input, talkative(100*time.Millisecond))
			defer c.close()
			_, wait := c.submit(spec)
			for range 1 + r.IntN(3) {
				time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
				if r.IntN(2) == 0 {
					c.killCoordinator(transport.CrashMode(r.IntN(2)))
					time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
					c.reviveCoordinator()
				} else if victim := 1 + r.IntN(2); c.workers[victim] != nil {
					c.killWorker(victim, transport.CrashMode(r.IntN(2)))
				}
			}
			wait()
			checkTree(t, fmt.Sprint("seed ", seed), c.files, want)
		})
	}
}

// The side files of a map whose output is lost stay, and those of its next execution
// do not replace them.
func TestSideFilesOfALostMap(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		job := talkative(100 * time.Millisecond)
		var again atomic.Int64
		job.Map = func(t *Task, line Record, emit func(string, string)) error {
			again.Add(1)
			return talkative(100*time.Millisecond).Map(t, line, emit)
		}
		job.Reduce = func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
			time.Sleep(500 * time.Millisecond)
			return talkative(0).Reduce(t, word, at, emit)
		}
		input := testInput(12)
		spec := testSpec(input, 6, 2)
		want := sequentialTree(t, job, spec, ReadOnly(input))
		again.Store(0)
		c := newTestCluster(t, 3, input, job)
		defer c.close()
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed == s.Maps.Total })
		c.killWorker(1, transport.CrashSilent)
		wait()
		checkTree(t, "a lost map", c.files, want)
		if again.Load() <= 12 {
			t.Errorf("%d lines were mapped; those of the dead worker must be again", again.Load())
		}
	})
}

// fileSystem wraps another with what a test wants to happen.
type fileSystem struct {
	FileSystem
	create func(name string, make func() (io.WriteCloser, error)) (io.WriteCloser, error)
	commit func(ctx context.Context, temporary, final string, do func() error) error
	open   func() error // fails Open unless it returns nil
}

func (f *fileSystem) Open(ctx context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	if f.open != nil {
		if err := f.open(); err != nil {
			return nil, 0, err
		}
	}
	return f.FileSystem.Open(ctx, name)
}

func (f *fileSystem) Create(ctx context.Context, name string) (io.WriteCloser, error) {
	next := func() (io.WriteCloser, error) { return f.FileSystem.Create(ctx, name) }
	if f.create == nil {
		return next()
	}
	return f.create(name, next)
}

func (f *fileSystem) Commit(ctx context.Context, temporary, final string) error {
	next := func() error { return f.FileSystem.Commit(ctx, temporary, final) }
	if f.commit == nil {
		return next()
	}
	return f.commit(ctx, temporary, final, next)
}

// The coordinator dies when it has logged the winners, and before or after it has
// given any one of the files its name. The next one does the rest.
func TestCoordinatorDiesWhileItCommits(t *testing.T) {
	input := testInput(8)
	spec := testSpec(input, 2, 2)
	want := sequentialTree(t, talkative(0), spec, ReadOnly(input))
	for n := range len(want) {
		for _, done := range []bool{false, true} {
			testutil.Bubble(t, func(t *testing.T) {
				c := newTestCluster(t, 0, input, talkative(0))
				defer c.close()
				var mu sync.Mutex
				commits, dies := 0, make(chan bool)
				c.files = &fileSystem{FileSystem: c.files, commit: func(ctx context.Context, _, _ string, do func() error) error {
					mu.Lock()
					commits++
					fatal := commits == n+1
					mu.Unlock()
					if !fatal {
						return do()
					}
					if done {
						if err := do(); err != nil {
							return err
						}
					}
					close(dies)
					<-ctx.Done()
					return ctx.Err()
				}}
				c.killCoordinator(transport.CrashReset)
				c.reviveCoordinator() // with these files
				for range 2 {
					c.workers = append(c.workers, nil)
					c.startWorker(len(c.workers) - 1)
				}
				_, wait := c.submit(spec)
				<-dies
				c.killCoordinator(transport.CrashMode(n % 2))
				for _, name := range slices.Sorted(maps.Keys(tree(t, c.files))) {
					if strings.Contains(name, attemptPrefix) {
						continue
					}
					if content, _ := read(t, c.files, name); content != want[name] {
						t.Errorf("dead at %d: %s has %.100q", n, name, content)
					}
				}
				c.reviveCoordinator()
				wait()
				checkTree(t, fmt.Sprintf("dead at %d (%t)", n, done), c.files, want)
			})
		}
	}
}

// A commit that is repeated must find out whether it was done before, which a file
// system may not say at once.
func TestCommitFileAsksAgain(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		failures := 3
		files := &fileSystem{FileSystem: newMemoryFiles(), open: func() error {
			if failures--; failures >= 0 {
				return syscall.EIO
			}
			return nil
		}}
		write(t, files, "temporary", "content")
		if err := files.Commit(t.Context(), "temporary", "final"); err != nil {
			t.Fatal(err)
		}
		if err := commitFile(t.Context(), files, "temporary", "final"); err != nil {
			t.Errorf("a commit that was done before: %v", err)
		}
		if err := commitFile(t.Context(), files, "temporary", "another"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a commit of what there is not: %v", err)
		}
	})
}

// full is a file on a disk that has room for some bytes.
type full struct {
	io.WriteCloser
	room *atomic.Int64
}

func (f full) Write(b []byte) (int, error) {
	if f.room.Add(-int64(len(b))) < 0 {
		return 0, syscall.ENOSPC
	}
	return f.WriteCloser.Write(b)
}

// A disk that is full when side files are written fails the attempt, not the record
// that it happens at, and the job if it stays full.
func TestSideFilesOnAFullDisk(t *testing.T) {
	for _, where := range []string{"create", "write", "close"} {
		var left atomic.Int64 // failures
		input, files := testInput(40), newMemoryFiles()
		fsys := &fileSystem{FileSystem: files, create: func(name string, create func() (io.WriteCloser, error)) (io.WriteCloser, error) {
			if !strings.Contains(name, ".side-") || left.Add(-1) < 0 {
				return create()
			}
			if where == "create" {
				return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
			}
			f, err := create()
			return full{f, new(atomic.Int64)}, err
		}}
		spec := testSpec(input, 4, 2)
		spec.SkipBadRecords = 5
		job := talkative(0)
		if where == "write" { // before the task ends
			job.Map = func(t *Task, line Record, emit func(string, string)) error {
				_, err := io.WriteString(t.Output("seen"), strings.Repeat("x", sideBuffer))
				return err
			}
		}
		want := sequentialTree(t, job, spec, ReadOnly(input))
		cfg := RunConfig{FileSystem: fsys, Input: ReadOnly(input), Workers: 2, Dir: t.TempDir()}
		left.Store(3)
		result, err := Run(t.Context(), job, spec, cfg)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if len(result.Skipped) > 0 {
			t.Errorf("%s: %v were skipped", where, result.Skipped)
		}
		checkTree(t, where, files, want)

		left.Store(1 << 40)
		spec.Output = "full"
		_, err = Run(t.Context(), job, spec, cfg)
		if !errors.Is(err, ErrJobFailed) || !strings.Contains(err.Error(), "side file") || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
			t.Errorf("%s: a disk that stays full: %v", where, err)
		}
		if _, err := RunSequential(t.Context(), job, spec, cfg); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: a disk that stays full, sequentially: %v", where, err)
		}
		if names, err := files.Glob(t.Context(), "full/**"); err != nil || len(names) > 0 {
			t.Errorf("%s: left behind: %q, %v", where, names, err)
		}
	}
}

// What a task must not do fails it, also if it overlooks the error.
func TestBadSideFiles(t *testing.T) {
	input := testInput(4)
	for name, c := range map[string]struct {
		do   func(t *Task, line Record)
		says string
	}{
		"twice":          {func(t *Task, _ Record) { t.Create("x"); t.Create("x") }, `made "x" before`},
		"two tasks":      {func(t *Task, _ Record) { t.Output("fine"); t.Create("dir/x") }, `map task 0 and map task 1 both write "dir/x"`},
		"above":          {func(t *Task, _ Record) { t.Create("../x") }, "no name"},
		"the directory":  {func(t *Task, _ Record) { t.Create(".") }, "no name"},
		"a part":         {func(t *Task, _ Record) { t.Create("part-00007") }, "library's own"},
		"below a part":   {func(t *Task, _ Record) { t.Create("part-00000/x") }, "library's own"},
		"an attempt's":   {func(t *Task, _ Record) { t.Create("x/.attempt-1") }, "library's own"},
		"the output":     {func(t *Task, _ Record) { t.Output("part") }, "the output itself"},
		"named nothing":  {func(t *Task, _ Record) { t.Output("") }, "0 bytes"},
		"a bad name":     {func(t *Task, _ Record) { fmt.Fprintln(t.Output("a-b"), "x") }, `"a-b" contains '-'`},
		"another type":   {func(t *Task, _ Record) { longWords.Emit(t, "", 1); NamedOutput[int, int]{Name: "long"}.Emit(t, 1, 1) }, "other types"},
		"closed":         {func(t *Task, _ Record) { f, _ := t.Create("x"); f.Close(); f.Write([]byte("x")) }, "closed"},
		"an Output ends": {func(t *Task, _ Record) { NamedOutput[int, int]{Name: "x", Output: noEnd{}}.Emit(t, 1, 1) }, "no end"},
		"too many": {func(t *Task, _ Record) {
			for i := range maxTaskFiles + 1 {
				t.Create(fmt.Sprint("dir/", t.Index(), "/", i))
			}
		}, "1024"},
		"too long": {func(t *Task, _ Record) { t.Create(strings.Repeat("x/", maxTaskNames/2) + "x") }, "bytes of names"},
	} {
		job := MapOnly[string, string]{Name: "bad", Map: func(t *Task, line Record, _ func(string, string)) error { c.do(t, line); return nil }}
		files := newMemoryFiles()
		spec := testSpec(input, 4, 1)
		cfg := RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir(), Workers: 1}
		if _, err := Run(t.Context(), job, spec, cfg); !errors.Is(err, ErrJobFailed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
		if _, err := RunSequential(t.Context(), job, spec, cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: sequentially: %v, want it to say %q", name, err, c.says)
		}
		if left := tree(t, files); len(left) > 0 {
			t.Errorf("%s: left behind: %q", name, left)
		}
	}
}

// A record whose files are bad is a bad record, also if Map overlooks the error.
func TestRecordOfBadSideFileIsSkipped(t *testing.T) {
	job := MapOnly[string, string]{Name: "bad", Map: func(t *Task, line Record, emit func(string, string)) error {
		name := "lines/" + line.Text()
		if line.Offset == 0 {
			name = "../" + name
		}
		f, err := t.Create(name)
		if err == nil {
			_, err = io.WriteString(f, "x")
			emit("made", name)
		}
		if line.Offset == 0 {
			return nil
		}
		return err
	}}
	input, files := testInput(9), newMemoryFiles()
	spec := testSpec(input, 3, 1)
	spec.SkipBadRecords = 1
	want := sequentialTree(t, job, spec, ReadOnly(input))
	result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	checkTree(t, "skipped", files, want)
	if len(result.Skipped) != 1 || result.Skipped[0].Record != 0 || result.SideFiles != 8 {
		t.Errorf("skipped %v, with %d side files", result.Skipped, result.SideFiles)
	}
}

// noEnd is an Output whose files cannot be ended.
type noEnd struct{}

func (noEnd) Begin(*Task, io.Writer) (ResultWriter[int, int], error) { return noEnd{}, nil }
func (noEnd) Write(int, int) error                                   { return nil }
func (noEnd) Close() error                                           { panic("no end") }

// A file that is there is not replaced, and the output does not appear.
func TestSideFileThatIsThere(t *testing.T) {
	input, files := testInput(4), newMemoryFiles()
	write(t, files, "out/words/word1/of-0", "precious")
	cfg := RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir()}
	for name, run := range map[string]func(context.Context, Definition, Spec, RunConfig) (*Result, error){"run": Run, "sequential": RunSequential} {
		_, err := run(t.Context(), talkative(0), testSpec(input, 2, 1), cfg)
		if err == nil || !strings.Contains(err.Error(), "out/words/word1/of-0") {
			t.Errorf("%s: %v", name, err)
		}
		left := tree(t, files)
		if left["out/words/word1/of-0"] != "precious" {
			t.Errorf("%s: the file has %q", name, left["out/words/word1/of-0"])
		}
		for file := range left {
			if strings.Contains(file, partPrefix) || strings.Contains(file, attemptPrefix) {
				t.Errorf("%s: %s is there", name, file)
			}
			if left[file] != "precious" {
				_ = files.Remove(t.Context(), file)
			}
		}
	}
}

// Files may be written to by goroutines, each Write whole; but not after the end.
func TestSideFilesOfGoroutines(t *testing.T) {
	var kept io.Writer
	job := MapOnly[string, string]{Name: "many", Map: func(t *Task, line Record, _ func(string, string)) error {
		var wg sync.WaitGroup
		kept = t.Output("lines")
		for range 20 {
			wg.Go(func() {
				for range 20 {
					fmt.Fprintf(t.Output("lines"), "%s\n", strings.Repeat("x", 1000))
				}
			})
		}
		wg.Wait()
		return nil
	}}
	input := testInput(4)
	for name, content := range sequentialTree(t, job, testSpec(input, 1, 1), ReadOnly(input)) {
		if want := strings.Repeat(strings.Repeat("x", 1000)+"\n", 1600); strings.Contains(name, "lines") && content != want {
			t.Errorf("%s has %d bytes, want %d", name, len(content), len(want))
		}
	}
	if _, err := kept.Write([]byte("late")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
}

// The output of a job is the input of the next, and what else it has written only if
// it is asked for.
func TestChainedJobsTakeOutputAlone(t *testing.T) {
	files := newMemoryFiles()
	input := testInput(30)
	if _, err := Run(t.Context(), talkative(0), testSpec(input, 3, 2), RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	write(t, files, "out/.attempt-0123-1-2.part-00000", "of an attempt that came too late")
	write(t, files, "other/deep/part-00000", "x")
	write(t, files, "other/deep/part-0000x", "x")
	write(t, files, "other/deep/extra/y", "x")
	write(t, files, "other/plain/z", "x")
	for pattern, want := range map[string][]string{
		"out":             {"out/part-00000", "out/part-00001"},
		"out/seen-*":      {"out/seen-m-00000", "out/seen-m-00001", "out/seen-m-00002"},
		"out/pages*":      {"out/pages-00000", "out/pages-00001"},
		"out/p*":          {"out/pages-00000", "out/pages-00001", "out/part-00000", "out/part-00001"},
		"other":           {"other/deep/part-00000", "other/plain/z"},
		"out/words/word1": {"out/words/word1/of-1"},
	} {
		got, err := expand(t.Context(), files, []string{pattern})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s stands for %q, %v, want %q", pattern, got, err, want)
		}
	}
	count := MapOnly[string, int]{Name: "count", Map: func(_ *Task, line Record, emit func(string, int)) error { emit(line.File, 1); return nil }}
	result, err := Run(t.Context(), count, Spec{Input: []string{"out"}, Output: "next"}, RunConfig{FileSystem: files, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := read(t, files, result.Files[0]); err != nil || strings.Count(all, "\n") != strings.Count(all, "out/part-") {
		t.Errorf("the next job saw %q, %v", all, err)
	}
}

// A task is given up with the job if it writes what another has written, whichever
// comes first.
func TestClaims(t *testing.T) {
	c := newCore(t)
	c.join(2, 1)
	c.submit(testJob("a", 2, 1))
	done := func(ref taskRef, names ...string) status {
		return c.do(commandComplete(c.tasks.epoch, ref, c.tasks.task(ref).attempt, []byte{1}, nil, names))
	}
	if st := done(taskRef{1, MapTask, 1}, "x", "y"); st != statusOK {
		t.Fatalf("status %d", st)
	}
	first := c.tasks.task(taskRef{1, MapTask, 1})
	files := first.files
	c.do(commandDead(c.tasks.epoch, first.worker, nil))
	if first.files != files || first.state == taskCompleted {
		t.Error("the files of a map went with its worker")
	}
	if st := done(taskRef{1, MapTask, 0}, "z", "y"); st != statusStale {
		t.Errorf("status %d", st)
	}
	if j := c.tasks.jobs[1]; j.state != JobFailed || !strings.Contains(j.err, `map task 0 and map task 1 both write "y"`) {
		t.Errorf("the job is %v: %s", j.state, j.err)
	}
}
