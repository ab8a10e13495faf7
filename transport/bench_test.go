package transport_test

import (
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/trilith-go/trilith/transport"
)

// subjects are the network and what it is measured against, in one process each.
var subjects = []struct {
	name    string
	connect func(b testing.TB) (c1, c2 net.Conn)
}{
	{"network", func(b testing.TB) (net.Conn, net.Conn) {
		n, err := transport.NewNetwork(transport.NetworkConfig{})
		if err != nil {
			b.Fatal(err)
		}
		return mustConnect(b, n.Host("a"), n.Host("b"), ":0")
	}},
	{"pipe", func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() }},
	{"tcp", func(b testing.TB) (net.Conn, net.Conn) {
		return mustConnect(b, transport.TCP{}, transport.TCP{}, "127.0.0.1:0")
	}},
}

func mustConnect(b testing.TB, from, to transport.Transport, addr string) (net.Conn, net.Conn) {
	c1, c2, _, err := connect(b, from, to, addr)
	if err != nil {
		b.Fatal(err)
	}
	return c1, c2
}

// BenchmarkNetworkStream sends one way in writes of 256 KiB.
func BenchmarkNetworkStream(b *testing.B) {
	const size = 256 << 10
	for _, s := range subjects {
		b.Run(s.name, func(b *testing.B) {
			c1, c2 := s.connect(b)
			defer c1.Close()
			done := make(chan error, 1)
			go func() {
				defer c2.Close()
				buf := make([]byte, size)
				for {
					if _, err := c2.Read(buf); err != nil {
						done <- err
						return
					}
				}
			}()
			p := make([]byte, size)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c1.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			c1.Close()
			if err := <-done; err != io.EOF {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkNetworkPingPong sends 64 bytes there and back.
func BenchmarkNetworkPingPong(b *testing.B) {
	for _, s := range subjects {
		b.Run(s.name, func(b *testing.B) {
			c1, c2 := s.connect(b)
			defer c1.Close()
			go func() {
				defer c2.Close()
				buf := make([]byte, 64)
				for {
					if _, err := io.ReadFull(c2, buf); err != nil {
						return
					}
					if _, err := c2.Write(buf); err != nil {
						return
					}
				}
			}()
			p := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c1.Write(p); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c1, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNetworkDial connects, accepts and closes.
func BenchmarkNetworkDial(b *testing.B) {
	n, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		b.Fatal(err)
	}
	l, err := n.Host("b").Listen(b.Context(), ":1")
	if err != nil {
		b.Fatal(err)
	}
	a := n.Host("a")
	b.ReportAllocs()
	for b.Loop() {
		c1, err := a.Dial(b.Context(), "b:1")
		if err != nil {
			b.Fatal(err)
		}
		c2, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		c1.Close()
		c2.Close()
	}
}

// TestIdleConnectionIsSmall: a connection that has carried bytes, both ends of it,
// holds less than 1 KiB.
func TestIdleConnectionIsSmall(t *testing.T) {
	const conns = 4000
	n, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := n.Host("b").Listen(t.Context(), ":1")
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	kept := make([]net.Conn, 0, 2*conns)
	p := make([]byte, 4096)
	before := heap()
	for range conns {
		c1, err := n.Host("a").Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		c2, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range [][2]net.Conn{{c1, c2}, {c2, c1}} {
			if _, err := d[0].Write(p); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(d[1], p); err != nil {
				t.Fatal(err)
			}
		}
		kept = append(kept, c1, c2)
	}
	each := (heap() - before) / conns
	t.Logf("%d bytes a connection", each)
	if each >= 1024 {
		t.Errorf("an idle connection holds %d bytes, want less than 1024", each)
	}
	runtime.KeepAlive(kept)
}
