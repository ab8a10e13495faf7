package rv64

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// recorded runs the stress guest to its end and returns the log.
func recorded(t *testing.T, name string) (log []byte, end uint64, hash [32]byte) {
	t.Helper()
	m := load(t, guest(t, name), Config{Args: []string{name}})
	var b bytes.Buffer
	rec, err := NewRecorder(m, &b, 5_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec.Run(1 << 40)
		m.drop()
		if _, exited := m.Exited(); exited {
			break
		}
		wake, _ := m.Idle()
		if err := rec.Inject(SkipEvent(wake)); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m.Position(), m.Hash()
}

func TestDebuggerGoesBackAndForth(t *testing.T) {
	log, end, hash := recorded(t, "stress")
	d, err := NewDebugger(bytes.NewReader(log), Config{})
	if err != nil {
		t.Fatal(err)
	}
	d.stride = 2_000_000
	if err := d.Goto(1 << 40); err != nil || d.Machine().Position() != end || d.Machine().Hash() != hash || d.End() != end {
		t.Fatalf("%v: at %d, not %d", err, d.Machine().Position(), end)
	}
	// Each position has one state, however it was reached.
	rng := rand.New(rand.NewPCG(1, 2))
	seen := make(map[uint64][32]byte)
	var places []uint64
	for range 6 {
		places = append(places, rng.Uint64N(end))
	}
	visits := 20
	if testing.Short() {
		visits = 6
	}
	for range visits {
		at := places[rng.IntN(len(places))]
		if err := d.Goto(at); err != nil || d.Machine().Position() != at {
			t.Fatalf("going to %d: at %d, %v", at, d.Machine().Position(), err)
		}
		h := d.Machine().Hash()
		if old, ok := seen[at]; ok && old != h {
			t.Fatalf("instruction %d has two states", at)
		}
		seen[at] = h
	}
	at := places[0]
	if err := d.Goto(at); err != nil {
		t.Fatal(err)
	}
	if err := d.Step(-1000); err != nil || d.Machine().Position() != at-1000 {
		t.Fatal(err, d.Machine().Position())
	}
	if err := d.Step(1000); err != nil || d.Machine().Hash() != seen[at] {
		t.Fatal("back and forth is not where it was", err)
	}
}

// A watch stops after the instruction that has changed the word, found by going
// through all positions.
func TestDebuggerWatches(t *testing.T) {
	log, _, _ := recorded(t, "stress")
	d, err := NewDebugger(bytes.NewReader(log), Config{})
	if err != nil {
		t.Fatal(err)
	}
	const from, to = 200_000, 230_000
	if err := d.Goto(from); err != nil {
		t.Fatal(err)
	}
	sp := d.Machine().Registers().X[2] &^ 7
	var want uint64
	for old, _ := d.Machine().Word(sp); d.Machine().Position() < to; {
		if err := d.Step(1); err != nil {
			t.Fatal(err)
		}
		if v, _ := d.Machine().Word(sp); v != old {
			want = d.Machine().Position()
			break
		}
	}
	if err := d.Goto(from); err != nil {
		t.Fatal(err)
	}
	changed, err := d.Watch(sp, to)
	if err != nil || changed != (want != 0) || changed && d.Machine().Position() != want {
		t.Errorf("changed %v at %d, want %d: %v", changed, d.Machine().Position(), want, err)
	}
}

func TestBacktrace(t *testing.T) {
	log, end, _ := recorded(t, "stress")
	d, err := NewDebugger(bytes.NewReader(log), Config{})
	if err != nil {
		t.Fatal(err)
	}
	whole, inMain := 0, 0
	const count = 40
	for i := range uint64(count) {
		if err := d.Goto(end / count * i); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range d.Machine().Backtrace() {
			names = append(names, f.Function)
			if strings.HasPrefix(f.Function, "main.") && strings.HasSuffix(f.File, "main.go") && f.Line > 0 {
				inMain++
			}
		}
		switch names[len(names)-1] {
		case "runtime.goexit", "runtime.mstart", "runtime.rt0_go", "runtime.mcall", "_rt0_riscv64_linux", "runtime.systemstack", "runtime.morestack":
			whole++
		default:
			t.Log(i, names)
		}
	}
	if whole < count*3/4 || inMain < count/8 {
		t.Errorf("%d backtraces of %d reach the bottom of a stack, %d frames in main", whole, count, inMain)
	}
}
