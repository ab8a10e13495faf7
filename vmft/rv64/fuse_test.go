package rv64

import (
	"math/rand/v2"
	"testing"
)

// encodeAs writes an operation of a fused pair with given registers.
func encodeAs(o op, rd, rs1, rs2 uint32, imm int32) uint32 {
	switch {
	case o.branch():
		return encB([]uint32{0, 1, 4, 5, 6, 7}[o-opBEQ], rs1, rs2, 64)
	case o == opSD:
		return encS(0x23, 3, rs1, rs2, imm)
	case o == opLUI:
		return uint32(testData+pageSize) | rd<<7 | 0x37
	case o >= opLB && o <= opLWU:
		return encI(0x03, uint32(o-opLB), rd, rs1, imm)
	case o == opFLD:
		return encI(0x07, 3, rd, rs1, imm)
	case o == opADDI:
		return encI(0x13, 0, rd, rs1, imm)
	case o == opADDIW:
		return encI(0x1b, 0, rd, rs1, imm)
	case o == opSLLI, o == opSRLI:
		return encI(0x13, map[op]uint32{opSLLI: 1, opSRLI: 5}[o], rd, rs1, imm&63)
	case o == opSLLIW, o == opSRLIW:
		return encI(0x1b, map[op]uint32{opSLLIW: 1, opSRLIW: 5}[o], rd, rs1, imm&31)
	case o == opMUL:
		return encR(0x33, 0, 1, rd, rs1, rs2)
	case o == opSH3ADD:
		return encR(0x33, 6, 0x10, rd, rs1, rs2)
	}
	return encR(0x33, map[op]uint32{opADD: 0, opXOR: 4, opOR: 6, opAND: 7}[o], 0, rd, rs1, rs2)
}

// Every fused pair does what its halves do, one after the other, with any registers
// in common, and faults in either half.
func TestFusedPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	check := func(want op, words ...uint32) (faults int) {
		for range 4 {
			a, b := newRig(nil, 0, stepEngine), newRig(nil, 0, blockEngine)
			seed := rng.Uint64()
			for _, r := range []*rig{a, b} {
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
			}
			n := uint64(len(words))
			for _, limit := range []uint64{n, n + 1} {
				ta, tb := a.e.run(a.c, limit), b.e.run(b.c, limit)
				if ta != tb {
					t.Fatalf("%d: traps %d and %d", want, ta, tb)
				}
				a.compare(t, b)
				if ta != trapNone {
					faults++
				}
			}
			blk := b.e.(*blocks).byPC[testCode]
			found := false
			if blk != nil {
				for _, in := range blk.code {
					found = found || in.op == want
				}
			}
			if !found {
				t.Fatalf("%v is not fused to %d", words, want)
			}
		}
		return faults
	}
	// A limit below the block's length would be stepped: nops make it long enough to be
	// told apart, and the jump at the end keeps it short.
	program := func(words ...uint32) []uint32 { return append(words, encJ(0, int32(-4*len(words)))) }
	faults := 0
	for pair, fused := range fusedPairs {
		for range 3 {
			r := func() uint32 { return []uint32{0, 5, 6, 7, 8}[rng.IntN(5)] }
			i := func() int32 { return int32(rng.IntN(128)-64) &^ 7 }
			faults += check(fused, program(encodeAs(pair[0], r(), r(), r(), i()), encodeAs(pair[1], r(), r(), r(), i()))...)
		}
	}
	if faults < 20 {
		t.Errorf("only %d faults", faults)
	}
	for range 10 {
		n := int32(1 + rng.IntN(31))
		check(opRotate, program(encodeAs(opSRLIW, 5, 6, 0, n), encodeAs(opSLLIW, 7, 6, 0, 32-n), encodeAs(opOR, []uint32{0, 5, 6, 7, 8}[rng.IntN(5)], 5, 7, 0))...)
		check(opLUI, program(encodeAs(opLUI, 5, 0, 0, 0), encodeAs(opADDI, 5, 5, 0, n-16))...)
		mul, lui := encodeAs(opMUL, 5, []uint32{5, 6, 7, 8, 9}[rng.IntN(5)], []uint32{5, 6, 7, 8, 9}[rng.IntN(5)], 0), encodeAs(opLUI, 6, 0, 0, 0)
		base := []uint32{encodeAs(opADD, 7, 9, 6, 0), encodeAs(opADD, 7, 6, 9, 0), encodeAs(opADD, 7, 7, 6, 0)}[rng.IntN(3)]
		sum := []uint32{encodeAs(opADD, 5, 5, 7, 0), encodeAs(opADD, 5, 7, 5, 0)}[rng.IntN(2)]
		check(opRow, program(mul, lui, base, sum)...)
		check(opRow, program(mul, lui, encodeAs(opADDIW, 6, 6, 0, n-16), base, sum)...)
		check(opLUI, program(0x80000000|5<<7|0x37, encodeAs(opADDIW, 5, 5, 0, n-16))...)
	}
}
