package statelog

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/vfs"
)

// adder is the least a machine can do: it sums up.
type adder struct{ sum uint64 }

func (m *adder) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	m.sum += uint64(cmd[0])
	return binary.LittleEndian.AppendUint64(dst, m.sum)
}
func (m *adder) Freeze() (io.WriterTo, error) { return image(m.sum), nil }
func (m *adder) Restore(r io.Reader) error    { return binary.Read(r, binary.LittleEndian, &m.sum) }
func (m *adder) Fingerprint() string          { return "adder/1" }

type image uint64

func (i image) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	return int64(n), err
}

func BenchmarkPropose(b *testing.B) {
	for _, where := range []string{"memory", "disk"} {
		for _, callers := range []int{1, 64, 256, 1024} {
			b.Run(fmt.Sprintf("%s/callers%d", where, callers), func(b *testing.B) {
				cfg := Config{Machine: new(adder)}
				if where == "disk" {
					cfg.Dir = b.TempDir()
				}
				l, err := Open(cfg)
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				propose(b, l, callers)
			})
		}
	}
}

// BenchmarkLimit is what BenchmarkPropose is measured against: callers who hand a
// command to a goroutine and wait; on disk, it writes and syncs what has gathered.
func BenchmarkLimit(b *testing.B) {
	for _, where := range []string{"memory", "disk"} {
		for _, callers := range []int{1, 64, 256, 1024} {
			b.Run(fmt.Sprintf("%s/callers%d", where, callers), func(b *testing.B) {
				l := &limit{kick: make(chan struct{}, 1)}
				if where == "disk" {
					f, err := vfs.Create(vfs.OS(), b.TempDir()+"/file")
					if err != nil {
						b.Fatal(err)
					}
					defer f.Close()
					l.file = f
				}
				go l.run()
				defer close(l.kick)
				propose(b, l, callers)
			})
		}
	}
}

// limit does nothing but gather, write, sync and wake.
type limit struct {
	Log
	file vfs.File
	kick chan struct{}
	pool sync.Pool

	mu    sync.Mutex // guards queue
	queue []*handover
}

type handover struct {
	cmd  []byte
	done chan struct{}
}

func (l *limit) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	h, _ := l.pool.Get().(*handover)
	if h == nil {
		h = &handover{done: make(chan struct{}, 1)}
	}
	h.cmd = cmd
	l.mu.Lock()
	l.queue = append(l.queue, h)
	first := len(l.queue) == 1
	l.mu.Unlock()
	if first {
		l.kick <- struct{}{}
	}
	select {
	case <-h.done:
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
	l.pool.Put(h)
	return 0, nil, nil
}

func (l *limit) run() {
	var batch []*handover
	var buf []byte
	for range l.kick {
		l.mu.Lock()
		batch, l.queue = l.queue, batch[:0]
		l.mu.Unlock()
		buf = buf[:0]
		for _, h := range batch {
			buf = append(buf, h.cmd...)
		}
		if l.file != nil {
			if _, err := l.file.Write(buf); err != nil {
				panic(err)
			}
			if err := l.file.Sync(); err != nil {
				panic(err)
			}
		}
		for _, h := range batch {
			h.done <- struct{}{}
		}
	}
}

// BenchmarkConfirm confirms reads: of what is safe, and while commands are on their
// way to the disk.
func BenchmarkConfirm(b *testing.B) {
	for _, busy := range []bool{false, true} {
		b.Run(fmt.Sprintf("busy=%v", busy), func(b *testing.B) {
			l, err := Open(Config{Machine: new(adder), Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			var work sync.WaitGroup
			for range 16 {
				work.Go(func() {
					for busy && ctx.Err() == nil {
						_, _, _ = l.Propose(ctx, make([]byte, 64))
					}
				})
			}
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := l.Confirm(ctx); err != nil {
						b.Error(err)
					}
				}
			})
			b.StopTimer()
			stop()
			work.Wait()
			_ = l.Close()
		})
	}
}

// propose makes b.N proposals of 64 bytes from many callers.
func propose(b *testing.B, l Log, callers int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			cmd := make([]byte, 64)
			for left.Add(-1) >= 0 {
				if _, _, err := l.Propose(b.Context(), cmd); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
}
