package mapreduce

import (
	"bytes"
	"fmt"
	"slices"
)

// Codecs that are made of others, and with which keys get an order of one's own:
// Fields, Descending and OrderBy. Where they take a codec, nil means DefaultCodec. If
// there is none, the error appears when the job is defined.

// Descending returns a codec that orders values the other way round than codec does.
func Descending[T any](codec Codec[T]) Codec[T] {
	return descendingCodec[T]{newPart(orDefault(codec))}
}

// OrderBy returns a codec that orders values by the bytes that order appends to dst
// for them, as bytes.Compare has it, and those for which it appends the same by codec.
// It is called once for each value that is encoded, and what it appends goes with the
// value from Map to Reduce: a collation key for strings, say, or the encoding of a
// number that was computed from the value, as another codec's Append makes it.
//
// It takes the place that a comparison function has elsewhere: sorts compare bytes
// only. Values are the same key only if codec encodes them to the same bytes, whatever
// their order; see [Job].Group to have more than one key in a group.
func OrderBy[T any](codec Codec[T], order func(dst []byte, v T) []byte) Codec[T] {
	return newOrdered(orDefault(codec), order)
}

// Fields returns the codec of a compound: values are ordered by the first field, those
// that agree in it by the second, and so on. The compound decodes to one in which
// these fields are set, and nothing else is.
//
// DefaultCodec has the codec of a struct with all its fields in the order in which
// they are declared; Fields is for other orders.
func Fields[T any](fields ...FieldCodec[T]) Codec[T] { return fieldsCodec[T](fields) }

// Field returns the codec of the field of a T that at points to.
func Field[T, F any](at func(*T) *F, codec Codec[F]) FieldCodec[T] {
	return field[T, F]{at, newPart(orDefault(codec))}
}

// A FieldCodec is the codec of one field, for [Fields].
type FieldCodec[T any] interface {
	checked
	// append appends the encoding of v's field.
	append(dst []byte, v *T) []byte
	// measure is as in delimited.
	measure(src []byte, mask byte) int
	// cut takes the encoding of the field off src, sets it in v, and returns the rest.
	cut(src []byte, v *T) ([]byte, error)
}

// checked is implemented by codecs that may lack a codec that they are made of.
type checked interface{ check() error }

// checkCodec says whether a codec lacks anything.
func checkCodec(codec any) error {
	if c, ok := codec.(checked); ok {
		return c.check()
	}
	return nil
}

// orDefault returns the default of a codec that is nil.
func orDefault[T any](codec Codec[T]) Codec[T] {
	if codec != nil {
		return codec
	}
	codec, err := DefaultCodec[T]()
	if err != nil {
		return missingCodec[T]{err}
	}
	return codec
}

// missingCodec stands for a codec that there is not.
type missingCodec[T any] struct{ err error }

func (c missingCodec[T]) check() error { return c.err }

// Append panics, as whoever did not ask check finds out here.
func (c missingCodec[T]) Append([]byte, T) []byte {
	// caught: by guard, around all of the job's code.
	panic(c.err)
}

func (c missingCodec[T]) Decode([]byte) (v T, err error) { return v, c.err }

// delimited is implemented by codecs whose encodings end by themselves: none is the
// beginning of another, so that something may follow.
type delimited interface {
	// delimiter returns a function that returns how many bytes the encoding takes
	// that src begins with, or -1 if it begins with none. Each byte of src is to be
	// xored with mask first. It is nil if the codec is not delimited after all, as
	// one that it is made of is not.
	delimiter() func(src []byte, mask byte) int
}

// part encodes values of a type as parts of a compound. Encodings that do not end by
// themselves are escaped.
type part[T any] struct {
	codec   Codec[T]
	place   inPlace[T] // the codec, if it works in place
	measure func(src []byte, mask byte) int
	escaped bool
}

func newPart[T any](codec Codec[T]) part[T] {
	p := part[T]{codec: codec}
	p.place, _ = codec.(inPlace[T])
	if d, ok := codec.(delimited); ok {
		p.measure = d.delimiter()
	}
	if p.measure == nil {
		p.measure, p.escaped = escapedLength, true
	}
	return p
}

func (p *part[T]) check() error { return checkCodec(p.codec) }

// append appends the encoding of *v to dst.
func (p *part[T]) append(dst []byte, v *T) []byte {
	at := len(dst)
	if p.place != nil {
		dst = p.place.appendFrom(dst, v)
	} else {
		dst = p.codec.Append(dst, *v)
	}
	if p.escaped {
		dst = escape(dst, at)
	}
	return dst
}

// cut takes the encoding of a value off src, sets *v, and returns the rest.
func (p *part[T]) cut(src []byte, v *T) (rest []byte, err error) {
	n := p.measure(src, 0)
	if n < 0 {
		return nil, errLength
	}
	src, rest = src[:n:n], src[n:]
	if p.escaped {
		src = unescape(src)
	}
	if p.place != nil {
		return rest, p.place.decodeTo(src, v)
	}
	*v, err = p.codec.Decode(src)
	return rest, err
}

// What is escaped is ordered as it was, and so is what follows: the end, a zero and a
// one, is less than a zero within, which is followed by a byte that is greater.
const (
	escapeByte = 0x00
	escapeEnd  = 0x01
	escapeZero = 0xff
)

// escape escapes what begins at dst[at].
func escape(dst []byte, at int) []byte {
	zeros := bytes.Count(dst[at:], []byte{escapeByte})
	if zeros > 0 {
		from := len(dst)
		dst = slices.Grow(dst, zeros+2)[:from+zeros]
		for to := len(dst); from < to; { // from the end, up to the first zero
			from--
			to--
			if dst[from] == escapeByte {
				dst[to] = escapeZero
				to--
			}
			dst[to] = dst[from]
		}
	}
	return append(dst, escapeByte, escapeEnd)
}

// escapedLength is a delimiter.
func escapedLength(src []byte, mask byte) int {
	for at := 0; ; at += 2 {
		n := bytes.IndexByte(src[at:], escapeByte^mask)
		if n < 0 || at+n+1 == len(src) {
			return -1
		}
		at += n
		switch src[at+1] ^ mask {
		case escapeEnd:
			return at + 2
		case escapeZero:
		default:
			return -1
		}
	}
}

// unescape undoes escape, for what escapedLength has measured. It copies src only if
// it has to.
func unescape(src []byte) []byte {
	src = src[:len(src)-2]
	n := bytes.IndexByte(src, escapeByte)
	if n < 0 {
		return src
	}
	plain := make([]byte, 0, len(src))
	for ; n >= 0; n = bytes.IndexByte(src, escapeByte) {
		plain = append(plain, src[:n+1]...)
		src = src[n+2:]
	}
	return append(plain, src...)
}

// descendingCodec inverts all bytes of a part. Since no encoding of a part is the
// beginning of another, two of them differ in a byte that both have.
type descendingCodec[T any] struct{ part part[T] }

var _ inPlace[struct{}] = descendingCodec[struct{}]{}

func (c descendingCodec[T]) check() error { return c.part.check() }

func (c descendingCodec[T]) delimiter() func(src []byte, mask byte) int {
	return func(src []byte, mask byte) int { return c.part.measure(src, ^mask) }
}

// Append implements Codec.
func (c descendingCodec[T]) Append(dst []byte, v T) []byte { return c.appendFrom(dst, &v) }

// Decode implements Codec.
func (c descendingCodec[T]) Decode(src []byte) (v T, err error) {
	err = c.decodeTo(src, &v)
	return v, err
}

func (c descendingCodec[T]) appendFrom(dst []byte, v *T) []byte {
	at := len(dst)
	dst = c.part.append(dst, v)
	invert(dst[at:])
	return dst
}

func (c descendingCodec[T]) decodeTo(src []byte, v *T) error {
	src = bytes.Clone(src)
	invert(src)
	rest, err := c.part.cut(src, v)
	if err == nil && len(rest) > 0 {
		err = errLength
	}
	return err
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// orderedCodec puts what values are ordered by before their encodings.
type orderedCodec[T any] struct {
	order func(dst []byte, v T) []byte
	codec Codec[T]
	place inPlace[T] // the codec, if it works in place
}

var _ inPlace[struct{}] = orderedCodec[struct{}]{}

func newOrdered[T any](codec Codec[T], order func(dst []byte, v T) []byte) orderedCodec[T] {
	c := orderedCodec[T]{order: order, codec: codec}
	c.place, _ = codec.(inPlace[T])
	return c
}

func (c orderedCodec[T]) check() error {
	if c.order == nil {
		return fmt.Errorf("%w: the order of OrderBy is missing", ErrConfig)
	}
	return checkCodec(c.codec)
}

// Append implements Codec.
func (c orderedCodec[T]) Append(dst []byte, v T) []byte { return c.appendFrom(dst, &v) }

// Decode implements Codec.
func (c orderedCodec[T]) Decode(src []byte) (v T, err error) {
	err = c.decodeTo(src, &v)
	return v, err
}

func (c orderedCodec[T]) appendFrom(dst []byte, v *T) []byte {
	at := len(dst)
	dst = escape(c.order(dst, *v), at)
	if c.place != nil {
		return c.place.appendFrom(dst, v)
	}
	return c.codec.Append(dst, *v)
}

func (c orderedCodec[T]) decodeTo(src []byte, v *T) (err error) {
	n := escapedLength(src, 0)
	if n < 0 {
		return errLength
	}
	if c.place != nil {
		return c.place.decodeTo(src[n:], v)
	}
	*v, err = c.codec.Decode(src[n:])
	return err
}

// field implements FieldCodec.
type field[T, F any] struct {
	at   func(*T) *F
	part part[F]
}

func (f field[T, F]) check() error {
	if f.at == nil {
		return fmt.Errorf("%w: where a field is is missing", ErrConfig)
	}
	return f.part.check()
}

func (f field[T, F]) append(dst []byte, v *T) []byte { return f.part.append(dst, f.at(v)) }

func (f field[T, F]) measure(src []byte, mask byte) int { return f.part.measure(src, mask) }

func (f field[T, F]) cut(src []byte, v *T) ([]byte, error) { return f.part.cut(src, f.at(v)) }

// fieldsCodec encodes fields one after the other.
type fieldsCodec[T any] []FieldCodec[T]

var _ inPlace[struct{}] = fieldsCodec[struct{}]{}

func (c fieldsCodec[T]) check() error {
	for i, f := range c {
		if f == nil {
			return fmt.Errorf("%w: field %d of Fields is missing", ErrConfig, i)
		}
		if err := f.check(); err != nil {
			return fmt.Errorf("field %d of Fields: %w", i, err)
		}
	}
	return nil
}

func (c fieldsCodec[T]) delimiter() func(src []byte, mask byte) int {
	return func(src []byte, mask byte) int {
		at := 0
		for _, f := range c {
			n := f.measure(src[at:], mask)
			if n < 0 {
				return -1
			}
			at += n
		}
		return at
	}
}

// Append implements Codec.
func (c fieldsCodec[T]) Append(dst []byte, v T) []byte { return c.appendFrom(dst, &v) }

// Decode implements Codec.
func (c fieldsCodec[T]) Decode(src []byte) (v T, err error) {
	err = c.decodeTo(src, &v)
	return v, err
}

func (c fieldsCodec[T]) appendFrom(dst []byte, v *T) []byte {
	for _, f := range c {
		dst = f.append(dst, v)
	}
	return dst
}

func (c fieldsCodec[T]) decodeTo(src []byte, v *T) (err error) {
	for _, f := range c {
		if src, err = f.cut(src, v); err != nil {
			return err
		}
	}
	if len(src) > 0 {
		return errLength
	}
	return nil
}
