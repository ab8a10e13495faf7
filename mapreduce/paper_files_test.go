package mapreduce

import (
	"fmt"
	"io"
	"testing"
	"testing/fstest"
)

// §4.5: "users of MapReduce have found it convenient to produce auxiliary files as
// additional outputs from their map and/or reduce operators. We rely on the application
// writer to make such side-effects atomic and idempotent. [...] We do not provide
// support for atomic two-phase commits of multiple output files produced by a single
// task." Here they are both, for all files that a task makes.
func TestPaper45SideFiles(t *testing.T) {
	failures := 0
	job := MapOnly[string, string]{Name: "side", Map: func(t *Task, line Record, _ func(string, string)) error {
		for _, name := range []string{"first", "second"} {
			f, err := t.Create(fmt.Sprintf("%s/%s", line.Text(), name))
			if err != nil {
				return err
			}
			if _, err := io.WriteString(f, line.Text()); err != nil {
				return err
			}
			if failures++; failures < 4 {
				return fmt.Errorf("failure %d, after the %s file of two", failures, name)
			}
		}
		return nil
	}}
	files := newMemoryFiles()
	result, err := Run(t.Context(), job, Spec{Input: []string{"f"}, Output: "out"},
		RunConfig{FileSystem: files, Input: ReadOnly(fstest.MapFS{"f": {Data: []byte("a\nb\n")}}), Workers: 1, Dir: t.TempDir()})
	if err != nil || result.SideFiles != 4 {
		t.Fatalf("%+v, %v", result, err)
	}
	checkTree(t, "side files", files, map[string]string{
		"out/part-00000": "", "out/a/first": "a", "out/a/second": "a", "out/b/first": "b", "out/b/second": "b",
	})
}
