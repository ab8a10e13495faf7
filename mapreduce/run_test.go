package mapreduce

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
)

// randomInput makes a few files of words, few or many of them different.
func randomInput(r *rand.Rand) fstest.MapFS {
	files := fstest.MapFS{}
	vocabulary := 1 << r.IntN(12)
	for i := range 1 + r.IntN(6) {
		var b bytes.Buffer
		for range r.IntN(1 << r.IntN(11)) {
			for range r.IntN(10) {
				n := r.IntN(vocabulary)
				fmt.Fprintf(&b, "%s%d ", strings.Repeat("w", n%13), n)
			}
			b.WriteByte('\n')
		}
		files[fmt.Sprintf("dir%d/file%d", i%2, i)] = &fstest.MapFile{Data: b.Bytes()}
	}
	return files
}

// places is a job whose result depends on the order of the values.
var places = Job[string, string, string]{
	Name: "places",
	Map: func(_ *Task, line Record, emit func(string, string)) error {
		for word := range strings.FieldsSeq(line.Text()) {
			emit(word, fmt.Sprintf("%s:%d", line.File, line.Offset))
		}
		return nil
	},
	Reduce: func(_ *Task, word string, at iter.Seq[string], emit func(string)) error {
		h := fnv.New64a()
		n := 0
		for place := range at {
			if n++; n > 500 {
				break // not all values have to be taken
			}
			h.Write([]byte(place))
			h.Write([]byte{0})
		}
		emit(fmt.Sprintf("%d %x", n, h.Sum64()))
		if n%2 == 0 {
			emit("even")
		}
		return nil
	},
}

// lengths has numbers as keys, negative ones too, a partition function, and a
// format of its own.
var lengths = Job[int, []byte, float64]{
	Name: "lengths",
	Map: func(_ *Task, line Record, emit func(int, []byte)) error {
		emit(40-len(line.Value), line.Value)
		return nil
	},
	Reduce: func(t *Task, n int, lines iter.Seq[[]byte], emit func(float64)) error {
		sum := 0.0
		for line := range lines {
			sum = sum/3 + float64(len(line)*n+bytes.Count(line, []byte("1"))) // order matters
		}
		emit(sum)
		return nil
	},
	Partition: func(n, parts int) int { return ((n % parts) + parts) % parts },
	Format:    func(dst []byte, n int, v float64) []byte { return fmt.Appendf(dst, "%d=%v;", n, v) },
}

// seedsOf returns how many of n seeds are tried: fewer if tests are to be short.
func seedsOf(n uint64) uint64 {
	if testing.Short() {
		return n / 5
	}
	return n
}

// TestRunEqualsSequential runs many random jobs on clusters of all shapes.
func TestRunEqualsSequential(t *testing.T) {
	for seed := range seedsOf(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		job := []Definition{wordCount, places, lengths}[seed%3]
		input := ReadOnly(randomInput(r))
		spec := Spec{Input: []string{"**"}, Output: "out", Reduces: 1 + r.IntN(5), SplitBytes: 1 + int64(r.IntN(1<<(4+r.IntN(12))))}
		cfg := RunConfig{Input: input, Workers: 1 + r.IntN(4), Slots: 1 + r.IntN(3), Dir: t.TempDir()}
		want := sequentialOutput(t, job, spec, input)
		cfg.FileSystem = newMemoryFiles()
		result, err := Run(t.Context(), job, spec, cfg)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		checkSameOutput(t, fmt.Sprintf("seed %d: %+v", seed, spec), cfg.FileSystem, result, want)
	}
}

// sequentialOutput returns what the sequential run writes.
func sequentialOutput(t *testing.T, job Definition, spec Spec, input FileSystem) []string {
	t.Helper()
	files := newMemoryFiles()
	result, err := RunSequential(t.Context(), job, spec, RunConfig{FileSystem: files, Input: input})
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, name := range result.Files {
		content, err := read(t, files, name)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, content)
	}
	return parts
}

// checkSameOutput compares the output of a job with what the sequential run wrote,
// and looks for what was left behind.
func checkSameOutput(t *testing.T, what string, files FileSystem, result *Result, want []string) {
	t.Helper()
	if len(result.Files) != len(want) {
		t.Fatalf("%s: %d files, want %d", what, len(result.Files), len(want))
	}
	for p, name := range result.Files {
		got, err := read(t, files, name)
		if err != nil || got != want[p] {
			t.Fatalf("%s: %s has %.200q, %v, want %.200q", what, name, got, err, want[p])
		}
	}
	names, err := files.Glob(context.Background(), "**")
	if err != nil || len(names) != len(want) {
		t.Fatalf("%s: the files are %q, %v", what, names, err)
	}
}
