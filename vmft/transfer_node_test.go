//lint:bubble
package vmft_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// transferred makes a node's configuration one of state transfer, with a server that draws
// numbers of its own: replayed on two nodes it would be two machines.
func transferred(seed uint64) func(i int, cfg *vmft.Config) {
	return func(i int, cfg *vmft.Config) {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		p := toy.New(toy.DrawingServer())
		p.Draws(rng.Uint64)
		cfg.Processor, cfg.Mode = p, vmft.ModeTransfer
		vmft.SetDeltaPart(cfg, 1000)
	}
}

// What TestFreeFailOver says of replay holds under state transfer, for a processor that is not
// deterministic.
func TestTransferFailOver(t *testing.T) {
	seeds := vmft.ManySeeds(1, 4)
	again, fails := 0, 0
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			w, s := failOvers(t, uint64(seed), transferred(uint64(seed)))
			if w.failure != nil {
				t.Errorf("seed %d: %v", seed, w.failure)
			}
			if s.Diverged != 0 || s.Instructions == 0 || s.Deltas == 0 || s.Mode != vmft.ModeTransfer {
				t.Errorf("seed %d: diverged at %d, %d instructions, %d deltas", seed, s.Diverged, s.Instructions, s.Deltas)
			}
			again, fails = again+w.again, fails+20
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d fail-overs, %d outputs were done again", fails, again)
	if again < fails/4 {
		t.Error("too little was under way")
	}
}

// The tests find what they are there to find. (Half a delta is seldom all that has come here:
// that it does not count is for the simulation to see.)
func TestTransferFailOverFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	failOversFind(t, transferred, map[string]func(*vmft.Config){
		"inputs are acknowledged early":           vmft.PlantAckInputEarly,
		"what is pending is forgotten at go-live": vmft.PlantForgetPending,
	})
}

// Nodes that are killed, stopped and cut off take nothing back.
func TestTransferTorment(t *testing.T) {
	seeds := vmft.ManySeeds(1, 3)
	torments(t, seeds, transferred(1))
}

// With journals, which are of deltas, both nodes may lose power.
func TestTransferPowerLoss(t *testing.T) {
	seeds := vmft.ManySeeds(1, 2)
	powerLosses(t, seeds, func(i int, cfg *vmft.Config) {
		transferred(2)(i, cfg)
		cfg.CheckpointBytes = 128 << 10 // a delta is longer than what is logged of one event
	})
}

// The processor is handed over, and switched off on both nodes.
func TestTransferHandOver(t *testing.T) { handOvers(t, transferred(3)) }

// What a Mode needs is looked at before anything starts.
func TestTransferRefuses(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		network, err := transport.NewNetwork(transport.NetworkConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer network.Close()
		for name, tune := range map[string]func(*vmft.Config){
			"Mode":          func(c *vmft.Config) { c.Mode, c.Processor = "remus", toy.New(toy.Server()) },
			"Machine":       func(c *vmft.Config) { c.Machine = newCounter() },
			"Transferable":  func(c *vmft.Config) { c.Processor = struct{ vmft.Processor }{toy.New(toy.Server())} },
			"TransferEvery": func(c *vmft.Config) { c.Processor, c.TransferEvery = toy.New(toy.Server()), -1 },
		} {
			cfg := vmft.Config{Transport: network.Host("a"), Addr: ":1", Arbiter: vmft.MemoryArbiter(), Mode: vmft.ModeTransfer}
			tune(&cfg)
			if _, err := vmft.Start(t.Context(), cfg); !errors.Is(err, vmft.ErrConfig) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A node of one mode is not followed by one of the other, and both say so.
func TestTransferBesideReplay(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newToys(t, 2, func(i int, cfg *vmft.Config) {
			if i == 1 {
				transferred(1)(i, cfg)
				cfg.Processor = toy.New(toy.Server())
			}
		})
		defer g.close()
		testutil.Eventually(t, time.Minute, func() bool {
			said := false
			for _, n := range g.nodes {
				for _, why := range n.Status().Refusals {
					said = said || strings.Contains(why, "transfer 1")
				}
			}
			return said
		}, "that somebody says why there is no pair")
		time.Sleep(3 * time.Second)
		for _, n := range g.nodes {
			if s := n.Status(); !s.Newest.Backup.IsZero() {
				t.Errorf("%v is a pair", s.Newest)
			}
		}
	})
}

// A paddedToy has large deltas.
type paddedToy struct{ *toy.Toy }

const padding = 2 << 20

func (p *paddedToy) Delta() (io.WriterTo, error) {
	d, err := p.Toy.Delta()
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(make([]byte, padding))
	_, err = d.WriteTo(b)
	return b, err
}

func (p *paddedToy) ApplyDelta(delta []byte) error { return p.Toy.ApplyDelta(delta[padding:]) }

// A backup is made too if there always is more of a delta on its way than a candidate may lack
// otherwise.
func TestTransferLargeDeltas(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newToys(t, 2, func(_ int, cfg *vmft.Config) {
			cfg.Processor, cfg.Mode = &paddedToy{toy.New(toy.Server())}, vmft.ModeTransfer
		})
		defer g.close()
		g.latency()
		for range 3 {
			primary, _ := g.settle()
			time.Sleep(100 * time.Millisecond)
			g.kill(primary)
			g.revive(primary)
		}
		g.settle()
		g.w.stop()
		if g.w.end(); g.w.failure != nil {
			t.Error(g.w.failure)
		}
	})
}

// Deltas that are larger than the buffer for the backup go through all the same, the processor
// is stopped rather than slowed by a slow channel, and time goes on.
func TestTransferBackPressure(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newToys(t, 2, func(i int, cfg *vmft.Config) {
			transferred(4)(i, cfg)
			cfg.BufferBytes = 2000
		})
		defer g.close()
		g.latency()
		g.settle()
		time.Sleep(5 * time.Second)
		primary, _ := g.settle()
		g.kill(primary)
		g.revive(primary)
		g.settle()
		testutil.Eventually(t, time.Minute, func() bool {
			g.w.mu.Lock()
			defer g.w.mu.Unlock()
			return g.w.last >= 50 || g.w.failure != nil
		}, "that 50 outputs have left")
		g.w.stop()
		if g.w.end(); g.w.failure != nil {
			t.Error(g.w.failure)
		}
	})
}
