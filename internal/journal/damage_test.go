package journal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// disk is a journal's directory, file by file, to be damaged.
type disk map[string][]byte

func readDisk(t *testing.T, fsys vfs.FS) disk {
	t.Helper()
	d := make(disk)
	for _, name := range names(t, fsys, "") {
		data, err := vfs.ReadFile(fsys, filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		d[name] = data
	}
	return d
}

// mount returns a file system with the files of the disk.
func (d disk) mount(t *testing.T) *vfs.Memory {
	t.Helper()
	fsys := vfs.NewMemory(1)
	if err := vfs.MkdirAllSync(fsys, dir); err != nil {
		t.Fatal(err)
	}
	for name, data := range d {
		if err := vfs.WriteFile(fsys, filepath.Join(dir, name), data); err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

// built is a journal with some segments, two checkpoints and records after them.
func built(t *testing.T, clean bool) (disk, *ledger) {
	t.Helper()
	fsys := vfs.NewMemory(1)
	j, l := mustOpen(t, small(fsys))
	for n := range 16 {
		mustAppend(t, j, l, 1)
		mustSync(t, j)
		if n == 5 || n == 9 {
			if err := j.Checkpoint(j.Safe(), l.image(j.Safe())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if clean {
		mustClose(t, j)
	}
	return readDisk(t, fsys), l
}

// damaged returns the file system of a disk on which one file is different.
func damaged(t *testing.T, whole *vfs.Memory, name string, data []byte) *vfs.Memory {
	t.Helper()
	fsys := whole.CrashImage(0) // a copy: everything is synced
	f, err := vfs.Create(fsys, filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return fsys
}

// TestFlippedBits flips a bit in every byte of every file. What was safe must be
// there, or the journal refused with the file and the offset. Only behind the end of
// the records, in the zeros, a flipped bit may be passed over.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		d, whole := built(t, clean)
		if len(d) < 5 {
			t.Fatalf("only %d files", len(d))
		}
		fsys := d.mount(t)
		tail, _ := mustOpen(t, small(fsys.CrashImage(0)))
		for name, data := range d {
			for i := range data {
				data[i] ^= 1 << (i % 8)
				behind := name == filepath.Base(tail.tail.path) && int64(i) >= tail.tail.size
				where := fmt.Sprintf("closed %v, byte %d of %s", clean, i, name)
				// What is wrong with a record is told where it begins.
				last := int64(i)
				if !strings.HasPrefix(name, segmentPrefix) {
					last = int64(len(data))
				}
				flipped(t, where, damaged(t, fsys, name, data), name, last, behind, whole)
				data[i] ^= 1 << (i % 8)
			}
		}
	}
}

func flipped(t *testing.T, where string, fsys vfs.FS, name string, last int64, behind bool, whole *ledger) {
	t.Helper()
	found := new(ledger)
	j, err := Open(small(fsys), found)
	if err == nil {
		defer j.Close()
		if strings.HasPrefix(name, segmentPrefix) && !behind {
			t.Fatalf("%s: not noticed", where)
		}
		if err := found.begins(whole, uint64(len(whole.records))); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		return
	}
	e := refused(t, err)
	if e.Path != filepath.Join(dir, name) || e.Offset < 0 || e.Offset > last {
		t.Fatalf("%s: the error is %v", where, err)
	}
}

// TestTruncatedFiles cuts every file at every length. The end of the last segment
// is what a crash may cut; nothing else may be missing unnoticed.
func TestTruncatedFiles(t *testing.T) {
	t.Parallel()
	d, whole := built(t, true)
	last := lastSegment(d)
	fsys := d.mount(t)
	for name, data := range d {
		for n := range data {
			found := new(ledger)
			j, err := Open(small(damaged(t, fsys, name, data[:n])), found)
			if err != nil {
				refused(t, err)
				continue
			}
			atLeast := uint64(len(whole.records))
			if name == last {
				atLeast = 0
			}
			if err := found.begins(whole, atLeast); err != nil {
				t.Fatalf("%s cut to %d bytes: %v", name, n, err)
			}
			_ = j.Close()
		}
	}
}

func lastSegment(d disk) string {
	last := ""
	for name := range d {
		if strings.HasPrefix(name, segmentPrefix) {
			last = max(last, name)
		}
	}
	return last
}

func TestMissingFiles(t *testing.T) {
	t.Parallel()
	d, whole := built(t, true)
	last, missing := lastSegment(d), 0
	for name, data := range d {
		if name == last || name == lockName {
			continue // the loss of the newest segment can't be noticed
		}
		delete(d, name)
		found := new(ledger)
		j, err := Open(small(d.mount(t)), found)
		if err != nil {
			refused(t, err)
			missing++
		} else {
			if err := found.begins(whole, uint64(len(whole.records))); err != nil {
				t.Errorf("without %s: %v", name, err)
			}
			_ = j.Close()
		}
		d[name] = data
	}
	if missing == 0 {
		t.Error("no file was missed")
	}
}

func TestSegmentOfAnotherJournal(t *testing.T) {
	t.Parallel()
	d, _ := built(t, true)
	other, _ := built(t, true)
	name := lastSegment(d)
	d[name] = other[name]
	_, err := Open(small(d.mount(t)), nil)
	if e := refused(t, err); filepath.Base(e.Path) != name {
		t.Errorf("error is %v", err)
	}
}

func TestFilesOfAnotherVersion(t *testing.T) {
	t.Parallel()
	d, _ := built(t, true)
	oldest := slices.Min(names(t, d.mount(t), checkpointPrefix)) // a start does not need it
	for name, data := range d {
		if name == lockName || name == oldest {
			continue
		}
		later := bytes.Clone(data)
		le.PutUint32(later[8:], version+1)
		le.PutUint32(later[60:], crc(0, later[:60]))
		d[name] = later
		_, err := Open(small(d.mount(t)), nil)
		var e *Error
		if !errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) || !errors.As(err, &e) || filepath.Base(e.Path) != name {
			t.Errorf("%s: error is %v", name, err)
		}
		d[name] = data
	}
}

// TestTornBatch loses sectors of a batch that had not been synced, and of one that
// had.
func TestTornBatch(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMemory(1)
	cfg := Config{Dir: dir, FS: fsys}
	j, l := mustOpen(t, cfg)
	mustAppend(t, j, l, 6)
	mustSync(t, j)
	safe := len(l.records)
	from := j.tail.size
	mustAppend(t, j, l, 12)
	mustSync(t, j) // the batch that a crash might have torn
	torn := readDisk(t, fsys)
	to := j.tail.size
	mustSync(t, j) // notes that it has been synced
	marked := readDisk(t, fsys)
	name := lastSegment(torn)

	cuts, last := 0, -1
	for sector := from/sectorSize + 1; (sector+1)*sectorSize <= to; sector++ {
		where := fmt.Sprintf("without sector %d", sector)
		lose := func(d disk) *vfs.Memory {
			data := bytes.Clone(d[name])
			clear(data[sector*sectorSize : (sector+1)*sectorSize])
			return disk{name: data}.mount(t)
		}
		found := new(ledger)
		j, err := Open(Config{Dir: dir, FS: lose(torn)}, found)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if err := found.begins(l, uint64(safe)); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		_ = j.Close()
		if n := len(found.records); n < len(l.records) && n >= last {
			cuts, last = cuts+1, n
		}
		_, err = Open(Config{Dir: dir, FS: lose(marked)}, nil)
		if e := refused(t, err); filepath.Base(e.Path) != name || e.Offset < from || e.Offset > (sector+1)*sectorSize {
			t.Fatalf("%s, which had been synced: %v", where, err)
		}
	}
	if cuts < 5 {
		t.Errorf("only %d cuts", cuts)
	}
}

// TestCheckpointIsReadBack corrupts a checkpoint on its way to the disk.
func TestCheckpointIsReadBack(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMemory(1)
	corrupting := false
	j, l := mustOpen(t, small(vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
		if corrupting && c.Op == vfs.OpWrite && strings.Contains(c.Name, checkpointPrefix) {
			return vfs.Fault{Corrupt: func(p []byte) { p[len(p)/2] ^= 4 }}
		}
		return vfs.Fault{}
	})))
	for n := range uint64(6) {
		for range 6 {
			mustAppend(t, j, l, 1)
			mustSync(t, j)
		}
		corrupting = n > 2
		at := j.Safe()
		err := j.Checkpoint(at, l.image(at))
		if corrupting != errors.Is(err, ErrCorrupt) {
			t.Fatalf("checkpoint %d: %v", n, err)
		}
	}
	_, found := mustOpen(t, small(fsys.CrashImage(1)))
	if err := found.begins(l, 36); err != nil {
		t.Fatal(err)
	}
	if found.restored != 18 {
		t.Errorf("began with the image of %d, want 18", found.restored)
	}
}

// TestBothCheckpointsAreDamaged has nothing left to start from.
func TestBothCheckpointsAreDamaged(t *testing.T) {
	t.Parallel()
	d, _ := built(t, true)
	images := 0
	for name, data := range d {
		if strings.HasPrefix(name, checkpointPrefix) {
			data[len(data)/2] ^= 1
			images++
		}
	}
	if images != 2 {
		t.Fatalf("%d checkpoints", images)
	}
	_, err := Open(small(d.mount(t)), nil)
	if e := refused(t, err); !strings.HasPrefix(filepath.Base(e.Path), checkpointPrefix) {
		t.Errorf("error is %v", err)
	}
}

// TestEveryCallFails lets each call in turn fail, without a crash: the journal must
// stop or go on, and what was safe must be there.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	errDisk := syscall.EIO
	failed := 0
	for n := int64(1); ; n++ {
		fsys := vfs.NewMemory(uint64(n))
		var after struct{ calls, writes int }
		hit := false
		in := vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
			if hit && strings.Contains(c.Name, segmentPrefix) && (c.Op == vfs.OpWrite || c.Op == vfs.OpSync) {
				after.writes++
			}
			if c.N != n {
				return vfs.Fault{}
			}
			hit = strings.Contains(c.Name, segmentPrefix) && (c.Op == vfs.OpWrite || c.Op == vfs.OpSync)
			return vfs.Fault{Err: errDisk, Done: n%2 == 0}
		})
		h := new(history)
		h.work(small(in), 22)
		if in.Calls() < n {
			break
		}
		if hit {
			failed++
			if after.writes > 0 {
				t.Errorf("call %d failed, and %d writes and syncs of the log came after it", n, after.writes)
			}
		}
		for seed := range uint64(4) {
			if err := h.check(small(fsys.CrashImage(seed))); err != nil {
				t.Fatalf("call %d, seed %d: %v", n, seed, err)
			}
		}
		if err := h.check(small(fsys)); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
	}
	if failed < 30 {
		t.Errorf("only %d writes and syncs failed", failed)
	}
}

func TestFailureIsFinal(t *testing.T) {
	t.Parallel()
	errDisk := errors.New("the disk is gone")
	failing := false
	fsys := vfs.NewMemory(1)
	j, l := mustOpen(t, small(vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
		if failing && c.Op == vfs.OpSync {
			return vfs.Fault{Err: errDisk}
		}
		return vfs.Fault{}
	})))
	mustAppend(t, j, l, 3)
	mustSync(t, j)
	mustAppend(t, j, l, 1)
	failing = true
	_, first := j.Sync()
	failing = false
	if !errors.Is(first, ErrFailed) || !errors.Is(first, errDisk) {
		t.Fatalf("error is %v, want ErrFailed with its cause", first)
	}
	if _, err := j.Append(nil); err != first {
		t.Errorf("Append: %v", err)
	}
	if _, err := j.Sync(); err != first {
		t.Errorf("Sync: %v", err)
	}
	if err := j.Checkpoint(2, l.image(2)); err != first {
		t.Errorf("Checkpoint: %v", err)
	}
	if s := j.Status(); s.Safe != 3 || s.Err != first {
		t.Errorf("Status: %+v", s)
	}
	if err := j.Close(); err != first {
		t.Errorf("Close: %v", err)
	}
}

// TestADirectoryThatCannotBeSynced ends the journal, whatever it was synced for: a
// segment, a checkpoint or the removal of what a checkpoint replaces.
func TestADirectoryThatCannotBeSynced(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		fsys, syncs, began := vfs.NewMemory(1), 0, false
		j, l := mustOpen(t, small(vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
			if began && c.Op == vfs.OpSyncDir {
				if syncs++; syncs == n {
					return vfs.Fault{Err: syscall.EIO}
				}
			}
			return vfs.Fault{}
		})))
		began = true
		var err error
		for round := 0; round < 20 && err == nil; round++ {
			mustAppend(t, j, l, 1)
			if _, err = j.Sync(); err == nil && round%5 == 4 {
				err = j.Checkpoint(j.Safe(), l.image(j.Safe()))
			}
		}
		if syncs < n {
			if n < 10 {
				t.Errorf("the directory was synced only %d times", n-1)
			}
			return
		}
		if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync %d of the directory failed: error is %v", n, err)
		}
		if _, again := j.Append(nil); again != err {
			t.Errorf("sync %d of the directory failed: Append says %v", n, again)
		}
	}
}

// TestFullDisk fills the disk at every page.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full := 0
	for pages := int64(1); pages < 12; pages++ {
		fsys := vfs.NewMemory(uint64(pages))
		fsys.SetCapacity(pages * 4096)
		h := new(history)
		var failure error
		j, err := Open(Config{Dir: dir, FS: fsys, SegmentBytes: 6000}, nil)
		if err == nil {
			for failure == nil && len(h.records) < 200 {
				if failure = appendNext(j, &h.ledger); failure == nil {
					var safe uint64
					if safe, failure = j.Sync(); failure == nil {
						h.safe = safe
					}
				}
			}
			_ = j.Close()
		} else {
			failure = err
		}
		if failure != nil {
			full++
			if !errors.Is(failure, vfs.ErrNoSpace) {
				t.Fatalf("%d pages: the error is %v", pages, failure)
			}
		}
		fsys.SetCapacity(0)
		if err := h.check(Config{Dir: dir, FS: fsys, SegmentBytes: 6000}); err != nil {
			t.Fatalf("%d pages: %v", pages, err)
		}
	}
	if full < 10 {
		t.Errorf("the disk was full only %d times", full)
	}
}

// TestCheckpointOnAFullDisk leaves the log as it was.
func TestCheckpointOnAFullDisk(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMemory(1)
	j, l := mustOpen(t, Config{Dir: dir, FS: fsys})
	mustAppend(t, j, l, 6)
	mustSync(t, j)
	fsys.SetCapacity(fsys.Used() + 8192)
	big := bytes.NewReader(make([]byte, 1<<20))
	if err := j.Checkpoint(6, big); !errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, ErrFailed) {
		t.Fatalf("error is %v, want a full disk", err)
	}
	mustAppend(t, j, l, 6)
	mustSync(t, j)
	if err := j.Checkpoint(12, l.image(2)); err != nil {
		t.Fatal(err)
	}
}

// TestTheImageTheJournalBeganWithIsDamaged: nothing takes its place.
func TestTheImageTheJournalBeganWithIsDamaged(t *testing.T) {
	t.Parallel()
	for checkpoints := range 3 {
		fsys := vfs.NewMemory(1)
		l := &ledger{records: [][]byte{payload(0)}}
		if err := Create(small(fsys), 1, l.image(1)); err != nil {
			t.Fatal(err)
		}
		j, l := mustOpen(t, Config{Dir: dir, FS: fsys}) // one segment
		for range checkpoints {
			mustAppend(t, j, l, 3)
			at := uint64(len(l.records))
			if err := j.Checkpoint(at, l.image(at)); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, j, l, 3)
		mustClose(t, j)
		d := readDisk(t, fsys)
		for name, data := range d {
			if strings.HasPrefix(name, checkpointPrefix) {
				data[len(data)/2] ^= 1
			}
		}
		_, err := Open(small(d.mount(t)), nil)
		if e := refused(t, err); !strings.HasPrefix(filepath.Base(e.Path), checkpointPrefix) {
			t.Errorf("after %d checkpoints: error is %v", checkpoints, err)
		}
	}
}
