package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// A trap makes the next Read or Write of a connection panic that has so many bytes, or
// room for them; 0 is none.
type trap struct {
	read, write atomic.Int64
	stays       atomic.Bool // it is not used up
}

// springs reports whether a use of n bytes goes into the trap, which is then used up.
func (t *trap) springs(armed *atomic.Int64, n int) bool {
	least := armed.Load()
	return least > 0 && int64(n) >= least && (t.stays.Load() || armed.CompareAndSwap(least, 0))
}

// trapped is a transport whose connections share a trap.
type trapped struct {
	transport.Transport
	trap *trap
}

func (tr trapped) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := tr.Transport.Listen(ctx, addr)
	return trappedListener{l, tr.trap}, err
}

func (tr trapped) Dial(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := tr.Transport.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return trappedConn{nc, tr.trap}, nil
}

type trappedListener struct {
	net.Listener
	trap *trap
}

func (l trappedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return trappedConn{nc, l.trap}, nil
}

type trappedConn struct {
	net.Conn
	trap *trap
}

// Read panics with what it has read, so that it can be sprung while it waits.
func (c trappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.trap.springs(&c.trap.read, len(p)) {
		panic("the read is trapped")
	}
	return n, err
}

func (c trappedConn) Write(p []byte) (int, error) {
	if c.trap.springs(&c.trap.write, len(p)) {
		panic("the write is trapped")
	}
	return c.Conn.Write(p)
}

// TestConnectionPanics: a connection whose Read or Write panics ends, at each moment of
// its life and on either side, with a stack in the log; all else goes on.
func TestConnectionPanics(t *testing.T) {
	for _, kind := range rigs {
		for _, server := range []bool{true, false} {
			for _, write := range []bool{true, false} {
				name := map[bool]string{true: "server", false: "client"}[server] + map[bool]string{true: "'s write", false: "'s read"}[write]
				t.Run(kind+"/"+name, func(t *testing.T) { connectionPanics(t, newRig(t, kind), server, write) })
			}
		}
	}
}

func connectionPanics(t *testing.T, r rig, server, write bool) {
	const bulk = busyRead + 1 // more than is read or written at a time of anything else
	tr := new(trap)
	good := r
	if server {
		r.server = trapped{r.server, tr}
	} else {
		r.client = trapped{r.client, tr}
	}
	armed := &tr.read
	if write {
		armed = &tr.write
	}
	var log logbook
	p := r.start(t, ServerConfig{Logger: log.logger()}, ClientConfig{Logger: log.logger()}, func(s *Server) {
		muteServer(s)
		HandleStream(s, "Echo stream", func(_ context.Context, _ *Empty, st *Stream) error {
			b := make([]byte, 600<<10)
			if _, err := io.ReadFull(st, b); err != nil {
				return err
			}
			_, err := st.Write(b)
			return err
		})
	})
	other := good.dial(t, ClientConfig{Addrs: []string{p.addr}})
	panics := int64(0)
	sprung := func(what string) {
		t.Helper()
		panics++
		eventually(t, what+": the panic is counted", func() bool {
			mine, theirs := p.s.Stats().Panics, p.c.Stats().Panics
			return server && mine == panics && theirs == 0 || !server && mine == 0 && theirs == panics
		})
		if said := log.take(); !strings.Contains(said, "is trapped") || !strings.Contains(said, "rescue_test.go") {
			t.Errorf("%s: logged %q", what, said)
		}
	}
	call := func(c Caller, n int) error {
		data := pattern(n, 1)
		resp, err := Call[note](t.Context(), c, "Echo", &note{Body: Body{Data: data}})
		if err == nil {
			mustEqual(t, "echo", resp.Data, data)
		}
		return err
	}
	armed.Store(1)
	if err := call(p.c.AtLeastOnce(), 0); err != nil {
		t.Fatal(err)
	}
	sprung("the handshake")
	if err := call(other, 0); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		least int64
		use   func() error // which meets the trap
	}{
		"a small call": {1, func() error { return call(p.c, 0) }},
		"a body":       {bulk, func() error { return call(p.c, 600<<10) }},
		"a stream":     {bulk, func() error { return useStream(p.c, pattern(600<<10, 1)) }},
	} {
		idle(t, p.s)
		waiting := make(chan error, 1)
		go func() {
			_, err := Call[Empty](context.Background(), p.c, "Wait", &Empty{})
			waiting <- err
		}()
		eventually(t, what+": a call waits", func() bool { return p.s.Stats().Running == 1 })
		armed.Store(c.least)
		if err := c.use(); !errors.Is(err, ErrConnLost) {
			t.Errorf("%s: %v", what, err)
		}
		sprung(what)
		if err := <-waiting; !errors.Is(err, ErrConnLost) {
			t.Errorf("beside %s: the call that waits ends with %v", what, err)
		}
		if err := call(p.c, 600<<10); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
	}
	idle(t, p.s)
	if err := call(other, 600<<10); err != nil || other.Stats().Conns != 1 {
		t.Errorf("on another connection: %v", err)
	}
}

// useStream sends data through a stream and back.
func useStream(c *Client, data []byte) error {
	st, err := OpenStream(context.Background(), c, "Echo stream", &Empty{})
	if err != nil {
		return err
	}
	defer st.Close()
	go st.Write(data)
	_, err = io.ReadFull(st, make([]byte, len(data)))
	return err
}

// TestPanicsBelowTLS: a connection that panics at each Write panics once more when it is
// closed, for then TLS writes. It is closed all the same.
func TestPanicsBelowTLS(t *testing.T) {
	for _, server := range []bool{true, false} {
		t.Run(map[bool]string{true: "server", false: "client"}[server], func(t *testing.T) {
			n, ca, tr := transporttest.NewNetwork(t, transport.NetworkConfig{Seed: 1}), transporttest.NewCA(t), new(trap)
			below := [2]transport.Transport{n.Host("server"), n.Host("client")}
			if server {
				below[0] = trapped{below[0], tr}
			} else {
				below[1] = trapped{below[1], tr}
			}
			r := rig{
				name: "TLS over Network", addr: ":1", node: "client",
				server: transport.TLS(below[0], ca.Config(t, "server", "127.0.0.1")), client: transport.TLS(below[1], ca.Config(t, "client")),
			}
			p := r.start(t, ServerConfig{}, ClientConfig{}, echoServer)
			call := func() error {
				_, err := Call[note](t.Context(), p.c, "Echo", &note{})
				return err
			}
			if err := call(); err != nil {
				t.Fatal(err)
			}
			tr.stays.Store(true)
			tr.write.Store(1)
			if err := call(); !errors.Is(err, ErrConnLost) {
				t.Errorf("a call on it: %v", err)
			}
			eventually(t, "both panics are counted", func() bool { return p.s.Stats().Panics+p.c.Stats().Panics >= 2 })
			eventually(t, "the connection is closed at both ends", func() bool { return p.s.Stats().OpenConns+p.c.Stats().OpenConns == 0 })
			tr.write.Store(0)
			if err := call(); err != nil {
				t.Errorf("a call afterwards: %v", err)
			}
		})
	}
}
