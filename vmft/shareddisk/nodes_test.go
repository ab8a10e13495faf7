package shareddisk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/rv64"
	"github.com/trilith-go/trilith/vmft/vmfttest"
)

// A stalled host does not get on with writing, for a while: what a stopped process looks like
// to its disk.
type stalled struct {
	Files
	mu   sync.Mutex // guards gate
	gate chan struct{}
}

// stop lets nothing be written any more, and returns what ends that.
func (s *stalled) stop() (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.gate = gate
	return func() { close(gate) }
}

func (s *stalled) pass() {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

func (s *stalled) Open(name string) (File, error) {
	f, err := s.Files.Open(name)
	return stalledFile{f, s}, err
}

func (s *stalled) Create(name string) (File, error) {
	s.pass()
	f, err := s.Files.Create(name)
	return stalledFile{f, s}, err
}

type stalledFile struct {
	File
	s *stalled
}

func (f stalledFile) WriteAt(b []byte, off int64) (int, error) {
	f.s.pass()
	return f.File.WriteAt(b, off)
}

// A group is nodes that run one program on one shared disk.
type group struct {
	t        *testing.T
	network  *transport.Network
	arbiter  vmft.Arbiter
	files    Files
	args     []string
	byBackup bool
	mode     vmft.Mode
	bugs     planted
	flaky    int // how often a read by the backup fails, each

	nodes     []*vmft.Node
	disks     []*stalled
	attending sync.WaitGroup

	mu      sync.Mutex // guards what follows
	outputs []string   // by number; those to the disk are empty
	again   int        // outputs to the disk that were done again
	status  int        // -1: the program has not ended
	most    atomic.Int64
	fetched atomic.Int64
	bound   atomic.Int64              // requests of a term that are done; 0: all
	held    atomic.Pointer[vmft.Node] // the primary, if one more waits
}

var members = []string{"node0:1", "node1:1", "node2:1"}

func newGroup(t *testing.T, files Files, byBackup bool, bugs planted, args ...string) *group {
	return formGroup(t, &group{files: files, args: args, byBackup: byBackup, bugs: bugs})
}

// formGroup starts the nodes of a group.
func formGroup(t *testing.T, g *group) *group {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	g.t, g.network, g.arbiter, g.status = t, network, vmft.MemoryArbiter(), -1
	g.nodes, g.disks = make([]*vmft.Node, len(members)), make([]*stalled, len(members))
	for i := range members {
		g.start(i)
	}
	return g
}

func (g *group) start(i int) {
	g.t.Helper()
	files := &stalled{Files: g.files}
	d, err := Open(files, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	d.bugs = g.bugs
	cfg := vmft.Config{
		Transport: g.network.Host(fmt.Sprintf("node%d", i)), Addr: ":1", Advertise: members[i], Peers: members, Arbiter: g.arbiter,
		Processor: machine(g.t, g.args...), CheckEvery: 20 * time.Millisecond, CloneRate: -1, Timeout: time.Second, Mode: g.mode,
	}
	if g.byBackup {
		cfg.Fetch = func(ctx context.Context, name []byte, attempt int) ([]byte, error) {
			g.fetched.Add(1)
			for most := g.most.Load(); int64(attempt) > most && !g.most.CompareAndSwap(most, int64(attempt)); {
				most = g.most.Load()
			}
			if attempt < g.flaky {
				return nil, errors.New("this host does not reach the disk")
			}
			return d.Fetch(ctx, name, attempt)
		}
	}
	n, err := vmft.Start(g.t.Context(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.nodes[i], g.disks[i] = n, files
	g.attending.Go(func() {
		g.attend(n, d)
		d.Close()
	})
}

// attend does what the program wants done, whenever a node is the primary and has a backup: the
// program comes to nothing before there is one.
func (g *group) attend(n *vmft.Node, d *Disk) {
	for {
		port, err := n.Port(context.Background())
		if err != nil {
			return
		}
		s := d.Serve(port, g.byBackup)
		testutil.Until(context.Background(), func() bool { return !lonely(port, n) })
		for done := int64(0); ; {
			o, err := port.Next(context.Background())
			if err != nil {
				break
			}
			out, err := rv64.ParseOutput(o.Data)
			if err != nil {
				g.t.Error(err)
			}
			if out.Kind == rv64.OutputDisk {
				if bound := g.bound.Load(); bound > 0 && done >= bound {
					g.held.Store(n)
					<-port.Term().Done()
					break
				}
				done++
			}
			if g.take(o, out, s) && port.Complete(nil, o.Number) != nil {
				break
			}
		}
		s.Close()
	}
}

// lonely reports whether a primary has no backup, and is one.
func lonely(port *vmft.Port, n *vmft.Node) bool {
	return port.Term().Err() == nil && n.Status().Newest.Backup.IsZero()
}

// take takes an output. It reports whether it is done.
func (g *group) take(o vmft.Output, out rv64.Output, s *Server) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	text := ""
	switch out.Kind {
	case rv64.OutputDisk:
		if o.Again {
			g.again++
		}
		r, err := rv64.ParseDiskRequest(out.Data)
		if err != nil {
			g.t.Error(err)
		}
		s.Do(r, o.Number, o.Again)
	case rv64.OutputData:
		text = string(out.Data)
	case rv64.OutputExit:
		g.status = int(out.Number)
	}
	for uint64(len(g.outputs)) < o.Number {
		g.outputs = append(g.outputs, "")
	}
	if old := g.outputs[o.Number-1]; old != "" && old != text {
		g.t.Errorf("output %d was %q, and is %q", o.Number, old, text)
	}
	g.outputs[o.Number-1] = text
	return out.Kind != rv64.OutputDisk
}

func (g *group) ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status >= 0
}

func (g *group) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.outputs, "")
}

// primary waits for one with a backup that has come so far, or to a request that is not done. It
// returns -1 if the program has ended before.
func (g *group) primary(instructions uint64) (primary int) {
	g.t.Helper()
	primary = -1
	testutil.Eventually(g.t, time.Minute, func() bool {
		for i, n := range g.nodes {
			s := n.Status()
			if s.Role == vmft.RolePrimary && !s.Newest.Backup.IsZero() && (s.Instructions >= instructions || g.held.Load() == n) {
				primary = i
			}
			if s.Diverged != 0 {
				g.t.Fatalf("node %d has diverged at %d", i, s.Diverged)
			}
		}
		return primary >= 0 || g.ended()
	}, "no primary with a backup")
	return primary
}

// kill kills a node. What it was writing it writes later, when resume is called.
func (g *group) kill(i int) (resume func()) {
	resume = g.disks[i].stop()
	host := g.network.Host(fmt.Sprintf("node%d", i))
	host.Crash(transport.CrashReset)
	_ = g.nodes[i].Close() // of the dead
	host.Restart()
	return resume
}

// stop ends all nodes.
func (g *group) stop() {
	for _, n := range g.nodes {
		_ = n.Close()
	}
	g.attending.Wait()
	g.network.Close()
}

const (
	kills     = 3  // of primaries
	someTasks = 20 // requests that are done, at most, before one is killed
)

// run kills primaries, the first while it waits for a request, and has the program go on to its
// end.
func (g *group) run(seed uint64, pause uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	var late []func()
	next := uint64(math.MaxUint64)
	for n := range kills {
		i := g.primary(next)
		if i < 0 {
			g.t.Fatalf("the program has ended after %d kills", n)
		}
		next = g.nodes[i].Status().Instructions + rng.Uint64N(pause)
		if n == kills-1 {
			g.bound.Store(0)
		}
		late = append(late, g.kill(i))
		if len(late) > 1 || rng.IntN(2) == 0 {
			late[0]()
			late = late[1:]
		}
		g.start(i)
	}
	for _, resume := range late {
		resume()
	}
	testutil.Eventually(g.t, time.Minute, g.ended, "the program does not end")
}

// A program that appends to a log, and syncs, or reads and writes at random, goes on through
// fail-overs, and the old primaries' late writes: what it finds, and leaves for the next
// machine, is what it would be without.
func TestNodesFailOver(t *testing.T) {
	for name, c := range map[string]struct {
		byBackup bool
		mode     vmft.Mode
		args     []string
	}{
		"logged": {false, vmft.ModeReplay, []string{"log", "40"}}, "backup": {true, vmft.ModeReplay, []string{"read", "200"}},
		"transfer": {false, vmft.ModeTransfer, []string{"log", "40"}},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "backup" {
				t.Skip("takes seconds")
			}
			plain := DirectoryOn(vfs.NewMemory(1), "disk")
			want, there := alone(t, open(t, plain), machine(t, c.args...)), alone(t, open(t, plain), machine(t, "look"))
			files := DirectoryOn(vfs.NewMemory(1), "disk")
			g := &group{files: files, byBackup: c.byBackup, mode: c.mode, args: c.args}
			g.bound.Store(someTasks)
			formGroup(t, g).run(1, 200_000)
			g.stop()
			if out := g.text(); out != want || g.status != 0 {
				t.Errorf("status %d:\n%s", g.status, out)
			}
			if g.again == 0 || c.byBackup && g.fetched.Load() == 0 {
				t.Errorf("too little has happened: %d kills, %d requests done again, %d reads by the backup", kills, g.again, g.fetched.Load())
			}
			t.Logf("%d kills, %d requests done again, %d reads by the backup", kills, g.again, g.fetched.Load())
			if out := alone(t, open(t, files), machine(t, "look")); out != there {
				t.Errorf("the next machine finds\n%s\nnot\n%s", out, there)
			}
		})
	}
}

// What a program reads and at once overwrites, the backup reads as it was, though it takes a
// few attempts.
func TestBackupReads(t *testing.T) {
	reads := "150"
	if testing.Short() {
		reads = "60"
	}
	g := formGroup(t, &group{files: DirectoryOn(vfs.NewMemory(1), "disk"), byBackup: true, flaky: 2, args: []string{"read", reads}})
	testutil.Eventually(t, time.Minute, g.ended, "the program does not end")
	i := g.primary(0)
	g.stop()
	if out := g.text(); out != "read "+reads+"\n" {
		t.Errorf("status %d: %s", g.status, out)
	}
	if g.fetched.Load() < 50 || g.most.Load() > 20 {
		t.Errorf("the backup has read %d times, at most %d times for one", g.fetched.Load(), g.most.Load()+1)
	}
	t.Logf("node %d was the primary; the backup has read %d times", i, g.fetched.Load())
}

// The test above finds it when writes do not wait for the backup.
func TestPlantedUnseenRead(t *testing.T) {
	g := newGroup(t, DirectoryOn(vfs.NewMemory(1), "disk"), true, planted{order: orderBugs{noShadows: true}}, "read", "4000")
	testutil.Eventually(t, time.Minute, func() bool { return g.most.Load() > 20 || g.ended() }, "nothing happens")
	g.stop()
	if g.most.Load() <= 20 {
		t.Error("nothing is found")
	}
}

// A full disk is full for the program on all nodes, and has room again when files are removed.
func TestFullDisk(t *testing.T) {
	const want = "full: true true\nremoved: <nil>\nwritten again: <nil> <nil>\nprecious: <nil> true\n"
	fsys := vfs.NewMemory(1)
	fsys.SetCapacity(6 << 20)
	if out := alone(t, open(t, DirectoryOn(fsys, "disk")), machine(t, "fill")); out != want {
		t.Errorf("a machine by itself says\n%s", out)
	}
	fsys = vfs.NewMemory(1)
	fsys.SetCapacity(6 << 20)
	g := newGroup(t, DirectoryOn(fsys, "disk"), false, planted{}, "fill")
	testutil.Eventually(t, time.Minute, g.ended, "the program does not end")
	g.primary(0) // and has not diverged
	g.stop()
	if out := g.text(); out != want {
		t.Errorf("status %d, a machine on nodes says\n%s", g.status, out)
	}
}

// A recorded machine is replayed without its disk.
func TestReplay(t *testing.T) {
	d := open(t, DirectoryOn(vfs.NewMemory(1), "disk"))
	m := machine(t, "all")
	var log strings.Builder
	do, end := d.Host()
	if status, err := rv64.Drive(t.Context(), m, rv64.HostConfig{Disk: do, Record: &log, Interval: 100_000}); status != 0 || err != nil {
		t.Fatal(status, err)
	}
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := rv64.NewReplayer(strings.NewReader(log.String()), rv64.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(1 << 62); err != nil {
		t.Fatal(err)
	}
	if r.Machine().Hash() != m.Hash() {
		t.Error("the replay ends otherwise")
	}
}

// A machine with a shared disk holds the contract of a free-running one: images at any
// instruction, between a request and its answer too, go on alike.
func TestProcessor(t *testing.T) {
	d := open(t, DirectoryOn(vfs.NewMemory(1), "disk"))
	s, err := d.begin(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(map[rv64.DiskRequestKind]int)
	answer := func(out []byte) []byte {
		o, err := rv64.ParseOutput(out)
		if err != nil || o.Kind != rv64.OutputDisk {
			return nil
		}
		r, err := rv64.ParseDiskRequest(o.Data)
		if err != nil {
			t.Fatal(err)
		}
		asked[r.Kind]++
		var data []byte
		switch r.Kind {
		case rv64.DiskAttach:
			return rv64.DiskCatalogEvent(r.ID, 1, 0, 0, nil, true)
		case rv64.DiskRead:
			data = make([]byte, r.Length)
			err = s.readAt(r.Object, data, r.Offset)
		case rv64.DiskWrite, rv64.DiskRecord:
			err = s.writeAt(r.Object, r.Data, r.Offset)
		case rv64.DiskTruncate:
			err = s.truncate(r.Object, r.Offset)
		case rv64.DiskRemove:
			err = s.remove(r.Object)
		}
		if err != nil {
			t.Error(err)
		}
		return rv64.DiskDoneEvent(&r, 0, data)
	}
	length := uint64(15_000_000)
	if testing.Short() {
		length = 2_000_000
	}
	vmfttest.TestProcessor(t, vmfttest.ProcessorCheck{New: func() vmft.Processor { return machine(t, "all") }, Answer: answer, Length: length, Seed: 3})
	if asked[rv64.DiskRoot] == 0 || asked[rv64.DiskRead] == 0 && !testing.Short() {
		t.Errorf("it has asked for %v", asked)
	}
}

// A sync that fails is told to the program, and what it tells after that is true.
func TestSyncThatFails(t *testing.T) {
	failing := make(map[int64]bool)
	syncs := int64(0)
	fsys := vfs.NewMemory(1)
	files := DirectoryOn(vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
		if c.Op != vfs.OpSync || !strings.Contains(c.Name, objectDir) {
			return vfs.Fault{}
		}
		if n := atomic.AddInt64(&syncs, 1); failing[n] {
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	}), "disk")
	for _, n := range []int64{1, 2, 5, 8, 11} {
		failing[n] = true
	}
	want := "error 0\nsafe 9\n"
	out := alone(t, open(t, files), machine(t, "stubborn", "10"))
	if !strings.HasPrefix(out, "error 0\n") || !strings.HasSuffix(out, "safe 9\n") || strings.Count(out, "error") < 3 || strings.Count(out, "safe") != 10 {
		t.Errorf("the program says\n%s\nwant something like\n%s", out, want)
	}
	if out := alone(t, open(t, DirectoryOn(fsys.Crash(), "disk")), machine(t, "log", "0")); !strings.HasPrefix(out, "there are 10\n") {
		t.Errorf("after the power has failed: %s", out)
	}
}

// A read that fails on the primary has failed for the backup too, which does not try.
func TestReadThatFails(t *testing.T) {
	var reads atomic.Int64
	files := DirectoryOn(vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpRead && c.Size == 64<<10 && reads.Add(1) > 60 {
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	}), "disk")
	g := newGroup(t, files, true, planted{}, "read", "200")
	testutil.Eventually(t, time.Minute, g.ended, "the program does not end")
	g.primary(0) // nobody has diverged
	fetched := g.fetched.Load()
	g.stop()
	if out := g.text(); g.status != 1 || !strings.Contains(out, "input/output error") {
		t.Errorf("status %d: %s", g.status, out)
	}
	if fetched == 0 {
		t.Error("the backup has read nothing")
	}
}
