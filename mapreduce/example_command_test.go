//go:build unix

package mapreduce_test

import (
	"context"
	"fmt"

	"github.com/trilith-go/trilith/mapreduce"
)

// Any programs make a job: this one does what "tr | sort | uniq -c" does in a shell.
func ExampleCommand() {
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	count := mapreduce.Command{
		Name:    "count",
		Mapper:  []string{"tr", "-s", " ", "\n"},
		Reducer: []string{"sh", "-c", "uniq -c | awk '{print $2, $1}'"},
	}
	result, err := mapreduce.Run(context.Background(), count,
		mapreduce.Spec{Input: []string{"poem/*"}, Output: "counts"},
		mapreduce.RunConfig{Input: poem, FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	// Output:
	// a 4
	// is 3
	// rose 4
}
