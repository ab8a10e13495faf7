package mapreduce

import "github.com/trilith-go/trilith/internal/vfs"

// This file opens what tests outside the package need: they use package
// mapreducetest, which imports this one.

// DirOn is Dir on another disk.
func DirOn(disk vfs.FS, root string) FileSystem { return &directory{fs: disk, root: root} }

// DiskOf returns the disk of a file system that DirOn has returned.
func DiskOf(fsys FileSystem) vfs.FS { return fsys.(*directory).fs }
