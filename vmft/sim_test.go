package vmft

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

var simConfig = sim.Config{
	Faults: sim.Faults{
		Loss: 0.1, Duplicate: 0.1, Straggle: 0.05, CrashEvery: 400 * time.Millisecond, Down: 150 * time.Millisecond,
		PartitionEvery: 400 * time.Millisecond, Partition: 300 * time.Millisecond, PauseEvery: 400 * time.Millisecond, Pause: 200 * time.Millisecond,
		Skew: 5 * time.Minute, Drift: 0.01, Sync: 30 * time.Millisecond,
	},
	Chaos: 2 * time.Second,
	Calm:  40 * time.Second,
}

// A simGroup is a world of cores.
type simGroup struct {
	w     *sim.World[*simMessage]
	model *simModel
	nodes []*simNode
	disks []*simDisk
}

func buildSimGroup(w *sim.World[*simMessage], planted bugs) *simGroup {
	k := &simGroup{w: w, model: &simModel{w: w, told: make(map[uint64]uint64), leaders: make(map[uint64]ID)}}
	count := 2 + w.Rand().IntN(2)
	journals := w.Rand().IntN(4) // 0: nobody has one, 1: the first does, else: all
	k.nodes = make([]*simNode, count)
	for i := range count {
		var peers []int
		for j := range count {
			if j != i {
				peers = append(peers, j)
			}
		}
		disk := &simDisk{}
		k.disks = append(k.disks, disk)
		w.Add(simName(i), func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
			k.nodes[i] = bootSimNode(n, disk, k.model, count, peers, journals > 1 || journals == 1 && i == 0, planted)
			return k.nodes[i]
		})
	}
	w.Add("arbiter", func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
		return &simArbiter{n: n, model: k.model}
	})
	w.AddImmortal("power", func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
		n.After(time.Duration(n.Uint64N(uint64(2*simConfig.Chaos))), 0)
		return &simPower{w: w, nodes: count, all: journals > 1}
	})
	for i := range simClients {
		w.AddImmortal(fmt.Sprintf("client%d", i), func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
			n.After(time.Duration(1+i)*10*time.Millisecond, 0)
			return &simClient{n: n, model: k.model, index: i, nodes: count, calls: simCalls}
		})
	}
	w.Invariant(func() error { return k.model.failure })
	w.Done(func() bool { return k.orphaned() || w.Calm() && k.model.done == simClients && k.settled() == nil })
	w.AtEnd(k.end)
	return k
}

// simPower fails once, in half of the worlds, for all nodes at the same moment.
type simPower struct {
	w     *sim.World[*simMessage]
	nodes int
	all   bool // all have journals, and will be back
}

func (p *simPower) Receive(int, *simMessage) {}

func (p *simPower) Timer(uint64) {
	if !p.all || p.w.Calm() {
		return
	}
	p.w.Count("power lost", 1)
	for i := range p.nodes {
		p.w.Crash(i)
		p.w.Restart(i)
	}
}

// orphaned reports whether no process is left, and no journal, that may go on: the state is
// lost, and the chain says so.
func (k *simGroup) orphaned() bool {
	n := len(k.model.chain)
	if n == 0 {
		return false
	}
	newest := k.model.chain[n-1]
	for i, s := range k.nodes {
		if k.w.Node(i).Up() && newest.entitles(s.self) {
			return false
		}
		if log := k.disks[i].current; log != 0 && newest.entitles(Member{Incarnation: ^ID(0), Log: log}) {
			return false
		}
		if k.w.Node(i).Up() && s.p != nil {
			return false // its claim may be on its way
		}
	}
	return true
}

// settled says what is missing until all is well: one primary, with a backup that has
// everything.
func (k *simGroup) settled() error {
	newest := k.model.chain[len(k.model.chain)-1]
	for _, s := range k.nodes {
		if s.p == nil || s.p.record != newest || newest.Backup.IsZero() {
			continue
		}
		for _, o := range k.nodes {
			if o.b != nil && o.self == newest.Backup && o.machine == s.machine && s.p.released == s.p.appended {
				return nil
			}
		}
	}
	return errors.New("no primary with a backup at its side")
}

// end checks the state of whoever is left.
func (k *simGroup) end() error {
	if k.orphaned() {
		k.w.Count("orphaned", 1)
		return nil
	}
	for _, s := range k.nodes {
		if s.p != nil && s.p.record == k.model.chain[len(k.model.chain)-1] {
			for i, c := range s.machine.sessions {
				if c.result.count != simCalls {
					return fmt.Errorf("client %d made %d calls, %d were executed", i, simCalls, c.result.count)
				}
			}
		}
	}
	return k.settled()
}

// Whatever happens: no output leaves under two primaries of an epoch, nothing that a
// client was told is taken back, every call is executed once.
func TestSimulation(t *testing.T) {
	seeds := 20_000
	if testing.Short() {
		seeds = 400
	}
	stats := sim.Run(t, seeds, simConfig, func(w *sim.World[*simMessage]) { buildSimGroup(w, bugs{}) })
	t.Logf("%+v", stats)
	for what, least := range map[string]uint64{ // in a hundred seeds
		"fail-overs": 70, "fenced claims": 80, "alone": 30, "paired": 150, "fenced": 30, "clones": 150, "handed over": 15, "power lost": 20} {
		if stats.Tally[what] < least*stats.Seeds/100 {
			t.Errorf("%s: only %d in %d seeds", what, stats.Tally[what], stats.Seeds)
		}
	}
	if stats.Tally["orphaned"] > stats.Seeds/2 {
		t.Errorf("%d of %d groups were lost whole", stats.Tally["orphaned"], stats.Seeds)
	}
}

// The simulation finds what it is there to find.
func TestSimulationFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("repeats on one goroutine")
	}
	for name, planted := range map[string]bugs{
		"a backup acknowledges while it claims":       {ackAfterClaim: true},
		"outputs do not wait for the backup":          {releaseEarly: true},
		"a read is answered without a confirmation":   {confirmAlone: true},
		"who is not a member contests":                {contestAnyway: true},
		"a restarted process is trusted":              {trustRestart: true},
		"a clone's image lands in the old log":        {mixedClone: true},
		"a new primary's clock sets the machine's":    {ownClock: true},
		"a newcomer is named before outputs wait":     {claimBeforeGate: true},
		"a claim with an unknown result is forgotten": {keepAfterUnknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			failure, _ := sim.Search(5000, simConfig, func(w *sim.World[*simMessage]) { buildSimGroup(w, planted) })
			if failure == nil {
				t.Error("not found")
			} else {
				t.Log(failure)
			}
		})
	}
}
