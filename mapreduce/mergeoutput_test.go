package mapreduce

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The output of a job, hashed into partitions, becomes one ordered file.
func TestMergeOutput(t *testing.T) {
	files := newMemoryFiles()
	write(t, files, "f", strings.Repeat("a rose is a rose a-b is red\n", 3))
	spec := Spec{Input: []string{"f"}, Output: "out", Reduces: 4}
	result, err := Run(t.Context(), wordCount, spec, RunConfig{FileSystem: files, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := MergeOutput(t.Context(), files, result.Files, "merged/all", MergeConfig{}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, files, "merged/all"); err != nil || got != "a\t6\na-b\t3\nis\t6\nred\t3\nrose\t6\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := MergeOutput(t.Context(), files, result.Files[:1], "merged/all", MergeConfig{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file of that name: %v", err)
	}
	if names, err := files.Glob(t.Context(), "merged/*"); err != nil || len(names) != 1 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

// A named output of reduces that is written by key is as ordered as the output.
func TestMergeNamedOutput(t *testing.T) {
	often := NamedOutput[string, int]{Name: "often"}
	job := wordCount
	job.Reduce = func(t *Task, word string, counts iter.Seq[int], emit func(int)) error {
		return wordCount.Reduce(t, word, counts, func(n int) {
			if emit(n); n > 3 {
				often.Emit(t, word, n)
			}
		})
	}
	files := newMemoryFiles()
	write(t, files, "f", strings.Repeat("a rose is a rose a-b is red\n", 3))
	if _, err := Run(t.Context(), job, Spec{Input: []string{"f"}, Output: "out", Reduces: 4}, RunConfig{FileSystem: files, Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	names, err := files.Glob(t.Context(), "out/often-*")
	if err != nil || len(names) == 0 || len(names) == 4 {
		t.Errorf("%q, %v; there is a file for each reduce, or for none", names, err)
	}
	if err := MergeOutput(t.Context(), files, names, "often", MergeConfig{}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, files, "often"); err != nil || got != "a\t6\nis\t6\nrose\t6\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestMergeOutputOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts []string
		cfg   MergeConfig
		want  string
	}{
		{"equal records come in the order of the files", []string{"a\t1\nb\t1\n", "a\t2\nb\t2\n", ""}, MergeConfig{}, "a\t1\na\t2\nb\t1\nb\t2\n"},
		{"keys are compared, not lines", []string{"a\t1\n", "a\x01\t2\n"}, MergeConfig{}, "a\t1\na\x01\t2\n"},
		{"a last line without newline", []string{"a", "b\n"}, MergeConfig{}, "a\nb\n"},
		{"fixed records", []string{"abcxyz", "aaazzz"}, MergeConfig{RecordBytes: 3, Compare: bytes.Compare}, "aaaabcxyzzzz"},
		{"any order", []string{"3\n1\n", "2\n"}, MergeConfig{Compare: func(a, b []byte) int { return bytes.Compare(b, a) }}, "3\n2\n1\n"},
		{"nothing", nil, MergeConfig{}, ""},
	} {
		files := newMemoryFiles()
		var names []string
		for i, part := range c.parts {
			names = append(names, fmt.Sprint("part", i))
			write(t, files, names[i], part)
		}
		if err := MergeOutput(t.Context(), files, names, "all", c.cfg); err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got, err := read(t, files, "all"); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestMergeOutputSaysWhatIsWrong(t *testing.T) {
	files := newMemoryFiles()
	write(t, files, "disordered", "b\na\n")
	write(t, files, "short", "abcd")
	for _, c := range []struct {
		name string
		cfg  MergeConfig
		want error
		says string
	}{
		{"disordered", MergeConfig{}, ErrUnordered, "disordered at byte 2"},
		{"none", MergeConfig{}, fs.ErrNotExist, "none"},
		{"short", MergeConfig{RecordBytes: 3}, nil, "short: its 4 bytes"},
		{"short", MergeConfig{RecordBytes: -1}, ErrConfig, "-1"},
	} {
		err := MergeOutput(t.Context(), files, []string{c.name}, "out/all", c.cfg)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v that says %q", c.name, err, c.want, c.says)
		}
	}
	if names, err := files.Glob(t.Context(), "out/*"); err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

// Files that do not overlap are read one after the other, however many there are.
func TestMergeOutputOfManyFiles(t *testing.T) {
	files := newMemoryFiles()
	var names []string
	var want strings.Builder
	for i := range maxMergeFiles + 100 {
		names = append(names, fmt.Sprintf("part-%05d", i))
		text := fmt.Sprintf("%05d\n%05d+\n", i, i)
		write(t, files, names[i], text)
		want.WriteString(text)
	}
	if err := MergeOutput(t.Context(), files, names, "all", MergeConfig{}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, files, "all"); err != nil || got != want.String() {
		t.Errorf("%v, %d bytes, want %d", err, len(got), want.Len())
	}
}

// Files of pairs are merged into one, in the order of their keys or another.
func TestMergeOutputOfPairs(t *testing.T) {
	text, all := randomVisits(11, 2000)
	job := visits
	job.Keys, job.Format = lastVisitFirst, nil
	file := PairFile[visit, struct{}]{Keys: lastVisitFirst}
	job.Output = file
	files := newMemoryFiles()
	result, err := Run(t.Context(), job, Spec{Input: []string{"f"}, Output: "out", Reduces: 4, SplitBytes: 4000},
		RunConfig{FileSystem: files, Input: ReadOnly(fstest.MapFS{"f": {Data: []byte(text)}}), Workers: 2, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := MergeOutput(t.Context(), files, result.Files, "all", MergeConfig{Pairs: true}); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(all, func(a, b visit) int { return cmp.Or(strings.Compare(a.user, b.user), cmp.Compare(b.at, a.at)) })
	var got []visit
	err = file.Each(t.Context(), files, "all", func(v visit, _ struct{}) error { got = append(got, v); return nil })
	if err != nil || !slices.Equal(got, all) {
		t.Errorf("merged are %d visits, %v, want %d in order", len(got), err, len(all))
	}
	err = MergeOutput(t.Context(), files, result.Files, "backwards", MergeConfig{Pairs: true, Compare: func(a, b []byte) int { return bytes.Compare(b, a) }})
	if !errors.Is(err, ErrUnordered) {
		t.Errorf("merged in another order than theirs: %v", err)
	}
	if err := MergeOutput(t.Context(), files, result.Files, "bad", MergeConfig{Pairs: true, RecordBytes: 4}); !errors.Is(err, ErrConfig) {
		t.Errorf("pairs of a fixed size: %v", err)
	}
}
