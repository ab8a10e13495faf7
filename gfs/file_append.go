package gfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Append appends p as one record, atomically and at least once (§3.3), and returns where
// it is, on all replicas, when all of them have it. Any number of clients may append to
// a file at the same time. A record has Client.MaxRecord bytes at most. It lies within
// one chunk: before it there may be padding. If Append had to try again, the record, or
// parts of it, may be in the file more than once; if it fails, likewise.
func (f *File) Append(p []byte) (off int64, err error) {
	return f.AppendContext(f.context(), p)
}

// AppendContext is Append that ends with ctx.
func (f *File) AppendContext(ctx context.Context, p []byte) (int64, error) {
	ctx, end := f.within(ctx)
	defer end()
	err := f.usable(f.write)
	switch {
	case err != nil:
	case len(p) == 0:
		err = fmt.Errorf("%w: an empty record", fs.ErrInvalid)
	case len(p) > f.c.MaxRecord():
		err = fmt.Errorf("%w: a record of %d bytes; %d are the most", ErrTooLarge, len(p), f.c.MaxRecord())
	default:
		err = f.settled(ctx)
	}
	if err != nil {
		return 0, f.fail("append", err)
	}
	for {
		index, err := f.tailIndex(ctx)
		if err != nil {
			return 0, f.fail("append", err)
		}
		off, err := f.appendTo(ctx, index, p)
		if err == nil {
			return off, nil
		}
		if !errors.Is(err, errChunkFull) {
			return 0, f.fail("append", err)
		}
	}
}

// appendTo appends p to a chunk. If that is full, what comes next goes to another.
func (f *File) appendTo(ctx context.Context, index uint64, p []byte) (int64, error) {
	w, err := f.writers.take(f, index)
	if err != nil {
		return 0, err
	}
	defer f.writers.done(w)
	m := mutation{w: w, data: p}
	m.ask = m.askAppend
	at, err := m.run(ctx)
	f.changed.Store(true)
	if derr := f.touched(ctx, &m, int64(index)*f.c.chunkSize+at, err); err == nil {
		err = derr
	}
	if errors.Is(err, errChunkFull) {
		next := index + 1
		if g := w.current(); g != nil && g.chunks > next {
			next = g.chunks - 1 // others have gone further
		}
		f.mu.Lock()
		f.tail = max(f.tail, next)
		f.mu.Unlock()
	}
	return int64(index)*f.c.chunkSize + at, err
}

// tailIndex returns the chunk to append to.
func (f *File) tailIndex(ctx context.Context) (uint64, error) {
	f.mu.Lock()
	index, ok := f.tail, f.tailed
	f.mu.Unlock()
	if ok {
		return index, nil
	}
	ctx, end := f.c.begin(ctx)
	defer end()
	m := mutation{}
	for {
		g, err := f.askGrant(ctx, &grantReq{last: true})
		if err == nil {
			index = g.chunk.index
			w, err := f.writers.take(f, index)
			if err != nil {
				return 0, err
			}
			w.set(g)
			f.writers.done(w)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tail, f.tailed = max(f.tail, index), true
			return f.tail, nil
		}
		if ctx.Err() != nil {
			m.retry.note(ctx, err)
			return 0, m.retry.ended(ctx)
		}
		if m.final(err) {
			return 0, err
		}
		if err := m.retry.again(ctx, err); err != nil {
			return 0, err
		}
	}
}
