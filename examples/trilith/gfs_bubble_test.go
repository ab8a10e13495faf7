// A gfs with two masters in bubbles, of which the one that leads crashes, hangs and is cut off.
//
//lint:bubble
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
	"github.com/trilith-go/trilith/vmft"
)

var (
	bubbleSeed  = flag.Uint64("bubble.seed", 0, "the one seed that TestMastersFailOver runs")
	bubbleSeeds = flag.Int("bubble.seeds", 8, "how many seeds TestMastersFailOver runs")
)

// A bubbleTest is one run.
type bubbleTest struct {
	*testing.T
	network *transport.Network
	rng     *rand.Rand
	masters *standby.Group
	model   *killModel
	paths   *pathHistory
	counts  map[string]int
}

var bubbleMasters = []string{"master0", "master1"}

const (
	bubbleServers = 4
	bubblePort    = ":1"
	bubbleStrikes = 4
)

func bubbleAddrs() (addrs []string) {
	for _, h := range bubbleMasters {
		addrs = append(addrs, h+bubblePort)
	}
	return addrs
}

// TestMastersFailOver holds what a gfs with two masters promises, whatever happens to them:
// what was acknowledged is there, and the namespace is linearizable. The same seed gives
// the same load and the same faults, but not the same order of goroutines.
func TestMastersFailOver(t *testing.T) {
	first, seeds := uint64(1), *bubbleSeeds
	if testing.Short() {
		seeds = min(seeds, 3)
	}
	if *bubbleSeed != 0 {
		first, seeds = *bubbleSeed, 1
	}
	var mu sync.Mutex
	counts := make(map[string]int)
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+uint64(seeds); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				testutil.Bubble(t, func(t *testing.T) {
					k := newBubbleTest(t, seed)
					k.run(seed)
					mu.Lock()
					defer mu.Unlock()
					for what, n := range k.counts {
						counts[what] += n
					}
				})
			})
		}
	})
	t.Log(counts)
	for _, what := range []string{"crashes", "pauses", "cuts", "states compared"} {
		if *bubbleSeed == 0 && counts[what] < seeds/2 {
			t.Errorf("%s: %d in %d seeds, too few to prove anything", what, counts[what], seeds)
		}
	}
	if counts["fail-overs"] < 2*seeds {
		t.Errorf("%d fail-overs in %d seeds", counts["fail-overs"], seeds)
	}
}

func newBubbleTest(t *testing.T, seed uint64) *bubbleTest {
	k := &bubbleTest{
		T: t, rng: rand.New(rand.NewPCG(seed, 5)), model: newKillModel(), paths: &pathHistory{began: time.Now()}, counts: make(map[string]int),
		network: transporttest.NewNetwork(t, transport.NetworkConfig{Seed: seed, Latency: transport.Exponential(time.Millisecond)}),
	}
	k.masters = standby.NewGroup(standby.GroupConfig{Network: k.network, Hosts: bubbleMasters, Start: k.startMaster, Node: vmft.Config{CheckEvery: 200 * time.Millisecond}})
	k.must(k.masters.Form(t.Context()))
	t.Cleanup(func() {
		if err := k.masters.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range bubbleServers {
		host := fmt.Sprint("chunk", i)
		s, err := gfs.StartChunkserver(t.Context(), gfs.ChunkserverConfig{
			Transport: k.network.Host(host), Addr: bubblePort, Advertise: host + bubblePort, Masters: bubbleAddrs(),
			FS: vfs.NewMemory(seed + uint64(i)), Dir: "/chunks",
		})
		k.must(err)
		t.Cleanup(func() { s.Close() })
	}
	return k
}

func (k *bubbleTest) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *bubbleTest) startMaster(ctx context.Context, host *transport.Host, open func(vmft.Machine) (*vmft.Node, error)) (io.Closer, error) {
	return gfs.StartMaster(ctx, gfs.MasterConfig{
		Transport: host, Addr: bubblePort, ChunkSize: 256 << 10, Lease: 5 * time.Second,
		OpenLog: func(m gfs.Machine) (gfs.Log, error) { return open(m) },
	})
}

func (k *bubbleTest) dial(host string) *gfs.Client {
	k.Helper()
	c, err := gfs.Dial(k.Context(), gfs.ClientConfig{Transport: k.network.Host(host), Masters: bubbleAddrs(), CacheTime: 2 * time.Second})
	k.must(err)
	return c
}

// run has clients work while masters are struck, and checks what is there then.
func (k *bubbleTest) run(seed uint64) {
	client := k.dial("looker")
	defer client.Close()
	k.await("all chunkservers have registered", func() bool {
		servers, err := client.Servers(k.Context())
		return err == nil && len(servers) == bubbleServers
	})
	for _, name := range []string{regionFile, appendFile, recordFile} {
		k.must(client.WriteFile(k.Context(), name, nil, 0o644))
	}
	k.must(client.Mkdir(k.Context(), pathDir, 0o755))
	stop := make(chan struct{})
	var work sync.WaitGroup
	for i := range killClients {
		l := &killLoad{
			t: k.T, id: i, ctx: k.Context(), model: k.model, client: k.dial(fmt.Sprint("client", i)), rng: rand.New(rand.NewPCG(seed, uint64(100+i))),
			files: make(map[string]content), removed: make(map[string]content),
		}
		work.Go(func() { l.run(stop) })
		p := &pathLoad{t: k.T, id: i, client: k.dial(fmt.Sprint("walker", i)), rng: rand.New(rand.NewPCG(seed, uint64(200+i))), history: k.paths}
		work.Go(func() { p.run(stop) })
	}
	for i := range bubbleStrikes {
		time.Sleep(time.Duration(k.rng.Int64N(int64(time.Second))))
		k.strike(int(seed) + i)
	}
	close(stop)
	work.Wait()
	if n := k.model.n["failures"]; n > 0 {
		k.Errorf("%d operations failed: clients do not go on by themselves", n)
	}
	fresh := k.dial("checker")
	defer fresh.Close()
	k.model.check(k.T, fresh)
	k.paths.check(k.T)
	k.counts["operations on paths"] += len(k.paths.ops)
	n, err := k.masters.FailOvers(k.Context())
	k.must(err)
	k.counts["fail-overs"] += n
	for i := range bubbleMasters {
		s := k.masters.Node(i).Status()
		k.counts["states compared"] += int(s.Checks)
		if s.Diverged != 0 {
			k.Errorf("the states of the masters differed at %d", s.Diverged)
		}
	}
}

func (k *bubbleTest) await(what string, so func() bool) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), time.Minute)
	defer cancel()
	if err := k.masters.Await(ctx, so); err != nil {
		k.Fatalf("still not so: %s: %v\n%v", what, err, k.masters.Events())
	}
}

// strike lets something happen to the master that leads, a different thing each time, and
// returns when there is a pair again.
func (k *bubbleTest) strike(n int) {
	leads := -1
	for leads < 0 { // it may change its mind
		k.await("a pair", k.masters.Paired)
		leads = k.masters.Primary()
	}
	switch n % 3 {
	case 0:
		k.counts["crashes"]++
		k.masters.Crash(leads)
		k.await("the other leads", func() bool { return k.masters.Primary() == 1-leads })
		time.Sleep(time.Duration(k.rng.Int64N(int64(time.Second))))
		k.must(k.masters.Start(k.Context(), leads))
	case 1:
		k.counts["pauses"]++
		k.masters.Pause(leads)
		k.await("the other leads", func() bool { return k.masters.Primary() == 1-leads })
		time.Sleep(time.Duration(k.rng.Int64N(int64(3 * time.Second))))
		k.masters.Resume(leads)
	default: // both live, and reach the arbiter: one of them wins, and clients still reach both
		k.counts["cuts"]++
		k.must(k.network.Partition(bubbleMasters[:1], bubbleMasters[1:]))
		time.Sleep(500*time.Millisecond + time.Duration(k.rng.Int64N(int64(time.Second))))
		k.network.Heal()
	}
	k.await("a pair", k.masters.Paired)
}
