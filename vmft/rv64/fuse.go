package rv64

// Pairs of instructions that often follow one another are one operation in a block.
// Which pairs is a matter of counting: these are the most frequent ones of Go
// programs. Both halves happen one after the other, with the registers as they are
// then; only the dispatch is saved. In a fused pair, size is the count of
// instructions retired with the first half. If the second is a branch, imm is its
// target and imm2 the immediate of the first.
const (
	opSLLIThenADD op = opFused + iota
	opADDThenADD
	opADDIThenADD
	opADDThenADDI
	opADDIThenADDI
	opLDThenADD
	opLDThenADDI
	opADDIThenLD
	opADDThenLD
	opLUIThenLD
	opLDThenLD
	opSDThenSD
	opSDThenADDI
	opADDIThenSD
	opSDThenLD
	opADDThenFLD
	opADDThenLWU
	opSLLIThenOR
	opSRLIThenXOR
	opLBUThenSLLI
	opORThenXOR
	opANDThenXOR
	opXORThenADD
	opLDThenMUL
	opLWUThenADD
	opXORThenAND
	opADDThenSLLI
	opORThenLBU
	opADDIThenBEQ
	opADDIThenBNE
	opADDIThenBLT
	opADDIThenBGE
	opADDIThenBLTU
	opADDIThenBGEU
	opLDThenBLTU
	opLDThenBLT
	opLDThenBNE
	opSH3ADDThenFLD
	opRotate
	opRow

	opEnd // how many operations there are in blocks
)

var fusedPairs = map[[2]op]op{
	{opSLLI, opADD}:   opSLLIThenADD,
	{opADD, opADD}:    opADDThenADD,
	{opADDI, opADD}:   opADDIThenADD,
	{opADD, opADDI}:   opADDThenADDI,
	{opADDI, opADDI}:  opADDIThenADDI,
	{opLD, opADD}:     opLDThenADD,
	{opLD, opADDI}:    opLDThenADDI,
	{opADDI, opLD}:    opADDIThenLD,
	{opADD, opLD}:     opADDThenLD,
	{opLUI, opLD}:     opLUIThenLD,
	{opLD, opLD}:      opLDThenLD,
	{opSD, opSD}:      opSDThenSD,
	{opSD, opADDI}:    opSDThenADDI,
	{opADDI, opSD}:    opADDIThenSD,
	{opSD, opLD}:      opSDThenLD,
	{opADD, opFLD}:    opADDThenFLD,
	{opADD, opLWU}:    opADDThenLWU,
	{opSH3ADD, opFLD}: opSH3ADDThenFLD,
	{opSLLI, opOR}:    opSLLIThenOR,
	{opSRLI, opXOR}:   opSRLIThenXOR,
	{opLBU, opSLLI}:   opLBUThenSLLI,
	{opOR, opXOR}:     opORThenXOR,
	{opAND, opXOR}:    opANDThenXOR,
	{opXOR, opADD}:    opXORThenADD,
	{opLD, opMUL}:     opLDThenMUL,
	{opLWU, opADD}:    opLWUThenADD,
	{opXOR, opAND}:    opXORThenAND,
	{opADD, opSLLI}:   opADDThenSLLI,
	{opOR, opLBU}:     opORThenLBU,
	{opADDI, opBEQ}:   opADDIThenBEQ,
	{opADDI, opBNE}:   opADDIThenBNE,
	{opADDI, opBLT}:   opADDIThenBLT,
	{opADDI, opBGE}:   opADDIThenBGE,
	{opADDI, opBLTU}:  opADDIThenBLTU,
	{opADDI, opBGEU}:  opADDIThenBGEU,
	{opLD, opBLTU}:    opLDThenBLTU,
	{opLD, opBLT}:     opLDThenBLT,
	{opLD, opBNE}:     opLDThenBNE,
}

// fuse makes one instruction of pairs, from the start of a block on.
func fuse(code []inst) []inst {
	code = foldConstants(code)
	out := code[:0]
	for i := 0; i < len(code); i++ {
		if i+3 < len(code) {
			if in, ok := row(code[i : i+4]); ok {
				out = append(out, in)
				i += 3
				continue
			}
		}
		if i+2 < len(code) {
			if in, ok := rotate(code[i : i+3]); ok {
				out = append(out, in)
				i += 2
				continue
			}
		}
		if i+1 < len(code) {
			if o := fusedPairs[[2]op{code[i].op, code[i+1].op}]; o != opIllegal {
				out = append(out, pair(o, code[i], code[i+1]))
				i++
				continue
			}
		}
		out = append(out, code[i])
	}
	return out
}

// pair puts two instructions into one.
func pair(o op, a, b inst) inst {
	in := a
	in.op, in.size, in.n = o, a.n, b.n
	in.rd2, in.ra2, in.rb2 = b.rd, b.rs1, b.rs2
	if b.op.branch() {
		in.imm, in.imm2 = b.imm, int32(a.imm)
	} else {
		in.imm2 = int32(b.imm)
	}
	return in
}

// foldConstants makes one instruction of the two that load a large constant.
func foldConstants(code []inst) []inst {
	out := code[:0]
	for i := 0; i < len(code); i++ {
		in := code[i]
		if i+1 < len(code) {
			if folded, ok := constant(in, code[i+1]); ok {
				in = folded
				i++
			}
		}
		out = append(out, in)
	}
	return out
}

// constant makes one load of a constant of the two that a large one takes.
func constant(a, b inst) (inst, bool) {
	if a.op != opLUI || b.op != opADDI && b.op != opADDIW || b.rs1 != a.rd || b.rd != a.rd || a.rd == sink {
		return inst{}, false
	}
	v := uint64(a.imm + b.imm)
	if b.op == opADDIW {
		v = word(v)
	}
	a.imm, a.n = int64(v), b.n
	return a, true
}

// rotate recognises the three instructions that rotate a word where there is none
// that does.
func rotate(code []inst) (inst, bool) {
	a, b, c := code[0], code[1], code[2]
	if a.op != opSRLIW || b.op != opSLLIW || c.op != opOR || a.rs1 != b.rs1 || a.rd == a.rs1 || a.rd == b.rd || b.rd == a.rs1 ||
		!(c.rs1 == a.rd && c.rs2 == b.rd || c.rs1 == b.rd && c.rs2 == a.rd) || a.rd == sink || b.rd == sink {
		return inst{}, false
	}
	return inst{op: opRotate, rd: a.rd, rd2: b.rd, rs3: c.rd, rs1: a.rs1, imm: a.imm, imm2: int32(b.imm), n: c.n}, true
}

// row recognises the four instructions that find a row of an array that is far from
// the stack pointer: its number times the columns, plus where the array is.
func row(code []inst) (inst, bool) {
	mul, lui, base, sum := code[0], code[1], code[2], code[3]
	if mul.op != opMUL || lui.op != opLUI || base.op != opADD || sum.op != opADD {
		return inst{}, false
	}
	if base.rs1 == lui.rd {
		base.rs1, base.rs2 = base.rs2, base.rs1
	}
	if sum.rs1 == base.rd {
		sum.rs1, sum.rs2 = sum.rs2, sum.rs1
	}
	if base.rs2 != lui.rd || sum.rs2 != base.rd || sum.rs1 != mul.rd || sum.rd != mul.rd ||
		mul.rd == sink || lui.rd == sink || base.rd == sink ||
		base.rs1 == lui.rd || base.rs1 == mul.rd || lui.rd == mul.rd || lui.rd == base.rd || base.rd == mul.rd {
		return inst{}, false
	}
	return inst{
		op: opRow, rd: mul.rd, rs1: mul.rs1, rs2: mul.rs2, rs3: lui.rd, imm: lui.imm,
		rd2: base.rd, ra2: base.rs1, n: sum.n,
	}, true
}
