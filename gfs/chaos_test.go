// Whole clusters of the real shells in bubbles, with seeded loads and faults.
//
//lint:bubble
package gfs_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 0, "the one seed that TestChaos runs, with a trace")
	chaosSeeds = flag.Int("chaos.seeds", 200, "how many seeds TestChaos runs")
	chaosFirst = flag.Uint64("chaos.first", 1, "the first of them")
	chaosBug   = flag.String("chaos.bug", "", "the bug that is planted, of gfs.Bugs; after it is found no more seeds are run")
)

const (
	chaosServers = 5
	chaosClients = 4
	chaosChunk   = 128 << 10
	chaosSteps   = 24 // of each client
	chaosLease   = 15 * time.Second
	chaosKept    = time.Minute // how long what was removed is kept
)

// A chaosKind is what a seed's faults are. What may be lost differs.
type chaosKind int

const (
	chaosKills chaosKind = iota // processes are killed: everything acknowledged is kept
	chaosPower                  // machines lose their power: everything synced is kept
	chaosRot                    // one disk rots, and one machine fails: likewise, and no more may fail
	chaosKinds
)

func (k chaosKind) String() string { return [...]string{"kills", "power failures", "rot"}[k] }

// A chaos is one run.
type chaos struct {
	*rig
	rng   *rand.Rand
	kind  chaosKind
	model *chaosModel
	paths *pathHistory
	count *chaosCounts
	told  *chaosJournal

	contents map[string][]byte // of replicas, at the end

	healed sync.WaitGroup // of the clients
	done   chan struct{}  // closed when all clients have done their work
}

// A chaosJournal has what happened in a run, and what its processes have logged, in the
// order of the virtual time: a failure may not come again.
type chaosJournal struct {
	mu   sync.Mutex // guards what follows
	text bytes.Buffer
}

// Write takes a line of a log.
func (j *chaosJournal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if *chaosSeed != 0 {
		os.Stdout.Write(p)
	}
	return j.text.Write(p)
}

func (j *chaosJournal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// chaosCounts is what has happened in all seeds.
type chaosCounts struct {
	sync.Mutex
	n map[string]int
}

func (c *chaosCounts) add(what string, n int) {
	c.Lock()
	c.n[what] += n
	c.Unlock()
}

// TestChaos checks what a cluster promises, whatever happens to it: see chaos.check. The
// same seed gives the same load and the same faults, but not the same order of
// goroutines.
func TestChaos(t *testing.T) {
	first, seeds := *chaosFirst, *chaosSeeds
	if testing.Short() {
		seeds = min(seeds, 24)
	}
	if *chaosSeed != 0 {
		first, seeds = *chaosSeed, 1
	}
	counts := &chaosCounts{n: make(map[string]int)}
	var found atomic.Bool
	want := make(map[string]int)
	if *chaosSeed == 0 && *chaosBug == "" {
		for _, what := range []string{
			"writes", "appends", "syncs", "reads", "snapshots", "removals", "path operations", "write retries",
			"servers killed", "servers crashed", "masters killed", "masters crashed", "partitions", "one-way partitions",
			"full disks", "rotten files", "grants without a member", "clones", "stale replicas",
		} {
			want[what] = seeds / 4
		}
	}
	testutil.Enough(t, 1, func() string { return testutil.Lack(counts.n, want) }, func(i int) {
		t.Run("seeds", func(t *testing.T) { // at the same time
			from := first + uint64(i*seeds)
			for seed := from; seed < from+uint64(seeds); seed++ {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					t.Parallel()
					if *chaosBug != "" && found.Load() {
						t.Skip("it is found")
					}
					defer func() { found.Store(found.Load() || t.Failed()) }()
					testutil.Bubble(t, func(t *testing.T) { runChaos(t, seed, counts) })
					if t.Failed() {
						t.Logf("run again with -run TestChaos -chaos.seed %d -v", seed)
					}
				})
			}
		})
	})
	t.Log(counts.n)
}

func runChaos(t *testing.T, seed uint64, counts *chaosCounts) {
	rng := rand.New(rand.NewPCG(seed, 17))
	cfg := gfstest.Config{
		Chunkservers: chaosServers, Racks: 3, ChunkSize: chaosChunk, Seed: seed,
		Network:     transport.NetworkConfig{Latency: transport.Exponential(time.Millisecond), BreakAfter: 30 * time.Second},
		Master:      gfs.MasterConfig{Lease: chaosLease, ServerTimeout: 5 * time.Second, Retention: chaosKept},
		Chunkserver: gfs.ChunkserverConfig{ScrubInterval: time.Minute},
	}
	if plant, ok := gfs.Bugs()[*chaosBug]; ok {
		plant(&cfg.Master, &cfg.Chunkserver)
	} else if *chaosBug != "" {
		t.Fatalf("there is no such bug: %q", *chaosBug)
	}
	told := new(chaosJournal)
	cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: told, Level: hclog.Debug, TimeFormat: chaosTime})
	c := gfstest.Start(t, cfg)
	defer func() {
		if t.Failed() && *chaosSeed == 0 {
			t.Logf("what happened:\n%s", told)
		}
	}()
	k := &chaos{
		rig: &rig{T: t, ctx: t.Context(), c: c, client: c.Client(), servers: chaosServers, files: make(map[string][]byte)},
		rng: rng, kind: chaosKind(seed % uint64(chaosKinds)), count: counts, done: make(chan struct{}),
		model: newChaosModel(), paths: new(pathHistory), told: told, contents: make(map[string][]byte),
	}
	k.model.power = k.kind == chaosPower || k.kind == chaosRot
	k.prepare()
	for i := range chaosClients {
		client, load := c.Client(), rand.New(rand.NewPCG(seed, uint64(100+i)))
		k.healed.Go(func() { k.load(i, client, load) })
	}
	go func() {
		k.healed.Wait()
		close(k.done)
	}()
	k.storm()
	k.mend()
	<-k.done
	k.check()
	for i := range chaosServers {
		k.count.add("clones", k.c.Chunkserver(i).Clones())
	}
	k.count.add("grants without a member", strings.Count(told.String(), "asking for another grant"))
}

// TestChaosFindsBugs plants bugs in the shells, each in a process of its own.
func TestChaosFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	for name := range gfs.Bugs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChaos$", "-chaos.seeds=200", "-chaos.bug="+name)
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && bytes.Contains(out, []byte("--- FAIL: TestChaos/seeds/")) {
				t.Logf("%s", chaosVerdict(out))
			} else {
				t.Errorf("not found: %v\n%s", err, out)
			}
		})
	}
}

// chaosVerdict returns what a run that has failed says is wrong.
func chaosVerdict(out []byte) (all []byte) {
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("--- FAIL: TestChaos/seeds/")) || bytes.Contains(line, []byte("_test.go:")) && !bytes.Contains(line, []byte("what happened")) {
			all = append(all, line[:min(len(line)-1, 300)]...)
			all = append(all, '\n')
		}
	}
	return all[:min(len(all), 2000)]
}

// prepare makes what clients share.
func (k *chaos) prepare() {
	k.must(k.client.MkdirAll(k.ctx, "tmp", 0o755))
	k.must(k.client.MkdirAll(k.ctx, "ns", 0o755))
	for _, name := range []string{regionFile, recordFile} {
		k.must(k.create(name).Close())
	}
}

// chaosTime is how the journal tells the time.
const chaosTime = "15:04:05.000"

// trace notes what happens.
func (k *chaos) trace(format string, args ...any) {
	fmt.Fprintf(k.told, "%s %s\n", time.Now().UTC().Format(chaosTime), fmt.Sprintf(format, args...))
}

// pause sleeps for a random time up to d.
func pauseUpTo(rng *rand.Rand, d time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(d)))) }

// storm does what the seed says to the cluster for a while. It runs on the goroutine of
// the test.
func (k *chaos) storm() {
	steps := 10 + k.rng.IntN(10)
	for range steps {
		pauseUpTo(k.rng, 4*time.Second)
		k.strike()
		if k.rng.IntN(3) == 0 {
			k.c.Network().Heal()
		}
		k.revive(3)
	}
}

// strike lets one thing go wrong.
func (k *chaos) strike() {
	victim := k.rng.IntN(chaosServers)
	if k.kind == chaosRot {
		victim = 1 // and the disk of 0 rots: were that cut off, it might be all that a chunk has
	}
	name := hostName(victim)
	switch n := k.rng.IntN(14); {
	case n < 4:
		k.endServer(victim)
	case n < 6:
		k.endMaster()
	case n < 7 && k.kind != chaosRot:
		var sides [2][]string
		for _, h := range k.hosts() {
			i := k.rng.IntN(2)
			sides[i] = append(sides[i], h)
		}
		k.trace("partition %v", sides)
		k.must(k.c.Network().Partition(sides[0], sides[1]))
		k.count.add("partitions", 1)
	case n < 9:
		k.trace("%s is cut off", name)
		k.cut(victim)
		k.count.add("partitions", 1)
	case n < 10 && k.kind != chaosRot:
		k.trace("nothing comes from %s", name)
		k.must(k.c.Network().PartitionOneWay([]string{name}, []string{"master", hostName((victim + 1) % chaosServers), "client2", "client3"}))
		k.count.add("one-way partitions", 1)
	case n < 11:
		broken, err := k.c.Network().Reset(name, []string{"master", "client2", "client3", hostName((victim + 1) % chaosServers)}[k.rng.IntN(4)])
		k.must(err)
		k.count.add("connections reset", broken)
	case n < 12:
		k.trace("the disk of %s is full", name)
		k.c.FailDisk(victim, syscall.ENOSPC)
		k.count.add("full disks", 1)
	case k.kind == chaosRot:
		n := k.c.RotChunkserver(0, 2)
		k.trace("%d files of chunk0 have rotted", n)
		k.count.add("rotten files", n)
	}
}

// endServer kills a chunkserver, or cuts its power.
func (k *chaos) endServer(i int) {
	if k.c.Chunkserver(i) == nil {
		return
	}
	if k.kind != chaosKills && k.rng.IntN(2) == 0 {
		k.trace("%s loses its power", hostName(i))
		k.model.lostPower()
		k.c.CrashChunkserver(i)
		k.count.add("servers crashed", 1)
		return
	}
	k.trace("%s is killed", hostName(i))
	k.c.KillChunkserver(i)
	k.count.add("servers killed", 1)
}

// endMaster kills the master, or cuts its power.
func (k *chaos) endMaster() {
	if k.c.Master() == nil {
		return
	}
	if k.rng.IntN(2) == 0 {
		k.trace("the master loses its power")
		k.c.CrashMaster()
		k.count.add("masters crashed", 1)
		return
	}
	k.trace("the master is killed")
	k.c.KillMaster()
	k.count.add("masters killed", 1)
}

// revive starts, of n things that are down or do not work, about one.
func (k *chaos) revive(n int) {
	if k.c.Master() == nil && k.rng.IntN(n) < 2 {
		k.trace("the master starts")
		k.c.StartMaster()
	}
	for i := range chaosServers {
		if k.rng.IntN(n) == 0 {
			k.c.FailDisk(i, nil)
			if k.c.Chunkserver(i) == nil {
				k.trace("%s starts", hostName(i))
				k.c.StartChunkserver(i)
			}
		}
	}
}

// mend ends all faults.
func (k *chaos) mend() {
	k.trace("everything is mended")
	k.c.Network().Heal()
	k.revive(1)
	if k.c.Master() == nil {
		k.c.StartMaster()
	}
	k.c.Await(chaosServers)
	versions := k.c.Master().Versions()
	for i := range chaosServers {
		for _, h := range k.c.Chunkserver(i).Replicas() {
			if r, _ := k.c.Chunkserver(i).Replica(h); r.Version < versions[h] {
				k.count.add("stale replicas", 1)
			}
		}
	}
}

// fails reports whether an error is one that faults explain.
func fails(err error) bool {
	return errors.Is(err, gfs.ErrUnavailable) || errors.Is(err, gfs.ErrNoSpace) || errors.Is(err, gfs.ErrStale) || errors.Is(err, gfs.ErrLost)
}
