package rv64

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

const processOutput = `said "a b\n", <nil>
upper 200000 SOME TEXT  <nil> true
exit true 7
crash signal: killed
killed signal: killed
missing true
in /tmp child true
signal user defined signal 1 <nil>
[0 <nil> 1 <nil> 2 <nil> 3 <nil> 4 <nil> 5 <nil> 6 <nil> 7 <nil>]
script "/tmp/script x\n", <nil>
the last
`

// os/exec works in the machine, and what it does is part of its history: engines, the
// stops of Run, images and replay make no difference.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long, on one goroutine")
	}
	elf := guest(t, "process")
	cfg := Config{Args: []string{"process"}, Quantum: 5000}
	m := load(t, elf, cfg)
	var log bytes.Buffer
	rec, err := NewRecorder(m, &log, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if out := driveRecorded(t, m, rec, whole); out != processOutput {
		t.Fatalf("at %d, crash %v:\n%s", m.Position(), m.Crash(), out)
	}
	hash, end := m.Hash(), m.Position()
	replayed(t, m, rec, &log)

	rng := rand.New(rand.NewPCG(1, 2))
	m = load(t, elf, cfg)
	for next := uint64(0); ; {
		m.Run(m.Position() + 1 + rng.Uint64N(20_000))
		m.drop()
		if _, exited := m.Exited(); exited {
			break
		}
		if wake, idle := m.Idle(); idle {
			if err := m.Inject(SkipEvent(wake)); err != nil {
				t.Fatal(err)
			}
		}
		if m.Position() < next {
			continue
		}
		next = m.Position() + rng.Uint64N(end/15)
		b := image(t, m)
		stepper := rng.IntN(4) == 0
		if m, err = NewFrom(bytes.NewReader(b), Config{Stepper: stepper}); err != nil {
			t.Fatal(err)
		}
	}
	if m.Hash() != hash || m.Position() != end {
		t.Errorf("in parts, and by way of images, it ends at %d, not %d, or differs", m.Position(), end)
	}
}
