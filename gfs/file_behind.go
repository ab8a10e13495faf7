package gfs

import (
	"context"
	"hash/crc32"
	"io"
	"sync"
)

// A writeBehind takes what is written sequentially and writes it in pieces, several of
// which are under way, within a bound. Its owner locks, but for what mu guards.
//
// Invariants: buf holds the bytes from off on that no piece has yet, less than the piece
// has room for. The first error stays: nothing is written after it.
type writeBehind struct {
	f     *File
	buf   []byte   // nil: nothing
	sums  []uint32 // of the blocks that are whole in buf, taken while it is in the cache
	sure  int      // bytes of buf that they are of
	room  int      // how long buf may become: to the end of its piece
	off   int64
	slots chan struct{} // one held by each piece that is under way; nil until the first is

	mu  sync.Mutex // guards what follows
	err error
}

// write takes p, which belongs at off. It waits while too much is under way.
func (b *writeBehind) write(ctx context.Context, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		if err := b.place(ctx, off+int64(n)); err != nil {
			return n, err
		}
		k := min(len(p)-n, b.room-len(b.buf), b.blockEnd()-len(b.buf))
		b.buf = append(b.buf, p[n:n+k]...)
		n += k
		b.sum()
		if err := b.dispatchFull(ctx); err != nil {
			return n, err
		}
	}
	return n, nil
}

// readFrom takes all that r gives, which belongs at off, without copying it.
func (b *writeBehind) readFrom(ctx context.Context, r io.Reader, off int64) (int64, error) {
	n := int64(0)
	for {
		if err := b.place(ctx, off+n); err != nil {
			return n, err
		}
		have := len(b.buf)
		got, err := r.Read(b.buf[have:b.room])
		b.buf = b.buf[:have+got]
		n += int64(got)
		b.sum()
		if werr := b.dispatchFull(ctx); werr != nil {
			return n, werr
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// place makes buf ready for bytes at off.
func (b *writeBehind) place(ctx context.Context, off int64) error {
	if err := b.failure(); err != nil {
		return err
	}
	if b.buf != nil && off == b.off+int64(len(b.buf)) {
		return nil
	}
	if b.buf != nil || off != b.off {
		// Pieces that are under way may lie where the new ones will: order counts.
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.buf = getPiece(readPiece)
	b.room = b.f.reader().span(b.buf, off)
	b.buf, b.off = b.buf[:0], off
	b.sums, b.sure = make([]uint32, 0, readPiece/blockSize+1), 0
	return nil
}

// blockEnd returns up to where in buf the first block goes that has no sum.
func (b *writeBehind) blockEnd() int {
	return b.sure + blockSize - int((b.off+int64(b.sure))%blockSize)
}

// sum takes the sums of the blocks that are whole.
func (b *writeBehind) sum() {
	for end := b.blockEnd(); end <= len(b.buf); end = b.blockEnd() {
		b.sums = append(b.sums, crc32.Checksum(b.buf[b.sure:end], blockPoly))
		b.sure = end
	}
}

func (b *writeBehind) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// dispatchFull sends buf off if it is full.
func (b *writeBehind) dispatchFull(ctx context.Context) error {
	if len(b.buf) < b.room {
		return nil
	}
	return b.dispatch(ctx)
}

// dispatch sends buf off.
func (b *writeBehind) dispatch(ctx context.Context) error {
	if b.slots == nil {
		b.slots = make(chan struct{}, max(1, b.f.c.cfg.WriteBehind/readPiece))
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return endedBy(ctx, nil)
	}
	if err := b.failure(); err != nil {
		<-b.slots
		return err
	}
	buf, off, sums := b.buf, b.off, b.sums
	if b.sure < len(buf) {
		sums = append(sums, crc32.Checksum(buf[b.sure:], blockPoly))
	}
	b.buf, b.off = nil, off+int64(len(buf))
	running := b.f.c.background(func(context.Context) {
		err := b.f.writeSpan(b.f.context(), buf, off, sums)
		putPiece(buf)
		if err != nil {
			b.fail(err)
		}
		<-b.slots
	})
	if !running {
		<-b.slots
		b.fail(ErrClosed)
	}
	return nil
}

func (b *writeBehind) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

// flush waits until everything has been acknowledged, and returns the first error.
func (b *writeBehind) flush(ctx context.Context) error {
	if len(b.buf) > 0 && b.failure() == nil {
		if err := b.dispatch(ctx); err != nil {
			return err
		}
	}
	putPiece(b.buf)
	b.buf = nil
	for i := range cap(b.slots) {
		select {
		case b.slots <- struct{}{}:
		case <-ctx.Done():
			for range i {
				<-b.slots
			}
			return endedBy(ctx, nil)
		}
	}
	for range cap(b.slots) {
		<-b.slots
	}
	return b.failure()
}
