//go:build !linux

package vfs

import (
	"errors"
	"os"
)

// Free implements [Spacer]: it does not know.
func (osFS) Free(dir string) (free, total int64, err error) {
	return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: errors.ErrUnsupported}
}
