package journal

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// TestKillAtEveryCall ends the process before each call: nothing of what it wrote
// is lost, and nothing of it is synced.
func TestKillAtEveryCall(t *testing.T) {
	t.Parallel()
	for n := int64(1); ; n++ {
		fsys := vfs.NewMemory(uint64(n))
		in := vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
			if c.N >= n {
				return vfs.Fault{Err: vfs.ErrCrashed}
			}
			return vfs.Fault{}
		})
		h := new(history)
		h.work(small(in), 22)
		if in.Calls() < n {
			return
		}
		if err := h.goesOn(fsys); err != nil {
			t.Fatalf("killed before call %d: %v", n, err)
		}
	}
}

// TestEverySyncOfTheLogFails and takes along what it should have written: the
// operating system shows it to the next process, and will not write it any more.
func TestEverySyncOfTheLogFails(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		fsys, syncs := vfs.NewMemory(uint64(n)), 0
		h := new(history)
		h.work(small(vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
			if c.Op != vfs.OpSync || !strings.Contains(c.Name, segmentPrefix) {
				return vfs.Fault{}
			}
			if syncs++; syncs != n {
				return vfs.Fault{}
			}
			if err := fsys.DropUnsynced(c.Name); err != nil {
				t.Error(err)
			}
			return vfs.Fault{Err: syscall.EIO}
		})), 22)
		if syncs < n {
			if n < 20 {
				t.Errorf("only %d syncs failed", n-1)
			}
			return
		}
		if err := h.goesOn(fsys); err != nil {
			t.Fatalf("sync %d failed: %v", n, err)
		}
	}
}

// goesOn opens what a process has left that has ended without a crash of the
// machine, as the next process, and cuts the power: what that was told to be safe
// must be there, be it its own or the first one's.
func (h *history) goesOn(fsys *vfs.Memory) error {
	next := new(history)
	j, err := Open(small(fsys), &next.ledger)
	if err != nil {
		return err
	}
	defer j.Close()
	if err := next.begins(&h.ledger, h.safe); err != nil {
		return err
	}
	for range 2 {
		next.safe = uint64(len(next.records)) // as Open has it, and then Sync
		for seed := range uint64(6) {
			if err := next.check(small(fsys.CrashImage(seed))); err != nil {
				return fmt.Errorf("then the power failed, seed %d: %w", seed, err)
			}
		}
		if err := appendNext(j, &next.ledger); err != nil {
			return err
		}
		if _, err := j.Sync(); err != nil {
			return err
		}
	}
	return nil
}
