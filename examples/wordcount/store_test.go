package main

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/internal/vfs"
)

// What is fetched has its names when all of it is there. When anything fails, as on a disk
// that is full, nothing is left, and the next time nothing is of a process that was killed.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	input, output := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(input, []byte("so much\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	patterns, err := local.Patterns(input)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStore(t.Context(), patterns, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var names []string
	for _, part := range []string{"part-00000", "part-00001"} {
		name := path.Join(local.Rooted(output), part)
		names = append(names, name)
		if err := s.client.WriteFile(t.Context(), name, []byte("content of "+part), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(output, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpStat, vfs.OpRename, vfs.OpSyncDir} {
		n := 0
		full := vfs.Inject(vfs.OS(), func(c vfs.Call) vfs.Fault {
			if c.Op != op {
				return vfs.Fault{}
			}
			if n++; n == 1 && op != vfs.OpSyncDir { // the second file's
				return vfs.Fault{}
			}
			return vfs.Fault{Err: syscall.ENOSPC}
		})
		if err := s.fetch(t.Context(), full, names); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("when %v fails: %v", op, err)
		}
		if left := parts(t, output); len(left) > 0 {
			t.Errorf("when %v fails there is left: %q", op, left)
		}
	}
	fetchKilled(t, s, names)
	if left := parts(t, output); len(left) != len(names) {
		t.Errorf("a process that was killed left: %q", left)
	}
	if err := s.fetch(t.Context(), vfs.OS(), names); err != nil {
		t.Fatal(err)
	}
	want := []string{"part-00000:content of part-00000", "part-00001:content of part-00001"}
	if got := parts(t, output); !slices.Equal(got, want) {
		t.Errorf("fetched %q, want %q", got, want)
	}
	if err := s.fetch(t.Context(), vfs.OS(), names); !errors.Is(err, os.ErrExist) {
		t.Errorf("over what is there: %v", err)
	}
	if got := parts(t, output); !slices.Equal(got, want) {
		t.Errorf("fetched in vain, there is %q, want %q", got, want)
	}
}

// fetchKilled leaves what a process does that is killed when it has copied all files.
func fetchKilled(t *testing.T, s *store, names []string) {
	t.Helper()
	disk := vfs.Inject(vfs.OS(), func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpRename || c.Op == vfs.OpRemove {
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	})
	if err := s.fetch(t.Context(), disk, names); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}
