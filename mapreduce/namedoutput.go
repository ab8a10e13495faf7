package mapreduce

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Output returns a named output of the task: besides its part of the output, a task
// can write to any number of others, each of which is a file of its own. The task that
// writes part-00003 writes the output "errors" to errors-00003; a map task of a job
// with reduces, which writes no part, to errors-m-00003. There is a file only if the
// task has asked for it. The name has 1 to 64 letters, digits and underscores, and is
// not "part"; so errors-* are the files of one output and no other.
//
// For all else the file is like one of Create. NamedOutput is the same with types.
func (t *Task) Output(name string) io.Writer {
	f, err := t.output(name)
	if err != nil {
		return failing{err}
	}
	return f
}

// failing is a writer for an attempt that has failed.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// maxOutputName bounds the name of an output.
const maxOutputName = 64

// output returns the file of a named output.
func (t *Task) output(name string) (io.Writer, error) {
	if t.files == nil {
		return nowhere{}, nil
	}
	f, err := t.files.output(name)
	if err != nil {
		return nil, err // and not a *sideFile that is nil
	}
	return f, nil
}

func (s *taskFiles) output(name string) (*sideFile, error) {
	s.mu.Lock()
	f := s.outputs[name]
	s.mu.Unlock()
	if f != nil {
		return f, nil
	}
	if err := checkOutputName(name); err != nil {
		return nil, s.fail(err)
	}
	f, _, err := s.open(name + "-" + s.numeral)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outputs[strings.Clone(name)] = f
	return f, nil
}

func checkOutputName(name string) error {
	if name == "" || len(name) > maxOutputName {
		return fmt.Errorf("%w: the name of a named output has %d bytes, not 1 to %d", ErrSideFile, len(name), maxOutputName)
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' {
			return fmt.Errorf("%w: the name of the named output %q contains %q", ErrSideFile, name, r)
		}
	}
	if name+"-" == partPrefix {
		return fmt.Errorf("%w: %q is the name of the output itself", ErrSideFile, name)
	}
	return nil
}

// A NamedOutput is a named output, see Task.Output, with types and a format:
//
//	var tooLong = mapreduce.NamedOutput[string, int]{Name: "toolong"}
//	…
//	tooLong.Emit(t, word, len(word))
//
// It is a value that may be shared by all tasks.
type NamedOutput[K, R any] struct {
	// Name is as in Task.Output.
	Name string
	// Output turns what is emitted into the bytes of the files. The default is
	// [TextOutput], lines of text. What it has begun is closed when the task ends.
	Output Output[K, R]
}

// Emit writes a result, and the key that it belongs to, to the task's file. It may be
// called by one goroutine at a time. An error fails the attempt, also if it is
// overlooked.
func (o NamedOutput[K, R]) Emit(t *Task, key K, result R) error {
	if t.files == nil {
		return nil
	}
	f, err := t.files.output(o.Name)
	if err != nil {
		return err
	}
	w, ok := f.results.(ResultWriter[K, R])
	if !ok {
		if w, err = o.begin(t, f); err != nil {
			return t.files.fail(err)
		}
	}
	if err := w.Write(key, result); err != nil {
		return t.files.fail(fmt.Errorf("named output %q: %w", o.Name, err))
	}
	return nil
}

// begin begins a file.
func (o NamedOutput[K, R]) begin(t *Task, f *sideFile) (ResultWriter[K, R], error) {
	if f.results != nil {
		return nil, fmt.Errorf("%w: named output %q is written with other types before", ErrSideFile, o.Name)
	}
	out := o.Output
	if out == nil {
		out = TextOutput[K, R]{}
	}
	w, err := out.Begin(t, f)
	if err != nil {
		return nil, fmt.Errorf("begin the named output %q: %w", o.Name, err)
	}
	f.results, f.finish = w, w.Close
	return w, nil
}
