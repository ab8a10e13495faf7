package mapreduce_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/trilith-go/trilith/mapreduce"
)

// table is output as comma-separated values, with a header in each file.
type table struct{ columns []string }

func (o table) Begin(_ *mapreduce.Task, w io.Writer) (mapreduce.ResultWriter[string, int], error) {
	t := tableWriter{csv.NewWriter(w)}
	return t, t.w.Write(o.columns)
}

type tableWriter struct{ w *csv.Writer }

func (t tableWriter) Write(word string, count int) error {
	return t.w.Write([]string{word, strconv.Itoa(count)})
}

func (t tableWriter) Close() error {
	t.w.Flush()
	return t.w.Error()
}

// An Output of one's own, here with a header.
func ExampleOutput() {
	job := WordCount
	job.Output = table{columns: []string{"word", "count"}}
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), job,
		mapreduce.Spec{Input: []string{"poem/*"}, Output: "counts"},
		mapreduce.RunConfig{Input: poem, FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	// Output:
	// word,count
	// a,4
	// is,3
	// rose,4
}

// A chain of two jobs: the second reads what the first has written, and needs to parse
// nothing.
func ExamplePairFile() {
	counts := mapreduce.PairFile[string, int]{}
	first := WordCount
	first.Output = counts
	second := mapreduce.Job[int, string, string]{
		Name:  "by-count",
		Input: counts,
		Map: mapreduce.MapPairs(counts, func(_ *mapreduce.Task, word string, n int, emit func(int, string)) error {
			emit(n, word)
			return nil
		}),
		Keys: mapreduce.Descending[int](nil),
		Reduce: func(_ *mapreduce.Task, _ int, words iter.Seq[string], emit func(string)) error {
			for word := range words {
				emit(word)
			}
			return nil
		},
	}
	ctx := context.Background()
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(ctx, first, mapreduce.Spec{Input: []string{"poem"}, Output: "counts"},
		mapreduce.RunConfig{Input: poem, FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err = mapreduce.Run(ctx, second, mapreduce.Spec{Input: result.Files, Output: "by-count"},
		mapreduce.RunConfig{FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	// Output:
	// 4	a
	// 4	rose
	// 3	is
}
