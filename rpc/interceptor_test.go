package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A diary notes what happens, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// take returns what has been noted, and forgets it.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// TestInterceptors: they wrap attempts and handlers, of calls and of streams, the
// first outermost, see what they are told, and can fail them.
func TestInterceptors(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		var d diary
		var fail atomic.Pointer[string] // the interceptor that fails
		client := func(name string) ClientInterceptor {
			return func(ctx context.Context, inv *Invocation, next func(context.Context) error) error {
				d.note("%s %s %v %d", name, inv.Method, inv.Stream, inv.Attempt)
				if f := fail.Load(); f != nil && *f == name {
					return &Error{Op: "test", Outcome: NotExecuted, Err: errCustom}
				}
				err := next(ctx)
				if n, ok := inv.Resp.(*note); ok && err == nil {
					d.note("%s got %s", name, n.Text)
				}
				return err
			}
		}
		server := func(name string) ServerInterceptor {
			return func(ctx context.Context, inv *Invocation, next func(context.Context) error) error {
				info, ok := CallFromContext(ctx)
				peer, _ := PeerFromContext(ctx)
				if !ok || info.Method != inv.Method || info.Semantics != inv.Semantics || peer.Node != nodeOf(r, "tester") {
					t.Errorf("an interceptor's context tells %+v of %+v", info, peer)
				}
				d.note("%s %s %v", name, inv.Method, inv.Stream)
				if f := fail.Load(); f != nil && *f == name {
					return Refuse(errCustom)
				}
				return next(ctx)
			}
		}
		p := r.start(t,
			ServerConfig{Interceptors: []ServerInterceptor{server("s1"), server("s2")}},
			ClientConfig{Interceptors: []ClientInterceptor{client("c1"), client("c2")}, Node: nodeOf(r, "tester")},
			func(s *Server) {
				Handle(s, "Echo", func(ctx context.Context, n *note) (*note, error) {
					d.note("handler %s", n.Text)
					return echo(ctx, n)
				})
				HandleStream(s, "Stream", func(_ context.Context, n *note, st *Stream) error {
					d.note("stream %s", n.Text)
					return nil
				})
			})
		expect := func(want ...string) {
			t.Helper()
			if got := d.take(); !slices.Equal(got, want) {
				t.Errorf("what happened:\n%q\nwant:\n%q", got, want)
			}
		}
		if _, err := Call[note](t.Context(), p.c, "Echo", &note{Text: "x"}); err != nil {
			t.Fatal(err)
		}
		expect("c1 Echo false 1", "c2 Echo false 1", "s1 Echo false", "s2 Echo false", "handler x", "c2 got x", "c1 got x")
		st, err := OpenStream(t.Context(), p.c, "Stream", &note{Text: "y"})
		if err != nil {
			t.Fatal(err)
		}
		st.Read(make([]byte, 1))
		st.Close()
		expect("c1 Stream true 1", "c2 Stream true 1", "s1 Stream true", "s2 Stream true", "stream y")

		for _, f := range []struct {
			who  string
			want []string
		}{
			{"c2", []string{"c1 Echo false 1", "c2 Echo false 1"}},
			{"s2", []string{"c1 Echo false 1", "c2 Echo false 1", "s1 Echo false", "s2 Echo false"}},
		} {
			fail.Store(&f.who)
			_, err := Call[note](t.Context(), p.c, "Echo", &note{Text: "x"})
			if !errors.Is(err, errCustom) || !errors.Is(err, ErrNotExecuted) {
				t.Errorf("%s failed a call with %v", f.who, err)
			}
			expect(f.want...)
		}
	})
}

// nodeOf returns the id that a client of r may give itself.
func nodeOf(r rig, name string) string {
	if r.node != "" {
		return r.node
	}
	return name
}

// TestInterceptorsRepeat: an attempt or handler may be run several times, one
// after the other; the last answer counts, and bodies that were answered before
// are given back.
func TestInterceptorsRepeat(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		var runs, released atomic.Int64
		thrice := func(ctx context.Context, _ *Invocation, next func(context.Context) error) (err error) {
			for range 3 {
				err = next(ctx)
			}
			return err
		}
		p := r.start(t, ServerConfig{Sessions: newTable(t), Interceptors: []ServerInterceptor{thrice}},
			ClientConfig{Interceptors: []ClientInterceptor{thrice}}, func(s *Server) {
				Handle(s, "Count", func(_ context.Context, n *note) (*note, error) {
					resp := &note{N: uint64(runs.Add(1)), Text: n.Text, Body: Body{Data: pattern(20<<10, byte(n.N))}}
					resp.Release = func() { released.Add(1) }
					if string(n.Data) != "body" {
						t.Errorf("a repeated handler got the body %q", n.Data)
					}
					return resp, nil
				})
			})
		resp, err := Call[note](t.Context(), p.c, "Count", &note{Text: "x", Body: Body{Data: []byte("body")}})
		if err != nil || resp.N != 9 || resp.Text != "x" || len(resp.Data) != 20<<10 {
			t.Fatalf("got %+v, error %v", resp, err)
		}
		eventually(t, "all bodies are released", func() bool { return released.Load() == 9 })
		// Repeated attempts of an exactly-once call find its result; that a server
		// interceptor repeats the handler is its own affair.
		resp, err = Call[note](t.Context(), p.c.ExactlyOnce(), "Count", &note{Body: Body{Data: []byte("body")}})
		if err != nil || resp.N != 12 {
			t.Errorf("exactly once: got %+v, error %v", resp, err)
		}
	})
}

// TestInterceptorErrors: what an interceptor returns of its own counts as an
// attempt of unknown outcome, unless it says otherwise; retries follow from that.
func TestInterceptorErrors(t *testing.T) {
	var attempts, runs atomic.Int64
	var what atomic.Value
	p := newRig(t, "Network").start(t, ServerConfig{}, ClientConfig{
		Backoff: Backoff{Min: time.Microsecond, Max: time.Millisecond},
		Interceptors: []ClientInterceptor{func(ctx context.Context, inv *Invocation, next func(context.Context) error) error {
			attempts.Add(1)
			if inv.Attempt == 3 {
				return next(ctx)
			}
			err, _ := what.Load().(error)
			return err
		}},
	}, func(s *Server) {
		Handle(s, "Run", func(context.Context, *Empty) (*Empty, error) {
			runs.Add(1)
			return nil, nil
		})
	})
	for _, tc := range []struct {
		err      *Error
		sem      Semantics
		attempts int64
		fails    bool
	}{
		{&Error{Op: "test", Outcome: OutcomeUnknown, Err: errCustom}, AtMostOnce, 1, true},
		{&Error{Op: "test", Outcome: NotExecuted, Err: errCustom}, AtMostOnce, 1, true},
		{&Error{Op: "test", Outcome: OutcomeUnknown, Err: errCustom}, AtLeastOnce, 3, false},
		{&Error{Op: "test", Outcome: NotExecuted, Err: errCustom}, AtLeastOnce, 3, false},
		{&Error{Op: "test", Outcome: Executed, Err: errCustom}, AtLeastOnce, 1, true},
		{&Error{Op: "test", Outcome: NotExecuted, Err: ErrNoMethod}, AtLeastOnce, 1, true},
	} {
		attempts.Store(0)
		runs.Store(0)
		what.Store(tc.err)
		caller := Caller(p.c)
		if tc.sem == AtLeastOnce {
			caller = p.c.AtLeastOnce()
		}
		_, err := Call[Empty](t.Context(), caller, "Run", &Empty{})
		if fails := err != nil; fails != tc.fails || attempts.Load() != tc.attempts || runs.Load() == 1 == tc.fails {
			t.Errorf("%v, %v: %d attempts, %d executions, error %v", tc.err, tc.sem, attempts.Load(), runs.Load(), err)
		}
		if err != nil && (!errors.Is(err, tc.err.Err) || OutcomeOf(err) != tc.err.Outcome) {
			t.Errorf("%v, %v: arrived as %v", tc.err, tc.sem, err)
		}
	}
}
