package rv64

//go:generate go run ./internal/fusing

// Sequences of instructions that often follow one another are one operation in a
// block. Which is a matter of counting: see fused.txt. Each part happens as if it were
// alone, one after the other, and leaves the registers as they are then; only the
// dispatch is saved, and for a result that the next part uses the way through the
// register. The instructions stay in the block as they are, except that the first has
// the operation of the sequence: if it is left at one of them, it goes on with the next.
//
// A part may stand for several instructions, which operands in the block tell apart: see
// covers. So fewer operations do for more of the code. That matters because a host predicts
// a limited number of jumps, and keeps a limited amount of its own code at hand.

// A sequence is what is fused.
type sequence []element

// An element is one instruction of a sequence.
type element struct {
	op op
	// How many instructions before are those that gave the first and the second
	// operand. 0 is for any.
	a, b uint8
}

// A candidate is a sequence that may start with a pair of operations.
type candidate struct {
	sequence
	number op
	cost   int
}

// candidates are the sequences by their first two operations; the first list is empty.
var candidates = func() (all struct {
	lists [][]candidate
	of    [opFused][opFused]uint16
}) {
	all.lists = make([][]candidate, 1)
	for i, s := range sequences {
		for first := range opFused {
			for second := range opFused {
				if !s[0].op.covers(first) || !s[1].op.covers(second) {
					continue
				}
				list := &all.of[first][second]
				if *list == 0 {
					*list = uint16(len(all.lists))
					all.lists = append(all.lists, nil)
				}
				all.lists[*list] = append(all.lists[*list], candidate{s, op(i), s.cost()})
			}
		}
	}
	return all
}()

// candidatesOf returns the sequences that may start with two operations.
func candidatesOf(first, second op) []candidate {
	return candidates.lists[candidates.of[first][second]]
}

// original is the operation of an instruction alone, if it is not one that stands for
// several: those are never left to be done elsewhere.
func (in *inst) original() op {
	switch {
	case in.op >= opFused:
		return sequences[in.op-opFused][0].op
	case in.op == opGather:
		return opLBU
	}
	return in.op
}

// length is how many instructions its operation is made of.
func (in *inst) length() int {
	switch {
	case in.op >= opFused:
		return len(sequences[in.op-opFused])
	case in.op == opGather:
		return gatherLength
	}
	return 1
}

// matches reports whether code starts with a sequence.
func (s sequence) matches(code []inst) bool {
	if len(code) < len(s) {
		return false
	}
	for i, want := range s {
		if !want.op.covers(code[i].op) ||
			want.a > 0 && !gives(code[i-int(want.a):i], code[i].rs1) ||
			want.b > 0 && !gives(code[i-int(want.b):i], code[i].rs2) {
			return false
		}
	}
	return true
}

// gives reports whether the first instruction is the last one to write a register.
func gives(code []inst, register uint8) bool {
	if code[0].rd != register {
		return false
	}
	for _, in := range code[1:] {
		if in.rd == register && in.op.writesX() {
			return false
		}
	}
	return true
}

// covers reports whether a part of a sequence stands for an operation.
func (o op) covers(other op) bool {
	switch o {
	case opSUM:
		return other == opLUI || other == opADDI || other == opADD
	case opIFEQUAL:
		return other == opBEQ || other == opBNE
	case opIFLESS:
		return other >= opBLT && other <= opBGEU
	}
	return o == other
}

// What a block is divided for: as few operations as possible, and among these as
// many results passed on and as few parts that stand for several as possible.
const (
	costDispatch = 8
	costSeveral  = 1
	gainPassed   = 2
)

// fuse divides a block into sequences.
func fuse(code []inst) []inst {
	code = foldConstants(code)
	var cost [blockLength + 2]int  // from there to the end
	var choice [blockLength + 2]op // what starts there
	for i := len(code) - 1; i >= 0; i-- {
		cost[i], choice[i] = costDispatch+cost[i+1], code[i].op
		if i+1 == len(code) {
			continue
		}
		if gathers(code[i:]) {
			cost[i], choice[i] = costDispatch+cost[i+gatherLength], opGather
			continue
		}
		list := candidatesOf(code[i].op, code[i+1].op)
		for j := range list {
			s := &list[j]
			if i+len(s.sequence) > len(code) {
				continue
			}
			if c := s.cost + cost[i+len(s.sequence)]; c < cost[i] && s.matches(code[i:]) {
				cost[i], choice[i] = c, opFused+s.number
			}
		}
	}
	for i := 0; i < len(code); {
		code[i].op = choice[i]
		i += code[i].length()
	}
	return code
}

// cost is what a sequence costs.
func (s sequence) cost() int {
	c := costDispatch
	for _, e := range s {
		if e.a > 0 || e.b > 0 {
			c -= gainPassed
		}
		if e.op >= opSUM {
			c += costSeveral
		}
	}
	return c
}

// gatherLength is how many instructions put eight bytes together.
const gatherLength = 22

// gathers reports whether code starts with the instructions by which compilers load a
// double word that may not be aligned: they load a byte, and seven times the next, move
// it up and put it to the rest.
func gathers(code []inst) bool {
	if len(code) < gatherLength || code[0].op != opLBU || code[0].rs1 == code[0].rd {
		return false
	}
	all, one := code[0], code[1].rd
	if all.rd == sink || one == sink || one == all.rd || one == all.rs1 {
		return false
	}
	for i := range 7 {
		load, move, put := code[1+3*i], code[2+3*i], code[3+3*i]
		if load.op != opLBU || load.rd != one || load.rs1 != all.rs1 || load.imm != all.imm+int64(i)+1 ||
			move.op != opSLLI || move.rd != one || move.rs1 != one || move.imm != int64(8*i+8) ||
			put.op != opOR || put.rd != all.rd || put.rs1+put.rs2 != one+all.rd || put.rs1 != one && put.rs1 != all.rd {
			return false
		}
	}
	return true
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
