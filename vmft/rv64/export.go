package rv64

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// kernelDirs are the directories of the tree that the kernel furnishes.
var kernelDirs = []string{"dev", "proc", "sys"}

// Export makes a directory of the host like the machine's files: it writes what is new
// or different there, and removes what Config.Root had at Load, and the program has
// removed. It leaves alone whatever else the directory contains, and the files that
// the kernel adds (devices, /proc and /sys, the program itself), and the shared disk. With the directory that
// Config.Root was of, that is what the program would have done to it; with an empty one,
// a copy. The directory must exist. The machine is not changed, and the moment of the
// export is no part of its history.
//
// Nothing is written outside the directory, whatever the program did: links are not
// followed out of it, and those that lead out of the tree are not made. Pipes and
// sockets are not made either. Permissions and the times of changes are the program's.
//
// The error is that of the first file that could not be written; the rest is written.
func (m *Machine) Export(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return &Error{Op: "export to", Path: dir, Err: err}
	}
	defer root.Close()
	e := &exporter{k: m.kernel, root: root, loaded: m.loaded, program: m.program}
	e.directory(m.kernel.disk.inode(rootInode), "")
	e.remove()
	if e.err != nil {
		return &Error{Op: "export to", Path: dir, Err: e.err}
	}
	return nil
}

// An exporter writes one tree.
type exporter struct {
	k       *kernel
	root    *os.Root
	loaded  map[string]bool // the paths of Config.Root
	program string
	err     error
}

func (e *exporter) failed(err error) {
	if e.err == nil {
		e.err = err
	}
}

// directory writes what is in a directory.
func (e *exporter) directory(dir *inode, name string) {
	for _, entry := range dir.names {
		in, at := e.k.disk.inode(entry.inode), path.Join(name, entry.name)
		switch {
		case in.device != deviceNone, in.id == e.k.mount.root, name == "" && slices.Contains(kernelDirs, at), at == e.program:
			continue
		case in.isDir():
			if !e.loaded[at] && (at == "tmp" || at == "bin") && e.empty(in, at) {
				continue
			}
			if err := e.mkdir(in, at); err != nil {
				e.failed(err)
				continue
			}
			e.directory(in, at)
		case in.mode&sIFMT == sIFREG:
			if err := e.file(in, at); err != nil {
				e.failed(err)
			}
		case in.mode&sIFMT == sIFLNK:
			if err := e.link(in, at); err != nil {
				e.failed(err)
			}
		}
	}
}

// empty reports whether a directory that the kernel has made contains only its own.
func (e *exporter) empty(dir *inode, name string) bool {
	return !slices.ContainsFunc(dir.names, func(d dirent) bool { return path.Join(name, d.name) != e.program })
}

// clear removes what is at a name, if it is of another kind, and only if it came from
// Config.Root.
func (e *exporter) clear(name string, kind fs.FileMode) (there bool, err error) {
	info, err := e.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode().Type() == kind:
		return true, nil
	case !e.loaded[name]:
		return false, fmt.Errorf("%s: there is something else of this name", name)
	}
	return false, e.root.RemoveAll(name)
}

func (e *exporter) mkdir(in *inode, name string) error {
	there, err := e.clear(name, fs.ModeDir)
	if err != nil || there {
		return err
	}
	return e.root.Mkdir(name, fs.FileMode(in.mode&0o777)|0o700)
}

func (e *exporter) link(in *inode, name string) error {
	there, err := e.clear(name, fs.ModeSymlink)
	if err != nil {
		return err
	}
	if there {
		if old, err := e.root.Readlink(name); err != nil || old == in.target {
			return err
		}
	}
	if to := path.Join(path.Dir(name), in.target); path.IsAbs(in.target) || to == ".." || strings.HasPrefix(to, "../") {
		return nil
	}
	if there {
		if err := e.root.Remove(name); err != nil {
			return err
		}
	}
	return e.root.Symlink(in.target, name)
}

func (e *exporter) file(in *inode, name string) error {
	there, err := e.clear(name, 0)
	if err != nil {
		return err
	}
	mode := fs.FileMode(in.mode & 0o777)
	if there && e.same(in, name) {
		if info, err := e.root.Lstat(name); err != nil || info.Mode().Perm() == mode {
			return err
		}
		return e.root.Chmod(name, mode)
	}
	f, err := e.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, &guestFile{k: e.k, in: in})
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	changed := time.Unix(0, in.mtime)
	return errors.Join(e.root.Chmod(name, mode), e.root.Chtimes(name, changed, changed))
}

// same reports whether a file has the content that it should have.
func (e *exporter) same(in *inode, name string) bool {
	f, err := e.root.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var want, have [chunkSize]byte
	for at := int64(0); ; {
		n := in.read(want[:], at)
		m, err := io.ReadFull(f, have[:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF || !bytes.Equal(want[:n], have[:m]) {
			return false
		}
		if at += int64(n); n < len(want) {
			return true
		}
	}
}

// remove removes what the program has removed, the content of a directory before it.
func (e *exporter) remove() {
	var gone []string
	for name := range e.loaded {
		if in, _ := e.k.walk(atFDCWD, "/"+path.Dir(name), false); in.in != nil && in.in.isDir() && e.k.disk.lookup(in.in, path.Base(name)) != nil {
			continue
		}
		gone = append(gone, name)
	}
	slices.Sort(gone)
	for _, name := range slices.Backward(gone) {
		if err := e.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			e.failed(err)
		}
	}
}
