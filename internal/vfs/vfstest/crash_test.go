package vfstest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/vfs/vfstest"
)

// replacing replaces a file a few times and wants it whole after a crash.
func replacing(write func(vfs.FS, string, []byte) error) func() vfstest.Workload {
	return func() vfstest.Workload {
		version, written := 0, 0
		return vfstest.Workload{
			Run: func(fsys vfs.FS) {
				for version < 4 {
					version++
					if write(fsys, "file", fmt.Appendf(nil, "version %d %1000d", version, version)) != nil {
						return
					}
					written = version
				}
			},
			Check: func(after *vfs.Memory) error {
				data, err := vfs.ReadFile(after, "file")
				if errors.Is(err, fs.ErrNotExist) && written == 0 {
					return nil
				}
				if err != nil {
					return err
				}
				for v := written; v <= version; v++ {
					if string(data) == fmt.Sprintf("version %d %1000d", v, v) {
						return nil
					}
				}
				return fmt.Errorf("version %d was written, %.20q is there", written, data)
			},
		}
	}
}

func TestWriteFileIsAtomic(t *testing.T) {
	checked, err := vfstest.CrashEverywhere(20, replacing(vfs.WriteFile))
	if err != nil {
		t.Fatal(err)
	}
	if checked != 20*(4*5+1) {
		t.Errorf("%d outcomes were checked", checked)
	}
}

// TestCarelessWritersAreCaught holds the harness against what careless code does.
func TestCarelessWritersAreCaught(t *testing.T) {
	for _, skip := range []vfs.Op{vfs.OpSync, vfs.OpSyncDir} {
		_, err := vfstest.CrashEverywhere(20, replacing(func(fsys vfs.FS, name string, data []byte) error {
			return vfs.WriteFile(vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
				return vfs.Fault{Lie: c.Op == skip}
			}), name, data)
		}))
		if err == nil {
			t.Errorf("without %v: not caught", skip)
		}
	}
	_, err := vfstest.CrashEverywhere(20, replacing(func(fsys vfs.FS, name string, data []byte) error {
		f, err := vfs.Create(fsys, name) // in place
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		return errors.Join(f.Sync(), fsys.SyncDir("."), f.Close())
	}))
	if err == nil {
		t.Error("in place: not caught")
	}
}
