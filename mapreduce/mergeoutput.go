package mapreduce

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"iter"
	"path"
)

// MergeConfig says what MergeOutput merges. The zero value is for the output of jobs
// with the default Output and keys that are ordered as their text is.
type MergeConfig struct {
	// RecordBytes is the size of the records, in bytes. Default: they are lines.
	RecordBytes int
	// Pairs says that the files were written as a PairFile. The output is one, too.
	Pairs bool
	// Compare orders records, given without their newlines; of pairs, the encoded
	// keys. Default: by the bytes before the first tab; pairs by all of the key.
	Compare func(a, b []byte) int
}

// maxMergeFiles bounds the files that MergeOutput reads at the same time.
const maxMergeFiles = 512

// MergeOutput merges files, each of which is in order, into one that is. The file
// appears under its name when it is complete, and never replaces another. Records
// that are equal come in the order of the files. An input that is not in order fails
// with ErrUnordered.
//
// The output of a MapOnly is in the order of the input, and in no other: with a Compare
// that always returns 0 it is merged in that order, one file after the other.
//
// A file is read from when its first record is wanted, until its last: the output of
// a job with Spec.Bounds is read one file after the other. At most 512 files may
// overlap.
func MergeOutput(ctx context.Context, fsys FileSystem, files []string, output string, cfg MergeConfig) error {
	if err := mergeOutput(ctx, fsys, files, output, cfg); err != nil {
		return &Error{Op: "merge", On: output, Err: err}
	}
	return nil
}

func mergeOutput(ctx context.Context, fsys FileSystem, files []string, output string, cfg MergeConfig) error {
	m := &fileMerge{ctx: ctx, fsys: fsys, input: Text{}, compare: cfg.Compare, end: "\n", pairs: cfg.Pairs}
	switch {
	case cfg.Pairs && cfg.RecordBytes != 0:
		return fmt.Errorf("%w: MergeConfig.RecordBytes is set, but pairs have no fixed size", ErrConfig)
	case cfg.Pairs:
		m.input = PairFile[[]byte, []byte]{}
	case cfg.RecordBytes != 0:
		fixed := FixedRecords(cfg.RecordBytes)
		if err := fixed.validate(); err != nil {
			return err
		}
		m.input, m.end = fixed, ""
	}
	switch {
	case m.compare != nil:
	case cfg.Pairs:
		m.compare = bytes.Compare
	default:
		m.compare = compareFirstField
	}
	if fsys == nil {
		return fmt.Errorf("%w: the file system is missing", ErrConfig)
	}
	if err := checkName("merge", output); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer m.close()
	for i, name := range files {
		if err := m.add(i, name); err != nil {
			return err
		}
	}
	temporary := path.Join(path.Dir(output), attemptPrefix+"merge-"+newToken())
	w, err := createPart(ctx, fsys, temporary, partBuffer)
	if err != nil {
		return err
	}
	if err := m.run(w); err != nil {
		w.abandon(fsys, temporary)
		return err
	}
	err = w.close()
	if err == nil {
		err = fsys.Commit(ctx, temporary, output)
	}
	if err != nil {
		_ = fsys.Remove(context.WithoutCancel(ctx), temporary) // it has failed already
	}
	return err
}

// compareFirstField orders lines by what is before their first tab.
func compareFirstField(a, b []byte) int {
	a, _, _ = bytes.Cut(a, tab)
	b, _, _ = bytes.Cut(b, tab)
	return bytes.Compare(a, b)
}

var tab = []byte{'\t'}

// fileMerge merges files. It is a heap, with the file that has the least record on
// top.
type fileMerge struct {
	ctx     context.Context
	fsys    FileSystem
	input   Input
	compare func(a, b []byte) int
	end     string // of each record in the file
	pairs   bool   // it is a file of pairs
	files   []*mergedFile
	open    int // files that are being read
}

var _ heap.Interface = (*fileMerge)(nil)

// mergedFile is a file that has records left.
type mergedFile struct {
	index  int
	split  Split
	record Record // the next
	next   func() (Record, error, bool)
	stop   func() // nil while only the first record has been looked at
}

// key returns what a record is ordered by.
func (m *fileMerge) key(r Record) []byte {
	if m.pairs {
		return r.Key
	}
	return r.Value
}

func (m *fileMerge) Len() int      { return len(m.files) }
func (m *fileMerge) Swap(i, j int) { m.files[i], m.files[j] = m.files[j], m.files[i] }
func (m *fileMerge) Push(x any)    { m.files = append(m.files, x.(*mergedFile)) }

func (m *fileMerge) Less(i, j int) bool {
	a, b := m.files[i], m.files[j]
	if c := m.compare(m.key(a.record), m.key(b.record)); c != 0 {
		return c < 0
	}
	return a.index < b.index
}

func (m *fileMerge) Pop() any {
	last := m.files[len(m.files)-1]
	m.files = m.files[:len(m.files)-1]
	return last
}

// add looks at the first record of a file.
func (m *fileMerge) add(index int, name string) error {
	f, size, err := m.fsys.Open(m.ctx, name)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if fixed, ok := m.input.(FixedRecords); ok && size%int64(fixed) != 0 {
		return fmt.Errorf("%s: its %d bytes are no whole number of records of %d", name, size, int(fixed))
	}
	file := &mergedFile{index: index, split: Split{Pieces: []Piece{{Name: name, Length: size}}}}
	for r, err := range m.input.Read(m.ctx, m.fsys, file.split) {
		if err != nil {
			return err
		}
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value) // not to hold the block that they are in
		file.record = r
		heap.Push(m, file)
		break
	}
	return nil
}

// run writes all records.
func (m *fileMerge) run(w *partWriter) error {
	var line []byte
	write := func(r Record) error {
		line = append(append(line[:0], r.Value...), m.end...)
		_, err := w.Write(line)
		return err
	}
	if !m.pairs {
		return m.each(write)
	}
	pairs, err := newPairWriter(w, true) // advance looks at the order
	if err == nil {
		err = m.each(func(r Record) error { return pairs.add(r.Key, r.Value) })
	}
	if err == nil {
		err = pairs.Close()
	}
	return err
}

// each calls write with all records, in order.
func (m *fileMerge) each(write func(Record) error) error {
	for len(m.files) > 0 {
		top := m.files[0]
		if err := write(top.record); err != nil {
			return err
		}
		more, err := m.advance(top)
		if err != nil {
			return err
		}
		if more {
			heap.Fix(m, 0)
		} else {
			heap.Pop(m)
		}
	}
	return nil
}

// advance takes the next record of a file. It reports whether there is one.
func (m *fileMerge) advance(f *mergedFile) (bool, error) {
	if f.stop == nil {
		if m.open == maxMergeFiles {
			return false, fmt.Errorf("more than %d files overlap; merge some of them first", maxMergeFiles)
		}
		m.open++
		f.next, f.stop = iter.Pull2(m.input.Read(m.ctx, m.fsys, f.split))
		if _, err, _ := f.next(); err != nil { // the first record, which is known
			return false, err
		}
	}
	r, err, ok := f.next()
	if err != nil {
		return false, err
	}
	if m.ctx.Err() != nil {
		return false, context.Cause(m.ctx)
	}
	if !ok {
		f.stop()
		m.open--
		return false, nil
	}
	if m.compare(m.key(f.record), m.key(r)) > 0 {
		return false, fmt.Errorf("%w: %s at byte %d", ErrUnordered, r.File, r.Offset)
	}
	f.record = r
	return true, nil
}

// close ends the reading of files that were not read to their ends.
func (m *fileMerge) close() {
	for _, f := range m.files {
		if f.stop != nil {
			f.stop()
		}
	}
}
