package statelog_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/vfs/vfstest"
)

// witness is what the owner of a log saw before a crash.
type witness struct {
	acknowledged []statelogtest.Entry // each is safe
	refused      map[uint64]bool      // ids of commands that were not logged
	read         int                  // commands that a confirmed read saw
	epoch        uint64
}

// work runs a log until its disk fails: commands one after the other, and some at
// the same time, checkpoints, and a restart.
func (w *witness) work(fsys vfs.FS, plant func(*statelog.Config)) {
	w.refused = make(map[uint64]bool)
	id := uint64(0)
	for range 2 {
		book := statelogtest.NewBook()
		cfg := small
		cfg.FS, cfg.Machine, cfg.CheckpointBytes = fsys, book, 400
		if plant != nil {
			plant(&cfg)
		}
		l, err := statelog.Open(cfg)
		if err != nil {
			return
		}
		_, w.epoch, _ = l.Lead(context.Background())
		for range 8 {
			id++
			if !w.propose(l, id) {
				break
			}
			seen := len(book.Entries())
			if _, err := l.Confirm(context.Background()); err == nil {
				w.read = max(w.read, seen)
			}
			if id%6 == 5 {
				_ = l.Checkpoint(context.Background()) // its failure must do no harm
			}
		}
		if l.Close() != nil {
			return
		}
	}
}

func (w *witness) propose(l *statelog.Solo, id uint64) bool {
	cmd := binary.LittleEndian.AppendUint64(nil, id)
	cmd = append(cmd, make([]byte, 50*(id%5))...)
	_, out, err := l.Propose(context.Background(), cmd)
	switch statelogtest.OutcomeOf(err) {
	case statelogtest.Done:
		w.acknowledged = append(w.acknowledged, statelogtest.DecodeEntry(out))
	case statelogtest.NotLogged:
		w.refused[id] = true
	}
	return err == nil
}

// check opens what the crash has left.
func (w *witness) check(after vfs.FS) error {
	book := statelogtest.NewBook()
	cfg := small
	cfg.FS, cfg.Machine = after, book
	l, err := statelog.Open(cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	entries := book.Entries()
	for i, e := range w.acknowledged {
		if i >= len(entries) || entries[i] != e {
			return fmt.Errorf("command %d of %d, acknowledged as %+v, is not there", i+1, len(w.acknowledged), e)
		}
	}
	if len(entries) < w.read {
		return fmt.Errorf("a confirmed read saw %d commands, %d are there", w.read, len(entries))
	}
	if len(entries) > len(w.acknowledged)+1 {
		return fmt.Errorf("%d commands are there, %d were acknowledged and one was on its way", len(entries), len(w.acknowledged))
	}
	for _, e := range entries {
		if w.refused[e.ID] {
			return fmt.Errorf("command %d was refused and is there", e.ID)
		}
	}
	if _, epoch, err := l.Lead(context.Background()); err != nil || epoch <= w.epoch {
		return fmt.Errorf("epoch %d after %d, %v", epoch, w.epoch, err)
	}
	return nil
}

func crashes(plant func(*statelog.Config)) (int, error) {
	return vfstest.CrashEverywhere(12, func() vfstest.Workload {
		w := new(witness)
		return vfstest.Workload{
			Run:   func(fsys vfs.FS) { w.work(fsys, plant) },
			Check: func(after *vfs.Memory) error { return w.check(after) },
		}
	})
}

func TestCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	checked, err := crashes(nil)
	if err != nil {
		t.Fatal(err)
	}
	if checked < 300 {
		t.Errorf("only %d outcomes were checked", checked)
	}
}

// TestPlantedBugsAreCaughtByCrashes holds that test against known bugs.
func TestPlantedBugsAreCaughtByCrashes(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(*statelog.Config){
		"release an output early": statelog.PlantReleaseEarly,
		"tell an epoch early":     statelog.PlantEpochUnsynced,
	} {
		if checked, err := crashes(plant); err == nil {
			t.Errorf("%s: not caught in %d outcomes", name, checked)
		}
	}
}

// TestEveryCallFails lets each call in turn fail without a crash: the log stops or
// goes on, and says so.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	for n := int64(1); ; n++ {
		disk := vfs.NewMemory(uint64(n))
		in := vfs.Inject(disk, func(c vfs.Call) vfs.Fault {
			if c.N == n {
				return vfs.Fault{Err: vfs.ErrNoSpace, Partial: c.Size / 2}
			}
			return vfs.Fault{}
		})
		w := new(witness)
		w.work(in, nil)
		if in.Calls() < n {
			if n < 50 {
				t.Errorf("only %d calls", n)
			}
			return
		}
		if err := w.check(disk.CrashImage(uint64(n))); err != nil {
			t.Fatalf("call %d, then a crash: %v", n, err)
		}
		if err := w.check(disk); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
	}
}
