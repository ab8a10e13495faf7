package standby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// A Group is processes of one kind on hosts of a network in memory, of which one leads and
// the others stand by. Its methods are called by one goroutine at a time, but for Events.
type Group struct {
	cfg     GroupConfig
	arbiter vmft.Arbiter
	members []*member

	mu     sync.Mutex // guards events
	events []Event
}

// GroupConfig says what a Group is made of. All fields but Node are required.
type GroupConfig struct {
	Network *transport.Network
	// Hosts are the names of the hosts, a process on each.
	Hosts []string
	// Start starts the process on a host. Its log is what open returns for its machine,
	// which the process closes with itself.
	Start func(ctx context.Context, host *transport.Host, open func(vmft.Machine) (*vmft.Node, error)) (io.Closer, error)
	// Node is what nodes are configured with beyond what the group says.
	Node vmft.Config
}

// An Event is something that has happened to a process.
type Event struct {
	At   time.Time
	Host string
	What string
}

// nodePort is where nodes listen on their hosts.
const nodePort = ":7900"

// A member is one process.
type member struct {
	host    *transport.Host
	cord    *cord
	process io.Closer
	node    *vmft.Node
	cancel  context.CancelFunc // of its watch
	work    sync.WaitGroup     // of its watch, and of its end after a crash
	down    bool
}

// NewGroup returns a group of which no process runs yet.
func NewGroup(cfg GroupConfig) *Group {
	g := &Group{cfg: cfg, arbiter: vmft.MemoryArbiter()}
	for _, name := range cfg.Hosts {
		g.members = append(g.members, &member{host: cfg.Network.Host(name), down: true})
	}
	return g
}

// Start starts the i-th process, also after a crash. It knows nothing then of what was
// there before.
func (g *Group) Start(ctx context.Context, i int) error {
	m := g.members[i]
	m.work.Wait() // until what was there before has ended
	m.host.Restart()
	m.cord = &cord{Arbiter: g.arbiter, moved: make(chan struct{})}
	open := func(machine vmft.Machine) (*vmft.Node, error) {
		cfg := g.cfg.Node
		cfg.Transport, cfg.Addr, cfg.Advertise = m.host, nodePort, m.host.Name()+nodePort
		cfg.Arbiter, cfg.Machine = m.cord, machine
		for _, name := range g.cfg.Hosts {
			cfg.Peers = append(cfg.Peers, name+nodePort)
		}
		var err error
		m.node, err = vmft.Start(ctx, cfg)
		return m.node, err
	}
	process, err := g.cfg.Start(ctx, m.host, open)
	if err != nil {
		return fmt.Errorf("starting the process on %s: %w", m.host.Name(), err)
	}
	m.process, m.down = process, false
	ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n := m.node
	m.work.Go(func() { g.watch(ctx, m.host.Name(), n) })
	g.note(time.Now(), m.host.Name(), "is started")
	return nil
}

// Form starts all processes and returns when the first leads and has one that stands by.
func (g *Group) Form(ctx context.Context) error {
	for i := range g.members {
		if err := g.Start(ctx, i); err != nil {
			return err
		}
		if i == 0 {
			if err := g.Await(ctx, func() bool { return g.Primary() == 0 }); err != nil {
				return err
			}
		}
	}
	return g.Await(ctx, g.Paired)
}

// Primary returns which process leads, or -1. One that is stopped takes itself for the
// leader, too: the one of the newest epoch counts.
func (g *Group) Primary() int {
	primary, epoch := -1, uint64(0)
	for i, m := range g.members {
		if m.down {
			continue
		}
		if s := m.node.Status(); s.Role == vmft.RolePrimary && s.Newest.Epoch > epoch {
			primary, epoch = i, s.Newest.Epoch
		}
	}
	return primary
}

// Paired reports whether one process leads and another stands by, as its backup.
func (g *Group) Paired() bool {
	i := g.Primary()
	return i >= 0 && !g.members[i].node.Status().Newest.Backup.IsZero()
}

// Node returns the node of a process.
func (g *Group) Node(i int) *vmft.Node { return g.members[i].node }

// Down reports whether a process has crashed, and was not started again.
func (g *Group) Down(i int) bool { return g.members[i].down }

// Await waits until something is so.
func (g *Group) Await(ctx context.Context, so func() bool) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Crash cuts the host of a process off from everything, as the loss of its machine does:
// nobody hears a farewell. The process does not know that it is dead, so it is ended, too.
func (g *Group) Crash(i int) {
	m := g.members[i]
	if m.down {
		return
	}
	g.note(time.Now(), m.host.Name(), "crashes")
	m.cord.cut()
	m.host.Crash(transport.CrashReset)
	m.cancel()
	m.down = true
	process := m.process
	m.work.Go(func() { _ = process.Close() }) // nothing that it does matters any more
}

// Pause stops the host of a process, as SIGSTOP does: connections stay. Resume lets it go
// on. Its goroutines run meanwhile, but reach nobody.
func (g *Group) Pause(i int) {
	g.note(time.Now(), g.members[i].host.Name(), "is stopped")
	g.members[i].cord.pause(true)
	g.members[i].host.Pause()
}

// Resume ends a Pause.
func (g *Group) Resume(i int) {
	g.note(time.Now(), g.members[i].host.Name(), "goes on")
	g.members[i].host.Resume()
	g.members[i].cord.pause(false)
}

// Events returns what has happened so far.
func (g *Group) Events() []Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Event(nil), g.events...)
}

func (g *Group) note(at time.Time, host, what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, Event{at, host, what})
}

// watch takes note of what the history of a node has.
func (g *Group) watch(ctx context.Context, host string, n *vmft.Node) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var last vmft.Change
	for {
		s := n.Status()
		news := s.History
		for i := len(news) - 1; i >= 0; i-- {
			if news[i] == last {
				news = news[i+1:]
				break
			}
		}
		for _, c := range news {
			switch r := c.Record; {
			case c.Note != "":
				g.note(c.At, host, fmt.Sprintf("epoch %d: %s", r.Epoch, c.Note))
			case r.Primary.Addr == s.Addr: // who wrote it; others only hear of it
				g.note(c.At, host, fmt.Sprintf("epoch %d: %s leads, %s stands by", r.Epoch, hostOf(r.Primary), hostOf(r.Backup)))
			}
			last = c
		}
		if s.Role == vmft.RoleEnded {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// hostOf returns the host of a member of a group.
func hostOf(m vmft.Member) string {
	if m.IsZero() {
		return "nobody"
	}
	return strings.TrimSuffix(m.Addr, nodePort)
}

// FailOvers returns how often another process came to lead, after the first.
func (g *Group) FailOvers(ctx context.Context) (int, error) {
	r, err := g.arbiter.Newest(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for epoch, last := uint64(1), (vmft.Member{}); epoch <= r.Epoch; epoch++ {
		// To claim what stands there already is harmless, and tells what does.
		stands, err := g.arbiter.Claim(ctx, vmft.Record{Epoch: epoch})
		if err != nil {
			return 0, err
		}
		if last != stands.Primary && epoch > 1 {
			n++
		}
		last = stands.Primary
	}
	return n, nil
}

// Close ends all processes in good order.
func (g *Group) Close() error {
	var err error
	for _, m := range g.members {
		if !m.down {
			m.cancel()
			m.down = true
			err = errors.Join(err, m.process.Close())
		}
		m.work.Wait()
	}
	return err
}

// A cord leads to the arbiter, until it is cut.
type cord struct {
	vmft.Arbiter

	mu     sync.Mutex // guards what follows
	dead   bool
	paused bool
	moved  chan struct{} // closed, and replaced, when one of them changes
}

var errCutOff = errors.New("the host has crashed")

func (c *cord) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *cord) pause(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = paused
	close(c.moved)
	c.moved = make(chan struct{})
}

// pass waits until the arbiter can be reached.
func (c *cord) pass(ctx context.Context) error {
	for {
		c.mu.Lock()
		dead, paused, moved := c.dead, c.paused, c.moved
		c.mu.Unlock()
		switch {
		case dead:
			return errCutOff
		case !paused:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Newest implements vmft.Arbiter.
func (c *cord) Newest(ctx context.Context) (vmft.Record, error) {
	if err := c.pass(ctx); err != nil {
		return vmft.Record{}, err
	}
	return c.Arbiter.Newest(ctx)
}

// Claim implements vmft.Arbiter.
func (c *cord) Claim(ctx context.Context, r vmft.Record) (vmft.Record, error) {
	if err := c.pass(ctx); err != nil {
		return vmft.Record{}, err
	}
	return c.Arbiter.Claim(ctx, r)
}
