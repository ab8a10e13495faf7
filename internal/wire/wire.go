package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrCorrupt is matched by every error of a Decoder.
var ErrCorrupt = errors.New("wire: malformed data")

// AppendString appends the length of s as a uvarint, and s.
func AppendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// AppendBytes appends the length of b as a uvarint, and b.
func AppendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// AppendBool appends one byte, 0 or 1.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendTime appends t with nanosecond precision, without its location; the
// zero Time keeps its identity. Times outside the years 1678 to 2262 do not fit.
func AppendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(dst, math.MinInt64)
	}
	return binary.AppendVarint(dst, t.UnixNano())
}

// A Decoder takes values off the front of a byte slice. After its first error
// every method returns the zero value. It keeps no state beyond the slice, and
// is not safe for concurrent use.
type Decoder struct {
	buf []byte
	off int
	err error
}

// NewDecoder returns a Decoder of buf, which it borrows.
func NewDecoder(buf []byte) Decoder { return Decoder{buf: buf} }

// Err returns the first error, which matches ErrCorrupt, or nil.
func (d *Decoder) Err() error { return d.err }

// Len returns how many bytes are left.
func (d *Decoder) Len() int { return len(d.buf) - d.off }

// Rest takes all that is left. The result is borrowed from the input.
func (d *Decoder) Rest() []byte {
	if d.err != nil {
		return nil
	}
	rest := d.buf[d.off:]
	d.off = len(d.buf)
	return rest
}

// Finish returns the first error, or one if bytes are left.
func (d *Decoder) Finish() error {
	if d.err == nil && d.off != len(d.buf) {
		d.fail("%d bytes too many", d.Len())
	}
	return d.err
}

func (d *Decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: at byte %d: %s", ErrCorrupt, d.off, fmt.Sprintf(format, args...))
	}
	d.buf, d.off = nil, 0
}

// Fail makes the decoder fail, for callers that find a value out of its range.
func (d *Decoder) Fail(format string, args ...any) { d.fail(format, args...) }

// Uvarint takes an unsigned varint.
func (d *Decoder) Uvarint() uint64 {
	// The common case is one byte.
	if d.off < len(d.buf) && d.buf[d.off] < 0x80 {
		v := d.buf[d.off]
		d.off++
		return uint64(v)
	}
	v, n := binary.Uvarint(d.buf[d.off:])
	if n <= 0 {
		d.fail("bad unsigned varint")
		return 0
	}
	d.off += n
	return v
}

// Varint takes a signed varint.
func (d *Decoder) Varint() int64 {
	v, n := binary.Varint(d.buf[d.off:])
	if n <= 0 {
		d.fail("bad signed varint")
		return 0
	}
	d.off += n
	return v
}

// Int takes an unsigned varint that is at most limit, as an int.
func (d *Decoder) Int(limit int) int {
	v := d.Uvarint()
	if v > uint64(max(limit, 0)) {
		d.fail("%d is beyond the limit of %d", v, limit)
		return 0
	}
	return int(v)
}

// Count takes the number of elements that follow, each of at least size bytes
// (size ≥ 1), and fails if the input cannot hold so many: a slice of Count
// elements can be allocated without trusting the input.
func (d *Decoder) Count(size int) int { return d.Int(d.Len() / max(size, 1)) }

// Byte takes one byte.
func (d *Decoder) Byte() byte {
	if d.off >= len(d.buf) {
		d.fail("unexpected end")
		return 0
	}
	v := d.buf[d.off]
	d.off++
	return v
}

// Bool takes one byte, 0 or 1.
func (d *Decoder) Bool() bool {
	switch d.Byte() {
	case 0:
		return false
	case 1:
		return true
	}
	d.fail("a truth value is neither 0 nor 1")
	return false
}

// Uint32 takes four bytes, little end first.
func (d *Decoder) Uint32() uint32 {
	if b := d.Next(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// Uint64 takes eight bytes, little end first.
func (d *Decoder) Uint64() uint64 {
	if b := d.Next(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Next takes n bytes, borrowed from the input.
func (d *Decoder) Next(n int) []byte {
	if n < 0 || n > d.Len() {
		d.fail("%d bytes announced, %d there", n, d.Len())
		return nil
	}
	b := d.buf[d.off : d.off+n : d.off+n]
	d.off += n
	return b
}

// Bytes takes a length and so many bytes, borrowed from the input.
func (d *Decoder) Bytes() []byte {
	n := d.Uvarint()
	if n > uint64(d.Len()) {
		d.fail("%d bytes announced, %d there", n, d.Len())
		return nil
	}
	return d.Next(int(n))
}

// String takes a length and so many bytes, as a new string.
func (d *Decoder) String() string { return string(d.Bytes()) }

// Time takes what AppendTime wrote, in UTC.
func (d *Decoder) Time() time.Time {
	v := d.Varint()
	if d.err != nil || v == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, v).UTC()
}
