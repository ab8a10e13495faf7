package mapreduce_test

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/trilith-go/trilith/mapreduce"
)

// Lines that are no numbers go to an output of their own.
func ExampleNamedOutput() {
	bad := mapreduce.NamedOutput[int64, string]{Name: "bad"}
	doubled := mapreduce.MapOnly[int, int]{
		Name: "double",
		Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(int, int)) error {
			n, err := strconv.Atoi(line.Text())
			if err != nil {
				return bad.Emit(t, line.Offset, line.Text())
			}
			emit(n, 2*n)
			return nil
		},
	}
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), doubled,
		mapreduce.Spec{Input: []string{"numbers"}, Output: "doubled"},
		mapreduce.RunConfig{Input: numbers, FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	fmt.Println("--")
	show(files, []string{"doubled/bad-00000"})
	// Output:
	// 1	2
	// 7	14
	// --
	// 2	three
}

// Each number gets a file of its own, which appears when the job has succeeded.
func ExampleTask_Create() {
	files := mapreduce.MapOnly[string, int]{
		Name: "files",
		Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
			f, err := t.Create("by-name/" + line.Text())
			if err != nil {
				return err
			}
			n, err := io.WriteString(f, "this is "+line.Text()+"\n")
			emit(line.Text(), n)
			return err
		},
	}
	dir, remove := output()
	defer remove()
	disk := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), files,
		mapreduce.Spec{Input: []string{"numbers"}, Output: "out"},
		mapreduce.RunConfig{Input: numbers, FileSystem: disk})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.SideFiles, "side files")
	show(disk, []string{"out/by-name/7"})
	// Output:
	// 3 side files
	// this is 7
}
