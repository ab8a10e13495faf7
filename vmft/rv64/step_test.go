package rv64

import (
	"math/big"
	"math/bits"
	"math/rand/v2"
	"testing"
)

const testCode, testData = 0x10000, 0x40000

// newCPU makes a processor with a page of code and 16 of data.
func newCPU(words ...uint32) *cpu {
	m := newMemory(1 << 20)
	m.mapArea(area{start: testCode, end: testCode + 16*pageSize, perm: permRead | permWrite | permExec})
	m.mapArea(area{start: testData, end: testData + 16*pageSize, perm: permRead | permWrite})
	for i, w := range words {
		m.store(testCode+4*uint64(i), 4, uint64(w))
	}
	return &cpu{mem: m, pc: testCode, clock: func() uint64 { return 77 }}
}

// interesting are operands at the edges.
var interesting = []uint64{
	0, 1, 2, 3, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32,
	0x7fffffffffffffff, 1 << 63, ^uint64(0), ^uint64(1), 0xffffffff80000000, 0xffffffff7fffffff, 0x0123456789abcdef, 0x00ff00ff00ff00ff,
}

func operandPairs(rng *rand.Rand) (pairs [][2]uint64) {
	for _, a := range interesting {
		for _, b := range interesting {
			pairs = append(pairs, [2]uint64{a, b})
		}
	}
	for range 2000 {
		pairs = append(pairs, [2]uint64{rng.Uint64() >> rng.UintN(64), rng.Uint64() >> rng.UintN(64)})
	}
	return pairs
}

func sext32(b *big.Int) uint64 {
	return uint64(int64(int32(uint32(low64(b)))))
}

func low64(b *big.Int) uint64 {
	return new(big.Int).And(b, new(big.Int).SetUint64(^uint64(0))).Uint64()
}

func signedBig(v uint64) *big.Int { return big.NewInt(int64(v)) }

func unsignedBig(v uint64) *big.Int { return new(big.Int).SetUint64(v) }

// quotient divides as the specification of M says, rounding towards zero.
func quotient(a, b *big.Int, width uint, rest bool) *big.Int {
	switch {
	case b.Sign() == 0 && rest:
		return a
	case b.Sign() == 0:
		return big.NewInt(-1)
	case rest:
		return new(big.Int).Rem(a, b)
	}
	return new(big.Int).Quo(a, b)
}

// registerSemantics are the operations on registers, written with math/big or bit by bit.
var registerSemantics = map[string]func(a, b uint64) uint64{
	"add":    func(a, b uint64) uint64 { return low64(new(big.Int).Add(unsignedBig(a), unsignedBig(b))) },
	"sub":    func(a, b uint64) uint64 { return low64(new(big.Int).Sub(unsignedBig(a), unsignedBig(b))) },
	"addw":   func(a, b uint64) uint64 { return sext32(new(big.Int).Add(unsignedBig(a), unsignedBig(b))) },
	"subw":   func(a, b uint64) uint64 { return sext32(new(big.Int).Sub(unsignedBig(a), unsignedBig(b))) },
	"sll":    func(a, b uint64) uint64 { return low64(new(big.Int).Lsh(unsignedBig(a), uint(b%64))) },
	"srl":    func(a, b uint64) uint64 { return low64(new(big.Int).Rsh(unsignedBig(a), uint(b%64))) },
	"sra":    func(a, b uint64) uint64 { return low64(new(big.Int).Rsh(signedBig(a), uint(b%64))) },
	"sllw":   func(a, b uint64) uint64 { return sext32(new(big.Int).Lsh(unsignedBig(a), uint(b%32))) },
	"srlw":   func(a, b uint64) uint64 { return sext32(new(big.Int).Rsh(unsignedBig(a&0xffffffff), uint(b%32))) },
	"sraw":   func(a, b uint64) uint64 { return sext32(new(big.Int).Rsh(signedBig(word(a)), uint(b%32))) },
	"slt":    func(a, b uint64) uint64 { return truth(signedBig(a).Cmp(signedBig(b)) < 0) },
	"sltu":   func(a, b uint64) uint64 { return truth(unsignedBig(a).Cmp(unsignedBig(b)) < 0) },
	"xor":    func(a, b uint64) uint64 { return (a | b) - (a & b) },
	"or":     func(a, b uint64) uint64 { return a + b - (a & b) },
	"and":    func(a, b uint64) uint64 { return a + b - (a | b) },
	"mul":    func(a, b uint64) uint64 { return low64(new(big.Int).Mul(unsignedBig(a), unsignedBig(b))) },
	"mulw":   func(a, b uint64) uint64 { return sext32(new(big.Int).Mul(unsignedBig(a), unsignedBig(b))) },
	"mulh":   func(a, b uint64) uint64 { return high(signedBig(a), signedBig(b)) },
	"mulhu":  func(a, b uint64) uint64 { return high(unsignedBig(a), unsignedBig(b)) },
	"mulhsu": func(a, b uint64) uint64 { return high(signedBig(a), unsignedBig(b)) },
	"div":    func(a, b uint64) uint64 { return low64(quotient(signedBig(a), signedBig(b), 64, false)) },
	"rem":    func(a, b uint64) uint64 { return low64(quotient(signedBig(a), signedBig(b), 64, true)) },
	"divu":   func(a, b uint64) uint64 { return low64(quotient(unsignedBig(a), unsignedBig(b), 64, false)) },
	"remu":   func(a, b uint64) uint64 { return low64(quotient(unsignedBig(a), unsignedBig(b), 64, true)) },
	"divw":   func(a, b uint64) uint64 { return sext32(quotient(signedBig(word(a)), signedBig(word(b)), 32, false)) },
	"remw":   func(a, b uint64) uint64 { return sext32(quotient(signedBig(word(a)), signedBig(word(b)), 32, true)) },
	"divuw": func(a, b uint64) uint64 {
		return sext32(quotient(unsignedBig(a&0xffffffff), unsignedBig(b&0xffffffff), 32, false))
	},
	"remuw": func(a, b uint64) uint64 {
		return sext32(quotient(unsignedBig(a&0xffffffff), unsignedBig(b&0xffffffff), 32, true))
	},
	"add.uw":    func(a, b uint64) uint64 { return a&0xffffffff + b },
	"sh1add":    func(a, b uint64) uint64 { return 2*a + b },
	"sh2add":    func(a, b uint64) uint64 { return 4*a + b },
	"sh3add":    func(a, b uint64) uint64 { return 8*a + b },
	"sh1add.uw": func(a, b uint64) uint64 { return 2*(a&0xffffffff) + b },
	"sh2add.uw": func(a, b uint64) uint64 { return 4*(a&0xffffffff) + b },
	"sh3add.uw": func(a, b uint64) uint64 { return 8*(a&0xffffffff) + b },
	"andn":      func(a, b uint64) uint64 { return a & (^b) },
	"orn":       func(a, b uint64) uint64 { return ^(^a & b) },
	"xnor":      func(a, b uint64) uint64 { return a&b | ^a&^b },
	"max":       func(a, b uint64) uint64 { return pick(signedBig(a).Cmp(signedBig(b)) > 0, a, b) },
	"maxu":      func(a, b uint64) uint64 { return pick(a > b, a, b) },
	"min":       func(a, b uint64) uint64 { return pick(signedBig(a).Cmp(signedBig(b)) < 0, a, b) },
	"minu":      func(a, b uint64) uint64 { return pick(a < b, a, b) },
	"rol":       func(a, b uint64) uint64 { return a<<(b%64) | a>>((64-b%64)%64)&-truth(b%64 != 0) },
	"ror":       func(a, b uint64) uint64 { return a>>(b%64) | a<<((64-b%64)%64)&-truth(b%64 != 0) },
	"rolw":      func(a, b uint64) uint64 { return word(bits32(a)<<(b%32) | bits32(a)>>(32-b%32)) },
	"rorw":      func(a, b uint64) uint64 { return word(bits32(a)>>(b%32) | bits32(a)<<(32-b%32)) },
	"bclr":      func(a, b uint64) uint64 { return low64(new(big.Int).SetBit(unsignedBig(a), int(b%64), 0)) },
	"bset":      func(a, b uint64) uint64 { return low64(new(big.Int).SetBit(unsignedBig(a), int(b%64), 1)) },
	"bext":      func(a, b uint64) uint64 { return uint64(unsignedBig(a).Bit(int(b % 64))) },
	"binv": func(a, b uint64) uint64 {
		v := unsignedBig(a)
		return low64(v.SetBit(v, int(b%64), 1-v.Bit(int(b%64))))
	},
	"clz":    func(a, _ uint64) uint64 { return uint64(64 - unsignedBig(a).BitLen()) },
	"clzw":   func(a, _ uint64) uint64 { return uint64(32 - unsignedBig(bits32(a)).BitLen()) },
	"ctz":    func(a, _ uint64) uint64 { return countTrailing(a, 64) },
	"ctzw":   func(a, _ uint64) uint64 { return countTrailing(a, 32) },
	"cpop":   func(a, _ uint64) uint64 { return population(a) },
	"cpopw":  func(a, _ uint64) uint64 { return population(bits32(a)) },
	"sext.b": func(a, _ uint64) uint64 { return a&0xff - a&0x80<<1 },
	"sext.h": func(a, _ uint64) uint64 { return a&0xffff - a&0x8000<<1 },
	"zext.h": func(a, _ uint64) uint64 { return a % (1 << 16) },
	"orc.b": func(a, _ uint64) (v uint64) {
		for i := range 8 {
			v |= pick(a>>(8*i)&0xff != 0, 0xff, 0) << (8 * i)
		}
		return v
	},
	"rev8": func(a, _ uint64) (v uint64) {
		for i := range 8 {
			v |= a >> (8 * i) & 0xff << (56 - 8*i)
		}
		return v
	},
}

func bits32(v uint64) uint64 { return v & 0xffffffff }

func high(a, b *big.Int) uint64 { return low64(new(big.Int).Rsh(new(big.Int).Mul(a, b), 64)) }

func pick(cond bool, a, b uint64) uint64 {
	if cond {
		return a
	}
	return b
}

func countTrailing(a, width uint64) (n uint64) {
	for n < width && a>>n&1 == 0 {
		n++
	}
	return n
}

func population(a uint64) (n uint64) {
	for ; a != 0; a >>= 1 {
		n += a & 1
	}
	return n
}

// oneEach runs f with both engines, that of blocks in both ways, on a processor that is about
// to execute w.
func oneEach(t *testing.T, w uint32, f func(run func(c *cpu) trap, c *cpu)) {
	t.Helper()
	c := newCPU(w)
	f(func(c *cpu) trap { c.pc = testCode; return c.step() }, c)
	for _, byTree := range []bool{false, true} {
		c = newCPU(w)
		e := newBlocks(c.mem)
		e.byTree = byTree
		f(func(c *cpu) trap {
			c.pc = testCode
			c.count = 0
			return runSingle(e, c)
		}, c)
	}
}

func TestRegisterInstructions(t *testing.T) {
	pairs := operandPairs(rand.New(rand.NewPCG(3, 4)))
	tested := 0
	for i := range opNames {
		semantics := registerSemantics[op(i).String()]
		if semantics == nil {
			continue
		}
		tested++
		w := encodingOf(t, op(i))
		oneEach(t, w, func(run func(*cpu) trap, c *cpu) {
			for _, p := range pairs {
				c.x[6], c.x[7] = p[0], p[1]
				if trap := run(c); trap != trapNone || c.x[5] != semantics(p[0], p[1]) {
					t.Fatalf("%v of %#x, %#x: %#x, not %#x (trap %d)", op(i), p[0], p[1], c.x[5], semantics(p[0], p[1]), trap)
				}
			}
		})
	}
	if tested != len(registerSemantics) {
		t.Errorf("tested %d operations of %d", tested, len(registerSemantics))
	}
}

// encodingOf finds an encoding of the operation with x5 or f5 as destination, x6 and
// x7 (f6, f7, f28) as sources, and the dynamic rounding mode.
func encodingOf(t *testing.T, o op) uint32 {
	t.Helper()
	for _, opcode := range []uint32{0x33, 0x3b, 0x13, 0x1b, 0x53, 0x43, 0x47, 0x4b, 0x4f, 0x2f} {
		for f7 := range uint32(128) {
			for f3 := range uint32(8) {
				for _, rs2 := range []uint32{7, 0, 1, 2, 3, 4, 5, 24} {
					w := encR(opcode, f3, f7, 5, 6, rs2)
					if opcode&0x73 == 0x43 {
						w = encR(opcode, 7, 28<<2|f7&3, 5, 6, 7)
					}
					if in := decode(w); in.op == o && (!o.rounded() || in.imm == roundDynamic) {
						return w
					}
				}
			}
		}
	}
	t.Fatalf("no encoding of %v", o)
	return 0
}

// immediateForms are the operations with an immediate, and the ones on registers
// that do the same.
var immediateForms = map[op]op{
	opADDI: opADD, opSLTI: opSLT, opSLTIU: opSLTU, opXORI: opXOR, opORI: opOR, opANDI: opAND, opADDIW: opADDW,
	opSLLI: opSLL, opSRLI: opSRL, opSRAI: opSRA, opSLLIW: opSLLW, opSRLIW: opSRLW, opSRAIW: opSRAW,
	opRORI: opROR, opRORIW: opRORW, opBCLRI: opBCLR, opBEXTI: opBEXT, opBINVI: opBINV, opBSETI: opBSET,
}

func TestImmediateInstructions(t *testing.T) {
	seen := make(map[op]bool)
	for _, opcode := range []uint32{0x13, 0x1b} {
		for f3 := range uint32(8) {
			for imm := range uint32(1 << 12) {
				in := decode(encI(opcode, f3, 5, 6, int32(imm)))
				as := immediateForms[in.op]
				if as == opIllegal || seen[in.op] && imm&0xff != 0x1f && imm%251 != 0 {
					continue
				}
				seen[in.op] = true
				semantics := registerSemantics[as.String()]
				oneEach(t, encI(opcode, f3, 5, 6, int32(imm)), func(run func(*cpu) trap, c *cpu) {
					for _, a := range interesting {
						c.x[6] = a
						run(c)
						if want := semantics(a, uint64(in.imm)); c.x[5] != want {
							t.Fatalf("%v of %#x, %d: %#x, not %#x", in.op, a, in.imm, c.x[5], want)
						}
					}
				})
			}
		}
	}
	if len(seen) != len(immediateForms) {
		t.Errorf("%d operations of %d", len(seen), len(immediateForms))
	}
	oneEach(t, encI(0x1b, 1, 5, 6, 0x080|35), func(run func(*cpu) trap, c *cpu) {
		if c.x[6] = 0xffffffff87654321; run(c) != trapNone || c.x[5] != bits32(c.x[6])<<35 {
			t.Errorf("slli.uw gives %#x", c.x[5])
		}
	})
}

func TestJumpsAndBranches(t *testing.T) {
	conditions := map[uint32]func(a, b uint64) bool{
		0: func(a, b uint64) bool { return a == b }, 1: func(a, b uint64) bool { return a != b },
		4: func(a, b uint64) bool { return int64(a) < int64(b) }, 5: func(a, b uint64) bool { return int64(a) >= int64(b) },
		6: func(a, b uint64) bool { return a < b }, 7: func(a, b uint64) bool { return a >= b },
	}
	for f3, cond := range conditions {
		oneEach(t, encB(f3, 6, 7, 0x400), func(run func(*cpu) trap, c *cpu) {
			for _, a := range interesting {
				for _, b := range interesting {
					c.x[6], c.x[7] = a, b
					run(c)
					if c.count == 0 { // the block went on to its end
						t.Fatal("nothing executed")
					}
					if taken := c.pc == testCode+0x400; taken != cond(a, b) {
						t.Fatalf("branch %d of %#x, %#x: taken %v", f3, a, b, taken)
					}
				}
			}
		})
	}
	c := newCPU(encJ(1, -0x100), encI(0x67, 0, 1, 1, 5))
	if c.step(); c.pc != testCode-0x100 || c.x[1] != testCode+4 {
		t.Errorf("jal: pc %#x, ra %#x", c.pc, c.x[1])
	}
	c.pc = testCode + 4
	if c.step(); c.pc != testCode+8 || c.x[1] != testCode+8 { // bit 0 is dropped; ra is read before it is written
		t.Errorf("jalr: pc %#x, ra %#x", c.pc, c.x[1])
	}
	c = newCPU(0xfffff297, 0x80000337)
	c.step()
	if c.step(); c.x[5] != testCode-0x1000 || c.x[6] != 0xffffffff80000000 {
		t.Errorf("auipc %#x, lui %#x", c.x[5], c.x[6])
	}
}

func TestLoadsAndStores(t *testing.T) {
	data := []byte{0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7, 0x08, 0x19, 0x2a, 0x3b, 0x4c, 0x5d, 0x6e, 0x7f}
	le := func(b []byte) (v uint64) {
		for i := range b {
			v |= uint64(b[i]) << (8 * i)
		}
		return v
	}
	for f3, size := range []uint64{1, 2, 4, 8, 1, 2, 4} {
		for _, base := range []uint64{testData, testData + pageSize - 8} { // the second crosses a page
			for off := range 8 {
				oneEach(t, encI(0x03, uint32(f3), 5, 6, int32(off)-4), func(run func(*cpu) trap, c *cpu) {
					c.mem.writeBytes(base, data)
					c.x[6] = base + 4
					want := le(data[off : off+int(size)])
					if f3 < 4 {
						shift := 64 - 8*size
						want = uint64(int64(want<<shift) >> shift)
					}
					for range 2 { // the second time the cache is filled
						if run(c); c.x[5] != want {
							t.Fatalf("load %d at %#x+%d: %#x, not %#x", f3, base, off, c.x[5], want)
						}
					}
				})
				if f3 > 3 {
					continue
				}
				oneEach(t, encS(0x23, uint32(f3), 6, 7, int32(off)-4), func(run func(*cpu) trap, c *cpu) {
					c.x[6], c.x[7] = base+4, 0x1122334455667788
					for range 2 {
						c.mem.writeBytes(base, data)
						run(c)
						got := make([]byte, 16)
						c.mem.readBytes(base, got)
						want := append([]byte(nil), data...)
						for i := range size {
							want[off+int(i)] = byte(c.x[7] >> (8 * i))
						}
						if string(got) != string(want) {
							t.Fatalf("store %d at %#x+%d: %x, not %x", f3, base, off, got, want)
						}
					}
				})
			}
		}
	}
}

func TestFaults(t *testing.T) {
	end := uint64(testData + 16*pageSize)
	for _, test := range []struct {
		w    uint32
		addr uint64
		trap trap
		kind faultKind
	}{
		{encI(0x03, 3, 5, 6, 0), 0, trapLoad, faultUnmapped},
		{encI(0x03, 3, 5, 6, 0), end - 4, trapLoad, faultUnmapped},
		{encI(0x03, 3, 5, 6, 0), ^uint64(0), trapLoad, faultUnmapped},
		{encI(0x03, 3, 5, 6, 0), addressEnd - 4, trapLoad, faultUnmapped},
		{encS(0x23, 3, 6, 5, 0), end - 4, trapStore, faultUnmapped},
		{encS(0x23, 3, 6, 5, 0), 1 << 62, trapStore, faultUnmapped},
		{encR(0x2f, 3, 0x08, 5, 6, 0), testData + 4, trapLoad, faultMisaligned}, // lr.d
		{encR(0x2f, 3, 0x0c, 5, 6, 7), testData + 4, trapStore, faultMisaligned},
		{encR(0x2f, 2, 0x00, 5, 6, 7), testData + 2, trapStore, faultMisaligned},
		{encR(0x2f, 2, 0x00, 5, 6, 7), end, trapStore, faultUnmapped},
		{0, 0, trapIllegal, faultNone},
		{0x00100073, 0, trapBreak, faultNone},
		{0x00000073, 0, trapCall, faultNone},
		{encI(0x73, 2, 5, 0, 0x300), 0, trapIllegal, faultNone},  // mstatus
		{encI(0x73, 1, 5, 6, -0x400), 0, trapIllegal, faultNone}, // writing cycle
	} {
		oneEach(t, test.w, func(run func(*cpu) trap, c *cpu) {
			c.x[5], c.x[6] = 55, test.addr
			got := run(c)
			if got != test.trap || c.pc != testCode || c.count != 0 || c.x[5] != 55 {
				t.Errorf("%v at %#x: trap %d, pc %#x, count %d", decode(test.w).op, test.addr, got, c.pc, c.count)
			}
			if test.kind != faultNone && c.mem.fault.kind != test.kind {
				t.Errorf("%v at %#x: fault %d", decode(test.w).op, test.addr, c.mem.fault.kind)
			}
		})
	}
}

func TestZeroRegister(t *testing.T) {
	words := []uint32{
		encI(0x13, 0, 0, 6, 5), encR(0x33, 0, 0, 0, 6, 6), encI(0x03, 3, 0, 7, 0), 0x12345037, encR(0x2f, 3, 0, 0, 7, 6),
		encI(0x73, 2, 0, 0, 0xc00-0x1000), encR(0x53, 0, 0x71, 0, 5, 0), encR(0x53, 2, 0x51, 0, 5, 5), encI(0x67, 0, 0, 8, 0),
	}
	for _, e := range []func(*memory) engine{func(*memory) engine { return stepper{} }, func(m *memory) engine { return newBlocks(m) }} {
		c := newCPU(words...)
		c.x[6], c.x[7], c.x[8] = 99, testData, testCode
		c.mem.store(testData, 8, 1234)
		if trap := e(c.mem).run(c, 1000); trap != trapNone || c.x[0] != 0 || c.count != 1000 {
			t.Errorf("x0 is %d after %d instructions, trap %d", c.x[0], c.count, trap)
		}
	}
}

func TestAtomics(t *testing.T) {
	semantics := map[uint32]func(a, b uint64) uint64{
		0x01: func(_, b uint64) uint64 { return b }, 0x00: registerSemantics["add"], 0x04: registerSemantics["xor"], 0x0c: registerSemantics["and"],
		0x08: registerSemantics["or"], 0x10: registerSemantics["min"], 0x14: registerSemantics["max"], 0x18: registerSemantics["minu"], 0x1c: registerSemantics["maxu"],
	}
	for f5, f := range semantics {
		for f3 := uint32(2); f3 < 4; f3++ {
			oneEach(t, encR(0x2f, f3, f5<<2, 5, 6, 7), func(run func(*cpu) trap, c *cpu) {
				for _, a := range interesting {
					for _, b := range interesting {
						c.mem.store(testData, 8, a)
						c.x[6], c.x[7] = testData, b
						run(c)
						old, want := a, f(a, b)
						if f3 == 2 {
							old = word(a)
							want = bits32(f(word(a), word(b))) | a&^0xffffffff
							if f5 >= 0x18 {
								want = bits32(f(bits32(a), bits32(b))) | a&^0xffffffff
							}
						}
						if got, _ := c.mem.load(testData, 8); got != want || c.x[5] != old {
							t.Fatalf("amo %#x/%d of %#x, %#x: %#x, not %#x; rd %#x", f5, f3, a, b, got, want, c.x[5])
						}
					}
				}
			})
		}
	}
}

func TestReservation(t *testing.T) {
	lr, sc := encR(0x2f, 3, 0x08, 5, 6, 0), encR(0x2f, 3, 0x0c, 28, 7, 8)
	c := newCPU(lr, sc, sc)
	c.x[6], c.x[7], c.x[8] = testData, testData, 42
	stepper{}.run(c, 2)
	if v, _ := c.mem.load(testData, 8); v != 42 || c.x[28] != 0 {
		t.Errorf("sc after lr: %d in memory, rd %d", v, c.x[28])
	}
	c.x[8] = 43
	c.step() // without a reservation
	if v, _ := c.mem.load(testData, 8); v != 42 || c.x[28] != 1 {
		t.Errorf("sc without lr: %d in memory, rd %d", v, c.x[28])
	}
	c.pc, c.x[7] = testCode, testData+8
	stepper{}.run(c, c.count+2)
	if v, _ := c.mem.load(testData+8, 8); v != 0 || c.x[28] != 1 {
		t.Errorf("sc elsewhere: %d in memory, rd %d", v, c.x[28])
	}
}

func TestControlRegisters(t *testing.T) {
	c := newCPU(
		encI(0x73, 1, 5, 6, csrFcsr), encI(0x73, 2, 5, 0, csrFrm), encI(0x73, 3, 5, 7, csrFflags), encI(0x73, 5, 5, 3, csrFrm),
		encI(0x73, 6, 5, 8, csrFflags), encI(0x73, 7, 5, 1, csrFcsr), encI(0x73, 2, 5, 0, csrTime-0x1000), encI(0x73, 2, 5, 0, csrInstret-0x1000))
	c.x[6], c.x[7] = ^uint64(0), 5
	for i, want := range []struct{ rd, fcsr uint64 }{{0, 0xff}, {7, 0xff}, {31, 0xfa}, {7, 0x7a}, {0x1a, 0x7a}, {0x7a, 0x7a}, {77, 0x7a}, {7, 0x7a}} {
		if c.step(); c.x[5] != want.rd || uint64(c.fcsr) != want.fcsr {
			t.Errorf("instruction %d: rd %#x, fcsr %#x; want %#x", i, c.x[5], c.fcsr, want)
		}
	}
}

func TestMulHighAgainstBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 10000 {
		a, b := rng.Uint64(), rng.Uint64()
		if hi, _ := bits.Mul64(a, b); multiply(opMULHU, a, b) != hi {
			t.Fatal(a, b)
		}
	}
}
