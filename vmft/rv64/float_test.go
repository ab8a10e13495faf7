package rv64

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// floats returns operands of a format: the edges, and random ones of which many
// have exponents or mantissas in common.
func floats(f *format, rng *rand.Rand, n int) (list []uint64) {
	one := uint64(f.bias) << f.mantissa
	inf := f.infinity()
	for _, v := range []uint64{
		0, 1, 2, 3, 1<<f.mantissa - 1, 1 << f.mantissa, 1<<f.mantissa + 1, one - 1, one, one + 1, one + 1<<f.mantissa,
		one | 1<<(f.mantissa-1), inf - 1, inf, inf + 1, f.nan, f.nan + 1, inf - 1<<f.mantissa, one / 2, one/2 + 1, one + one/2,
	} {
		list = append(list, v, v|f.signBit())
	}
	mask := f.signBit()<<1 - 1
	for range n {
		v := rng.Uint64()
		switch rng.IntN(4) {
		case 0: // near one
			v = v&(f.signBit()|1<<f.mantissa-1) | one + uint64(rng.IntN(8))<<f.mantissa
		case 1: // few bits
			v &= f.signBit() | inf | 3<<(f.mantissa-2) | 3
		case 2: // small exponents
			v &= f.signBit() | 1<<f.mantissa - 1 | 0x1f<<f.mantissa
		}
		list = append(list, v&mask)
	}
	return list
}

func value(f *format, v uint64) float64 {
	if f == single {
		return float64(math.Float32frombits(uint32(v)))
	}
	return math.Float64frombits(v)
}

// exactly rounds an exact value with math/big, and says what it raises.
func exactly(f *format, mode big.RoundingMode, x *big.Float) (uint64, uint8) {
	least := 1 - f.bias // the exponent of the least normal number
	round := func(prec int) *big.Float {
		if prec <= 0 { // below half of the least place: to nothing, or to the least number
			tiny := new(big.Float).SetMantExp(big.NewFloat(1), least-int(f.mantissa))
			half := new(big.Float).SetMantExp(big.NewFloat(1), least-int(f.mantissa)-1)
			size := new(big.Float).Abs(x)
			away := mode == big.ToPositiveInf && x.Sign() > 0 || mode == big.ToNegativeInf && x.Sign() < 0 ||
				mode == big.ToNearestEven && size.Cmp(half) > 0 || mode == big.ToNearestAway && size.Cmp(half) >= 0
			if !away {
				tiny.SetInt64(0)
			}
			if x.Sign() < 0 {
				tiny.Neg(tiny)
			}
			return tiny
		}
		return new(big.Float).SetMode(mode).SetPrec(uint(prec)).Set(x)
	}
	prec := int(f.mantissa) + 1
	r := round(prec)
	tiny := r.MantExp(nil)-1 < least
	if e := x.MantExp(nil) - 1; e < least {
		r = round(prec - (least - e))
	}
	var flags uint8
	if r.Cmp(x) != 0 {
		flags = flagInexact
		if tiny {
			flags |= flagUnderflow
		}
	}
	if r.MantExp(nil)-1 > f.bias {
		v := f.infinity()
		if mode == big.ToZero || mode == big.ToPositiveInf && x.Sign() < 0 || mode == big.ToNegativeInf && x.Sign() > 0 {
			v--
		}
		return v | f.sign(x.Sign() < 0), flagInexact | flagOverflow
	}
	d, _ := r.Float64()
	if f == single {
		return uint64(math.Float32bits(float32(d))), flags
	}
	return math.Float64bits(d), flags
}

var bigModes = []big.RoundingMode{big.ToNearestEven, big.ToZero, big.ToNegativeInf, big.ToPositiveInf, big.ToNearestAway}

func bigOf(f *format, v uint64) *big.Float { return new(big.Float).SetFloat64(value(f, v)) }

func finite(f *format, list ...uint64) bool {
	for _, v := range list {
		if v&^f.signBit() >= f.infinity() || v&^f.signBit() == 0 {
			return false
		}
	}
	return true
}

const manyBits = 6000 // enough for any sum of products

// Every mode and format, against exact arithmetic; zeros, infinities and NaNs are
// compared with the host's below.
func TestFloatAgainstExactArithmetic(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, f := range []*format{single, double} {
		list := floats(f, rng, 4000)
		for i := range 6000 {
			a, b, d := list[rng.IntN(len(list))], list[rng.IntN(len(list))], list[rng.IntN(len(list))]
			if !finite(f, a, b, d) {
				continue
			}
			rm := i % 5
			mode := bigModes[rm]
			x, y, z := bigOf(f, a), bigOf(f, b), bigOf(f, d)
			wide := func() *big.Float { return new(big.Float).SetPrec(manyBits) }
			check := func(name string, exact *big.Float, got uint64, flags uint8) {
				t.Helper()
				if exact.Sign() == 0 {
					return
				}
				want, wantFlags := exactly(f, mode, exact)
				if got != want || flags != wantFlags {
					t.Fatalf("%s of %#x, %#x, %#x in mode %d: %#x flags %#x, not %#x flags %#x", name, a, b, d, rm, got, flags, want, wantFlags)
				}
			}
			v, flags := f.add(rm, a, b)
			check("add", wide().Add(x, y), v, flags)
			v, flags = f.sub(rm, a, b)
			check("sub", wide().Sub(x, y), v, flags)
			v, flags = f.mul(rm, a, b)
			check("mul", wide().Mul(x, y), v, flags)
			v, flags = f.fma(rm, a, b, d)
			check("fma", wide().Add(wide().Mul(x, y), z), v, flags)
			v, flags = f.div(rm, a, b)
			check("div", new(big.Float).SetPrec(400).SetMode(big.ToZero).Quo(x, y), v, flags)
			if x.Sign() > 0 {
				v, flags = f.sqrt(rm, a)
				check("sqrt", new(big.Float).SetPrec(400).Sqrt(x), v, flags)
			}
			to := single
			if f == single {
				to = double
			}
			v, flags = f.convert(to, rm, a)
			want, wantFlags := exactly(to, mode, x)
			if v != want || flags != wantFlags {
				t.Fatalf("convert %#x in mode %d: %#x flags %#x, not %#x flags %#x", a, rm, v, flags, want, wantFlags)
			}
		}
	}
}

// In the default mode the host gives the same, apart from the NaNs.
func TestFloatAgainstTheHost(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	list := floats(double, rng, 1000)
	list32 := floats(single, rng, 1000)
	canonical := func(v float64) uint64 {
		if v != v {
			return double.nan
		}
		return math.Float64bits(v)
	}
	canonical32 := func(v float32) uint64 {
		if v != v {
			return single.nan
		}
		return uint64(math.Float32bits(v))
	}
	for i := range 40000 {
		u, v, w := list[rng.IntN(len(list))], list[rng.IntN(len(list))], list[rng.IntN(len(list))]
		if i < 42*42 {
			u, v = list[i/42], list[i%42]
		}
		a, b, d := math.Float64frombits(u), math.Float64frombits(v), math.Float64frombits(w)
		for o, want := range []float64{a + b, a - b, float64(a * b), a / b, math.Sqrt(a), math.FMA(a, b, d), math.FMA(a, b, -d), math.FMA(-a, b, d), math.FMA(-a, b, -d)} {
			if got, _ := double.arithmetic(op(o), 0, u, v, w); got != canonical(want) {
				t.Fatalf("%v of %x, %x, %x: %#x, not %#x", opFADDD+op(o), u, v, w, got, canonical(want))
			}
		}
		u, v = list32[rng.IntN(len(list32))], list32[rng.IntN(len(list32))]
		if i < 42*42 {
			u, v = list32[i/42], list32[i%42]
		}
		p, q := math.Float32frombits(uint32(u)), math.Float32frombits(uint32(v))
		for o, want := range []float32{p + q, p - q, float32(p * q), p / q, float32(math.Sqrt(float64(p)))} {
			if got, _ := single.arithmetic(op(o), 0, u, v, 0); got != canonical32(want) {
				t.Fatalf("%v of %x, %x: %#x, not %#x", opFADDS+op(o), u, v, got, canonical32(want))
			}
		}
	}
}

func TestFloatExceptions(t *testing.T) {
	one, inf, zero, nan, snan := uint64(0x3ff)<<52, uint64(0x7ff)<<52, uint64(0), double.nan, uint64(0x7ff)<<52+1
	neg := uint64(1) << 63
	for _, test := range []struct {
		name  string
		v     uint64
		flags uint8
		f     func() (uint64, uint8)
	}{
		{"∞-∞", nan, flagInvalid, func() (uint64, uint8) { return double.sub(0, inf, inf) }},
		{"∞+∞", inf, 0, func() (uint64, uint8) { return double.add(0, inf, inf) }},
		{"0×∞", nan, flagInvalid, func() (uint64, uint8) { return double.mul(0, zero, inf) }},
		{"0/0", nan, flagInvalid, func() (uint64, uint8) { return double.div(0, zero, zero) }},
		{"∞/∞", nan, flagInvalid, func() (uint64, uint8) { return double.div(0, inf, inf) }},
		{"1/0", inf, flagDivideByZero, func() (uint64, uint8) { return double.div(0, one, zero) }},
		{"1/-0", inf | neg, flagDivideByZero, func() (uint64, uint8) { return double.div(0, one, neg) }},
		{"∞/0", inf, 0, func() (uint64, uint8) { return double.div(0, inf, zero) }},
		{"√-1", nan, flagInvalid, func() (uint64, uint8) { return double.sqrt(0, one|neg) }},
		{"√-0", neg, 0, func() (uint64, uint8) { return double.sqrt(0, neg) }},
		{"quiet", nan, 0, func() (uint64, uint8) { return double.add(0, nan|7, one) }},
		{"signaling", nan, flagInvalid, func() (uint64, uint8) { return double.mul(0, snan, one) }},
		{"0×∞+NaN", nan, flagInvalid, func() (uint64, uint8) { return double.fma(0, zero, inf, nan) }},
		{"∞×1-∞", nan, flagInvalid, func() (uint64, uint8) { return double.fma(0, inf, one, inf|neg) }},
		{"1-1", 0, 0, func() (uint64, uint8) { return double.sub(0, one, one) }},
		{"1-1 down", neg, 0, func() (uint64, uint8) { return double.sub(roundDown, one, one) }},
		{"1×1-1 down", neg, 0, func() (uint64, uint8) { return double.fma(roundDown, one, one, one|neg) }},
		{"0×1-0", 0, 0, func() (uint64, uint8) { return double.fma(0, zero, one, neg) }},
		{"min(-0,0)", neg, 0, func() (uint64, uint8) { return double.minimum(zero, neg) }},
		{"max(-0,0)", 0, 0, func() (uint64, uint8) { return double.maximum(neg, zero) }},
		{"min(NaN,1)", one, 0, func() (uint64, uint8) { return double.minimum(nan, one) }},
		{"max(1,sNaN)", one, flagInvalid, func() (uint64, uint8) { return double.maximum(one, snan) }},
		{"max(NaN,NaN)", nan, 0, func() (uint64, uint8) { return double.maximum(nan|1, nan|2) }},
		{"single of sNaN", single.nan, flagInvalid, func() (uint64, uint8) { return double.convert(single, 0, snan) }},
	} {
		if v, flags := test.f(); v != test.v || flags != test.flags {
			t.Errorf("%s: %#x flags %#x, not %#x flags %#x", test.name, v, flags, test.v, test.flags)
		}
	}
}

// What FCVT gives for what does not fit is in table 11.4 of the specification.
func TestFloatToInteger(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	list := append(floats(double, rng, 3000), math.Float64bits(2.5), math.Float64bits(-2.5), math.Float64bits(-0.75), math.Float64bits(1<<63),
		math.Float64bits(-1<<63), math.Float64bits(1<<64), math.Float64bits(1<<31), math.Float64bits(-1<<31-0.5), math.Float64bits(1<<32-0.5))
	for range 3000 {
		list = append(list, math.Float64bits((rng.Float64()-0.5)*math.Ldexp(1, rng.IntN(70))))
	}
	for i, v := range list {
		rm := i % 5
		for _, width := range []uint{32, 64} {
			for _, isSigned := range []bool{false, true} {
				least, most := big.NewInt(0), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), width), big.NewInt(1))
				if isSigned {
					most.Rsh(most, 1)
					least.Not(most)
				}
				want, flags := new(big.Int).Set(most), uint8(flagInvalid)
				if d := value(double, v); !math.IsNaN(d) && !math.IsInf(d, 0) {
					want, flags = toInteger(d, bigModes[rm]), 0
					if exact, _ := new(big.Float).SetFloat64(d).Int(nil); new(big.Float).SetInt(exact).Cmp(new(big.Float).SetFloat64(d)) != 0 {
						flags = flagInexact
					}
					if want.Cmp(most) > 0 {
						want, flags = most, flagInvalid
					} else if want.Cmp(least) < 0 {
						want, flags = least, flagInvalid
					}
				} else if math.IsInf(d, -1) {
					want = least
				}
				expect := low64(want)
				if width == 32 {
					expect = word(expect)
				}
				if got, gotFlags := double.toInt(rm, v, isSigned, width); got != expect || gotFlags != flags {
					t.Fatalf("%v to %d bits (signed %v) in mode %d: %#x flags %#x, not %#x flags %#x", value(double, v), width, isSigned, rm, got, gotFlags, expect, flags)
				}
			}
		}
	}
}

// toInteger rounds a finite number to an integer.
func toInteger(d float64, mode big.RoundingMode) *big.Int {
	x := new(big.Float).SetFloat64(d)
	down, _ := x.Int(nil) // towards zero
	rest := new(big.Float).Sub(x, new(big.Float).SetInt(down))
	half := rest.Abs(rest).Cmp(big.NewFloat(0.5))
	away := rest.Sign() != 0 && (mode == big.ToPositiveInf && d > 0 || mode == big.ToNegativeInf && d < 0 ||
		mode == big.ToNearestAway && half >= 0 || mode == big.ToNearestEven && (half > 0 || half == 0 && down.Bit(0) == 1))
	switch {
	case away && d > 0:
		down.Add(down, big.NewInt(1))
	case away:
		down.Sub(down, big.NewInt(1))
	}
	return down
}

func TestIntegerToFloat(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for i := range 20000 {
		v := rng.Uint64() >> rng.UintN(64)
		if i < len(interesting) {
			v = interesting[i]
		}
		for rm, mode := range bigModes {
			for _, f := range []*format{single, double} {
				for _, isSigned := range []bool{false, true} {
					x := new(big.Float).SetUint64(v)
					if isSigned {
						x.SetInt64(int64(v))
					}
					if x.Sign() == 0 {
						continue
					}
					want, wantFlags := exactly(f, mode, x)
					if got, flags := f.fromInt(rm, v, isSigned); got != want || flags != wantFlags {
						t.Fatalf("%#x (signed %v) in mode %d: %#x flags %#x, not %#x flags %#x", v, isSigned, rm, got, flags, want, wantFlags)
					}
				}
			}
		}
	}
}

func TestClassify(t *testing.T) {
	for _, f := range []*format{single, double} {
		s := f.signBit()
		for bit, v := range []uint64{s | f.infinity(), s | f.nan>>1&f.infinity(), s | 1, s, 0, 1, f.nan >> 1 & f.infinity(), f.infinity(), f.infinity() + 1, f.nan} {
			if got := f.classify(v); got != 1<<bit {
				t.Errorf("%#x is of class %#b, not %d", v, got, bit)
			}
		}
	}
}

// The block engine's use of the host's arithmetic gives the same results and
// exceptions as the stepper.
func TestQuickFloat(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	list := floats(double, rng, 300)
	for range 300 {
		list = append(list, math.Float64bits(float64(rng.IntN(100))), math.Float64bits(rng.NormFloat64()))
	}
	for _, f := range floats(single, rng, 300) {
		list = append(list, box(f))
	}
	for o := opFADDS; o < opCount; o++ {
		w := encodingOf(t, o)
		c := newCPU(w)
		ref := newCPU(w)
		e := newBlocks(c.mem)
		for range 3000 {
			start := *c
			for r := range start.f[:32] {
				start.f[r] = list[rng.IntN(len(list))]
				start.x[r] = interesting[rng.IntN(len(interesting))]
			}
			start.x[0], start.pc, start.count, start.fcsr = 0, testCode, 0, uint32(rng.IntN(5))<<5&-(rng.Uint32()&1)|rng.Uint32()&1
			*c = start
			refMem := ref.mem
			*ref = start
			ref.mem = refMem
			want := ref.step()
			e.byTree = !e.byTree
			got := runSingle(e, c)
			if got != want || c.f != ref.f || c.fcsr != ref.fcsr || [32]uint64(c.x[:32]) != [32]uint64(ref.x[:32]) {
				t.Fatalf("%v of f %#x %#x %#x, x %#x: f %#x x %#x fcsr %#x, not f %#x x %#x fcsr %#x (from %#x)", o, start.f[6], start.f[7], start.f[28], start.x[6],
					c.f[5], c.x[5], c.fcsr, ref.f[5], ref.x[5], ref.fcsr, start.fcsr)
			}
		}
	}
}
