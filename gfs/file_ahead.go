package gfs

import (
	"context"
	"io"
	"time"
)

// firstAhead is how many bytes the first piece of a sequential read has: a reader of
// little gets little. Each piece that is read through doubles what is read ahead.
const firstAhead = 128 << 10

// directRead is from how many bytes on a read brings enough parallelism of its own: it
// goes straight into the caller's memory.
const directRead = 4 * readPiece

// A readAhead reads from a file, and ahead of whoever reads it sequentially: pieces that
// follow one another are fetched in parallel, within a bound. Its owner locks.
//
// Invariant: the pieces of queue follow one another; next is where the last ends; they
// have window bytes together at most, or are one.
type readAhead struct {
	fileReader
	ctx    func() context.Context // returns that of the pieces
	most   int                    // bytes of window, 0: nothing is read ahead
	window int                    // bytes that may be ahead now
	expect int64                  // where the last read ended
	next   int64
	queue  []*aheadPiece
}

// An aheadPiece is a part of a file that is being fetched. Its fields are the
// fetcher's until done is closed.
type aheadPiece struct {
	off    int64
	buf    []byte
	n      int
	err    error
	began  time.Time
	done   chan struct{}
	cancel context.CancelFunc
}

// newReadAhead returns a readAhead of a file, whose fetching ends with the file.
func newReadAhead(f *File) *readAhead {
	return &readAhead{fileReader: f.reader(), ctx: f.context, most: max(f.c.cfg.ReadAhead, 0)}
}

// read reads up to len(p) bytes at off, and fewer if that is what is at hand. It
// returns io.EOF at the end of the file, and only with no bytes.
func (a *readAhead) read(ctx context.Context, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	k, err := a.piece(ctx, off, len(p))
	if err != nil {
		return 0, err
	}
	if k == nil {
		n, err := a.readAt(ctx, p, off)
		a.expect = off + int64(n)
		if n > 0 && err == io.EOF {
			err = nil
		}
		return n, err
	}
	n := copy(p, k.buf[off-k.off:k.n])
	a.took(off + int64(n))
	return n, nil
}

// took notes that everything before off has been read.
func (a *readAhead) took(off int64) {
	a.expect = off
	if k := a.queue[0]; off == k.off+int64(k.n) && k.n == len(k.buf) && k.err == nil {
		a.drop(1)
		a.window = min(max(2*a.window, firstAhead), a.most)
	}
}

// piece returns the piece with the byte at off, when it is there, or nil if want bytes
// are to be read directly.
func (a *readAhead) piece(ctx context.Context, off int64, want int) (*aheadPiece, error) {
	a.seek(off)
	if len(a.queue) == 0 {
		if a.most == 0 || off != a.expect || want >= directRead {
			return nil, nil
		}
		a.next = off
	}
	a.extend(off)
	if len(a.queue) == 0 {
		return nil, nil // the client is closed
	}
	k := a.queue[0]
	select {
	case <-k.done:
	case <-ctx.Done():
		return nil, endedBy(ctx, nil)
	}
	if off < k.off+int64(k.n) {
		return k, nil
	}
	// The file ends here, or cannot be read. Whoever asks again gets a fresh answer.
	err := k.err
	a.reset()
	a.expect = off
	return nil, err
}

// seek drops the pieces that are of no use for who reads at off.
func (a *readAhead) seek(off int64) {
	if len(a.queue) > 0 && (off < a.queue[0].off || off > a.next) {
		a.reset()
	}
	for len(a.queue) > 0 && off >= a.queue[0].off+int64(len(a.queue[0].buf)) {
		a.drop(1)
	}
	if len(a.queue) > 0 && time.Since(a.queue[0].began) > a.c.cfg.CacheTime {
		a.reset()
		a.expect = off // still sequential
	}
}

// extend fetches pieces until the window is full. Only the first of them may lie beyond
// the chunks that are known.
func (a *readAhead) extend(off int64) {
	a.window = max(a.window, min(firstAhead, a.most))
	for len(a.queue) == 0 || a.next-off < int64(a.window) {
		if len(a.queue) > 0 {
			last := a.queue[len(a.queue)-1]
			select {
			case <-last.done:
				if last.err != nil {
					return
				}
			default:
			}
			index := uint64(a.next / a.c.chunkSize)
			if _, count := a.c.cache.get(a.ref.id, index, time.Now()); index >= count {
				return
			}
		}
		k := a.fetch(a.next)
		if k == nil {
			return
		}
		a.queue = append(a.queue, k)
		a.next += int64(len(k.buf))
	}
}

// fetch begins to fetch the piece at off.
func (a *readAhead) fetch(off int64) *aheadPiece {
	size := min(max(a.window/4, min(firstAhead, a.most)), readPiece)
	k := &aheadPiece{off: off, began: time.Now(), done: make(chan struct{})}
	k.buf = getPiece(readPiece)
	k.buf = k.buf[:a.span(k.buf[:size], off)]
	var ctx context.Context
	ctx, k.cancel = context.WithCancel(a.ctx())
	r := a.fileReader
	if !r.c.background(func(context.Context) {
		k.n, k.err = r.readAt(ctx, k.buf, k.off)
		close(k.done)
	}) {
		return nil
	}
	return k
}

// drop lets go of the first n pieces.
func (a *readAhead) drop(n int) {
	for _, k := range a.queue[:n] {
		k.cancel()
		select {
		case <-k.done:
			putPiece(k.buf)
		default: // it is still being filled
		}
	}
	a.queue = append(a.queue[:0], a.queue[n:]...)
}

// reset lets go of everything that was read ahead.
func (a *readAhead) reset() {
	a.drop(len(a.queue))
	a.window = 0
	a.expect = -1
}

// writeTo writes everything from off on to w, without copying it, and returns where it
// ended.
func (a *readAhead) writeTo(ctx context.Context, w io.Writer, off int64) (int64, error) {
	for {
		a.expect = off // nobody reads more sequentially
		k, err := a.piece(ctx, off, 0)
		switch {
		case err == io.EOF:
			return off, nil
		case err != nil:
			return off, err
		case k == nil:
			if off, err = a.writePiece(ctx, w, off); err != nil {
				if err == io.EOF {
					err = nil
				}
				return off, err
			}
			continue
		}
		n, err := w.Write(k.buf[off-k.off : k.n])
		off += int64(n)
		if err != nil {
			return off, err
		}
		a.took(off)
	}
}

// writePiece is writeTo for one piece that was not read ahead.
func (a *readAhead) writePiece(ctx context.Context, w io.Writer, off int64) (int64, error) {
	buf := getPiece(readPiece)
	defer putPiece(buf)
	n, err := a.readAt(ctx, buf[:a.span(buf, off)], off)
	if n > 0 {
		var werr error
		n, werr = w.Write(buf[:n])
		off += int64(n)
		if werr != nil {
			return off, werr
		}
	}
	return off, err
}
