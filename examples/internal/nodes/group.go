package nodes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// Size is how many nodes a group has: a primary, a backup, a spare.
const Size = 3

// A Group is all nodes, and how to reach them.
type Group struct {
	Addrs   []string
	Clients transport.Transport
	Killing string // what is done to a primary
	Durable bool   // what all have forgotten is on their disks

	members []member
	events  chan Event
	close   func() error
}

// A member is a node that can be killed, and started again.
type member interface {
	start(ctx context.Context) error
	// kill ends the node as a loss of its machine does.
	kill() error
	// stop ends it for good, whether it runs or not.
	stop() error
	// label names what it runs as, for whoever wants to kill it; empty: there is nothing.
	label() string
}

// Stop ends all nodes.
func (g *Group) Stop() error {
	var err error
	for _, m := range g.members {
		err = errors.Join(err, m.stop())
	}
	return errors.Join(err, g.close())
}

// name returns what a node is called in the timeline.
func (g *Group) name(addr string) string {
	for i, a := range g.Addrs {
		if a == addr {
			return fmt.Sprintf("node %d", i+1)
		}
	}
	return addr
}

// Processes returns a group of processes of this program, which do not run yet. args gives
// the arguments of each: it runs a node at addr and prints an [Event] a line, as JSON. What they
// print besides goes to stderr. When the group has been stopped, close is called.
func Processes(stderr io.Writer, args func(i int, addr string, addrs []string) []string, close func() error) (*Group, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &Group{Clients: &transport.TCP{}, Killing: "kill -9", events: make(chan Event, 1024), close: close}
	for range Size {
		addr, err := FreeAddr(g.Addrs)
		if err != nil {
			return nil, err
		}
		g.Addrs = append(g.Addrs, addr)
	}
	stderr = Shared(stderr)
	for i, addr := range g.Addrs {
		g.members = append(g.members, &process{addr: addr, self: self, args: args(i, addr, g.Addrs), stderr: stderr, tell: g.tell})
	}
	return g, nil
}

func (g *Group) tell(e Event) { g.events <- e }

// FreeAddr returns an address on which nothing listens, and none of those taken. Its port is
// not one of those that systems give to whoever dials: a node that is started again needs it
// to be free then.
func FreeAddr(taken []string) (string, error) {
	const first, ports, tries = 20_000, 10_000, 100
	var err error
	for range tries {
		addr := fmt.Sprintf("127.0.0.1:%d", first+rand.N(ports))
		l, lerr := net.Listen("tcp", addr)
		if lerr != nil {
			err = lerr
			continue
		}
		if err := l.Close(); err != nil {
			return "", err
		}
		if !slices.Contains(taken, addr) {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no port is free: %w", err)
}

// A process is a node in a process of its own.
type process struct {
	addr   string
	self   string
	args   []string
	stderr io.Writer
	tell   func(Event)
	cmd    *exec.Cmd
	killed atomic.Bool
	ended  chan struct{} // closed when it has; nil: it was never started
}

func (p *process) start(context.Context) error {
	p.cmd = exec.Command(p.self, p.args...)
	p.cmd.Stderr = p.stderr
	if _, err := p.cmd.StdinPipe(); err != nil { // which ends with this process, and ends that one
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.killed.Store(false)
	ended := make(chan struct{})
	p.ended = ended
	cmd := p.cmd
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e Event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.tell(e)
			}
		}
		err := cmd.Wait()
		if !p.killed.Load() {
			_, failed := errors.AsType[*exec.ExitError](err)
			killed := failed && cmd.ProcessState.ExitCode() < 0 // by a signal
			p.tell(Event{Node: p.addr, At: time.Now(), Ended: true, Killed: killed, Note: fmt.Sprint(err)})
		}
	}()
	return nil
}

func (p *process) label() string { return fmt.Sprintf(" (process %d)", p.cmd.Process.Pid) }

func (p *process) kill() error {
	p.killed.Store(true)
	// A ^C at the terminal goes to all processes, and this one may have ended of it.
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

func (p *process) stop() error {
	if p.ended == nil || p.killed.Load() {
		return nil
	}
	return p.kill()
}

// InMemory returns a group in this process, which does not run yet. start starts a node by a
// configuration in which what the program is about is missing. When the group has been
// stopped, close is called, if there is one.
func InMemory(start func(ctx context.Context, cfg vmft.Config) (*vmft.Node, error), close func() error) (*Group, error) {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		return nil, err
	}
	g := &Group{Clients: network.Host("clients"), Killing: "crash", events: make(chan Event, 1024), close: func() error {
		err := network.Close()
		if close != nil {
			err = errors.Join(err, close())
		}
		return err
	}}
	arbiter := vmft.MemoryArbiter()
	for i := range Size {
		g.Addrs = append(g.Addrs, fmt.Sprintf("node%d:7101", i+1))
	}
	for i, addr := range g.Addrs {
		host := network.Host(fmt.Sprintf("node%d", i+1))
		g.members = append(g.members, &hosted{host: host, addr: addr, peers: g.Addrs, arbiter: arbiter, make: start, tell: g.tell})
	}
	return g, nil
}

// A hosted is a node on a host of a network in memory.
type hosted struct {
	host    *transport.Host
	addr    string
	peers   []string
	arbiter vmft.Arbiter
	make    func(ctx context.Context, cfg vmft.Config) (*vmft.Node, error)
	tell    func(Event)

	cord   *cord
	node   *vmft.Node
	cancel context.CancelFunc // of its watch
	work   sync.WaitGroup
	down   bool
}

func (h *hosted) start(ctx context.Context) error {
	h.work.Wait() // until what was there before has ended
	h.host.Restart()
	h.cord = &cord{Arbiter: h.arbiter}
	var err error
	h.node, err = h.make(ctx, vmft.Config{Transport: h.host, Addr: h.addr, Peers: h.peers, Arbiter: h.cord})
	if err != nil {
		return err
	}
	h.down = false
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n := h.node
	h.work.Go(func() { Watch(ctx, n, h.tell) })
	return nil
}

// kill cuts the node off from everything. It does not know that yet, so it is closed, too.
func (h *hosted) kill() error {
	h.cord.cut.Store(true)
	h.host.Crash(transport.CrashReset)
	h.cancel()
	h.down = true
	n := h.node
	h.work.Go(func() { _ = n.Close() }) // nothing that it does matters any more
	return nil
}

func (h *hosted) label() string { return "" }

func (h *hosted) stop() error {
	defer h.work.Wait()
	if h.node == nil || h.down {
		return nil
	}
	h.cancel()
	h.down = true
	return h.node.Close()
}

// A cord leads to the arbiter, until it is cut.
type cord struct {
	vmft.Arbiter
	cut atomic.Bool
}

var errCutOff = errors.New("the host has crashed")

// Newest implements vmft.Arbiter.
func (c *cord) Newest(ctx context.Context) (vmft.Record, error) {
	if c.cut.Load() {
		return vmft.Record{}, errCutOff
	}
	return c.Arbiter.Newest(ctx)
}

// Claim implements vmft.Arbiter.
func (c *cord) Claim(ctx context.Context, r vmft.Record) (vmft.Record, error) {
	if c.cut.Load() {
		return vmft.Record{}, errCutOff
	}
	return c.Arbiter.Claim(ctx, r)
}
