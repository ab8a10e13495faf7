package rv64

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// hostLinger is how long connections may take, once all is over, for what the program
// has sent on them.
const hostLinger = 2 * time.Second

// A hostConn is the outer end of a connection. Its reader and its writer are
// goroutines; the machine's goroutine grants the one credit and queues for the other.
type hostConn struct {
	id   uint64
	port uint16 // of the program, if it was accepted
	net  net.Conn
	err  int // of dialing, as Linux numbers it
	stop func() bool

	mu      sync.Mutex // guards the rest
	changed sync.Cond
	out     [][]byte
	ending  bool // no more will be queued
	closing bool // and no more is read
	credit  int
}

func newHostConn(id uint64, c net.Conn) *hostConn {
	h := &hostConn{id: id, net: c, credit: socketBuffer}
	h.changed.L = &h.mu
	return h
}

func (c *hostConn) queue(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, b)
	c.changed.Broadcast()
}

func (c *hostConn) grant(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credit += n
	c.changed.Broadcast()
}

// end lets the writer end when all that is queued is written, and the reader at once
// if it is all over.
func (c *hostConn) end(all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	c.closing = c.closing || all
	c.changed.Broadcast()
}

// listen opens what the program listens on.
func (h *host) listen(port uint16) {
	if h.cfg.Listen == nil || h.listeners[port] != nil {
		return
	}
	l, err := h.cfg.Listen(port)
	if err != nil || l == nil {
		if err != nil {
			h.cfg.Logger.Error("the program's port can't be reached", "port", port, "error", err)
		}
		return
	}
	h.listeners[port] = l
	h.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) && h.ctx.Err() == nil {
					h.cfg.Logger.Error("accepting for the program has ended", "port", port, "error", err)
				}
				return
			}
			conn := newHostConn(0, c)
			conn.port = port
			if !h.hand(conn) {
				c.Close()
				return
			}
		}
	})
}

func (h *host) hand(c *hostConn) bool {
	select {
	case h.fresh <- c:
		h.m.Interrupt()
		return true
	case <-h.ctx.Done():
		return false
	}
}

// connected tells the machine of a connection that was accepted or dialed.
func (h *host) connected(c *hostConn) error {
	if c.id != 0 { // dialed
		if h.conns[c.id] == nil { // and given up by the program meanwhile
			if c.net != nil {
				c.net.Close()
			}
			return nil
		}
		if c.net == nil {
			delete(h.conns, c.id)
			return h.event(DialedEvent(c.id, c.err))
		}
		h.adopt(c)
		return h.event(DialedEvent(c.id, 0))
	}
	if len(h.conns) >= hostConns {
		h.cfg.Logger.Warn("a connection too many was closed", "port", c.port)
		return c.net.Close()
	}
	h.nextConn++
	c.id = h.nextConn
	h.adopt(c)
	ip, port := hostAddress(c.net.RemoteAddr())
	return h.event(ConnectEvent(c.id, c.port, ip, port))
}

// hostAddress gives an address as the machine knows it; what has none is taken for
// the loopback's.
func hostAddress(a net.Addr) (ip [16]byte, port uint16) {
	if p, err := netip.ParseAddrPort(a.String()); err == nil {
		return p.Addr().WithZone("").As16(), p.Port()
	}
	return [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}, 1
}

// adopt starts the goroutines of a connection.
func (h *host) adopt(c *hostConn) {
	if old := h.conns[c.id]; old != nil { // what was queued while it was being dialed
		old.mu.Lock()
		c.out, c.ending, c.closing = old.out, old.ending, old.closing
		old.mu.Unlock()
	}
	h.conns[c.id] = c
	// At the end a connection has a little time to hand over what is queued.
	c.stop = context.AfterFunc(h.ctx, func() {
		c.net.SetReadDeadline(time.Now())
		c.net.SetWriteDeadline(time.Now().Add(hostLinger))
		c.end(true)
	})
	h.tasks.Go(func() { h.readConn(c) })
	h.tasks.Go(func() { h.writeConn(c) })
}

func (h *host) readConn(c *hostConn) {
	b := make([]byte, 32<<10)
	for {
		c.mu.Lock()
		for c.credit == 0 && !c.closing {
			c.changed.Wait()
		}
		n, closing := min(c.credit, len(b)), c.closing
		c.mu.Unlock()
		if closing {
			return
		}
		n, err := c.net.Read(b[:n])
		if n > 0 {
			c.mu.Lock()
			c.credit -= n
			c.mu.Unlock()
			if !h.send(DataEvent(c.id, b[:n])) {
				return
			}
		}
		if err != nil {
			h.send(EndEvent(c.id))
			return
		}
	}
}

func (h *host) writeConn(c *hostConn) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closing {
			c.net.Close()
		}
		c.stop()
	}()
	for {
		c.mu.Lock()
		for len(c.out) == 0 && !c.ending {
			c.changed.Wait()
		}
		out := c.out
		c.out = nil
		c.mu.Unlock()
		if len(out) == 0 {
			break
		}
		for _, b := range out {
			if _, err := c.net.Write(b); err != nil {
				h.send(ResetEvent(c.id))
				c.end(true)
				return
			}
			h.send(TakenEvent(c.id, len(b)))
		}
	}
	if w, ok := c.net.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	c.mu.Lock()
	for !c.closing {
		c.changed.Wait()
	}
	c.mu.Unlock()
}

// Numbers of errors that the program is told of dialing.
const (
	dialRefused = eCONNREFUSED
	dialNowhere = eNETUNREACH
	dialTimeout = eTIMEDOUT
)

func (h *host) dial(o Output) {
	placeholder := newHostConn(o.Conn, nil)
	h.conns[o.Conn] = placeholder
	addr := netip.AddrPortFrom(netip.AddrFrom16(o.IP).Unmap(), o.Port)
	h.tasks.Go(func() {
		c := newHostConn(o.Conn, nil)
		c.err = dialNowhere
		if h.cfg.Dial != nil {
			conn, err := h.cfg.Dial(h.ctx, "tcp", addr.String())
			var timeout net.Error
			switch {
			case err == nil:
				c.net = conn
			case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
				c.err = dialTimeout
			default:
				c.err = dialRefused
			}
		}
		if !h.hand(c) && c.net != nil {
			c.net.Close()
		}
	})
}

// packet looks after ports for datagrams.
func (h *host) packet(o Output) {
	port := uint16(o.Conn)
	p := h.packets[port]
	switch o.Kind {
	case OutputUnbind:
		if p != nil {
			p.Close()
			delete(h.packets, port)
		}
		return
	case OutputBind, OutputPacket:
		if p == nil && h.cfg.ListenPacket != nil {
			var err error
			if p, err = h.cfg.ListenPacket(port); err != nil || p == nil {
				if err != nil {
					h.cfg.Logger.Error("the program's port can't be reached", "port", port, "error", err)
				}
				return
			}
			h.packets[port] = p
			h.tasks.Go(func() { h.readPackets(p, port) })
		}
	}
	if p != nil && o.Kind == OutputPacket {
		addr := netip.AddrPortFrom(netip.AddrFrom16(o.IP).Unmap(), o.Port)
		if _, err := p.WriteTo(o.Data, net.UDPAddrFromAddrPort(addr)); err != nil {
			h.cfg.Logger.Debug("a datagram was dropped", "to", addr, "error", err)
		}
	}
}

func (h *host) readPackets(p net.PacketConn, port uint16) {
	b := make([]byte, maxDatagram)
	for {
		n, from, err := p.ReadFrom(b)
		if err != nil {
			return
		}
		ip, fromPort := hostAddress(from)
		if !h.send(PacketEvent(port, ip, fromPort, b[:n])) {
			return
		}
	}
}

// closeAll ends all that would keep a goroutine waiting, apart from connections, which
// watch the context.
func (h *host) closeAll() {
	for _, l := range h.listeners { // order-free: each is closed
		l.Close()
	}
	for _, p := range h.packets { // order-free: each is closed
		p.Close()
	}
	for {
		select {
		case c := <-h.fresh:
			if c.net != nil {
				c.net.Close()
			}
		default:
			return
		}
	}
}
