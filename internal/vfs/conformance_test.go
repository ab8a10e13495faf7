package vfs_test

import (
	"os"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/vfs/vfstest"
)

func TestOSConforms(t *testing.T) {
	vfstest.TestFS(t, vfs.OS(), t.TempDir())
}

func TestMemoryConforms(t *testing.T) {
	vfstest.TestFS(t, vfs.NewMemory(1), "/")
}

func TestInjectorConforms(t *testing.T) {
	t.Run("OS", func(t *testing.T) {
		vfstest.TestFS(t, vfs.Inject(vfs.OS(), nil), t.TempDir())
	})
	t.Run("Memory", func(t *testing.T) {
		vfstest.TestFS(t, vfs.Inject(vfs.NewMemory(1), nil), string(os.PathSeparator))
	})
}
