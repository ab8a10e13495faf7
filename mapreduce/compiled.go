package mapreduce

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"runtime/debug"
)

// compiled is a job whose defaults are set. It is the only place where keys and
// values have their types while a task runs.
type compiled[K, V, R any] struct{ Job[K, V, R] }

// mapRecords implements definition.mapRecords.
func (c *compiled[K, V, R]) mapRecords(t *Task, records iter.Seq2[Record, error], out *collector) error {
	keys, values := newEncoder(c.Keys), newEncoder(c.Values)
	ranges := newRanges(t.spec.Bounds)
	emits := emissions{records: t.counters.local(CounterMapRecordsOut)}
	if c.Combine == nil {
		out.mem.dropTable() // of another job
		err := c.eachRecord(t, records, &emits, func(k K, v V) {
			if emits.failed != nil {
				return
			}
			emits.records.n++
			key := keys.encode(k)
			p, err := c.partition(ranges, k, key, out.reduces)
			if err == nil {
				err = out.add(p, key, values.encode(v))
			}
			if err != nil {
				emits.failed = err
			}
		})
		return err
	}
	table := newCombiner(c.Combine, values, func(key, value []byte) error {
		p, err := c.partitionEncoded(ranges, key, out.reduces)
		if err != nil {
			return err
		}
		return out.add(p, key, value)
	}, out.mem)
	emits.combining = &table.settling
	if t.records.on { // a record has to be to blame for what Combine does
		emits.settle = table.settle
	}
	err := c.eachRecord(t, records, &emits, func(k K, v V) {
		if emits.failed == nil {
			emits.records.n++
			if err := table.add(keys.encode(k), v); err != nil {
				emits.failed = err
			}
		}
	})
	if err != nil {
		return err
	}
	return guard(func() string { return "combining" }, func() error {
		if err := table.settle(); err != nil {
			return err
		}
		if !table.flushed {
			out.fold = nil // no two pairs have the same key
		}
		return table.end()
	})
}

// emissions is what has become of what Map emitted.
type emissions struct {
	failed  error // of emit, which has no way to return it
	records localCounter
	settle  func() error // called when Map has returned; may be nil
	// combining is set while pairs of this record and of those before it are combined;
	// may be nil.
	combining *bool
}

// eachRecord calls Map with every record. If emit has failed, it returns that error
// when Map returns.
func (c *compiled[K, V, R]) eachRecord(t *Task, records iter.Seq2[Record, error], emits *emissions, emit func(K, V)) error {
	var file string // where the present record begins
	var offset int64
	in, bytes := t.counters.local(CounterMapRecordsIn), t.counters.local(CounterMapBytesIn)
	flush := func() { in.flush(); bytes.flush(); emits.records.flush() }
	defer flush()
	describe := func() string {
		what := "record"
		if emits.combining != nil && *emits.combining {
			what = "combining, up to the record"
		}
		return fmt.Sprintf("%s at %s:%d", what, file, offset)
	}
	return guard(describe, func() error {
		for r, err := range records {
			if err != nil {
				return err
			}
			file, offset = r.File, r.Offset
			t.alive()
			if t.records.on {
				if skip, err := t.records.enter(); err != nil {
					return err
				} else if skip {
					continue
				}
			}
			err := c.Map(t, r, emit)
			if emits.settle != nil && err == nil && emits.failed == nil {
				emits.failed = emits.settle()
			}
			broken := false
			if t.files.troubled() {
				var failure error
				broken, failure = t.files.failure()
				err = cmp.Or(err, failure)
			}
			if err == nil || emits.failed != nil || broken {
				t.records.leave() // it is not the record's fault
			}
			if err != nil {
				return fmt.Errorf("%s: %w", describe(), err)
			}
			if emits.failed != nil {
				return fmt.Errorf("%s: %w", describe(), emits.failed)
			}
			in.n++
			bytes.n += int64(len(r.Key) + len(r.Value))
			if in.n == countEvery {
				flush()
			}
			if err := t.ctx.Err(); err != nil {
				return context.Cause(t.ctx)
			}
		}
		return t.records.end()
	})
}

// partition returns the partition of a key whose encoding is at hand.
func (c *compiled[K, V, R]) partition(in *ranges, k K, key []byte, n int) (int, error) {
	if c.Group != nil {
		key = groupPrefix(key)
	}
	if len(in.bounds) > 0 {
		return in.of(key), nil
	}
	if c.Partition == nil {
		return hashRange(hashKey(key), n), nil
	}
	return checkPartition(c.Partition(k, n), n)
}

// partitionEncoded returns the partition of an encoded key.
func (c *compiled[K, V, R]) partitionEncoded(in *ranges, key []byte, n int) (int, error) {
	var k K
	if c.Partition == nil || len(in.bounds) > 0 {
		return c.partition(in, k, key, n) // which has no use for k
	}
	k, err := c.Keys.Decode(key)
	if err != nil {
		return 0, fmt.Errorf("decode a key: %w", err)
	}
	return checkPartition(c.Partition(k, n), n)
}

func checkPartition(p, n int) (int, error) {
	if p < 0 || p >= n {
		return 0, fmt.Errorf("%w: Job.Partition returned %d for %d partitions", ErrConfig, p, n)
	}
	return p, nil
}

// fold implements definition.fold.
func (c *compiled[K, V, R]) fold(dst, a, b []byte) ([]byte, error) {
	x, err := c.Values.Decode(a)
	if err != nil {
		return dst, fmt.Errorf("decode a value: %w", err)
	}
	y, err := c.Values.Decode(b)
	if err != nil {
		return dst, fmt.Errorf("decode a value: %w", err)
	}
	return c.Values.Append(dst, c.Combine(x, y)), nil
}

// guard runs code of the user's and turns a panic into an error that says where
// it was.
func guard(where func() string, run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: %v\n%s", ErrPanic, where(), p, debug.Stack())
		}
	}()
	return run()
}
