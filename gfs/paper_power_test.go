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

// A replica that nobody vouches for counts in the end, when the only one that was not
// interrupted stays away for longer than that is waited for. When that comes back, sound and
// with everything that was ever acknowledged, it is stale: there are no two truths.
func TestPaperSoundReplicaComesBackTooLate(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		data := random(4, 200_000)
		f := r.create("f")
		r.write(f, data[:100_000], 0)
		r.must(f.SyncContext(r.within(time.Minute)))
		r.write(f, data[100_000:], 100_000) // all three have it, and none durably
		away, before := r.server(r.chunk("f", 0).Where[0]), r.chunk("f", 0).Version
		r.cut(away)
		var others []int
		for i := range r.servers {
			if i != away {
				r.c.CrashChunkserver(i)
				others = append(others, i)
			}
		}
		for _, i := range others {
			r.c.StartChunkserver(i)
		}
		time.Sleep(9 * time.Minute)
		if v := r.chunk("f", 0); v.Version != before {
			t.Fatalf("one of the interrupted replicas counts before the one that is away was waited for: %+v", v)
		}
		r.until("an interrupted replica counts", 10*time.Minute, func() bool { return r.chunk("f", 0).Version > before })
		old, there := r.c.Chunkserver(away).Replica(r.chunk("f", 0).Handle)
		if !there || old.Version != before || old.Health != "sound" || old.Length != 200_000 {
			t.Fatalf("the replica that is away is %+v, not a sound one of what was acknowledged", old)
		}
		r.c.Network().Heal()
		r.until("there are three replicas again", 10*time.Minute, func() bool { return len(r.chunk("f", 0).Where) == 3 })
		if now, _ := r.c.Chunkserver(away).Replica(r.chunk("f", 0).Handle); now.Version == before {
			t.Errorf("the replica that came back counts as it was: %+v", now)
		}
		if !bytes.HasPrefix(r.consistent("f", 0), data[:100_000]) {
			t.Error("what was synced is not there")
		}
		var lost *gfs.LostError
		if err := f.SyncContext(r.within(time.Minute)); !errors.As(err, &lost) || len(lost.Ranges) != 1 || lost.Ranges[0] != (gfs.Range{Off: 100_000, Len: 100_000}) {
			t.Errorf("sync of what was given up: %v", err)
		}
		r.write(f, data[100_000:], 100_000)
		r.must(f.SyncContext(r.within(time.Minute)))
		if !bytes.Equal(r.consistent("f", 0), data) {
			t.Error("the file has not what was written at last")
		}
	})
}
