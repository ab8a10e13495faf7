package gfs

import (
	"sync"

	"github.com/trilith-go/trilith/internal/wire"
)

var coders = sync.Pool{New: func() any { return new(coder) }}

// encode appends m to dst.
func encode(dst []byte, m coded) ([]byte, error) {
	c := coders.Get().(*coder)
	c.out, c.in = dst, nil
	m.code(c)
	dst = c.out
	c.out = nil
	coders.Put(c)
	return dst, nil
}

// decode reads m, which is as new, and nothing may be left. The error matches
// wire.ErrCorrupt. Slices in m do not refer to src.
func decode(src []byte, m coded) error {
	c := coders.Get().(*coder)
	c.dec = wire.NewDecoder(src)
	c.out, c.in = nil, &c.dec
	m.code(c)
	err := c.dec.Finish()
	c.in, c.dec = nil, wire.Decoder{}
	coders.Put(c)
	return err
}
