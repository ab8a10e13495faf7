package vfs

import (
	"io/fs"
	"os"
	"syscall"
)

// syncData syncs what is needed to read the file back, and leaves out the times,
// which would cost a commit of the file system's own journal at each call.
func syncData(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			failed = syscall.Fdatasync(int(fd))
			if failed != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		failed = fs.ErrClosed // the only reason there is not to run it
	}
	if failed != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}
