package shareddisk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
)

// A change is a request as the store has it. A machine has them in an order.
type change struct {
	kind byte // 'w'rite, 't'runcate, 'r'ead, 's'ync
	off  int64
	b    []byte
	want []byte // what a read finds
}

// history is what a machine wants done to one object, and what it comes to.
func history(rng *rand.Rand) (list []change, end []byte) {
	end = make([]byte, 3*chunkSize)
	for range 12 + rng.IntN(12) {
		off := rng.Int64N(int64(len(end)))
		n := 1 + rng.IntN(min(len(end)-int(off), 1+rng.IntN(chunkSize)))
		c := change{kind: "wwwwrrts"[rng.IntN(8)], off: off}
		switch c.kind {
		case 'w':
			c.b = bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, n)
			copy(end[off:], c.b)
		case 't':
			clear(end[off:])
		case 'r':
			c.want = bytes.Clone(end[off : off+int64(n)])
		}
		list = append(list, c)
	}
	return list, end
}

func (c *change) do(s *store) error {
	switch c.kind {
	case 'w':
		return s.writeAt(7, c.b, c.off)
	case 't':
		return s.truncate(7, c.off)
	case 'r':
		b := make([]byte, len(c.want))
		if err := s.readAt(7, b, c.off); err != nil {
			return err
		}
		if !bytes.Equal(b, c.want) {
			return fmt.Errorf("%w: at %d it reads %d, not %d", errRead, c.off, b[0], c.want[0])
		}
		return nil
	}
	return s.sync()
}

var errRead = errors.New("other bytes")

func begun(t testing.TB, files Files, v version, bugs storeBugs) *store {
	t.Helper()
	s := newStore(files, v)
	s.bugs = bugs
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	return s
}

// stoppedPrimary has a primary do a part of a history, and stop; the next does again what the
// first has not completed, and the rest; and meanwhile the first goes on with what was
// released to it. It returns what is wrong with what the second, and a later machine, read.
func stoppedPrimary(t testing.TB, seed uint64, bugs storeBugs) error {
	rng := rand.New(rand.NewPCG(seed, 0))
	files := DirectoryOn(vfs.NewMemory(seed), "disk")
	open(t, files)
	list, end := history(rng)
	first := begun(t, files, version{1, 3}, bugs)
	completed := rng.IntN(len(list))
	released := completed + rng.IntN(min(6, len(list)-completed)+1)
	for i := range list[:completed] {
		if err := list[i].do(first); err != nil {
			return fmt.Errorf("seed %d: the first: %w", seed, err)
		}
	}
	late := list[completed:released]
	goOn := func() error {
		if len(late) == 0 {
			return nil
		}
		c := late[0]
		late = late[1:]
		// What it reads, nobody is told of.
		if err := c.do(first); err != nil && !errors.Is(err, errRead) && !errors.Is(err, errFenced) {
			return fmt.Errorf("seed %d: the first, when it is over: %w", seed, err)
		}
		return nil
	}
	for rng.IntN(3) == 0 {
		if err := goOn(); err != nil {
			return err
		}
	}
	second := begun(t, files, version{1, 8}, bugs)
	for i := completed; i < len(list); i++ {
		if rng.IntN(2) == 0 {
			if err := goOn(); err != nil {
				return err
			}
		}
		err := list[i].do(second)
		if i < released && errors.Is(err, errRead) {
			continue // it was under way together with the changes after it: either is right
		}
		if err != nil {
			return fmt.Errorf("seed %d: the second: %w", seed, err)
		}
	}
	for len(late) > 0 {
		if err := goOn(); err != nil {
			return err
		}
	}
	if err := second.sync(); err != nil {
		return err
	}
	third := begun(t, files, version{2, 1}, bugs)
	for _, s := range []*store{second, third, newStore(files, version{})} {
		got := make([]byte, len(end))
		if err := s.readAt(7, got, 0); err != nil {
			return err
		}
		if !bytes.Equal(got, end) {
			return fmt.Errorf("seed %d: %v reads something else", seed, s.own)
		}
	}
	return nil
}

// A primary that was stopped, and goes on when another has taken over, changes nothing that
// anybody sees.
func TestStoppedPrimaryDoesNoHarm(t *testing.T) {
	count := uint64(150)
	if testing.Short() {
		count = 50
	}
	for seed := range count {
		if err := stoppedPrimary(t, seed, storeBugs{}); err != nil {
			t.Fatal(err)
		}
	}
}

// The test above finds it when terms write to one another's files.
func TestPlantedWriteInPlace(t *testing.T) {
	for seed := range uint64(300) {
		if err := stoppedPrimary(t, seed, storeBugs{inPlace: true}); err != nil {
			t.Log(err)
			return
		}
	}
	t.Error("nothing is found")
}

// A term that is over is told so by the next sync, and cannot begin again.
func TestTermsAreFenced(t *testing.T) {
	files := DirectoryOn(vfs.NewMemory(1), "disk")
	open(t, files)
	old := begun(t, files, version{3, 9}, storeBugs{})
	begun(t, files, version{4, 1}, storeBugs{})
	if err := old.sync(); !errors.Is(err, errFenced) {
		t.Errorf("the sync of a term that is over returns %v", err)
	}
	if err := newStore(files, version{3, 10}).begin(); !errors.Is(err, errFenced) {
		t.Errorf("the begin of a term that is over returns %v", err)
	}
	if _, err := open(t, files).begin(0, 1); err != nil {
		t.Error(err)
	}
	if v, err := newestTerm(files); err != nil || v != (version{5, 1}) {
		t.Errorf("the newest term is %v, %v", v, err)
	}
}

// What a term does not need any more is removed, and what nothing names when the next machine
// comes.
func TestGarbage(t *testing.T) {
	dir := t.TempDir()
	files := Directory(dir)
	d := open(t, files)
	count := func() (n int) {
		err := filepath.WalkDir(filepath.Join(dir, objectDir), func(_ string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				n++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for epoch := range uint64(3) {
		s := begun(t, files, version{1, epoch}, storeBugs{})
		for object := range uint64(3) {
			if err := s.writeAt(1<<32|object, make([]byte, 2*chunkSize), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.sync(); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != 6 {
			t.Errorf("in epoch %d there are %d files, for 6 chunks", epoch, n)
		}
	}
	s, err := d.begin(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.writeAt(2<<32|5, []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.collect([]uint64{1<<32 | 2}); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 3 {
		t.Errorf("there are %d files, for the 2 chunks of an object that is kept, and a new one", n)
	}
}

// What is damaged is said to be, with what and where.
func TestDamage(t *testing.T) {
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	only := func(pattern string) string {
		t.Helper()
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) != 1 {
			t.Fatal(pattern, names, err)
		}
		return names[0]
	}
	for what, c := range map[string]struct {
		damage func(dir string)
		want   string
	}{
		"another directory": {func(dir string) {
			os.Remove(filepath.Join(dir, headerName))
			write(dir, "letter.txt", "Dear")
		}, `"letter.txt"`},
		"another version": {func(dir string) { write(dir, headerName, "trilith shared disk 2\n") }, "disk 2"},
		"no header":       {func(dir string) { write(dir, headerName, "") }, `"disk"`},
		"a root cut off":  {func(dir string) { os.Truncate(only(filepath.Join(dir, rootDir, "*")), 7) }, "roots"},
		"a catalog lost": {func(dir string) {
			object, err := newStore(Directory(dir), version{}).root()
			if err == nil {
				err = os.RemoveAll(filepath.Join(dir, objectPath(object)))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "is empty"},
		"a catalog with other bytes": {func(dir string) {
			object, err := newStore(Directory(dir), version{}).root()
			if err != nil {
				t.Fatal(err)
			}
			name := only(filepath.Join(dir, objectPath(object), "*"))
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b[30]++
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "its first frame"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			alone(t, open(t, Directory(dir)), machine(t, "log", "1"))
			c.damage(dir)
			d, err := Open(Directory(dir), hclog.NewNullLogger())
			if err == nil {
				var s *store
				if s, err = d.begin(0, 1); err == nil {
					_, _, err = d.load(s)
				}
			}
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one about %s", err, c.want)
			}
		})
	}
}
