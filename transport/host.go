package transport

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// A Host is one machine of a Network, with one process on it. It is a
// PacketTransport whose addresses are "host:port"; an empty host means this one.
// Its methods may be called concurrently.
type Host struct {
	net     *Network
	name    string
	invalid error // the name can't be used

	// Guarded by Network.mu.
	state     hostState
	paused    bool
	boots     uint64 // crashes so far
	listeners map[uint16]*listener
	packets   map[uint16]*packetConn
	dialPorts map[uint16]struct{}
	nextPort  uint16
}

// A hostState is running at first; Crash leads to one of the others, Restart back.
type hostState uint8

const (
	running hostState = iota
	killed            // the machine answers for the process: refused
	dark              // nothing answers
)

var _ PacketTransport = (*Host)(nil)

// The ports that port 0 and Dial pick from.
const (
	firstPort = 16384
	lastPort  = 65535
)

func newHost(n *Network, name string) *Host {
	return &Host{
		net:       n,
		name:      name,
		listeners: make(map[uint16]*listener),
		packets:   make(map[uint16]*packetConn),
		dialPorts: make(map[uint16]struct{}),
		nextPort:  firstPort,
	}
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// unreachable reports whether the whole machine is silent.
func (h *Host) unreachable() bool { return h.paused || h.state == dark }

// ready reports whether the host's process can do anything; false means that it
// is paused and the caller has to wait. The network's lock is held.
func (h *Host) ready() (bool, error) {
	switch {
	case h.net.closed:
		return false, net.ErrClosed
	case h.state != running:
		return false, ErrHostDown
	}
	return !h.paused, nil
}

// freePort picks a port that is free for streams and packets.
func (h *Host) freePort() (uint16, error) {
	for range lastPort - firstPort + 1 {
		p := h.nextPort
		h.nextPort++
		if h.nextPort == 0 {
			h.nextPort = firstPort
		}
		if h.listeners[p] == nil && h.packets[p] == nil {
			if _, used := h.dialPorts[p]; !used {
				return p, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: all ports of %s from %d to %d are taken", ErrNoPort, h.name, firstPort, lastPort)
}

// ownPort parses the address of a listener on this host.
func (h *Host) ownPort(addr string) (uint16, error) {
	if h.invalid != nil {
		return 0, h.invalid
	}
	name, port, err := parseAddr(addr)
	if err != nil {
		return 0, err
	}
	if name != "" && name != h.name {
		return 0, fmt.Errorf("%w: this is host %s", ErrNoPort, h.name)
	}
	return port, nil
}

// Listen listens on a port of this host.
func (h *Host) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l := &listener{host: h}
	if err := h.bind(ctx, addr, func(port uint16) error {
		if h.listeners[port] != nil {
			return ErrInUse
		}
		l.port, l.addr = port, Addr(joinAddr(h.name, port))
		l.ready.L = &h.net.mu
		h.listeners[port] = l
		return nil
	}); err != nil {
		return nil, &Error{Op: "listen", Addr: addr, Err: err}
	}
	return l, nil
}

// ListenPacket listens for packets on a port of this host.
func (h *Host) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	c := &packetConn{host: h}
	if err := h.bind(ctx, addr, func(port uint16) error {
		if h.packets[port] != nil {
			return ErrInUse
		}
		c.port, c.addr = port, Addr(joinAddr(h.name, port))
		c.readable.L = &c.mu
		h.packets[port] = c
		return nil
	}); err != nil {
		return nil, &Error{Op: "listen packet", Addr: addr, Err: err}
	}
	return c, nil
}

// bind calls take, with the network's lock held, with the port that addr asks for.
func (h *Host) bind(ctx context.Context, addr string, take func(port uint16) error) error {
	port, err := h.ownPort(addr)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.net.await(ctx, func() (bool, error) {
		if ok, err := h.ready(); !ok {
			return false, err
		}
		port := port
		if port == 0 {
			if port, err = h.freePort(); err != nil {
				return false, err
			}
		}
		err := take(port)
		return err == nil, err
	})
}

// Dial connects to addr. It waits, until ctx ends, while a partition, a hold, a
// pause or a full backlog is in the way.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := h.dial(ctx, addr)
	if err != nil {
		return nil, &Error{Op: "dial", Addr: addr, Err: err}
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, addr string) (*conn, error) {
	if h.invalid != nil {
		return nil, h.invalid
	}
	name, port, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if name == "" {
		name = h.name
	}
	d := dialing{from: h, port: port}
	if err := d.begin(name); err != nil {
		return nil, err
	}
	// A request travels there and an answer back, if that takes any time.
	if err := d.travel(ctx, d.out, d.outDelay); err != nil {
		return nil, err
	}
	if err := d.travel(ctx, d.back, d.backDelay); err != nil {
		return nil, err
	}
	if err := h.net.await(ctx, d.connect); err != nil {
		return nil, err
	}
	return d.conn, nil
}

// dialing is one call of Dial.
type dialing struct {
	from, to            *Host
	port                uint16
	boot                uint64
	out, back           *link
	number              uint64
	outDelay, backDelay time.Duration
	conn                *conn
}

func (d *dialing) begin(name string) error {
	n := d.from.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := d.from.ready(); err != nil {
		return err
	}
	if d.to = n.hosts[name]; d.to == nil {
		return fmt.Errorf("%w %q", ErrUnknownHost, name)
	}
	d.boot = d.from.boots
	d.out, d.back = n.link(d.from, d.to), n.link(d.to, d.from)
	d.number = d.out.nStreams
	d.out.nStreams++
	d.outDelay = d.out.handshakeDelay(d.number)
	d.backDelay = d.back.handshakeDelay(d.number)
	return nil
}

func (l *link) handshakeDelay(number uint64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shape.handshakeDelay(l.seed, number)
}

// clear reports whether something can pass on l.
func (d *dialing) clear(l *link) (bool, error) {
	if d.from.boots != d.boot {
		return false, ErrHostDown
	}
	if ok, err := d.from.ready(); !ok {
		return false, err
	}
	return !l.blocked.Load(), nil
}

func (d *dialing) travel(ctx context.Context, l *link, delay time.Duration) error {
	if delay == 0 {
		return nil
	}
	if err := d.from.net.await(ctx, func() (bool, error) { return d.clear(l) }); err != nil {
		return err
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect makes the connection, once both directions are open and the listener
// has room.
func (d *dialing) connect() (bool, error) {
	for _, l := range [...]*link{d.out, d.back} {
		if ok, err := d.clear(l); !ok {
			return false, err
		}
	}
	l := d.to.listeners[d.port]
	if l == nil {
		d.out.past.Refused++
		return false, ErrRefused
	}
	if len(l.queue) >= d.from.net.cfg.Backlog {
		return false, nil
	}
	port, err := d.from.freePort()
	if err != nil {
		return false, err
	}
	d.from.dialPorts[port] = struct{}{}
	d.out.past.Connections++
	s := newStream(d, port, l.addr)
	d.conn = &s.ends[0]
	l.queue = append(l.queue, &s.ends[1])
	l.ready.Signal()
	return true, nil
}

// A listener is a port of a host on which streams are accepted.
type listener struct {
	host *Host
	port uint16
	addr net.Addr

	// Guarded by Network.mu.
	ready sync.Cond
	queue []*conn
	err   error // why Accept fails
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	n := l.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for l.err == nil && (len(l.queue) == 0 || l.host.paused) {
		l.ready.Wait()
	}
	if l.err != nil {
		return nil, &Error{Op: "accept", Addr: l.addr.String(), Err: l.err}
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	if len(l.queue) == n.cfg.Backlog-1 {
		n.announce() // a Dial may wait for room
	}
	return c, nil
}

// Close wakes Accept up and resets what was not accepted.
func (l *listener) Close() error {
	n := l.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	l.close(net.ErrClosed)
	n.announce()
	return nil
}

// close is Close for a reason, with the network's lock held.
func (l *listener) close(err error) {
	if l.err != nil {
		return
	}
	l.err = err
	delete(l.host.listeners, l.port)
	for _, c := range l.queue {
		c.close(err, noticeReset)
	}
	l.queue = nil
	l.ready.Broadcast()
}
