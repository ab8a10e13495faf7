package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/wire"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// A rig is one way to connect a client with a server.
type rig struct {
	name           string
	server, client transport.Transport
	addr           string
	node           string              // the id that TLS lets the client give itself; "" for any
	raw            transport.Transport // the client's, below TLS
}

// rigs are the transports that the package's promises hold on.
var rigs = []string{"Network", "TCP", "TLS over Network", "TLS over TCP"}

func newRig(t testing.TB, kind string) rig {
	r := rig{name: kind}
	if kind == "Network" || kind == "TLS over Network" {
		n := transporttest.NewNetwork(t, transport.NetworkConfig{Seed: 1})
		r.server, r.client, r.addr = n.Host("server"), n.Host("client"), ":1"
	} else {
		r.server, r.client, r.addr = transport.TCP{}, transport.TCP{}, "127.0.0.1:0"
	}
	r.raw = r.client
	if kind == "TLS over Network" || kind == "TLS over TCP" {
		ca := transporttest.NewCA(t)
		r.server = transport.TLS(r.server, ca.Config(t, "server", "127.0.0.1"))
		r.client, r.node = transport.TLS(r.client, ca.Config(t, "client")), "client"
	}
	return r
}

// onEach runs f on every transport.
func onEach(t *testing.T, f func(t *testing.T, r rig)) {
	for _, kind := range rigs {
		t.Run(kind, func(t *testing.T) { f(t, newRig(t, kind)) })
	}
}

// A pair is a server and a client of it, closed when the test ends.
type pair struct {
	s    *Server
	c    *Client
	addr string
}

// start starts a server whose handlers setup registers, and a client.
func (r rig) start(t testing.TB, scfg ServerConfig, ccfg ClientConfig, setup func(*Server)) pair {
	t.Helper()
	s, addr := r.serve(t, scfg, setup)
	if ccfg.Addrs == nil {
		ccfg.Addrs = []string{addr}
	}
	return pair{s, r.dial(t, ccfg), addr}
}

// serve starts a server and returns its address. A rig may have several.
func (r rig) serve(t testing.TB, cfg ServerConfig, setup func(*Server)) (*Server, string) {
	t.Helper()
	addr := r.addr
	if addr == ":1" { // the first server's; any other takes a free port
		if l, err := r.server.Listen(context.Background(), ":1"); err != nil {
			addr = ":0"
		} else {
			l.Close()
		}
	}
	return serveAt(t, r.server, addr, cfg, setup)
}

// dial returns a client of the servers that cfg names.
func (r rig) dial(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	return dialFrom(t, r.client, cfg)
}

// serveAt starts a server and returns its address.
func serveAt(t testing.TB, tr transport.Transport, addr string, cfg ServerConfig, setup func(*Server)) (*Server, string) {
	t.Helper()
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	setup(s)
	at, err := s.Listen(context.Background(), tr, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, at.String()
}

// dialFrom returns a client.
func dialFrom(t testing.TB, tr transport.Transport, cfg ClientConfig) *Client {
	t.Helper()
	cfg.Transport = tr
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newTable returns a session table in memory.
func newTable(t testing.TB) *SessionTable {
	t.Helper()
	table, err := NewSessionTable(SessionTableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// eachSemantics runs f with a caller of each kind.
func eachSemantics(t *testing.T, f func(t *testing.T, sem Semantics, as func(*Client) Caller)) {
	for sem, as := range map[Semantics]func(*Client) Caller{
		AtMostOnce:  func(c *Client) Caller { return c },
		AtLeastOnce: (*Client).AtLeastOnce,
		ExactlyOnce: (*Client).ExactlyOnce,
	} {
		t.Run(sem.String(), func(t *testing.T) { f(t, sem, as) })
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	testutil.Eventually(t, 30*time.Second, cond, what)
}

// idle waits until a server runs nothing and holds nothing.
func idle(t testing.TB, s *Server) {
	t.Helper()
	eventually(t, "the server runs and holds nothing", func() bool {
		st := s.Stats()
		return st.Running == 0 && st.HeldBytes == 0
	})
}

// note is a message with a field and a body.
type note struct {
	N    uint64
	Text string
	Body
}

func (n *note) AppendBinary(dst []byte) ([]byte, error) {
	dst = binary.AppendUvarint(dst, n.N)
	return wire.AppendString(dst, n.Text), nil
}

func (n *note) UnmarshalBinary(b []byte) error {
	d := wire.NewDecoder(b)
	n.N, n.Text = d.Uvarint(), d.String()
	return d.Finish()
}

// echo answers a note with itself, body included.
func echo(_ context.Context, n *note) (*note, error) {
	return &note{N: n.N, Text: n.Text, Body: Body{Data: n.Keep()}}, nil
}

// pattern returns n bytes that differ from place to place and from seed to seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16) ^ seed
	}
	return b
}

// echoStream sends back what it reads, until the end.
func echoStream(_ context.Context, _ *Empty, st *Stream) error {
	_, err := io.Copy(st, st)
	return err
}

func mustEqual(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes differ from the %d expected", what, len(got), len(want))
	}
}
