package mapreduce

import (
	"strings"
	"testing"
	"testing/fstest"
)

// A job of Sum and Add counts, with and without the combiner.
func TestSum(t *testing.T) {
	type count uint16
	job := Job[string, count, count]{
		Name: "count",
		Map: func(_ *Task, line Record, emit func(string, count)) error {
			for word := range strings.FieldsSeq(line.Text()) {
				emit(word, 1)
			}
			return nil
		},
		Reduce: Sum[string, count],
	}
	input := ReadOnly(fstest.MapFS{"in": {Data: []byte("a b a\nb a\n")}})
	for _, combine := range []func(a, b count) count{nil, Add[count]} {
		job.Combine = combine
		files := newMemoryFiles()
		result, err := Run(t.Context(), job, Spec{Input: []string{"in"}, Output: "out", SplitBytes: 6}, RunConfig{FileSystem: files, Input: input})
		if err != nil {
			t.Fatal(err)
		}
		checkSameOutput(t, "sums", files, result, []string{"a\t3\nb\t2\n"})
	}
}
