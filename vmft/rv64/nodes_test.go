package rv64

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// A terminal is what the programs on all nodes of a group write to: each output once.
type terminal struct {
	t *testing.T

	mu      sync.Mutex // guards what follows
	outputs []string   // by number
	status  int        // that the program has ended with; -1: it has not
	again   int        // outputs that were done again
}

// attend takes the outputs of a node, whenever it is the primary.
func (c *terminal) attend(n *vmft.Node) {
	for {
		port, err := n.Port(context.Background())
		if err != nil {
			return
		}
		for {
			o, err := port.Next(context.Background())
			if err != nil {
				break
			}
			c.take(o)
			if err := port.Complete(nil, o.Number); err != nil {
				break
			}
		}
	}
}

func (c *terminal) take(o vmft.Output) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("%d %s", o.Position, o.Data)
	switch n := uint64(len(c.outputs)); {
	case o.Again && o.Number <= n:
		c.again++
	case o.Number > n+1:
		c.t.Errorf("output %d follows %d", o.Number, n)
	}
	if o.Number <= uint64(len(c.outputs)) {
		if c.outputs[o.Number-1] != text {
			c.t.Errorf("output %d was %q, and is %q", o.Number, c.outputs[o.Number-1], text)
		}
		return
	}
	c.outputs = append(c.outputs, text)
	if e, err := ParseOutput(o.Data); err != nil {
		c.t.Error(err)
	} else if e.Kind == OutputExit {
		c.status = int(e.Number)
	}
}

func (c *terminal) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status >= 0
}

// text is what the program has written.
func (c *terminal) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, text := range c.outputs {
		_, data, _ := strings.Cut(text, " ")
		if o, err := ParseOutput([]byte(data)); err == nil && o.Kind == OutputData {
			b.Write(o.Data)
		}
	}
	return b.String()
}

// A halting machine stops after a few instructions, so that it gets slower under a log, and
// comes to a bound and no further.
type halting struct {
	*Machine
	bound *atomic.Uint64
}

func (h halting) Run(until uint64) uint64 {
	bound := h.bound.Load()
	if h.Position() >= bound {
		<-time.After(time.Millisecond)
		return h.Position()
	}
	return h.Machine.Run(min(until, h.Position()+500, bound))
}

// A program of many threads, with a garbage collector, timers and signals, runs to its end
// although its primary is killed as soon as there is a backup, at random instructions.
func TestNodesFailOver(t *testing.T) {
	elf := guest(t, "stress")
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	peers := []string{"node0:1", "node1:1", "node2:1"}
	arbiter := vmft.MemoryArbiter()
	c := &terminal{t: t, status: -1}
	nodes := make([]*vmft.Node, len(peers))
	var attending sync.WaitGroup
	const leastKills = 3
	rng := rand.New(rand.NewPCG(3, 3))
	kills, next, checks := 0, rng.Uint64N(300_000), uint64(0)
	var bound atomic.Uint64 // the program does not end before so many were killed
	bound.Store(next)
	start := func(i int) {
		n, err := vmft.Start(t.Context(), vmft.Config{
			Transport: network.Host(fmt.Sprintf("node%d", i)), Addr: ":1", Advertise: peers[i], Peers: peers, Arbiter: arbiter,
			Processor: halting{load(t, elf, Config{Args: []string{"stress"}}), &bound}, CheckEvery: 20 * time.Millisecond, CloneRate: -1,
			Timeout: time.Second, // on a noisy machine
		})
		if err != nil {
			t.Fatal(err)
		}
		nodes[i] = n
		attending.Go(func() { c.attend(n) })
	}
	for i := range nodes {
		start(i)
	}
	pair := func() (primary int) {
		primary = -1
		for i, n := range nodes {
			s := n.Status()
			compared := s.Checks > 0 || kills%2 > 0 // or all are killed before they are
			if s.Role == vmft.RolePrimary && !s.Newest.Backup.IsZero() && s.Instructions >= next && compared {
				primary = i
			}
			if s.Diverged != 0 {
				t.Fatalf("node %d has diverged at %d", i, s.Diverged)
			}
		}
		return primary
	}
	for !c.ended() {
		primary := -1
		testutil.Eventually(t, time.Minute, func() bool { primary = pair(); return primary >= 0 || c.ended() }, "no primary with a backup")
		if c.ended() {
			break
		}
		s := nodes[primary].Status()
		checks += s.Checks
		next = s.Instructions + rng.Uint64N(1_000_000)
		if kills++; kills < leastKills {
			bound.Store(next)
		} else {
			bound.Store(math.MaxUint64)
		}
		host := network.Host(fmt.Sprintf("node%d", primary))
		host.Crash(transport.CrashReset)
		_ = nodes[primary].Close() // of the dead
		host.Restart()
		start(primary)
	}
	for _, n := range nodes {
		checks += n.Status().Checks
		_ = n.Close()
	}
	attending.Wait()
	if out := c.text(); c.status != 7 || !strings.HasPrefix(out, stressOutput) {
		t.Errorf("status %d, output:\n%s", c.status, out)
	}
	t.Logf("%d kills, %d comparisons, %d outputs of which %d were done again", kills, checks, len(c.outputs), c.again)
	if kills < leastKills || checks == 0 {
		t.Error("too little has happened")
	}
}
