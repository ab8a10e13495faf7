package mapreduce_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/trilith-go/trilith/mapreduce"
)

// The paper's distributed grep: lines are passed on or not, nothing is grouped, so
// there is nothing to reduce.
func ExampleMapOnly() {
	grep := mapreduce.MapOnly[string, string]{
		Name: "grep",
		Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
			if strings.Contains(line.Text(), t.Arg("pattern")) {
				emit(line.File, line.Text())
			}
			return nil
		},
	}
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), grep,
		mapreduce.Spec{Input: []string{"poem/*"}, Output: "found", Args: map[string]string{"pattern": "is"}},
		mapreduce.RunConfig{Input: poem, FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	// Output:
	// poem/1	a rose is a rose
	// poem/2	is a rose
	// poem/2	is a rose
}
