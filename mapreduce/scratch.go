package mapreduce

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/vfs"
)

// scratch is a directory for files that vanish when they are closed.
type scratch struct {
	fs     vfs.FS
	dir    string
	own    bool // it was made for this worker
	unlock func() error

	mu sync.Mutex // guards n
	n  int
}

const (
	// scratchPrefix begins the names of the files in a scratch directory, besides which
	// there is scratchLock: its worker holds it.
	scratchPrefix = "spill-"
	scratchLock   = "lock"

	// scratchDirs begins the names of directories that are made for workers.
	scratchDirs = "trilith-mapreduce-"
	// scratchAge is how old a directory is at least whose worker must have locked it.
	scratchAge = time.Minute
)

// openScratch takes a directory, or makes one if dir is empty, and removes what a
// worker that crashed has left there.
func openScratch(disk vfs.FS, dir string) (*scratch, error) {
	s := &scratch{fs: disk, dir: dir}
	if dir == "" {
		sweepScratch(disk, os.TempDir(), time.Now())
		tmp, err := os.MkdirTemp("", scratchDirs)
		if err != nil {
			return nil, err
		}
		s.dir, s.own = tmp, true
	}
	if err := disk.MkdirAll(s.dir); err != nil {
		return nil, err
	}
	lock, err := disk.Lock(filepath.Join(s.dir, scratchLock))
	if err != nil {
		return nil, fmt.Errorf("%w: WorkerConfig.Dir %s: %w", ErrConfig, s.dir, err)
	}
	s.unlock = lock.Close
	entries, err := disk.ReadDir(s.dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), scratchPrefix) {
			if err := disk.Remove(filepath.Join(s.dir, e.Name())); err != nil {
				return nil, errors.Join(err, lock.Close())
			}
		}
	}
	return s, nil
}

// sweepScratch removes the directories below tmp that were made for workers which are
// dead: nobody holds their locks. Everybody may write there, so nothing is removed but
// what such a worker leaves, and what cannot be is left.
func sweepScratch(disk vfs.FS, tmp string, now time.Time) {
	entries, err := disk.ReadDir(tmp)
	if err != nil {
		return
	}
	for _, e := range entries {
		dir := filepath.Join(tmp, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), scratchDirs) {
			continue
		}
		if info, err := disk.Stat(dir); err != nil || now.Sub(info.ModTime()) < scratchAge {
			continue
		}
		lock, err := disk.Lock(filepath.Join(dir, scratchLock))
		if err != nil || lock.Close() != nil {
			continue
		}
		files, _ := disk.ReadDir(dir)
		for _, f := range files {
			if f.Name() == scratchLock || strings.HasPrefix(f.Name(), scratchPrefix) {
				_ = disk.Remove(filepath.Join(dir, f.Name()))
			}
		}
		_ = disk.Remove(dir)
	}
}

// file makes a file that has no name any more, where the system allows that: then
// not even a crash leaves it behind. Elsewhere the next worker removes it.
func (s *scratch) file() (vfs.File, error) {
	s.mu.Lock()
	s.n++
	name := filepath.Join(s.dir, fmt.Sprintf("%s%d", scratchPrefix, s.n))
	s.mu.Unlock()
	f, err := vfs.CreateNew(s.fs, name)
	if err != nil {
		return nil, err
	}
	if err := s.fs.Remove(name); err != nil {
		return &namedFile{f, s.fs, name}, nil
	}
	return f, nil
}

// namedFile is a file that could not be removed while it is open.
type namedFile struct {
	vfs.File
	fs   vfs.FS
	name string
}

// Close closes and removes the file.
func (f *namedFile) Close() error { return errors.Join(f.File.Close(), f.fs.Remove(f.name)) }

func (s *scratch) close() {
	_ = s.unlock()
	if s.own {
		_ = vfs.RemoveAll(s.fs, s.dir) // it is in the system's directory for temporary files
	}
}
