package rv64

import "unsafe"

// Limits of the block engine.
const (
	blockLength = 64      // instructions of a block, at most; it fits a uint8
	blockEnough = 16      // instructions from which on it ends at the next branch or jump
	codeLimit   = 1 << 20 // instructions that are kept decoded; then all are dropped
	jumpSize    = 1 << 14 // entries of the cache of indirect jumps
	jumpMask    = jumpSize - 1
	fusedLength = gatherLength // instructions of what is one operation, at most
)

// Operations that only blocks contain, besides those of the instruction set. The
// rest of them are the sequences of fused.go.
const (
	opStep    op = opCount + iota // leave it to the stepper
	opHead                        // what stands before a block; imm is its number
	opJump                        // go on where the last instruction has led: the end of a block
	opRET                         // JALR without a return address
	opGather                      // a double word of eight bytes; see gather
	opSUM                         // LUI, ADDI or ADD: this and the next two are parts of sequences only
	opIFEQUAL                     // BEQ or BNE
	opIFLESS                      // BLT, BGE, BLTU or BGEU
	opFused
)

// A block is a straight line of code: up to blockLength instructions that are
// executed one after the other unless a branch leaves, decoded across direct jumps. It is
// not continued for long after it may have been left: most code there is not reached from
// it, and would fill the host's caches.
//
// In it, the result of AUIPC and the return address of JAL are those of LUI, and what
// writes x0 writes the sink. The immediate of JALR has its return address in the lower
// 48 bits and the distance in the upper. That of a branch has the distance there, and
// in the lower 32 bits where the decoded block is that it leads to: so many bytes from
// the first decoded instruction, or 0 for not yet known. Its rd is 1 if it is taken when
// its operands are not equal or not less, and rs3 is what is to be flipped in the highest
// bytes of both, so that those with signs can be compared as if they had none. LUI, ADDI
// and ADD are the sum of two registers and the immediate, each.
type block struct {
	pc  uint64
	at  uint32   // where the first instruction is, in bytes from the first decoded
	n   uint64   // instructions, if no branch leaves
	pcs []uint64 // of each instruction, and of the one after the last
}

// A window is an instruction and those after it.
type window [fusedLength + 1]inst

// A landing is an entry of the cache of indirect jumps.
type landing struct {
	pc uint64 // odd if there is none
	at uint32
}

// blocks is the engine of decoded blocks. Instructions are counted on the way out
// of a block: each knows how many have been retired with it.
type blocks struct {
	code   []inst // each block with a head before and one instruction that is not reached after
	blocks []block
	byPC   map[uint64]uint32 // the number of the block that starts there; never ranged over
	jump   [jumpSize]landing
	mem    *memory
	byTree bool // how execute finds what to do; see pacer

	// What execute keeps here while it calls math.FMA, so that it need not keep it in
	// memory all the time.
	kept struct {
		in   uintptr // from the first decoded instruction on
		left uint64
	}
}

func newBlocks(m *memory) *blocks {
	e := &blocks{mem: m}
	e.forget()
	return e
}

func (e *blocks) forget() {
	e.code, e.blocks = e.code[:0], e.blocks[:0]
	e.byPC = make(map[uint64]uint32)
	for i := range e.jump {
		e.jump[i].pc = 1
	}
	e.mem.forgetCode()
}

// How execute ends.
type exit uint8

const (
	exitSlow  exit = iota // the instruction is to be done elsewhere
	exitTaken             // it is a branch that is taken, or a jump
	exitJump              // it was a jump to c.pc
)

func (e *blocks) run(c *cpu, limit uint64) trap {
	for c.count < limit {
		if e.mem.codeStale || len(e.code) >= codeLimit {
			e.forget()
		}
		b := e.lookup(c.pc)
		var t trap
		if b == nil || limit-c.count < b.n {
			t = c.step()
		} else {
			t = e.follow(c, b, limit)
		}
		if t != trapNone {
			return t
		}
	}
	return trapNone
}

// follow executes from the start of b on, which limit allows all of.
func (e *blocks) follow(c *cpu, b *block, limit uint64) trap {
	in, left := e.at(b.at), limit-c.count
	for {
		var why exit
		if e.byTree {
			in, left, why = e.executeByTree(c, in, left)
		} else {
			in, left, why = e.executeByTable(c, in, left)
		}
		switch why {
		case exitJump:
			c.count = limit - left
			return trapNone
		case exitTaken:
			b := e.of(in)
			c.count = limit - left + uint64(in.n)
			c.pc = b.pcs[in.n]
			if in.op != opJump {
				c.pc = b.pcs[in.n-1] + uint64(in.imm>>48)
			}
			if to := e.linked(c.pc); to != 0 {
				in.imm = in.imm&^(1<<32-1) | int64(to)
			}
			return trapNone
		}
		if o := in.original(); o == opStep {
			c.stop(e.of(in), in.n-1, limit-left)
			if c.count < limit {
				return c.step()
			}
			return trapNone
		} else if t := c.executeSlow(in, o); t != trapNone {
			c.stop(e.of(in), in.n-1, limit-left)
			return t
		}
		if e.mem.codeStale {
			c.stop(e.of(in), in.n, limit-left)
			return trapNone
		}
		in = &(*window)(unsafe.Pointer(in))[1]
	}
}

// executeSlow executes an instruction of a block that execute has left.
func (c *cpu) executeSlow(in *inst, o op) trap {
	if o >= opFADDS && c.quickFloat(in) {
		return trapNone
	}
	if o != in.op {
		single := *in
		single.op = o
		in = &single
	}
	return c.execute(in, nil)
}

func (e *blocks) at(at uint32) *inst { return &e.code[at/uint32(unsafe.Sizeof(inst{}))] }

// of returns the block that an instruction belongs to.
func (e *blocks) of(in *inst) *block {
	at := (uintptr(unsafe.Pointer(in)) - uintptr(unsafe.Pointer(unsafe.SliceData(e.code)))) / unsafe.Sizeof(inst{})
	for e.code[at].op != opHead {
		at--
	}
	return &e.blocks[e.code[at].imm]
}

// stop brings the processor up to date at an exit from a block that was entered at a
// count: after its first n instructions.
func (c *cpu) stop(b *block, n uint8, entered uint64) {
	c.pc = b.pcs[n]
	c.count = entered + uint64(n)
}

// lookup returns the block that starts at pc, or nil if there is no instruction
// that can be fetched. It is valid until the next lookup.
func (e *blocks) lookup(pc uint64) *block {
	i, ok := e.byPC[pc]
	if !ok {
		if i, ok = e.decode(pc); !ok {
			return nil
		}
		e.byPC[pc] = i
	}
	b := &e.blocks[i]
	e.jump[pc>>1&jumpMask] = landing{pc, b.at}
	return b
}

// linked returns where the block is that starts at pc, or 0 if there is none yet.
func (e *blocks) linked(pc uint64) uint32 {
	if i, ok := e.byPC[pc]; ok {
		return e.blocks[i].at
	}
	return 0
}

// mark tells the memory which pages a block was decoded from.
func (e *blocks) mark(b *block) {
	last := uint64(noTag)
	for _, pc := range b.pcs[:len(b.pcs)-1] {
		for _, addr := range [2]uint64{pc, pc + 3} {
			if n := addr >> pageShift; n != last {
				e.mem.markCode(addr)
				last = n
			}
		}
	}
}

// decode makes the block that starts at pc, and returns its number.
func (e *blocks) decode(pc uint64) (number uint32, ok bool) {
	b, code, ok := e.line(pc)
	if !ok {
		return 0, false
	}
	number = uint32(len(e.blocks))
	e.code = append(e.code, inst{op: opHead, imm: int64(number)})
	b.at = uint32(uintptr(len(e.code)) * unsafe.Sizeof(inst{}))
	e.code = append(e.code, fuse(code)...)
	for range fusedLength {
		e.code = append(e.code, inst{op: opStep})
	}
	e.code = e.code[:len(e.code)-fusedLength+1]
	e.blocks = append(e.blocks, b)
	return number, true
}

// line decodes the straight line of code that starts at pc.
func (e *blocks) line(pc uint64) (b block, code []inst, ok bool) {
	b = block{pc: pc, pcs: make([]uint64, 0, 16)}
	parted := false // whether there is another way on
	for at, ends := pc, false; !ends; {
		w, ok := e.mem.fetch(at)
		if b.n > 0 && (!ok || b.n == blockLength || at == pc || b.n >= blockEnough && parted) {
			code = append(code, inst{op: opJump, n: uint8(b.n)})
			b.pcs = append(b.pcs, at)
			break
		}
		if !ok {
			return block{}, nil, false
		}
		in := decode(w)
		b.n++
		b.pcs = append(b.pcs, at)
		in.n = uint8(b.n)
		after := at + uint64(in.size)
		at, ends = in.place(at)
		parted = at != after || in.op.branch()
		if in.op != opJump {
			code = append(code, in)
		}
		if ends {
			b.pcs = append(b.pcs, at)
		}
	}
	e.mark(&b)
	return b, code, true
}

// place fits an instruction that was decoded at pc into a block. It returns where
// the next one is, and whether the block ends with this one. A direct jump that
// leaves no return address becomes opJump: nothing is left to do but to go on there.
func (in *inst) place(pc uint64) (next uint64, ends bool) {
	next = pc + uint64(in.size)
	switch o := in.op; {
	case o == opAUIPC:
		in.op, in.imm = opLUI, int64(pc)+in.imm
	case o == opJAL:
		target := pc + uint64(in.imm)
		if in.op, in.imm, next = opLUI, int64(next), target; in.rd == 0 {
			in.op = opJump
			return next, false
		}
	case o == opJALR:
		in.imm, ends = in.imm<<48|int64(next), true
		if in.rd == 0 {
			in.op = opRET
		}
	case o.branch():
		in.imm, in.rd, in.rs3 = in.imm<<48, 0, 0
		if o == opBNE || o == opBGE || o == opBGEU {
			in.rd = 1
		}
		if o == opBLT || o == opBGE {
			in.rs3 = 0x80
		}
	case o == opFENCE:
		in.op = opADDI // of x0 to x0
		in.rd, in.rs1, in.imm = 0, 0, 0
	case o == opIllegal, o == opFENCEI, o == opECALL, o == opEBREAK, o >= opCSRRW && o <= opCSRRCI:
		in.op, ends = opStep, true
	case o.rounded() && in.imm != roundNearestEven && in.imm != roundDynamic && !(in.imm == roundToZero && o >= opFCVTWS && o <= opFCVTLUD):
		in.op, ends = opStep, true
	}
	switch in.op {
	case opLUI:
		in.rs1, in.rs2 = 0, 0
	case opADDI:
		in.rs2 = 0
	case opADD:
		in.imm = 0
	}
	if in.rd == 0 && in.op.writesX() {
		in.rd = sink
	}
	return next, ends
}
