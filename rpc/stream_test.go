package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// TestStreamIsAConn holds streams against the tests for net.Conn.
func TestStreamIsAConn(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			far := make(chan *Stream)
			over := make(chan struct{})
			p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
				HandleStream(s, "Pipe", func(_ context.Context, _ *Empty, st *Stream) error {
					far <- st
					<-over
					return nil
				})
			})
			st, err := OpenStream(context.Background(), p.c, "Pipe", &Empty{})
			if err != nil {
				return nil, nil, nil, err
			}
			return st, <-far, func() {
				close(over)
				p.c.Close()
				p.s.Close()
			}, nil
		})
	})
}

// TestStreamTransfer: many bytes arrive whole, in both directions at once, in
// pieces of every size.
func TestStreamTransfer(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) { HandleStream(s, "Echo", echoStream) })
		for _, piece := range []int{1000, smallWrite, smallWrite + 1, 256 << 10, 5 << 20} {
			data := pattern(5<<20, byte(piece))
			st, err := OpenStream(t.Context(), p.c, "Echo", &Empty{})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for rest := data; len(rest) > 0; {
					n := min(piece, len(rest))
					if m, err := st.Write(rest[:n]); err != nil || m != n {
						t.Errorf("wrote %d of %d: %v", m, n, err)
						break
					}
					rest = rest[n:]
				}
				st.CloseWrite()
			}()
			got, err := io.ReadAll(st)
			if err != nil {
				t.Fatalf("pieces of %d: %v", piece, err)
			}
			mustEqual(t, "echo", got, data)
			st.Close()
		}
		if err := p.s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if held := p.s.Stats().HeldBytes; held != 0 {
			t.Errorf("%d bytes still held of the budget", held)
		}
	})
}

// TestStreamEnds: what a handler wrote arrives before what it returns.
func TestStreamEnds(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleStream(s, "Say", func(_ context.Context, n *note, st *Stream) error {
				if _, err := st.Write(pattern(int(n.N), 7)); err != nil {
					return err
				}
				if n.Text != "" {
					return errCustom
				}
				return nil
			})
		})
		for _, tc := range []struct {
			n    uint64
			text string
			want error
		}{{0, "", nil}, {0, "fail", errCustom}, {200 << 10, "", nil}, {200 << 10, "fail", errCustom}} {
			st, err := OpenStream(t.Context(), p.c, "Say", &note{N: tc.n, Text: tc.text})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(st)
			if !errors.Is(err, tc.want) {
				t.Errorf("%+v: error %v", tc, err)
			}
			mustEqual(t, "said", got, pattern(int(tc.n), 7))
			st.Close()
		}
	})
}
