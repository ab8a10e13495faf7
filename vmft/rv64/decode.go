package rv64

// An inst is a decoded instruction. What its fields mean beyond the registers
// depends on the operation:
//
//   - imm is the immediate, for branches and jumps the distance to the target, for
//     CSR instructions the number of the register (the immediate operand is in rs1),
//     for what rounds the rounding mode, for the illegal the word.
//   - In a block, the engine has made them fit; see block.go.
type inst struct {
	op   op
	rd   uint8
	rs1  uint8
	rs2  uint8
	rs3  uint8
	size uint8 // bytes: 2 or 4
	n    uint8 // in a block: instructions retired from its start, with this one
	imm  int64
}

func bitsOf(w uint32, hi, lo uint) uint32 { return w << (31 - hi) >> (31 - hi + lo) }

func immI(w uint32) int64 { return int64(int32(w) >> 20) }

func immS(w uint32) int64 { return int64(int32(w)>>25<<5) | int64(bitsOf(w, 11, 7)) }

func immB(w uint32) int64 {
	return int64(int32(w)>>31<<12) | int64(bitsOf(w, 7, 7)<<11|bitsOf(w, 30, 25)<<5|bitsOf(w, 11, 8)<<1)
}

func immJ(w uint32) int64 {
	return int64(int32(w)>>31<<20) | int64(bitsOf(w, 19, 12)<<12|bitsOf(w, 20, 20)<<11|bitsOf(w, 30, 21)<<1)
}

// The operations of major opcodes, by funct3, or by funct7 and funct3.
var (
	branchOps = [8]op{0: opBEQ, 1: opBNE, 4: opBLT, 5: opBGE, 6: opBLTU, 7: opBGEU}
	loadOps   = [8]op{opLB, opLH, opLW, opLD, opLBU, opLHU, opLWU, opIllegal}
	storeOps  = [8]op{opSB, opSH, opSW, opSD}
	immOps    = [8]op{0: opADDI, 2: opSLTI, 3: opSLTIU, 4: opXORI, 6: opORI, 7: opANDI}
	csrOps    = [8]op{1: opCSRRW, 2: opCSRRS, 3: opCSRRC, 5: opCSRRWI, 6: opCSRRSI, 7: opCSRRCI}

	regOps = [1024]op{
		0x00<<3 | 0: opADD, 0x20<<3 | 0: opSUB, 0x00<<3 | 1: opSLL, 0x00<<3 | 2: opSLT,
		0x00<<3 | 3: opSLTU, 0x00<<3 | 4: opXOR, 0x00<<3 | 5: opSRL, 0x20<<3 | 5: opSRA,
		0x00<<3 | 6: opOR, 0x00<<3 | 7: opAND,
		0x01<<3 | 0: opMUL, 0x01<<3 | 1: opMULH, 0x01<<3 | 2: opMULHSU, 0x01<<3 | 3: opMULHU,
		0x01<<3 | 4: opDIV, 0x01<<3 | 5: opDIVU, 0x01<<3 | 6: opREM, 0x01<<3 | 7: opREMU,
		0x10<<3 | 2: opSH1ADD, 0x10<<3 | 4: opSH2ADD, 0x10<<3 | 6: opSH3ADD,
		0x20<<3 | 7: opANDN, 0x20<<3 | 6: opORN, 0x20<<3 | 4: opXNOR,
		0x05<<3 | 4: opMIN, 0x05<<3 | 5: opMINU, 0x05<<3 | 6: opMAX, 0x05<<3 | 7: opMAXU,
		0x30<<3 | 1: opROL, 0x30<<3 | 5: opROR,
		0x24<<3 | 1: opBCLR, 0x24<<3 | 5: opBEXT, 0x34<<3 | 1: opBINV, 0x14<<3 | 1: opBSET,
	}
	regOps32 = [1024]op{
		0x00<<3 | 0: opADDW, 0x20<<3 | 0: opSUBW, 0x00<<3 | 1: opSLLW, 0x00<<3 | 5: opSRLW, 0x20<<3 | 5: opSRAW,
		0x01<<3 | 0: opMULW, 0x01<<3 | 4: opDIVW, 0x01<<3 | 5: opDIVUW, 0x01<<3 | 6: opREMW, 0x01<<3 | 7: opREMUW,
		0x04<<3 | 0: opADDUW, 0x10<<3 | 2: opSH1ADDUW, 0x10<<3 | 4: opSH2ADDUW, 0x10<<3 | 6: opSH3ADDUW,
		0x30<<3 | 1: opROLW, 0x30<<3 | 5: opRORW,
	}
	// Shifts and single-bit operations with an immediate of 6 bits, by the 6 bits
	// above it and funct3.
	shiftOps = [512]op{
		0x00<<3 | 1: opSLLI, 0x00<<3 | 5: opSRLI, 0x10<<3 | 5: opSRAI, 0x18<<3 | 5: opRORI,
		0x12<<3 | 1: opBCLRI, 0x12<<3 | 5: opBEXTI, 0x1a<<3 | 1: opBINVI, 0x0a<<3 | 1: opBSETI,
	}
	shiftOps32 = [1024]op{
		0x00<<3 | 1: opSLLIW, 0x00<<3 | 5: opSRLIW, 0x20<<3 | 5: opSRAIW, 0x30<<3 | 5: opRORIW,
	}
	// Operations with one operand, whose immediate is part of the opcode.
	unaryOps = map[uint32]op{
		0x600<<3 | 1: opCLZ, 0x601<<3 | 1: opCTZ, 0x602<<3 | 1: opCPOP, 0x604<<3 | 1: opSEXTB, 0x605<<3 | 1: opSEXTH,
		0x287<<3 | 5: opORCB, 0x6b8<<3 | 5: opREV8,
	}
	unaryOps32 = map[uint32]op{0x600<<3 | 1: opCLZW, 0x601<<3 | 1: opCTZW, 0x602<<3 | 1: opCPOPW}

	// The atomic operations on words, by funct5.
	atomicOps = [32]op{
		0x02: opLRW, 0x03: opSCW, 0x01: opAMOSWAPW, 0x00: opAMOADDW, 0x04: opAMOXORW, 0x0c: opAMOANDW,
		0x08: opAMOORW, 0x10: opAMOMINW, 0x14: opAMOMAXW, 0x18: opAMOMINUW, 0x1c: opAMOMAXUW,
	}
	fmaOps = [4]op{opFMADDS, opFMSUBS, opFNMSUBS, opFNMADDS}
)

// decode decodes an instruction from its first four bytes, of which it uses two if
// it is compressed.
func decode(w uint32) inst {
	if w&3 != 3 {
		wide, ok := expand(uint16(w))
		if !ok {
			return inst{op: opIllegal, size: 2, imm: int64(uint16(w))}
		}
		in := decodeWide(wide)
		in.size = 2
		if in.op == opIllegal {
			in.imm = int64(uint16(w))
		}
		return in
	}
	return decodeWide(w)
}

func decodeWide(w uint32) inst {
	in := inst{
		size: 4,
		rd:   uint8(bitsOf(w, 11, 7)),
		rs1:  uint8(bitsOf(w, 19, 15)),
		rs2:  uint8(bitsOf(w, 24, 20)),
	}
	f3, f7 := bitsOf(w, 14, 12), bitsOf(w, 31, 25)
	switch w & 0x7f {
	case 0x37:
		in.op, in.imm = opLUI, int64(int32(w&^0xfff))
	case 0x17:
		in.op, in.imm = opAUIPC, int64(int32(w&^0xfff))
	case 0x6f:
		in.op, in.imm = opJAL, immJ(w)
	case 0x67:
		if f3 == 0 {
			in.op, in.imm = opJALR, immI(w)
		}
	case 0x63:
		in.op, in.imm = branchOps[f3], immB(w)
	case 0x03:
		in.op, in.imm = loadOps[f3], immI(w)
	case 0x23:
		in.op, in.imm = storeOps[f3], immS(w)
	case 0x13, 0x1b:
		in.decodeImmediate(w, f3)
	case 0x33:
		in.op = regOps[f7<<3|f3]
	case 0x3b:
		if in.op = regOps32[f7<<3|f3]; f7 == 4 && f3 == 4 && in.rs2 == 0 {
			in.op = opZEXTH
		}
	case 0x0f:
		in.op = [8]op{opFENCE, opFENCEI}[f3]
	case 0x73:
		in.decodeSystem(w, f3)
	case 0x2f:
		in.decodeAtomic(f3, f7)
	case 0x07, 0x27, 0x43, 0x47, 0x4b, 0x4f, 0x53:
		in.decodeFloat(w, f3, f7)
	}
	if in.op == opIllegal {
		return inst{op: opIllegal, size: 4, imm: int64(w)}
	}
	return in
}

func (in *inst) decodeImmediate(w, f3 uint32) {
	in.imm = immI(w)
	word := w&0x7f == 0x1b
	switch {
	case f3 != 1 && f3 != 5:
		if in.op = immOps[f3]; word {
			if in.op = opIllegal; f3 == 0 {
				in.op = opADDIW
			}
		}
	case !word:
		in.imm = int64(bitsOf(w, 25, 20))
		if in.op = shiftOps[w>>26<<3|f3]; in.op == opIllegal {
			in.op = unaryOps[w>>20<<3|f3]
		}
	case w>>26 == 2 && f3 == 1:
		in.op, in.imm = opSLLIUW, int64(bitsOf(w, 25, 20))
	default:
		in.imm = int64(in.rs2)
		if in.op = shiftOps32[w>>25<<3|f3]; in.op == opIllegal {
			in.op = unaryOps32[w>>20<<3|f3]
		}
	}
}

func (in *inst) decodeSystem(w, f3 uint32) {
	switch {
	case w == 0x00000073:
		in.op = opECALL
	case w == 0x00100073:
		in.op = opEBREAK
	default:
		in.op, in.imm = csrOps[f3], int64(w>>20)
	}
}

func (in *inst) decodeAtomic(f3, f7 uint32) {
	base := atomicOps[f7>>2] // the two bits below order, which is total here
	switch {
	case base == opIllegal || f3 != 2 && f3 != 3 || base == opLRW && in.rs2 != 0:
		return
	case f3 == 3:
		base += opLRD - opLRW
	}
	in.op = base
}

func (in *inst) decodeFloat(w, f3, f7 uint32) {
	switch w & 0x7f {
	case 0x07:
		in.op, in.imm = [8]op{2: opFLW, 3: opFLD}[f3], immI(w)
		return
	case 0x27:
		in.op, in.imm = [8]op{2: opFSW, 3: opFSD}[f3], immS(w)
		return
	case 0x53:
		in.decodeFloatOp(f3, f7)
	default:
		in.op = fmaOps[w>>2&3]
		in.rs3 = uint8(w >> 27)
		if f7&3 == 1 {
			in.op += opFADDD - opFADDS
		} else if f7&3 != 0 {
			in.op = opIllegal
		}
	}
	if in.op.rounded() {
		if in.imm = int64(f3); f3 == 5 || f3 == 6 {
			in.op = opIllegal
		}
	}
}

// decodeFloatOp decodes the operations of major opcode OP-FP. The low two bits of
// funct7 are the format: 0 single, 1 double.
func (in *inst) decodeFloatOp(f3, f7 uint32) {
	double := f7&3 == 1
	if f7&3 > 1 {
		return
	}
	pick := func(s, d op) op {
		if double {
			return d
		}
		return s
	}
	by3 := func(s, d [3]op) op {
		if f3 > 2 {
			return opIllegal
		}
		return pick(s[f3], d[f3])
	}
	unary := func(o op) op {
		if in.rs2 != 0 {
			return opIllegal
		}
		return o
	}
	four := func(first op) op { // w, wu, l, lu
		if in.rs2 > 3 {
			return opIllegal
		}
		return first + op(in.rs2)
	}
	switch f7 >> 2 {
	case 0x00:
		in.op = pick(opFADDS, opFADDD)
	case 0x01:
		in.op = pick(opFSUBS, opFSUBD)
	case 0x02:
		in.op = pick(opFMULS, opFMULD)
	case 0x03:
		in.op = pick(opFDIVS, opFDIVD)
	case 0x0b:
		in.op = unary(pick(opFSQRTS, opFSQRTD))
	case 0x04:
		in.op = by3([3]op{opFSGNJS, opFSGNJNS, opFSGNJXS}, [3]op{opFSGNJD, opFSGNJND, opFSGNJXD})
	case 0x05:
		in.op = by3([3]op{opFMINS, opFMAXS}, [3]op{opFMIND, opFMAXD})
	case 0x14:
		in.op = by3([3]op{opFLES, opFLTS, opFEQS}, [3]op{opFLED, opFLTD, opFEQD})
	case 0x08: // between the formats: rs2 is the one that is converted from
		if double && in.rs2 == 0 {
			in.op = opFCVTDS
		} else if !double && in.rs2 == 1 {
			in.op = opFCVTSD
		}
	case 0x18:
		in.op = four(pick(opFCVTWS, opFCVTWD))
	case 0x1a:
		in.op = four(pick(opFCVTSW, opFCVTDW))
	case 0x1c:
		in.op = unary([8]op{pick(opFMVXW, opFMVXD), pick(opFCLASSS, opFCLASSD)}[f3])
	case 0x1e:
		if f3 == 0 {
			in.op = unary(pick(opFMVWX, opFMVDX))
		}
	}
}
