package mapreducetest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/mapreduce/mapreducetest"
)

// means is a job that computes, for lines of equal length, the mean of where they
// begin.
var means = mapreduce.Job[int, int, float64]{
	Name: "means",
	Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(int, int)) error {
		emit(len(line.Value), int(line.Offset))
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ int, values iter.Seq[int], emit func(float64)) error {
		sum, n := 0, 0
		for v := range values {
			sum, n = sum+v, n+1
		}
		emit(float64(sum) / float64(n))
		return nil
	},
}

var lines = mapreducetest.NewMemory(map[string]string{"input": "the quick\nbrown fox\njumped over\nthe\nlazy dog\nfox\ndog\n"})

// The usual use of Test. In the test of a package of its own it is the function
// TestMeans(t *testing.T).
func ExampleTest() {
	testMeans := func(t *testing.T) {
		spec := mapreduce.Spec{Input: []string{"*"}, Reduces: 2}
		mapreducetest.Test(t, means, spec, mapreducetest.Config{Input: lines, Runs: 50})
	}
	fmt.Println(testMeans != nil)
	// Output: true
}

// One run under faults, by the wall clock as it is in no bubble.
func ExampleRun() {
	spec := mapreduce.Spec{Input: []string{"*"}, Reduces: 2}
	report, err := mapreducetest.Run(context.Background(), means, spec,
		mapreducetest.Config{Input: lines, Seed: 7, Faults: mapreducetest.SlowWorkers | mapreducetest.FileErrors, WallClock: true})
	fmt.Println(report.Runs, err)
	// Output: 1 <nil>
}

// A mean of means is not the mean.
func ExampleCheckCombiner() {
	spec := mapreduce.Spec{Input: []string{"*"}}
	bad := means
	bad.Combine = func(a, b int) int { return (a + b) / 2 }
	err := mapreducetest.CheckCombiner(context.Background(), bad, spec, lines)
	fmt.Println(errors.Is(err, mapreducetest.ErrCombiner))

	good := means
	good.Reduce = func(_ *mapreduce.Task, _ int, values iter.Seq[int], emit func(float64)) error {
		largest := 0
		for v := range values {
			largest = max(largest, v)
		}
		emit(float64(largest))
		return nil
	}
	good.Combine = func(a, b int) int { return max(a, b) }
	fmt.Println(mapreducetest.CheckCombiner(context.Background(), good, spec, lines))
	// Output:
	// true
	// <nil>
}

// A codec that is meant to keep the order of numbers.
func ExampleCheckCodec() {
	codec, err := mapreduce.DefaultCodec[int]()
	if err != nil {
		fmt.Println(err)
		return
	}
	compare := func(a, b int) int { return a - b }
	fmt.Println(mapreducetest.CheckCodec(codec, compare, -1000, -1, 0, 1, 255, 256, 1<<40))
	// Output: <nil>
}

// An input is the same however it is divided.
func ExampleCheckInput() {
	fmt.Println(mapreducetest.CheckInput(context.Background(), mapreduce.Text{}, lines, "*"))
	// Output: <nil>
}

// Keys are spread by a function of the user's.
func ExampleCheckPartition() {
	job := means
	job.Partition = func(length, n int) int { return length % n }
	fmt.Println(mapreducetest.CheckPartition(job, 1, 2, 3, 1000))
	// Output: <nil>
}

// The conformance suite is run on a file system by
//
//	mapreducetest.TestFileSystem(t, func(t *testing.T) mapreduce.FileSystem { return mine(t.TempDir()) }, nil)
//
// or case by case:
func ExampleFileSystemCases() {
	for _, c := range mapreducetest.FileSystemCases()[:3] {
		fmt.Println(c.Name, c.Run(context.Background(), mapreducetest.NewMemory(nil)))
	}
	// Output:
	// WriteAndRead <nil>
	// ReadAt <nil>
	// ReadersAtOnce <nil>
}
