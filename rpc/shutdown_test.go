package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// TestShutdownDrains: calls and streams in progress end as they would have, new
// ones are refused, not executed, and a client that knows a second server goes
// there without noticing.
func TestShutdownDrains(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		eachSemantics(t, func(t *testing.T, _ Semantics, as func(*Client) Caller) {
			table := newTable(t)
			let := make(chan struct{})
			var first, second atomic.Int64
			setup := func(s *Server) {
				who("first", &first)(s)
				Handle(s, "Wait", func(context.Context, *note) (*note, error) {
					<-let
					return &note{Text: "done", Body: Body{Data: pattern(400<<10, 1)}}, nil
				})
				HandleStream(s, "Echo", echoStream)
			}
			_, there := r.serve(t, ServerConfig{Sessions: table}, who("second", &second))
			s, here := r.serve(t, ServerConfig{Sessions: table}, setup)
			lone := r.dial(t, ClientConfig{Addrs: []string{here}})
			double := r.dial(t, ClientConfig{Addrs: []string{here, there}})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					resp, err := Call[note](t.Context(), as(lone), "Wait", &note{})
					if err != nil || resp.Text != "done" || len(resp.Data) != 400<<10 {
						t.Errorf("a call in progress: %v", err)
					}
				})
			}
			st, err := OpenStream(t.Context(), double, "Echo", &Empty{})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "all run", func() bool { return s.Stats().Running == 5 })
			down := make(chan error, 1)
			go func() { down <- s.Shutdown(t.Context()) }()
			eventually(t, "the server drains", s.draining.Load)

			if _, err := ask(t.Context(), lone); !errors.Is(err, ErrNotExecuted) { // from which the client knows
				t.Errorf("a new call, tried once: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := ask(ctx, as(lone)); !errors.Is(err, ErrNotExecuted) {
				t.Errorf("a new call: %v", err)
			}
			if _, err := OpenStream(t.Context(), lone, "Echo", &Empty{}); !errors.Is(err, ErrNotExecuted) {
				t.Errorf("a new stream: %v", err)
			}
			for range 3 {
				if name, err := ask(t.Context(), as(double)); name != "second" || err != nil {
					t.Errorf("with a second server: answered by %q, error %v", name, err)
				}
			}
			if _, err := st.Write([]byte("still here")); err != nil {
				t.Error(err)
			}
			st.CloseWrite()
			if b, err := io.ReadAll(st); string(b) != "still here" || err != nil {
				t.Errorf("a stream in progress: %q, %v", b, err)
			}
			st.Close()
			select {
			case err := <-down:
				t.Errorf("Shutdown returned while calls were in progress: %v", err)
			default:
			}
			close(let)
			wg.Wait()
			if err := <-down; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if _, err := ask(t.Context(), lone); !errors.Is(err, ErrNotExecuted) {
				t.Errorf("a call after Shutdown: %v", err)
			}
			if n := s.Stats(); n.Running != 0 || n.HeldBytes != 0 || n.OpenConns != 0 {
				t.Errorf("after Shutdown: %+v", n)
			}
			if first.Load() != 0 || second.Load() != 3 {
				t.Errorf("%d and %d executions", first.Load(), second.Load())
			}
		})
	})
}

// TestShutdownSendsWhatIsReady: a long answer on a slow link leaves whole, however
// long that takes.
func TestShutdownSendsWhatIsReady(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const size = 8 << 20
		n := transporttest.NewNetwork(t, transport.NetworkConfig{
			Latency: transport.Constant(5 * time.Millisecond), Bandwidth: 1 << 20, Buffer: 64 << 10,
		})
		s, addr := serveAt(t, n.Host("server"), ":1", ServerConfig{}, func(s *Server) {
			Handle(s, "Read", func(context.Context, *Empty) (*note, error) {
				return &note{Body: Body{Data: pattern(size, 1)}}, nil
			})
		})
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{addr}})
		done := make(chan struct{})
		go func() {
			defer close(done)
			resp, err := Call[note](t.Context(), c, "Read", &Empty{})
			if err != nil {
				t.Error(err)
				return
			}
			mustEqual(t, "answer", resp.Data, pattern(size, 1))
		}()
		time.Sleep(time.Second)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// TestShutdownGivesUp: it lasts as long as its context, and then ends what runs.
func TestShutdownGivesUp(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
		s, addr := serveAt(t, n.Host("server"), ":1", ServerConfig{Sessions: newTable(t)}, func(s *Server) {
			Handle(s, "Wait", func(ctx context.Context, _ *Empty) (*Empty, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		})
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{addr}})
		for _, caller := range []Caller{c, c.ExactlyOnce()} {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := Call[Empty](ctx, caller, "Wait", &Empty{}); !errors.Is(err, ErrOutcomeUnknown) {
					t.Errorf("a call that was cut off: %v", err)
				}
			}()
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("a second Shutdown: %v", err)
		}
		time.Sleep(2 * time.Minute)
	})
}

// TestCloseLeavesNothing: not a goroutine of either side, whatever was going on.
func TestCloseLeavesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		ignore := goleak.IgnoreCurrent()
		s, addr := r.serve(t, ServerConfig{Sessions: newTable(t)}, func(s *Server) {
			Handle(s, "Echo", echo)
			Handle(s, "Wait", func(ctx context.Context, _ *note) (*note, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			HandleStream(s, "Echo stream", echoStream)
			HandleStream(s, "Mute", func(ctx context.Context, _ *Empty, st *Stream) error {
				<-ctx.Done()
				return nil
			})
		})
		var calls sync.WaitGroup
		var left []*Client
		for i := range 2 {
			c := r.dial(t, ClientConfig{Addrs: []string{addr}})
			for _, caller := range []Caller{c, c.AtLeastOnce(), c.ExactlyOnce()} {
				for _, req := range []*note{{}, {Body: Body{Data: make([]byte, 1<<20)}}} {
					calls.Go(func() { Call[note](t.Context(), caller, "Wait", req) })
					calls.Go(func() { Call[note](t.Context(), caller, "Echo", req) })
				}
			}
			for _, method := range []string{"Echo stream", "Mute"} {
				st, err := OpenStream(t.Context(), c, method, &Empty{})
				if err != nil {
					t.Fatal(err)
				}
				calls.Go(func() { io.Copy(st, zeros{}) })
				calls.Go(func() { io.Copy(io.Discard, st) })
			}
			eventually(t, "all run", func() bool { return s.Stats().Running >= int64(8*(len(left)+1)) })
			if i%2 == 0 { // half of the clients go first, the others lose their server
				c.Close()
			} else {
				left = append(left, c)
			}
		}
		s.Close()
		s.Close()
		if st := s.Stats(); st.Running != 0 || st.HeldBytes != 0 || st.OpenConns != 0 {
			t.Errorf("after Close: %+v", st)
		}
		for _, c := range left {
			c.Close()
			if st := c.Stats(); st.OpenConns != 0 {
				t.Errorf("after Close: %+v", st)
			}
		}
		calls.Wait()
		goleak.VerifyNone(t, ignore)
	})
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestListenAgain: a server can be listening in several places, and nowhere once it
// is closed.
func TestListenAgain(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	var runs atomic.Int64
	s, _ := serveAt(t, n.Host("server"), ":1", ServerConfig{}, who("x", &runs))
	tcp, err := s.Listen(t.Context(), transport.TCP{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(t.Context(), n.Host("server"), ":1"); !errors.Is(err, transport.ErrInUse) {
		t.Errorf("listening twice at one address: %v", err)
	}
	for _, c := range []*Client{
		dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}}),
		dialFrom(t, transport.TCP{}, ClientConfig{Addrs: []string{tcp.String()}}),
	} {
		if _, err := ask(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	s.Close()
	if _, err := s.Listen(t.Context(), n.Host("server"), ":2"); !errors.Is(err, ErrClosed) {
		t.Errorf("listening after Close: %v", err)
	}
	if _, err := n.Host("client").Dial(t.Context(), "server:1"); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("dialing after Close: %v", err)
	}
}
