package rv64

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// tree lists what is in a directory of the host.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		line := fmt.Sprintf("%s %v", filepath.ToSlash(rel), info.Mode())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if line += fmt.Sprintf(" %d", len(b)); len(b) < 10 {
				line += " " + string(b)
			}
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// What a program has changed can be had: in the directory that it came from, in
// another one, and never outside.
func TestExport(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]fs.FileMode{
		"changed": 0o600, "gone": 0o644, "dir/sub/a": 0o644, "dir/stays": 0o644, "old": 0o644, "kind": 0o644, "script": 0o644,
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("before"), mode); err != nil {
			t.Fatal(err)
		}
	}
	m := load(t, guest(t, "files"), Config{Args: []string{"files"}, Root: os.DirFS(root)})
	if out := drive(t, m, whole); out != "" {
		t.Fatal(out)
	}
	hash := m.Hash()
	// Somebody else's file is left alone.
	if err := os.WriteFile(filepath.Join(root, "foreign"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const common = `changed -rw------- 5 after
dir drwxr-xr-x
dir/moved -rw-r--r-- 6 before
dir/stays -rw-r--r-- 6 before
empty drwx------
`
	const rest = `good Lrwxrwxrwx
kind drwxr-xr-x
kind/x -rw-r--r-- 0 
new drwxr-xr-x
new/file -rw-r----- 200000
script -rwxr-xr-x 6 before`
	for range 2 { // the second time there is nothing to do
		if err := m.Export(root); err != nil {
			t.Fatal(err)
		}
		if got, want := tree(t, root), common+"foreign -rw-r--r-- 0 \n"+rest; got != want {
			t.Errorf("have\n%s\nwant\n%s", got, want)
		}
	}
	fresh := t.TempDir()
	if err := m.Export(fresh); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, fresh); got != common+rest {
		t.Errorf("have\n%s\nwant\n%s", got, common+rest)
	}
	if m.Hash() != hash {
		t.Error("the export has changed the machine")
	}
	// A link of the host that leads out is not followed.
	trap, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(trap, "new")); err != nil {
		t.Fatal(err)
	}
	if err := m.Export(trap); err == nil {
		t.Error("a link in the place of a directory was taken for one")
	}
	if got := tree(t, outside); got != "" {
		t.Errorf("outside there is\n%s", got)
	}
	if err := m.Export(filepath.Join(root, "nowhere")); err == nil {
		t.Error("a directory that is not there")
	}
	m = load(t, guest(t, "files"), Config{Root: fstest.MapFS{}})
	if err := m.Export(fresh); err != nil { // it removes nothing that it has not loaded
		t.Fatal(err)
	}
	if got := tree(t, fresh); got != common+rest {
		t.Errorf("have\n%s\nwant\n%s", got, common+rest)
	}
}
