package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// small is a message of 64 bytes.
type small struct{ b [64]byte }

func (m *small) AppendBinary(dst []byte) ([]byte, error) { return append(dst, m.b[:]...), nil }

func (m *small) UnmarshalBinary(b []byte) error {
	if copy(m.b[:], b) != len(m.b) || len(b) != len(m.b) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func benchPair(b *testing.B, kind string) pair {
	table, err := NewSessionTable(SessionTableConfig{})
	if err != nil {
		b.Fatal(err)
	}
	blob := pattern(1<<20, 9)
	return newRig(b, kind).start(b, ServerConfig{Sessions: table}, ClientConfig{}, func(s *Server) {
		echo := func(_ context.Context, m *small) (*small, error) { return m, nil }
		Handle(s, "Echo", echo)
		HandleInline(s, "EchoInline", echo)
		Handle(s, "Read", func(context.Context, *small) (*note, error) {
			return &note{Body: Body{Data: blob}}, nil
		})
		HandleStream(s, "Sink", func(_ context.Context, _ *Empty, st *Stream) error {
			buf := make([]byte, 256<<10)
			n := uint64(0)
			for {
				m, err := st.Read(buf)
				n += uint64(m)
				if err != nil {
					break
				}
			}
			_, err := st.Write(binary.LittleEndian.AppendUint64(nil, n))
			return err
		})
	})
}

// spread runs f b.N times over so many goroutines.
func spread(b *testing.B, goroutines int, f func() error) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCall(b *testing.B) {
	for _, kind := range []string{"TCP", "Network"} {
		for _, method := range []string{"Echo", "EchoInline", "EchoOnce"} {
			for _, conc := range []int{1, 64, 512} {
				b.Run(fmt.Sprintf("%s/%s/conc%d", kind, method, conc), func(b *testing.B) {
					p := benchPair(b, kind)
					caller, m := Caller(p.c), method
					if method == "EchoOnce" {
						caller, m = p.c.ExactlyOnce(), "Echo"
					}
					ctx := context.Background()
					req := &small{}
					spread(b, conc, func() error {
						_, err := Call[small](ctx, caller, m, req)
						return err
					})
				})
			}
		}
	}
}

func BenchmarkBody1MiB(b *testing.B) {
	for _, kind := range []string{"TCP", "Network"} {
		for _, conc := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/conc%d", kind, conc), func(b *testing.B) {
				p := benchPair(b, kind)
				b.SetBytes(1 << 20)
				bufs := make(chan []byte, conc)
				for range conc {
					bufs <- make([]byte, 0, 1<<20)
				}
				spread(b, conc, func() error {
					resp := &note{Body: Body{Data: <-bufs}}
					err := CallInto(context.Background(), p.c, "Read", &small{}, resp)
					bufs <- resp.Data[:0]
					return err
				})
			})
		}
	}
}

func BenchmarkStream(b *testing.B) {
	for _, kind := range []string{"TCP", "Network"} {
		b.Run(kind+"/write256k", func(b *testing.B) {
			p := benchPair(b, kind)
			st, err := OpenStream(context.Background(), p.c, "Sink", &Empty{})
			if err != nil {
				b.Fatal(err)
			}
			buf := pattern(256<<10, 1)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := st.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			st.CloseWrite()
			if _, err := io.ReadFull(st, buf[:8]); err != nil {
				b.Fatal(err)
			}
		})
	}
}
