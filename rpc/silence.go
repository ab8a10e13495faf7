package rpc

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trilith-go/trilith/transport"
)

// errSilent is why a connection ended whose peer said nothing for too long.
var errSilent = fmt.Errorf("%w: nothing was heard for too long", ErrConnLost)

// patience is how many probes in a row a silent peer is given.
const patience = 3

// probePeer looks whether anything was heard since it ran last: a peer that has been
// silent is asked to say something, and given up if it stays silent. The silence of one
// that owes answers can count sooner than that of others. What is not counted is silence
// while a request is on its way: the peer may not have all of it, nor then the question.
func (m *mux) probePeer() {
	m.mu.Lock()
	perPing := max(1, int(m.lim.PingInterval/m.every))
	left := m.bulkLeft()
	heard := m.in.heard.Load()
	m.quiet++
	m.owed++
	if heard != m.seen {
		m.quiet, m.owed = 0, 0
	}
	if m.pending == 0 || left != m.left {
		m.owed = 0
	}
	m.seen, m.left = heard, left
	switch {
	case m.err != nil:
	case m.every < m.lim.PingInterval && m.owed >= patience:
		m.failLocked(fmt.Errorf("%w: for %v, with calls in progress", errSilent, patience*m.every))
	case m.quiet >= patience*perPing:
		m.failLocked(fmt.Errorf("%w: for %v", errSilent, patience*m.lim.PingInterval))
	case m.quiet > 0 && m.quiet%perPing == 0:
		m.add(kindPing, 0, nil)
		m.in.nudge()
		m.side.calm()
	case m.owed > 0:
		m.add(kindPing, 0, nil)
	}
	if m.err == nil {
		m.probe.Reset(m.every)
	}
	m.unlockAndWrite(noRounds)
}

// bulkLeft returns how many bytes of bulk wait to be sent. The lock is held.
func (m *mux) bulkLeft() (n int) {
	for _, o := range m.bulk {
		n += len(o.rest[0]) + len(o.rest[1])
	}
	return n
}

// A silence is what a client knows of addresses that have fallen silent.
type silence struct {
	shunned []string      // those that have not answered since
	again   string        // the one that was given up last
	grown   time.Duration // the patience that it has from then on
}

// every returns how often a connection to addr is probed.
func (s *silence) every(addr string, cfg ClientConfig) time.Duration {
	p := cfg.Patience
	if addr == s.again {
		p = s.grown
	}
	if p == 0 {
		return 0
	}
	return min(max(p/patience, time.Millisecond), cfg.Limits.PingInterval)
}

// shun takes note of an address that was given up. If it is the same once more, it was
// slow and not dead, and gets twice the time.
func (s *silence) shun(addr string, cfg ClientConfig) {
	if addr == s.again {
		s.grown = min(2*s.grown, patience*cfg.Limits.PingInterval)
	} else {
		s.again, s.grown = addr, cfg.Patience
	}
	s.shunned = append(s.shunned, addr)
}

// last moves those that are shunned to the end.
func (s *silence) last(addrs []string) []string {
	if len(s.shunned) > 0 {
		addrs = append(s.others(addrs), slices.DeleteFunc(addrs, func(a string) bool { return !slices.Contains(s.shunned, a) })...)
	}
	return addrs
}

// others returns a copy without those that are shunned.
func (s *silence) others(addrs []string) []string {
	return slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return slices.Contains(s.shunned, a) })
}

// shun leaves a connection whose server has fallen silent, and has it looked after.
func (c *Client) shun(cc *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(cc)
	if c.closed || c.cfg.Patience == 0 || slices.Contains(c.silent.shunned, cc.addr) {
		return
	}
	c.silent.shun(cc.addr, c.cfg)
	c.wg.Go(func() { c.await(cc.addr) })
}

// await waits until a server that fell silent answers a handshake, or has definitely gone.
func (c *Client) await(addr string) {
	for n := 1; ; n++ {
		_, nc, err := c.dialOne(c.ctx, addr)
		if nc != nil {
			nc.Close() // it was only to see
		}
		if err == nil || errors.Is(err, transport.ErrRefused) || c.cfg.Backoff.pause(c.ctx, n) != nil {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent.shunned = slices.DeleteFunc(c.silent.shunned, func(a string) bool { return a == addr })
}
