package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// TestOutcomeIsTheCalls: an error matches the outcome of the call that it is
// returned by, whatever the errors say that led to it.
func TestOutcomeIsTheCalls(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		r := newRig(t, "Network")
		var s *Server
		s, addr := r.serve(t, ServerConfig{}, func(s *Server) {
			Handle(s, "Vanish", func(ctx context.Context, _ *Empty) (*Empty, error) {
				go s.Close()
				<-ctx.Done()
				return nil, nil
			})
			Handle(s, "Say", func(_ context.Context, n *note) (*Empty, error) {
				return nil, fmt.Errorf("behind it: %w", map[string]error{
					"not executed": &Error{Op: "call", Method: "Other", Outcome: NotExecuted, Err: ErrOverloaded},
					"unknown":      &Error{Op: "call", Method: "Other", Outcome: OutcomeUnknown, Err: ErrConnLost},
					"bare":         errors.Join(ErrNotExecuted, ErrOutcomeUnknown, ErrConnLost),
				}[n.Text])
			})
		})
		c := r.dial(t, ClientConfig{Addrs: []string{addr}})
		for _, text := range []string{"not executed", "unknown", "bare"} {
			_, err := Call[Empty](t.Context(), c, "Say", &note{Text: text})
			if OutcomeOf(err) != Executed || errors.Is(err, ErrNotExecuted) || errors.Is(err, ErrOutcomeUnknown) {
				t.Errorf("a handler's error of a call of its own, %s: %v", text, err)
			}
			if !errors.Is(err, ErrOverloaded) && !errors.Is(err, ErrConnLost) {
				t.Errorf("%s: the codes did not arrive: %v", text, err)
			}
		}
		// The first attempt is executed, all others are certainly not.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := Call[Empty](ctx, c.AtLeastOnce(), "Vanish", &Empty{})
		if OutcomeOf(err) != OutcomeUnknown || errors.Is(err, ErrNotExecuted) || !errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("a call one of whose attempts was executed: outcome %v, %v", OutcomeOf(err), err)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, transport.ErrRefused) {
			t.Errorf("the error does not say why: %v", err)
		}
		s.Close()
	})
}

// TestRedirectPassedOn: a redirect that a handler was given elsewhere is no
// refusal of its own request.
func TestRedirectPassedOn(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		r := newRig(t, "Network")
		var runs atomic.Int64
		_, behind := r.serve(t, ServerConfig{}, func(s *Server) {
			Handle(s, "Inner", func(context.Context, *Empty) (*Empty, error) { return nil, RedirectTo() })
		})
		inner := r.dial(t, ClientConfig{Addrs: []string{behind}})
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Outer", func(ctx context.Context, n *note) (*Empty, error) {
				runs.Add(1)
				_, err := Call[Empty](ctx, inner, "Inner", &Empty{})
				if e := (*Error)(nil); n.N > 0 && errors.As(err, &e) {
					err = e.Err
				}
				return nil, err
			})
		})
		for n := range uint64(2) {
			runs.Store(0)
			_, err := Call[Empty](t.Context(), p.c, "Outer", &note{N: n})
			if OutcomeOf(err) != Executed || errors.Is(err, ErrNotExecuted) || runs.Load() != 1 {
				t.Errorf("bare %d: outcome %v after %d runs: %v", n, OutcomeOf(err), runs.Load(), err)
			}
		}
	})
}

// TestSessionExpiredBehind: that another service has forgotten a session says
// nothing of the call whose handler was told so.
func TestSessionExpiredBehind(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		var runs atomic.Int64
		cfg := ServerConfig{Sessions: newTable(t)}
		if guarded {
			cfg.Sessions = bareHost{cfg.Sessions.(*SessionTable)}
		}
		p := newRig(t, "Network").start(t, cfg, ClientConfig{}, func(s *Server) {
			Handle(s, "Do", func(context.Context, *Empty) (*Empty, error) {
				runs.Add(1)
				err := &Error{Op: "call", Method: "Other", Outcome: OutcomeUnknown, Err: ErrSessionExpired}
				return nil, Uncertain(err)
			})
		})
		_, err := Call[Empty](t.Context(), p.c.ExactlyOnce(), "Do", &Empty{})
		if OutcomeOf(err) != OutcomeUnknown || runs.Load() != 1 {
			t.Errorf("guarded %v: after %d runs: %v", guarded, runs.Load(), err)
		}
	}
}

// A bareHost issues ids and leaves the rest to the handlers, as a Guard does.
type bareHost struct{ *SessionTable }

func (bareHost) execute(sc *serverCall) error { return sc.handle() }

// A forgetful host issues ids and knows none of them.
type forgetful struct {
	*SessionTable
	asked atomic.Int64
}

func (f *forgetful) execute(*serverCall) error {
	f.asked.Add(1)
	return sessionAnswer(ErrSessionExpired)
}

// TestSessionsForgotten: a server that forgets every session it opens is not
// asked as fast as it can answer.
func TestSessionsForgotten(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		host := &forgetful{SessionTable: newTable(t)}
		p := newRig(t, "Network").start(t, ServerConfig{Sessions: host}, ClientConfig{}, func(s *Server) {
			Handle(s, "Do", func(context.Context, *Empty) (*Empty, error) { return nil, nil })
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var spun atomic.Bool
		p.c.cfg.Interceptors = []ClientInterceptor{func(ctx context.Context, inv *Invocation, next func(context.Context) error) error {
			if host.asked.Load() > 1000 {
				spun.Store(true)
				return &Error{Op: "call", Outcome: Executed, Err: errors.New("enough")}
			}
			return next(ctx)
		}}
		_, err := Call[Empty](ctx, p.c.ExactlyOnce(), "Do", &Empty{})
		if spun.Load() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("asked %d times in a minute: %v", host.asked.Load(), err)
		}
		if OutcomeOf(err) != NotExecuted {
			t.Errorf("the outcome of a call that no session was found for is %v", OutcomeOf(err))
		}
	})
}

// TestWatermarkOfItsSession: a repetition in an old session tells that session's
// watermark, whatever the client has opened since.
func TestWatermarkOfItsSession(t *testing.T) {
	s := &session{}
	older, newer := SessionID{N: 1}, SessionID{N: 2}
	s.core.open(older, 8)
	if _, _, _, ok := s.core.next(); !ok {
		t.Fatal("no sequence")
	}
	s.core.lost(older)
	s.core.open(newer, 8)
	for range 5 {
		_, seq, _, _ := s.core.next()
		s.core.done(newer, seq)
	}
	if w := s.watermark(older, 1); w != 1 {
		t.Errorf("the old session is told %d", w)
	}
	if w := s.watermark(newer, 1); w != 6 {
		t.Errorf("the new session is told %d", w)
	}
}

// TestDialSeveral: a call that is retried goes on while any of the addresses may
// yet answer, and ends when none can.
func TestDialSeveral(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		r := newRig(t, "Network")
		_, wrong := r.serve(t, ServerConfig{Cluster: "another"}, func(*Server) {})
		c := r.dial(t, ClientConfig{Addrs: []string{wrong, "server:99"}})
		go func() {
			time.Sleep(10 * time.Second)
			serveAt(t, r.server, ":99", ServerConfig{}, echoServer)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := Call[note](ctx, c.AtLeastOnce(), "Echo", &note{}); err != nil {
			t.Errorf("with one address that will answer: %v", err)
		}
		c = r.dial(t, ClientConfig{Addrs: []string{wrong, wrong}})
		if _, err := Call[note](ctx, c.AtLeastOnce(), "Echo", &note{}); !errors.Is(err, ErrCluster) || ctx.Err() != nil {
			t.Errorf("with none: %v", err)
		}
	})
}

// TestRetryPastAClosedTable: what a server says of something closed there does not
// end a call here.
func TestRetryPastAClosedTable(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var runs atomic.Int64
		p := newRig(t, "Network").start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Do", func(context.Context, *Empty) (*Empty, error) {
				if runs.Add(1) < 3 {
					return nil, Refuse(fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed))
				}
				return nil, nil
			})
		})
		if _, err := Call[Empty](t.Context(), p.c.AtLeastOnce(), "Do", &Empty{}); err != nil || runs.Load() != 3 {
			t.Errorf("after %d runs: %v", runs.Load(), err)
		}
	})
}

// TestBackoffNeverOverflows: any pause that validate allows can be drawn.
func TestBackoffNeverOverflows(t *testing.T) {
	for _, b := range []Backoff{{}, {Min: time.Hour, Max: 1<<63 - 1}, {Min: 1, Max: 1<<63 - 1}, {Min: 1<<63 - 1}} {
		if err := b.validate(); err != nil {
			t.Fatal(err)
		}
		b = b.withDefaults()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for n := 1; n < 100; n++ {
			b.pause(ctx, n)
		}
	}
}

// TestEchoWithoutKeep: a response may lend the bytes that came with the request.
func TestEchoWithoutKeep(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Echo", func(_ context.Context, n *note) (*note, error) {
				return &note{Body: Body{Data: n.Data[1:]}}, nil
			})
		})
		spreadN(t, 8, 50, func(g, i int) error {
			data := pattern(20<<10, byte(g*50+i))
			resp, err := Call[note](t.Context(), p.c, "Echo", &note{Body: Body{Data: data}})
			if err == nil && string(resp.Data) != string(data[1:]) {
				err = errors.New("other bytes came back")
			}
			return err
		})
	})
}

// spreadN runs f n times on each of some goroutines.
func spreadN(t *testing.T, goroutines, n int, f func(g, i int) error) {
	t.Helper()
	errs := make(chan error)
	for g := range goroutines {
		go func() {
			for i := range n {
				if err := f(g, i); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range goroutines {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestStreamCutShort: the end of a connection is not taken for the end of a
// stream.
func TestStreamCutShort(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleStream(s, "Endless", func(ctx context.Context, _ *Empty, st *Stream) error {
				st.Write([]byte("half of it"))
				<-ctx.Done()
				return nil
			})
		})
		st, err := OpenStream(t.Context(), p.c, "Endless", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(st, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		p.s.Close()
		_, err = st.Read(make([]byte, 1))
		if !errors.Is(err, ErrConnLost) || errors.Is(err, io.EOF) || OutcomeOf(err) != OutcomeUnknown {
			t.Errorf("read: outcome %v, %v", OutcomeOf(err), err)
		}
		_, err = st.Write([]byte("x"))
		if !errors.Is(err, ErrConnLost) || errors.Is(err, ErrClosed) || OutcomeOf(err) != OutcomeUnknown {
			t.Errorf("write: outcome %v, %v", OutcomeOf(err), err)
		}
	})
}

// TestStreamReadAfterClose: what was not read is thrown away, even if it was
// begun to be read.
func TestStreamReadAfterClose(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			HandleStream(s, "Write", func(ctx context.Context, _ *Empty, st *Stream) error {
				st.Write(make([]byte, 100))
				<-ctx.Done()
				return nil
			})
		})
		st, err := OpenStream(t.Context(), p.c, "Write", &Empty{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(st, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		st.Close()
		if n, err := st.Read(make([]byte, 10)); n != 0 || !errors.Is(err, ErrClosed) {
			t.Errorf("read %d bytes of a closed stream, %v", n, err)
		}
	})
}

// TestOpenStreamIntercepted: whatever an interceptor does with a stream, none is
// left over, and there is either a stream or an error.
func TestOpenStreamIntercepted(t *testing.T) {
	for name, intercept := range map[string]ClientInterceptor{
		"the reply is dropped": func(ctx context.Context, _ *Invocation, next func(context.Context) error) error {
			if err := next(ctx); err != nil {
				return err
			}
			return errors.New("dropped")
		},
		"opened twice": func(ctx context.Context, _ *Invocation, next func(context.Context) error) error {
			if err := next(ctx); err != nil {
				return err
			}
			return next(ctx)
		},
		"never opened": func(context.Context, *Invocation, func(context.Context) error) error { return nil },
	} {
		p := newRig(t, "Network").start(t, ServerConfig{}, ClientConfig{Interceptors: []ClientInterceptor{intercept}}, func(s *Server) {
			HandleStream(s, "Echo", echoStream)
		})
		st, err := OpenStream(t.Context(), p.c, "Echo", &Empty{})
		e := (*Error)(nil)
		if (st == nil) != (err != nil) || err != nil && (!errors.As(err, &e) || e.Outcome != OutcomeUnknown) {
			t.Errorf("%s: stream %v, error %v", name, st, err)
		}
		if st != nil {
			st.Close()
		}
		idle(t, p.s)
	}
}

// TestStreamHandlersAreBounded: a stream that its client has reset counts until
// its handler has returned.
func TestStreamHandlersAreBounded(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		const limit = 3
		var running atomic.Int64
		let := make(chan struct{})
		p := r.start(t, ServerConfig{Limits: Limits{MaxStreams: limit}}, ClientConfig{}, func(s *Server) {
			HandleStream(s, "Wait", func(context.Context, *Empty, *Stream) error {
				running.Add(1)
				defer running.Add(-1)
				<-let
				return nil
			})
		})
		for i := range 2 * limit {
			st, err := OpenStream(t.Context(), p.c, "Wait", &Empty{})
			if i < limit && err != nil || i >= limit && !errors.Is(err, ErrOverloaded) {
				t.Errorf("stream %d: %v", i, err)
			}
			if err == nil {
				st.Close()
			}
		}
		if n := running.Load(); n > limit {
			t.Errorf("%d handlers are running", n)
		}
		if held := p.s.Stats().HeldBytes; held < limit*(64<<10) {
			t.Errorf("%d bytes are held by %d handlers that may have as much unread as their windows allow", held, limit)
		}
		close(let)
		idle(t, p.s)
	})
}

// A stranger is a client that keeps to the handshake and to nothing else.
func stranger(t *testing.T, r rig, addr string) net.Conn {
	t.Helper()
	nc, err := r.client.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	lim := Limits{}.withDefaults()
	hs := handshake{node: r.node, lim: lim}
	if _, _, err := hs.client(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	return nc
}

// TestStreamFloodUnread: a client that opens and resets streams and reads nothing
// makes nothing grow.
func TestStreamFloodUnread(t *testing.T) {
	r := newRig(t, "Network")
	s, addr := r.serve(t, ServerConfig{}, func(s *Server) {
		HandleStream(s, "Nothing", func(context.Context, *Empty, *Stream) error { return nil })
	})
	nc := stranger(t, r, addr)
	head := requestHead{method: "Nothing"}
	go func() {
		for id, b := uint64(1), []byte(nil); ; id++ {
			payload := head.append(nil)
			b = append(appendHead(b, kindOpen, id, len(payload)), payload...)
			reset := appendError(nil, Executed, ErrClosed)
			b = append(appendHead(b, kindReset, id, len(reset)), reset...)
			if len(b) > 64<<10 {
				if _, err := nc.Write(b); err != nil {
					return
				}
				b = b[:0]
			}
		}
	}()
	pending := func() (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.mu.Lock()
			if c.out != nil {
				n = len(c.out.b)
			}
			c.mu.Unlock()
		}
		return n
	}
	last, still := int64(-1), 0
	eventually(t, "the server takes no more, or too much", func() bool {
		if n := s.Stats().BytesIn; n != last {
			last, still = n, 0
		} else if n > 0 {
			still++
		}
		return still > 20 || pending() > 2*maxPending
	})
	if n := pending(); n > 2*maxPending {
		t.Errorf("%d bytes wait for a client that does not read", n)
	}
}

// TestResponseTwice: a server that begins the response to one call again and
// again is hung up on.
func TestResponseTwice(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	l, err := n.Host("server").Listen(t.Context(), ":1")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			over <- err
			return
		}
		hs := handshake{lim: Limits{}.withDefaults()}
		hs.server(context.Background(), nc, func() byte { return helloOK })
		in := frameReader{nc: nc, block: func() error { return nil }, total: new(atomic.Int64)}
		h, _, err := in.next()
		for range 100 {
			if err == nil {
				sizes := appendSizes([]byte{flagChunked}, 1<<20, 0)
				b := append(appendHead(nil, kindResponse, h.id, len(sizes)), sizes...)
				b = appendHead(b, kindChunk, h.id, 1<<16)
				_, err = nc.Write(append(b, make([]byte, 1<<16)...))
			}
		}
		over <- err
	}()
	c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := Call[note](ctx, c, "Any", &note{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("the call ended with %v", err)
	}
	<-over
}

// TestRepetitionsDoNotWait: by that policy, a repetition of a call that is running
// is told so, and gets the result when it comes back.
func TestRepetitionsDoNotWait(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		table, err := NewSessionTable(SessionTableConfig{NoWait: true, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		y := newTally()
		if y.id, err = table.OpenSession(t.Context()); err != nil {
			t.Fatal(err)
		}
		y.mu.Lock() // the handler waits for it
		first := make(chan error, 1)
		go func() {
			_, err := y.call(table, 1, 1)
			first <- err
		}()
		eventually(t, "the call is running", func() bool { return table.Stats().Running == 1 })
		if _, err := y.call(table, 1, 1); !errors.Is(err, ErrInProgress) || outcomeOfHandler(err) != OutcomeUnknown {
			t.Errorf("a repetition of a running call: %v", err)
		}
		y.mu.Unlock()
		if err := <-first; err != nil {
			t.Error(err)
		}
		if got, err := y.call(table, 1, 1); got != "1/1" || err != nil {
			t.Errorf("a repetition afterwards: %q, %v", got, err)
		}
	}
}

// TestStreamWriteWaitsForRoom: a small Write that waits behind all that the
// transport does not take ends with its deadline, and with Close.
func TestStreamWriteWaitsForRoom(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n := transporttest.NewNetwork(t, transport.NetworkConfig{})
		serveAt(t, n.Host("server"), ":1", ServerConfig{}, func(s *Server) {
			HandleStream(s, "Echo", echoStream)
		})
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}})
		var streams []*Stream
		for range 9 {
			st, err := OpenStream(t.Context(), c, "Echo", &Empty{})
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, st)
		}
		n.Host("server").Pause()
		start := time.Now()
		fill := func(st *Stream) (err error) {
			st.SetWriteDeadline(start.Add(time.Second))
			for range 100 { // within the stream's window
				if _, err = st.Write(make([]byte, smallWrite)); err != nil {
					break
				}
			}
			return err
		}
		for _, st := range streams[1:] {
			if err := fill(st); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if err := fill(streams[0]); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ended := make(chan error, 1)
		go func() {
			streams[0].SetWriteDeadline(start.Add(time.Hour))
			_, err := streams[0].Write(make([]byte, smallWrite))
			ended <- err
		}()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("a Write that should wait ended with %v", err)
		default:
		}
		go streams[0].Close()
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		default:
			t.Error("Close did not wake Write")
		}
		n.Host("server").Resume()
	})
}
