package journal

import (
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// TestKillAtEveryCall ends the process before each call: nothing of what it wrote
// is lost, and nothing of it is synced. The next process goes on from what it
// finds, and then the power fails.
func TestKillAtEveryCall(t *testing.T) {
	t.Parallel()
	checked := 0
	for n := int64(1); ; n++ {
		fsys := vfs.NewMemory(uint64(n))
		in := vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
			if c.N >= n {
				return vfs.Fault{Err: vfs.ErrCrashed}
			}
			return vfs.Fault{}
		})
		first := new(history)
		first.work(small(in), 22)
		if in.Calls() < n {
			break
		}
		second := new(history)
		j, err := Open(small(fsys), &second.ledger)
		if err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		if err := second.begins(&first.ledger, first.safe); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		for range 2 { // the first may make a segment
			second.safe = uint64(len(second.records)) // Open and Sync say so
			for seed := range uint64(4) {
				if err := second.check(small(fsys.CrashImage(seed))); err != nil {
					t.Fatalf("killed before call %d, then a power failure, seed %d: %v", n, seed, err)
				}
				checked++
			}
			if err := appendNext(j, &second.ledger); err != nil {
				t.Fatal(err)
			}
			mustSync(t, j)
		}
		_ = j.Close()
	}
	if checked < 500 {
		t.Errorf("only %d outcomes were checked", checked)
	}
}
