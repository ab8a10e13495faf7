package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// RunSequential runs a job in the obvious way: one record after the other, then
// one key after the other, with all pairs in memory, no cluster and no combiner.
// It is what every other way to run the job is measured against: their output
// must be the same, byte for byte. Use it to debug a job too, since panics and
// breakpoints are where the job's code is.
//
// Input is read from cfg.Input, output goes to cfg.FileSystem, and cfg.OnlyMaps
// limits the run to some of the map tasks; other fields of cfg are ignored.
func RunSequential(ctx context.Context, job Definition, spec Spec, cfg RunConfig) (*Result, error) {
	d, err := job.define()
	if err != nil {
		return nil, err
	}
	spec = spec.withDefaults()
	fail := func(err error) (*Result, error) {
		return nil, &Error{Op: "run sequentially", Job: d.name, Err: err}
	}
	if err := errors.Join(spec.validate(), cfg.validate()); err != nil {
		return fail(err)
	}
	cfg = cfg.withDefaults()
	if err := d.adapt(&spec); err != nil {
		return fail(err)
	}
	if err := checkOutput(ctx, cfg.FileSystem, &spec); err != nil {
		return fail(err)
	}
	splits, err := planSplits(ctx, d, cfg.Input, &spec)
	if err != nil {
		return fail(err)
	}
	for _, i := range cfg.OnlyMaps {
		if i < 0 || i >= len(splits) {
			return fail(fmt.Errorf("%w: RunConfig.OnlyMaps has %d, there are maps 0 to %d", ErrConfig, i, len(splits)-1))
		}
	}
	r := &sequentialRun{
		only: cfg.OnlyMaps,
		spec: &spec, token: newToken(), splits: splits, input: cfg.Input, output: cfg.FileSystem, counters: make(map[string]int64),
	}
	err = d.sequential(ctx, r)
	if err == nil {
		err = r.commit(ctx)
	}
	if err != nil {
		return fail(errors.Join(err, r.sweep(ctx)))
	}
	result := &Result{Files: r.files, Reduces: spec.Reduces, Counters: r.counters, Skipped: r.skipped, SideFiles: len(r.side)}
	for i := range r.maps() {
		result.Maps++
		result.InputBytes += splits[i].bytes()
	}
	return result, nil
}

// sequentialRun is what a sequential run works on.
type sequentialRun struct {
	spec          *Spec
	token         string
	splits        []Split
	only          []int // of the splits, unless it is empty
	input, output FileSystem
	counters      map[string]int64
	skipped       []SkippedRecord
	claims        claims
	side          []rename
	files         []string // the output, once it is committed
}

// execute runs a task, and again without the records that it has failed on twice,
// if bad records are skipped. What an execution has done must have no effect
// unless it succeeds.
func (r *sequentialRun) execute(ctx context.Context, kind TaskKind, index int, run func(t *Task) error) error {
	var tr *trouble
	for {
		t := &Task{ctx: ctx, spec: r.spec, kind: kind, index: index}
		t.watch(tr.care(), nil)
		t.newFiles(r.output, r.token, r.tasks(kind), r.spec.last(), func(run func() error) error { return run() })
		err := run(t)
		if err == nil {
			err = r.takeFiles(t)
		}
		if err != nil {
			t.files.remove()
		} else {
			r.skipped = append(r.skipped, tr.list(kind, index)...)
			return r.counted(t)
		}
		at := t.records.at.Load()
		may := len(r.skipped)+len(tr.care().skip) < r.spec.SkipBadRecords
		if at == 0 || !may {
			return fmt.Errorf("%s: %w", t.name(), err)
		}
		tr, _ = tr.suspect(at-1, err.Error(), failuresToSkip, may)
	}
}

// tasks returns the number of tasks of a kind.
func (r *sequentialRun) tasks(kind TaskKind) int {
	if kind == MapTask {
		return len(r.splits)
	}
	return r.spec.Reduces
}

// maps returns the splits whose maps are executed, with their numbers.
func (r *sequentialRun) maps() iter.Seq2[int, Split] {
	return func(yield func(int, Split) bool) {
		for i, split := range r.splits {
			if (len(r.only) == 0 || slices.Contains(r.only, i)) && !yield(i, split) {
				return
			}
		}
	}
}

// takeFiles takes in what a task has written besides its output.
func (r *sequentialRun) takeFiles(t *Task) error {
	names, err := t.files.end()
	ref := taskRef{kind: t.kind, index: t.index}
	if err == nil {
		err = r.claims.check(ref, names)
	}
	if err != nil {
		return err
	}
	r.claims.claim(ref, names)
	for n, name := range names {
		r.side = append(r.side, rename{sideName(r.spec, r.token, ref, t.attempt, n), path.Join(r.spec.Output, name)})
	}
	return nil
}

// counted takes in what a task has counted.
func (r *sequentialRun) counted(t *Task) error {
	for _, c := range t.counters.counts() {
		r.counters[c.name] += c.n
	}
	if len(r.counters) > maxCounters {
		return fmt.Errorf("%w: the tasks have more than %d different ones", ErrCounter, maxCounters)
	}
	return t.counters.err()
}

// executeToFile executes a task that writes a file of the output, whose bytes a
// counter counts.
func (r *sequentialRun) executeToFile(ctx context.Context, kind TaskKind, index int, counter string, run func(t *Task, out io.Writer) error) error {
	return r.execute(ctx, kind, index, func(t *Task) error {
		name := attemptName(r.spec, r.token, index, t.attempt)
		w, err := createPart(ctx, r.output, name, partBuffer)
		if err != nil {
			return err
		}
		if err := run(t, w); err != nil {
			w.abandon(r.output, name)
			return err
		}
		t.counters.get(counter).Add(w.size)
		return w.close()
	})
}

// commit gives all files their final names.
func (r *sequentialRun) commit(ctx context.Context) error {
	for _, f := range r.side {
		if err := r.output.Commit(ctx, f.temporary, f.final); err != nil {
			return err
		}
	}
	r.files = partNames(r.spec.Output, r.tasks(r.spec.last()))
	for i, final := range r.files {
		if err := r.output.Commit(ctx, attemptName(r.spec, r.token, i, Attempt{}), final); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what a run that has failed has left behind.
func (r *sequentialRun) sweep(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // it may be why the run has failed
	names, err := r.output.Glob(ctx, attemptPattern(r.spec, r.token))
	for _, name := range names {
		err = errors.Join(err, r.output.Remove(ctx, name))
	}
	return err
}

// sequential implements definition.sequential.
func (c *compiled[K, V, R]) sequential(ctx context.Context, r *sequentialRun) error {
	ranges := newRanges(r.spec.Bounds)
	return r.mapAndReduce(ctx, func(t *Task, split Split, add func(sequentialPair)) error {
		emits := emissions{records: t.counters.local(CounterMapRecordsOut)}
		return c.eachRecord(t, c.Input.Read(ctx, r.input, split), &emits, func(k K, v V) {
			emits.records.n++
			key := c.Keys.Append(nil, k)
			p, err := c.partition(ranges, k, key, r.spec.Reduces)
			if err != nil {
				emits.failed = err
				return
			}
			add(sequentialPair{p, string(key), c.Values.Append(nil, v)})
		})
	}, c.reduceGroups)
}

// mapAndReduce executes all tasks. mapSplit runs a map and adds what it emits; reduce
// is definition.reduceGroups. The values of a key are kept in the order in which they
// were emitted, each with its length.
func (r *sequentialRun) mapAndReduce(ctx context.Context, mapSplit func(t *Task, split Split, add func(sequentialPair)) error,
	reduce func(t *Task, in groupReader, out io.Writer) error) error {
	parts := make([]map[string][]byte, r.spec.Reduces)
	for p := range parts {
		parts[p] = make(map[string][]byte)
	}
	for i, split := range r.maps() {
		var pairs []sequentialPair
		err := r.execute(ctx, MapTask, i, func(t *Task) error {
			pairs = pairs[:0]
			return mapSplit(t, split, func(p sequentialPair) { pairs = append(pairs, p) })
		})
		if err != nil {
			return err
		}
		for _, pair := range pairs {
			values := parts[pair.partition]
			values[pair.key] = wire.AppendBytes(values[pair.key], pair.value)
		}
	}
	for p, values := range parts {
		err := r.executeToFile(ctx, ReduceTask, p, CounterReduceBytesOut, func(t *Task, out io.Writer) error {
			in := &sequentialGroups{keys: slices.Sorted(maps.Keys(values)), values: values}
			return reduce(t, in, out)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mapToFiles executes all tasks of a run without reduces. mapToFile is that of the
// definition.
func (r *sequentialRun) mapToFiles(ctx context.Context, input Input, mapToFile func(*Task, iter.Seq2[Record, error], io.Writer) error) error {
	for i, split := range r.maps() {
		err := r.executeToFile(ctx, MapTask, i, CounterMapBytesOut, func(t *Task, out io.Writer) error {
			return mapToFile(t, input.Read(ctx, r.input, split), out)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sequentialPair is what a map has emitted.
type sequentialPair struct {
	partition int
	key       string
	value     []byte
}

// sequentialGroups walks through the dictionary of a partition.
type sequentialGroups struct {
	keys   []string // those left
	values map[string][]byte
	rest   wire.Decoder // the values left of the present key
}

var _ groupReader = (*sequentialGroups)(nil)

func (g *sequentialGroups) nextKey() ([]byte, bool, error) {
	if len(g.keys) == 0 {
		return nil, false, nil
	}
	key := g.keys[0]
	g.keys = g.keys[1:]
	g.rest = wire.NewDecoder(g.values[key])
	return []byte(key), true, nil
}

func (g *sequentialGroups) nextValue() ([]byte, bool) {
	if g.rest.Len() == 0 {
		return nil, false
	}
	return g.rest.Bytes(), true
}
