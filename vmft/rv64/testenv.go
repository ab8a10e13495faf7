package rv64

import "slices"

// The official tests of instructions (riscv-tests, environment p) run without a
// kernel: they start in machine mode, set control registers up, go to user mode by
// MRET, and end by an ECALL that means exit, or by a store to the word tohost. A
// program with a section of that name is one of these. It finds the control
// registers as places for values that have no effect, and all of it may be written
// and executed. Nothing else of a machine without a kernel is here: whatever else
// traps is a signal, as in any program.

// A testEnv is what such a program finds in place of a machine mode.
type testEnv struct {
	tohost uint64 // the address of the word, 0: it is no such program
	csrs   []csr  // sorted by number
}

type csr struct {
	number uint32
	value  uint64
}

const (
	csrSepc = 0x141
	csrMisa = 0x301
	csrMepc = 0x341

	insnSRET = 0x10200073
	insnWFI  = 0x10500073
	insnMRET = 0x30200073
)

// openTestEnv prepares the memory of a program that has the word.
func (k *kernel) openTestEnv(p *program) {
	k.env.tohost = p.tohost
	if p.tohost == 0 {
		return
	}
	for _, s := range p.segments {
		k.mem.protect(s.addr&^pageMask, (s.addr+s.memory+pageMask)&^pageMask, permRead|permWrite|permExec)
	}
	if page := p.tohost &^ pageMask; k.mem.areas.covers(page, page+pageSize) {
		k.mem.protect(page, page+pageSize, permRead|permExec) // so that a store is seen
	}
}

func (e *testEnv) at(number uint32) (int, bool) {
	return slices.BinarySearchFunc(e.csrs, number, func(c csr, n uint32) int { return int(c.number) - int(n) })
}

func (e *testEnv) read(number uint32) uint64 {
	if i, ok := e.at(number); ok {
		return e.csrs[i].value
	}
	if number == csrMisa {
		return 2<<62 | hwcap | 1<<('U'-'A')
	}
	return 0
}

func (e *testEnv) write(number uint32, v uint64) {
	i, ok := e.at(number)
	if !ok {
		e.csrs = slices.Insert(e.csrs, i, csr{number: number})
	}
	e.csrs[i].value = v
}

// privileged executes the instruction that the processor does not have, if it is one
// that a program in the test environment may use.
func (k *kernel) privileged() bool {
	c := k.cpu
	w, ok := c.mem.fetch(c.pc)
	if k.env.tohost == 0 || !ok || w&0x7f != 0x73 {
		return false
	}
	next := c.pc + 4
	switch number, kind := w>>20, w>>12&7; {
	case w == insnMRET:
		next = k.env.read(csrMepc) &^ 1
	case w == insnSRET:
		next = k.env.read(csrSepc) &^ 1
	case w == insnWFI, kind == 0 && w>>25 == 9: // SFENCE.VMA
	case kind&3 == 0 || number>>8&3 == 0 || !k.accessCSR(w, number, kind):
		return false
	}
	c.pc = next
	c.count++
	return true
}

// accessCSR is CSRRW and its like. It refuses to write what can only be read.
func (k *kernel) accessCSR(w, number, kind uint32) bool {
	c, rd, rs1 := k.cpu, w>>7&31, w>>15&31
	old, operand := k.env.read(number), c.x[rs1]
	if kind >= 4 {
		operand = uint64(rs1)
	}
	switch kind & 3 {
	case 2:
		operand |= old
	case 3:
		operand = old &^ operand
	}
	if kind&3 == 1 || rs1 != 0 {
		if number>>10 == 3 {
			return false
		}
		k.env.write(number, operand)
	}
	if rd != 0 {
		c.x[rd] = old
	}
	return true
}

// toHost does a store to the page of the word tohost. One to the word itself, of an odd
// number, ends the program: 1 is success.
func (k *kernel) toHost() bool {
	c := k.cpu
	page := k.env.tohost &^ pageMask
	if k.env.tohost == 0 || k.mem.fault.kind != faultAccess || k.mem.fault.addr&^pageMask != page {
		return false
	}
	w, _ := c.mem.fetch(c.pc)
	in := decode(w)
	addr, v := c.x[in.rs1]+uint64(in.imm), c.x[in.rs2]
	if in.op < opSB || in.op > opSD || addr != k.env.tohost || v&1 == 0 {
		k.mem.protect(page, page+pageSize, permRead|permWrite|permExec)
		t := c.step()
		k.mem.protect(page, page+pageSize, permRead|permExec)
		return t == trapNone
	}
	c.count++
	status := int(uint8(v))
	if v == 1 {
		status = 0
	}
	k.exit(status)
	return true
}
