package vfs_test

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/trilith-go/trilith/internal/vfs"
)

func ExampleMemory_Crash() {
	disk := vfs.NewMemory(1)
	_ = vfs.WriteFile(disk, "kept", []byte("synced, and so is its directory"))
	f, _ := vfs.Create(disk, "torn")
	_, _ = f.Write([]byte("never synced"))

	after := disk.Crash()

	_, err := f.Write([]byte("more"))
	fmt.Println("the old handle is dead:", errors.Is(err, vfs.ErrCrashed))
	data, _ := vfs.ReadFile(after, "kept")
	fmt.Printf("kept: %s\n", data)
	data, err = vfs.ReadFile(after, "torn")
	fmt.Println("torn:", errors.Is(err, fs.ErrNotExist) || len(data) <= len("never synced"))
	// Output:
	// the old handle is dead: true
	// kept: synced, and so is its directory
	// torn: true
}

func ExampleInject() {
	disk := vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSync {
			return vfs.Fault{Err: vfs.ErrNoSpace}
		}
		return vfs.Fault{}
	})
	err := vfs.WriteFile(disk, "file", []byte("data"))
	fmt.Println(err)
	fmt.Println("calls:", disk.Calls())
	// Output:
	// sync file.tmp: no space left on device
	// calls: 4
}
