package mapreduce_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"github.com/trilith-go/trilith/mapreduce"
)

// A sort is a job that does nothing: keys come out in order in each partition, and
// bounds that a sample of the input has given put the partitions in order too.
func ExampleSampleBounds() {
	words := mapreduce.Job[string, struct{}, struct{}]{
		Name: "sort",
		Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, struct{})) error {
			emit(line.Text(), struct{}{})
			return nil
		},
		Reduce: mapreduce.Values[string, struct{}],
		Format: func(dst []byte, word string, _ struct{}) []byte { return append(append(dst, word...), '\n') },
	}
	input := mapreduce.ReadOnly(fstest.MapFS{"words": {Data: []byte("rose\nis\nred\na\nrose\nviolet\n")}})
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	ctx := context.Background()

	spec := mapreduce.Spec{Input: []string{"words"}, Output: "sorted", Reduces: 2}
	var err error
	if spec.Bounds, err = mapreduce.SampleBounds(ctx, words, spec, input); err != nil {
		fmt.Println(err)
		return
	}
	result, err := mapreduce.Run(ctx, words, spec, mapreduce.RunConfig{FileSystem: files, Input: input})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files[:1])
	fmt.Println("--")
	show(files, result.Files[1:])
	// Output:
	// a
	// is
	// red
	// --
	// rose
	// rose
	// violet
}

func ExampleMergeOutput() {
	input := mapreduce.ReadOnly(fstest.MapFS{"poem": {Data: []byte("a rose is a rose\n")}})
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	ctx := context.Background()

	spec := mapreduce.Spec{Input: []string{"poem"}, Output: "counts", Reduces: 3}
	result, err := mapreduce.Run(ctx, WordCount, spec, mapreduce.RunConfig{FileSystem: files, Input: input})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := mapreduce.MergeOutput(ctx, files, result.Files, "all", mapreduce.MergeConfig{}); err != nil {
		fmt.Println(err)
		return
	}
	show(files, []string{"all"})
	// Output:
	// a	2
	// is	1
	// rose	2
}
