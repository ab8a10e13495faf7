package transporttest_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// A bug changes a good Transport into a bad one. What is nil stays good.
type bug struct {
	breaks string // the case that has to find it
	dial   func(ctx context.Context, h *transport.Host, addr string) (net.Conn, error)
	listen func(ctx context.Context, h *transport.Host, addr string) (net.Listener, error)
	accept func(l net.Listener) (net.Conn, error)
	conn   func(c net.Conn, n *transport.Network) net.Conn
	packet func(c net.PacketConn) net.PacketConn
}

var bugs = map[string]bug{
	"none": {breaks: "."},
	"one bit flips now and then": {breaks: "LargeTransfer", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		reads := 0
		return conn{Conn: c, read: func(p []byte) (int, error) {
			n, err := c.Read(p)
			if reads++; reads%50 == 0 && n > 0 {
				p[n/2] ^= 4
			}
			return n, err
		}}
	}},
	"a Write is two": {breaks: "ConcurrentWrites", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		return conn{Conn: c, write: func(p []byte) (int, error) {
			n, err := c.Write(p[:len(p)/2])
			runtime.Gosched()
			if err == nil {
				var m int
				m, err = c.Write(p[len(p)/2:])
				n += m
			}
			return n, err
		}}
	}},
	"Write never waits": {breaks: "BackPressure", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		return conn{Conn: c, write: func(p []byte) (int, error) {
			go c.Write(p)
			return len(p), nil
		}}
	}},
	"deadlines are ignored": {breaks: "ReadDeadline", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		return conn{Conn: c, setReadDeadline: func(time.Time) error { return nil }}
	}},
	"deadlines don't wake": {breaks: "DeadlineWakesRead", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		return conn{Conn: c, setReadDeadline: func(t time.Time) error {
			synctest.Wait() // until Read waits
			go func() {
				<-time.After(2 * time.Minute)
				c.SetReadDeadline(t)
			}()
			return nil
		}}
	}},
	"Close drops what was written": {breaks: "CloseDelivers", conn: func(c net.Conn, n *transport.Network) net.Conn {
		return conn{Conn: c, close: func() error {
			n.Reset("client", "server")
			return c.Close()
		}}
	}},
	"the end is no io.EOF": {breaks: "PeerCloses", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		return conn{Conn: c, read: func(p []byte) (int, error) {
			n, err := c.Read(p)
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}}
	}},
	"a goroutine stays": {breaks: "Echo", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		go func() { select {} }()
		return c
	}},
	"a connection has no address": {breaks: "Addresses", conn: func(c net.Conn, _ *transport.Network) net.Conn {
		return conn{Conn: c, noAddr: true}
	}},
	"Dial ignores its context": {breaks: "DialContext", dial: func(ctx context.Context, h *transport.Host, addr string) (net.Conn, error) {
		return h.Dial(context.WithoutCancel(ctx), addr)
	}},
	"the connection ends with its context": {breaks: "DialContext", dial: func(ctx context.Context, h *transport.Host, addr string) (net.Conn, error) {
		c, err := h.Dial(ctx, addr)
		if err == nil {
			context.AfterFunc(ctx, func() { c.Close() })
		}
		return c, err
	}},
	"Dial does not take no for an answer": {breaks: "Refused", dial: func(ctx context.Context, h *transport.Host, addr string) (net.Conn, error) {
		for {
			c, err := h.Dial(ctx, addr)
			if err == nil || ctx.Err() != nil {
				return c, err
			}
			<-time.After(time.Second)
		}
	}},
	"the listener ends with its context": {breaks: "ListenContext", listen: func(ctx context.Context, h *transport.Host, addr string) (net.Listener, error) {
		l, err := h.Listen(ctx, addr)
		if err == nil {
			context.AfterFunc(ctx, func() { l.Close() })
		}
		return l, err
	}},
	"Listen takes another address": {breaks: "AddressInUse", listen: func(ctx context.Context, h *transport.Host, addr string) (net.Listener, error) {
		return h.Listen(ctx, ":0")
	}},
	"Accept waits for a byte": {breaks: "SilentStranger", accept: func(l net.Listener) (net.Conn, error) {
		c, err := l.Accept()
		if err == nil {
			first := make([]byte, 1)
			if _, err = c.Read(first); err == nil {
				return conn{Conn: c, read: func(p []byte) (int, error) {
					if len(first) > 0 && len(p) > 0 {
						n := copy(p, first)
						first = nil
						return n, nil
					}
					return c.Read(p)
				}}, nil
			}
		}
		return nil, err
	}},
	"packets are not copied": {breaks: "PacketIntegrity", packet: func(c net.PacketConn) net.PacketConn {
		return packetConn{c, func(p []byte, addr net.Addr) (int, error) {
			time.AfterFunc(time.Millisecond, func() { c.WriteTo(p, addr) })
			return len(p), nil
		}}
	}},
	"large packets are cut": {breaks: "PacketTooLarge", packet: func(c net.PacketConn) net.PacketConn {
		return packetConn{c, func(p []byte, addr net.Addr) (int, error) {
			_, err := c.WriteTo(p[:min(len(p), 1000)], addr)
			return len(p), err
		}}
	}},
	"packets go to nobody": {breaks: "PacketEcho", packet: func(c net.PacketConn) net.PacketConn {
		return packetConn{c, func(p []byte, _ net.Addr) (int, error) { return len(p), nil }}
	}},
}

const plantVariable = "TRANSPORTTEST_PLANT"

// TestPlantedBugs checks that the suite finds each bug, by running it on the bad
// Transport in a process of its own, since it is meant to fail there.
func TestPlantedBugs(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range bugs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestPlanted$/^"+b.breaks+"$", "-test.timeout=1m")
			if b.breaks == "." {
				cmd.Args[1] = "-test.run=^TestPlanted$"
			}
			cmd.Env = append(os.Environ(), plantVariable+"="+name)
			out, err := cmd.CombinedOutput()
			if found := err != nil; found != (name != "none") {
				t.Errorf("the suite says %v:\n%s", err, out)
			}
		})
	}
}

// TestPlanted is the suite on a bad Transport, for TestPlantedBugs.
func TestPlanted(t *testing.T) {
	name := os.Getenv(plantVariable)
	if name == "" {
		t.Skip("TestPlantedBugs runs this")
	}
	for _, c := range transporttest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				n := transporttest.NewNetwork(t, transport.NetworkConfig{})
				c.Run(t, transporttest.Pair{
					Server: bad{n.Host("server"), n, bugs[name]},
					Client: bad{n.Host("client"), n, bugs[name]},
					Addr:   func() string { return ":0" },
				})
			})
		})
	}
}

// bad is a Host with a bug.
type bad struct {
	*transport.Host
	net *transport.Network
	bug bug
}

func (b bad) Dial(ctx context.Context, addr string) (c net.Conn, err error) {
	if b.bug.dial != nil {
		c, err = b.bug.dial(ctx, b.Host, addr)
	} else {
		c, err = b.Host.Dial(ctx, addr)
	}
	return b.wrap(c, err)
}

func (b bad) wrap(c net.Conn, err error) (net.Conn, error) {
	if err == nil && b.bug.conn != nil {
		c = b.bug.conn(c, b.net)
	}
	return c, err
}

func (b bad) Listen(ctx context.Context, addr string) (l net.Listener, err error) {
	if b.bug.listen != nil {
		l, err = b.bug.listen(ctx, b.Host, addr)
	} else {
		l, err = b.Host.Listen(ctx, addr)
	}
	return listener{l, b}, err
}

func (b bad) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	c, err := b.Host.ListenPacket(ctx, addr)
	if err == nil && b.bug.packet != nil {
		c = b.bug.packet(c)
	}
	return c, err
}

type listener struct {
	net.Listener
	bad bad
}

func (l listener) Accept() (net.Conn, error) {
	if l.bad.bug.accept != nil {
		return l.bad.bug.accept(l.Listener)
	}
	return l.bad.wrap(l.Listener.Accept())
}

type conn struct {
	net.Conn
	read, write     func(p []byte) (int, error)
	setReadDeadline func(t time.Time) error
	close           func() error
	noAddr          bool
}

func (c conn) Read(p []byte) (int, error) {
	if c.read != nil {
		return c.read(p)
	}
	return c.Conn.Read(p)
}

func (c conn) Write(p []byte) (int, error) {
	if c.write != nil {
		return c.write(p)
	}
	return c.Conn.Write(p)
}

func (c conn) SetReadDeadline(t time.Time) error {
	if c.setReadDeadline != nil {
		return c.setReadDeadline(t)
	}
	return c.Conn.SetReadDeadline(t)
}

func (c conn) Close() error {
	if c.close != nil {
		return c.close()
	}
	return c.Conn.Close()
}

func (c conn) RemoteAddr() net.Addr {
	if c.noAddr {
		return nil
	}
	return c.Conn.RemoteAddr()
}

type packetConn struct {
	net.PacketConn
	writeTo func(p []byte, addr net.Addr) (int, error)
}

func (c packetConn) WriteTo(p []byte, addr net.Addr) (int, error) { return c.writeTo(p, addr) }
