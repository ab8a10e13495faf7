package sim

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// chatter is a process that sends numbers round, to whom the workload says.
type chatter struct {
	n   *Node[int]
	log *Log[int]
}

func (c *chatter) Receive(from int, m int) {
	if m == 0 {
		return
	}
	c.log.Append(m)
	c.log.Sync(uint64(m))
	c.n.Send(int(c.n.Uint64N(uint64(len(c.n.w.nodes)))), m-1)
}

func (c *chatter) Timer(key uint64) {
	if key == 1<<40 {
		c.n.After(20*time.Millisecond, key)
		c.n.Send((c.n.ID()+1)%len(c.n.w.nodes), 5)
	}
}

func chat(w *World[int]) {
	for i := range 5 {
		w.Add(fmt.Sprint("node", i), func(n *Node[int]) Process[int] {
			n.After(0, 1<<40)
			return &chatter{n, OpenLog[int](n, "log")}
		})
	}
}

var chatConfig = Config{
	Faults: Faults{
		Loss: 0.2, Duplicate: 0.2, Straggle: 0.05, CrashEvery: 300 * time.Millisecond,
		PartitionEvery: 500 * time.Millisecond, PauseEvery: 500 * time.Millisecond,
		Skew: time.Second, Drift: 0.1,
	},
	Chaos: 2 * time.Second,
	Calm:  time.Second,
}

func newWorld[M any](t testing.TB, seed uint64, cfg Config) *World[M] {
	t.Helper()
	w, err := New[M](seed, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func trace(t *testing.T, seed, from uint64) (string, *World[int]) {
	t.Helper()
	w := newWorld[int](t, seed, chatConfig)
	var out bytes.Buffer
	w.Trace(&out, from)
	chat(w)
	if err := w.Run(); err != nil {
		t.Fatal(err)
	}
	return out.String(), w
}

func TestSeedDeterminesRun(t *testing.T) {
	digests := make(map[uint64]uint64)
	for seed := uint64(1); seed <= 20; seed++ {
		a, w := trace(t, seed, 0)
		b, _ := trace(t, seed, 0)
		if a != b {
			t.Fatalf("seed %d: two traces differ", seed)
		}
		if other, ok := digests[w.Digest()]; ok {
			t.Fatalf("seeds %d and %d have the same digest", seed, other)
		}
		digests[w.Digest()] = seed
		if n := strings.Count(a, " boots"); uint64(n) != w.Stats().Restarts+5 {
			t.Errorf("seed %d: %d boots in the trace, %d restarts counted", seed, n, w.Stats().Restarts)
		}
		late, _ := trace(t, seed, w.Steps()/2)
		if late == "" || !strings.HasSuffix(a, late) {
			t.Errorf("seed %d: a late trace is not the end of the whole one", seed)
		}
	}
}

func TestReusedWorldIsNew(t *testing.T) {
	for seed := uint64(1); seed < 30; seed++ {
		used := newWorld[int](t, seed+1, chatConfig)
		chat(used)
		for range 500 {
			used.Step()
		}
		used.reset(seed)
		chat(used)
		used.Run()
		_, fresh := trace(t, seed, 0)
		if used.Digest() != fresh.Digest() {
			t.Fatalf("seed %d: a reused world runs otherwise", seed)
		}
	}
}

func TestStepping(t *testing.T) {
	whole := newWorld[int](t, 7, chatConfig)
	chat(whole)
	if err := whole.Run(); err != nil {
		t.Fatal(err)
	}
	w := newWorld[int](t, 7, chatConfig)
	chat(w)
	before := w.Now()
	for i := uint64(1); w.Step(); i++ {
		if w.Steps() != i {
			t.Fatalf("step %d is number %d", i, w.Steps())
		}
		if w.Now().Before(before) {
			t.Fatalf("step %d: time goes back", i)
		}
		before = w.Now()
	}
	if w.Digest() != whole.Digest() || w.Step() {
		t.Error("stepping ends otherwise than running")
	}
}

// quiet has no faults; the tests add the one they look at.
func quiet(f Faults) Config { return Config{Faults: f, Fixed: true, Chaos: time.Minute} }

// sink counts what it gets.
type sink struct {
	got    []int
	timers []uint64
}

func (s *sink) Receive(_, m int)             { s.got = append(s.got, m) }
func (s *sink) Timer(key uint64)             { s.timers = append(s.timers, key) }
func (s *sink) boot(*Node[int]) Process[int] { return s }

// pair is a world of two sinks that are up.
func pair(t *testing.T, f Faults) (w *World[int], a, b *sink) {
	w = newWorld[int](t, 1, quiet(f))
	a, b = new(sink), new(sink)
	w.Add("a", a.boot)
	w.Add("b", b.boot)
	w.Step()
	w.Step()
	return w, a, b
}

func TestRates(t *testing.T) {
	const n = 20_000
	w, _, b := pair(t, Faults{Loss: 0.1, Duplicate: 0.2, Straggle: 0.05, Delay: time.Millisecond})
	for i := range n {
		w.Node(0).Send(1, i)
		for len(w.queue.heap) > 100 {
			w.Step()
		}
	}
	w.Run()
	s := w.Stats()
	near := func(name string, got, want float64) {
		if got < want*0.9 || got > want*1.1 {
			t.Errorf("%s: %v, want about %v", name, got, want)
		}
	}
	near("lost", float64(s.Lost), n*0.1)
	near("duplicated", float64(s.Duplicated), n*0.9*0.2)
	near("straggled", float64(s.Straggled), n*0.9*1.2*0.05)
	if s.Sent != n || s.Delivered != s.Sent-s.Lost+s.Duplicated || int(s.Delivered) != len(b.got) {
		t.Errorf("books don't balance: %+v", s)
	}
	swaps := 0
	for i := range b.got[1:] {
		if b.got[i+1] < b.got[i] {
			swaps++
		}
	}
	if swaps < n/20 {
		t.Errorf("%d messages in another order", swaps)
	}
}

func TestRateOfOtherFaults(t *testing.T) {
	w := newWorld[int](t, 3, Config{Fixed: true, Chaos: 100 * time.Second, Faults: Faults{
		CrashEvery: 100 * time.Millisecond, Down: time.Millisecond,
		PartitionEvery: 100 * time.Millisecond, PauseEvery: 100 * time.Millisecond, Pause: time.Millisecond,
	}})
	chat(w)
	w.cfg.Calm = time.Second
	if err := w.Run(); err != nil {
		t.Fatal(err)
	}
	s := w.Stats()
	for name, n := range map[string]uint64{"crashes": s.Crashes, "partitions": s.Partitions, "pauses": s.Pauses} {
		if n < 850 || n > 1150 {
			t.Errorf("%d %s in 100 s, want about 1000", n, name)
		}
	}
	if s.Restarts != s.Crashes {
		t.Errorf("%d crashes, %d restarts", s.Crashes, s.Restarts)
	}
	if s.Cut == 0 || s.Dead == 0 || s.Erased == 0 {
		t.Errorf("nothing lost: %+v", s)
	}
}

func TestCutsAreOneWay(t *testing.T) {
	w, a, b := pair(t, Faults{})
	w.Cut(0, 1)
	w.Node(0).Send(1, 10)
	w.Node(1).Send(0, 20)
	for w.Step() {
	}
	if len(b.got) != 0 || len(a.got) != 1 {
		t.Errorf("a got %v, b got %v", a.got, b.got)
	}
	if w.Stats().Cut != 1 {
		t.Errorf("%d cut", w.Stats().Cut)
	}
	w, _, b = pair(t, Faults{})
	w.Cut(0, 1)
	w.Heal(0, 1)
	w.Heal(0, 1)
	w.Node(0).Send(1, 10)
	w.Run()
	if len(b.got) != 1 {
		t.Errorf("healed, b got %v", b.got)
	}
}

func TestPauseDelaysInOrder(t *testing.T) {
	w, _, b := pair(t, Faults{})
	n := w.Node(1)
	for i := range 10 {
		n.After(time.Duration(i)*time.Millisecond, uint64(i))
	}
	w.Pause(1, time.Second)
	w.Step()
	if d := w.Now().Sub(epoch); d < time.Second {
		t.Errorf("the first event comes after %v", d)
	}
	w.Run()
	for i, key := range b.timers {
		if key != uint64(i) {
			t.Fatalf("order after a pause: %v", b.timers)
		}
	}
	if len(b.timers) != 10 {
		t.Errorf("%d timers", len(b.timers))
	}
}

func TestTimersAndClocks(t *testing.T) {
	w, a, _ := pair(t, Faults{Skew: time.Hour, Drift: 0.2})
	n := w.Node(0)
	if skew := n.Now().Sub(w.Now()).Abs(); skew == 0 || skew > time.Hour {
		t.Errorf("skew %v", skew)
	}
	begin, true0 := n.Now(), w.Now()
	stopped := n.After(time.Second, 1)
	n.After(10*time.Second, 2)
	n.Stop(stopped)
	n.Stop(Timer{})
	w.Step()
	if len(a.timers) != 1 || a.timers[0] != 2 {
		t.Fatalf("timers %v, want only the second", a.timers)
	}
	if d := n.Now().Sub(begin); d.Round(time.Millisecond) != 10*time.Second {
		t.Errorf("timer fired after %v of the node's time", d)
	}
	if d := w.Now().Sub(true0); d.Round(time.Millisecond) == 10*time.Second || d < 8*time.Second || d > 13*time.Second {
		t.Errorf("timer fired after %v of true time", d)
	}
	// A stopped timer's place serves another; stopping it again is no harm.
	n.After(time.Second, 3)
	n.Stop(stopped)
	w.Step()
	if len(a.timers) != 2 {
		t.Errorf("a stale Stop stopped another timer: %v", a.timers)
	}
}

func TestTheGreatestDurationIsLate(t *testing.T) {
	w, a, _ := pair(t, Faults{})
	n := w.Node(0)
	for _, n.rate = range []float64{0.5, 1, 1.5} {
		n.After(math.MaxInt64, 1)
		n.After(time.Second, 2)
		w.Step()
	}
	if !slices.Equal(a.timers, []uint64{2, 2, 2}) {
		t.Errorf("timers %v, want the short ones alone", a.timers)
	}
}

func TestCrash(t *testing.T) {
	boots := 0
	var log *Log[int]
	w := newWorld[int](t, 5, quiet(Faults{}))
	var s *sink
	n := w.Add("n", func(n *Node[int]) Process[int] {
		boots++
		log = OpenLog[int](n, "log")
		s = new(sink)
		return s
	})
	w.Step()
	lost := make(map[int]int)
	for range 200 {
		log.Reset()
		for i := range 4 {
			log.Append(i)
		}
		log.Sync(77)
		w.Step()
		if log.Safe() != log.End() || s.timers[0] != 77 {
			t.Fatal("sync did not make the log safe, or did not say so")
		}
		log.Append(4)
		log.Append(5)
		log.Sync(78)             // dies with the process
		n.After(time.Second, 79) // this too
		w.Crash(0)
		w.Crash(0)
		if n.Up() {
			t.Fatal("up after a crash")
		}
		w.Restart(0)
		w.Step()
		if len(s.timers) != 0 || !n.Up() {
			t.Fatal("the new process has timers of the old one")
		}
		left := log.Records()
		if len(left) < 4 || left[3] != 3 || log.Safe() != log.End() {
			t.Fatalf("after a crash the log has %v", left)
		}
		lost[6-len(left)]++
	}
	if boots != 201 || lost[0] < 40 || lost[1] < 40 || lost[2] < 40 {
		t.Errorf("%d boots; records lost: %v", boots, lost)
	}
}

func TestFailures(t *testing.T) {
	odd := errors.New("odd")
	for name, c := range map[string]struct {
		build func(w *World[int])
		want  string
	}{
		"invariant": {func(w *World[int]) {
			chat(w)
			w.Invariant(func() error {
				if w.Steps() == 99 {
					return odd
				}
				return nil
			})
		}, "step 99, after"},
		"process": {func(w *World[int]) {
			w.Add("x", func(n *Node[int]) Process[int] {
				n.Failf("no good: %d", 9)
				return new(sink)
			})
		}, "x: no good: 9"},
		"panic": {func(w *World[int]) {
			w.Add("x", func(n *Node[int]) Process[int] { panic("ouch") })
		}, "panic: ouch"},
		"not done": {func(w *World[int]) {
			chat(w)
			w.Done(func() bool { return false })
		}, "not done"},
		"end": {func(w *World[int]) {
			chat(w)
			w.AtEnd(func() error { return odd })
		}, "odd"},
		"endless": {func(w *World[int]) {
			chat(w)
			w.cfg.Steps = 1000
			w.Done(func() bool { return w.Steps() > 1001 })
		}, "1000 events and no end"},
	} {
		f, stats := Search(10, chatConfig, c.build)
		if f == nil || !strings.Contains(f.Error(), c.want) || stats.Seeds == 0 {
			t.Errorf("%s: %v, want %q", name, f, c.want)
			continue
		}
		text := story(f, chatConfig, c.build)
		if text == "" && f.Step > 0 || strings.Contains(text, "not deterministic") && name != "panic" {
			t.Errorf("%s: the story is %q", name, text)
		}
	}
}

func TestSearchFindsWhatASeedDoesNotDetermine(t *testing.T) {
	calls := 0
	f, _ := Search(1, chatConfig, func(w *World[int]) {
		calls++
		extra := calls
		w.Add("x", func(n *Node[int]) Process[int] {
			for i := range extra {
				n.After(time.Second, uint64(i))
			}
			return new(sink)
		})
	})
	if f == nil || !strings.Contains(f.Error(), "two runs of one seed differ") {
		t.Error(f)
	}
}

func TestProfiles(t *testing.T) {
	all := Faults{Loss: 0.5, CrashEvery: time.Second, Skew: time.Second}.withDefaults()
	none, full := 0, 0
	for seed := range uint64(1000) {
		f := all.draw(rand.New(rand.NewPCG(seed, 0)))
		if err := f.validate(); err != nil || f.Loss > 0.5 || f.CrashEvery != 0 && f.CrashEvery < time.Second || f.Skew > time.Second {
			t.Fatalf("seed %d draws %+v: %v", seed, f, err)
		}
		if f.Loss == 0 && f.CrashEvery == 0 {
			none++
		}
		if f.Loss == 0.5 && f.CrashEvery == time.Second {
			full++
		}
	}
	if none < 30 || full < 30 {
		t.Errorf("of 1000 profiles %d have neither fault, %d have both to the full", none, full)
	}
}

func TestConfigErrors(t *testing.T) {
	for field, cfg := range map[string]Config{
		"Loss":  {Faults: Faults{Loss: 1.5}},
		"Drift": {Faults: Faults{Drift: 0.9}},
		"Down":  {Faults: Faults{Down: -1}},
		"Chaos": {Chaos: -1},
	} {
		_, err := New[int](1, cfg)
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: error %v", field, err)
		}
		if f, _ := Search(1, cfg, chat); f == nil {
			t.Errorf("%s: Search ran", field)
		}
	}
}

func TestRunCountsAllSeeds(t *testing.T) {
	s := Run(t, 200, chatConfig, func(w *World[int]) {
		chat(w)
		w.Count("worlds", 1)
	})
	if s.Seeds != 200 || s.Tally["worlds"] != 200 {
		t.Errorf("%d seeds, tally %v", s.Seeds, s.Tally)
	}
	for name, n := range map[string]uint64{
		"Crashes": s.Crashes, "Restarts": s.Restarts, "Lost": s.Lost, "Duplicated": s.Duplicated,
		"Straggled": s.Straggled, "Partitions": s.Partitions, "Cut": s.Cut, "Dead": s.Dead,
		"Pauses": s.Pauses, "Erased": s.Erased, "Syncs": s.Syncs, "Timers": s.Timers,
	} {
		if n < 20 {
			t.Errorf("%s: %d in 200 seeds", name, n)
		}
	}
}

// bouncer sends everything back.
type bouncer struct{ n *Node[int] }

func (b *bouncer) Receive(from, m int) { b.n.Send(from, m) }
func (b *bouncer) Timer(uint64)        {}

func BenchmarkStep(b *testing.B) {
	w := newWorld[int](b, 1, quiet(Faults{Duplicate: 0, Delay: time.Microsecond}))
	for i := range 8 {
		w.Add(fmt.Sprint(i), func(n *Node[int]) Process[int] { return &bouncer{n} })
	}
	for range 8 {
		w.Step()
	}
	for i := range 64 {
		w.Node(i%8).Send((i+1)%8, i)
	}
	w.cfg.Chaos, w.cfg.Steps = time.Hour, 1<<60
	b.ReportAllocs()
	for b.Loop() {
		if !w.Step() {
			b.Fatal("the world ended")
		}
	}
}

// TestCommand: what repeats a failure does so from the root of the module.
func TestCommand(t *testing.T) {
	t.Run("of part (a)", func(t *testing.T) {
		want := `go test ./internal/sim -v -run '^TestCommand$/^of_part_\(a\)$' -sim.seed=4711 -sim.trace=12`
		if got := command(t.Name(), 4711, 12); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
