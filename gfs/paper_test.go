// One test for each promise of sections 2 to 5 of the paper, on whole clusters.
//
//lint:bubble
package gfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/transport"
)

// Table 1 (§2.7.1): a region that is written serially is defined: all replicas have what
// the last writer wrote, all of it.
func TestPaperSerialWriteIsDefined(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 4}, func(r *rig) {
		f := r.create("f")
		second := r.open(r.c.Client(), "f")
		model := make([]byte, 2<<20)
		for i := range 30 {
			w := f
			if i%2 == 1 {
				w = second
			}
			data, off := random(uint64(i), 1+i*7919), i*65_537%1_500_000
			r.write(w, data, int64(off))
			copy(model[off:], data)
		}
		size, err := r.client.Stat(r.ctx, "f")
		r.must(err)
		for index := range uint64(2) {
			got := r.consistent("f", index)
			want := model[index<<20 : min(int64(index+1)<<20, size.Size())]
			if !bytes.Equal(got, want) {
				t.Errorf("chunk %d is not what was written", index)
			}
		}
	})
}

// Table 1 (§2.7.1): a region that is written concurrently is consistent but undefined:
// all replicas have the same, which may be mingled of what the writers wrote, and has
// nothing else.
func TestPaperConcurrentWritesAreConsistentButUndefined(t *testing.T) {
	const writers, size = 4, 2_500_000
	paper(t, gfstest.Config{Chunkservers: 4, Network: transport.NetworkConfig{Latency: transport.Uniform(0, 2*time.Millisecond)}}, func(r *rig) {
		r.create("f")
		mingled := false
		for round := range 5 {
			var wg sync.WaitGroup
			for w := range writers {
				f := r.open(r.c.Client(), "f")
				wg.Go(func() {
					_, err := f.WriteAt(bytes.Repeat([]byte{byte(1 + round*writers + w)}, size), 0)
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			var whole []byte
			for index := range uint64(3) {
				whole = append(whole, r.consistent("f", index)...)
			}
			for _, b := range whole {
				if int(b) <= round*writers || int(b) > (round+1)*writers {
					t.Fatalf("round %d: a byte %d, which nobody wrote", round, b)
				}
				mingled = mingled || b != whole[0]
			}
		}
		if !mingled {
			t.Log("no two writers have been mingled") // allowed, and unlikely
		}
	})
}

// Table 1 and §3.3: records appended, by many at a time, are defined, each at the offset
// that was returned, on all replicas; between them may be padding and what failed.
func TestPaperRecordAppendIsDefinedInterspersedWithInconsistent(t *testing.T) {
	const writers, each = 4, 12
	paper(t, gfstest.Config{Chunkservers: 5}, func(r *rig) {
		r.create("log")
		var mu sync.Mutex
		at := make(map[int64][]byte)
		var wg sync.WaitGroup
		for w := range writers {
			f := r.open(r.c.Client(), "log")
			wg.Go(func() {
				for i := range each {
					record := random(uint64(w*each+i), 50_000+w*1000)
					off, err := f.Append(record)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if at[off] != nil {
						t.Errorf("two records at %d", off)
					}
					at[off] = record
					mu.Unlock()
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		time.Sleep(300 * time.Millisecond)
		dead := r.server(r.chunk("log", 0).Where[0])
		r.c.KillChunkserver(dead) // some will have to be tried again
		wg.Wait()
		if len(at) != writers*each {
			t.Fatalf("%d records were appended", len(at))
		}
		for off, record := range at {
			for _, b := range r.replicas("log", uint64(off>>20)) {
				from := int(off & (1<<20 - 1))
				if len(b) < from+len(record) || !bytes.Equal(b[from:from+len(record)], record) {
					t.Errorf("the record at %d is not on a replica", off)
				}
			}
		}
	})
}

// Table 1 (§2.7.1): a failed mutation leaves its region inconsistent, and no other; a
// retry mends it.
func TestPaperFailedMutationLeavesItsRegionInconsistent(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		f := r.create("f")
		before := random(1, 200_000)
		r.write(f, before, 0)
		v := r.chunk("f", 0)
		var secondary int
		for i := range r.servers {
			if hostName(i)+":1" != v.Primary {
				secondary = i
			}
		}
		r.cut(secondary)
		r.must(r.c.Network().Partition([]string{"master"})) // so that nobody goes on without it
		ctx, cancel := context.WithTimeout(r.ctx, 2*time.Second)
		defer cancel()
		if _, err := f.WriteAtContext(ctx, bytes.Repeat([]byte{1}, 1000), 50_000); err == nil {
			t.Fatal("a write is acknowledged that a member has not got")
		}
		all := make(map[string]int)
		for i := range r.servers {
			b, err := r.c.Chunkserver(i).Content(v.Handle)
			r.must(err)
			all[string(b[50_000:51_000])]++
			if !bytes.Equal(b[:50_000], before[:50_000]) || !bytes.Equal(b[51_000:], before[51_000:]) {
				t.Error("bytes beside the region have changed")
			}
		}
		if len(all) != 2 {
			t.Errorf("%d contents of the region, want the old one and the new one", len(all))
		}
		r.c.Network().Heal()
		r.write(f, bytes.Repeat([]byte{2}, 1000), 50_000)
		r.until("three replicas", 5*time.Minute, func() bool { return len(r.chunk("f", 0).Where) == 3 })
		if b := r.consistent("f", 0); !bytes.Equal(b[50_000:51_000], bytes.Repeat([]byte{2}, 1000)) {
			t.Error("the retry is not there")
		}
	})
}

// §2.7.1: a client may read stale data from a replica that has missed mutations, until
// what it remembers of the chunk is too old; not after it opens the file anew. This is
// the window that remains.
func TestPaperStaleReadsAreBoundedByTheCache(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 3}, func(r *rig) {
		f := r.create("f")
		r.write(f, []byte("old"), 0)
		v := r.chunk("f", 0)
		lost := 0
		for hostName(lost)+":1" == v.Primary {
			lost++
		}
		const window = 30 * time.Second
		reader, err := r.c.Dial(r.ctx, gfs.ClientConfig{Host: hostName(lost), CacheTime: window})
		r.must(err)
		read := func(f *gfs.File) string {
			b := make([]byte, 3)
			_, err := f.ReadAt(b, 0)
			r.must(err)
			return string(b)
		}
		g, err := reader.Open(r.ctx, "f")
		r.must(err)
		if got := read(g); got != "old" {
			t.Fatalf("read %q", got)
		}
		asked := time.Now()
		r.cut(lost, "client2")       // which is the reader
		r.write(f, []byte("new"), 0) // without the one that is cut off
		stale := 0
		for time.Since(asked) < window {
			if read(g) == "old" {
				stale++
			}
			time.Sleep(time.Second)
		}
		if stale == 0 {
			t.Error("no stale read was seen: the window that the doc speaks of is not there")
		}
		time.Sleep(time.Second)
		if got := read(g); got != "new" {
			t.Errorf("read %q after the window", got)
		}
		again, err := reader.Open(r.ctx, "f")
		r.must(err)
		if got := read(again); got != "new" {
			t.Errorf("read %q from the file opened anew", got)
		}
	})
}

// §2.7.1: to open a file anew forgets what was known of its chunks.
func TestPaperReopeningSeesWhatIsNew(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 3}, func(r *rig) {
		f := r.create("f")
		r.write(f, []byte("old"), 0)
		v := r.chunk("f", 0)
		lost := 0
		for hostName(lost)+":1" == v.Primary {
			lost++
		}
		reader, err := r.c.Dial(r.ctx, gfs.ClientConfig{Host: hostName(lost), CacheTime: time.Hour})
		r.must(err)
		b, err := reader.ReadFile(r.ctx, "f")
		if err != nil || string(b) != "old" {
			t.Fatalf("read %q, %v", b, err)
		}
		r.cut(lost, "client2")
		r.write(f, []byte("new"), 0)
		if b, err = reader.ReadFile(r.ctx, "f"); err != nil || string(b) != "new" {
			t.Errorf("read %q, %v", b, err)
		}
	})
}

// §2.3, §2.4, §2.7.1: clients ask the master once for many chunks, and after that read
// and write without it.
func TestPaperSteadyReadingAndWritingSendsTheMasterNothing(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 4}, func(r *rig) {
		r.keep("big", 20<<20)
		reader, err := r.c.Dial(r.ctx, gfs.ClientConfig{CacheTime: time.Hour})
		r.must(err)
		f, err := reader.Open(r.ctx, "big")
		r.must(err)
		buf := make([]byte, 1<<20)
		if _, err := f.ReadAt(buf, 0); err != nil {
			t.Fatal(err)
		}
		before := reader.Stats()
		for i := range 200 {
			_, err := f.ReadAt(buf[:1000], int64(i%20)<<20)
			r.must(err)
		}
		if after := reader.Stats(); after.MasterCalls-before.MasterCalls > 1 {
			t.Errorf("200 reads of 20 chunks called the master %d times", after.MasterCalls-before.MasterCalls)
		}
		w := r.create("steady")
		r.write(w, buf, 0)
		before = r.client.Stats()
		for i := range 100 {
			r.write(w, buf[:10_000], int64(i)*10_000)
			time.Sleep(3 * time.Second) // for many leases
		}
		if after := r.client.Stats(); after.MasterCalls != before.MasterCalls {
			t.Errorf("100 writes called the master %d times", after.MasterCalls-before.MasterCalls)
		}
	})
}

// §3.1: a lease lasts 60 s; without mutations it ends.
func TestPaperLeaseLastsSixtySeconds(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		f := r.create("f")
		r.write(f, []byte("x"), 0)
		v := r.chunk("f", 0)
		time.Sleep(50 * time.Second)
		if got := r.chunk("f", 0).Primary; got != v.Primary || got == "" {
			t.Errorf("after 50 s the primary is %q, want %q", got, v.Primary)
		}
		time.Sleep(75 * time.Second) // the mutation may have been in the last heartbeat
		after := r.chunk("f", 0)
		if after.Primary != "" || after.Version != v.Version {
			t.Errorf("after 125 s: %+v", after)
		}
		r.write(f, []byte("y"), 1)
		if again := r.chunk("f", 0); again.Version <= v.Version || again.Primary == "" {
			t.Errorf("the next write is under %+v", again)
		}
	})
}

// §3.1: as long as mutations go on, the lease is extended with the heartbeats, and the
// primary stays.
func TestPaperLeaseIsExtendedWhileMutationsGoOn(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		f := r.create("f")
		r.write(f, []byte("x"), 0)
		v := r.chunk("f", 0)
		for i := range 30 {
			time.Sleep(20 * time.Second)
			r.write(f, []byte("y"), int64(i))
		}
		if after := r.chunk("f", 0); after.Version != v.Version || after.Primary != v.Primary {
			t.Errorf("after ten minutes %+v, before %+v", after, v)
		}
		if n := r.client.Stats().Grants; n != 1 {
			t.Errorf("%d grants were asked for", n)
		}
	})
}

// §3.1, §3.4: the master can revoke a lease before it is over: no write is under it after
// a snapshot.
func TestPaperLeaseIsRevokedForASnapshot(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		f := r.create("f")
		r.write(f, []byte("before"), 0)
		v := r.chunk("f", 0)
		r.must(r.client.Snapshot(r.ctx, "f", "s"))
		if after := r.chunk("f", 0); after.Primary != "" || after.Refs != 2 || after.Handle != v.Handle {
			t.Errorf("after the snapshot: %+v", after)
		}
		r.write(f, []byte("after!"), 0)
		if after := r.chunk("f", 0); after.Handle == v.Handle || r.chunk("s", 0).Handle != v.Handle {
			t.Errorf("the write went to %+v", after)
		}
		if b, err := r.client.ReadFile(r.ctx, "s"); err != nil || string(b) != "before" {
			t.Errorf("the snapshot has %q, %v", b, err)
		}
	})
}

// §4.5: before a client is told of a lease, the version has been raised by the master and
// on all replicas, durably.
func TestPaperVersionIsRaisedBeforeAClientIsTold(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		f := r.create("f")
		r.write(f, []byte("x"), 0)
		for range 3 {
			v := r.chunk("f", 0)
			time.Sleep(3 * time.Minute) // the lease is over
			r.must(r.c.Network().Hold("master", ownHost))
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := f.WriteAt([]byte("y"), 0); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(5 * time.Second) // the answer is on its way, and the client has not got it
			told := r.chunk("f", 0)
			if told.Version <= v.Version {
				t.Fatalf("no grant has been made: %+v", told)
			}
			r.c.CrashMaster()
			for i := range r.servers {
				r.c.CrashChunkserver(i)
			}
			for i := range r.servers {
				r.c.StartChunkserver(i)
			}
			r.c.StartMaster()
			r.c.Await(r.servers)
			if after := r.chunk("f", 0); after.Version < told.Version {
				t.Errorf("the master had granted version %d, and knows %d after a power failure", told.Version, after.Version)
			}
			for i := range r.servers {
				if got, ok := r.c.Chunkserver(i).Replica(v.Handle); !ok || got.Version < told.Version {
					t.Errorf("chunkserver %d has %+v after a power failure, granted was version %d", i, got, told.Version)
				}
			}
			r.c.Network().Heal()
			wg.Wait()
		}
	})
}

// §3.2: data is pushed along a chain of chunkservers: each machine sends it once.
func TestPaperDataFlowsAlongAChain(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 4}, func(r *rig) {
		const n = 8 << 20
		f := r.create("f")
		r.write(f, random(1, n), 0)
		most := func(from string, bytes uint64) {
			if sent := r.sent(from, "chunk"); sent > bytes+bytes/10 {
				t.Errorf("%s has sent %d bytes to chunkservers, want %d at most", from, sent, bytes)
			}
		}
		most(ownHost, n)
		total := r.sent(ownHost, "chunk")
		for i := range r.servers {
			most(hostName(i), n)
			total += r.sent(hostName(i), "chunk")
		}
		if total < 3*n {
			t.Errorf("%d bytes were sent in all, want three times %d", total, n)
		}
	})
}

// §3.2: each chunkserver forwards while it receives: the ideal time to bring B bytes to R
// replicas is B/T + R·L.
func TestPaperDataIsForwardedWhileItArrives(t *testing.T) {
	const bandwidth, n, latency = 10_000_000, 1_000_000, 2 * time.Millisecond
	shape := transport.NetworkConfig{Bandwidth: bandwidth, Latency: transport.Constant(latency)}
	paper(t, gfstest.Config{Network: shape}, func(r *rig) {
		f := r.create("f")
		data := random(1, n)
		r.write(f, data, 0) // which makes the chunk and the connections
		began := time.Now()
		r.write(f, data, 0)
		took := time.Since(began)
		ideal := time.Second * n / bandwidth
		if took < ideal {
			t.Fatalf("%v: faster than the network", took)
		}
		// Control goes to the primary and on to the secondaries: four more ways.
		if limit := ideal + 3*latency + 6*latency + ideal/3; took > limit {
			t.Errorf("%d bytes took %v, want %v at most", n, took, limit)
		}
	})
}

// §3.3: a record that does not fit is appended to the next chunk, and the primary pads the
// rest of the chunk on all replicas.
func TestPaperRecordAppendPadsTheChunk(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		f := r.create("f")
		const n = 200_000
		for i := range 6 {
			off, err := f.Append(random(uint64(i), n))
			r.must(err)
			want := int64(i) * n
			if i == 5 {
				want = 1 << 20
			}
			if off != want {
				t.Errorf("record %d is at %d, want %d", i, off, want)
			}
		}
		b := r.consistent("f", 0)
		if len(b) != 1<<20 || !bytes.Equal(b[5*n:], make([]byte, 1<<20-5*n)) {
			t.Errorf("the chunk of %d bytes is not padded with zeros", len(b))
		}
		if b = r.consistent("f", 1); !bytes.Equal(b, random(5, n)) {
			t.Error("the record that did not fit is not in the next chunk")
		}
	})
}

// §3.3: a record is at most a quarter of a chunk.
func TestPaperRecordIsAQuarterOfAChunkAtMost(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		f := r.create("f")
		if _, err := f.Append(make([]byte, 1<<18+1)); !errors.Is(err, gfs.ErrTooLarge) {
			t.Errorf("a record too large: %v", err)
		}
		if _, err := f.Append(make([]byte, 1<<18)); err != nil {
			t.Errorf("the largest record: %v", err)
		}
	})
}

// §3.3: a record is appended at least once, at one offset on all replicas, although
// replicas fail meanwhile.
func TestPaperRecordIsAppendedAtLeastOnceAtOneOffset(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 6}, func(r *rig) {
		f := r.create("log")
		var offs []int64
		for i := range 40 {
			if i%10 == 5 {
				v := r.chunk("log", uint64(len(offs)*60_000>>20))
				dead := r.server(v.Where[i/10%len(v.Where)])
				r.c.KillChunkserver(dead)
			}
			off, err := f.Append(random(uint64(i), 60_000))
			r.must(err)
			offs = append(offs, off)
			for j := range r.servers {
				if r.c.Chunkserver(j) == nil {
					r.c.StartChunkserver(j)
				}
			}
		}
		for i, off := range offs {
			for _, b := range r.replicas("log", uint64(off>>20)) {
				from := int(off & (1<<20 - 1))
				if len(b) < from+60_000 || !bytes.Equal(b[from:from+60_000], random(uint64(i), 60_000)) {
					t.Errorf("record %d is not at %d on a replica", i, off)
				}
			}
		}
	})
}

// §3.4: a snapshot keeps what was there; a chunk is copied when it is next written to, on
// the chunkservers that have it, not over the network.
func TestPaperSnapshotCopiesOnWriteOnTheSameServers(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 6}, func(r *rig) {
		r.keep("tree/a", 2_500_000)
		r.keep("tree/b", 900_000)
		used := r.stored()
		r.must(r.client.Snapshot(r.ctx, "tree", "copy"))
		if n := r.stored(); n > used+10_000 {
			t.Errorf("the snapshot takes %d bytes", n-used)
		}
		for i := range uint64(3) {
			if a, b := r.chunk("tree/a", i), r.chunk("copy/a", i); a.Handle != b.Handle || a.Refs != 2 {
				t.Errorf("chunk %d is not shared: %+v, %+v", i, a, b)
			}
		}
		before := r.chunk("tree/a", 1)
		var traffic uint64
		for i := range r.servers {
			traffic += r.sent(hostName(i), "chunk")
		}
		f := r.open(r.client, "tree/a")
		r.write(f, []byte("after"), 1<<20+10)
		r.files["copy/a"], r.files["copy/b"] = bytes.Clone(r.files["tree/a"]), r.files["tree/b"]
		copy(r.files["tree/a"][1<<20+10:], "after")
		after := r.chunk("tree/a", 1)
		if after.Handle == before.Handle || r.chunk("copy/a", 1).Handle != before.Handle {
			t.Errorf("chunk 1 was not copied: %+v", after)
		}
		if fmt.Sprint(after.Where) != fmt.Sprint(before.Where) {
			t.Errorf("the copy is on %v, the chunk on %v", after.Where, before.Where)
		}
		var more uint64
		for i := range r.servers {
			more += r.sent(hostName(i), "chunk")
		}
		if more-traffic > 20_000 {
			t.Errorf("%d bytes went between chunkservers for a local copy", more-traffic)
		}
		for _, i := range []uint64{0, 2} {
			if r.chunk("tree/a", i).Handle != r.chunk("copy/a", i).Handle {
				t.Errorf("chunk %d was copied, and not written to", i)
			}
		}
		r.check()
	})
}
