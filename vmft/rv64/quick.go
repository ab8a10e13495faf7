package rv64

import "math"

// The host's arithmetic is that of IEEE 754 in the default rounding mode, and
// differs from float.go in nothing but the exceptions and the NaNs. So it is used
// where it is plain what the exceptions are: a finite result that is not tiny has
// no other than inexact, and that is known if it has been raised already (it stays
// until the program clears it, which few do), or if the error can be computed.

// settled reports whether a result needs nothing but to be stored: the rounding
// mode is the default, inexact has been raised, and nothing else can be.
func (c *cpu) settled(v float64) bool {
	return c.fcsr&(7<<5|flagInexact) == flagInexact && math.Float64bits(v)>>52&0x7ff-2 < 0x7fd
}

// quickSum adds, if what it raises is plain. A sum is never tiny and inexact.
func (c *cpu) quickSum(a, b float64) (uint64, bool) {
	s := a + b
	v := math.Float64bits(s)
	if c.fcsr&(7<<5|flagInexact) == flagInexact {
		return v, v>>52&0x7ff != 0x7ff
	}
	return v, c.exactSum(a, b, s)
}

// exactSum raises inexact if s is not the sum of a and b, by computing the error.
func (c *cpu) exactSum(a, b, s float64) bool {
	if c.fcsr>>5 != roundNearestEven || math.Float64bits(s)>>52&0x7ff == 0x7ff {
		return false
	}
	t := s - a
	if (a-(s-t))+(b-t) != 0 {
		c.fcsr |= flagInexact
	}
	return true
}

// quickProduct multiplies, if what it raises is plain.
func (c *cpu) quickProduct(a, b float64) (uint64, bool) {
	p := float64(a * b)
	if c.settled(p) {
		return math.Float64bits(p), true
	}
	return math.Float64bits(p), c.exactProduct(a, b, p)
}

// exactProduct raises inexact if p is not a×b. Where the error itself would be
// tiny it can't tell.
func (c *cpu) exactProduct(a, b, p float64) bool {
	if c.fcsr>>5 != roundNearestEven || math.Float64bits(p)>>52&0x7ff-128 >= 0x7ff-128 {
		return false
	}
	if math.FMA(a, b, -p) != 0 {
		c.fcsr |= flagInexact
	}
	return true
}

// quickFloat does the less frequent operations, if what they raise is plain.
func (c *cpu) quickFloat(in *inst) bool {
	a, b := math.Float64frombits(c.f[in.rs1]), math.Float64frombits(c.f[in.rs2])
	var v float64
	switch in.op {
	case opFDIVD:
		v = a / b
	case opFSQRTD:
		v = math.Sqrt(a)
	case opFMSUBD:
		v = math.FMA(a, b, -math.Float64frombits(c.f[in.rs3]))
	case opFNMSUBD:
		v = math.FMA(-a, b, math.Float64frombits(c.f[in.rs3]))
	case opFNMADDD:
		v = math.FMA(-a, b, -math.Float64frombits(c.f[in.rs3]))
	case opFEQD, opFLTD, opFLED:
		return c.quickCompare(in, a, b)
	case opFCVTDW, opFCVTDL:
		i := int64(c.x[in.rs1])
		if in.op == opFCVTDW {
			i = int64(int32(i))
		}
		v = float64(i)
		if i >= -1<<53 && i <= 1<<53 { // exact, in every mode
			c.f[in.rd] = math.Float64bits(v)
			return true
		}
	case opFCVTLD:
		return c.quickTruncate(in, a)
	case opFADDS, opFSUBS, opFMULS, opFDIVS:
		return c.quickSingle(in)
	default:
		return false
	}
	if !c.settled(v) {
		return false
	}
	c.f[in.rd] = math.Float64bits(v)
	return true
}

func (c *cpu) quickCompare(in *inst, a, b float64) bool {
	if a != a || b != b {
		return false
	}
	switch in.op {
	case opFEQD:
		c.x[in.rd] = truth(a == b)
	case opFLTD:
		c.x[in.rd] = truth(a < b)
	default:
		c.x[in.rd] = truth(a <= b)
	}
	return true
}

// quickTruncate converts to an integer as Go does.
func (c *cpu) quickTruncate(in *inst, a float64) bool {
	if in.imm != roundToZero || !(a > -1<<63 && a < 1<<63) {
		return false
	}
	i := int64(a)
	if float64(i) != a {
		c.fcsr |= flagInexact
	}
	c.x[in.rd] = uint64(i)
	return true
}

func (c *cpu) quickSingle(in *inst) bool {
	if c.fcsr&(7<<5|flagInexact) != flagInexact {
		return false
	}
	a, b := math.Float32frombits(uint32(unboxed(c.f[in.rs1]))), math.Float32frombits(uint32(unboxed(c.f[in.rs2])))
	var v float32
	switch in.op {
	case opFADDS:
		v = a + b
	case opFSUBS:
		v = a - b
	case opFMULS:
		v = float32(a * b)
	default:
		v = a / b
	}
	if math.Float32bits(v)>>23&0xff-2 >= 0xfd {
		return false
	}
	c.f[in.rd] = box(uint64(math.Float32bits(v)))
	return true
}
