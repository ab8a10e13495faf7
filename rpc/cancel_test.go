package rpc

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// TestDeadlineAndCancel: they end the call at both ends, whatever the semantics,
// and free what the server held for it.
func TestDeadlineAndCancel(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		eachSemantics(t, func(t *testing.T, _ Semantics, as func(*Client) Caller) {
			began, ended := make(chan struct{}, 10), make(chan error, 10)
			p := r.start(t, ServerConfig{Sessions: newTable(t)}, ClientConfig{}, func(s *Server) {
				Handle(s, "Wait", func(ctx context.Context, n *note) (*note, error) {
					deadline, ok := ctx.Deadline()
					if left := time.Until(deadline); ok != (n.N == 1) || ok && left > time.Minute {
						t.Errorf("the handler has a deadline %v: %v, %v ahead", ok, deadline, left)
					}
					began <- struct{}{}
					inner, cancel := context.WithCancel(ctx) // learns by AfterFunc
					defer cancel()
					<-inner.Done()
					ended <- ctx.Err()
					return nil, ctx.Err()
				})
			})
			req := &note{N: 1, Body: Body{Data: make([]byte, 300<<10)}}
			timeout := 25 * time.Millisecond
			for len(ended) == 0 { // on a loaded machine, a call may not get so far in time
				timeout *= 2
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				_, err := Call[note](ctx, as(p.c), "Wait", req)
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("past its deadline, a call returned %v", err)
				}
				idle(t, p.s)
			}
			// The client's word may come before the server's own clock strikes.
			for len(ended) > 0 {
				<-began
				if err := <-ended; !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Errorf("the handler saw %v", err)
				}
			}

			req.N = 0
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			returned := make(chan error, 1)
			go func() {
				_, err := Call[note](ctx, as(p.c), "Wait", req)
				returned <- err
			}()
			<-began
			if st := p.s.Stats(); st.Running != 1 || st.HeldBytes < 300<<10 {
				t.Errorf("while the handler runs: %+v", st)
			}
			cancel()
			if err := <-returned; !errors.Is(err, context.Canceled) || OutcomeOf(err) != OutcomeUnknown {
				t.Errorf("cancelled, a call returned %v", err)
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the handler saw %v", err)
			}
			idle(t, p.s)
			if p.c.Stats().Conns != 1 {
				t.Error("the connection did not live")
			}
		})
	})
}

// TestDeadlineTravels: the handler's deadline is the caller's, less nothing but
// the way; a call whose time has run out before it is sent is not executed.
func TestDeadlineTravels(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const way = 50 * time.Millisecond
		n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(way)})
		var runs atomic.Int64
		serveAt(t, n.Host("server"), ":1", ServerConfig{}, func(s *Server) {
			Handle(s, "Left", func(ctx context.Context, _ *Empty) (*note, error) {
				runs.Add(1)
				d, ok := ctx.Deadline()
				if !ok {
					return &note{}, nil
				}
				return &note{N: uint64(time.Until(d))}, nil
			})
			Handle(s, "Wait", func(ctx context.Context, _ *Empty) (*Empty, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		})
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}})
		if resp, err := Call[note](t.Context(), c, "Left", &Empty{}); err != nil || resp.N != 0 {
			t.Errorf("without a deadline: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// The time that is left travels, not the time of day: clocks may differ.
		if resp, err := Call[note](ctx, c, "Left", &Empty{}); err != nil || time.Duration(resp.N) != time.Second {
			t.Errorf("with a deadline of 1 s: %v are left, error %v", time.Duration(resp.N), err)
		}
		start := time.Now()
		if _, err := Call[Empty](ctx, c.AtLeastOnce(), "Wait", &Empty{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Second-2*way {
			t.Errorf("a call with %v left took %v", time.Second-2*way, took)
		}
		_, err := Call[note](ctx, c, "Left", &Empty{})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNotExecuted) || runs.Load() != 2 {
			t.Errorf("with no time left: %d runs, error %v", runs.Load(), err)
		}
		cause := errors.New("no longer needed")
		ctx, why := context.WithCancelCause(t.Context())
		why(cause)
		if _, err := Call[note](ctx, c, "Left", &Empty{}); !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled with a cause: %v", err)
		}
	})
}

// TestCancelIsPrompt: a caller whose time is up is not held by a connection that
// takes nothing any more, even if streams have filled it.
func TestCancelIsPrompt(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond), Buffer: 64 << 10})
		serveAt(t, n.Host("server"), ":1", ServerConfig{}, func(s *Server) {
			Handle(s, "Echo", echo)
		})
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}})
		if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil {
			t.Fatal(err)
		}
		n.Host("server").Pause()
		for what, req := range map[string]*note{"small": {}, "body": {Body: Body{Data: make([]byte, 1000)}}} {
			for i := range 200 { // more than the buffers hold
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				start := time.Now()
				req.Text = string(make([]byte, 1000))
				_, err := Call[note](ctx, c, "Echo", req)
				cancel()
				if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > time.Millisecond {
					t.Fatalf("%s call %d returned after %v: %v", what, i, took, err)
				}
			}
		}
		n.Host("server").Resume()
	})
}

// TestCancelBulk: a caller whose chunk is stuck in a transport that takes nothing
// is held for a second, and no longer; the memory is its own again.
func TestCancelBulk(t *testing.T) {
	for _, kind := range []string{"plain", "TLS"} {
		t.Run(kind, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond), Buffer: 64 << 10})
				server, client := transport.Transport(n.Host("server")), transport.Transport(n.Host("client"))
				if kind == "TLS" {
					ca := transporttest.NewCA(t)
					server, client = transport.TLS(server, ca.Config(t, "server")), transport.TLS(client, ca.Config(t, "client"))
				}
				serveAt(t, server, ":1", ServerConfig{}, func(s *Server) {
					Handle(s, "Echo", echo)
					HandleStream(s, "Stream", echoStream)
				})
				c := dialFrom(t, client, ClientConfig{Addrs: []string{"server:1"}})
				for what, send := range map[string]func(body []byte) error{
					"call": func(body []byte) error {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
						defer cancel()
						_, err := Call[note](ctx, c, "Echo", &note{Body: Body{Data: body}})
						return err
					},
					"stream": func(body []byte) error {
						st, err := OpenStream(t.Context(), c, "Stream", &Empty{})
						if err != nil {
							return err
						}
						defer st.Close()
						n.Host("server").Pause()
						st.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
						_, err = st.Write(body)
						return err
					},
				} {
					if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil {
						t.Fatal(err)
					}
					if what == "call" {
						n.Host("server").Pause()
					}
					start := time.Now()
					body := make([]byte, 1<<20)
					err := send(body)
					copy(body, pattern(1<<20, 1)) // a race with whoever still sends it
					if took := time.Since(start); took > lendPatience+100*time.Millisecond || !isTimeout(err) {
						t.Errorf("%s: returned after %v: %v", what, took, err)
					}
					n.Host("server").Resume()
				}
			})
		})
	}
}

// TestLentMemoryComesBack: once a call has returned, cancelled or not, nobody
// touches the memory that it was lent: neither the buffer that a response's body
// was to fill, nor the body of the request. The race detector watches too.
func TestLentMemoryComesBack(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		const size = 600 << 10
		var blobs [16][]byte
		for i := range blobs {
			blobs[i] = bytes.Repeat([]byte{byte(i)}, size)
		}
		spoilt := bytes.Repeat([]byte{0xee}, size)
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Next", func(_ context.Context, n *note) (*note, error) {
				if !bytes.Equal(n.Data, blobs[n.N][:len(n.Data)]) {
					return nil, errCustom
				}
				return &note{Body: Body{Data: blobs[n.N+1]}}, nil
			})
		})
		var wg sync.WaitGroup
		var completed, cancelled atomic.Int64
		for g := range 4 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(7, uint64(g)))
				into := make([]byte, 0, size)
				body := make([]byte, 300<<10)
				// How many are cut off is for the machine's speed to say: more calls if few were.
				for i := 0; i < 40 || cancelled.Load() < 10 && i < 4000; i++ {
					at := uint64(i) % 15
					copy(body, blobs[at])
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(3000))*time.Microsecond)
					resp := &note{Body: Body{Data: into}}
					err := CallInto(ctx, p.c, "Next", &note{N: at, Body: Body{Data: body}}, resp)
					cancel()
					switch {
					case err == nil:
						completed.Add(1)
						mustEqual(t, "response", resp.Data, blobs[at+1])
					case errors.Is(err, context.DeadlineExceeded):
						cancelled.Add(1)
					default:
						t.Error(err)
					}
					copy(into[:size], spoilt)
					copy(body, spoilt)
					runtime.Gosched()
					if !bytes.Equal(into[:size], spoilt) {
						t.Error("memory was written to after the call had returned")
					}
				}
			})
		}
		wg.Wait()
		if cancelled.Load() < 10 {
			t.Errorf("%d calls completed, %d were cut off: too few", completed.Load(), cancelled.Load())
		}
		if p.c.Stats().Conns != 1 {
			t.Error("a cancelled call cost the connection")
		}
		idle(t, p.s)
	})
}

// TestLentMemoryAndLostConnection: the same when it is the connection that ends,
// while bodies are arriving.
func TestLentMemoryAndLostConnection(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		const size, rounds = 1 << 20, 30
		blob, spoilt := pattern(size, 1), make([]byte, size)
		s, addr := r.serve(t, ServerConfig{}, func(s *Server) {
			Handle(s, "Read", func(context.Context, *Empty) (*note, error) { return &note{Body: Body{Data: blob}}, nil })
		})
		into := make([]byte, 0, size)
		cut := 0
		// Whether a call is cut off depends on who runs when: more rounds if none was.
		for i := 0; i < rounds || cut == 0 && i < 20*rounds; i++ {
			c := r.dial(t, ClientConfig{Addrs: []string{addr}})
			over := make(chan struct{})
			go func() {
				for c.Stats().BytesIn < int64(i%rounds)*size/rounds && !isClosed(over) {
					runtime.Gosched()
				}
				c.Close()
			}()
			resp := &note{Body: Body{Data: into}}
			if err := CallInto(t.Context(), c, "Read", &Empty{}, resp); err == nil {
				mustEqual(t, "response", resp.Data, blob)
			} else {
				cut++
			}
			copy(into[:size], spoilt) // a race with whoever still fills it
			close(over)
			c.Close()
			if !bytes.Equal(into[:size], spoilt) {
				t.Fatal("memory was written to after the call had returned")
			}
		}
		if cut == 0 {
			t.Error("no call was cut off")
		}
		idle(t, s)
	})
}

// TestHalfOpenPeer: a peer that has vanished without a word is found out within
// four intervals by both sides, and not before three; one that is merely idle is
// left alone.
func TestHalfOpenPeer(t *testing.T) {
	const ping = 10 * time.Second
	for name, strike := range map[string]func(n *transport.Network){
		"nothing":       func(*transport.Network) {},
		"power failure": func(n *transport.Network) { n.Host("server").Crash(transport.CrashSilent) },
		"partition":     func(n *transport.Network) { n.Partition([]string{"server"}) },
		"pause":         func(n *transport.Network) { n.Host("server").Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
				s, _ := serveAt(t, n.Host("server"), ":1", ServerConfig{}, func(s *Server) {
					Handle(s, "Echo", echo)
					HandleStream(s, "Stream", echoStream)
				})
				c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}})
				if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil {
					t.Fatal(err)
				}
				st, err := OpenStream(t.Context(), c, "Stream", &Empty{})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if c.Stats().Conns != 1 || c.Stats().OpenConns != 1 || s.Stats().OpenConns != 1 {
					t.Fatal("an idle connection was given up")
				}
				traffic := c.Stats().BytesOut
				time.Sleep(10 * time.Minute)
				if traffic = c.Stats().BytesOut - traffic; traffic > 4*int64(10*time.Minute/ping) {
					t.Errorf("an idle connection sent %d bytes in 10 minutes", traffic)
				}
				strike(n)
				defer n.Heal()
				defer n.Host("server").Resume()
				start := time.Now()
				if name == "nothing" {
					return
				}
				_, err = st.Read(make([]byte, 1))
				if took := time.Since(start); !errors.Is(err, ErrConnLost) || took < 2*ping || took > 4*ping {
					t.Errorf("after %v: %v", took, err)
				}
				time.Sleep(start.Add(4*ping).Sub(time.Now()) + time.Millisecond)
				if open := s.Stats().OpenConns; open != 0 && name != "power failure" && name != "pause" {
					t.Errorf("the server still has %d connections", open)
				}
			})
		})
	}
}
