package gfs

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A rangeSet holds at least what was added, in order, and no more ranges than it may.
func TestRangeSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 200 {
		var s rangeSet
		var want [4000]bool
		exact := true
		for range 1 + rng.IntN(200) {
			r := Range{Off: rng.Int64N(3900), Len: 1 + rng.Int64N(100)}
			s.add(r)
			for i := range r.Len {
				want[r.Off+i] = true
			}
			exact = exact && len(s) < maxRanges
		}
		if len(s) > maxRanges {
			t.Fatalf("%d ranges", len(s))
		}
		var got [4000]bool
		for i, r := range s {
			if r.Len <= 0 || i > 0 && r.Off <= s[i-1].Off+s[i-1].Len {
				t.Fatalf("not in order, or touching: %v", s)
			}
			for k := range r.Len {
				got[r.Off+k] = true
			}
		}
		for i := range want {
			if want[i] && !got[i] || exact && want[i] != got[i] {
				t.Fatalf("byte %d: %v, not %v, in %v", i, got[i], want[i], s)
			}
		}
	}
}

// What was acknowledged with another verifier than the last is lost, in whatever order it
// is told.
func TestUnsynced(t *testing.T) {
	var u unsynced
	u.acknowledged(Range{0, 10}, 0)
	u.acknowledged(Range{10, 10}, 0)
	u.seen(0)
	if len(u.lost) != 0 {
		t.Errorf("%v are lost, and nothing has happened", u.lost)
	}
	u.acknowledged(Range{30, 10}, 5)
	u.seen(5)
	if want := (rangeSet{{0, 20}}); !slices.Equal(u.lost, want) {
		t.Errorf("%v are lost, not %v", u.lost, want)
	}
	var later unsynced
	later.acknowledged(Range{50, 1}, 6)
	later.join(&u)
	later.seen(6)
	if want := (rangeSet{{0, 20}, {30, 10}}); !slices.Equal(later.lost, want) {
		t.Errorf("%v are lost, not %v", later.lost, want)
	}
}
