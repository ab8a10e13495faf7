package mapreduce

import (
	"cmp"
	"context"
	"fmt"
	"io"
)

// groupReader is sorted input for a reducer: pairs, grouped by key.
type groupReader interface {
	// nextKey skips what is left of the present group and returns the key of the
	// next, valid until the call after it; false at the end.
	nextKey() (key []byte, ok bool, err error)
	// nextValue returns the next value of the group, valid until the next call;
	// false at the end of the group. An error shows in nextKey.
	nextValue() (value []byte, ok bool)
}

// reduceGroups implements definition.reduceGroups.
func (c *compiled[K, V, R]) reduceGroups(t *Task, in groupReader, out io.Writer) error {
	var group *grouped
	if c.Group != nil {
		group = &grouped{in: in}
		in = group
	}
	r := &reduction[K, V, R]{
		job: c, t: t, in: in, group: group, decodeKey: newDecoder(c.Keys), decodeValue: newDecoder(c.Values),
		keys:    t.counters.local(CounterReduceKeysIn),
		taken:   t.counters.local(CounterReduceRecsIn),
		results: t.counters.local(CounterReduceRecsOut),
	}
	defer r.flush()
	return guard(r.describe, func() (err error) {
		if r.out, err = c.Output.Begin(t, out); err != nil {
			return fmt.Errorf("begin the output: %w", err)
		}
		if err := r.run(); err != nil {
			return err
		}
		r.begun = false
		if err := r.out.Close(); err != nil {
			return fmt.Errorf("end the output: %w", err)
		}
		return nil
	})
}

// reduction runs Reduce over the groups of a partition.
type reduction[K, V, R any] struct {
	job *compiled[K, V, R]
	t   *Task
	in  groupReader
	out ResultWriter[K, R]

	group *grouped // in, if groups have more than one key

	decodeKey   decoder[K]
	decodeValue decoder[V]

	key     K     // of the group
	present K     // of the value that was taken last
	begun   bool  // key is set
	reading bool  // Reduce runs, and may range over the values
	failed  error // of what emit and the values do, which cannot return it

	keys, taken, results localCounter
}

// run calls Reduce with every group.
func (r *reduction[K, V, R]) run() error {
	emit, values, pairs := r.emit, r.values, r.pairs
	for {
		encoded, ok, err := r.in.nextKey()
		if err != nil {
			return err
		}
		if !ok {
			return r.t.records.end()
		}
		r.t.alive()
		if skip, err := r.t.records.enter(); skip || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if r.key, err = r.decodeKey.decode(encoded); err != nil {
			return fmt.Errorf("decode a key: %w", err)
		}
		r.present, r.begun, r.reading = r.key, true, true
		if r.job.Reduce != nil {
			err = r.job.Reduce(r.t, r.key, values, emit)
		} else {
			err = r.job.ReduceGroup(r.t, r.key, pairs, emit)
		}
		r.reading = false
		broken := false
		if r.t.files.troubled() {
			var failure error
			broken, failure = r.t.files.failure()
			err = cmp.Or(err, failure)
		}
		if err == nil || r.failed != nil || broken {
			r.t.records.leave() // it is not the key's fault
		}
		if err = cmp.Or(err, r.failed); err != nil {
			return fmt.Errorf("%s: %w", r.describe(), err)
		}
		if r.keys.n++; r.keys.n == countEvery {
			r.flush()
		}
		if r.t.ctx.Err() != nil {
			return context.Cause(r.t.ctx)
		}
	}
}

// emit takes a result.
func (r *reduction[K, V, R]) emit(result R) {
	if r.failed != nil {
		return
	}
	r.results.n++
	r.failed = r.out.Write(r.key, result)
}

// values yields the values of the present group.
func (r *reduction[K, V, R]) values(yield func(V) bool) {
	for {
		if v, ok := r.next(); !ok || !yield(v) {
			return
		}
	}
}

// pairs yields the values of the present group with their keys.
func (r *reduction[K, V, R]) pairs(yield func(K, V) bool) {
	for {
		v, ok := r.next()
		if !ok {
			return
		}
		if r.group != nil && r.group.moved {
			var err error
			if r.present, err = r.decodeKey.decode(r.group.key); err != nil {
				r.failed = fmt.Errorf("decode a key: %w", err)
				return
			}
			r.group.moved = false
		}
		if !yield(r.present, v) {
			return
		}
	}
}

// next returns the next value of the present group, if there is one.
func (r *reduction[K, V, R]) next() (v V, ok bool) {
	if !r.reading || r.failed != nil {
		return v, false
	}
	src, ok := r.in.nextValue()
	if !ok {
		return v, false
	}
	r.t.alive()
	r.taken.n++
	v, err := r.decodeValue.decode(src)
	if err != nil {
		r.failed = fmt.Errorf("decode a value: %w", err)
	}
	return v, err == nil
}

// flush hands the counters on.
func (r *reduction[K, V, R]) flush() { r.keys.flush(); r.taken.flush(); r.results.flush() }

// describe says where the reduction is.
func (r *reduction[K, V, R]) describe() string {
	if !r.begun {
		return "output"
	}
	return fmt.Sprintf("key %.100q", fmt.Sprint(r.key))
}
