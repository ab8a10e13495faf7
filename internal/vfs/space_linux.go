package vfs

import (
	"os"
	"syscall"
)

// Free implements [Spacer]. What is reserved for the superuser does not count as free.
func (osFS) Free(dir string) (free, total int64, err error) {
	var st syscall.Statfs_t
	for {
		if err = syscall.Statfs(dir, &st); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	unit := int64(st.Frsize)
	if unit <= 0 {
		unit = int64(st.Bsize)
	}
	return int64(st.Bavail) * unit, int64(st.Blocks) * unit, nil
}
