package rv64

// executeAtomic does load-reserved, store-conditional and the atomic operations.
// They are atomic because a thread is only ever stopped between two instructions.
func (c *cpu) executeAtomic(in *inst) trap {
	addr, o, size := c.x[in.rs1], in.op, uint64(4)
	if o >= opLRD {
		o, size = o-(opLRD-opLRW), 8
	}
	isLoad := o == opLRW
	if addr&(size-1) != 0 {
		c.mem.fail(faultMisaligned, addr)
		if isLoad {
			return trapLoad
		}
		return trapStore
	}
	if o == opSCW {
		return c.storeConditional(in, addr, size)
	}
	old, ok := c.mem.load(addr, size)
	if !ok {
		if isLoad {
			return trapLoad
		}
		return trapStore // an atomic operation that may not read may not write either
	}
	if size == 4 {
		old = word(old)
	}
	if isLoad {
		c.reserved, c.reservation = true, addr
	} else if !c.mem.store(addr, size, combine(o, old, c.x[in.rs2], size)) {
		return trapStore
	}
	c.x[in.rd] = old
	return trapNone
}

func (c *cpu) storeConditional(in *inst, addr, size uint64) trap {
	held := c.reserved && c.reservation == addr
	if held {
		if !c.mem.store(addr, size, c.x[in.rs2]) {
			return trapStore
		}
	} else if !c.mem.permitted(addr, permWrite) {
		return trapStore
	}
	c.reserved = false
	c.x[in.rd] = truth(!held)
	return trapNone
}

// combine does the operation of an AMO.
func combine(o op, a, b, size uint64) uint64 {
	if size == 4 {
		b = word(b)
	}
	switch o {
	case opAMOSWAPW:
		return b
	case opAMOADDW:
		return a + b
	case opAMOXORW:
		return a ^ b
	case opAMOANDW:
		return a & b
	case opAMOORW:
		return a | b
	case opAMOMINW:
		return uint64(min(int64(a), int64(b)))
	case opAMOMAXW:
		return uint64(max(int64(a), int64(b)))
	case opAMOMINUW: // sign extension keeps the order of unsigned words
		return min(a, b)
	}
	return max(a, b)
}
