package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// An entry is a change: of a counter, or, with Writes, of a key.
type entry struct {
	Name   string
	Count  uint64 `json:",omitempty"`
	Value  []byte `json:",omitempty"`
	Writes uint64 `json:",omitempty"` // how many there have been
}

// A journal is a file of entries, one a line.
type journal struct {
	f    *os.File
	size int64 // of the entries that are whole
}

// note adds an entry, durably. One that fails is as if it had not been.
func (j *journal) note(e entry) error {
	if j == nil {
		return nil
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	_, err = j.f.WriteAt(b, j.size)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		return errors.Join(err, j.f.Truncate(j.size))
	}
	j.size += int64(len(b))
	return nil
}

// recover reads the journal in a directory, and begins a new one with what it comes to.
func (s *service) recover(dir string) error {
	name := filepath.Join(dir, "journal")
	f, err := os.Open(name)
	switch {
	case err == nil:
		s.replay(f)
		f.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if f, err = os.Create(name + ".new"); err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	out := json.NewEncoder(w)
	for name, n := range s.counts {
		err = errors.Join(err, out.Encode(entry{Name: name, Count: n}))
	}
	for name, v := range s.keys {
		err = errors.Join(err, out.Encode(entry{Name: name, Value: []byte(v), Writes: max(s.writes, 1)}))
	}
	if err = errors.Join(err, w.Flush(), f.Sync(), os.Rename(name+".new", name)); err != nil {
		return err
	}
	at, err := f.Seek(0, io.SeekEnd)
	s.data = &journal{f, at}
	return err
}

// replay does what the entries say, up to one that is not whole: it was not answered.
func (s *service) replay(r io.Reader) {
	for in := json.NewDecoder(r); ; {
		var e entry
		if in.Decode(&e) != nil {
			return
		}
		if e.Writes == 0 {
			s.counts[e.Name] = e.Count
			continue
		}
		s.keys[e.Name] = string(e.Value)
		s.writes = max(s.writes, e.Writes)
	}
}
