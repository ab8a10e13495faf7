package gfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

func createFile(t testing.TB, c *Client, name string) *File {
	t.Helper()
	f, err := c.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// same checks that all replicas of a file are alike, and that it has a content.
func same(t testing.TB, k *fakeCluster, c *Client, name string, want []byte) {
	t.Helper()
	got, err := c.ReadFile(t.Context(), name)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes, %v, not the %d expected", name, len(got), err, len(want))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, h := range k.files[name].list {
		for _, m := range k.chunks[h].members {
			first, r := k.servers[k.chunks[h].members[0]].replicas[h], k.servers[m].replicas[h]
			if r.version != k.chunks[h].version || !bytes.Equal(first.data, r.data) {
				t.Errorf("%s: the replicas of chunk %d differ", name, i)
			}
		}
	}
}

func TestClientWriteBehindIsBounded(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, 64<<20)
		c := k.dial(ClientConfig{WriteBehind: 4 << 20})
		f := createFile(t, c, "f")
		want := noise(20 << 20)
		gate := make(chan int)
		for _, s := range k.servers {
			s.writeWait.Store(&gate)
		}
		var taken atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			for off := 0; off < len(want); off += 100 << 10 {
				n, err := f.Write(want[off:min(off+100<<10, len(want))])
				taken.Add(int64(n))
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		time.Sleep(time.Second)
		if n := taken.Load(); n < 4<<20 || n > 5<<20+100<<10 {
			t.Errorf("%d bytes were taken while nothing was acknowledged; 4 MiB may be under way", n)
		}
		close(gate)
		wg.Wait()
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		_, _, servers := k.chunkOf("f", 0)
		if most := servers[0].mostWrite.Load(); most != 4 {
			t.Errorf("%d pieces under way at once, not 4", most)
		}
		if servers[0].syncs != 1 {
			t.Errorf("%d syncs of the chunk, not 1", servers[0].syncs)
		}
		same(t, k, c, "f", want)
	})
}

func TestClientSteadyWritingSendsTheMasterNothing(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, 64<<20)
		c := k.dial(ClientConfig{})
		f := createFile(t, c, "f")
		g := createFile(t, c, "g")
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Append([]byte("x")); err != nil {
			t.Fatal(err)
		}
		before := k.masterCalls()
		for i := range 300 {
			if _, err := f.Write(noise(10_000)); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Append(noise(1000)); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		if n := k.masterCalls() - before; n != 0 {
			t.Errorf("%d calls of the master in 5 minutes of writing and appending to one chunk, not 0", n)
		}
	})
}

func TestClientWriteErrorsComeAtLatestWithSyncAndClose(t *testing.T) {
	for _, end := range []string{"write", "sync", "close", "read"} {
		t.Run(end, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				k := newFake(t, 3, fakeChunkSize)
				c := k.dial(ClientConfig{Patience: 5 * time.Second})
				f := createFile(t, c, "f")
				k.refuseNext(methodGrant, ErrQuota)
				_, err := f.Write(noise(1000))
				if err != nil {
					t.Fatal("a write that is still behind fails:", err)
				}
				switch end {
				case "write":
					for range 20 {
						if _, err = f.Write(noise(fakeChunkSize)); err != nil {
							break
						}
					}
				case "sync":
					err = f.Sync()
				case "read":
					_, err = f.ReadAt(make([]byte, 1), 0)
				case "close":
				}
				if end != "close" {
					wantErr(t, err, ErrQuota)
				}
				wantErr(t, f.Close(), ErrQuota)
				wantErr(t, f.Close(), fs.ErrClosed)
			})
		})
	}
}

// TestClientWritesThroughFaults checks that what is acknowledged is there, whatever went
// wrong on the way.
func TestClientWritesThroughFaults(t *testing.T) {
	faults := map[string]func(k *fakeCluster, primary *fakeServer, others []*fakeServer){
		"lease expired":  func(k *fakeCluster, _ *fakeServer, _ []*fakeServer) { k.expire() },
		"dead primary":   func(_ *fakeCluster, p *fakeServer, _ []*fakeServer) { p.kill() },
		"dead secondary": func(_ *fakeCluster, _ *fakeServer, o []*fakeServer) { o[0].kill() },
		"two dead":       func(_ *fakeCluster, p *fakeServer, o []*fakeServer) { p.kill(); o[1].kill() },
		"lost reply":     func(_ *fakeCluster, p *fakeServer, _ []*fakeServer) { p.loseReply.Store(1) },
		"lost replies":   func(_ *fakeCluster, p *fakeServer, _ []*fakeServer) { p.loseReply.Store(4) },
		"lost data":      func(_ *fakeCluster, p *fakeServer, _ []*fakeServer) { p.dropPush.Store(2) },
		"primary cannot": func(_ *fakeCluster, p *fakeServer, _ []*fakeServer) {
			p.writeErr.Store(&[]error{ErrUnavailable, ErrChecksum})
		},
		"full server": func(_ *fakeCluster, p *fakeServer, _ []*fakeServer) {
			p.writeErr.Store(&[]error{ErrNoSpace, ErrNoSpace})
		},
		"grant refused": func(k *fakeCluster, _ *fakeServer, _ []*fakeServer) {
			k.expire()
			k.refuseNext(methodGrant, ErrSafeMode, ErrUnavailable, ErrStale)
		},
		"replica is absent": func(_ *fakeCluster, p *fakeServer, _ []*fakeServer) {
			p.writeErr.Store(&[]error{errNoChunk, errSuspect})
		},
		"shared by a snapshot": func(k *fakeCluster, _ *fakeServer, _ []*fakeServer) {
			k.mu.Lock()
			defer k.mu.Unlock()
			if _, err := k.snapshot(&pairReq{from: "f", to: "copy"}); err != nil {
				k.t.Error(err)
			}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				k := newFake(t, 5, 2<<20)
				c := k.dial(ClientConfig{})
				f := createFile(t, c, "f")
				want := noise(5<<20 + 1000)
				half := 3 << 20
				if _, err := f.Write(want[:half]); err != nil {
					t.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
				_, _, servers := k.chunkOf("f", 1)
				fault(k, servers[0], servers[1:])
				if _, err := f.Write(want[half:]); err != nil {
					t.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
				same(t, k, c, "f", want)
				if name == "shared by a snapshot" {
					got, err := c.ReadFile(t.Context(), "copy")
					if err != nil || !bytes.Equal(got, want[:half]) {
						t.Errorf("the copy has %d bytes, %v", len(got), err)
					}
				}
				if c.Stats().WriteRetries == 0 && name != "grant refused" {
					t.Error("nothing went wrong")
				}
			})
		})
	}
}

func TestClientAppends(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 4, fakeChunkSize)
		records := make(map[int64][]byte)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			c := k.dial(ClientConfig{Transport: k.net.Host(fmt.Sprint("appender", i))})
			f, err := c.Append(t.Context(), "log")
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				for n := range 30 {
					rec := bytes.Repeat(fmt.Appendf(nil, "<%d %d>", i, n), 1+100*n)
					off, err := f.Append(rec)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if records[off] != nil {
						t.Errorf("two records at %d", off)
					}
					records[off] = rec
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		c := k.dial(ClientConfig{})
		data, err := c.ReadFile(t.Context(), "log")
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for off, rec := range records {
			if !bytes.Equal(data[off:off+int64(len(rec))], rec) {
				t.Errorf("the record at %d is not there", off)
			}
			if off/fakeChunkSize != (off+int64(len(rec))-1)/fakeChunkSize {
				t.Errorf("the record at %d is in two chunks", off)
			}
			sum += len(rec)
		}
		if len(data) < sum || len(data)/fakeChunkSize < 2 {
			t.Errorf("%d bytes with %d of records", len(data), sum)
		}
		same(t, k, c, "log", data)
	})
}

func TestClientAppendBounds(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newFake(t, 3, fakeChunkSize).dial(ClientConfig{})
		f := createFile(t, c, "f")
		_, err := f.Append(make([]byte, c.MaxRecord()+1))
		wantErr(t, err, ErrTooLarge)
		_, err = f.Append(nil)
		wantErr(t, err, fs.ErrInvalid)
		for i := range 5 {
			off, err := f.Append(make([]byte, c.MaxRecord()))
			if err != nil || off != int64(i*c.MaxRecord()) {
				t.Errorf("record %d at %d, %v", i, off, err)
			}
		}
	})
}

func TestClientAppendIsAtLeastOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		f := createFile(t, c, "f")
		if _, err := f.Append([]byte("first ")); err != nil {
			t.Fatal(err)
		}
		_, h, servers := k.chunkOf("f", 0)
		// The primary appends, its answer is lost, and so is what it knows of that.
		servers[0].loseReply.Store(1)
		var off int64
		var wg sync.WaitGroup
		wg.Go(func() {
			var err error
			if off, err = f.Append([]byte("twice ")); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		k.mu.Lock()
		clear(servers[0].applied)
		k.raise(h, -1)
		k.mu.Unlock()
		wg.Wait()
		got, err := c.ReadFile(t.Context(), "f")
		if err != nil || string(got) != "first twice twice " || off != 12 {
			t.Errorf("%q, the record is at %d, %v", got, off, err)
		}
	})
}

func TestClientReadsItsOwnWrites(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		f := createFile(t, c, "f")
		want := noise(fakeChunkSize + 1000)
		if _, err := f.Write(want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatal("ReadAt after Write:", err)
		}
		if info, err := f.Stat(); err != nil || info.Size() != int64(len(want)) {
			t.Fatal("Stat after Write:", err)
		}
		if end, err := f.Seek(0, io.SeekEnd); err != nil || end != int64(len(want)) {
			t.Fatal("Seek after Write:", err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(got[:10]); err != nil { // and ahead
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("changed"), 10); err != nil {
			t.Fatal(err)
		}
		copy(want[10:], "changed")
		n, err := io.ReadFull(f, got[10:])
		if err != nil || !bytes.Equal(got, want) {
			t.Fatal("Read after WriteAt:", n, err)
		}
		// Writes to one place take effect in their order.
		for _, s := range []string{"aaaaaaaa", "bbbbbbb", "cccccc"} {
			if _, err := f.Seek(100, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(f, s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.ReadAt(got[:8], 100); err != nil || string(got[:8]) != "ccccccba" {
			t.Errorf("%q, %v", got[:8], err)
		}
	})
}

func TestClientCopies(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, 2<<20)
		for _, behind := range []int{0, -1} {
			c := k.dial(ClientConfig{WriteBehind: behind})
			from, to := fmt.Sprint("from", behind), fmt.Sprint("to", behind)
			want := noise(7<<20 + 5)
			putFile(t, c, from, want)
			f, g := openFile(t, c, from), createFile(t, c, to)
			if n, err := io.Copy(g, f); err != nil || n != int64(len(want)) {
				t.Fatal(n, err)
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			same(t, k, c, to, want)
			h := createFile(t, c, to+"2")
			if n, err := h.ReadFrom(bytes.NewReader(want)); err != nil || n != int64(len(want)) {
				t.Fatal(n, err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			same(t, k, c, to+"2", want)
		}
	})
}

func TestClientMutationsEndWithTheirContext(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{Patience: time.Hour})
		f := createFile(t, c, "f")
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		never := make(chan int)
		k.hang.Store(&never)
		for _, s := range k.servers {
			s.writeWait.Store(&never)
		}
		for name, op := range map[string]func(ctx context.Context) error{
			"create":    func(ctx context.Context) error { _, err := c.Create(ctx, "g"); return err },
			"open":      func(ctx context.Context) error { _, err := c.Open(ctx, "f"); return err },
			"stat":      func(ctx context.Context) error { _, err := c.Stat(ctx, "f"); return err },
			"readdir":   func(ctx context.Context) error { _, err := c.ReadDir(ctx, "."); return err },
			"glob":      func(ctx context.Context) error { _, err := c.Glob(ctx, "*"); return err },
			"rename":    func(ctx context.Context) error { return c.Rename(ctx, "f", "g") },
			"remove":    func(ctx context.Context) error { return c.Remove(ctx, "f") },
			"undelete":  func(ctx context.Context) error { _, err := c.Undelete(ctx, "f", ""); return err },
			"snapshot":  func(ctx context.Context) error { return c.Snapshot(ctx, "f", "g") },
			"mkdir":     func(ctx context.Context) error { return c.MkdirAll(ctx, "d", 0o755) },
			"locate":    func(ctx context.Context) error { _, err := c.Locate(ctx, "f", 0, 1); return err },
			"fsck":      func(ctx context.Context) error { _, err := c.Fsck(ctx, "."); return err },
			"write":     func(ctx context.Context) error { _, err := f.WriteAtContext(ctx, []byte("y"), 0); return err },
			"append":    func(ctx context.Context) error { _, err := f.AppendContext(ctx, []byte("y")); return err },
			"writefile": func(ctx context.Context) error { return c.WriteFile(ctx, "g", []byte("y"), 0o644) },
			"sync":      func(ctx context.Context) error { return f.SyncContext(ctx) },
		} {
			if name == "sync" { // the fake syncs at once, if it only may
				k.expire()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			began := time.Now()
			err := op(ctx)
			cancel()
			var e *Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) {
				t.Errorf("%s: error %v", name, err)
			}
			if took := time.Since(began); took != 20*time.Second {
				t.Errorf("%s ended after %v, not 20 s", name, took)
			}
		}
	})
}

func TestClientPatience(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{Patience: 30 * time.Second})
		f := createFile(t, c, "f")
		never := make(chan int)
		k.hang.Store(&never)
		began := time.Now()
		_, err := c.Stat(t.Context(), "f")
		wantErr(t, err, ErrUnavailable)
		_, err = f.WriteAt([]byte("x"), 0)
		wantErr(t, err, ErrUnavailable)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("both took %v, not 30 s each", took)
		}
	})
}

func TestClientCloseEndsEverything(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		f := createFile(t, c, "f")
		if _, err := f.Write(noise(1000)); err != nil {
			t.Fatal(err)
		}
		never := make(chan int)
		for _, s := range k.servers {
			s.writeWait.Store(&never)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			wantErr(t, f.Sync(), ErrClosed)
		})
		wg.Go(func() {
			_, err := f.WriteAt([]byte("x"), 5)
			wantErr(t, err, ErrClosed)
		})
		time.Sleep(time.Millisecond)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		wantErr(t, f.Close(), ErrClosed)
		_, err := c.Stat(t.Context(), "f")
		wantErr(t, err, ErrClosed)
		_, err = c.Open(t.Context(), "f")
		wantErr(t, err, ErrClosed)
		if err := c.Close(); err != nil {
			t.Error("closed again:", err)
		}
	})
}
