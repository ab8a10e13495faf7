package vmft

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// Whatever call at the directory fails, with its effect or without: who is told that it has
// won is the one whose record stands, also after a crash; and who is told nothing finds out.
func TestDirArbiterWithFailingCalls(t *testing.T) {
	for _, done := range []bool{false, true} {
		for n := 1; ; n++ {
			disk := vfs.NewMemory(uint64(n))
			if err := disk.MkdirAll("/shared"); err != nil {
				t.Fatal(err)
			}
			calls, failed := 0, false
			injected := vfs.Inject(disk, func(vfs.Call) vfs.Fault {
				if calls++; calls == n {
					failed = true
					return vfs.Fault{Err: errors.New("the reply is lost"), Done: done}
				}
				return vfs.Fault{}
			})
			dir := filepath.Join("/shared", "lock")
			mine := Record{Epoch: 1, Primary: alpha}
			first, err := newDirArbiter(injected, dir).Claim(context.Background(), mine)
			told := err == nil && first == mine
			if told {
				disk = disk.Crash()
			}
			stands, err := newDirArbiter(disk, dir).Claim(context.Background(), Record{Epoch: 1, Primary: beta})
			if err != nil {
				t.Fatal(err)
			}
			if told && stands != mine {
				t.Fatalf("call %d (done %v): won, and %v stands", n, done, stands)
			}
			again, err := newDirArbiter(disk, dir).Claim(context.Background(), mine)
			if err != nil || again != stands {
				t.Fatalf("call %d: %v stands, asked again %v, %v", n, stands, again, err)
			}
			if !failed {
				break
			}
		}
	}
}

// A record is read as it was written, and damage is noticed.
func TestRecordText(t *testing.T) {
	for _, r := range []Record{{}, {Epoch: 9, Primary: Member{"a:1", 5, 0}, Backup: Member{"b \"x\"\n:1", ^ID(0), 3}}} {
		got, err := parseRecord(formatRecord(r))
		if err != nil || got != r {
			t.Errorf("%+v comes back as %+v, %v", r, got, err)
		}
	}
	b := formatRecord(Record{Epoch: 9, Primary: alpha})
	for i := range b {
		torn := append([]byte(nil), b...)
		torn[i] ^= 1
		if r, err := parseRecord(torn); err == nil {
			t.Errorf("a flipped bit at %d gives %v", i, r)
		}
		if r, err := parseRecord(b[:i]); err == nil {
			t.Errorf("%d bytes of it give %v", i, r)
		}
	}
}
