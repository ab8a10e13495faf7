package rpc

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

const (
	idleRead = 4 << 10  // the read buffer of a connection that is quiet
	busyRead = 64 << 10 // and of one that is not
	maxWhole = 24 << 10 // the longest payload of a frame that is taken whole
	calmDown = 64       // small reads in a row that make a connection quiet
	wasteMax = 16 << 10 // bytes thrown away in one read

	afterBulk = 1 << 10 // bytes read for a head after a bulk frame
)

// A frameReader cuts what arrives into frames. Its buffer is small while the
// connection is quiet and large while it is busy, and bulk bypasses it.
type frameReader struct {
	nc    net.Conn
	buf   *buffer
	r, w  int  // the bytes buf.b[r:w] have been read and not been taken
	small int  // reads in a row that a small buffer would have taken
	bulk  bool // the last frame was bulk: read little before the next head, so as to copy little

	large  atomic.Bool // buf is large
	nudged atomic.Bool // the read deadline was moved so that buf be let go of

	panicked func(r any) error // notes a panic of nc, and says why the connection ends
	broken   error             // what it has said

	block func() error  // called before a read that may block, or moves what has been lent
	heard atomic.Int64  // bytes read
	total *atomic.Int64 // the same, over all connections
}

// next returns the next frame: whole, with its payload borrowed until the next
// call, or, for chunks and data, only the head: read then takes the payload.
func (f *frameReader) next() (frameHead, []byte, error) {
	for {
		var pending []byte
		if f.buf != nil {
			pending = f.buf.b[f.r:f.w]
		}
		h, n, err := parseHead(pending)
		if err != nil {
			return h, nil, err
		}
		switch {
		case n == 0:
			err = f.fill(len(pending) + 1)
		case !h.kind.whole():
			f.r += n
			f.bulk = true
			return h, nil, nil
		case h.size > maxWhole:
			return h, nil, fmt.Errorf("%w: a frame of kind %d of %d bytes", ErrProtocol, h.kind, h.size)
		case len(pending) < n+h.size:
			err = f.fill(n + h.size)
		default:
			f.r += n + h.size
			f.bulk = false
			return h, pending[n : n+h.size : n+h.size], nil
		}
		if err != nil {
			return h, nil, err
		}
	}
}

// fill reads until need bytes are pending.
func (f *frameReader) fill(need int) error {
	if err := f.block(); err != nil {
		return err
	}
	f.fit(need)
	for f.w-f.r < need {
		end := cap(f.buf.b)
		if f.bulk {
			end = min(end, max(f.w+afterBulk, f.r+need))
		}
		n, err := f.receive(f.buf.b[f.w:end])
		f.w += n
		if n == 0 && err == nil { // nudged
			f.small = calmDown
			f.fit(need)
			continue
		}
		if n < idleRead {
			f.small++
		} else {
			f.small = 0
		}
		if err != nil && f.w-f.r < need {
			if err == io.EOF && f.w > f.r {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// fit makes room for need pending bytes, in a buffer that suits the traffic.
func (f *frameReader) fit(need int) {
	size := idleRead
	if f.buf != nil && f.small < calmDown && (cap(f.buf.b) > idleRead || f.w == cap(f.buf.b)) {
		size = busyRead
	}
	if need > size {
		size = busyRead
	}
	if f.buf == nil || cap(f.buf.b) != size && f.w-f.r < size {
		old := f.buf
		f.buf = getBuffer(size)
		f.large.Store(size > idleRead)
		f.buf.b = f.buf.b[:size:size] // one that has grown elsewhere is larger
		if old != nil {
			copy(f.buf.b, old.b[f.r:f.w])
			old.free()
		}
		f.r, f.w = 0, f.w-f.r
		return
	}
	if f.r == f.w {
		f.r, f.w = 0, 0
	} else if f.r+need > cap(f.buf.b) || f.w == cap(f.buf.b) {
		copy(f.buf.b, f.buf.b[f.r:f.w])
		f.r, f.w = 0, f.w-f.r
	}
}

// read takes up to len(dst) payload bytes: those already here and, in the same
// go, what one read from the connection brings. Little is read along with a head,
// so to stop at that would cost whoever lent dst the direct way for all the rest.
func (f *frameReader) read(dst []byte) (int, error) {
	n := 0
	if f.r < f.w {
		n = copy(dst, f.buf.b[f.r:f.w])
		f.r += n
		if n == len(dst) {
			return n, nil
		}
	}
	if err := f.block(); err != nil {
		return n, err
	}
	got, err := f.receive(dst[n:])
	if n += got; n > 0 {
		err = nil // it will be back at the next read
	}
	return n, err
}

// nudge makes the reader of a connection that has fallen silent let go of a
// large buffer. It may be called by any goroutine.
func (f *frameReader) nudge() {
	if f.large.Load() && f.nudged.CompareAndSwap(false, true) {
		f.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// receive reads from the connection. It may return nothing, and no error.
func (f *frameReader) receive(dst []byte) (int, error) {
	n, err := f.get(dst)
	if n == 0 && isTimeout(err) && f.nudged.CompareAndSwap(true, false) {
		f.nc.SetReadDeadline(time.Time{})
		err = nil
	}
	f.heard.Add(int64(n))
	f.total.Add(int64(n))
	return n, err
}

// readFull takes len(dst) payload bytes.
func (f *frameReader) readFull(dst []byte) error {
	for len(dst) > 0 {
		n, err := f.read(dst)
		if err != nil {
			return err
		}
		dst = dst[n:]
	}
	return nil
}

// skip throws n payload bytes away.
func (f *frameReader) skip(n int) error {
	waste := getBuffer(min(n, wasteMax))
	defer waste.free()
	for n > 0 {
		got, err := f.read(waste.b[:min(n, cap(waste.b))])
		if err != nil {
			return err
		}
		n -= got
	}
	return nil
}

func (f *frameReader) close() {
	if f.buf != nil {
		f.buf.free()
		f.buf, f.r, f.w = nil, 0, 0
	}
}

// An inflow assembles the fields and body of a message that arrives in chunks.
// Guarded by the mux's lock, but for the bytes that are being read.
type inflow struct {
	fields     []byte
	body       []byte
	fieldsLeft int
	bodyLeft   int
	lent       bool          // body is the caller's own memory
	pooled     bool          // fields and body come from the buffer pools
	drop       bool          // what arrives is of no use any more
	busy       bool          // a read into fields or body is under way
	letGo      chan struct{} // to be closed when that read is over
}

// need returns how much capacity the flow has to grow by before it can take
// more, which is 0 if it can: memory follows what has arrived, not what was
// announced, beyond eagerBytes.
func (in *inflow) need() int {
	if in.drop {
		return 0
	}
	grow := func(have []byte, left int) int {
		if len(have) < cap(have) {
			return 0
		}
		n := min(left, max(eagerBytes, cap(have)))
		if in.pooled && n > 0 {
			n = classSize(len(have)+n) - len(have)
		}
		return n
	}
	if in.fieldsLeft > 0 {
		return grow(in.fields, in.fieldsLeft)
	}
	return grow(in.body, in.bodyLeft)
}

// grow adds n bytes of capacity.
func (in *inflow) grow(n int) {
	if in.fieldsLeft > 0 {
		in.fields = in.moved(in.fields, n)
	} else {
		in.body = in.moved(in.body, n)
	}
}

func (in *inflow) moved(b []byte, n int) []byte {
	if !in.pooled {
		return append(make([]byte, 0, len(b)+n), b...)
	}
	moved := append(getBuffer(len(b)+n).b, b...)
	freeBytes(b)
	return moved
}

// space returns where up to n arriving bytes go; n is more than none.
func (in *inflow) space(n int) []byte {
	if in.drop {
		left := in.fieldsLeft
		if left == 0 {
			left = in.bodyLeft
		}
		return make([]byte, min(n, left, wasteMax))
	}
	if in.fieldsLeft > 0 {
		at := len(in.fields)
		return in.fields[at:min(at+min(n, in.fieldsLeft), cap(in.fields))]
	}
	at := len(in.body)
	return in.body[at:min(at+min(n, in.bodyLeft), cap(in.body))]
}

// filled tells that n bytes have arrived in what space returned.
func (in *inflow) filled(n int) {
	switch {
	case in.drop && in.fieldsLeft > 0:
		in.fieldsLeft -= n
	case in.drop:
		in.bodyLeft -= n
	case in.fieldsLeft > 0:
		in.fields = in.fields[:len(in.fields)+n]
		in.fieldsLeft -= n
	default:
		in.body = in.body[:len(in.body)+n]
		in.bodyLeft -= n
	}
}

// discard lets go of all memory; what still arrives is thrown away.
func (in *inflow) discard() {
	if in.pooled {
		freeBytes(in.fields)
		freeBytes(in.body)
	}
	in.fields, in.body, in.lent, in.drop = nil, nil, false, true
}

func (in *inflow) complete() bool { return in.fieldsLeft == 0 && in.bodyLeft == 0 }
