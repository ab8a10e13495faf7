package jobs

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/trilith-go/trilith/mapreduce"
)

var input = fstest.MapFS{
	"poems/wheel":  {Data: []byte("so much depends\nupon\n\na red wheel\nbarrow\n")},
	"poems/wheels": {Data: []byte("a wheel, a wheel\nλόγος; naïve x2y\nno newline: red")},
}

// output runs an example and returns what it writes, sequentially and on a cluster,
// which must be the same.
func output(t *testing.T, job mapreduce.Definition, args map[string]string) string {
	t.Helper()
	return outputOf(t, job, args, input)
}

func outputOf(t *testing.T, job mapreduce.Definition, args map[string]string, input fstest.MapFS) string {
	t.Helper()
	var got [2]string
	for i, run := range []func(mapreduce.Spec, mapreduce.RunConfig) (*mapreduce.Result, error){
		func(s mapreduce.Spec, c mapreduce.RunConfig) (*mapreduce.Result, error) {
			return mapreduce.RunSequential(t.Context(), job, s, c)
		},
		func(s mapreduce.Spec, c mapreduce.RunConfig) (*mapreduce.Result, error) {
			return mapreduce.Run(t.Context(), job, s, c)
		},
	} {
		files := mapreduce.Dir(t.TempDir())
		spec := mapreduce.Spec{Input: []string{"poems"}, Output: "out", Args: args, SplitBytes: 16}
		result, err := run(spec, mapreduce.RunConfig{FileSystem: files, Input: mapreduce.ReadOnly(input), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		f, size, err := files.Open(t.Context(), result.Files[0])
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(f, 0, size))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		got[i] = string(text)
	}
	if got[0] != got[1] {
		t.Errorf("a sequential run gives\n%s\na cluster gives\n%s", got[0], got[1])
	}
	return got[0]
}

func TestWordCount(t *testing.T) {
	want := "a\t3\nbarrow\t1\ndepends\t1\nmuch\t1\nnaïve\t1\nnewline\t1\nno\t1\nred\t2\nso\t1\nupon\t1\nwheel\t3\nx\t1\ny\t1\nλόγος\t1\n"
	if got := output(t, WordCount, nil); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The lines come in the order of the files and of where they are in them.
func TestGrep(t *testing.T) {
	want := "poems/wheel:22\ta red wheel\npoems/wheels:0\ta wheel, a wheel\n"
	if got := output(t, Grep, map[string]string{PatternArg: `\bwheel\b`}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := output(t, Grep, map[string]string{PatternArg: "nowhere"}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestGrepWithoutPattern(t *testing.T) {
	for _, c := range []struct{ pattern, says string }{{"", "missing"}, {"(", "missing closing )"}} {
		spec := mapreduce.Spec{Input: []string{"poems"}, Output: "out", Args: map[string]string{PatternArg: c.pattern}}
		_, err := mapreduce.RunSequential(t.Context(), Grep, spec,
			mapreduce.RunConfig{FileSystem: mapreduce.Dir(t.TempDir()), Input: mapreduce.ReadOnly(input)})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("pattern %q: %v, want an error that says %q", c.pattern, err, c.says)
		}
	}
}

func TestIndex(t *testing.T) {
	both := path.Join("poems", "wheel") + " " + path.Join("poems", "wheels")
	got := output(t, Index, nil)
	for _, want := range []string{"a\t" + both + "\n", "barrow\tpoems/wheel\n", "\nred\t" + both + "\n", "\nλόγος\tpoems/wheels\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// The records come out in order, each whole.
func TestTeraSort(t *testing.T) {
	var records, want []string
	for i := range 50 {
		records = append(records, fmt.Sprintf("%010d%090d", i*37%50, i))
	}
	want = slices.Sorted(slices.Values(records))
	files := fstest.MapFS{"poems/records": {Data: []byte(strings.Join(records, ""))}}
	if got := outputOf(t, TeraSort, nil, files); got != strings.Join(want, "") {
		t.Errorf("got %q", got)
	}
}

func TestRegistryHasThemAll(t *testing.T) {
	for programs, want := range map[bool]int{true: len(All()), false: len(All()) - 1} {
		r, err := Registry(programs)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(r.Names()); got != want {
			t.Errorf("%d jobs are registered, want %d", got, want)
		}
	}
}
