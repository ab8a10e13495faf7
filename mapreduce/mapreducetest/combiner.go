package mapreducetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/trilith-go/trilith/mapreduce"
)

// ErrCombiner is matched by the errors of CheckCombiner about the combiner.
var ErrCombiner = errors.New("mapreducetest: the combiner does not keep the meaning")

// maxLawValues bounds the values of a key that the laws are tried on; of more, some
// from all over are taken.
const maxLawValues = 24

// CheckCombiner runs a job on an input, sequentially, to see whether its combiner is
// what Job.Combine asks for: for the values of each key that Map emits, and for
// what it makes of them,
//
//   - combining a with b gives what combining b with a gives, and b is not changed;
//   - in which groups three values are combined makes no difference;
//   - Reduce gives the same for all values, for one that they are combined into, and
//     for groups of them, combined each, in the files as a whole, byte for byte.
//
// Values are compared by their encoding. A combiner that passes may still be wrong on
// other data: the more there is of it, and the more values a key has, the better.
// Spec.Output need not be set.
func CheckCombiner[K, V, R any](ctx context.Context, job mapreduce.Job[K, V, R], spec mapreduce.Spec, input mapreduce.FileSystem) error {
	if job.Combine == nil {
		return fmt.Errorf("mapreducetest: job %s has no combiner", job.Name)
	}
	c := &combinerCheck[K, V, R]{job: job, values: job.Values}
	if c.values == nil {
		var err error
		if c.values, err = mapreduce.DefaultCodec[V](); err != nil {
			return err
		}
	}
	spec.Output = "out"
	var want *outcome
	for i, way := range c.ways() {
		got, err := sequential(ctx, c.grouped(way.group, i == 0), spec, input)
		if c.failed != nil {
			return c.failed // or else the key may have been skipped for it
		}
		if err != nil {
			return err
		}
		if want == nil {
			want = got
			continue
		}
		got.result.Counters = want.result.Counters // how many values there are is no matter
		if err := want.compare(got); err != nil {
			return fmt.Errorf("%w: Reduce gives something else if %s are combined: %w", ErrCombiner, way.what, err)
		}
	}
	return nil
}

type combinerCheck[K, V, R any] struct {
	job    mapreduce.Job[K, V, R]
	values mapreduce.Codec[V]
	failed error // what is wrong with the combiner
}

// way is a way to combine some of the values of a key.
type way struct {
	what  string
	group func(c func(a, b []byte) ([]byte, error), values [][]byte) ([][]byte, error)
}

// ways returns ways to combine; the first is not to.
func (c *combinerCheck[K, V, R]) ways() []way {
	type fold = func(a, b []byte) ([]byte, error)
	all := func(f fold, values [][]byte) ([]byte, error) {
		sum, err := values[0], error(nil)
		for _, v := range values[1:] {
			if sum, err = f(sum, v); err != nil {
				return nil, err
			}
		}
		return sum, nil
	}
	runs := func(n int) func(fold, [][]byte) ([][]byte, error) {
		return func(f fold, values [][]byte) (out [][]byte, err error) {
			for group := range slices.Chunk(values, n) {
				sum, err := all(f, group)
				if err != nil {
					return nil, err
				}
				out = append(out, sum)
			}
			return out, nil
		}
	}
	return []way{
		{"no values", func(_ fold, values [][]byte) ([][]byte, error) { return values, nil }},
		{"all values of a key", func(f fold, values [][]byte) ([][]byte, error) { return runs(len(values))(f, values) }},
		{"pairs of values", runs(2)},
		{"pairs of values, and pairs of the results", func(f fold, values [][]byte) ([][]byte, error) {
			values, err := runs(2)(f, values)
			if err != nil {
				return nil, err
			}
			return runs(2)(f, values)
		}},
		{"the values of a key but the first", func(f fold, values [][]byte) ([][]byte, error) {
			if len(values) < 2 {
				return values, nil
			}
			rest, err := all(f, values[1:])
			return [][]byte{values[0], rest}, err
		}},
	}
}

// grouped returns the job without a combiner, whose Reduce gets the values combined in
// some way, and tries the laws on them if laws is set.
func (c *combinerCheck[K, V, R]) grouped(group func(func(a, b []byte) ([]byte, error), [][]byte) ([][]byte, error), laws bool) mapreduce.Job[K, V, R] {
	job := c.job
	job.Combine = nil
	job.Reduce = func(t *mapreduce.Task, key K, values iter.Seq[V], emit func(R)) error {
		var encoded [][]byte
		for v := range values {
			encoded = append(encoded, c.values.Append(nil, v))
		}
		var err error
		if laws {
			err = c.laws(encoded)
		}
		if err == nil {
			encoded, err = group(c.combine, encoded)
		}
		if err != nil {
			c.failed = fmt.Errorf("key %.100q: %w", fmt.Sprint(key), err)
			return c.failed
		}
		var failed error
		err = c.job.Reduce(t, key, func(yield func(V) bool) {
			for _, b := range encoded {
				v, err := c.values.Decode(b)
				if err != nil {
					failed = fmt.Errorf("decode what Combine returned: %w", err)
					return
				}
				if !yield(v) {
					return
				}
			}
		}, emit)
		return errors.Join(err, failed)
	}
	return job
}

// combine combines encoded values.
func (c *combinerCheck[K, V, R]) combine(a, b []byte) ([]byte, error) {
	x, err := c.values.Decode(slices.Clone(a))
	if err != nil {
		return nil, err
	}
	y, err := c.values.Decode(slices.Clone(b))
	if err != nil {
		return nil, err
	}
	sum := c.values.Append(nil, c.job.Combine(x, y))
	if after := c.values.Append(nil, y); !bytes.Equal(after, b) {
		return nil, fmt.Errorf("%w: combining %s with %s changes the latter to %s", ErrCombiner, c.show(a), c.show(b), c.show(after))
	}
	return sum, nil
}

// laws tries the values of a key.
func (c *combinerCheck[K, V, R]) laws(values [][]byte) error {
	var some [][]byte
	for i := range min(maxLawValues, len(values)) {
		some = append(some, values[i*len(values)/min(maxLawValues, len(values))])
	}
	for i := range some {
		if i+1 >= len(some) {
			break
		}
		a, b := some[i], some[i+1]
		ab, err := c.combine(a, b)
		if err != nil {
			return err
		}
		ba, err := c.combine(b, a)
		if err != nil {
			return err
		}
		if !bytes.Equal(ab, ba) {
			return fmt.Errorf("%w: it is not commutative: %s with %s is %s, the other way round %s",
				ErrCombiner, c.show(a), c.show(b), c.show(ab), c.show(ba))
		}
		if i+2 >= len(some) {
			break
		}
		if err := c.associative(a, b, some[i+2]); err != nil {
			return err
		}
		if err := c.associative(ab, b, ba); err != nil { // also of what it returned
			return err
		}
	}
	return nil
}

func (c *combinerCheck[K, V, R]) associative(a, b, d []byte) error {
	combine := func(x, y []byte, err error) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return c.combine(x, y)
	}
	ab, err := combine(a, b, nil)
	left, err := combine(ab, d, err)
	if err != nil {
		return err
	}
	bd, err := combine(b, d, nil)
	right, err := combine(a, bd, err)
	if err != nil {
		return err
	}
	if !bytes.Equal(left, right) {
		return fmt.Errorf("%w: it is not associative: of %s, %s and %s, the first two combined first give %s, the last two first %s",
			ErrCombiner, c.show(a), c.show(b), c.show(d), c.show(left), c.show(right))
	}
	return nil
}

// show returns an encoded value as it can be printed.
func (c *combinerCheck[K, V, R]) show(b []byte) string {
	v, err := c.values.Decode(slices.Clone(b))
	if err != nil {
		return fmt.Sprintf("%x", b)
	}
	return fmt.Sprintf("%.60v", v)
}
