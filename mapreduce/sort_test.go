package mapreduce

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// keyMaker makes random keys of a kind that is hard on some part of the sort.
type keyMaker func(r *rand.Rand) []byte

var keyMakers = map[string]keyMaker{
	"random": func(r *rand.Rand) []byte {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	},
	"zeros":    func(r *rand.Rand) []byte { return make([]byte, r.IntN(30)) },
	"few":      func(r *rand.Rand) []byte { return []byte{byte(r.IntN(3))} },
	"prefixed": func(r *rand.Rand) []byte { return fmt.Appendf(nil, "%s%d", strings.Repeat("p", 30), r.IntN(1000)) },
	"binary": func(r *rand.Rand) []byte {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = byte(r.IntN(2))
		}
		return b
	},
	"numbers": func(r *rand.Rand) []byte { return appendUnsigned(nil, r.Uint64()>>r.IntN(64)) },
}

// testPair is a pair of a test; its value says which it was.
type testPair struct {
	part int
	key  []byte
	seq  int
}

func randomPairs(r *rand.Rand, makeKey keyMaker, n, parts int) []testPair {
	pairs := make([]testPair, n)
	for i := range pairs {
		pairs[i] = testPair{part: r.IntN(parts), key: makeKey(r), seq: i}
	}
	return pairs
}

// newTestBuffer returns a buffer without a limit.
func newTestBuffer(parts int) *pairBuffer {
	m := newSortMemory(math.MaxInt64, math.MaxInt64, nil)
	m.begin(parts)
	return m.buffers[0]
}

// put adds a pair to a buffer, which grows.
func (b *pairBuffer) put(part int, key, value []byte) {
	for n := len(key) + len(value); !b.fits(n); {
		b.grow(n, true)
	}
	b.add(part, key, value)
}

func sortTestPairs(pairs []testPair) {
	slices.SortStableFunc(pairs, func(a, b testPair) int {
		if a.part != b.part {
			return a.part - b.part
		}
		return bytes.Compare(a.key, b.key)
	})
}

func TestSortIsStableAndRight(t *testing.T) {
	for name, makeKey := range keyMakers {
		t.Run(name, func(t *testing.T) {
			b := newTestBuffer(5)
			for seed := range uint64(40) {
				r := rand.New(rand.NewPCG(seed, 0))
				parts := 1 + r.IntN(5)
				b.mem.begin(parts)
				pairs := randomPairs(r, makeKey, r.IntN(1<<r.IntN(14)), parts)
				for _, p := range pairs {
					b.put(p.part, p.key, binary.AppendUvarint(nil, uint64(p.seq)))
				}
				b.prepare()
				b.sort()
				sortTestPairs(pairs)
				for i, p := range b.pairs {
					key, value := splitPair(b.encoded(p.place))
					seq, _ := binary.Uvarint(value)
					if want := pairs[i]; int(p.part) != want.part || !bytes.Equal(key, want.key) || int(seq) != want.seq {
						t.Fatalf("seed %d: pair %d is %d %x #%d, want %d %x #%d", seed, i, p.part, key, seq, want.part, want.key, want.seq)
					}
				}
				b.reset()
			}
		})
	}
}

func TestPairBufferTakesPairsLargerThanAChunk(t *testing.T) {
	b := newTestBuffer(1)
	large := bytes.Repeat([]byte("x"), 3*chunkBytes)
	b.put(0, []byte("b"), large)
	b.put(0, []byte("a"), nil)
	b.put(0, large, []byte("v"))
	b.prepare()
	b.sort()
	var got []string
	for _, p := range b.pairs {
		key, value := splitPair(b.encoded(p.place))
		got = append(got, fmt.Sprintf("%.1s/%d %.1s/%d", key, len(key), value, len(value)))
	}
	want := []string{"a/1 /0", fmt.Sprintf("b/1 x/%d", len(large)), fmt.Sprintf("x/%d v/1", len(large))}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHashSpreadsEvenly(t *testing.T) {
	const n, keys = 64, 1 << 16
	var counts [n]int
	for i := range keys {
		counts[hashRange(hashKey(fmt.Appendf(nil, "key%d", i)), n)]++
	}
	for p, c := range counts {
		if c < keys/n*8/10 || c > keys/n*12/10 {
			t.Errorf("partition %d of %d got %d of %d keys", p, n, c, keys)
		}
	}
}

// The hash decides which file a key is written to, so it may never change.
func TestHashNeverChanges(t *testing.T) {
	for key, want := range map[string]uint64{
		"":                  0xb9c3f1e57ae6d35e,
		"a":                 0x567f023bc973b5e,
		"word":              0x34bde7a785d4eb02,
		"lorem ipsum dolor": 0x98af6a310db63981,
	} {
		if got := hashKey([]byte(key)); got != want {
			t.Errorf("hashKey(%q) = %#x, want %#x", key, got, want)
		}
	}
}

func BenchmarkSort(b *testing.B) {
	for name, makeKey := range map[string]keyMaker{"random10": func(r *rand.Rand) []byte {
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(nil, r.Uint64()), uint16(r.Uint32()))
	}, "numbers": keyMakers["numbers"], "prefixed": keyMakers["prefixed"]} {
		b.Run(fmt.Sprintf("%s/pairs=500000", name), func(b *testing.B) {
			const n = 500_000
			buf := newTestBuffer(1)
			r := rand.New(rand.NewPCG(1, 2))
			for range n {
				buf.put(0, makeKey(r), nil)
			}
			unsorted := slices.Clone(buf.pairs)
			buf.prepare()
			b.ReportAllocs()
			for b.Loop() {
				copy(buf.pairs, unsorted)
				buf.sort()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/pair")
		})
	}
}

// Keys that agree for long do not take the stack that their length would.
func TestSortOfKeysThatAgreeForLong(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(4 << 20))
	b := newTestBuffer(1)
	key := bytes.Repeat([]byte("x"), 64<<10)
	const n = 2 * fewPairs
	for i := range n {
		b.put(0, append(key[:len(key):len(key)], byte(n-i)), nil)
	}
	b.prepare()
	b.sort()
	for i, p := range b.pairs {
		if k := b.key(p); k[len(k)-1] != byte(i+1) {
			t.Fatalf("pair %d is %d", i, k[len(k)-1])
		}
	}
}
