package rv64

import "unsafe"

// Limits of the block engine.
const (
	blockLength = 64      // instructions of a block, at most; it fits a uint8
	blockLimit  = 1 << 16 // blocks that are kept; then all are dropped
	jumpSize    = 1 << 13 // entries of the cache of indirect jumps
	jumpMask    = jumpSize - 1
)

// Operations that only blocks contain, besides those of the instruction set. The
// rest of them, made of two instructions, are in fuse.go.
const (
	opStep op = opCount + iota // leave it to the stepper
	opJump                     // go on at imm: the end of a block, or a jump to its start
	opFused
)

// A block is a straight line of code: up to blockLength instructions that are
// executed one after the other unless a branch leaves, decoded across direct jumps.
//
// In it, the result of AUIPC and the return address of JAL are those of LUI, the
// immediate of a branch is the target, JALR has its return address in imm and its
// immediate in imm2, and what writes x0 writes the sink.
type block struct {
	pc   uint64
	n    uint64   // instructions, if no branch leaves
	code []inst   // ends with an operation that leaves, and one that is not reached
	pcs  []uint64 // of each instruction, and of the one after the last
}

// blocks is the engine of decoded blocks. Instructions are counted on the way out
// of a block: each knows how many have been retired with it.
type blocks struct {
	byPC map[uint64]*block // never ranged over
	jump [jumpSize]*block
	none block // what stands in jump for nothing: its pc is odd
	mem  *memory
}

func newBlocks(m *memory) *blocks {
	e := &blocks{mem: m, none: block{pc: 1}}
	e.forget()
	return e
}

func (e *blocks) forget() {
	e.byPC = make(map[uint64]*block)
	for i := range e.jump {
		e.jump[i] = &e.none
	}
	e.mem.forgetCode()
}

// How a run through blocks ends.
type outcome uint8

const (
	outcomeLookup outcome = iota // go on at c.pc, with a block that has to be found
	outcomeStep                  // the next instruction is for the stepper
	outcomeFault                 // an instruction trapped
)

func (e *blocks) run(c *cpu, limit uint64) trap {
	for c.count < limit {
		if e.mem.codeStale || len(e.byPC) >= blockLimit {
			e.forget()
		}
		b := e.lookup(c.pc)
		if b == nil || limit-c.count < b.n {
			if t := c.step(); t != trapNone {
				return t
			}
			continue
		}
		out, t := e.execute(c, b, limit)
		switch {
		case out == outcomeFault:
			return t
		case out == outcomeStep && c.count < limit:
			if t := c.step(); t != trapNone {
				return t
			}
		}
	}
	return trapNone
}

// lookup returns the block that starts at pc, or nil if there is no instruction
// that can be fetched, or no room for another block.
func (e *blocks) lookup(pc uint64) *block {
	slot := &e.jump[pc>>1&jumpMask]
	if (*slot).pc == pc {
		return *slot
	}
	b := e.byPC[pc]
	if b == nil {
		if len(e.byPC) >= blockLimit {
			return nil
		}
		if b = e.decode(pc); b == nil {
			return nil
		}
		e.byPC[pc] = b
	}
	e.jump[pc>>1&jumpMask] = b
	return b
}

// mark tells the memory which pages a block was decoded from.
func (e *blocks) mark(b *block) {
	for _, pc := range b.pcs[:len(b.pcs)-1] {
		e.mem.markCode(pc)
		e.mem.markCode(pc + 3)
	}
}

// decode makes the block that starts at pc.
func (e *blocks) decode(pc uint64) *block {
	b := &block{pc: pc, code: make([]inst, 0, 16), pcs: make([]uint64, 0, 16)}
	for at := pc; ; {
		if b.n > 0 && (b.n == blockLength || at == pc) {
			b.leave(at)
			break
		}
		w, ok := e.mem.fetch(at)
		if !ok {
			if b.n == 0 {
				return nil
			}
			b.leave(at)
			break
		}
		in := decode(w)
		b.n++
		b.pcs = append(b.pcs, at)
		in.n = uint8(b.n)
		next, ends := in.place(at)
		if in.op != opJump {
			b.code = append(b.code, in)
		}
		if at = next; ends {
			b.pcs = append(b.pcs, at)
			break
		}
	}
	b.code = fuse(b.code)
	b.code = append(b.code, inst{op: opStep}) // not reached: what follows the last may be looked at
	e.mark(b)
	return b
}

// leave ends a block with a jump.
func (b *block) leave(to uint64) {
	b.code = append(b.code, inst{op: opJump, n: uint8(b.n), imm: int64(to)})
	b.pcs = append(b.pcs, to)
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
		in.imm2, in.imm, ends = int32(in.imm), int64(next), true
	case o.branch():
		in.imm += int64(pc)
	case o == opFENCE:
		in.op = opADDI // of x0 to x0
		in.rd, in.rs1, in.imm = 0, 0, 0
	case o == opIllegal, o == opFENCEI, o == opECALL, o == opEBREAK, o >= opCSRRW && o <= opCSRRCI:
		in.op, ends = opStep, true
	case o.rounded() && in.imm != roundNearestEven && in.imm != roundDynamic && !(in.imm == roundToZero && o >= opFCVTWS && o <= opFCVTLUD):
		in.op, ends = opStep, true
	}
	if in.rd == 0 && in.op.writesX() {
		in.rd = sink
	}
	return next, ends
}

// next is the instruction after in in its block.
func (in *inst) next() *inst {
	return (*inst)(unsafe.Add(unsafe.Pointer(in), unsafe.Sizeof(inst{})))
}

// connect finds the block that a branch leads to and remembers it. It returns nil
// if there is none yet.
func (e *blocks) connect(in *inst) *block {
	b := e.lookup(uint64(in.imm))
	in.link = b
	return b
}

// stop brings the processor up to date at an exit from a block: after the first n
// instructions of b, of which left says how many the limit allowed from its start.
func (c *cpu) stop(b *block, n uint64, limit, left uint64) {
	c.pc = b.pcs[n]
	c.count = limit - left + n
}
