// Those with a rig run in bubbles; the others do not sleep.
//
//lint:bubble
package gfs

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// TestChainReachesAll: when wait returns, every member has the data, in its buffer.
func TestChainReachesAll(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		c := r.open(r.at...)
		defer c.close()
		rng := rand.New(rand.NewPCG(1, 0))
		for _, n := range []int{1, 100, blockSize, blockSize + 1, segmentSize, minBufferBytes / 4} {
			for _, off := range []int64{0, 5, blockSize - 1} {
				id, p := r.id(), randomBytes(rng, n)
				storeMust(t, c.pushAt(context.Background(), id, p, off))
				storeMust(t, c.wait(context.Background(), id))
				for _, s := range r.servers {
					data, err := s.buffer.get(context.Background(), id, int64(n), 0)
					storeMust(t, err)
					if got := data.bytes(nil); !bytes.Equal(got, p) || data.phase != int(off) {
						t.Fatalf("%d bytes at %d arrive as %d others", n, off, len(got))
					}
					s.buffer.drop(data)
					s.buffer.unpin(data)
				}
			}
		}
		storeMust(t, c.broken())
		storeWant(t, c.push(context.Background(), r.id(), nil), ErrTooLarge)
		storeMust(t, c.wait(context.Background(), dataID{client: 1, n: 1})) // never pushed: nothing to wait for
		for i, s := range r.servers {
			if held, n := s.buffer.stats(); held != 0 || n != 0 {
				t.Errorf("server %d holds %d bytes of %d data", i+1, held, n)
			}
		}
	})
}

// TestChainIsCutOff: members before a break have what is pushed, and the client learns
// that the others have not.
func TestChainIsCutOff(t *testing.T) {
	inChunkRig(t, 3, func(r *chunkRig) {
		t := r.t
		c := r.open(r.at...)
		defer c.close()
		first, second := r.id(), r.id()
		p := make([]byte, 200000)
		storeMust(t, c.push(context.Background(), first, p))
		storeMust(t, c.wait(context.Background(), first))
		r.net.Host("s2").Crash(transport.CrashReset)
		if err := c.push(context.Background(), second, p); err == nil {
			storeWant(t, c.wait(context.Background(), second), errNoData)
		}
		storeMust(t, c.wait(context.Background(), first))
		if c.broken() == nil {
			t.Error("the break is not known")
		}
		if err := c.push(context.Background(), r.id(), p); err == nil {
			t.Error("a broken chain takes data")
		}

		// Opened with a member that cannot be reached, it serves those before it.
		d := r.open(r.at[0], r.at[1], r.at[2])
		defer d.close()
		third := r.id()
		storeMust(t, d.push(context.Background(), third, p))
		storeWant(t, d.wait(context.Background(), third), errNoData)
		data, err := r.servers[0].buffer.get(context.Background(), third, int64(len(p)), 0)
		storeMust(t, err)
		r.servers[0].buffer.unpin(data)
		if _, err := openChain(context.Background(), r.dial, nil); err == nil {
			t.Error("a chain of nobody")
		}
	})
}

// TestChainEndsWithItsContext: a push that cannot go on ends with its context, and so
// does the chain.
func TestChainEndsWithItsContext(t *testing.T) {
	inChunkRig(t, 1, func(r *chunkRig) {
		t := r.t
		c := r.open(r.at...)
		defer c.close()
		r.net.Host("s1").Pause()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		for err == nil {
			err = c.push(ctx, r.id(), make([]byte, segmentSize))
		}
		storeWant(t, err, context.DeadlineExceeded)
		r.net.Host("s1").Resume()
		if err := c.push(context.Background(), r.id(), []byte("x")); err == nil {
			t.Error("the chain goes on after half a frame")
		}
	})
}

func bufferFrame(n uint64, data []byte) *pushFrame {
	return &pushFrame{id: dataID{client: 1, n: n}, n: len(data), sums: pushSums(nil, 0, data)}
}

// bufferPut lets data arrive.
func bufferPut(t *testing.T, b *pushBuffer, n uint64, data []byte) error {
	t.Helper()
	p := b.begin(bufferFrame(n, data))
	defer b.end(p)
	for at := 0; at < len(data); {
		m, err := b.grow(context.Background(), p, min(len(data)-at, segmentSize))
		if err != nil {
			return err
		}
		at += copy(m, data[at:])
	}
	b.complete(p)
	return nil
}

// TestPushBufferForgets: what has not been used for longest goes first, and nothing that
// is in use.
func TestPushBufferForgets(t *testing.T) {
	b := newPushBuffer(minBufferBytes)
	ctx := context.Background()
	for n := range uint64(4) {
		storeMust(t, bufferPut(t, b, n, bytes.Repeat([]byte{byte(n)}, segmentSize)))
	}
	held, err := b.get(ctx, dataID{1, 0}, segmentSize, 0)
	storeMust(t, err)
	used, err := b.get(ctx, dataID{1, 1}, segmentSize, 0)
	storeMust(t, err)
	b.unpin(used) // the last used now
	storeMust(t, bufferPut(t, b, 9, make([]byte, segmentSize)))
	_, err = b.get(ctx, dataID{1, 2}, segmentSize, 0)
	storeWant(t, err, errNoData)
	for _, n := range []uint64{0, 1, 3, 9} {
		p, err := b.get(ctx, dataID{1, n}, segmentSize, 0)
		storeMust(t, err)
		if n < 9 && p.bytes(nil)[segmentSize-1] != byte(n) {
			t.Errorf("data %d has other bytes", n)
		}
		b.drop(p)
		b.unpin(p)
	}
	b.unpin(held)
	if bytes, n := b.stats(); bytes != 0 || n != 0 || b.hopes != 0 {
		t.Errorf("%d bytes of %d data, %d hopes", bytes, n, b.hopes)
	}
}

// TestPushBufferWaits: for data that is not there yet, for a while; and what arrives
// waits for room.
func TestPushBufferWaits(t *testing.T) {
	inChunkRig(t, 1, func(r *chunkRig) {
		t := r.t
		b := r.servers[0].buffer
		ctx := context.Background()
		got := make(chan error, 2)
		for range 2 {
			go func() {
				p, err := b.get(ctx, dataID{1, 1}, 5, time.Second)
				if err == nil {
					b.unpin(p)
				}
				got <- err
			}()
		}
		time.Sleep(500 * time.Millisecond)
		p := b.begin(bufferFrame(1, []byte("short"))) // begins to arrive, and breaks off
		b.end(p)
		time.Sleep(100 * time.Millisecond)
		storeMust(t, bufferPut(t, b, 1, []byte("whole")))
		storeMust(t, <-got)
		storeMust(t, <-got)
		_, err := b.get(ctx, dataID{1, 1}, 6, time.Second)
		if err == nil {
			t.Error("data of another length")
		}
		_, err = b.get(ctx, dataID{1, 2}, 5, time.Second)
		storeWant(t, err, errNoData)

		var pins []*pushed
		for n := range uint64(4) {
			storeMust(t, bufferPut(t, b, 10+n, make([]byte, segmentSize)))
			p, err := b.get(ctx, dataID{1, 10 + n}, segmentSize, 0)
			storeMust(t, err)
			pins = append(pins, p)
		}
		go func() { got <- bufferPut(t, b, 20, make([]byte, segmentSize)) }()
		time.Sleep(time.Second)
		select {
		case err := <-got:
			t.Errorf("beyond the budget: %v", err)
		default:
		}
		b.drop(pins[0])
		b.unpin(pins[0])
		storeMust(t, <-got)
		go func() { got <- bufferPut(t, b, 21, make([]byte, 2*segmentSize)) }()
		if err := <-got; !errors.Is(err, ErrUnavailable) {
			t.Errorf("no room for long: %v", err)
		}
		for _, p := range pins[1:] {
			b.unpin(p)
		}
	})
}

func FuzzPushFrame(f *testing.F) {
	f.Add((&pushFrame{id: dataID{1, 2}, n: 3, sums: []uint32{4}}).append(nil))
	f.Add(make([]byte, pushHead))
	for _, b := range testutil.Strangers() {
		f.Add(b)
		f.Add(append(b, make([]byte, pushHead)...)) // long enough to be looked at
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < pushHead {
			return
		}
		var p pushFrame
		if p.parse(b, 1<<20) != nil {
			return
		}
		if n := pushPieces(p.phase, p.n); p.n <= 0 || p.n > 1<<20 || p.phase >= blockSize || n <= 0 || n > 17 {
			t.Fatalf("%+v in %d pieces", p, n)
		}
		if len(b) != pushHead+4*pushPieces(p.phase, p.n) || p.parseSums(b) != nil {
			return
		}
		if !bytes.Equal(p.append(nil), b) {
			t.Fatal("another frame")
		}
	})
}

func FuzzChunkHead(f *testing.F) {
	f.Add((&chunkHead{handle: 1, version: 2, dirty: 3, length: 4}).encode())
	f.Add([]byte(chunkMagic))
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	for _, b := range testutil.Lengths([]byte(chunkMagic)...) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h chunkHead
		if h.decode(b) == nil && (h.length < 0 || h.length > MaxChunkSize) {
			t.Fatalf("%+v", h)
		}
		var d diskHead
		if d.decode(b) == nil && !bytes.Equal(d.encode(), b) {
			t.Fatal("another disk")
		}
	})
}
