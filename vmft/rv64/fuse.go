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
	opRotate

	opEnd // how many operations there are in blocks
)

var fusedPairs = map[[2]op]op{
	{opSLLI, opADD}:  opSLLIThenADD,
	{opADD, opADD}:   opADDThenADD,
	{opADDI, opADD}:  opADDIThenADD,
	{opADD, opADDI}:  opADDThenADDI,
	{opADDI, opADDI}: opADDIThenADDI,
	{opLD, opADD}:    opLDThenADD,
	{opLD, opADDI}:   opLDThenADDI,
	{opADDI, opLD}:   opADDIThenLD,
	{opADD, opLD}:    opADDThenLD,
	{opLUI, opLD}:    opLUIThenLD,
	{opLD, opLD}:     opLDThenLD,
	{opSD, opSD}:     opSDThenSD,
	{opSD, opADDI}:   opSDThenADDI,
	{opADDI, opSD}:   opADDIThenSD,
	{opSD, opLD}:     opSDThenLD,
	{opADD, opFLD}:   opADDThenFLD,
	{opADD, opLWU}:   opADDThenLWU,
	{opSLLI, opOR}:   opSLLIThenOR,
	{opSRLI, opXOR}:  opSRLIThenXOR,
	{opLBU, opSLLI}:  opLBUThenSLLI,
	{opOR, opXOR}:    opORThenXOR,
	{opAND, opXOR}:   opANDThenXOR,
	{opXOR, opADD}:   opXORThenADD,
	{opLD, opMUL}:    opLDThenMUL,
	{opLWU, opADD}:   opLWUThenADD,
	{opXOR, opAND}:   opXORThenAND,
	{opADD, opSLLI}:  opADDThenSLLI,
	{opOR, opLBU}:    opORThenLBU,
	{opADDI, opBEQ}:  opADDIThenBEQ,
	{opADDI, opBNE}:  opADDIThenBNE,
	{opADDI, opBLT}:  opADDIThenBLT,
	{opADDI, opBGE}:  opADDIThenBGE,
	{opADDI, opBLTU}: opADDIThenBLTU,
	{opADDI, opBGEU}: opADDIThenBGEU,
	{opLD, opBLTU}:   opLDThenBLTU,
	{opLD, opBLT}:    opLDThenBLT,
	{opLD, opBNE}:    opLDThenBNE,
}

// fuse makes one instruction of pairs, from the start of a block on.
func fuse(code []inst) []inst {
	out := code[:0]
	for i := 0; i < len(code); i++ {
		if i+2 < len(code) {
			if in, ok := rotate(code[i : i+3]); ok {
				out = append(out, in)
				i += 2
				continue
			}
		}
		if i+1 < len(code) {
			if in, ok := constant(code[i], code[i+1]); ok {
				out = append(out, in)
				i++
				continue
			}
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
