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
