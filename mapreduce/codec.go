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
//   - strings and byte slices as they are. A decoded byte slice is borrowed: a
//     key is valid until Reduce returns, a value until the next one is taken;
//   - integers in two to nine bytes, small ones in few, ordered by value;
//   - floats in their width, ordered by value, -0 before 0, NaNs at the ends;
//   - bools in one byte;
//   - structs without fields in none;
//   - any other type T that has AppendBinary or MarshalBinary, where *T has
//     UnmarshalBinary; or else AppendText or MarshalText, where *T has
//     UnmarshalText. Such keys are ordered by the bytes they encode to.
//
// Named types count as what they are made of, unless they encode themselves. For
// anything else there is no default, and the error says so.
func DefaultCodec[T any]() (Codec[T], error) {
	t := reflect.TypeFor[T]()
	if c := selfCodec[T](); c != nil {
		return c, nil
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
	return nil, fmt.Errorf("%w: no codec for %v: give it AppendBinary and UnmarshalBinary, or set the Job's codec", ErrConfig, t)
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

var errLength = errors.New("encoding has the wrong length")

type stringCodec struct{}

func (stringCodec) Append(dst []byte, v string) []byte { return append(dst, v...) }
func (stringCodec) Decode(src []byte) (string, error)  { return string(src), nil }

type bytesCodec struct{}

func (bytesCodec) Append(dst []byte, v []byte) []byte { return append(dst, v...) }
func (bytesCodec) Decode(src []byte) ([]byte, error)  { return src[:len(src):len(src)], nil }
func (bytesCodec) view(v []byte) []byte               { return v }

type boolCodec struct{}

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

type unsignedCodec[T ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64] struct{}

func (unsignedCodec[T]) Append(dst []byte, v T) []byte { return appendUnsigned(dst, uint64(v)) }

func (unsignedCodec[T]) Decode(src []byte) (T, error) {
	u, err := decodeUnsigned(src)
	if err == nil && uint64(T(u)) != u {
		err = errLength
	}
	return T(u), err
}

type signedCodec[T ~int | ~int8 | ~int16 | ~int32 | ~int64] struct{}

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

// selfCodec returns the codec of a type that encodes itself, or nil.
func selfCodec[T any]() Codec[T] {
	var zero T
	var decode func(*T, []byte) error
	switch any(&zero).(type) {
	case encoding.BinaryUnmarshaler:
		decode = func(v *T, src []byte) error { return any(v).(encoding.BinaryUnmarshaler).UnmarshalBinary(src) }
		switch any(&zero).(type) {
		case encoding.BinaryAppender:
			return methodCodec[T]{func(dst []byte, v *T) ([]byte, error) {
				return any(v).(encoding.BinaryAppender).AppendBinary(dst)
			}, decode}
		case encoding.BinaryMarshaler:
			return methodCodec[T]{func(dst []byte, v *T) ([]byte, error) {
				b, err := any(v).(encoding.BinaryMarshaler).MarshalBinary()
				return append(dst, b...), err
			}, decode}
		}
	}
	switch any(&zero).(type) {
	case encoding.TextUnmarshaler:
		decode = func(v *T, src []byte) error { return any(v).(encoding.TextUnmarshaler).UnmarshalText(src) }
		switch any(&zero).(type) {
		case encoding.TextAppender:
			return methodCodec[T]{func(dst []byte, v *T) ([]byte, error) {
				return any(v).(encoding.TextAppender).AppendText(dst)
			}, decode}
		case encoding.TextMarshaler:
			return methodCodec[T]{func(dst []byte, v *T) ([]byte, error) {
				b, err := any(v).(encoding.TextMarshaler).MarshalText()
				return append(dst, b...), err
			}, decode}
		}
	}
	return nil
}

// methodCodec calls the methods of the type itself.
type methodCodec[T any] struct {
	encode func(dst []byte, v *T) ([]byte, error)
	decode func(v *T, src []byte) error
}

// Append panics if the type's own method fails, as a Codec cannot return an
// error; the task that called emit fails with it.
func (c methodCodec[T]) Append(dst []byte, v T) []byte {
	dst, err := c.encode(dst, &v)
	if err != nil {
		// caught: by guard, around all of the job's code.
		panic(fmt.Errorf("encode %T: %w", v, err))
	}
	return dst
}

func (c methodCodec[T]) Decode(src []byte) (T, error) {
	var v T
	err := c.decode(&v, src)
	return v, err
}
