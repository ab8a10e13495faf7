package mapreduce

import (
	"context"
	"fmt"
	"io"
	"iter"
	"reflect"
)

// A MapOnly is a job without Reduce: each map task writes what Map emits into an
// output file of its own, in the order in which it is emitted. Nothing is sorted,
// nothing moves between workers. K and V are the types of what is emitted, which
// need no codecs.
//
// There are as many output files as splits, part-00000 and so on, in the order of
// the input: read one after the other, they hold what one execution over the whole
// input emits. All else is as with a [Job].
type MapOnly[K, V any] struct {
	// Name and Version are as in Job.
	Name    string
	Version string

	// Map is called with each record of the input, and emits any number of pairs.
	// emit may be called only while Map runs and only by the goroutine that runs
	// it. The record is immutable and may be kept, unless the Input says otherwise
	// (Text.Reuse).
	Map func(t *Task, r Record, emit func(K, V)) error

	// Input divides and reads the input. The default is [Text], lines of text.
	Input Input

	// Output turns what is emitted into the bytes of the output files. The default
	// is [TextOutput], lines of text.
	Output Output[K, V]
	// Format may be set instead of Output: it is what TextOutput.Format is.
	Format func(dst []byte, key K, value V) []byte
}

var _ Definition = MapOnly[string, int]{}

// define checks the job and takes its types away.
func (j MapOnly[K, V]) define() (*definition, error) {
	m := &mapsOnly[K, V]{compiled[K, V, V]{Job[K, V, V]{
		Name: j.Name, Version: j.Version, Map: j.Map, Input: j.Input, Output: j.Output, Format: j.Format,
	}}}
	if err := m.validate("MapOnly"); err != nil {
		return nil, &Error{Op: "define", Job: j.Name, Err: err}
	}
	m.setDefaults()
	return &definition{
		name:       j.Name,
		version:    j.Version,
		types:      fmt.Sprintf("%v,%v", reflect.TypeFor[K](), reflect.TypeFor[V]()),
		input:      m.Input,
		mapToFile:  m.mapToFile,
		sequential: m.sequential,
	}, nil
}

// mapsOnly is a MapOnly whose defaults are set.
type mapsOnly[K, V any] struct{ compiled[K, V, V] }

// mapToFile implements definition.mapToFile.
func (m *mapsOnly[K, V]) mapToFile(t *Task, records iter.Seq2[Record, error], out io.Writer) error {
	emits := emissions{records: t.counters.local(CounterMapRecordsOut)}
	return guard(func() string { return "output" }, func() error {
		w, err := m.Output.Begin(t, out)
		if err != nil {
			return fmt.Errorf("begin the output: %w", err)
		}
		err = m.eachRecord(t, records, &emits, func(k K, v V) {
			if emits.failed == nil {
				emits.records.n++
				emits.failed = w.Write(k, v)
			}
		})
		if err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("end the output: %w", err)
		}
		return nil
	})
}

// sequential implements definition.sequential.
func (m *mapsOnly[K, V]) sequential(ctx context.Context, r *sequentialRun) error {
	return r.mapToFiles(ctx, m.Input, m.mapToFile)
}

// last returns the kind of the tasks that write the output of a run.
func (d *definition) last(spec *Spec) TaskKind {
	if d.mapToFile != nil && (d.mapsOnly == nil || d.mapsOnly(spec)) {
		return MapTask
	}
	return ReduceTask
}

// adapt makes a Spec, in which defaults are set, one for this job, and finds what is
// wrong with it.
func (d *definition) adapt(spec *Spec) error {
	if d.check != nil {
		if err := d.check(spec); err != nil {
			return err
		}
	}
	switch last := d.last(spec); {
	case last == ReduceTask && spec.Reduces == 0:
		return fmt.Errorf("%w: Spec.Reduces is 0", ErrConfig)
	case last == MapTask && len(spec.Bounds) > 0:
		return fmt.Errorf("%w: Spec.Bounds divides keys, but job %s has no reduces", ErrConfig, d.name)
	case last == MapTask:
		spec.Reduces = 0
	}
	return nil
}
