//go:build unix

package vmft

import (
	"io/fs"
	"syscall"
)

// linkCount returns how many names a file has, if the system tells.
func linkCount(info fs.FileInfo) (links uint64, known bool) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink), true
	}
	return 0, false
}
