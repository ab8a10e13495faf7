package rv64

import (
	"math"
	"math/bits"
	"unsafe"
)

// execute runs through blocks, from the start of b on, until it comes to an exit.
// limit allows all of b at least. It is one function, and long, so that the compiler
// keeps what it needs in registers and makes one jump table of it. In a function of
// that size the compiler inlines only the smallest (get64 and its like are made for
// it), and any call costs more than what most instructions do. Whatever breaks
// out of the switch is a branch that is taken; everything else continues.
func (e *blocks) execute(c *cpu, b *block, limit uint64) (outcome, trap) {
	x, f, m := &c.x, &c.f, c.mem
	left := limit - c.count
	follow := &b.code[0]
	for {
		in := follow
		follow = in.next()
		switch in.op {
		case opLUI:
			x[in.rd] = uint64(in.imm)
			continue
		case opADDI:
			x[in.rd] = x[in.rs1] + uint64(in.imm)
			continue
		case opSLTI:
			x[in.rd] = truth(int64(x[in.rs1]) < in.imm)
			continue
		case opSLTIU:
			x[in.rd] = truth(x[in.rs1] < uint64(in.imm))
			continue
		case opXORI:
			x[in.rd] = x[in.rs1] ^ uint64(in.imm)
			continue
		case opORI:
			x[in.rd] = x[in.rs1] | uint64(in.imm)
			continue
		case opANDI:
			x[in.rd] = x[in.rs1] & uint64(in.imm)
			continue
		case opSLLI:
			x[in.rd] = x[in.rs1] << (uint64(in.imm) & 63)
			continue
		case opSRLI:
			x[in.rd] = x[in.rs1] >> (uint64(in.imm) & 63)
			continue
		case opSRAI:
			x[in.rd] = uint64(int64(x[in.rs1]) >> (uint64(in.imm) & 63))
			continue
		case opADD:
			x[in.rd] = x[in.rs1] + x[in.rs2]
			continue
		case opSUB:
			x[in.rd] = x[in.rs1] - x[in.rs2]
			continue
		case opSLL:
			x[in.rd] = x[in.rs1] << (x[in.rs2] & 63)
			continue
		case opSLT:
			x[in.rd] = truth(int64(x[in.rs1]) < int64(x[in.rs2]))
			continue
		case opSLTU:
			x[in.rd] = truth(x[in.rs1] < x[in.rs2])
			continue
		case opXOR:
			x[in.rd] = x[in.rs1] ^ x[in.rs2]
			continue
		case opSRL:
			x[in.rd] = x[in.rs1] >> (x[in.rs2] & 63)
			continue
		case opSRA:
			x[in.rd] = uint64(int64(x[in.rs1]) >> (x[in.rs2] & 63))
			continue
		case opOR:
			x[in.rd] = x[in.rs1] | x[in.rs2]
			continue
		case opAND:
			x[in.rd] = x[in.rs1] & x[in.rs2]
			continue
		case opADDIW:
			x[in.rd] = word(x[in.rs1] + uint64(in.imm))
			continue
		case opSLLIW:
			x[in.rd] = word(x[in.rs1] << (uint64(in.imm) & 31))
			continue
		case opSRLIW:
			x[in.rd] = word(uint64(uint32(x[in.rs1]) >> (uint64(in.imm) & 31)))
			continue
		case opSRAIW:
			x[in.rd] = uint64(int32(x[in.rs1]) >> (uint64(in.imm) & 31))
			continue
		case opADDW:
			x[in.rd] = word(x[in.rs1] + x[in.rs2])
			continue
		case opSUBW:
			x[in.rd] = word(x[in.rs1] - x[in.rs2])
			continue
		case opSLLW:
			x[in.rd] = word(x[in.rs1] << (x[in.rs2] & 31))
			continue
		case opSRLW:
			x[in.rd] = word(uint64(uint32(x[in.rs1]) >> (x[in.rs2] & 31)))
			continue
		case opSRAW:
			x[in.rd] = uint64(int32(x[in.rs1]) >> (x[in.rs2] & 31))
			continue
		case opMUL:
			x[in.rd] = x[in.rs1] * x[in.rs2]
			continue
		case opMULW:
			x[in.rd] = word(x[in.rs1] * x[in.rs2])
			continue
		case opMULHU:
			x[in.rd], _ = bits.Mul64(x[in.rs1], x[in.rs2])
			continue
		case opMULH, opMULHSU, opDIV, opDIVU, opREM, opREMU, opDIVW, opDIVUW, opREMW, opREMUW:
			x[in.rd] = multiply(in.op, x[in.rs1], x[in.rs2])
			continue
		case opADDUW:
			x[in.rd] = x[in.rs2] + uint64(uint32(x[in.rs1]))
			continue
		case opSH1ADD:
			x[in.rd] = x[in.rs2] + x[in.rs1]<<1
			continue
		case opSH1ADDUW:
			x[in.rd] = x[in.rs2] + uint64(uint32(x[in.rs1]))<<1
			continue
		case opSH2ADD:
			x[in.rd] = x[in.rs2] + x[in.rs1]<<2
			continue
		case opSH2ADDUW:
			x[in.rd] = x[in.rs2] + uint64(uint32(x[in.rs1]))<<2
			continue
		case opSH3ADD:
			x[in.rd] = x[in.rs2] + x[in.rs1]<<3
			continue
		case opSH3ADDUW:
			x[in.rd] = x[in.rs2] + uint64(uint32(x[in.rs1]))<<3
			continue
		case opSLLIUW:
			x[in.rd] = uint64(uint32(x[in.rs1])) << (uint64(in.imm) & 63)
			continue
		case opANDN:
			x[in.rd] = x[in.rs1] &^ x[in.rs2]
			continue
		case opORN:
			x[in.rd] = x[in.rs1] | ^x[in.rs2]
			continue
		case opXNOR:
			x[in.rd] = ^(x[in.rs1] ^ x[in.rs2])
			continue
		case opROL:
			x[in.rd] = bits.RotateLeft64(x[in.rs1], int(x[in.rs2]))
			continue
		case opROR:
			x[in.rd] = bits.RotateLeft64(x[in.rs1], -int(x[in.rs2]))
			continue
		case opRORI:
			x[in.rd] = bits.RotateLeft64(x[in.rs1], -int(in.imm))
			continue
		case opROLW:
			x[in.rd] = word(uint64(bits.RotateLeft32(uint32(x[in.rs1]), int(x[in.rs2]))))
			continue
		case opRORW:
			x[in.rd] = word(uint64(bits.RotateLeft32(uint32(x[in.rs1]), -int(x[in.rs2]))))
			continue
		case opRORIW:
			x[in.rd] = word(uint64(bits.RotateLeft32(uint32(x[in.rs1]), -int(in.imm))))
			continue
		case opSEXTB:
			x[in.rd] = uint64(int8(x[in.rs1]))
			continue
		case opSEXTH:
			x[in.rd] = uint64(int16(x[in.rs1]))
			continue
		case opZEXTH:
			x[in.rd] = uint64(uint16(x[in.rs1]))
			continue
		case opREV8:
			x[in.rd] = bits.ReverseBytes64(x[in.rs1])
			continue
		case opMAX:
			x[in.rd] = uint64(max(int64(x[in.rs1]), int64(x[in.rs2])))
			continue
		case opMAXU:
			x[in.rd] = max(x[in.rs1], x[in.rs2])
			continue
		case opMIN:
			x[in.rd] = uint64(min(int64(x[in.rs1]), int64(x[in.rs2])))
			continue
		case opMINU:
			x[in.rd] = min(x[in.rs1], x[in.rs2])
			continue
		case opCTZ:
			x[in.rd] = uint64(bits.TrailingZeros64(x[in.rs1]))
			continue
		case opCLZ:
			x[in.rd] = uint64(bits.LeadingZeros64(x[in.rs1]))
			continue
		case opCPOP:
			x[in.rd] = uint64(bits.OnesCount64(x[in.rs1]))
			continue
		case opBEXTI:
			x[in.rd] = x[in.rs1] >> (uint64(in.imm) & 63) & 1
			continue
		case opCLZW, opCTZW, opCPOPW, opORCB, opBCLR, opBCLRI, opBEXT, opBINV, opBINVI, opBSET, opBSETI:
			x[in.rd] = bitwise(in.op, x[in.rs1], x[in.rs2], uint64(in.imm))
			continue
		case opLB:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^pageMask {
				p := unsafe.Add(t.page, addr&pageMask)
				x[in.rd] = uint64(int8(*(*byte)(p)))
				continue
			}
			v, ok := m.load(addr, 1)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd] = uint64(int8(v))
			continue
		case opLH:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^1) {
				p := unsafe.Add(t.page, addr&pageMask)
				x[in.rd] = uint64(int16(get16(p)))
				continue
			}
			v, ok := m.load(addr, 2)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd] = uint64(int16(v))
			continue
		case opLW:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^3) {
				p := unsafe.Add(t.page, addr&pageMask)
				x[in.rd] = word(uint64(get32(p)))
				continue
			}
			v, ok := m.load(addr, 4)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd] = word(v)
			continue
		case opLD:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr&pageMask)
				x[in.rd] = get64(p)
				continue
			}
			v, ok := m.load(addr, 8)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd] = v
			continue
		case opLBU:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^pageMask {
				p := unsafe.Add(t.page, addr&pageMask)
				x[in.rd] = uint64(*(*byte)(p))
				continue
			}
			v, ok := m.load(addr, 1)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd] = v
			continue
		case opLHU:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^1) {
				p := unsafe.Add(t.page, addr&pageMask)
				x[in.rd] = uint64(get16(p))
				continue
			}
			v, ok := m.load(addr, 2)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd] = v
			continue
		case opLWU:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^3) {
				p := unsafe.Add(t.page, addr&pageMask)
				x[in.rd] = uint64(get32(p))
				continue
			}
			v, ok := m.load(addr, 4)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd] = v
			continue
		case opSB:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr>>pageShift&tlbMask]; t.tag == addr&^pageMask {
				p := unsafe.Add(t.page, addr&pageMask)
				*(*byte)(p) = byte(x[in.rs2])
				continue
			}
			if !m.store(addr, 1, x[in.rs2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			}
			if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opSH:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^1) {
				p := unsafe.Add(t.page, addr&pageMask)
				put16(p, uint16(x[in.rs2]))
				continue
			}
			if !m.store(addr, 2, x[in.rs2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			}
			if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opSW:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^3) {
				p := unsafe.Add(t.page, addr&pageMask)
				put32(p, uint32(x[in.rs2]))
				continue
			}
			if !m.store(addr, 4, x[in.rs2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			}
			if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opSD:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr&pageMask)
				put64(p, x[in.rs2])
				continue
			}
			if !m.store(addr, 8, x[in.rs2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			}
			if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opBEQ:
			if x[in.rs1] != x[in.rs2] {
				continue
			}
		case opBNE:
			if x[in.rs1] == x[in.rs2] {
				continue
			}
		case opBLT:
			if int64(x[in.rs1]) >= int64(x[in.rs2]) {
				continue
			}
		case opBGE:
			if int64(x[in.rs1]) < int64(x[in.rs2]) {
				continue
			}
		case opBLTU:
			if x[in.rs1] >= x[in.rs2] {
				continue
			}
		case opBGEU:
			if x[in.rs1] < x[in.rs2] {
				continue
			}
		case opJump:
		case opJALR:
			target := (x[in.rs1] + uint64(in.imm2)) &^ 1
			x[in.rd] = uint64(in.imm)
			left -= uint64(in.n)
			to := e.jump[target>>1&jumpMask]
			if to.pc != target {
				if to = e.lookup(target); to == nil {
					c.pc, c.count = target, limit-left
					return outcomeLookup, trapNone
				}
			}
			if left < to.n {
				c.pc, c.count = target, limit-left
				return outcomeStep, trapNone
			}
			b = to
			follow = &to.code[0]
			continue
		case opStep:
			c.stop(b, uint64(in.n-1), limit, left)
			return outcomeStep, trapNone
		case opLRW, opSCW, opAMOSWAPW, opAMOADDW, opAMOXORW, opAMOANDW, opAMOORW, opAMOMINW, opAMOMAXW, opAMOMINUW, opAMOMAXUW,
			opLRD, opSCD, opAMOSWAPD, opAMOADDD, opAMOXORD, opAMOANDD, opAMOORD, opAMOMIND, opAMOMAXD, opAMOMINUD, opAMOMAXUD:
			if t := c.executeAtomic(in); t != trapNone {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, t
			}
			if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opFLW:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^3) {
				p := unsafe.Add(t.page, addr&pageMask)
				f[in.rd] = box(uint64(get32(p)))
				continue
			}
			v, ok := m.load(addr, 4)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			f[in.rd] = box(v)
			continue
		case opFLD:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr&pageMask)
				f[in.rd] = get64(p)
				continue
			}
			v, ok := m.load(addr, 8)
			if !ok {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			f[in.rd] = v
			continue
		case opFSW:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^3) {
				p := unsafe.Add(t.page, addr&pageMask)
				put32(p, uint32(f[in.rs2]))
				continue
			}
			if !m.store(addr, 4, f[in.rs2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			}
			if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opFSD:
			addr := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr>>pageShift&tlbMask]; t.tag == addr&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr&pageMask)
				put64(p, f[in.rs2])
				continue
			}
			if !m.store(addr, 8, f[in.rs2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			}
			if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opFMVXW:
			x[in.rd] = word(f[in.rs1])
			continue
		case opFMVWX:
			f[in.rd] = box(x[in.rs1] & 0xffffffff)
			continue
		case opFMVXD:
			x[in.rd] = f[in.rs1]
			continue
		case opFMVDX:
			f[in.rd] = x[in.rs1]
			continue
		case opFSGNJD:
			f[in.rd] = f[in.rs1]&^(1<<63) | f[in.rs2]&(1<<63)
			continue
		case opFSGNJND:
			f[in.rd] = f[in.rs1]&^(1<<63) | ^f[in.rs2]&(1<<63)
			continue
		case opFADDD:
			p, q := math.Float64frombits(f[in.rs1]), math.Float64frombits(f[in.rs2])
			if v, ok := c.quickSum(p, q); ok {
				f[in.rd] = v
				continue
			}
			if t := c.executeFloat(in); t != trapNone {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, t
			}
			continue
		case opFSUBD:
			p, q := math.Float64frombits(f[in.rs1]), math.Float64frombits(f[in.rs2])
			if v, ok := c.quickSum(p, -q); ok {
				f[in.rd] = v
				continue
			}
			if t := c.executeFloat(in); t != trapNone {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, t
			}
			continue
		case opFMULD:
			p, q := math.Float64frombits(f[in.rs1]), math.Float64frombits(f[in.rs2])
			if v, ok := c.quickProduct(p, q); ok {
				f[in.rd] = v
				continue
			}
			if t := c.executeFloat(in); t != trapNone {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, t
			}
			continue
		case opFMADDD:
			if v := math.FMA(math.Float64frombits(f[in.rs1]), math.Float64frombits(f[in.rs2]), math.Float64frombits(f[in.rs3])); c.fcsr&(7<<5|flagInexact) == flagInexact && math.Float64bits(v)>>52&0x7ff-2 < 0x7fd { // settled
				f[in.rd] = math.Float64bits(v)
				continue
			}
			if t := c.executeFloat(in); t != trapNone {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, t
			}
			continue
		case opSLLIThenADD:
			x[in.rd] = x[in.rs1] << (uint64(in.imm) & 63)
			x[in.rd2] = x[in.ra2] + x[in.rb2]
			continue
		case opADDThenADD:
			x[in.rd] = x[in.rs1] + x[in.rs2]
			x[in.rd2] = x[in.ra2] + x[in.rb2]
			continue
		case opADDIThenADD:
			x[in.rd] = x[in.rs1] + uint64(in.imm)
			x[in.rd2] = x[in.ra2] + x[in.rb2]
			continue
		case opADDThenADDI:
			x[in.rd] = x[in.rs1] + x[in.rs2]
			x[in.rd2] = x[in.ra2] + uint64(in.imm2)
			continue
		case opADDIThenADDI:
			x[in.rd] = x[in.rs1] + uint64(in.imm)
			x[in.rd2] = x[in.ra2] + uint64(in.imm2)
			continue
		case opLDThenADD:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = get64(p)
			} else if v, ok := m.load(addr1, 8); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd2] = x[in.ra2] + x[in.rb2]
			continue
		case opLDThenADDI:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = get64(p)
			} else if v, ok := m.load(addr1, 8); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd2] = x[in.ra2] + uint64(in.imm2)
			continue
		case opADDIThenLD:
			x[in.rd] = x[in.rs1] + uint64(in.imm)
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				x[in.rd2] = get64(p)
			} else if v, ok := m.load(addr2, 8); ok {
				x[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opADDThenLD:
			x[in.rd] = x[in.rs1] + x[in.rs2]
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				x[in.rd2] = get64(p)
			} else if v, ok := m.load(addr2, 8); ok {
				x[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opLUIThenLD:
			x[in.rd] = uint64(in.imm)
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				x[in.rd2] = get64(p)
			} else if v, ok := m.load(addr2, 8); ok {
				x[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opLDThenLD:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = get64(p)
			} else if v, ok := m.load(addr1, 8); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				x[in.rd2] = get64(p)
			} else if v, ok := m.load(addr2, 8); ok {
				x[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opSDThenSD:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				put64(p, x[in.rs2])
			} else if !m.store(addr1, 8, x[in.rs2]) {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapStore
			} else if m.codeStale {
				c.stop(b, uint64(in.size), limit, left)
				return outcomeLookup, trapNone
			}
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.write[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				put64(p, x[in.rb2])
			} else if !m.store(addr2, 8, x[in.rb2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			} else if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opSDThenADDI:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				put64(p, x[in.rs2])
			} else if !m.store(addr1, 8, x[in.rs2]) {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapStore
			} else if m.codeStale {
				c.stop(b, uint64(in.size), limit, left)
				return outcomeLookup, trapNone
			}
			x[in.rd2] = x[in.ra2] + uint64(in.imm2)
			continue
		case opADDIThenSD:
			x[in.rd] = x[in.rs1] + uint64(in.imm)
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.write[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				put64(p, x[in.rb2])
			} else if !m.store(addr2, 8, x[in.rb2]) {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapStore
			} else if m.codeStale {
				c.stop(b, uint64(in.n), limit, left)
				return outcomeLookup, trapNone
			}
			continue
		case opSDThenLD:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.write[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				put64(p, x[in.rs2])
			} else if !m.store(addr1, 8, x[in.rs2]) {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapStore
			} else if m.codeStale {
				c.stop(b, uint64(in.size), limit, left)
				return outcomeLookup, trapNone
			}
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				x[in.rd2] = get64(p)
			} else if v, ok := m.load(addr2, 8); ok {
				x[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opADDThenFLD:
			x[in.rd] = x[in.rs1] + x[in.rs2]
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				f[in.rd2] = get64(p)
			} else if v, ok := m.load(addr2, 8); ok {
				f[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opADDThenLWU:
			x[in.rd] = x[in.rs1] + x[in.rs2]
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^3) {
				p := unsafe.Add(t.page, addr2&pageMask)
				x[in.rd2] = uint64(get32(p))
			} else if v, ok := m.load(addr2, 4); ok {
				x[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opSLLIThenOR:
			x[in.rd] = x[in.rs1] << (uint64(in.imm) & 63)
			x[in.rd2] = x[in.ra2] | x[in.rb2]
			continue
		case opSRLIThenXOR:
			x[in.rd] = x[in.rs1] >> (uint64(in.imm) & 63)
			x[in.rd2] = x[in.ra2] ^ x[in.rb2]
			continue
		case opLBUThenSLLI:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^pageMask {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = uint64(*(*byte)(p))
			} else if v, ok := m.load(addr1, 1); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd2] = x[in.ra2] << (uint64(in.imm2) & 63)
			continue
		case opORThenXOR:
			x[in.rd] = x[in.rs1] | x[in.rs2]
			x[in.rd2] = x[in.ra2] ^ x[in.rb2]
			continue
		case opANDThenXOR:
			x[in.rd] = x[in.rs1] & x[in.rs2]
			x[in.rd2] = x[in.ra2] ^ x[in.rb2]
			continue
		case opXORThenADD:
			x[in.rd] = x[in.rs1] ^ x[in.rs2]
			x[in.rd2] = x[in.ra2] + x[in.rb2]
			continue
		case opLDThenMUL:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = get64(p)
			} else if v, ok := m.load(addr1, 8); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd2] = x[in.ra2] * x[in.rb2]
			continue
		case opLWUThenADD:
			addr1 := x[in.rs1] + uint64(in.imm)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^3) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = uint64(get32(p))
			} else if v, ok := m.load(addr1, 4); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			x[in.rd2] = x[in.ra2] + x[in.rb2]
			continue
		case opXORThenAND:
			x[in.rd] = x[in.rs1] ^ x[in.rs2]
			x[in.rd2] = x[in.ra2] & x[in.rb2]
			continue
		case opADDThenSLLI:
			x[in.rd] = x[in.rs1] + x[in.rs2]
			x[in.rd2] = x[in.ra2] << (uint64(in.imm2) & 63)
			continue
		case opORThenLBU:
			x[in.rd] = x[in.rs1] | x[in.rs2]
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^pageMask {
				p := unsafe.Add(t.page, addr2&pageMask)
				x[in.rd2] = uint64(*(*byte)(p))
			} else if v, ok := m.load(addr2, 1); ok {
				x[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opADDIThenBEQ:
			x[in.rd] = x[in.rs1] + uint64(in.imm2)
			if x[in.ra2] != x[in.rb2] {
				continue
			}
		case opADDIThenBNE:
			x[in.rd] = x[in.rs1] + uint64(in.imm2)
			if x[in.ra2] == x[in.rb2] {
				continue
			}
		case opADDIThenBLT:
			x[in.rd] = x[in.rs1] + uint64(in.imm2)
			if int64(x[in.ra2]) >= int64(x[in.rb2]) {
				continue
			}
		case opADDIThenBGE:
			x[in.rd] = x[in.rs1] + uint64(in.imm2)
			if int64(x[in.ra2]) < int64(x[in.rb2]) {
				continue
			}
		case opADDIThenBLTU:
			x[in.rd] = x[in.rs1] + uint64(in.imm2)
			if x[in.ra2] >= x[in.rb2] {
				continue
			}
		case opADDIThenBGEU:
			x[in.rd] = x[in.rs1] + uint64(in.imm2)
			if x[in.ra2] < x[in.rb2] {
				continue
			}
		case opLDThenBLTU:
			addr1 := x[in.rs1] + uint64(in.imm2)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = get64(p)
			} else if v, ok := m.load(addr1, 8); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			if x[in.ra2] >= x[in.rb2] {
				continue
			}
		case opLDThenBLT:
			addr1 := x[in.rs1] + uint64(in.imm2)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = get64(p)
			} else if v, ok := m.load(addr1, 8); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			if int64(x[in.ra2]) >= int64(x[in.rb2]) {
				continue
			}
		case opLDThenBNE:
			addr1 := x[in.rs1] + uint64(in.imm2)
			if t := &m.read[addr1>>pageShift&tlbMask]; t.tag == addr1&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr1&pageMask)
				x[in.rd] = get64(p)
			} else if v, ok := m.load(addr1, 8); ok {
				x[in.rd] = v
			} else {
				c.stop(b, uint64(in.size-1), limit, left)
				return outcomeFault, trapLoad
			}
			if x[in.ra2] == x[in.rb2] {
				continue
			}
		case opSH3ADDThenFLD:
			x[in.rd] = x[in.rs2] + x[in.rs1]<<3
			addr2 := x[in.ra2] + uint64(in.imm2)
			if t := &m.read[addr2>>pageShift&tlbMask]; t.tag == addr2&^(pageMask&^7) {
				p := unsafe.Add(t.page, addr2&pageMask)
				f[in.rd2] = get64(p)
			} else if v, ok := m.load(addr2, 8); ok {
				f[in.rd2] = v
			} else {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, trapLoad
			}
			continue
		case opRow:
			product, base := x[in.rs1]*x[in.rs2], x[in.ra2]+uint64(in.imm)
			x[in.rs3] = uint64(in.imm)
			x[in.rd2] = base
			x[in.rd] = product + base
			continue
		case opRotate:
			v := uint32(x[in.rs1])
			x[in.rd] = word(uint64(v >> (in.imm & 31)))
			x[in.rd2] = word(uint64(v << (in.imm2 & 31)))
			x[in.rs3] = x[in.rd] | x[in.rd2]
			continue
		default:
			if in.op < opFADDS || in.op >= opCount {
				// A fused pair, or an operation that every block has left to the stepper.
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeStep, trapNone
			}
			if c.quickFloat(in) {
				continue
			}
			if t := c.executeFloat(in); t != trapNone {
				c.stop(b, uint64(in.n-1), limit, left)
				return outcomeFault, t
			}
			continue
		}

		// in is a branch that is taken, to imm.
		left -= uint64(in.n)
		to := in.link
		if to == nil {
			if to = e.connect(in); to == nil {
				c.pc, c.count = uint64(in.imm), limit-left
				return outcomeLookup, trapNone
			}
		}
		if left < to.n {
			c.pc, c.count = to.pc, limit-left
			return outcomeStep, trapNone
		}
		b = to
		follow = &to.code[0]
	}
}
