package main

import (
	"fmt"
	"os"
	"syscall"
)

// mountTiny gives the last chunkserver a small disk of its own, in memory, if the test may
// do that.
func (k *killTest) mountTiny() bool {
	dir := k.disk(killServers - 1)
	if err := os.Mkdir(dir, 0o777); err != nil {
		k.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", tinyDisk)); err != nil {
		k.t.Logf("no disk fills up, as none can be mounted: %v", err)
		return false
	}
	k.t.Cleanup(func() { // the processes have ended by then
		if err := syscall.Unmount(dir, 0); err != nil {
			k.t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return true
}
