package rv64

//go:generate go run ./internal/fusing

// Sequences of instructions that often follow one another are one operation in a
// block. Which is a matter of counting: see fused.txt. Each part happens as if it were
// alone, one after the other, and leaves the registers as they are then; only the
// dispatch is saved, and for a result that the next part uses the way through the
// register. The instructions stay in the block as they are, except that the first has
// the operation of the sequence: if it is left at one of them, it goes on with the next.

// A sequence is what is fused.
type sequence []element

// An element is one instruction of a sequence.
type element struct {
	op op
	// How many instructions before are those that gave the first and the second
	// operand. 0 is for any.
	a, b uint8
}

// byFirst are the numbers of the sequences, by their first operation.
var byFirst = func() (all [opFused][]op) {
	for i, s := range sequences {
		all[s[0].op] = append(all[s[0].op], op(i))
	}
	return all
}()

// original is the operation of an instruction alone.
func (in *inst) original() op {
	if in.op >= opFused {
		return sequences[in.op-opFused][0].op
	}
	return in.op
}

// matches reports whether code starts with a sequence.
func (s sequence) matches(code []inst) bool {
	if len(code) < len(s) {
		return false
	}
	for i, want := range s {
		if code[i].op != want.op ||
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

// What a block is divided for: as few operations as possible, and among these as
// many results passed on as possible.
const (
	costDispatch = 4
	gainPassed   = 1
)

// fuse divides a block into sequences.
func fuse(code []inst) []inst {
	code = foldConstants(code)
	var cost [blockLength + 2]int // from there to the end
	var choice [blockLength + 2]op
	for i := len(code) - 1; i >= 0; i-- {
		cost[i], choice[i] = costDispatch+cost[i+1], opFused
		for _, number := range byFirst[code[i].op] {
			s := sequences[number]
			if c := s.cost() + cost[min(i+len(s), len(code))]; c < cost[i] && s.matches(code[i:]) {
				cost[i], choice[i] = c, number
			}
		}
	}
	for i := 0; i < len(code); {
		number := choice[i]
		if number == opFused {
			i++
			continue
		}
		code[i].op = opFused + number
		i += len(sequences[number])
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
	}
	return c
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
