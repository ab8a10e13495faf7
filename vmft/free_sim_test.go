package vmft

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// These files simulate groups that run a processor: a program with three threads, which are
// preempted, sleep, ask questions and echo words; a world that sends the words and answers;
// nodes that crash, pause and are cut off. The same faults as in TestSimulation, but nodes
// have no journals: what is tested here is what is new with processors.

// freeProgram echoes words in one thread, and computes in another: each round's result
// depends on the time, and on what was answered before. A third sleeps and looks at the time.
var freeProgram = []toy.Instruction{
	{Op: toy.Spawn, N: 6},
	{Op: toy.Spawn, N: 17},
	{Op: toy.Input, A: 1}, // 2
	{Op: toy.Mix, A: 2, B: 1},
	{Op: toy.Output, A: 1},
	{Op: toy.Jump, A: 1, N: 2},
	{Op: toy.Set, A: 2, N: 40}, // 6
	{Op: toy.Mix, A: 1, B: 2},
	{Op: toy.Add, A: 3, B: 1},
	{Op: toy.Store, A: 1, B: 3},
	{Op: toy.Add, A: 2, B: 7, N: -1},
	{Op: toy.Jump, A: 2, N: 7},
	{Op: toy.Time, A: 5},
	{Op: toy.Mix, A: 1, B: 5},
	{Op: toy.Ask, A: 1},
	{Op: toy.Set, A: 4, N: 1},
	{Op: toy.Jump, A: 4, N: 6},
	{Op: toy.Sleep, N: 40e6}, // 17
	{Op: toy.Time, A: 1},
	{Op: toy.Add, A: 1, B: 7, N: toy.Times},
	{Op: toy.Output, A: 1},
	{Op: toy.Jump, A: 1, N: 17},
}

// freeModel is what must hold, as seen from outside.
type freeModel struct {
	*simModel
	sums     map[string]uint64 // entry that compares → hash of the state there
	outputs  [][]byte          // that have left, by number
	logged   map[uint64]int    // how often a word has come into a log: the network repeats some
	echoed   map[uint64]int    // how often it has left
	issuer   *freeNode         // who has issued the last one
	last     uint64            // its number
	answered int
}

// compare takes note of the hash of a state that others have too.
func (m *freeModel) compare(entry string, sum uint64) {
	if known, ok := m.sums[entry]; ok && known != sum {
		m.failf("two processors with one log have different states")
	} else if ok {
		m.w.Count("compared", 1)
	}
	m.sums[entry] = sum
}

// takeOver says that a node has gone live.
func (m *freeModel) takeOver(s *freeNode) { m.issuer, m.last = s, 0 }

// issue takes note of an output that leaves a node: no number is new before all those before
// it have left, the same number is always the same output, and each primary issues in order.
func (m *freeModel) issue(s *freeNode, o Output) {
	data := fmt.Appendf(nil, "%d %x", o.Position, o.Data)
	switch n := uint64(len(m.outputs)); {
	case m.issuer == s && o.Number <= m.last:
		m.failf("output %d leaves after %d", o.Number, m.last)
	case o.Number > n+1:
		m.failf("output %d leaves before %d", o.Number, n+1)
	case o.Number == n+1:
		m.outputs = append(m.outputs, data)
		word, question, _, err := toy.ParseOutput(o.Data)
		switch {
		case err != nil:
			m.failf("%v", err)
		case question != 0 || word >= toy.Times:
		case m.echoed[word] == m.logged[word]:
			m.failf("the word %d is echoed more often than it came in", word)
		default:
			m.echoed[word]++
		}
	case !bytes.Equal(m.outputs[o.Number-1], data):
		m.failf("output %d was %s, and is now %s", o.Number, m.outputs[o.Number-1], data)
	}
	m.issuer, m.last = s, o.Number
}

// freeWorld sends words, one after the other, and answers questions. What it is not told of
// was taken or not: it sends no word twice.
type freeWorld struct {
	n     *sim.Node[*simMessage]
	model *freeModel
	nodes int
	at    int    // the node that is asked
	word  uint64 // that is on its way
	taken []uint64
}

const freeWords = 30 // to be taken

func (w *freeWorld) Timer(key uint64) {
	if key == w.word && len(w.taken) < freeWords {
		w.send()
	}
}

func (w *freeWorld) send() {
	w.at = int(w.n.Uint64N(uint64(w.nodes)))
	w.word++
	w.n.Send(w.at, &simMessage{kind: simInput, id: w.word, free: freePart{event: toy.InputEvent(w.word)}})
	w.n.After(60e6, w.word)
}

func (w *freeWorld) Receive(from int, m *simMessage) {
	switch m.kind {
	case simTaken:
		if m.id == w.word && len(w.taken) < freeWords {
			w.taken = append(w.taken, w.word)
			if len(w.taken) == freeWords {
				w.model.done++
			}
			w.n.After(time.Duration(1+w.n.Uint64N(30))*time.Millisecond, w.word)
		}
	case simElsewhere:
		if m.id == w.word {
			w.n.After(5e6, w.word)
		}
	case simOutput:
		answer := &simMessage{kind: simDone, position: m.free.output.Number}
		word, question, _, err := toy.ParseOutput(m.free.output.Data)
		if err == nil && question != 0 {
			answer.free.event = toy.AnswerEvent(question, word^0xff)
			w.model.answered++
		}
		w.n.Send(from, answer)
	}
}

// A freeGroup is a world of cores.
type freeGroup struct {
	w     *sim.World[*simMessage]
	model *freeModel
	world *freeWorld
	nodes []*freeNode
	floor int // of answers, when all words have been echoed
}

func buildFreeGroup(w *sim.World[*simMessage], planted bugs, transfer bool) *freeGroup {
	k := &freeGroup{w: w, model: &freeModel{
		simModel: &simModel{w: w, told: make(map[uint64]uint64), leaders: make(map[uint64]ID)},
		sums:     make(map[string]uint64), logged: make(map[uint64]int), echoed: make(map[uint64]int),
	}}
	count := 2 + w.Rand().IntN(2)
	k.nodes = make([]*freeNode, count)
	for i := range count {
		var peers []int
		for j := range count {
			if j != i {
				peers = append(peers, j)
			}
		}
		w.Add(simName(i), func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
			k.nodes[i] = bootFreeNode(n, k.model, count, count+1, peers, planted, transfer)
			return k.nodes[i]
		})
	}
	w.Add("arbiter", func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
		return &simArbiter{n: n, model: k.model.simModel}
	})
	w.AddImmortal("world", func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
		k.world = &freeWorld{n: n, model: k.model, nodes: count}
		n.After(10*time.Millisecond, 0)
		return k.world
	})
	w.Invariant(func() error { return k.model.failure })
	w.Done(func() bool { return k.orphaned() || w.Calm() && k.model.done > 0 && k.settled() == nil })
	w.AtEnd(k.end)
	return k
}

// orphaned reports whether no process is left that may go on: the state is lost.
func (k *freeGroup) orphaned() bool {
	n := len(k.model.chain)
	if n == 0 {
		return false
	}
	for i, s := range k.nodes {
		if k.w.Node(i).Up() && (k.model.chain[n-1].entitles(s.self) || s.p != nil) {
			return false
		}
	}
	return true
}

// settled says what is missing until all is well: a primary with a backup that has
// everything, all words echoed, and a program that still gets its answers.
func (k *freeGroup) settled() error {
	for _, word := range k.world.taken {
		if k.model.echoed[word] == 0 {
			return fmt.Errorf("the word %d was taken, and is not echoed", word)
		}
	}
	if k.floor == 0 {
		k.floor = k.model.answered + 5
	}
	if k.model.answered < k.floor {
		return errors.New("the program gets no answers")
	}
	newest := k.model.chain[len(k.model.chain)-1]
	for _, s := range k.nodes {
		for _, o := range k.nodes {
			if s.p != nil && s.p.record == newest && o.b != nil && o.self == newest.Backup && o.host.position+s.entriesATime()+1 > s.host.position {
				return nil
			}
		}
	}
	return errors.New("no primary with a backup at its side")
}

func (k *freeGroup) end() error {
	if k.orphaned() {
		k.w.Count("orphaned", 1)
		return nil
	}
	return k.settled()
}

// Whatever happens: what has left a processor, and what was acknowledged to it, stays; the
// states are the same on both sides; what was pending is done again, in order.
func TestFreeSimulation(t *testing.T) {
	seeds := ManySeeds(100, 500)
	stats := sim.Run(t, seeds, simConfig, func(w *sim.World[*simMessage]) { buildFreeGroup(w, bugs{}, false) })
	t.Logf("%+v", stats)
	for what, least := range map[string]uint64{ // in a hundred seeds
		"fail-overs": 35, "fenced claims": 30, "clones": 100, "done again": 50, "compared": 100, "preempted": 500} {
		if stats.Tally[what] < least*stats.Seeds/100 {
			t.Errorf("%s: only %d in %d seeds", what, stats.Tally[what], stats.Seeds)
		}
	}
	if stats.Tally["orphaned"] > stats.Seeds*2/3 {
		t.Errorf("%d of %d groups were lost whole", stats.Tally["orphaned"], stats.Seeds)
	}
}

// The simulation finds what it is there to find.
func TestFreeSimulationFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("repeats on one goroutine")
	}
	for name, planted := range map[string]bugs{
		"an input is acknowledged early":           {ackInputEarly: true},
		"outputs do not wait for the backup":       {releaseEarly: true},
		"a backup runs past the last entry":        {runPast: true},
		"what is pending is forgotten at go-live":  {forgetPending: true},
		"what is pending is done in another order": {reissueAnyhow: true},
	} {
		t.Run(name, func(t *testing.T) {
			failure, _ := sim.Search(2000, simConfig, func(w *sim.World[*simMessage]) { buildFreeGroup(w, planted, false) })
			if failure == nil {
				t.Error("not found")
			} else {
				t.Log(failure)
			}
		})
	}
}
