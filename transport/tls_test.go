package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// onBoth runs f on the in-memory network and on TCP.
func onBoth(t *testing.T, f func(t *testing.T, p transporttest.Pair)) {
	t.Run("Network", func(t *testing.T) { f(t, onNetwork(transport.NetworkConfig{})(t)) })
	t.Run("TCP", func(t *testing.T) { f(t, onTCP(t)) })
}

// serveOnce accepts one connection, says hello to it, and returns what came of that.
func serveOnce(t *testing.T, l net.Listener) <-chan error {
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			if err = c.SetDeadline(time.Now().Add(time.Minute)); err == nil {
				if err = c.(*tls.Conn).HandshakeContext(context.Background()); err == nil {
					_, err = io.WriteString(c, "hello "+c.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName)
				}
			}
		}
		done <- err
	}()
	return done
}

func TestMutualTLS(t *testing.T) {
	onBoth(t, func(t *testing.T, p transporttest.Pair) {
		ca, stranger := transporttest.NewCA(t), transporttest.NewCA(t)
		l, err := transport.TLS(p.Server, ca.Config(t, "server", "127.0.0.1")).Listen(t.Context(), p.Addr())
		must(t, err)
		defer l.Close()
		addr := l.Addr().String()

		// The right certificate: the server knows who calls.
		served := serveOnce(t, l)
		c, err := transport.TLS(p.Client, ca.Config(t, "alice")).Dial(t.Context(), addr)
		must(t, err)
		got, err := io.ReadAll(c)
		c.Close()
		if string(got) != "hello alice" || err != nil {
			t.Errorf("the server says %q, %v", got, err)
		}
		must(t, <-served)

		// Without a certificate the server refuses.
		nameless := ca.Config(t, "x")
		nameless.Certificates = nil
		served = serveOnce(t, l)
		c, err = transport.TLS(p.Client, nameless).Dial(t.Context(), addr)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil || <-served == nil {
			t.Error("the server takes a client without a certificate")
		}

		// A server of another authority fails the Dial.
		served = serveOnce(t, l)
		_, err = transport.TLS(p.Client, stranger.Config(t, "alice")).Dial(t.Context(), addr)
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Errorf("Dial of a server nobody vouches for: %v", err)
		}
		if <-served == nil {
			t.Error("the server does not notice")
		}

		// So does one whose certificate is for another name.
		other := ca.Config(t, "alice")
		other.ServerName = "elsewhere"
		served = serveOnce(t, l)
		_, err = transport.TLS(p.Client, other).Dial(t.Context(), addr)
		if _, ok := errors.AsType[x509.HostnameError](err); !ok {
			t.Errorf("Dial of another server than asked for: %v", err)
		}
		<-served
	})
}

// TestTLSDialEndsWithItsContext: a server that accepts and says nothing can't hold
// a Dial longer than its context.
func TestTLSDialEndsWithItsContext(t *testing.T) {
	ca := transporttest.NewCA(t)
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		l, err := n.Host("b").Listen(t.Context(), ":1")
		must(t, err)
		defer l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		_, err = transport.TLS(n.Host("a"), ca.Config(t, "a")).Dial(ctx, "b:1")
		wantIs(t, "Dial", err, context.DeadlineExceeded)
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("Dial gave up after %v", d)
		}
		c, err := l.Accept()
		must(t, err)
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, transport.ErrReset) {
			t.Errorf("the server's end: %v, want its end", err)
		}
		c.Close()
	})
}

func TestTLSKeepsThePacketSide(t *testing.T) {
	ca := transporttest.NewCA(t)
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	if _, ok := transport.TLS(n.Host("a"), ca.Config(t, "a")).(transport.PacketTransport); !ok {
		t.Error("TLS over a PacketTransport is none")
	}
	onlyStreams := struct{ transport.Transport }{n.Host("a")}
	if _, ok := transport.TLS(onlyStreams, ca.Config(t, "a")).(transport.PacketTransport); ok {
		t.Error("TLS over a Transport without packets pretends to have them")
	}
}

func TestTLSConfigErrors(t *testing.T) {
	ca := transporttest.NewCA(t)
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	a := n.Host("a")
	bare := &tls.Config{RootCAs: ca.Config(t, "a").RootCAs}
	for _, config := range []*tls.Config{nil, bare} {
		_, err := transport.TLS(a, config).Listen(t.Context(), ":1")
		wantIs(t, "Listen without a certificate", err, transport.ErrConfig)
	}
	_, err := transport.TLS(a, nil).Dial(t.Context(), "a:1")
	wantIs(t, "Dial without a configuration", err, transport.ErrConfig)
	_, err = transport.TLS(a, bare).Dial(t.Context(), ":1")
	wantIs(t, "Dial without a server's name", err, transport.ErrConfig)
	_, err = transport.TLS(a, bare).Dial(t.Context(), "a:1")
	wantIs(t, "Dial", err, transport.ErrRefused)
}
