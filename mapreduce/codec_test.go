package mapreduce

import (
	"bytes"
	"cmp"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

type word string

type count int32

// checkOrder encodes the values, which are in increasing order, and checks that
// the encodings are too and decode to the values.
func checkOrder[T comparable](t *testing.T, values ...T) {
	t.Helper()
	c, err := DefaultCodec[T]()
	if err != nil {
		t.Fatal(err)
	}
	var last []byte
	for i, v := range values {
		enc := c.Append(nil, v)
		if i > 0 && bytes.Compare(last, enc) >= 0 {
			t.Errorf("%v encodes to %x, and %v after it to %x", values[i-1], last, v, enc)
		}
		got, err := c.Decode(enc)
		if err != nil || got != v {
			t.Errorf("%v encodes to %x, which decodes to %v, %v", v, enc, got, err)
		}
		last = enc
	}
}

func TestCodecsPreserveOrder(t *testing.T) {
	checkOrder(t, "", "\x00", "a", "a\x00", "ab", "b", "ÿ")
	checkOrder[word](t, "", "a", "ab", "b")
	checkOrder(t, math.MinInt64, math.MinInt64+1, -1<<32, -65537, -65536, -257, -256, -255, -1, 0, 1, 255, 256, 257, 65535, 65536, math.MaxInt64)
	checkOrder[count](t, math.MinInt32, -1, 0, 1, math.MaxInt32)
	checkOrder[int8](t, -128, -1, 0, 127)
	checkOrder[uint64](t, 0, 1, 255, 256, 1<<56-1, 1<<56, math.MaxUint64)
	checkOrder(t, math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.Inf(1))
	checkOrder[float32](t, -1, 0, 1)
	checkOrder(t, false, true)
	checkOrder(t, struct{}{})

	r := rand.New(rand.NewPCG(1, 1))
	numbers := make([]int64, 10_000)
	for i := range numbers {
		numbers[i] = int64(r.Uint64()) >> r.IntN(64)
	}
	slices.Sort(numbers)
	checkOrder(t, slices.Compact(numbers)...)
}

func TestCodecsOfTypesThatEncodeThemselves(t *testing.T) {
	when := time.Date(2004, time.December, 6, 1, 2, 3, 4, time.UTC)
	times, err := DefaultCodec[time.Time]() // AppendBinary
	if err != nil {
		t.Fatal(err)
	}
	if got, err := times.Decode(times.Append(nil, when)); err != nil || !got.Equal(when) {
		t.Errorf("a time became %v, %v", got, err)
	}
	numbers, err := DefaultCodec[big.Int]() // AppendText
	if err != nil {
		t.Fatal(err)
	}
	n := big.NewInt(-12345)
	if got, err := numbers.Decode(numbers.Append(nil, *n)); err != nil || got.Cmp(n) != 0 {
		t.Errorf("a big.Int became %v, %v", &got, err)
	}
	if c, err := DefaultCodec[map[string]int](); err == nil {
		t.Errorf("there is a codec for maps: %T", c)
	}
}

// Whatever decodes must be what the value encodes to: two encodings of one key
// would be two groups.
func FuzzCodecs(f *testing.F) {
	for _, seed := range []string{"", "\x81\x00", "\x7e\xff", "\x82\x01\x00", "\x88\x80\x00\x00\x00\x00\x00\x00\x00", "\x77\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add([]byte(seed))
	}
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		checkCanonical[int](t, src)
		checkCanonical[int8](t, src)
		checkCanonical[uint64](t, src)
		checkCanonical[uint16](t, src)
		checkCanonical[float64](t, src)
		checkCanonical[float32](t, src)
		checkCanonical[bool](t, src)
		checkCanonical[string](t, src)
		checkCanonical[[]string](t, src)
		checkCanonical[[3]byte](t, src)
		checkCanonical[visit](t, src)
		checkCanonical[nested](t, src)
		checkCanonicalCodec(t, src, Descending[visit](nil))
		checkCanonicalCodec(t, src, Descending(lastVisitFirst))
	})
}

func checkCanonical[T any](t *testing.T, src []byte) {
	c, err := DefaultCodec[T]()
	if err != nil {
		t.Fatal(err)
	}
	checkCanonicalCodec(t, src, c)
}

func checkCanonicalCodec[T any](t *testing.T, src []byte, c Codec[T]) {
	if d, ok := c.(delimited); ok && d.delimiter() != nil {
		if n := d.delimiter()(src, 0); n >= 0 {
			src = src[:n]
		}
	}
	v, err := c.Decode(src)
	if err != nil {
		return
	}
	if again := c.Append(nil, v); reflect.DeepEqual(v, v) && !bytes.Equal(again, src) { // not NaN
		t.Errorf("%x decodes to %v of type %T, which encodes to %x", src, v, v, again)
	}
}

// Floats are ordered by value whatever their bits are, -0 before 0, and NaNs, by their
// sign, before all others or after them.
func TestFloatsOfAnyBitsAreOrdered(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	special := []float64{0, math.Copysign(0, -1), math.NaN(), -math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64}
	float := func() float64 {
		if r.IntN(4) == 0 {
			return special[r.IntN(len(special))]
		}
		return math.Float64frombits(r.Uint64() | r.Uint64()) // many NaNs
	}
	rank := func(f float64) int {
		switch {
		case f == f:
			return 0
		case math.Signbit(f):
			return -1
		}
		return 1
	}
	for range 100_000 {
		a, b := float(), float()
		x, y := float64Codec{}.Append(nil, a), float64Codec{}.Append(nil, b)
		want := cmp.Compare(rank(a), rank(b))
		if want == 0 && rank(a) == 0 {
			if want = cmp.Compare(a, b); want == 0 && math.Signbit(a) != math.Signbit(b) {
				want = 1
				if math.Signbit(a) {
					want = -1
				}
			}
		} else if want == 0 {
			continue // two NaNs
		}
		if got := bytes.Compare(x, y); got != want {
			t.Fatalf("%v is encoded to %x, %v to %x", a, x, b, y)
		}
		if back, err := (float64Codec{}).Decode(x); err != nil || math.Float64bits(back) != math.Float64bits(a) {
			t.Fatalf("%v is decoded to %v, %v", a, back, err)
		}
	}
}
