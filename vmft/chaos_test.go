// Whole groups of the real shells in bubbles, with seeded loads and faults.
//
//lint:bubble
package vmft_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 0, "the one seed that TestChaos runs, with a trace")
	chaosSeeds = flag.Int("chaos.seeds", 200, "how many seeds TestChaos runs")
	chaosFirst = flag.Uint64("chaos.first", 1, "the first of them")
)

const (
	chaosClients = 4
	chaosLength  = 6 * time.Second // of the load and the faults
	chaosCall    = 2 * time.Second // what a client waits for an answer
	chaosNames   = 24              // that make the state as large as a clone takes time
)

// A chaosKind says who has a journal: what may be lost at a time differs.
type chaosKind int

const (
	chaosMemory   chaosKind = iota // nobody: one of two members is left
	chaosJournals                  // all: the power may fail for everybody at once
	chaosMixed                     // the first
	chaosKinds
)

// A chaos is one run.
type chaos struct {
	*group
	kind  chaosKind
	count *chaosCounts
	told  *chaosJournal
	began time.Time
	slow  []chan struct{} // by nodes: their disks wait for it

	mu      sync.Mutex // guards history
	history []porcupine.Operation
}

// A chaosJournal has what happened in a run, and what its nodes have logged, in the order of
// the virtual time: a failure may not come again.
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
	defer c.Unlock()
	c.n[what] += n
}

// TestChaos: what clients see of a group whose nodes are killed, stopped, hung and slowed,
// and cut off from one another and from the arbiter, is linearizable, every call being
// executed once; and in the end the group is whole again, with all that was acknowledged.
// The same seed gives the same load and the same faults, but not the same order of
// goroutines.
func TestChaos(t *testing.T) {
	first, seeds := *chaosFirst, *chaosSeeds
	if testing.Short() {
		seeds = min(seeds, 16)
	}
	if *chaosSeed != 0 {
		first, seeds = *chaosSeed, 1
	}
	counts := &chaosCounts{n: make(map[string]int)}
	chaosRuns(t, first, seeds, counts)
	ran := seeds
	// Goroutines have a part in what happens: where it is too little, more seeds are to do.
	for ; !t.Failed() && *chaosSeed == 0 && ran < 4*seeds && len(counts.lack(seeds)) > 0; ran += seeds {
		chaosRuns(t, first+uint64(ran), seeds, counts)
	}
	t.Logf("%d seeds: %v", ran, counts.n)
	if t.Failed() || *chaosSeed != 0 {
		return
	}
	for _, what := range counts.lack(seeds) {
		t.Errorf("%s: %d in %d seeds, too few to prove anything", what, counts.n[what], ran)
	}
	if lost := counts.n["lost groups"]; lost > 4+ran/20 {
		t.Errorf("%d of %d groups were lost whole", lost, ran)
	}
}

// lack returns what has happened less often than it has to in so many seeds.
func (c *chaosCounts) lack(seeds int) (all []string) {
	for what, least := range map[string]int{ // in a hundred seeds
		"answers": 10_000, "fail-overs": 150, "fenced claims": 5, "fenced primaries": 20, "clones": 150, "handed over": 20, "kills": 40, "clones under load": 100,
		"pauses": 40, "hung machines": 30, "hung disks": 15, "full disks": 10, "power failures": 15, "partitions": 40, "one-way partitions": 40,
		"arbiter away from one": 40, "arbiter away from all": 20, "slow links": 40, "broken connections": 30,
	} {
		if c.n[what]*100 < least*seeds {
			all = append(all, what)
		}
	}
	return all
}

// chaosRuns runs so many seeds, as many at a time as there are processors.
func chaosRuns(t *testing.T, first uint64, seeds int, counts *chaosCounts) {
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+uint64(seeds); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				testutil.Bubble(t, func(t *testing.T) {
					if !runChaos(t, seed, counts, nil) {
						t.Error("what clients saw is not linearizable")
					}
				})
				if t.Failed() {
					t.Logf("run again with -run TestChaos -chaos.seed %d -v", seed)
				}
			})
		}
	})
}

// TestChaosFindsBugs: the check finds what it is there to find. (Reads without a
// confirmation are found by the simulation alone: here a client that would ask a primary
// which was replaced has to have a connection to it at the right moment.)
func TestChaosFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	counts, found := &chaosCounts{n: make(map[string]int)}, false
	for seed := uint64(1); seed < 100 && !found; seed++ {
		testutil.Bubble(t, func(t *testing.T) {
			found = !runChaos(t, seed, counts, vmft.PlantReleaseEarly)
		})
	}
	if !found {
		t.Error("outputs leave early, and nobody has noticed")
	}
}

// runChaos reports whether what clients saw is linearizable.
func runChaos(t *testing.T, seed uint64, counts *chaosCounts, plant func(*vmft.Config)) bool {
	size := 3
	if seed%5 == 0 {
		size = 2
	}
	c := &chaos{kind: chaosKind(seed % uint64(chaosKinds)), count: counts, told: new(chaosJournal), began: time.Now(), slow: make([]chan struct{}, size)}
	log := hclog.New(&hclog.LoggerOptions{Output: c.told, Level: hclog.Info, TimeFormat: "05.000000"})
	c.group = newSeededGroup(t, seed, 0, func(i int, cfg *vmft.Config) {
		cfg.Logger = log.Named(c.name(i))
		cfg.Stall, cfg.CloneRate, cfg.CheckEvery = 300*time.Millisecond, 256<<10, 500*time.Millisecond
		if cfg.FS != nil {
			cfg.FS = vfs.Inject(cfg.FS, func(vfs.Call) vfs.Fault {
				c.mu.Lock()
				slow := c.slow[i]
				c.mu.Unlock()
				if slow != nil {
					<-slow
				}
				return vfs.Fault{}
			})
		}
		if plant != nil {
			plant(cfg)
		}
	})
	defer c.close()
	defer func() {
		if t.Failed() && *chaosSeed == 0 {
			t.Logf("what happened:\n%s", c.told)
		}
	}()
	c.arbiter.rng = rand.New(rand.NewPCG(seed, 0))
	for i := range size {
		c.nodes, c.books, c.disks = append(c.nodes, nil), append(c.books, nil), append(c.disks, nil)
		if c.kind == chaosJournals || c.kind == chaosMixed && i == 0 {
			c.disks[i] = vfs.NewMemory(seed + uint64(i))
		}
	}
	for i := range size {
		c.start(i)
	}
	c.weather()
	c.settle()
	c.fill()
	end := make(chan struct{})
	var storms, loads sync.WaitGroup
	storms.Go(func() { c.strike(rand.New(rand.NewPCG(seed, 1)), end) })
	storms.Go(func() { c.tangle(rand.New(rand.NewPCG(seed, 2)), end) })
	for who := range chaosClients {
		loads.Go(func() { c.load(who, rand.New(rand.NewPCG(seed, uint64(who+3)))) })
	}
	loads.Wait()
	close(end)
	storms.Wait()
	if t.Failed() {
		return true
	}
	c.mend()
	return porcupine.CheckOperations(counters, c.history)
}

// weather gives every link a delay of a few milliseconds, so that what is on its way when a
// node dies is lost, and packets the fate that packets have.
func (c *chaos) weather() {
	for i := range c.nodes {
		for j := range c.nodes {
			if i != j {
				c.link(i, j, mildly)
			}
		}
	}
}

var mildly = transport.Link{Latency: transport.Uniform(0, 5*time.Millisecond)}

// link shapes a link of two nodes.
func (c *chaos) link(i, j int, l transport.Link) {
	l.Loss, l.Duplicate, l.Reorder = 0.1, 0.1, 0.1
	if err := c.network.SetLink(c.name(i), c.name(j), l); err != nil {
		c.t.Error(err)
	}
}

// fill makes the state large.
func (c *chaos) fill() {
	client := c.client()
	defer client.Close()
	for i := range chaosNames {
		count(c.t, client, fmt.Sprintf("%d/%s", i, strings.Repeat("x", 2000)), 1, 1)
	}
}

// load is what a client does.
func (c *chaos) load(who int, rng *rand.Rand) {
	client, err := vmft.Dial(c.network.Host(fmt.Sprintf("client%d", who)), c.addrs()...)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer client.Close()
	for time.Since(c.began) < chaosLength {
		c.ask(client, who, tallied{name: string(rune('a' + rng.IntN(2))), read: rng.IntN(2) == 0}, chaosCall)
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
	}
}

// ask calls or reads once, and takes note of what came of it.
func (c *chaos) ask(client *vmft.Client, who int, in tallied, patience time.Duration) error {
	op := porcupine.Operation{ClientId: who, Input: in, Call: int64(time.Since(c.began))}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	do := client.Call
	if in.read {
		do = client.Query
	}
	out, err := do(ctx, []byte(in.name))
	op.Return = int64(time.Since(c.began))
	result := tallied{lost: err != nil}
	if err == nil {
		result.value = binary.LittleEndian.Uint64(out)
		c.count.add("answers", 1)
	} else {
		op.Return = int64(time.Hour) // whenever
		c.count.add("lost calls", 1)
	}
	op.Output = result
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = append(c.history, op)
	return err
}

// mend ends all faults, waits until the group is whole, and looks at what it has.
func (c *chaos) mend() {
	c.network.Heal()
	c.weather()
	for i := range c.nodes {
		c.arbiter.cut(i, false)
		if c.nodes[i].Status().Err != nil { // the disk was full a moment ago
			c.end(i)
			c.restart(i)
		}
	}
	c.say("all is mended")
	for range 4000 {
		if c.lost() {
			c.count.add("lost groups", 1)
			c.say("nobody is left who may go on")
			return
		}
		if c.whole() {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.settle()
	client := c.client()
	defer client.Close()
	for _, name := range []string{"a", "b"} {
		for _, read := range []bool{true, false, true} {
			if err := c.ask(client, chaosClients, tallied{name: name, read: read}, time.Minute); err != nil {
				c.t.Errorf("in the end: %v", err)
			}
		}
	}
	time.Sleep(time.Second)
	primary, backup := c.settle() // of late it may be another pair
	time.Sleep(5 * time.Millisecond)
	for _, name := range []string{"a", "b"} {
		if p, b := c.books[primary].get(name), c.books[backup].get(name); p != b {
			c.t.Errorf("the primary has counted %s to %d, the backup to %d", name, p, b)
		}
	}
	c.tally()
}

// tally counts what the nodes say of themselves.
func (c *chaos) tally() {
	for i := range c.nodes {
		c.bury(i)
	}
	c.arbiter.mu.Lock()
	c.count.add("fenced claims", c.arbiter.fenced)
	c.arbiter.mu.Unlock()
	chain := c.chain()
	for i := 1; i < len(chain); i++ {
		switch {
		case chain[i].Primary == chain[i-1].Primary:
		case chain[i].Backup == chain[i-1].Primary:
			c.count.add("handed over", 1)
		default:
			c.count.add("fail-overs", 1)
		}
	}
}

// bury counts what a node has done, before it is lost.
func (c *chaos) bury(i int) {
	s := c.nodes[i].Status()
	c.count.add("clones", int(s.Clones))
	if s.Diverged != 0 {
		c.t.Errorf("node %d says that the states differed at %d", i, s.Diverged)
	}
	for _, h := range s.History {
		if h.Note == "fenced" {
			c.count.add("fenced primaries", 1)
		}
		if strings.HasPrefix(h.Note, "a clone was made") && h.At.Sub(c.began) < chaosLength && h.Record.Epoch > 2 {
			c.count.add("clones under load", 1)
		}
	}
}

// chain is all records of the arbiter.
func (c *chaos) chain() (chain []vmft.Record) {
	newest, err := c.arbiter.Newest(context.Background())
	for epoch := uint64(1); err == nil && epoch <= newest.Epoch; epoch++ {
		var r vmft.Record
		r, err = c.arbiter.Claim(context.Background(), vmft.Record{Epoch: epoch, Primary: newest.Primary}) // it stands already
		chain = append(chain, r)
	}
	if err != nil {
		c.t.Error(err)
	}
	return chain
}

// whole reports whether there is a pair.
func (c *chaos) whole() bool {
	r, err := c.arbiter.Newest(context.Background())
	return err == nil && !r.Backup.IsZero() && c.has(r.Primary, vmft.RolePrimary) && c.has(r.Backup, vmft.RoleBackup)
}

// has reports whether a member lives, in a role.
func (c *chaos) has(m vmft.Member, role vmft.Role) bool {
	for _, n := range c.nodes {
		if n != nil {
			if s := n.Status(); s.Self == m && (s.Role == role || role == "") {
				return true
			}
		}
	}
	return false
}

// lost reports whether no process and no journal of a member is left.
func (c *chaos) lost() bool {
	r, err := c.arbiter.Newest(context.Background())
	if err != nil || r.Epoch == 0 || c.has(r.Primary, "") || !r.Backup.IsZero() && c.has(r.Backup, "") {
		return false
	}
	for _, n := range c.nodes {
		if log := n.Status().Self.Log; log != 0 && (log == r.Primary.Log || log == r.Backup.Log) {
			return false
		}
	}
	return true
}

// say adds to the journal.
func (c *chaos) say(format string, args ...any) {
	fmt.Fprintf(c.told, "%s [CHAOS] %s\n", time.Now().Format("05.000000"), fmt.Sprintf(format, args...))
}
