package vfs

import (
	"io"
	"io/fs"
	"os"
)

// OS returns the operating system's file system. On Linux, Sync is fdatasync,
// which also makes durable the size and whatever else is needed to read the data
// back. On Windows a directory can't be synced; there SyncDir does nothing. Nor can
// a file that is open be renamed, replaced or removed there: what shall run on
// Windows too closes it first, or is content to try again.
func OS() FS { return osFS{} }

type osFS struct{}

type osFile struct{ *os.File }

var (
	_ FS   = osFS{}
	_ File = osFile{}
)

// The process's umask narrows these, as it does for os.Create.
const (
	filePerm = 0o666
	dirPerm  = 0o777
)

func (osFS) OpenFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, filePerm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(oldname, newname string) error       { return os.Rename(oldname, newname) }
func (osFS) Link(oldname, newname string) error         { return os.Link(oldname, newname) }
func (osFS) Remove(name string) error                   { return os.Remove(name) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (osFS) MkdirAll(name string) error                 { return os.MkdirAll(name, dirPerm) }
func (osFS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }
func (osFS) SyncDir(name string) error                  { return syncDir(name) }
func (osFS) Lock(name string) (io.Closer, error)        { return lockFile(name) }

// Sync shadows the method of os.File.
func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
