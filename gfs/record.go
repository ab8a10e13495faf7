package gfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"sync"
)

// RecordWriterConfig configures a RecordWriter. The zero value works.
type RecordWriterConfig struct {
	// BatchBytes is how many bytes of records are collected before they are appended
	// together. Default 256 KiB, at most what Client.MaxRecord returns; 1: each record
	// by itself.
	BatchBytes int
}

// A RecordWriter appends records to a file, each with a checksum and an id, so that a
// RecordReader finds them among padding, pieces of records and duplicates (§2.7.2). Any
// number of writers, in any processes, may append to one file at a time. Its methods may
// be used concurrently.
//
// Records of one writer are in the file in the order in which they were written, each at
// least once.
type RecordWriter struct {
	f      *File
	writer uint64
	batch  int

	turn chan struct{} // of capacity 1: held by Write and Flush
	n    uint64        // with turn: records so far
	buf  []byte        // with turn: not yet on its way
	busy chan struct{} // of capacity 1: held while a batch is on its way

	mu  sync.Mutex // guards what follows
	err error      // the first; nothing is written after it
}

// NewRecordWriter returns a writer that appends to f, which must be open for writing and
// stays the caller's to close.
func NewRecordWriter(f *File, cfg RecordWriterConfig) *RecordWriter {
	batch := cfg.BatchBytes
	if batch <= 0 {
		batch = 256 << 10
	}
	return &RecordWriter{
		f: f, writer: rand.Uint64(), batch: min(batch, f.c.MaxRecord()),
		turn: make(chan struct{}, 1), busy: make(chan struct{}, 1),
	}
}

// MaxRecord returns the size of the largest record that the writer takes, in bytes.
func (w *RecordWriter) MaxRecord() int { return w.f.c.MaxRecord() - recordHead }

// Write takes a record, which is the caller's again when Write returns. It may yet be
// under way: an error may be returned by a later Write, and at latest by Flush, Sync or
// Close. After an error nothing more is written.
func (w *RecordWriter) Write(record []byte) error {
	return w.WriteContext(w.f.context(), record)
}

// WriteContext is Write that ends with ctx.
func (w *RecordWriter) WriteContext(ctx context.Context, record []byte) error {
	if len(record) > w.MaxRecord() {
		return w.f.fail("append", fmt.Errorf("%w: a record of %d bytes; %d are the most", ErrTooLarge, len(record), w.MaxRecord()))
	}
	if err := w.lock(ctx); err != nil {
		return w.f.fail("append", err)
	}
	defer func() { <-w.turn }()
	if size := recordHead + len(record); len(w.buf) > 0 && len(w.buf)+size > w.batch {
		if err := w.send(ctx); err != nil {
			return w.f.fail("append", err)
		}
	}
	w.n++
	w.buf = appendRecord(w.buf, recordID{w.writer, w.n}, record)
	if len(w.buf) < w.batch {
		return nil
	}
	return w.f.fail("append", w.send(ctx))
}

func (w *RecordWriter) lock(ctx context.Context) error {
	if err := w.f.usable(w.f.write); err != nil {
		return err
	}
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return endedBy(ctx, nil)
	}
}

func (w *RecordWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// send has what was collected appended, when what went before has been. w's turn is held.
func (w *RecordWriter) send(ctx context.Context) error {
	select {
	case w.busy <- struct{}{}:
	case <-ctx.Done():
		return endedBy(ctx, nil)
	}
	err := w.failure()
	if err == nil && len(w.buf) > 0 {
		batch := w.buf
		w.buf = nil
		if w.f.c.background(func(context.Context) { w.appendBatch(batch) }) {
			return nil
		}
		err = ErrClosed
	}
	<-w.busy
	return err
}

func (w *RecordWriter) appendBatch(batch []byte) {
	_, err := w.f.Append(batch)
	if err != nil {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	<-w.busy
}

// Flush returns when everything that was written has been acknowledged, or the first
// error.
func (w *RecordWriter) Flush(ctx context.Context) error {
	if err := w.lock(ctx); err != nil {
		return w.f.fail("append", err)
	}
	defer func() { <-w.turn }()
	if err := w.send(ctx); err != nil {
		return w.f.fail("append", err)
	}
	select {
	case w.busy <- struct{}{}:
		<-w.busy
	case <-ctx.Done():
		return w.f.fail("append", endedBy(ctx, nil))
	}
	return w.failure()
}

// Sync is Flush, and then makes the file durable, as File.Sync does.
func (w *RecordWriter) Sync(ctx context.Context) error {
	if err := w.Flush(ctx); err != nil {
		return err
	}
	return w.f.SyncContext(ctx)
}

// Close is Flush. It does not close the file.
func (w *RecordWriter) Close() error { return w.Flush(w.f.context()) }

// RecordReaderConfig configures a RecordReader. The zero value works.
type RecordReaderConfig struct {
	// Offset is where in the file to begin, in bytes: anywhere, the first record that
	// begins there or later is found. Default 0.
	Offset int64
	// Window is how many records back a duplicate is known. Default 65,536.
	Window int
	// MaxRecord bounds the data of a record in bytes; what seems larger is taken for
	// damage. Default a quarter of the chunk size, for a *File, and of MaxChunkSize
	// otherwise.
	MaxRecord int
}

// A Record is one that was read.
type Record struct {
	Data   []byte // valid until the next call of the reader
	Offset int64  // where in the file it begins
	Writer uint64 // its id: who wrote it,
	N      uint64 // and the how manieth of that writer it is
}

// RecordStats counts what a reader has met.
type RecordStats struct {
	Records    uint64
	Duplicates uint64 // dropped
	Skipped    int64  // bytes of padding, pieces of records and damage
}

// A RecordReader reads what RecordWriters have written. It skips padding, pieces of
// records and whatever is damaged, by their checksums, and goes on at the next whole
// record: what is damaged hides nothing else. It drops duplicates of the last
// RecordReaderConfig.Window records. It is not safe for concurrent use.
type RecordReader struct {
	file *File // nil: src is something else
	src  io.ReaderAt
	from *readAhead // of file
	most int
	seen recordWindow

	off   int64  // where in the file buf begins
	buf   []byte // what has been read and not been taken
	spare []byte // all of the memory that buf is a part of
	stats RecordStats
}

// recordRead is how many bytes a RecordReader reads at once.
const recordRead = 1 << 20

// NewRecordReader returns a reader of the records in src: a *File, which is then read
// ahead of, or anything that has been copied from one. src stays the caller's to close.
func NewRecordReader(src io.ReaderAt, cfg RecordReaderConfig) *RecordReader {
	r := &RecordReader{src: src, most: cfg.MaxRecord, off: max(cfg.Offset, 0)}
	r.seen.most = cfg.Window
	if r.seen.most <= 0 {
		r.seen.most = 1 << 16
	}
	limit := MaxChunkSize / 4
	if f, ok := src.(*File); ok {
		r.file = f
		r.from = newReadAhead(f)
		r.from.expect = r.off
		limit = f.c.MaxRecord()
	}
	if r.most <= 0 || r.most > limit {
		r.most = limit
	}
	return r
}

// Stats returns what the reader has met so far.
func (r *RecordReader) Stats() RecordStats { return r.stats }

// Offset returns where in the file the next call of Next begins to look.
func (r *RecordReader) Offset() int64 { return r.off }

// SkipTo makes the next call of Next look from off on: past a part of the file that cannot
// be read now, for example.
func (r *RecordReader) SkipTo(off int64) {
	r.off, r.buf = max(off, 0), nil
	if r.from != nil {
		r.from.reset()
		r.from.expect = r.off
	}
}

// Next returns the next record. At the end of the file it returns io.EOF; called again
// later, it goes on with what has been appended since. After another error it tries the
// same place again.
func (r *RecordReader) Next() (Record, error) {
	for {
		if err := r.fill(recordHead); err != nil {
			return Record{}, err
		}
		h, ok := parseRecord(r.buf, r.most)
		if !ok {
			if len(r.buf) < recordHead {
				return Record{}, r.end()
			}
			r.skip(nextMagic(r.buf))
			continue
		}
		if err := r.fill(recordHead + h.length); err != nil {
			return Record{}, err
		}
		if len(r.buf) < recordHead+h.length {
			// It may not be whole yet; or it never will be, and others follow.
			if at := r.findWhole(); at > 0 {
				r.skip(at)
				continue
			}
			return Record{}, r.end()
		}
		data := r.buf[recordHead : recordHead+h.length : recordHead+h.length]
		if !h.whole(data) {
			r.skip(nextMagic(r.buf))
			continue
		}
		off := r.off
		r.take(recordHead + h.length)
		if !r.seen.add(h.id) {
			r.stats.Duplicates++
			continue
		}
		r.stats.Records++
		return Record{Data: data, Offset: off, Writer: h.id.writer, N: h.id.n}, nil
	}
}

// All returns the records from where the reader is to the end of the file. It ends with
// the first error, io.EOF apart.
func (r *RecordReader) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			rec, err := r.Next()
			if err == io.EOF || !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// findWhole returns where in buf, after its beginning, the next whole record is, or 0.
func (r *RecordReader) findWhole() int {
	for at := nextMagic(r.buf); at < len(r.buf); at += nextMagic(r.buf[at:]) {
		h, ok := parseRecord(r.buf[at:], r.most)
		if !ok {
			continue
		}
		if end := at + recordHead + h.length; end <= len(r.buf) && h.whole(r.buf[at+recordHead:end]) {
			return at
		}
	}
	return 0
}

// end is the end of the file. What is left before it is read again the next time: it may
// have been whole by then.
func (r *RecordReader) end() error {
	r.buf = nil
	return io.EOF
}

// take lets go of the first n bytes.
func (r *RecordReader) take(n int) {
	r.off += int64(n)
	r.buf = r.buf[n:]
}

// skip is take of what is no record.
func (r *RecordReader) skip(n int) {
	r.stats.Skipped += int64(n)
	r.take(n)
}

// fill reads until buf has n bytes, or the file ends. What a Record refers to may be
// overwritten then.
func (r *RecordReader) fill(n int) error {
	if len(r.buf) >= n {
		return nil
	}
	if cap(r.buf) < n || cap(r.buf) == 0 {
		if size := max(n, recordRead); len(r.spare) < size {
			r.spare = make([]byte, size)
		}
		r.buf = r.spare[:copy(r.spare, r.buf)]
	}
	for len(r.buf) < n {
		have := len(r.buf)
		got, err := r.readAt(r.buf[have:cap(r.buf)], r.off+int64(have))
		r.buf = r.buf[:have+got]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readAt reads some bytes at off.
func (r *RecordReader) readAt(p []byte, off int64) (int, error) {
	f := r.file
	if f == nil {
		n, err := r.src.ReadAt(p[:min(len(p), recordRead)], off)
		if n > 0 && err == io.EOF {
			err = nil
		}
		return n, err
	}
	err := f.usable(f.read)
	if err == nil {
		err = f.settled(f.context())
	}
	if err == nil && off < 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, f.fail("read", err)
	}
	f.delay(f.context())
	n, err := r.from.read(f.context(), p, off)
	return n, f.fail("read", err)
}
