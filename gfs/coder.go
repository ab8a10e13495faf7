package gfs

import (
	"encoding/binary"
	"fmt"

	"github.com/trilith-go/trilith/internal/wire"
)

// A coder writes a message or reads one. Each message describes its layout once, in
// its code method, for both: what is read cannot differ from what is written.
type coder struct {
	out []byte        // what has been written
	in  *wire.Decoder // non-nil: read
	dec wire.Decoder
}

// A coded type has a layout.
type coded interface{ code(c *coder) }

// number codes an unsigned integer of any width, as a varint.
func number[N ~uint8 | ~uint16 | ~uint32 | ~uint64](c *coder, p *N) {
	if c.in == nil {
		c.out = binary.AppendUvarint(c.out, uint64(*p))
		return
	}
	v := c.in.Uvarint()
	if *p = N(v); uint64(*p) != v {
		c.in.Fail("%d is too large", v)
	}
}

// signed codes a signed integer, as a varint.
func signed[N ~int | ~int64](c *coder, p *N) {
	if c.in == nil {
		c.out = binary.AppendVarint(c.out, int64(*p))
		return
	}
	*p = N(c.in.Varint())
}

// size codes an integer that is not negative.
func size[N ~int | ~int64](c *coder, p *N) {
	v := uint64(*p)
	number(c, &v)
	if c.in != nil {
		if *p = N(v); *p < 0 {
			c.in.Fail("%d is too large", v)
		}
	}
}

// text codes a string.
func text[S ~string](c *coder, p *S) {
	if c.in == nil {
		c.out = binary.AppendUvarint(c.out, uint64(len(*p)))
		c.out = append(c.out, *p...)
		return
	}
	*p = S(c.in.Bytes())
}

// raw codes bytes, which are copied.
func raw(c *coder, p *[]byte) {
	if c.in == nil {
		c.out = binary.AppendUvarint(c.out, uint64(len(*p)))
		c.out = append(c.out, *p...)
		return
	}
	*p = append([]byte(nil), c.in.Bytes()...)
}

func flag[B ~bool](c *coder, p *B) {
	if c.in == nil {
		c.out = wire.AppendBool(c.out, bool(*p))
		return
	}
	*p = B(c.in.Bool())
}

// list codes a slice, each element by code. An element takes one byte at least.
func list[T any](c *coder, p *[]T, code func(c *coder, e *T)) {
	if c.in == nil {
		c.out = binary.AppendUvarint(c.out, uint64(len(*p)))
		for i := range *p {
			code(c, &(*p)[i])
		}
		return
	}
	n := c.in.Count(1)
	*p = nil
	if n == 0 {
		return
	}
	// Memory follows what has arrived: an element may be far larger here than there.
	*p = make([]T, 0, min(n, 1024))
	for range n {
		var e T
		code(c, &e)
		if c.in.Err() != nil {
			return
		}
		*p = append(*p, e)
	}
}

// fixed codes n bytes as they are.
func fixed(c *coder, p []byte) {
	if c.in == nil {
		c.out = append(c.out, p...)
		return
	}
	copy(p, c.in.Next(len(p)))
}

// invalid makes the reading of a message fail.
func (c *coder) invalid(format string, args ...any) {
	if c.in != nil {
		c.in.Fail("%s", fmt.Sprintf(format, args...))
	}
}
