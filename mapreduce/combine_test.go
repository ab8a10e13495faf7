package mapreduce

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever the keys and the memory, what the table hands on comes to what was added, and
// each key once if it was never full.
func TestCombinerCombines(t *testing.T) {
	flushed := 0
	for name, makeKey := range keyMakers {
		for seed := range uint64(6) {
			r := rand.New(rand.NewPCG(seed, 9))
			most := int64(1) << r.IntN(24)
			got, want, again := make(map[string]int), make(map[string]int), 0
			table := newCombiner(Add[int], newEncoder[int](signedCodec[int]{}), func(key, value []byte) error {
				n, err := signedCodec[int]{}.Decode(value)
				if _, ok := got[string(key)]; ok {
					again++
				}
				got[string(key)] += n
				return err
			}, newSortMemory(most/2, most, func(int64) bool { return true }))
			for i := range 20_000 {
				key := makeKey(r)
				if i%3 == 0 { // of any length
					key = append(key, strings.Repeat("x", r.IntN(24))...)
				}
				want[string(key)] += i
				if err := table.add(key, i); err != nil {
					t.Fatal(err)
				}
			}
			if err := table.end(); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, want) {
				t.Fatalf("%s, seed %d: other sums", name, seed)
			}
			if again > 0 && !table.flushed {
				t.Fatalf("%s, seed %d: %d keys twice from a table that was not flushed", name, seed, again)
			}
			if table.flushed {
				flushed++
			} else if table.mem.keys != len(want) {
				t.Errorf("%s, seed %d: it had %d keys, want %d", name, seed, table.mem.keys, len(want))
			}
		}
	}
	if flushed < 5 {
		t.Errorf("only %d tables were flushed", flushed)
	}
}

// A table is left to the next task, empty and counted, unless that has another type of
// values, far fewer keys, or no combiner.
func TestCombinerInheritsTheTable(t *testing.T) {
	const most = 64 << 20
	mem := newSortMemory(most, most, nil)
	sum := func(keys int) (inherited bool) {
		got := make(map[string]int)
		c := newCombiner(Add[int], newEncoder[int](signedCodec[int]{}), func(key, value []byte) error {
			n, err := signedCodec[int]{}.Decode(value)
			got[string(key)] += n
			return err
		}, mem)
		inherited = len(c.entries) > 0
		for i := range 2 * keys {
			if err := c.add(fmt.Append(nil, "key ", i%keys), 1+i%keys); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			if n := got[fmt.Sprint("key ", i)]; n != 2*(1+i) {
				t.Fatalf("key %d of %d has a sum of %d", i, keys, n)
			}
		}
		if len(got) != keys {
			t.Fatalf("%d keys came out, want %d", len(got), keys)
		}
		mem.rest()
		if mem.table != 0 || mem.held != mem.unused || mem.unused == 0 {
			t.Fatalf("%d bytes are held, %d by a table, %d by one that is left", mem.held, mem.table, mem.unused)
		}
		return inherited
	}
	for i, c := range []struct {
		keys      int
		inherited bool
	}{{100_000, false}, {100_000, true}, {150_000, true}, {100, true}, {100, false}, {100, true}} {
		if inherited := sum(c.keys); inherited != c.inherited {
			t.Errorf("task %d inherited a table: %v, want %v", i, inherited, c.inherited)
		}
	}
	if c := newCombiner(Add[float64], newEncoder[float64](nil), nil, mem); len(c.entries) > 0 || mem.held != 0 || mem.left != nil {
		t.Errorf("a table of other values is there, or %d bytes are held", mem.held)
	}
	sum(100)
	mem.dropTable()
	if mem.held != 0 || mem.left != nil {
		t.Errorf("%d bytes are held when the table has been dropped", mem.held)
	}
}

// Values that are large, or refer to memory, are combined all the same, in the order in
// which they came.
func TestCombinerOfOtherValues(t *testing.T) {
	type large [4096]uint16
	add := func(a, b large) large { a[len(a)-1] += b[len(b)-1]; return a }
	codec, err := DefaultCodec[large]()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]uint16)
	sum := newCombiner(add, newEncoder(codec), func(key, value []byte) error {
		v, err := codec.Decode(value)
		sums[string(key)] += v[len(v)-1]
		return err
	}, newSortMemory(minShare, minShare, nil))
	join := func(a, b string) string { return a + b }
	texts := make(map[string]string)
	text := newCombiner(join, newEncoder[string](stringCodec{}), func(key, value []byte) error {
		texts[string(key)] += string(value)
		return nil
	}, newSortMemory(64<<10, 64<<10, nil))
	want := make(map[string]string)
	for i := range 5000 {
		key := fmt.Sprint("key", i%300)
		piece := fmt.Appendf(nil, "%d,", i)
		want[key] += string(piece)
		if err := text.add([]byte(key), viewString(piece)); err != nil {
			t.Fatal(err)
		}
		clear(piece) // the table has a copy
		if err := sum.add([]byte(key), large{len(large{}) - 1: uint16(i % 7)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := text.end(); err != nil {
		t.Fatal(err)
	}
	if err := sum.end(); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(texts, want) {
		t.Error("other texts")
	}
	total := 0
	for _, n := range sums {
		total += int(n)
	}
	wantTotal := 0
	for i := range 5000 {
		wantTotal += i % 7
	}
	if total != wantTotal || !sum.flushed || !text.flushed {
		t.Errorf("a sum of %d, want %d; flushed: %v and %v", total, wantTotal, sum.flushed, text.flushed)
	}
}

// A key of up to sixteen bytes is in its combinerKey, and no other has the same.
func TestCombinerKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 10))
	seen := make(map[combinerKey]string)
	for range 50_000 {
		b := make([]byte, r.IntN(shortKey+1))
		for i := range b {
			b[i] = byte(r.IntN(3)) * 127
		}
		k, _ := newCombinerKey(b)
		if got := k.shortBytes([]byte("before")); string(got) != "before"+string(b) {
			t.Fatalf("%x became %x", b, got)
		}
		if other, ok := seen[k]; ok && other != string(b) {
			t.Fatalf("%x and %x are the same", b, other)
		}
		seen[k] = string(b)
	}
}
