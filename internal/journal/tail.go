package journal

import (
	"errors"
	"io"
	"syscall"

	"github.com/trilith-go/trilith/internal/vfs"
)

// How far the zeros of a segment reach ahead of its records: as far again as it is
// long, within these bounds. A short journal stays small, and a long one pays for
// zeros once in thousands of small batches.
const (
	minStep = 64 << 10
	maxStep = 1 << 20
	// smallBatch is the part of a step that a batch may take for zeros to be worth
	// while: of a larger one the data are what a sync waits for, and to write them
	// twice would only cost.
	smallBatch = 4
)

var zeros [64 << 10]byte

// tail is the segment that is being written: records up to size, a stop byte, and
// zeros from there up to ahead, the end of the file. A batch that goes where zeros have been
// synced changes neither the size of the file nor where its blocks are, and so its
// sync does not wait for the file system's own journal.
type tail struct {
	file   vfs.File
	path   string
	size   int64
	ahead  int64
	full   bool                       // the disk had no room for zeros: no more are tried
	marked uint64                     // the last record that the segment itself says is safe
	dirty  bool                       // written since its last sync
	mark   [recordHeaderSize + 1]byte // where marks that stand alone are made, and a stop byte
}

// write appends to the records. Of b they are the first few bytes; what is behind
// them will be written over.
func (t *tail) write(b []byte, records int) error {
	t.dirty = true
	n, err := t.file.WriteAt(b, t.size)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &Error{Op: "write", Path: t.path, Offset: t.size, Err: err}
	}
	t.ahead = max(t.ahead, t.size+int64(n))
	t.size += int64(records)
	return nil
}

// writeBatch appends a batch, with a stop byte at its end, and if that has taken the file's end along, zeros
// behind it, for the same sync. They end at limit, the size at which the segment is
// finished.
func (t *tail) writeBatch(b []byte, limit int64) error {
	grows := t.size+int64(len(b)) > t.ahead
	if err := t.write(b, len(b)-1); err != nil || !grows || t.full {
		return err
	}
	step := min(max(t.size, minStep), maxStep)
	if int64(len(b)) > step/smallBatch {
		return nil
	}
	return t.fill(min(t.size+step, limit))
}

// fill writes zeros up to an offset. That there is no room for them is no failure:
// the batch, which was written before, has had its room. What fits of them stays, so
// that it is there for batches to come.
func (t *tail) fill(to int64) error {
	for t.ahead < to {
		want := min(int64(len(zeros)), to-t.ahead)
		n, err := t.file.WriteAt(zeros[:want], t.ahead)
		t.ahead += int64(n)
		switch {
		case errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, syscall.EDQUOT):
			t.full = true
			return nil
		case err == nil && int64(n) < want:
			err = io.ErrShortWrite
		}
		if err != nil {
			return &Error{Op: "write", Path: t.path, Offset: t.ahead, Err: err}
		}
	}
	return nil
}

// trim lets the file end with its records. The next sync makes that safe.
func (t *tail) trim() error {
	if t.ahead == t.size {
		return nil
	}
	t.dirty = true
	if err := t.file.Truncate(t.size); err != nil {
		return &Error{Op: "write", Path: t.path, Offset: t.size, Err: err}
	}
	t.ahead = t.size
	return nil
}

func (t *tail) sync() error {
	if err := t.file.Sync(); err != nil {
		return &Error{Op: "sync", Path: t.path, Offset: t.size, Err: err}
	}
	t.dirty = false
	return nil
}
