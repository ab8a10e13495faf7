package mapreduce

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
)

const (
	// The input is sampled at so many places at most, and at each so many keys are
	// taken.
	samplePlaces = 128
	sampleKeys   = 1 << 10

	// A place is a split of the input of about this size, or larger where that would
	// give too many splits.
	samplePlaceBytes = 64 << 10
	maxSampleSplits  = 16 << 10
)

// SampleBounds returns Spec.Bounds for a run of the job with that spec: it runs Map
// over some records at many places of the input, and divides the keys that it emits
// into spec.Reduces ranges that are about equally frequent. The same input gives the
// same bounds.
func SampleBounds(ctx context.Context, job Definition, spec Spec, input FileSystem) ([][]byte, error) {
	d, err := job.define()
	if err != nil {
		return nil, err
	}
	fail := func(err error) ([][]byte, error) {
		return nil, &Error{Op: "sample", Job: d.name, Err: err}
	}
	spec = spec.withDefaults()
	spec.Bounds = nil
	err = spec.validate()
	if err == nil {
		err = d.adapt(&spec)
	}
	if err != nil {
		return fail(err)
	}
	if d.last(&spec) == MapTask {
		return fail(fmt.Errorf("%w: the job has no reduces, whose keys bounds would divide", ErrConfig))
	}
	if input == nil {
		return fail(fmt.Errorf("%w: the file system of the input is missing", ErrConfig))
	}
	places, err := planSample(ctx, d, input, spec)
	if err != nil {
		return fail(err)
	}
	var keys [][]byte
	for i, place := range places {
		t := &Task{ctx: ctx, spec: &spec, kind: MapTask, index: i}
		taken := 0
		err := d.emittedKeys(t, func(yield func(Record, error) bool) {
			for r, err := range d.input.Read(ctx, input, place) {
				if taken >= sampleKeys || !yield(r, err) {
					return
				}
			}
		}, func(key []byte) {
			if taken < sampleKeys {
				keys = append(keys, bytes.Clone(key))
				taken++
			}
		})
		if err != nil {
			return fail(err)
		}
	}
	return chooseBounds(keys, spec.Reduces), nil
}

// planSample returns the places at which the input is sampled, evenly spread.
func planSample(ctx context.Context, d *definition, input FileSystem, spec Spec) ([]Split, error) {
	splits, err := planSplits(ctx, d, input, &spec)
	if err != nil {
		return nil, err
	}
	var size int64
	for i := range splits {
		size += splits[i].bytes()
	}
	spec.SplitBytes = max(samplePlaceBytes, size/maxSampleSplits)
	if splits, err = planSplits(ctx, d, input, &spec); err != nil {
		return nil, err
	}
	n := min(samplePlaces, len(splits))
	places := make([]Split, n)
	for i := range places {
		places[i] = splits[i*len(splits)/n]
	}
	return places, nil
}

// chooseBounds returns what divides the keys into n ranges of about equally many.
func chooseBounds(keys [][]byte, n int) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	bounds := make([][]byte, n-1)
	for i := range bounds {
		if at := (i + 1) * len(keys) / n; at < len(keys) {
			bounds[i] = separator(keys, at)
		}
	}
	return bounds
}

// separator returns the shortest prefix of keys[at] that is greater than all lesser
// keys.
func separator(keys [][]byte, at int) []byte {
	key := keys[at]
	first, _ := slices.BinarySearchFunc(keys, key, bytes.Compare)
	if first == 0 {
		return key
	}
	before := keys[first-1]
	n := 0
	for n < len(before) && before[n] == key[n] { // key is greater, so no prefix of before
		n++
	}
	return key[:n+1]
}

// emittedKeys implements definition.emittedKeys.
func (c *compiled[K, V, R]) emittedKeys(t *Task, records iter.Seq2[Record, error], take func(key []byte)) error {
	keys := newEncoder(c.Keys)
	emit := func(k K, _ V) {
		key := keys.encode(k)
		if c.Group != nil {
			key = groupPrefix(key) // what bounds divide
		}
		take(key)
	}
	var at Record
	describe := func() string { return fmt.Sprintf("record at %s:%d", at.File, at.Offset) }
	return guard(describe, func() error {
		for r, err := range records {
			if err != nil {
				return err
			}
			at = r
			if err := c.Map(t, r, emit); err != nil {
				return fmt.Errorf("%s: %w", describe(), err)
			}
			if t.ctx.Err() != nil {
				return context.Cause(t.ctx)
			}
		}
		return nil
	})
}
