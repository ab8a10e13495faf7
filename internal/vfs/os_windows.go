package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// syncDir does nothing: Windows has no call that syncs a directory, and NTFS
// journals what happens to its entries.
func syncDir(string) error { return nil }

const (
	noSpace    syscall.Errno = 112 // ERROR_DISK_FULL
	errSharing syscall.Errno = 32  // ERROR_SHARING_VIOLATION: somebody has the file open
)

// lockFile opens the file without sharing it.
func lockFile(name string) (io.Closer, error) {
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	h, err := syscall.CreateFile(p, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		if errors.Is(err, errSharing) {
			err = ErrLocked
		}
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}
