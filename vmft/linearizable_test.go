//lint:bubble
package vmft_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// tallied is what a client asked of a counter, and what came of it.
type tallied struct {
	name  string
	read  bool
	value uint64
	lost  bool // no answer came: a call may have been executed, or may be yet
}

// counters is how a group of counters behaves, seen from outside.
var counters = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make(map[string][]porcupine.Operation)
		var out [][]porcupine.Operation
		for _, op := range history {
			name := op.Input.(tallied).name
			parts[name] = append(parts[name], op)
		}
		for _, part := range parts {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		n, in, out := state.(uint64), input.(tallied), output.(tallied)
		if in.read {
			return out.lost || out.value == n, n
		}
		return out.lost || out.value == n+1, n + 1
	},
}

// torment kills, stops and cuts off nodes, until it is told to end.
func (g *group) torment(rng *rand.Rand, end <-chan struct{}) (kills int) {
	pause := func(most int) bool {
		select {
		case <-end:
			return false
		case <-time.After(time.Duration(50+rng.IntN(most)) * time.Millisecond):
			return true
		}
	}
	for pause(1500) {
		i := rng.IntN(len(g.nodes))
		switch rng.IntN(4) {
		case 0:
			g.settle() // at least two have everything: one may go
			g.kill(i)
			kills++
			pause(600)
			g.restart(i)
		case 1:
			g.host(i).Pause()
			pause(1000)
			g.host(i).Resume()
		case 2:
			j := (i + 1) % len(g.nodes)
			g.network.PartitionOneWay([]string{fmt.Sprintf("node%d", i)}, []string{fmt.Sprintf("node%d", j)})
			pause(1000)
			g.network.Heal()
		case 3:
			g.arbiter.cut(i, true)
			pause(800)
			g.arbiter.cut(i, false)
		}
	}
	return kills
}

// What clients see of a group whose nodes are killed, stopped, and cut off from one another
// and from the arbiter, is linearizable.
func TestLinearizable(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 5
	}
	kills, epochs, answered := 0, uint64(0), 0
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			k, e, a, legal := linearizable(t, uint64(seed), nil)
			kills, epochs, answered = kills+k, epochs+e, answered+a
			if !legal {
				t.Errorf("seed %d: what clients saw is not linearizable", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d epochs, %d answers", kills, epochs, answered)
	if kills < seeds/2 || epochs < uint64(4*seeds) || answered < 100*seeds {
		t.Errorf("too little has happened in %d seeds", seeds)
	}
}

// The check finds what it is there to find. (Reads without a confirmation are found by the
// simulation alone: here a client that would ask a primary which was replaced has to have a
// connection to it at the right moment.)
func TestLinearizableFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	found := false
	for seed := uint64(0); seed < 50 && !found; seed++ {
		testutil.Bubble(t, func(t *testing.T) {
			_, _, _, legal := linearizable(t, seed, func(_ int, cfg *vmft.Config) { vmft.PlantReleaseEarly(cfg) })
			found = !legal
		})
	}
	if !found {
		t.Error("outputs leave early, and nobody has noticed")
	}
}

func linearizable(t *testing.T, seed uint64, tune func(int, *vmft.Config)) (kills int, epochs uint64, answered int, legal bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	g := newGroup(t, 3, tune)
	g.latency()
	defer g.close()
	g.settle()
	end := make(chan struct{})
	var tormented, asked sync.WaitGroup
	tormented.Go(func() { kills = g.torment(rng, end) })
	var mu sync.Mutex
	var history []porcupine.Operation
	begin := time.Now()
	for who := range 4 {
		rng := rand.New(rand.NewPCG(seed, uint64(who+2)))
		asked.Go(func() {
			c, err := vmft.Dial(g.network.Host(fmt.Sprintf("client%d", who)), g.addrs()...)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for time.Since(begin) < 8*time.Second {
				in := tallied{name: string(rune('a' + rng.IntN(2))), read: rng.IntN(2) == 0}
				op := porcupine.Operation{ClientId: who, Input: in, Call: int64(time.Since(begin))}
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				ask := c.Call
				if in.read {
					ask = c.Query
				}
				out, err := ask(ctx, []byte(in.name))
				cancel()
				op.Return = int64(time.Since(begin))
				result := tallied{lost: err != nil}
				if err == nil {
					result.value = binary.LittleEndian.Uint64(out)
				} else {
					op.Return = int64(time.Hour) // whenever
				}
				op.Output = result
				mu.Lock()
				history = append(history, op)
				if err == nil {
					answered++
				}
				mu.Unlock()
				time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			}
		})
	}
	asked.Wait()
	close(end)
	tormented.Wait()
	g.network.Heal()
	primary, _ := g.settle()
	epochs = g.nodes[primary].Status().Newest.Epoch
	legal = porcupine.CheckOperationsTimeout(counters, history, 20*time.Second) != porcupine.Illegal
	return kills, epochs, answered, legal
}

// latency gives every link between nodes a delay of a few milliseconds: what is on its way
// when a node dies is lost.
func (g *group) latency() {
	for i := range g.nodes {
		for j := range g.nodes {
			if i != j {
				g.network.SetLink(fmt.Sprintf("node%d", i), fmt.Sprintf("node%d", j), transport.Link{Latency: transport.Uniform(0, 5*time.Millisecond)})
			}
		}
	}
}
