package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// TestFS tests a file system in an empty directory that is there already.
func TestFS(t *testing.T, fsys vfs.FS, dir string) {
	tests := []struct {
		name string
		run  func(*suite)
	}{
		{"Open", (*suite).open},
		{"ReadWrite", (*suite).readWrite},
		{"Sparse", (*suite).sparse},
		{"Append", (*suite).append},
		{"Access", (*suite).access},
		{"Truncate", (*suite).truncate},
		{"Close", (*suite).close},
		{"Rename", (*suite).rename},
		{"RenameDirectory", (*suite).renameDirectory},
		{"Link", (*suite).link},
		{"Remove", (*suite).remove},
		{"Directories", (*suite).directories},
		{"Lock", (*suite).lock},
		{"Helpers", (*suite).helpers},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, fs: fsys, dir: filepath.Join(dir, test.name)}
			s.ok(fsys.MkdirAll(s.dir))
			test.run(s)
		})
	}
}

// suite is one test, in a directory of its own.
type suite struct {
	*testing.T
	fs  vfs.FS
	dir string
}

func (s *suite) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("error is %v, want one that is %q", err, want)
	}
}

func (s *suite) fails(err error, what string) {
	s.Helper()
	if err == nil {
		s.Fatalf("%s succeeded", what)
	}
}

// write makes a file.
func (s *suite) write(name, data string) {
	s.Helper()
	f, err := vfs.Create(s.fs, s.path(name))
	s.ok(err)
	_, err = f.Write([]byte(data))
	s.ok(err)
	s.ok(f.Close())
}

func (s *suite) wantFile(name, want string) {
	s.Helper()
	got, err := vfs.ReadFile(s.fs, s.path(name))
	s.ok(err)
	if string(got) != want {
		s.Fatalf("%s holds %q, want %q", name, got, want)
	}
}

func (s *suite) wantNames(dir string, want ...string) {
	s.Helper()
	entries, err := s.fs.ReadDir(s.path(dir))
	s.ok(err)
	var got []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("%q lists %q, want %q", dir, got, want)
	}
}

func (s *suite) open() {
	_, err := vfs.Open(s.fs, s.path("none"))
	s.is(err, fs.ErrNotExist)
	_, err = vfs.Create(s.fs, s.path("none/below"))
	s.is(err, fs.ErrNotExist)
	s.write("a", "alpha")
	_, err = vfs.CreateNew(s.fs, s.path("a"))
	s.is(err, fs.ErrExist)
	_, err = vfs.Create(s.fs, s.path("a/below"))
	s.fails(err, "creating a file below a file")
	s.wantFile("a", "alpha")

	f, err := s.fs.OpenFile(s.path("a"), os.O_RDWR|os.O_CREATE)
	s.ok(err)
	s.ok(f.Close())
	s.wantFile("a", "alpha")
	s.write("a", "")
	s.wantFile("a", "")
}

func (s *suite) readWrite() {
	f, err := vfs.CreateNew(s.fs, s.path("a"))
	s.ok(err)
	defer f.Close()
	big := bytes.Repeat([]byte("0123456789"), 1000)
	n, err := f.Write(big)
	s.ok(err)
	if n != len(big) {
		s.Fatalf("wrote %d bytes, want %d", n, len(big))
	}
	_, err = f.WriteAt([]byte("middle"), 4093) // over the end of a page
	s.ok(err)
	copy(big[4093:], "middle")
	_, err = f.Write([]byte("end")) // where the first Write stopped
	s.ok(err)
	big = append(big, "end"...)

	size, err := f.Size()
	s.ok(err)
	if size != int64(len(big)) {
		s.Fatalf("size %d, want %d", size, len(big))
	}
	info, err := s.fs.Stat(s.path("a"))
	s.ok(err)
	if info.Size() != size || info.Name() != "a" || info.IsDir() || !info.Mode().IsRegular() {
		s.Fatalf("described as %v", info)
	}
	s.wantFile("a", string(big))

	p := make([]byte, 10)
	n, err = f.ReadAt(p, size-4)
	if n != 4 || err != io.EOF || string(p[:n]) != "9end" {
		s.Fatalf("ReadAt over the end: %d, %v, %q", n, err, p[:n])
	}
	n, err = f.ReadAt(p, size+100)
	if n != 0 || err != io.EOF {
		s.Fatalf("ReadAt beyond the end: %d, %v", n, err)
	}
	_, err = f.ReadAt(p, -1)
	s.fails(err, "ReadAt of a negative offset")
	_, err = f.WriteAt(p, -1)
	s.fails(err, "WriteAt of a negative offset")

	g, err := vfs.Open(s.fs, s.path("a"))
	s.ok(err)
	defer g.Close()
	all, err := io.ReadAll(g)
	s.ok(err)
	if !bytes.Equal(all, big) {
		s.Fatalf("reading in sequence gives %d other bytes", len(all))
	}
	s.ok(f.Sync())
	s.ok(g.Sync())
}

func (s *suite) sparse() {
	f, err := vfs.CreateNew(s.fs, s.path("a"))
	s.ok(err)
	defer f.Close()
	_, err = f.WriteAt([]byte("x"), 100_000)
	s.ok(err)
	s.wantFile("a", string(make([]byte, 100_000))+"x")
}

func (s *suite) append() {
	s.write("a", "one")
	f, err := s.fs.OpenFile(s.path("a"), os.O_WRONLY|os.O_APPEND)
	s.ok(err)
	defer f.Close()
	_, err = f.Write([]byte("two"))
	s.ok(err)
	_, err = f.WriteAt([]byte("x"), 0)
	s.fails(err, "WriteAt on a file opened for appending")
	g, err := s.fs.OpenFile(s.path("a"), os.O_WRONLY|os.O_APPEND)
	s.ok(err)
	defer g.Close()
	_, err = g.Write([]byte("three"))
	s.ok(err)
	_, err = f.Write([]byte("four"))
	s.ok(err)
	s.wantFile("a", "onetwothreefour")
}

func (s *suite) access() {
	s.write("a", "data")
	r, err := vfs.Open(s.fs, s.path("a"))
	s.ok(err)
	defer r.Close()
	_, err = r.Write([]byte("x"))
	s.fails(err, "writing to a file opened for reading")
	_, err = r.WriteAt([]byte("x"), 0)
	s.fails(err, "writing to a file opened for reading")
	s.fails(r.Truncate(0), "truncating a file opened for reading")
	w, err := s.fs.OpenFile(s.path("a"), os.O_WRONLY)
	s.ok(err)
	defer w.Close()
	_, err = w.ReadAt(make([]byte, 1), 0)
	s.fails(err, "reading from a file opened for writing")
	s.wantFile("a", "data")
}

func (s *suite) truncate() {
	f, err := vfs.CreateNew(s.fs, s.path("a"))
	s.ok(err)
	defer f.Close()
	_, err = f.Write([]byte("0123456789"))
	s.ok(err)
	s.ok(f.Truncate(4))
	s.wantFile("a", "0123")
	s.ok(f.Truncate(8))
	s.wantFile("a", "0123\x00\x00\x00\x00")
	_, err = f.Write([]byte("x")) // the position is still 10
	s.ok(err)
	s.wantFile("a", "0123\x00\x00\x00\x00\x00\x00x")
	s.fails(f.Truncate(-1), "truncating to a negative size")
}

func (s *suite) close() {
	f, err := vfs.CreateNew(s.fs, s.path("a"))
	s.ok(err)
	s.ok(f.Close())
	s.is(f.Close(), fs.ErrClosed)
	_, err = f.Write(nil)
	s.is(err, fs.ErrClosed)
	_, err = f.ReadAt(make([]byte, 1), 0)
	s.is(err, fs.ErrClosed)
	s.is(f.Sync(), fs.ErrClosed)
	s.is(f.Truncate(0), fs.ErrClosed)
	_, err = f.Size()
	s.fails(err, "the size of a closed file")
}

// openUnlessWindows opens a file whose name is about to go, and returns what checks
// that it can still be read. Windows does not let that happen.
func (s *suite) openUnlessWindows(name string) (stays func(want string)) {
	s.Helper()
	if runtime.GOOS == "windows" {
		return func(string) {}
	}
	f, err := vfs.Open(s.fs, s.path(name))
	s.ok(err)
	return func(want string) {
		s.Helper()
		defer f.Close()
		p := make([]byte, len(want))
		_, err := f.ReadAt(p, 0)
		s.ok(err)
		if string(p) != want {
			s.Fatalf("%s, whose name has gone, reads %q", name, p)
		}
	}
}

func (s *suite) rename() {
	s.is(s.fs.Rename(s.path("none"), s.path("a")), fs.ErrNotExist)
	s.write("a", "alpha")
	s.write("b", "beta")
	s.is(s.fs.Rename(s.path("a"), s.path("none/a")), fs.ErrNotExist)

	stays := s.openUnlessWindows("b")
	s.ok(s.fs.Rename(s.path("a"), s.path("b")))
	s.wantNames("", "b")
	s.wantFile("b", "alpha")
	stays("beta")
	s.ok(s.fs.Rename(s.path("b"), s.path("b")))
	s.ok(s.fs.Link(s.path("b"), s.path("c")))
	s.ok(s.fs.Rename(s.path("b"), s.path("c"))) // two names of one file: both stay
	s.wantNames("", "b", "c")
}

func (s *suite) renameDirectory() {
	s.ok(s.fs.MkdirAll(s.path("d/e")))
	s.write("d/e/f", "data")
	s.write("file", "")
	s.fails(s.fs.Rename(s.path("d"), s.path("d/e/g")), "moving a directory into itself")
	s.fails(s.fs.Rename(s.path("d"), s.path("file")), "replacing a file by a directory")
	s.fails(s.fs.Rename(s.path("file"), s.path("d")), "replacing a directory by a file")
	s.ok(s.fs.MkdirAll(s.path("full/x")))
	s.fails(s.fs.Rename(s.path("d"), s.path("full")), "replacing a directory that is not empty")
	s.ok(s.fs.Rename(s.path("d"), s.path("moved")))
	s.wantFile("moved/e/f", "data")
	s.wantNames("", "file", "full/", "moved/")
	s.ok(s.fs.SyncDir(s.path("moved")))
}

func (s *suite) link() {
	s.is(s.fs.Link(s.path("none"), s.path("b")), fs.ErrNotExist)
	s.write("a", "alpha")
	s.ok(s.fs.Link(s.path("a"), s.path("b")))
	s.is(s.fs.Link(s.path("a"), s.path("b")), fs.ErrExist)
	f, err := s.fs.OpenFile(s.path("a"), os.O_WRONLY)
	s.ok(err)
	defer f.Close()
	_, err = f.Write([]byte("A"))
	s.ok(err)
	s.wantFile("b", "Alpha")
	s.ok(s.fs.Remove(s.path("a")))
	s.wantFile("b", "Alpha")
	s.ok(s.fs.MkdirAll(s.path("d")))
	s.fails(s.fs.Link(s.path("d"), s.path("e")), "a second name for a directory")
}

func (s *suite) remove() {
	s.is(s.fs.Remove(s.path("none")), fs.ErrNotExist)
	s.write("a", "alpha")
	stays := s.openUnlessWindows("a")
	s.ok(s.fs.Remove(s.path("a")))
	stays("alpha")
	s.ok(s.fs.MkdirAll(s.path("d/e")))
	s.fails(s.fs.Remove(s.path("d")), "removing a directory that is not empty")
	s.ok(s.fs.Remove(s.path("d/e")))
	s.ok(s.fs.Remove(s.path("d")))
	s.wantNames("")
}

func (s *suite) directories() {
	s.ok(s.fs.MkdirAll(s.path("x/y/z")))
	s.ok(s.fs.MkdirAll(s.path("x/y/z")))
	s.write("x/b", "")
	s.write("x/a", "")
	s.wantNames("x", "a", "b", "y/")
	s.fails(s.fs.MkdirAll(s.path("x/a/b")), "a directory below a file")
	s.fails(s.fs.MkdirAll(s.path("x/a")), "a directory with the name of a file")
	info, err := s.fs.Stat(s.path("x/y"))
	s.ok(err)
	if !info.IsDir() || info.Name() != "y" {
		s.Fatalf("described as %v", info)
	}
	_, err = s.fs.Stat(s.path("x/none"))
	s.is(err, fs.ErrNotExist)
	_, err = s.fs.ReadDir(s.path("x/none"))
	s.is(err, fs.ErrNotExist)
	_, err = s.fs.ReadDir(s.path("x/a"))
	s.fails(err, "listing a file")
	s.ok(s.fs.SyncDir(s.path("x")))
	s.is(s.fs.SyncDir(s.path("none")), fs.ErrNotExist)
}

func (s *suite) lock() {
	held, err := s.fs.Lock(s.path("LOCK"))
	s.ok(err)
	_, err = s.fs.Lock(s.path("LOCK"))
	s.is(err, vfs.ErrLocked)
	other, err := s.fs.Lock(s.path("OTHER"))
	s.ok(err)
	s.ok(other.Close())
	s.ok(held.Close())
	held, err = s.fs.Lock(s.path("LOCK"))
	s.ok(err)
	s.ok(held.Close())
	_, err = s.fs.Lock(s.path("none/LOCK"))
	s.is(err, fs.ErrNotExist)
}

func (s *suite) helpers() {
	s.ok(vfs.MkdirAllSync(s.fs, s.path("p/q/r")))
	s.ok(vfs.MkdirAllSync(s.fs, s.path("p/q/r")))
	s.ok(vfs.WriteFile(s.fs, s.path("p/q/f"), []byte("one")))
	s.ok(vfs.WriteFile(s.fs, s.path("p/q/f"), []byte("two")))
	s.wantFile("p/q/f", "two")
	s.wantNames("p/q", "f", "r/")
	s.is(vfs.WriteFile(s.fs, s.path("none/f"), nil), fs.ErrNotExist)
	s.fails(vfs.MkdirAllSync(s.fs, s.path("p/q/f")), "a directory with the name of a file")
	s.fails(vfs.MkdirAllSync(s.fs, s.path("p/q/f/d")), "a directory below a file")
	s.ok(vfs.RemoveAll(s.fs, s.path("p")))
	s.ok(vfs.RemoveAll(s.fs, s.path("p")))
	s.wantNames("")
}
