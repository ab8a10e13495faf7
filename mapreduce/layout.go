package mapreduce

import (
	"fmt"
	"reflect"
	"slices"
	"unsafe"
)

// A layout encodes the values of a type that is made of others: structs, arrays and
// slices. It is found out once, by reflection; after that it is a matter of pointers.
// Its encodings end by themselves.
type layout interface {
	// append appends the encoding of the value at p to dst.
	append(dst []byte, p unsafe.Pointer) []byte
	// measure is as in delimited.
	measure(src []byte, mask byte) int
	// cut takes the encoding of a value off src, sets the value at p, which is zero,
	// and returns the rest.
	cut(src []byte, p unsafe.Pointer) ([]byte, error)
}

// layoutCodec is the codec of a type with a layout.
type layoutCodec[T any] struct{ layout layout }

var _ inPlace[struct{}] = layoutCodec[struct{}]{}

func (c layoutCodec[T]) delimiter() func(src []byte, mask byte) int { return c.layout.measure }

// Append implements Codec.
func (c layoutCodec[T]) Append(dst []byte, v T) []byte { return c.appendFrom(dst, &v) }

// Decode implements Codec.
func (c layoutCodec[T]) Decode(src []byte) (v T, err error) {
	err = c.decodeTo(src, &v)
	return v, err
}

func (c layoutCodec[T]) appendFrom(dst []byte, v *T) []byte {
	return c.layout.append(dst, unsafe.Pointer(v))
}

func (c layoutCodec[T]) decodeTo(src []byte, v *T) error {
	rest, err := c.layout.cut(src, unsafe.Pointer(v))
	if err == nil && len(rest) > 0 {
		err = errLength
	}
	return err
}

// layoutOf returns the layout of a type. within are the types that it is a part of.
func layoutOf(t reflect.Type, within []reflect.Type) (layout, error) {
	if slices.Contains(within, t) {
		return nil, fmt.Errorf("%v contains itself", t)
	}
	if encode, decode := selfMethods(reflect.New(t).Interface()); decode != nil {
		return methodLayout{t, encode, decode}, nil
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Struct:
		return structOf(t, within)
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return byteArrayLayout(t.Len()), nil
		}
		elem, err := layoutOf(t.Elem(), within)
		return arrayLayout{t.Len(), t.Elem().Size(), elem}, err
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return newScalar[[]byte](bytesCodec{}), nil
		}
		elem, err := layoutOf(t.Elem(), within)
		return sliceLayout{t, t.Elem().Size(), elem}, err
	}
	if scalar := scalars[t.Kind()]; scalar != nil {
		return scalar, nil
	}
	return nil, fmt.Errorf("%v has none", t)
}

func structOf(t reflect.Type, within []reflect.Type) (layout, error) {
	var l structLayout
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			continue
		}
		inner, err := layoutOf(f.Type, within)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		l = append(l, fieldLayout{f.Offset, inner})
	}
	return l, nil
}

// scalars are the layouts of what is not made of other types.
var scalars = map[reflect.Kind]layout{
	reflect.String:  newScalar[string](stringCodec{}),
	reflect.Bool:    newScalar[bool](boolCodec{}),
	reflect.Int:     newScalar[int](signedCodec[int]{}),
	reflect.Int8:    newScalar[int8](signedCodec[int8]{}),
	reflect.Int16:   newScalar[int16](signedCodec[int16]{}),
	reflect.Int32:   newScalar[int32](signedCodec[int32]{}),
	reflect.Int64:   newScalar[int64](signedCodec[int64]{}),
	reflect.Uint:    newScalar[uint](unsignedCodec[uint]{}),
	reflect.Uint8:   newScalar[uint8](unsignedCodec[uint8]{}),
	reflect.Uint16:  newScalar[uint16](unsignedCodec[uint16]{}),
	reflect.Uint32:  newScalar[uint32](unsignedCodec[uint32]{}),
	reflect.Uint64:  newScalar[uint64](unsignedCodec[uint64]{}),
	reflect.Float32: newScalar[float32](float32Codec{}),
	reflect.Float64: newScalar[float64](float64Codec{}),
}

// scalarLayout is that of a T, and of every type that is made of one.
type scalarLayout[T any] struct{ part part[T] }

func newScalar[T any](codec Codec[T]) layout { return scalarLayout[T]{newPart(codec)} }

func (l scalarLayout[T]) append(dst []byte, p unsafe.Pointer) []byte {
	return l.part.append(dst, (*T)(p))
}

func (l scalarLayout[T]) measure(src []byte, mask byte) int { return l.part.measure(src, mask) }

func (l scalarLayout[T]) cut(src []byte, p unsafe.Pointer) ([]byte, error) {
	return l.part.cut(src, (*T)(p))
}

// methodLayout is that of a type that encodes itself.
type methodLayout struct {
	t      reflect.Type
	encode func(dst []byte, v any) ([]byte, error)
	decode func(v any, src []byte) error
}

func (l methodLayout) append(dst []byte, p unsafe.Pointer) []byte {
	at := len(dst)
	return escape(mustEncode(l.encode, dst, reflect.NewAt(l.t, p).Interface()), at)
}

func (l methodLayout) measure(src []byte, mask byte) int { return escapedLength(src, mask) }

func (l methodLayout) cut(src []byte, p unsafe.Pointer) ([]byte, error) {
	n := escapedLength(src, 0)
	if n < 0 {
		return nil, errLength
	}
	return src[n:], l.decode(reflect.NewAt(l.t, p).Interface(), unescape(src[:n:n]))
}

// structLayout is that of a struct: its fields, one after the other.
type structLayout []fieldLayout

type fieldLayout struct {
	offset uintptr
	layout layout
}

func (l structLayout) append(dst []byte, p unsafe.Pointer) []byte {
	for _, f := range l {
		dst = f.layout.append(dst, unsafe.Add(p, f.offset))
	}
	return dst
}

func (l structLayout) measure(src []byte, mask byte) int {
	at := 0
	for _, f := range l {
		n := f.layout.measure(src[at:], mask)
		if n < 0 {
			return -1
		}
		at += n
	}
	return at
}

func (l structLayout) cut(src []byte, p unsafe.Pointer) (rest []byte, err error) {
	for _, f := range l {
		if src, err = f.layout.cut(src, unsafe.Add(p, f.offset)); err != nil {
			return nil, err
		}
	}
	return src, nil
}

// byteArrayLayout is that of an array of so many bytes: as they are.
type byteArrayLayout int

func (l byteArrayLayout) append(dst []byte, p unsafe.Pointer) []byte {
	return append(dst, unsafe.Slice((*byte)(p), int(l))...)
}

func (l byteArrayLayout) measure(src []byte, _ byte) int {
	if len(src) < int(l) {
		return -1
	}
	return int(l)
}

func (l byteArrayLayout) cut(src []byte, p unsafe.Pointer) ([]byte, error) {
	if len(src) < int(l) {
		return nil, errLength
	}
	copy(unsafe.Slice((*byte)(p), int(l)), src)
	return src[l:], nil
}

// arrayLayout is that of an array: its elements, one after the other.
type arrayLayout struct {
	n    int
	size uintptr
	elem layout
}

func (l arrayLayout) append(dst []byte, p unsafe.Pointer) []byte {
	for i := range l.n {
		dst = l.elem.append(dst, unsafe.Add(p, uintptr(i)*l.size))
	}
	return dst
}

func (l arrayLayout) measure(src []byte, mask byte) int {
	at := 0
	for range l.n {
		n := l.elem.measure(src[at:], mask)
		if n < 0 {
			return -1
		}
		at += n
	}
	return at
}

func (l arrayLayout) cut(src []byte, p unsafe.Pointer) (rest []byte, err error) {
	for i := range l.n {
		if src, err = l.elem.cut(src, unsafe.Add(p, uintptr(i)*l.size)); err != nil {
			return nil, err
		}
	}
	return src, nil
}

// sliceLayout is that of a slice: its elements, each behind a byte that says that
// there is one. So a slice comes before all that it is the beginning of.
type sliceLayout struct {
	t    reflect.Type
	size uintptr // of an element
	elem layout
}

const (
	sliceEnd  = 0x00
	sliceNext = 0x01
)

func (l sliceLayout) append(dst []byte, p unsafe.Pointer) []byte {
	// Slices are laid out alike, whatever their elements are.
	s := *(*[]struct{})(p)
	first := unsafe.Pointer(unsafe.SliceData(s))
	for i := range s {
		dst = l.elem.append(append(dst, sliceNext), unsafe.Add(first, uintptr(i)*l.size))
	}
	return append(dst, sliceEnd)
}

func (l sliceLayout) measure(src []byte, mask byte) int {
	at, _ := l.count(src, mask)
	return at
}

// count returns how many bytes the encoding takes, or -1, and how many elements the
// slice has.
func (l sliceLayout) count(src []byte, mask byte) (at, elems int) {
	for ; at < len(src); elems++ {
		switch src[at] ^ mask {
		case sliceEnd:
			return at + 1, elems
		case sliceNext:
		default:
			return -1, 0
		}
		n := l.elem.measure(src[at+1:], mask)
		if n < 0 {
			return -1, 0
		}
		at += 1 + n
	}
	return -1, 0
}

func (l sliceLayout) cut(src []byte, p unsafe.Pointer) (rest []byte, err error) {
	size, elems := l.count(src, 0)
	if size < 0 {
		return nil, errLength
	}
	if elems > 0 {
		s := reflect.MakeSlice(l.t, elems, elems)
		reflect.NewAt(l.t, p).Elem().Set(s)
		first := s.UnsafePointer()
		for i := range elems {
			if src, err = l.elem.cut(src[1:], unsafe.Add(first, uintptr(i)*l.size)); err != nil {
				return nil, err
			}
		}
	}
	return src[1:], nil // without the end
}
