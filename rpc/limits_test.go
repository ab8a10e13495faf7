package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// TestMaxCalls: calls beyond the limit of either side wait, and proceed or give
// up in their turn.
func TestMaxCalls(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		for _, ofServer := range []bool{true, false} {
			const limit, calls = 3, 20
			var scfg ServerConfig
			var ccfg ClientConfig
			if ofServer {
				scfg.Limits.MaxCalls = limit
			} else {
				ccfg.Limits.MaxCalls = limit
			}
			var running, most, ran atomic.Int64
			let := make(chan struct{})
			p := r.start(t, scfg, ccfg, func(s *Server) {
				Handle(s, "Wait", func(context.Context, *Empty) (*Empty, error) {
					most.Store(max(most.Load(), running.Add(1)))
					<-let
					running.Add(-1)
					ran.Add(1)
					return nil, nil
				})
			})
			var wg sync.WaitGroup
			for range calls {
				wg.Go(func() {
					if _, err := Call[Empty](t.Context(), p.c, "Wait", &Empty{}); err != nil {
						t.Error(err)
					}
				})
			}
			eventually(t, "the limit is reached", func() bool { return running.Load() == limit })
			ctx, cancel := context.WithCancel(t.Context())
			gaveUp := make(chan error, 1)
			go func() {
				_, err := Call[Empty](ctx, p.c, "Wait", &Empty{})
				gaveUp <- err
			}()
			cancel()
			if err := <-gaveUp; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNotExecuted) {
				t.Errorf("a call that gave up waiting for its turn: %v", err)
			}
			close(let)
			wg.Wait()
			if most.Load() != limit || ran.Load() != calls {
				t.Errorf("%d calls ran, up to %d at a time", ran.Load(), most.Load())
			}
			idle(t, p.s)
		}
	})
}

// TestMaxStreams: streams beyond the limit of either side are refused, and there
// is room again when one has ended.
func TestMaxStreams(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		for _, ofServer := range []bool{true, false} {
			const limit = 3
			var scfg ServerConfig
			var ccfg ClientConfig
			if ofServer {
				scfg.Limits.MaxStreams = limit
			} else {
				ccfg.Limits.MaxStreams = limit
			}
			p := r.start(t, scfg, ccfg, func(s *Server) { HandleStream(s, "Echo", echoStream) })
			var open []*Stream
			for range limit {
				st, err := OpenStream(t.Context(), p.c, "Echo", &Empty{})
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, st)
			}
			if _, err := OpenStream(t.Context(), p.c, "Echo", &Empty{}); !errors.Is(err, ErrOverloaded) || !errors.Is(err, ErrNotExecuted) {
				t.Errorf("one stream too many: %v", err)
			}
			open[0].Close()
			eventually(t, "there is room again", func() bool {
				st, err := OpenStream(t.Context(), p.c, "Echo", &Empty{})
				if err == nil {
					open[0] = st
				}
				return err == nil
			})
			for i, st := range open {
				fmt.Fprintf(st, "stream %d", i)
				st.CloseWrite()
				if b, err := io.ReadAll(st); err != nil || string(b) != fmt.Sprintf("stream %d", i) {
					t.Errorf("stream %d: %q, error %v", i, b, err)
				}
				st.Close()
			}
			idle(t, p.s)
		}
	})
}

// TestTooLarge: a message or body beyond a limit of either side fails its own
// call, with the right outcome, and the connection lives.
func TestTooLarge(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		small := Limits{MaxMessageBytes: 10 << 10, MaxBodyBytes: 300 << 10}
		for _, tc := range []struct {
			name           string
			server, client Limits
			req            *note  // what is sent
			text, body     int    // what is answered
			sem            string // what it says of the execution
		}{
			{"request to a strict server", small, Limits{}, &note{Text: string(make([]byte, 11<<10))}, 0, 0, "not executed"},
			{"long request to a strict server", small, Limits{}, &note{Text: string(make([]byte, 1<<20))}, 0, 0, "not executed"},
			{"body to a strict server", small, Limits{}, &note{Body: Body{Data: make([]byte, 300<<10+1)}}, 0, 0, "not executed"},
			{"response of a strict server", small, Limits{}, &note{}, 11 << 10, 0, ""},
			{"response to a strict client", Limits{}, small, &note{}, 11 << 10, 0, "executed"},
			{"long response to a strict client", Limits{}, small, &note{}, 1 << 20, 0, "executed"},
			{"response's body to a strict client", Limits{}, small, &note{}, 0, 300<<10 + 1, "executed"},
			{"request of a strict client", Limits{}, small, &note{Text: string(make([]byte, 11<<10))}, 0, 0, ""},
			{"just at the limits", small, small, &note{Text: string(make([]byte, 10<<10-4)), Body: Body{Data: make([]byte, 300<<10)}}, 10<<10 - 4, 300 << 10, ""},
		} {
			var runs atomic.Int64
			p := r.start(t, ServerConfig{Limits: tc.server}, ClientConfig{Limits: tc.client}, func(s *Server) {
				Handle(s, "Answer", func(_ context.Context, req *note) (*note, error) {
					if req.N == 1 {
						return &note{Body: Body{Data: make([]byte, 1)}}, nil
					}
					runs.Add(1)
					return &note{Text: string(make([]byte, tc.text)), Body: Body{Data: make([]byte, tc.body)}}, nil
				})
			})
			resp, err := Call[note](t.Context(), p.c.AtLeastOnce(), "Answer", tc.req)
			switch tc.sem {
			case "":
				if err != nil || len(resp.Text) != tc.text || len(resp.Data) != tc.body {
					t.Errorf("%s: %v", tc.name, err)
				}
			default:
				if !errors.Is(err, ErrTooLarge) || OutcomeOf(err).String() != tc.sem {
					t.Errorf("%s: outcome %v, error %v", tc.name, OutcomeOf(err), err)
				}
			}
			if executed := tc.sem != "not executed"; executed != (runs.Load() == 1) {
				t.Errorf("%s: executed %d times", tc.name, runs.Load())
			}
			if resp, err := Call[note](t.Context(), p.c, "Answer", &note{N: 1}); err != nil || len(resp.Data) != 1 {
				t.Errorf("%s: a good call after it: %v", tc.name, err)
			}
			if st := p.c.Stats(); st.Conns != 1 {
				t.Errorf("%s: the connection did not live", tc.name)
			}
		}
	})
}

// TestBudgets: a request that the budget of its connection or of the server has
// no room for is refused, not executed, and one that it has room for gets in.
func TestBudgets(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		for name, lim := range map[string]Limits{
			"connection": {ConnBudgetBytes: 8 << 20},
			"server":     {BudgetBytes: 8 << 20},
		} {
			t.Run(name, func(t *testing.T) {
				let := make(chan struct{})
				var runs atomic.Int64
				p := r.start(t, ServerConfig{Limits: lim}, ClientConfig{}, func(s *Server) {
					Handle(s, "Hold", func(_ context.Context, n *note) (*note, error) {
						runs.Add(1)
						<-let
						return &note{N: uint64(len(n.Data))}, nil
					})
				})
				var wg sync.WaitGroup
				for range 5 { // 5 MiB
					wg.Go(func() {
						req := &note{Body: Body{Data: make([]byte, 1<<20)}}
						if resp, err := Call[note](t.Context(), p.c, "Hold", req); err != nil || resp.N != 1<<20 {
							t.Errorf("within the budget: %v", err)
						}
					})
				}
				eventually(t, "five requests are held", func() bool { return runs.Load() == 5 })
				_, err := Call[note](t.Context(), p.c, "Hold", &note{Body: Body{Data: make([]byte, 6<<20)}})
				if !errors.Is(err, ErrOverloaded) || !errors.Is(err, ErrNotExecuted) || runs.Load() != 5 {
					t.Errorf("beyond the budget: %v", err)
				}
				if held := p.s.Stats().HeldBytes; held < 5<<20 || held > 8<<20 {
					t.Errorf("%d bytes held", held)
				}
				// A caller that retries gets in when there is room.
				wg.Go(func() {
					req := &note{Body: Body{Data: make([]byte, 6<<20)}}
					if resp, err := Call[note](t.Context(), p.c.AtLeastOnce(), "Hold", req); err != nil || resp.N != 6<<20 {
						t.Errorf("when there is room again: %v", err)
					}
				})
				eventually(t, "it has been refused", func() bool { return p.s.Stats().Overloads >= 2 })
				close(let)
				wg.Wait()
				idle(t, p.s)
			})
		}
	})
}

// TestMaxConns: connections beyond the limit, those in their handshake included,
// cost nothing but themselves.
func TestMaxConns(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{Limits: Limits{MaxConns: 3}}, ClientConfig{}, func(s *Server) { Handle(s, "Echo", echo) })
		if _, err := Call[note](t.Context(), p.c, "Echo", &note{}); err != nil {
			t.Fatal(err)
		}
		var mute []net.Conn
		for range 2 { // they stay in their handshake
			nc, err := r.client.Dial(t.Context(), p.addr)
			if err != nil {
				t.Fatal(err)
			}
			mute = append(mute, nc)
		}
		eventually(t, "both are counted", func() bool {
			p.s.mu.Lock()
			defer p.s.mu.Unlock()
			return p.s.accepted == 3
		})
		other := r.dial(t, ClientConfig{Addrs: []string{p.addr}})
		if _, err := Call[note](t.Context(), other, "Echo", &note{}); !errors.Is(err, ErrNotExecuted) {
			t.Errorf("one connection too many: %v", err)
		}
		if _, err := Call[note](t.Context(), p.c, "Echo", &note{}); err != nil {
			t.Errorf("on the connection that there is: %v", err)
		}
		if st := p.s.Stats(); st.Rejected != 1 || st.OpenConns != 1 {
			t.Errorf("%d rejected, %d open", st.Rejected, st.OpenConns)
		}
		for _, nc := range mute {
			nc.Close()
		}
		if _, err := Call[note](t.Context(), other.AtLeastOnce(), "Echo", &note{}); err != nil {
			t.Errorf("when there is room again: %v", err)
		}
	})
}

// TestBulkDelaysLittle: on a link of 1 MB/s that is busy with a body, a small call
// waits for what the transport has taken already and one chunk, in either
// direction, and not for the body.
func TestBulkDelaysLittle(t *testing.T) {
	const (
		bandwidth = 1 << 20
		buffer    = 64 << 10 // of the transport, in each direction
		rtt       = 2 * time.Millisecond
	)
	for _, up := range []bool{true, false} {
		for _, asStream := range []bool{true, false} {
			t.Run(fmt.Sprintf("up=%v/stream=%v", up, asStream), func(t *testing.T) {
				testutil.Bubble(t, func(t *testing.T) {
					n := transporttest.NewNetwork(t, transport.NetworkConfig{
						Latency: transport.Constant(rtt / 2), Bandwidth: bandwidth, Buffer: buffer,
					})
					const size = 20 << 20
					bulk := make([]byte, size)
					serveAt(t, n.Host("server"), ":1", ServerConfig{}, func(s *Server) { bulkServer(s, up, bulk) })
					c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}})
					if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil {
						t.Fatal(err)
					}
					done := make(chan error, 1)
					start := time.Now()
					go func() { done <- moveBulk(c, up, asStream, bulk) }()
					time.Sleep(time.Second)
					var slowest time.Duration
					for range 50 {
						start := time.Now()
						if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil {
							t.Fatal(err)
						}
						slowest = max(slowest, time.Since(start))
						time.Sleep(7 * time.Millisecond)
					}
					bound := rtt + time.Duration(float64(maxChunk+buffer)/bandwidth*float64(time.Second))
					if slowest > bound {
						t.Errorf("a small call took %v beside bulk, want at most %v", slowest, bound)
					}
					if err := <-done; err != nil {
						t.Error(err)
					}
					if took := time.Since(start); took < size/bandwidth*time.Second || took > size/bandwidth*time.Second*11/10 {
						t.Errorf("the bulk took %v, the bandwidth allows %v", took, size/bandwidth*time.Second)
					}
				})
			})
		}
	}
}

// bulkServer has the methods that moveBulk calls, and a small one.
func bulkServer(s *Server, up bool, bulk []byte) {
	Handle(s, "Echo", echo)
	Handle(s, "Bulk", func(_ context.Context, req *note) (*note, error) {
		if req.Data == nil {
			return &note{Body: Body{Data: bulk}}, nil
		}
		return &note{}, nil
	})
	HandleStream(s, "Bulk stream", func(_ context.Context, _ *Empty, st *Stream) error {
		if up {
			_, err := io.Copy(io.Discard, st)
			return err
		}
		_, err := st.Write(bulk)
		return err
	})
}

// moveBulk moves bytes up or down.
func moveBulk(c *Client, up, asStream bool, bulk []byte) error {
	ctx := context.Background()
	if !asStream {
		req := &note{}
		if up {
			req.Data = bulk
		}
		_, err := Call[note](ctx, c, "Bulk", req)
		return err
	}
	st, err := OpenStream(ctx, c, "Bulk stream", &Empty{})
	if err != nil {
		return err
	}
	defer st.Close()
	if up {
		if _, err := st.Write(bulk); err != nil {
			return err
		}
		st.CloseWrite()
		_, err = io.Copy(io.Discard, st)
		return err
	}
	n, err := io.Copy(io.Discard, st)
	if err == nil && n != int64(len(bulk)) {
		err = fmt.Errorf("%d bytes of %d", n, len(bulk))
	}
	return err
}

// Several chunks leave in one write only if nobody has to wait for it.
func TestMoreChunks(t *testing.T) {
	for name, c := range map[string]struct {
		mux    *mux
		rest   int
		want   int
		stream *Stream
	}{
		"alone":             {mux: &mux{swift: 2}, rest: 9 * maxChunk, want: 2},
		"one more is left":  {mux: &mux{swift: 2}, rest: maxChunk, want: 1},
		"little is left":    {mux: &mux{swift: 2}, rest: copiedChunk},
		"other bodies wait": {mux: &mux{swift: 2, bulk: []*outflow{{}}}, rest: 9 * maxChunk},
		"other calls run":   {mux: &mux{swift: 2, pending: 2}, rest: 9 * maxChunk},
		"a slow network":    {mux: &mux{swift: 1}, rest: 9 * maxChunk},
		"a stream":          {mux: &mux{swift: 2}, rest: 9 * maxChunk, stream: &Stream{credit: 9 * maxChunk}},
	} {
		m, body := c.mux, pattern(c.rest, 1)
		o := &outflow{kind: kindChunk, id: 1 << 40, rest: [2][]byte{nil, body}, stream: c.stream}
		m.moreChunks(o)
		if got := len(m.vector) / 2; got != c.want || o.busy != min(c.want*maxChunk, c.rest) {
			t.Errorf("%s: %d more chunks of %d bytes", name, got, o.busy)
			continue
		}
		for i := range c.want {
			h, n, err := parseHead(m.vector[2*i])
			if err != nil || n != len(m.vector[2*i]) || h.kind != kindChunk || h.id != o.id || h.size != maxChunk {
				t.Errorf("%s: the head %+v of %d bytes, %v", name, h, n, err)
			}
			mustEqual(t, "chunk", m.vector[2*i+1], body[i*maxChunk:(i+1)*maxChunk])
		}
	}
}
