package journal

import (
	"fmt"
	"io"
	"os"

	"github.com/trilith-go/trilith/internal/vfs"
)

// Reader follows a journal from a record on, while it grows. It is not for
// concurrent use. It keeps the segment that it reads open, so that a checkpoint
// that removes it does no harm; what lies behind may be gone when it gets there.
type Reader struct {
	j    *Journal
	from uint64 // the next record
	safe uint64 // what was safe when the file was last looked at
	file vfs.File
	scan scanner
}

// NewReader returns a reader of the records from a sequence number on. It fails
// with ErrCompacted if that record has been replaced by a checkpoint, and with
// ErrSequence if it is beyond the next record.
func (j *Journal) NewReader(from uint64) (*Reader, error) {
	s := j.Status()
	switch {
	case from < s.First:
		return nil, &Error{Op: "read", Path: j.cfg.Dir, Err: fmt.Errorf("%w: %d", ErrCompacted, from)}
	case from > s.Last+1:
		return nil, &Error{Op: "read", Path: j.cfg.Dir, Err: fmt.Errorf("%w: %d, the last is %d", ErrSequence, from, s.Last)}
	}
	return &Reader{j: j, from: from}, nil
}

// Next returns the next record that is safe. It is valid until the next call. At
// the end of what is safe the error is io.EOF, and Next may be called again when
// there is more. It fails with ErrCompacted when checkpoints have overtaken the
// reader.
func (r *Reader) Next() (sequence uint64, record []byte, err error) {
	if r.from > r.safe {
		if err := r.refresh(); err != nil {
			return 0, nil, err
		}
	}
	for {
		if r.file == nil {
			if err := r.open(); err != nil {
				return 0, nil, err
			}
		}
		sequence, record, err = r.scan.scan()
		if err == io.EOF { // what is missing is in the next segment
			if err := r.Close(); err != nil {
				return 0, nil, err
			}
			continue
		}
		if bad, ok := err.(*badRecord); ok {
			err = corrupt(r.scan.path, bad.offset, "%s, and it had been synced", bad.what)
		}
		if err != nil {
			return 0, nil, err
		}
		if sequence >= r.from {
			r.from = sequence + 1
			return sequence, record, nil
		}
	}
}

// refresh sees what has become safe, or returns io.EOF. The scanner never looks
// behind that: there a batch may just be written, or zeros be cut off.
func (r *Reader) refresh() error {
	safe, end, ok := r.j.safeIn(r.scan.path)
	r.safe = safe
	if r.from > r.safe {
		return io.EOF
	}
	if r.file == nil {
		return nil
	}
	if !ok { // it has been removed, and so does not change any more
		var err error
		if end, err = r.file.Size(); err != nil {
			return &Error{Op: "read", Path: r.scan.path, Err: err}
		}
	}
	r.scan.size = end
	return nil
}

// safeIn returns the last record that is safe, and where what is safe of a segment
// ends if that is still a part of the log.
func (j *Journal) safeIn(path string) (safe uint64, end int64, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.segments) - 1; i >= 0; i-- {
		if j.segments[i].path == path {
			return j.synced.Load(), j.segments[i].end, true
		}
	}
	return j.synced.Load(), 0, false
}

// open opens the segment that holds r.from.
func (r *Reader) open() error {
	seg, ok := r.j.segmentOf(r.from)
	if !ok {
		return &Error{Op: "read", Path: r.j.cfg.Dir, Err: fmt.Errorf("%w: %d", ErrCompacted, r.from)}
	}
	if seg.path == r.scan.path {
		return corrupt(seg.path, r.scan.offset, "the segment ends before record %d", r.from)
	}
	return r.j.openSegment(seg, os.O_RDONLY, func(f vfs.File, _ fileHeader, size int64) error {
		r.file = f
		r.scan = scanner{r: f, path: seg.path, seed: r.j.seed, size: min(seg.end, size),
			offset: fileHeaderSize, next: seg.first, window: r.scan.window[:0]}
		return nil
	})
}

// segmentOf returns the segment that holds a record.
func (j *Journal) segmentOf(sequence uint64) (segment, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.segments) - 1; i >= 0; i-- {
		if j.segments[i].first <= sequence {
			return j.segments[i], true
		}
	}
	return segment{}, false
}

// Close closes the file that the reader has open, if any.
func (r *Reader) Close() error {
	f := r.file
	r.file = nil
	if f == nil {
		return nil
	}
	if err := f.Close(); err != nil {
		return &Error{Op: "read", Path: r.scan.path, Err: err}
	}
	return nil
}
