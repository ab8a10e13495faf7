package mapreduce

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

const (
	// maxCounters bounds the different counters of a job.
	maxCounters = 256
	// maxCounterBytes bounds the length of a counter's name.
	maxCounterBytes = 128
)

// namedCount is what one attempt has counted under a name.
type namedCount struct {
	name string
	n    int64
}

// counts are those of an attempt, in the order of their names, which differ.
type counts []namedCount

func (c counts) append(dst []byte) []byte {
	dst = appendUvarints(dst, uint64(len(c)))
	for _, one := range c {
		dst = binary.AppendVarint(wire.AppendString(dst, one.name), one.n)
	}
	return dst
}

// get returns the number of a name, 0 if there is none.
func (c counts) get(name string) int64 {
	i, ok := slices.BinarySearchFunc(c, name, func(one namedCount, name string) int { return cmp.Compare(one.name, name) })
	if !ok {
		return 0
	}
	return c[i].n
}

func decodeCounts(d *wire.Decoder) counts {
	n := d.Count(2)
	if n > maxCounters {
		d.Fail("%d counters", n)
		return nil
	}
	if n == 0 {
		return nil
	}
	c := make(counts, n)
	for i := range c {
		c[i] = namedCount{d.String(), d.Varint()}
		if len(c[i].name) > maxCounterBytes || i > 0 && c[i].name <= c[i-1].name {
			d.Fail("counter %.200q is out of order or too long", c[i].name)
		}
	}
	return c
}

// tally holds the sums of a job's counters. What a completed task has added to
// them is kept in few bytes with the task, as pairs of a counter's index here and
// a number, so that it can be taken away again when the task has been done again.
type tally struct {
	names []string
	sums  []int64        // by index in names
	index map[string]int // of names
}

// intern returns the pairs of an attempt's counts. It reports false, and does
// nothing, if the job has too many counters with them.
func (t *tally) intern(c counts) (pairs []byte, ok bool) {
	fresh := 0
	for _, one := range c {
		if _, known := t.index[one.name]; !known {
			fresh++
		}
	}
	if len(t.names)+fresh > maxCounters {
		return nil, false
	}
	for _, one := range c {
		i, known := t.index[one.name]
		if !known {
			i = t.define(one.name)
		}
		pairs = binary.AppendVarint(appendUvarints(pairs, uint64(i)), one.n)
	}
	return pairs, true
}

// define adds a counter.
func (t *tally) define(name string) int {
	if t.index == nil {
		t.index = make(map[string]int)
	}
	t.index[name] = len(t.names)
	t.names, t.sums = append(t.names, name), append(t.sums, 0)
	return len(t.names) - 1
}

// add adds pairs, or takes them away if sign is -1.
func (t *tally) add(pairs []byte, sign int64) error {
	d := wire.NewDecoder(pairs)
	for d.Len() > 0 {
		i, n := d.Int(maxCounters), d.Varint()
		if d.Err() != nil || i >= len(t.names) {
			return fmt.Errorf("counter %d of %d: %w", i, len(t.names), cmp.Or(d.Err(), error(ErrCorrupt)))
		}
		t.sums[i] += sign * n
	}
	return nil
}

// clone returns a copy that shares nothing which changes.
func (t *tally) clone() tally {
	return tally{slices.Clone(t.names), slices.Clone(t.sums), maps.Clone(t.index)}
}

// values returns the sums by name.
func (t *tally) values() map[string]int64 {
	v := make(map[string]int64, len(t.names))
	for i, name := range t.names {
		v[name] = t.sums[i]
	}
	return v
}

// appendCounters appends the counters of a status.
func appendCounters(dst []byte, c map[string]int64) []byte {
	dst = appendUvarints(dst, uint64(len(c)))
	for _, name := range slices.Sorted(maps.Keys(c)) {
		dst = binary.AppendVarint(wire.AppendString(dst, name), c[name])
	}
	return dst
}

func decodeCounters(d *wire.Decoder) map[string]int64 {
	n := d.Count(2)
	if n == 0 {
		return nil
	}
	c := make(map[string]int64, n)
	for range n {
		name := d.String()
		c[name] = d.Varint()
	}
	return c
}
