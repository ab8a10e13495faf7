package limits

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// run runs a program on an input and returns what it writes.
func run(t *testing.T, input string, program func(input, output string) error) string {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte(input), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := program(in, out); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// texts are inputs with words of all lengths, cut by the ends of blocks at every byte.
func texts(seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 0))
	all := []string{"", "\n", "a", "a\n", " \t\r\n\v\f", strings.Repeat("x", 3*blockBytes), strings.Repeat("long ", blockBytes) + "\nb c\n"}
	for range 4 {
		var b strings.Builder
		for b.Len() < 3*blockBytes {
			fmt.Fprintf(&b, "%s%d%c", strings.Repeat(string(rune('a'+r.IntN(4))), r.IntN(40)), r.IntN(3), " \n\t"[r.IntN(3)])
		}
		all = append(all, b.String())
	}
	return all
}

func TestWordCount(t *testing.T) {
	const seed = 1
	for i, text := range texts(seed) {
		counts := make(map[string]int)
		for word := range strings.FieldsSeq(text) {
			counts[word]++
		}
		var want strings.Builder
		for _, word := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(&want, "%s\t%d\n", word, counts[word])
		}
		if got := run(t, text, WordCount); got != want.String() {
			t.Errorf("seed %d, text %d: got %.200q, want %.200q", seed, i, got, want.String())
		}
	}
}

func TestGrep(t *testing.T) {
	const seed = 2
	for i, text := range texts(seed) {
		for _, pattern := range []string{"a", "bbbbbbbbbbbbbbb", "c1", "nowhere", "x"} {
			var want strings.Builder
			for line := range strings.Lines(text) {
				if strings.Contains(line, pattern) {
					want.WriteString(strings.TrimSuffix(line, "\n") + "\n")
				}
			}
			if got := run(t, text, func(in, out string) error { return Grep(in, out, pattern) }); got != want.String() {
				t.Errorf("seed %d, text %d, pattern %q: got %.200q, want %.200q", seed, i, pattern, got, want.String())
			}
		}
	}
}

// Records with equal keys keep their order.
func TestSort(t *testing.T) {
	const seed = 3
	r := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{0, 1, 2, 3, 1000, 10_000} {
		for _, keys := range []int{1, 2, 256} { // values of each byte
			records := make([][]byte, n)
			for i := range records {
				records[i] = make([]byte, RecordBytes)
				for j := range KeyBytes {
					records[i][j] = byte(r.IntN(keys))
				}
				copy(records[i][KeyBytes:], fmt.Sprint(i))
			}
			input := string(bytes.Join(records, nil))
			slices.SortStableFunc(records, func(a, b []byte) int { return bytes.Compare(a[:KeyBytes], b[:KeyBytes]) })
			if got := run(t, input, Sort); got != string(bytes.Join(records, nil)) {
				t.Errorf("seed %d: %d records of %d: wrong", seed, n, keys)
			}
		}
	}
	if err := Sort(os.Args[0]+"/nowhere", ""); err == nil {
		t.Error("no error where there is no input")
	}
}
