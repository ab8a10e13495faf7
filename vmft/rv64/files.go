package rv64

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"
)

// fill copies a tree to an empty disk. It returns the paths of what it copied.
func (d *disk) fill(root fs.FS, now int64) (loaded map[string]bool, err error) {
	if root == nil {
		return nil, nil
	}
	loaded = make(map[string]bool)
	return loaded, fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		loaded[name] = true
		info, err := e.Info()
		if err != nil {
			return err
		}
		dir := d.inode(rootInode)
		if name != "." {
			dir = d.mkdirAll(path.Dir(name), now)
		}
		switch mode := info.Mode(); {
		case name == ".":
			delete(loaded, name)
		case mode.IsDir():
			d.mkdirAll(name, now).mode = sIFDIR | uint32(mode.Perm())
		case mode&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(root, name)
			if err != nil {
				return err
			}
			in := d.add(sIFLNK|0o777, info.ModTime().UnixNano())
			in.target, in.size = target, int64(len(target))
			d.link(dir, path.Base(name), in, now)
		case mode.IsRegular():
			in := d.add(sIFREG|uint32(mode.Perm()), now)
			if err := d.copyIn(root, name, in); err != nil {
				return err
			}
			in.atime, in.mtime, in.ctime = info.ModTime().UnixNano(), info.ModTime().UnixNano(), info.ModTime().UnixNano()
			d.link(dir, path.Base(name), in, in.mtime)
		default: // a device, a pipe or a socket
			delete(loaded, name)
		}
		return nil
	})
}

func (d *disk) copyIn(root fs.FS, name string, in *inode) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(f, buf)
		if d.write(in, buf[:n], in.size, 0) != 0 {
			return fmt.Errorf("%s: the tree does not fit in Config.Disk", name)
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

// Files shows the machine's files as they are now. What was opened is valid until
// the machine goes on.
func (m *Machine) Files() fs.FS { return guestFS{m.kernel} }

type guestFS struct{ k *kernel }

// Open opens a file or directory. Links are followed as the program would.
func (g guestFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	at, errno := g.k.walk(atFDCWD, "/"+name, true)
	if errno != 0 || at.in == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &guestFile{k: g.k, in: at.in, name: path.Base(name)}, nil
}

// A guestFile is a file of the guest, open for reading.
type guestFile struct {
	k    *kernel
	in   *inode
	name string
	off  int64
}

func (f *guestFile) Stat() (fs.FileInfo, error) { return guestInfo{f.in, f.name}, nil }
func (f *guestFile) Close() error               { return nil }

var errElsewhere = errors.New("its content is on the shared disk")

func (f *guestFile) Read(b []byte) (int, error) {
	if f.in.body != 0 {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: errElsewhere}
	}
	n := f.in.read(b, f.off)
	if f.off += int64(n); n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *guestFile) ReadDir(n int) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	for ; f.off < int64(len(f.in.names)) && (n <= 0 || len(list) < n); f.off++ {
		e := f.in.names[f.off]
		list = append(list, fs.FileInfoToDirEntry(guestInfo{f.k.disk.inode(e.inode), e.name}))
	}
	if n > 0 && len(list) == 0 {
		return nil, io.EOF
	}
	return list, nil
}

type guestInfo struct {
	in   *inode
	name string
}

func (i guestInfo) Name() string       { return i.name }
func (i guestInfo) Size() int64        { return i.in.size }
func (i guestInfo) ModTime() time.Time { return time.Unix(0, i.in.mtime) }
func (i guestInfo) IsDir() bool        { return i.in.isDir() }
func (i guestInfo) Sys() any           { return nil }

func (i guestInfo) Mode() fs.FileMode {
	mode := fs.FileMode(i.in.mode & 0o777)
	switch i.in.mode & sIFMT {
	case sIFDIR:
		mode |= fs.ModeDir
	case sIFLNK:
		mode |= fs.ModeSymlink
	case sIFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case sIFSOCK:
		mode |= fs.ModeSocket
	case sIFIFO:
		mode |= fs.ModeNamedPipe
	}
	return mode
}
