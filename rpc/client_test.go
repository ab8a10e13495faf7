package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// who registers a handler "Who" that answers with a name, and counts.
func who(name string, runs *atomic.Int64) func(*Server) {
	return func(s *Server) {
		Handle(s, "Who", func(context.Context, *Empty) (*note, error) {
			runs.Add(1)
			return &note{Text: name}, nil
		})
	}
}

// elsewhere is an interceptor of a server that serves nothing itself, sessions
// included: a standby that knows the primary.
func elsewhere(addrs ...string) ServerInterceptor {
	return func(context.Context, *Invocation, func(context.Context) error) error { return RedirectTo(addrs...) }
}

func ask(ctx context.Context, c Caller) (string, error) {
	resp, err := Call[note](ctx, c, "Who", &Empty{})
	if err != nil {
		return "", err
	}
	return resp.Text, nil
}

// TestRedirect: a call of any semantics goes where a redirect points, or to the
// next address if it points nowhere, is executed there once, and later calls go
// there directly.
func TestRedirect(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		eachSemantics(t, func(t *testing.T, _ Semantics, as func(*Client) Caller) {
			for _, pointed := range []bool{true, false} {
				var standbys, primaries atomic.Int64
				_, primary := r.serve(t, ServerConfig{Sessions: newTable(t)}, who("primary", &primaries))
				to := []string{primary}
				if !pointed {
					to = nil
				}
				standby, addr := r.serve(t, ServerConfig{
					Sessions: newTable(t), Interceptors: []ServerInterceptor{elsewhere(to...)},
				}, who("standby", &standbys))
				addrs := []string{addr}
				if !pointed {
					addrs = append(addrs, primary)
				}
				c := r.dial(t, ClientConfig{Addrs: addrs})
				const calls = 5
				for range calls {
					if name, err := ask(t.Context(), as(c)); err != nil || name != "primary" {
						t.Fatalf("pointed %v: answered by %q, error %v", pointed, name, err)
					}
				}
				if standbys.Load() != 0 || primaries.Load() != calls {
					t.Errorf("the standby ran %d calls and the primary %d", standbys.Load(), primaries.Load())
				}
				if st := c.Stats(); st.Redirects != 1 || st.Conns != 2 {
					t.Errorf("%d redirects over %d connections; later calls should not ask the standby", st.Redirects, st.Conns)
				}
				eventually(t, "the connection to the standby ends", func() bool {
					return c.Stats().OpenConns == 1 && standby.Stats().OpenConns == 0
				})
			}
		})
	})
}

// TestRedirectedStream: a stream that is served elsewhere ends with an error that
// says so, and is opened there when it is opened again, as are calls. Streams
// that were open before go on where they are.
func TestRedirectedStream(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		for _, pointed := range []bool{true, false} {
			_, primary := r.serve(t, ServerConfig{}, func(s *Server) {
				HandleStream(s, "Echo", echoStream)
				who("primary", new(atomic.Int64))(s)
			})
			to := []string{primary}
			if !pointed {
				to = nil
			}
			standby, addr := r.serve(t, ServerConfig{}, func(s *Server) {
				HandleStream(s, "Echo", func(context.Context, *Empty, *Stream) error { return RedirectTo(to...) })
				HandleStream(s, "Local", echoStream)
			})
			addrs := []string{addr}
			if !pointed {
				addrs = append(addrs, primary)
			}
			c := r.dial(t, ClientConfig{Addrs: addrs})
			local := mustOpen(t, c, "Local")
			first := mustOpen(t, c, "Echo")
			_, err := first.Read(make([]byte, 1))
			if OutcomeOf(err) != NotExecuted || !errors.Is(err, ErrUnavailable) {
				t.Fatalf("pointed %v: the standby's stream: %v", pointed, err)
			}
			second := mustOpen(t, c, "Echo")
			for _, st := range []*Stream{second, local} {
				if err := echoOnce(st, []byte("hello")); err != nil {
					t.Errorf("pointed %v: %v", pointed, err)
				}
			}
			if name, err := ask(t.Context(), c); err != nil || name != "primary" {
				t.Errorf("pointed %v: a call is answered by %q, error %v", pointed, name, err)
			}
			if st := c.Stats(); st.Redirects != 1 || st.Conns != 2 {
				t.Errorf("%d redirects over %d connections", st.Redirects, st.Conns)
			}
			first.Close()
			local.Close()
			eventually(t, "the connection to the standby ends", func() bool {
				return c.Stats().OpenConns == 1 && standby.Stats().OpenConns == 0
			})
			second.Close()
		}
	})
}

func mustOpen(t *testing.T, c *Client, method string) *Stream {
	t.Helper()
	st, err := OpenStream(t.Context(), c, method, &Empty{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// echoOnce sends data on a stream and waits until it is back.
func echoOnce(st *Stream, data []byte) error {
	if _, err := st.Write(data); err != nil {
		return err
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(st, got); err != nil {
		return err
	}
	if string(got) != string(data) {
		return fmt.Errorf("%q came back as %q", data, got)
	}
	return nil
}

// TestRedirectChangesSession: a session that another server issued is over after a
// redirect; a call that was only ever refused goes on in a new one.
func TestRedirectChangesSession(t *testing.T) {
	r := newRig(t, "Network")
	var a, b atomic.Int64
	_, second := r.serve(t, ServerConfig{Sessions: newTable(t)}, who("second", &b))
	var moved atomic.Bool
	_, first := r.serve(t, ServerConfig{
		Sessions: newTable(t),
		Interceptors: []ServerInterceptor{func(ctx context.Context, inv *Invocation, next func(context.Context) error) error {
			if moved.Load() {
				return RedirectTo(second)
			}
			return next(ctx)
		}},
	}, who("first", &a))
	c := r.dial(t, ClientConfig{Addrs: []string{first}})
	if name, err := ask(t.Context(), c.ExactlyOnce()); name != "first" || err != nil {
		t.Fatalf("answered by %q, error %v", name, err)
	}
	moved.Store(true)
	if name, err := ask(t.Context(), c.ExactlyOnce()); name != "second" || err != nil {
		t.Fatalf("after the move: answered by %q, error %v", name, err)
	}
	if a.Load() != 1 || b.Load() != 1 {
		t.Errorf("%d and %d executions", a.Load(), b.Load())
	}
}

// TestRedirectLoop: servers that point at each other end a call with an error
// that says so, and that nothing was executed.
func TestRedirectLoop(t *testing.T) {
	eachSemantics(t, func(t *testing.T, sem Semantics, as func(*Client) Caller) {
		testutil.Bubble(t, func(t *testing.T) {
			n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
			var runs atomic.Int64
			serveAt(t, n.Host("a"), ":1", ServerConfig{Sessions: newTable(t), Interceptors: []ServerInterceptor{elsewhere("b:1")}}, who("a", &runs))
			serveAt(t, n.Host("b"), ":1", ServerConfig{Sessions: newTable(t), Interceptors: []ServerInterceptor{elsewhere("a:1")}}, who("b", &runs))
			c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"a:1", "b:1"}})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := ask(ctx, as(c))
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "served by") {
				t.Errorf("error %v", err)
			}
			// If the time was up while a request was under way, nobody can know.
			if o := OutcomeOf(err); o != NotExecuted && (sem == AtMostOnce || o != OutcomeUnknown) {
				t.Errorf("error %v", err)
			}
			if inTime := !errors.Is(err, context.DeadlineExceeded); inTime != (sem == AtMostOnce) {
				t.Errorf("a call %v ended with %v", sem, err)
			}
			if st := c.Stats(); st.Redirects < 10 || st.Redirects > 200 {
				t.Errorf("%d redirects followed", st.Redirects)
			}
			if runs.Load() != 0 {
				t.Error("a call was executed")
			}
		})
	})
}

// twoServers starts servers on hosts "one" and "two" that share a session table,
// and a client of both.
//
//lint:bubble
func twoServers(t *testing.T, n *transport.Network, ccfg ClientConfig) (c *Client, runs *[2]atomic.Int64) {
	runs = new([2]atomic.Int64)
	table := newTable(t)
	for i, host := range []string{"one", "two"} {
		serveAt(t, n.Host(host), ":1", ServerConfig{Sessions: table}, who(host, &runs[i]))
	}
	ccfg.Addrs = []string{"one:1", "two:1"}
	return dialFrom(t, n.Host("client"), ccfg), runs
}

// TestFailOver: when the server in use dies or falls silent, calls proceed on
// the next one: those that are tried again without an error, those that are not
// after one of them has failed.
func TestFailOver(t *testing.T) {
	const ping = time.Second
	faults := map[string]struct {
		strike func(n *transport.Network)
		within time.Duration
	}{
		"crash":     {func(n *transport.Network) { n.Host("one").Crash(transport.CrashReset) }, 100 * time.Millisecond},
		"power":     {func(n *transport.Network) { n.Host("one").Crash(transport.CrashSilent) }, 4*ping + 200*time.Millisecond},
		"partition": {func(n *transport.Network) { n.Partition([]string{"one"}) }, 4*ping + 200*time.Millisecond},
		"one way": {func(n *transport.Network) { n.PartitionOneWay([]string{"one"}, []string{"client"}) },
			4*ping + 200*time.Millisecond},
		"hang": {func(n *transport.Network) { n.Host("one").Pause() }, 4*ping + 200*time.Millisecond},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			eachSemantics(t, func(t *testing.T, sem Semantics, as func(*Client) Caller) {
				testutil.Bubble(t, func(t *testing.T) {
					n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
					c, runs := twoServers(t, n, ClientConfig{Limits: Limits{PingInterval: ping}})
					if name, err := ask(t.Context(), as(c)); name != "one" || err != nil {
						t.Fatalf("answered by %q, error %v", name, err)
					}
					fault.strike(n)
					defer n.Heal()
					defer n.Host("one").Resume()
					start := time.Now()
					name, err := ask(t.Context(), as(c))
					if sem == AtMostOnce {
						if err == nil {
							t.Log("the loss was known before the call was sent")
						} else if name, err = ask(t.Context(), as(c)); err != nil {
							t.Errorf("the second call failed: %v", err)
						}
					}
					// Where only replies are lost, "one" has executed the call, and the
					// table that both servers have tells "two" what it answered.
					replayed := sem == ExactlyOnce && name == "one" && runs[0].Load() == 2
					if took := time.Since(start); name != "two" && !replayed || err != nil || took > fault.within {
						t.Errorf("answered by %q after %v, error %v", name, took, err)
					}
					if once := runs[0].Load() + runs[1].Load(); sem == ExactlyOnce && once != 2 || once < 2 || once > 3 {
						t.Errorf("%d and %d executions", runs[0].Load(), runs[1].Load())
					}
				})
			})
		})
	}
}

// TestDialStagger: a silent address costs the stagger, one that refuses nothing.
func TestDialStagger(t *testing.T) {
	for name, tc := range map[string]struct {
		strike func(n *transport.Network)
		low    time.Duration
		high   time.Duration
	}{
		"silent":  {func(n *transport.Network) { n.Partition([]string{"one"}) }, 250 * time.Millisecond, 260 * time.Millisecond},
		"refused": {func(n *transport.Network) { n.Host("one").Crash(transport.CrashReset) }, 0, 20 * time.Millisecond},
		"fine":    {func(*transport.Network) {}, 0, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
				c, runs := twoServers(t, n, ClientConfig{DialStagger: 250 * time.Millisecond})
				tc.strike(n)
				start := time.Now()
				if _, err := ask(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < tc.low || took > tc.high {
					t.Errorf("the first call took %v, want %v to %v", took, tc.low, tc.high)
				}
				if first := runs[0].Load() == 1; first != (name == "fine") {
					t.Errorf("answered by the wrong one")
				}
			})
		})
	}
}

// TestNobodyAnswers: the error names every address that was tried.
func TestNobodyAnswers(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n := transporttest.NewNetwork(t, transport.NetworkConfig{})
		n.Host("one")
		n.Host("two")
		if err := n.Partition([]string{"two"}); err != nil {
			t.Fatal(err)
		}
		defer n.Heal()
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"one:1", "two:1"}})
		start := time.Now()
		_, err := ask(t.Context(), c)
		if !errors.Is(err, ErrNotExecuted) || !errors.Is(err, transport.ErrRefused) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		for _, addr := range []string{"one:1", "two:1"} {
			if !strings.Contains(err.Error(), addr) {
				t.Errorf("error %q does not name %s", err, addr)
			}
		}
		if took := time.Since(start); took > 3*time.Second+time.Millisecond {
			t.Errorf("it took %v, more than DialTimeout", took)
		}
	})
}

// TestReconnect: a client that was idle while its server restarted does not
// notice; its calls are neither lost nor repeated.
func TestReconnect(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		eachSemantics(t, func(t *testing.T, _ Semantics, as func(*Client) Caller) {
			table := newTable(t)
			var runs atomic.Int64
			s, addr := r.serve(t, ServerConfig{Sessions: table}, who("x", &runs))
			c := r.dial(t, ClientConfig{Addrs: []string{addr}})
			const lives = 3
			for life := range lives {
				if life > 0 {
					s, _ = serveAt(t, r.server, addr, ServerConfig{Sessions: table}, who("x", &runs))
				}
				for range 3 {
					if _, err := ask(t.Context(), as(c)); err != nil {
						t.Fatalf("life %d: %v", life, err)
					}
				}
				s.Close()
				eventually(t, "the client notices", func() bool { return c.Stats().OpenConns == 0 })
			}
			if runs.Load() != 3*lives {
				t.Errorf("%d executions of %d calls", runs.Load(), 3*lives)
			}
		})
	})
}

// TestOneConnection: however many calls come first, one connection is made.
func TestOneConnection(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		var runs atomic.Int64
		p := r.start(t, ServerConfig{}, ClientConfig{}, who("x", &runs))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := ask(t.Context(), p.c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if st := p.s.Stats(); st.Conns != 1 || st.Calls != 50 {
			t.Errorf("%d calls over %d connections", st.Calls, st.Conns)
		}
	})
}

// TestClientClose: it ends calls, streams and connections that linger after a
// redirect, and later calls fail at once.
func TestClientClose(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		var runs atomic.Int64
		_, second := r.serve(t, ServerConfig{}, who("second", &runs))
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Wait", func(ctx context.Context, _ *Empty) (*Empty, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			HandleStream(s, "Echo", echoStream)
			Handle(s, "Who", func(context.Context, *Empty) (*note, error) { return nil, RedirectTo(second) })
		})
		failed := make(chan error)
		go func() {
			_, err := Call[Empty](t.Context(), p.c.AtLeastOnce(), "Wait", &Empty{})
			failed <- err
		}()
		eventually(t, "the call runs", func() bool { return p.s.Stats().Running == 1 })
		st, err := OpenStream(t.Context(), p.c, "Echo", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := st.Read(make([]byte, 1))
			failed <- err
		}()
		if name, err := ask(t.Context(), p.c); name != "second" || err != nil { // leaves a connection with work on it
			t.Fatalf("answered by %q, error %v", name, err)
		}
		p.c.Close()
		p.c.Close()
		for range 2 {
			if err := <-failed; !errors.Is(err, ErrClosed) {
				t.Errorf("closed, a call or stream ended with %v", err)
			}
		}
		if _, err := ask(t.Context(), p.c.AtLeastOnce()); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNotExecuted) {
			t.Errorf("a call after Close: %v", err)
		}
		if _, err := OpenStream(t.Context(), p.c, "Echo", &Empty{}); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNotExecuted) {
			t.Errorf("a stream after Close: %v", err)
		}
		idle(t, p.s)
	})
}

// TestCloseWhileDialing: Close does not wait for an address that is silent.
func TestCloseWhileDialing(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n := transporttest.NewNetwork(t, transport.NetworkConfig{})
		n.Host("one")
		if err := n.Partition([]string{"one"}); err != nil {
			t.Fatal(err)
		}
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"one:1"}, DialTimeout: time.Hour})
		done := make(chan error, 1)
		go func() {
			_, err := ask(t.Context(), c)
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		c.Close()
		if err := <-done; !errors.Is(err, ErrClosed) || time.Since(start) > 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestIdleClientTellsItsWatermark: after a while without calls the server holds
// no result any more, though the client's session goes on.
func TestIdleClientTellsItsWatermark(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
		table := newTable(t)
		var runs atomic.Int64
		serveAt(t, n.Host("one"), ":1", ServerConfig{Sessions: table}, who("x", &runs))
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"one:1"}})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := ask(t.Context(), c.ExactlyOnce()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if st := table.Stats(); st.Entries == 0 {
			t.Fatal("the table holds nothing to begin with")
		}
		time.Sleep(3 * sessionAckAfter) // noticed after one or two
		if st := table.Stats(); st.Entries != 0 || st.Bytes != 0 || st.Sessions != 1 {
			t.Errorf("%d entries, %d bytes, %d sessions", st.Entries, st.Bytes, st.Sessions)
		}
		if _, err := ask(t.Context(), c.ExactlyOnce()); err != nil || runs.Load() != 21 {
			t.Errorf("%d executions, error %v", runs.Load(), err)
		}
	})
}

// TestSessionExpiredElsewhere: an answer that merely contains ErrSessionExpired,
// because the handler got it from another service, is an answer: the call is not
// made again.
func TestSessionExpiredElsewhere(t *testing.T) {
	var runs atomic.Int64
	p := newRig(t, "Network").start(t, ServerConfig{Sessions: newTable(t)}, ClientConfig{}, func(s *Server) {
		Handle(s, "Relay", func(context.Context, *Empty) (*Empty, error) {
			runs.Add(1)
			return nil, fmt.Errorf("the service behind: %w", ErrSessionExpired)
		})
	})
	_, err := Call[Empty](t.Context(), p.c.ExactlyOnce(), "Relay", &Empty{})
	if !errors.Is(err, ErrSessionExpired) || OutcomeOf(err) != Executed || runs.Load() != 1 {
		t.Errorf("%d executions, outcome %v, error %v", runs.Load(), OutcomeOf(err), err)
	}
}

// TestBadConfigs: the error names what is wrong.
func TestBadConfigs(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	good := ClientConfig{Transport: n.Host("a"), Addrs: []string{"b:1"}}
	for field, spoil := range map[string]func(*ClientConfig){
		"Transport":              func(c *ClientConfig) { c.Transport = nil },
		"Addrs":                  func(c *ClientConfig) { c.Addrs = nil },
		"empty address":          func(c *ClientConfig) { c.Addrs = []string{""} },
		"Cluster":                func(c *ClientConfig) { c.Cluster = strings.Repeat("x", 256) },
		"Node":                   func(c *ClientConfig) { c.Node = strings.Repeat("x", 256) },
		"DialTimeout":            func(c *ClientConfig) { c.DialTimeout = -1 },
		"DialStagger":            func(c *ClientConfig) { c.DialStagger = -1 },
		"SessionWindow":          func(c *ClientConfig) { c.SessionWindow = -1 },
		"Backoff":                func(c *ClientConfig) { c.Backoff = Backoff{Min: 2, Max: 1} },
		"Limits.MaxCalls":        func(c *ClientConfig) { c.Limits.MaxCalls = 1 << 20 },
		"Limits.MaxMessageBytes": func(c *ClientConfig) { c.Limits.MaxMessageBytes = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewClient(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("a bad %s: error %v", field, err)
		}
	}
	for field, cfg := range map[string]ServerConfig{
		"Cluster":                  {Cluster: strings.Repeat("x", 256)},
		"Node":                     {Node: strings.Repeat("x", 256)},
		"Limits.StreamWindowBytes": {Limits: Limits{StreamWindowBytes: 1}},
		"Limits.HandshakeTimeout":  {Limits: Limits{HandshakeTimeout: -1}},
	} {
		if _, err := NewServer(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("a bad %s: error %v", field, err)
		}
	}
	echoAs := func(name string) func(s *Server) { return func(s *Server) { Handle(s, name, echo) } }
	for what, register := range map[string][]func(*Server){
		"registered already": {echoAs("Twice"), echoAs("Twice")},
		"1 to 255 bytes":     {echoAs("")},
		"is nil":             {func(s *Server) { Handle[Empty, Empty](s, "Nil", nil) }},
		"implements only": {func(s *Server) {
			Handle(s, "Half", func(context.Context, *halfCodec) (*Empty, error) { return nil, nil })
		}},
	} {
		s, err := NewServer(ServerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range register {
			f(s)
		}
		if _, err := s.Listen(t.Context(), n.Host("a"), ":0"); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: error %v", what, err)
		}
		s.Close()
	}
}

// halfCodec can be sent and not received.
type halfCodec struct{}

func (halfCodec) AppendBinary(b []byte) ([]byte, error) { return b, nil }
