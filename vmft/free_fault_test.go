//lint:bubble
package vmft_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// torment kills, stops and cuts off nodes; those that are killed come back.
func (g *toys) torment(rng *rand.Rand) {
	i := rng.IntN(len(g.nodes))
	pause := func(most int) { time.Sleep(time.Duration(50+rng.IntN(most)) * time.Millisecond) }
	switch rng.IntN(4) {
	case 0:
		g.settle() // at least two have everything: one may go
		g.kill(i)
		pause(400)
		g.revive(i)
	case 1:
		g.host(i).Pause()
		pause(1000)
		g.host(i).Resume()
	case 2:
		j := (i + 1) % len(g.nodes)
		g.network.PartitionOneWay([]string{g.name(i)}, []string{g.name(j)})
		pause(1000)
		g.network.Heal()
	case 3:
		g.arbiter.cut(i, true)
		pause(600)
		g.arbiter.cut(i, false)
	}
}

// Nodes that are killed, stopped and cut off take nothing back, and do nothing twice that is
// not the same.
func TestFreeTorment(t *testing.T) {
	seeds := vmft.ManySeeds(1, 8)
	torments(t, seeds, nil)
}

// torments lets nodes be tormented, for each seed.
func torments(t *testing.T, seeds int, tune func(i int, cfg *vmft.Config)) {
	epochs := uint64(0)
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			g := newToys(t, 3, tune)
			defer g.close()
			g.latency()
			rng := rand.New(rand.NewPCG(uint64(seed), 3))
			epoch := func() uint64 { primary, _ := g.settle(); return g.nodes[primary].Status().Newest.Epoch }
			for n := 0; n < 15 || n < 60 && epoch() < 6; n++ {
				g.torment(rng)
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			}
			if epoch() < 6 {
				t.Errorf("seed %d: epoch %d: too little has happened", seed, epoch())
			}
			g.w.stop()
			s := g.compared()
			g.w.end()
			if g.w.failure != nil || s.Diverged != 0 {
				t.Errorf("seed %d: %v, diverged at %d", seed, g.w.failure, s.Diverged)
			}
			epochs += s.Newest.Epoch
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d epochs in %d seeds", epochs, seeds)
}

// With journals a processor survives the loss of power of both nodes, with what was pending.
func TestFreePowerLoss(t *testing.T) {
	seeds := vmft.ManySeeds(1, 10)
	powerLosses(t, seeds, func(int, *vmft.Config) {})
}

// powerLosses takes the power away from both nodes, for each seed.
func powerLosses(t *testing.T, seeds int, tune func(i int, cfg *vmft.Config)) {
	again := 0
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 8))
			g := newToys(t, 0, func(i int, cfg *vmft.Config) {
				cfg.CheckpointBytes = 16 << 10
				tune(i, cfg)
			})
			g.grow(2)
			for i := range g.nodes {
				g.disks[i] = vfs.NewMemory(uint64(2*seed + i + 7))
				g.start(i)
				g.attend(i)
			}
			defer g.close()
			for n := range 6 {
				g.settle()
				time.Sleep(time.Duration(rng.IntN(800_000)) * time.Microsecond)
				if n == 5 {
					g.w.hold()
				}
				for i := range g.nodes {
					g.disks[i] = g.disks[i].Crash()
					g.kill(i)
				}
				for i := range g.nodes {
					g.revive(i)
				}
			}
			g.w.letGo()
			g.settle()
			g.w.stop()
			s := g.compared()
			g.w.end()
			if s.Diverged != 0 || g.w.failure != nil {
				t.Errorf("seed %d: %v, diverged at %d", seed, g.w.failure, s.Diverged)
			}
			if g.w.again == 0 {
				t.Errorf("seed %d: nothing was done again", seed)
			}
			again += g.w.again
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d outputs were done again in %d seeds", again, seeds)
}

// A processor is handed over between two instructions, and switched off on both nodes.
func TestFreeHandOver(t *testing.T) { handOvers(t, nil) }

func handOvers(t *testing.T, tune func(i int, cfg *vmft.Config)) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newToys(t, 2, tune)
		defer g.close()
		for range 10 {
			primary, _ := g.settle()
			time.Sleep(30 * time.Millisecond)
			began := time.Now()
			if err := g.nodes[primary].HandOver(context.Background()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("a hand-over took %v", took)
			}
		}
		g.w.stop()
		primary, backup := g.settle()
		if err := g.nodes[primary].PowerOff(context.Background()); err != nil {
			t.Fatal(err)
		}
		g.kill(primary)
		time.Sleep(time.Minute)
		if s := g.nodes[backup].Status(); s.Role == vmft.RolePrimary {
			t.Error("the backup has gone live after the power was switched off")
		}
		if g.w.end(); g.w.failure != nil {
			t.Error(g.w.failure)
		}
	})
}

// flawedToy is one that is not deterministic, once, when it is told to be.
type flawedToy struct {
	*toy.Toy
	flawed *atomic.Bool
}

func (f *flawedToy) Inject(event []byte) error {
	if f.flawed.CompareAndSwap(true, false) {
		_ = f.Toy.Inject(f.Skip(time.Nanosecond)) // of what nobody has told it
	}
	return f.Toy.Inject(event)
}

// Two processors that come to different states are found: the position is reported, and the
// backup is made anew.
func TestFreeDivergence(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var flawed atomic.Bool
		g := newToys(t, 2, func(i int, cfg *vmft.Config) {
			if i == 1 {
				cfg.Processor = &flawedToy{toy.New(toy.Server()), &flawed}
			}
		})
		defer g.close()
		primary, backup := g.settle()
		from := g.nodes[primary].Status().Instructions
		flawed.Store(true)
		var p, b vmft.Status
		testutil.Eventually(t, time.Minute, func() bool {
			p, b = g.nodes[primary].Status(), g.nodes[backup].Status()
			return p.Diverged != 0 || b.Diverged != 0
		}, "that somebody finds that the states differ")
		if p.Diverged != 0 && p.DivergedInstructions < from {
			t.Errorf("the states differ at %d instructions", p.DivergedInstructions)
		}
		testutil.Eventually(t, time.Minute, func() bool { return g.nodes[primary].Status().Clones >= 2 }, "that the backup is made anew")
		if p, b := g.settle(); p != primary || b != backup {
			t.Errorf("node %d is the primary, node %d the backup; they were %d and %d", p, b, primary, backup)
		}
		g.w.stop()
		if g.w.end(); g.w.failure != nil {
			t.Error(g.w.failure)
		}
	})
}

// hashingToy takes longer to hash its state than there is between two comparisons.
type hashingToy struct{ *toy.Toy }

func (h hashingToy) Hash() [32]byte {
	time.Sleep(300 * time.Millisecond)
	return h.Toy.Hash()
}

// A processor whose hash takes longer than CheckEvery still gets on: the comparisons do not
// pile up, and between two it runs.
func TestFreeSlowHash(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const every = 50 * time.Millisecond
		g := newToys(t, 2, func(_ int, cfg *vmft.Config) {
			cfg.Processor, cfg.CheckEvery = hashingToy{toy.New(toy.Server())}, every
		})
		defer g.close()
		primary, _ := g.settle()
		before, began := g.compared(), time.Now()
		s := before
		for range 10 {
			s = g.compared()
		}
		if s.Diverged != 0 || s.Instructions <= before.Instructions {
			t.Errorf("diverged at %d; %d instructions were executed", s.Diverged, s.Instructions-before.Instructions)
		}
		checks := g.nodes[primary].Status().Checks - before.Checks
		if took := time.Since(began) / time.Duration(checks); took < 300*time.Millisecond+every || took > 500*time.Millisecond {
			t.Errorf("%d comparisons, one in %v", checks, took)
		}
		g.w.stop()
		if g.w.end(); g.w.failure != nil {
			t.Error(g.w.failure)
		}
	})
}

// slowToy takes time for its instructions, as if it had a slow computer.
type slowToy struct {
	*toy.Toy
	mu    sync.Mutex // guards takes
	takes time.Duration
}

func (s *slowToy) Run(until uint64) uint64 {
	from := s.Position()
	at := s.Toy.Run(until)
	s.mu.Lock()
	takes := s.takes
	s.mu.Unlock()
	time.Sleep(time.Duration(at-from) * takes)
	return at
}

func (s *slowToy) set(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes = d
}

// busy computes, and never waits.
var busy = []toy.Instruction{
	{Op: toy.Set, A: 1, N: 1},
	{Op: toy.Mix, A: 2, B: 1},
	{Op: toy.Add, A: 1, B: 1, N: 1},
	{Op: toy.Jump, A: 1, N: 1},
}

// §2.4: a backup that executes more slowly than the primary slows that, whether the bound is
// reached in time or in instructions; and lets it go on when it has caught up.
func TestFreeLagController(t *testing.T) {
	for _, inTime := range []bool{true, false} {
		testutil.Bubble(t, func(t *testing.T) {
			toys := make([]*slowToy, 2)
			g := newGroup(t, 2, func(i int, cfg *vmft.Config) {
				toys[i] = &slowToy{Toy: toy.New(busy), takes: 20 * time.Microsecond}
				cfg.Machine, cfg.Processor = nil, toys[i]
				cfg.CheckEvery = -1
				if !inTime {
					cfg.MaxLag, cfg.MaxLagInstructions = time.Hour, 50_000
				}
			})
			defer g.close()
			primary, backup := g.settle()
			toys[backup].set(60 * time.Microsecond)
			least, most, behind := 1.0, time.Duration(0), uint64(0)
			for range 600 { // a minute
				time.Sleep(100 * time.Millisecond)
				s := g.nodes[primary].Status()
				least, most, behind = min(least, s.Share), max(most, s.Lag), max(behind, s.LagInstructions)
			}
			s := g.nodes[primary].Status()
			if least > 0.6 || most > 8*time.Second || behind > 350_000 || s.Role != vmft.RolePrimary {
				t.Errorf("in time %v: the share went down to %.2f, the lag up to %v and %d instructions", inTime, least, most, behind)
			}
			toys[backup].set(10 * time.Microsecond)
			time.Sleep(20 * time.Second)
			if s := g.nodes[primary].Status(); s.Share < 1 || s.Lag > 200*time.Millisecond || s.LagInstructions > 10_000 {
				t.Errorf("in time %v: the backup is fast again: the share is %.2f, the lag %v and %d instructions", inTime, s.Share, s.Lag, s.LagInstructions)
			}
		})
	}
}

// What a node with a processor refuses, and what one without does.
func TestPortRefuses(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		ctx := context.Background()
		network, err := transport.NewNetwork(transport.NetworkConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer network.Close()
		cfg := vmft.Config{Transport: network.Host("a"), Addr: ":1", Arbiter: vmft.MemoryArbiter(), Processor: toy.New(toy.Server()), Machine: newCounter()}
		if _, err := vmft.Start(ctx, cfg); !errors.Is(err, vmft.ErrConfig) {
			t.Errorf("a machine and a processor: %v", err)
		}
		cfg.Machine = nil
		n, err := vmft.Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		port, err := n.Port(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.Propose(ctx, []byte("x")); !errors.Is(err, vmft.ErrNoCommand) || !errors.Is(err, vmft.ErrNotLogged) {
			t.Errorf("a command: %v", err)
		}
		if err := port.Input(ctx, []byte{99}); !errors.Is(err, vmft.ErrRefused) {
			t.Errorf("an event that makes no sense: %v", err)
		}
		if err := port.Input(ctx, make([]byte, vmft.DefaultMaxCommand+1)); !errors.Is(err, vmft.ErrTooLarge) {
			t.Errorf("an event that is too large: %v", err)
		}
		at := uint64(0)
		if err := port.Inspect(ctx, func(p vmft.Processor) { at = p.Position() }); err != nil || at == 0 {
			t.Errorf("inspected at %d, %v", at, err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := port.Complete(nil, 1); !errors.Is(err, vmft.ErrNotLogged) {
			t.Errorf("a completion after the end: %v", err)
		}
		for err = nil; err == nil; { // what was released before
			_, err = port.Next(ctx)
		}
		if !errors.Is(err, vmft.ErrClosed) {
			t.Errorf("the next output after the end: %v", err)
		}
	})
}
