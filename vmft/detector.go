package vmft

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/trilith-go/trilith/transport"
)

// A detector gives signs of life, and listens for the peer's. As packets they are
//
//	magic, 4 bytes   session, 8 bytes   number, 8 bytes   direction, 1 byte   MAC, 16 bytes
//
// with a key that comes from the cluster's secret: a forged one would hide a death. Numbers
// rise within a session, so that none can be played again. Session 0 is that of packets to
// the node itself.
type detector struct {
	n    *Node
	conn net.PacketConn // nil: the transport has no packets
	key  []byte

	mu      sync.Mutex // guards what follows
	session ID         // that is watched; 0: none
	addr    string     // of the peer
	pulse   pulse
	silent  func()
	told    bool   // that it is silent
	number  uint64 // of the last packet sent
	last    uint64 // of the last packet heard in this session
	echo    uint64 // of the last packet to this node itself
	echoed  bool   // it has come
	deaf    int    // ticks in a row that none has
}

// maxDeaf is how many ticks in a row may go by without a packet of this node to itself: if
// none comes in so long, none ever will.
const maxDeaf = 100

const (
	beatMagic = "vmf1"
	beatSize  = 4 + 8 + 8 + 1 + 16
)

func newDetector(n *Node) *detector {
	mac := hmac.New(sha256.New, n.cfg.Secret)
	mac.Write([]byte("vmft signs of life\x00" + n.cfg.Cluster))
	return &detector{n: n, key: mac.Sum(nil), number: uint64(time.Now().UnixNano())}
}

// listen opens the port for packets, if there can be one.
func (d *detector) listen(ctx context.Context, addr string) {
	t, ok := d.n.cfg.Transport.(transport.PacketTransport)
	if !ok {
		return
	}
	conn, err := t.ListenPacket(ctx, addr)
	if err != nil {
		d.n.cfg.Logger.Warn("no packets: signs of life go over the stream alone", "addr", addr, "error", err)
		return
	}
	d.conn = conn
}

// watch begins to listen for the signs of a session. silent is called, on a goroutine of
// the detector, when they have been missing for too long, and again while they are.
func (d *detector) watch(session ID, addr string, silent func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session, d.addr, d.silent, d.last = session, addr, silent, 0
	d.pulse = pulse{timeout: d.n.cfg.Timeout, tick: d.n.cfg.Heartbeat, gap: d.pulse.gap} // the noise is the same
}

func (d *detector) unwatch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session, d.silent = 0, nil
}

// heard takes note of a sign of life that came over the stream.
func (d *detector) heard(session ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if session == d.session {
		d.pulse.heard()
	}
}

// noise is the longest silence of late that was none.
func (d *detector) noise() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pulse.gap
}

// run gives signs and looks for them.
func (d *detector) run(ctx context.Context) {
	ticker := time.NewTicker(d.n.cfg.Heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if d.n.well(now) {
			if session, primary := d.n.beat(); session != 0 {
				d.send(session, primary)
			}
		}
		if silent := d.look(now); silent != nil {
			silent()
		}
		d.n.tick(now)
	}
}

// look returns what is to be called if the peer is silent for too long. Each tick the node
// sends a packet to itself: a tick before which the last one has not come says nothing of
// the peer, as this node is too busy to take packets in.
func (d *detector) look(now time.Time) (silent func()) {
	echo, deaf := d.sound()
	if len(echo) > 0 {
		_, _ = d.conn.WriteTo(echo, d.conn.LocalAddr()) // it can be lost, as a peer's can
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.session == 0:
	case deaf:
		d.pulse.skip(now)
	case d.pulse.look(now):
		return d.silent
	}
	return nil
}

// sound returns the next packet of the node to itself, and whether the last has not come.
func (d *detector) sound() (echo []byte, deaf bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil || d.deaf == maxDeaf {
		return nil, false
	}
	deaf = d.echo != 0 && !d.echoed
	d.deaf++
	if !deaf {
		d.deaf = 0
	}
	d.number++
	d.echo, d.echoed = d.number, false
	return d.packet(0, d.echo, false), deaf
}

// send sends a packet to the peer.
func (d *detector) send(session ID, primary bool) {
	if d.conn == nil {
		return
	}
	d.mu.Lock()
	if d.session != session {
		d.mu.Unlock()
		return
	}
	d.number++
	packet, addr := d.packet(session, d.number, primary), d.addr
	d.mu.Unlock()
	to, err := d.resolve(addr)
	if err == nil {
		_, _ = d.conn.WriteTo(packet, to) // or the next one arrives
	}
}

// resolve returns the address of a peer's port for packets.
func (d *detector) resolve(addr string) (net.Addr, error) { return transport.Addr(addr), nil }

func (d *detector) packet(session ID, number uint64, primary bool) []byte {
	b := append(make([]byte, 0, beatSize), beatMagic...)
	b = le.AppendUint64(b, uint64(session))
	b = le.AppendUint64(b, number)
	direction := byte(0)
	if primary {
		direction = 1
	}
	b = append(b, direction)
	mac := hmac.New(sha256.New, d.key)
	mac.Write(b)
	return append(b, mac.Sum(nil)[:16]...)
}

// listenTo is the goroutine that takes packets in, until the port is closed.
func (d *detector) listenTo() {
	b := make([]byte, 2048)
	for {
		n, _, err := d.conn.ReadFrom(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || d.n.ctx.Err() != nil {
				return
			}
			d.n.sleep(d.n.ctx, d.n.cfg.Heartbeat) // what a dead peer's host sends back
			continue
		}
		d.take(b[:n])
	}
}

// take takes note of a packet, if it is a sign of life.
func (d *detector) take(b []byte) {
	if len(b) != beatSize || string(b[:4]) != beatMagic {
		return
	}
	session, number := ID(le.Uint64(b[4:])), le.Uint64(b[12:])
	if session == 0 {
		d.mu.Lock()
		defer d.mu.Unlock()
		if number == d.echo && hmac.Equal(d.packet(0, number, false), b) {
			d.echoed = true
		}
		return
	}
	_, primary := d.n.role()
	want := d.packet(session, number, !primary)
	d.mu.Lock()
	defer d.mu.Unlock()
	if session != d.session || number <= d.last || !hmac.Equal(want, b) {
		return
	}
	d.last = number
	d.pulse.heard()
}
