package vmft_test

import (
	"syscall"
	"testing"
)

// mountSmall makes a directory a small file system of its own, in memory. Where the test
// may not do that it is skipped.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no disk fills up, as none can be mounted: %v", err)
	}
	t.Cleanup(func() { // the processes have ended by then
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}
