package journal

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/trilith-go/trilith/internal/vfs"
)

// Recovery receives what a journal holds when it is opened: first the newest image,
// if there is one, then the records after it in their order. An error ends Open,
// which returns it as it is.
type Recovery interface {
	// Restore replaces the state by an image, that of the records up to sequence. It
	// need not read to the end.
	Restore(sequence uint64, image io.Reader) error
	// Replay adds a record. It is borrowed: it may be neither changed nor kept.
	Replay(sequence uint64, record []byte) error
}

// Open opens the journal in a directory, or makes one, and hands what it holds to
// the recovery; nil means that it is only checked. It holds the lock of the
// directory until Close: a second Open fails with vfs.ErrLocked. When Open
// succeeds, everything it has handed over is safe. It reads all that is there and
// refuses damage with an *Error that matches ErrCorrupt and names the file and the
// offset.
func Open(cfg Config, to Recovery) (*Journal, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate("open"); err != nil {
		return nil, err
	}
	j := &Journal{
		cfg:     cfg,
		writing: make(chan struct{}, 1),
		imaging: make(chan struct{}, 1),
		buf:     make([]byte, recordHeaderSize),
		spare:   make([]byte, recordHeaderSize),
	}
	if err := vfs.MkdirAllSync(cfg.FS, cfg.Dir); err != nil {
		return nil, &Error{Op: "open", Path: cfg.Dir, Err: err}
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, &Error{Op: "open", Path: cfg.Dir, Err: err}
	}
	j.lock = lock
	if to == nil {
		to = nothing{}
	}
	if err := j.recover(to); err != nil {
		if j.tail.file != nil {
			_ = j.tail.file.Close() // the first error is the one that counts
		}
		_ = lock.Close()
		return nil, err
	}
	return j, nil
}

// nothing is the recovery of a journal that is only checked.
type nothing struct{}

func (nothing) Restore(uint64, io.Reader) error { return nil }
func (nothing) Replay(uint64, []byte) error     { return nil }

func newIdentity() identity {
	var id identity
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// recover reads the directory.
func (j *Journal) recover(to Recovery) error {
	found, err := list(j.cfg.FS, j.cfg.Dir)
	if err != nil {
		return &Error{Op: "open", Path: j.cfg.Dir, Err: err}
	}
	for _, path := range found.temporary {
		if err := j.cfg.FS.Remove(path); err != nil {
			return &Error{Op: "open", Path: path, Err: err}
		}
	}
	// What was found may have been renamed and not synced by a process that was
	// killed or whose disk failed; from here on it counts.
	if err := j.syncDir(); err != nil {
		return &Error{Op: "open", Path: j.cfg.Dir, Err: err}
	}
	if len(found.segments)+len(found.checkpoints) == 0 {
		j.setIdentity(newIdentity())
		return j.begin(1)
	}
	base, first, err := j.chooseImage(found)
	if err != nil {
		return err
	}
	if base > 0 {
		newest := j.images[len(j.images)-1]
		err := newest.restore(j.cfg.FS, func(r io.Reader) error { return to.Restore(base, r) })
		if err != nil {
			return err
		}
	}
	if len(found.segments) == 0 && first {
		return j.begin(base + 1)
	}
	return j.readSegments(found, base, to)
}

func (j *Journal) setIdentity(id identity) {
	j.id, j.seed = id, id.seed()
}

// begin makes the first segment of a journal.
func (j *Journal) begin(first uint64) error {
	j.last = first - 1
	j.synced.Store(j.last)
	if err := j.newSegment(first); err != nil {
		return &Error{Op: "open", Path: segmentPath(j.cfg.Dir, first), Err: err}
	}
	return nil
}

// chooseImage finds the newest checkpoint that is whole, and returns its sequence
// number and whether the journal began with it; or 0, false if the records from
// the very first on have to do.
func (j *Journal) chooseImage(found listing) (base uint64, first bool, err error) {
	var broken error
	for i := len(found.checkpoints) - 1; i >= 0; i-- {
		c := found.checkpoints[i]
		h, err := c.verify(j.cfg.FS)
		if err == nil {
			j.setIdentity(h.id)
			j.images = found.checkpoints[:i+1]
			return c.sequence, h.flags&flagFirst != 0, nil
		}
		if !errors.Is(err, ErrCorrupt) {
			return 0, false, err
		}
		j.cfg.Logger.Warn("passing over a checkpoint that is not whole", "path", c.path, "error", err)
		j.broken = append(j.broken, c.path)
		if broken == nil {
			broken = err
		}
	}
	if len(found.segments) == 0 || found.segments[0].first != 1 {
		if broken == nil {
			broken = corrupt(j.cfg.Dir, 0, "there is no checkpoint, and the log does not begin with record 1")
		}
		return 0, false, broken
	}
	return 0, false, nil
}

// readSegments replays the records behind base, checks all others, and makes the
// last segment the one to be written.
func (j *Journal) readSegments(found listing, base uint64, to Recovery) error {
	if len(found.segments) == 0 {
		return corrupt(j.cfg.Dir, 0, "there are no records after checkpoint %d", base)
	}
	next, err := found.segments[0].first, error(nil)
	if next > base+1 {
		return corrupt(j.cfg.Dir, 0, "records %d to %d are missing", base+1, next-1)
	}
	for i, seg := range found.segments {
		if seg.first != next {
			return corrupt(j.cfg.Dir, 0, "records %d to %d are missing", next, seg.first-1)
		}
		last := i == len(found.segments)-1
		if i == 0 && len(j.images) == 0 {
			if err := j.adoptIdentity(seg); err != nil {
				return err
			}
		}
		found.segments[i].end, next, err = j.readSegment(seg, last, func(sequence uint64, record []byte) error {
			if sequence <= base {
				return nil
			}
			return to.Replay(sequence, record)
		})
		if err != nil {
			return err
		}
	}
	if next <= base {
		return corrupt(found.segments[len(found.segments)-1].path, j.tail.size,
			"the log ends with record %d, before checkpoint %d", next-1, base)
	}
	j.segments = found.segments
	j.last = next - 1
	j.synced.Store(j.last)
	return nil
}

// adoptIdentity takes the journal's id from its first segment, when there is no
// checkpoint to tell it.
func (j *Journal) adoptIdentity(seg segment) error {
	return j.openSegment(seg, os.O_RDONLY, func(f vfs.File, h fileHeader, _ int64) error {
		j.setIdentity(h.id)
		return f.Close()
	})
}

// openSegment opens a segment and checks its header. fn has to close it.
func (j *Journal) openSegment(seg segment, flag int, fn func(vfs.File, fileHeader, int64) error) error {
	f, err := j.cfg.FS.OpenFile(seg.path, flag)
	if err != nil {
		return &Error{Op: "open", Path: seg.path, Err: err}
	}
	h, size, err := readSegmentHeader(f, seg)
	if err != nil {
		_ = f.Close() // the first error is the one that counts
		return err
	}
	return fn(f, h, size)
}

func readSegmentHeader(f vfs.File, seg segment) (h fileHeader, size int64, err error) {
	if size, err = f.Size(); err != nil {
		return h, 0, &Error{Op: "open", Path: seg.path, Err: err}
	}
	if size < fileHeaderSize {
		return h, 0, corrupt(seg.path, size, "the header of a segment is cut off")
	}
	b := make([]byte, fileHeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return h, 0, &Error{Op: "open", Path: seg.path, Err: err}
	}
	if h, err = decodeFileHeader(b, segmentMagic, seg.first); err != nil {
		return h, 0, &Error{Op: "open", Path: seg.path, Err: err}
	}
	return h, size, nil
}

// readSegment hands over the records of a segment and returns where they end and
// the sequence number that follows them. The last segment loses a torn tail, is synced, and becomes
// j.tail.
func (j *Journal) readSegment(seg segment, last bool, fn func(uint64, []byte) error) (end int64, next uint64, err error) {
	flag := os.O_RDONLY
	if last {
		flag = os.O_RDWR
	}
	err = j.openSegment(seg, flag, func(f vfs.File, h fileHeader, size int64) error {
		if !last {
			defer f.Close()
		} else {
			j.tail = tail{file: f, path: seg.path}
		}
		if h.id != j.id {
			return corrupt(seg.path, 16, "the segment belongs to another journal")
		}
		s := &scanner{r: f, path: seg.path, seed: j.seed, size: size,
			offset: fileHeaderSize, proven: fileHeaderSize, next: seg.first, marked: seg.first - 1}
		bad, err := s.all(fn)
		if err != nil {
			return err
		}
		if bad != nil && !last {
			return corrupt(seg.path, bad.offset, "%s, and it is not the end of the log", bad.what)
		}
		if last {
			err = j.resume(s, bad)
		}
		end, next = s.offset, s.next
		return err
	})
	return end, next, err
}

// all hands over the records of a segment up to its end, or up to one that is bad.
func (s *scanner) all(fn func(uint64, []byte) error) (*badRecord, error) {
	for {
		sequence, record, err := s.scan()
		var bad *badRecord
		switch {
		case err == io.EOF:
			return nil, nil
		case errors.As(err, &bad):
			return bad, nil
		case err != nil:
			return nil, err
		}
		if err := fn(sequence, record); err != nil {
			return nil, err
		}
	}
}

// resume makes the segment that s has read the end of the log.
func (j *Journal) resume(s *scanner, bad *badRecord) error {
	t := &j.tail
	if bad != nil {
		ended, err := s.ended(bad.offset)
		if err != nil {
			return err
		}
		if !ended {
			if err := s.judge(bad); err != nil {
				return err
			}
			j.cfg.Logger.Info("cutting off what a crash has left unfinished", "path", s.path,
				"offset", bad.offset, "bytes", s.size-bad.offset, "reason", bad.what)
		}
		if err := t.file.Truncate(bad.offset); err != nil {
			return &Error{Op: "open", Path: s.path, Offset: bad.offset, Err: err}
		}
		s.size = bad.offset
	}
	// What was read may have been written and not synced by a process that was
	// killed; from here on it counts. It may also be what a sync has failed to
	// write: the system shows it, and writes it only if it is written again.
	t.size, t.marked = s.proven, s.marked
	for t.size < s.offset {
		b, err := s.bytes(t.size, int(min(windowSize, s.offset-t.size)))
		if err != nil {
			return err
		}
		if err := t.write(b, len(b)); err != nil {
			return err
		}
	}
	t.ahead = t.size
	return t.sync()
}
