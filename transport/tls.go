package transport

import (
	"context"
	"crypto/tls"
	"net"
)

// TLS returns a Transport that speaks TLS over the connections of inner, any
// Transport, with config, which must not change any more. The connections are
// *tls.Conn.
//
// Dial completes the handshake within its context, so a certificate that is not
// trusted fails the Dial. The server's name is config.ServerName or else the host
// of the address. Accept does not wait for the handshake: whoever uses the
// connection first performs it, and should bound it by HandshakeContext or a
// deadline. With mutual TLS, it is there that a server refuses a client, and the
// client, whose handshake is complete by then (TLS 1.3), learns it from its first
// Read.
//
// The result is a PacketTransport if and only if inner is one. Packets pass as
// they are: they are neither encrypted nor authenticated, so what they carry has to
// prove its origin itself.
//
// In a synctest bubble, only one goroutine at a time may write to a connection:
// crypto/tls holds a mutex while it writes, and time stands still while another
// goroutine waits for it.
func TLS(inner Transport, config *tls.Config) Transport {
	t := tlsTransport{inner, config}
	if p, ok := inner.(PacketTransport); ok {
		return tlsPacketTransport{t, p}
	}
	return t
}

type tlsTransport struct {
	inner  Transport
	config *tls.Config
}

type tlsPacketTransport struct {
	tlsTransport
	packets PacketTransport
}

var (
	_ Transport       = tlsTransport{}
	_ PacketTransport = tlsPacketTransport{}
)

func (t tlsTransport) Listen(ctx context.Context, addr string) (net.Listener, error) {
	c := t.config
	if c == nil || len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil {
		err := badConfig("tls.Config.Certificates", "a listener needs a certificate")
		return nil, &Error{Op: "listen", Addr: addr, Err: err}
	}
	l, err := t.inner.Listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, c), nil
}

func (t tlsTransport) Dial(ctx context.Context, addr string) (net.Conn, error) {
	config, err := t.clientConfig(addr)
	if err != nil {
		return nil, &Error{Op: "dial", Addr: addr, Err: err}
	}
	raw, err := t.inner.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &Error{Op: "dial", Addr: addr, Err: err}
	}
	return c, nil
}

// clientConfig fills in the server's name if config leaves it open.
func (t tlsTransport) clientConfig(addr string) (*tls.Config, error) {
	if t.config == nil {
		return nil, badConfig("tls.Config", "it is nil")
	}
	if t.config.ServerName != "" || t.config.InsecureSkipVerify {
		return t.config, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return nil, badConfig("tls.Config.ServerName", "it is empty and %q names no host", addr)
	}
	c := t.config.Clone()
	c.ServerName = host
	return c, nil
}

func (t tlsPacketTransport) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	return t.packets.ListenPacket(ctx, addr)
}
