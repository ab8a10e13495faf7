package transport

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// NetworkConfig configures a Network. The zero value is a perfect network. The
// fields from Latency to ReorderDelay are those of [Link], for every link between
// two different hosts; within a host they don't apply, unless [Network.SetLink]
// says so.
type NetworkConfig struct {
	// Seed is what every verdict follows from. Default 0, a seed like others.
	Seed uint64

	Latency      Distribution // default none
	Bandwidth    int64        // bytes a second, default unbounded
	Reset        float64      // of connections, by each Write; default 0
	Loss         float64      // of packets, default 0
	Duplicate    float64      // of packets, default 0
	Reorder      float64      // of packets, default 0
	ReorderDelay Distribution // default uniform from 1 ms to 10 ms

	// BreakAfter breaks connections at both ends, with ErrTimedOut, once
	// nothing has been able to pass in one direction for so long. Default 0:
	// they are never broken by that.
	BreakAfter time.Duration
	// Buffer is how many bytes a connection holds in each direction, written
	// and not read, before Write waits. Default 256 KiB.
	Buffer int
	// Backlog is how many connections a listener holds that were not accepted,
	// before Dial waits. Default 128.
	Backlog int
	// MaxPacket is the size of the largest packet in bytes. Default 65507,
	// UDP's.
	MaxPacket int
	// PacketQueue is how many packets a packet connection holds that were not
	// read; more are lost, and counted. Default 1024.
	PacketQueue int
	// FaultLog is how many of the latest faults [Network.Faults] remembers.
	// Default 4096.
	FaultLog int
}

func (c NetworkConfig) link() Link {
	return Link{
		Latency: c.Latency, Bandwidth: c.Bandwidth, Reset: c.Reset,
		Loss: c.Loss, Duplicate: c.Duplicate, Reorder: c.Reorder, ReorderDelay: c.ReorderDelay,
	}
}

func (c NetworkConfig) validate() error {
	if err := c.link().validate("NetworkConfig."); err != nil {
		return err
	}
	if c.BreakAfter < 0 || c.BreakAfter > maxDelay {
		return badConfig("NetworkConfig.BreakAfter", "%v is not from 0 to %v", c.BreakAfter, maxDelay)
	}
	for _, n := range []struct {
		field string
		value int
	}{{"Buffer", c.Buffer}, {"Backlog", c.Backlog}, {"MaxPacket", c.MaxPacket}, {"PacketQueue", c.PacketQueue}, {"FaultLog", c.FaultLog}} {
		if n.value < 0 {
			return badConfig("NetworkConfig."+n.field, "%d is negative", n.value)
		}
	}
	return nil
}

func (c NetworkConfig) withDefaults() NetworkConfig {
	c.Buffer = cmp.Or(c.Buffer, 256<<10)
	c.Backlog = cmp.Or(c.Backlog, 128)
	c.MaxPacket = cmp.Or(c.MaxPacket, 65507)
	c.PacketQueue = cmp.Or(c.PacketQueue, 1024)
	c.FaultLog = cmp.Or(c.FaultLog, 4096)
	return c
}

// A Network joins hosts in one process. Its methods may be called concurrently;
// when one that causes a fault returns, the fault is there.
type Network struct {
	cfg   NetworkConfig
	shape Link // of a link between two hosts
	start time.Time
	log   faultLog

	mu      sync.Mutex // guards the rest, links' lists, hosts and listeners
	closed  bool
	hosts   map[string]*Host
	links   map[pair]*link
	order   []*link // links, oldest first
	matrix  matrix
	changed chan struct{} // closed at the next change that a Dial may wait for; nil if none waits
}

// maxHosts bounds a network's hosts.
const maxHosts = 1 << 14

// NewNetwork makes a network without hosts. The error, for a configuration that
// can't work, matches ErrConfig and names the field. In tests,
// transporttest.NewNetwork saves looking at it. Made in a synctest bubble, the
// network belongs to that bubble.
func NewNetwork(cfg NetworkConfig) (*Network, error) {
	if err := cfg.validate(); err != nil {
		return nil, &Error{Op: "new network", Err: err}
	}
	cfg = cfg.withDefaults()
	return &Network{
		cfg:   cfg,
		shape: cfg.link().withDefaults(),
		start: time.Now(),
		log:   faultLog{limit: cfg.FaultLog},
		hosts: make(map[string]*Host),
		links: make(map[pair]*link),
	}, nil
}

// Host returns the host of that name and makes it if it is new. A name that no
// address can hold (empty, longer than 255 bytes, with spaces, brackets or bytes
// that are not printable ASCII) gives a Host on which everything fails with
// ErrBadAddress.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[name]; h != nil {
		return h
	}
	h := newHost(n, name)
	h.invalid = checkHostName(name)
	if h.invalid == nil && len(n.hosts) >= maxHosts {
		h.invalid = fmt.Errorf("%w: the network has %d hosts already", ErrBadAddress, maxHosts)
	}
	if h.invalid == nil {
		n.hosts[name] = h
	}
	return h
}

// Close ends every connection and listener with net.ErrClosed. Nothing can be
// made on the network afterwards.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	for _, l := range n.order {
		l.each(func(f *flow) { f.stream.breakBoth(net.ErrClosed) })
		l.stop()
	}
	for _, h := range n.hosts {
		h.stop(net.ErrClosed, noticeClosed)
	}
	n.announce()
	return nil
}

// epoch is what the network's clock shows when the network is made. It is not 0,
// so that a time before it is neither.
const epoch = time.Second

func (n *Network) now() time.Duration { return time.Since(n.start) + epoch }

// since puts t on the network's clock.
func (n *Network) since(t time.Time) time.Duration {
	return min(t.Sub(n.start), 1<<62) + epoch
}

// announce wakes all that wait for the network to change.
func (n *Network) announce() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// await calls try, with the network's lock held, until it is done or fails: now
// and after every change, until ctx ends.
func (n *Network) await(ctx context.Context, try func() (done bool, err error)) error {
	for {
		n.mu.Lock()
		done, err := try()
		if done || err != nil {
			n.mu.Unlock()
			return err
		}
		if n.changed == nil {
			n.changed = make(chan struct{})
		}
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A link is one direction between two hosts, or from a host to itself.
type link struct {
	net      *Network
	from, to *Host
	seed     uint64

	plain   atomic.Bool // bytes cross at once and unharmed; written under mu
	blocked atomic.Bool // nothing arrives; likewise

	first    *flow // the streams' flows; guarded by Network.mu, as is the rest of this group
	cut      bool  // blocked, and packets are lost
	broken   *time.Timer
	packets  flight[packet]
	arrival  alarm
	nPackets uint64    // sent, for verdicts
	nStreams uint64    // dialed from → to, for verdicts
	past     LinkStats // what is not counted in flows that live, or in resets

	mu     sync.Mutex // guards shape, wire and resets
	shape  Link
	wire   wire
	resets uint64
}

// link returns the link between two hosts. The network's lock is held.
func (n *Network) link(from, to *Host) *link {
	key := pair{from.name, to.name}
	if l := n.links[key]; l != nil {
		return l
	}
	l := &link{net: n, from: from, to: to, seed: linkSeed(n.cfg.Seed, from.name, to.name)}
	if from != to {
		l.shape = n.shape
	}
	n.links[key] = l
	n.order = append(n.order, l)
	l.refresh()
	return l
}

func (l *link) add(f *flow) {
	f.link, f.next = l, l.first
	if l.first != nil {
		l.first.prev = f
	}
	l.first = f
}

// remove takes out a flow that will carry nothing more.
func (l *link) remove(f *flow) {
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.first = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	f.stream.mu.Lock()
	defer f.stream.mu.Unlock()
	l.past.count(f)
}

// each calls do for every flow, with its stream locked. Called after a change of
// the link, it is a barrier too: when it returns, every Write has seen the change.
func (l *link) each(do func(f *flow)) {
	for f := l.first; f != nil; {
		next := f.next
		f.stream.mu.Lock()
		do(f)
		f.stream.mu.Unlock()
		f = next
	}
}

// refresh works out whether anything can pass, after anything that has a say in
// it may have changed. The network's lock is held.
func (l *link) refresh() {
	n := l.net
	l.cut = l.from.unreachable() || l.to.unreachable() || n.matrix.isCut(l.from.name, l.to.name)
	blocked := l.cut || n.matrix.isHeld(l.from.name, l.to.name)
	l.mu.Lock()
	was := l.blocked.Swap(blocked)
	l.plain.Store(!blocked && l.shape.plain())
	l.mu.Unlock()
	if blocked == was {
		return
	}
	switch {
	case blocked && n.cfg.BreakAfter > 0:
		l.broken = time.AfterFunc(n.cfg.BreakAfter, l.breakAll)
	case !blocked && l.broken != nil:
		l.broken.Stop()
		l.broken = nil
	}
	now := n.now()
	l.each(func(f *flow) { f.deliver(now) })
	l.deliver(now)
}

// breakAll is BreakAfter's end.
func (l *link) breakAll() {
	n := l.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.broken == nil { // healed at the last moment
		return
	}
	l.each(func(f *flow) {
		if f.stream.breakBoth(ErrTimedOut) {
			n.log.add(n.now(), Fault{Kind: FaultBreak, From: l.from.name, To: l.to.name, Index: f.number >> 1})
		}
	})
}

func (l *link) stop() {
	if l.broken != nil {
		l.broken.Stop()
		l.broken = nil
	}
	l.arrival.stop()
	l.packets = flight[packet]{}
}

// writeFate and send are Link's and wire's, for a stream.
func (l *link) writeFate(stream, index uint64) writeFate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shape.writeFate(l.seed, stream, index)
}

func (l *link) send(now time.Duration, size int, delay time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wire.send(now, size, l.shape.Bandwidth, delay)
}

// countReset notes that a verdict, or a call of Reset, has broken a stream.
func (l *link) countReset(stream uint64) {
	l.mu.Lock()
	l.resets++
	l.mu.Unlock()
	l.net.log.add(l.net.now(), Fault{Kind: FaultReset, From: l.from.name, To: l.to.name, Index: stream >> 1})
}
