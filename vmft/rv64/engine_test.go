package rv64

import (
	"bufio"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// examples are the words of testdata/decode.txt.
func examples(t testing.TB) (words []uint32) {
	t.Helper()
	data, err := os.ReadFile("testdata/decode.txt")
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(strings.NewReader(string(data))); lines.Scan(); {
		hex, _, _ := strings.Cut(lines.Text(), "\t")
		if w, err := strconv.ParseUint(hex, 16, 32); err == nil {
			words = append(words, uint32(w))
		}
	}
	return words
}

// randomProgram fills the code of newCPU with instructions of every kind. Memory is
// reached through x8 and x9, which nothing writes, and jumps stay near.
func randomProgram(rng *rand.Rand, words []uint32, n int) (code []byte) {
	for len(code) < n {
		w := words[rng.IntN(len(words))]
		if w&3 != 3 {
			if in := decode(w); in.rd == 8 || in.rd == 9 || in.op == opJALR || in.op == opEBREAK {
				continue
			}
			code = append(code, byte(w), byte(w>>8))
			continue
		}
		in := decode(w)
		if in.op != opFENCE && in.op != opECALL && in.op != opEBREAK {
			w = w&^(0x1f<<7) | uint32([]int{0, 1, 5, 6, 7, 10, 11, 12}[rng.IntN(8)])<<7
		}
		base := 8 + rng.Uint32N(2)
		switch {
		case in.op >= opLB && in.op <= opLWU || in.op == opFLW || in.op == opFLD:
			w = w&^(0x1f<<15) | base<<15
		case in.op >= opSB && in.op <= opSD:
			w = encS(0x23, uint32(in.op-opSB), base, rng.Uint32N(16), int32(rng.IntN(4096)-2048))
		case in.op == opFSW || in.op == opFSD:
			w = encS(0x27, 2+uint32(in.op-opFSW)/2, base, rng.Uint32N(16), int32(rng.IntN(4096)-2048))
		case in.op >= opLRW && in.op < opFLW:
			w = w&^(0x1f<<15) | base<<15
		case in.op.branch():
			w = encB([]uint32{0, 1, 4, 5, 6, 7}[rng.IntN(6)], rng.Uint32N(16), rng.Uint32N(16), int32(rng.IntN(64)-24)*2)
		case in.op == opJAL:
			w = encJ(w>>7&0x1f, int32(rng.IntN(64)-16)*2)
		case in.op == opJALR:
			w = encI(0x67, 0, w>>7&0x1f, 4, int32(rng.IntN(1024)))
		case in.op == opECALL || in.op == opEBREAK:
			if rng.IntN(8) > 0 {
				continue
			}
		}
		code = append(code, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	return code
}

// A rig is a processor with an engine, which goes on after each trap.
type rig struct {
	c     *cpu
	e     engine
	traps []uint64
}

func newRig(code []byte, seed uint64, make func(*memory) engine) *rig {
	c := newCPU()
	c.clock = func() uint64 { return c.count / 7 }
	c.mem.writeBytes(testCode, code)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := 1; i < 32; i++ {
		c.x[i], c.f[i] = rng.Uint64()>>rng.UintN(64), box(rng.Uint64())
		if rng.IntN(2) == 0 {
			c.f[i] = rng.Uint64()
		}
	}
	c.x[4], c.x[8], c.x[9] = testCode, testData+0x1000, testData+0x2800-0x10*rng.Uint64N(2)
	return &rig{c: c, e: make(c.mem)}
}

// runTo goes on to a count. An instruction that traps is counted and skipped, and one
// outside the code goes on at its start.
func (r *rig) runTo(limit uint64) {
	for r.c.count < limit {
		t := r.e.run(r.c, limit)
		if t == trapNone {
			continue
		}
		r.traps = append(r.traps, uint64(t), r.c.pc, r.c.count, r.c.mem.fault.addr)
		r.c.count++
		if t == trapFetch {
			r.c.pc = testCode
			continue
		}
		w, _ := r.c.mem.fetch(r.c.pc)
		r.c.pc += uint64(decode(w).size)
	}
}

func (r *rig) compare(t *testing.T, s *rig) {
	t.Helper()
	if r.c.pc != s.c.pc || r.c.count != s.c.count || r.c.fcsr != s.c.fcsr || [32]uint64(r.c.x[:32]) != [32]uint64(s.c.x[:32]) ||
		r.c.f != s.c.f || r.c.reserved != s.c.reserved || r.c.reservation != s.c.reservation || r.c.mem.digest() != s.c.mem.digest() {
		t.Fatalf("at %d: pc %#x and %#x\nx %x\nx %x\nf %x\nf %x\nfcsr %x %x, digests %x %x", r.c.count, r.c.pc, s.c.pc,
			r.c.x[:32], s.c.x[:32], r.c.f[:32], s.c.f[:32], r.c.fcsr, s.c.fcsr, r.c.mem.digest(), s.c.mem.digest())
	}
	if len(r.traps) != len(s.traps) {
		t.Fatalf("at %d: %d traps and %d", r.c.count, len(r.traps)/4, len(s.traps)/4)
	}
	for i := range r.traps {
		if r.traps[i] != s.traps[i] {
			t.Fatalf("trap %d: %x and %x", i/4, r.traps[i/4*4:i/4*4+4], s.traps[i/4*4:i/4*4+4])
		}
	}
}

func blockEngine(m *memory) engine { return alternating{newBlocks(m)} }

// alternating is the engine of blocks that finds operations in one way and the other, in turn.
type alternating struct{ *blocks }

func (a alternating) run(c *cpu, limit uint64) trap {
	a.byTree = !a.byTree
	return a.blocks.run(c, limit)
}

func stepEngine(*memory) engine { return stepper{} }

// Both engines stop at the same counts with the same state, at quanta of 1 to 800.
func TestEnginesAgreeOnRandomCode(t *testing.T) {
	words := examples(t)
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		code := randomProgram(rng, words, 64+rng.IntN(2000))
		a, b := newRig(code, seed, stepEngine), newRig(code, seed, blockEngine)
		for n := uint64(0); n < 20000; {
			n += 1 + rng.Uint64N([]uint64{3, 70, 800}[rng.IntN(3)])
			a.runTo(n)
			b.runTo(n)
			if b.c.count != n {
				t.Fatalf("seed %d: at %d, asked for %d", seed, b.c.count, n)
			}
			a.compare(t, b)
		}
	}
}

// Code that writes code: what is executed next is always the new.
func TestSelfModifyingCode(t *testing.T) {
	words := examples(t)
	stale := 0
	for seed := range uint64(24) {
		rng := rand.New(rand.NewPCG(seed, 3))
		code := randomProgram(rng, words, 600)
		a, b := newRig(code, seed, stepEngine), newRig(code, seed, blockEngine)
		for _, r := range []*rig{a, b} {
			r.c.x[8] = testCode + 0x100 // stores go into the code
		}
		before := a.c.mem.digest()
		for n := uint64(0); n < 6000; {
			n += 1 + rng.Uint64N(200)
			a.runTo(n)
			b.runTo(n)
			a.compare(t, b)
		}
		if a.c.mem.digest() != before {
			stale++
		}
	}
	if stale < 12 {
		t.Errorf("only %d programs changed memory", stale)
	}
}

// The limit is kept exactly around the ends of blocks.
func TestLimitsAtBlockEdges(t *testing.T) {
	var words []uint32
	for range 200 {
		words = append(words, encI(0x13, 0, 5, 5, 1))
	}
	words = append(words, encJ(0, -800))
	for limit := uint64(1); limit < 420; limit += 1 + limit/220 {
		c := newCPU(words...)
		e := newBlocks(c.mem)
		first := limit / 2
		if e.run(c, first); c.count != first {
			t.Fatalf("asked for %d, at %d", first, c.count)
		}
		if e.run(c, limit); c.count != limit || c.x[5] != limit-limit/201 || c.pc != testCode+4*(limit%201) {
			t.Fatalf("asked for %d, at %d: x5 %d, pc %#x", limit, c.count, c.x[5], c.pc)
		}
	}
}

// runSingle executes the instruction at testCode in a block that is cut after it, so
// that a limit of one lets it be executed.
func runSingle(e *blocks, c *cpu) trap {
	b := e.lookup(testCode)
	w := (*window)(unsafe.Pointer(e.at(b.at)))
	if w[0].op = w[0].original(); w[0].op == opStep {
		return c.step()
	}
	w[1] = inst{op: opStep, n: 2}
	return e.follow(c, b, 1)
}

func BenchmarkEngine(b *testing.B) {
	// A loop with arithmetic, a load, a store and a call.
	words := []uint32{
		encI(0x13, 0, 5, 5, 1), encR(0x33, 0, 0, 6, 6, 5), encI(0x03, 3, 7, 8, 0), encR(0x33, 4, 0, 7, 7, 6),
		encS(0x23, 3, 8, 7, 0), encJ(1, 12), encB(1, 5, 0, -24), encJ(0, 0),
		encI(0x13, 5, 11, 7, 3), encI(0x67, 0, 0, 1, 0),
	}
	for name, make := range map[string]func(*memory) engine{
		"table":   func(m *memory) engine { return newBlocks(m) },
		"tree":    func(m *memory) engine { e := newBlocks(m); e.byTree = true; return e },
		"stepper": stepEngine,
	} {
		b.Run(name, func(b *testing.B) {
			c := newCPU(words...)
			c.x[8] = testData
			e := make(c.mem)
			for b.Loop() {
				e.run(c, c.count+100_000)
			}
			b.ReportMetric(float64(c.count)/b.Elapsed().Seconds()/1e6, "mips")
		})
	}
}
