package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

func TestRecordsSurviveReopening(t *testing.T) {
	fsys := vfs.NewMemory(1)
	all := new(ledger)
	for range 5 {
		j, l := mustOpen(t, small(fsys))
		if err := l.begins(all, uint64(len(all.records))); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, j, all, 7)
		if safe := mustSync(t, j); safe != uint64(len(all.records)) || j.Safe() != safe {
			t.Fatalf("safe up to %d, want %d", safe, len(all.records))
		}
		mustAppend(t, j, all, 2) // Close syncs these
		mustClose(t, j)
	}
	_, l := mustOpen(t, small(fsys))
	if err := l.begins(all, 45); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsSurviveOnARealDisk(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 4000}
	all := new(ledger)
	for range 3 {
		j, l := mustOpen(t, cfg)
		if err := l.begins(all, uint64(len(all.records))); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			mustAppend(t, j, all, 3)
			mustSync(t, j)
		}
		if err := j.Checkpoint(j.Safe()-5, all.image(j.Safe()-5)); err != nil {
			t.Fatal(err)
		}
		mustClose(t, j)
	}
	_, l := mustOpen(t, cfg)
	if err := l.begins(all, 90); err != nil {
		t.Fatal(err)
	}
	if l.restored != 85 {
		t.Errorf("began with the image of %d, want 85", l.restored)
	}
}

func TestASecondOpenIsLockedOut(t *testing.T) {
	for name, cfg := range map[string]Config{
		"memory": small(vfs.NewMemory(1)),
		"disk":   {Dir: t.TempDir()},
	} {
		j, _ := mustOpen(t, cfg)
		if _, err := Open(cfg, nil); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("%s: error is %v, want ErrLocked", name, err)
		}
		if err := Create(cfg, 1, strings.NewReader("")); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("%s: error is %v, want ErrLocked", name, err)
		}
		mustClose(t, j)
		mustOpen(t, cfg)
	}
}

func TestCallsAfterClose(t *testing.T) {
	j, _ := mustOpen(t, small(vfs.NewMemory(1)))
	mustClose(t, j)
	mustClose(t, j)
	if _, err := j.Append(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Append: %v", err)
	}
	if _, err := j.Sync(); !errors.Is(err, ErrClosed) {
		t.Errorf("Sync: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for field, cfg := range map[string]Config{
		"Dir":          {},
		"SegmentBytes": {Dir: dir, SegmentBytes: -1},
		"BufferBytes":  {Dir: dir, BufferBytes: -1},
	} {
		_, err := Open(cfg, nil)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestRecordsHaveALimit(t *testing.T) {
	j, _ := mustOpen(t, small(vfs.NewMemory(1)))
	half := make([]byte, MaxRecord/2)
	if _, err := j.Append(half, half, []byte{1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
	if sequence, err := j.Append(half, half); err != nil || sequence != 1 {
		t.Errorf("the greatest record: %d, %v", sequence, err)
	}
	mustClose(t, j)
	got := 0
	j, err := Open(j.cfg, replay(func(_ uint64, r []byte) error { got = len(r); return nil }))
	if err != nil || got != MaxRecord {
		t.Fatalf("read back %d bytes, %v", got, err)
	}
	mustClose(t, j)
}

// replay is a Recovery of records alone.
type replay func(uint64, []byte) error

func (replay) Restore(uint64, io.Reader) error          { return errors.New("an image") }
func (r replay) Replay(sequence uint64, b []byte) error { return r(sequence, b) }

func TestTheOwnersErrorEndsOpen(t *testing.T) {
	fsys := vfs.NewMemory(1)
	j, l := mustOpen(t, small(fsys))
	mustAppend(t, j, l, 3)
	mustClose(t, j)
	mine := errors.New("mine")
	if _, err := Open(small(fsys), replay(func(uint64, []byte) error { return mine })); err != mine {
		t.Errorf("error is %v, want the owner's", err)
	}
	mustOpen(t, small(fsys)) // the lock was given up
}

func TestConcurrentSyncsShareTheDisk(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const callers, each = 50, 20
		slow := vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync {
				time.Sleep(10 * time.Millisecond)
			}
			return vfs.Fault{}
		})
		j, err := Open(Config{Dir: dir, FS: slow}, nil)
		if err != nil {
			t.Fatal(err)
		}
		before := j.Status().Syncs
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range each {
					sequence, err := j.Append([]byte("record"))
					if err != nil {
						t.Error(err)
						return
					}
					if safe, err := j.Sync(); err != nil || safe < sequence {
						t.Errorf("record %d: safe up to %d, %v", sequence, safe, err)
						return
					}
				}
			})
		}
		wg.Wait()
		syncs := j.Status().Syncs - before
		if syncs < each || syncs > 2*each+2 {
			t.Errorf("%d syncs for %d records of %d callers each", syncs, each, callers)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAppendsDoNotWaitForASync(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		hold := make(chan struct{})
		var holding bool
		slow := vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync && holding {
				<-hold
			}
			return vfs.Fault{}
		})
		j, err := Open(Config{Dir: dir, FS: slow}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append([]byte("first")); err != nil {
			t.Fatal(err)
		}
		holding = true
		synced := make(chan uint64)
		go func() {
			safe, _ := j.Sync()
			synced <- safe
		}()
		synctest.Wait()
		for range 100 {
			if _, err := j.Append([]byte("meanwhile")); err != nil {
				t.Fatal(err)
			}
		}
		if j.Safe() != 0 {
			t.Errorf("safe up to %d during the first sync", j.Safe())
		}
		holding = false
		close(hold)
		if safe := <-synced; safe != 1 {
			t.Errorf("the first sync made %d safe, want 1", safe)
		}
		if safe, err := j.Sync(); safe != 101 || err != nil {
			t.Errorf("the second sync made %d safe, %v", safe, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAFullBufferIsSynced(t *testing.T) {
	cfg := small(vfs.NewMemory(1))
	cfg.BufferBytes = 1000
	j, l := mustOpen(t, cfg)
	for range 200 {
		mustAppend(t, j, l, 1)
		if len(j.buf) > 1000+recordHeaderSize && j.Status().Last-j.Safe() > 1 {
			t.Fatalf("%d bytes are waiting", len(j.buf))
		}
	}
	if j.Safe() == 0 {
		t.Error("nothing was synced")
	}
}

func TestCheckpointsReplaceRecords(t *testing.T) {
	fsys := vfs.NewMemory(1)
	j, l := mustOpen(t, small(fsys))
	for n := range 6 {
		mustAppend(t, j, l, 12)
		at := uint64(len(l.records)) - 3
		if err := j.Checkpoint(at, l.image(at)); err != nil {
			t.Fatal(err)
		}
		s := j.Status()
		if s.Checkpoint != at || s.Safe < at {
			t.Fatalf("status after a checkpoint at %d: %+v", at, s)
		}
		if n > 1 && (s.First <= 1 || s.First > at-12+1) {
			t.Fatalf("the log begins with %d after checkpoints at %d and %d", s.First, at-12, at)
		}
		got := checkpoints(t, fsys)
		if want := min(n+1, 2); len(got) != want {
			t.Fatalf("there are checkpoints %v, want the %d newest", got, want)
		}
	}
	mustClose(t, j)
	_, again := mustOpen(t, small(fsys))
	if err := again.begins(l, 72); err != nil {
		t.Fatal(err)
	}
	if again.restored != 69 {
		t.Errorf("began with the image of %d, want 69", again.restored)
	}
}

// checkpoints returns the names of the checkpoints there are.
func checkpoints(t *testing.T, fsys vfs.FS) []string {
	t.Helper()
	return names(t, fsys, checkpointPrefix)
}

func names(t *testing.T, fsys vfs.FS, prefix string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			list = append(list, e.Name())
		}
	}
	return list
}

func TestCheckpointSequences(t *testing.T) {
	j, l := mustOpen(t, small(vfs.NewMemory(1)))
	mustAppend(t, j, l, 20)
	if err := j.Checkpoint(21, l.image(20)); !errors.Is(err, ErrSequence) {
		t.Errorf("of what is not there: %v", err)
	}
	if err := j.Checkpoint(10, l.image(10)); err != nil {
		t.Fatal(err)
	}
	if err := j.Checkpoint(9, l.image(9)); !errors.Is(err, ErrSequence) {
		t.Errorf("before the newest: %v", err)
	}
	if err := j.Checkpoint(10, brokenImage{}); err != nil {
		t.Errorf("once more: %v", err)
	}
	if err := j.Checkpoint(11, brokenImage{}); !errors.Is(err, errBroken) {
		t.Errorf("error is %v, want the image's own", err)
	}
	if err := j.Checkpoint(11, l.image(11)); err != nil {
		t.Errorf("after one that failed: %v", err)
	}
}

// brokenImage fails half-way.
type brokenImage struct{}

var errBroken = errors.New("broken image")

func (brokenImage) WriteTo(w io.Writer) (int64, error) {
	n, _ := w.Write(make([]byte, 1<<20))
	return int64(n), errBroken
}

func TestAppendsGoOnDuringACheckpoint(t *testing.T) {
	fsys := vfs.NewMemory(1)
	j, l := mustOpen(t, small(fsys))
	mustAppend(t, j, l, 10)
	before := l.image(10)
	err := j.Checkpoint(10, writerTo(func(w io.Writer) (int64, error) {
		mustAppend(t, j, l, 30)
		mustSync(t, j)
		return before.WriteTo(w)
	}))
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, j)
	_, again := mustOpen(t, small(fsys))
	if err := again.begins(l, 40); err != nil || again.restored != 10 {
		t.Fatalf("image of %d; %v", again.restored, err)
	}
}

type writerTo func(io.Writer) (int64, error)

func (f writerTo) WriteTo(w io.Writer) (int64, error) { return f(w) }

func TestCreateBeginsWithAnImage(t *testing.T) {
	fsys := vfs.NewMemory(1)
	l := new(ledger)
	for n := range 40 {
		l.records = append(l.records, payload(n))
	}
	// Should that image be damaged, the log alone would seem to be everything.
	if err := Create(small(fsys), 0, l.image(40)); !errors.Is(err, ErrSequence) {
		t.Fatalf("an image of no records: %v", err)
	}
	if err := Create(small(fsys), 40, l.image(40)); err != nil {
		t.Fatal(err)
	}
	if err := Create(small(fsys), 40, l.image(40)); !errors.Is(err, ErrExists) {
		t.Fatalf("a second Create: %v", err)
	}
	j, got := mustOpen(t, small(fsys.Crash()))
	if err := got.begins(l, 40); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, got, 5)
	mustSync(t, j)
	_, again := mustOpen(t, small(j.cfg.FS.(*vfs.Memory).Crash()))
	if err := again.begins(got, 45); err != nil {
		t.Fatal(err)
	}
}

func TestReaderFollowsTheLog(t *testing.T) {
	j, l := mustOpen(t, small(vfs.NewMemory(1)))
	mustAppend(t, j, l, 5)
	mustSync(t, j)
	r, err := j.NewReader(3)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := uint64(3)
	for range 30 {
		for ; next <= j.Safe(); next++ {
			sequence, record, err := r.Next()
			if err != nil || sequence != next || !bytes.Equal(record, l.records[next-1]) {
				t.Fatalf("record %d: got %d, %d bytes, %v", next, sequence, len(record), err)
			}
		}
		mustAppend(t, j, l, 4) // not safe yet
		if _, _, err := r.Next(); err != io.EOF {
			t.Fatalf("beyond what is safe: %v", err)
		}
		mustSync(t, j)
	}
}

func TestReaderIsOvertaken(t *testing.T) {
	j, l := mustOpen(t, small(vfs.NewMemory(1)))
	for range 30 {
		mustAppend(t, j, l, 1)
		mustSync(t, j)
	}
	r, err := j.NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := range 2 {
		at := uint64(20 + n)
		if err := j.Checkpoint(at, l.image(at)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, ErrCompacted) {
		t.Errorf("error is %v, want ErrCompacted", err)
	}
	if _, err := j.NewReader(1); !errors.Is(err, ErrCompacted) {
		t.Errorf("error is %v, want ErrCompacted", err)
	}
	if _, err := j.NewReader(32); !errors.Is(err, ErrSequence) {
		t.Errorf("error is %v, want ErrSequence", err)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	fsys := vfs.NewMemory(1)
	j, l := mustOpen(t, small(fsys))
	mustAppend(t, j, l, 5)
	mustClose(t, j)
	foreign := []string{"README", "log-1", "log-000000000000000g", "checkpoint-", "log-0000000000000001.bak"}
	for _, name := range foreign {
		if err := vfs.WriteFile(fsys, dir+"/"+name, []byte("mine")); err != nil {
			t.Fatal(err)
		}
	}
	temporary := fmt.Sprintf("%s/%s%016x%s", dir, segmentPrefix, 77, temporarySuffix)
	if err := vfs.WriteFile(fsys, temporary, nil); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, small(fsys))
	all := names(t, fsys, "")
	for _, name := range foreign {
		if !slices.Contains(all, name) {
			t.Errorf("%s is gone", name)
		}
	}
	if slices.ContainsFunc(all, func(name string) bool { return strings.HasSuffix(name, temporarySuffix) }) {
		t.Errorf("unfinished files are left: %v", all)
	}
}

func TestNoAllocationsInASteadyState(t *testing.T) {
	j, _ := mustOpen(t, Config{Dir: t.TempDir()})
	head, body := make([]byte, 9), make([]byte, 100)
	run := func() {
		for range 1000 {
			if _, err := j.Append(head, body); err != nil {
				t.Fatal(err)
			}
		}
		mustSync(t, j)
	}
	run()
	// What is left is the system call's, once a sync.
	if n := testing.AllocsPerRun(20, run); n > 10 {
		t.Errorf("%v allocations for 1000 records", n)
	}
}
