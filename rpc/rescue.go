package rpc

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/wire"
)

// A connection's own goroutines run code that can panic by a mistake that is not the
// process's: the Read and Write of a transport's connection, which may be a user's, and
// the parsers of what a peer sends. That costs the connection alone, as a handler's panic
// costs its call.
//
// They are rescued one by one, where no lock is held, and not all that the goroutines do.
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

// parseRequest takes the head of a request, or of an open, from d.
func (m *mux) parseRequest(h *requestHead, d *wire.Decoder) (err error) {
	defer m.rescue(&err)
	h.parse(d, &m.lim)
	return d.Err()
}

// parseStreamFrame takes what a small frame of a stream says.
func (m *mux) parseStreamFrame(kind frameKind, payload []byte) (credit uint64, end streamEnd, err error) {
	defer m.rescue(&err)
	d := wire.NewDecoder(payload)
	switch kind {
	case kindCredit:
		credit = d.Uvarint()
	case kindReset:
		end.outcome, end.err = decodeError(&d)
	}
	return credit, end, d.Finish()
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

// parse is parseHead.
func (f *frameReader) parse(b []byte) (h frameHead, n int, err error) {
	defer f.rescue(&err)
	return parseHead(b)
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
