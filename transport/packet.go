package transport

import (
	"context"
	"net"
	"os"
	"sync"
	"time"
)

// A packet is on its way to a port of the link's far host.
type packet struct {
	from   net.Addr
	port   uint16
	number uint64 // on its link
	data   []byte // never changes: duplicates share it
}

// sendPacket puts a copy of data on the link. The network's lock is held.
func (l *link) sendPacket(from net.Addr, port uint16, data []byte) {
	now := l.net.now()
	p := packet{from: from, port: port, number: l.nPackets}
	l.nPackets++
	l.past.Packets++
	l.past.PacketBytes += uint64(len(data))
	if l.cut {
		l.fault(FaultCut, &l.past.Cut, p)
		return
	}
	l.mu.Lock()
	shape := l.shape
	l.mu.Unlock()
	fate := shape.packetFate(l.seed, p.number)
	if fate.lost {
		l.fault(FaultLoss, &l.past.Lost, p)
		return
	}
	p.data = append([]byte(nil), data...)
	if fate.reordered {
		l.fault(FaultReorder, &l.past.Reordered, p)
	}
	l.launch(now, fate.delay, p)
	if fate.duplicated {
		l.fault(FaultDuplicate, &l.past.Duplicated, p)
		l.launch(now, fate.copyDelay, p)
	}
	l.deliver(now)
}

func (l *link) launch(now, delay time.Duration, p packet) {
	if !l.packets.push(l.send(now, len(p.data), delay), p) {
		l.fault(FaultOverflow, &l.past.Overflowed, p)
	}
}

// deliver lets arrive the packets that are due. The network's lock is held.
func (l *link) deliver(now time.Duration) {
	if l.blocked.Load() && !l.cut {
		return // held
	}
	for {
		p, ok := l.packets.pop(now)
		if !ok {
			break
		}
		switch c := l.to.packets[p.port]; {
		case l.cut:
			l.fault(FaultCut, &l.past.Cut, p)
		case c == nil:
			l.past.Unreachable++
		case !c.enqueue(p):
			l.fault(FaultOverflow, &l.past.Overflowed, p)
		}
	}
	if !l.packets.empty() && l.arrival.needs(l.packets.next()) {
		l.arrival.set(l.net, l.packets.next(), l.arrivalAlarm)
	}
}

func (l *link) arrivalAlarm() {
	n := l.net
	n.mu.Lock()
	defer n.mu.Unlock()
	l.arrival.at = 0
	l.deliver(n.now())
}

func (l *link) fault(kind FaultKind, count *uint64, p packet) {
	*count++
	l.net.log.add(l.net.now(), Fault{Kind: kind, From: l.from.name, To: l.to.name, Index: p.number})
}

// A packetConn is a port of a host for packets.
type packetConn struct {
	host *Host
	port uint16
	addr net.Addr

	mu            sync.Mutex // guards the rest
	readable      sync.Cond
	queue         []packet
	err           error // closed, or the host crashed
	paused        bool
	readDeadline  deadline
	writeDeadline time.Duration // on the network's clock; 0 means none
}

var _ net.PacketConn = (*packetConn)(nil)

func (c *packetConn) LocalAddr() net.Addr { return c.addr }

// enqueue reports false if the queue is full.
func (c *packetConn) enqueue(p packet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) >= c.host.net.cfg.PacketQueue {
		return false
	}
	c.queue = append(c.queue, p)
	c.readable.Broadcast()
	return true
}

// ReadFrom returns one packet; what of it does not fit into p is lost, as with UDP.
func (c *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitReadable(); err != nil {
		return 0, nil, c.fail("read", c.addr.String(), err)
	}
	first := c.queue[0]
	c.queue[0] = packet{}
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return copy(p, first.data), first.from, nil
}

func (c *packetConn) awaitReadable() error {
	d := &c.readDeadline
	for {
		switch {
		case c.err != nil:
			return c.err
		case c.paused:
			c.readable.Wait()
			continue
		case d.passed(c.host.net):
			return os.ErrDeadlineExceeded
		case len(c.queue) > 0:
			return nil
		}
		if d.alarm.needs(d.at) {
			d.alarm.set(c.host.net, d.at, c.readAlarm)
		}
		c.readable.Wait()
	}
}

func (c *packetConn) readAlarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readDeadline.alarm.at = 0
	c.readable.Broadcast()
}

// WriteTo sends a copy of p. It waits for nothing but the end of its own host's
// pause.
func (c *packetConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	if err := c.writeTo(p, addr.String()); err != nil {
		return 0, c.fail("write", addr.String(), err)
	}
	return len(p), nil
}

func (c *packetConn) writeTo(p []byte, addr string) error {
	h, n := c.host, c.host.net
	name, port, err := parseAddr(addr)
	if err != nil {
		return err
	}
	if len(p) > n.cfg.MaxPacket {
		return ErrTooLarge
	}
	return n.await(context.Background(), func() (bool, error) {
		if err := c.writeError(); err != nil {
			return false, err
		}
		if ok, err := h.ready(); !ok {
			return false, err
		}
		to := h
		if name != "" {
			if to = n.hosts[name]; to == nil {
				return false, ErrUnknownHost
			}
		}
		n.link(h, to).sendPacket(c.addr, port, p)
		return true, nil
	})
}

func (c *packetConn) writeError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case !c.paused && c.writeDeadline != 0 && c.host.net.now() >= c.writeDeadline:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Close wakes up whoever waits. Packets that were not read are lost.
func (c *packetConn) Close() error {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.close(net.ErrClosed)
	n.announce()
	return nil
}

// close is Close for a reason, with the network's lock held.
func (c *packetConn) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		delete(c.host.packets, c.port)
	}
	c.err = err
	c.queue = nil
	c.readDeadline.alarm.stop()
	c.readable.Broadcast()
}

func (c *packetConn) pause(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = paused
	c.readable.Broadcast()
}

func (c *packetConn) fail(op, addr string, err error) error {
	return &Error{Op: op + " packet", Addr: addr, Err: err}
}

func (c *packetConn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

func (c *packetConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

func (c *packetConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *packetConn) setDeadlines(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.fail("set deadline", c.addr.String(), c.err)
	}
	var d deadline
	d.set(c.host.net, t)
	if read {
		c.readDeadline.at = d.at
		c.readable.Broadcast()
	}
	if write {
		c.writeDeadline = d.at
	}
	return nil
}
