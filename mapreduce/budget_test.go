package mapreduce

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"
)

// madeRecords is input that is made up as it is read: splits of records of 100 bytes, of
// which ten are the key.
type madeRecords struct{ splits, records int }

const madeBytes = 100

func (m madeRecords) Splits(context.Context, FileSystem, *Spec) ([]Split, error) {
	splits := make([]Split, m.splits)
	for i := range splits {
		splits[i].Data = []byte(strconv.Itoa(i))
	}
	return splits, nil
}

func (m madeRecords) Read(_ context.Context, _ FileSystem, split Split) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		seed, err := strconv.ParseUint(string(split.Data), 10, 64)
		r := rand.New(rand.NewPCG(seed, 9))
		for n := 0; n < m.records; {
			block := make([]byte, 0, 1<<20/madeBytes*madeBytes)
			for len(block) < cap(block) && n < m.records {
				block = binary.LittleEndian.AppendUint64(block, r.Uint64())
				block = append(block, make([]byte, madeBytes-8)...)
				if !yield(Record{Value: block[len(block)-madeBytes:]}, err) {
					return
				}
				n++
			}
		}
	}
}

// madeSort sorts what is made up.
func madeSort(m madeRecords) Job[[]byte, []byte, []byte] {
	return Job[[]byte, []byte, []byte]{
		Name:  "sort",
		Input: m,
		Map: func(_ *Task, r Record, emit func([]byte, []byte)) error {
			emit(r.Value[:10], r.Value[10:])
			return nil
		},
		Reduce: func(_ *Task, _ []byte, rests iter.Seq[[]byte], emit func([]byte)) error {
			for rest := range rests {
				emit(rest)
			}
			return nil
		},
	}
}

// peakHeap returns a function that returns the most that the heap has had in use beyond
// what it has now.
func peakHeap() func() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	inUse := func() int64 {
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	before, peak := inUse(), int64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				peak = max(peak, inUse()-before)
			case <-stop:
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		return peak
	}
}

// A job of four times the memory goes by way of the disk, and what is in use stays
// within the memory and a fifth.
func TestMemoryStaysWithinTheBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("sorts 256 MB")
	}
	if !alone(t) {
		return
	}
	const memory = 32 << 20
	m := madeRecords{splits: 4 * memory / (8 << 20), records: (8 << 20) / madeBytes}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for _, workers := range []int{1, 2} {
		// What is in use is measured with the garbage that has not been collected yet, of
		// which there is more while other processes keep the collector from running: the
		// least of a few runs says what the job needs.
		used := int64(math.MaxInt64)
		for range 3 {
			if used = min(used, sortedWithin(t, m, memory, workers)); used <= memory*12/10 {
				break
			}
		}
		t.Logf("%d workers: %d MiB in use", workers, used>>20)
		if used > memory*12/10 {
			t.Errorf("%d workers: %d bytes were in use, with a memory of %d", workers, used, memory)
		}
	}
}

// alone reports whether the test is in a process of its own, whose heap no other test has
// left full of holes. Elsewhere it runs the test in one.
func alone(t *testing.T) bool {
	const env = "MAPREDUCE_TEST_ALONE"
	if os.Getenv(env) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in a process of its own: %v", err)
	}
	t.Logf("%s", out)
	return false
}

// sortedWithin sorts with a memory, and returns how much was in use.
func sortedWithin(t *testing.T, m madeRecords, memory int64, workers int) int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	debug.SetMemoryLimit(int64(stats.Sys-stats.HeapReleased-stats.HeapIdle) + memory)
	peak := peakHeap()
	result, err := Run(t.Context(), madeSort(m), Spec{Output: "out", Reduces: 4}, RunConfig{
		FileSystem: Dir(t.TempDir()), Dir: t.TempDir(), Workers: workers, Slots: 2 / workers, Memory: memory,
	})
	used := peak()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := result.Counters[CounterReduceRecsOut], int64(m.splits*m.records); got != want {
		t.Errorf("%d records came out, want %d", got, want)
	}
	if result.Counters[CounterMapBytesSpill] == 0 {
		t.Error("nothing was spilled")
	}
	return used
}

// What a sort costs that fits into memory, and one of four times the memory.
func BenchmarkSortJob(b *testing.B) {
	m := madeRecords{splits: 16, records: (16 << 20) / madeBytes}
	size := int64(m.splits * m.records * madeBytes)
	for name, memory := range map[string]int64{"in-memory": 3 * size, "spilling": size / 4} {
		b.Run(fmt.Sprintf("%s/bytes=%d", name, size), func(b *testing.B) {
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(memory + memory/8))
			b.SetBytes(size)
			b.ReportAllocs()
			used := int64(0)
			for b.Loop() {
				peak := peakHeap()
				_, err := Run(b.Context(), madeSort(m), Spec{Output: "out", Reduces: 4},
					RunConfig{FileSystem: Dir(b.TempDir()), Dir: b.TempDir(), Memory: memory})
				if used = max(used, peak()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(used)/(1<<20), "peak_MiB")
		})
	}
}

// checkBudget checks that a worker that has ended has given all memory back.
func checkBudget(t *testing.T, w *Worker) {
	t.Helper()
	pool := w.memory.pool
	for _, m := range w.memory.idle {
		pool += m.claimed
	}
	// Some tests take all of the pool away beforehand.
	if all := newBudget(w.cfg.Memory, w.cfg.Slots).pool; pool != all && pool != 0 {
		t.Errorf("of a pool of %d bytes, %d have come back", all, pool)
	}
}

// What earlier tasks have left to the pairs makes way for the table of a combiner.
func TestMemoryMakesWayForATable(t *testing.T) {
	c := newTestCollector(1, 8<<20, 0)
	for i := range 200_000 {
		if err := c.add(0, binary.BigEndian.AppendUint32(nil, uint32(i)), make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	c.discard()
	c.mem.rest()
	c.mem.begin(1)
	out := 0
	table := newCombiner(func(a, b int) int { return a + b }, newEncoder[int](signedCodec[int]{}),
		func(_, _ []byte) error { out++; return nil }, c.mem)
	for i := range 10_000 {
		if err := table.add(fmt.Append(nil, i%1000), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.settle(); err != nil {
		t.Fatal(err)
	}
	if out > 0 {
		t.Errorf("%d pairs were handed on that there was memory for", out)
	}
	if c.mem.held > c.mem.granted {
		t.Errorf("%d bytes are held, %d granted", c.mem.held, c.mem.granted)
	}
}
