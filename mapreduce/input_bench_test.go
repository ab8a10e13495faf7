package mapreduce

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// benchFile makes a file of lines of about eighty bytes.
func benchFile(b *testing.B, size int) (dir string) {
	b.Helper()
	dir = b.TempDir()
	line := bytes.Repeat([]byte("seven words in each of all these lines. "), 2)
	line[len(line)-1] = '\n'
	if err := os.WriteFile(filepath.Join(dir, "lines"), bytes.Repeat(line, size/len(line)), 0o666); err != nil {
		b.Fatal(err)
	}
	return dir
}

// BenchmarkReadText reads lines and does nothing with them.
func BenchmarkReadText(b *testing.B) {
	const size = 32 << 20
	fsys := Dir(benchFile(b, size))
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range (Text{Reuse: true}).Read(context.Background(), fsys, Split{Pieces: []Piece{{Name: "lines", Length: size / 80 * 80}}}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkMapText gives lines to a Map that looks for something that is not there.
func BenchmarkMapText(b *testing.B) {
	const size = 32 << 20
	fsys := Dir(benchFile(b, size))
	d, err := Job[string, int, int]{
		Name:  "grep",
		Input: Text{Reuse: true},
		Map: func(_ *Task, line Record, emit func(string, int)) error {
			if bytes.Contains(line.Value, []byte("trilith")) {
				emit(line.Text(), 1)
			}
			return nil
		},
		Reduce: benchCount.Reduce,
	}.define()
	if err != nil {
		b.Fatal(err)
	}
	spec := Spec{Output: "out"}.withDefaults()
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		t := &Task{ctx: b.Context(), spec: &spec, kind: MapTask}
		out := newCollector(newSortMemory(1<<20, 1<<20, func(int64) bool { return true }), 1)
		if err := d.mapRecords(t, d.input.Read(b.Context(), fsys, Split{Pieces: []Piece{{Name: "lines", Length: size / 80 * 80}}}), out); err != nil {
			b.Fatal(err)
		}
	}
}
