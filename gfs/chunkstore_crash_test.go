package gfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/vfs/vfstest"
)

// A storeWitness is what is known of one replica in a workload that crashes.
type storeWitness struct {
	there   bool      // acknowledged
	begun   bool      // may be there
	ending  bool      // is being deleted: may be gone
	version version   // acknowledged
	raising version   // may be instead
	states  [][]byte  // what it contained since it was last durable, in order; the first was durable
	dirty   [2]int    // bytes that were overwritten since
	whole   bool      // nothing but all of it is right: a clone
	source  *[]byte   // what it is a clone of
	_       [0]func() // not comparable
}

func (w *storeWitness) now() []byte { return w.states[len(w.states)-1] }

// wrote notes that a write may have had an effect.
func (w *storeWitness) wrote(off, end int) {
	if w.dirty[1] == 0 {
		w.dirty = [2]int{off, end}
	}
	w.dirty = [2]int{min(w.dirty[0], off), max(w.dirty[1], end)}
}

// storeWorkload does all that a store can do, on a disk that may crash.
func storeWorkload(wrap func(vfs.FS) vfs.FS) func() vfstest.Workload {
	empty := vfs.NewMemory(1)
	s, err := openChunkStore(chunkStoreConfig{fs: empty, dir: "disk", boot: 1})
	if err != nil || s.close() != nil {
		return func() vfstest.Workload { return vfstest.Workload{Check: func(*vfs.Memory) error { return err }} }
	}
	return func() vfstest.Workload {
		w := &storeTrial{seen: map[handle]*storeWitness{1: {}, 2: {}, 3: {}}, rng: rand.New(rand.NewPCG(5, 0))}
		return vfstest.Workload{
			Disk:  empty.CrashImage(1),
			Run:   func(fsys vfs.FS) { w.failed = w.run(wrap(fsys)) },
			Check: w.check,
		}
	}
}

type storeTrial struct {
	s      *chunkStore
	rng    *rand.Rand
	seen   map[handle]*storeWitness
	failed error
}

func (w *storeTrial) write(h handle, off, n int) error {
	x := w.seen[h]
	p := randomBytes(w.rng, n)
	x.states = append(x.states, overlay(bytes.Clone(x.now()), off, p))
	x.wrote(min(off, len(x.states[len(x.states)-2])), off+n)
	return w.s.write(h, x.version, int64(off), pushedBlob(p, off%blockSize), storeTestChunk)
}

func (w *storeTrial) durable(h handle, f func() error) error {
	err := f()
	if x := w.seen[h]; err == nil {
		x.states, x.dirty = x.states[len(x.states)-1:], [2]int{}
	}
	return err
}

func (w *storeTrial) sync(h handle) error {
	return w.durable(h, func() error { return w.s.sync(h, w.seen[h].version) })
}

func (w *storeTrial) raise(h handle, to version) error {
	x := w.seen[h]
	x.raising = to
	_, err := w.s.raise(h, x.version, to)
	if err == nil {
		x.version = to
	}
	return err
}

// appear notes that a replica is about to be there with some content, at a version.
func (w *storeTrial) appear(h handle, v version, content []byte, make func() error) error {
	x := w.seen[h]
	x.begun, x.version, x.raising, x.states, x.whole = true, v, v, [][]byte{content}, true
	err := make()
	x.there = err == nil
	return err
}

// run is a life of three chunks: one is made and written, one is forked from it, one is a
// clone.
func (w *storeTrial) run(fsys vfs.FS) (err error) {
	if w.s, err = openChunkStore(chunkStoreConfig{fs: fsys, dir: "disk", boot: 2}); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = w.s.close()
		}
	}()
	steps := []func() error{
		func() error {
			return w.appear(1, 1, nil, func() error { _, err := w.s.make(1, 1); return err })
		},
		func() error { w.seen[1].whole = false; return w.write(1, 0, blockSize+1000) },
		func() error { return w.sync(1) },
		func() error { return w.write(1, blockSize+1000, 2000) }, // in the last block
		func() error { return w.write(1, 700, 1300) },            // over a part of the first
		func() error { return w.raise(1, 2) },
		func() error { return w.sync(1) },
		func() error { return w.write(1, 3*blockSize+5, 100) }, // beyond a hole
		func() error { return w.durable(1, func() error { return w.s.clean(1, 0) }) },
		func() error {
			return w.appear(2, 7, w.seen[1].now(), func() error { _, err := w.s.fork(1, 2, 2, 7, nil); return err })
		},
		func() error { return w.raise(1, 4) },
		func() error { return w.write(1, 0, blockSize) },
		func() error { return w.appear(3, 9, w.seen[1].now(), func() error { return w.clone(3, 9, 1) }) },
		func() error { w.seen[2].ending = true; return w.s.delete(2, 7) },
		func() error { return w.appear(3, 11, w.seen[2].now(), func() error { return w.reclone(3, 11) }) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// clone copies a replica block by block, as if it came from elsewhere.
func (w *storeTrial) clone(h handle, v version, from handle) error {
	b, err := w.s.build(h)
	if err == nil {
		if err = w.s.copyTo(b, from, w.seen[from].version, nil); err != nil {
			b.abort()
			return err
		}
		err = b.commit(v, false)
	}
	return err
}

// reclone replaces a replica by one of a higher version.
func (w *storeTrial) reclone(h handle, v version) error {
	w.seen[h].ending = true // the old one goes first
	content := w.seen[h].now()
	b, err := w.s.build(h)
	if err != nil {
		return err
	}
	if err := b.append(content, pushSums(nil, 0, content)); err != nil {
		return err
	}
	err = b.commit(v, false)
	w.seen[h].ending = err != nil
	return err
}

// check opens what a crash has left and holds it against what was acknowledged.
func (w *storeTrial) check(after *vfs.Memory) error {
	s, err := openChunkStore(chunkStoreConfig{fs: after, dir: "disk", boot: 3})
	if err != nil {
		return err
	}
	defer s.close()
	if s.damaged > 0 {
		return errors.New("a replica that cannot be read")
	}
	for h := handle(1); h <= 3; h++ {
		if err := w.seen[h].check(s, h); err != nil {
			return fmt.Errorf("replica %d: %w (the workload ended with %v)", h, err, w.failed)
		}
	}
	return nil
}

func (x *storeWitness) check(s *chunkStore, h handle) error {
	st := s.state(h)
	if st.health == gone {
		if x.there && !x.ending {
			return errors.New("is gone")
		}
		return nil
	}
	if !x.begun {
		return errors.New("has come from nowhere")
	}
	if x.ending && st.version != x.version {
		return nil // the one before: it was of an older version
	}
	if st.version != x.version && st.version != x.raising {
		return fmt.Errorf("is at version %d, neither %d nor %d", st.version, x.version, x.raising)
	}
	if st.health == suspect {
		if _, err := s.readAt(h, st.version, 0, 1); !errors.Is(err, errSuspect) {
			return fmt.Errorf("is suspect and serves: %v", err)
		}
		if err := x.blocks(s, h, st); err != nil {
			return err
		}
		if err := s.accept(h, st.version, 0, func(int) []byte { return nil }); err != nil {
			return fmt.Errorf("cannot be accepted: %w", err)
		}
	} else if st.health != sound {
		return errors.New("is corrupt")
	} else if x.dirty[1] > 0 || x.whole {
		x.dirty = [2]int{}
		x.states = x.states[len(x.states)-1:]
	}
	got, err := storeContent(s, h, st.version)
	if err != nil {
		return err
	}
	want := x.states[0]
	if x.whole && !bytes.Equal(got, want) {
		return fmt.Errorf("has %d bytes, not the %d it was made of", len(got), len(want))
	}
	if len(got) < len(want) {
		return fmt.Errorf("has %d bytes; %d were durable", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] && (i < x.dirty[0] || i >= x.dirty[1]) {
			return fmt.Errorf("byte %d is not what was made durable", i)
		}
	}
	return nil
}

// blocks holds the blocks that match their checksums against all that they ever were.
func (x *storeWitness) blocks(s *chunkStore, h handle, st replicaState) error {
	for off := 0; int64(off) < st.length; off += blockSize {
		r, err := s.readAny(h, 0, int64(off), blockSize, true)
		if errors.Is(err, ErrChecksum) {
			continue
		}
		if err != nil {
			return err
		}
		known := false
		for _, state := range x.states {
			part := state[min(off, len(state)):min(off+blockSize, len(state))]
			known = known || bytes.Equal(part, r.data)
		}
		n := len(r.data)
		r.free()
		if !known {
			return fmt.Errorf("block %d has %d bytes that it never had, and they match their checksum", off/blockSize, n)
		}
	}
	return nil
}

func TestStoreCrashAtEveryCall(t *testing.T) {
	checked, err := vfstest.CrashEverywhere(8, storeWorkload(func(fsys vfs.FS) vfs.FS { return fsys }))
	if err != nil {
		t.Fatal(err)
	}
	if checked < 400 {
		t.Errorf("only %d outcomes were checked", checked)
	}
	t.Logf("%d outcomes", checked)
}

// TestStoreCrashFindsPlantedBugs leaves out one kind of sync at a time: the crash test
// must notice.
func TestStoreCrashFindsPlantedBugs(t *testing.T) {
	for name, skip := range map[string]func(vfs.Call) bool{
		"data is not synced":        func(c vfs.Call) bool { return c.Op == vfs.OpSync && strings.Contains(c.Name, dataSuffix) },
		"checksums are not synced":  func(c vfs.Call) bool { return c.Op == vfs.OpSync && strings.Contains(c.Name, metaSuffix) },
		"directories are not":       func(c vfs.Call) bool { return c.Op == vfs.OpSyncDir },
		"the header is not written": func(c vfs.Call) bool { return c.Op == vfs.OpWrite && c.Offset == 0 && c.Size == chunkHeader },
	} {
		_, err := vfstest.CrashEverywhere(8, storeWorkload(func(fsys vfs.FS) vfs.FS {
			return vfs.Inject(fsys, func(c vfs.Call) vfs.Fault { return vfs.Fault{Lie: skip(c)} })
		}))
		if err == nil {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %v", name, err)
	}
}

// TestStoreErrorAtEveryCall fails each call of a workload in turn, with and without its
// effect: whatever the store still says is sound is what was written.
func TestStoreErrorAtEveryCall(t *testing.T) {
	for _, done := range []bool{false, true} {
		for n := 1; ; n++ {
			if w := failAt(t, int64(n), done); w {
				break
			}
			if n > 2000 {
				t.Fatal("the workload does not end")
			}
		}
	}
}

// A disk that has refused a sync may have dropped what it was to make durable, and sync
// gladly the next time. So whatever is accepted after that is written once more.
func TestStoreAcceptsWhatWasRefusedByWritingIt(t *testing.T) {
	want := randomBytes(rand.New(rand.NewPCG(8, 0)), 2*blockSize+77)
	disk := vfs.NewMemory(8)
	full, rewritten := false, 0
	s, err := openChunkStore(chunkStoreConfig{fs: vfs.Inject(disk, func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpWrite && strings.HasSuffix(c.Name, dataSuffix) {
			rewritten += c.Size
		}
		if full && c.Op == vfs.OpSync {
			return vfs.Fault{Err: vfs.ErrNoSpace}
		}
		return vfs.Fault{}
	}), dir: "disk", boot: 1})
	storeMust(t, err)
	_, err = s.make(1, 1)
	storeMust(t, err)
	storeMust(t, s.write(1, 1, 0, pushedBlob(want, 0), storeTestChunk))
	full = true
	storeWant(t, s.clean(1, 0), ErrNoSpace)
	if st := s.state(1); st.health != corrupt {
		t.Fatalf("%+v", st)
	}
	rewritten = 0
	nobody := func(int) []byte { return nil }
	storeWant(t, s.accept(1, 1, 0, nobody), ErrNoSpace)
	full = false
	storeMust(t, s.accept(1, 1, 0, nobody))
	if st := s.state(1); st.health != sound || rewritten != 2*len(want) {
		t.Errorf("%+v, and %d bytes of %d were written in two attempts", st, rewritten, len(want))
	}
	after := openTestStore(t, disk.Crash(), 2)
	wantContent(t, after, 1, 1, want)
	if st := after.state(1); st.health != sound {
		t.Errorf("%+v", st)
	}
}

// failAt fails call n and reports whether there were fewer calls.
func failAt(t *testing.T, n int64, done bool) (over bool) {
	disk := vfs.NewMemory(uint64(n))
	injector := vfs.Inject(disk, nil)
	var base int64
	failing := false
	injector = vfs.Inject(disk, func(c vfs.Call) vfs.Fault {
		if failing && c.N-base == n && c.Op != vfs.OpRead {
			return vfs.Fault{Err: errors.New("planted"), Done: done, Partial: 300}
		}
		return vfs.Fault{}
	})
	s, err := openChunkStore(chunkStoreConfig{fs: injector, dir: "disk", boot: 1})
	storeMust(t, err)
	_, err = s.make(1, 1)
	storeMust(t, err)
	rng := rand.New(rand.NewPCG(6, 0))
	model := randomBytes(rng, blockSize+500)
	storeMust(t, s.write(1, 1, 0, pushedBlob(model, 0), storeTestChunk))
	base, failing = injector.Calls(), true
	v := version(1)
	for step := range 8 {
		switch step % 4 {
		case 0:
			if _, err := s.raise(1, v, v+1); err == nil {
				v++
			}
		case 1:
			_ = s.sync(1, v)
		case 2:
			off := len(model)
			p := randomBytes(rng, 700)
			if s.write(1, v, int64(off), pushedBlob(p, 0), storeTestChunk) == nil {
				model = overlay(model, off, p)
			}
		case 3:
			p := randomBytes(rng, 900)
			if s.write(1, v, 100, pushedBlob(p, 0), storeTestChunk) == nil {
				model = overlay(model, 100, p)
			}
		}
		if st := s.state(1); st.health != sound {
			break
		}
		wantContent(t, s, 1, v, model)
	}
	over = injector.Calls()-base < n
	failing = false
	storeMust(t, s.close())
	return over
}

// TestStoreOnAFullDisk: what does not fit fails and leaves nothing behind; the rest works.
func TestStoreOnAFullDisk(t *testing.T) {
	disk := vfs.NewMemory(1)
	s := openTestStore(t, disk, 1)
	for h := handle(1); h <= 2; h++ {
		_, err := s.make(h, 1)
		storeMust(t, err)
	}
	p := randomBytes(rand.New(rand.NewPCG(7, 0)), blockSize)
	storeMust(t, s.write(1, 1, 0, pushedBlob(p, 0), storeTestChunk))
	storeMust(t, s.write(2, 1, 0, pushedBlob(p[:100], 0), storeTestChunk))
	disk.SetCapacity(disk.Used() + 3*4096)
	storeWant(t, s.write(1, 1, blockSize, pushedBlob(p, 0), storeTestChunk), ErrNoSpace)
	if st := s.state(1); st.health != sound || st.length != blockSize || s.faults.Load() != 1 {
		t.Fatalf("after a write that did not fit: %+v, %d faults", st, s.faults.Load())
	}
	wantContent(t, s, 1, 1, p)
	storeMust(t, s.write(1, 1, 500, pushedBlob(p[:900], 0), storeTestChunk)) // needs no room
	_, err := s.fork(1, 1, 9, 1, nil)
	storeWant(t, err, ErrNoSpace)
	storeMust(t, s.delete(2, 1))
	storeMust(t, s.write(1, 1, blockSize, pushedBlob(p[:4000], 0), storeTestChunk))
	want := append(overlay(bytes.Clone(p), 500, p[:900]), p[:4000]...)
	wantContent(t, s, 1, 1, want)
	storeMust(t, s.close())

	s = openTestStore(t, disk, 2)
	wantContent(t, s, 1, 1, want)
	s.capacity.Store(2 * blockSize)
	storeWant(t, s.pad(1, 1, blockSize+4000, storeTestChunk), ErrNoSpace)
	storeWant(t, s.write(1, 1, 5*blockSize, newBlob([]byte("x"), 5*blockSize), storeTestChunk), ErrNoSpace)
	wantContent(t, s, 1, 1, want)
	storeMust(t, s.close())
}
