package rv64

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

func image(t testing.TB, m *Machine) []byte {
	t.Helper()
	img, err := m.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := img.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes of %d: %v", n, b.Len(), err)
	}
	return b.Bytes()
}

// Where and how often Run stops makes no difference, nor does the engine.
func TestQuantaAndEnginesAgree(t *testing.T) {
	elf := guest(t, "stress")
	for _, quantum := range []uint64{777, 0} {
		if testing.Short() && quantum == 0 {
			continue
		}
		cfg := Config{Args: []string{"stress"}, Quantum: quantum, Seed: [32]byte{1}}
		m := load(t, elf, cfg)
		want := drive(t, m, whole)
		hash, end := m.Hash(), m.Position()
		rng := rand.New(rand.NewPCG(1, quantum))
		m = load(t, elf, cfg)
		if out := drive(t, m, func() uint64 { return 1 + rng.Uint64N(800) }); out != want || m.Hash() != hash || m.Position() != end {
			t.Errorf("quantum %d: in parts of 1 to 800 it ends at %d, not %d:\n%s", quantum, m.Position(), end, out)
		}
		if testing.Short() || quantum == 0 && !*soak {
			continue
		}
		cfg.Stepper = true
		m = load(t, elf, cfg)
		if out := drive(t, m, whole); out != want || m.Hash() != hash || m.Position() != end {
			t.Errorf("quantum %d: step by step it ends at %d, not %d:\n%s", quantum, m.Position(), end, out)
		}
	}
}

// Another seed is another history.
func TestSeed(t *testing.T) {
	elf := guest(t, "stress")
	a, b := load(t, elf, Config{Args: []string{"stress"}}), load(t, elf, Config{Args: []string{"stress"}, Seed: [32]byte{9}})
	if drive(t, a, whole) == drive(t, b, whole) {
		t.Error("two seeds give the same output")
	}
}

// Record, replay, compare; then change one thing, and the replay says where.
func TestRecordAndReplay(t *testing.T) {
	m := load(t, guest(t, "stress"), Config{Args: []string{"stress"}})
	var log bytes.Buffer
	rec, err := NewRecorder(m, &log, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for {
		rec.Run(m.Position() + rng.Uint64N(3_000_000))
		m.drop()
		if _, exited := m.Exited(); exited {
			break
		}
		if wake, idle := m.Idle(); idle {
			if err := rec.Inject(SkipEvent(wake)); err != nil {
				t.Fatal(err)
			}
		} else if rng.IntN(3) == 0 { // the clock is corrected
			if err := rec.Inject(SkipEvent(1234)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	for _, stepper := range []bool{false, true} {
		if stepper && testing.Short() {
			continue
		}
		r, err := NewReplayer(bytes.NewReader(log.Bytes()), Config{Stepper: stepper})
		if err != nil {
			t.Fatal(err)
		}
		for !r.Done() {
			if _, err := r.Run(r.Machine().Position() + 1 + rng.Uint64N(5_000_000)); err != nil {
				t.Fatal(err)
			}
		}
		if r.Machine().Hash() != m.Hash() || r.Machine().Position() != m.Position() {
			t.Errorf("stepper %v: the replay ends at %d, not %d, or differs", stepper, r.Machine().Position(), m.Position())
		}
	}
	at := m.Position() / 3
	r, err := NewReplayer(bytes.NewReader(log.Bytes()), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(at); err != nil {
		t.Fatal(err)
	}
	r.Machine().kernel.mem.store(stackTop-8, 8, 0x1234567) // nothing that the program would look at
	_, err = r.Run(1 << 40)
	var d *Divergence
	if !errors.Is(err, ErrDiverged) || !errors.As(err, &d) || d.After > at || d.At < at || d.At-d.After > 1_000_000 {
		t.Errorf("changed at %d; the replay says %v", at, err)
	}
}

func TestLogThatIsCutOffOrDamaged(t *testing.T) {
	m := load(t, guest(t, "stress"), Config{})
	var log bytes.Buffer
	rec, err := NewRecorder(m, &log, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	rec.Run(500_000)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReplayer(bytes.NewReader(log.Bytes()[:log.Len()-50]), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if at, err := r.Run(1 << 40); err != nil || at == 0 || at > 500_000 {
		t.Errorf("a log that is cut off ends at %d: %v", at, err)
	}
	for i := 0; i < log.Len(); i += 1 + log.Len()/20 {
		b := slices.Clone(log.Bytes())
		b[i] ^= 0x55
		if r, err := NewReplayer(bytes.NewReader(b), Config{}); err == nil {
			if _, err := r.Run(1 << 40); err == nil {
				t.Errorf("a log with byte %d damaged is replayed", i)
			}
		}
	}
}

const restoreVar = "RV64_TEST_RESTORE"

// TestRestoreInAnotherProcess is the other process of TestFreeze.
func TestRestoreInAnotherProcess(t *testing.T) {
	name := os.Getenv(restoreVar)
	if name == "" {
		t.Skip("it is run by TestFreeze")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 { // images, each with its length before it
		n, _ := strconv.Atoi(string(bytes.TrimLeft(b[:12], " ")))
		m, err := NewFrom(bytes.NewReader(b[12:12+n]), Config{})
		if err != nil {
			t.Fatal(err)
		}
		b = b[12+n:]
		drive(t, m, whole)
		h := m.Hash()
		os.Stdout.WriteString("hash " + hex.EncodeToString(h[:]) + "\n")
	}
}

// Frozen at random positions, restored in a fresh process and run on, the machine
// ends as one that was never disturbed; so does the one that was frozen.
func TestFreeze(t *testing.T) {
	elf, cfg := guest(t, "stress"), Config{Args: []string{"stress"}}
	m := load(t, elf, cfg)
	drive(t, m, whole)
	hash, end := m.Hash(), m.Position()
	count := 200
	if testing.Short() {
		count = 3
	} else if !*soak {
		count = 8
	}
	rng := rand.New(rand.NewPCG(5, 6))
	var at []uint64
	for range count {
		at = append(at, rng.Uint64N(end))
	}
	slices.Sort(at)
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m = load(t, elf, cfg)
	var frozen []io.WriterTo
	driveTo := func(n uint64) {
		for m.Position() < n {
			m.Run(n)
			m.drop()
			if wake, idle := m.Idle(); idle {
				m.Inject(SkipEvent(wake))
			}
		}
	}
	for _, n := range at {
		driveTo(n)
		img, err := m.Freeze()
		if err != nil {
			t.Fatal(err)
		}
		frozen = append(frozen, img)
	}
	drive(t, m, whole)
	if m.Hash() != hash {
		t.Error("freezing has disturbed the machine")
	}
	for _, img := range frozen { // only now: what has changed since must not show
		var b bytes.Buffer
		if _, err := img.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		file.WriteString(strings.Repeat(" ", 12-len(strconv.Itoa(b.Len()))) + strconv.Itoa(b.Len()))
		file.Write(b.Bytes())
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRestoreInAnotherProcess$", "-test.v")
	cmd.Env = append(os.Environ(), restoreVar+"="+file.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "hash "+hex.EncodeToString(hash[:])); n != count {
		t.Errorf("%d of %d restored machines end in the same state", n, count)
	}
}

func TestImageThatIsDamaged(t *testing.T) {
	m := load(t, guest(t, "stress"), Config{})
	m.Run(300_000)
	good := image(t, m)
	if _, err := NewFrom(bytes.NewReader(good), Config{}); err != nil {
		t.Fatal(err)
	}
	hash := m.Hash()
	for i := 0; i < len(good); i += 1 + len(good)/50 {
		b := slices.Clone(good)
		b[i] ^= 1
		if err := m.Restore(bytes.NewReader(b)); !errors.Is(err, ErrBadImage) {
			t.Fatalf("byte %d damaged: %v", i, err)
		}
		if err := m.Restore(bytes.NewReader(good[:i])); !errors.Is(err, ErrBadImage) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
	if m.Hash() != hash {
		t.Error("a restore that failed has changed the machine")
	}
}

func TestFilesAndArguments(t *testing.T) {
	root := fstest.MapFS{
		"etc/hosts":  {Data: []byte("127.0.0.1 localhost\n"), Mode: 0o644},
		"work/a.txt": {Data: []byte("alpha"), Mode: 0o600},
	}
	m := load(t, guest(t, "stress"), Config{Root: root, Dir: "/work"})
	drive(t, m, whole)
	b, err := m.Files().Open("tmp/x")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(b); string(data) != "hello" || err != nil {
		t.Errorf("the program has written %q, %v", data, err)
	}
	for _, dir := range []string{"work", "etc", "bin"} { // /dev and /proc have links that lead nowhere
		sub, err := fs.Sub(m.Files(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := fstest.TestFS(sub, map[string]string{"work": "a.txt", "etc": "hosts", "bin": "program"}[dir]); err != nil {
			t.Error(err)
		}
	}
}

func TestBadConfigurations(t *testing.T) {
	elf := guest(t, "stress")
	for _, cfg := range []Config{{Memory: 5}, {Disk: 5}, {Quantum: 5}, {Tick: -1}, {Dir: "x"}, {Args: []string{"a\x00"}}} {
		if _, err := Load(elf, cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, []byte("#!/bin/sh\n"), elf[:100], self} {
		if _, err := Load(b, Config{}); !errors.Is(err, ErrBadProgram) {
			t.Errorf("%.20q: %v", b, err)
		}
	}
	for i := range 2000 {
		b := slices.Clone(elf[:min(len(elf), 1<<16)])
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		for range 3 {
			b[rng.IntN(400)] = byte(rng.Uint32())
		}
		if m, err := Load(b, Config{Memory: 16 << 20}); err == nil {
			m.Run(10_000)
		}
	}
}
