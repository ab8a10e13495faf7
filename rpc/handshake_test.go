package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// echoServer registers the handler "Echo".
func echoServer(s *Server) { Handle(s, "Echo", echo) }

// TestHandshake: who may talk to whom, and what each side is told when it may not.
func TestHandshake(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		for _, tc := range []struct {
			name           string
			server, client handshake
			want           error
		}{
			{"nothing configured", handshake{}, handshake{}, nil},
			{"one cluster, one secret", handshake{cluster: "c", secret: []byte("s")}, handshake{cluster: "c", secret: []byte("s")}, nil},
			{"two clusters", handshake{cluster: "c"}, handshake{cluster: "d"}, ErrCluster},
			{"a cluster and none", handshake{cluster: "c"}, handshake{}, ErrCluster},
			{"two secrets", handshake{secret: []byte("one")}, handshake{secret: []byte("two")}, ErrSecret},
			{"only the server has a secret", handshake{secret: []byte("one")}, handshake{}, ErrSecret},
			{"only the client has a secret", handshake{}, handshake{secret: []byte("one")}, ErrSecret},
		} {
			s, addr := r.serve(t, ServerConfig{Cluster: tc.server.cluster, Secret: tc.server.secret}, echoServer)
			c := r.dial(t, ClientConfig{Addrs: []string{addr}, Cluster: tc.client.cluster, Secret: tc.client.secret})
			_, err := Call[note](t.Context(), c.AtLeastOnce(), "Echo", &note{}) // what cannot be mended is not retried
			if !errors.Is(err, tc.want) || tc.want != nil && !errors.Is(err, ErrNotExecuted) {
				t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
			}
			eventually(t, "the server has counted it", func() bool {
				st := s.Stats() // one without a secret learns of the other's by its going away
				return tc.want == nil && st.OpenConns == 1 || tc.want != nil && st.Rejected+st.Conns == 1 && st.OpenConns == 0
			})
			c.Close()
			s.Close()
		}
	})
}

// TestHandshakeSecretIsNeverSent: not in either direction, nor anything from which
// it follows at once; and no proof is good for a second connection.
func TestHandshakeSecretIsNeverSent(t *testing.T) {
	secret := []byte("correct horse battery staple")
	tap := &tap{Transport: transport.TCP{}}
	s, addr := serveAt(t, transport.TCP{}, "127.0.0.1:0", ServerConfig{Secret: secret}, echoServer)
	var first [][]byte // what the first client heard and said
	for range 2 {
		c := dialFrom(t, tap, ClientConfig{Addrs: []string{addr}, Secret: secret})
		if _, err := Call[note](t.Context(), c, "Echo", &note{Text: "hello"}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		in, out := tap.take()
		if !bytes.Contains(out, []byte("hello")) || !bytes.Contains(in, []byte("hello")) {
			t.Fatal("the tap does not hear what is said")
		}
		for _, heard := range [][]byte{in, out} {
			if bytes.Contains(heard, secret) || bytes.Contains(heard, secret[:10]) {
				t.Error("the secret was sent")
			}
		}
		if first == nil {
			first = [][]byte{in, out}
		}
	}
	// A recorded client, played again, does not get in.
	nc, err := transport.TCP{}.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write(first[1]); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(nc)
	if bytes.Contains(answer, []byte("hello")) || s.Stats().Conns != 2 || s.Stats().Rejected != 1 {
		t.Errorf("a recording was accepted: %q, %+v", answer, s.Stats())
	}
}

// A tap is a transport that notes what passes.
type tap struct {
	transport.Transport
	mu      sync.Mutex // guards what follows
	in, out []byte
}

func (w *tap) Dial(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := w.Transport.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &tapped{nc, w}, nil
}

func (w *tap) take() (in, out []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in, out = w.in, w.out
	w.in, w.out = nil, nil
	return in, out
}

type tapped struct {
	net.Conn
	w *tap
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.w.mu.Lock()
	c.w.in = append(c.w.in, p[:n]...)
	c.w.mu.Unlock()
	return n, err
}

func (c *tapped) Write(p []byte) (int, error) {
	c.w.mu.Lock()
	c.w.out = append(c.w.out, p...)
	c.w.mu.Unlock()
	return c.Conn.Write(p)
}

// greeting is what a client says first, with the given hello.
func greeting(change func(*hello)) []byte {
	hs := handshake{lim: Limits{}.withDefaults()}
	h := hs.hello()
	if change != nil {
		change(h)
	}
	return appendBlock([]byte(magic), h.append(nil))
}

// TestHandshakeVersions: a server talks the newest version that both know, and
// tells a client with which it has none in common; so does a client.
func TestHandshakeVersions(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		s, addr := r.serve(t, ServerConfig{}, echoServer)
		for _, tc := range []struct {
			low, high byte
			status    byte
		}{
			{1, 1, helloOK}, {1, 7, helloOK}, {2, 7, helloVersion}, {255, 255, helloVersion},
		} {
			nc, err := r.client.Dial(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			// A later version may say more.
			msg := greeting(func(h *hello) { h.minVersion, h.maxVersion = tc.low, tc.high })
			body := append(msg[len(magic)+2:], "and more"...)
			if _, err := nc.Write(appendBlock([]byte(magic), body)); err != nil {
				t.Fatal(err)
			}
			if err := expectMagic(nc); err != nil {
				t.Fatal(err)
			}
			answer, err := readBlock(nc)
			if err != nil || answer[0] != tc.status {
				t.Errorf("versions %d to %d: answered %v, error %v", tc.low, tc.high, answer, err)
			}
			if tc.status == helloOK && (answer[1] != 1 || answer[2] != 1) {
				t.Errorf("versions %d to %d: the server chose %d to %d", tc.low, tc.high, answer[1], answer[2])
			}
			nc.Close()
		}
		eventually(t, "no connection is left", func() bool { return s.Stats().OpenConns == 0 })
	})
	// A server from the future that knows nothing of version 1.
	for name, tc := range map[string]struct {
		answer []byte
		want   error
	}{
		"refuses":                 {append([]byte(nil), helloVersion), ErrVersion},
		"insists":                 {append([]byte{helloOK}, greeting(func(h *hello) { h.minVersion, h.maxVersion = 9, 9 })[len(magic)+2:]...), ErrVersion},
		"refuses for the unknown": {[]byte{200}, ErrHandshake},
		"says nothing":            {nil, ErrHandshake},
		"babbles":                 {[]byte{helloOK, 1, 2, 3}, ErrHandshake},
	} {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			if expectMagic(far) == nil {
				readBlock(far)
				far.Write(appendBlock([]byte(magic), tc.answer))
			}
		}()
		hs := handshake{lim: Limits{}.withDefaults()}
		if _, _, err := hs.client(t.Context(), near); !errors.Is(err, tc.want) {
			t.Errorf("a server that %s: %v", name, err)
		}
		near.Close()
	}
}

// TestHandshakeTLS: certificates are checked on both sides, and ids against
// certificates.
func TestHandshakeTLS(t *testing.T) {
	for _, inner := range []string{"Network", "TCP"} {
		t.Run(inner, func(t *testing.T) {
			r := newRig(t, inner)
			ca, other := transporttest.NewCA(t), transporttest.NewCA(t)
			serverTLS := transport.TLS(r.server, ca.Config(t, "server", "127.0.0.1", "keeper"))
			peers := make(chan Peer, 1)
			setup := func(s *Server) {
				Handle(s, "Echo", func(ctx context.Context, n *note) (*note, error) {
					p, _ := PeerFromContext(ctx)
					peers <- p
					return n, nil
				})
				HandleStream(s, "Stream", echoStream)
			}
			oneSided := ca.Config(t, "client")
			oneSided.Certificates = nil
			for _, tc := range []struct {
				name       string
				serverNode string
				node       string
				config     *tls.Config
				ok         bool
				want       error
			}{
				{"both named in their certificates", "keeper", "client", ca.Config(t, "client"), true, nil},
				{"nobody says a name", "", "", ca.Config(t, "client"), true, nil},
				{"the client claims another's name", "keeper", "keeper", ca.Config(t, "client"), false, ErrNode},
				{"the server claims another's name", "client", "client", ca.Config(t, "client"), false, ErrNode},
				{"a client of another authority", "keeper", "client", other.Config(t, "client"), false, nil},
				{"a client without a certificate", "keeper", "client", oneSided, false, nil},
			} {
				s, addr := serveAt(t, serverTLS, r.addr, ServerConfig{Node: tc.serverNode}, setup)
				c := dialFrom(t, transport.TLS(r.client, tc.config), ClientConfig{Addrs: []string{addr}, Node: tc.node})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				_, err := Call[note](ctx, c, "Echo", &note{})
				cancel()
				switch {
				case tc.ok && err != nil, !tc.ok && !errors.Is(err, ErrNotExecuted), tc.want != nil && !errors.Is(err, tc.want):
					t.Errorf("%s: %v", tc.name, err)
				case tc.ok:
					p := <-peers
					if p.Node != tc.node || p.TLS == nil || p.TLS.PeerCertificates[0].Subject.CommonName != "client" || p.Addr == nil {
						t.Errorf("%s: the handler saw %+v", tc.name, p)
					}
					st, err := OpenStream(t.Context(), c, "Stream", &Empty{})
					if err != nil {
						t.Fatal(err)
					}
					if p := st.Peer(); p.Node != tc.serverNode || p.TLS == nil || st.RemoteAddr().String() != addr {
						t.Errorf("%s: the client saw %+v", tc.name, p)
					}
					st.Close()
				}
				c.Close()
				s.Close()
			}
			// Without TLS, nothing gets through to a server that has it.
			s, addr := serveAt(t, serverTLS, r.addr, ServerConfig{}, setup)
			plain := dialFrom(t, r.client, ClientConfig{Addrs: []string{addr}})
			if _, err := Call[note](t.Context(), plain, "Echo", &note{}); !errors.Is(err, ErrNotExecuted) {
				t.Errorf("plain text to a TLS port: %v", err)
			}
			eventually(t, "it was rejected", func() bool { return s.Stats().Rejected == 1 })
		})
	}
}

// garbage is what strangers say to a port, and nothing that they say is a
// handshake.
func garbage() map[string][]byte {
	all := map[string][]byte{
		"random":          pattern(4096, 0x99),
		"magic, no hello": append([]byte(magic), 0, 0),
		"a huge hello":    append([]byte(magic), 0xff, 0xff, 1, 2, 3),
		"a bad hello":     appendBlock([]byte(magic), bytes.Repeat([]byte{0x80}, 200)),
		"half the magic":  []byte(magic[:4]),
		"half a hello":    greeting(nil)[:20],
		"nothing":         nil,
	}
	maps.Insert(all, testutil.Greetings())
	return all
}

// TestGarbageOnThePort: whatever a stranger says costs one connection and nothing
// else; those who say too little are given up in time. A good client works
// meanwhile and after.
func TestGarbageOnThePort(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		s, addr := r.serve(t, ServerConfig{Limits: Limits{HandshakeTimeout: 200 * time.Millisecond}}, echoServer)
		good := r.dial(t, ClientConfig{Addrs: []string{addr}})
		try := func(when string) {
			t.Helper()
			if resp, err := Call[note](t.Context(), good, "Echo", &note{Text: when}); err != nil || resp.Text != when {
				t.Errorf("%s: %v", when, err)
			}
		}
		try("before")
		layers := []transport.Transport{r.raw}
		if r.client != r.raw { // TLS meets the garbage first, and then what is inside
			layers = append(layers, r.client)
		}
		kinds := 0
		var strangers sync.WaitGroup
		for _, tr := range layers {
			for name, bytes := range garbage() {
				kinds++
				nc, err := tr.Dial(t.Context(), addr)
				if err != nil {
					t.Fatal(err)
				}
				strangers.Go(func() {
					defer nc.Close()
					nc.Write(bytes) // the server may hang up before it has all
					nc.SetReadDeadline(time.Now().Add(20 * time.Second))
					if _, err := io.Copy(io.Discard, nc); isTimeout(err) {
						t.Errorf("%s: the server does not give up", name)
					}
				})
				try("while " + name)
			}
		}
		strangers.Wait()
		eventually(t, "all are rejected", func() bool { return s.Stats().Rejected == int64(kinds) })
		try("after")
		fresh := r.dial(t, ClientConfig{Addrs: []string{addr}})
		if _, err := Call[note](t.Context(), fresh, "Echo", &note{}); err != nil {
			t.Errorf("a new client after the garbage: %v", err)
		}
		idle(t, s)
		if st := s.Stats(); st.Conns != 2 || good.Stats().Conns != 1 {
			t.Errorf("after the garbage: %+v", st)
		}
	})
}

// TestGarbageFromThePort: a client that reaches something else learns that, and
// goes on to an address that is good.
func TestGarbageFromThePort(t *testing.T) {
	for name, bytes := range garbage() {
		if slices.Contains([]string{"half the magic", "half a hello", "nothing"}, name) {
			continue // they are a matter of time, see below
		}
		t.Run(name, func(t *testing.T) {
			l, err := transport.TCP{}.Listen(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						nc.Write(bytes)
						io.Copy(io.Discard, nc)
						nc.Close()
					}()
				}
			}()
			_, addr := serveAt(t, transport.TCP{}, "127.0.0.1:0", ServerConfig{}, echoServer)
			lone := dialFrom(t, transport.TCP{}, ClientConfig{Addrs: []string{l.Addr().String()}})
			if _, err := Call[note](t.Context(), lone, "Echo", &note{}); !errors.Is(err, ErrNotExecuted) || !errors.Is(err, ErrHandshake) {
				t.Errorf("error %v", err)
			}
			both := dialFrom(t, transport.TCP{}, ClientConfig{Addrs: []string{l.Addr().String(), addr}})
			if _, err := Call[note](t.Context(), both, "Echo", &note{}); err != nil {
				t.Errorf("with a good address: %v", err)
			}
		})
	}
}

// TestSlowHandshake: a byte now and then does not keep a handshake going, on
// either side; and it costs others nothing.
func TestSlowHandshake(t *testing.T) {
	const timeout = 2 * time.Second
	for _, slow := range []string{"client", "server"} {
		t.Run(slow, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
				start := time.Now()
				lim := Limits{HandshakeTimeout: timeout}
				if slow == "client" {
					s, addr := serveAt(t, n.Host("server"), ":1", ServerConfig{Limits: lim}, echoServer)
					var drips sync.WaitGroup
					for range 50 {
						drips.Go(func() {
							nc, err := n.Host("stranger").Dial(t.Context(), addr)
							if err != nil {
								t.Error(err)
								return
							}
							drip(nc, greeting(nil))
							if took := time.Since(start); took < timeout || took > timeout+200*time.Millisecond {
								t.Errorf("given up after %v, want %v", took, timeout)
							}
							nc.Close()
						})
					}
					c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{addr}})
					if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil || time.Since(start) > 10*time.Millisecond {
						t.Errorf("a good client beside slow ones, after %v: %v", time.Since(start), err)
					}
					drips.Wait()
					if st := s.Stats(); st.Rejected != 50 || st.OpenConns != 1 {
						t.Errorf("%+v", st)
					}
					return
				}
				l, err := n.Host("server").Listen(t.Context(), ":1")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				var drips sync.WaitGroup
				defer drips.Wait()
				drips.Go(func() {
					nc, err := l.Accept()
					if err == nil {
						drip(nc, appendBlock([]byte(magic), append([]byte{helloOK}, greeting(nil)[len(magic)+2:]...)))
						nc.Close()
					}
				})
				c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}, Limits: lim})
				_, err = Call[note](t.Context(), c, "Echo", &note{})
				if took := time.Since(start); !errors.Is(err, ErrNotExecuted) || took > timeout+10*time.Millisecond {
					t.Errorf("after %v: %v", took, err)
				}
			})
		})
	}
}

// drip writes b a byte at a time, until the other side has enough of it.
//
//lint:bubble
func drip(nc net.Conn, b []byte) {
	for i := range b {
		if _, err := nc.Write(b[i : i+1]); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
