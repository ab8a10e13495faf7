package mapreduce

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/fstest"
)

// §4.4: "Another common supported format stores a sequence of key/value pairs sorted by
// key. Each input type implementation knows how to split itself into meaningful ranges
// for processing as separate map tasks".
func TestPaper44SortedPairs(t *testing.T) {
	words := PairFile[string, int]{}
	first := wordCount
	first.Output = words
	files := newMemoryFiles()
	text := &strings.Builder{}
	for i := range 20_000 {
		fmt.Fprintf(text, "word%d ", i)
	}
	a, err := Run(t.Context(), first, Spec{Input: []string{"f"}, Output: "first"},
		RunConfig{FileSystem: files, Input: ReadOnly(fstest.MapFS{"f": {Data: []byte(text.String())}}), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	count := MapOnly[string, int]{Name: "count", Input: words, Map: MapPairs(words, func(t *Task, word string, n int, _ func(string, int)) error {
		if t.Index() == 0 { // which is read by one goroutine
			if word <= last {
				return fmt.Errorf("%q comes after %q", word, last)
			}
			last = word
		}
		t.Counter("words").Add(int64(n))
		return nil
	})}
	b, err := Run(t.Context(), count, Spec{Input: a.Files, Output: "second", SplitBytes: pairFileBlock, NoBackups: true}, RunConfig{FileSystem: files, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if b.Maps < 3 || b.Counters["words"] != 20_000 {
		t.Errorf("%d splits have %d words, want at least 3 and 20,000", b.Maps, b.Counters["words"])
	}
}

// rows is input of numbered rows, which are made up as they are read.
type rows int

func (n rows) Splits(context.Context, FileSystem, *Spec) (splits []Split, err error) {
	for i := range int(n) {
		splits = append(splits, Split{Data: binary.AppendUvarint(nil, uint64(i))})
	}
	return splits, nil
}

func (n rows) Read(_ context.Context, _ FileSystem, s Split) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		row, _ := binary.Uvarint(s.Data)
		yield(Record{Value: fmt.Appendf(nil, "row %d", row)}, nil)
	}
}

// §4.4: "Users can add support for a new input type by providing an implementation of a
// simple reader interface [...]. A reader does not necessarily need to provide data read
// from a file. For example, it is easy to define a reader that reads records from a
// database, or from data structures mapped in memory."
func TestPaper44InputThatIsNoFile(t *testing.T) {
	job := wordCount
	job.Input = rows(40)
	parts := outputOf(t, job, Spec{Reduces: 2}, "")
	if got := strings.Join(parts, ""); !strings.Contains(got, "row\t40\n") || strings.Count(got, "\n") != 41 {
		t.Errorf("the words of 40 rows are %q", got)
	}
}

// §4.4: "In a similar fashion, we support a set of output types for producing data in
// different formats and it is easy for user code to add support for new output types."
func TestPaper44OutputTypeOfTheUser(t *testing.T) {
	job := wordCount
	job.Output = framed{}
	if got, want := paperRun(t, job, "a b\na\n", 1)[0], "partition 0 of 1\na=2;b=1;\n2 results\n"; got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
}
