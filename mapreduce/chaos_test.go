package mapreduce_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/mapreduce/mapreducetest"
)

// This file uses the kit for users on the package itself.

// chaosRuns is how many runs each of the jobs below has.
func chaosRuns() int {
	if testing.Short() {
		return 20
	}
	return 100
}

// index is sensitive to everything: to what is there, and to the order of values.
var index = mapreduce.Job[string, string, string]{
	Name: "index",
	Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		for i, word := range strings.Fields(line.Text()) {
			t.Counter("words").Add(1)
			emit(word, fmt.Sprintf("%d.%d", line.Offset, i))
		}
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ string, at iter.Seq[string], emit func(string)) error {
		var all []string
		for a := range at {
			all = append(all, a)
		}
		emit(strings.Join(all, " "))
		return nil
	},
}

// sorting sorts records of eight bytes by their first three, and keeps the order of
// those that are equal in them.
var sorting = mapreduce.Job[[]byte, []byte, []byte]{
	Name:  "sorting",
	Input: mapreduce.FixedRecords(8),
	Map: func(_ *mapreduce.Task, r mapreduce.Record, emit func(key, rest []byte)) error {
		emit(r.Value[:3], r.Value[3:])
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ []byte, rests iter.Seq[[]byte], emit func([]byte)) error {
		for rest := range rests {
			emit(rest)
		}
		return nil
	},
	Format: func(dst, key, rest []byte) []byte { return append(append(dst, key...), rest...) },
}

func chaosText(lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "line %d of words word%d %x\n", i, i%7, i*i*7919)
	}
	return b.String()
}

func TestChaos(t *testing.T) {
	text := mapreducetest.NewMemory(map[string]string{"a": chaosText(50), "b": chaosText(30), "c": "no newline"})
	lines := mapreduce.Spec{Input: []string{"*"}, Reduces: 4}
	records := mapreducetest.NewMemory(map[string]string{"r": chaosText(100)[:2400]})
	ranges := mapreduce.Spec{Input: []string{"*"}, Output: "out", Reduces: 5}
	var err error
	if ranges.Bounds, err = mapreduce.SampleBounds(t.Context(), sorting, ranges, records); err != nil {
		t.Fatal(err)
	}
	skipping := lines
	skipping.SkipBadRecords = 10
	picky := index
	picky.Map = func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		if strings.HasPrefix(line.Text(), "line 7 ") {
			panic("line 7")
		}
		return index.Map(t, line, emit)
	}
	picky.Reduce = func(t *mapreduce.Task, word string, at iter.Seq[string], emit func(string)) error {
		if word == "word3" {
			return errors.New("word3")
		}
		return index.Reduce(t, word, at, emit)
	}
	bySize := mapreduce.NamedOutput[string, int]{Name: "long"}
	mapOnly := mapreduce.MapOnly[int64, string]{
		Name: "maponly",
		Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(int64, string)) error {
			emit(line.Offset, strings.ToUpper(line.Text()))
			if len(line.Value)%2 == 0 {
				return bySize.Emit(t, line.Text(), len(line.Value))
			}
			f, err := t.Create(fmt.Sprintf("lines/%s-%d", line.File, line.Offset))
			if err == nil {
				_, err = f.Write(line.Value)
			}
			return err
		},
	}
	for _, c := range []struct {
		name  string
		job   mapreduce.Definition
		spec  mapreduce.Spec
		input mapreduce.FileSystem
	}{
		{"index", index, lines, text},
		{"combiner", WordCount, lines, text},
		{"ranges", sorting, ranges, records},
		{"bad records", picky, skipping, text},
		{"map only, with other files", mapOnly, mapreduce.Spec{Input: []string{"*"}}, text},
	} {
		t.Run(c.name, func(t *testing.T) {
			const each = 10
			got, want := make(map[string]int), make(map[string]int)
			testutil.Enough(t, chaosRuns()/each, func() string { return testutil.Lack(got, want) }, func(i int) {
				report := mapreducetest.Test(t, c.job, c.spec, mapreducetest.Config{Input: c.input, Seed: uint64(i * each), Runs: each})
				for what, n := range map[string]int{
					"crashes of workers": report.WorkerCrashes, "crashes of coordinators": report.CoordinatorCrashes,
					"faults of the network": report.NetworkFaults, "slow workers": report.SlowWorkers,
					"failed calls": report.FileErrors, "repeated tasks": report.Repeats,
				} {
					got[what] += n
					want[what] = chaosRuns() / 3
				}
			})
			t.Log(got)
		})
	}
}

func TestDirKeepsTheContract(t *testing.T) {
	onDisk := func(t *testing.T) mapreduce.FileSystem { return mapreduce.Dir(t.TempDir()) }
	t.Run("os", func(t *testing.T) { mapreducetest.TestFileSystem(t, onDisk, nil) })
	inMemory := func(*testing.T) mapreduce.FileSystem { return mapreduce.DirOn(vfs.NewMemory(1), "/root") }
	crash := func(_ *testing.T, fsys mapreduce.FileSystem) mapreduce.FileSystem {
		return mapreduce.DirOn(mapreduce.DiskOf(fsys).(*vfs.Memory).Crash(), "/root")
	}
	t.Run("memory", func(t *testing.T) { mapreducetest.TestFileSystem(t, inMemory, crash) })
}

// What a disk loses that does not sync, the suite must notice.
func TestSuiteNoticesADirThatDoesNotSync(t *testing.T) {
	for what, op := range map[string]vfs.Op{"files": vfs.OpSync, "directories": vfs.OpSyncDir} {
		lost := 0
		for seed := range uint64(20) {
			memory := vfs.NewMemory(seed)
			lying := vfs.Inject(memory, func(c vfs.Call) vfs.Fault { return vfs.Fault{Lie: c.Op == op} })
			fsys := mapreduce.DirOn(lying, "/root")
			for _, c := range mapreducetest.CrashCases() {
				if c.Before(context.Background(), fsys) == nil && c.After(context.Background(), mapreduce.DirOn(memory.CrashImage(seed), "/root")) != nil {
					lost++
				}
			}
		}
		if lost < 20 {
			t.Errorf("%s are not synced: noticed %d times", what, lost)
		}
	}
}

func TestInputsKeepTheContract(t *testing.T) {
	input := mapreducetest.NewMemory(map[string]string{"a": chaosText(50), "b": "no newline", "c": "", "d": "\n\n", "r/r": chaosText(100)[:2400]})
	if err := mapreducetest.CheckInput(t.Context(), mapreduce.Text{}, input, "*"); err != nil {
		t.Error(err)
	}
	if err := mapreducetest.CheckInput(t.Context(), mapreduce.FixedRecords(8).Reuse(), input, "r/r"); err != nil {
		t.Error(err)
	}
	if err := mapreducetest.CheckInput(t.Context(), mapreduce.FixedRecords(8), input, "r/r"); err != nil {
		t.Error(err)
	}
}
