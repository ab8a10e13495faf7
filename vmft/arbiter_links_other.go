//go:build !unix

package vmft

import "io/fs"

// linkCount returns how many names a file has, if the system tells.
func linkCount(fs.FileInfo) (links uint64, known bool) { return 0, false }
