//go:build !arm

package vfs

import "syscall"

// rangeWrite is SYNC_FILE_RANGE_WRITE.
const rangeWrite = 2

// WriteBack implements [WriteBacker]. An error of the disk is kept for the next Sync.
func (f osFile) WriteBack(off, n int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), off, n, rangeWrite) })
}
