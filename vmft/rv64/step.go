package rv64

import "math/bits"

// A trap is why a processor has stopped.
type trap uint8

const (
	trapNone    trap = iota // the limit is reached
	trapCall                // ECALL, not yet retired
	trapBreak               // EBREAK, not retired
	trapIllegal             // an instruction that there is not, not retired
	trapLoad                // what memory.fault says, at an instruction that was not retired
	trapStore
	trapFetch
)

// The register that takes what is written to x0. Decoded blocks name it.
const sink = 32

// A cpu is the processor: the registers of the thread that runs, and what is
// common to all. Arrays have as many elements as a byte has values, so that
// indexing them needs no check.
type cpu struct {
	x    [256]uint64 // x[0] is always zero
	f    [256]uint64 // singles are boxed: the upper half is all ones
	pc   uint64
	fcsr uint32 // as the program sees it: rounding mode and accrued exceptions

	count uint64 // instructions retired since the machine was made

	// The reservation of LR, made by the thread that runs.
	reserved    bool
	reservation uint64

	mem   *memory
	clock func() uint64 // what RDTIME reads
	bad   uint32        // the instruction of trapIllegal
}

// step executes one instruction. If it can't, it returns why, and nothing has changed.
func (c *cpu) step() trap {
	w, ok := c.mem.fetch(c.pc)
	if !ok {
		return trapFetch
	}
	in := decode(w)
	next := c.pc + uint64(in.size)
	t := c.execute(&in, &next)
	if t != trapNone {
		if t == trapIllegal {
			c.bad = w
			if in.size == 2 {
				c.bad &= 0xffff
			}
		}
		return t
	}
	c.x[0] = 0
	c.pc = next
	c.count++
	return trapNone
}

// execute does what in says. next is the address of the instruction after it,
// which jumps change.
func (c *cpu) execute(in *inst, next *uint64) trap {
	switch o := in.op; {
	case o >= opFLW:
		return c.executeFloat(in)
	case o >= opLRW:
		return c.executeAtomic(in)
	case o >= opCSRRW:
		return c.executeCSR(in)
	case o >= opMUL && o <= opREMUW:
		c.x[in.rd] = multiply(o, c.x[in.rs1], c.x[in.rs2])
	case o >= opADDUW:
		c.x[in.rd] = bitwise(o, c.x[in.rs1], c.x[in.rs2], uint64(in.imm))
	case o >= opLB && o <= opSD:
		return c.executeMemory(in)
	case o >= opADDI && o <= opSRAW:
		c.x[in.rd] = arithmetic(o, c.x[in.rs1], c.x[in.rs2], in.imm)
	case o == opLUI:
		c.x[in.rd] = uint64(in.imm)
	case o == opAUIPC:
		c.x[in.rd] = c.pc + uint64(in.imm)
	case o == opJAL:
		c.x[in.rd] = *next
		*next = c.pc + uint64(in.imm)
	case o == opJALR:
		target := (c.x[in.rs1] + uint64(in.imm)) &^ 1
		c.x[in.rd] = *next
		*next = target
	case o.branch():
		if taken(o, c.x[in.rs1], c.x[in.rs2]) {
			*next = c.pc + uint64(in.imm)
		}
	case o == opFENCE, o == opFENCEI: // memory is in order, and decoded code never stale
	case o == opECALL:
		return trapCall
	case o == opEBREAK:
		return trapBreak
	default:
		return trapIllegal
	}
	return trapNone
}

func taken(o op, a, b uint64) bool {
	switch o {
	case opBEQ:
		return a == b
	case opBNE:
		return a != b
	case opBLT:
		return int64(a) < int64(b)
	case opBGE:
		return int64(a) >= int64(b)
	case opBLTU:
		return a < b
	}
	return a >= b
}

// word sign-extends the lower half.
func word(v uint64) uint64 { return uint64(int32(v)) }

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func arithmetic(o op, a, b uint64, imm int64) uint64 {
	if o >= opADDI && o <= opSRAI || o >= opADDIW && o <= opSRAIW {
		b = uint64(imm)
	}
	switch o {
	case opADDI, opADD:
		return a + b
	case opSUB:
		return a - b
	case opSLTI, opSLT:
		return truth(int64(a) < int64(b))
	case opSLTIU, opSLTU:
		return truth(a < b)
	case opXORI, opXOR:
		return a ^ b
	case opORI, opOR:
		return a | b
	case opANDI, opAND:
		return a & b
	case opSLLI, opSLL:
		return a << (b & 63)
	case opSRLI, opSRL:
		return a >> (b & 63)
	case opSRAI, opSRA:
		return uint64(int64(a) >> (b & 63))
	case opADDIW, opADDW:
		return word(a + b)
	case opSUBW:
		return word(a - b)
	case opSLLIW, opSLLW:
		return word(a << (b & 31))
	case opSRLIW, opSRLW:
		return word(uint64(uint32(a) >> (b & 31)))
	}
	return uint64(int32(a) >> (b & 31)) // SRAIW, SRAW
}

func multiply(o op, a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	switch o {
	case opMUL:
		return lo
	case opMULHU:
		return hi
	case opMULH:
		return hi - uint64(int64(a)>>63)&b - uint64(int64(b)>>63)&a
	case opMULHSU:
		return hi - uint64(int64(a)>>63)&b
	case opMULW:
		return word(lo)
	case opDIV, opREM:
		return divideSigned(int64(a), int64(b), o == opREM)
	case opDIVU, opREMU:
		return divide(a, b, o == opREMU)
	case opDIVW, opREMW:
		return word(divideSigned(int64(int32(a)), int64(int32(b)), o == opREMW))
	}
	return word(divide(uint64(uint32(a)), uint64(uint32(b)), o == opREMUW))
}

// Division by zero gives all ones and the dividend; the least integer by -1 wraps.

func divideSigned(a, b int64, rest bool) uint64 {
	switch {
	case b == 0 && rest:
		return uint64(a)
	case b == 0:
		return ^uint64(0)
	case rest:
		return uint64(a % b)
	}
	return uint64(a / b)
}

func divide(a, b uint64, rest bool) uint64 {
	switch {
	case b == 0 && rest:
		return a
	case b == 0:
		return ^uint64(0)
	case rest:
		return a % b
	}
	return a / b
}

// bitwise does what Zba, Zbb and Zbs add.
func bitwise(o op, a, b, imm uint64) uint64 {
	switch o {
	case opADDUW:
		return b + uint64(uint32(a))
	case opSH1ADD, opSH2ADD, opSH3ADD:
		return b + a<<(1+o-opSH1ADD)
	case opSH1ADDUW, opSH2ADDUW, opSH3ADDUW:
		return b + uint64(uint32(a))<<(1+o-opSH1ADDUW)
	case opSLLIUW:
		return uint64(uint32(a)) << (imm & 63)
	case opANDN:
		return a &^ b
	case opORN:
		return a | ^b
	case opXNOR:
		return ^(a ^ b)
	case opMAX:
		return uint64(max(int64(a), int64(b)))
	case opMAXU:
		return max(a, b)
	case opMIN:
		return uint64(min(int64(a), int64(b)))
	case opMINU:
		return min(a, b)
	case opROL:
		return bits.RotateLeft64(a, int(b&63))
	case opROLW:
		return word(uint64(bits.RotateLeft32(uint32(a), int(b&31))))
	case opROR:
		return bits.RotateLeft64(a, -int(b&63))
	case opRORI:
		return bits.RotateLeft64(a, -int(imm&63))
	case opRORW:
		return word(uint64(bits.RotateLeft32(uint32(a), -int(b&31))))
	case opRORIW:
		return word(uint64(bits.RotateLeft32(uint32(a), -int(imm&31))))
	case opBCLR:
		return a &^ (1 << (b & 63))
	case opBCLRI:
		return a &^ (1 << (imm & 63))
	case opBEXT:
		return a >> (b & 63) & 1
	case opBEXTI:
		return a >> (imm & 63) & 1
	case opBINV:
		return a ^ 1<<(b&63)
	case opBINVI:
		return a ^ 1<<(imm&63)
	case opBSET:
		return a | 1<<(b&63)
	case opBSETI:
		return a | 1<<(imm&63)
	}
	return unary(o, a)
}

func unary(o op, a uint64) uint64 {
	switch o {
	case opCLZ:
		return uint64(bits.LeadingZeros64(a))
	case opCLZW:
		return uint64(bits.LeadingZeros32(uint32(a)))
	case opCTZ:
		return uint64(bits.TrailingZeros64(a))
	case opCTZW:
		return uint64(bits.TrailingZeros32(uint32(a)))
	case opCPOP:
		return uint64(bits.OnesCount64(a))
	case opCPOPW:
		return uint64(bits.OnesCount32(uint32(a)))
	case opSEXTB:
		return uint64(int8(a))
	case opSEXTH:
		return uint64(int16(a))
	case opZEXTH:
		return uint64(uint16(a))
	case opREV8:
		return bits.ReverseBytes64(a)
	}
	// ORC.B: each byte that is not zero becomes all ones.
	for i := uint(0); i < 64; i += 8 {
		if a>>i&0xff != 0 {
			a |= 0xff << i
		}
	}
	return a
}

func (c *cpu) executeMemory(in *inst) trap {
	addr := c.x[in.rs1] + uint64(in.imm)
	if o := in.op; o >= opSB {
		if !c.mem.store(addr, 1<<(o-opSB), c.x[in.rs2]) {
			return trapStore
		}
		return trapNone
	}
	size := uint64(1) << ((in.op - opLB) & 3)
	v, ok := c.mem.load(addr, size)
	if !ok {
		return trapLoad
	}
	switch in.op {
	case opLB:
		v = uint64(int8(v))
	case opLH:
		v = uint64(int16(v))
	case opLW:
		v = word(v)
	}
	c.x[in.rd] = v
	return trapNone
}

// The control registers that there are.
const (
	csrFflags  = 0x001
	csrFrm     = 0x002
	csrFcsr    = 0x003
	csrCycle   = 0xc00
	csrTime    = 0xc01
	csrInstret = 0xc02
)

func (c *cpu) executeCSR(in *inst) trap {
	var old uint64
	switch in.imm {
	case csrFflags:
		old = uint64(c.fcsr & 31)
	case csrFrm:
		old = uint64(c.fcsr >> 5)
	case csrFcsr:
		old = uint64(c.fcsr)
	case csrCycle, csrInstret:
		old = c.count
	case csrTime:
		old = c.clock()
	default:
		return trapIllegal
	}
	operand := c.x[in.rs1]
	if in.op >= opCSRRWI {
		operand = uint64(in.rs1)
	}
	switch in.op {
	case opCSRRS, opCSRRSI:
		operand |= old
	case opCSRRC, opCSRRCI:
		operand = old &^ operand
	}
	if write := in.op == opCSRRW || in.op == opCSRRWI || in.rs1 != 0; write {
		switch in.imm {
		case csrFflags:
			c.fcsr = c.fcsr&^31 | uint32(operand&31)
		case csrFrm:
			c.fcsr = c.fcsr&31 | uint32(operand&7)<<5
		case csrFcsr:
			c.fcsr = uint32(operand & 0xff)
		default:
			return trapIllegal // it can only be read
		}
	}
	c.x[in.rd] = old
	return trapNone
}
