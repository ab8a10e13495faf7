package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/examples/bench/internal/limits"
	"github.com/trilith-go/trilith/gfs"
)

// pieceBytes is what a client writes at a time, and the size of a record.
const pieceBytes = 1 << 20

// piece is what all clients write.
var piece = func() []byte {
	p := make([]byte, pieceBytes)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(p)
	return p
}()

// repeated calls f, which tells how many bytes it has moved, until a turn is over.
func repeated(turn time.Duration, f func() (int64, error)) ([]metric, error) {
	begin, n := time.Now(), int64(0)
	for time.Since(begin) < turn {
		k, err := f()
		if err != nil {
			return nil, err
		}
		n += k
	}
	return megabytes(n, time.Since(begin)), nil
}

// openReadLimit reads a file over a stream, again and again.
func openReadLimit(_ context.Context, w *workspace) (cell, error) {
	name := filepath.Join(w.dir, "read-limit")
	if _, err := os.Stat(name); err != nil {
		if err := limits.WriteDisk(name, w.size); err != nil {
			return nil, err
		}
	}
	return &turn{run: func(_ context.Context, d time.Duration) ([]metric, error) {
		return repeated(d, func() (int64, error) { return limits.ReadFile(name) })
	}}, nil
}

// openWriteLimit writes files of the workspace's size to three hops.
func openWriteLimit(_ context.Context, w *workspace) (cell, error) {
	return openWriter(w, limits.WriteFile)
}

// openDiskLimit writes files durably.
func openDiskLimit(_ context.Context, w *workspace) (cell, error) {
	return openWriter(w, func(dir string, size int64) error { return limits.WriteDisk(filepath.Join(dir, "file"), size) })
}

// openWriter writes files into a new directory each time.
func openWriter(w *workspace, write func(dir string, size int64) error) (cell, error) {
	return &turn{run: func(_ context.Context, d time.Duration) ([]metric, error) {
		var dirs []string
		flush()
		m, err := repeated(d, func() (int64, error) {
			dir, err := os.MkdirTemp(w.dir, "limit-")
			if err != nil {
				return 0, err
			}
			dirs = append(dirs, dir)
			return w.size, write(dir, w.size)
		})
		for _, dir := range dirs {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return m, err
	}}, nil
}

// writeWhole writes size bytes.
func writeWhole(ctx context.Context, client *gfs.Client, name string, size int64) error {
	f, err := client.Create(ctx, name)
	if err != nil {
		return err
	}
	for left := size; left > 0 && err == nil; {
		p := piece[:min(left, pieceBytes)]
		_, err = f.Write(p)
		left -= int64(len(p))
	}
	return errors.Join(err, f.Close())
}

// openReads has clients that each read a file of their own, one after another of the
// whole, again and again.
func openReads(clients int) func(context.Context, *workspace) (cell, error) {
	return func(ctx context.Context, w *workspace) (cell, error) {
		c, err := startCluster(ctx, w, gfsNode{})
		if err != nil {
			return nil, err
		}
		var files []*gfs.File
		for i := range clients {
			f, err := c.newFile(ctx, fmt.Sprintf("file%d", i), w.size/int64(clients), gfs.ClientConfig{})
			if err != nil {
				return nil, errors.Join(err, c.Close())
			}
			files = append(files, f)
		}
		return &turn{close: c.Close, run: func(_ context.Context, d time.Duration) ([]metric, error) {
			var n atomic.Int64
			var group errgroup.Group
			begin := time.Now()
			for _, f := range files {
				group.Go(func() error {
					for time.Since(begin) < d {
						k, err := f.WriteTo(io.Discard)
						if n.Add(k); err == nil {
							_, err = f.Seek(0, io.SeekStart)
						}
						if err != nil {
							return err
						}
					}
					return nil
				})
			}
			err := group.Wait()
			return megabytes(n.Load(), time.Since(begin)), err
		}}, nil
	}
}

// newFile writes a file and opens it again, with a client of its own.
func (c *gfsCluster) newFile(ctx context.Context, name string, size int64, cfg gfs.ClientConfig) (*gfs.File, error) {
	client, err := c.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := writeWhole(ctx, client, name, size); err != nil {
		return nil, err
	}
	return client.Open(ctx, name)
}

// writeStream writes one piece after another for a while, and returns when all of them
// have been acknowledged.
func writeStream(ctx context.Context, client *gfs.Client, name string, until time.Time) (n int64, err error) {
	f, err := client.Create(ctx, name)
	if err != nil {
		return 0, err
	}
	for err == nil && time.Now().Before(until) {
		var k int
		k, err = f.Write(piece)
		n += int64(k)
	}
	return n, errors.Join(err, f.Close())
}

// appendsAtOnce is how many records a client appends at the same time, as many pieces as
// are under way when it writes.
const appendsAtOnce = 8

// appendRecords appends for a while.
func appendRecords(ctx context.Context, client *gfs.Client, _ string, until time.Time) (int64, error) {
	f, err := client.Append(ctx, "records")
	if err != nil {
		return 0, err
	}
	var n atomic.Int64
	var group errgroup.Group
	for range appendsAtOnce {
		group.Go(func() error {
			for time.Now().Before(until) {
				if _, err := f.Append(piece); err != nil {
					return err
				}
				n.Add(pieceBytes)
			}
			return nil
		})
	}
	err = group.Wait()
	return n.Load(), errors.Join(err, f.Close())
}

// openWrites has clients that write: each to a file of its own, or all records to one.
func openWrites(clients int, write func(ctx context.Context, client *gfs.Client, name string, until time.Time) (int64, error)) func(context.Context, *workspace) (cell, error) {
	return func(ctx context.Context, w *workspace) (cell, error) {
		c, err := startCluster(ctx, w, gfsNode{Lease: w.lease, Heartbeat: w.lease / 2})
		if err != nil {
			return nil, err
		}
		for len(c.clients) < clients {
			if _, err := c.dial(ctx, gfs.ClientConfig{}); err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
		return &turn{close: c.Close, run: func(ctx context.Context, d time.Duration) ([]metric, error) {
			var n atomic.Int64
			var group errgroup.Group
			flush()
			begin := time.Now()
			for i, client := range c.clients[:clients] {
				group.Go(func() error {
					k, err := write(ctx, client, fmt.Sprintf("file%d", i), begin.Add(d))
					n.Add(k)
					return err
				})
			}
			err := group.Wait()
			m := megabytes(n.Load(), time.Since(begin))
			return m, errors.Join(err, c.empty(ctx))
		}}, nil
	}
}

// empty removes all files, and waits until the chunkservers have deleted what was in them.
func (c *gfsCluster) empty(ctx context.Context) error {
	client := c.clients[0]
	entries, err := client.ReadDir(ctx, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := client.RemoveAll(ctx, e.Name()); err != nil {
			return err
		}
	}
	return await(ctx, func() (bool, error) {
		_, used, err := serversOf(ctx, client)
		return used < pieceBytes, err
	})
}

// openRereplicate kills a chunkserver of a cluster that is full, and measures from when
// the master counts it as dead until everything has three replicas again. Each turn has a
// cluster of its own.
func openRereplicate(_ context.Context, w *workspace) (cell, error) {
	return &turn{run: func(ctx context.Context, _ time.Duration) (m []metric, err error) {
		c, err := startCluster(ctx, w, gfsNode{Lease: w.lease, Heartbeat: w.lease / 5, ServerTimeout: time.Second})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		client := c.clients[0]
		const files = 8 // so that every chunkserver has some of them
		for i := range files {
			if err := writeWhole(ctx, client, fmt.Sprintf("file%d", i), w.size/files); err != nil {
				return nil, err
			}
		}
		if err := w.leasesEnd(ctx); err != nil {
			return nil, err
		}
		full := int64(0)
		if err := await(ctx, func() (ok bool, err error) { // until heartbeats have said it
			_, full, err = serversOf(ctx, client)
			return full >= w.size*3, err
		}); err != nil {
			return nil, err
		}
		victim := c.servers[0]
		c.servers = c.servers[1:]
		victim.kill()
		left := int64(0)
		if err := await(ctx, func() (bool, error) {
			alive, used, err := serversOf(ctx, client)
			left = used
			return alive < gfsServers, err
		}); err != nil {
			return nil, err
		}
		begin := time.Now()
		err = await(ctx, func() (bool, error) {
			check, err := client.Fsck(ctx, ".")
			return len(check.Faults) == 0, err
		})
		return megabytes(full-left, time.Since(begin)), err
	}}, nil
}

// slowTimes is how many times as long a slow chunkserver takes for one answer in
// slowShare, and slowReadBytes how much is read of it at a time. One that is always slow
// would be no measure of hedging: no client asks it first a second time.
const (
	slowTimes     = 100
	slowShare     = 100
	slowReadBytes = 64 << 10
)

// openSlowReads reads at random places of a file, from the slow chunkserver where there is
// no reason not to.
func openSlowReads(hedge time.Duration) func(context.Context, *workspace) (cell, error) {
	return func(ctx context.Context, w *workspace) (cell, error) {
		c, err := startCluster(ctx, w, gfsNode{Near: true})
		if err != nil {
			return nil, err
		}
		f, err := c.newFile(ctx, "file", w.size, gfs.ClientConfig{Hedge: hedge, Rack: nearRack})
		if err == nil {
			err = c.slowDown(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		r := rand.New(rand.NewPCG(1, 0))
		buf := make([]byte, slowReadBytes)
		l := &load{close: c.Close, callers: []caller{func() error {
			_, err := f.ReadAt(buf, r.Int64N(w.size/slowReadBytes)*slowReadBytes)
			return err
		}}}
		return &slowCell{l}, nil
	}
}

// A slowCell is a load of which only the latencies matter.
type slowCell struct{ *load }

func (c *slowCell) measure(ctx context.Context, warmup, turn time.Duration) ([]metric, error) {
	all, err := c.load.measure(ctx, warmup, turn)
	if err != nil {
		return nil, err
	}
	var metrics []metric
	for _, name := range []string{"p50_us", "p999_us"} {
		for _, m := range all {
			if m.name == name {
				metrics = append(metrics, m)
			}
		}
	}
	return metrics, nil
}
