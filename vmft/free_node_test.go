//lint:bubble
package vmft_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// world is what toys are connected to, whichever node they run on: it asks for sums, answers
// questions, and sees all that leaves. What it was told once stays true.
type world struct {
	mu      sync.Mutex // guards what follows
	failure error
	acked   uint64            // the sum of all inputs that were acknowledged
	sent    uint64            // and of those that may have been taken too
	numbers map[uint64]string // outputs by number
	flying  int               // inputs of which it is not known yet
	last    uint64            // the number of the newest output that was seen
	sum     uint64            // the newest that was seen
	again   int               // outputs that were done again
	goLives int
	ended   bool // nothing is sent any more
	holding bool // nothing that has left is done
	held    bool // and something is not
}

// attend connects a node with the world, whenever it is the primary, until it has ended.
func (w *world) attend(n *vmft.Node, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 9))
	for {
		port, err := n.Port(context.Background())
		if err != nil {
			return
		}
		w.mu.Lock()
		w.goLives++
		w.mu.Unlock()
		var inputs sync.WaitGroup
		inputs.Go(func() { w.input(port, rng) })
		w.outputs(port)
		inputs.Wait()
	}
}

// input adds words up, one after the other.
func (w *world) input(port *vmft.Port, rng *rand.Rand) {
	for port.Term().Err() == nil {
		word := 1 + rng.Uint64N(100)
		w.mu.Lock()
		if w.ended {
			w.mu.Unlock()
			return
		}
		w.sent += word
		w.flying++
		w.mu.Unlock()
		err := port.Input(port.Term(), toy.InputEvent(word))
		w.mu.Lock()
		w.flying--
		switch {
		case err == nil:
			w.acked += word
		case errors.Is(err, vmft.ErrNotLogged), errors.Is(err, vmft.ErrRefused):
			w.sent -= word
		}
		w.mu.Unlock()
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
	}
}

// outputs takes what leaves, in order.
func (w *world) outputs(port *vmft.Port) {
	before := uint64(0)
	for {
		o, err := port.Next(context.Background())
		if err != nil {
			return
		}
		if o.Number <= before {
			w.fail("output %d comes after %d", o.Number, before)
		}
		before = o.Number
		var event []byte
		word, question, _, err := toy.ParseOutput(o.Data)
		if err != nil {
			w.fail("%v", err)
		}
		if question != 0 {
			event = toy.AnswerEvent(question, word*3)
			time.Sleep(2 * time.Millisecond) // a processor that never waits would let no time pass here
		}
		w.see(o, word, question)
		for w.holds() && port.Term().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := port.Complete(event, o.Number); err != nil {
			return
		}
	}
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failf(format, args...)
}

// failf takes note of what should not be. w.mu is held.
func (w *world) failf(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf(format, args...)
	}
}

// stop has nothing sent any more, and waits until the sum of all that was acknowledged has left,
// or for as long as that should never take: end tells.
func (w *world) stop() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	for range 1000 {
		w.mu.Lock()
		rests := w.flying == 0 && w.sum >= w.acked || w.failure != nil
		w.mu.Unlock()
		if rests {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// hold has what leaves not be done until letGo is called, and waits for something that is not.
func (w *world) hold() {
	w.mu.Lock()
	w.holding, w.held = true, false
	w.mu.Unlock()
	for range 4000 {
		w.mu.Lock()
		held := w.held
		w.mu.Unlock()
		if held {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.fail("nothing leaves")
}

func (w *world) letGo() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = false
}

func (w *world) holds() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = w.holding
	return w.holding
}

func (w *world) see(o vmft.Output, word, question uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf("at %d: %x", o.Position, o.Data)
	if o.Again {
		w.again++
	}
	if known, ok := w.numbers[o.Number]; ok {
		if known != text {
			w.failf("output %d was %s, and is %s after a fail-over", o.Number, known, text)
		}
		return
	}
	if o.Number != w.last+1 {
		w.failf("output %d follows %d", o.Number, w.last)
	}
	w.last = max(w.last, o.Number)
	if question == 0 && word < toy.Times {
		w.sum = word
	}
	w.numbers[o.Number] = text
}

// toys is a group of nodes that run the toy server.
type toys struct {
	*group
	w         *world
	starts    uint64
	attending sync.WaitGroup
}

func newToys(t *testing.T, size int, tune func(i int, cfg *vmft.Config)) *toys {
	g := &toys{w: &world{numbers: make(map[uint64]string)}}
	g.group = newGroup(t, size, func(i int, cfg *vmft.Config) {
		cfg.Machine, cfg.Processor = nil, toy.New(toy.Server())
		cfg.CheckEvery = 500 * time.Millisecond
		if tune != nil {
			tune(i, cfg)
		}
	})
	for i := range size {
		g.attend(i)
	}
	return g
}

func (g *toys) attend(i int) {
	g.starts++
	n, seed := g.nodes[i], g.starts
	g.attending.Go(func() { g.w.attend(n, seed) })
}

func (g *toys) close() {
	g.group.close()
	g.attending.Wait()
}

func (g *toys) revive(i int) {
	g.restart(i)
	g.attend(i)
}

// A processor's primary is killed at many random instructions: all that has left and all
// that was acknowledged stays, what was under way is done again, in order, and the state is
// the same on both nodes all the time.
func TestFreeFailOver(t *testing.T) {
	seeds := vmft.ManySeeds(2, 13)
	again, fails := 0, 0
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			w, s := failOvers(t, uint64(seed), nil)
			if w.failure != nil {
				t.Errorf("seed %d: %v", seed, w.failure)
			}
			if s.Diverged != 0 || s.Instructions == 0 {
				t.Errorf("seed %d: diverged at %d, %d instructions", seed, s.Diverged, s.Instructions)
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

// failOvers kills the primary 20 times, and returns what the world has seen, and the status
// of who is the primary in the end.
func failOvers(t *testing.T, seed uint64, tune func(i int, cfg *vmft.Config)) (*world, vmft.Status) {
	g := newToys(t, 3, tune)
	defer g.close()
	g.latency()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 20 {
		primary, _ := g.settle()
		time.Sleep(time.Duration(rng.IntN(100_000)) * time.Microsecond)
		g.kill(primary)
		g.revive(primary)
	}
	g.settle()
	g.w.stop()
	var s vmft.Status
	if g.w.failed() == nil {
		s = g.compared()
	}
	g.w.end()
	return g.w, s
}

// The tests find what they are there to find. (Outputs that leave early are found by the
// simulation alone: here such a primary may never be able to take in a backup.)
func TestFreeFailOverFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	failOversFind(t, nil, map[string]func(*vmft.Config){
		"inputs are acknowledged early":            vmft.PlantAckInputEarly,
		"what is pending is forgotten at go-live":  vmft.PlantForgetPending,
		"what is pending is done in another order": vmft.PlantReissueAnyhow,
	})
}

// failOversFind plants bugs, and expects each to be found.
func failOversFind(t *testing.T, tune func(seed uint64) func(i int, cfg *vmft.Config), bugs map[string]func(*vmft.Config)) {
	for name, plant := range bugs {
		t.Run(name, func(t *testing.T) {
			var found error
			for seed := uint64(0); seed < 8 && found == nil; seed++ {
				testutil.Bubble(t, func(t *testing.T) {
					w, s := failOvers(t, seed, func(i int, cfg *vmft.Config) {
						if tune != nil {
							tune(seed)(i, cfg)
						}
						plant(cfg)
					})
					if found = w.failure; found == nil && s.Diverged != 0 {
						found = fmt.Errorf("diverged at %d", s.Diverged)
					}
				})
			}
			if found == nil {
				t.Error("nobody has noticed")
			}
			t.Log(found)
		})
	}
}

// A backup that cannot follow the log is found by itself, and is made anew; it is never the
// primary.
func TestFreeRunsPast(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newToys(t, 2, func(_ int, cfg *vmft.Config) { vmft.PlantRunPast(cfg) })
		defer g.close()
		primary := -1
		testutil.Eventually(t, time.Minute, func() bool {
			primary = slices.IndexFunc(g.nodes, func(n *vmft.Node) bool { return n.Status().Role == vmft.RolePrimary })
			return primary >= 0
		}, "there is a primary")
		var p, b vmft.Status
		testutil.Eventually(t, time.Minute, func() bool {
			p, b = g.nodes[primary].Status(), g.nodes[1-primary].Status()
			return b.Diverged != 0 && p.Clones >= 2 || p.Role != vmft.RolePrimary
		}, "the backup that runs past the log is found, and made anew")
		if p.Role != vmft.RolePrimary || b.Role == vmft.RolePrimary {
			t.Errorf("the primary is %s, the backup that runs past the log is %s", p.Role, b.Role)
		}
		g.w.stop()
		g.w.end()
		if g.w.failure != nil {
			t.Error(g.w.failure)
		}
	})
}

// end checks the sums: the last is of all that was acknowledged, and of nothing else.
func (w *world) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum, answers := uint64(0), 0
	for n := uint64(1); n <= w.last; n++ {
		text, ok := w.numbers[n]
		if !ok {
			w.failf("output %d has never been seen", n)
			continue
		}
		_, hex, _ := strings.Cut(text, ": ")
		var data []byte
		if _, err := fmt.Sscanf(hex, "%x", &data); err != nil {
			w.failf("%v", err)
		}
		word, question, _, err := toy.ParseOutput(data)
		switch {
		case err != nil:
			w.failf("%v", err)
		case question != 0:
			answers++
			if question != uint64(answers) {
				w.failf("question %d follows %d", question, answers-1)
			}
		case word < toy.Times:
			if word < sum {
				w.failf("the sum goes from %d to %d", sum, word)
			}
			sum = word
		}
	}
	if sum > w.sent || sum < w.acked || answers == 0 || w.goLives == 0 {
		w.failf("the sum is %d, %d was acknowledged and %d sent; %d answers, %d times live", sum, w.acked, w.sent, answers, w.goLives)
	}
}
