package journal

import (
	"bufio"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"

	"github.com/trilith-go/trilith/internal/vfs"
)

const (
	// imageBuffer is the size of one write or read of an image.
	imageBuffer = 256 << 10
	// imageSyncBytes is how much of an image is written between two syncs of its
	// file, so that the log's own syncs never find very much to write before them.
	imageSyncBytes = 4 << 20
)

// image is a checkpoint on disk.
type image struct {
	sequence uint64
	path     string
}

// Checkpoint makes an image of what the records up to sequence add up to take
// their place. It writes it beside the log, which goes on meanwhile, reads it back,
// and then removes what is needed no longer. The records are made safe first if
// they are not. WriteTo is called once, on the caller's goroutine. Checkpoints of
// one journal follow one another.
//
// It fails with ErrSequence unless sequence lies between the newest checkpoint and
// the last record; for the newest checkpoint itself there is nothing to do. After
// any error the log is as it was, unless that matches ErrFailed.
func (j *Journal) Checkpoint(sequence uint64, state io.WriterTo) error {
	j.acquire(j.imaging)
	defer j.release(j.imaging)
	status := j.Status()
	switch {
	case sequence < status.Checkpoint || sequence > status.Last:
		return &Error{Op: "checkpoint", Path: j.cfg.Dir, Err: fmt.Errorf(
			"%w: %d, the newest checkpoint is at %d, the last record is %d",
			ErrSequence, sequence, status.Checkpoint, status.Last)}
	case sequence == status.Checkpoint:
		return nil
	}
	if sequence > status.Safe {
		if _, err := j.Sync(); err != nil {
			return err
		}
	}
	j.mu.Lock()
	err := j.usable("checkpoint")
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if j.cfg.planted.pruneEarly {
		_ = j.prune(sequence)
	}
	c := image{sequence: sequence, path: checkpointPath(j.cfg.Dir, sequence)}
	header := fileHeader{magic: checkpointMagic, id: j.id, sequence: sequence}
	if err := c.write(j.cfg.FS, header, state); err != nil {
		return err
	}
	if err := j.syncDir(); err != nil {
		return j.failDir(err)
	}
	if _, err := c.verify(j.cfg.FS); err != nil {
		_ = j.cfg.FS.Remove(c.path) // a start would pass it over
		return err
	}
	j.mu.Lock()
	keep := uint64(0) // the beginning
	if n := len(j.images); n > 0 {
		keep = j.images[n-1].sequence
	}
	j.images = append(j.images, c)
	j.broken = slices.DeleteFunc(j.broken, func(path string) bool { return path == c.path })
	j.mu.Unlock()
	if err := j.prune(keep); err != nil {
		return j.failDir(err)
	}
	return nil
}

// failDir ends the journal because its directory could not be synced: what that
// holds is uncertain from here on, for the log too, whose next segment may be in it.
func (j *Journal) failDir(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fail(err)
}

// write makes the file of a checkpoint, synced and under its final name, which is
// not durable yet.
func (c *image) write(fsys vfs.FS, header fileHeader, state io.WriterTo) error {
	tmp := c.path + temporarySuffix
	err := func() error {
		f, err := vfs.Create(fsys, tmp)
		if err != nil {
			return err
		}
		w := &imageWriter{file: f, sum: crc32.New(castagnoli)}
		b := bufio.NewWriterSize(w, imageBuffer)
		_, _ = b.Write(header.encode()) // fits, and errors stay until Flush
		if _, err = state.WriteTo(b); err == nil {
			err = b.Flush()
		}
		if err == nil {
			err = w.finish()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = fsys.Rename(tmp, c.path)
		}
		return err
	}()
	if err != nil {
		_ = fsys.Remove(tmp) // the first error is the one that counts
		return &Error{Op: "checkpoint", Path: c.path, Err: err}
	}
	return nil
}

// imageWriter writes the file of a checkpoint.
type imageWriter struct {
	file    vfs.File
	sum     hash.Hash32
	written int64
	synced  int64
}

func (w *imageWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.sum.Write(p[:n])
	w.written += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err == nil && w.written-w.synced >= imageSyncBytes {
		w.synced = w.written
		err = w.file.Sync()
	}
	return n, err
}

// finish writes the trailer and syncs.
func (w *imageWriter) finish() error {
	trailer := le.AppendUint64(nil, uint64(w.written-fileHeaderSize))
	if _, err := w.Write(trailer); err != nil {
		return err
	}
	if _, err := w.Write(le.AppendUint32(nil, w.sum.Sum32())); err != nil {
		return err
	}
	return w.file.Sync()
}

// verify reads a checkpoint and returns its header.
func (c *image) verify(fsys vfs.FS) (fileHeader, error) {
	var h fileHeader
	err := c.open(fsys, func(f vfs.File, header fileHeader, length int64) error {
		h = header
		return c.read(f, length, func(io.Reader) error { return nil })
	})
	return h, err
}

// restore reads a checkpoint for its owner, and notices should it now be another
// than the one that has been verified.
func (c *image) restore(fsys vfs.FS, to func(image io.Reader) error) error {
	return c.open(fsys, func(f vfs.File, _ fileHeader, length int64) error {
		return c.read(f, length, to)
	})
}

// open opens a checkpoint, checks its header, and tells how long its image is.
func (c *image) open(fsys vfs.FS, fn func(f vfs.File, h fileHeader, length int64) error) error {
	f, err := vfs.Open(fsys, c.path)
	if err != nil {
		return &Error{Op: "read", Path: c.path, Err: err}
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return &Error{Op: "read", Path: c.path, Err: err}
	}
	if size < fileHeaderSize+trailerSize {
		return corrupt(c.path, size, "a checkpoint is cut off")
	}
	b := make([]byte, fileHeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return &Error{Op: "read", Path: c.path, Err: err}
	}
	h, err := decodeFileHeader(b, checkpointMagic, c.sequence)
	if err != nil {
		return &Error{Op: "open", Path: c.path, Err: err}
	}
	return fn(f, h, size-fileHeaderSize-trailerSize)
}

// read hands the image of a given length to a function, reads what that has left,
// and compares the checksum.
func (c *image) read(f vfs.File, length int64, to func(io.Reader) error) error {
	sum := crc32.New(castagnoli)
	whole := io.NewSectionReader(f, 0, fileHeaderSize+length+8)
	r := bufio.NewReaderSize(io.TeeReader(whole, sum), int(min(imageBuffer, whole.Size())))
	if _, err := r.Discard(fileHeaderSize); err != nil {
		return &Error{Op: "read", Path: c.path, Err: err}
	}
	if err := to(io.LimitReader(r, length)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return &Error{Op: "read", Path: c.path, Err: err}
	}
	trailer := make([]byte, trailerSize)
	if _, err := f.ReadAt(trailer, fileHeaderSize+length); err != nil && !errors.Is(err, io.EOF) {
		return &Error{Op: "read", Path: c.path, Err: err}
	}
	switch {
	case le.Uint64(trailer) != uint64(length):
		return corrupt(c.path, fileHeaderSize+length, "the length of the image is wrong")
	case le.Uint32(trailer[8:]) != sum.Sum32():
		return corrupt(c.path, fileHeaderSize+length, "the checksum of the image is wrong")
	}
	return nil
}

// Create makes a journal that begins with an image, as if its records up to
// sequence, at least one, had been replaced by it: the first record appended will
// be the next. It fails with ErrSequence if sequence is 0, and with ErrExists if the
// directory holds a journal, which it does when Create has succeeded, and may do
// when a crash has interrupted it. Of the configuration Dir and FS count.
func Create(cfg Config, sequence uint64, state io.WriterTo) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate("create"); err != nil {
		return err
	}
	fail := func(err error) error { return &Error{Op: "create", Path: cfg.Dir, Err: err} }
	if sequence == 0 { // without it the log would begin with record 1, like any other
		return fail(fmt.Errorf("%w: an image of no records", ErrSequence))
	}
	if err := vfs.MkdirAllSync(cfg.FS, cfg.Dir); err != nil {
		return fail(err)
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	found, err := list(cfg.FS, cfg.Dir)
	if err != nil {
		return fail(err)
	}
	if len(found.segments)+len(found.checkpoints) > 0 {
		return fail(ErrExists)
	}
	c := image{sequence: sequence, path: checkpointPath(cfg.Dir, sequence)}
	header := fileHeader{magic: checkpointMagic, id: newIdentity(), sequence: sequence, flags: flagFirst}
	if err := c.write(cfg.FS, header, state); err != nil {
		return err
	}
	if err := cfg.FS.SyncDir(cfg.Dir); err != nil {
		return fail(err)
	}
	if _, err := c.verify(cfg.FS); err != nil {
		_ = cfg.FS.Remove(c.path) // so that Create can be repeated
		return err
	}
	return nil
}
