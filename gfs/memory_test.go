package gfs

import (
	flags "flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
	"unsafe"
)

var memoryFiles = flags.Int("memory.files", 100_000, "how many files of one chunk TestMasterMemory has")

// TestMasterMemory: a master has under 64 bytes for each file beside its name, as far as
// that is not the one before it (§2.6.1), and under 64 for each chunk beside the list of its
// replicas (§2.6.1). It says what share of the processors' time the garbage collector takes
// when the namespace is in use.
func TestMasterMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory, which the race detector adds to")
	}
	n := *memoryFiles
	before := heapInUse()
	core, err := newCoreProbe()
	if err != nil {
		t.Fatal(err)
	}
	// Directories come in any order, and the files of each in that of their names.
	const together = 100
	rng := rand.New(rand.NewPCG(1, 1))
	began := time.Now()
	for _, dir := range rng.Perm(n / together) {
		for i := range together {
			if err := core.Create(benchPath(dir*together + i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n = n / together * together
	creates := time.Since(began)
	created := heapInUse()
	for i := range n {
		if err := core.AddChunk(benchPath(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := core.Report(DefaultReplication); err != nil {
		t.Fatal(err)
	}
	full := heapInUse()

	name, last := 0, ""
	for i := range n {
		path := benchPath(i)
		name += len(path) - leafCommon([]byte(path), []byte(last))
		last = path
	}
	perFile := float64(created-before) / float64(n)
	perName := float64(name) / float64(n)
	perChunk := float64(full-created)/float64(n) - float64(DefaultReplication*int(unsafe.Sizeof(replicaWord(0))))
	if perFile > 64+perName {
		t.Errorf("%.1f bytes for a file, with a name of which %.1f are not those of the one before", perFile, perName)
	}
	if perChunk > 64 {
		t.Errorf("%.1f bytes for a chunk beside its replicas", perChunk)
	}

	// One in ten is a file that is made, the others are looked up.
	gc, all := processorTime()
	began = time.Now()
	for i := range n {
		if i%10 == 0 {
			err = core.Create(fmt.Sprint(benchPath(rng.IntN(n)), ".", i))
		} else {
			err = core.Lookup(benchPath(rng.IntN(n)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	gcAfter, allAfter := processorTime()
	share := (gcAfter - gc) / (allAfter - all)
	began = time.Now()
	runtime.GC()
	t.Logf("%d files of one chunk: %.1f bytes a file (%.1f of them the name), %.1f a chunk beside %d for its replicas; %.0f creates a second; in use (%.0f operations a second) the garbage collector takes %.1f %% of the processors' time, and once through %d MB %v",
		n, perFile, perName, perChunk, DefaultReplication*int(unsafe.Sizeof(replicaWord(0))), float64(n)/creates.Seconds(), float64(n)/took.Seconds(), 100*share, (full-before)>>20, time.Since(began).Round(time.Millisecond))
	if n >= 1_000_000 && share > 0.25 {
		t.Errorf("the garbage collector takes %.0f %% of the processors' time", 100*share)
	}
	runtime.KeepAlive(core)
}

// heapInUse returns the bytes that objects take which can be reached.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processorTime returns the seconds that the garbage collector has taken of all processors,
// and those that all have worked.
func processorTime() (gc, all float64) {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64(), s[1].Value.Float64() - s[2].Value.Float64()
}
