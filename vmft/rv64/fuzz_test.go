package rv64

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

// bare makes a machine of code at testCode and data at testData.
func bare(t testing.TB, code, data []byte, stepper bool) *Machine {
	t.Helper()
	cfg := Config{Stepper: stepper, Memory: 8 << 20, Disk: 4 << 20}
	if err := cfg.complete(); err != nil {
		t.Fatal(err)
	}
	m := newMachine(cfg)
	k := m.kernel
	k.furnish()
	k.cwd = rootInode
	k.disk.inode(rootInode).opens++
	for _, f := range []*file{{kind: kindInput}, {kind: kindOutput, flags: oWRONLY, stream: 1}, {kind: kindOutput, flags: oWRONLY, stream: 2}} {
		k.install(f, false)
	}
	p := &program{entry: testCode, segments: []segment{
		{addr: testCode, memory: 16 * pageSize, perm: permRead | permWrite | permExec, data: code},
		{addr: testData, memory: 64 * pageSize, perm: permRead | permWrite, data: data},
	}}
	if err := k.start(p, []string{"bare"}, nil); err != nil {
		t.Fatal(err)
	}
	k.settle()
	return m
}

// endure runs a machine for a while, whatever its program does, and checks that its
// tables stay sound.
func endure(t testing.TB, m *Machine, limit uint64) {
	t.Helper()
	for range 50 {
		m.Run(limit)
		m.drop()
		if _, exited := m.Exited(); exited || m.Position() >= limit {
			break
		}
		if wake, idle := m.Idle(); idle {
			if wake < 0 {
				break
			}
			if err := m.Inject(SkipEvent(wake)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.kernel.check(); err != nil {
		t.Fatal(err)
	}
	for _, mem := range m.kernel.spaces() {
		n := 0
		for _, l := range mem.leaves {
			if l != nil {
				for _, p := range l.pages {
					if p != nil {
						n++
					}
				}
			}
		}
		if n != mem.resident {
			t.Fatalf("%d pages, of %d", n, mem.resident)
		}
	}
}

// callLoop makes the calls that a table says: each of its rows is a number and six
// arguments. An argument of which the highest byte is 0xee is the result of an
// earlier call, to be looked up by the program.
var callLoop = func() (code []byte) {
	words := []uint32{
		0x40<<12 | 9<<7 | 0x37, // lui s1, testData
		0x60<<12 | 8<<7 | 0x37, // lui s0, 0x60000: the end of the table
	}
	loop := len(words)
	words = append(words, encI(0x03, 3, 17, 9, 0))
	for i := range uint32(6) {
		words = append(words, encI(0x03, 3, 10+i, 9, int32(8+8*i)))
	}
	words = append(words, 0x73, encI(0x13, 0, 9, 9, 56))
	words = append(words, encB(6, 9, 8, int32(4*(loop-len(words)))), encI(0x13, 0, 17, 0, 94), 0x73)
	for _, w := range words {
		code = binary.LittleEndian.AppendUint32(code, w)
	}
	return code
}()

// randomCalls fills a table. Numbers and arguments are mostly sensible, so that calls
// get somewhere.
func randomCalls(rng *rand.Rand, n int) (data []byte) {
	var numbers []uint64
	for nr := range uint64(460) {
		if _, ok := syscalls[nr]; ok && nr != 93 && nr != 94 && nr != 139 {
			numbers = append(numbers, nr)
		}
	}
	const buffer = testData + 40*pageSize
	fd := int64(atFDCWD)
	arguments := []func() uint64{
		func() uint64 { return rng.Uint64N(12) },
		func() uint64 { return buffer + rng.Uint64N(20*pageSize) },
		func() uint64 { return buffer + 64*rng.Uint64N(16) },
		func() uint64 { return buffer + 64*rng.Uint64N(16) },
		func() uint64 { return rng.Uint64N(1 << 16) },
		func() uint64 { return uint64(fd) },
		func() uint64 { return 1 << rng.UintN(64) },
		func() uint64 { return rng.Uint64() },
		func() uint64 { return -rng.Uint64N(20) },
		func() uint64 { return uint64(interesting[rng.IntN(len(interesting))]) },
	}
	data = make([]byte, 64*pageSize)
	for i := range n {
		row := data[56*i:]
		binary.LittleEndian.PutUint64(row, numbers[rng.IntN(len(numbers))])
		if rng.IntN(50) == 0 {
			binary.LittleEndian.PutUint64(row, rng.Uint64N(500))
		}
		for j := range 6 {
			binary.LittleEndian.PutUint64(row[8+8*j:], arguments[rng.IntN(len(arguments))]())
		}
	}
	for i := range 16 { // what pointers point to: paths, times, addresses
		at := data[40*pageSize+64*i:]
		switch rng.IntN(5) {
		case 0:
			copy(at, []string{"/tmp/a", "a", "/", "..", "/proc/self/fd/1", "/proc/self/maps", "/dev/null", "/tmp/d/../a/", "/dev/fd", "b"}[rng.IntN(10)])
		case 1:
			binary.LittleEndian.PutUint64(at, rng.Uint64N(3))
			binary.LittleEndian.PutUint64(at[8:], rng.Uint64N(1e9))
		case 2:
			binary.LittleEndian.PutUint16(at, []uint16{afInet, afInet6, afUnix}[rng.IntN(3)])
			binary.LittleEndian.PutUint16(at[2:], uint16(rng.IntN(4))<<8)
			at[4] = 127 * byte(rng.IntN(2))
			at[7] = byte(rng.IntN(2))
		case 3:
			for j := range 8 {
				binary.LittleEndian.PutUint64(at[8*j:], arguments[rng.IntN(len(arguments))]())
			}
		}
	}
	return data
}

// No guest can make the host panic or hang, by any system calls with any arguments;
// and both engines see the same.
func TestRandomCalls(t *testing.T) {
	programs := 150
	if *soak {
		programs = 20000
	}
	for seed := range uint64(programs) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			data := randomCalls(rand.New(rand.NewPCG(seed, 9)), 2300)
			m := bare(t, callLoop, data, false)
			endure(t, m, 100_000)
			if seed%10 == 0 {
				s := bare(t, callLoop, data, true)
				endure(t, s, 100_000)
				if s.Hash() != m.Hash() {
					t.Errorf("the engines differ: %d, %d", m.Position(), s.Position())
				}
				if _, err := m.Freeze(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func FuzzCalls(f *testing.F) {
	for _, b := range testutil.Strangers() {
		f.Add(uint64(1), b)
	}
	f.Fuzz(func(t *testing.T, seed uint64, patch []byte) {
		data := randomCalls(rand.New(rand.NewPCG(seed, 9)), 2300)
		copy(data, patch)
		endure(t, bare(t, callLoop, data, false), 50_000)
	})
}

func FuzzCode(f *testing.F) {
	words := examples(f)
	for seed := range uint64(4) {
		f.Add(randomProgram(rand.New(rand.NewPCG(seed, 5)), words, 500))
	}
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		code = code[:min(len(code), 8*pageSize)]
		a, b := bare(t, code, nil, false), bare(t, code, nil, true)
		endure(t, a, 20_000)
		endure(t, b, 20_000)
		if a.Position() != b.Position() || a.Hash() != b.Hash() {
			t.Errorf("the engines differ: %d, %d", a.Position(), b.Position())
		}
	})
}

// Random code, as a program with a kernel below it.
func TestRandomCodeInAMachine(t *testing.T) {
	words := examples(t)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 6))
		code := randomProgram(rng, words, 3000)
		if seed%2 == 0 {
			for i := range code {
				code[i] = byte(rng.Uint32())
			}
		}
		endure(t, bare(t, code, nil, false), 100_000)
	}
}

// Events of any bytes are done or refused.
func FuzzInject(f *testing.F) {
	f.Add(SkipEvent(5), InputEvent([]byte("x")))
	f.Add(ConnectEvent(1<<33, 80, [16]byte{10: 0xff, 11: 0xff, 12: 1}, 9), DataEvent(1<<33, []byte("y")))
	f.Add(PacketEvent(1, [16]byte{}, 2, nil), SignalEvent(2))
	f.Add(TakenEvent(1<<33, 1), DialedEvent(17, 111))
	for _, b := range testutil.Strangers() {
		f.Add(b, b)
	}
	for kind := range byte(eventDiskCatalog + 1) {
		for _, b := range testutil.Lengths(kind) {
			f.Add(b, b)
		}
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m := bare(t, callLoop, randomCalls(rand.New(rand.NewPCG(1, 9)), 2300), false)
		m.Run(3000)
		for _, e := range [][]byte{a, b, EndEvent(1 << 33), ResetEvent(1 << 33), InputEndEvent()} {
			before := m.Hash()
			if err := m.Inject(e); err != nil && m.Hash() != before {
				t.Errorf("%x is refused, and has changed the machine: %v", e, err)
			}
		}
		endure(t, m, 20_000)
	})
}

// Deltas of any bytes are applied or refused, and a machine that has taken one is sound.
func FuzzApplyDelta(f *testing.F) {
	data := randomCalls(rand.New(rand.NewPCG(1, 9)), 2300)
	source := bare(f, callLoop, data, false)
	delta := func() []byte {
		d, err := source.Delta()
		if err != nil {
			f.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := d.WriteTo(&b); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	first := delta()
	source.Run(3000)
	second := delta()
	f.Add(first)
	f.Add(second)
	f.Add(second[:len(second)/2])
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := bare(t, callLoop, data, false)
		if err := m.ApplyDelta(first); err != nil {
			t.Fatal(err)
		}
		if err := m.ApplyDelta(b); err == nil {
			endure(t, m, m.Position()+20_000)
		}
	})
}
