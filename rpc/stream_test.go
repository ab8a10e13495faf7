package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

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
			data := pattern(min(1000*piece, 3<<20), byte(piece))
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

// TestStalledStream: a stream that nobody reads stops its own writer within the
// window, and neither other streams nor calls; whether the client or the server
// is the one that does not read.
func TestStalledStream(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		const window = 256 << 10
		lim := Limits{StreamWindowBytes: window}
		far := make(chan *Stream, 1)
		over := make(chan struct{})
		p := r.start(t, ServerConfig{Limits: lim}, ClientConfig{Limits: lim}, func(s *Server) {
			Handle(s, "Echo", echo)
			HandleStream(s, "Echo stream", echoStream)
			HandleStream(s, "Mute", func(_ context.Context, _ *Empty, st *Stream) error {
				far <- st
				<-over
				return nil
			})
		})
		near, err := OpenStream(t.Context(), p.c, "Mute", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		for _, writer := range []*Stream{near, <-far} {
			const some = 64 << 10
			if n, err := writer.Write(make([]byte, some)); err != nil {
				t.Errorf("a writer that nobody reads got rid of %d bytes: %v", n, err)
			}
			writer.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			n, err := io.Copy(writer, zeros{})
			if !errors.Is(err, os.ErrDeadlineExceeded) || some+n > window {
				t.Errorf("a writer that nobody reads got rid of %d bytes: %v", some+n, err)
			}
		}
		// Both directions are full: nothing else minds.
		data := pattern(3<<20, 1)
		if resp, err := Call[note](t.Context(), p.c, "Echo", &note{Body: Body{Data: data}}); err != nil {
			t.Errorf("a call beside stalled streams: %v", err)
		} else {
			mustEqual(t, "echo", resp.Data, data)
		}
		other, err := OpenStream(t.Context(), p.c, "Echo stream", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			other.Write(data)
			other.CloseWrite()
		}()
		got, err := io.ReadAll(other)
		if err != nil {
			t.Errorf("a stream beside stalled streams: %v", err)
		}
		mustEqual(t, "echo", got, data)
		other.Close()
		if held := p.s.Stats().HeldBytes; held > 2*window {
			t.Errorf("the server holds %d bytes for one stream of window %d", held, window)
		}
		close(over)
		near.Close()
		idle(t, p.s)
	})
}

// TestStreamHalfClose: one direction ends, the other goes on, from either side.
func TestStreamHalfClose(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleStream(s, "Sum", func(_ context.Context, _ *Empty, st *Stream) error {
				b, err := io.ReadAll(st) // until the client's CloseWrite
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(st, "%d bytes", len(b))
				return err
			})
			HandleStream(s, "Greet", func(_ context.Context, _ *Empty, st *Stream) error {
				st.Write([]byte("hello"))
				if err := st.CloseWrite(); err != nil {
					return err
				}
				if _, err := st.Write([]byte("x")); !errors.Is(err, ErrClosed) {
					t.Errorf("writing after CloseWrite: %v", err)
				}
				b, err := io.ReadAll(st)
				if string(b) != "and goodbye" || err != nil {
					t.Errorf("after its own CloseWrite the handler read %q: %v", b, err)
				}
				return nil
			})
		})
		st, err := OpenStream(t.Context(), p.c, "Sum", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write(pattern(500<<10, 1)); err != nil {
			t.Fatal(err)
		}
		st.CloseWrite()
		st.CloseWrite()
		if _, err := st.Write([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("writing after CloseWrite: %v", err)
		}
		if b, err := io.ReadAll(st); string(b) != "512000 bytes" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		st, err = OpenStream(t.Context(), p.c, "Greet", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(st); string(b) != "hello" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		if _, err := st.Write([]byte("and goodbye")); err != nil {
			t.Errorf("writing after the server's end: %v", err)
		}
		st.CloseWrite()
		eventually(t, "the stream is forgotten", func() bool {
			p.s.mu.Lock()
			defer p.s.mu.Unlock()
			for c := range p.s.conns {
				c.mu.Lock()
				defer c.mu.Unlock()
				if len(c.streams) > 0 {
					return false
				}
			}
			return true
		})
		idle(t, p.s)
	})
}

// TestStreamAborts: what each end learns when the other goes away in the middle,
// by Close, by an error, by a panic or with its connection.
func TestStreamAborts(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		handler := make(chan error, 1)
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleStream(s, "Read", func(ctx context.Context, _ *Empty, st *Stream) error {
				_, err := io.Copy(io.Discard, st)
				handler <- err
				<-ctx.Done()
				return err
			})
			HandleStream(s, "Write", func(ctx context.Context, _ *Empty, st *Stream) error {
				_, err := io.Copy(st, zeros{})
				handler <- err
				<-ctx.Done()
				return err
			})
			HandleStream(s, "Fail", func(_ context.Context, _ *Empty, st *Stream) error {
				io.ReadFull(st, make([]byte, 3))
				return errCustom
			})
			HandleStream(s, "Panic", func(context.Context, *Empty, *Stream) error { panic("no") })
		})
		open := func(method string) *Stream {
			t.Helper()
			st, err := OpenStream(t.Context(), p.c, method, &Empty{})
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		st := open("Read")
		st.Write([]byte("x"))
		st.Close()
		if err := <-handler; err != nil { // Close is a clean end of what was written
			t.Errorf("the client closed; the handler that reads saw %v", err)
		}
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("reading a closed stream: %v", err)
		}
		if _, err := st.Write(make([]byte, 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("writing to a closed stream: %v", err)
		}
		idle(t, p.s)

		st = open("Write")
		io.ReadFull(st, make([]byte, 100))
		st.Close()
		if err := <-handler; !errors.Is(err, ErrClosed) {
			t.Errorf("the client closed; the handler that writes saw %v", err)
		}
		idle(t, p.s)

		for method, want := range map[string]error{"Fail": errCustom, "Panic": ErrPanic} {
			st = open(method)
			n, err := io.Copy(st, zeros{})
			if err == nil {
				t.Errorf("%s: %d bytes were written to a handler that had gone", method, n)
			}
			if _, err := st.Read(make([]byte, 1)); !errors.Is(err, want) {
				t.Errorf("%s: the client read %v", method, err)
			}
			st.Close()
		}

		st = open("Read")
		st.Write(make([]byte, 1<<20))
		other := open("Write")
		p.c.Close()
		for range 2 {
			if err := <-handler; err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the client vanished; a handler saw %v", err)
			}
		}
		for _, st := range []*Stream{st, other} {
			if _, err := io.Copy(io.Discard, st); !errors.Is(err, ErrClosed) {
				t.Errorf("after its client's Close a stream's Read returns %v", err)
			}
			st.Close()
		}
		idle(t, p.s)
	})
}

// TestStreamRefused: what is said of a stream that the handler never got.
func TestStreamRefused(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleStream(s, "Refuse", func(context.Context, *note, *Stream) error { return Refuse(errCustom) })
		})
		if _, err := OpenStream(t.Context(), p.c, "None", &Empty{}); !errors.Is(err, ErrNoMethod) || !errors.Is(err, ErrNotExecuted) {
			t.Errorf("no such method: %v", err)
		}
		if _, err := OpenStream(t.Context(), p.c, "Refuse", &note{Text: string(make([]byte, maxInline))}); !errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrNotExecuted) {
			t.Errorf("a request that is too large: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := OpenStream(ctx, p.c, "Refuse", &note{}); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNotExecuted) {
			t.Errorf("with a context that has ended: %v", err)
		}
		st, err := OpenStream(t.Context(), p.c, "Refuse", &note{})
		if err == nil { // the server takes a stream before its handler speaks
			_, err = st.Read(make([]byte, 1))
			st.Close()
		}
		if !errors.Is(err, errCustom) {
			t.Errorf("refused by the handler: %v", err)
		}
		idle(t, p.s)
	})
}

// A Read that waits with large memory gets a chunk at once, though the beginning
// of it was read along with its head.
func TestChunkInOneRead(t *testing.T) {
	chunk := pattern(maxChunk, 3)
	r := frameReader{nc: &pieces{rest: frame(kindData, 1, chunk), size: 1 << 20}, block: func() error { return nil }, total: new(atomic.Int64)}
	defer r.close()
	h, _, err := r.next()
	if err != nil || r.r == r.w {
		t.Fatalf("%+v, %v: nothing was read along", h, err)
	}
	got := make([]byte, maxChunk)
	if n, err := r.read(got); n != maxChunk || err != nil || !bytes.Equal(got, chunk) {
		t.Fatalf("%d of %d bytes, %v", n, maxChunk, err)
	}
}

// TestStreamPieces: what is handed out piece by piece is what was sent, whether pieces
// are kept, joined or freed at once, and beside reads that copy.
func TestStreamPieces(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) { HandleStream(s, "Echo", echoStream) })
		for _, piece := range []int{10, 1000, smallWrite, smallWrite + 1, 100 << 10, 1 << 20} {
			data := pattern(min(500*piece, 3<<20), byte(piece))
			st, err := OpenStream(t.Context(), p.c, "Echo", &Empty{})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for rest := data; len(rest) > 0; {
					n := min(piece, len(rest))
					if m, err := st.WriteAfter(rest[:n/3], rest[n/3:n]); err != nil || m != n {
						t.Errorf("wrote %d of %d: %v", m, n, err)
						break
					}
					rest = rest[n:]
				}
				st.CloseWrite()
			}()
			var got []byte
			var kept []Piece
			for i := 0; ; i++ {
				if i%5 == 4 {
					b := make([]byte, 100)
					n, err := io.ReadFull(st, b)
					for _, k := range kept {
						got = append(got, k.Bytes()...)
						k.Free()
					}
					kept = kept[:0]
					if got = append(got, b[:n]...); err != nil {
						break
					}
					continue
				}
				next, err := st.ReadPiece(50_000)
				if err == io.EOF {
					continue // until Read says so too
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(next.Bytes()) == 0 || len(next.Bytes()) > 50_000 || next.Memory() < len(next.Bytes()) {
					t.Fatalf("a piece of %d bytes in %d", len(next.Bytes()), next.Memory())
				}
				if last := len(kept) - 1; last < 0 || !kept[last].Join(&next) {
					kept = append(kept, next)
				}
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

// TestPieceOfClosedStream: a piece stays what it is when its stream has ended.
func TestPieceOfClosedStream(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Echo", echo)
			HandleStream(s, "Echo stream", echoStream)
		})
		st, err := OpenStream(t.Context(), p.c, "Echo stream", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		data := pattern(100<<10, 3)
		if _, err := st.Write(data); err != nil {
			t.Fatal(err)
		}
		piece, err := st.ReadPiece(len(data))
		if err != nil {
			t.Fatal(err)
		}
		st.Close()
		for range 10 { // memory that is free would be used for these
			if _, err := Call[note](t.Context(), p.c, "Echo", &note{Body: Body{Data: pattern(100<<10, 9)}}); err != nil {
				t.Fatal(err)
			}
		}
		mustEqual(t, "piece", piece.Bytes(), data[:len(piece.Bytes())])
		piece.Free()
		piece.Free()
		if _, err := st.ReadPiece(1); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
