// Coordinators of mapreduce on nodes, in bubbles.
//
//lint:bubble
package standby_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/mapreduce/mapreducetest"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
	"github.com/trilith-go/trilith/vmft"
)

// slowIndex is sensitive to what is there and to the order of values, and takes its time.
var slowIndex = mapreduce.Job[string, string, string]{
	Name: "slowindex",
	Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		for i, word := range strings.Fields(line.Text()) {
			emit(word, fmt.Sprintf("%d.%d", line.Offset, i))
		}
		return pause(t)
	},
	Reduce: func(t *mapreduce.Task, _ string, at iter.Seq[string], emit func(string)) error {
		var all []string
		for a := range at {
			all = append(all, a)
		}
		emit(strings.Join(all, " "))
		return pause(t)
	},
}

// pause is how long a record takes, in a bubble.
func pause(t *mapreduce.Task) error {
	if t.Context().Value(slow{}) == nil {
		return nil
	}
	select {
	case <-time.After(20 * time.Millisecond):
		return nil
	case <-t.Context().Done():
		return t.Context().Err()
	}
}

// slow is the key of contexts in which records take their time.
type slow struct{}

var coordinatorHosts = []string{"coordinator0", "coordinator1"}

const servicePort = ":1"

func addrs(hosts []string) (all []string) {
	for _, h := range hosts {
		all = append(all, h+servicePort)
	}
	return all
}

func text(lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "line %d of words word%d %x\n", i, i%7, i*i*7919)
	}
	return b.String()
}

// TestCoordinatorsFailOver: while a job runs the coordinator that leads crashes, hangs and
// is cut off from the other one; the output is that of a sequential run.
func TestCoordinatorsFailOver(t *testing.T) {
	seeds := uint64(16)
	if testing.Short() {
		seeds = 8
	}
	input := map[string]string{"a": text(60), "b": text(40), "c": "no newline"}
	spec := mapreduce.Spec{Input: []string{"*"}, Output: "out", Reduces: 4, SplitBytes: 400}
	oracle := mapreducetest.NewMemory(nil)
	if _, err := mapreduce.RunSequential(t.Context(), slowIndex, spec, mapreduce.RunConfig{FileSystem: oracle, Input: mapreducetest.NewMemory(input)}); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			k := newCoordinators(t, seed, input, counts)
			if got := k.run(spec, int(seed)); !maps.Equal(got, oracle.Files()) {
				t.Errorf("seed %d: the output is\n%.1000q\nwant\n%.1000q\n%v", seed, got, oracle.Files(), k.group.Events())
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Log(counts)
	for _, what := range []string{"crashes", "pauses", "cuts", "states compared"} {
		if counts[what] < int(seeds)/4 {
			t.Errorf("%s: %d in %d seeds, too few to prove anything", what, counts[what], seeds)
		}
	}
	if counts["fail-overs"] < int(seeds) {
		t.Errorf("%d fail-overs in %d seeds", counts["fail-overs"], seeds)
	}
}

// coordinators are two of them, with workers and a client.
type coordinators struct {
	*testing.T
	network  *transport.Network
	rng      *rand.Rand
	registry *mapreduce.Registry
	input    *mapreducetest.Memory
	files    *mapreducetest.Memory
	group    *standby.Group
	client   *mapreduce.Client
	counts   map[string]int
}

func newCoordinators(t *testing.T, seed uint64, input map[string]string, counts map[string]int) *coordinators {
	k := &coordinators{
		T: t, rng: rand.New(rand.NewPCG(seed, 9)), counts: counts, input: mapreducetest.NewMemory(input), files: mapreducetest.NewMemory(nil),
		network: transporttest.NewNetwork(t, transport.NetworkConfig{Seed: seed, Latency: transport.Exponential(time.Millisecond)}),
	}
	var err error
	k.registry, err = mapreduce.NewRegistry(slowIndex)
	k.must(err)
	k.group = standby.NewGroup(standby.GroupConfig{
		Network: k.network, Hosts: coordinatorHosts, Start: k.start, Node: vmft.Config{CheckEvery: 200 * time.Millisecond},
	})
	k.must(k.group.Form(t.Context()))
	t.Cleanup(func() {
		if err := k.group.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := context.WithValue(t.Context(), slow{}, true)
	for i := range 3 {
		host := fmt.Sprint("worker", i)
		w, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
			Transport: k.network.Host(host), Addr: host + servicePort, Coordinators: addrs(coordinatorHosts), Jobs: k.registry,
			FileSystem: k.files, Input: k.input, Slots: 1, Dir: t.TempDir(), Build: "test",
		})
		k.must(err)
		t.Cleanup(func() { w.Close() })
	}
	k.client, err = mapreduce.NewClient(mapreduce.ClientConfig{Transport: k.network.Host("client"), Coordinators: addrs(coordinatorHosts)})
	k.must(err)
	t.Cleanup(func() { k.client.Close() })
	return k
}

func (k *coordinators) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *coordinators) start(ctx context.Context, host *transport.Host, open func(vmft.Machine) (*vmft.Node, error)) (io.Closer, error) {
	return mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: host, Addr: servicePort, Jobs: k.registry, FileSystem: k.files, Input: k.input, WorkerTimeout: 3 * time.Second, Build: "test",
		OpenLog: func(m mapreduce.Machine) (mapreduce.Log, error) { return open(m) },
	})
}

// run runs a job while things happen to coordinators, and returns the files that are there
// then.
func (k *coordinators) run(spec mapreduce.Spec, first int) map[string]string {
	id, err := k.client.Submit(k.Context(), slowIndex.Name, spec)
	k.must(err)
	var struck sync.WaitGroup
	struck.Go(func() {
		for i := range 3 {
			time.Sleep(time.Duration(k.rng.Int64N(int64(time.Second))))
			k.strike(first + i)
		}
	})
	_, err = k.client.Wait(k.Context(), id)
	struck.Wait()
	k.must(err)
	time.Sleep(10 * time.Second) // what attempts have left behind is swept
	n, err := k.group.FailOvers(k.Context())
	k.must(err)
	k.counts["fail-overs"] += n
	for i := range coordinatorHosts {
		s := k.group.Node(i).Status()
		k.counts["states compared"] += int(s.Checks)
		if s.Diverged != 0 {
			k.Errorf("the states of the coordinators differed at %d", s.Diverged)
		}
	}
	return k.files.Files()
}

func (k *coordinators) await(what string, so func() bool) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), time.Minute)
	defer cancel()
	if err := k.group.Await(ctx, so); err != nil {
		k.Errorf("still not so: %s: %v\n%v", what, err, k.group.Events())
	}
}

// strike lets something happen to the coordinator that leads, a different thing each time,
// and returns when there is a pair again.
func (k *coordinators) strike(n int) {
	leads := -1
	for leads < 0 && !k.Failed() { // it may change its mind
		k.await("a pair", k.group.Paired)
		leads = k.group.Primary()
	}
	switch n % 3 {
	case 0:
		k.counts["crashes"]++
		k.group.Crash(leads)
		k.await("the other leads", func() bool { return k.group.Primary() == 1-leads })
		if err := k.group.Start(k.Context(), leads); err != nil {
			k.Error(err)
		}
	case 1:
		k.counts["pauses"]++
		k.group.Pause(leads)
		k.await("the other leads", func() bool { return k.group.Primary() == 1-leads })
		time.Sleep(time.Duration(k.rng.Int64N(int64(3 * time.Second))))
		k.group.Resume(leads)
	default: // both live, and reach the arbiter: one of them wins, and workers still reach both
		k.counts["cuts"]++
		if err := k.network.Partition(coordinatorHosts[:1], coordinatorHosts[1:]); err != nil {
			k.Error(err)
		}
		time.Sleep(500*time.Millisecond + time.Duration(k.rng.Int64N(int64(time.Second))))
		k.network.Heal()
	}
	k.await("a pair", k.group.Paired)
}
