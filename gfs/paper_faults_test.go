// The promises of section 5 of the paper: fault tolerance.
//
//lint:bubble
package gfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
)

// §4.3, §5.1.2: what a dead chunkserver had is replicated elsewhere; then two others may be
// lost.
func TestPaperDeadChunkserverIsReplaced(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 5, Racks: 3}, func(r *rig) {
		for i := range 10 {
			r.keep(fmt.Sprintf("f%d", i), 700_000)
		}
		r.c.KillChunkserver(1)
		r.c.WipeChunkserver(1)
		r.check()
		r.c.Await(4)
		time.Sleep(2 * time.Minute) // the leases are over
		r.c.Heal()
		r.c.KillChunkserver(2)
		r.c.KillChunkserver(3)
		r.check()
		r.c.StartChunkserver(1)
		r.c.StartChunkserver(2)
		r.c.StartChunkserver(3)
		r.c.Await(5)
		time.Sleep(2 * time.Minute)
		r.c.Heal()
		r.check()
	})
}

// §5.1.1: a master that is killed, or loses its power, goes on with what it had
// acknowledged.
func TestPaperMasterLosesNothing(t *testing.T) {
	for name, end := range map[string]func(c *gfstest.Cluster){"killed": (*gfstest.Cluster).KillMaster, "crashed": (*gfstest.Cluster).CrashMaster} {
		t.Run(name, func(t *testing.T) {
			paper(t, gfstest.Config{Chunkservers: 4}, func(r *rig) {
				for i := range 5 {
					r.keep(fmt.Sprintf("d/f%d", i), 300_000)
					r.must(r.client.Mkdir(r.ctx, fmt.Sprintf("dir%d", i), 0o700))
					end(r.c)
					r.c.StartMaster()
				}
				r.c.Await(4)
				r.check()
				for i := range 5 {
					if info, err := r.client.Stat(r.ctx, fmt.Sprintf("dir%d", i)); err != nil || info.Mode() != fs.ModeDir|0o700 {
						t.Errorf("dir%d: %v, %v", i, info, err)
					}
				}
				r.keep("after", 2_000_000)
				r.check()
			})
		})
	}
}

// §5.1: servers are killed at any time, there is no other way to end them. What was
// acknowledged survives that of all of them, and with Sync the loss of power.
func TestPaperEverythingGoesDown(t *testing.T) {
	for name, end := range map[string]func(c *gfstest.Cluster, i int){"killed": (*gfstest.Cluster).KillChunkserver, "crashed": (*gfstest.Cluster).CrashChunkserver} {
		t.Run(name, func(t *testing.T) {
			paper(t, gfstest.Config{Chunkservers: 4}, func(r *rig) {
				for i := range 5 {
					r.keep(fmt.Sprintf("f%d", i), 500_000) // which syncs
				}
				if name == "killed" {
					f := r.create("unsynced")
					r.files["unsynced"] = random(99, 1_300_000)
					r.write(f, r.files["unsynced"], 0)
				}
				r.c.CrashMaster()
				for i := range r.servers {
					end(r.c, i)
				}
				for i := range r.servers {
					r.c.StartChunkserver(i)
				}
				r.c.StartMaster()
				r.c.Await(4)
				r.check()
				time.Sleep(2 * time.Minute)
				r.c.Heal()
				r.check()
			})
		})
	}
}

// §5.1.1: any one chunkserver is killed in the middle of a write, again and again: the
// write comes to its end.
func TestPaperWritesGoOnWhenChunkserversAreKilled(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 6}, func(r *rig) {
		f := r.create("f")
		data := random(7, 6<<20)
		r.files["f"] = data
		stop := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			defer close(done)
			for off := 0; off < len(data); off += 100_000 {
				n := min(100_000, len(data)-off)
				if _, err := f.WriteAt(data[off:off+n], int64(off)); err != nil {
					done <- err
					return
				}
				select {
				case <-stop:
					return
				case <-time.After(500 * time.Millisecond):
				}
			}
		}()
		defer close(stop)
		for i := range 8 {
			time.Sleep(3 * time.Second)
			r.c.KillChunkserver(i % 6)
			time.Sleep(time.Second)
			r.c.StartChunkserver(i % 6)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.check()
		time.Sleep(3 * time.Minute)
		r.c.Heal()
		r.check()
	})
}

// §5.1.3: shadows answer what reads while the master is down, and lag behind by much less
// than a second.
func TestPaperShadowsServeReads(t *testing.T) {
	paper(t, gfstest.Config{Shadows: 1}, func(r *rig) {
		r.keep("f", 1_200_000)
		time.Sleep(10 * time.Second)
		if lag := r.c.Shadow(0).Lag(); lag > time.Second {
			t.Errorf("the shadow lags behind by %v", lag)
		}
		r.c.KillMaster()
		r.check()
		if list, err := r.client.ReadDir(r.ctx, "."); err != nil || len(list) != 1 {
			t.Errorf("the shadow lists %v, %v", list, err)
		}
		if err := r.client.Mkdir(r.within(10*time.Second), "d", 0o755); err == nil {
			t.Error("a directory was made without a master")
		}
		r.c.StartMaster()
		r.c.Await(3)
		r.must(r.client.Mkdir(r.ctx, "e", 0o755))
		time.Sleep(time.Second)
		if lag := r.c.Shadow(0).Lag(); lag > time.Second {
			t.Errorf("the shadow lags behind its new master by %v", lag)
		}
	})
}

// §5.2: what has rotted is not returned but reported; another replica is made first, and
// only then the bad one is deleted.
func TestPaperRotIsReportedAndReplacedBeforeItIsDeleted(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 4, Chunkserver: gfs.ChunkserverConfig{ScrubInterval: -1}}, func(r *rig) {
		r.keep("f", 400_000)
		time.Sleep(5 * time.Minute)
		v := r.chunk("f", 0)
		bad := r.server(v.Where[0])
		if r.c.RotChunkserver(bad, 1) != 1 {
			t.Fatal("nothing has rotted")
		}
		reader, err := r.c.Dial(r.ctx, gfs.ClientConfig{Host: hostName(bad)}) // which reads there first
		r.must(err)
		b, err := reader.ReadFile(r.ctx, "f")
		if err != nil || !bytes.Equal(b, r.files["f"]) {
			t.Fatalf("read %d bytes, %v", len(b), err)
		}
		if reader.Stats().BadReplicas == 0 {
			t.Error("the bad replica was not reported")
		}
		good := func() (n int) {
			for _, i := range r.holders(v.Handle) {
				if got, _ := r.c.Chunkserver(i).Replica(v.Handle); got.Health == "sound" {
					n++
				}
			}
			return n
		}
		replaced := false
		r.until("the bad replica is gone", 10*time.Minute, func() bool {
			held := slices.Contains(r.holders(v.Handle), bad)
			if n := good(); n == 3 {
				replaced = true
			} else if !held && !replaced {
				t.Fatalf("the bad replica was deleted with %d good ones", n)
			}
			return !held
		})
		r.c.Heal()
		r.check()
	})
}

// §5.2: idle chunks are scrubbed: rot is found that nobody reads, before the last good
// replica has it too.
func TestPaperIdleChunksAreScrubbed(t *testing.T) {
	scrub := time.Hour
	if testing.Short() {
		scrub /= 6
	}
	paper(t, gfstest.Config{Chunkservers: 4, Chunkserver: gfs.ChunkserverConfig{ScrubInterval: scrub}}, func(r *rig) {
		for i := range 8 {
			r.keep(fmt.Sprintf("f%d", i), 400_000)
		}
		time.Sleep(5 * time.Minute)
		if n := r.c.RotChunkserver(0, 3) + r.c.RotChunkserver(1, 2); n < 4 {
			t.Fatalf("%d files have rotted", n)
		}
		time.Sleep(4 * scrub) // nobody reads
		rotten := uint64(0)
		for i := range r.servers {
			rotten += r.c.Chunkserver(i).Status().Rotten
		}
		if rotten < 4 {
			t.Errorf("the scrubbers have found %d bad blocks", rotten)
		}
		r.c.Heal()
		r.check()
		r.c.KillChunkserver(2)
		r.c.KillChunkserver(3)
		r.check() // from those that had rotted
	})
}

// §2.7.1: data of which no replica is whole is unavailable, and never returned corrupted;
// the rest of the file is.
func TestPaperLostDataIsUnavailableNotCorrupt(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 3, Client: gfs.ClientConfig{Patience: 20 * time.Second}}, func(r *rig) {
		r.keep("f", 2_000_000)
		time.Sleep(3 * time.Minute)
		for i := range r.servers {
			for range 20 { // some blocks on all three
				r.c.RotChunkserver(i, 2)
			}
		}
		want := r.files["f"]
		lost := 0
		f, err := r.client.Open(r.ctx, "f")
		r.must(err)
		b := make([]byte, 50_000)
		for off := 0; off < len(want); off += len(b) {
			n, err := f.ReadAt(b, int64(off))
			if !bytes.Equal(b[:n], want[off:off+n]) {
				t.Fatalf("corrupt data was returned at %d", off)
			}
			if n < len(b) {
				lost++
				if !errors.Is(err, gfs.ErrUnavailable) && !errors.Is(err, gfs.ErrChecksum) {
					t.Errorf("at %d: %v", off, err)
				}
			}
		}
		t.Logf("%d of 40 pieces are lost", lost)
		if lost == 0 || lost == 40 {
			t.Errorf("%d pieces of 40 are unavailable: some have rotted everywhere, some have not", lost)
		}
	})
}

// §5.2: a disk that takes no more writes, or is full, takes its replicas out of the way:
// writes go on elsewhere.
func TestPaperWritesGoOnWhenADiskFails(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 5}, func(r *rig) {
		f := r.create("f")
		data := random(5, 2<<20)
		r.files["f"] = data
		r.write(f, data[:1<<20], 0)
		broken := r.server(r.chunk("f", 0).Primary)
		r.c.FailDisk(broken, errors.New("input/output error"))
		r.write(f, data[:100], 0)
		r.write(f, data[1<<20:], 1<<20)
		r.must(f.SyncContext(r.within(5 * time.Minute)))
		r.check()
		r.c.FailDisk(broken, nil)
		time.Sleep(5 * time.Minute)
		r.c.Heal()
		r.check()
	})
}

// A disk may be full, or refuse otherwise, when what was acknowledged is to be made durable.
// All disks may: whoever had it has it when they are mended.
func TestPaperDisksThatWereFullHaveLostNothing(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		data := random(1, 300_000)
		f := r.create("f")
		r.write(f, data, 0)
		h := r.chunk("f", 0).Handle
		all := func(health string) func() bool {
			return func() bool {
				for i := range r.servers {
					if v, ok := r.c.Chunkserver(i).Replica(h); !ok || v.Health != health {
						return false
					}
				}
				return true
			}
		}
		for i := range r.servers {
			r.c.FailDisk(i, syscall.ENOSPC) // also what should make durable what was written
		}
		r.until("no replica can be made durable", 10*time.Minute, all("corrupt"))
		r.files["f"] = data
		r.check()
		for i := range r.servers {
			r.c.FailDisk(i, nil)
		}
		r.until("all are sound again", 20*time.Minute, all("sound"))
		r.write(f, data[:1000], 0)
		r.check()
	})
}

// §4: with no room anywhere a write fails with ErrNoSpace, and what was there stays; with
// room it goes on.
func TestPaperFullClusterSaysSo(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 3, Capacity: 8 << 20, Master: gfs.MasterConfig{Retention: -1},
		Client: gfs.ClientConfig{Patience: 10 * time.Second}}, func(r *rig) {
		r.keep("a", 3<<20)
		r.keep("b", 3<<20)
		if err := r.client.WriteFile(r.ctx, "c", make([]byte, 6<<20), 0o644); !errors.Is(err, gfs.ErrNoSpace) {
			t.Errorf("a file too large: %v", err)
		}
		r.check()
		r.must(r.client.Remove(r.ctx, "a"))
		delete(r.files, "a")
		time.Sleep(2 * time.Minute)
		r.keep("d", 2<<20)
		r.check()
	})
}

// §4.3: a chunkserver that is drained gives everything away, and can go.
func TestPaperDrainedServerCanGo(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 5}, func(r *rig) {
		for i := range 10 {
			r.keep(fmt.Sprintf("f%d", i), 300_000)
		}
		list, err := r.client.Servers(r.ctx)
		r.must(err)
		i := slices.IndexFunc(list, func(s gfs.ServerInfo) bool { return s.Addr == hostName(2)+":1" })
		r.must(r.client.Drain(r.ctx, list[i].ID))
		r.until("it is empty", 20*time.Minute, func() bool { return len(r.c.Chunkserver(2).Replicas()) == 0 })
		r.c.KillChunkserver(2)
		if err := r.client.Forget(r.ctx, list[i].ID); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("a chunkserver that is not given up for dead can be forgotten: %v", err)
		}
		r.until("it is dead", time.Minute, func() bool { return r.client.Forget(r.ctx, list[i].ID) == nil })
		if check, err := r.client.Fsck(context.Background(), "."); err != nil || check.Short != 0 {
			t.Errorf("fsck: %+v, %v", check, err)
		}
		r.check()
	})
}
