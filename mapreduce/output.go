package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// partName returns the final name of an output file below the output directory.
func partName(tasks, index int) string { return partPrefix + numeral(tasks, index) }

const partPrefix = "part-"

// isPart reports whether a name is one that partName returns.
func isPart(base string) bool {
	digits, ok := strings.CutPrefix(base, partPrefix)
	return ok && len(digits) >= 5 && strings.Trim(digits, "0123456789") == ""
}

// numeral returns the number of a task, of so many, as it stands in names of files:
// in such a way that their order is that of the tasks.
func numeral(tasks, index int) string {
	return fmt.Sprintf("%0*d", max(5, len(strconv.Itoa(tasks-1))), index)
}

// partNames returns the final names of a job's output files, of which each of so
// many tasks has one.
func partNames(output string, tasks int) []string {
	names := make([]string, tasks)
	for i := range names {
		names[i] = path.Join(output, partName(tasks, i))
	}
	return names
}

// attemptPrefix begins the names of files that an attempt has not committed.
const attemptPrefix = ".attempt-"

// attemptName returns the name under which an attempt writes its output. The token
// of the job is in it, as several coordinators may have worked on a directory, one
// after the other, whose attempts have the same numbers.
func attemptName(spec *Spec, token string, index int, a Attempt) string {
	return path.Join(spec.Output, fmt.Sprintf("%s%s-%v.part-%05d", attemptPrefix, token, a, index))
}

// sideName returns the name under which an attempt writes the nth of its side files.
func sideName(spec *Spec, token string, of taskRef, a Attempt, n int) string {
	return path.Join(spec.Output, fmt.Sprintf("%s%s-%v.%v-%d.side-%d", attemptPrefix, token, a, of.kind, of.index, n))
}

// attemptPattern matches the names of all files that attempts of a job write, or of
// any job if the token is empty.
func attemptPattern(spec *Spec, token string) string {
	return path.Join(QuotePattern(spec.Output), attemptPrefix+token+"*")
}

// checkOutput refuses an output directory that is not empty. Files that attempts
// left behind do not count, they are in nobody's way.
func checkOutput(ctx context.Context, fsys FileSystem, spec *Spec) error {
	names, err := fsys.Glob(ctx, path.Join(QuotePattern(spec.Output), "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(path.Base(name), attemptPrefix) {
			return fmt.Errorf("%w: %s is there; choose another directory or remove it", ErrOutputExists, name)
		}
	}
	return nil
}

// partWriter writes an output file under the name of its attempt. It gathers what is
// written. An error of the file stays: whoever overlooks it meets it in close.
type partWriter struct {
	file io.WriteCloser
	buf  []byte
	size int64
	err  error
}

var _ io.Writer = (*partWriter)(nil)

// partBuffer is how much of the output is gathered for one write.
const partBuffer = 256 << 10

// createPart makes a file, and gathers so many bytes for one write.
func createPart(ctx context.Context, fsys FileSystem, name string, buffer int) (*partWriter, error) {
	f, err := fsys.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &partWriter{file: f, buf: make([]byte, 0, buffer)}, nil
}

// Write implements io.Writer.
func (w *partWriter) Write(b []byte) (int, error) {
	w.size += int64(len(b))
	if len(w.buf)+len(b) <= cap(w.buf) {
		w.buf = append(w.buf, b...)
		return len(b), nil
	}
	if w.drain(); len(b) > cap(w.buf) {
		w.put(b)
	} else {
		w.buf = append(w.buf, b...)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(b), nil
}

// room returns memory, of no bytes yet, in which what is written next may be laid out:
// what fits there need not be copied.
func (w *partWriter) room() []byte { return w.buf[len(w.buf):len(w.buf):cap(w.buf)] }

// drain writes what was gathered.
func (w *partWriter) drain() {
	w.put(w.buf)
	w.buf = w.buf[:0]
}

func (w *partWriter) put(b []byte) {
	if w.err == nil {
		_, w.err = w.file.Write(b)
	}
}

// close makes the file durable, if all of it was written.
func (w *partWriter) close() error {
	w.drain()
	return errors.Join(w.err, w.file.Close())
}

// abandon closes and removes the file of an attempt that failed.
func (w *partWriter) abandon(fsys FileSystem, name string) {
	_ = w.file.Close() // the attempt has failed already
	// What stays behind is swept up when the job ends.
	_ = fsys.Remove(context.Background(), name)
}
