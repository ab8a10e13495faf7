package shareddisk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/trilith-go/trilith/internal/vfs"
)

// Files is where a shared disk keeps its files: something that all hosts reach, and where
// what one has written is read by the others. [Directory] makes one of a directory; any file
// system that can do what is here will do, gfs for one.
//
// Names are as package path makes them, relative; "" is the root. Errors match
// fs.ErrNotExist and fs.ErrExist; one that matches syscall.ENOSPC is a full disk to the
// program. The methods may be called concurrently.
type Files interface {
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	// Create makes a file that must not exist. The directory is there.
	Create(name string) (File, error)
	// Mkdir makes a directory, unless it is there, durably.
	Mkdir(name string) error
	// Rename gives a file another name in the same directory, which is not taken.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// List returns the names in a directory, in any order.
	List(dir string) ([]string, error)
	// SyncDir makes what was created, renamed and removed in a directory durable.
	SyncDir(dir string) error
}

// A File is an open file. ReadAt and WriteAt may be called concurrently. If it has a method
// Truncate(size int64) error too, that is used; else what is cut off is overwritten with
// zeroes.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written durable.
	Sync() error
	// Size is how long the file is, in bytes.
	Size() (int64, error)
}

// Directory returns the files in a directory of the operating system, which is made if need
// be. All hosts reach it: it is on a network file system, say. Caches there must not keep
// what one host has synced from others that open the file anew; NFS is such a one.
func Directory(dir string) Files { return vfsFiles{vfs.OS(), dir} }

// DirectoryOn is [Directory] on a file system. Only packages of this module can make one.
func DirectoryOn(fsys vfs.FS, dir string) Files { return vfsFiles{fsys, dir} }

type vfsFiles struct {
	fs  vfs.FS
	dir string
}

func (f vfsFiles) name(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// Open implements Files.
func (f vfsFiles) Open(name string) (File, error) { return f.fs.OpenFile(f.name(name), os.O_RDWR) }

// Create implements Files.
func (f vfsFiles) Create(name string) (File, error) {
	return f.fs.OpenFile(f.name(name), os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Mkdir implements Files.
func (f vfsFiles) Mkdir(name string) error { return vfs.MkdirAllSync(f.fs, f.name(name)) }

// Rename implements Files.
func (f vfsFiles) Rename(from, to string) error { return f.fs.Rename(f.name(from), f.name(to)) }

// Remove implements Files.
func (f vfsFiles) Remove(name string) error { return f.fs.Remove(f.name(name)) }

// List implements Files.
func (f vfsFiles) List(dir string) (names []string, err error) {
	entries, err := f.fs.ReadDir(f.name(dir))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// SyncDir implements Files.
func (f vfsFiles) SyncDir(dir string) error { return f.fs.SyncDir(f.name(dir)) }

// writeWhole makes a file with a content, durably, under a name that is not taken: whoever
// sees the name sees all of it.
func writeWhole(files Files, name string, data []byte) error {
	temporary := name + unfinished
	if err := files.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of an attempt that was not completed
	}
	f, err := files.Create(temporary)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = files.Remove(temporary) // it is in nobody's way
		return err
	}
	if err := files.Rename(temporary, name); err != nil {
		return err
	}
	return files.SyncDir(path.Dir(name))
}

// readWhole returns the content of a small file.
func readWhole(files Files, name string) (b []byte, err error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	b = make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}
