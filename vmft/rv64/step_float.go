package rv64

// box makes a single of 32 bits what a register holds.
func box(v uint64) uint64 { return v | 0xffffffff<<32 }

// unboxed is the single in a register: the canonical NaN if it holds none.
func unboxed(v uint64) uint64 {
	if v>>32 != 0xffffffff {
		return single.nan
	}
	return v & 0xffffffff
}

// rounding is the mode that an instruction asks for; ok is false if there is no such.
func (c *cpu) rounding(mode int64) (rm int, ok bool) {
	if mode == roundDynamic {
		mode = int64(c.fcsr >> 5)
	}
	return int(mode), mode <= roundNearestAway
}

func (c *cpu) executeFloat(in *inst) trap {
	switch o := in.op; {
	case o <= opFSD:
		return c.executeFloatMemory(in)
	case o >= opFADDS && o <= opFNMADDS, o == opFCVTSD, o >= opFCVTSW && o <= opFCVTSLU:
		rm, ok := c.rounding(in.imm)
		if !ok {
			return trapIllegal
		}
		v, flags := c.arithmeticSingle(in, rm)
		c.f[in.rd] = box(v)
		c.fcsr |= uint32(flags)
	case o >= opFADDD && o <= opFNMADDD, o == opFCVTDS, o >= opFCVTDW:
		rm, ok := c.rounding(in.imm)
		if !ok {
			return trapIllegal
		}
		v, flags := c.arithmeticDouble(in, rm)
		c.f[in.rd] = v
		c.fcsr |= uint32(flags)
	case o >= opFCVTWS && o <= opFCVTLUD:
		rm, ok := c.rounding(in.imm)
		if !ok {
			return trapIllegal
		}
		f, v := double, c.f[in.rs1]
		if o <= opFCVTLUS {
			f, v = single, unboxed(v)
		}
		kind := (o - opFCVTWS) & 3 // w, wu, l, lu
		i, flags := f.toInt(rm, v, kind&1 == 0, 32<<(kind>>1))
		c.x[in.rd] = i
		c.fcsr |= uint32(flags)
	case o >= opFMVXW:
		c.moveFloat(in)
	case o >= opFSGNJD:
		c.compareFloat(in, in.op-opFSGNJD, double, c.f[in.rs1], c.f[in.rs2])
	default:
		c.compareFloat(in, in.op-opFSGNJS, single, unboxed(c.f[in.rs1]), unboxed(c.f[in.rs2]))
	}
	return trapNone
}

func (c *cpu) executeFloatMemory(in *inst) trap {
	addr := c.x[in.rs1] + uint64(in.imm)
	var v uint64
	var ok bool
	switch in.op {
	case opFSW, opFSD:
		if !c.mem.store(addr, 4<<((in.op-opFSW)>>1), c.f[in.rs2]) {
			return trapStore
		}
		return trapNone
	case opFLW:
		v, ok = c.mem.load(addr, 4)
		v = box(v)
	case opFLD:
		v, ok = c.mem.load(addr, 8)
	}
	if !ok {
		return trapLoad
	}
	c.f[in.rd] = v
	return trapNone
}

func (c *cpu) arithmeticSingle(in *inst, rm int) (uint64, uint8) {
	switch in.op {
	case opFCVTSD:
		return double.convert(single, rm, c.f[in.rs1])
	case opFCVTSW, opFCVTSWU, opFCVTSL, opFCVTSLU:
		return single.fromRegister(rm, c.x[in.rs1], in.op-opFCVTSW)
	}
	return single.arithmetic(in.op-opFADDS, rm, unboxed(c.f[in.rs1]), unboxed(c.f[in.rs2]), unboxed(c.f[in.rs3]))
}

func (c *cpu) arithmeticDouble(in *inst, rm int) (uint64, uint8) {
	switch in.op {
	case opFCVTDS:
		return single.convert(double, rm, unboxed(c.f[in.rs1]))
	case opFCVTDW, opFCVTDWU, opFCVTDL, opFCVTDLU:
		return double.fromRegister(rm, c.x[in.rs1], in.op-opFCVTDW)
	}
	return double.arithmetic(in.op-opFADDD, rm, c.f[in.rs1], c.f[in.rs2], c.f[in.rs3])
}

// fromRegister converts an integer of kind w, wu, l or lu.
func (f *format) fromRegister(rm int, v uint64, kind op) (uint64, uint8) {
	switch kind {
	case 0:
		v = word(v)
	case 1:
		v = uint64(uint32(v))
	}
	return f.fromInt(rm, v, kind&1 == 0)
}

// arithmetic does an operation that is counted from FADD.
func (f *format) arithmetic(o op, rm int, a, b, d uint64) (uint64, uint8) {
	switch o {
	case opFADDS - opFADDS:
		return f.add(rm, a, b)
	case opFSUBS - opFADDS:
		return f.sub(rm, a, b)
	case opFMULS - opFADDS:
		return f.mul(rm, a, b)
	case opFDIVS - opFADDS:
		return f.div(rm, a, b)
	case opFSQRTS - opFADDS:
		return f.sqrt(rm, a)
	case opFMADDS - opFADDS:
		return f.fma(rm, a, b, d)
	case opFMSUBS - opFADDS:
		return f.fma(rm, a, b, d^f.signBit())
	case opFNMSUBS - opFADDS:
		return f.fma(rm, a^f.signBit(), b, d)
	}
	return f.fma(rm, a^f.signBit(), b, d^f.signBit()) // FNMADD
}

// compareFloat does an operation that is counted from FSGNJ.
func (c *cpu) compareFloat(in *inst, o op, f *format, a, b uint64) {
	s := f.signBit()
	var v uint64
	var flags uint8
	switch o {
	case opFSGNJS - opFSGNJS:
		v = a&^s | b&s
	case opFSGNJNS - opFSGNJS:
		v = a&^s | ^b&s
	case opFSGNJXS - opFSGNJS:
		v = a ^ b&s
	case opFMINS - opFSGNJS:
		v, flags = f.minimum(a, b)
	case opFMAXS - opFSGNJS:
		v, flags = f.maximum(a, b)
	case opFCLASSS - opFSGNJS:
		c.x[in.rd] = f.classify(a)
		return
	default:
		less, equal, flags := f.compare(a, b, o == opFEQS-opFSGNJS)
		c.x[in.rd] = truth(equal && o != opFLTS-opFSGNJS || less && o != opFEQS-opFSGNJS)
		c.fcsr |= uint32(flags)
		return
	}
	c.fcsr |= uint32(flags)
	if f == single {
		v = box(v)
	}
	c.f[in.rd] = v
}

func (c *cpu) moveFloat(in *inst) {
	switch in.op {
	case opFMVXW:
		c.x[in.rd] = word(c.f[in.rs1])
	case opFMVWX:
		c.f[in.rd] = box(c.x[in.rs1] & 0xffffffff)
	case opFMVXD:
		c.x[in.rd] = c.f[in.rs1]
	case opFMVDX:
		c.f[in.rd] = c.x[in.rs1]
	}
}
