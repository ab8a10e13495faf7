package vfs_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

func TestFreeSpaceOfTheOS(t *testing.T) {
	free, total, err := vfs.OS().(vfs.Spacer).Free(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	ok(t, err)
	if free < 0 || total <= 0 || free > total {
		t.Fatalf("%d of %d bytes are free", free, total)
	}
	_, _, err = vfs.OS().(vfs.Spacer).Free("/none/such")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("of a directory that is not there: %v", err)
	}
}

func TestFreeSpaceOfMemory(t *testing.T) {
	m := vfs.NewMemory(1)
	m.SetCapacity(10 * 4096)
	create(t, m, "f", "x")
	for _, fsys := range []vfs.Spacer{m, vfs.Inject(m, nil)} {
		free, total, err := fsys.Free(".")
		ok(t, err)
		if free != 9*4096 || total != 10*4096 {
			t.Errorf("%d of %d bytes are free", free, total)
		}
		if _, _, err := fsys.Free("none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of a directory that is not there: %v", err)
		}
	}
}
