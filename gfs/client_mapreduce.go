package gfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"
)

// Files is a client's files with the methods that mapreduce wants of a file system, and
// the one by which it finds out where they are: files that are written once, whole, and
// then read. It may be used concurrently.
type Files struct{ c *Client }

// Files returns the client's files for mapreduce.
func (c *Client) Files() *Files { return &Files{c} }

// checkFile refuses what cannot be the path of a file.
func checkFile(op, name string) error {
	err := checkPath(name)
	if err == nil && name == "." {
		err = fmt.Errorf("%w: %w", fs.ErrInvalid, ErrIsDir)
	}
	return opError(op, name, err)
}

// Glob returns the paths of the files, not the directories, that match a pattern: see
// Client.Glob.
func (f *Files) Glob(ctx context.Context, pattern string) ([]string, error) {
	return f.c.glob(ctx, pattern, true)
}

// Open opens a file for reading, and says how many bytes it has. Whoever reads it
// sequentially, through ReadAt, is read ahead of: so its content may be as old as
// ClientConfig.CacheTime.
func (f *Files) Open(ctx context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	if err := checkFile("open", name); err != nil {
		return nil, 0, err
	}
	file, err := f.c.Open(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.StatContext(ctx)
	if err != nil {
		_ = file.Close()
		return nil, 0, err
	}
	return &sequentialFile{File: file}, info.Size(), nil
}

// A sequentialFile reads ahead when it is read by one who goes on where it stopped.
type sequentialFile struct {
	*File
	mu sync.Mutex // guards the file's turn to read ahead
}

// ReadAt reads len(p) bytes at off.
func (s *sequentialFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || !s.mu.TryLock() {
		return s.File.ReadAt(p, off) // one of several readers
	}
	defer s.mu.Unlock()
	f := s.File
	if err := f.lock(f.context(), f.read); err != nil {
		return 0, f.fail("read", err)
	}
	defer f.unlock()
	n := 0
	for n < len(p) {
		k, err := f.ahead.read(f.context(), p[n:], off+int64(n))
		n += k
		if err != nil {
			return n, f.fail("read", err)
		}
	}
	return n, nil
}

// Create makes a file that must not exist, and the directories above it. Close makes its
// content durable, or fails.
func (f *Files) Create(ctx context.Context, name string) (io.WriteCloser, error) {
	if err := checkFile("create", name); err != nil {
		return nil, err
	}
	file, err := f.c.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &syncedFile{file, ctx}, nil
}

// A syncedFile is a file that Close syncs.
type syncedFile struct {
	*File
	ctx context.Context
}

// Close makes everything durable.
func (s *syncedFile) Close() error {
	err := s.SyncContext(s.ctx)
	if cerr := s.File.Close(); err == nil {
		err = cerr
	}
	return err
}

// Commit gives a file its final path, and makes the directories above that. It never
// replaces what is there: that is fs.ErrExist. It is atomic, and durable when it returns.
func (f *Files) Commit(ctx context.Context, temporary, final string) error {
	for _, name := range []string{temporary, final} {
		if err := checkFile("commit", name); err != nil {
			return err
		}
	}
	err := f.c.Rename(ctx, temporary, final)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, serr := f.c.Stat(ctx, temporary); serr != nil {
		return serr
	}
	if err := f.c.MkdirAll(ctx, path.Dir(final), dirPerm); err != nil {
		return err
	}
	return f.c.Rename(ctx, temporary, final)
}

// Remove removes a file: see Client.Remove.
func (f *Files) Remove(ctx context.Context, name string) error {
	if err := checkFile("remove", name); err != nil {
		return err
	}
	return f.c.Remove(ctx, name)
}

// Locate returns the hosts that have the bytes from off to off+n of a file: see
// Client.Locate.
func (f *Files) Locate(ctx context.Context, name string, off, n int64) ([]string, error) {
	return f.c.Locate(ctx, name, off, n)
}
