//lint:bubble
package vmft_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// counter is a machine of named counters: a command is a name, its output the new value.
type counter struct {
	mu      sync.RWMutex // guards values
	values  map[string]uint64
	version string
	stuck   chan struct{} // if not nil, Apply waits for it
	flawed  uint64        // if not zero, what it counts by: another machine than it says
	frozen  error         // if not nil, why it cannot be frozen
}

func newCounter() *counter { return &counter{values: make(map[string]uint64), version: "counter/1"} }

func (c *counter) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	c.mu.RLock()
	stuck := c.stuck
	c.mu.RUnlock()
	if stuck != nil {
		<-stuck
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[string(cmd)] += 1 + c.flawed
	return binary.LittleEndian.AppendUint64(dst, c.values[string(cmd)])
}

func (c *counter) get(name string) uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.values[name]
}

func (c *counter) Query(query, dst []byte) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(dst, c.get(string(query))), nil
}

func (c *counter) Freeze() (io.WriterTo, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.frozen != nil {
		return nil, c.frozen
	}
	var names []string
	for name := range c.values {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "%q %d\n", name, c.values[name])
	}
	return &b, nil
}

func (c *counter) Restore(r io.Reader) error {
	all, err := io.ReadAll(r) // which takes its time, and whoever waits for a mutex stops a bubble's
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values = make(map[string]uint64)
	for line := range bytes.Lines(all) {
		var name string
		var value uint64
		if _, err := fmt.Sscanf(string(line), "%q %d", &name, &value); err != nil {
			return err
		}
		c.values[name] = value
	}
	return nil
}

func (c *counter) Fingerprint() string { return c.version }

// group is a group of nodes on a network in memory.
type group struct {
	t       *testing.T
	network *transport.Network
	arbiter *shyArbiter
	nodes   []*vmft.Node
	books   []*counter
	disks   []*vfs.Memory
	seats   []*arbiterOf
	tune    func(i int, cfg *vmft.Config)
}

// shyArbiter is an arbiter that nodes can be kept from reaching.
type shyArbiter struct {
	vmft.Arbiter
	mu     sync.Mutex // guards what follows
	off    map[int]bool
	fenced int        // claims that another had won
	rng    *rand.Rand // if not nil, the way to the arbiter and back takes time
}

// travel takes the time that it takes to the arbiter, or back.
func (a *shyArbiter) travel() {
	a.mu.Lock()
	var d time.Duration
	if a.rng != nil {
		d = time.Duration(a.rng.IntN(15)) * time.Millisecond
	}
	a.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

var errFar = errors.New("the arbiter is out of reach")

func (a *shyArbiter) cut(node int, off bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.off[node] = off
}

// of is the arbiter as a process of one node sees it.
func (a *shyArbiter) of(node int) *arbiterOf { return &arbiterOf{a: a, node: node} }

type arbiterOf struct {
	a    *shyArbiter
	node int
	dead atomic.Bool // so is the process
}

func (o *arbiterOf) Newest(ctx context.Context) (vmft.Record, error) {
	if o.cut() {
		return vmft.Record{}, errFar
	}
	o.a.travel()
	r, err := o.a.Newest(ctx)
	o.a.travel()
	return r, err
}

func (o *arbiterOf) Claim(ctx context.Context, r vmft.Record) (vmft.Record, error) {
	if o.cut() {
		return vmft.Record{}, errFar
	}
	o.a.travel()
	stands, err := o.a.Claim(ctx, r)
	o.a.travel()
	if o.cut() { // whatever came of it
		return vmft.Record{}, errFar
	}
	if err == nil && stands != r {
		o.a.mu.Lock()
		o.a.fenced++
		o.a.mu.Unlock()
	}
	return stands, err
}

func (o *arbiterOf) cut() bool {
	o.a.mu.Lock()
	defer o.a.mu.Unlock()
	return o.dead.Load() || o.a.off[o.node]
}

func newGroup(t *testing.T, size int, tune func(i int, cfg *vmft.Config)) *group {
	t.Helper()
	return newSeededGroup(t, 1, size, tune)
}

// newSeededGroup is newGroup on a network whose faults are drawn from a seed.
func newSeededGroup(t *testing.T, seed uint64, size int, tune func(i int, cfg *vmft.Config)) *group {
	t.Helper()
	network, err := transport.NewNetwork(transport.NetworkConfig{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	g := &group{
		t: t, network: network, arbiter: &shyArbiter{Arbiter: vmft.MemoryArbiter(), off: map[int]bool{}},
		nodes: make([]*vmft.Node, size), books: make([]*counter, size), disks: make([]*vfs.Memory, size),
		seats: make([]*arbiterOf, size), tune: tune,
	}
	for i := range size {
		g.start(i)
	}
	return g
}

// grow adds nodes that are not started.
func (g *group) grow(by int) {
	g.nodes = append(g.nodes, make([]*vmft.Node, by)...)
	g.books = append(g.books, make([]*counter, by)...)
	g.disks = append(g.disks, make([]*vfs.Memory, by)...)
}

func (g *group) addr(i int) string { return fmt.Sprintf("node%d:1", i) }

func (g *group) host(i int) *transport.Host { return g.network.Host(fmt.Sprintf("node%d", i)) }

func (g *group) addrs() (all []string) {
	for i := range g.nodes {
		all = append(all, g.addr(i))
	}
	return all
}

func (g *group) start(i int) {
	g.t.Helper()
	g.books[i] = newCounter()
	for len(g.seats) < len(g.nodes) {
		g.seats = append(g.seats, nil)
	}
	g.seats[i] = g.arbiter.of(i)
	cfg := vmft.Config{
		Transport: g.host(i), Addr: ":1", Advertise: g.addr(i), Peers: g.addrs(),
		Arbiter: g.seats[i], Machine: g.books[i],
	}
	if g.disks[i] != nil {
		cfg.Dir, cfg.FS = "log", g.disks[i]
	}
	if g.tune != nil {
		g.tune(i, &cfg)
	}
	n, err := vmft.Start(context.Background(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.nodes[i] = n
}

// kill ends a node's process, and nobody is told.
func (g *group) kill(i int) {
	g.seats[i].dead.Store(true)
	g.host(i).Crash(transport.CrashReset)
	_ = g.nodes[i].Close() // of the dead
	g.nodes[i] = nil
}

func (g *group) restart(i int) {
	g.host(i).Restart()
	g.start(i)
}

func (g *group) close() {
	for _, n := range g.nodes {
		if n != nil {
			if err := n.Close(); err != nil {
				g.t.Error(err)
			}
		}
	}
	_ = g.network.Close()
}

// settle waits until a primary has a backup, and returns both.
func (g *group) settle() (primary, backup int) {
	g.t.Helper()
	for range 4000 {
		primary, backup = -1, -1
		for i, n := range g.nodes {
			if n == nil {
				continue
			}
			switch s := n.Status(); {
			case s.Role == vmft.RolePrimary && !s.Newest.Backup.IsZero():
				primary = i
			case s.Role == vmft.RoleBackup:
				backup = i
			}
		}
		if primary >= 0 && backup >= 0 && g.nodes[primary].Status().Newest.Backup == g.nodes[backup].Status().Self {
			return primary, backup
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, n := range g.nodes {
		if n != nil {
			g.t.Logf("%+v", n.Status())
		}
	}
	g.t.Fatal("no pair after 20s")
	return 0, 0
}

// compared waits until a primary has compared its state with its backup's, as they are by now,
// and returns its status; or that of a node that has diverged, as soon as there is one.
func (g *group) compared() vmft.Status {
	g.t.Helper()
	primary, _ := g.settle()
	before := g.nodes[primary].Status()
	for range 4000 {
		for _, n := range g.nodes {
			if s := n.Status(); s.Diverged != 0 {
				return s
			}
		}
		switch s := g.nodes[primary].Status(); {
		case s.Role != vmft.RolePrimary: // it was thought dead: another compares
			primary, _ = g.settle()
			before = g.nodes[primary].Status()
		case s.Checks > before.Checks+1: // one may have been under way
			return s
		}
		time.Sleep(5 * time.Millisecond)
	}
	g.t.Fatalf("no states were compared within 20s: %+v", g.nodes[primary].Status())
	return vmft.Status{}
}

func (g *group) client() *vmft.Client {
	g.t.Helper()
	c, err := vmft.Dial(g.network.Host("client"), g.addrs()...)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// count calls a counter so many times, and checks that each call was executed once.
func count(t *testing.T, c *vmft.Client, name string, from, to uint64) {
	t.Helper()
	for want := from; want <= to; want++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		out, err := c.Call(ctx, []byte(name))
		cancel()
		if err != nil {
			t.Fatalf("call %d: %v", want, err)
		}
		if got := binary.LittleEndian.Uint64(out); got != want {
			t.Fatalf("call %d of %s was executed as number %d", want, name, got)
		}
	}
}

// A primary that stops without breaking its connections, as a process does on SIGSTOP and a
// machine that loses its power, holds no spare up: whoever has replaced it gets a backup
// while it is still away.
func TestSpareLeavesStoppedPrimary(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		for at := range 20 {
			g := newGroup(t, 3, nil)
			g.latency()
			old, _ := g.settle()
			time.Sleep(time.Duration(at) * 3 * time.Millisecond) // the spare asks again and again
			g.host(old).Pause()
			stopped := g.addr(old)
			testutil.Eventually(t, 10*time.Second, func() bool {
				r, err := g.arbiter.Newest(t.Context())
				return err == nil && !r.Backup.IsZero() && r.Primary.Addr != stopped && r.Backup.Addr != stopped
			}, fmt.Sprintf("%s was stopped after %d ms: that the others are a pair", stopped, 3*at))
			g.host(old).Resume()
			g.close()
		}
	})
}

// A primary that is killed is replaced at once; clients go on by themselves, and each of
// their calls is executed once. A spare becomes the new backup.
func TestFailOver(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 3, nil)
		defer g.close()
		c := g.client()
		defer c.Close()
		next := uint64(1)
		for range 6 {
			primary, _ := g.settle()
			count(t, c, "a", next, next+20)
			next += 21
			began := time.Now()
			g.kill(primary)
			count(t, c, "a", next, next)
			next++
			if took := time.Since(began); took > 150*time.Millisecond {
				t.Errorf("a fail-over after a kill took %v", took)
			}
			g.restart(primary)
		}
		g.settle()
		out, err := c.Query(context.Background(), []byte("a"))
		if err != nil || binary.LittleEndian.Uint64(out) != next-1 {
			t.Errorf("the counter is at %v, %v; want %d", out, err, next-1)
		}
	})
}

// A group is as quick when it has only just formed: a node that has found another to be the
// first, and rests before it looks at the chain again, is woken when that dies.
func TestFailOverOfNewGroup(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		for range 200 {
			g := newGroup(t, 2, nil)
			c := g.client()
			primary, _ := g.settle()
			began := time.Now()
			g.kill(primary)
			count(t, c, "a", 1, 1)
			if took := time.Since(began); took > 150*time.Millisecond {
				t.Errorf("a fail-over after a kill took %v", took)
			}
			c.Close()
			g.close()
		}
	})
}

// A primary that stands still, with its connections, is found by its silence; when it goes
// on it can do no harm, and comes back as a clone.
func TestStoppedPrimary(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		c := g.client()
		defer c.Close()
		primary, backup := g.settle()
		count(t, c, "a", 1, 10)
		term, epoch, err := g.nodes[primary].Lead(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		g.host(primary).Pause()
		second, err := vmft.Dial(g.network.Host("other"), g.addr(backup))
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		count(t, second, "a", 11, 11)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("a fail-over after a stop took %v", took)
		}
		_, later, err := g.nodes[backup].Lead(context.Background())
		if err != nil || later <= epoch {
			t.Errorf("epoch %d follows %d, %v", later, epoch, err)
		}
		g.host(primary).Resume()
		if _, _, err := g.nodes[primary].Propose(context.Background(), []byte("a")); err == nil {
			t.Error("a former primary has executed a command")
		}
		<-term.Done()
		if now, _ := g.settle(); now != backup {
			t.Errorf("node %d is the primary", now)
		}
		count(t, c, "a", 12, 20)
		time.Sleep(100 * time.Millisecond)
		if got := g.books[primary].get("a"); got != 20 {
			t.Errorf("the clone has counted to %d", got)
		}
	})
}

// While the arbiter is out of reach nobody goes live, and what works goes on.
func TestUnreachableArbiter(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		c := g.client()
		defer c.Close()
		primary, backup := g.settle()
		g.arbiter.cut(0, true)
		g.arbiter.cut(1, true)
		count(t, c, "a", 1, 5)
		g.kill(primary)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := c.Call(ctx, []byte("a"))
		cancel()
		if err == nil {
			t.Fatal("a backup went live without the arbiter")
		}
		s := g.nodes[backup].Status()
		if s.Arbiter == nil || s.Role != vmft.RoleBackup {
			t.Errorf("%s, the arbiter's error is %v", s.Role, s.Arbiter)
		}
		g.arbiter.cut(backup, false)
		out, err := c.Call(context.Background(), []byte("b"))
		if err != nil || binary.LittleEndian.Uint64(out) != 1 {
			t.Errorf("after the arbiter is back: %v, %v", out, err)
		}
	})
}

// A backup that is lost is done without, and replaced.
func TestBackupLost(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		c := g.client()
		defer c.Close()
		primary, backup := g.settle()
		count(t, c, "a", 1, 5)
		g.kill(backup)
		count(t, c, "a", 6, 10)
		g.restart(backup)
		if p, b := g.settle(); p != primary || b != backup {
			t.Errorf("primary %d, backup %d", p, b)
		}
		count(t, c, "a", 11, 12)
		g.kill(primary)
		count(t, c, "a", 13, 20)
	})
}

// A machine that hangs does not look alive.
func TestHungMachine(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		c := g.client()
		defer c.Close()
		primary, backup := g.settle()
		count(t, c, "a", 1, 5)
		stuck := make(chan struct{})
		defer close(stuck)
		g.books[primary].mu.Lock()
		g.books[primary].stuck = stuck
		g.books[primary].mu.Unlock()
		count(t, c, "a", 6, 10)
		if s := g.nodes[backup].Status(); s.Role != vmft.RolePrimary {
			t.Errorf("the backup is %s", s.Role)
		}
	})
}

// Who cannot wait for a machine that hangs does not have to.
func TestShutdown(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		if o := <-g.propose(primary, "a"); o.err != nil {
			t.Fatal(o.err)
		}
		stuck, book := make(chan struct{}), g.books[primary]
		book.mu.Lock()
		book.stuck = stuck
		book.mu.Unlock()
		hung := g.propose(primary, "a")
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := g.nodes[primary].Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a shutdown while the machine hangs ended with %v", err)
		}
		if o := <-hung; !errors.Is(o.err, vmft.ErrUnknown) || !errors.Is(o.err, vmft.ErrClosed) {
			t.Errorf("what the machine hangs in ended with %v", o.err)
		}
		g.live(backup)
		if o := <-g.propose(backup, "b"); o.err != nil || o.value != 1 {
			t.Errorf("the other node answers %+v", o)
		}
		close(stuck)
		if err := g.nodes[primary].Close(); err != nil {
			t.Error(err)
		}
	})
}

// After the power has failed for both, with journals, everything is there again.
func TestPowerLoss(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, func(int, *vmft.Config) {})
		for i := range g.nodes { // again, with disks
			_ = g.nodes[i].Close()
			g.disks[i] = vfs.NewMemory(uint64(i + 7))
		}
		g.arbiter.Arbiter = vmft.MemoryArbiter()
		for i := range g.nodes {
			g.start(i)
		}
		defer g.close()
		c := g.client()
		defer c.Close()
		next := uint64(1)
		for range 4 {
			g.settle()
			count(t, c, "a", next, next+9)
			next += 10
			for i := range g.nodes {
				g.disks[i] = g.disks[i].Crash()
				g.kill(i)
			}
			for i := range g.nodes {
				g.restart(i)
			}
		}
		g.settle()
		count(t, c, "a", next, next)
	})
}

// Two versions refuse each other, and say so.
func TestFingerprints(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, func(i int, cfg *vmft.Config) {
			if i == 1 {
				cfg.Machine.(*counter).version = "counter/2"
			}
		})
		defer g.close()
		testutil.Eventually(t, time.Minute, func() bool {
			return slices.ContainsFunc(g.nodes, func(n *vmft.Node) bool { s := n.Status(); return s.Role == vmft.RoleSpare && len(s.Refusals) > 0 })
		}, "that a spare is refused")
		time.Sleep(2 * time.Second)
		for i, n := range g.nodes {
			s := n.Status()
			if s.Role == vmft.RoleSpare && len(s.Refusals) == 0 || !s.Newest.Backup.IsZero() {
				t.Errorf("node %d: %+v", i, s)
			}
		}
	})
}

// A newer version that knows the older one's images takes the machine over.
func TestUpgrade(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 1, nil)
		g.nodes, g.books, g.disks = append(g.nodes, nil), append(g.books, nil), append(g.disks, nil)
		defer g.close()
		c := g.client()
		defer c.Close()
		count(t, c, "a", 1, 10)
		g.tune = func(_ int, cfg *vmft.Config) {
			cfg.Machine.(*counter).version = "counter/2"
			cfg.Upgrades = []string{"counter/1"}
		}
		g.start(1)
		for g.nodes[1].Status().Role != vmft.RolePrimary {
			time.Sleep(time.Millisecond)
		}
		count(t, c, "a", 11, 20)
		if got := g.books[0].get("a"); got != 10 {
			t.Errorf("the old version has counted to %d", got)
		}
	})
}

// The roles are changed in an orderly way.
func TestHandOverOfNodes(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		c := g.client()
		defer c.Close()
		next := uint64(1)
		for range 4 {
			primary, backup := g.settle()
			count(t, c, "a", next, next+4)
			next += 5
			if err := g.nodes[primary].HandOver(context.Background()); err != nil {
				t.Fatal(err)
			}
			if p, _ := g.settle(); p != backup {
				t.Errorf("node %d is the primary, it was handed over to %d", p, backup)
			}
		}
		count(t, c, "a", next, next+4)
	})
}

// A machine that is switched off stays so.
func TestPowerOffOfNodes(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		if err := g.nodes[primary].PowerOff(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := g.nodes[primary].Wait(context.Background()); !errors.Is(err, vmft.ErrPoweredOff) {
			t.Errorf("the primary ended with %v", err)
		}
		g.kill(primary)
		time.Sleep(10 * time.Second)
		if s := g.nodes[backup].Status(); s.Role != vmft.RoleBackup {
			t.Errorf("the backup is %s", s.Role)
		}
	})
}

// A backup whose machine is another one than it says is found out, with the position.
func TestDivergence(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, func(_ int, cfg *vmft.Config) { cfg.CheckEvery = 200 * time.Millisecond })
		defer g.close()
		primary, backup := g.settle()
		for range 3 {
			if s := g.compared(); s.Diverged != 0 {
				t.Fatalf("diverged at %d", s.Diverged)
			}
		}
		g.books[backup].mu.Lock()
		g.books[backup].flawed = 1
		g.books[backup].mu.Unlock()
		position, _, err := g.nodes[primary].Propose(context.Background(), []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		got := uint64(0)
		testutil.Eventually(t, time.Minute, func() bool { got = g.nodes[primary].Status().Diverged; return got != 0 }, "that somebody notices")
		if got <= position || got > position+3 {
			t.Errorf("divergence at %d is noticed at %d", position, got)
		}
	})
}

// States are compared again when there was a time in which one could not be hashed.
func TestUnhashed(t *testing.T) {
	for _, who := range []string{"primary", "backup"} {
		t.Run(who, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				g := newGroup(t, 2, func(_ int, cfg *vmft.Config) { cfg.CheckEvery = 200 * time.Millisecond })
				defer g.close()
				primary, backup := g.settle()
				g.compared()
				book := g.books[primary]
				if who == "backup" {
					book = g.books[backup]
				}
				set := func(err error) {
					book.mu.Lock()
					defer book.mu.Unlock()
					book.frozen = err
				}
				set(errors.New("no memory"))
				time.Sleep(time.Second)
				before := g.nodes[primary].Status()
				time.Sleep(10 * time.Second)
				if s := g.nodes[primary].Status(); s.Checks != before.Checks || s.Role != vmft.RolePrimary {
					t.Errorf("%d comparisons by a %s, without hashes", s.Checks-before.Checks, s.Role)
				}
				set(nil)
				if s := g.compared(); s.Diverged != 0 {
					t.Errorf("diverged at %d", s.Diverged)
				}
			})
		})
	}
}
