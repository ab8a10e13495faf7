package gfs

import (
	"bytes"
	flags "flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// benchFiles is how many files of one chunk the benchmarks of large states have.
var benchFiles = flags.Int("gfs.files", 1_000_000, "files in the benchmarks of the master's state")

// benchPath is the path of one of many files: a hundred in a directory, a hundred
// directories in one above.
func benchPath(i int) string {
	return fmt.Sprintf("data/set-%04d/part-%02d/file-%08d.dat", i/10000, i/100%100, i)
}

// benchApply applies a command that must succeed.
func benchApply(b *testing.B, s *state, cmd, out []byte) []byte {
	out = s.Apply(1, stateStart, cmd, out[:0])
	if out[0] != byte(outcomeOK) {
		b.Fatal(decodeOutcome(out))
	}
	return out
}

var benchSuper = identity{user: "ann", super: true}

// benchState makes a state of n files of one chunk each.
func benchState(b *testing.B, n int, chunks bool) *state {
	s := newState()
	var cmd, out []byte
	head := cmdHeader{who: benchSuper, when: stateStart.UnixNano()}
	for i := range n {
		c := cmdCreate{head, createReq{path: benchPath(i), mode: 0o644, exclusive: true, parents: true}}
		cmd = c.append(cmd[:0])
		out = benchApply(b, s, cmd, out)
		if chunks {
			a := cmdAddChunk{cmdHeader: head, path: benchPath(i), version: 1}
			cmd = a.append(cmd[:0])
			out = benchApply(b, s, cmd, out)
		}
	}
	return s
}

// benchShared is a large state that benchmarks share.
var benchShared *state

func benchLarge(b *testing.B) *state {
	if benchShared == nil {
		benchShared = benchState(b, *benchFiles, true)
	}
	b.ResetTimer()
	return benchShared
}

func BenchmarkStateCreate(b *testing.B) {
	s := newState()
	var cmds [][]byte
	for i := range b.N {
		c := cmdCreate{cmdHeader{who: benchSuper, when: 1}, createReq{path: benchPath(i), mode: 0o644, exclusive: true, parents: true}}
		cmds = append(cmds, c.append(nil))
	}
	b.ReportAllocs()
	b.ResetTimer()
	var out []byte
	for i := range b.N {
		out = benchApply(b, s, cmds[i], out)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkStateCreateRandom creates among a million files.
func BenchmarkStateCreateRandom(b *testing.B) {
	s := benchLarge(b)
	rng := rand.New(rand.NewPCG(1, 1))
	var cmds [][]byte
	for i := range b.N {
		c := cmdCreate{cmdHeader{who: benchSuper, when: 1}, createReq{path: benchPath(rng.IntN(*benchFiles)) + fmt.Sprint(b.N, i), mode: 0o644}}
		cmds = append(cmds, c.append(nil))
	}
	b.ReportAllocs()
	b.ResetTimer()
	var out []byte
	for i := range b.N {
		out = benchApply(b, s, cmds[i], out)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.StopTimer()
	benchShared = nil
}

func BenchmarkStateAddChunk(b *testing.B) {
	s := benchState(b, 100, false)
	var cmds [][]byte
	for i := range b.N {
		c := cmdAddChunk{cmdHeader: cmdHeader{who: benchSuper, when: 1}, path: benchPath(i % 100), index: uint64(i / 100), version: 1}
		cmds = append(cmds, c.append(nil))
	}
	b.ReportAllocs()
	b.ResetTimer()
	var out []byte
	for i := range b.N {
		out = benchApply(b, s, cmds[i], out)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkStateLookup looks up random files among a million: one that may do
// everything, one whose permission is asked for in each directory, and many at once.
func BenchmarkStateLookup(b *testing.B) {
	paths := make([]string, 1<<18)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range paths {
		paths[i] = benchPath(rng.IntN(*benchFiles))
	}
	user := identity{user: "bob", groups: []string{"staff"}}
	lookup := func(b *testing.B, s *state, who identity, i int) {
		var room [1]chunkInfo
		if _, _, found, err := s.lookupTo(room[:0], who, paths[i%len(paths)], 0, 0, 1); err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
	}
	for _, who := range []struct {
		name string
		identity
	}{{"super", benchSuper}, {"user", user}} {
		b.Run(who.name, func(b *testing.B) {
			s := benchLarge(b)
			b.ReportAllocs()
			for i := range b.N {
				lookup(b, s, who.identity, i)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
	b.Run("parallel", func(b *testing.B) {
		s := benchLarge(b)
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(1000); pb.Next(); i++ {
				lookup(b, s, user, i)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	})
}

func BenchmarkStateStat(b *testing.B) {
	s := benchLarge(b)
	rng := rand.New(rand.NewPCG(1, 2))
	paths := make([]string, 1<<16)
	for i := range paths {
		paths[i] = benchPath(rng.IntN(*benchFiles))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := s.stat(benchSuper, paths[i%len(paths)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// benchHeap returns the bytes in use.
func benchHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkStateMemory reports what a file of no chunk takes, its name included, and
// what a chunk takes more. -gfs.files says how many there are.
func BenchmarkStateMemory(b *testing.B) {
	for range b.N {
		benchShared = nil
		before := benchHeap()
		s := benchState(b, *benchFiles, false)
		empty := benchHeap()
		var cmd, out []byte
		for i := range *benchFiles {
			c := cmdAddChunk{cmdHeader: cmdHeader{who: benchSuper, when: stateStart.UnixNano()}, path: benchPath(i), version: 1}
			cmd = c.append(cmd[:0])
			out = benchApply(b, s, cmd, out)
		}
		full := benchHeap()
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "gc-ms")
		b.ReportMetric(float64(empty-before)/float64(*benchFiles), "B/file")
		b.ReportMetric(float64(full-empty)/float64(*benchFiles), "B/chunk")
		b.ReportMetric(float64(len(benchPath(0))), "B/name")
		runtime.KeepAlive(s)
	}
}

// BenchmarkStateFreeze freezes a million files, and applies the first command after.
func BenchmarkStateFreeze(b *testing.B) {
	s := benchLarge(b)
	for range b.N {
		if _, err := s.Freeze(); err != nil {
			b.Fatal(err)
		}
		c := cmdAddChunk{cmdHeader: cmdHeader{who: benchSuper, when: 1}, path: benchPath(1), version: 1}
		benchApply(b, s, c.append(nil), nil)
	}
}

func BenchmarkStateImage(b *testing.B) {
	b.Run("write", func(b *testing.B) {
		s := benchLarge(b)
		var n int64
		for range b.N {
			f, _ := s.Freeze()
			n, _ = f.WriteTo(io.Discard)
		}
		b.ReportMetric(float64(n)/float64(*benchFiles), "B/file")
	})
	b.Run("restore", func(b *testing.B) {
		s := benchLarge(b)
		var image bytes.Buffer
		f, _ := s.Freeze()
		if _, err := f.WriteTo(&image); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for range b.N {
			if err := newState().Restore(bytes.NewReader(image.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStateTree renames, copies and removes a directory of 10,000 files.
func BenchmarkStateTree(b *testing.B) {
	head := cmdHeader{who: benchSuper, when: 1}
	s := benchState(b, 10000, true)
	b.Run("rename", func(b *testing.B) {
		for i := range b.N {
			from, to := "data/set-0000", "data/other"
			if i%2 == 1 {
				from, to = to, from
			}
			benchApply(b, s, (&cmdRename{head, pairReq{from, to}}).append(nil), nil)
		}
		if b.N%2 == 1 {
			benchApply(b, s, (&cmdRename{head, pairReq{"data/other", "data/set-0000"}}).append(nil), nil)
		}
	})
	b.Run("snapshot", func(b *testing.B) {
		for i := range b.N {
			benchApply(b, s, (&cmdSnapshot{head, pairReq{"data/set-0000", fmt.Sprint("copy", b.N, "-", i)}}).append(nil), nil)
		}
	})
	b.Run("remove", func(b *testing.B) {
		for i := range b.N {
			b.StopTimer()
			benchApply(b, s, (&cmdSnapshot{head, pairReq{"data/set-0000", fmt.Sprint("victim", b.N, "-", i)}}).append(nil), nil)
			b.StartTimer()
			benchApply(b, s, (&cmdRemove{head, removeReq{fmt.Sprint("victim", b.N, "-", i), true}}).append(nil), nil)
		}
	})
}
