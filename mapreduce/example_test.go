package mapreduce_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing/fstest"

	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// WordCount is the first example of the paper: intermediate keys are words,
// intermediate values and results are counts.
var WordCount = mapreduce.Job[string, int, int]{
	Name: "wordcount",
	Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
		for word := range strings.FieldsSeq(line.Text()) {
			emit(word, 1)
		}
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ string, counts iter.Seq[int], emit func(int)) error {
		sum := 0
		for n := range counts {
			sum += n
		}
		emit(sum)
		return nil
	},
	Combine: func(a, b int) int { return a + b },
}

// poem is the input of the examples.
var poem = mapreduce.ReadOnly(fstest.MapFS{
	"poem/1": {Data: []byte("a rose is a rose\n")},
	"poem/2": {Data: []byte("is a rose\nis a rose\n")},
})

var numbers = mapreduce.ReadOnly(fstest.MapFS{"numbers": {Data: []byte("1\nthree\n7\n")}})

// output returns a new directory for the output of an example.
func output() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// show prints the output files.
func show(files mapreduce.FileSystem, names []string) {
	for _, name := range names {
		f, size, err := files.Open(context.Background(), name)
		if err != nil {
			fmt.Println(err)
			return
		}
		content, err := io.ReadAll(io.NewSectionReader(f, 0, size))
		fmt.Printf("%s", content)
		if err != nil {
			fmt.Println(err)
		}
		_ = f.Close()
	}
}

func ExampleRun() {
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), WordCount,
		mapreduce.Spec{Input: []string{"poem/*"}, Output: "counts"},
		mapreduce.RunConfig{Input: poem, FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	// Output:
	// a	4
	// is	3
	// rose	4
}

func ExampleRunSequential() {
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.RunSequential(context.Background(), WordCount,
		mapreduce.Spec{Input: []string{"poem/*"}, Output: "counts", Reduces: 2},
		mapreduce.RunConfig{Input: poem, FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Files)
	// Output: [counts/part-00000 counts/part-00001]
}

// A coordinator, two workers and a client, each of which could be on a machine of
// its own: give them transport.TCP and a file system that all of them see.
func ExampleStartCoordinator() {
	ctx := context.Background()
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	jobs, err := mapreduce.NewRegistry(WordCount)
	if err != nil {
		fmt.Println(err)
		return
	}
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer network.Close()

	coordinator, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: network.Host("coordinator"), Addr: "coordinator:7000", Jobs: jobs, Input: poem, FileSystem: files,
		Dir: dir + "/journal", // to go on after a crash
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer coordinator.Close()
	for _, name := range []string{"alice", "bob"} {
		worker, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
			Transport: network.Host(name), Addr: name + ":7000", Coordinators: []string{coordinator.Addr()},
			Jobs: jobs, Input: poem, FileSystem: files,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer worker.Close()
	}

	client, err := mapreduce.NewClient(mapreduce.ClientConfig{
		Transport: network.Host("client"), Coordinators: []string{coordinator.Addr()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	id, err := client.Submit(ctx, "wordcount", mapreduce.Spec{Input: []string{"poem"}, Output: "counts"})
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := client.Wait(ctx, id)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := client.Status(ctx, id)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(status)
	show(files, result.Files)
	// Output:
	// job 1 wordcount succeeded: maps 1/1, reduces 1/1
	// a	4
	// is	3
	// rose	4
}

// The status page, here asked for by the example itself, and as JSON. A program
// would rather pass the handler to http.Serve, for a browser to look at.
func ExampleCoordinator_StatusHandler() {
	dir, remove := output()
	defer remove()
	var status http.Handler
	_, err := mapreduce.Run(context.Background(), WordCount,
		mapreduce.Spec{Input: []string{"poem/*"}, Output: "counts"},
		mapreduce.RunConfig{
			Input: poem, FileSystem: mapreduce.Dir(dir),
			Started: func(c *mapreduce.Coordinator) { status = c.StatusHandler() },
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	answer := httptest.NewRecorder()
	status.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/status.json?job=1", nil))
	var job mapreduce.JobReport
	if err := json.Unmarshal(answer.Body.Bytes(), &job); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(job.Name, job.State, job.InputDone, "bytes mapped,", job.Failed, "failures")
	// Output: wordcount succeeded 37 bytes mapped, 0 failures
}

// The registry of a worker names the jobs that it can run.
func ExampleStartWorker() {
	ctx := context.Background()
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer network.Close()
	dir, remove := output()
	defer remove()
	start := func(version string) (jobs *mapreduce.Registry) {
		job := WordCount
		job.Version = version
		jobs, err := mapreduce.NewRegistry(job)
		if err != nil {
			fmt.Println(err)
		}
		return jobs
	}
	coordinator, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: network.Host("coordinator"), Addr: "coordinator:1", Jobs: start("new"), FileSystem: mapreduce.Dir(dir),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer coordinator.Close()
	worker, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: network.Host("worker"), Addr: "worker:1", Coordinators: []string{coordinator.Addr()},
		Jobs: start("old"), FileSystem: mapreduce.Dir(dir),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer worker.Close()
	err = worker.Wait(ctx)
	fmt.Println(strings.Contains(err.Error(), "do not run the same code"))
	// Output: true
}

// Numbers are ordered by value, since their encoding is.
func ExampleDefaultCodec() {
	codec, err := mapreduce.DefaultCodec[int]()
	if err != nil {
		fmt.Println(err)
		return
	}
	small, large := codec.Append(nil, -7), codec.Append(nil, 1_000_000)
	fmt.Println(bytes.Compare(small, large), len(small), len(large))
	// Output: -1 2 4
}
