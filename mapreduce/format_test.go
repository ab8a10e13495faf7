package mapreduce

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"
)

// framed is output with a header and a footer: the partition, and how many results
// there are in it.
type framed struct {
	begin, write, close error
	panics              bool
}

func (f framed) Begin(t *Task, w io.Writer) (ResultWriter[string, int], error) {
	if f.begin != nil {
		return nil, f.begin
	}
	_, err := fmt.Fprintf(w, "partition %d of %d\n", t.Index(), t.Reduces())
	return &framedWriter{framed: f, w: w}, err
}

type framedWriter struct {
	framed
	w io.Writer
	n int
}

func (f *framedWriter) Write(key string, result int) error {
	f.n++
	_, err := fmt.Fprintf(f.w, "%s=%d;", key, result)
	return errors.Join(err, f.write)
}

func (f *framedWriter) Close() error {
	if f.panics {
		panic("no footer")
	}
	_, err := fmt.Fprintf(f.w, "\n%d results\n", f.n)
	return errors.Join(err, f.close)
}

// gzipped is output of text, compressed.
type gzipped struct{ TextOutput[string, int] }

func (o gzipped) Begin(t *Task, w io.Writer) (ResultWriter[string, int], error) {
	z := gzip.NewWriter(w)
	text, err := o.TextOutput.Begin(t, z)
	return gzipWriter{text, z}, err
}

type gzipWriter struct {
	ResultWriter[string, int]
	z *gzip.Writer
}

func (w gzipWriter) Close() error { return errors.Join(w.ResultWriter.Close(), w.z.Close()) }

// outputOf runs a job on text and returns the files that it writes. They must be those
// of a sequential run.
func outputOf(t *testing.T, job Definition, spec Spec, text string) []string {
	t.Helper()
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte(text)}})
	spec.Input, spec.Output = []string{"f"}, "out"
	files := newMemoryFiles()
	result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files, Input: input, Workers: 2, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	want := sequentialOutput(t, job, spec, input)
	var parts []string
	for p, name := range result.Files {
		content, err := read(t, files, name)
		if err != nil {
			t.Fatal(err)
		}
		if content != want[p] {
			t.Errorf("%s is %.200q, a sequential run writes %.200q", name, content, want[p])
		}
		parts = append(parts, content)
	}
	return parts
}

// boundedBy returns the spec with bounds that a sample of the text has given.
func boundedBy(t *testing.T, job Definition, spec Spec, text string) Spec {
	t.Helper()
	spec.Input, spec.Output = []string{"f"}, "out"
	bounds, err := SampleBounds(t.Context(), job, spec, ReadOnly(fstest.MapFS{"f": {Data: []byte(text)}}))
	if err != nil {
		t.Fatal(err)
	}
	spec.Bounds = bounds
	return spec
}

// Every file has what the Output has to say before and after the results, also one
// without any.
func TestOutputOfTheUsersOwn(t *testing.T) {
	job := wordCount
	job.Output = framed{}
	job.Partition = func(word string, n int) int { return int(word[0]-'a') % n }
	parts := outputOf(t, job, Spec{Reduces: 3, SplitBytes: 4}, "a b a\na d\n")
	want := []string{
		"partition 0 of 3\na=3;d=1;\n2 results\n",
		"partition 1 of 3\nb=1;\n1 results\n",
		"partition 2 of 3\n\n0 results\n",
	}
	for p := range want {
		if parts[p] != want[p] {
			t.Errorf("partition %d is %q, want %q", p, parts[p], want[p])
		}
	}
}

func TestOutputCompressed(t *testing.T) {
	job := wordCount
	job.Output = gzipped{}
	parts := outputOf(t, job, Spec{}, strings.Repeat("a b a\n", 1000))
	z, err := gzip.NewReader(strings.NewReader(parts[0]))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if string(text) != "a\t2000\nb\t1000\n" || err != nil {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// Whatever an Output fails in, the job fails with it, and leaves no file.
func TestOutputThatFails(t *testing.T) {
	broken := errors.New("broken output")
	for name, f := range map[string]framed{ // order-free: each is a job of its own
		"begin": {begin: broken}, "write": {write: broken}, "close": {close: broken}, "panic": {panics: true},
	} {
		job := wordCount
		job.Output = f
		files := newMemoryFiles()
		_, err := Run(t.Context(), job, Spec{Input: []string{"f"}, Output: "out", MaxAttempts: 1},
			RunConfig{FileSystem: files, Input: ReadOnly(fstest.MapFS{"f": {Data: []byte("a b\n")}}), Workers: 1, Dir: t.TempDir()})
		if !errors.Is(err, ErrJobFailed) || !strings.Contains(err.Error(), "broken output") && !strings.Contains(err.Error(), "no footer") {
			t.Errorf("%s: the error is %v", name, err)
		}
		if left, err := files.Glob(t.Context(), "out/**"); len(left) > 0 || err != nil {
			t.Errorf("%s: left behind: %q, %v", name, left, err)
		}
	}
	job := wordCount
	job.Output, job.Format = framed{}, func(dst []byte, _ string, _ int) []byte { return dst }
	if _, err := job.define(); !errors.Is(err, ErrConfig) {
		t.Errorf("an Output and a Format: %v", err)
	}
}

// fullDisk takes so many bytes.
type fullDisk struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("disk full")

func (d *fullDisk) Write(b []byte) (int, error) {
	if len(b) > d.room {
		return 0, errFull
	}
	d.room -= len(b)
	return d.Buffer.Write(b)
}

func (d *fullDisk) Close() error { return nil }

// An error that an Output overlooks is not lost: there may be a hole in the file.
func TestPartWriterKeepsItsError(t *testing.T) {
	disk := &fullDisk{room: 10}
	w := &partWriter{file: disk, buf: make([]byte, 0, 8)}
	for _, s := range []string{"12345", "6789", "a", "too much for it", "b"} {
		_, _ = w.Write([]byte(s))
	}
	if err := w.close(); !errors.Is(err, errFull) {
		t.Errorf("close says %v, want %v", err, errFull)
	}
	if disk.String() != "123456789a" {
		t.Errorf("the file is %q", disk.String())
	}
}
