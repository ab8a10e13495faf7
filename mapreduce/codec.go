package mapreduce

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"unsafe"
)

// A Codec turns values of a type into bytes and back. Its methods are called
// concurrently.
//
// Keys are ordered, grouped and hashed by their encoding alone: two keys are
// equal if their encodings are, and the lesser is the one whose encoding is
// lesser, as bytes.Compare has it. The codecs of this package preserve order:
// strings and bytes are ordered byte by byte, numbers by value.
type Codec[T any] interface {
	// Append appends the encoding of v to dst.
	Append(dst []byte, v T) []byte
	// Decode returns the value whose encoding is src. src is borrowed: unless
	// the type is []byte the value may not refer to it.
	Decode(src []byte) (T, error)
}

// DefaultCodec returns the codec of a Job that names none:
//
//   - strings and byte slices as they are. A decoded byte slice is borrowed, also one
//     in a struct: a key is valid until Reduce returns, a value until the next one is
//     taken;
//   - integers in two to nine bytes, small ones in few, ordered by value;
//   - floats in their width, ordered by value, -0 before 0, NaNs at the ends;
//   - bools in one byte;
//   - structs, ordered by their first field, then by the second, and so on, also
//     those that are not exported; arrays and slices, by their elements, the shorter
//     one first if it is the beginning of the other. Whether an empty slice is nil
//     is not kept;
//   - any type T that has AppendBinary or MarshalBinary, where *T has
//     UnmarshalBinary; or else AppendText or MarshalText, where *T has
//     UnmarshalText. It comes before the others, and orders keys by the bytes they
//     encode to: a time.Time by time, if all are in one zone.
//
// Named types count as what they are made of, unless they encode themselves. For
// anything else, such as maps and pointers, there is no default, and the error says
// so. Other orders are made of these by [Descending], [Fields] and [OrderBy].
func DefaultCodec[T any]() (Codec[T], error) {
	t := reflect.TypeFor[T]()
	if encode, decode := selfMethods(new(T)); decode != nil {
		return methodCodec[T]{encode, decode}, nil
	}
	switch t.Kind() {
	case reflect.String:
		return recast[T, string](stringCodec{}), nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return recast[T, []byte](bytesCodec{}), nil
		}
	case reflect.Bool:
		return recast[T, bool](boolCodec{}), nil
	case reflect.Int:
		return recast[T, int](signedCodec[int]{}), nil
	case reflect.Int8:
		return recast[T, int8](signedCodec[int8]{}), nil
	case reflect.Int16:
		return recast[T, int16](signedCodec[int16]{}), nil
	case reflect.Int32:
		return recast[T, int32](signedCodec[int32]{}), nil
	case reflect.Int64:
		return recast[T, int64](signedCodec[int64]{}), nil
	case reflect.Uint:
		return recast[T, uint](unsignedCodec[uint]{}), nil
	case reflect.Uint8:
		return recast[T, uint8](unsignedCodec[uint8]{}), nil
	case reflect.Uint16:
		return recast[T, uint16](unsignedCodec[uint16]{}), nil
	case reflect.Uint32:
		return recast[T, uint32](unsignedCodec[uint32]{}), nil
	case reflect.Uint64, reflect.Uintptr:
		if t.Kind() == reflect.Uint64 {
			return recast[T, uint64](unsignedCodec[uint64]{}), nil
		}
	case reflect.Float32:
		return recast[T, float32](float32Codec{}), nil
	case reflect.Float64:
		return recast[T, float64](float64Codec{}), nil
	case reflect.Struct:
		if t.NumField() == 0 {
			return emptyCodec[T]{}, nil
		}
	}
	l, err := layoutOf(t, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: no codec for %v: %w; give it AppendBinary and UnmarshalBinary, or set the Job's codec", ErrConfig, t, err)
	}
	return layoutCodec[T]{l}, nil
}

// recast turns a codec of U into one of T, a type made of U.
func recast[T, U any](c Codec[U]) Codec[T] {
	if c, ok := any(c).(Codec[T]); ok {
		return c
	}
	return castCodec[T, U]{c}
}

// castCodec encodes a named type as the type it is made of.
type castCodec[T, U any] struct{ inner Codec[U] }

// The kinds of T and U are the same, so their layouts are, and the conversion
// that generic code cannot spell is a look at the same memory.
func (c castCodec[T, U]) Append(dst []byte, v T) []byte {
	return c.inner.Append(dst, *(*U)(unsafe.Pointer(&v)))
}

func (c castCodec[T, U]) Decode(src []byte) (T, error) {
	u, err := c.inner.Decode(src)
	return *(*T)(unsafe.Pointer(&u)), err
}

func (c castCodec[T, U]) delimiter() func(src []byte, mask byte) int {
	if d, ok := c.inner.(delimited); ok {
		return d.delimiter()
	}
	return nil
}

var errLength = errors.New("encoding has the wrong length")

type stringCodec struct{}

func (stringCodec) Append(dst []byte, v string) []byte { return append(dst, v...) }
func (stringCodec) Decode(src []byte) (string, error)  { return string(src), nil }
func (stringCodec) view(v string) []byte               { return viewBytes(v) }

type bytesCodec struct{}

func (bytesCodec) Append(dst []byte, v []byte) []byte { return append(dst, v...) }
func (bytesCodec) Decode(src []byte) ([]byte, error)  { return src[:len(src):len(src)], nil }
func (bytesCodec) view(v []byte) []byte               { return v }

// fixedLength returns the delimiter of encodings of n bytes.
func fixedLength(n int) func(src []byte, mask byte) int {
	return func(src []byte, _ byte) int {
		if len(src) < n {
			return -1
		}
		return n
	}
}

type boolCodec struct{}

func (boolCodec) delimiter() func(src []byte, mask byte) int { return fixedLength(1) }

func (boolCodec) Append(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func (boolCodec) Decode(src []byte) (bool, error) {
	if len(src) != 1 || src[0] > 1 {
		return false, errLength
	}
	return src[0] == 1, nil
}

type emptyCodec[T any] struct{}

func (emptyCodec[T]) delimiter() func(src []byte, mask byte) int { return fixedLength(0) }

func (emptyCodec[T]) Append(dst []byte, _ T) []byte { return dst }

func (emptyCodec[T]) Decode(src []byte) (v T, err error) {
	if len(src) != 0 {
		err = errLength
	}
	return v, err
}

// An integer is a byte that says how many bytes follow, and these, big end
// first. The first byte is zeroOrder + n for a number ≥ 0 that takes n bytes and
// zeroOrder - 1 - n for a negative one, so that the encodings are ordered as the
// numbers are.
const zeroOrder = 0x80

func appendUnsigned(dst []byte, v uint64) []byte {
	n := (bits.Len64(v) + 7) / 8
	if n <= 1 { // 0 … 255, the common case
		return append(dst, zeroOrder+1, byte(v))
	}
	dst = append(dst, zeroOrder+byte(n))
	return appendLow(dst, v, n)
}

// appendLow appends the n low bytes of v, big end first.
func appendLow(dst []byte, v uint64, n int) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return append(dst, b[8-n:]...)
}

func decodeUnsigned(src []byte) (uint64, error) {
	if len(src) == 2 && src[0] == zeroOrder+1 {
		return uint64(src[1]), nil
	}
	n := len(src) - 1
	if n < 2 || n > 8 || src[0] != zeroOrder+byte(n) || src[1] == 0 {
		return 0, errLength
	}
	return lowBytes(src[1:], 0), nil
}

// lowBytes reads up to 8 bytes, big end first, below the bits of high.
func lowBytes(src []byte, high uint64) uint64 {
	for _, b := range src {
		high = high<<8 | uint64(b)
	}
	return high
}

// integerLength is the delimiter of integers.
func integerLength(src []byte, mask byte) int {
	if len(src) == 0 {
		return -1
	}
	n := int(src[0]^mask) - zeroOrder
	if n < 0 {
		n = -1 - n
	}
	if n > 8 || 1+n > len(src) {
		return -1
	}
	return 1 + n
}

type unsignedCodec[T ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64] struct{}

func (unsignedCodec[T]) delimiter() func(src []byte, mask byte) int { return integerLength }

func (unsignedCodec[T]) Append(dst []byte, v T) []byte { return appendUnsigned(dst, uint64(v)) }

func (unsignedCodec[T]) Decode(src []byte) (T, error) {
	u, err := decodeUnsigned(src)
	if err == nil && uint64(T(u)) != u {
		err = errLength
	}
	return T(u), err
}

type signedCodec[T ~int | ~int8 | ~int16 | ~int32 | ~int64] struct{}

func (signedCodec[T]) delimiter() func(src []byte, mask byte) int { return integerLength }

func (signedCodec[T]) Append(dst []byte, v T) []byte {
	if v >= 0 {
		return appendUnsigned(dst, uint64(v))
	}
	n := max((bits.Len64(^uint64(int64(v)))+7)/8, 1)
	dst = append(dst, zeroOrder-1-byte(n))
	return appendLow(dst, uint64(int64(v)), n)
}

func (signedCodec[T]) Decode(src []byte) (T, error) {
	var v int64
	switch {
	case len(src) > 0 && src[0] >= zeroOrder:
		u, err := decodeUnsigned(src)
		if err != nil {
			return 0, err
		}
		v = int64(u)
		if v < 0 {
			return 0, errLength
		}
	case len(src) >= 2 && len(src) <= 9 && src[0] == zeroOrder-1-byte(len(src)-1):
		v = int64(lowBytes(src[1:], math.MaxUint64))
		if v >= 0 || len(src) > 2 && src[1] == 0xff {
			return 0, errLength
		}
	default:
		return 0, errLength
	}
	if int64(T(v)) != v {
		return 0, errLength
	}
	return T(v), nil
}

// Floats are ordered as their bits are, once those of the negative ones have
// been inverted and the sign of the others set.
type float64Codec struct{}

func (float64Codec) delimiter() func(src []byte, mask byte) int { return fixedLength(8) }

func (float64Codec) Append(dst []byte, v float64) []byte {
	b := math.Float64bits(v)
	return binary.BigEndian.AppendUint64(dst, b^(uint64(int64(b)>>63)|1<<63))
}

func (float64Codec) Decode(src []byte) (float64, error) {
	if len(src) != 8 {
		return 0, errLength
	}
	b := binary.BigEndian.Uint64(src)
	return math.Float64frombits(b ^ (uint64(int64(^b)>>63) | 1<<63)), nil
}

type float32Codec struct{}

func (float32Codec) delimiter() func(src []byte, mask byte) int { return fixedLength(4) }

func (float32Codec) Append(dst []byte, v float32) []byte {
	b := math.Float32bits(v)
	return binary.BigEndian.AppendUint32(dst, b^(uint32(int32(b)>>31)|1<<31))
}

func (float32Codec) Decode(src []byte) (float32, error) {
	if len(src) != 4 {
		return 0, errLength
	}
	b := binary.BigEndian.Uint32(src)
	return math.Float32frombits(b ^ (uint32(int32(^b)>>31) | 1<<31)), nil
}

// selfMethods returns how to encode and decode the type that v points to by its own
// methods, or nil if it has none.
func selfMethods(v any) (encode func(dst []byte, v any) ([]byte, error), decode func(v any, src []byte) error) {
	if _, ok := v.(encoding.BinaryUnmarshaler); ok {
		decode = func(v any, src []byte) error { return v.(encoding.BinaryUnmarshaler).UnmarshalBinary(src) }
		switch v.(type) {
		case encoding.BinaryAppender:
			return func(dst []byte, v any) ([]byte, error) { return v.(encoding.BinaryAppender).AppendBinary(dst) }, decode
		case encoding.BinaryMarshaler:
			return func(dst []byte, v any) ([]byte, error) {
				b, err := v.(encoding.BinaryMarshaler).MarshalBinary()
				return append(dst, b...), err
			}, decode
		}
	}
	if _, ok := v.(encoding.TextUnmarshaler); ok {
		decode = func(v any, src []byte) error { return v.(encoding.TextUnmarshaler).UnmarshalText(src) }
		switch v.(type) {
		case encoding.TextAppender:
			return func(dst []byte, v any) ([]byte, error) { return v.(encoding.TextAppender).AppendText(dst) }, decode
		case encoding.TextMarshaler:
			return func(dst []byte, v any) ([]byte, error) {
				b, err := v.(encoding.TextMarshaler).MarshalText()
				return append(dst, b...), err
			}, decode
		}
	}
	return nil, nil
}

// mustEncode encodes a value by its own method. It panics if that fails, as a Codec
// cannot return an error; the task that called emit fails with it.
func mustEncode(encode func(dst []byte, v any) ([]byte, error), dst []byte, v any) []byte {
	dst, err := encode(dst, v)
	if err != nil {
		// caught: by guard, around all of the job's code.
		panic(fmt.Errorf("encode %T: %w", v, err))
	}
	return dst
}

// methodCodec calls the methods of the type itself.
type methodCodec[T any] struct {
	encode func(dst []byte, v any) ([]byte, error)
	decode func(v any, src []byte) error
}

var _ inPlace[struct{}] = methodCodec[struct{}]{}

// Append implements Codec.
func (c methodCodec[T]) Append(dst []byte, v T) []byte { return c.appendFrom(dst, &v) }

// Decode implements Codec.
func (c methodCodec[T]) Decode(src []byte) (v T, err error) {
	err = c.decodeTo(src, &v)
	return v, err
}

func (c methodCodec[T]) appendFrom(dst []byte, v *T) []byte { return mustEncode(c.encode, dst, v) }
func (c methodCodec[T]) decodeTo(src []byte, v *T) error    { return c.decode(v, src) }
