package vmft

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// Forward accepts connections from plain clients and carries each over a [Stream] to a port
// of the program on a fault-tolerant machine: to its clients the machine never dies. It is a
// sidecar, near the clients: the connections to it are as mortal as it is.
//
// A half-close or a reset of one side becomes one of the other. Forward returns when ctx has
// ended, with its cause, or when accepting has failed. Then it has closed the listener and all
// connections.
func Forward(ctx context.Context, l net.Listener, c *Client, port uint16) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				err = causeOf(ctx)
			}
			return &Error{Op: "forward", Addr: l.Addr().String(), Err: err}
		}
		work.Go(func() { forward(ctx, conn, c, port) })
	}
}

// forward carries one connection.
func forward(ctx context.Context, conn net.Conn, c *Client, port uint16) {
	defer conn.Close()
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil { // not of an IP network
		from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1)
	}
	s, err := dialStream(ctx, c, port, from)
	if err != nil {
		c.log.Warn("a connection was not carried", "from", conn.RemoteAddr(), "port", port, "error", err)
		abort(conn)
		return
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() {
		_ = s.Reset() // never fails
		conn.Close()
	})()
	var both sync.WaitGroup
	both.Go(func() {
		if !carried(c.log, s, conn) {
			_ = s.Reset() // the program sees what the client has done; never fails
		}
	})
	both.Go(func() {
		if !carried(c.log, conn, s) {
			abort(conn)
		}
	})
	both.Wait()
}

// carried carries one direction, and reports whether it came to its end.
func carried(log hclog.Logger, dst, src net.Conn) bool {
	_, err := io.Copy(writerOnly{dst}, src)
	if err != nil {
		if !errors.Is(err, net.ErrClosed) && log.IsDebug() {
			log.Debug("a carried connection has broken", "error", err)
		}
		return false
	}
	if w, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // if it has broken the other direction finds out
	}
	return true
}

// writerOnly hides a ReadFrom, which would only come back to Write.
type writerOnly struct{ io.Writer }

// abort closes a connection so that the far side does not take it for an orderly end.
func abort(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0) // it is closed either way
	}
	c.Close()
}
