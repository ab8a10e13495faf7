package transport

import (
	"io"
	"net"
	"time"
)

// A conn is one end of a stream.
type conn struct {
	in, out       *flow
	host          *Host
	local, remote net.Addr
	port          uint16 // of the host, given back at the end; 0 on the accepting side
	done          bool   // closed, or the host crashed; guarded by Network.mu
}

var _ net.Conn = (*conn)(nil)

// newStream makes the connection that d asked for, from a port of its host to the
// listener at remote. The network's lock is held.
func newStream(d *dialing, port uint16, remote net.Addr) *stream {
	s := &stream{net: d.from.net}
	local := net.Addr(Addr(joinAddr(d.from.name, port)))
	for i := range s.flows {
		f := &s.flows[i]
		f.stream, f.number = s, d.number<<1|uint64(i) // either end may dial on a link
		f.readable.L, f.writable.L = &s.mu, &s.mu
		s.ends[i].out, s.ends[1-i].in = f, f
	}
	s.ends[0].host, s.ends[0].local, s.ends[0].remote = d.from, local, remote
	s.ends[1].host, s.ends[1].local, s.ends[1].remote = d.to, remote, local
	s.ends[0].port = port
	d.out.add(&s.flows[0])
	d.back.add(&s.flows[1])
	return s
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.receive(p)
	if err != nil && err != io.EOF {
		err = c.fail("read", err)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.send(p)
	if err != nil {
		err = c.fail("write", err)
	}
	return n, err
}

// CloseWrite says that nothing more will be written. The other side reads what
// was written and then io.EOF, and can still answer.
func (c *conn) CloseWrite() error {
	s := c.out.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.out.ending == noNotice && c.out.writeErr != nil {
		return c.fail("close write", c.out.writeErr)
	}
	c.out.notify(noticeEnd)
	return nil
}

// Close ends both directions. What was written still arrives, unless bytes are
// left unread here: then the other side's connection ends with a reset instead of
// io.EOF, as TCP's does, because somebody sent what nobody took.
func (c *conn) Close() error {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.close(net.ErrClosed, noticeClosed)
	return nil
}

// close ends this end: its calls fail with err from now on, and the other end gets
// the notice. The network's lock is held.
func (c *conn) close(err error, what notice) {
	s := c.out.stream
	s.mu.Lock()
	if !c.done { // a crashed host can't say anything any more
		if what == noticeClosed && c.in.arrived > c.in.read {
			what = noticeReset
		}
		c.out.notify(what)
	}
	c.out.failWrites(err)
	c.in.failReads(err)
	c.in.readErr, c.out.writeErr = err, err // an earlier failure matters no more
	c.in.readDeadline.alarm.stop()
	c.out.writeDeadline.alarm.stop()
	s.mu.Unlock()
	c.finish()
}

// finish gives back what this end holds in its host and, with the last end, in
// the network. The network's lock is held.
func (c *conn) finish() {
	if c.done {
		return
	}
	c.done = true
	if c.port != 0 {
		delete(c.host.dialPorts, c.port)
	}
	s := c.out.stream
	if s.ends[0].done && s.ends[1].done {
		s.flows[0].link.remove(&s.flows[0])
		s.flows[1].link.remove(&s.flows[1])
	}
}

func (c *conn) fail(op string, err error) error {
	return &Error{Op: op, Addr: c.remote.String(), Err: err}
}

// SetDeadline sets both deadlines. They are looked at when a call begins and
// while it waits; a zero time means none.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline is for Read.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline is for Write.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *conn) setDeadlines(t time.Time, read, write bool) error {
	s := c.out.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.in.readErr == net.ErrClosed {
		return c.fail("set deadline", net.ErrClosed)
	}
	if read {
		c.in.readDeadline.set(s.net, t)
		c.in.readable.Broadcast()
	}
	if write {
		c.out.writeDeadline.set(s.net, t)
		c.out.writable.Broadcast()
	}
	return nil
}
