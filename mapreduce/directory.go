package mapreduce

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/trilith-go/trilith/internal/vfs"
)

// Dir returns the directory root of the operating system as a FileSystem. Commit
// is link(2): the directory must be on a file system that has hard links. Symbolic
// links are followed when a file is opened, and are not files to Glob.
func Dir(root string) FileSystem { return &directory{fs: vfs.OS(), root: root} }

type directory struct {
	fs   vfs.FS
	root string
}

var _ FileSystem = (*directory)(nil)

func (d *directory) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

// Glob implements FileSystem.
func (d *directory) Glob(ctx context.Context, pattern string) ([]string, error) {
	return glob(ctx, pattern, func(name string) ([]fs.DirEntry, error) { return d.fs.ReadDir(d.path(name)) })
}

// Open implements FileSystem.
func (d *directory) Open(_ context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	if err := checkName("open", name); err != nil {
		return nil, 0, err
	}
	f, err := vfs.Open(d.fs, d.path(name))
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// Create implements FileSystem.
func (d *directory) Create(_ context.Context, name string) (io.WriteCloser, error) {
	if err := checkName("create", name); err != nil {
		return nil, err
	}
	full := d.path(name)
	f, err := d.fs.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrNotExist) {
		if err = vfs.MkdirAllSync(d.fs, filepath.Dir(full)); err == nil {
			f, err = d.fs.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		}
	}
	if err != nil {
		return nil, err
	}
	early, _ := f.(vfs.WriteBacker)
	return &newFile{File: f, early: early, fs: d.fs, dir: filepath.Dir(full)}, nil
}

// newFile is a file being written, which Close makes durable.
type newFile struct {
	vfs.File
	early      vfs.WriteBacker // nil if the file cannot
	size, sent int64           // what has been written, and of it what is on its way to the disk
	fs         vfs.FS
	dir        string
}

// writeBackBytes is how much is written before the disk begins with it: Close, for which
// a task waits, then finds little left to do.
const writeBackBytes = 8 << 20

// Write implements io.Writer.
func (f *newFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.size += int64(n)
	if f.early != nil && f.size-f.sent >= writeBackBytes {
		f.early.WriteBack(f.sent, f.size-f.sent)
		f.sent = f.size
	}
	return n, err
}

// Close makes the file and its name durable.
func (f *newFile) Close() error {
	err := f.Sync()
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = f.fs.SyncDir(f.dir)
	}
	return err
}

// Commit implements FileSystem. Between link and remove the file has both names;
// a Commit that is repeated after a crash there finds that they agree.
func (d *directory) Commit(_ context.Context, temporary, final string) error {
	for _, name := range []string{temporary, final} {
		if err := checkName("commit", name); err != nil {
			return err
		}
	}
	from, to := d.path(temporary), d.path(final)
	if path.Dir(temporary) != path.Dir(final) {
		if err := vfs.MkdirAllSync(d.fs, filepath.Dir(to)); err != nil {
			return err
		}
	}
	if err := d.fs.Link(from, to); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if same, serr := d.sameContent(from, to); serr != nil || !same {
			return errors.Join(err, serr)
		}
	}
	// The new name must be durable before the old one goes.
	if err := d.fs.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if err := d.fs.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sameContent compares two files byte by byte.
func (d *directory) sameContent(a, b string) (bool, error) {
	x, err := vfs.Open(d.fs, a)
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := vfs.Open(d.fs, b)
	if err != nil {
		return false, err
	}
	defer y.Close()
	n, err := x.Size()
	if err != nil {
		return false, err
	}
	if m, err := y.Size(); err != nil || m != n {
		return false, err
	}
	p, q := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := int64(0); off < n; {
		step := min(n-off, int64(len(p)))
		if _, err := io.ReadFull(io.NewSectionReader(x, off, step), p[:step]); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(io.NewSectionReader(y, off, step), q[:step]); err != nil {
			return false, err
		}
		if !bytes.Equal(p[:step], q[:step]) {
			return false, nil
		}
		off += step
	}
	return true, nil
}

// Remove implements FileSystem.
func (d *directory) Remove(_ context.Context, name string) error {
	if err := checkName("remove", name); err != nil {
		return err
	}
	return d.fs.Remove(d.path(name))
}

// ReadOnly returns an fs.FS as a FileSystem for input; what would change it fails
// with fs.ErrPermission. Files that are no io.ReaderAt are read into memory as a
// whole when they are opened.
func ReadOnly(fsys fs.FS) FileSystem { return readOnly{fsys} }

type readOnly struct{ fs fs.FS }

var _ FileSystem = readOnly{}

// Glob implements FileSystem.
func (r readOnly) Glob(ctx context.Context, pattern string) ([]string, error) {
	return glob(ctx, pattern, func(name string) ([]fs.DirEntry, error) {
		entries, err := fs.ReadDir(r.fs, name)
		if err == nil {
			return entries, nil
		}
		// What a file system says of a file that is read as a directory differs.
		if info, serr := fs.Stat(r.fs, name); serr == nil && !info.IsDir() {
			err = &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
		}
		return nil, err
	})
}

// Open implements FileSystem.
func (r readOnly) Open(_ context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	f, err := r.fs.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if at, ok := f.(interface {
		io.ReaderAt
		io.Closer
	}); ok {
		return at, info.Size(), nil
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, 0, err
	}
	return memoryFile{bytes.NewReader(data)}, int64(len(data)), nil
}

type memoryFile struct{ io.ReaderAt }

func (memoryFile) Close() error { return nil }

// Create implements FileSystem.
func (readOnly) Create(_ context.Context, name string) (io.WriteCloser, error) {
	return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrPermission}
}

// Commit implements FileSystem.
func (readOnly) Commit(_ context.Context, temporary, _ string) error {
	return &fs.PathError{Op: "commit", Path: temporary, Err: fs.ErrPermission}
}

// Remove implements FileSystem.
func (readOnly) Remove(_ context.Context, name string) error {
	return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrPermission}
}
