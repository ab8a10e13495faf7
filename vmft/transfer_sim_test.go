package vmft

import (
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// This file simulates groups as TestFreeSimulation does, under state transfer, and with a
// program that draws numbers: what is computed in one run is not in another.

// drawingProgram is freeProgram, whose computer mixes in what it draws, and not the time.
var drawingProgram = func() []toy.Instruction {
	p := slices.Clone(freeProgram)
	p[12] = toy.Instruction{Op: toy.Draw, A: 5}
	return p
}()

// A simTransfer is what the shell does under state transfer, as simply as it can be said. A
// delta is sent in small parts.
type simTransfer struct {
	cadence cadence
	last    uint64 // position of the last delta
	changed bool
	outputs []Output
	acks    []*simMessage
}

const simDeltaPart = 1500

// entriesATime is one more than a backup applies at a time.
func (s *freeNode) entriesATime() uint64 {
	if s.transfer != nil {
		return 30
	}
	return 4
}

// runner returns one for a new process.
func (*simTransfer) runner(n *sim.Node[*simMessage]) *runner {
	p := toy.New(drawingProgram)
	p.Draws(func() uint64 { return n.Uint64N(1 << 60) })
	r := newRunner(p)
	r.transfers()
	return r
}

// tell tells the processor what is no entry.
func (s *freeNode) tell(kind byte, data []byte) []byte {
	t, r := s.transfer, s.host.free
	r.drain()
	var refused []byte
	if kind != kindProgress {
		refused = r.tell(kind, data, nil)
	}
	t.changed = true
	for _, o := range r.take() {
		t.cadence.wants(true)
		t.outputs = append(t.outputs, o)
	}
	return refused
}

// takeInput gives the processor an event; the sender is told when a delta that has it is safe.
func (s *freeNode) takeInput(from int, m *simMessage) {
	if len(s.tell(kindInput, m.free.event)) > 0 {
		return
	}
	ack := &simMessage{kind: simTaken, id: m.id}
	if s.bugs.ackInputEarly {
		s.n.Send(from, ack)
		return
	}
	s.transfer.acks = append(s.transfer.acks, ack)
	s.transfer.cadence.wants(true)
}

// send sends what has changed if it is time to, and the last is safe.
func (s *freeNode) send() {
	if t := s.transfer; t != nil && t.changed && s.p.release() >= t.last && t.cadence.due(s.n.Now().Sub(s.live)) == 0 {
		s.stamp()
	}
}

// stamp makes the log say what the processor is.
func (s *freeNode) stamp() {
	t := s.transfer
	if t == nil || !t.changed {
		return
	}
	d, err := s.host.free.delta()
	if err != nil {
		s.n.Failf("%v", err)
		return
	}
	b, err := d.append(nil)
	if err != nil {
		s.n.Failf("%v", err)
		return
	}
	deltaEntries(b, simDeltaPart, func(data []byte) { s.log(entry{kind: kindDelta, data: slices.Clone(data)}) })
	s.n.Count("deltas", 1)
	t.changed, t.last = false, s.host.position
	t.cadence.took(s.n.Now().Sub(s.live), time.Millisecond)
	for _, o := range append(t.outputs, s.host.free.take()...) {
		if !s.held.push(t.last, o) {
			s.n.Failf("output %d was released before it was there", o.Number)
		}
	}
	for _, m := range t.acks {
		if !s.acks.push(t.last, m) {
			s.n.Failf("input %d was acknowledged before it was there", m.id)
		}
	}
	t.outputs, t.acks = nil, nil
}

// stamped makes the log say what the processor is, and reports whether it does.
func (s *freeNode) stamped() bool {
	s.stamp()
	return true
}

// Whatever happens: what has left a processor, and what was acknowledged to it, stays, though
// nobody could compute it again; the states are the same on both sides; what was pending is
// done again, in order.
func TestTransferSimulation(t *testing.T) {
	seeds := ManySeeds(20, 150)
	stats := sim.Run(t, seeds, simConfig, func(w *sim.World[*simMessage]) { buildFreeGroup(w, bugs{}, true) })
	t.Logf("%+v", stats)
	for what, least := range map[string]uint64{ // in a hundred seeds
		"fail-overs": 20, "fenced claims": 30, "clones": 100, "done again": 40, "compared": 100, "deltas": 3000, "torn": 3} {
		if stats.Tally[what] < least*stats.Seeds/100 {
			t.Errorf("%s: only %d in %d seeds", what, stats.Tally[what], stats.Seeds)
		}
	}
	if stats.Tally["orphaned"] > stats.Seeds*2/3 {
		t.Errorf("%d of %d groups were lost whole", stats.Tally["orphaned"], stats.Seeds)
	}
}

// The simulation finds what it is there to find.
func TestTransferSimulationFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("repeats on one goroutine")
	}
	for name, planted := range map[string]bugs{
		"an input is acknowledged early":           {ackInputEarly: true},
		"outputs do not wait for the backup":       {releaseEarly: true},
		"half a delta counts":                      {halfDelta: true},
		"what is pending is forgotten at go-live":  {forgetPending: true},
		"what is pending is done in another order": {reissueAnyhow: true},
	} {
		t.Run(name, func(t *testing.T) {
			failure, _ := sim.Search(2000, simConfig, func(w *sim.World[*simMessage]) { buildFreeGroup(w, planted, true) })
			if failure == nil {
				t.Error("not found")
			} else {
				t.Log(failure)
			}
		})
	}
}

// Whatever comes as a part of a delta makes no more than a fault of it. A delta in which
// something else is wrong than what its checksum is there for is one, too.
func FuzzDelta(f *testing.F) {
	source := newRunner(toy.New(freeProgram))
	source.transfers()
	source.become(true)
	delta := func() []byte {
		source.p.Run(source.p.Position() + 500)
		d, err := source.delta()
		if err != nil {
			f.Fatal(err)
		}
		b, err := d.append(nil)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	first, second := delta(), delta()
	deltaEntries(second, 64, func(data []byte) { f.Add(data, slices.Clone(second)) })
	f.Add([]byte{partFirst | partLast, 0, 0, 0, 0}, first)
	f.Add([]byte{partLast, 1}, []byte{})
	for _, b := range testutil.Strangers() {
		f.Add(b, b)
		f.Add(append([]byte{partFirst | partLast}, b...), first)
	}
	f.Fuzz(func(t *testing.T, part, whole []byte) {
		r := newRunner(toy.New(freeProgram))
		r.transfers()
		take := func(data []byte) {
			r.apply(entry{kind: kindDelta, data: data}, nil)
			if r.fault == nil && r.check() != nil {
				t.Fatal("a delta is applied, and makes no sense")
			}
		}
		deltaEntries(first, 64, take)
		if r.fault != nil {
			t.Fatal(r.fault)
		}
		deltaEntries(whole, 1<<10, take)
		take(part)
	})
}
