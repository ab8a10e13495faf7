package vfstest_test

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/vfs/vfstest"
)

// A file is renamed into place without a sync of the directory: after a crash it may
// be missing.
func ExampleCrashEverywhere() {
	_, err := vfstest.CrashEverywhere(10, func() vfstest.Workload {
		done := false
		return vfstest.Workload{
			Run: func(fsys vfs.FS) {
				f, err := vfs.Create(fsys, "file.tmp")
				if err != nil {
					return
				}
				_, err = f.Write([]byte("data"))
				done = errors.Join(err, f.Sync(), f.Close(), fsys.Rename("file.tmp", "file")) == nil
			},
			Check: func(after *vfs.Memory) error {
				if _, err := after.Stat("file"); done && errors.Is(err, fs.ErrNotExist) {
					return errors.New("the file is missing")
				}
				return nil
			},
		}
	})
	fmt.Println(err)
	// Output:
	// crash 5 (after the last call), seed 1: the file is missing
}
