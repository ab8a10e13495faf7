package rv64

// Encoders of the formats of wide instructions.

func encR(opcode, f3, f7, rd, rs1, rs2 uint32) uint32 {
	return f7<<25 | rs2<<20 | rs1<<15 | f3<<12 | rd<<7 | opcode
}

func encI(opcode, f3, rd, rs1 uint32, imm int32) uint32 {
	return uint32(imm)<<20 | rs1<<15 | f3<<12 | rd<<7 | opcode
}

func encS(opcode, f3, rs1, rs2 uint32, imm int32) uint32 {
	u := uint32(imm)
	return bitsOf(u, 11, 5)<<25 | rs2<<20 | rs1<<15 | f3<<12 | bitsOf(u, 4, 0)<<7 | opcode
}

func encB(f3, rs1, rs2 uint32, imm int32) uint32 {
	u := uint32(imm)
	return bitsOf(u, 12, 12)<<31 | bitsOf(u, 10, 5)<<25 | rs2<<20 | rs1<<15 | f3<<12 |
		bitsOf(u, 4, 1)<<8 | bitsOf(u, 11, 11)<<7 | 0x63
}

func encJ(rd uint32, imm int32) uint32 {
	u := uint32(imm)
	return bitsOf(u, 20, 20)<<31 | bitsOf(u, 10, 1)<<21 | bitsOf(u, 11, 11)<<20 | bitsOf(u, 19, 12)<<12 | rd<<7 | 0x6f
}

// signed extends the lowest n bits.
func signed(u uint32, n uint) int32 { return int32(u<<(32-n)) >> (32 - n) }

// expand gives the wide instruction that a compressed one stands for. ok is false
// for the reserved encodings.
func expand(h uint16) (wide uint32, ok bool) {
	c := uint32(h)
	if c == 0 {
		return 0, false
	}
	switch c & 3 {
	case 0:
		return expand0(c)
	case 1:
		return expand1(c)
	}
	return expand2(c)
}

// expand0 expands quadrant 0: loads and stores by one of eight base registers.
func expand0(c uint32) (uint32, bool) {
	rd, rs1 := bitsOf(c, 4, 2)+8, bitsOf(c, 9, 7)+8
	word := int32(bitsOf(c, 12, 10)<<3 | bitsOf(c, 6, 6)<<2 | bitsOf(c, 5, 5)<<6)
	double := int32(bitsOf(c, 12, 10)<<3 | bitsOf(c, 6, 5)<<6)
	switch c >> 13 {
	case 0: // c.addi4spn
		imm := bitsOf(c, 12, 11)<<4 | bitsOf(c, 10, 7)<<6 | bitsOf(c, 6, 6)<<2 | bitsOf(c, 5, 5)<<3
		return encI(0x13, 0, rd, 2, int32(imm)), imm != 0
	case 1: // c.fld
		return encI(0x07, 3, rd, rs1, double), true
	case 2: // c.lw
		return encI(0x03, 2, rd, rs1, word), true
	case 3: // c.ld
		return encI(0x03, 3, rd, rs1, double), true
	case 5: // c.fsd
		return encS(0x27, 3, rs1, rd, double), true
	case 6: // c.sw
		return encS(0x23, 2, rs1, rd, word), true
	case 7: // c.sd
		return encS(0x23, 3, rs1, rd, double), true
	}
	return 0, false
}

// expand1 expands quadrant 1: immediates, arithmetic, jumps and branches.
func expand1(c uint32) (uint32, bool) {
	rd := bitsOf(c, 11, 7)
	imm := signed(bitsOf(c, 12, 12)<<5|bitsOf(c, 6, 2), 6)
	switch c >> 13 {
	case 0: // c.addi, c.nop
		return encI(0x13, 0, rd, rd, imm), true
	case 1: // c.addiw
		return encI(0x1b, 0, rd, rd, imm), rd != 0
	case 2: // c.li
		return encI(0x13, 0, rd, 0, imm), true
	case 3:
		if rd == 2 { // c.addi16sp
			imm = signed(bitsOf(c, 12, 12)<<9|bitsOf(c, 6, 6)<<4|bitsOf(c, 5, 5)<<6|bitsOf(c, 4, 3)<<7|bitsOf(c, 2, 2)<<5, 10)
			return encI(0x13, 0, 2, 2, imm), imm != 0
		}
		return uint32(imm)<<12 | rd<<7 | 0x37, imm != 0 // c.lui
	case 4:
		return expandArithmetic(c)
	case 5: // c.j
		return encJ(0, signed(bitsOf(c, 12, 12)<<11|bitsOf(c, 11, 11)<<4|bitsOf(c, 10, 9)<<8|bitsOf(c, 8, 8)<<10|
			bitsOf(c, 7, 7)<<6|bitsOf(c, 6, 6)<<7|bitsOf(c, 5, 3)<<1|bitsOf(c, 2, 2)<<5, 12)), true
	}
	// c.beqz, c.bnez
	dist := signed(bitsOf(c, 12, 12)<<8|bitsOf(c, 11, 10)<<3|bitsOf(c, 6, 5)<<6|bitsOf(c, 4, 3)<<1|bitsOf(c, 2, 2)<<5, 9)
	return encB(c>>13&1, bitsOf(c, 9, 7)+8, 0, dist), true
}

func expandArithmetic(c uint32) (uint32, bool) {
	rd, rs2 := bitsOf(c, 9, 7)+8, bitsOf(c, 4, 2)+8
	shift := bitsOf(c, 12, 12)<<5 | bitsOf(c, 6, 2)
	switch bitsOf(c, 11, 10) {
	case 0: // c.srli
		return encI(0x13, 5, rd, rd, int32(shift)), true
	case 1: // c.srai
		return encI(0x13, 5, rd, rd, int32(shift|0x400)), true
	case 2: // c.andi
		return encI(0x13, 7, rd, rd, signed(shift, 6)), true
	}
	switch bitsOf(c, 12, 12)<<2 | bitsOf(c, 6, 5) {
	case 0: // c.sub
		return encR(0x33, 0, 0x20, rd, rd, rs2), true
	case 1: // c.xor
		return encR(0x33, 4, 0, rd, rd, rs2), true
	case 2: // c.or
		return encR(0x33, 6, 0, rd, rd, rs2), true
	case 3: // c.and
		return encR(0x33, 7, 0, rd, rd, rs2), true
	case 4: // c.subw
		return encR(0x3b, 0, 0x20, rd, rd, rs2), true
	case 5: // c.addw
		return encR(0x3b, 0, 0, rd, rd, rs2), true
	}
	return 0, false
}

// expand2 expands quadrant 2: what works on the stack, moves and jumps by register.
func expand2(c uint32) (uint32, bool) {
	rd, rs2 := bitsOf(c, 11, 7), bitsOf(c, 6, 2)
	loadDouble := int32(bitsOf(c, 12, 12)<<5 | bitsOf(c, 6, 5)<<3 | bitsOf(c, 4, 2)<<6)
	storeDouble := int32(bitsOf(c, 12, 10)<<3 | bitsOf(c, 9, 7)<<6)
	switch c >> 13 {
	case 0: // c.slli
		return encI(0x13, 1, rd, rd, int32(bitsOf(c, 12, 12)<<5|rs2)), true
	case 1: // c.fldsp
		return encI(0x07, 3, rd, 2, loadDouble), true
	case 2: // c.lwsp
		return encI(0x03, 2, rd, 2, int32(bitsOf(c, 12, 12)<<5|bitsOf(c, 6, 4)<<2|bitsOf(c, 3, 2)<<6)), rd != 0
	case 3: // c.ldsp
		return encI(0x03, 3, rd, 2, loadDouble), rd != 0
	case 4:
		return expandRegister(c, rd, rs2)
	case 5: // c.fsdsp
		return encS(0x27, 3, 2, rs2, storeDouble), true
	case 6: // c.swsp
		return encS(0x23, 2, 2, rs2, int32(bitsOf(c, 12, 9)<<2|bitsOf(c, 8, 7)<<6)), true
	}
	return encS(0x23, 3, 2, rs2, storeDouble), true // c.sdsp
}

func expandRegister(c, rd, rs2 uint32) (uint32, bool) {
	high := bitsOf(c, 12, 12) == 1
	switch {
	case !high && rs2 == 0: // c.jr
		return encI(0x67, 0, 0, rd, 0), rd != 0
	case !high: // c.mv
		return encR(0x33, 0, 0, rd, 0, rs2), true
	case rs2 != 0: // c.add
		return encR(0x33, 0, 0, rd, rd, rs2), true
	case rd != 0: // c.jalr
		return encI(0x67, 0, 1, rd, 0), true
	}
	return 0x00100073, true // c.ebreak
}
