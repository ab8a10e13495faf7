// All of these run in bubbles.
//
//lint:bubble
package gfs_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
)

// After Sync a power failure of all chunkservers takes nothing. One between a write and its
// Sync may take the write: then Sync says so, and which range; and not when nothing was
// taken, as when the processes were merely killed.
func TestPaperSyncTellsOfLostWrites(t *testing.T) {
	for name, stop := range map[string]func(c *gfstest.Cluster, i int){
		"power": (*gfstest.Cluster).CrashChunkserver,
		"kill":  (*gfstest.Cluster).KillChunkserver,
	} {
		t.Run(name, func(t *testing.T) {
			paper(t, gfstest.Config{Chunkservers: 4}, func(r *rig) {
				data := random(3, 300_000)
				f := r.create("f")
				r.write(f, data[:100_000], 0)
				r.must(f.SyncContext(r.within(time.Minute)))
				for round := range 3 {
					lo, hi := 100_000+round*50_000, 150_000+round*50_000
					r.write(f, data[lo:hi], int64(lo))
					for i := range 4 {
						stop(r.c, i)
					}
					for i := range 4 {
						r.c.StartChunkserver(i)
					}
					err := f.SyncContext(r.within(10 * time.Minute))
					var lost *gfs.LostError
					switch {
					case name == "kill":
						r.must(err)
					case !errors.Is(err, gfs.ErrLost) || !errors.As(err, &lost):
						t.Fatalf("sync after a power failure: %v", err)
					case len(lost.Ranges) != 1 || lost.Ranges[0] != (gfs.Range{Off: int64(lo), Len: 50_000}):
						t.Errorf("%+v are lost, not what was written from %d to %d", lost.Ranges, lo, hi)
					default:
						r.write(f, data[lo:hi], int64(lo))
						r.must(f.SyncContext(r.within(time.Minute)))
					}
				}
				for i := range 4 {
					r.c.CrashChunkserver(i)
				}
				for i := range 4 {
					r.c.StartChunkserver(i)
				}
				got := make([]byte, 250_000)
				_, err := f.ReadAtContext(r.within(10*time.Minute), got, 0)
				r.must(err)
				if !bytes.Equal(got, data[:250_000]) {
					t.Error("what was synced is not there")
				}
			})
		})
	}
}
