package gfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// btreeModel is what a tree should be.
type btreeModel map[string]string

func (m btreeModel) compare(t testing.TB, tree *btree) {
	t.Helper()
	if err := tree.check(); err != nil {
		t.Fatal(err)
	}
	keys := slices.Sorted(maps.Keys(m))
	var c btcursor
	ok := c.seek(tree, nil)
	for _, k := range keys {
		if !ok || string(c.key) != k || string(c.value) != m[k] {
			t.Fatalf("found %q (%v), want %q", c.key, ok, k)
		}
		ok = c.forward()
	}
	if ok {
		t.Fatalf("%q is too much", c.key)
	}
}

// near compares all ways to look for a key.
func (m btreeModel) near(t testing.TB, tree *btree, key string) {
	t.Helper()
	value, ok := tree.get([]byte(key))
	want, there := m[key]
	if ok != there || string(value) != want {
		t.Fatalf("get %q: %q, %v, want %q, %v", key, value, ok, want, there)
	}
	var next, before string
	after, below := false, false
	for k := range m {
		if k >= key && (!after || k < next) {
			next, after = k, true
		}
		if k < key && (!below || k > before) {
			before, below = k, true
		}
	}
	var c btcursor
	if ok := c.seek(tree, []byte(key)); ok != after || ok && string(c.key) != next {
		t.Fatalf("seek %q: %q, %v, want %q, %v", key, c.key, ok, next, after)
	}
	got, _, ok := tree.before([]byte("x"), []byte(key))
	if ok != below || ok && string(got) != "x"+before {
		t.Fatalf("before %q: %q, %v, want %q, %v", key, got, ok, before, below)
	}
}

// btreeKey draws a key: numbers in a path, runs of a letter, some long ones, some empty.
func btreeKey(rng *rand.Rand, space int) string {
	n := rng.IntN(space)
	switch rng.IntN(8) {
	case 0:
		return strings.Repeat("k", n%300)
	case 1:
		return fmt.Sprintf("%s/%d", strings.Repeat(string(rune('a'+n%3)), n%2000), n)
	case 2:
		return string(binary.BigEndian.AppendUint64(nil, uint64(n)*0x9e3779b97f4a7c15))
	default:
		return fmt.Sprintf("dir%02d\x00file%06d", n%17, n)
	}
}

// TestBtreeModel compares trees with maps, and frozen trees with the map as it was.
func TestBtreeModel(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			space := 10 << rng.IntN(10)
			tree, model := newBtree(), btreeModel{}
			if seed%2 == 1 {
				tree.reindex([2]uint64{seed, seed})
			}
			type frozen struct {
				tree  btree
				model btreeModel
			}
			var kept []frozen
			for round := range 12 {
				removing := rng.IntN(3) == 0
				for range space / 2 {
					key := btreeKey(rng, space)
					if removing && rng.IntN(8) > 0 || rng.IntN(4) == 0 {
						tree.delete([]byte(key))
						delete(model, key)
					} else {
						value := strings.Repeat("v", rng.IntN(40))
						tree.put([]byte(key), []byte(value))
						model[key] = value
					}
				}
				for range 10 {
					model.near(t, &tree, btreeKey(rng, space))
				}
				model.compare(t, &tree)
				if round%3 == 0 {
					kept = append(kept, frozen{tree.freeze(), maps.Clone(model)})
				}
			}
			for _, f := range kept {
				f.model.compare(t, &f.tree)
			}
			for key := range model {
				tree.delete([]byte(key))
			}
			btreeModel{}.compare(t, &tree)
		})
	}
}

// TestBtreeBuilder compares built trees with maps.
func TestBtreeBuilder(t *testing.T) {
	for _, n := range []int{0, 1, 2, 16, 17, 100, 5000, 40000} {
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		model := btreeModel{}
		for range n {
			model[btreeKey(rng, 4*n)] = strings.Repeat("v", rng.IntN(60))
		}
		var b btbuilder
		for _, k := range slices.Sorted(maps.Keys(model)) {
			if !b.add([]byte(k), []byte(model[k])) {
				t.Fatalf("%q refused", k)
			}
			if b.add([]byte(k), nil) {
				t.Fatalf("%q taken twice", k)
			}
		}
		tree := b.finish()
		tree.reindex([2]uint64{1, 3})
		model.compare(t, &tree)
		for range 100 { // it can be changed like any other
			key := btreeKey(rng, 4*n+1)
			tree.put([]byte(key), []byte("new"))
			model[key] = "new"
		}
		model.compare(t, &tree)
	}
}

// TestBtreeAscending: keys that come in order fill leaves.
func TestBtreeAscending(t *testing.T) {
	tree := newBtree()
	for i := range 50000 {
		tree.put(fmt.Appendf(nil, "a/directory/file-%08d", i), bytes.Repeat([]byte{1}, 25))
	}
	leaves, size := 0, 0
	var count func(n *btnode)
	count = func(n *btnode) {
		if n.inner == nil {
			leaves++
			size += cap(n.leaf)
			return
		}
		for _, k := range n.inner.kids {
			count(k)
		}
	}
	count(tree.root)
	if fill := float64(size) / float64(leaves*leafMax); fill < 0.95 {
		t.Errorf("leaves are %.2f full", fill)
	}
	if per := float64(size) / 50000; per > 36 {
		t.Errorf("%.1f bytes an entry of 25", per)
	}
}
