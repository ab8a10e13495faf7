package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// groupSize is how many nodes there are: a primary, a backup, a spare.
const groupSize = 3

// A group is all nodes, and how to reach them.
type group struct {
	members []member
	addrs   []string
	clients transport.Transport
	killing string // what is done to a primary
	events  chan event
	close   func() error
}

// A member is a node that can be killed, and started again.
type member interface {
	start(ctx context.Context) error
	// kill ends the node as a loss of its machine does.
	kill() error
	// stop ends it for good, whether it runs or not.
	stop() error
}

// stop ends all nodes.
func (g *group) stop() error {
	var err error
	for _, m := range g.members {
		err = errors.Join(err, m.stop())
	}
	return errors.Join(err, g.close())
}

// name returns what a node is called in the timeline.
func (g *group) name(addr string) string {
	for i, a := range g.addrs {
		if a == addr {
			return fmt.Sprintf("node %d", i+1)
		}
	}
	return addr
}

// processes returns a group of processes, which does not run yet. Their lock, and with
// journals those, are in dir.
func processes(dir string, journals bool) (*group, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &group{clients: &transport.TCP{}, killing: "kill -9", events: make(chan event, 1024), close: func() error { return nil }}
	for range groupSize {
		addr, err := freeAddr(g.addrs)
		if err != nil {
			return nil, err
		}
		g.addrs = append(g.addrs, addr)
	}
	for i, addr := range g.addrs {
		args := []string{"-child", "-node", addr, "-peers", strings.Join(g.addrs, ","), "-lock", filepath.Join(dir, "lock")}
		if journals {
			args = append(args, "-dir", filepath.Join(dir, fmt.Sprintf("node%d", i+1)))
		}
		g.members = append(g.members, &process{addr: addr, self: self, args: args, tell: func(e event) { g.events <- e }})
	}
	return g, nil
}

// freeAddr returns an address on which nothing listens. Its port is not one of those that
// systems give to whoever dials: a node that is started again needs it to be free then.
func freeAddr(taken []string) (string, error) {
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
	tell   func(event)
	cmd    *exec.Cmd
	killed atomic.Bool
	ended  chan struct{} // closed when it has; nil: it was never started
}

func (p *process) start(ctx context.Context) error {
	p.cmd = exec.Command(p.self, p.args...)
	p.cmd.Stderr = os.Stderr
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
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.tell(e)
			}
		}
		err := cmd.Wait()
		if !p.killed.Load() {
			p.tell(event{Node: p.addr, Ended: true, Note: fmt.Sprint(err)})
		}
	}()
	return nil
}

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

// inMemory returns a group in this process, which does not run yet.
func inMemory() (*group, error) {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		return nil, err
	}
	g := &group{clients: network.Host("clients"), killing: "crash", events: make(chan event, 1024), close: network.Close}
	arbiter := vmft.MemoryArbiter()
	for i := range groupSize {
		g.addrs = append(g.addrs, fmt.Sprintf("node%d:7101", i+1))
	}
	for i, addr := range g.addrs {
		host := network.Host(fmt.Sprintf("node%d", i+1))
		g.members = append(g.members, &hosted{host: host, addr: addr, peers: g.addrs, arbiter: arbiter, tell: func(e event) { g.events <- e }})
	}
	return g, nil
}

// A hosted is a node on a host of a network in memory.
type hosted struct {
	host    *transport.Host
	addr    string
	peers   []string
	arbiter vmft.Arbiter
	tell    func(event)

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
	h.node, err = vmft.Start(ctx, vmft.Config{
		Transport: h.host, Addr: h.addr, Peers: h.peers, Arbiter: h.cord, Machine: newStore(),
	})
	if err != nil {
		return err
	}
	h.down = false
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n := h.node
	h.work.Go(func() { watch(ctx, n, h.tell) })
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
