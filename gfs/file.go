package gfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// A File is an open file. It is an fs.File, io.Reader, io.ReaderAt, io.Writer,
// io.WriterAt, io.Seeker, io.WriterTo and io.ReaderFrom. Its methods may be used by
// several goroutines at once: Read, Write and Seek take turns, the others run beside one
// another. Methods without a context end when the file or the client is closed, and when
// the client has lost its patience (ClientConfig.Patience).
//
// A File stays with the path under which it was opened. When the file is renamed or
// removed, what the client does not know of it by heart fails with ErrStale or
// fs.ErrNotExist.
type File struct {
	c      *Client
	ref    fileRef
	read   bool
	write  bool
	append bool  // Write appends records
	hint   int64 // its size in bytes when it was opened, as far as the master knew

	jitter  sync.Once
	writers chunkWriters

	turn    chan struct{} // of capacity 1: held by Read, Write, Seek and what flushes
	pos     int64         // with turn
	ahead   readAhead     // with turn
	behind  writeBehind   // with turn
	pending atomic.Bool   // behind may hold something
	changed atomic.Bool   // what ahead holds may be from before a write by WriteAt or Append

	mu      sync.Mutex // guards what follows
	closed  bool
	ended   bool            // closed, and what had begun is over
	life    context.Context // see context; nil until it is needed
	cancel  context.CancelCauseFunc
	syncing chan struct{}        // of capacity 1: held by who syncs; nil until it is needed
	dirty   map[uint64]*unsynced // chunks that were written since they were last synced; nil: none
	lost    []Range              // what Sync has yet to tell
	tail    uint64               // the chunk to append to, if tailed
	tailed  bool
}

var (
	_ fs.File       = (*File)(nil)
	_ io.ReaderAt   = (*File)(nil)
	_ io.WriterAt   = (*File)(nil)
	_ io.ReadSeeker = (*File)(nil)
	_ io.WriterTo   = (*File)(nil)
	_ io.Writer     = (*File)(nil)
	_ io.ReaderFrom = (*File)(nil)
)

// newFile returns an open file.
func (c *Client) newFile(ref fileRef, read, write, appends bool) *File {
	// Many a file is made and closed with nothing done in between: what takes room or time
	// comes when it is needed.
	f := &File{c: c, ref: ref, read: read, write: write, append: appends, turn: make(chan struct{}, 1)}
	f.ahead = *newReadAhead(f)
	f.behind = writeBehind{f: f}
	return f
}

// context returns that of what is done without one of the caller's: it ends with Close, and
// with the client.
func (f *File) context() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life == nil {
		f.life, f.cancel = context.WithCancelCause(f.c.ctx)
		if f.ended {
			f.cancel(errFileClosed)
		}
	}
	return f.life
}

// end ends context.
func (f *File) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	if f.life != nil {
		f.cancel(errFileClosed)
	}
}

func (f *File) reader() fileReader { return fileReader{f.c, f.ref} }

// Name returns the path under which the file was opened.
func (f *File) Name() string { return f.ref.path }

// fail dresses an error; io.EOF stays bare.
func (f *File) fail(op string, err error) error {
	if err == io.EOF {
		return err
	}
	return opError(op, f.ref.path, err)
}

// errFileClosed is how what is done on a closed file fails.
var errFileClosed = fmt.Errorf("%w: %w", ErrClosed, fs.ErrClosed)

// usable reports why an operation cannot begin.
func (f *File) usable(allowed bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return errFileClosed
	case f.c.ctx.Err() != nil:
		return ErrClosed
	case !allowed:
		return fmt.Errorf("%w: the file is not open for that", fs.ErrPermission)
	}
	return nil
}

// lock takes f's turn, for an operation that is allowed.
func (f *File) lock(ctx context.Context, allowed bool) error {
	if err := f.usable(allowed); err != nil {
		return err
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return endedBy(ctx, nil)
	}
	if err := f.usable(allowed); err != nil {
		f.unlock()
		return err
	}
	return nil
}

func (f *File) unlock() { <-f.turn }

// within returns ctx, which ends with the file too.
func (f *File) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(f.context(), func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// settle makes the writes that have been taken visible to reads. f's turn is held.
func (f *File) settle(ctx context.Context) error {
	if f.changed.Swap(false) {
		f.ahead.reset()
		f.ahead.expect = f.pos
	}
	if !f.pending.Load() {
		return nil
	}
	if err := f.behind.flush(ctx); err != nil {
		return err
	}
	f.pending.Store(false)
	return nil
}

// settled is settle for who does not hold f's turn.
func (f *File) settled(ctx context.Context) error {
	if !f.pending.Load() {
		return nil
	}
	if err := f.lock(ctx, true); err != nil {
		return err
	}
	defer f.unlock()
	return f.settle(ctx)
}

// delay waits a random time before the first read of the file.
func (f *File) delay(ctx context.Context) {
	f.jitter.Do(func() {
		if f.c.cfg.Jitter <= 0 {
			return
		}
		t := time.NewTimer(rand.N(f.c.cfg.Jitter))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	})
}

// Read reads up to len(p) bytes, from where the last Read, Write or Seek ended, and
// reads ahead of whoever does so repeatedly. At the end of the file it returns 0, io.EOF;
// called again later, it returns what has been added since.
func (f *File) Read(p []byte) (int, error) {
	if err := f.lock(f.context(), f.read); err != nil {
		return 0, f.fail("read", err)
	}
	defer f.unlock()
	if err := f.settle(f.context()); err != nil {
		return 0, f.fail("read", err)
	}
	f.delay(f.context())
	n, err := f.ahead.read(f.context(), p, f.pos)
	f.pos += int64(n)
	return n, f.fail("read", err)
}

// WriteTo writes all from where the last Read, Write or Seek ended to w, without copying
// it: io.Copy uses it.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	if err := f.lock(f.context(), f.read); err != nil {
		return 0, f.fail("read", err)
	}
	defer f.unlock()
	if err := f.settle(f.context()); err != nil {
		return 0, f.fail("read", err)
	}
	f.delay(f.context())
	from := f.pos
	var err error
	f.pos, err = f.ahead.writeTo(f.context(), w, from)
	return f.pos - from, f.fail("read", err)
}

// ReadAt reads len(p) bytes at off. It returns io.EOF if the file ends before. Bytes
// within the file that were never written are zeros.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.readAtBy(f.context(), p, off)
}

// ReadAtContext is ReadAt that ends with ctx.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	ctx, end := f.within(ctx)
	defer end()
	return f.readAtBy(ctx, p, off)
}

func (f *File) readAtBy(ctx context.Context, p []byte, off int64) (int, error) {
	err := f.usable(f.read)
	if err == nil && off < 0 {
		err = fmt.Errorf("%w: offset %d", fs.ErrInvalid, off)
	}
	if err == nil {
		err = f.settled(ctx)
	}
	if err != nil {
		return 0, f.fail("read", err)
	}
	f.delay(ctx)
	n, err := f.reader().readAt(ctx, p, off)
	return n, f.fail("read", err)
}

// Seek sets where the next Read or Write begins. From io.SeekEnd it asks how long the
// file is.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	if err := f.lock(f.context(), true); err != nil {
		return 0, f.fail("seek", err)
	}
	defer f.unlock()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		if err := f.settle(f.context()); err != nil {
			return 0, f.fail("seek", err)
		}
		size, err := f.size(f.context())
		if err != nil {
			return 0, f.fail("seek", err)
		}
		offset += size
	default:
		return 0, f.fail("seek", fmt.Errorf("%w: whence %d", fs.ErrInvalid, whence))
	}
	if offset < 0 {
		return 0, f.fail("seek", fmt.Errorf("%w: offset %d", fs.ErrInvalid, offset))
	}
	f.pos = offset
	return offset, nil
}

// Write writes p where the last Read, Write or Seek ended. p is the caller's again when
// Write returns, but it may yet be under way (ClientConfig.WriteBehind): an error may be
// returned by a later Write, and at latest by Sync or Close. After an error nothing more
// is written by Write.
//
// On a file that was opened with Client.Append, Write appends p as one record (see
// Append), and returns when it has been acknowledged.
func (f *File) Write(p []byte) (int, error) {
	if f.append {
		if _, err := f.Append(p); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if err := f.lock(f.context(), f.write); err != nil {
		return 0, f.fail("write", err)
	}
	defer f.unlock()
	f.ahead.reset()
	var n int
	var err error
	if f.c.cfg.WriteBehind < 0 {
		n, err = f.writeAt(f.context(), p, f.pos)
	} else {
		f.pending.Store(true)
		n, err = f.behind.write(f.context(), p, f.pos)
	}
	f.pos += int64(n)
	return n, f.fail("write", err)
}

// ReadFrom writes all that r gives, as Write does but without copying it: io.Copy uses
// it.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	if f.append || f.c.cfg.WriteBehind < 0 {
		return io.Copy(struct{ io.Writer }{f}, r)
	}
	if err := f.lock(f.context(), f.write); err != nil {
		return 0, f.fail("write", err)
	}
	defer f.unlock()
	f.ahead.reset()
	f.pending.Store(true)
	n, err := f.behind.readFrom(f.context(), r, f.pos)
	f.pos += n
	return n, f.fail("write", err)
}

// WriteAt writes p at off, and returns when that has been acknowledged by all members of
// each chunk's lease. A file may have holes. If it fails, any part of p may have been
// written; the first n bytes have been.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	return f.WriteAtContext(f.context(), p, off)
}

// WriteAtContext is WriteAt that ends with ctx.
func (f *File) WriteAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	ctx, end := f.within(ctx)
	defer end()
	err := f.usable(f.write)
	if err == nil && off < 0 {
		err = fmt.Errorf("%w: offset %d", fs.ErrInvalid, off)
	}
	if err == nil {
		err = f.settled(ctx)
	}
	if err != nil || len(p) == 0 {
		return 0, f.fail("write", err)
	}
	n, err := f.writeAt(ctx, p, off)
	f.changed.Store(true)
	return n, f.fail("write", err)
}

// touched notes that a chunk has been written to at off in the file, also if that failed.
// It syncs if too many have been.
func (f *File) touched(ctx context.Context, m *mutation, off int64, failed error) error {
	f.mu.Lock()
	u := f.dirty[m.w.index]
	if u == nil {
		u = new(unsynced)
		f.markDirty(m.w.index, u)
	}
	if failed == nil {
		u.acknowledged(Range{off, int64(len(m.data))}, m.verifier)
	}
	many := len(f.dirty) > maxDirty
	f.mu.Unlock()
	if many {
		return f.syncChunks(ctx)
	}
	return nil
}

// Close writes what has not been written yet, waits until it has been acknowledged, and
// returns the first error of what Write took. WriteAt and Append that are under way fail.
// Close does not make anything durable: see Sync. To close again is an error that
// matches fs.ErrClosed.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return f.fail("close", errFileClosed)
	}
	f.closed = true // from here on nothing begins
	f.mu.Unlock()
	defer f.end()
	if !f.write {
		f.end() // whoever reads just now is not waited for
		select {
		case f.turn <- struct{}{}:
			f.ahead.reset()
			f.unlock()
		default:
		}
		return nil
	}
	select {
	case f.turn <- struct{}{}:
	case <-f.c.ctx.Done():
		return f.fail("close", ErrClosed)
	}
	defer f.unlock()
	f.ahead.reset()
	var err error
	if f.pending.Load() {
		err = f.behind.flush(f.context())
	}
	return f.fail("close", err)
}

// Stat returns what there is to know of the file, an *Info.
func (f *File) Stat() (fs.FileInfo, error) {
	info, err := f.StatContext(f.context())
	if err != nil {
		return nil, err
	}
	return info, nil
}

// StatContext is Stat that ends with ctx.
func (f *File) StatContext(ctx context.Context) (*Info, error) {
	ctx, end := f.within(ctx)
	defer end()
	err := f.usable(true)
	if err == nil {
		err = f.settled(ctx)
	}
	if err != nil {
		return nil, f.fail("stat", err)
	}
	info, err := f.c.stat(ctx, f.ref.path)
	if err == nil && info.attr.id != f.ref.id {
		err = fmt.Errorf("%w: %w", ErrStale, errMoved)
	}
	if err != nil {
		return nil, f.fail("stat", err)
	}
	return info, nil
}
