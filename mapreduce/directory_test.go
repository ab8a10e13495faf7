package mapreduce

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

func write(t testing.TB, fsys FileSystem, name, content string) {
	t.Helper()
	w, err := fsys.Create(t.Context(), name)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the content of a file, or "" and the error.
func read(t testing.TB, fsys FileSystem, name string) (string, error) {
	t.Helper()
	f, size, err := fsys.Open(t.Context(), name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	return string(b), err
}

func TestDirectory(t *testing.T) {
	for name, fsys := range map[string]FileSystem{
		"os":     Dir(t.TempDir()),
		"memory": &directory{fs: vfs.NewMemory(1), root: "/root"},
	} {
		t.Run(name, func(t *testing.T) { testFileSystem(t, fsys) })
	}
}

func testFileSystem(t *testing.T, fsys FileSystem) {
	ctx := t.Context()
	write(t, fsys, "out/tmp-1", "one")
	write(t, fsys, "out/tmp-2", "two")
	if _, err := fsys.Create(ctx, "out/tmp-1"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating what exists: %v", err)
	}
	if err := fsys.Commit(ctx, "out/tmp-1", "out/final"); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Commit(ctx, "out/tmp-2", "out/final"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("committing over another file: %v", err)
	}
	if err := fsys.Commit(ctx, "out/tmp-1", "out/final"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("committing what has been committed: %v", err)
	}
	if got, err := read(t, fsys, "out/final"); got != "one" {
		t.Errorf("the committed file has %q, %v", got, err)
	}
	names, err := fsys.Glob(ctx, "**")
	if err != nil || len(names) != 2 || names[0] != "out/final" || names[1] != "out/tmp-2" {
		t.Errorf("the files are %q, %v", names, err)
	}
	if err := fsys.Remove(ctx, "out/tmp-2"); err != nil {
		t.Error(err)
	}
	if err := fsys.Remove(ctx, "out/tmp-2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing what is not there: %v", err)
	}
	for _, bad := range []string{"../x", "/x", "", "."} {
		if _, err := fsys.Create(ctx, bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("creating %q: %v", bad, err)
		}
	}
}

// Whenever the power fails: what was reported as committed is there, whole; and
// the commit can be repeated until it is done, with the same result.
func TestDirectoryCommitSurvivesACrashAtEveryCall(t *testing.T) {
	for _, final := range []string{"out/final", "out/other/directory/final"} {
		testCommitSurvivesCrashes(t, final)
	}
}

func testCommitSurvivesCrashes(t *testing.T, final string) {
	work := func(disk vfs.FS) (created, committed error) {
		fsys := &directory{fs: disk, root: "/root"}
		ctx := t.Context()
		w, err := fsys.Create(ctx, "out/tmp")
		if err == nil {
			_, err = io.WriteString(w, "content")
			if cerr := w.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			return err, err
		}
		return nil, fsys.Commit(ctx, "out/tmp", final)
	}
	cut := errors.New("power cut")
	for seed := range uint64(8) {
		for at := int64(1); ; at++ {
			memory := vfs.NewMemory(seed)
			disk := vfs.Inject(memory, func(c vfs.Call) vfs.Fault {
				if c.N >= at {
					return vfs.Fault{Err: cut}
				}
				return vfs.Fault{}
			})
			created, committed := work(disk)
			after := &directory{fs: memory.Crash(), root: "/root"}
			if created == nil {
				err := after.Commit(t.Context(), "out/tmp", final)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("seed %d, power cut at call %d: repeated commit: %v", seed, at, err)
				}
				if got, err := read(t, after, final); got != "content" {
					t.Fatalf("seed %d, power cut at call %d (commit: %v): final has %q, %v", seed, at, committed, got, err)
				}
				if _, err := read(t, after, "out/tmp"); !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("seed %d, power cut at call %d: the temporary file is still there: %v", seed, at, err)
				}
			} else if got, err := read(t, after, final); err == nil {
				t.Fatalf("seed %d, power cut at call %d: final has %q though nothing was committed", seed, at, got)
			}
			if committed == nil {
				break
			}
		}
	}
}
