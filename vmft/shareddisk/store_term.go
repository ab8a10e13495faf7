package shareddisk

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
)

var errFenced = errors.New("another term has begun on the shared disk")

// newestTerm returns the newest term that has begun.
func newestTerm(files Files) (v version, err error) {
	names, err := files.List(termDir)
	if err != nil {
		return v, err
	}
	for _, name := range names {
		if w, ok := parseVersion(name); ok && v.less(w) {
			v = w
		}
	}
	return v, nil
}

// fenced reports whether a newer term has begun.
func (s *store) fenced() error {
	v, err := newestTerm(s.files)
	if err == nil && s.own.less(v) {
		err = fmt.Errorf("%w: %v, after %v", errFenced, v, s.own)
	}
	return err
}

// begin begins a term, and removes the marks of those before. It fails with fs.ErrExist if
// the term is another's already.
func (s *store) begin() error {
	if err := s.fenced(); err != nil {
		return err
	}
	f, err := s.files.Create(path.Join(termDir, s.own.String()))
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.files.SyncDir(termDir); err != nil {
		return err
	}
	names, err := s.files.List(termDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if v, ok := parseVersion(name); ok && v.less(s.own) {
			_ = s.files.Remove(path.Join(termDir, name)) // the newest counts
		}
	}
	reserve, err := s.files.Open(reserveName)
	if err == nil {
		return reserve.Close()
	}
	s.spent = true
	s.saveReserve()
	return nil
}

// root returns the object that the last root names, 0 if there is none yet.
func (s *store) root() (object uint64, err error) {
	for range 4 {
		names, err := s.files.List(rootDir)
		if err != nil {
			return 0, err
		}
		last, _ := lastRoot(names)
		if last == "" {
			return 0, nil
		}
		b, err := readWhole(s.files, path.Join(rootDir, last))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another took its place
		}
		if err != nil {
			return 0, err
		}
		object, err = parseRoot(b)
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, path.Join(rootDir, last))
		}
		return object, nil
	}
	return 0, errRoot
}

// setRoot makes an object the one that the root names, durably.
func (s *store) setRoot(object uint64) error {
	s.mu.Lock()
	s.roots++
	name := rootName(s.own, s.roots)
	s.mu.Unlock()
	if err := writeWhole(s.files, path.Join(rootDir, name), appendRoot(nil, object)); err != nil {
		return err
	}
	names, err := s.files.List(rootDir)
	if err != nil {
		return err
	}
	_, old := lastRoot(names)
	for _, name := range old {
		_ = s.files.Remove(path.Join(rootDir, name)) // the last one counts
	}
	return nil
}

// collect removes objects of older machines that nothing names. Those of newer ones are not
// this term's to judge.
func (s *store) collect(keep []uint64) error {
	names, err := s.files.List(objectDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, err := strconv.ParseUint(name, 16, 64)
		if err != nil || id>>32 >= s.own.generation || slices.Contains(keep, id) {
			continue
		}
		if err := s.remove(id); err != nil {
			return err
		}
	}
	return nil
}

// The reserve is room for the catalog: without it a program could not even remove files from
// a disk that is full.
const reserveSize = 1 << 20

// saveReserve makes the reserve anew, if it was spent and there is room again.
func (s *store) saveReserve() {
	s.mu.Lock()
	spent := s.spent
	s.mu.Unlock()
	if !spent {
		return
	}
	fill := make([]byte, reserveSize)
	for i := range fill {
		fill[i] = byte(i * 7) // no file system takes it for a hole
	}
	if err := writeWhole(s.files, reserveName, fill); err == nil || errors.Is(err, fs.ErrExist) {
		s.mu.Lock()
		s.spent = false
		s.mu.Unlock()
	}
}

// spend frees the reserve. It reports whether there was one.
func (s *store) spend() bool {
	s.mu.Lock()
	s.spent = true
	s.mu.Unlock()
	return s.files.Remove(reserveName) == nil
}
