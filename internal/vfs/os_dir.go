//go:build !windows

package vfs

import (
	"os"
	"syscall"
)

const noSpace = syscall.ENOSPC

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	return err
}
