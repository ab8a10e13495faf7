package rv64

import "math/bits"

// convert changes the format.
func (f *format) convert(to *format, rm int, v uint64) (uint64, uint8) {
	x := f.unpack(v)
	switch x.class {
	case classNaN:
		_, flags := f.nanOf(v)
		return to.nan, flags
	case classInfinite:
		return to.infinity() | to.sign(x.neg), 0
	case classZero:
		return to.sign(x.neg), 0
	}
	return to.pack(rm, x.neg, x.exp, x.sig, false)
}

// fromInt converts an integer, which is signed or not.
func (f *format) fromInt(rm int, v uint64, isSigned bool) (uint64, uint8) {
	neg := isSigned && int64(v) < 0
	if neg {
		v = -v
	}
	if v == 0 {
		return 0, 0
	}
	n := bits.LeadingZeros64(v)
	return f.pack(rm, neg, 63-n, v<<n, false)
}

// toInt converts to an integer of so many bits (32 or 64). What does not fit is
// invalid and gives the nearest that does; so does a NaN, as if it were +∞. A result
// of 32 bits is sign-extended, even if it is unsigned.
func (f *format) toInt(rm int, v uint64, isSigned bool, width uint) (uint64, uint8) {
	x := f.unpack(v)
	most, least := ^uint64(0)>>(64-width), uint64(0)
	if isSigned {
		most >>= 1
		least = most + 1 // the magnitude of the least
	}
	extend := func(u uint64) uint64 {
		if width == 32 {
			return uint64(int32(u))
		}
		return u
	}
	if x.class == classNaN {
		x = number{class: classInfinite}
	}
	magnitude, rest, tooBig := uint64(0), uint64(0), x.class == classInfinite || x.exp > 63
	if x.class == classFinite && !tooBig {
		magnitude, rest = cut(x.sig, uint(min(63-x.exp, 100)), false)
		if up(rm, x.neg, magnitude&1 != 0, rest) {
			magnitude++
			tooBig = magnitude == 0
		}
	}
	switch {
	case x.neg && (tooBig || magnitude > least):
		return extend(-least), flagInvalid
	case !x.neg && (tooBig || magnitude > most):
		return extend(most), flagInvalid
	case x.neg:
		magnitude = -magnitude
	}
	if rest != 0 {
		return extend(magnitude), flagInexact
	}
	return extend(magnitude), 0
}
