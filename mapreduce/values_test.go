package mapreduce

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A job of Values sorts: all pairs come out, those of a key in the order in which they
// were emitted.
func TestValues(t *testing.T) {
	job := Job[string, string, string]{
		Name: "order",
		Map: func(_ *Task, line Record, emit func(string, string)) error {
			key, value, _ := strings.Cut(line.Text(), " ")
			emit(key, value)
			return nil
		},
		Reduce: Values[string, string],
	}
	input := ReadOnly(fstest.MapFS{"in": {Data: []byte("b 1\na 2\nb 3\na 4\nc 5\n")}})
	files := newMemoryFiles()
	result, err := Run(t.Context(), job, Spec{Input: []string{"in"}, Output: "out", SplitBytes: 6}, RunConfig{FileSystem: files, Input: input})
	if err != nil {
		t.Fatal(err)
	}
	checkSameOutput(t, "values", files, result, []string{"a\t2\na\t4\nb\t1\nb\t3\nc\t5\n"})
}

// Values takes memory for a task, not for a key.
func TestValuesAllocatesOnce(t *testing.T) {
	task := new(Task)
	values := slices.Values([]int{1, 2, 3})
	sum := 0
	emit := func(v int) { sum += v }
	call := func() {
		if err := Values(task, "key", values, emit); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, call); n != 0 {
		t.Errorf("%v allocations a key", n)
	}
	if sum != 101*6 {
		t.Errorf("the values add up to %d", sum)
	}
	// The same task may reduce values of another type.
	var got []string
	if err := Values(task, 1, slices.Values([]string{"a", "b"}), func(v string) { got = append(got, v) }); err != nil || len(got) != 2 {
		t.Errorf("of another type: %q, %v", got, err)
	}
}
