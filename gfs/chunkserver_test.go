package gfs

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
)

func TestChunkserverWrites(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		rng := rand.New(rand.NewPCG(1, 0))
		r.master.make(1, r.at...)
		c := r.open(r.at[1], r.at[0], r.at[2]) // the primary need not be the nearest
		defer c.close()
		var model []byte
		for _, off := range []int{0, 1000, 3 * blockSize, 2*blockSize - 7} {
			p := randomBytes(rng, blockSize+333)
			storeMust(t, r.write(c, 1, 1, off, p))
			model = overlay(model, off, p)
		}
		r.wantAll(1, model)
		for range 5 {
			p := randomBytes(rng, 1+rng.IntN(10000))
			off, err := r.append(c, 1, 1, p)
			storeMust(t, err)
			if off != int64(len(model)) {
				t.Fatalf("appended at %d, not at %d", off, len(model))
			}
			model = append(model, p...)
		}
		_, err := rigCall[writeResp](r, r.at[0], methodSync, &replicaReq{handle: 1, version: 1})
		storeMust(t, err)
		r.wantAll(1, model)
		synctest.Wait() // who has just passed data on lets go of it after the answer
		for i, s := range r.servers {
			if st := s.Status(); st.Buffered != 0 || st.Waiting != 0 {
				t.Errorf("server %d still has %d bytes of %d pushed data", i+1, st.Buffered, st.Waiting)
			}
			// What Sync acknowledged survives the power.
			after := openTestStore(t, r.disks[i].CrashImage(1), 99)
			storeMust(t, after.accept(1, 1, 0, func(int) []byte { return nil }))
			wantContent(t, after, 1, 1, model)
		}
	})
}

// TestChunkserverAppends: many appenders at once, until the chunk is full: every record is
// there, whole, at the offset that was returned, and the rest is padding (§3.3).
func TestChunkserverAppends(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		type record struct {
			off int64
			p   []byte
		}
		var mu sync.Mutex
		var done []record
		var group sync.WaitGroup
		full := 0
		for _, at := range r.at {
			r.conn(at.addr)
		}
		for w := range 4 {
			c := r.open(r.at...)
			defer c.close()
			group.Go(func() {
				rng := rand.New(rand.NewPCG(2, uint64(w)))
				for i := range 1000 {
					p := randomBytes(rng, 1+rng.IntN(rigChunkSize/20))
					id := dataID{client: uint64(w), n: uint64(i)}
					if err := c.push(context.Background(), id, p); err != nil {
						t.Error(err)
						return
					}
					resp, err := rigCall[appendResp](r, r.at[0], methodAppend, &appendReq{handle: 1, version: 1, data: id, n: int64(len(p))})
					mu.Lock()
					if err != nil {
						storeWant(t, err, errChunkFull)
						full++
						mu.Unlock()
						return
					}
					done = append(done, record{resp.off, p})
					mu.Unlock()
				}
			})
		}
		group.Wait()
		if full != 4 {
			t.Fatalf("%d of 4 appenders were told that the chunk is full", full)
		}
		model := make([]byte, rigChunkSize)
		used := 0
		for _, rec := range done {
			copy(model[rec.off:], rec.p)
			used += len(rec.p)
		}
		r.wantAll(1, model)
		if used < rigChunkSize*3/4 {
			t.Errorf("only %d bytes of records fit", used)
		}
		c := r.open(r.at...)
		defer c.close()
		_, err := r.append(c, 1, 1, make([]byte, rigChunkSize/4+1))
		storeWant(t, err, ErrTooLarge)
		_, err = r.append(c, 1, 1, []byte("x"))
		storeWant(t, err, errChunkFull)
	})
}

func TestChunkserverReads(t *testing.T) {
	inChunkRig(t, 1, func(r *chunkRig) {
		t := r.t
		r.master.make(1, r.at...)
		c := r.open(r.at...)
		defer c.close()
		p := bytes.Repeat([]byte("0123456789"), 20000)
		storeMust(t, r.write(c, 1, 1, 0, p))
		resp, err := rigCall[readResp](r, r.at[0], methodRead, &readReq{handle: 1, version: 1, off: 65530, n: 20})
		storeMust(t, err)
		if string(resp.Data) != string(p[65530:65550]) || resp.length != int64(len(p)) {
			t.Errorf("read %q of %d", resp.Data, resp.length)
		}
		resp, err = rigCall[readResp](r, r.at[0], methodRead, &readReq{handle: 1, version: 1, off: int64(len(p)) - 5, n: 20})
		storeMust(t, err)
		if string(resp.Data) != "56789" {
			t.Errorf("read %q at the end", resp.Data)
		}
		resp, err = rigCall[readResp](r, r.at[0], methodRead, &readReq{handle: 1, version: 1, off: 1 << 40, n: 20})
		storeMust(t, err)
		if len(resp.Data) != 0 {
			t.Errorf("read %q beyond the end", resp.Data)
		}
		n, err := rigCall[lengthResp](r, r.at[0], methodLength, &replicaReq{handle: 1, version: 1})
		storeMust(t, err)
		if n.length != int64(len(p)) {
			t.Errorf("length %d", n.length)
		}
		_, err = rigCall[readResp](r, r.at[0], methodRead, &readReq{handle: 1, version: 2, n: 1})
		storeWant(t, err, ErrStale)
		_, err = rigCall[readResp](r, r.at[0], methodRead, &readReq{handle: 2, version: 1, n: 1})
		storeWant(t, err, errNoChunk)
		_, err = rigCall[readResp](r, r.at[0], methodRead, &readReq{handle: 1, version: 1, n: maxRead + 1})
		storeWant(t, err, ErrTooLarge)
	})
}
