package mapreduce

import (
	"context"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"sync/atomic"
	"unicode"
)

// A Job is a program: what is done with each record, and with all values of a
// key. K is the type of the intermediate keys, V that of the intermediate values
// and R that of the results.
//
// A Job is a value that both ends have in their code; what differs from run to
// run is in a [Spec]. Its functions are called from several goroutines at once
// for different tasks, and in one task from one goroutine. They may be executed
// more than once for the same input and must then do the same: the output is
// that of one sequential execution only if they are deterministic.
type Job[K, V, R any] struct {
	// Name identifies the job to the coordinator and its workers. Letters,
	// digits, and ". _ - /", at most 128 bytes.
	Name string

	// Version is for the author of the job: peers whose versions of a job differ
	// refuse each other, even if their binaries are declared equal.
	Version string

	// Map is called with each record of the input, and emits any number of
	// pairs. emit may be called only while Map runs and only by the goroutine
	// that runs it; it copies what it is given. The record is immutable and may
	// be kept, unless the Input says otherwise (Text.Reuse).
	Map func(t *Task, r Record, emit func(K, V)) error

	// Reduce is called once for each key, in increasing order of the keys of a
	// partition, with all values of the key. The values come in the order in
	// which a sequential execution emits them, can be ranged over once, and only
	// until Reduce returns; there is no need to take them all.
	Reduce func(t *Task, key K, values iter.Seq[V], emit func(R)) error

	// Group, if set, makes one call of Reduce of keys that differ: of all for which it
	// appends the same bytes to dst. The groups of a partition come in the order of
	// these bytes, and the values of a group in that of their keys, so that keys sort
	// values: by user and time, say, in groups by user. Reduce is called with the first
	// key of the group, to which the results belong too. By default a key is a group of
	// its own.
	//
	// The default Partition and Spec.Bounds divide groups. A Partition of the job's own
	// must return the same for all keys of a group. Combine joins values of one key
	// only.
	Group func(dst []byte, key K) []byte

	// ReduceGroup may be set instead of Reduce, to be given each value together with
	// its key, which may differ within a group. first is the first of them.
	ReduceGroup func(t *Task, first K, pairs iter.Seq2[K, V], emit func(R)) error

	// Combine, if set, joins two values of one key into one that stands for both
	// where Reduce gets it, a before b. It is called wherever that saves work,
	// any number of times and in any grouping, with values that it returned
	// itself too: it must be associative and commutative, and Reduce must give
	// the same for its result as for the values it was made from. That is true
	// of sums and maxima of integers; it is not of means, nor exactly of sums of
	// floats. It may change a, and return it. It may be called while Map runs for
	// the same task, on another goroutine. No combiner is the default because
	// nobody can check this from outside; RunSequential never combines.
	// mapreducetest.CheckCombiner tries it on data of yours.
	Combine func(a, b V) V

	// Partition returns which of n partitions a key belongs to, from 0 to n-1.
	// The default spreads keys by a hash of their encoding. Spec.Bounds, if a run
	// has them, take its place.
	Partition func(key K, n int) int

	// Input divides and reads the input. The default is [Text], lines of text.
	Input Input

	// Output turns results into the bytes of the output files. The default is
	// [TextOutput], lines of text.
	Output Output[K, R]
	// Format may be set instead of Output: it is what TextOutput.Format is.
	Format func(dst []byte, key K, result R) []byte

	// Keys and Values encode what is emitted by Map. Defaults: DefaultCodec. The order
	// of keys is that of their encodings, so Keys is where another order than that of
	// the default comes from: [Descending], [Fields] and [OrderBy] make codecs for it.
	Keys   Codec[K]
	Values Codec[V]
}

// A Definition is a [Job] or a [MapOnly] of any types, or a [Command].
type Definition interface {
	define() (*definition, error)
}

// Record is one element of the input.
type Record struct {
	File   string // where it comes from
	Offset int64  // where it begins there, in bytes
	Key    []byte // nil in text
	Value  []byte // in text the line, without its newline
}

// Text returns the Value as a string, without copying it.
func (r Record) Text() string { return viewString(r.Value) }

// Task is what a job's functions know of the task they run in. Its methods may
// be called concurrently, until the function returns.
type Task struct {
	ctx      context.Context
	spec     *Spec
	kind     TaskKind
	index    int
	attempt  Attempt
	progress atomic.Uint64            // rises with whatever shows that the task is alive
	told     atomic.Bool              // progress has risen since it was read
	arg      atomic.Pointer[argument] // that was asked for first: most jobs have one
	counters counterSet
	records  recordWatch
	log      taskLog
	files    *taskFiles // nil where nothing is kept of what the task writes
	passing  any        // *passing[V], of Values; used by the goroutine that runs Reduce
}

// Context ends when the attempt is not wanted any more.
func (t *Task) Context() context.Context { return t.ctx }

// Arg returns an argument of the job, or "" if it was not given. Code that asks for
// one with each record need not keep it.
func (t *Task) Arg(name string) string {
	a := t.arg.Load()
	if a != nil && a.name == name {
		return a.value
	}
	value := t.spec.Args[name]
	if a == nil {
		t.arg.Store(&argument{name, value})
	}
	return value
}

// argument is one that the job's code has asked for.
type argument struct{ name, value string }

// Kind returns whether it is a map or a reduce task.
func (t *Task) Kind() TaskKind { return t.kind }

// Index returns the number of the task: that of the split from 0 to M-1, or of
// the partition from 0 to R-1.
func (t *Task) Index() int { return t.index }

// Attempt returns which execution of the task it is.
func (t *Task) Attempt() Attempt { return t.attempt }

// Reduces returns the number of partitions, R.
func (t *Task) Reduces() int { return t.spec.Reduces }

// Progress says that the task is alive. Each record that Map or Reduce takes in
// says so too; a function that works on one record for longer than
// Spec.TaskTimeout must call Progress now and then.
func (t *Task) Progress() { t.progress.Add(1) }

// alive is called with each record and value that the job's code takes in. Only the
// first after each look at the progress changes it: that is all that a look can see.
func (t *Task) alive() {
	if !t.told.Load() {
		t.told.Store(true)
		t.progress.Add(1)
	}
}

// progressed returns a number that has risen since the last call if the task has shown
// since that it is alive.
func (t *Task) progressed() uint64 {
	t.told.Store(false) // first: of what comes in between, this or the next call tells
	return t.progress.Load()
}

// name returns the task as it is named in errors.
func (t *Task) name() string { return taskName(t.kind, t.index) }

// definition is a job with its types taken away: the rest of the package sees
// encoded keys and values only.
type definition struct {
	name    string
	version string
	types   string // for the fingerprint
	input   Input

	// check finds what is wrong with a run before it begins. It may be nil.
	check func(spec *Spec) error
	// mapsOnly says whether a run has no reduces, where mapToFile is set. If it is nil
	// none has.
	mapsOnly func(spec *Spec) bool
	// mapRecords runs Map over the records of a split and hands what it emits to
	// the collector, already combined as far as memory allows.
	mapRecords func(t *Task, records iter.Seq2[Record, error], out *collector) error
	// mapToFile runs Map over the records of a split and writes a file of what it
	// emits to out. It is set in a job without reduces, and what has to do with
	// intermediate keys and values only in others.
	mapToFile func(t *Task, records iter.Seq2[Record, error], out io.Writer) error
	// emittedKeys runs Map over records and calls take with the encoding of each key
	// that it emits, valid until take returns.
	emittedKeys func(t *Task, records iter.Seq2[Record, error], take func(key []byte)) error
	// reduceGroups runs Reduce over sorted pairs and writes a file of the results to
	// out.
	reduceGroups func(t *Task, in groupReader, out io.Writer) error
	// fold appends the encoding of the combination of two encoded values. Nil
	// without a combiner.
	fold func(dst, a, b []byte) ([]byte, error)
	// sequential runs the whole job in the obvious way.
	sequential func(ctx context.Context, r *sequentialRun) error
}

// fingerprint identifies the job's code as far as it can be seen.
func (d *definition) fingerprint() string { return d.name + " " + d.version + " " + d.types }

var _ Definition = Job[string, int, int]{}

// define checks the job and takes its types away.
func (j Job[K, V, R]) define() (*definition, error) {
	err := j.validate("Job")
	switch {
	case err != nil:
	case j.Reduce == nil && j.ReduceGroup == nil:
		err = fmt.Errorf("%w: Job.Reduce is missing; a job without it is a MapOnly", ErrConfig)
	case j.Reduce != nil && j.ReduceGroup != nil:
		err = fmt.Errorf("%w: Job.ReduceGroup is set besides Job.Reduce, whose place it would take", ErrConfig)
	}
	if err != nil {
		return nil, &Error{Op: "define", Job: j.Name, Err: err}
	}
	c := &compiled[K, V, R]{Job: j}
	c.Keys, c.Values = orDefault(c.Keys), orDefault(c.Values)
	if err := checkCodec(c.Keys); err != nil {
		return nil, &Error{Op: "define", Job: j.Name, On: "Keys", Err: err}
	}
	if err := checkCodec(c.Values); err != nil {
		return nil, &Error{Op: "define", Job: j.Name, On: "Values", Err: err}
	}
	if j.Group != nil {
		c.Keys = newOrdered(c.Keys, j.Group)
	}
	c.setDefaults()
	d := &definition{
		name:         j.Name,
		version:      j.Version,
		types:        fmt.Sprintf("%v,%v,%v", reflect.TypeFor[K](), reflect.TypeFor[V](), reflect.TypeFor[R]()),
		input:        c.Input,
		mapRecords:   c.mapRecords,
		emittedKeys:  c.emittedKeys,
		reduceGroups: c.reduceGroups,
		sequential:   c.sequential,
	}
	if j.Combine != nil {
		d.fold = c.fold
	}
	return d, nil
}

// maxNameBytes bounds the length of a job's name.
const maxNameBytes = 128

// validate checks what all jobs have; in errors they are of the named type.
func (j *Job[K, V, R]) validate(kind string) error {
	bad := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s.%s %s", ErrConfig, kind, field, fmt.Sprintf(format, args...))
	}
	switch {
	case j.Map == nil:
		return bad("Map", "is missing")
	case j.Output != nil && j.Format != nil:
		return bad("Format", "is set besides %s.Output, whose place it would take", kind)
	}
	if err := checkCodec(j.Input); err != nil {
		return fmt.Errorf("%s.Input: %w", kind, err)
	}
	if err := checkCodec(j.Output); err != nil {
		return fmt.Errorf("%s.Output: %w", kind, err)
	}
	return checkJobName(kind, j.Name)
}

// checkJobName checks the name of a job of some type.
func checkJobName(kind, name string) error {
	if name == "" || len(name) > maxNameBytes {
		return fmt.Errorf("%w: %s.Name has %d bytes, not 1 to %d", ErrConfig, kind, len(name), maxNameBytes)
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !slices.Contains([]rune("._-/"), r) {
			return fmt.Errorf("%w: %s.Name %q contains %q", ErrConfig, kind, name, r)
		}
	}
	return nil
}

// setDefaults sets what all jobs have a default of.
func (c *compiled[K, V, R]) setDefaults() {
	if c.Input == nil {
		c.Input = Text{}
	}
	if c.Output == nil {
		c.Output = TextOutput[K, R]{Format: c.Format}
	}
}
