package statelog

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
