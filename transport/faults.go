package transport

import (
	"fmt"
	"strings"
)

// Partition divides the hosts into sides; from now on, hosts reach only those on
// their own side. Hosts that no side names, later ones too, are one more side, so
// that Partition([]string{"a"}) cuts a off from all others. It replaces the
// Partition before it, but not one-way partitions; without sides it ends it.
//
// Streams across stall: what was written, and is written until their buffers are
// full, arrives after Heal. Dial waits. Packets are lost.
func (n *Network) Partition(sides ...[]string) error {
	names := make([]string, len(sides))
	for i, side := range sides {
		names[i] = strings.Join(side, ",")
	}
	return n.change("partition", sides, Fault{Kind: FaultPartition, Detail: strings.Join(names, " | ")}, func() error {
		if host, found := twice(sides...); found {
			return fmt.Errorf("%w: %s is named twice", ErrConfig, host)
		}
		n.matrix.partition(sides)
		return nil
	})
}

// PartitionOneWay keeps everything that hosts of from send from reaching hosts of
// to, until Heal. It adds to partitions that there are already. A Dial waits if
// either direction is closed.
func (n *Network) PartitionOneWay(from, to []string) error {
	detail := strings.Join(from, ",") + " → " + strings.Join(to, ",")
	return n.change("partition one way", [][]string{from, to}, Fault{Kind: FaultPartitionOneWay, Detail: detail}, func() error {
		n.matrix.cut(from, to)
		return nil
	})
}

// Heal ends all partitions and holds. What streams have kept arrives as soon as
// its time has come; what should have arrived already, now.
func (n *Network) Heal() {
	_ = n.change("heal", nil, Fault{Kind: FaultHeal}, func() error {
		n.matrix.heal()
		return nil
	})
}

// Hold keeps what from sends to to on its way, bytes and packets, until Release
// or Heal; then it arrives in order. Dial between the two waits. A stream's writer
// waits when its buffer is full; of packets a link keeps 4,096, and more are lost.
func (n *Network) Hold(from, to string) error {
	return n.change("hold", [][]string{{from, to}}, Fault{Kind: FaultHold, From: from, To: to}, func() error {
		n.matrix.hold(from, to)
		return nil
	})
}

// Release ends a Hold.
func (n *Network) Release(from, to string) error {
	return n.change("release", [][]string{{from, to}}, Fault{Kind: FaultRelease, From: from, To: to}, func() error {
		n.matrix.release(from, to)
		return nil
	})
}

// SetLink gives the link from one host to another (or to itself) a shape of its
// own, for all that is sent from now on.
func (n *Network) SetLink(from, to string, shape Link) error {
	fault := Fault{Kind: FaultLink, From: from, To: to, Detail: shape.String()}
	return n.change("set link", [][]string{{from, to}}, fault, func() error {
		if err := shape.validate("Link."); err != nil {
			return err
		}
		l := n.link(n.hosts[from], n.hosts[to])
		l.mu.Lock()
		l.shape = shape.withDefaults()
		l.mu.Unlock()
		return nil
	})
}

// Reset breaks all connections between two hosts, at both ends, with ErrReset,
// and returns how many there were. Bytes that were not read are lost.
func (n *Network) Reset(a, b string) (broken int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.checkHosts([]string{a, b}); err != nil {
		return 0, &Error{Op: "reset", Err: err}
	}
	// Each connection has a flow on either link, or two on the link within a host.
	l := n.link(n.hosts[a], n.hosts[b])
	l.each(func(f *flow) {
		if f.stream.breakBoth(ErrReset) {
			broken++
			l.countReset(f.number)
		}
	})
	return broken, nil
}

// change makes a change that concerns the named hosts, lets every link follow it
// and notes it as a fault.
func (n *Network) change(op string, hosts [][]string, fault Fault, apply func() error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, names := range hosts {
		if err := n.checkHosts(names); err != nil {
			return &Error{Op: op, Err: err}
		}
	}
	if err := apply(); err != nil {
		return &Error{Op: op, Err: err}
	}
	n.log.add(n.now(), fault)
	n.follow()
	return nil
}

func (n *Network) checkHosts(names []string) error {
	for _, name := range names {
		if n.hosts[name] == nil {
			return fmt.Errorf("%w %q: ask Host for it first", ErrUnknownHost, name)
		}
	}
	return nil
}

// follow lets links and waiting calls see that something has changed. The
// network's lock is held.
func (n *Network) follow() {
	for _, l := range n.order {
		l.refresh()
	}
	n.announce()
}

// A CrashMode says what the others notice of a crash.
type CrashMode uint8

const (
	// CrashReset: the process is killed, the machine lives. Connections are
	// reset and new ones refused.
	CrashReset CrashMode = iota
	// CrashSilent: the power fails. The others hear nothing: their reads wait,
	// their writes fill the buffers, their dials wait; until Restart, when
	// their connections are reset.
	CrashSilent
)

// String returns "reset" or "silent".
func (m CrashMode) String() string {
	if m == CrashSilent {
		return "silent"
	}
	return "reset"
}

// Crash ends everything on the host: its own calls, waiting ones too, fail with
// ErrHostDown, listeners vanish, and what it wrote and what has not arrived is
// lost. The goroutines of the program that ran on it have to be ended by the
// caller. On a host that is down it does nothing.
func (h *Host) Crash(mode CrashMode) {
	h.change(FaultCrash, mode.String(), func() bool {
		if h.state != running {
			return false
		}
		h.boots++
		if mode == CrashSilent {
			h.state = dark
			h.stop(ErrHostDown, noNotice)
		} else {
			h.state = killed
			h.stop(ErrHostDown, noticeReset)
		}
		h.paused = false
		return true
	})
}

// Restart brings a crashed host back, with nothing listening on it. On one that
// runs it does nothing.
func (h *Host) Restart() {
	h.change(FaultRestart, "", func() bool {
		if h.state == running {
			return false
		}
		h.state = running
		for _, c := range h.conns() {
			if c.done {
				c.disown()
			}
		}
		return true
	})
}

// Pause stops the host as a hung machine: nothing gets in or out, and whatever
// is called on it or waits there, with a deadline or without, returns after
// Resume. Only Close, a context's end and Crash get through. Streams to it stall as
// in a partition, packets are lost.
func (h *Host) Pause() { h.setPaused(FaultPause, true) }

// Resume ends a Pause.
func (h *Host) Resume() { h.setPaused(FaultResume, false) }

func (h *Host) setPaused(kind FaultKind, paused bool) {
	h.change(kind, "", func() bool {
		if h.state != running || h.paused == paused {
			return false
		}
		h.paused = paused
		for _, c := range h.conns() {
			c.pause(paused)
		}
		for _, c := range h.packets {
			c.pause(paused)
		}
		for _, l := range h.listeners {
			l.ready.Broadcast()
		}
		return true
	})
}

// change is Network.change for a host; apply reports whether there was anything
// to do.
func (h *Host) change(kind FaultKind, detail string, apply func() bool) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.invalid != nil || n.closed || !apply() {
		return
	}
	n.log.add(n.now(), Fault{Kind: kind, From: h.name, Detail: detail})
	n.follow()
}

// conns returns the ends of streams on the host. The network's lock is held.
func (h *Host) conns() []*conn {
	var all []*conn
	for _, l := range h.net.order {
		if l.from == h {
			for f := l.first; f != nil; f = f.next {
				all = append(all, f.writer())
			}
		}
	}
	return all
}

// stop ends all that the host has with err; the other ends of its connections get
// the notice. The network's lock is held.
func (h *Host) stop(err error, what notice) {
	for _, c := range h.conns() {
		c.crash(err, what)
	}
	for _, l := range h.listeners {
		l.queue = nil // ended already
		l.close(err)
	}
	for _, c := range h.packets {
		c.close(err)
	}
}

// crash ends the conn because its host did. What was closed before, the host's
// system still takes care of, unless it is down itself and can't even send a notice.
// The network's lock is held.
func (c *conn) crash(err error, what notice) {
	if c.done && what != noNotice {
		return
	}
	s := c.out.stream
	s.mu.Lock()
	c.out.lose()
	s.mu.Unlock()
	if !c.done {
		c.close(err, what)
	}
}

// disown tells the other end that nobody knows of this connection any more.
func (c *conn) disown() {
	s := c.out.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	c.out.notify(noticeReset)
}

func (c *conn) pause(paused bool) {
	s := c.out.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	c.in.readPaused, c.out.writePaused = paused, paused
	c.in.readable.Broadcast()
	c.out.writable.Broadcast()
}
