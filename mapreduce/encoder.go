package mapreduce

import "unsafe"

// inPlace is implemented by codecs that work on a value by its address: it takes an
// allocation for each value if they are given the value itself.
type inPlace[T any] interface {
	// appendFrom appends the encoding of *v to dst.
	appendFrom(dst []byte, v *T) []byte
	// decodeTo decodes src to *v, which is zero.
	decodeTo(src []byte, v *T) error
}

// viewer is implemented by the codecs whose encoding is the value's own memory.
type viewer[T any] interface{ view(v T) []byte }

// encoder encodes values of one goroutine into memory that it uses again.
type encoder[T any] struct {
	codec   Codec[T]
	text    bool           // T is string, and encoded as it is
	view    func(T) []byte // the encoding without copying, if the type is its own
	place   inPlace[T]     // the codec, if it works in place, on value
	value   T
	scratch []byte
}

func newEncoder[T any](codec Codec[T]) encoder[T] {
	e := encoder[T]{codec: codec}
	if v, ok := codec.(viewer[T]); ok {
		e.view = v.view
	}
	_, e.text = any(codec).(stringCodec)
	e.place, _ = codec.(inPlace[T])
	return e
}

// encode returns the encoding of v, valid until the next call.
func (e *encoder[T]) encode(v T) []byte {
	if e.text { // what view does, without a call
		return viewBytes(*(*string)(unsafe.Pointer(&v)))
	}
	return e.encodeOther(v)
}

// encodeOther is encode for all but strings, apart so that encode can be inlined.
func (e *encoder[T]) encodeOther(v T) []byte {
	switch {
	case e.view != nil:
		return e.view(v)
	case e.place != nil:
		e.value = v
		e.scratch = e.place.appendFrom(e.scratch[:0], &e.value)
	default:
		e.scratch = e.codec.Append(e.scratch[:0], v)
	}
	return e.scratch
}

// decoder decodes values of one goroutine.
type decoder[T any] struct {
	codec Codec[T]
	place inPlace[T] // the codec, if it works in place, on value
	value T
}

func newDecoder[T any](codec Codec[T]) decoder[T] {
	d := decoder[T]{codec: codec}
	d.place, _ = codec.(inPlace[T])
	return d
}

func (d *decoder[T]) decode(src []byte) (T, error) {
	if d.place == nil {
		return d.codec.Decode(src)
	}
	var zero T
	d.value = zero
	err := d.place.decodeTo(src, &d.value)
	return d.value, err
}
