package rv64

import "math/bits"

// Arithmetic of IEEE 754 as the F and D extensions define it: every rounding mode,
// the accrued exceptions, tininess detected after rounding, NaNs canonical. It is
// done on integers alone, so it is the same on every host. The block engine takes
// the host's own arithmetic where the result is known to be the same.

// Rounding modes.
const (
	roundNearestEven = iota
	roundToZero
	roundDown
	roundUp
	roundNearestAway
	roundDynamic = 7 // the one in fcsr
)

// Exceptions, as in fflags.
const (
	flagInexact = 1 << iota
	flagUnderflow
	flagOverflow
	flagDivideByZero
	flagInvalid
)

// A format is one of the two of IEEE 754 that there are.
type format struct {
	mantissa uint // bits that are stored
	bias     int
	nan      uint64 // the canonical one
}

var (
	single = &format{mantissa: 23, bias: 127, nan: 0x7fc00000}
	double = &format{mantissa: 52, bias: 1023, nan: 0x7ff8000000000000}
)

func (f *format) signBit() uint64 {
	if f == single {
		return 1 << 31
	}
	return 1 << 63
}

// infinity is the encoding of the exponent of what is not finite.
func (f *format) infinity() uint64 { return uint64(2*f.bias+1) << f.mantissa }

func (f *format) isNaN(v uint64) bool { return v&^f.signBit() > f.infinity() }

func (f *format) isSignaling(v uint64) bool { return f.isNaN(v) && v>>(f.mantissa-1)&1 == 0 }

type numberClass uint8

const (
	classZero numberClass = iota
	classFinite
	classInfinite
	classNaN
)

// A number is an unpacked value. A finite one is sig/2^63 × 2^exp, with the
// highest bit of sig set.
type number struct {
	class numberClass
	neg   bool
	exp   int
	sig   uint64
}

func (f *format) unpack(v uint64) number {
	n := number{neg: v&f.signBit() != 0}
	v &^= f.signBit()
	e := int(v >> f.mantissa)
	frac := v << (64 - f.mantissa) // at the top
	switch {
	case v > f.infinity():
		n.class = classNaN
	case v == f.infinity():
		n.class = classInfinite
	case v == 0:
		n.class = classZero
	case e == 0:
		n.class = classFinite
		shift := bits.LeadingZeros64(frac)
		n.exp, n.sig = -f.bias-shift, frac<<shift
	default:
		n.class = classFinite
		n.exp, n.sig = e-f.bias, frac>>1|1<<63
	}
	return n
}

func (f *format) sign(neg bool) uint64 {
	if neg {
		return f.signBit()
	}
	return 0
}

// up reports whether to round away from zero, given what was cut off, in units of
// 2^-64 of the last place.
func up(rm int, neg, odd bool, rest uint64) bool {
	const half = 1 << 63
	switch rm {
	case roundNearestEven:
		return rest > half || rest == half && odd
	case roundDown:
		return neg && rest != 0
	case roundUp:
		return !neg && rest != 0
	case roundNearestAway:
		return rest >= half
	}
	return false
}

// cut shifts sig right and returns what fell off the end, in units of 2^-64; sticky
// says that something below it did already.
func cut(sig uint64, shift uint, sticky bool) (kept, rest uint64) {
	switch {
	case shift < 64:
		kept, rest = sig>>shift, sig<<(64-shift)
	case shift == 64:
		rest = sig
	default:
		sticky = sticky || sig != 0
	}
	if sticky {
		rest |= 1
	}
	return kept, rest
}

// pack rounds sig/2^63 × 2^exp, whose highest bit is set, to the format.
func (f *format) pack(rm int, neg bool, exp int, sig uint64, sticky bool) (v uint64, flags uint8) {
	shift, field, tiny := 63-f.mantissa, exp+f.bias-1, false
	if field < 0 {
		kept, rest := cut(sig, shift, sticky)
		tiny = field < -1 || !(kept == 1<<(f.mantissa+1)-1 && up(rm, neg, true, rest))
		shift, field = shift+uint(min(-field, 70)), 0
	}
	kept, rest := cut(sig, shift, sticky)
	if up(rm, neg, kept&1 != 0, rest) {
		kept++
	}
	if rest != 0 {
		flags = flagInexact
		if tiny {
			flags |= flagUnderflow
		}
	}
	// The bit above the mantissa adds one to the field, which is one too low.
	v = uint64(field)<<f.mantissa + kept
	if v >= f.infinity() || field > 2*f.bias {
		flags = flagInexact | flagOverflow
		v = f.infinity()
		if rm == roundToZero || rm == roundDown && !neg || rm == roundUp && neg {
			v--
		}
	}
	return v | f.sign(neg), flags
}

// nanOf returns the flags for operands of which one at least is a NaN.
func (f *format) nanOf(operands ...uint64) (uint64, uint8) {
	for _, v := range operands {
		if f.isSignaling(v) {
			return f.nan, flagInvalid
		}
	}
	return f.nan, 0
}

func (f *format) add(rm int, a, b uint64) (uint64, uint8) {
	x, y := f.unpack(a), f.unpack(b)
	switch {
	case x.class == classNaN || y.class == classNaN:
		return f.nanOf(a, b)
	case x.class == classInfinite && y.class == classInfinite && x.neg != y.neg:
		return f.nan, flagInvalid
	case x.class == classInfinite:
		return a, 0
	case y.class == classInfinite:
		return b, 0
	case x.class == classZero && y.class == classZero && x.neg != y.neg:
		return f.sign(rm == roundDown), 0
	case y.class == classZero:
		return a, 0
	case x.class == classZero:
		return b, 0
	}
	return f.addWide(rm, wide{x.neg, x.exp, x.sig, 0}, wide{y.neg, y.exp, y.sig, 0})
}

func (f *format) sub(rm int, a, b uint64) (uint64, uint8) {
	if f.isNaN(b) {
		return f.nanOf(a, b)
	}
	return f.add(rm, a, b^f.signBit())
}

// A wide is a finite number with 128 bits, the highest of which is set.
type wide struct {
	neg    bool
	exp    int
	hi, lo uint64
}

// shiftRight shifts by n; what falls off the end leaves a mark in the lowest bit.
func (w *wide) shiftRight(n uint) {
	switch lost := uint64(0); {
	case n == 0:
		return
	case n < 64:
		lost = w.lo << (64 - n)
		w.hi, w.lo = w.hi>>n, w.hi<<(64-n)|w.lo>>n
		if lost != 0 {
			w.lo |= 1
		}
	case n < 128:
		lost = w.lo | w.hi<<1<<(127-n)
		w.hi, w.lo = 0, w.hi>>(n-64)
		if lost != 0 {
			w.lo |= 1
		}
	default:
		w.hi, w.lo = 0, 1
	}
}

// addWide adds two numbers that are not zero and rounds once. The mark that is left
// of what is shifted out is far enough below the last place: a sum that cancels more
// than one bit has not shifted out anything.
func (f *format) addWide(rm int, x, y wide) (uint64, uint8) {
	if x.exp < y.exp || x.exp == y.exp && (x.hi < y.hi || x.hi == y.hi && x.lo < y.lo) {
		x, y = y, x
	}
	y.shiftRight(uint(x.exp - y.exp))
	var carry uint64
	if x.neg == y.neg {
		x.lo, carry = bits.Add64(x.lo, y.lo, 0)
		x.hi, carry = bits.Add64(x.hi, y.hi, carry)
		if carry != 0 {
			x.shiftRight(1)
			x.hi |= 1 << 63
			x.exp++
		}
		return f.pack(rm, x.neg, x.exp, x.hi, x.lo != 0)
	}
	x.lo, carry = bits.Sub64(x.lo, y.lo, 0)
	x.hi, _ = bits.Sub64(x.hi, y.hi, carry)
	if x.hi|x.lo == 0 {
		return f.sign(rm == roundDown), 0
	}
	if x.hi == 0 {
		x.hi, x.lo, x.exp = x.lo, 0, x.exp-64
	}
	if n := bits.LeadingZeros64(x.hi); n > 0 {
		x.hi, x.lo, x.exp = x.hi<<n|x.lo>>(64-n), x.lo<<n, x.exp-n
	}
	return f.pack(rm, x.neg, x.exp, x.hi, x.lo != 0)
}

// product multiplies two finite numbers exactly.
func product(x, y number) wide {
	w := wide{neg: x.neg != y.neg, exp: x.exp + y.exp + 1}
	w.hi, w.lo = bits.Mul64(x.sig, y.sig)
	if w.hi>>63 == 0 {
		w.hi, w.lo, w.exp = w.hi<<1|w.lo>>63, w.lo<<1, w.exp-1
	}
	return w
}

func (f *format) mul(rm int, a, b uint64) (uint64, uint8) {
	x, y := f.unpack(a), f.unpack(b)
	neg := x.neg != y.neg
	switch {
	case x.class == classNaN || y.class == classNaN:
		return f.nanOf(a, b)
	case x.class == classInfinite && y.class == classZero || x.class == classZero && y.class == classInfinite:
		return f.nan, flagInvalid
	case x.class == classInfinite || y.class == classInfinite:
		return f.infinity() | f.sign(neg), 0
	case x.class == classZero || y.class == classZero:
		return f.sign(neg), 0
	}
	w := product(x, y)
	return f.pack(rm, neg, w.exp, w.hi, w.lo != 0)
}

// fma computes a×b+c and rounds once.
func (f *format) fma(rm int, a, b, c uint64) (uint64, uint8) {
	x, y, z := f.unpack(a), f.unpack(b), f.unpack(c)
	neg := x.neg != y.neg
	switch {
	case x.class == classInfinite && y.class == classZero || x.class == classZero && y.class == classInfinite:
		return f.nan, flagInvalid // even if c is a quiet NaN
	case x.class == classNaN || y.class == classNaN || z.class == classNaN:
		return f.nanOf(a, b, c)
	case x.class == classInfinite || y.class == classInfinite:
		if z.class == classInfinite && z.neg != neg {
			return f.nan, flagInvalid
		}
		return f.infinity() | f.sign(neg), 0
	case z.class == classInfinite:
		return c, 0
	case x.class == classZero || y.class == classZero:
		if z.class == classZero && z.neg != neg {
			return f.sign(rm == roundDown), 0
		}
		return c, 0
	}
	w := product(x, y)
	if z.class == classZero {
		return f.pack(rm, neg, w.exp, w.hi, w.lo != 0)
	}
	return f.addWide(rm, w, wide{z.neg, z.exp, z.sig, 0})
}

func (f *format) div(rm int, a, b uint64) (uint64, uint8) {
	x, y := f.unpack(a), f.unpack(b)
	neg := x.neg != y.neg
	switch {
	case x.class == classNaN || y.class == classNaN:
		return f.nanOf(a, b)
	case x.class == y.class && x.class != classFinite: // 0/0, ∞/∞
		return f.nan, flagInvalid
	case x.class == classInfinite:
		return f.infinity() | f.sign(neg), 0
	case y.class == classZero:
		return f.infinity() | f.sign(neg), flagDivideByZero
	case x.class == classZero || y.class == classInfinite:
		return f.sign(neg), 0
	}
	exp, hi, lo := x.exp-y.exp, x.sig>>1, x.sig<<63
	if x.sig < y.sig {
		exp, hi, lo = exp-1, x.sig, 0
	}
	q, rest := bits.Div64(hi, lo, y.sig)
	return f.pack(rm, neg, exp, q, rest != 0)
}

func (f *format) sqrt(rm int, a uint64) (uint64, uint8) {
	x := f.unpack(a)
	switch {
	case x.class == classNaN:
		return f.nanOf(a)
	case x.class == classZero:
		return a, 0
	case x.neg:
		return f.nan, flagInvalid
	case x.class == classInfinite:
		return a, 0
	}
	hi, lo := x.sig>>1, x.sig<<63
	if x.exp&1 != 0 {
		hi, lo = x.sig, 0
	}
	root := uint64(0)
	for bit := uint64(1) << 63; bit != 0; bit >>= 1 {
		t := root | bit
		if h, l := bits.Mul64(t, t); h < hi || h == hi && l <= lo {
			root = t
		}
	}
	h, l := bits.Mul64(root, root)
	return f.pack(rm, false, x.exp>>1, root, h != hi || l != lo)
}

// minimum and maximum return the number if only one operand is a NaN; -0 is below +0.
func (f *format) minimum(a, b uint64) (uint64, uint8) { return f.extreme(a, b, true) }

func (f *format) maximum(a, b uint64) (uint64, uint8) { return f.extreme(a, b, false) }

func (f *format) extreme(a, b uint64, least bool) (v uint64, flags uint8) {
	if f.isSignaling(a) || f.isSignaling(b) {
		flags = flagInvalid
	}
	switch {
	case f.isNaN(a) && f.isNaN(b):
		return f.nan, flags
	case f.isNaN(a):
		return b, flags
	case f.isNaN(b):
		return a, flags
	case (f.order(a) < f.order(b)) == least:
		return a, flags
	}
	return b, flags
}

// order maps what is not a NaN to an integer with the same order, -0 below +0.
func (f *format) order(v uint64) int64 {
	if v&f.signBit() != 0 {
		return -1 - int64(v&^f.signBit())
	}
	return int64(v)
}

// equal, less and lessEqual compare; quietly says that only a signaling NaN is invalid.
func (f *format) compare(a, b uint64, quietly bool) (less, equal bool, flags uint8) {
	if f.isNaN(a) || f.isNaN(b) {
		if !quietly || f.isSignaling(a) || f.isSignaling(b) {
			flags = flagInvalid
		}
		return false, false, flags
	}
	if (a|b)&^f.signBit() == 0 {
		return false, true, 0
	}
	return f.order(a) < f.order(b), a == b, 0
}

// classify returns the mask that FCLASS gives.
func (f *format) classify(v uint64) uint64 {
	neg := v&f.signBit() != 0
	pick := func(ifNeg, ifPos uint) uint64 {
		if neg {
			return 1 << ifNeg
		}
		return 1 << ifPos
	}
	switch u := v &^ f.signBit(); {
	case f.isSignaling(v):
		return 1 << 8
	case f.isNaN(v):
		return 1 << 9
	case u == f.infinity():
		return pick(0, 7)
	case u == 0:
		return pick(3, 4)
	case u>>f.mantissa == 0:
		return pick(2, 5)
	}
	return pick(1, 6)
}
