package mapreduce_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
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
