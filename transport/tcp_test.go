package transport_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/transport"
)

func TestTCPGivesRawConnections(t *testing.T) {
	client, server := mustConnect(t, transport.TCP{}, transport.TCP{}, "127.0.0.1:0")
	defer client.Close()
	defer server.Close()
	for _, c := range []net.Conn{client, server} {
		if _, ok := c.(*net.TCPConn); !ok {
			t.Errorf("a connection is a %T, want *net.TCPConn", c)
		}
	}
}

// TestErrorsAreTheSameEverywhere: what the memory network returns, TCP does too.
func TestErrorsAreTheSameEverywhere(t *testing.T) {
	tcp := transport.TCP{}
	l, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	_, err = tcp.Listen(t.Context(), addr)
	wantIs(t, "Listen twice", err, transport.ErrInUse)
	if e, ok := errors.AsType[*transport.Error](err); !ok || e.Op != "listen" || e.Addr != addr {
		t.Errorf("Listen twice: %v is not an Error that says so", err)
	}
	l.Close()
	_, err = tcp.Dial(t.Context(), addr)
	wantIs(t, "Dial", err, transport.ErrRefused)
	if text := err.Error(); strings.Count(text, addr) != 1 {
		t.Errorf("%q should name %s once", text, addr)
	}
	_, err = tcp.Listen(t.Context(), "192.0.2.1:0") // reserved for documentation
	wantIs(t, "Listen on a stranger's address", err, transport.ErrNoPort)

	client, server := mustConnect(t, tcp, tcp, "127.0.0.1:0")
	defer client.Close()
	must(t, server.(*net.TCPConn).SetLinger(0)) // so that Close resets
	server.Close()
	_, err = client.Read(make([]byte, 1))
	wantIs(t, "Read after a reset", err, transport.ErrReset)
}

func TestTCPConfigErrors(t *testing.T) {
	tcp := transport.TCP{Family: "5"}
	_, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	wantIs(t, "Listen", err, transport.ErrConfig)
	_, err = tcp.ListenPacket(t.Context(), "127.0.0.1:0")
	wantIs(t, "ListenPacket", err, transport.ErrConfig)
	_, err = tcp.Dial(t.Context(), "127.0.0.1:1")
	wantIs(t, "Dial", err, transport.ErrConfig)
	_, err = transport.TCP{LocalAddr: "nonsense"}.Dial(t.Context(), "127.0.0.1:1")
	wantIs(t, "Dial", err, transport.ErrConfig)
	if !strings.Contains(err.Error(), "TCP.LocalAddr") {
		t.Errorf("%v does not name the field", err)
	}
}

func TestTCPDialsFromLocalAddr(t *testing.T) {
	from := transport.TCP{Family: "4", LocalAddr: "127.0.0.1:0", KeepAlive: net.KeepAliveConfig{Idle: time.Hour}}
	client, server := mustConnect(t, from, transport.TCP{}, "127.0.0.1:0")
	defer client.Close()
	defer server.Close()
	if host, _, _ := net.SplitHostPort(server.RemoteAddr().String()); host != "127.0.0.1" {
		t.Errorf("the server sees %v", server.RemoteAddr())
	}
}

// TestUDPByName: a packet finds its way to a name that has to be looked up, and
// the look-up is remembered.
func TestUDPByName(t *testing.T) {
	tcp := transport.TCP{Family: "4"}
	to, err := tcp.ListenPacket(t.Context(), "127.0.0.1:0")
	must(t, err)
	defer to.Close()
	from, err := tcp.ListenPacket(t.Context(), "127.0.0.1:0")
	must(t, err)
	defer from.Close()
	_, port, err := net.SplitHostPort(to.LocalAddr().String())
	must(t, err)
	buf := make([]byte, 10)
	for range 2 {
		_, err := from.WriteTo([]byte("hello"), transport.Addr("localhost:"+port))
		must(t, err)
		must(t, to.SetReadDeadline(time.Now().Add(time.Minute)))
		n, addr, err := to.ReadFrom(buf)
		must(t, err)
		if string(buf[:n]) != "hello" || addr.String() != from.LocalAddr().String() {
			t.Errorf("%q arrived from %v", buf[:n], addr)
		}
	}
	_, err = from.WriteTo([]byte("hello"), transport.Addr("nonsense"))
	if _, ok := errors.AsType[*transport.Error](err); !ok {
		t.Errorf("WriteTo nonsense: %v", err)
	}
}
