//lint:bubble
package vmft_test

import (
	"math/rand/v2"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
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
		vmft.SetDeltaPart(cfg, 200)
	}
}

// What TestFreeFailOver says of replay holds under state transfer, for a processor that is not
// deterministic.
func TestTransferFailOver(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	again, fails := 0, 0
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			w, s := failOvers(t, uint64(seed), transferred(uint64(seed)))
			if w.failure != nil {
				t.Errorf("seed %d: %v", seed, w.failure)
			}
			if s.Checks == 0 || s.Diverged != 0 || s.Instructions == 0 || s.Deltas == 0 || s.Mode != vmft.ModeTransfer {
				t.Errorf("seed %d: %d comparisons, diverged at %d, %d instructions, %d deltas", seed, s.Checks, s.Diverged, s.Instructions, s.Deltas)
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
