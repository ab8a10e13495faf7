package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// outcomes tells what the crashes of one moment leave of a thing.
func outcomes(m *vfs.Memory, look func(*vfs.Memory) string) map[string]int {
	seen := make(map[string]int)
	for seed := range uint64(200) {
		seen[look(m.CrashImage(seed))]++
	}
	return seen
}

// content returns what a file holds, or the error.
func content(name string) func(*vfs.Memory) string {
	return func(m *vfs.Memory) string {
		data, err := vfs.ReadFile(m, name)
		if errors.Is(err, fs.ErrNotExist) {
			return "missing"
		}
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// make creates a file.
func create(t *testing.T, m vfs.FS, name, data string) vfs.File {
	t.Helper()
	f, err := vfs.Create(m, name)
	ok(t, err)
	_, err = f.Write([]byte(data))
	ok(t, err)
	return f
}

func TestWhatIsSyncedSurvives(t *testing.T) {
	m := vfs.NewMemory(1)
	ok(t, vfs.MkdirAllSync(m, "a/b"))
	ok(t, vfs.WriteFile(m, "a/b/f", []byte("data")))
	f := create(t, m, "a/b/g", "more")
	ok(t, f.Sync())
	ok(t, m.SyncDir("a/b"))
	ok(t, m.Rename("a/b/f", "a/b/h"))
	ok(t, m.Link("a/b/g", "a/b/i"))
	ok(t, m.SyncDir("a/b"))
	ok(t, m.Remove("a/b/g"))
	ok(t, m.SyncDir("a/b"))
	for range 3 {
		m = m.Crash()
		for name, want := range map[string]string{"a/b/h": "data", "a/b/i": "more", "a/b/f": "missing", "a/b/g": "missing"} {
			if got := content(name)(m); got != want {
				t.Fatalf("%s is %q, want %q", name, got, want)
			}
		}
	}
}

func TestEachEntryThatIsNotSyncedMaySurviveOrNot(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *vfs.Memory)
		want   []string
	}{
		"create": {func(m *vfs.Memory) { ok(t, create(t, m, "new", "x").Sync()) },
			[]string{"old=alpha new=missing", "old=alpha new=x"}},
		"rename": {func(m *vfs.Memory) { ok(t, m.Rename("old", "new")) },
			[]string{"old=alpha new=missing", "old=missing new=alpha"}},
		"link": {func(m *vfs.Memory) { ok(t, m.Link("old", "new")) },
			[]string{"old=alpha new=missing", "old=alpha new=alpha"}},
		"remove": {func(m *vfs.Memory) { ok(t, m.Remove("old")) },
			[]string{"old=alpha new=missing", "old=missing new=missing"}},
	} {
		m := vfs.NewMemory(1)
		ok(t, vfs.WriteFile(m, "old", []byte("alpha")))
		test.change(m)
		seen := outcomes(m, func(after *vfs.Memory) string {
			return "old=" + content("old")(after) + " new=" + content("new")(after)
		})
		for _, want := range test.want {
			if seen[want] < 20 {
				t.Errorf("%s: %q was seen %d times", name, want, seen[want])
			}
		}
		if len(seen) != len(test.want) {
			t.Errorf("%s: outcomes %v", name, seen)
		}
	}
}

func TestADirectoryIsAnEntryToo(t *testing.T) {
	m := vfs.NewMemory(1)
	ok(t, m.MkdirAll("d"))
	ok(t, vfs.WriteFile(m, "d/f", []byte("data"))) // syncs d, not the root
	seen := outcomes(m, content("d/f"))
	if len(seen) != 2 || seen["missing"] == 0 || seen["data"] == 0 {
		t.Errorf("outcomes %v", seen)
	}
}

func TestARenameBetweenDirectoriesIsAtomic(t *testing.T) {
	m := vfs.NewMemory(1)
	ok(t, vfs.MkdirAllSync(m, "a"))
	ok(t, vfs.MkdirAllSync(m, "b"))
	ok(t, create(t, m, "a/f", "data").Sync()) // an entry that is not synced
	ok(t, m.Rename("a/f", "b/f"))
	look := func(after *vfs.Memory) string { return content("a/f")(after) + " " + content("b/f")(after) }
	for outcome := range outcomes(m, look) {
		if outcome == "data data" {
			t.Errorf("outcome %q", outcome)
		}
	}
	ok(t, m.SyncDir("b"))
	if seen := outcomes(m, look); len(seen) != 1 || seen["missing data"] == 0 {
		t.Errorf("after a sync: outcomes %v", seen)
	}
}

// TestChangesOfOneNameKeepTheirOrder: a later one does not survive without the
// earlier one that it builds on, so that no directory ever has two names.
func TestChangesOfOneNameKeepTheirOrder(t *testing.T) {
	m := vfs.NewMemory(1)
	ok(t, vfs.MkdirAllSync(m, "a"))
	ok(t, vfs.WriteFile(m, "a/f", []byte("data")))
	ok(t, m.Rename("a", "b"))
	ok(t, m.Rename("b", "c"))
	seen := outcomes(m, func(after *vfs.Memory) string {
		return content("a/f")(after) + " " + content("b/f")(after) + " " + content("c/f")(after)
	})
	if len(seen) != 3 || seen["data missing missing"] < 20 || seen["missing data missing"] < 20 || seen["missing missing data"] < 20 {
		t.Errorf("outcomes %v", seen)
	}
}

// TestSectorsAreTorn overwrites and extends a synced file and looks at each sector
// after a crash.
func TestSectorsAreTorn(t *testing.T) {
	const sectors = 8
	old := strings.Repeat("o", sectors*vfs.SectorSize)
	m := vfs.NewMemory(1)
	ok(t, vfs.WriteFile(m, "f", []byte(old)))
	f, err := m.OpenFile("f", os.O_RDWR)
	ok(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("n"), 10*vfs.SectorSize), 3*vfs.SectorSize+100)
	ok(t, err)

	kinds := make(map[string]int)
	for seed := range uint64(300) {
		data, err := vfs.ReadFile(m.CrashImage(seed), "f")
		ok(t, err)
		for from := 0; from < len(data); from += vfs.SectorSize {
			sector := data[from:min(len(data), from+vfs.SectorSize)]
			kinds[sectorKind(t, from/vfs.SectorSize, sector)]++
		}
		kinds[fmt.Sprintf("size %d", len(data)/vfs.SectorSize)]++
	}
	for _, want := range []string{"0 old", "2 old", "3 old", "3 mixed", "4 old", "4 new", "7 old", "7 new",
		"8 zero", "8 new", "12 zero", "size 8", "size 10", "size 13"} {
		if kinds[want] == 0 {
			t.Errorf("%q was never seen", want)
		}
	}
	for _, never := range []string{"0 new", "2 new", "4 zero", "8 old", "size 7"} {
		if kinds[never] > 0 {
			t.Errorf("%q was seen %d times", never, kinds[never])
		}
	}
	ok(t, f.Sync())
	for content := range outcomes(m, content("f")) {
		if len(content) != 13*vfs.SectorSize+100 || strings.Count(content, "n") != 10*vfs.SectorSize {
			t.Errorf("a synced file is changed")
		}
	}
}

// sectorKind says what a sector holds.
func sectorKind(t *testing.T, n int, sector []byte) string {
	t.Helper()
	has := func(c byte) bool { return bytes.IndexByte(sector, c) >= 0 }
	switch {
	case has('n') && !has('o') && !has(0):
		return fmt.Sprint(n, " new")
	case has('o') && !has('n') && !has(0):
		return fmt.Sprint(n, " old")
	case has(0) && !has('n') && !has('o'):
		return fmt.Sprint(n, " zero")
	case n == 3 && sector[99] == 'o' && sector[100] == 'n':
		return "3 mixed" // as it was written
	}
	t.Errorf("sector %d is torn within: %q", n, sector)
	return ""
}

func TestTruncationIsUndone(t *testing.T) {
	m := vfs.NewMemory(1)
	old := strings.Repeat("o", 2000)
	ok(t, vfs.WriteFile(m, "f", []byte(old)))
	f, err := m.OpenFile("f", os.O_RDWR)
	ok(t, err)
	ok(t, f.Truncate(100))
	_, err = f.WriteAt([]byte("new"), 1500)
	ok(t, err)
	seen := outcomes(m, content("f"))
	if seen[old] == 0 || seen[old[:100]+strings.Repeat("\x00", 1400)+"new"] == 0 || len(seen) < 4 {
		t.Errorf("%d outcomes", len(seen))
	}
	for outcome := range seen {
		if len(outcome) < 1503 || len(outcome) > 2000 {
			t.Errorf("an outcome has %d bytes", len(outcome))
		}
	}
}

func TestWhatAFailedSyncDropsMustBeWrittenAgain(t *testing.T) {
	old, updated := strings.Repeat("o", 1000), strings.Repeat("n", 3000)
	m := vfs.NewMemory(1)
	ok(t, vfs.WriteFile(m, "f", []byte(old)))
	f, err := m.OpenFile("f", os.O_RDWR)
	ok(t, err)
	_, err = f.WriteAt([]byte(updated), 0)
	ok(t, err)
	ok(t, m.DropUnsynced("f"))
	ok(t, f.Sync())
	if got := content("f")(m); got != updated {
		t.Errorf("%.10q is read", got)
	}
	seen := outcomes(m, content("f"))
	if lost := old + strings.Repeat("\x00", 2000); seen[updated] == 0 || seen[lost] == 0 {
		t.Errorf("kept %d times, lost %d times", seen[updated], seen[lost])
	}
	_, err = f.WriteAt([]byte(updated), 0)
	ok(t, err)
	ok(t, f.Sync())
	if seen := outcomes(m, content("f")); seen[updated] != 200 {
		t.Errorf("written again, kept %d times of 200", seen[updated])
	}
	ok(t, m.DropUnsynced("f"))
	if seen := outcomes(m, content("f")); seen[updated] != 200 {
		t.Errorf("what had been synced before, kept %d times of 200", seen[updated])
	}
}

func TestACrashedMachineIsDead(t *testing.T) {
	m := vfs.NewMemory(1)
	ok(t, m.MkdirAll("d"))
	f := create(t, m, "d/f", "data")
	lock, err := m.Lock("LOCK")
	ok(t, err)
	after := m.Crash()
	_, werr := f.Write([]byte("x"))
	_, rerr := f.ReadAt(make([]byte, 1), 0)
	_, oerr := vfs.Open(m, "d/f")
	_, derr := m.ReadDir("d")
	_, lerr := m.Lock("OTHER")
	for call, err := range map[string]error{
		"write": werr, "read": rerr, "open": oerr, "readdir": derr, "lock": lerr,
		"sync": f.Sync(), "truncate": f.Truncate(0), "rename": m.Rename("d", "e"),
		"remove": m.Remove("d/f"), "mkdir": m.MkdirAll("x"), "syncdir": m.SyncDir("d"),
	} {
		if !errors.Is(err, vfs.ErrCrashed) {
			t.Errorf("%s: %v", call, err)
		}
	}
	ok(t, lock.Close())
	held, err := after.Lock("LOCK") // the lock went with the machine
	ok(t, err)
	ok(t, held.Close())
}

func TestASeedRepeatsACrash(t *testing.T) {
	run := func() string {
		m := vfs.NewMemory(42)
		var all []string
		for n := range 20 {
			name := fmt.Sprint("f", n)
			f := create(t, m, name, strings.Repeat("x", 100*n))
			if n%3 == 0 {
				ok(t, f.Sync())
			}
			if n%7 == 0 {
				m = m.Crash()
			}
		}
		entries, err := m.ReadDir("/")
		ok(t, err)
		for _, e := range entries {
			all = append(all, e.Name()+"="+content(e.Name())(m))
		}
		return strings.Join(all, "\n")
	}
	if a, b := run(), run(); a != b {
		t.Errorf("two runs differ:\n%s\n\n%s", a, b)
	}
}

func TestCapacity(t *testing.T) {
	m := vfs.NewMemory(1)
	m.SetCapacity(3 * 4096)
	f, err := vfs.Create(m, "f")
	ok(t, err)
	n, err := f.Write(make([]byte, 20_000))
	if n != 3*4096 || !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	if _, err := f.WriteAt([]byte("over"), 100); err != nil {
		t.Errorf("overwriting on a full disk: %v", err)
	}
	ok(t, f.Truncate(4096))
	if used := m.Used(); used != 4096 {
		t.Errorf("%d bytes are used after a truncation", used)
	}
	ok(t, m.Remove("f"))
	if used := m.Used(); used != 4096 {
		t.Errorf("%d bytes are used by a removed file that is open", used)
	}
	ok(t, f.Close())
	if used := m.Used(); used != 0 {
		t.Errorf("%d bytes are used by nothing", used)
	}
}

func TestChangesThatAreNeverSyncedAreBounded(t *testing.T) {
	m := vfs.NewMemory(1)
	for n := range 3000 {
		ok(t, create(t, m, fmt.Sprintf("f%04d", n), "x").Close())
	}
	// The oldest have become durable by themselves.
	entries, err := m.Crash().ReadDir("/")
	ok(t, err)
	if len(entries) < 1900 || entries[1900].Name() != "f1900" {
		t.Errorf("%d entries survive", len(entries))
	}
}

func TestFaults(t *testing.T) {
	errDisk := errors.New("disk")
	var fault vfs.Fault
	var last vfs.Call
	m := vfs.NewMemory(1)
	in := vfs.Inject(m, func(c vfs.Call) vfs.Fault {
		last = c
		return fault
	})
	f := create(t, in, "f", "0123456789")
	if last.Op != vfs.OpWrite || last.Name != "f" || last.Size != 10 || last.Offset != -1 || last.N != 2 {
		t.Errorf("the call is told as %v", last)
	}

	fault = vfs.Fault{Err: errDisk}
	_, err := f.WriteAt([]byte("abc"), 0)
	var pathError *fs.PathError
	if !errors.Is(err, errDisk) || !errors.As(err, &pathError) || pathError.Path != "f" {
		t.Errorf("error is %v", err)
	}
	fault.Partial = 2
	if n, err := f.WriteAt([]byte("abc"), 0); n != 2 || !errors.Is(err, errDisk) {
		t.Errorf("a short write: %d, %v", n, err)
	}
	fault = vfs.Fault{Err: errDisk, Done: true}
	if err := in.Rename("f", "g"); !errors.Is(err, errDisk) {
		t.Errorf("error is %v", err)
	}
	if _, err := vfs.Create(in, "h"); !errors.Is(err, errDisk) {
		t.Errorf("error is %v", err)
	}
	if _, err := in.Lock("LOCK"); !errors.Is(err, errDisk) {
		t.Errorf("error is %v", err)
	}
	if got := content("h")(m) + content("LOCK")(m); got != "" {
		t.Errorf("calls that were done and failed left %q", got)
	}
	held, err := m.Lock("LOCK") // nobody has it
	ok(t, err)
	ok(t, held.Close())
	fault = vfs.Fault{Lie: true}
	ok(t, f.Sync())
	ok(t, in.Remove("g"))
	fault = vfs.Fault{Corrupt: func(p []byte) { p[0] ^= 1 }}
	p := []byte("A")
	_, err = f.WriteAt(p, 9)
	ok(t, err)
	if p[0] != 'A' {
		t.Error("the writer's own bytes are corrupted")
	}
	fault = vfs.Fault{}
	if got := content("g")(m); got != "ab2345678@" {
		t.Errorf("the file holds %q", got)
	}
	if seen := outcomes(m, content("g")); seen["ab2345678@"] == 200 {
		t.Error("a sync that was a lie had an effect")
	}
}

// TestMkdirAllSyncAgain lets attempts end at each call, without a crash; the one
// that succeeds makes all of it durable.
func TestMkdirAllSyncAgain(t *testing.T) {
	errKilled := errors.New("killed")
	for n := int64(1); ; n++ {
		m := vfs.NewMemory(1)
		first := vfs.Inject(m, func(c vfs.Call) vfs.Fault {
			if c.N >= n {
				return vfs.Fault{Err: errKilled}
			}
			return vfs.Fault{}
		})
		err := vfs.MkdirAllSync(first, "a/b/c")
		ok(t, vfs.MkdirAllSync(m, "a/b/c"))
		seen := outcomes(m, func(after *vfs.Memory) string {
			_, err := after.Stat("a/b/c")
			return fmt.Sprint(err)
		})
		if seen["<nil>"] != 200 {
			t.Errorf("killed at call %d: outcomes %v", n, seen)
		}
		if err == nil {
			return
		}
	}
}

// TestMkdirAllSyncInAnothersDirectory: who may not open the directory above one
// that is there already need not sync it.
func TestMkdirAllSyncInAnothersDirectory(t *testing.T) {
	m := vfs.NewMemory(1)
	ok(t, vfs.MkdirAllSync(m, "root/mine"))
	in := vfs.Inject(m, func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSyncDir && c.Name == "root" {
			return vfs.Fault{Err: fs.ErrPermission}
		}
		return vfs.Fault{}
	})
	ok(t, vfs.MkdirAllSync(in, "root/mine"))
	ok(t, vfs.MkdirAllSync(in, "root/mine/a/b"))
	if err := vfs.MkdirAllSync(in, "root/yours"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error is %v", err)
	}
}
