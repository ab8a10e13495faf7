package transport_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/trilith-go/trilith/transport"
)

// TestNetTest runs the Go project's suite for net.Conn on the raw connections.
// (Connections under TLS can't pass it: their deadlines are final for writing.)
func TestNetTest(t *testing.T) {
	t.Run("Network", func(t *testing.T) {
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			n, err := transport.NewNetwork(transport.NetworkConfig{})
			if err != nil {
				return nil, nil, nil, err
			}
			return connect(t, n.Host("a"), n.Host("b"), ":0")
		})
	})
	t.Run("TCP", func(t *testing.T) {
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			return connect(t, transport.TCP{}, transport.TCP{}, "127.0.0.1:0")
		})
	})
}

// connect returns both ends of one connection.
func connect(t testing.TB, from, to transport.Transport, addr string) (c1, c2 net.Conn, stop func(), err error) {
	l, err := to.Listen(t.Context(), addr)
	if err != nil {
		return nil, nil, nil, err
	}
	defer l.Close()
	if c1, err = from.Dial(t.Context(), l.Addr().String()); err != nil {
		return nil, nil, nil, err
	}
	if c2, err = l.Accept(); err != nil {
		return nil, nil, nil, err
	}
	return c1, c2, func() { c1.Close(); c2.Close() }, nil
}
