package mapreduce

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
)

// Create makes a side file: one that the task writes besides its output. name is
// what it will be called, below the output directory, slash-separated; directories
// are made as needed. It must not begin with "part-".
//
// Side files are atomic. Of all attempts of a task, those of one appear, all of
// them, each whole: of the first to complete the task. They get their names when the
// job has succeeded in everything else, before its output does; until then nobody
// sees them, and if the job does not get that far, ever.
//
// Names must be the same when the task is executed again, and differ from task to
// task, for example by Index. If two tasks write a file of the same name the job
// fails, with an error that names both. Like output, a side file never replaces a
// file that is there: as the output directory is empty when the job begins, that can
// only be somebody else's, or in a directory below it. Then the job fails, and those
// of its files stay that have their names by then.
//
// What is written is gathered in 32 KiB of memory. The file may be written to by
// later calls of Map or Reduce in the same task, and by several goroutines, of which
// each Write is whole. What is not closed when the task ends is closed then. An error
// of Create, Write or Close fails the attempt, also if it is overlooked. A task has at
// most 1,024 side files and named outputs, whose names have at most 64 KiB together,
// and a job at most 1,048,576.
func (t *Task) Create(name string) (io.WriteCloser, error) {
	if t.files == nil {
		return nowhere{}, nil
	}
	switch {
	case !fs.ValidPath(name) || name == ".":
		return nil, t.files.fail(fmt.Errorf("%w: %.200q is no name: it must be relative, with slashes, and without . or .. elements", ErrSideFile, name))
	case strings.HasPrefix(name, partPrefix), strings.HasPrefix(path.Base(name), attemptPrefix):
		return nil, t.files.fail(fmt.Errorf("%w: names like %.200q are the library's own", ErrSideFile, name))
	}
	f, made, err := t.files.open(name)
	if err == nil && !made {
		err = t.files.fail(fmt.Errorf("%w: the task has made %q before", ErrSideFile, name))
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// nowhere takes what is written where nothing is kept.
type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Close() error                { return nil }

// taskFiles are the files that an attempt writes besides its output. They are what
// fileSet is for the task table.
type taskFiles struct {
	ctx       context.Context
	fsys      FileSystem
	numeral   string                       // ends the names of named outputs
	temporary func(n int) string           // name of the nth file until it is committed
	written   func(bytes int64)            // counts
	perform   func(run func() error) error // runs what may take long

	mu      sync.Mutex // guards what follows
	files   []*sideFile
	byName  map[string]*sideFile
	outputs map[string]*sideFile // the named outputs among them, by the names of those
	size    int                  // of the names
	ended   bool                 // the attempt has
	failed  error                // why it must end
	broken  bool                 // failed is of the file system, not the fault of the job's code

	bad atomic.Bool // failed is not nil
}

// sideFile is one of them.
type sideFile struct {
	set     *taskFiles
	name    string
	results any          // the ResultWriter of a NamedOutput
	finish  func() error // closes that

	mu     sync.Mutex // guards what follows
	w      *partWriter
	closed bool
	err    error // of closing
}

// sideBuffer is how much a side file gathers for one write.
const sideBuffer = 32 << 10

// fail makes the attempt fail, unless it must already, and returns err.
func (s *taskFiles) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failLocked(err)
}

func (s *taskFiles) failLocked(err error) error {
	if s.failed == nil {
		s.failed = err
		s.bad.Store(true)
	}
	return err
}

// breaks is fail for an error of the file system.
func (s *taskFiles) breaks(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breaksLocked(err)
}

func (s *taskFiles) breaksLocked(err error) error {
	s.failed, s.broken = err, true
	s.bad.Store(true)
	return err
}

// troubled reports whether the attempt must fail. It is small enough to be inlined
// where it is asked for each record.
func (s *taskFiles) troubled() bool { return s != nil && s.bad.Load() }

// failure returns why a troubled attempt must fail, and whether it is the file system's
// fault.
func (s *taskFiles) failure() (broken bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken, s.failed
}

// open returns the file of a name, which it makes if there is none.
func (s *taskFiles) open(name string) (f *sideFile, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f := s.byName[name]; {
	case s.ended:
		return nil, false, fmt.Errorf("%w: %q: the task has ended", ErrSideFile, name)
	case s.failed != nil:
		return nil, false, s.failed
	case f != nil:
		return f, false, nil
	case len(s.files) == maxTaskFiles || s.size+len(name) > maxTaskNames:
		return nil, false, s.failLocked(fmt.Errorf("%w: %.200q is one more than the %d, with %d bytes of names, that a task may have", ErrSideFile, name, maxTaskFiles, maxTaskNames))
	}
	w, err := createPart(s.ctx, s.fsys, s.temporary(len(s.files)), sideBuffer)
	if err != nil {
		return nil, false, s.breaksLocked(fmt.Errorf("create side file %q: %w", name, err))
	}
	name = strings.Clone(name)
	f = &sideFile{set: s, name: name, w: w}
	s.files = append(s.files, f)
	s.byName[name] = f
	s.size += len(name)
	return f, true, nil
}

var _ io.WriteCloser = (*sideFile)(nil)

// Write implements io.Writer.
func (f *sideFile) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, f.set.fail(fmt.Errorf("write side file %q: %w", f.name, fs.ErrClosed))
	}
	n, err := f.w.Write(b)
	if err != nil {
		err = f.set.breaks(fmt.Errorf("write side file %q: %w", f.name, err))
	}
	return n, err
}

// Close makes the file durable. It may be called again, and then returns the same.
func (f *sideFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.err
	}
	f.closed = true
	if err := f.set.perform(f.w.close); err != nil {
		f.err = f.set.breaks(fmt.Errorf("write side file %q: %w", f.name, err))
	}
	f.set.written(f.w.size)
	f.w.buf = nil
	return f.err
}

// end closes all files and returns their names, or why the attempt must fail.
func (s *taskFiles) end() ([]string, error) {
	s.mu.Lock()
	s.ended = true
	files, failed := s.files, s.failed
	s.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	var names []string
	for _, f := range files {
		if f.finish != nil {
			if err := guard(func() string { return fmt.Sprintf("named output %q", f.name) }, f.finish); err != nil {
				return nil, err
			}
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		names = append(names, f.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return names, s.failed // of another goroutine, meanwhile
}

// remove closes and removes all files: the attempt has failed, or its output does
// not count.
func (s *taskFiles) remove() {
	s.mu.Lock()
	s.ended = true
	files := s.files
	s.mu.Unlock()
	for i, f := range files {
		f.mu.Lock()
		if !f.closed {
			f.closed = true
			_ = f.w.file.Close() // nobody wants it
		}
		f.mu.Unlock()
		// What stays behind is swept up when the job ends.
		_ = s.fsys.Remove(context.WithoutCancel(s.ctx), s.temporary(i))
	}
}

// newFiles gives a task somewhere to write side files. tasks is how many there are of
// its kind, and last the kind whose tasks write the output.
func (t *Task) newFiles(fsys FileSystem, token string, tasks int, last TaskKind, perform func(run func() error) error) {
	counter, n := CounterMapSideOut, numeral(tasks, t.index)
	if t.kind == ReduceTask {
		counter = CounterReduceSideOut
	}
	if t.kind != last {
		n = "m-" + n
	}
	t.files = &taskFiles{
		ctx: t.ctx, fsys: fsys, numeral: n, perform: perform,
		byName: make(map[string]*sideFile), outputs: make(map[string]*sideFile),
		temporary: func(n int) string {
			return sideName(t.spec, token, taskRef{kind: t.kind, index: t.index}, t.attempt, n)
		},
		written: func(bytes int64) { t.counters.get(counter).Add(bytes) },
	}
}
