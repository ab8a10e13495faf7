package gfstest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
)

// kept writes files and checks that they are there.
type kept struct {
	t     *testing.T
	c     *gfs.Client
	files map[string][]byte
}

func (k *kept) write(name string, n int) {
	k.t.Helper()
	data := random(uint64(len(k.files)), n)
	if err := k.c.WriteFile(context.Background(), name, data, 0o644); err != nil {
		k.t.Fatal(err)
	}
	k.files[name] = data
}

func (k *kept) check() {
	k.t.Helper()
	for name, want := range k.files {
		got, err := k.c.ReadFile(context.Background(), name)
		if err != nil {
			k.t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got, want) {
			k.t.Errorf("%s has changed: %d bytes, want %d", name, len(got), len(want))
		}
	}
}

func keep(t *testing.T, cfg gfstest.Config) (*gfstest.Cluster, *kept) {
	c := gfstest.Start(t, cfg)
	return c, &kept{t: t, c: c.Client(), files: make(map[string][]byte)}
}

// §4.3: what a dead chunkserver had is replicated elsewhere.
func TestDeadChunkserverIsReplaced(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c, k := keep(t, gfstest.Config{Chunkservers: 5, Racks: 3})
		for i := range 10 {
			k.write(fmt.Sprintf("f%d", i), 700_000)
		}
		c.KillChunkserver(1)
		c.WipeChunkserver(1)
		k.check()
		c.Await(4)
		time.Sleep(2 * time.Minute) // the leases are over
		c.Heal()
		c.KillChunkserver(2)
		c.KillChunkserver(3)
		k.check()
		c.StartChunkserver(1)
		c.StartChunkserver(2)
		c.StartChunkserver(3)
		c.Await(5)
		time.Sleep(2 * time.Minute)
		c.Heal()
		k.check()
	})
}

// §5.1.1: a master that is started again goes on with what it had acknowledged.
func TestMasterComesBack(t *testing.T) {
	for name, end := range map[string]func(c *gfstest.Cluster){"killed": (*gfstest.Cluster).KillMaster, "crashed": (*gfstest.Cluster).CrashMaster} {
		t.Run(name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				c, k := keep(t, gfstest.Config{Chunkservers: 4})
				for i := range 5 {
					k.write(fmt.Sprintf("d/f%d", i), 300_000)
					end(c)
					c.StartMaster()
				}
				c.Await(4)
				k.check()
				k.write("after", 2_000_000)
				k.check()
			})
		})
	}
}

// DESIGN: an acknowledged write survives the death of all processes, and with Sync a
// power failure of all machines.
func TestEverythingGoesDown(t *testing.T) {
	for name, end := range map[string]func(c *gfstest.Cluster, i int){"killed": (*gfstest.Cluster).KillChunkserver, "crashed": (*gfstest.Cluster).CrashChunkserver} {
		t.Run(name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				c, k := keep(t, gfstest.Config{Chunkservers: 4})
				for i := range 5 {
					k.write(fmt.Sprintf("f%d", i), 500_000) // which syncs
				}
				c.CrashMaster()
				for i := range 4 {
					end(c, i)
				}
				for i := range 4 {
					c.StartChunkserver(i)
				}
				c.StartMaster()
				c.Await(4)
				k.check()
				time.Sleep(2 * time.Minute)
				c.Heal()
				k.check()
			})
		})
	}
}

// §3.4: a snapshot keeps what was there, whatever is written afterwards.
func TestSnapshotIsKept(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c, k := keep(t, gfstest.Config{Chunkservers: 4})
		ctx := context.Background()
		k.write("tree/a", 1_500_000)
		k.write("tree/b", 100_000)
		f, err := k.c.OpenFile(ctx, "tree/a", gfs.OpenOptions{Write: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("before"), 10); err != nil {
			t.Fatal(err)
		}
		copy(k.files["tree/a"][10:], "before")
		if err := k.c.Snapshot(ctx, "tree", "copy"); err != nil {
			t.Fatal(err)
		}
		k.files["copy/a"], k.files["copy/b"] = bytes.Clone(k.files["tree/a"]), k.files["tree/b"]
		if _, err := f.WriteAt([]byte("after"), 10); err != nil {
			t.Fatal(err)
		}
		copy(k.files["tree/a"][10:], "after")
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		k.check()
		time.Sleep(3 * time.Minute)
		c.Heal()
		k.check()
	})
}

// §4.4.1: what was removed can be undeleted for three days, and then its space is given
// back.
func TestRemovedFilesAreCollected(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		// Few heartbeats, as there are five days of them.
		c, k := keep(t, gfstest.Config{Master: gfs.MasterConfig{Heartbeat: 5 * time.Minute, ServerTimeout: time.Hour}})
		ctx := context.Background()
		before := c.Stored(0)
		k.write("f", 3_000_000)
		if err := k.c.Remove(ctx, "f"); err != nil {
			t.Fatal(err)
		}
		if _, err := k.c.Stat(ctx, "f"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat of a removed file: %v", err)
		}
		time.Sleep(48 * time.Hour)
		if _, err := k.c.Undelete(ctx, "f", ""); err != nil {
			t.Fatal(err)
		}
		k.check()
		if err := k.c.Remove(ctx, "f"); err != nil {
			t.Fatal(err)
		}
		if used := c.Stored(0); used < before+3_000_000 {
			t.Errorf("the space is given back at once: %d, before %d", used, before)
		}
		time.Sleep(73 * time.Hour)
		if used := c.Stored(0); used > before+100_000 {
			t.Errorf("%d bytes are taken three days later; %d before", used, before)
		}
		if _, err := k.c.Undelete(ctx, "f", ""); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("undelete after three days: %v", err)
		}
	})
}

// §5.2: rot is found, never returned, and mended.
func TestRotIsMended(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c, k := keep(t, gfstest.Config{Chunkservers: 4, Chunkserver: gfs.ChunkserverConfig{ScrubInterval: time.Hour}})
		for i := range 8 {
			k.write(fmt.Sprintf("f%d", i), 400_000)
		}
		time.Sleep(5 * time.Minute)
		if n := c.RotChunkserver(0, 3) + c.RotChunkserver(1, 2); n < 4 {
			t.Fatalf("%d files have rotted", n)
		}
		k.check()
		time.Sleep(4 * time.Hour)
		c.Heal()
		k.check()
		c.KillChunkserver(2)
		c.KillChunkserver(3)
		k.check() // from those that have rotted
	})
}

// §5.1.3: a shadow answers while the master is down.
func TestShadowAnswers(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c, k := keep(t, gfstest.Config{Shadows: 1})
		k.write("f", 1_200_000)
		time.Sleep(10 * time.Second)
		if lag := c.Shadow(0).Lag(); lag > time.Second {
			t.Errorf("the shadow lags behind by %v", lag)
		}
		c.KillMaster()
		k.check()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := k.c.Mkdir(ctx, "d", 0o755); err == nil {
			t.Error("a directory was made without a master")
		}
		c.StartMaster()
		c.Await(3)
		if err := k.c.Mkdir(context.Background(), "e", 0o755); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if lag := c.Shadow(0).Lag(); lag > time.Second {
			t.Errorf("the shadow lags behind its new master by %v", lag)
		}
	})
}
