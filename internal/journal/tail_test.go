package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

func fileSize(t *testing.T, fsys vfs.FS, path string) int64 {
	t.Helper()
	info, err := fsys.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestZerosAreWrittenAhead looks at what a long row of small batches does to the
// size of the file, and that no zeros are left in those that are finished.
func TestZerosAreWrittenAhead(t *testing.T) {
	t.Parallel()
	const segmentBytes = 600 << 10
	fsys := vfs.NewMemory(1)
	cfg := Config{Dir: dir, FS: fsys, SegmentBytes: segmentBytes}
	j, l := mustOpen(t, cfg)
	if n := fileSize(t, fsys, j.tail.path); n != fileHeaderSize {
		t.Errorf("a journal of no records takes %d bytes", n)
	}
	changes, path, size := 0, j.tail.path, int64(0)
	for j.Status().Segments == 1 {
		used := j.tail.size
		mustAppend(t, j, l, 4)
		mustSync(t, j)
		if j.tail.path != path {
			break
		}
		now := fileSize(t, fsys, path)
		if now != size {
			changes++
		}
		if now < j.tail.size || now > max(j.tail.size+1, min(segmentBytes, used+max(2*used, 2*minStep))) {
			t.Fatalf("the file has %d bytes for %d of records", now, j.tail.size)
		}
		size = now
	}
	if changes > 8 {
		t.Errorf("the size of the file changed %d times", changes)
	}
	first := j.segments[0]
	if n := fileSize(t, fsys, path); n != first.end {
		t.Errorf("a segment with %d bytes of records takes %d when it is finished", first.end, n)
	}
	mustClose(t, j)
	if n := fileSize(t, fsys, j.tail.path); n != j.tail.size {
		t.Errorf("a segment with %d bytes of records takes %d when it is closed", j.tail.size, n)
	}
	_, found := mustOpen(t, cfg)
	if err := found.begins(l, uint64(len(l.records))); err != nil {
		t.Fatal(err)
	}
}

// TestLargeBatchesAreWrittenOnce: zeros for them would only cost.
func TestLargeBatchesAreWrittenOnce(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMemory(1)
	j, _ := mustOpen(t, Config{Dir: dir, FS: fsys})
	for range 10 {
		if _, err := j.Append(make([]byte, maxStep)); err != nil {
			t.Fatal(err)
		}
		mustSync(t, j)
		if n := fileSize(t, fsys, j.tail.path); n != j.tail.size+1 {
			t.Fatalf("%d bytes behind the records", n-j.tail.size)
		}
	}
}

// TestCrashAmongZeros crashes journals whose batches go where zeros have been
// synced: one that never ends its segment, and one that does so now and then.
func TestCrashAmongZeros(t *testing.T) {
	t.Parallel()
	for _, segmentBytes := range []int64{0, 7000} {
		checked, err := crashesOf(18, func(fsys vfs.FS) Config {
			return Config{Dir: dir, FS: fsys, SegmentBytes: segmentBytes}
		})
		if err != nil {
			t.Fatalf("segments of %d bytes: %v", segmentBytes, err)
		}
		if checked < 500 {
			t.Errorf("only %d outcomes were checked", checked)
		}
	}
}

// TestHolesInABatch loses any selection of the sectors of the last batch, which lies
// among zeros. What was safe before must be there, what is found must be what was
// appended, and the journal must go on. Once the next batch says that it had been
// synced, the same loss is damage.
func TestHolesInABatch(t *testing.T) {
	t.Parallel()
	j, l := mustOpen(t, Config{Dir: dir, FS: vfs.NewMemory(1)})
	mustAppend(t, j, l, 9)
	mustSync(t, j)
	safe, from := len(l.records), j.tail.size
	before := readDisk(t, j.cfg.FS)
	mustAppend(t, j, l, 14)
	mustSync(t, j)
	torn, to := readDisk(t, j.cfg.FS), j.tail.size
	mustAppend(t, j, l, 1)
	mustSync(t, j)
	marked := readDisk(t, j.cfg.FS)
	name := lastSegment(torn)
	if n := int64(len(torn[name])); n < to+minStep/2 {
		t.Fatalf("the file has %d bytes, and the batch ends at %d", n, to)
	}
	cuts := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		lose := func(d disk) disk {
			data := bytes.Clone(d[name])
			for s := from / sectorSize; s*sectorSize < to; s++ {
				if rng.IntN(4) == 0 {
					copy(data[s*sectorSize:(s+1)*sectorSize], before[name][s*sectorSize:])
				}
			}
			return disk{name: data}
		}
		after := lose(torn)
		if bytes.Equal(after[name], torn[name]) {
			continue
		}
		h := &history{ledger: *l, safe: uint64(safe)}
		if err := h.check(Config{Dir: dir, FS: after.mount(t)}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		cuts++
		if s := to / sectorSize; !bytes.Equal(after[name][:s*sectorSize], torn[name][:s*sectorSize]) {
			copy(after[name][s*sectorSize:], marked[name][s*sectorSize:])
			_, err := Open(Config{Dir: dir, FS: after.mount(t)}, nil)
			if e := refused(t, err); filepath.Base(e.Path) != name || e.Offset < from || e.Offset >= to {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
	if cuts < 150 {
		t.Errorf("only %d cuts", cuts)
	}
}

// TestFlippedBitsAmongZeros flips a bit behind the records: where a record might
// begin it can't be told from a damaged one, and farther on it harms nothing.
func TestFlippedBitsAmongZeros(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMemory(1)
	cfg := Config{Dir: dir, FS: fsys}
	j, l := mustOpen(t, cfg)
	mustAppend(t, j, l, 8)
	mustSync(t, j)
	d, end := readDisk(t, fsys), j.tail.size
	name := lastSegment(d)
	whole := d.mount(t)
	refusals := 0
	for i := end; i < int64(len(d[name])); i += 1 + (i-end)/64 {
		d[name][i] ^= 1 << (i % 8)
		found := new(ledger)
		cfg.FS = damaged(t, whole, name, d[name])
		again, err := Open(cfg, found)
		d[name][i] ^= 1 << (i % 8)
		if err == nil {
			_ = again.Close()
			err = found.begins(l, uint64(len(l.records)))
			if err != nil {
				t.Fatalf("%d bytes behind the end: %v", i-end, err)
			}
			continue
		}
		if e := refused(t, err); e.Offset != end || i-end > sectorSize+recordHeaderSize {
			t.Fatalf("%d bytes behind the end: %v", i-end, err)
		}
		refusals++
	}
	if refusals == 0 {
		t.Error("never refused")
	}
}

// TestNoRoomForZeros fills the disk: no batch that has room may fail for the zeros
// behind it, and the room that they have taken is there for the batches to come.
func TestNoRoomForZeros(t *testing.T) {
	t.Parallel()
	for pages := int64(20); pages < 60; pages += 3 {
		fsys := vfs.NewMemory(uint64(pages))
		cfg := Config{Dir: dir, FS: fsys}
		j, l := mustOpen(t, cfg)
		fsys.SetCapacity(pages * 4096)
		var err error
		for err == nil {
			at := j.tail.size
			if err = appendNext(j, l); err == nil {
				_, err = j.Sync()
			}
			if err != nil && at < pages*4096-2*4096 {
				t.Fatalf("%d pages: failed at %d: %v", pages, at, err)
			}
		}
		if !errors.Is(err, vfs.ErrNoSpace) || !errors.Is(err, ErrFailed) {
			t.Fatalf("%d pages: error is %v", pages, err)
		}
		_ = j.Close()
		fsys.SetCapacity(0)
		h := &history{ledger: *l, safe: uint64(len(l.records) - 1)}
		if err := h.check(cfg); err != nil {
			t.Fatalf("%d pages: %v", pages, err)
		}
	}
}

// TestJournalsWithoutZerosAreOpened: as they were written before there were any,
// whole or with a torn end.
func TestJournalsWithoutZerosAreOpened(t *testing.T) {
	t.Parallel()
	data, unmarked := segmentOf(8)
	h := new(history)
	for n := range 8 {
		h.records = append(h.records, payload(n))
	}
	for n := unmarked; n <= len(data); n++ {
		if h.safe = 7; n == len(data) {
			h.safe = 8
		}
		d := disk{"log-0000000000000001": data[:n]}
		if err := h.check(Config{Dir: dir, FS: d.mount(t)}); err != nil {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// TestReaderAmongZeros follows a segment while zeros are written ahead of it, and
// while they are cut off.
func TestReaderAmongZeros(t *testing.T) {
	t.Parallel()
	j, l := mustOpen(t, Config{Dir: dir, FS: vfs.NewMemory(1), SegmentBytes: 100 << 10})
	r, err := j.NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := uint64(1)
	for n := 0; j.Status().Segments < 3; n++ {
		mustAppend(t, j, l, 3)
		mustSync(t, j)
		for behind := uint64(n % 40); next+behind <= j.Safe(); next++ {
			sequence, record, err := r.Next()
			if err != nil || sequence != next || !bytes.Equal(record, l.records[next-1]) {
				t.Fatalf("record %d: %d, %v", next, sequence, err)
			}
		}
	}
}

// TestAFailedWriteOfZerosIsFinal, unless it failed for want of room.
func TestAFailedWriteOfZerosIsFinal(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{vfs.ErrNoSpace, errors.New("the disk is gone")} {
		for _, partial := range []int{0, 1000} {
			in := vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
				if c.Op == vfs.OpWrite && c.Size > minStep/2 && strings.Contains(c.Name, segmentPrefix) {
					return vfs.Fault{Err: cause, Partial: partial}
				}
				return vfs.Fault{}
			})
			j, l := mustOpen(t, Config{Dir: dir, FS: in})
			mustAppend(t, j, l, 3)
			_, err := j.Sync()
			where := fmt.Sprintf("%v after %d bytes", cause, partial)
			if cause != vfs.ErrNoSpace {
				if !errors.Is(err, ErrFailed) || !errors.Is(err, cause) {
					t.Errorf("%s: error is %v", where, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			mustAppend(t, j, l, 20)
			mustSync(t, j)
			mustClose(t, j)
			if n := fileSize(t, in, j.tail.path); n != j.tail.size {
				t.Errorf("%s: a segment of %d bytes takes %d", where, j.tail.size, n)
			}
		}
	}
}

// TestWritesAreCutAnywhere: a write that fails, or whose process ends, may have been
// done up to any byte. The next start cuts off what is not whole.
func TestWritesAreCutAnywhere(t *testing.T) {
	t.Parallel()
	cut := -1
	for n := 0; n < 2600; n += 1 + n/700 {
		fsys, done := vfs.NewMemory(uint64(n)), false
		in := vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
			if cut < 0 || c.Op != vfs.OpWrite {
				return vfs.Fault{}
			}
			done = c.Size <= cut
			return vfs.Fault{Err: vfs.ErrCrashed, Partial: cut}
		})
		cut = -1
		j, l := mustOpen(t, Config{Dir: dir, FS: in})
		mustAppend(t, j, l, 2)
		mustSync(t, j)
		h := &history{ledger: *l, safe: 2}
		mustAppend(t, j, &h.ledger, 1)
		for _, zeros := range []int{0, 1, 30, 900} { // a record that ends with zeros
			record := append([]byte("zeros"), make([]byte, zeros)...)
			if _, err := j.Append(record); err != nil {
				t.Fatal(err)
			}
			h.records = append(h.records, record)
		}
		mustAppend(t, j, &h.ledger, 1)
		cut = n
		if _, err := j.Sync(); !errors.Is(err, ErrFailed) {
			t.Fatalf("error is %v", err)
		}
		_ = j.Close()
		if done {
			h.safe = uint64(len(h.records))
		}
		for seed := range uint64(3) {
			if err := h.finds(fsys.CrashImage(seed), 2); err != nil {
				t.Fatalf("cut to %d bytes, seed %d: %v", n, seed, err)
			}
		}
		if err := h.finds(fsys, h.safe); err != nil {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// finds opens a journal and compares what it holds.
func (h *history) finds(fsys vfs.FS, atLeast uint64) error {
	found := new(ledger)
	j, err := Open(Config{Dir: dir, FS: fsys}, found)
	if err != nil {
		return err
	}
	defer j.Close()
	return found.begins(&h.ledger, atLeast)
}

// TestFlippedBitsInARecordOfZeros that is the last, and that nothing but its stop
// byte tells from one that was cut off.
func TestFlippedBitsInARecordOfZeros(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 1, 100} {
		fsys := vfs.NewMemory(1)
		j, l := mustOpen(t, Config{Dir: dir, FS: fsys})
		mustAppend(t, j, l, 3)
		mustSync(t, j)
		from := j.tail.size + recordHeaderSize // behind the mark
		if _, err := j.Append(make([]byte, length)); err != nil {
			t.Fatal(err)
		}
		mustSync(t, j)
		d := readDisk(t, fsys)
		name, whole := lastSegment(d), d.mount(t)
		for i := from; i < j.tail.size; i++ {
			d[name][i] ^= 1 << (i % 8)
			_, err := Open(Config{Dir: dir, FS: damaged(t, whole, name, d[name])}, nil)
			if e := refused(t, err); e.Offset != from {
				t.Fatalf("byte %d of %d: %v", i-from, length, err)
			}
			d[name][i] ^= 1 << (i % 8)
		}
	}
}
