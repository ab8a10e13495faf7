// All of these run in bubbles.
//
//lint:bubble
package gfs

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// TestChunkserverReforms: a secondary fails in the middle of writes; what is in progress
// is completed by those that are left, at a new version, and nobody else notices.
func TestChunkserverReforms(t *testing.T) {
	for name, fail := range map[string]func(r *chunkRig){
		"killed": func(r *chunkRig) { r.net.Host("s2").Crash(transport.CrashReset) },
		"partitioned": func(r *chunkRig) {
			storeMust(r.t, r.net.Partition([]string{"s2"}, []string{"s1", "s3", "client", "master"}))
		},
		"disk full": func(r *chunkRig) { r.disks[1].SetCapacity(4096) },
	} {
		t.Run(name, func(t *testing.T) {
			inChunkRig(t, 3, func(r *chunkRig) {
				t := r.t
				r.master.make(1, r.at...)
				c := r.open(r.at...)
				defer c.close()
				rng := rand.New(rand.NewPCG(3, 0))
				model := randomBytes(rng, blockSize)
				storeMust(t, r.write(c, 1, 1, 0, model))
				fail(r)
				var group sync.WaitGroup
				parts := make([][]byte, 6)
				for i := range parts {
					parts[i] = randomBytes(rng, 30000)
					id := dataID{client: 5, n: uint64(i)}
					off := int64(blockSize + i*20000) // each over the end of the one before
					if err := c.pushAt(context.Background(), id, parts[i], off); err != nil {
						t.Logf("push: %v", err) // the rest goes to the members before the break
						c.close()
						c = r.open(r.at[0])
						storeMust(t, c.pushAt(context.Background(), id, parts[i], off))
					}
					group.Go(func() {
						_, err := rigCall[writeResp](r, r.at[0], methodWrite, &writeReq{handle: 1, version: 1, data: id, off: off, n: 30000})
						if err != nil && !errors.Is(err, ErrStale) { // one that came after the new grant
							t.Errorf("write %d: %v", i, err)
						}
					})
					time.Sleep(time.Millisecond)
				}
				group.Wait()
				k := r.master.chunk(1)
				if k.version != 2 || len(k.members) != 2 || k.members[1].id != r.at[2].id {
					t.Fatalf("the grant is %+v", k)
				}
				first, err := r.read(k.members[0], 1, 2)
				storeMust(t, err)
				if !bytes.HasPrefix(first, model) {
					t.Error("what was written before has changed")
				}
				r.wantAll(1, first)
				c2 := r.open(k.members...)
				defer c2.close()
				storeMust(t, r.write(c2, 1, 2, 0, parts[0]))
				r.wantAll(1, append(bytes.Clone(parts[0]), first[len(parts[0]):]...))
				storeWant(t, r.write(c2, 1, 1, 0, parts[0]), ErrStale)
			})
		})
	}
}

// TestChunkserverTakesBackNothing: a write is under way when another server becomes the
// primary. The client writes there again, and then something newer to the same place;
// when the first server gets the lease back, the old write must not follow.
func TestChunkserverTakesBackNothing(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		storeMust(t, r.write(c, 1, 1, 0, []byte("before")))
		c.close()
		r.master.mu.Lock()
		r.master.deaf = true
		r.master.mu.Unlock()
		r.net.Host("s3").Crash(transport.CrashReset)
		first := make(chan error, 1)
		go func() {
			c := r.open(r.at[0])
			defer c.close()
			first <- r.write(c, 1, 1, 0, []byte("old"))
		}()
		r.settle()
		r.settle()
		for v, members := range [][]location{{r.at[1], r.at[0]}, {r.at[0], r.at[1]}} {
			storeMust(t, r.master.grant(1, version(v+1), members))
			c := r.open(members...)
			if v == 0 {
				storeMust(t, r.write(c, 1, 2, 0, []byte("old")))
				storeMust(t, r.write(c, 1, 2, 0, []byte("new")))
			}
			c.close()
		}
		r.settle()
		r.wantAll(1, []byte("newore"))
		storeWant(t, <-first, ErrStale)
	})
}

// TestChunkserverResendsLostData: a secondary that has lost the pushed data gets it from
// the primary.
func TestChunkserverResendsLostData(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		c := r.open(r.at[0]) // the others never get it
		defer c.close()
		p := randomBytes(rand.New(rand.NewPCG(4, 0)), 100000)
		storeMust(t, r.write(c, 1, 1, 77, p))
		r.wantAll(1, append(make([]byte, 77), p...))
		r.master.mu.Lock()
		reforms := r.master.reforms
		r.master.mu.Unlock()
		if reforms != 0 {
			t.Errorf("%d new grants", reforms)
		}
		// Data that nobody has: the client is told, and nothing is ordered.
		_, err := rigCall[writeResp](r, r.at[0], methodWrite, &writeReq{handle: 1, version: 1, data: r.id(), n: 5})
		storeWant(t, err, errNoData)
		storeMust(t, r.write(c, 1, 1, 0, p[:10]))
	})
}

// TestChunkserverDuplicates: a mutation that comes again is answered again, and applied
// once.
func TestChunkserverDuplicates(t *testing.T) {
	inChunkRig(t, 2, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		defer c.close()
		storeMust(t, r.write(c, 1, 1, 0, []byte("first")))
		storeMust(t, r.write(c, 1, 1, 0, []byte("FIRST")))
		for _, serial := range []uint64{1, 2, 1} {
			resp, err := rigCall[applyResp](r, r.at[1], methodApply, &applyReq{
				handle: 1, version: 1, serial: serial, kind: mutationResend, n: 5, resent: []byte("other"),
			})
			storeMust(t, err)
			if resp.applied != 2 {
				t.Errorf("applied %d", resp.applied)
			}
		}
		r.wantAll(1, []byte("FIRST"))
		// One from the future waits, and is told of the gap.
		_, err := rigCall[applyResp](r, r.at[1], methodApply, &applyReq{
			handle: 1, version: 1, serial: 4, kind: mutationResend, n: 5, resent: []byte("other"),
		})
		storeWant(t, err, errGap)
		_, err = rigCall[applyResp](r, r.at[0], methodApply, &applyReq{
			handle: 1, version: 1, serial: 1, kind: mutationResend, n: 5, resent: []byte("other"),
		})
		storeWant(t, err, ErrStale) // at the primary
		r.wantAll(1, []byte("FIRST"))
	})
}

// TestChunkserverRevoke: mutations in progress end, and no others begin (§3.4).
func TestChunkserverRevoke(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		defer c.close()
		p := make([]byte, 50000)
		storeMust(t, r.write(c, 1, 1, 0, p))
		storeMust(t, r.net.SetLink("s1", "s2", transport.Link{Latency: transport.Constant(50 * time.Millisecond)}))
		id := r.id()
		storeMust(t, c.push(context.Background(), id, p))
		storeMust(t, c.wait(context.Background(), id))
		failed := make(chan error, 1)
		go func() {
			_, err := rigCall[writeResp](r, r.at[0], methodWrite, &writeReq{handle: 1, version: 1, data: id, off: 50000, n: 50000})
			failed <- err
		}()
		time.Sleep(20 * time.Millisecond)
		_, err := masterOrder[rpc.Empty](r.master, r.at[0], methodRevoke, &revokeReq{order: r.master.order(r.at[0]), handle: 1, version: 1})
		storeMust(t, err)
		storeMust(t, <-failed)
		storeWant(t, r.write(c, 1, 1, 0, p), ErrStale)
		r.wantAll(1, make([]byte, 100000))
		r.master.again(1)
		storeMust(t, r.write(c, 1, 2, 0, []byte("again")))
	})
}

// TestChunkserverLeaseEnds: without extension the lease is over after its time; with
// mutations it goes on.
func TestChunkserverLeaseEnds(t *testing.T) {
	inChunkRig(t, 2, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		defer c.close()
		for range 10 { // a lease of a minute, kept for five
			storeMust(t, r.write(c, 1, 1, 0, []byte("x")))
			time.Sleep(30 * time.Second)
		}
		r.master.mu.Lock()
		extends := r.master.extends
		r.master.mu.Unlock()
		if extends == 0 {
			t.Error("no extension")
		}
		time.Sleep(2 * time.Minute)
		storeWant(t, r.write(c, 1, 1, 0, []byte("y")), ErrStale)
		for i := range r.servers { // and what rests is clean
			after := openTestStore(t, r.disks[i].CrashImage(1), 9)
			wantContent(t, after, 1, 1, []byte("x"))
		}
	})
}

// TestChunkserverObeysTheNewestMaster.
func TestChunkserverObeysTheNewestMaster(t *testing.T) {
	inChunkRig(t, 1, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		old := r.master.order(r.at[0])
		r.master.mu.Lock()
		r.master.epoch = 2
		r.master.mu.Unlock()
		r.settle()
		_, err := masterOrder[raiseResp](r.master, r.at[0], methodRaise, &raiseReq{order: old, handle: 1, from: 1, to: 2})
		storeWant(t, err, errOldEpoch)
		wrong := r.master.order(r.at[0])
		wrong.boot++
		_, err = masterOrder[raiseResp](r.master, r.at[0], methodRaise, &raiseReq{order: wrong, handle: 1, from: 1, to: 2})
		storeWant(t, err, errUnregistered)
		r.master.mu.Lock()
		r.master.epoch, r.master.doomed = 1, []doomed{{1, 1}} // the old one, again
		r.master.mu.Unlock()
		r.settle()
		if st := r.servers[0].store.state(1); st.health != sound {
			t.Fatalf("an old master has had it deleted: %+v", st)
		}
		r.master.mu.Lock()
		r.master.epoch, r.master.doomed = 3, []doomed{{1, 2}}
		r.master.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if st := r.servers[0].store.state(1); st.health != sound {
			t.Fatalf("deleted at another version: %+v", st)
		}
		r.master.mu.Lock()
		r.master.doomed = []doomed{{1, 1}}
		r.master.mu.Unlock()
		r.settle()
		if st := r.master.state(1, 1); st.health != gone {
			t.Fatalf("not deleted: %+v", st)
		}
	})
}

func (r *chunkRig) clone(to location, h handle, v version, rate int64, from ...location) {
	r.t.Helper()
	_, err := masterOrder[rpc.Empty](r.master, to, methodClone, &cloneReq{order: r.master.order(to), handle: h, version: v, from: from, rate: rate})
	storeMust(r.t, err)
}

func TestChunkserverClones(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		rng := rand.New(rand.NewPCG(5, 0))
		model := randomBytes(rng, 5*blockSize+77)
		r.master.make(1, r.at[0], r.at[1])
		c := r.open(r.at[0], r.at[1])
		defer c.close()
		storeMust(t, r.write(c, 1, 1, 0, model))
		began := time.Now()
		r.clone(r.at[2], 1, 1, int64(len(model)), r.at[0]) // about a second
		time.Sleep(500 * time.Millisecond)
		if st := r.servers[2].store.state(1); st.health != gone {
			t.Fatalf("half a clone counts: %+v", st)
		}
		for r.master.state(3, 1).length == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took < 900*time.Millisecond || took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		got, err := r.read(r.at[2], 1, 1)
		storeMust(t, err)
		if !bytes.Equal(got, model) {
			t.Error("the clone has other bytes")
		}

		// A source that is mutated meanwhile is not copied; nor one at another version; the
		// next is tried, and what is left of the attempt is gone.
		r.master.make(2, r.at[0])
		c2 := r.open(r.at[0])
		defer c2.close()
		big := randomBytes(rng, 8*blockSize)
		storeMust(t, r.write(c2, 2, 1, 0, big))
		r.clone(r.at[1], 2, 1, int64(len(big))/2, r.at[2], r.at[0])
		time.Sleep(500 * time.Millisecond)
		storeMust(t, r.write(c2, 2, 1, 5, []byte("changed")))
		time.Sleep(5 * time.Second)
		if st := r.servers[1].store.state(2); st.health != gone {
			t.Errorf("a clone of what changed: %+v", st)
		}
		r.clone(r.at[1], 2, 3, 0, r.at[0])
		r.settle()
		if st := r.servers[1].store.state(2); st.health != gone {
			t.Errorf("a clone of another version: %+v", st)
		}
		for _, s := range r.servers {
			if st := s.Status(); st.Cloning != 0 {
				t.Errorf("%+v", st)
			}
		}
	})
}

// TestChunkserverCloneOfRot: a source whose blocks do not match is not copied, its damage
// is reported, and the next source is.
func TestChunkserverCloneOfRot(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		model := randomBytes(rand.New(rand.NewPCG(6, 0)), 3*blockSize)
		r.master.make(1, r.at[0], r.at[1])
		c := r.open(r.at[0], r.at[1])
		defer c.close()
		storeMust(t, r.write(c, 1, 1, 0, model))
		r.rot(0, 1, 2*blockSize+9)
		r.clone(r.at[2], 1, 1, 0, r.at[0], r.at[1])
		r.settle()
		got, err := r.read(r.at[2], 1, 1)
		storeMust(t, err)
		if !bytes.Equal(got, model) {
			t.Error("the clone has other bytes")
		}
		if st := r.master.state(1, 1); st.health != corrupt {
			t.Errorf("the damage was not reported: %+v", st)
		}
		// It is made whole by a clone onto the same server.
		r.clone(r.at[0], 1, 1, 0, r.at[2])
		r.settle()
		got, err = r.read(r.at[0], 1, 1)
		storeMust(t, err)
		if st := r.master.state(1, 1); st.health != sound || !bytes.Equal(got, model) {
			t.Errorf("not repaired: %+v", st)
		}
	})
}

// rot flips a bit of a replica on a disk.
func (r *chunkRig) rot(i int, h handle, at int64) {
	r.t.Helper()
	f, err := r.disks[i].OpenFile(chunkFile("disk", h)+dataSuffix, 2)
	storeMust(r.t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	storeMust(r.t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 0x10}, at)
	storeMust(r.t, err)
	storeMust(r.t, f.Close())
}

func TestChunkserverForks(t *testing.T) {
	inChunkRig(t, 2, func(r *chunkRig) {
		t := r.t
		model := randomBytes(rand.New(rand.NewPCG(7, 0)), 2*blockSize+5)
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		defer c.close()
		storeMust(t, r.write(c, 1, 1, 0, model))
		for i, l := range r.at {
			for range 2 { // the answer may be lost
				resp, err := masterOrder[raiseResp](r.master, l, methodFork, &forkReq{order: r.master.order(l), from: 1, fromVersion: 1, to: 2, toVersion: 1})
				storeMust(t, err)
				if resp.length != int64(len(model)) {
					t.Errorf("a copy of %d bytes", resp.length)
				}
			}
			after := openTestStore(t, r.disks[i].CrashImage(1), 9)
			storeMust(t, after.accept(2, 1, 0, func(int) []byte { return nil }))
			wantContent(t, after, 2, 1, model)
		}
		_, err := masterOrder[raiseResp](r.master, r.at[0], methodFork, &forkReq{order: r.master.order(r.at[0]), from: 1, fromVersion: 4, to: 3, toVersion: 1})
		storeWant(t, err, ErrStale)
		r.master.mu.Lock()
		r.master.chunks[2] = &testChunk{version: 1, members: r.at}
		r.master.mu.Unlock()
		r.master.again(2)
		storeMust(t, r.write(c, 2, 2, 0, []byte("copy on write")))
		r.wantAll(1, model)
		r.wantAll(2, append([]byte("copy on write"), model[13:]...))
	})
}

// TestChunkserverSuspects: after an unclean stop a replica serves nothing before it has
// been compared; torn blocks are taken from whoever has them whole.
func TestChunkserverSuspects(t *testing.T) {
	inChunkRig(t, 2, func(r *chunkRig) {
		t := r.t
		model := randomBytes(rand.New(rand.NewPCG(8, 0)), 3*blockSize)
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		defer c.close()
		storeMust(t, r.write(c, 1, 1, 0, model))
		_, err := rigCall[writeResp](r, r.at[0], methodSync, &replicaReq{handle: 1, version: 1})
		storeMust(t, err)

		r.disks[1] = r.disks[1].CrashImage(3)
		r.fs[1] = r.disks[1]
		r.rot(1, 1, blockSize+5) // as if a write had been torn
		storeMust(t, r.servers[1].Close())
		r.start(1, nil)
		if st := r.master.state(2, 1); st.health != suspect || st.length != int64(len(model)) {
			t.Fatalf("reported as %+v", st)
		}
		_, err = r.read(r.at[1], 1, 1)
		storeWant(t, err, errSuspect)
		digest := func(l location) *digestResp {
			d, err := masterOrder[digestResp](r.master, l, methodDigest, &digestReq{order: r.master.order(l), handle: 1})
			storeMust(t, err)
			return d
		}
		a, b := digest(r.at[0]), digest(r.at[1])
		if len(a.bad) != 0 || len(b.bad) != 1 || b.bad[0] != 1 || a.sum == b.sum || b.health != suspect {
			t.Fatalf("digests %+v and %+v", a, b)
		}
		_, err = masterOrder[rpc.Empty](r.master, r.at[1], methodAccept, &acceptReq{
			order: r.master.order(r.at[1]), handle: 1, version: 1, others: []location{r.at[0]},
		})
		storeMust(t, err)
		r.settle()
		if b = digest(r.at[1]); b.sum != a.sum || b.health != sound || r.master.state(2, 1).health != sound {
			t.Errorf("accepted as %+v", b)
		}
		r.wantAll(1, model)
	})
}

// TestChunkserverScrubs: rot in what nobody reads is found and reported (§5.2).
func TestChunkserverScrubs(t *testing.T) {
	hourly := func(_ int, cfg *ChunkserverConfig) { cfg.ScrubInterval = time.Hour }
	inChunkRigWith(t, 1, hourly, func(r *chunkRig) {
		t := r.t
		c := r.open(r.at...)
		defer c.close()
		for h := handle(1); h <= 3; h++ {
			r.master.make(h, r.at...)
			storeMust(t, r.write(c, h, 1, 0, make([]byte, 2*blockSize)))
		}
		time.Sleep(5 * time.Minute)
		r.rot(0, 2, blockSize)
		time.Sleep(2 * time.Hour)
		for h := handle(1); h <= 3; h++ {
			want := sound
			if h == 2 {
				want = corrupt
			}
			if st := r.master.state(1, h); st.health != want {
				t.Errorf("%+v", st)
			}
		}
		if st := r.servers[0].Status(); st.Scrubbed < 3 || st.Rotten != 1 || st.Corrupt != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestChunkserverHostile: what makes no sense is refused, and costs nobody else anything.
func TestChunkserverHostile(t *testing.T) {
	inChunkRig(t, 2, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		defer c.close()
		storeMust(t, r.write(c, 1, 1, 0, []byte("data")))
		bad := []error{}
		call := func(_ any, err error) { bad = append(bad, err) }
		id := r.id()
		storeMust(t, c.push(context.Background(), id, []byte("12345")))
		for _, w := range []writeReq{
			{off: -1, n: 5}, {off: rigChunkSize - 4, n: 5}, {off: 1<<63 - 3, n: 5}, {off: 0, n: 6}, {off: 0, n: 0}, {off: 0, n: -5},
		} {
			w.handle, w.version, w.data = 1, 1, id
			_, err := rigCall[writeResp](r, r.at[0], methodWrite, &w)
			call(nil, err)
		}
		for _, n := range []int64{0, -1, 1 << 62} {
			_, err := rigCall[appendResp](r, r.at[0], methodAppend, &appendReq{handle: 1, version: 1, data: id, n: n})
			call(nil, err)
		}
		for _, a := range []applyReq{
			{serial: 2, kind: 99}, {serial: 1 << 63, kind: mutationSync}, {serial: 0, kind: mutationSync},
			{serial: 2, kind: mutationResend, off: -5, n: 1, resent: []byte("x")}, {serial: 2, kind: mutationResend, n: 7, resent: []byte("x")},
		} {
			a.handle, a.version = 1, 1
			_, err := rigCall[applyResp](r, r.at[1], methodApply, &a)
			if a.serial != 0 { // nothing to do is done
				call(nil, err)
			}
		}
		for _, q := range []readReq{{off: -1, n: 1}, {off: 0, n: -1}, {off: 0, n: 1 << 60}} {
			q.handle, q.version = 1, 1
			_, err := rigCall[readResp](r, r.at[0], methodRead, &q)
			call(nil, err)
		}
		_, err := rigCall[blocksResp](r, r.at[0], methodBlocks, &blocksReq{handle: 1, first: 1 << 62, count: 1 << 62})
		call(nil, err)
		for i, err := range bad {
			if rpc.OutcomeOf(err) != rpc.Executed || err == nil || errors.Is(err, rpc.ErrPanic) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		good := (&pushFrame{id: r.id(), n: 3, sums: []uint32{1}}).append(nil)
		flipped := bytes.Clone(good)
		flipped[pushHead] ^= 1
		for i, frame := range [][]byte{
			[]byte("GET / HTTP/1.1\r\nHost: gfs\r\n\r\n"), make([]byte, pushHead), flipped,
			append(good, "abc"...), // the sum of other bytes
			(&pushFrame{id: r.id(), n: minBufferBytes, sums: make([]uint32, 64)}).append(nil),
		} {
			st, err := rpc.OpenStream(context.Background(), r.conn(r.at[0].addr), methodPush, &pushReq{rest: r.at[1:]})
			storeMust(t, err)
			_, _ = st.Write(frame)
			st.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := st.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("frame %d: %v", i, err)
			}
			st.Close()
		}
		r.wantAll(1, []byte("data"))
		storeMust(t, r.write(c, 1, 1, 4, []byte("more")))
		r.wantAll(1, []byte("datamore"))
		r.settle()
		for i, s := range r.servers {
			s.buffer.mu.Lock()
			if s.buffer.hopes != 0 {
				t.Errorf("server %d hopes for %d data", i+1, s.buffer.hopes)
			}
			s.buffer.mu.Unlock()
		}
	})
}

func TestChunkserverConfig(t *testing.T) {
	good := ChunkserverConfig{Transport: transport.TCP{}, Addr: "127.0.0.1:0", Dir: "d", FS: vfs.NewMemory(1), Masters: []string{"127.0.0.1:1"}}
	for field, change := range map[string]func(c *ChunkserverConfig){
		"Transport":   func(c *ChunkserverConfig) { c.Transport = nil },
		"Addr":        func(c *ChunkserverConfig) { c.Addr = "" },
		"Dir":         func(c *ChunkserverConfig) { c.Dir = "" },
		"Masters":     func(c *ChunkserverConfig) { c.Masters = nil },
		"Capacity":    func(c *ChunkserverConfig) { c.Capacity = -1 },
		"BufferBytes": func(c *ChunkserverConfig) { c.BufferBytes = 1 },
		"ScrubRate":   func(c *ChunkserverConfig) { c.ScrubRate = -1 },
	} {
		cfg := good
		change(&cfg)
		_, err := StartChunkserver(context.Background(), cfg)
		if !errors.Is(err, ErrConfig) || !bytes.Contains([]byte(err.Error()), []byte("ChunkserverConfig."+field)) {
			t.Errorf("%s: %v", field, err)
		}
	}
	s, err := StartChunkserver(context.Background(), good)
	storeMust(t, err)
	if _, err := StartChunkserver(context.Background(), good); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("twice on one directory: %v", err)
	}
	storeMust(t, s.Close())
	storeMust(t, s.Close())
	storeMust(t, s.Wait(context.Background()))
}
