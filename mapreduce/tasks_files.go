package mapreduce

import (
	"fmt"
	"io/fs"

	"github.com/trilith-go/trilith/internal/wire"
)

const (
	// maxTaskFiles bounds the files that one task writes besides its output, and
	// maxTaskNames the bytes of their names.
	maxTaskFiles = 1 << 10
	maxTaskNames = 64 << 10
	// maxJobFiles bounds those of a job.
	maxJobFiles = 1 << 20
)

// fileSet are the files of a task that it has written besides its output, and the
// attempt that has written them: the first to complete of those that have written
// any. They are durable by then, where everybody sees them, under names of that
// attempt. So they stay what they are when the rest of a map's output is lost with
// its worker, and what its next execution writes is of no use.
type fileSet struct {
	attempt Attempt
	names   []string // below the output directory, in the order in which they were made
}

// hasFiles reports whether a task has won with the files of an attempt.
func (t *tasks) hasFiles(ref taskRef, a Attempt) bool {
	j := t.jobs[ref.job]
	if j == nil || ref.index >= len(j.tasks[ref.kind]) {
		return false
	}
	f := t.task(ref).files
	return f != nil && f.attempt == a
}

// claims are the files that a job's tasks have won with, and whose each is.
type claims map[string]taskRef

// check returns an error if a task cannot have files of these names.
func (c claims) check(ref taskRef, names []string) error {
	if len(c)+len(names) > maxJobFiles {
		return fmt.Errorf("%w: the tasks write more than %d", ErrSideFile, maxJobFiles)
	}
	for _, name := range names {
		if other, taken := c[name]; taken && other != ref {
			a, b := taskName(ref.kind, ref.index), taskName(other.kind, other.index)
			return fmt.Errorf("%w: %s and %s both write %q", ErrSideFile, min(a, b), max(a, b), name)
		}
	}
	return nil
}

func (c *claims) claim(ref taskRef, names []string) {
	if *c == nil {
		*c = make(claims)
	}
	for _, name := range names {
		(*c)[name] = ref
	}
}

// release is a planted bug's.
func (c claims) release(f *fileSet) {
	for _, name := range f.names {
		delete(c, name)
	}
}

// has returns an error unless all names are claimed by a task.
func (c claims) has(ref taskRef, names []string) error {
	for _, name := range names {
		if c[name] != ref {
			return fmt.Errorf("%s has won with %q, which is claimed by %+v", taskName(ref.kind, ref.index), name, c[name])
		}
	}
	return nil
}

// restore claims what a task of an image has won with.
func (c *claims) restore(ref taskRef, f *fileSet) error {
	if f == nil {
		return nil
	}
	if err := c.check(ref, f.names); err != nil {
		return err
	}
	c.claim(ref, f.names)
	return nil
}

// append appends a set to an image, or that there is none.
func (f *fileSet) append(dst []byte) []byte {
	if f == nil {
		return appendFiles(dst, nil)
	}
	return appendAttempt(appendFiles(dst, f.names), f.attempt)
}

func decodeFileSet(d *wire.Decoder) *fileSet {
	names := decodeFiles(d)
	if len(names) == 0 {
		return nil
	}
	return &fileSet{decodeAttempt(d), names}
}

// appendFiles appends the names of a task's files.
func appendFiles(dst []byte, names []string) []byte {
	dst = appendUvarints(dst, uint64(len(names)))
	for _, name := range names {
		dst = wire.AppendString(dst, name)
	}
	return dst
}

func decodeFiles(d *wire.Decoder) []string {
	n := d.Count(1)
	if n == 0 {
		return nil
	}
	if n > maxTaskFiles {
		d.Fail("%d files of a task", n)
		return nil
	}
	names, seen, size := make([]string, n), make(map[string]bool, n), 0
	for i := range names {
		names[i] = d.String()
		size += len(names[i])
		if !fs.ValidPath(names[i]) || names[i] == "." || seen[names[i]] || size > maxTaskNames {
			d.Fail("%.200q is no name of a file of a task, or one too many", names[i])
			return nil
		}
		seen[names[i]] = true
	}
	return names
}
