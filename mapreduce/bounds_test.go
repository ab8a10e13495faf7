package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/trilith-go/trilith/internal/wire"
)

// numbers sorts lines of numbers by value.
var numbers = Job[int, struct{}, struct{}]{
	Name: "numbers",
	Map: func(_ *Task, line Record, emit func(int, struct{})) error {
		var n int
		if _, err := fmt.Sscan(line.Text(), &n); err != nil {
			return err
		}
		emit(n, struct{}{})
		return nil
	},
	Reduce: func(_ *Task, _ int, ones iter.Seq[struct{}], emit func(struct{})) error {
		for one := range ones {
			emit(one)
		}
		return nil
	},
	Format: func(dst []byte, n int, _ struct{}) []byte { return fmt.Appendln(dst, n) },
}

// numberLines returns n numbers, skewed: half of them are small and often repeated.
func numberLines(seed uint64, n int) (lines string, sorted string) {
	r := rand.New(rand.NewPCG(seed, 0))
	var all []int
	var b strings.Builder
	for range n {
		v := r.IntN(1<<40) - 1<<39
		if r.IntN(2) == 0 {
			v = r.IntN(50)
		}
		all = append(all, v)
		fmt.Fprintln(&b, v)
	}
	slices.Sort(all)
	var s strings.Builder
	for _, v := range all {
		fmt.Fprintln(&s, v)
	}
	return b.String(), s.String()
}

// With sampled bounds the output files are in order as a whole, and about equally
// large; merged, they are one sorted file.
func TestSampleBoundsGivesATotalOrder(t *testing.T) {
	const count, reduces = 20_000, 5
	lines, want := numberLines(1, count)
	cut := strings.LastIndex(lines[:len(lines)/3], "\n") + 1
	input := ReadOnly(fstest.MapFS{"n/1": {Data: []byte(lines[:cut])}, "n/2": {Data: []byte(lines[cut:])}})
	for _, run := range []struct {
		name string
		run  func(Spec, RunConfig) (*Result, error)
	}{
		{"cluster", func(s Spec, c RunConfig) (*Result, error) { return Run(t.Context(), numbers, s, c) }},
		{"sequential", func(s Spec, c RunConfig) (*Result, error) { return RunSequential(t.Context(), numbers, s, c) }},
	} {
		t.Run(run.name, func(t *testing.T) {
			files := newMemoryFiles()
			spec := Spec{Input: []string{"n"}, Output: "out", Reduces: reduces, SplitBytes: 40_000}
			var err error
			if spec.Bounds, err = SampleBounds(t.Context(), numbers, spec, input); err != nil {
				t.Fatal(err)
			}
			result, err := run.run(spec, RunConfig{FileSystem: files, Input: input, Workers: 2, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, name := range result.Files {
				part, err := read(t, files, name)
				if err != nil {
					t.Fatal(err)
				}
				if n := strings.Count(part, "\n"); n < count/reduces/2 || n > count/reduces*3/2 {
					t.Errorf("%s has %d of %d keys", name, n, count)
				}
				all.WriteString(part)
			}
			checkNumbers(t, all.String(), want)
			if err := MergeOutput(t.Context(), files, result.Files, "all", MergeConfig{Compare: compareNumbers}); err != nil {
				t.Fatal(err)
			}
			merged, err := read(t, files, "all")
			if err != nil || merged != all.String() {
				t.Errorf("merged: %v, %d bytes, want %d", err, len(merged), all.Len())
			}
		})
	}
}

func compareNumbers(a, b []byte) int {
	var x, y int
	_, _ = fmt.Sscan(string(a), &x)
	_, _ = fmt.Sscan(string(b), &y)
	return x - y
}

// checkNumbers compares two lists of lines.
func checkNumbers(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("line %d of %d is %q, want %q of %d", i, len(g), g[i], w[i], len(w))
			return
		}
	}
	t.Errorf("%d lines, want %d", len(g), len(w))
}

func TestChooseBounds(t *testing.T) {
	keys := func(s string) (k [][]byte) {
		for f := range strings.FieldsSeq(s) {
			k = append(k, []byte(f))
		}
		return k
	}
	for _, c := range []struct {
		keys string
		n    int
		want string
	}{
		{"d a c b", 2, "c"},
		{"apple apricot banana bandana", 4, "apr b band"},
		{"same same same same", 3, "same same"},
		{"ab abc abcd x", 2, "abcd"},
		{"a", 1, ""},
	} {
		if got := fmt.Sprintf("%s", chooseBounds(keys(c.keys), c.n)); got != "["+c.want+"]" {
			t.Errorf("%q in %d ranges: %s, want [%s]", c.keys, c.n, got, c.want)
		}
	}
	if got := chooseBounds(nil, 3); len(got) != 2 || rangeOf(got, []byte("k")) != 2 {
		t.Errorf("without keys: %q", got)
	}
}

// A key's range is the one that its neighbours in order say.
func TestRangeOf(t *testing.T) {
	bounds := [][]byte{[]byte("b"), []byte("b"), []byte("d")}
	for key, want := range map[string]int{"": 0, "a": 0, "b": 2, "ba": 2, "c": 2, "d": 3, "e": 3} {
		if got := rangeOf(bounds, []byte(key)); got != want {
			t.Errorf("%q is in range %d, want %d", key, got, want)
		}
		if got := newRanges(bounds).of([]byte(key)); got != want {
			t.Errorf("%q is in range %d by its prefix, want %d", key, got, want)
		}
	}
}

// The search by prefixes finds what the one by keys finds.
func TestRanges(t *testing.T) {
	for name, makeKey := range keyMakers {
		for seed := range uint64(50) {
			r := rand.New(rand.NewPCG(seed, 4))
			bounds := make([][]byte, r.IntN(40))
			for i := range bounds {
				bounds[i] = makeKey(r)
			}
			slices.SortFunc(bounds, bytes.Compare)
			ranges := newRanges(bounds)
			for range 200 {
				key := makeKey(r)
				if len(bounds) > 0 && r.IntN(4) == 0 {
					key = bounds[r.IntN(len(bounds))]
				}
				if got, want := ranges.of(key), rangeOf(bounds, key); got != want {
					t.Fatalf("%s, seed %d: %x is in range %d of %x, want %d", name, seed, key, got, bounds, want)
				}
			}
		}
	}
}

func TestBoundsAreChecked(t *testing.T) {
	for _, c := range []struct {
		bounds [][]byte
		says   string
	}{
		{[][]byte{[]byte("a")}, "has 1 keys for 3 partitions"},
		{[][]byte{[]byte("b"), []byte("a")}, "not in increasing order at 1"},
		{[][]byte{[]byte("a"), make([]byte, maxBoundsBytes)}, "more than"},
	} {
		spec := Spec{Output: "out", Reduces: 3, Bounds: c.bounds}
		_, err := RunSequential(t.Context(), numbers, spec, RunConfig{FileSystem: newMemoryFiles()})
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "Spec.Bounds") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want an error that says %q", err, c.says)
		}
	}
	if _, err := SampleBounds(t.Context(), numbers, Spec{Output: "out"}, nil); !errors.Is(err, ErrConfig) {
		t.Errorf("without a file system: %v", err)
	}
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte("1\nno number\n")}})
	if _, err := SampleBounds(t.Context(), numbers, Spec{Input: []string{"f"}, Output: "out"}, input); err == nil || !strings.Contains(err.Error(), "record at f:2") {
		t.Errorf("a bad record: %v", err)
	}
}

func TestBoundsCrossTheWire(t *testing.T) {
	spec := Spec{Input: []string{"f"}, Output: "out", Reduces: 3, Bounds: [][]byte{{}, []byte("k")}}.withDefaults()
	d := wire.NewDecoder(spec.append(nil))
	var got Spec
	got.decode(&d)
	if d.Err() != nil || d.Len() != 0 || len(got.Bounds) != 2 || !bytes.Equal(got.Bounds[1], []byte("k")) {
		t.Errorf("%v: %q", d.Err(), got.Bounds)
	}
}

// Orders to many reduces at a time, each with large bounds, fit into messages.
func TestLargeBoundsForManySlots(t *testing.T) {
	input := testInput(20)
	spec := testSpec(input, 2, 16)
	for i := range spec.Reduces - 1 {
		spec.Bounds = append(spec.Bounds, fmt.Appendf(nil, "%02d%s", i, strings.Repeat("x", maxBoundsBytes/16)))
	}
	want := sequentialOutput(t, places, spec, ReadOnly(input))
	files := newMemoryFiles()
	result, err := Run(t.Context(), places, spec, RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir(), Slots: 8, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	checkSameOutput(t, "large bounds", files, result, want)
}
