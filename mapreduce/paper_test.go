package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// The paper (Dean and Ghemawat, MapReduce: Simplified Data Processing on Large Clusters,
// OSDI 2004), section by section, and the tests of what each promises. Those whose names
// begin with TestPaper cite it; the others are where the feature is tested in depth.
//
//	3.1  M splits, of whole records         TestPaper44TextInput, TestPaper31SplitsAndPartitions
//	3.1  hash(key) mod R                    TestPaper31SplitsAndPartitions
//	3.1  map output is spilled to disk      TestJobLargerThanMemory
//	3.1  a reduce sorts more than memory    TestRegionLargerThanMemory
//	3.1  R files, input of the next job     TestPaper31OutputFeedsTheNextJob
//	3.2  states and locations of tasks      TestSimulation, which checks the table after each step
//	3.2  sizes, pushed to running reduces   TestPaper32ReducesFetchWhileMapsRun, TestSizeCodes
//	3.3  workers that die                   TestWorkersDie, TestWorkerIsCutOff
//	3.3  completed maps run again           TestReducesWaitForALostMap
//	3.3  completed reduces do not           TestPaper33CompletedReducesAreNotReexecuted
//	3.3  reduces learn of it                TestALostMapRunsBesideItsReduces
//	3.3  the master's state is kept         TestCoordinatorDies, TestNewCoordinatorKeepsCompletedMaps
//	3.3  or the job is aborted              TestPaper33AbortIfTheMasterFails
//	3.3  a second completion is ignored     TestPaper33SecondCompletionIsIgnored
//	3.3  reduces commit atomically          TestPaper33NoFileHasItsFinalNameBeforeTheEnd
//	3.3  the output of a sequential run     TestPaper33SameAsSequential, TestRunEqualsSequential
//	3.4  maps where their input is          TestPaper34MapsRunWhereTheirInputIs
//	3.4  or near it                         TestMapsAreRunNearTheirInput
//	3.5  O(M+R) decisions, O(M·R) state     TestPaper35Granularity, BenchmarkSchedule
//	3.6  backup tasks                       TestPaper36BackupTasks
//	4.1  partitioning function              TestPaper41PartitioningFunction
//	4.2  order within a partition           TestPaper42Ordering
//	4.3  combiner                           TestPaper43Combiner
//	4.4  text                               TestPaper44TextInput
//	4.4  sorted pairs                       TestPaper44SortedPairs
//	4.4  input of the user's, not of files  TestPaper44InputThatIsNoFile
//	4.4  output of the user's               TestPaper44OutputTypeOfTheUser
//	4.5  side files                         TestPaper45SideFiles
//	4.6  bad records                        TestPaper46SkippingBadRecords
//	4.6  their number survives the process  TestFatalRecordsAreSkipped
//	4.7  sequential, local execution        TestPaper47LocalExecution
//	4.7  limited to some map tasks          TestPaper47OnlyMaps
//	4.8  status page, failures, logs        TestStatusPageShowsAJob, TestTaskLogs
//	4.9  counters                           TestPaper49Counters
//	4.9  live, and not doubled              TestCountersAreLive, TestCountersAreNotDoubled

// paperRun runs a job on one file, each line of which is a split, and returns the
// content of the output files.
func paperRun(t *testing.T, job Definition, text string, reduces int) []string {
	t.Helper()
	files := newMemoryFiles()
	longest := 1
	for line := range strings.Lines(text) {
		longest = max(longest, len(line))
	}
	result, err := Run(t.Context(), job, Spec{Input: []string{"f"}, Output: "out", Reduces: reduces, SplitBytes: int64(longest)},
		RunConfig{FileSystem: files, Input: ReadOnly(fstest.MapFS{"f": {Data: []byte(text)}}), Workers: 2, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, name := range result.Files {
		content, err := read(t, files, name)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, content)
	}
	return parts
}

// §3.1: "the output of the mapreduce execution is available in the R output files
// (one per reduce task)", which need not be combined into one as they are often
// the input of another MapReduce call.
func TestPaper31OutputFeedsTheNextJob(t *testing.T) {
	files := newMemoryFiles()
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte(strings.Repeat("a b b c c c\n", 10))}})
	first, err := Run(t.Context(), wordCount, Spec{Input: []string{"f"}, Output: "first", Reduces: 3},
		RunConfig{FileSystem: files, Input: input, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"first/part-00000", "first/part-00001", "first/part-00002"}; !slices.Equal(first.Files, want) {
		t.Errorf("the output files are %q, want %q", first.Files, want)
	}
	second, err := Run(t.Context(), wordCount, Spec{Input: first.Files, Output: "second"}, RunConfig{FileSystem: files, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, files, second.Files[0]); got != "10\t1\n20\t1\n30\t1\na\t1\nb\t1\nc\t1\n" {
		t.Errorf("the second job wrote %q, %v", got, err)
	}
}

// §3.3: "when the user-supplied map and reduce operators are deterministic functions
// of their input values, our distributed implementation produces the same output
// as would have been produced by a non-faulting sequential execution". The tests
// in cluster_test.go and process_test.go check it under failures of every kind.
func TestPaper33SameAsSequential(t *testing.T) {
	text := strings.Repeat("x y z\ny z\nz\n", 20)
	spec := Spec{Input: []string{"f"}, Output: "out", Reduces: 3, SplitBytes: 6}
	want := sequentialOutput(t, places, spec, ReadOnly(fstest.MapFS{"f": {Data: []byte(text)}}))
	if got := paperRun(t, places, text, 3); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// §3.3: "Completed map tasks are re-executed on a failure because their output is
// stored on the local disk(s) of the failed machine [...]. Completed reduce tasks do
// not need to be re-executed since their output is stored in a global file system."
func TestPaper33CompletedReducesAreNotReexecuted(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var reduces [4]atomic.Int64
		job := places
		job.Partition = func(word string, n int) int { return int(word[len(word)-1]-'0') % n }
		job.Map = func(_ *Task, line Record, emit func(string, string)) error {
			for i := range 4 {
				emit(fmt.Sprint("key", i), line.Text())
			}
			return nil
		}
		job.Reduce = func(t *Task, _ string, _ iter.Seq[string], emit func(string)) error {
			reduces[t.Index()].Add(1)
			time.Sleep(time.Second)
			emit("done")
			return nil
		}
		input := testInput(4)
		c := newTestCluster(t, 2, input, job)
		defer c.close()
		id, wait := c.submit(testSpec(input, 4, 4))
		c.until(id, func(s *JobStatus) bool { return s.Reduces.Completed >= 2 && s.Reduces.Running > 0 })
		c.killWorker(1, transport.CrashReset)
		wait()
		total := int64(0)
		for i := range reduces {
			total += reduces[i].Load()
		}
		if total != 5 {
			t.Errorf("reduces were executed %d times, want 5: four, and the one that ran on the worker that died", total)
		}
	})
}

// §3.3: "We rely on the atomic rename operation provided by the underlying file
// system to guarantee that the final file system state contains just the data
// produced by one execution of the reduce task." Until then nothing has a final
// name.
func TestPaper33NoFileHasItsFinalNameBeforeTheEnd(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: 100 * time.Millisecond}
		input := testInput(20)
		c := newTestCluster(t, 2, input, slow.job())
		defer c.close()
		id, wait := c.submit(testSpec(input, 4, 4))
		c.until(id, func(s *JobStatus) bool { return s.Reduces.Completed > 0 })
		if names, err := c.files.Glob(t.Context(), "out/part-*"); err != nil || len(names) > 0 {
			t.Errorf("while reduces run there is %q, %v", names, err)
		}
		wait()
		if names, err := c.files.Glob(t.Context(), "out/part-*"); err != nil || len(names) != 4 {
			t.Errorf("in the end there is %q, %v", names, err)
		}
	})
}

// locatedFiles is a file system that knows where its files are.
type locatedFiles struct {
	FileSystem
	host string
}

var _ Locator = locatedFiles{}

func (l locatedFiles) Locate(context.Context, string, int64, int64) ([]string, error) {
	return []string{l.host}, nil
}

// §3.4: the master "attempts to schedule a map task on a machine that contains a
// replica of the corresponding input data".
func TestPaper34MapsRunWhereTheirInputIs(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(20)
		c := newTestCluster(t, 3, input, wordCount)
		defer c.close()
		c.coordinator.cfg.Input = locatedFiles{c.input, "worker1"}
		spec := testSpec(input, 1, 1)
		j, err := c.coordinator.plan(t.Context(), &submitReq{token: newToken(), name: "wordcount", spec: spec.withDefaults()})
		if err != nil || len(j.splits) != 1 || !slices.Equal(j.splits[0].hosts, []string{"worker1"}) {
			t.Fatalf("planned %+v, %v", j, err)
		}
		// The input is on the worker that would be the last to be asked.
		for range 5 {
			_, wait := c.submit(spec)
			for i, w := range c.workers {
				if len(w.store.jobs()) > 0 && i != 1 {
					t.Errorf("worker %d ran a map whose input is on worker 1", i)
				}
			}
			wait()
			spec.Output += "+"
		}
	})
}

// §4.1: "hash(Hostname(urlkey)) mod R as the partitioning function causes all URLs
// from the same host to end up in the same output file."
func TestPaper41PartitioningFunction(t *testing.T) {
	job := wordCount
	job.Partition = func(url string, n int) int {
		host, _, _ := strings.Cut(url, "/")
		return int(hashKey([]byte(host)) % uint64(n))
	}
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "host%d/page%d\n", i%10, i)
	}
	in := make(map[string]int)
	for p, content := range paperRun(t, job, text.String(), 3) {
		for line := range strings.Lines(content) {
			host, _, _ := strings.Cut(line, "/")
			if other, seen := in[host]; seen && other != p {
				t.Errorf("%s is in partitions %d and %d", host, other, p)
			}
			in[host] = p
		}
	}
	if len(in) != 10 {
		t.Errorf("%d hosts, want 10", len(in))
	}
}

// §4.2: "within a given partition, the intermediate key/value pairs are processed in
// increasing key order."
func TestPaper42Ordering(t *testing.T) {
	for p, content := range paperRun(t, wordCount, strings.Repeat("d b c a\nz y x w\nb b a\n", 5), 2) {
		if lines := slices.Collect(strings.Lines(content)); !slices.IsSorted(lines) || len(lines) == 0 {
			t.Errorf("partition %d has %q", p, lines)
		}
	}
}

// §4.3: "partial combining significantly speeds up certain classes of MapReduce
// operations", as less is sent over the network, and does not change the result.
func TestPaper43Combiner(t *testing.T) {
	text := strings.Repeat("the the the the the the the the\n", 200)
	plain := wordCount
	plain.Combine = nil
	if with, without := paperRun(t, wordCount, text, 2), paperRun(t, plain, text, 2); !slices.Equal(with, without) {
		t.Errorf("with a combiner %q, without %q", with, without)
	}
	size := func(job Definition) int64 {
		d, err := job.define()
		if err != nil {
			t.Fatal(err)
		}
		c := newTestCollector(2, 1<<30, 1<<30)
		c.fold = d.fold
		input := ReadOnly(fstest.MapFS{"f": {Data: []byte(text)}})
		split := Split{Pieces: []Piece{{Name: "f", Length: int64(len(text))}}}
		task := &Task{ctx: t.Context(), spec: &Spec{}}
		if err := d.mapRecords(task, Text{}.Read(t.Context(), input, split), c); err != nil {
			t.Fatal(err)
		}
		out, err := c.finish()
		if err != nil {
			t.Fatal(err)
		}
		return out.size()
	}
	if with, without := size(wordCount), size(plain); with*100 > without {
		t.Errorf("map output is %d bytes with a combiner and %d without", with, without)
	}
}

// §4.4: "Text" mode input treats each line as a key/value pair: the key is the offset
// in the file and the value is the contents of the line", and lines are not divided
// between splits.
func TestPaper44TextInput(t *testing.T) {
	job := Job[int64, string, string]{
		Name: "offsets",
		Map: func(_ *Task, line Record, emit func(int64, string)) error {
			emit(line.Offset, line.Text())
			return nil
		},
		Reduce: func(_ *Task, _ int64, lines iter.Seq[string], emit func(string)) error {
			for line := range lines {
				emit(line)
			}
			return nil
		},
	}
	if got := paperRun(t, job, "one\ntwo\nthree\n\nfive", 1)[0]; got != "0\tone\n4\ttwo\n8\tthree\n14\t\n15\tfive\n" {
		t.Errorf("got %q", got)
	}
}

// §4.7: "an alternative implementation of the MapReduce library that sequentially
// executes all of the work for a MapReduce operation on the local machine."
func TestPaper47LocalExecution(t *testing.T) {
	var running, most atomic.Int64
	job := wordCount
	job.Map = func(t *Task, r Record, emit func(string, int)) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		return wordCount.Map(t, r, emit)
	}
	files := newMemoryFiles()
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte(strings.Repeat("a b c\n", 100))}})
	if _, err := RunSequential(t.Context(), job, Spec{Input: []string{"f"}, Output: "out", SplitBytes: 10}, RunConfig{FileSystem: files, Input: input}); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 1 {
		t.Errorf("%d maps ran at once", most.Load())
	}
	if _, err := files.Create(t.Context(), "out/part-00000"); err == nil {
		t.Error("the output file can be created again")
	} else if _, ok := err.(*fs.PathError); !ok {
		t.Errorf("unexpected error %v", err)
	}
}

// §4.7: "Controls are provided to the user so that the computation can be limited to
// particular map tasks."
func TestPaper47OnlyMaps(t *testing.T) {
	spec := Spec{Input: []string{"f"}, Output: "out", SplitBytes: 4}
	cfg := RunConfig{FileSystem: newMemoryFiles(), Input: ReadOnly(fstest.MapFS{"f": {Data: []byte("ant\nbee\ncat\n")}})}
	cfg.OnlyMaps = []int{3}
	if _, err := RunSequential(t.Context(), wordCount, spec, cfg); !errors.Is(err, ErrConfig) {
		t.Errorf("of a map that there is not: %v", err)
	}
	cfg.OnlyMaps = []int{2, 0}
	if _, err := Run(t.Context(), wordCount, spec, cfg); !errors.Is(err, ErrConfig) {
		t.Errorf("Run: %v", err)
	}
	result, err := RunSequential(t.Context(), wordCount, spec, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, cfg.FileSystem, result.Files[0]); err != nil || got != "ant\t1\ncat\t1\n" || result.Maps != 2 || result.InputBytes != 8 {
		t.Errorf("%q, %+v, %v", got, result, err)
	}
}

// §4.9: "The MapReduce library provides a counter facility to count occurrences of
// various events", the values are added up and returned to the user's code, and
// "some counter values are automatically maintained by the MapReduce library, such
// as the number of input key/value pairs processed".
func TestPaper49Counters(t *testing.T) {
	job := wordCount
	job.Map = func(t *Task, line Record, emit func(string, int)) error {
		for word := range strings.FieldsSeq(line.Text()) {
			if strings.ToUpper(word[:1]) == word[:1] {
				t.Counter("uppercase").Add(1)
			}
			emit(word, 1)
		}
		return nil
	}
	result, err := Run(t.Context(), job, Spec{Input: []string{"f"}, Output: "out", SplitBytes: 10}, RunConfig{
		FileSystem: newMemoryFiles(), Input: ReadOnly(fstest.MapFS{"f": {Data: []byte(strings.Repeat("The End of the Story\n", 20))}}), Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"uppercase": 60, CounterMapRecordsIn: 20, CounterMapBytesIn: 400, CounterMapRecordsOut: 100,
		CounterReduceKeysIn: 5, CounterReduceRecsOut: 5, CounterReduceBytesOut: int64(len("End\t20\nStory\t20\nThe\t20\nof\t20\nthe\t20\n")),
	} {
		if got := result.Counters[name]; got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// §4.6: "there is an optional mode of execution where the MapReduce library detects
// which records cause deterministic crashes and skips these records in order to
// make forward progress", "when the master has seen more than one failure on a
// particular record".
func TestPaper46SkippingBadRecords(t *testing.T) {
	var calls atomic.Int64
	job := wordCount
	job.Map = func(t *Task, line Record, emit func(string, int)) error {
		if line.Text() == "bad" {
			calls.Add(1)
			panic("a bug in a third-party library")
		}
		return wordCount.Map(t, line, emit)
	}
	files := newMemoryFiles()
	spec := Spec{Input: []string{"f"}, Output: "out", SkipBadRecords: 1}
	result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files, Input: ReadOnly(fstest.MapFS{"f": {Data: []byte("a b\nbad\nb c\n")}}), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, files, result.Files[0]); got != "a\t1\nb\t2\nc\t1\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if len(result.Skipped) != 1 || result.Skipped[0].Record != 1 || calls.Load() != 2 {
		t.Errorf("after %d failures %v are skipped", calls.Load(), result.Skipped)
	}
}
