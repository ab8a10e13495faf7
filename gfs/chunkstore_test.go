package gfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

const storeTestChunk = 8 * blockSize

// openTestStore opens a store of a boot.
func openTestStore(t testing.TB, fsys vfs.FS, boot uint64) *chunkStore {
	t.Helper()
	s, err := openChunkStore(chunkStoreConfig{fs: fsys, dir: "disk", boot: boot, maxOpen: 2})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pushedBlob returns a blob in several parts, as it comes out of the buffer.
func pushedBlob(data []byte, phase int) *blob {
	b := &blob{n: len(data), phase: phase, sums: pushSums(nil, phase, data)}
	for at := 0; at < len(data); {
		end := min(len(data), at+segmentSize-(phase+at)%segmentSize)
		b.parts = append(b.parts, append([]byte(nil), data[at:end]...))
		at = end
	}
	return b
}

func randomBytes(rng *rand.Rand, n int) []byte {
	p := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
	}
	return p[:n:n]
}

// storeMust fails the test at an error.
func storeMust(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func storeWant(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// storeContent reads all of a replica.
func storeContent(s *chunkStore, h handle, v version) ([]byte, error) {
	var all []byte
	for {
		r, err := s.readAt(h, v, int64(len(all)), maxRead)
		if err != nil {
			return nil, err
		}
		all = append(all, r.data...)
		n := len(r.data)
		r.free()
		if n == 0 {
			return all, nil
		}
	}
}

func wantContent(t testing.TB, s *chunkStore, h handle, v version, want []byte) {
	t.Helper()
	got, err := storeContent(s, h, v)
	storeMust(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("replica of %x has %d other bytes; %d were written", uint64(h), len(got), len(want))
	}
}

// overlay is what a write does to a model.
func overlay(model []byte, off int, p []byte) []byte {
	for len(model) < off+len(p) {
		model = append(model, 0)
	}
	copy(model[off:], p)
	return model
}

// TestStoreAgainstModel writes, pads and reads at random, and compares with a slice; the
// store is closed and opened in between, and has fewer files open than replicas.
func TestStoreAgainstModel(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 0))
		disk := vfs.NewMemory(seed)
		s := openTestStore(t, disk, 1)
		model := make(map[handle][]byte)
		for h := handle(1); h <= 5; h++ {
			_, err := s.make(h, 1)
			storeMust(t, err)
		}
		for step := range 150 {
			h := handle(1 + rng.IntN(5))
			m := model[h]
			switch rng.IntN(12) {
			case 0:
				storeMust(t, s.sync(h, 1))
			case 1:
				storeMust(t, s.clean(h, 0))
			case 2:
				storeMust(t, s.close())
				s = openTestStore(t, disk, uint64(step)+2)
			case 3:
				if rng.IntN(4) == 0 {
					off := rng.IntN(len(m) + 1)
					storeMust(t, s.pad(h, 1, int64(off), storeTestChunk))
					model[h] = overlay(m, off, make([]byte, storeTestChunk-off))
				}
			case 4, 5, 6: // append, of which the place may have been guessed
				n := 1 + rng.IntN(3*blockSize)
				if len(m)+n > storeTestChunk {
					continue
				}
				phase := rng.IntN(2) * (len(m) % blockSize)
				p := randomBytes(rng, n)
				storeMust(t, s.write(h, 1, int64(len(m)), pushedBlob(p, phase), storeTestChunk))
				model[h] = append(m, p...)
			case 7, 8, 9:
				off := rng.IntN(storeTestChunk)
				if rng.IntN(2) == 0 {
					off = off / blockSize * blockSize
				}
				p := randomBytes(rng, 1+rng.IntN(min(3*blockSize, storeTestChunk-off)))
				phase := off % blockSize
				if rng.IntN(3) == 0 {
					phase = rng.IntN(blockSize)
				}
				storeMust(t, s.write(h, 1, int64(off), pushedBlob(p, phase), storeTestChunk))
				model[h] = overlay(m, off, p)
			default:
				off, n := rng.IntN(storeTestChunk), rng.IntN(storeTestChunk)
				r, err := s.readAt(h, 1, int64(off), int64(n))
				storeMust(t, err)
				want := m[min(off, len(m)):min(off+n, len(m))]
				if !bytes.Equal(r.data, want) || r.length != int64(len(m)) {
					t.Fatalf("seed %d: reading %d at %d of %d: other bytes", seed, n, off, len(m))
				}
				r.free()
			}
		}
		used := int64(0)
		for h, m := range model {
			wantContent(t, s, h, 1, m)
			used += replicaSize(int64(len(m)))
		}
		used += replicaSize(0) * int64(5-len(model))
		if _, got := s.space(); got != used {
			t.Errorf("seed %d: %d bytes are used, want %d", seed, got, used)
		}
		if s.opened > 2 {
			t.Errorf("seed %d: %d replicas are open", seed, s.opened)
		}
		storeMust(t, s.close())
	}
}

// TestStoreLargeBlobs writes what spans segments, at every kind of place.
func TestStoreLargeBlobs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := openTestStore(t, vfs.NewMemory(1), 1)
	_, err := s.make(1, 1)
	storeMust(t, err)
	var model []byte
	for _, off := range []int{0, 1000, 3*blockSize - 5, segmentSize, segmentSize + 17} {
		for _, phase := range []int{off % blockSize, 0, 12345} {
			p := randomBytes(rng, 2*segmentSize+4321)
			storeMust(t, s.write(1, 1, int64(off), pushedBlob(p, phase), 64<<20))
			model = overlay(model, off, p)
		}
	}
	wantContent(t, s, 1, 1, model)
	d, err := s.digest(1, nil)
	storeMust(t, err)
	if len(d.bad) > 0 || d.health != sound || d.length != int64(len(model)) {
		t.Fatalf("digest %+v", d)
	}
	storeMust(t, s.close())
}

func TestStoreVersions(t *testing.T) {
	disk := vfs.NewMemory(1)
	s := openTestStore(t, disk, 1)
	_, err := s.make(7, 3)
	storeMust(t, err)
	_, err = s.make(7, 3) // again: the answer was lost
	storeMust(t, err)
	_, err = s.make(7, 4)
	storeWant(t, err, fs.ErrExist)
	storeMust(t, s.write(7, 3, 0, newBlob([]byte("three"), 0), storeTestChunk))

	n, err := s.raise(7, 3, 5)
	storeMust(t, err)
	if n != 5 {
		t.Errorf("length %d", n)
	}
	_, err = s.raise(7, 3, 5)
	storeMust(t, err)
	_, err = s.raise(7, 3, 4)
	storeWant(t, err, ErrStale)
	_, err = s.raise(7, 6, 8)
	storeWant(t, err, ErrStale)
	storeWant(t, s.write(7, 3, 0, newBlob([]byte("late"), 0), storeTestChunk), ErrStale)
	storeWant(t, s.sync(7, 3), ErrStale)
	storeWant(t, s.pad(7, 3, 0, 10), ErrStale)
	storeWant(t, s.delete(7, 3), ErrStale)
	wantContent(t, s, 7, 3, []byte("three")) // a reader who knows of an older version
	_, err = s.readAt(7, 6, 0, 1)
	storeWant(t, err, ErrStale)
	_, err = s.readAt(8, 1, 0, 1)
	storeWant(t, err, errNoChunk)
	storeWant(t, s.write(7, 5, storeTestChunk-1, newBlob([]byte("xx"), 0), storeTestChunk), fs.ErrInvalid)
	storeMust(t, s.delete(7, 5))
	storeMust(t, s.delete(7, 5))
	if st := s.state(7); st.health != gone {
		t.Errorf("deleted: %+v", st)
	}
	if _, used := s.space(); used != 0 {
		t.Errorf("%d bytes are used by nothing", used)
	}
	storeMust(t, s.close())
	s = openTestStore(t, disk, 2)
	if n := len(s.handles()); n != 0 {
		t.Errorf("%d replicas after a restart", n)
	}
	storeMust(t, s.close())
}

// TestStoreEpochs: an order of an older epoch is never obeyed again, also after a restart.
func TestStoreEpochs(t *testing.T) {
	disk := vfs.NewMemory(1)
	s := openTestStore(t, disk, 1)
	id := s.uuid()
	storeMust(t, s.obey(5))
	storeWant(t, s.obey(4), errOldEpoch)
	s = openTestStore(t, disk.Crash(), 2)
	if s.uuid() != id {
		t.Error("another disk after a crash")
	}
	storeWant(t, s.obey(4), errOldEpoch)
	storeMust(t, s.obey(5))
	if _, err := openChunkStore(chunkStoreConfig{fs: s.fs, dir: "disk", boot: 3}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a second server on the same disk: %v", err)
	}
}

// TestStoreDetectsEveryFlippedBit flips bits all over both files: what is read is what was
// written, or an error.
func TestStoreDetectsEveryFlippedBit(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	want := randomBytes(rng, 2*blockSize+999)
	disk := vfs.NewMemory(1)
	s := openTestStore(t, disk, 1)
	_, err := s.make(1, 1)
	storeMust(t, err)
	storeMust(t, s.write(1, 1, 0, pushedBlob(want, 0), storeTestChunk))
	storeMust(t, s.close())
	detected := 0
	for trial := range 300 {
		suffix := dataSuffix
		if trial%3 == 0 {
			suffix = metaSuffix
		}
		image := disk.CrashImage(1)
		name := chunkFile("disk", 1) + suffix
		all, err := vfs.ReadFile(image, name)
		storeMust(t, err)
		all[rng.IntN(len(all))] ^= 1 << rng.IntN(8)
		storeMust(t, vfs.WriteFile(image, name, all))
		s := openTestStore(t, image, 2)
		var got []byte
		for off := 0; off < len(want); off += blockSize {
			r, err := s.readAt(1, 1, int64(off), blockSize)
			if errors.Is(err, errNoChunk) { // the header
				detected++
				break
			}
			if err != nil {
				storeWant(t, err, ErrChecksum)
				if st := s.state(1); st.health != corrupt {
					t.Fatalf("after %v: %+v", err, st)
				}
				detected++
				continue
			}
			if !bytes.Equal(r.data, want[off:min(off+blockSize, len(want))]) {
				t.Fatalf("trial %d: wrong bytes were read", trial)
			}
			got = append(got, r.data...)
			r.free()
		}
		storeMust(t, s.close())
	}
	if detected != 300 {
		t.Errorf("%d of 300 flips were detected", detected)
	}
}

// TestStorePartsOfBadBlocks: what is bad spoils what depends on it, and nothing else.
func TestStorePartsOfBadBlocks(t *testing.T) {
	want := randomBytes(rand.New(rand.NewPCG(4, 0)), 3*blockSize)
	disk := vfs.NewMemory(1)
	s := openTestStore(t, disk, 1)
	_, err := s.make(1, 1)
	storeMust(t, err)
	storeMust(t, s.write(1, 1, 0, pushedBlob(want, 0), storeTestChunk))
	f, err := disk.OpenFile(chunkFile("disk", 1)+dataSuffix, 2)
	storeMust(t, err)
	_, err = f.WriteAt([]byte{want[blockSize+5] ^ 1}, blockSize+5)
	storeMust(t, err)

	// A write over a part of a bad block would hide the damage: it is refused (§5.2).
	storeWant(t, s.write(1, 1, blockSize+100, newBlob([]byte("x"), 0), storeTestChunk), ErrChecksum)
	if st := s.state(1); st.health != corrupt {
		t.Fatalf("%+v", st)
	}
	for _, off := range []int64{0, 2 * blockSize} {
		r, err := s.readAt(1, 1, off, blockSize)
		storeMust(t, err)
		if !bytes.Equal(r.data, want[off:off+blockSize]) {
			t.Fatal("wrong bytes")
		}
		r.free()
	}
	_, err = s.readAt(1, 1, 0, 3*blockSize)
	storeWant(t, err, ErrChecksum)
	_, err = s.raise(1, 1, 2)
	storeWant(t, err, ErrChecksum)
	_, err = s.fork(1, 1, 2, 1, nil)
	storeWant(t, err, ErrChecksum)
	if st := s.state(2); st.health != gone {
		t.Fatalf("the copy of a bad replica: %+v", st)
	}
	d, err := s.digest(1, nil)
	storeMust(t, err)
	if fmt.Sprint(d.bad) != "[1]" || d.health != corrupt {
		t.Fatalf("digest %+v", d)
	}

	// It is mended with the block of another, not accepted as it is.
	storeWant(t, s.accept(1, 1, 0, func(int) []byte { return nil }), ErrChecksum)
	storeMust(t, s.accept(1, 1, 0, func(block int) []byte { return want[block*blockSize : (block+1)*blockSize] }))
	wantContent(t, s, 1, 1, want)
	if st := s.state(1); st.health != sound {
		t.Fatalf("%+v", st)
	}
	storeMust(t, s.close())
}

// TestStoreReadsBesideWrites: a reader never sees half of a write as damage.
func TestStoreReadsBesideWrites(t *testing.T) {
	s := openTestStore(t, vfs.NewMemory(1), 1)
	_, err := s.make(1, 1)
	storeMust(t, err)
	storeMust(t, s.write(1, 1, 0, pushedBlob(make([]byte, 4*blockSize), 0), storeTestChunk))
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for i := range 200 {
			p := bytes.Repeat([]byte{byte(i)}, 2*blockSize)
			if err := s.write(1, 1, int64(i%3)*1000, pushedBlob(p, 0), storeTestChunk); err != nil {
				failed <- err
				return
			}
		}
	}()
	for {
		select {
		case err := <-failed:
			storeMust(t, err)
			storeMust(t, s.close())
			return
		default:
		}
		r, err := s.readAt(1, 1, 500, 3*blockSize)
		storeMust(t, err)
		r.free()
	}
}

// A syncTellsOnce is a disk whose first sync of data fails, late, and whose second finds
// nothing left to do: as an operating system tells of what it could not write once.
type syncTellsOnce struct {
	vfs.FS
	armed  atomic.Bool
	syncs  atomic.Int32
	second chan struct{} // closed when the first may fail
}

type syncTellsOnceFile struct {
	vfs.File
	d *syncTellsOnce
}

func (d *syncTellsOnce) OpenFile(name string, flag int) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag)
	if err != nil || !strings.HasSuffix(name, dataSuffix) {
		return f, err
	}
	return &syncTellsOnceFile{f, d}, nil
}

func (f *syncTellsOnceFile) Sync() error {
	if f.d.armed.Load() && f.d.syncs.Add(1) == 1 {
		<-f.d.second
		return errors.New("not written")
	}
	return f.File.Sync()
}

func TestStoreSyncsFailTogether(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		disk := vfs.NewMemory(1)
		d := &syncTellsOnce{FS: disk, second: make(chan struct{})}
		s := openTestStore(t, d, 1)
		_, err := s.make(1, 1)
		storeMust(t, err)
		storeMust(t, s.write(1, 1, 0, newBlob([]byte("data"), 0), storeTestChunk))
		d.armed.Store(true)
		ended, cleaned := make(chan error, 1), make(chan error, 1)
		go func() { ended <- s.sync(1, 1) }()
		synctest.Wait()
		go func() { cleaned <- s.clean(1, 0) }()
		runtime.Gosched()
		close(d.second)
		if err := <-ended; err == nil {
			t.Error("the sync that failed has not")
		}
		<-cleaned
		if st := openTestStore(t, disk.CrashImage(1), 2).state(1); st.health != suspect {
			t.Errorf("made clean by a sync that came after one that failed: %+v", st)
		}
		s.close()
	})
}

func TestStoreCleansWhatRests(t *testing.T) {
	disk := vfs.NewMemory(1)
	s := openTestStore(t, disk, 1)
	_, err := s.make(1, 1)
	storeMust(t, err)
	storeMust(t, s.write(1, 1, 0, newBlob([]byte("data"), 0), storeTestChunk))
	storeWant(t, s.clean(1, time.Hour), errBusyChunk)
	storeMust(t, s.clean(1, 0))
	after := openTestStore(t, disk.CrashImage(1), 2)
	wantContent(t, after, 1, 1, []byte("data"))
	// Mutations that go on at the same version are noted before the first.
	storeMust(t, s.write(1, 1, 4, newBlob([]byte("more"), 0), storeTestChunk))
	after = openTestStore(t, disk.CrashImage(2), 2)
	if st := after.state(1); st.health != suspect {
		t.Errorf("after a crash in a mutation: %+v", st)
	}
	_, err = after.readAt(1, 1, 0, 4)
	storeWant(t, err, errSuspect)
	_, err = after.raise(1, 1, 2)
	storeWant(t, err, errSuspect)
	storeMust(t, after.accept(1, 1, 0, func(int) []byte { return nil }))
	r, err := after.readAt(1, 1, 0, 4)
	storeMust(t, err)
	if string(r.data) != "data" {
		t.Errorf("what was durable is %q", r.data)
	}
	r.free()
	storeMust(t, s.close())
}
