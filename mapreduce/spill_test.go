package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// With next to no memory everything goes by way of the disk, and the output is the
// same.
func TestJobLargerThanMemory(t *testing.T) {
	for name, job := range map[string]Definition{"ordered": places, "combined": wordCount} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 31))
			var text bytes.Buffer
			for text.Len() < 1<<20 {
				fmt.Fprintf(&text, "%d word%d %s\n", r.IntN(30_000), r.IntN(100), strings.Repeat("x", r.IntN(40)))
			}
			input := fstest.MapFS{"input": {Data: text.Bytes()}}
			spec := testSpec(input, 3, 2)
			want := sequentialOutput(t, job, spec, ReadOnly(input))
			testutil.Bubble(t, func(t *testing.T) {
				c := newTestCluster(t, 2, input, job)
				defer c.close()
				for _, w := range c.workers {
					w.memory.share, w.memory.most, w.memory.pool = 2*chunkBytes, 2*chunkBytes, 0
				}
				id, wait := c.submit(spec)
				c.until(id, func(s *JobStatus) bool { return s.Reduces.Running > 0 || s.State.Ended() })
				result := wait()
				checkSameOutput(t, name, c.files, result, want)
				if n := result.Counters[CounterMapBytesSpill]; n == 0 {
					t.Error("nothing went by way of the disk")
				}
			})
		})
	}
}

// A job gives the same with compressed map output, and moves less.
func TestCompressedMapOutput(t *testing.T) {
	input := testInput(20_000)
	for name, job := range map[string]Definition{"ordered": places, "combined": wordCount} {
		spec := testSpec(input, 3, 2)
		want := sequentialOutput(t, job, spec, ReadOnly(input))
		for _, memory := range []int64{0, 2 * minSlotMemory} {
			spec.Compress = true
			files := newMemoryFiles()
			result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files, Input: ReadOnly(input), Workers: 2, Memory: memory, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			checkSameOutput(t, name, files, result, want)
			raw, kept := result.Counters[CounterMapBytesOut], result.Counters[CounterMapBytesKept]
			if moved := result.Counters[CounterShuffleFetched] + result.Counters[CounterShuffleLocal]; moved != kept {
				t.Errorf("%s: %d bytes were kept, %d moved", name, kept, moved)
			}
			if name == "ordered" && kept > raw/2 {
				t.Errorf("%d bytes were packed into %d", raw, kept)
			}
		}
	}
}

// A region that is larger than all memory is fetched by way of the disk.
func TestRegionLargerThanMemory(t *testing.T) {
	var text bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&text, "w%d %s%d\n", i%1000, strings.Repeat("y", 40), i%50)
	}
	input := fstest.MapFS{"input": {Data: text.Bytes()}}
	spec := testSpec(input, 1, 2) // the map is on one worker, and one reduce on the other
	want := sequentialOutput(t, places, spec, ReadOnly(input))
	fetched := false
	for try := 0; try < 20 && !fetched; try++ {
		testutil.Bubble(t, func(t *testing.T) {
			c := newTestCluster(t, 2, input, places)
			defer c.close()
			for _, w := range c.workers {
				w.memory.share, w.memory.most, w.memory.pool = 2*chunkBytes, 2*chunkBytes, 0
			}
			_, wait := c.submit(spec)
			result := wait()
			checkSameOutput(t, "one region", c.files, result, want)
			if n := result.Counters[CounterShuffleFetched]; n > 0 {
				fetched = true
				if n < 3*chunkBytes {
					t.Errorf("the region has only %d bytes", n)
				}
			}
		})
	}
	if !fetched {
		t.Error("no region was fetched")
	}
}

// A worker whose disk is full fails its tasks, and the job goes on elsewhere.
func TestFullDisk(t *testing.T) {
	input := testInput(4000)
	spec := testSpec(input, 6, 2)
	want := sequentialOutput(t, places, spec, ReadOnly(input))
	testutil.Bubble(t, func(t *testing.T) {
		c := newTestCluster(t, 3, input, places)
		defer c.close()
		for _, w := range c.workers {
			w.memory.pool = 0
		}
		refused := 0
		c.workers[0].disk.fs = vfs.Inject(c.workers[0].disk.fs, func(call vfs.Call) vfs.Fault {
			if call.Op == vfs.OpWrite {
				refused++
				return vfs.Fault{Err: vfs.ErrNoSpace}
			}
			return vfs.Fault{}
		})
		_, wait := c.submit(spec)
		checkSameOutput(t, "a full disk", c.files, wait(), want)
		if refused == 0 {
			t.Error("the disk was not asked")
		}
	})
}

// A disk that is full everywhere fails the job with an error that says so.
func TestFullDisks(t *testing.T) {
	input := testInput(4000)
	testutil.Bubble(t, func(t *testing.T) {
		c := newTestCluster(t, 2, input, places)
		defer c.close()
		for _, w := range c.workers {
			w.memory.pool = 0
			w.disk.fs = vfs.Inject(w.disk.fs, func(call vfs.Call) vfs.Fault {
				if call.Op == vfs.OpWrite {
					return vfs.Fault{Err: vfs.ErrNoSpace}
				}
				return vfs.Fault{}
			})
		}
		id, err := c.client.Submit(t.Context(), places.Name, testSpec(input, 2, 1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.client.Wait(t.Context(), id)
		if !errors.Is(err, ErrJobFailed) || !strings.Contains(fmt.Sprint(err), "no space left") {
			t.Errorf("the job ended with %v", err)
		}
	})
}

// More regions on disk than can be merged at a time are merged in passes, in which
// equal keys stay in the order of the maps.
func TestNarrowMergesInPasses(t *testing.T) {
	for _, compress := range []bool{false, true} {
		testNarrow(t, compress)
	}
}

func testNarrow(t *testing.T, compress bool) {
	disk, err := openScratch(vfs.NewMemory(1), "/scratch")
	if err != nil {
		t.Fatal(err)
	}
	defer disk.close()
	const maps = 3*maxFanIn + 7
	f := newFetcher(&Worker{disk: disk, memory: newBudget(minSlotMemory, 1)}, &execution{
		assigned: &assigned{maps: maps, spec: Spec{Compress: compress}}, t: &Task{}, job: &definition{},
	})
	defer f.close()
	var want []string
	for i := range maps {
		data := packedRegionOf(t, f.pack(), [][2]string{{"key", fmt.Sprint(i)}, {fmt.Sprintf("key%03d", maps-i), "x"}})
		want = append(want, fmt.Sprint("key=", i))
		if i%5 == 0 {
			f.regions[i] = region{data: [][]byte{data}}
			continue
		}
		file, off, err := f.spillSpace(int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
		f.regions[i] = region{file: file, off: off, n: int64(len(data))}
	}
	for i := range maps {
		want = append(want, fmt.Sprintf("key%03d=x", i+1))
	}
	readers, err := f.narrow()
	if err != nil {
		t.Fatal(err)
	}
	memory := (f.claimed + f.w.memory.share/2) / (readerBytes + unpackerBytes)
	if n := len(readers); n > maxFanIn || compress && int64(n) > max(memory, minFanIn) {
		t.Errorf("%d regions are left to be merged", len(readers))
	}
	var got []string
	if err := combined(readers, nil, func(key, value []byte) error {
		got = append(got, fmt.Sprintf("%s=%s", key, value))
		return nil
	}); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, got %d pairs %.300q, want %d %.300q", err, len(got), got, len(want), want)
	}
}

// What a worker that crashed has left in its directory is removed, and no two
// workers share one.
func TestScratch(t *testing.T) {
	disk := vfs.NewMemory(1)
	for _, name := range []string{"/dir/spill-7", "/dir/mine"} {
		if err := disk.MkdirAll("/dir"); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFile(disk, name, []byte("old")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := openScratch(disk, "/dir")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openScratch(disk, "/dir"); !errors.Is(err, vfs.ErrLocked) || !errors.Is(err, ErrConfig) {
		t.Errorf("a directory in use: %v", err)
	}
	f, err := s.file()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("data")); err != nil {
		t.Error(err)
	}
	var names []string
	entries, err := disk.ReadDir("/dir")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, []string{"lock", "mine"}) {
		t.Errorf("the directory has %q, %v", names, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	s.close()
	again, err := openScratch(disk, "/dir")
	if err != nil {
		t.Fatal(err)
	}
	again.close()
}

// The directory of a worker that was killed goes when another one makes its own; that of
// one that lives stays, as does what is too young to tell, and what is not a worker's.
func TestScratchDirectoriesOfTheDeadAreRemoved(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("TMP", tmp) // on Windows
	long := time.Now().Add(-time.Hour)
	dir := func(name string, files ...string) string {
		dir := filepath.Join(tmp, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(dir, f), []byte("left"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(dir, long, long); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dead := dir(scratchDirs+"1", scratchLock, scratchPrefix+"7")
	unlocked := dir(scratchDirs + "2") // it died before it took the lock
	others := dir("others", scratchLock)
	full := dir(scratchDirs+"3", scratchLock, "precious")
	young := dir(scratchDirs + "4")
	if err := os.Chtimes(young, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	alive := dir(scratchDirs + "5")
	lock, err := vfs.OS().Lock(filepath.Join(alive, scratchLock))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := os.Chtimes(alive, long, long); err != nil {
		t.Fatal(err)
	}

	s, err := openScratch(vfs.OS(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{dead, unlocked} {
		if _, err := os.Stat(gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", gone, err)
		}
	}
	for _, there := range []string{filepath.Join(others, scratchLock), filepath.Join(full, "precious"), young, filepath.Join(alive, scratchLock), s.dir} {
		if _, err := os.Stat(there); err != nil {
			t.Errorf("what was to stay: %v", err)
		}
	}
	s.close()
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there after the end: %v", err)
	}
}
