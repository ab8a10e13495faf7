package rv64

import (
	"math/rand/v2"
	"testing"
)

// encodeAs writes an operation of a sequence with given registers, as far as it has
// them, and an immediate.
func encodeAs(t *testing.T, o op, rd, rs1, rs2 uint32, imm int32) uint32 {
	switch {
	case o.branch():
		return encB([]uint32{0, 1, 4, 5, 6, 7}[o-opBEQ], rs1, rs2, 64)
	case o >= opSB && o <= opSD:
		return encS(0x23, uint32(o-opSB), rs1, rs2, imm)
	case o == opFSD, o == opFSW:
		return encS(0x27, 2+uint32(o-opFSW)/2, rs1, rs2, imm)
	case o >= opLB && o <= opLWU:
		return encI(0x03, uint32(o-opLB), rd, rs1, imm)
	case o == opFLD, o == opFLW:
		return encI(0x07, 2+uint32(o-opFLW)/2, rd, rs1, imm)
	case o == opLUI:
		return uint32(testData+pageSize) | rd<<7 | 0x37
	case o == opJALR:
		return encI(0x67, 0, max(rd, 1), rs1, imm)
	case o == opRET:
		return encI(0x67, 0, 0, rs1, imm)
	}
	w := encodingOf(t, o)&^(31<<7|31<<15) | rd<<7 | rs1<<15
	tries := []uint32{w&^(31<<20) | rs2<<20}
	if opcode := w & 0x7f; opcode == 0x13 || opcode == 0x1b {
		tries = []uint32{w&^(0xfff<<20) | uint32(imm)<<20, w&^(31<<20) | uint32(imm)&31<<20}
	}
	for _, try := range tries {
		if in := decode(try); in.op == o {
			return try
		}
	}
	return w
}

// oneOf returns an operation that a part of a sequence stands for.
func oneOf(part op, rng *rand.Rand) op {
	var all []op
	for o := range opFused {
		if part.covers(o) {
			all = append(all, o)
		}
	}
	return all[rng.IntN(len(all))]
}

// encodeSequence writes a sequence with random registers, such that it is one.
func encodeSequence(t *testing.T, s sequence, rng *rand.Rand) (words []uint32) {
	for try := 0; ; try++ {
		if try > 10_000 {
			t.Fatalf("no registers for %v", s)
		}
		words = words[:0]
		var code []inst
		for i, e := range s {
			rd, rs1, rs2 := s.result(code, rng), anyRegister(rng), anyRegister(rng)
			if e.a > 0 {
				rs1 = uint32(code[i-int(e.a)].rd)
			}
			if e.b > 0 {
				rs2 = uint32(code[i-int(e.b)].rd)
			}
			imm := int32(rng.IntN(128)-64) &^ 7
			w := encodeAs(t, oneOf(e.op, rng), rd, rs1&31, rs2&31, imm)
			in := decode(w)
			in.place(testCode)
			code, words = append(code, in), append(words, w)
		}
		if len(foldConstants(append([]inst{}, code...))) == len(code) && s.matches(code) {
			return words
		}
	}
}

func anyRegister(rng *rand.Rand) uint32 { return []uint32{0, 5, 6, 7, 8}[rng.IntN(5)] }

// result returns a register for the result of the part after code: not one that a later
// part is to have from an earlier one, and a real one if it is itself passed on.
func (s sequence) result(code []inst, rng *rand.Rand) uint32 {
	i := len(code)
	var taken [33]bool
	for later := i + 1; later < len(s); later++ {
		for _, distance := range [2]uint8{s[later].a, s[later].b} {
			switch from := later - int(distance); {
			case distance == 0 || from > i:
			case from == i:
				taken[0] = true
			default:
				taken[code[from].rd] = true
			}
		}
	}
	for try := 0; ; try++ {
		r := anyRegister(rng)
		if try > 50 { // all of them are
			r = 9 + rng.Uint32N(4)
		}
		if !taken[r] {
			return r
		}
	}
}

// tile makes a sequence of the start of the block at testCode.
func tile(t *testing.T, e *blocks, number int) {
	t.Helper()
	at := 1 // after the head
	if b := e.lookup(testCode); e.at(b.at) != &e.code[at] {
		t.Fatal("it is not the first block")
	}
	code := e.code[at:]
	_, line, _ := e.line(testCode)
	copy(code, foldConstants(line))
	if !sequences[number].matches(code) {
		t.Fatalf("%v is not at the start of %v", sequences[number], code)
	}
	code[0].op = opFused + op(number)
}

// Every fused sequence does what its parts do, one after the other, with any registers
// in common, and faults and branches anywhere.
func TestFusedSequences(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	faults, inner, whole := 0, 0, 0
	a, b := newRig(nil, 0, stepEngine), newRig(nil, 0, blockEngine)
	for number, s := range sequences {
		for range rounds {
			words := encodeSequence(t, s, rng)
			words = append(words, encJ(0, int32(-4*len(words)))) // keeps the block short
			seed := rng.Uint64()
			for _, r := range []*rig{a, b} {
				r.fill(words, seed)
				r.c.pc, r.c.count, r.c.mem.codeStale = testCode, 0, false
				r.e.forget()
			}
			tile(t, b.e.(alternating).blocks, number)
			n := uint64(len(words))
			for _, limit := range []uint64{n, n + 1} {
				ta, tb := a.e.run(a.c, limit), b.e.run(b.c, limit)
				if ta != tb {
					t.Fatalf("%v: traps %d and %d", s, ta, tb)
				}
				a.compare(t, b)
				if a.c.pc == testCode {
					whole++
				}
				if ta != trapNone {
					if faults++; a.c.count > 0 && a.c.count < uint64(len(s)) {
						inner++
					}
				}
			}
		}
	}
	if n := rounds * len(sequences); faults < n/4 || inner < n/24 || whole < n/4 {
		t.Errorf("%d faults, %d of them inside, %d went through", faults, inner, whole)
	}
}

// fill writes words to testCode, and random numbers to the registers, most of which are
// addresses.
func (r *rig) fill(words []uint32, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 1))
	for i, w := range words {
		r.c.mem.store(testCode+4*uint64(i), 4, uint64(w))
	}
	for i := 1; i < 32; i++ {
		r.c.x[i] = testData + chance.Uint64N(2*pageSize)&^(chance.Uint64N(2)*7)
		if chance.IntN(4) == 0 {
			r.c.x[i] = chance.Uint64() >> chance.UintN(64)
		}
	}
	r.c.x[0] = 0
	if chance.IntN(2) == 0 {
		r.c.fcsr = flagInexact
	}
}

// Eight bytes are loaded at once, wherever they are.
func TestGather(t *testing.T) {
	rng := rand.New(rand.NewPCG(27, 28))
	a, b := newRig(nil, 0, stepEngine), newRig(nil, 0, blockEngine)
	for _, r := range []*rig{a, b} {
		for i := range uint64(17 * pageSize) {
			r.c.mem.store(testData+i, 1, i*0x9e3779b97f4a7c15>>40) // as far as there is an area
		}
	}
	whole := 0
	for range 300 {
		start := int32(rng.IntN(64))
		words := []uint32{encI(0x03, 4, 5, 7, start)}
		for i := int32(1); i < 8; i++ {
			words = append(words, encI(0x03, 4, 6, 7, start+i), encI(0x13, 1, 6, 6, 8*i),
				[]uint32{encR(0x33, 6, 0, 5, 5, 6), encR(0x33, 6, 0, 5, 6, 5)}[rng.IntN(2)])
		}
		mutant := rng.IntN(4) == 0 // one bit of one instruction
		if mutant {
			words[rng.IntN(len(words))] ^= 1 << (7 + rng.IntN(25))
		}
		words = append(words, encJ(0, int32(-4*len(words))))
		seed, addr := rng.Uint64(), testData+uint64(rng.IntN(16)+1)*pageSize-rng.Uint64N(120)
		for _, r := range []*rig{a, b} {
			r.fill(words, seed)
			r.c.x[7], r.c.pc, r.c.count, r.c.mem.codeStale = addr, testCode, 0, false
			r.e.forget()
			r.runTo(uint64(len(words)))
		}
		a.compare(t, b)
		if b.e.(alternating).blocks.code[1].op == opGather {
			whole++
		} else if !mutant {
			t.Fatal("it is not fused")
		}
	}
	if whole < 200 {
		t.Errorf("only %d", whole)
	}
}

// A block is divided into as few operations as the sequences allow.
func TestFuseDividesWell(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 24))
	for range 2000 {
		code := make([]inst, 1+rng.IntN(7))
		for i := range code {
			code[i] = inst{op: []op{opLD, opADDI, opADD, opSD, opLUI, opBEQ}[rng.IntN(6)], rd: uint8(5 + rng.IntN(3)), rs1: uint8(5 + rng.IntN(3)), rs2: uint8(5 + rng.IntN(3))}
		}
		code = foldConstants(code)
		want := leastCost(code)
		got := 0
		for fused := fuse(append([]inst{}, code...)); len(fused) > 0; {
			c := costDispatch
			if o := fused[0].op; o >= opFused {
				c = sequences[o-opFused].cost()
			}
			fused, got = fused[fused[0].length():], got+c
		}
		if got != want {
			t.Fatalf("%v: cost %d, not %d", code, got, want)
		}
	}
}

func leastCost(code []inst) int {
	if len(code) == 0 {
		return 0
	}
	least := costDispatch + leastCost(code[1:])
	for _, s := range sequences {
		if s.matches(code) {
			least = min(least, s.cost()+leastCost(code[len(s):]))
		}
	}
	return least
}

// Constants are loaded at once.
func TestFoldConstants(t *testing.T) {
	rng := rand.New(rand.NewPCG(25, 26))
	for range 40 {
		n := int32(rng.IntN(4096) - 2048)
		for _, lui := range []uint32{0x80000000, uint32(testData), 0x7ffff000, rng.Uint32() &^ 0xfff} {
			for _, add := range []uint32{encI(0x13, 0, 5, 5, n), encI(0x1b, 0, 5, 5, n)} {
				a, b := newRig(nil, 0, stepEngine), newRig(nil, 0, blockEngine)
				for _, r := range []*rig{a, b} {
					r.fill([]uint32{lui | 5<<7 | 0x37, add, encJ(0, -8)}, 1)
					r.runTo(3)
				}
				a.compare(t, b)
				if code := b.e.(alternating).blocks.code; code[1].op != opLUI || code[1].n != 2 {
					t.Fatalf("it is %v", code)
				}
			}
		}
	}
}
