package rpc

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
)

// A connection's own goroutines run code that may be a user's: the Read and Write of a
// transport's connection, its Close, and the handshake. A panic there costs the
// connection alone, as a handler's panic costs its call.
//
// They are rescued one by one, where no lock is held, and not all that the goroutines do.
// What parses frames is shown everything by the fuzz tests, and runs for every frame.
// A panic between a Lock and its Unlock leaves what the lock guards half changed: calls,
// streams and budgets of which nobody knows whether they are still counted. To let go of
// the lock would be to go on with that, and to keep it would be to hang whoever comes
// next, Close included. Such a panic ends the process, which says where it was.

// rescued notes a panic on a connection, and returns why the connection ends.
func rescued(ctr *counters, log hclog.Logger, peer net.Addr, r any) error {
	ctr.panics.Add(1)
	log.Error("a connection panicked", "peer", peer, "panic", r, "stack", string(debug.Stack()))
	return fmt.Errorf("%w: panic: %v", ErrConnLost, r)
}

// rescue is deferred where no lock is held.
func (m *mux) rescue(err *error) {
	if r := recover(); r != nil {
		*err = rescued(m.ctr, m.log, m.peer.Addr, r)
	}
}

// put hands bytes to the transport.
func (m *mux) put(b []byte) (err error) {
	defer m.rescue(&err)
	_, err = m.nc.Write(b)
	return err
}

// rescue is deferred where no lock is held. A reader without a connection's panicked
// rescues nothing.
func (f *frameReader) rescue(err *error) {
	if f.panicked == nil {
		return
	}
	if r := recover(); r != nil {
		f.broken = f.panicked(r)
		*err = f.broken
	}
}

// get reads from the transport. After a panic it does not try again: nobody knows how
// much was read.
func (f *frameReader) get(dst []byte) (n int, err error) {
	if f.broken != nil {
		return 0, f.broken
	}
	defer f.rescue(&err)
	return f.nc.Read(dst)
}

// shut closes a connection. That of TLS writes first, and if that panics the connection
// below it is closed.
func shut(ctr *counters, log hclog.Logger, peer net.Addr, nc net.Conn) {
	defer func() {
		if r := recover(); r != nil {
			_ = rescued(ctr, log, peer, r)
			if tls, ok := nc.(interface{ NetConn() net.Conn }); ok {
				shut(ctr, log, peer, tls.NetConn())
			}
		}
	}()
	nc.Close()
}

// shake performs the server's part of the handshake.
func (s *Server) shake(nc net.Conn) (p params, peer Peer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = rescued(&s.ctr, s.cfg.Logger, peer.Addr, r)
		}
	}()
	peer.Addr = nc.RemoteAddr()
	return s.handshake.server(s.ctx, nc, s.admit)
}

// shake performs the client's part.
func (c *Client) shake(ctx context.Context, nc net.Conn) (p params, peer Peer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = rescued(&c.ctr, c.cfg.Logger, peer.Addr, r)
		}
	}()
	peer.Addr = nc.RemoteAddr()
	return c.handshake.client(ctx, nc)
}
