// The promises of section 4 of the paper: what the master does.
//
//lint:bubble
package gfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
)

// within returns a context that ends after d.
func (r *rig) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.ctx, d)
	r.Cleanup(cancel)
	return ctx
}

// §4.1: many files can be created in one directory at a time, each once.
func TestPaperFilesAreCreatedInOneDirectoryAtOnce(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		const clients, files = 8, 40
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := make(map[string]int)
		for range clients {
			client := r.c.Client()
			wg.Go(func() {
				for i := range files {
					name := fmt.Sprintf("home/f%d", i)
					f, err := client.Create(r.ctx, name)
					switch {
					case err == nil:
						mu.Lock()
						made[name]++
						mu.Unlock()
						_ = f.Close()
					case !errors.Is(err, fs.ErrExist):
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for i := range files {
			if n := made[fmt.Sprintf("home/f%d", i)]; n != 1 {
				t.Errorf("home/f%d was created %d times", i, n)
			}
		}
		if list, err := r.client.ReadDir(r.ctx, "home"); err != nil || len(list) != files {
			t.Errorf("%d entries, %v", len(list), err)
		}
	})
}

// §4.1, the paper's own example: no file /home/user/foo comes into being while /home/user
// is being snapshotted to /save/user; elsewhere files do.
func TestPaperSnapshotExcludesCreation(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		r.must(r.client.MkdirAll(r.ctx, "home/user", 0o755))
		r.must(r.client.MkdirAll(r.ctx, "save", 0o755))
		f := r.create("home/user/old")
		r.write(f, []byte("x"), 0)
		r.cut(r.server(r.chunk("home/user/old", 0).Primary)) // so that its lease is not easily revoked
		done := make(chan error, 1)
		go func() { done <- r.client.Snapshot(r.ctx, "home/user", "save/user") }()
		time.Sleep(time.Second)
		select {
		case err := <-done:
			t.Fatalf("the snapshot did not wait for the lease: %v", err)
		default:
		}
		began := time.Now()
		_, err := r.client.Create(r.ctx, "home/other")
		r.must(err)
		if time.Since(began) > time.Second {
			t.Errorf("a file elsewhere had to wait %v", time.Since(began))
		}
		_, err = r.client.Create(r.ctx, "home/user/foo")
		r.must(err)
		select {
		case err := <-done:
			r.must(err)
		case <-time.After(time.Second): // its answer may come after that to Create, but not long
			t.Error("the file came into being while the snapshot was made")
		}
		if _, err := r.client.Stat(r.ctx, "save/user/old"); err != nil {
			t.Error(err)
		}
		if _, err := r.client.Stat(r.ctx, "save/user/foo"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the snapshot has what came after: %v", err)
		}
	})
}

// rackOf is the rack of a chunkserver in a cluster of so many.
func rackOf(server, racks int) int { return server % racks }

// §4.2: the replicas of a chunk are spread over racks, also after a rack was lost.
func TestPaperReplicasAreSpreadOverRacks(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 9, Racks: 3}, func(r *rig) {
		spread := func(when string, least int) {
			for name := range r.files {
				v := r.chunk(name, 0)
				racks := make(map[int]bool)
				for _, addr := range v.Where {
					racks[rackOf(r.server(addr), 3)] = true
				}
				if len(v.Where) != 3 || len(racks) < least {
					t.Errorf("%s: %s is on %v: %d racks", when, name, v.Where, len(racks))
				}
			}
		}
		for i := range 30 {
			r.keep(fmt.Sprintf("f%d", i), 50_000)
		}
		spread("new", 2)
		for i := 0; i < 9; i += 3 {
			r.c.KillChunkserver(i)
		}
		r.check() // a whole rack is gone
		time.Sleep(3 * time.Minute)
		r.c.Heal()
		spread("after the loss of a rack", 2)
	})
}

// §4.2: new replicas go to chunkservers with below-average use, and creations are limited
// on each: an empty one gets its share and not everything. §4.3: it is filled gradually
// by rebalancing too, until the use of all is about even.
func TestPaperNewServerIsFilledGradually(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 5, Capacity: 100 << 20}, func(r *rig) {
		r.c.KillChunkserver(4)
		r.c.WipeChunkserver(4)
		r.c.Await(4)
		for i := range 60 {
			r.keep(fmt.Sprintf("old/f%d", i), 900_000)
		}
		time.Sleep(3 * time.Minute)
		r.c.StartChunkserver(4)
		r.c.Await(5)
		start := r.c.Stored(4)
		fresh := 0
		for i := range 10 {
			name := fmt.Sprintf("new/f%d", i)
			r.keep(name, 900_000)
			if slices.Contains(r.chunk(name, 0).Where, hostName(4)+":1") {
				fresh++
			}
		}
		if fresh < 3 {
			t.Errorf("the empty chunkserver got %d of 10 new chunks", fresh)
		}
		var steps int
		last := start
		r.until("use is about even", 6*time.Hour, func() bool {
			used := r.c.Stored(4)
			if used > last {
				steps++
				last = used
			}
			var least, most int64 = 1 << 62, 0
			for i := range r.servers {
				least, most = min(least, r.c.Stored(i)), max(most, r.c.Stored(i))
			}
			return float64(most-least) < 0.15*float64(100<<20)
		})
		if steps < 5 {
			t.Errorf("the new chunkserver was filled in %d steps", steps)
		}
		rest := 2 * time.Hour
		if testing.Short() {
			rest /= 6
		}
		time.Sleep(rest)
		settled := make([][]uint64, r.servers)
		for i := range r.servers {
			settled[i] = r.c.Chunkserver(i).Replicas()
		}
		time.Sleep(rest)
		moved := 0
		for i := range r.servers {
			for _, h := range r.c.Chunkserver(i).Replicas() {
				if !slices.Contains(settled[i], h) {
					moved++
				}
			}
		}
		if moved > 0 {
			t.Errorf("%d replicas were moved two hours after use had become even: it does not converge", moved)
		}
		r.check()
	})
}

// §4.3: chunks furthest from their goal are replicated first, and what repair takes is
// throttled.
func TestPaperReplicationGoesByPriorityAndIsThrottled(t *testing.T) {
	const size, rate = 500_000, 1_000_000
	paper(t, gfstest.Config{Chunkservers: 6, Master: gfs.MasterConfig{RepairRate: rate}}, func(r *rig) {
		for i := range 80 {
			r.keep(fmt.Sprintf("f%d", i), size)
		}
		time.Sleep(3 * time.Minute)
		r.c.KillChunkserver(0)
		r.c.KillChunkserver(1)
		began := time.Now()
		r.until("the dead are noticed", time.Minute, func() bool {
			list, err := r.client.Servers(r.ctx)
			dead := 0 // in what order they have registered is chance
			for _, s := range list {
				if !s.Alive {
					dead++
				}
			}
			return err == nil && dead == 2
		})
		one, two := make(map[string]time.Duration), make(map[string]time.Duration) // when they had two, or three
		left := make(map[string]int)
		for name := range r.files {
			left[name] = len(r.chunk(name, 0).Where)
		}
		r.until("all are repaired", 30*time.Minute, func() bool {
			done := true
			for name := range r.files {
				n := len(r.chunk(name, 0).Where)
				switch {
				case left[name] == 1 && n > 1 && one[name] == 0:
					one[name] = time.Since(began)
				case left[name] == 2 && n > 2 && two[name] == 0:
					two[name] = time.Since(began)
				}
				done = done && n == 3
			}
			return done
		})
		took := time.Since(began)
		if len(one) < 5 || len(two) < 20 {
			t.Fatalf("%d chunks had one replica left, %d two: too few", len(one), len(two))
		}
		mean := func(m map[string]time.Duration) (sum time.Duration) {
			for _, d := range m {
				sum += d
			}
			return sum / time.Duration(len(m))
		}
		if mean(one) >= mean(two) {
			t.Errorf("chunks with one replica had another after %v, those with two after %v", mean(one), mean(two))
		}
		t.Logf("one left: %d, after %v; two left: %d, after %v; all after %v", len(one), mean(one), len(two), mean(two), took)
		copies := 2*len(one) + len(two)
		if least := time.Duration(copies) * size * time.Second / (4 * rate) / 2; took < least {
			t.Errorf("%d copies of %d bytes took %v, want %v at least at %d bytes a second on four chunkservers", copies, size, took, least, rate)
		}
		r.check()
	})
}

// §4.2, §2.7.1: the replication level is chosen for a file, and for a subtree; more replicas
// are the answer to hot files.
func TestPaperReplicationIsSetPerFileAndSubtree(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 6}, func(r *rig) {
		r.must(r.client.MkdirAll(r.ctx, "scratch", 0o755))
		r.must(r.client.SetPolicy(r.ctx, "scratch", gfs.Policy{Replication: 2}))
		r.keep("scratch/deep/f", 100_000)
		r.keep("hot", 100_000)
		replicas := func(name string, want int) {
			r.Helper()
			r.until(fmt.Sprintf("%s has %d replicas", name, want), 10*time.Minute, func() bool {
				return len(r.chunk(name, 0).Where) == want && len(r.holders(r.chunk(name, 0).Handle)) == want
			})
		}
		replicas("scratch/deep/f", 2)
		replicas("hot", 3)
		r.must(r.client.SetReplication(r.ctx, "hot", 6))
		replicas("hot", 6)
		r.must(r.client.SetReplication(r.ctx, "hot", 1))
		replicas("hot", 1)
		r.check()
	})
}

// §4.4.1: what was removed is hidden under a name that tells when, where it can still be
// read, and comes back with its name.
func TestPaperRemovedFileIsReadableAndComesBack(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		r.keep("d/f", 1_200_000)
		r.must(r.client.Remove(r.ctx, "d/f"))
		if _, err := r.client.Open(r.ctx, "d/f"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open of what was removed: %v", err)
		}
		if list, err := r.client.ReadDir(r.ctx, "d"); err != nil || len(list) != 0 {
			t.Errorf("the directory has %v, %v", list, err)
		}
		hidden, err := r.client.ReadDeleted(r.ctx, "d")
		if err != nil || len(hidden) != 1 || hidden[0].Deleted().IsZero() {
			t.Fatalf("hidden: %v, %v", hidden, err)
		}
		r.files["d/"+hidden[0].Name()] = r.files["d/f"]
		delete(r.files, "d/f")
		r.check()
		r.keep("d/f", 1000) // another in its place
		if _, err := r.client.Undelete(r.ctx, "d/"+hidden[0].Name(), ""); !errors.Is(err, fs.ErrExist) {
			t.Errorf("undelete over another file: %v", err)
		}
		if _, err := r.client.Undelete(r.ctx, "d/"+hidden[0].Name(), "d/g"); err != nil {
			t.Fatal(err)
		}
		r.files["d/g"] = r.files["d/"+hidden[0].Name()]
		delete(r.files, "d/"+hidden[0].Name())
		r.check()
	})
}

// reclaimed waits until the disks have taken little more than before.
func (r *rig) reclaimed(before int64, within time.Duration) {
	r.Helper()
	r.until("the space is free", within, func() bool { return r.stored() < before+20_000 })
}

// §4.4.1: three days after a file was removed its space is given back, not before.
func TestPaperSpaceIsReclaimedAfterThreeDays(t *testing.T) {
	hour := time.Hour
	if testing.Short() {
		hour /= 10 // five days are long for the race detector
	}
	minute := hour / 60
	// Few heartbeats, as there are five days of them.
	slow := gfs.MasterConfig{Heartbeat: 5 * minute, Lease: 10 * minute, ServerTimeout: hour}
	if testing.Short() {
		slow.Retention = 72 * hour
	}
	paper(t, gfstest.Config{Master: slow}, func(r *rig) {
		before := r.stored()
		r.keep("f", 3_000_000)
		full := r.stored()
		r.must(r.client.Remove(r.ctx, "f"))
		time.Sleep(48 * hour)
		if _, err := r.client.Undelete(r.ctx, "f", ""); err != nil {
			t.Fatal(err)
		}
		r.check()
		r.must(r.client.Remove(r.ctx, "f"))
		time.Sleep(71 * hour)
		if used := r.stored(); used < full {
			t.Errorf("the space is given back too early: %d bytes, before %d", used, full)
		}
		time.Sleep(2 * hour)
		r.reclaimed(before, time.Minute)
		if _, err := r.client.Undelete(r.ctx, "f", ""); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("undelete after three days: %v", err)
		}
	})
}

// §4.4.2: removed again under its hidden name, a file's space is given back at once.
func TestPaperSecondRemovalIsExpedited(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		before := r.stored()
		r.keep("f", 2_000_000)
		r.must(r.client.Remove(r.ctx, "f"))
		hidden, err := r.client.ReadDeleted(r.ctx, ".")
		if err != nil || len(hidden) != 1 {
			t.Fatalf("hidden: %v, %v", hidden, err)
		}
		r.must(r.client.Remove(r.ctx, hidden[0].Name()))
		r.reclaimed(before, 5*time.Minute)
		if _, err := r.client.Undelete(r.ctx, "f", ""); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("undelete: %v", err)
		}
	})
}

// §4.4.2: how long what was removed is kept is chosen for a subtree; it may be not at all.
func TestPaperRetentionIsSetPerSubtree(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		for dir, retention := range map[string]time.Duration{"none": -1, "hour": time.Hour} {
			r.must(r.client.MkdirAll(r.ctx, dir, 0o755))
			r.must(r.client.SetPolicy(r.ctx, dir, gfs.Policy{Retention: retention}))
		}
		before := r.stored()
		r.keep("none/f", 1_000_000)
		r.must(r.client.Remove(r.ctx, "none/f"))
		r.reclaimed(before, 5*time.Minute)
		r.keep("hour/f", 1_000_000)
		full := r.stored()
		r.must(r.client.Remove(r.ctx, "hour/f"))
		time.Sleep(50 * time.Minute)
		if used := r.stored(); used < full {
			t.Error("the space is given back before its hour")
		}
		time.Sleep(12 * time.Minute)
		r.reclaimed(before, 5*time.Minute)
	})
}

// §4.4: replicas whose chunk is gone, as their chunkserver was down when it was removed,
// are garbage: a heartbeat tells so.
func TestPaperOrphansAreCollected(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 4, Master: gfs.MasterConfig{Retention: -1}}, func(r *rig) {
		before := r.stored()
		r.keep("f", 3_000_000)
		v := r.chunk("f", 0)
		down := r.server(v.Where[0])
		r.c.KillChunkserver(down)
		r.must(r.client.Remove(r.ctx, "f"))
		time.Sleep(5 * time.Minute)
		r.c.StartChunkserver(down)
		r.c.Await(4)
		r.reclaimed(before, 5*time.Minute)
	})
}

// §4.5: a replica that has missed mutations, as its chunkserver was down, is never served
// again, not even to who asks that chunkserver itself, and is deleted.
func TestPaperStaleReplicaIsNeverServedAndIsDeleted(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 3}, func(r *rig) {
		f := r.create("f")
		r.write(f, []byte("old"), 0)
		v := r.chunk("f", 0)
		down := r.server(v.Where[1])
		r.c.KillChunkserver(down)
		r.write(f, []byte("new"), 0)
		now := r.chunk("f", 0)
		r.c.StartChunkserver(down)
		reader, err := r.c.Dial(r.ctx, gfs.ClientConfig{Host: hostName(down)}) // it would prefer the stale one
		r.must(err)
		deleted := false
		r.until("the stale replica is replaced", 10*time.Minute, func() bool {
			b, err := reader.ReadFile(r.ctx, "f")
			if err != nil || string(b) != "new" {
				t.Fatalf("read %q, %v", b, err)
			}
			got, held := r.c.Chunkserver(down).Replica(v.Handle)
			deleted = deleted || !held
			if held && got.Version < now.Version {
				if slices.Contains(r.chunk("f", 0).Where, hostName(down)+":1") {
					t.Fatal("the master tells clients of a stale replica")
				}
				_, err := reader.ReadReplica(r.within(time.Second), hostName(down)+":1", v.Handle, now.Version, 0, 3)
				if err == nil || !errors.Is(err, gfs.ErrStale) {
					t.Fatalf("a stale replica was asked for version %d: %v", now.Version, err)
				}
			}
			return held && got.Version >= now.Version && len(r.chunk("f", 0).Where) == 3
		})
		r.consistent("f", 0)
	})
}

// §4.5: if the master meets a higher version than its own it takes that for the chunk's:
// it must have failed while it granted a lease.
func TestPaperMasterAdoptsAHigherVersion(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		r.keep("f", 100_000)
		time.Sleep(3 * time.Minute)
		v := r.chunk("f", 0)
		higher := v.Version + 7
		for i := range r.servers {
			r.must(r.c.Chunkserver(i).RaiseReplica(v.Handle, v.Version, higher))
		}
		r.until("the version is adopted", 5*time.Minute, func() bool {
			now := r.chunk("f", 0)
			return now.Version >= higher && len(now.Where) == 3
		})
		r.check()
		r.c.CrashMaster() // it is in the log
		r.c.StartMaster()
		r.c.Await(3)
		if now := r.chunk("f", 0); now.Version < higher {
			t.Errorf("the master has forgotten version %d: %+v", higher, now)
		}
		r.check()
	})
}

// §2.6.1 and the appendix of the retrospective: owners, permissions and quotas are kept
// with the namespace, and enforced.
func TestPaperPermissionsAndQuotasAreEnforced(t *testing.T) {
	cfg := gfstest.Config{Master: gfs.MasterConfig{Superusers: []string{"root"}, Groups: map[string][]string{"bob": {"staff"}}},
		Client: gfs.ClientConfig{User: "root"}}
	paper(t, cfg, func(r *rig) {
		dial := func(user string) *gfs.Client {
			client, err := r.c.Dial(r.ctx, gfs.ClientConfig{User: user})
			r.must(err)
			return client
		}
		alice, bob, eve := dial("alice"), dial("bob"), dial("eve")
		r.must(r.client.Mkdir(r.ctx, "alice", 0o750))
		r.must(r.client.Chown(r.ctx, "alice", "alice", "staff"))
		r.must(alice.WriteFile(r.ctx, "alice/f", []byte("secret"), 0o640))
		r.must(alice.Chown(r.ctx, "alice/f", "", "staff"))
		if b, err := bob.ReadFile(r.ctx, "alice/f"); err != nil || string(b) != "secret" {
			t.Errorf("one of the group reads %q, %v", b, err)
		}
		denied := func(what string, err error) {
			r.Helper()
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v, want permission denied", what, err)
			}
		}
		_, err := eve.ReadFile(r.ctx, "alice/f")
		denied("a stranger reads", err)
		denied("a stranger removes", eve.Remove(r.ctx, "alice/f"))
		denied("one of the group removes", bob.Remove(r.ctx, "alice/f"))
		denied("one of the group renames", bob.Rename(r.ctx, "alice/f", "alice/g"))
		denied("a stranger changes the mode", eve.Chmod(r.ctx, "alice/f", 0o777))
		denied("a stranger drains", eve.Drain(r.ctx, 1))
		if f, err := bob.OpenFile(r.ctx, "alice/f", gfs.OpenOptions{Write: true}); err == nil {
			_, err = f.WriteAtContext(r.within(5*time.Second), []byte("x"), 0)
			denied("one of the group writes", err)
		} else {
			denied("one of the group opens for writing", err)
		}
		r.must(r.client.SetPolicy(r.ctx, "alice", gfs.Policy{MaxFiles: 3, MaxChunks: 2}))
		f, err := alice.Create(r.ctx, "alice/g")
		r.must(err)
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			t.Error(err)
		}
		if _, err := f.WriteAt([]byte("x"), 1<<20); !errors.Is(err, gfs.ErrQuota) {
			t.Errorf("a chunk too many: %v", err)
		}
		_, err = alice.Create(r.ctx, "alice/h")
		r.must(err)
		if _, err = alice.Create(r.ctx, "alice/i"); !errors.Is(err, gfs.ErrQuota) {
			t.Errorf("a file too many: %v", err)
		}
	})
}
