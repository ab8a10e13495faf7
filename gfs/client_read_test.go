package gfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

const fakeChunkSize = 256 << 10

// noise returns bytes that repeat nowhere.
func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// putFile makes a file with a content.
func putFile(t testing.TB, c *Client, name string, data []byte) {
	t.Helper()
	if err := c.WriteFile(t.Context(), name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func openFile(t testing.TB, c *Client, name string) *File {
	t.Helper()
	f, err := c.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestClientReadsWhatItWrote(t *testing.T) {
	for _, size := range []int{0, 1, 1000, fakeChunkSize - 1, fakeChunkSize, fakeChunkSize + 1, 3*fakeChunkSize + 17, 20 * fakeChunkSize} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				c := newFake(t, 4, fakeChunkSize).dial(ClientConfig{})
				want := noise(size)
				putFile(t, c, "f", want)
				got, err := c.ReadFile(t.Context(), "f")
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("ReadFile: %d bytes, %v, not the %d that were written", len(got), err, len(want))
				}
				if size <= 1000 { // it reads each byte by itself
					if err := iotest.TestReader(openFile(t, c, "f"), want); err != nil {
						t.Error(err)
					}
				}
				var b bytes.Buffer
				if n, err := io.Copy(&b, struct{ io.Reader }{openFile(t, c, "f")}); err != nil || !bytes.Equal(b.Bytes(), want) {
					t.Errorf("Read: %d bytes, %v", n, err)
				}
				b.Reset()
				if n, err := openFile(t, c, "f").WriteTo(&b); err != nil || n != int64(size) || !bytes.Equal(b.Bytes(), want) {
					t.Errorf("WriteTo: %d bytes, %v", n, err)
				}
			})
		})
	}
}

func TestClientReadsAnywhere(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newFake(t, 3, fakeChunkSize).dial(ClientConfig{})
		want := noise(5*fakeChunkSize + 100)
		putFile(t, c, "f", want)
		f := openFile(t, c, "f")
		for range 300 {
			off := rand.IntN(len(want))
			p := make([]byte, 1+rand.IntN(2*fakeChunkSize))
			n, err := f.ReadAt(p, int64(off))
			end := min(off+len(p), len(want))
			if !bytes.Equal(p[:n], want[off:end]) || (err == io.EOF) != (end-off < len(p)) || err != nil && err != io.EOF {
				t.Fatalf("ReadAt of %d bytes at %d of %d: %d, %v", len(p), off, len(want), n, err)
			}
			if _, err := f.Seek(int64(off), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			n, err = io.ReadFull(f, p)
			if !bytes.Equal(p[:n], want[off:end]) {
				t.Fatalf("Read of %d bytes at %d: %d, %v", len(p), off, n, err)
			}
		}
	})
}

func TestClientHolesAreZeros(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newFake(t, 3, fakeChunkSize).dial(ClientConfig{})
		f, err := c.Create(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		want := make([]byte, 4*fakeChunkSize+3)
		copy(want[10:], "abc")
		copy(want[4*fakeChunkSize:], "end")
		for off, s := range map[int64]string{10: "abc", 4 * fakeChunkSize: "end"} {
			if _, err := f.WriteAt([]byte(s), off); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.ReadFile(t.Context(), "f")
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v, not %d with holes", len(got), err, len(want))
		}
	})
}

func TestClientSteadyReadingSendsTheMasterNothing(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", noise(40*fakeChunkSize))
		f := openFile(t, c, "f")
		p := make([]byte, 1000)
		if _, err := f.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		before := k.masterCalls()
		for i := range 1000 {
			if _, err := f.ReadAt(p, int64(i)*fakeChunkSize/25); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if n := k.masterCalls() - before; n != 0 {
			t.Errorf("%d calls of the master while 40 chunks were read for 50 s, not 0", n)
		}
		time.Sleep(time.Minute)
		if _, err := f.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		if n := k.masterCalls() - before; n != 1 {
			t.Errorf("%d calls of the master after the cache's time, not 1", n)
		}
	})
}

func TestClientReadersShareALookup(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", noise(8*fakeChunkSize))
		f := openFile(t, c, "f")
		hang := make(chan int)
		k.hang.Store(&hang)
		before := k.calls[methodLookup].Load()
		var wg sync.WaitGroup
		for i := range 50 {
			if i == 1 {
				time.Sleep(time.Millisecond) // the first asks for all that follow
			}
			wg.Go(func() {
				if _, err := f.ReadAt(make([]byte, 10), int64(i%8)*fakeChunkSize); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Millisecond)
		close(hang)
		wg.Wait()
		if n := k.calls[methodLookup].Load() - before; n != 1 {
			t.Errorf("%d lookups by 50 readers at once, not 1", n)
		}
	})
}

func TestClientReadsFromAnotherReplica(t *testing.T) {
	for _, fault := range []string{"dead", "checksum", "absent", "suspect", "two"} {
		t.Run(fault, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				k := newFake(t, 3, fakeChunkSize)
				c := k.dial(ClientConfig{Host: "c1"})
				want := noise(1000)
				putFile(t, c, "f", want)
				bad := []*fakeServer{k.servers[1]}
				if fault == "two" {
					bad = append(bad, k.servers[0])
				}
				for _, s := range bad {
					var err error
					switch fault {
					case "dead":
						s.kill()
					case "absent":
						err = errNoChunk
					case "suspect":
						err = errSuspect
					default:
						err = ErrChecksum
					}
					if err != nil {
						s.readErr.Store(&err)
					}
				}
				got, err := c.ReadFile(t.Context(), "f")
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				time.Sleep(time.Second)
				reports := 0
				if fault == "checksum" || fault == "absent" || fault == "two" {
					reports = len(bad)
				}
				if all := k.reports(); len(all) < min(reports, 1) || len(all) > reports {
					t.Errorf("%d reports of bad replicas: %v", len(all), all)
				}
			})
		})
	}
}

func TestClientNeverReturnsWhatNobodyHasWhole(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", noise(1000))
		f := openFile(t, c, "f")
		for _, s := range k.servers {
			err := error(ErrChecksum)
			s.readErr.Store(&err)
		}
		began := time.Now()
		n, err := f.ReadAt(make([]byte, 1000), 0)
		if n != 0 || !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrChecksum) {
			t.Errorf("%d, %v, not %v", n, err, ErrUnavailable)
		}
		if took := time.Since(began); took > 2*unavailableAfter {
			t.Errorf("it took %v", took)
		}
		for _, s := range k.servers {
			s.readErr.Store(nil)
		}
		if _, err := f.ReadAt(make([]byte, 1000), 0); err != nil {
			t.Error("it is readable again:", err)
		}
	})
}

func TestClientStaleReadsEndWithTheCache(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{Host: "c0"})
		putFile(t, c, "f", []byte("old"))
		f := openFile(t, c, "f")
		p := make([]byte, 3)
		if _, err := f.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		// The replica on c0 is cut off from all but the reader, and misses a write.
		chunk, h, _ := k.chunkOf("f", 0)
		k.mu.Lock()
		old := *k.servers[0].replicas[h]
		k.raise(h, 0)
		k.mu.Unlock()
		w := k.dial(ClientConfig{Transport: k.net.Host("writer")})
		g, err := w.OpenFile(t.Context(), "f", OpenOptions{Write: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.WriteAt([]byte("new"), 0); err != nil {
			t.Fatal(err)
		}
		k.mu.Lock()
		if k.servers[0].replicas[h].version = old.version; string(k.servers[0].replicas[h].data) != "old" || len(chunk.members) != 2 {
			t.Fatal("c0 has not missed the write")
		}
		k.mu.Unlock()
		if _, err := f.ReadAt(p, 0); err != nil || string(p) != "old" {
			t.Errorf("within the window: %q, %v; the window is smaller than the doc says", p, err)
		}
		if q, err := c.ReadFile(t.Context(), "f"); err != nil || string(q) != "new" {
			t.Errorf("opened anew: %q, %v", q, err)
		}
		time.Sleep(c.cfg.CacheTime)
		if _, err := f.ReadAt(p, 0); err != nil || string(p) != "new" {
			t.Errorf("after the window: %q, %v", p, err)
		}
	})
}

func TestClientAsksTheMasterWhenAVersionIsStale(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", []byte("content"))
		f := openFile(t, c, "f")
		p := make([]byte, 7)
		for i := range 3 {
			if _, err := f.ReadAt(p, 0); err != nil || string(p) != "content" {
				t.Fatalf("%q, %v, after version was raised %d times", p, err, i)
			}
			_, h, _ := k.chunkOf("f", 0)
			k.mu.Lock()
			k.raise(h, -1)
			k.mu.Unlock()
		}
	})
}

func TestClientHedges(t *testing.T) {
	for _, hedge := range []time.Duration{0, -1} {
		t.Run(fmt.Sprint(hedge), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				k := newFake(t, 3, fakeChunkSize)
				c := k.dial(ClientConfig{Host: "c0", Hedge: hedge})
				want := noise(1000)
				putFile(t, c, "f", want)
				f := openFile(t, c, "f")
				k.servers[0].delay.Store(int64(5 * time.Second)) // the nearest
				var took []time.Duration
				for range 20 {
					p := make([]byte, len(want))
					began := time.Now()
					if _, err := f.ReadAt(p, 0); err != nil || !bytes.Equal(p, want) {
						t.Fatal("a hedged read:", err)
					}
					took = append(took, time.Since(began))
				}
				s := c.Stats()
				if hedge < 0 {
					if s.Hedges != 0 || took[0] < 5*time.Second {
						t.Errorf("%d hedges where there should be none, first read in %v", s.Hedges, took[0])
					}
					return
				}
				if took[0] > 2*hedgeGuess || s.HedgesWon == 0 {
					t.Errorf("first read took %v, %d hedges won", took[0], s.HedgesWon)
				}
				if took[19] > 10*time.Millisecond || s.Hedges > 3 {
					t.Errorf("a server that is known to be slow is still asked first: %v, %d hedges", took[19], s.Hedges)
				}
				// When it is fast again, it is found out.
				k.servers[0].delay.Store(0)
				time.Sleep(latencyForget + time.Second)
				before := k.servers[0].reads.Load()
				if _, err := f.ReadAt(make([]byte, 10), 0); err != nil || k.servers[0].reads.Load() == before {
					t.Error("a server that was slow is not tried again", err)
				}
			})
		})
	}
}

// TestClientHedgesFollowWhatReadsTake: a server that is slow now and then, which no median
// shows, costs little more than the others' time, and few reads more.
func TestClientHedgesFollowWhatReadsTake(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{Host: "c0"})
		putFile(t, c, "f", noise(1000))
		f := openFile(t, c, "f")
		rng := rand.New(rand.NewPCG(1, 0))
		slow, slowest := 0, time.Duration(0)
		for i := range 2000 {
			for _, s := range k.servers {
				s.delay.Store(int64(time.Millisecond + time.Duration(rng.Int64N(int64(time.Millisecond)))))
			}
			if i%64 == 63 { // of the nearest, which is asked first
				k.servers[0].delay.Store(int64(200 * time.Millisecond))
				slow++
			}
			began := time.Now()
			if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
				t.Fatal(err)
			}
			slowest = max(slowest, time.Since(began))
		}
		s := c.Stats()
		if slowest > 10*time.Millisecond {
			t.Errorf("a read took %v, %d hedges", slowest, s.Hedges)
		}
		if int(s.Hedges) < slow || int(s.Hedges) > slow+2000/lateShare*2 {
			t.Errorf("%d hedges of 2,000 reads, %d of which were slow", s.Hedges, slow)
		}
	})
}

func TestHedgeDelay(t *testing.T) {
	late := func(all ...time.Duration) (list []candidate) {
		for _, d := range all {
			list = append(list, candidate{late: d})
		}
		return list
	}
	for _, test := range []struct {
		candidates      []candidate
		all, most, want time.Duration
	}{
		{late(0, 0), 0, time.Second, hedgeGuess},
		{late(0, 0), 5 * time.Millisecond, time.Second, 5 * time.Millisecond},
		{late(90*time.Millisecond, 0), 5 * time.Millisecond, time.Second, 5 * time.Millisecond},
		{late(90*time.Millisecond, 3*time.Millisecond), 5 * time.Millisecond, time.Second, 3 * time.Millisecond},
		{late(2*time.Millisecond, 30*time.Millisecond), 0, time.Second, 2 * time.Millisecond},
		{late(1, 1), 0, time.Second, hedgeMin},
		{late(time.Minute, time.Minute), 0, time.Second, time.Second},
	} {
		if got := hedgeDelay(test.candidates, test.all, test.most); got != test.want {
			t.Errorf("%+v, %v, %v: %v, not %v", test.candidates, test.all, test.most, got, test.want)
		}
	}
}

func TestClientHedgesAreFew(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", noise(1000))
		f := openFile(t, c, "f")
		for _, s := range k.servers { // all as slow as can be: there is nothing to gain
			s.delay.Store(int64(time.Second))
		}
		for range 1000 {
			if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
				t.Fatal(err)
			}
		}
		if s := c.Stats(); s.Hedges > hedgeBurst+1000/hedgeEvery+1 {
			t.Errorf("%d hedges of 1,000 reads", s.Hedges)
		}
	})
}

func TestClientReadAheadIsBoundedAndParallel(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const chunk = 8 << 20
		k := newFake(t, 3, chunk)
		c := k.dial(ClientConfig{ReadAhead: 4 << 20, Hedge: -1})
		want := noise(3 * chunk)
		putFile(t, c, "f", want)
		f := openFile(t, c, "f")
		for _, s := range k.servers {
			s.delay.Store(int64(10 * time.Millisecond))
		}
		p := make([]byte, 64<<10)
		got, began := 0, time.Now()
		for {
			n, err := f.Read(p)
			if !bytes.Equal(p[:n], want[got:got+n]) {
				t.Fatalf("wrong bytes at %d", got)
			}
			got += n
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if ahead := int64(c.Stats().ReadBytes) - int64(got); ahead > 4<<20+readPiece {
				t.Fatalf("%d bytes ahead at %d; 4 MiB are the most", ahead, got)
			}
		}
		if got != len(want) {
			t.Errorf("%d bytes, not %d", got, len(want))
		}
		// One after the other, 24 pieces of 1 MiB would take 240 ms at least.
		if took := time.Since(began); took > 150*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		most := int64(0)
		for _, s := range k.servers {
			most = max(most, s.mostReads.Load())
		}
		if most < 2 || most > 8 {
			t.Errorf("%d reads of one server at once", most)
		}
	})
}

func TestClientRandomReadsAreNotReadAhead(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, 8<<20)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", noise(8<<20))
		f := openFile(t, c, "f")
		p := make([]byte, 100)
		for i := range 50 {
			if _, err := f.Seek(int64(i*7919*13%(8<<20-100))+1, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(f, p); err != nil {
				t.Fatal(err)
			}
		}
		if s := c.Stats(); s.ReadBytes > 50*100 {
			t.Errorf("%d bytes were read for 5,000", s.ReadBytes)
		}
	})
}

func TestClientReadsWhatIsAddedAfterTheEnd(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		w, err := k.dial(ClientConfig{Transport: k.net.Host("writer")}).Append(t.Context(), "log")
		if err != nil {
			t.Fatal(err)
		}
		f := openFile(t, c, "log")
		for i := range 50 {
			want := noise(fakeChunkSize/4 - i)
			if n, err := f.Read(make([]byte, 10)); n != 0 || err != io.EOF {
				t.Fatalf("at the end: %d, %v", n, err)
			}
			off, err := w.Append(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(f)
			if pad := len(got) - len(want); err != nil || pad < 0 || !bytes.Equal(got[pad:], want) || bytes.Count(got[:pad], []byte{0}) != pad {
				t.Fatalf("record %d at %d: %d bytes, %v", i, off, len(got), err)
			}
		}
	})
}

func TestClientJitterDelaysTheFirstRead(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newFake(t, 3, fakeChunkSize).dial(ClientConfig{Jitter: time.Minute})
		putFile(t, c, "f", []byte("x"))
		var total time.Duration
		for range 20 {
			f := openFile(t, c, "f")
			for i := range 2 {
				began := time.Now()
				if _, err := f.ReadAt(make([]byte, 1), 0); err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				if i == 1 && took > time.Second || took > time.Minute+time.Second {
					t.Errorf("read %d took %v", i, took)
				}
				total += took
			}
		}
		if total < time.Minute {
			t.Errorf("20 first reads were delayed by %v together", total)
		}
	})
}

func TestClientReadsEndWithTheirContext(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", noise(1000))
		f := openFile(t, c, "f")
		for _, s := range k.servers {
			s.delay.Store(int64(time.Hour))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := f.ReadAtContext(ctx, make([]byte, 10), 0)
		wantErr(t, err, context.DeadlineExceeded)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it ended after %v", took)
		}
		// Closing ends what waits.
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := f.Read(make([]byte, 10))
			wantErr(t, err, fs.ErrClosed)
		})
		wg.Go(func() {
			_, err := f.ReadAt(make([]byte, 10), 0)
			wantErr(t, err, fs.ErrClosed)
		})
		time.Sleep(time.Millisecond)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("Close ended reads after %v", took)
		}
	})
}
