package mapreduce

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// newTestCollector returns a collector that spills to memory: it has limit bytes to
// gather in, and the result may take keep.
func newTestCollector(reduces int, limit, keep int64) *collector {
	disk := vfs.NewMemory(1)
	var n atomic.Int64
	c := newCollector(newSortMemory(limit/2, limit, func(int64) bool { return true }), reduces)
	c.alive = func() {}
	c.scratch = func() (vfs.File, error) { return vfs.Create(disk, fmt.Sprint("/spill", n.Add(1))) }
	c.reserve = func(n int64) bool {
		if n > keep {
			return false
		}
		keep -= n
		return true
	}
	return c
}

// Whatever of it is spilled, a collector returns every pair once, sorted, and
// equal keys in the order in which they came.
func TestCollectorSpillsAndMerges(t *testing.T) {
	spills, files := 0, 0
	for name, makeKey := range keyMakers {
		for seed := range uint64(10) {
			r := rand.New(rand.NewPCG(seed, 1))
			parts := 1 + r.IntN(4)
			pairs := randomPairs(r, makeKey, r.IntN(20_000), parts)
			c := newTestCollector(parts, chunkBytes+int64(r.IntN(1<<19)), int64(r.IntN(1<<18)))
			if r.IntN(2) == 0 {
				c.pack = new(packer)
			}
			for _, p := range pairs {
				if err := c.add(p.part, p.key, binary.AppendUvarint(nil, uint64(p.seq))); err != nil {
					t.Fatal(err)
				}
			}
			out, err := c.finish()
			if err != nil {
				t.Fatal(err)
			}
			spills += len(c.runs)
			if out.file != nil {
				files++
			}
			sortTestPairs(pairs)
			for p := range parts {
				m := newMerger([]blockReader{out.at(p).blocks()})
				for head := m.head(); head != nil; head = m.head() {
					seq, _ := binary.Uvarint(head.value)
					if len(pairs) == 0 || pairs[0].part != p || !bytes.Equal(pairs[0].key, head.key) || pairs[0].seq != int(seq) {
						t.Fatalf("%s, seed %d: partition %d has %x #%d", name, seed, p, head.key, seq)
					}
					pairs = pairs[1:]
					m.advance()
				}
				if m.err != nil {
					t.Fatal(m.err)
				}
			}
			if len(pairs) != 0 {
				t.Fatalf("%s, seed %d: %d pairs are missing", name, seed, len(pairs))
			}
			out.close()
		}
	}
	if spills < 20 || files < 20 {
		t.Errorf("only %d spills and %d results on disk", spills, files)
	}
}

// blockBuffer is a sink that gathers all blocks.
type blockBuffer struct{ bytes.Buffer }

func (b *blockBuffer) put(block []byte) error {
	b.Write(block)
	return nil
}

func (b *blockBuffer) room() []byte { return nil }

// inMemory reads a region in one piece.
func inMemory(region []byte) blockReader { return &memoryBlocks{rest: [][]byte{region}} }

// inStream reads a region from a stream.
func inStream(region []byte) blockReader {
	return newStreamBlocks(bytes.NewReader(region), int64(len(region)))
}

// regionOf lays out sorted keys with values, one region.
func regionOf(t testing.TB, pairs [][2]string) []byte { return packedRegionOf(t, nil, pairs) }

func packedRegionOf(t testing.TB, pack *packer, pairs [][2]string) []byte {
	t.Helper()
	var sink blockBuffer
	w := newRegionWriter(&sink, pack)
	for _, p := range pairs {
		if err := w.add([]byte(p[0]), []byte(p[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	return sink.Bytes()
}

func TestMergeKeepsTheOrderOfRegions(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var all [][2]string
		var regions []blockReader
		for i := range r.IntN(20) {
			var pairs [][2]string
			for j := range r.IntN(50) {
				pairs = append(pairs, [2]string{string(keyMakers["binary"](r)), string(rune('A'+i)) + string(rune('a'+j))})
			}
			slices.SortStableFunc(pairs, func(a, b [2]string) int { return bytes.Compare([]byte(a[0]), []byte(b[0])) })
			all = append(all, pairs...)
			if region := regionOf(t, pairs); r.IntN(2) == 0 {
				regions = append(regions, inMemory(region))
			} else {
				regions = append(regions, inStream(region))
			}
		}
		slices.SortStableFunc(all, func(a, b [2]string) int { return bytes.Compare([]byte(a[0]), []byte(b[0])) })
		var got [][2]string
		err := combined(regions, nil, func(key, value []byte) error {
			got = append(got, [2]string{string(key), string(value)})
			return nil
		})
		if err != nil || !slices.Equal(got, all) {
			t.Fatalf("seed %d: %v\ngot  %q\nwant %q", seed, err, got, all)
		}
	}
}

// Equal keys are one group, however many regions and blocks they are in.
func TestGroupsOfManyRegions(t *testing.T) {
	for name, makeKey := range keyMakers {
		for seed := range seedsOf(20) {
			r := rand.New(rand.NewPCG(seed, 4))
			var all [][2]string
			var regions []blockReader
			for range 1 + r.IntN(40) {
				var pairs [][2]string
				for range r.IntN(200) {
					pairs = append(pairs, [2]string{string(makeKey(r)), strings.Repeat("v", r.IntN(2)*r.IntN(2000)) + fmt.Sprint(len(all)+len(pairs))})
				}
				slices.SortStableFunc(pairs, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
				all = append(all, pairs...)
				if region := regionOf(t, pairs); r.IntN(2) == 0 {
					regions = append(regions, inMemory(region))
				} else {
					regions = append(regions, inStream(region))
				}
			}
			slices.SortStableFunc(all, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
			g := &groups{m: newMerger(regions)}
			for {
				key, ok, err := g.nextKey()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				for n := 0; ; n++ {
					value, ok := g.nextValue()
					if !ok {
						if n == 0 || len(all) > 0 && all[0][0] == string(key) {
							t.Fatalf("%s, seed %d: %q has ended after %d values", name, seed, key, n)
						}
						break
					}
					if len(all) == 0 || all[0] != [2]string{string(key), string(value)} {
						t.Fatalf("%s, seed %d: %q has %q", name, seed, key, value)
					}
					all = all[1:]
				}
			}
			if len(all) > 0 {
				t.Fatalf("%s, seed %d: %d pairs are missing", name, seed, len(all))
			}
		}
	}
}

func TestGroupsSkipWhatIsNotTaken(t *testing.T) {
	region := regionOf(t, [][2]string{{"a", "1"}, {"a", "2"}, {"b", "3"}, {"c", "4"}, {"c", "5"}})
	for taken := range 4 {
		g := &groups{m: newMerger([]blockReader{inMemory(region)})}
		var got []string
		for {
			key, ok, err := g.nextKey()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			entry := string(key)
			for range taken {
				if v, ok := g.nextValue(); ok {
					entry += string(v)
				}
			}
			got = append(got, entry)
		}
		want := [][]string{{"a", "b", "c"}, {"a1", "b3", "c4"}, {"a12", "b3", "c45"}, {"a12", "b3", "c45"}}[taken]
		if !slices.Equal(got, want) {
			t.Errorf("with %d values taken: %q, want %q", taken, got, want)
		}
	}
}

// A bit that flips anywhere in a region is found.
func TestRegionDetectsEveryFlippedBit(t *testing.T) {
	region := regionOf(t, [][2]string{{"key", "value"}, {"other", "one"}})
	for bit := range 8 * len(region) {
		bad := bytes.Clone(region)
		bad[bit/8] ^= 1 << (bit % 8)
		for _, blocks := range []blockReader{inMemory(bad), inStream(bad)} {
			err := combined([]blockReader{blocks}, nil, func(_, _ []byte) error { return nil })
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d flipped, read by %T: %v", bit, blocks, err)
			}
		}
	}
}

func TestMergeFolds(t *testing.T) {
	a := regionOf(t, [][2]string{{"a", "1"}, {"b", "2"}, {"b", "3"}})
	b := regionOf(t, [][2]string{{"b", "4"}, {"c", "5"}})
	fold := func(dst, x, y []byte) ([]byte, error) { return append(append(dst, x...), y...), nil }
	var got []string
	err := combined([]blockReader{inMemory(a), inMemory(b)}, fold, func(key, value []byte) error {
		got = append(got, string(key)+string(value))
		return nil
	})
	if want := []string{"a1", "b234", "c5"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func FuzzRegion(f *testing.F) {
	f.Add(regionOf(f, [][2]string{{"key", "value"}, {"other", ""}}))
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, blocks := range []blockReader{inMemory(src), inStream(src)} {
			for {
				block, err := blocks.next()
				if err != nil {
					if err != io.EOF && !errors.Is(err, ErrCorrupt) {
						t.Errorf("%T: %v", blocks, err)
					}
					break
				}
				for len(block) > 0 {
					if _, _, block, err = cutPair(block); err != nil {
						break
					}
				}
			}
		}
		for rest := src; len(rest) > 0; {
			var err error
			if _, _, rest, err = cutPair(rest); err != nil {
				break
			}
		}
	})
}
