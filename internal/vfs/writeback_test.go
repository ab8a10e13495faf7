package vfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// What WriteBack is called with changes nothing that can be seen.
func TestWriteBack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := vfs.Create(vfs.OS(), name)
	ok(t, err)
	data := bytes.Repeat([]byte("data"), 1<<10)
	_, err = f.Write(data)
	ok(t, err)
	w := f.(vfs.WriteBacker)
	w.WriteBack(0, int64(len(data)))
	w.WriteBack(1<<40, 1<<20) // where there is nothing
	w.WriteBack(-1, -1)
	ok(t, f.Sync())
	ok(t, f.Close())
	w.WriteBack(0, 1) // of a file that is closed
	got, err := os.ReadFile(name)
	ok(t, err)
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes are there, not what was written", len(got))
	}
}
