package vmft

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// at makes an entry of where a runner stands.
func at(r *runner, kind byte, data []byte) entry {
	return entry{kind: kind, data: append(r.appendCount(nil), data...)}
}

// §2.1: an entry has an exact instruction count. Whoever applies it runs to there and never
// past it, and comes to the same state, wherever it was frozen and restored on the way.
func TestFreeEntries(t *testing.T) {
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 4))
		p, b := newRunner(toy.New(freeProgram)), newRunner(toy.New(freeProgram))
		p.become(true)
		h := &host{machine: b, sessions: b, free: b}
		for word := range uint64(300) {
			if rng.IntN(2) == 0 {
				p.p.Run(p.p.Position() + 1 + rng.Uint64N(500))
			}
			e := at(p, kindProgress, nil)
			switch wake, idle := p.p.Idle(); {
			case idle && wake > 0:
				e = at(p, kindTimer, p.p.Skip(wake))
			case idle || rng.IntN(4) == 0:
				e = at(p, kindInput, toy.InputEvent(word))
			case rng.IntN(4) == 0:
				e = at(p, kindPreempt, []byte{4})
			}
			if out := p.apply(e, nil); len(out) > 0 {
				t.Fatalf("seed %d: refused: %s", seed, out)
			}
			h.apply(e, nil)
			for _, o := range p.take() {
				if o.Position > p.told {
					t.Fatalf("seed %d: an output at %d, the log is at %d", seed, o.Position, p.told)
				}
				if rng.IntN(2) == 0 {
					_, question, _, _ := toy.ParseOutput(o.Data)
					var event []byte
					if question != 0 {
						event = toy.AnswerEvent(question, 9)
					}
					done := at(p, kindCompletion, appendCompletion(nil, event, []uint64{o.Number}))
					p.apply(done, nil)
					h.apply(done, nil)
				}
			}
			if rng.IntN(20) == 0 {
				b = restored(t, b)
				h.machine, h.sessions, h.free = b, b, b
			}
			if err := errors.Join(p.check(), b.check()); err != nil || p.sum() != b.sum() || b.told != p.told {
				t.Fatalf("seed %d: %v; %d and %d", seed, err, p.told, b.told)
			}
		}
		if !slices.EqualFunc(p.pending(), b.pending(), func(a, b Output) bool { return a.Number == b.Number && bytes.Equal(a.Data, b.Data) }) || len(p.pending()) == 0 {
			t.Errorf("seed %d: %d are pending on the one, %d on the other", seed, len(p.pending()), len(b.pending()))
		}
	}
}

// restored returns another runner with the state of one.
func restored(t *testing.T, r *runner) *runner {
	t.Helper()
	image, err := r.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	r.p.Run(r.p.Position() + 100) // it goes on
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	fresh := newRunner(toy.New(freeProgram))
	fresh.p.Run(77)
	for cut := range 5 {
		if err := fresh.Restore(bytes.NewReader(b.Bytes()[:b.Len()*cut/5])); err == nil {
			t.Fatal("an image that is cut off is restored")
		}
	}
	if err := fresh.Restore(&b); err != nil {
		t.Fatal(err)
	}
	return fresh
}

// A log that does not fit the processor is found, and nothing more is made of it.
func TestFreeFaults(t *testing.T) {
	for name, entries := range map[string][]entry{
		"back":      {{kind: kindProgress, data: []byte{50}}, {kind: kindProgress, data: []byte{49}}},
		"idle":      {{kind: kindProgress, data: []byte{0x80, 0x80, 0x80, 1}}},
		"malformed": {{kind: kindCompletion, data: []byte{5, 200, 1}}},
		"empty":     {{kind: kindInput}},
	} {
		r := newRunner(toy.New(freeProgram))
		for _, e := range entries {
			r.apply(e, nil)
		}
		if r.fault == nil || r.check() == nil {
			t.Errorf("%s: nothing was found", name)
		}
		told := r.told
		if r.apply(entry{kind: kindProgress, data: []byte{100}}, nil); r.told != told {
			t.Errorf("%s: it goes on", name)
		}
	}
}

// What is done is forgotten, in whatever order, and what is kept stays in order.
func TestFreeCompletions(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	r := newRunner(toy.New([]toy.Instruction{{Op: toy.Output, A: 1}, {Op: toy.Add, A: 1, B: 1, N: 1}, {Op: toy.Jump, A: 1}}))
	for range 400 {
		r.p.Run(r.p.Position() + rng.Uint64N(60))
		r.apply(at(r, kindProgress, nil), nil)
		var numbers []uint64
		for _, o := range r.pending() {
			if rng.IntN(2) == 0 {
				numbers = append(numbers, o.Number)
			}
		}
		rng.Shuffle(len(numbers), func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
		r.apply(at(r, kindCompletion, appendCompletion(nil, nil, append(numbers, 0, 1<<40))), nil)
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		for _, n := range numbers {
			if slices.ContainsFunc(r.pending(), func(o Output) bool { return o.Number == n }) {
				t.Fatalf("output %d is done, and is pending", n)
			}
		}
	}
	if len(r.kept) > 200 {
		t.Errorf("%d are kept, %d are pending", len(r.kept), len(r.pending()))
	}
}

// The processor's time follows the primary's clock, whatever instructions take; a pause of
// the primary is no time.
func TestPilot(t *testing.T) {
	p := toy.New([]toy.Instruction{
		{Op: toy.Spawn, N: 4},
		{Op: toy.Set, A: 1, N: 1},
		{Op: toy.Mix, A: 1, B: 2},
		{Op: toy.Jump, A: 1, N: 2},
		{Op: toy.Sleep, N: 3e6}, // 4
		{Op: toy.Time, A: 1},
		{Op: toy.Jump, A: 1, N: 4},
	})
	n := newPilot(p, time.Second)
	if n.slice == 0 {
		t.Fatal("a toy is told to preempt")
	}
	shown, preempted := time.Duration(0), 0
	for i := range 4000 {
		m := n.next(p, shown)
		switch {
		case m.wait > 0:
			shown += m.wait
		case m.wait < 0:
			t.Fatal("it waits for ever")
		case m.kind != 0:
			if m.kind == kindPreempt {
				preempted++
			}
			if err := p.Inject(m.event); err != nil {
				t.Fatal(err)
			}
		default:
			from := p.Position()
			d := time.Duration(p.Run(m.until)-from) * 500 // much longer than they take to itself
			n.took(p.Position()-from, d)
			shown += d
		}
		if behind := shown - p.Now(); i > 50 && behind > pilotLag+2*pilotTurn || i > 50 && behind < -time.Millisecond {
			t.Fatalf("at %v the processor's time is %v", shown, p.Now())
		}
	}
	if shown < time.Second || preempted < 10 || n.turn < leastTurn || n.turn > mostTurn {
		t.Errorf("%v, %d preemptions, a turn is %d", shown, preempted, n.turn)
	}
	before := p.Now()
	for shown += time.Hour; ; {
		m := n.next(p, shown)
		if m.kind != kindTimer {
			break
		}
		if err := p.Inject(m.event); err != nil {
			t.Fatal(err)
		}
	}
	if passed := p.Now() - before; passed > 2*time.Second {
		t.Errorf("in an hour that the primary stood still %v have passed", passed)
	}
}

// How far a follower is behind in instructions is known for any position.
func TestMileage(t *testing.T) {
	var m mileage
	if m.behind(5) != 0 {
		t.Error("nothing is known, and somebody is behind")
	}
	for position := uint64(1); position <= 3*maxMarks; position++ {
		m.mark(position, position*1000)
	}
	if len(m.marks) > maxMarks {
		t.Errorf("%d marks", len(m.marks))
	}
	for _, position := range []uint64{100, 5000, 3*maxMarks - 10, 3 * maxMarks} {
		want := (3*maxMarks - position) * 1000
		if got := m.behind(position); got < want || got > want+8000 {
			t.Errorf("at %d it is %d behind, not %d", position, got, want)
		}
	}
}

// Whatever comes as an entry, or as an image, makes no more than a fault of it.
func FuzzFree(f *testing.F) {
	r := newRunner(toy.New(freeProgram))
	r.p.Run(500)
	r.told = r.p.Position()
	image, err := r.Freeze()
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(byte(kindInput), append([]byte{100}, toy.InputEvent(7)...), b.Bytes())
	f.Add(byte(kindCompletion), append([]byte{200, 1, 3, 1, 2, 1}, toy.AnswerEvent(1, 7)...), b.Bytes()[:b.Len()/2])
	f.Add(byte(kindProgress), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte{})
	f.Add(byte(kindCompletion), []byte{1, 0xff, 0xff, 3}, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0})
	for kind := range byte(18) { // those there are, and some that are none
		for _, s := range testutil.Strangers() {
			f.Add(kind, s, s)
			f.Add(kind, append([]byte{100}, s...), b.Bytes()) // behind a position
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, data, image []byte) {
		r := newRunner(toy.New(freeProgram))
		for range 2 {
			r.apply(entry{kind: kind, data: data}, nil)
			if r.fault == nil {
				if err := r.check(); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Restore(bytes.NewReader(image)); err == nil && r.check() != nil {
				t.Fatal("an image is restored, and makes no sense")
			}
		}
	})
}
