package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// TestInlinePanic: a handler that panics on the reader costs its call, and neither
// the connection nor the calls that were read with it.
func TestInlinePanic(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleInline(s, "Echo", echo)
			HandleInline(s, "Panic", func(context.Context, *note) (*note, error) { panic("on the reader") })
		})
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				for i := range 20 {
					if _, err := Call[note](t.Context(), p.c, "Panic", &note{}); !errors.Is(err, ErrPanic) {
						t.Errorf("a panic: %v", err)
					}
					n := uint64(g*1000 + i)
					if resp, err := Call[note](t.Context(), p.c, "Echo", &note{N: n}); err != nil || resp.N != n {
						t.Errorf("beside a panic: %v", err)
					}
				}
			})
		}
		wg.Wait()
		idle(t, p.s)
		if st := p.s.Stats(); st.Panics != 320 || st.Conns != 1 || st.Calls != 640 {
			t.Errorf("after 320 panics: %+v", st)
		}
		if st := p.c.Stats(); st.Calls != 640 || st.Failures != 320 {
			t.Errorf("the client's statistics: %+v", st)
		}
	})
}

// TestInlineBlocks: a handler that breaks its promise holds up its own connection
// and no other. Its caller's deadline ends its context, and then all goes on.
func TestInlineBlocks(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		r := newRig(t, "Network")
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleInline(s, "Echo", echo)
			HandleInline(s, "Block", func(ctx context.Context, _ *note) (*note, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		})
		other := r.dial(t, ClientConfig{Addrs: []string{p.addr}})
		if _, err := Call[note](t.Context(), p.c, "Echo", &note{}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := Call[note](ctx, p.c, "Block", &note{})
			if !errors.Is(err, context.DeadlineExceeded) || OutcomeOf(err) == NotExecuted {
				t.Errorf("the call that blocks: %v", err)
			}
		})
		eventually(t, "the handler runs", func() bool { return p.s.Stats().Running == 1 })
		wg.Go(func() {
			if _, err := Call[note](t.Context(), p.c, "Echo", &note{}); err != nil || time.Since(begin) < time.Second {
				t.Errorf("behind it, after %v: %v", time.Since(begin), err)
			}
		})
		wg.Go(func() {
			if _, err := Call[note](t.Context(), other, "Echo", &note{}); err != nil || time.Since(begin) > time.Second/2 {
				t.Errorf("on another connection, after %v: %v", time.Since(begin), err)
			}
		})
		wg.Wait()
		idle(t, p.s)
		if st := p.s.Stats(); st.Conns != 2 {
			t.Errorf("%d connections", st.Conns)
		}
	})
}

// TestInlineEndsWithTheServer: Close ends the context of a handler that the reader
// is in.
func TestInlineEndsWithTheServer(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleInline(s, "Block", func(ctx context.Context, _ *note) (*note, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		})
		failed := make(chan error, 1)
		go func() {
			_, err := Call[note](t.Context(), p.c, "Block", &note{})
			failed <- err
		}()
		eventually(t, "the handler runs", func() bool { return p.s.Stats().Running == 1 })
		p.s.Close()
		if err := <-failed; !errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("the call: %v", err)
		}
	})
}

// TestInlineExactlyOnce: a request that is repeated is executed once, through the
// duplicate table, whichever way its handler was registered, and interceptors see
// it as any other.
func TestInlineExactlyOnce(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		var executed, seen atomic.Int64
		twice := func(ctx context.Context, _ *Invocation, next func(context.Context) error) error {
			_ = next(ctx) // the reply is lost
			return next(ctx)
		}
		count := func(ctx context.Context, inv *Invocation, next func(context.Context) error) error {
			if inv.Method == "Count" && inv.Semantics == ExactlyOnce {
				seen.Add(1)
			}
			return next(ctx)
		}
		p := r.start(t,
			ServerConfig{Sessions: newTable(t), Interceptors: []ServerInterceptor{count}},
			ClientConfig{Interceptors: []ClientInterceptor{twice}},
			func(s *Server) {
				HandleInline(s, "Count", func(context.Context, *note) (*note, error) {
					return &note{N: uint64(executed.Add(1))}, nil
				})
			})
		for i := range 50 {
			resp, err := Call[note](t.Context(), p.c.ExactlyOnce(), "Count", &note{})
			if err != nil || resp.N != uint64(i+1) {
				t.Fatalf("call %d: %v, %v", i, resp, err)
			}
		}
		if executed.Load() != 50 || seen.Load() != 50 {
			t.Errorf("executed %d times, seen %d times, of 50", executed.Load(), seen.Load())
		}
	})
}

// TestInlineShutdown: a call in an inline handler is waited for, and its answer
// arrives.
func TestInlineShutdown(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		let := make(chan struct{})
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleInline(s, "Wait", func(context.Context, *note) (*note, error) {
				<-let
				return &note{Text: "done"}, nil
			})
		})
		answered := make(chan error, 1)
		go func() {
			resp, err := Call[note](t.Context(), p.c, "Wait", &note{})
			if err == nil && resp.Text != "done" {
				err = errors.New("another answer")
			}
			answered <- err
		}()
		eventually(t, "the handler runs", func() bool { return p.s.Stats().Running == 1 })
		down := make(chan error, 1)
		go func() { down <- p.s.Shutdown(t.Context()) }()
		eventually(t, "the server drains", p.s.draining.Load)
		close(let)
		if err := <-answered; err != nil {
			t.Errorf("the call in progress: %v", err)
		}
		if err := <-down; err != nil {
			t.Errorf("shutting down: %v", err)
		}
	})
}

// TestCallersLeaveAmongOthers: responses are taken many at a time, while callers
// come and others give up. Each of those that stay gets its own.
func TestCallersLeaveAmongOthers(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Echo", echo)
			HandleInline(s, "EchoInline", echo)
		})
		const callers, each = 100, 40
		var wg sync.WaitGroup
		var failures atomic.Uint64
		for g := range callers {
			wg.Go(func() {
				chance := rand.New(rand.NewPCG(1, uint64(g)))
				for i := range each {
					ctx, cancel := context.WithCancel(t.Context())
					if g%4 == 0 {
						time.AfterFunc(time.Duration(chance.IntN(500))*time.Microsecond, cancel)
					}
					n, method := uint64(g*1000+i), []string{"Echo", "EchoInline"}[i%2]
					resp, err := Call[note](ctx, p.c, method, &note{N: n})
					if err != nil {
						failures.Add(1)
					}
					switch {
					case err == nil && resp.N != n:
						t.Errorf("call %d got the answer of call %d", n, resp.N)
					case err != nil && (g%4 != 0 || !errors.Is(err, context.Canceled)):
						t.Errorf("call %d: %v", n, err)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if st := p.c.Stats(); st.Calls != callers*each || st.Failures != failures.Load() {
			t.Errorf("%d calls of which %d failed; counted: %+v", callers*each, failures.Load(), st)
		}
		idle(t, p.s)
	})
}
