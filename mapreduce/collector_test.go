package mapreduce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// drained returns the pairs of all regions, each with its partition.
func drained(t *testing.T, out *mapOutput) []string {
	t.Helper()
	var pairs []string
	for p := range out.ends {
		err := combined([]blockReader{out.at(p).blocks()}, nil, func(key, value []byte) error {
			pairs = append(pairs, fmt.Sprintf("%d %s=%s", p, key, value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return pairs
}

// So many runs that they are merged again and again: the pairs come out once, in order,
// and what was merged is closed.
func TestRunsAreMergedInTiers(t *testing.T) {
	c := newTestCollector(2, 2*chunkBytes, 0)
	var open atomic.Int64
	most := int64(0)
	scratch := c.scratch
	c.scratch = func() (vfs.File, error) {
		f, err := scratch()
		most = max(most, open.Add(1))
		return &countedFile{f, &open}, err
	}
	const spills = 2*maxRuns*maxRuns + 3*maxRuns + 5
	for i := range spills {
		if err := c.add(i%2, fmt.Appendf(nil, "key%d", i%3), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		c.spill()
		if err := c.await(); err != nil {
			t.Fatal(err)
		}
	}
	out, err := c.finish()
	if err != nil {
		t.Fatal(err)
	}
	c.discard()
	got := drained(t, out)
	at := 0
	for p := range 2 {
		for key := range 3 {
			for i := range spills {
				if i%2 != p || i%3 != key {
					continue
				}
				if want := fmt.Sprintf("%d key%d=%d", p, key, i); at >= len(got) || got[at] != want {
					t.Fatalf("pair %d of %d is not %s", at, len(got), want)
				}
				at++
			}
		}
	}
	out.close()
	if most > 4*maxRuns || open.Load() != 0 {
		t.Errorf("up to %d files were open, and %d still are", most, open.Load())
	}
}

// countedFile takes itself off a count when it is closed.
type countedFile struct {
	vfs.File
	open *atomic.Int64
}

func (f *countedFile) Close() error {
	f.open.Add(-1)
	return f.File.Close()
}

// Map goes on while a spill is written: pairs are taken in until the rest of the memory
// is full too.
func TestSpillInTheBackground(t *testing.T) {
	c := newTestCollector(1, 20*chunkBytes, 0)
	scratch, allow := c.scratch, make(chan struct{})
	c.scratch = func() (vfs.File, error) {
		<-allow
		return scratch()
	}
	value := make([]byte, 1000)
	n, during := 0, 0
	for ; c.spilling == nil || during < 1000; n++ {
		if c.spilling != nil {
			during++
		}
		if err := c.add(0, binary.BigEndian.AppendUint32(nil, uint32(n)), value); err != nil {
			t.Fatal(err)
		}
	}
	close(allow)
	out, err := c.finish()
	if err != nil {
		t.Fatal(err)
	}
	if got := len(drained(t, out)); got != n {
		t.Errorf("%d pairs came out, want %d", got, n)
	}
}

// Whatever goes wrong in a spill fails the task, at the latest in the end, and leaves
// nothing behind.
func TestSpillFails(t *testing.T) {
	boom := errors.New("boom")
	for name, spoil := range map[string]func(c *collector){
		"create": func(c *collector) { c.scratch = func() (vfs.File, error) { return nil, boom } },
		"full disk": func(c *collector) {
			disk := vfs.Inject(vfs.NewMemory(1), func(call vfs.Call) vfs.Fault {
				if call.Op == vfs.OpWrite {
					return vfs.Fault{Err: vfs.ErrNoSpace}
				}
				return vfs.Fault{}
			})
			c.scratch = func() (vfs.File, error) { return vfs.Create(disk, "/spill") }
		},
		"panic": func(c *collector) { c.fold = func(_, _, _ []byte) ([]byte, error) { panic("boom") } },
		"goexit": func(c *collector) {
			c.fold = func(_, _, _ []byte) ([]byte, error) { runtime.Goexit(); return nil, nil }
		},
	} {
		c := newTestCollector(1, 4*chunkBytes, 0)
		spoil(c)
		var err error
		for i := 0; err == nil && i < 1<<20; i++ {
			err = c.add(0, []byte("key"), make([]byte, 100))
		}
		if err == nil || !strings.Contains(err.Error(), "spill to disk") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "full disk" && !errors.Is(err, vfs.ErrNoSpace) || name == "create" && !errors.Is(err, boom) || name == "panic" && !errors.Is(err, ErrPanic) {
			t.Errorf("%s: %v", name, err)
		}
		c.discard()
	}
}

// The memory that is held is what is counted, and stays within what is granted.
func TestSortMemoryStaysWithinItsLimit(t *testing.T) {
	for seed := range seedsOf(20) {
		r := rand.New(rand.NewPCG(seed, 6))
		share := int64(minShare)
		most := share + int64(r.IntN(8<<20))
		claimed := int64(0)
		claimable := int64(r.IntN(8 << 20))
		m := newSortMemory(share, most, func(n int64) bool {
			if claimed+n > claimable {
				return false
			}
			claimed += n
			return true
		})
		for task := range 3 {
			c := newTestCollector(1+r.IntN(3), most, 0)
			c.mem, c.limit = m, m.most
			m.begin(c.reduces)
			size := 1 + r.IntN(200)
			for range 100_000 {
				key := binary.BigEndian.AppendUint64(nil, r.Uint64())
				if err := c.add(r.IntN(c.reduces), key, make([]byte, r.IntN(size))); err != nil {
					t.Fatal(err)
				}
				if c.mem.held > c.mem.granted {
					t.Fatalf("seed %d, task %d: %d bytes are held, %d granted", seed, task, c.mem.held, c.mem.granted)
				}
			}
			out, err := c.finish()
			if err != nil {
				t.Fatal(err)
			}
			out.close()
			c.discard()
			m.rest()
			held := int64(len(m.spare)) * pairBytes
			for _, b := range m.buffers {
				held += int64(cap(b.pairs)) * pairBytes
			}
			if held += int64(len(m.free)) * chunkBytes; held > m.held || m.held > m.granted || m.granted != share+claimed {
				t.Fatalf("seed %d, task %d: %d bytes are held, %d counted, %d granted, of them %d claimed", seed, task, held, m.held, m.granted, claimed)
			}
		}
	}
}

// Memory that an idle task has goes to who needs it first.
func TestBudgetTakesBackWhatIsIdle(t *testing.T) {
	b := newBudget(256<<20, 1)
	pool := b.pool
	m := b.sortMemory()
	if !m.take(b.share + 10<<20) {
		t.Fatal("the pool refuses")
	}
	if b.keep(m); b.pool != pool-10<<20 {
		t.Errorf("the pool has %d, want %d", b.pool, pool-10<<20)
	}
	if again := b.sortMemory(); again != m {
		t.Error("the memory was not used again")
	}
	b.keep(m)
	if b.reserve(pool) {
		t.Error("idle memory was taken for output")
	}
	if !b.reserveFirst(pool) || b.pool != 0 || b.reserveFirst(1) {
		t.Errorf("not all of the pool was had, %d bytes are left", b.pool)
	}
	if again := b.sortMemory(); again == m {
		t.Error("memory that was taken back is used")
	}
}

// A combiner that panics or ends its goroutine in the end fails the task, and leaves no
// memory taken and no file open.
func TestCombinerFailsInTheEnd(t *testing.T) {
	for _, spills := range []int{0, 1, maxRuns - 1, 2 * maxRuns} {
		for name, fail := range map[string]func(){"panic": func() { panic("boom") }, "goexit": runtime.Goexit} {
			for _, keep := range []int64{0, 1 << 20} {
				c := newTestCollector(1, 20*chunkBytes, keep)
				var open atomic.Int64
				scratch := c.scratch
				c.scratch = func() (vfs.File, error) {
					f, err := scratch()
					open.Add(1)
					return &countedFile{f, &open}, err
				}
				taken := int64(0)
				reserve := c.reserve
				c.reserve = func(n int64) bool {
					ok := reserve(n)
					if ok {
						taken += n
					}
					return ok
				}
				add := func() {
					for i := range 3000 { // more than a block
						if err := c.add(0, fmt.Appendf(nil, "%04d", i), make([]byte, 100)); err != nil {
							t.Fatal(err)
						}
					}
				}
				for range spills {
					add()
					c.spill()
					if err := c.await(); err != nil {
						t.Fatal(err)
					}
				}
				add()
				add()
				c.fold = func(dst, a, _ []byte) ([]byte, error) {
					if taken > 0 || open.Load() > int64(len(c.runs)) {
						fail()
					}
					return append(dst, a...), nil
				}
				failed := make(chan error, 1)
				go func() {
					err := errSpillEnded
					defer func() { failed <- err }()
					_, err = c.finish()
				}()
				if err := <-failed; name == "panic" && !errors.Is(err, ErrPanic) || err == nil {
					t.Errorf("%s after %d spills: %v", name, spills, err)
				}
				c.discard()
				if taken != 0 || open.Load() != 0 {
					t.Errorf("%s after %d spills: %d bytes are taken, %d files open", name, spills, taken, open.Load())
				}
			}
		}
	}
}
