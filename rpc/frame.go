package rpc

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// A frame is
//
//	length  uvarint   bytes that follow, at most maxFrame
//	kind    byte
//	id      uvarint   of the call, of the stream, or 0
//	payload
//
// doc.go describes the kinds. This file encodes and parses; it is pure.
type frameKind byte

const (
	kindRequest  frameKind = 1 + iota // client: a call
	kindResponse                      // server: its end
	kindChunk                         // both: more of a call's message or body
	kindCancel                        // client: the caller has gone
	kindOpen                          // client: a stream
	kindCredit                        // both: the peer may send so many bytes more
	kindData                          // both: bytes of a stream
	kindFin                           // both: no more bytes of a stream from here
	kindReset                         // both: the stream is over, and why
	kindPing                          // both: say something
	kindPong                          // both: the answer
	kindGoAway                        // server: no new calls on this connection
	kindEnd                           // (the first that is not a kind)
)

// maxRequestHead bounds the bytes of a requestHead.
const maxRequestHead = 1 + 1 + maxMethod + 16 + 6*binary.MaxVarintLen64

// Flags of requests, responses and opens.
const (
	flagDeadline    = 1 << iota // a time-out follows, in microseconds
	flagChunked                 // message and body follow in chunks
	flagError                   // (response) the payload is an error
	flagExactlyOnce             // (request) session, sequence and watermark follow
	flagAtLeastOnce             // (request) the client may send it again
)

// maxTimeout is the longest time-out that is sent; a longer one is none.
const maxTimeout = 1 << 50 * time.Microsecond

// frameHead is a frame's head.
type frameHead struct {
	kind frameKind
	id   uint64
	size int // of the payload, in bytes
}

// appendHead appends the head of a frame with size payload bytes.
func appendHead(dst []byte, kind frameKind, id uint64, size int) []byte {
	if n := 1 + uvarintLen(id) + size; n < 0x80 {
		dst = append(dst, byte(n), byte(kind))
	} else {
		dst = append(binary.AppendUvarint(dst, uint64(n)), byte(kind))
	}
	return appendUvarint(dst, id)
}

func uvarintLen(v uint64) int { return (9*bits.Len64(v|1) + 64) >> 6 }

// appendUvarint is binary.AppendUvarint for the ids of calls, which have several
// bytes: it makes them all at once.
func appendUvarint(dst []byte, v uint64) []byte {
	if v >= 1<<56 {
		return binary.AppendUvarint(dst, v)
	}
	n := uvarintLen(v)
	v = v&(1<<28-1) | v>>28<<32
	v = v&0x00003fff_00003fff | v&0x0fffc000_0fffc000<<2
	v = v&0x007f007f_007f007f | v&0x3f803f80_3f803f80<<1
	v |= 0x80808080_80808080 & (1<<(8*(n-1)) - 1)
	at := len(dst)
	return binary.LittleEndian.AppendUint64(dst, v)[:at+n]
}

// takeUvarint is binary.Uvarint, likewise.
func takeUvarint(b []byte) (uint64, int) {
	if len(b) < 8 {
		return binary.Uvarint(b)
	}
	v := binary.LittleEndian.Uint64(b)
	ends := ^v & 0x80808080_80808080
	if ends == 0 {
		return binary.Uvarint(b)
	}
	v &= ends ^ (ends - 1) // up to the first byte that is the last
	v &= 0x7f7f7f7f_7f7f7f7f
	v = v&0x007f007f_007f007f | v&0x7f007f00_7f007f00>>1
	v = v&0x00003fff_00003fff | v&0x3fff0000_3fff0000>>2
	v = v&(1<<28-1) | v>>32<<28
	return v, bits.TrailingZeros64(ends)/8 + 1
}

// parseHead parses the head at the start of b. n is its length in bytes, or 0
// if b does not hold all of it yet.
func parseHead(b []byte) (h frameHead, n int, err error) {
	var length uint64
	n1 := 1
	if len(b) > 0 && b[0] < 0x80 {
		length = uint64(b[0])
	} else {
		length, n1 = binary.Uvarint(b[:min(len(b), binary.MaxVarintLen32)])
	}
	switch {
	case n1 < 0, n1 == 0 && len(b) >= binary.MaxVarintLen32, length > maxFrame:
		return h, 0, fmt.Errorf("%w: a frame longer than %d bytes", ErrProtocol, maxFrame)
	case n1 == 0:
		return h, 0, nil
	case length < 2:
		return h, 0, fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, length)
	case len(b) < n1+2:
		return h, 0, nil
	}
	h.kind = frameKind(b[n1])
	if h.kind == 0 || h.kind >= kindEnd {
		return h, 0, fmt.Errorf("%w: frame kind %d", ErrProtocol, h.kind)
	}
	rest := b[n1+1:]
	rest = rest[:min(len(rest), int(length)-1)]
	id, n2 := takeUvarint(rest)
	switch {
	case n2 < 0, n2 == 0 && len(rest) == int(length)-1, n2 == 0 && len(rest) >= binary.MaxVarintLen64:
		return h, 0, fmt.Errorf("%w: malformed frame id", ErrProtocol)
	case n2 == 0:
		return h, 0, nil
	}
	h.id = id
	h.size = int(length) - 1 - n2
	return h, n1 + 1 + n2, nil
}

// whole reports whether frames of kind k are taken whole from the read buffer;
// the payload of the others goes straight to where it belongs.
func (k frameKind) whole() bool { return k != kindChunk && k != kindData }

// requestHead is what a request or an open says before its message.
type requestHead struct {
	flags   byte
	timeout time.Duration // if flagDeadline
	method  string        // to send
	name    []byte        // the method as received, borrowed from the frame
	session SessionID     // if flagExactlyOnce
	seq     uint64
	mark    uint64 // the watermark
	fields  int    // if flagChunked: the lengths of what follows in chunks
	body    int
}

// size returns how many bytes append appends.
func (r *requestHead) size() int {
	n := 2 + len(r.method)
	if r.flags&flagDeadline != 0 {
		n += uvarintLen(r.microseconds())
	}
	if r.flags&flagExactlyOnce != 0 {
		n += len(r.session.Table) + uvarintLen(r.session.N) + uvarintLen(r.seq) + uvarintLen(r.mark)
	}
	if r.flags&flagChunked != 0 {
		n += uvarintLen(uint64(r.fields)) + uvarintLen(uint64(r.body))
	}
	return n
}

func (r *requestHead) microseconds() uint64 { return uint64(max(r.timeout.Microseconds(), 0)) }

func (r *requestHead) append(dst []byte) []byte {
	dst = append(dst, r.flags)
	if r.flags&flagDeadline != 0 {
		dst = binary.AppendUvarint(dst, r.microseconds())
	}
	dst = append(dst, byte(len(r.method)))
	dst = append(dst, r.method...)
	if r.flags&flagExactlyOnce != 0 {
		dst = append(dst, r.session.Table[:]...)
		dst = appendUvarint(dst, r.session.N)
		dst = appendUvarint(dst, r.seq)
		dst = appendUvarint(dst, r.mark)
	}
	if r.flags&flagChunked != 0 {
		dst = appendSizes(dst, r.fields, r.body)
	}
	return dst
}

// appendSizes appends the lengths of a chunked message and its body.
func appendSizes(dst []byte, fields, body int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(fields)), uint64(body))
}

// parse reads the head of a request and leaves d at its message.
func (r *requestHead) parse(d *wire.Decoder, lim *Limits) {
	r.flags = d.Byte()
	if r.flags&^(flagDeadline|flagChunked|flagExactlyOnce|flagAtLeastOnce) != 0 {
		d.Fail("unknown request flags %#x", r.flags)
	}
	if r.flags&flagDeadline != 0 {
		us := d.Uvarint()
		if us > uint64(maxTimeout/time.Microsecond) {
			d.Fail("time-out of %d µs", us)
		}
		r.timeout = time.Duration(us) * time.Microsecond
	}
	r.name = d.Next(int(d.Byte()))
	if r.flags&flagExactlyOnce != 0 {
		copy(r.session.Table[:], d.Next(len(r.session.Table)))
		r.session.N = d.Uvarint()
		r.seq = d.Uvarint()
		r.mark = d.Uvarint()
	}
	if r.flags&flagChunked != 0 {
		r.fields = d.Int(lim.MaxMessageBytes)
		r.body = d.Int(lim.MaxBodyBytes)
		if r.fields == 0 && r.body == 0 {
			d.Fail("a chunked message of no bytes")
		}
	}
}
