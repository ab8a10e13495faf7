package gfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// FS returns the cluster's files as an fs.FS: with fs.ReadDirFS, fs.StatFS,
// fs.ReadFileFS, fs.GlobFS and fs.SubFS, and with files that are io.Seeker and
// io.ReaderAt, so that http.FileServerFS serves them. Errors are *fs.PathError. What it
// does ends with the client, and when that has lost its patience; for other contexts see
// FSContext.
func (c *Client) FS() fs.FS { return c.FSContext(context.Background()) }

// FSContext is FS whose operations end with ctx too, but for those on files that are
// open.
func (c *Client) FSContext(ctx context.Context) fs.FS { return &clientFS{c: c, ctx: ctx, root: "."} }

// A clientFS is a tree of a cluster's files.
type clientFS struct {
	c    *Client
	ctx  context.Context
	root string
}

var (
	_ fs.ReadDirFS  = (*clientFS)(nil)
	_ fs.StatFS     = (*clientFS)(nil)
	_ fs.ReadFileFS = (*clientFS)(nil)
	_ fs.GlobFS     = (*clientFS)(nil)
	_ fs.SubFS      = (*clientFS)(nil)
)

// at returns the path of a name.
func (t *clientFS) at(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return path.Join(t.root, name), nil
}

// pathError is err as package fs has it, of a name within a tree.
func pathError(op, name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var e *Error
	if errors.As(err, &e) && e == err {
		err = e.Err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open opens a file or a directory.
func (t *clientFS) Open(name string) (fs.File, error) {
	full, err := t.at("open", name)
	if err != nil {
		return nil, err
	}
	f, err := t.c.Open(t.ctx, full)
	if errors.Is(err, ErrIsDir) {
		info, err := t.c.Stat(t.ctx, full)
		if err != nil {
			return nil, pathError("open", name, err)
		}
		return &clientDir{fs: t, name: name, full: full, info: info}, nil
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return f, nil
}

// Stat describes a file or directory.
func (t *clientFS) Stat(name string) (fs.FileInfo, error) {
	full, err := t.at("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := t.c.Stat(t.ctx, full)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return named(info, name), nil
}

// named gives the root of a tree the name that package fs wants it to have.
func named(info *Info, name string) *Info {
	info.name = path.Base(name)
	return info
}

// ReadFile returns the content of a file.
func (t *clientFS) ReadFile(name string) ([]byte, error) {
	full, err := t.at("read", name)
	if err != nil {
		return nil, err
	}
	data, err := t.c.ReadFile(t.ctx, full)
	return data, pathError("read", name, err)
}

// ReadDir returns what is in a directory.
func (t *clientFS) ReadDir(name string) ([]fs.DirEntry, error) {
	full, err := t.at("readdir", name)
	if err != nil {
		return nil, err
	}
	infos, err := t.c.ReadDir(t.ctx, full)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	return t.entries(infos), nil
}

func (t *clientFS) entries(infos []*Info) []fs.DirEntry {
	entries := make([]fs.DirEntry, len(infos))
	for i, info := range infos {
		entries[i] = clientEntry{info, t}
	}
	return entries
}

// Glob returns the names that match a pattern, as fs.Glob has it.
func (t *clientFS) Glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	// Of two stars in one element fs.Glob makes no more than of one.
	elems := strings.Split(pattern, "/")
	for i, elem := range elems {
		if elem == "**" {
			elems[i] = "*"
		}
	}
	full := path.Join(append([]string{quotePattern(t.root)}, elems...)...)
	if !fs.ValidPath(full) || checkPattern(full) != nil || path.Clean(pattern) != pattern {
		return nil, nil // nothing has such a name
	}
	found, err := t.c.Glob(t.ctx, full)
	if err != nil {
		return nil, pathError("glob", pattern, err)
	}
	if t.root != "." {
		for i := range found {
			found[i] = found[i][len(t.root)+1:]
		}
	}
	return found, nil
}

// quotePattern returns a pattern that matches name and nothing else.
func quotePattern(name string) string { return patternQuoter.Replace(name) }

var patternQuoter = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// Sub returns the tree below a directory.
func (t *clientFS) Sub(dir string) (fs.FS, error) {
	full, err := t.at("sub", dir)
	if err != nil {
		return nil, err
	}
	return &clientFS{c: t.c, ctx: t.ctx, root: full}, nil
}

// A clientEntry is an entry of a directory. Its Info is as fresh as Stat's.
type clientEntry struct {
	info *Info
	t    *clientFS
}

func (e clientEntry) Name() string      { return e.info.name }
func (e clientEntry) IsDir() bool       { return e.info.IsDir() }
func (e clientEntry) Type() fs.FileMode { return e.info.Type() }
func (e clientEntry) String() string    { return fs.FormatDirEntry(e) }

// Info describes the file: if it is being written, how long it is now.
func (e clientEntry) Info() (fs.FileInfo, error) {
	if !e.info.attr.open {
		return e.info, nil
	}
	info, err := e.t.c.Stat(e.t.ctx, e.info.attr.path)
	if err != nil {
		return nil, pathError("stat", e.info.name, err)
	}
	return info, nil
}

// A clientDir is an open directory.
type clientDir struct {
	fs   *clientFS
	name string // in the tree
	full string
	info *Info

	entries []fs.DirEntry // what is left of the page that is being returned
	after   string        // the last name that was asked for
	end     bool          // there are no more pages
	closed  bool
}

var _ fs.ReadDirFile = (*clientDir)(nil)

// Stat describes the directory.
func (d *clientDir) Stat() (fs.FileInfo, error) {
	if d.closed {
		return nil, pathError("stat", d.name, errFileClosed)
	}
	return named(d.info, d.name), nil
}

// Read fails.
func (d *clientDir) Read([]byte) (int, error) { return 0, pathError("read", d.name, ErrIsDir) }

// Seek to the start, as http.FileServerFS does, has ReadDir begin anew.
func (d *clientDir) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, pathError("seek", d.name, fmt.Errorf("%w: %w", fs.ErrInvalid, ErrIsDir))
	}
	d.entries, d.after, d.end = nil, "", false
	return 0, nil
}

// Close closes the directory.
func (d *clientDir) Close() error {
	if d.closed {
		return pathError("close", d.name, errFileClosed)
	}
	d.closed = true
	return nil
}

// ReadDir returns the next n entries, or all that are left if n ≤ 0.
func (d *clientDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.closed {
		return nil, pathError("readdir", d.name, errFileClosed)
	}
	var all []fs.DirEntry
	for n <= 0 || len(all) < n {
		if len(d.entries) == 0 {
			if d.end {
				break
			}
			if err := d.page(); err != nil {
				return all, pathError("readdir", d.name, err)
			}
			continue
		}
		k := len(d.entries)
		if n > 0 {
			k = min(k, n-len(all))
		}
		all = append(all, d.entries[:k]...)
		d.entries = slices.Clip(d.entries[k:])
	}
	if n > 0 && len(all) == 0 {
		return nil, io.EOF
	}
	return all, nil
}

// page asks for the next entries.
func (d *clientDir) page() error {
	req := &readDirReq{path: d.full, after: d.after, limit: readDirPage}
	infos, more, err := d.fs.c.readDirPage(d.fs.ctx, req)
	if err != nil {
		return err
	}
	d.end = !more || len(infos) == 0
	if len(infos) > 0 {
		d.after = infos[len(infos)-1].name
	}
	d.entries = d.fs.entries(infos)
	return nil
}
