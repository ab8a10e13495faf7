package journal

import (
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/vfs/vfstest"
)

// crashSeeds is how many outcomes of each crash are looked at.
const crashSeeds = 12

// history is what a journal's owner did before a crash: what it had appended, and
// how much of that it had been told to be safe.
type history struct {
	ledger
	safe uint64
}

// work opens a journal, appends, syncs, makes checkpoints and closes, until
// something fails.
func (h *history) work(cfg Config, rounds int) {
	j, err := Open(cfg, nil)
	if err != nil {
		return
	}
	defer j.Close()
	for round := range rounds {
		for range 1 + round%4 {
			if appendNext(j, &h.ledger) != nil {
				return
			}
		}
		if round%5 == 4 {
			at := uint64(len(h.records) - round%3)
			if j.Checkpoint(at, h.image(at)) != nil {
				return
			}
			h.safe = max(h.safe, at)
			continue
		}
		safe, err := j.Sync()
		if err != nil {
			return
		}
		h.safe = safe
		if round%3 == 0 {
			if _, err := j.Sync(); err != nil { // leaves a mark
				return
			}
		}
	}
	if j.Close() == nil {
		h.safe = uint64(len(h.records))
	}
}

// check opens what a crash has left, twice, with some work in between.
func (h *history) check(cfg Config) error {
	found := new(ledger)
	j, err := Open(cfg, found)
	if err != nil {
		return err
	}
	defer j.Close()
	if err := found.begins(&h.ledger, h.safe); err != nil {
		return err
	}
	for range 3 {
		if err := appendNext(j, found); err != nil {
			return err
		}
		if _, err := j.Sync(); err != nil {
			return err
		}
	}
	if err := j.Close(); err != nil {
		return err
	}
	again := new(ledger)
	j, err = Open(cfg, again)
	if err != nil {
		return err
	}
	defer j.Close()
	return again.begins(found, uint64(len(found.records)))
}

// crashes runs a history and crashes it everywhere.
func crashes(rounds int, plant planted) (int, error) {
	return crashesOf(rounds, func(fsys vfs.FS) Config {
		cfg := small(fsys)
		cfg.planted = plant
		return cfg
	})
}

func crashesOf(rounds int, config func(vfs.FS) Config) (int, error) {
	return vfstest.CrashEverywhere(crashSeeds, func() vfstest.Workload {
		h := new(history)
		return vfstest.Workload{
			Run: func(fsys vfs.FS) {
				h.work(config(fsys), rounds)
			},
			Check: func(after *vfs.Memory) error {
				cfg := config(after)
				cfg.planted = planted{}
				return h.check(cfg)
			},
		}
	})
}

func TestCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	checked, err := crashes(22, planted{})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 1000 {
		t.Errorf("only %d outcomes were checked", checked)
	}
}

// TestCrashDuringRecovery crashes the start that follows a crash.
func TestCrashDuringRecovery(t *testing.T) {
	t.Parallel()
	checked := 0
	for at := int64(5); at < 120; at += 6 {
		h := new(history)
		disk := vfs.NewMemory(uint64(at))
		h.work(small(vfs.Inject(disk, func(c vfs.Call) vfs.Fault {
			if c.N == at {
				disk.Crash()
			}
			return vfs.Fault{}
		})), 22)
		n, err := vfstest.CrashEverywhere(4, func() vfstest.Workload {
			second, opened := new(history), false
			return vfstest.Workload{
				Disk: disk.CrashImage(uint64(at)),
				Run: func(fsys vfs.FS) {
					j, err := Open(small(fsys), &second.ledger)
					if err != nil {
						return
					}
					second.safe, opened = uint64(len(second.records)), true // from here on they count
					_ = appendNext(j, &second.ledger)
					_ = j.Close()
				},
				Check: func(after *vfs.Memory) error {
					if !opened {
						return h.check(small(after))
					}
					found := ledger{records: second.records[:second.safe]}
					if err := found.begins(&h.ledger, h.safe); err != nil {
						return err
					}
					return second.check(small(after))
				},
			}
		})
		if err != nil {
			t.Fatalf("first crash at call %d: %v", at, err)
		}
		checked += n
	}
	if checked < 300 {
		t.Errorf("only %d outcomes were checked", checked)
	}
}

func TestCrashDuringCreate(t *testing.T) {
	t.Parallel()
	_, err := vfstest.CrashEverywhere(crashSeeds, func() vfstest.Workload {
		h := new(history)
		for n := range 20 {
			h.records = append(h.records, payload(n))
		}
		created := false
		return vfstest.Workload{
			Run: func(fsys vfs.FS) { created = Create(small(fsys), 20, h.image(20)) == nil },
			Check: func(after *vfs.Memory) error {
				if created {
					h.safe = 20
				}
				found := new(ledger)
				j, err := Open(small(after), found)
				if err != nil {
					return err
				}
				defer j.Close()
				return found.begins(&h.ledger, h.safe)
			},
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPlantedBugsAreCaught holds the tests above against known bugs.
func TestPlantedBugsAreCaught(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]planted{
		"acknowledge before the fsync": {ackBeforeSync: true},
		"no sync of the directory":     {noDirSync: true},
		"prune before the checkpoint":  {pruneEarly: true},
		"leave an old segment's end":   {untrimmed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if checked, err := crashes(22, plant); err == nil {
				t.Errorf("not caught in %d outcomes", checked)
			} else {
				t.Log(err)
			}
		})
	}
}

// TestLyingDisksAreCaught does the same without any code for it: on a disk that
// reports syncs that it has not made.
func TestLyingDisksAreCaught(t *testing.T) {
	t.Parallel()
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpSyncDir} {
		_, err := vfstest.CrashEverywhere(crashSeeds, func() vfstest.Workload {
			h := new(history)
			return vfstest.Workload{
				Run: func(fsys vfs.FS) {
					h.work(small(vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
						return vfs.Fault{Lie: c.Op == op}
					})), 22)
				},
				Check: func(after *vfs.Memory) error { return h.check(small(after)) },
			}
		})
		if err == nil {
			t.Errorf("%v: not caught", op)
		}
	}
}
