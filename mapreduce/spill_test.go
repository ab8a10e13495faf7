package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

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
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 2, input, job)
				defer c.close()
				for _, w := range c.workers {
					w.cfg.Memory = 4 * (chunkBytes + 1<<20)
					w.store.free = 0
				}
				id, wait := c.submit(spec)
				c.until(id, func(s *JobStatus) bool { return s.Reduces.Running > 0 || s.State.Ended() })
				checkSameOutput(t, name, c.files, wait(), want)
			})
		})
	}
}

// More regions on disk than can be merged at a time are merged in passes, in which
// equal keys stay in the order of the maps.
func TestNarrowMergesInPasses(t *testing.T) {
	disk, err := openScratch(vfs.NewMemory(1), "/scratch")
	if err != nil {
		t.Fatal(err)
	}
	defer disk.close()
	const maps = 3*maxFanIn + 7
	f := newFetcher(&Worker{disk: disk, cfg: WorkerConfig{Slots: 1}}, &execution{
		assigned: &assigned{maps: maps}, t: &Task{}, job: &definition{},
	})
	defer f.close()
	var want []string
	for i := range maps {
		data := regionOf(t, [][2]string{{"key", fmt.Sprint(i)}, {fmt.Sprintf("key%03d", maps-i), "x"}})
		want = append(want, fmt.Sprint("key=", i))
		if i%5 == 0 {
			f.regions[i] = region{data: data}
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
	if len(readers) > maxFanIn {
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
