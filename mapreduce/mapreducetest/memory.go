package mapreducetest

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"testing/fstest"

	"github.com/trilith-go/trilith/mapreduce"
)

// Memory is a file system in memory. A file can be seen from its creation on, and has
// what has been written so far. All methods may be called concurrently.
type Memory struct {
	mu    sync.Mutex // guards files; what they hold only grows at its end
	files fstest.MapFS
}

var _ mapreduce.FileSystem = (*Memory)(nil)

// NewMemory returns a file system that holds some files: their contents, by name, as
// fs.ValidPath has names.
func NewMemory(files map[string]string) *Memory {
	m := &Memory{files: make(fstest.MapFS, len(files))}
	for name, content := range files {
		m.files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

// Files returns the contents of all files, by name.
func (m *Memory) Files() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	files := make(map[string]string, len(m.files))
	for name, f := range m.files {
		files[name] = string(f.Data)
	}
	return files
}

// Glob implements mapreduce.FileSystem.
func (m *Memory) Glob(ctx context.Context, pattern string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return mapreduce.ReadOnly(m.files).Glob(ctx, pattern)
}

// Open implements mapreduce.FileSystem.
func (m *Memory) Open(_ context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.find("open", name)
	if err != nil {
		return nil, 0, err
	}
	return openFile{bytes.NewReader(f.Data)}, int64(len(f.Data)), nil
}

// openFile is what there was of a file when it was opened.
type openFile struct{ io.ReaderAt }

func (openFile) Close() error { return nil }

// find returns a file. The caller holds mu.
func (m *Memory) find(op, name string) (*fstest.MapFile, error) {
	switch f := m.files[name]; {
	case !validName(name):
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	case f == nil:
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	default:
		return f, nil
	}
}

func validName(name string) bool { return fs.ValidPath(name) && name != "." }

// Create implements mapreduce.FileSystem.
func (m *Memory) Create(_ context.Context, name string) (io.WriteCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !validName(name):
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrInvalid}
	case m.files[name] != nil:
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	f := &fstest.MapFile{}
	m.files[name] = f
	return &newFile{memory: m, file: f, name: name}, nil
}

// newFile writes a file of a Memory.
type newFile struct {
	memory *Memory
	file   *fstest.MapFile
	name   string
	closed bool
}

// Write implements io.Writer.
func (f *newFile) Write(p []byte) (int, error) {
	f.memory.mu.Lock()
	defer f.memory.mu.Unlock()
	if f.closed {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrClosed}
	}
	f.file.Data = append(f.file.Data, p...) // readers have what was there
	return len(p), nil
}

// Close implements io.Closer.
func (f *newFile) Close() error {
	f.memory.mu.Lock()
	defer f.memory.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

// Commit implements mapreduce.FileSystem.
func (m *Memory) Commit(_ context.Context, temporary, final string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, err := m.find("commit", temporary)
	switch {
	case err != nil:
		return err
	case !validName(final):
		return &fs.PathError{Op: "commit", Path: final, Err: fs.ErrInvalid}
	}
	if to := m.files[final]; to != nil && !bytes.Equal(to.Data, from.Data) {
		return &fs.PathError{Op: "commit", Path: final, Err: fs.ErrExist}
	}
	delete(m.files, temporary)
	m.files[final] = from
	return nil
}

// Remove implements mapreduce.FileSystem.
func (m *Memory) Remove(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find("remove", name); err != nil {
		return err
	}
	delete(m.files, name)
	return nil
}

// readAll returns the contents of all files that match a pattern, by name.
func readAll(ctx context.Context, fsys mapreduce.FileSystem, pattern string) (map[string][]byte, error) {
	names, err := fsys.Glob(ctx, pattern)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(names))
	for _, name := range names {
		if files[name], err = readFile(ctx, fsys, name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func readFile(ctx context.Context, fsys mapreduce.FileSystem, name string) ([]byte, error) {
	f, size, err := fsys.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, size))
}

// sortedNames returns the names of files in increasing order.
func sortedNames(files map[string][]byte) []string { return slices.Sorted(maps.Keys(files)) }
