package journal

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
)

// Defaults of [Config].
const (
	DefaultSegmentBytes = 64 << 20
	DefaultBufferBytes  = 16 << 20
)

// keepBuffer is the largest buffer that is kept for the next batch when a batch
// has filled less than a quarter of it.
const keepBuffer = 1 << 20

// Config says where a journal is. The zero value of every field but Dir is usable.
type Config struct {
	// Dir is the directory, made if need be, and for this journal alone.
	Dir string
	// FS holds Dir. Default: the operating system's.
	FS vfs.FS
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger
	// SegmentBytes is the size from which on a segment is followed by another. It
	// grows beyond that by at most one batch. Default: 64 MiB. The segment that is
	// being written takes up to 1 MiB more than its records, but no more than they do
	// or 64 KiB, and never more than this.
	SegmentBytes int64
	// BufferBytes is how much may be appended and not synced yet; an Append beyond
	// it syncs first. A single record may be larger. Default: 16 MiB.
	BufferBytes int

	planted planted // bugs, for the tests that prove they would be found
}

// planted are bugs that tests of this package switch on.
type planted struct {
	ackBeforeSync bool // Sync returns before the records are safe
	noDirSync     bool // directories are never synced
	untrimmed     bool // a segment that is followed by another keeps what is behind its records
	pruneEarly    bool // what a checkpoint replaces goes before the checkpoint is whole
}

// withDefaults returns c with every zero field set.
func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = DefaultSegmentBytes
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = DefaultBufferBytes
	}
	return c
}

// validate returns an error that names the field that is wrong.
func (c *Config) validate(op string) error {
	what := ""
	switch {
	case c.Dir == "":
		what = "Dir is missing"
	case c.SegmentBytes < 0:
		what = "SegmentBytes is negative"
	case c.BufferBytes < 0:
		what = "BufferBytes is negative"
	default:
		return nil
	}
	return &Error{Op: op, Path: c.Dir, Err: fmt.Errorf("%w: Config.%s", ErrConfig, what)}
}

// Journal is an open journal. All its methods may be called concurrently.
type Journal struct {
	cfg  Config
	id   identity
	seed uint32
	lock io.Closer

	// writing and imaging are mutexes in the form of channels, so that in a synctest
	// bubble waiting for a slow disk counts as waiting. writing guards tail and comes
	// before mu; imaging comes before writing.
	writing chan struct{}
	imaging chan struct{}
	tail    tail

	synced atomic.Uint64 // the last record that is safe; set under mu
	syncs  atomic.Uint64

	mu       sync.Mutex // guards the rest
	buf      []byte     // room for a mark, and what was appended and not taken up by a Sync
	spare    []byte     // the buffer of the batch before
	last     uint64     // the last record that was appended
	bytes    int64      // of records appended since Open, with their headers
	segments []segment  // the oldest first; tail is the last of them
	images   []image    // the checkpoints that are whole, the oldest first
	broken   []string   // the paths of those that are not
	failed   error      // sticky
	closed   bool
}

// Append adds a record that consists of the given parts, and returns its sequence
// number. It copies them. The record is not safe before a [Journal.Sync] that
// begins afterwards has returned. Errors: ErrTooLarge, and once the journal has
// failed or is closed, ErrFailed and ErrClosed; with an error nothing was added.
func (j *Journal) Append(parts ...[]byte) (sequence uint64, err error) {
	size := recordHeaderSize
	for _, p := range parts {
		size += len(p)
		if size > MaxRecord+recordHeaderSize {
			return 0, &Error{Op: "append", Path: j.cfg.Dir, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxRecord)}
		}
	}
	for {
		j.mu.Lock()
		if err := j.usable("append"); err != nil {
			j.mu.Unlock()
			return 0, err
		}
		if pending := len(j.buf) - recordHeaderSize; pending == 0 || pending+size <= j.cfg.BufferBytes {
			break
		}
		j.mu.Unlock()
		if _, err := j.Sync(); err != nil {
			return 0, err
		}
	}
	defer j.mu.Unlock()
	from := len(j.buf)
	j.buf = append(j.buf, zeroHeader[:]...)
	for _, p := range parts {
		j.buf = append(j.buf, p...)
	}
	j.last++
	j.bytes += int64(size)
	putRecordHeader(j.buf[from:], j.seed, kindData, j.last)
	return j.last, nil
}

var zeroHeader [recordHeaderSize]byte

// usable returns the error that a call gets before it does anything. j.mu is held.
func (j *Journal) usable(op string) error {
	if j.failed != nil {
		return j.failed
	}
	if j.closed {
		return &Error{Op: op, Path: j.cfg.Dir, Err: ErrClosed}
	}
	return nil
}

// Sync makes every record safe that was appended before the call, and returns the
// sequence number of the last record that is. One write and one sync of the file
// serve all that was appended meanwhile. It blocks for as long as the disk takes.
//
// With nothing to make safe it notes in the log, without syncing, that all is. A
// caller that has time calls it once more when it has nothing to do: what it
// synced last can then be told from a torn tail, whatever happens to it.
func (j *Journal) Sync() (safe uint64, err error) {
	j.mu.Lock()
	target := j.last
	j.mu.Unlock()

	contended := j.acquire(j.writing)
	defer j.release(j.writing)
	j.mu.Lock()
	if err := j.usable("sync"); err != nil {
		j.mu.Unlock()
		return 0, err
	}
	safe = j.synced.Load()
	if contended && target <= safe {
		j.mu.Unlock()
		return safe, nil // the Sync before this one took the records along
	}
	batch, upTo := j.buf, j.last
	j.buf, j.spare = j.spare, nil
	j.mu.Unlock()

	if upTo == safe {
		err = j.mark()
	} else {
		err = j.flush(batch, upTo)
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	j.spare = recycle(batch)
	if err != nil {
		return 0, j.fail(err)
	}
	return j.synced.Load(), nil
}

// acquire locks one of the mutexes that are channels and reports whether it had to
// wait.
func (j *Journal) acquire(mutex chan struct{}) (contended bool) {
	select {
	case mutex <- struct{}{}:
		return false
	default:
		mutex <- struct{}{}
		return true
	}
}

func (j *Journal) release(mutex chan struct{}) { <-mutex }

// recycle returns a buffer for another batch, with the room for a mark.
func recycle(batch []byte) []byte {
	if cap(batch) > keepBuffer && len(batch) < cap(batch)/4 {
		return make([]byte, recordHeaderSize)
	}
	return batch[:recordHeaderSize]
}

// flush writes a batch, the records up to upTo behind the room for a mark, and
// syncs it. j.writing is held.
func (j *Journal) flush(batch []byte, upTo uint64) error {
	safe := j.synced.Load()
	if j.tail.size >= j.cfg.SegmentBytes {
		if err := j.roll(safe + 1); err != nil {
			return err
		}
	}
	if j.tail.marked < safe {
		putRecordHeader(batch[:recordHeaderSize], j.seed, kindMark, safe)
	} else {
		batch = batch[recordHeaderSize:]
	}
	if err := j.tail.writeBatch(append(batch, stopByte), j.cfg.SegmentBytes); err != nil {
		return err
	}
	j.tail.marked = safe
	if !j.cfg.planted.ackBeforeSync {
		if err := j.tail.sync(); err != nil {
			return err
		}
	}
	j.syncs.Add(1)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments[len(j.segments)-1].end = j.tail.size
	j.synced.Store(upTo)
	return nil
}

// mark notes in the log that all is safe. j.writing is held.
func (j *Journal) mark() error {
	safe := j.synced.Load()
	if j.tail.marked == safe {
		return nil
	}
	putRecordHeader(j.tail.mark[:recordHeaderSize], j.seed, kindMark, safe)
	j.tail.mark[recordHeaderSize] = stopByte
	if err := j.tail.write(j.tail.mark[:], recordHeaderSize); err != nil {
		return err
	}
	j.tail.marked = safe
	return nil
}

// fail ends the journal and returns the error that every call gets from now on.
// j.mu is held.
func (j *Journal) fail(err error) error {
	if j.failed == nil {
		j.failed = &Error{Op: "sync", Path: j.cfg.Dir, Err: fmt.Errorf("%w: %w", ErrFailed, err)}
		j.cfg.Logger.Error("the journal has failed", "dir", j.cfg.Dir, "error", err)
	}
	return j.failed
}

// Safe returns the sequence number of the last record that is safe.
func (j *Journal) Safe() uint64 { return j.synced.Load() }

// Status is what a journal tells about itself.
type Status struct {
	Last       uint64 // the last record that was appended
	Safe       uint64 // the last record that is safe
	Checkpoint uint64 // the record that the newest checkpoint stands for; 0 if there is none
	First      uint64 // the first record that is still in the log
	Segments   int    // files of the log
	Syncs      uint64 // batches synced since Open
	Bytes      int64  // of records appended since Open, with their headers
	Err        error  // why the journal has failed, if it has
}

// Status returns the state of the journal.
func (j *Journal) Status() Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Status{
		Last: j.last, Safe: j.synced.Load(), First: j.segments[0].first, Segments: len(j.segments),
		Syncs: j.syncs.Load(), Bytes: j.bytes, Err: j.failed,
	}
	if n := len(j.images); n > 0 {
		s.Checkpoint = j.images[n-1].sequence
	}
	return s
}

// Close syncs what was appended, marks it as safe and gives the directory up. It
// waits for a Sync or Checkpoint in progress. The error is that of the sync;
// further calls return nil.
func (j *Journal) Close() error {
	j.mu.Lock()
	closed := j.closed
	j.closed = true
	j.mu.Unlock()
	if closed {
		return nil
	}
	j.acquire(j.imaging)
	defer j.release(j.imaging)
	j.acquire(j.writing)
	defer j.release(j.writing)

	j.mu.Lock()
	batch, upTo, err := j.buf, j.last, j.failed
	j.mu.Unlock()
	if err == nil && upTo > j.synced.Load() {
		err = j.flush(batch, upTo)
	}
	if err == nil {
		err = j.mark()
	}
	if err == nil {
		err = j.tail.trim()
	}
	if err == nil && j.tail.dirty {
		err = j.tail.sync()
	}
	_ = j.tail.file.Close() // all that counts has been synced
	if cerr := j.lock.Close(); err == nil && cerr != nil {
		err = &Error{Op: "close", Path: j.cfg.Dir, Err: cerr}
	}
	return err
}
