package rpc

import (
	"os"
	"sync/atomic"
)

// A delivery is memory that the connection's reader fills with bytes of one frame of a
// stream. It goes back to the pool when nobody holds it any more: the reader while it
// fills it, the stream while some have not been read, and every Piece of it.
type delivery struct {
	buf     *buffer
	size    int // of its memory, in bytes
	filled  int // of these; the reader's
	holders atomic.Int32
}

func newDelivery(n int) *delivery {
	d := &delivery{buf: getBuffer(n)}
	d.size = cap(d.buf.b)
	d.holders.Store(1)
	return d
}

// release ends a hold; nil is none.
func (d *delivery) release() {
	if d != nil && d.holders.Add(-1) == 0 {
		d.buf.free()
	}
}

// An arrival is a stretch of a delivery, which it holds, that has not been read.
type arrival struct {
	in *delivery
	b  []byte
}

// append makes the arrival longer by b, which is in next: as it is if that follows, or by
// a copy if it is small and there is room. So what is held is in proportion to what was
// sent.
func (a *arrival) append(next *delivery, b []byte) bool {
	if a.in == next {
		a.b = a.b[:len(a.b)+len(b)]
		return true
	}
	d := a.in
	if len(b) > smallWrite || d.size-d.filled < len(b) || d.holders.Load() > 1 {
		return false
	}
	a.b = append(a.b, b...)
	d.filled += len(b)
	return true
}

// free forgets what has not been read.
func (a *arrival) free() {
	a.in.release()
	*a = arrival{}
}

// A Piece is a stretch of what a Stream has received, in the memory where it arrived. Its
// owner lets go of that with Free. It may be handed on, but not be used by two at once.
type Piece struct {
	b  []byte
	in *delivery
}

// Bytes returns the bytes of the piece, which nobody else changes until Free.
func (p *Piece) Bytes() []byte { return p.b[:len(p.b):len(p.b)] }

// Memory returns how many bytes of memory are in use until Free: more than the piece has
// where it shares them with what comes before and after it in the stream.
func (p *Piece) Memory() int {
	if p.in == nil {
		return 0
	}
	return p.in.size
}

// Join makes p longer by next, if that is what comes after it in the stream and in the
// same memory, and reports whether it did. next is empty then, and need not be freed.
func (p *Piece) Join(next *Piece) bool {
	if p.in == nil || p.in != next.in || len(next.b) == 0 {
		return false
	}
	n := len(p.b)
	if n+len(next.b) > cap(p.b) || &p.b[:n+1][n] != &next.b[0] {
		return false
	}
	p.b = p.b[:n+len(next.b)]
	next.Free()
	return true
}

// Free lets go of the memory. It is idempotent; nobody may use the bytes any more.
func (p *Piece) Free() {
	p.in.release()
	*p = Piece{}
}

// ReadPiece is Read without a copy: it hands out what has arrived next, up to most bytes,
// and waits if nothing has. What it hands out counts no more in the stream's window, even
// if it is kept: to bound what is kept is the caller's business, who need only not read
// on.
func (st *Stream) ReadPiece(most int) (Piece, error) {
	limit := st.rlimit.Wait()
	if isClosed(limit) {
		return Piece{}, st.err("read stream", os.ErrDeadlineExceeded)
	}
	if most <= 0 {
		return Piece{}, nil
	}
	select {
	case st.rlock <- struct{}{}:
		defer func() { <-st.rlock }()
	case <-limit:
		return Piece{}, st.err("read stream", os.ErrDeadlineExceeded)
	}
	st.dropClosed()
	for st.cur.in == nil {
		if _, err := st.await(nil, limit); err != nil {
			return Piece{}, st.err("read stream", err)
		}
	}
	p := Piece{b: st.cur.b[:min(most, len(st.cur.b))], in: st.cur.in}
	st.cur.in.holders.Add(1)
	st.took(len(p.b))
	return p, nil
}

// took notes that so many bytes of cur have been read. The caller holds rlock.
func (st *Stream) took(n int) {
	st.cur.b = st.cur.b[n:]
	if len(st.cur.b) == 0 {
		st.cur.free()
	}
	st.giveBack(int64(n))
}

// dropClosed forgets cur if Close was called. The caller holds rlock.
func (st *Stream) dropClosed() {
	if st.cur.in != nil && st.isClosed() {
		st.cur.free()
	}
}
