package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// SectorSize is the number of bytes that a crash leaves either as they were or
// as they were last written, never half of each.
const SectorSize = 512

var (
	// ErrLocked is returned by [FS.Lock] when another holds the lock.
	ErrLocked = errors.New("vfs: another process has it open")
	// ErrCrashed is returned by every call on a [Memory] that has crashed, and on
	// the files that were open in it.
	ErrCrashed = errors.New("vfs: the machine has crashed")
	// ErrNoSpace is the error of a full disk, in every version.
	ErrNoSpace error = noSpace
)

// FS is a file system. All its methods may be called concurrently.
//
// Names are paths as package path/filepath makes them. Errors are *fs.PathError
// or *os.LinkError and match fs.ErrNotExist, fs.ErrExist and the like. An error
// says that the call may have had its effect or not; a call that reports success
// has had it, and what that survives is said in the package's documentation.
type FS interface {
	// OpenFile opens a file. The flags are those of os.OpenFile: one of O_RDONLY,
	// O_WRONLY and O_RDWR, with O_CREATE, O_EXCL, O_TRUNC and O_APPEND.
	OpenFile(name string, flag int) (File, error)
	// Rename moves a file or a directory. A file that has the new name is replaced.
	Rename(oldname, newname string) error
	// Link gives a file a second name. It fails with fs.ErrExist if the name is
	// taken, so it can commit a file without ever replacing one.
	Link(oldname, newname string) error
	// Remove removes a file or an empty directory. Open handles of a removed file
	// stay usable; see [OS] for Windows.
	Remove(name string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// MkdirAll makes a directory and what is missing above it. It does not sync;
	// see [MkdirAllSync].
	MkdirAll(name string) error
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(name string) error
	// Lock takes the exclusive lock of the file of that name, which it creates if
	// need be. It does not wait: it fails with ErrLocked if the lock is held, by
	// this process or another. Closing the result gives the lock up, and so does
	// the end of the process. The file stays; it means nothing.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt and WriteAt may be called concurrently with
// everything else; Read and Write move one common position and may not be called
// concurrently with each other. After Close every method returns fs.ErrClosed.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the content and size of the file durable: everything that was
	// written before the call through any handle. After it has failed, what was
	// written may be lost even if a later Sync succeeds: the operating system may
	// have dropped it.
	Sync() error
	// Truncate changes the size. What it adds reads as zeros.
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
}

// Open opens a file for reading.
func Open(fsys FS, name string) (File, error) {
	return fsys.OpenFile(name, os.O_RDONLY)
}

// Create makes a file, or empties the one that is there, for reading and writing.
func Create(fsys FS, name string) (File, error) {
	return fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// CreateNew makes a file for reading and writing. It fails with fs.ErrExist if
// there is one.
func CreateNew(fsys FS, name string) (File, error) {
	return fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// ReadFile returns the content of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := Open(fsys, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := io.ReadFull(io.NewSectionReader(f, 0, size), data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // it shrank since; what is left is its content
	}
	return data[:n], err
}

// WriteFile makes data the content of the file called name, durably and
// atomically: after a crash the file is as it was before or holds exactly data.
// It goes by way of a file called name + ".tmp", so there may be only one
// WriteFile of a name at a time.
func WriteFile(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := Create(fsys, tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // the first error is the one that counts
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// MkdirAllSync makes a directory and what is missing above it, durably. It makes
// one after the other, each after the entry of the one above is durable. So of
// what is there already, only the lowest may be left from an attempt that did not
// come to its sync, and its entry is synced too.
func MkdirAllSync(fsys FS, name string) error {
	var missing []string // the lowest first
	there := filepath.Clean(name)
	for ; ; there = filepath.Dir(there) {
		_, err := fsys.Stat(there)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || there == filepath.Dir(there) {
			return err
		}
		missing = append(missing, there)
	}
	if err := fsys.MkdirAll(there); err != nil {
		return err // it is a file
	}
	err := fsys.SyncDir(filepath.Dir(there))
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return err // but what is in another's directory, another has seen to
	}
	for _, dir := range slices.Backward(missing) {
		if err := fsys.MkdirAll(dir); err != nil {
			return err
		}
		if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// RemoveAll removes a file, or a directory with everything in it. It returns nil
// if there is nothing of that name. It does not sync.
func RemoveAll(fsys FS, name string) error {
	info, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := fsys.ReadDir(name)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := RemoveAll(fsys, filepath.Join(name, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
