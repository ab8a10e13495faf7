package transport

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// TCP is the operating system's network: TCP for connections, UDP for packets.
// The zero value works; it may be copied and used concurrently.
//
// Dial and Accept give the *net.TCPConn itself, with Nagle's delay off (so
// writes should be joined) and keep-alive on, so that a caller can use writev,
// sendfile and CloseWrite.
type TCP struct {
	// Family is "" for both versions of IP, "4" or "6" for one.
	Family string
	// KeepAlive finds dead peers of idle connections. Zero: on, the first probe
	// after 15 s of silence, then every 5 s, dead after 4 without an answer.
	// Enable false with any other field set turns it off.
	KeepAlive net.KeepAliveConfig
	// LocalAddr is the "host:port" to dial from; port 0 picks one. Empty: the
	// system chooses.
	LocalAddr string
}

var _ PacketTransport = TCP{}

var defaultKeepAlive = net.KeepAliveConfig{
	Enable:   true,
	Idle:     15 * time.Second,
	Interval: 5 * time.Second,
	Count:    4,
}

func (t TCP) keepAlive() net.KeepAliveConfig {
	if t.KeepAlive == (net.KeepAliveConfig{}) {
		return defaultKeepAlive
	}
	return t.KeepAlive
}

func (t TCP) validate() error {
	switch t.Family {
	case "", "4", "6":
		return nil
	}
	return badConfig("TCP.Family", "%q is none of \"\", \"4\" and \"6\"", t.Family)
}

// Listen listens on addr ("host:port", an empty host for all addresses of the
// machine).
func (t TCP) Listen(ctx context.Context, addr string) (net.Listener, error) {
	if err := cmp.Or(t.validate(), ctx.Err()); err != nil {
		return nil, &Error{Op: "listen", Addr: addr, Err: err}
	}
	lc := net.ListenConfig{KeepAliveConfig: t.keepAlive()}
	l, err := lc.Listen(ctx, "tcp"+t.Family, addr)
	if err != nil {
		return nil, &Error{Op: "listen", Addr: addr, Err: bareCause(err)}
	}
	return l, nil
}

// Dial connects to addr.
func (t TCP) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if err := cmp.Or(t.validate(), ctx.Err()); err != nil {
		return nil, &Error{Op: "dial", Addr: addr, Err: err}
	}
	d := net.Dialer{KeepAliveConfig: t.keepAlive()}
	if t.LocalAddr != "" {
		local, err := net.ResolveTCPAddr("tcp"+t.Family, t.LocalAddr)
		if err != nil {
			return nil, &Error{Op: "dial", Addr: addr, Err: badConfig("TCP.LocalAddr", "%w", err)}
		}
		d.LocalAddr = local
	}
	c, err := d.DialContext(ctx, "tcp"+t.Family, addr)
	if err != nil {
		return nil, &Error{Op: "dial", Addr: addr, Err: bareCause(err)}
	}
	return c, nil
}

// ListenPacket listens for UDP packets on addr. Its WriteTo takes *net.UDPAddr
// and any other net.Addr whose String is "host:port". Names are looked up once a
// minute; the caller waits for that, and an old answer serves if it fails.
func (t TCP) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	if err := cmp.Or(t.validate(), ctx.Err()); err != nil {
		return nil, &Error{Op: "listen packet", Addr: addr, Err: err}
	}
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, "udp"+t.Family, addr)
	if err != nil {
		return nil, &Error{Op: "listen packet", Addr: addr, Err: bareCause(err)}
	}
	return &udpConn{UDPConn: c.(*net.UDPConn), network: "udp" + t.Family}, nil
}

// bareCause strips the operation and the address that Error repeats.
func bareCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

const (
	maxResolved = 256         // names that a udpConn remembers
	resolvedFor = time.Minute // and for how long
)

// udpConn is a *net.UDPConn whose WriteTo takes addresses by name, too.
type udpConn struct {
	*net.UDPConn
	network string

	mu       sync.Mutex // guards resolved
	resolved map[string]resolved
}

type resolved struct {
	addr  *net.UDPAddr
	until time.Time
}

func (c *udpConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	if a, ok := addr.(*net.UDPAddr); ok {
		return c.UDPConn.WriteTo(p, a)
	}
	name := addr.String()
	if a, err := netip.ParseAddrPort(name); err == nil {
		return c.UDPConn.WriteTo(p, net.UDPAddrFromAddrPort(a))
	}
	a, err := c.resolve(name)
	if err != nil {
		return 0, &Error{Op: "write", Addr: name, Err: err}
	}
	return c.UDPConn.WriteTo(p, a)
}

func (c *udpConn) resolve(name string) (*net.UDPAddr, error) {
	now := time.Now()
	c.mu.Lock()
	r, ok := c.resolved[name]
	c.mu.Unlock()
	if ok && now.Before(r.until) {
		return r.addr, nil
	}
	addr, err := net.ResolveUDPAddr(c.network, name)
	switch {
	case err != nil && ok:
		addr = r.addr // an old address is better than none: the name service may be what is down
	case err != nil:
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.resolved == nil || len(c.resolved) >= maxResolved {
		c.resolved = make(map[string]resolved)
	}
	c.resolved[name] = resolved{addr: addr, until: now.Add(resolvedFor)}
	return addr, nil
}
