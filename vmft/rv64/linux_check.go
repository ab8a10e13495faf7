package rv64

import (
	"fmt"

	"github.com/trilith-go/trilith/internal/wire"
)

// check reports whether all numbers of a state that was read lead somewhere.
func (k *kernel) check() error {
	bad := func(what string, n int) error { return fmt.Errorf("%w: %s %d", wire.ErrCorrupt, what, n) }
	isFile := func(id int) bool { return id >= 0 && id < len(k.files) && k.files[id] != nil }
	isInode := func(id int) bool { return k.disk.inode(id) != nil }
	if len(k.threads) == 0 || k.set.tick == 0 || k.set.quantum == 0 {
		return bad("threads", len(k.threads))
	}
	if err := k.checkProcesses(isFile, isInode); err != nil {
		return err
	}
	for i, t := range k.threads {
		if t == nil || i > 0 && k.threads[i-1].id >= t.id || t.waiting > waitDisk || k.proc(t.process) == nil {
			return bad("thread", i)
		}
	}
	for _, id := range k.ready {
		if k.thread(id) == nil {
			return bad("ready thread", id)
		}
	}
	for _, w := range k.futexes {
		if k.thread(w.thread) == nil {
			return bad("waiter", w.thread)
		}
	}
	if err := k.checkFiles(isFile, isInode); err != nil {
		return err
	}
	for _, id := range k.memoryFiles {
		if !isInode(id) {
			return bad("shared memory", id)
		}
	}
	if !isInode(rootInode) {
		return bad("directory", rootInode)
	}
	if err := k.checkMount(); err != nil {
		return err
	}
	return k.checkDisk()
}

func (k *kernel) checkProcesses(isFile, isInode func(int) bool) error {
	bad := func(what string, n int) error { return fmt.Errorf("%w: %s %d", wire.ErrCorrupt, what, n) }
	if len(k.procs) == 0 || len(k.procs) > maxProcesses {
		return bad("processes", len(k.procs))
	}
	for i, p := range k.procs {
		if p == nil || i == 0 && p.id != processID || i > 0 && k.procs[i-1].id >= p.id || p.zombie != (p.mem == nil) || p.zombie && i == 0 {
			return bad("process", i)
		}
		for fd, d := range p.fds {
			if d.file != -1 && !isFile(d.file) || len(p.fds) > maxFiles {
				return bad("descriptor", fd)
			}
		}
		if p.zombie {
			continue
		}
		if !isInode(p.cwd) {
			return bad("directory", p.cwd)
		}
		for i, a := range p.mem.areas {
			if a.start >= a.end || a.end > addressEnd || (a.start|a.end)&pageMask != 0 || i > 0 && p.mem.areas[i-1].end > a.start {
				return bad("area", i)
			}
		}
	}
	for i, t := range k.threads {
		if t == nil || k.proc(t.process) == nil || k.proc(t.process).zombie {
			return bad("process of thread", i)
		}
		if t.opening != 0 && (!isFile(t.opening-1) || k.files[t.opening-1].kind != kindPipe) {
			return bad("file of thread", i)
		}
	}
	return nil
}

// checkFiles looks at what descriptors lead to.
func (k *kernel) checkFiles(isFile, isInode func(int) bool) error {
	bad := func(what string, n int) error { return fmt.Errorf("%w: %s %d", wire.ErrCorrupt, what, n) }
	isSocket := func(id int) bool { return id >= 0 && id < len(k.sockets) && k.sockets[id] != nil }
	for id, f := range k.files {
		switch {
		case f == nil:
			continue
		case f.id != id,
			f.kind == kindPipe && (f.pipe < 0 || f.pipe >= len(k.pipes) || k.pipes[f.pipe] == nil),
			f.kind == kindSocket && !isSocket(f.socket),
			(f.kind == kindRegular || f.kind == kindDir) && !isInode(f.inode):
			return bad("file", id)
		}
		for _, in := range f.interests {
			if !isFile(in.file) {
				return bad("interest", in.file)
			}
		}
	}
	for id, p := range k.pipes {
		if p != nil && p.id != id {
			return bad("pipe", id)
		}
	}
	for id, s := range k.sockets {
		if s == nil {
			continue
		}
		if s.id != id || s.file >= 0 && !isFile(s.file) || s.mate >= 0 && !isSocket(s.mate) {
			return bad("socket", id)
		}
		for _, b := range s.backlog {
			if !isSocket(b) {
				return bad("backlog", b)
			}
		}
	}
	return nil
}

func (k *kernel) checkDisk() error {
	for id, in := range k.disk.inodes {
		if in == nil {
			continue
		}
		whole := int64(len(in.chunks)) == (in.size+chunkSize-1)/chunkSize
		if in.body != 0 {
			whole = len(in.chunks) == 0
		}
		ok := in.id == id && in.size >= 0 && whole || in.mode&sIFMT == sIFLNK
		for _, e := range in.names {
			ok = ok && k.disk.inode(e.inode) != nil
		}
		if !ok || in.isDir() && in.nlink > 0 && k.disk.inode(in.parent) == nil {
			return fmt.Errorf("%w: inode %d", wire.ErrCorrupt, id)
		}
	}
	for _, id := range k.disk.free {
		if id <= 0 || id >= len(k.disk.inodes) || k.disk.inodes[id] != nil {
			return fmt.Errorf("%w: free inode %d", wire.ErrCorrupt, id)
		}
	}
	return nil
}
