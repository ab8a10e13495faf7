package rv64

import (
	"strconv"
	"strings"
)

// A place is where a path has led: a directory and a name in it, and what is there.
type place struct {
	dir  *inode
	name string // "" if the path is that of the directory itself
	in   *inode // nil if there is nothing of that name
	// slash says that the path, or that of a link at its end, ends with one: it means a
	// directory.
	slash bool
}

// walk follows a path. With follow, a link at its end is followed too.
func (k *kernel) walk(dirFD int, path string, follow bool) (place, int64) {
	if path == "" {
		return place{}, -eNOENT
	}
	dir := k.disk.inode(k.cwd)
	if path[0] == '/' {
		dir = k.disk.inode(rootInode)
	} else if dirFD != atFDCWD {
		f := k.file(dirFD)
		if f == nil {
			return place{}, -eBADF
		}
		if dir = k.disk.inode(f.inode); dir == nil || !dir.isDir() {
			return place{}, -eNOTDIR
		}
	}
	links := 0
	return k.walkFrom(dir, path, follow, &links)
}

func (k *kernel) walkFrom(dir *inode, path string, follow bool, links *int) (place, int64) {
	at := place{dir: dir, in: dir}
	parts := strings.Split(path, "/")
	for i, name := range parts {
		last := strings.Trim(strings.Join(parts[i+1:], ""), "") == ""
		if name == "" {
			if i > 0 && at.in != nil && !at.in.isDir() && last { // a slash at the end
				return at, -eNOTDIR
			}
			at.slash = i > 0
			continue
		}
		switch {
		case at.in == nil:
			return at, -eNOENT
		case !at.in.isDir():
			return at, -eNOTDIR
		case len(name) > maxName:
			return at, -eNAMETOOLONG
		}
		dir := at.in
		at = place{dir: dir, name: name, in: k.disk.lookup(dir, name)}
		if name == "." || name == ".." {
			at.dir, at.name = at.in, ""
			continue
		}
		if at.in == nil && dir.device == deviceFDs {
			at.in = k.descriptorLink(name)
		}
		if at.in == nil || at.in.mode&sIFMT != sIFLNK || last && !follow && i == len(parts)-1 {
			continue
		}
		if *links++; *links > maxSymlinks {
			return at, -eLOOP
		}
		from, target := dir, k.linkTarget(at.in)
		if strings.HasPrefix(target, "/") {
			from = k.disk.inode(rootInode)
		}
		next, errno := k.walkFrom(from, target, true, links)
		if errno != 0 {
			return next, errno
		}
		at = next
	}
	return at, 0
}

// descriptorLink is the link in /proc/self/fd of that name, if there is.
func (k *kernel) descriptorLink(name string) *inode {
	fd, err := strconv.Atoi(name)
	if err != nil {
		return nil
	}
	f := k.file(fd)
	if f == nil {
		return nil
	}
	return &inode{mode: sIFLNK | 0o700, nlink: 1, target: k.fileName(f)}
}

// fileName is what /proc says a file is.
func (k *kernel) fileName(f *file) string {
	switch f.kind {
	case kindPipe:
		if f.inode != 0 {
			return f.path
		}
		return "pipe:[" + strconv.Itoa(f.pipe+1) + "]"
	case kindSocket:
		return "socket:[" + strconv.Itoa(f.socket+1) + "]"
	case kindEpoll, kindEvent, kindTimer:
		return "anon_inode:[" + strconv.Itoa(int(f.kind)) + "]"
	case kindDir:
		return k.disk.path(f.inode)
	}
	return f.path
}

// path reads a path from memory.
func (k *kernel) path(addr uint64) (string, int64) {
	s, ok := k.mem.readString(addr, maxPath)
	if !ok {
		if k.mem.fault.kind == faultNone {
			return "", -eNAMETOOLONG
		}
		return "", -eFAULT
	}
	return s, 0
}

// find reads a path and follows it.
func (k *kernel) find(dirFD, addr uint64, follow bool) (place, int64) {
	path, errno := k.path(addr)
	if errno != 0 {
		return place{}, errno
	}
	return k.walk(int(int32(dirFD)), path, follow)
}

// findNew is for calls that make a name: it must be free. Only that of a directory may
// have a slash at its end.
func (k *kernel) findNew(dirFD, addr uint64, isDir bool) (place, int64) {
	path, errno := k.path(addr)
	if errno != 0 {
		return place{}, errno
	}
	trimmed := strings.TrimRight(path, "/")
	slash := trimmed != path
	if trimmed == "" {
		trimmed = path
	}
	at, errno := k.walk(int(int32(dirFD)), trimmed, false)
	switch {
	case errno != 0:
		return at, errno
	case at.in != nil:
		return at, -eEXIST
	case at.dir.nlink == 0, slash && !isDir:
		return at, -eNOENT
	case at.dir.device != deviceNone:
		return at, -eACCES
	}
	return at, 0
}

func sysOpenat(k *kernel, t *thread, a *[6]uint64) int64 {
	path, errno := k.path(a[1])
	if errno != 0 {
		return errno
	}
	if t.opening != 0 {
		return k.openPipe(t, a[2]&oCLOEXEC != 0)
	}
	return k.open(t, int(int32(a[0])), path, int(int32(a[2])), uint32(a[3]))
}

func (k *kernel) open(t *thread, dirFD int, path string, flags int, mode uint32) int64 {
	exclusive := flags&(oCREAT|oEXCL) == oCREAT|oEXCL
	at, errno := k.walk(dirFD, path, flags&oNOFOLLOW == 0 && !exclusive)
	if errno != 0 {
		return errno
	}
	in, now := at.in, k.realtime()
	writing := flags&oACCMODE != oRDONLY
	if flags&oTMPFILE == oTMPFILE {
		return -eOPNOTSUPP
	}
	if in != nil && in.writer != 0 && writing && flags&oTRUNC != 0 {
		return k.queue(t, in)
	}
	switch {
	case in == nil && flags&oCREAT == 0:
		return -eNOENT
	case in == nil:
		switch {
		case at.slash:
			return -eISDIR
		case at.dir.device != deviceNone:
			return -eACCES
		case at.dir.nlink == 0:
			return -eNOENT
		}
		in = k.disk.add(sIFREG|mode&0o7777&^k.umask, now)
		k.disk.link(at.dir, at.name, in, now)
	case exclusive:
		return -eEXIST
	case in.mode&sIFMT == sIFLNK && flags&oPATH == 0:
		return -eLOOP
	case flags&oDIRECTORY != 0 && !in.isDir():
		return -eNOTDIR
	case in.isDir() && (writing || flags&oCREAT != 0) && flags&oPATH == 0:
		return -eISDIR
	}
	f := &file{flags: flags & (oACCMODE | oAPPEND | oNONBLOCK | oDSYNC), inode: in.id, path: path}
	if in.id == 0 { // a link that is not on the disk
		f.inode = 0
	}
	if path[0] != '/' {
		f.path = strings.TrimSuffix(k.disk.path(at.dir.id), "/") + "/" + at.name
	}
	if flags&oPATH != 0 {
		f.kind, f.flags = kindPath, oPATH
	} else if errno := k.opened(f, in, flags, now); errno != 0 {
		return errno
	}
	if f.inode != 0 {
		in.opens++
	}
	if f.kind == kindPipe {
		f.id = slot(&k.files)
		k.files[f.id] = f
		t.opening = f.id + 1
		return k.openPipe(t, flags&oCLOEXEC != 0)
	}
	return k.install(f, flags&oCLOEXEC != 0)
}

// opened finds out what the file of an inode is.
func (k *kernel) opened(f *file, in *inode, flags int, now int64) int64 {
	writing := flags&oACCMODE != oRDONLY
	switch in.mode & sIFMT {
	case sIFDIR:
		f.kind = kindDir
	case sIFREG:
		f.kind = kindRegular
		if in.device != deviceNone {
			if writing {
				return -eACCES
			}
			f.kind, f.data = kindSnapshot, k.snapshot(in)
		} else if flags&oTRUNC != 0 && writing {
			if in.body == 0 {
				k.truncate(in, 0)
			} else if in.size > 0 {
				k.mount.empty(in)
			}
			in.mtime, in.ctime = now, now
			k.mount.touch(in)
		}
	case sIFCHR:
		switch in.device {
		case deviceNull:
			f.kind = kindNull
		case deviceZero:
			f.kind = kindZero
		case deviceRandom:
			f.kind = kindRandom
		default:
			return -eNXIO
		}
	case sIFIFO:
		k.joinPipe(f, in)
	default:
		return -eNXIO
	}
	return 0
}

func sysMkdirat(k *kernel, _ *thread, a *[6]uint64) int64 {
	at, errno := k.findNew(a[0], a[1], true)
	if errno != 0 {
		return errno
	}
	now := k.realtime()
	k.disk.link(at.dir, at.name, k.disk.add(sIFDIR|uint32(a[2])&0o1777&^k.umask, now), now)
	return 0
}

func sysMknodat(k *kernel, _ *thread, a *[6]uint64) int64 {
	at, errno := k.findNew(a[0], a[1], false)
	switch {
	case errno != 0:
		return errno
	}
	kind := uint32(a[2]) & sIFMT
	switch kind {
	case 0:
		kind = sIFREG
	case sIFREG, sIFIFO:
	default:
		return -ePERM
	}
	now := k.realtime()
	k.disk.link(at.dir, at.name, k.disk.add(kind|uint32(a[2])&0o7777&^k.umask, now), now)
	return 0
}

func sysSymlinkat(k *kernel, _ *thread, a *[6]uint64) int64 {
	target, errno := k.path(a[0])
	if errno != 0 {
		return errno
	}
	at, errno := k.findNew(a[1], a[2], false)
	switch {
	case target == "":
		return -eNOENT
	case errno != 0:
		return errno
	}
	now := k.realtime()
	in := k.disk.add(sIFLNK|0o777, now)
	in.target, in.size = target, int64(len(target))
	k.disk.link(at.dir, at.name, in, now)
	return 0
}

func sysLinkat(k *kernel, _ *thread, a *[6]uint64) int64 {
	from, errno := k.find(a[0], a[1], a[4]&atSymlinkFollow != 0)
	switch {
	case errno != 0:
		return errno
	case from.in == nil:
		return -eNOENT
	case from.in.isDir() || from.in.id == 0 || from.in.device != deviceNone:
		return -ePERM
	}
	at, errno := k.findNew(a[2], a[3], false)
	switch {
	case errno != 0:
		return errno
	case at.dir.mounted() != from.in.mounted():
		return -eXDEV
	}
	k.disk.link(at.dir, at.name, from.in, k.realtime())
	return 0
}

func sysUnlinkat(k *kernel, _ *thread, a *[6]uint64) int64 {
	at, errno := k.find(a[0], a[1], false)
	switch {
	case errno != 0:
		return errno
	case at.in == nil:
		return -eNOENT
	case a[2]&^atRemovedir != 0:
		return -eINVAL
	case at.in.id == 0 || at.dir.device != deviceNone:
		return -ePERM
	}
	if a[2] == 0 {
		if at.in.isDir() {
			return -eISDIR
		}
	} else {
		switch {
		case !at.in.isDir():
			return -eNOTDIR
		case at.in.id == rootInode || at.in.device != deviceNone || at.in.key == mountKey:
			return -eBUSY
		case at.name == "":
			return -eINVAL
		case len(at.in.names) > 0:
			return -eNOTEMPTY
		}
	}
	k.disk.unlink(at.dir, at.name, k.realtime())
	return 0
}

func sysRenameat2(k *kernel, _ *thread, a *[6]uint64) int64 {
	from, errno := k.find(a[0], a[1], false)
	if errno != 0 {
		return errno
	}
	to, errno := k.find(a[2], a[3], false)
	d, now := k.disk, k.realtime()
	switch {
	case errno != 0:
		return errno
	case from.in == nil:
		return -eNOENT
	case from.name == "" || to.name == "" || from.in.id == 0 || from.in.key == mountKey || to.in != nil && to.in.key == mountKey:
		return -eBUSY
	case from.dir.mounted() != to.dir.mounted():
		return -eXDEV
	case a[4]&^1 != 0:
		return -eINVAL
	case a[4] == 1 && to.in != nil:
		return -eEXIST
	case from.dir.device != deviceNone || to.dir.device != deviceNone:
		return -eACCES
	case to.in == from.in:
		return 0
	}
	if from.in.isDir() {
		for up := to.dir; up.id != rootInode; up = d.inode(up.parent) {
			if up == from.in {
				return -eINVAL
			}
			if up.nlink == 0 {
				return -eNOENT
			}
		}
	}
	if to.in != nil {
		switch {
		case from.in.isDir() && !to.in.isDir():
			return -eNOTDIR
		case !from.in.isDir() && to.in.isDir():
			return -eISDIR
		case to.in.isDir() && len(to.in.names) > 0:
			return -eNOTEMPTY
		}
		d.unlink(to.dir, to.name, now)
	}
	in := from.in
	in.opens++ // it must outlive the moment without a name
	d.unlink(from.dir, from.name, now)
	d.link(to.dir, to.name, in, now)
	in.opens--
	if in.mounted() {
		k.record()
	}
	return 0
}

func sysReadlinkat(k *kernel, _ *thread, a *[6]uint64) int64 {
	path, errno := k.path(a[1])
	if errno != 0 {
		return errno
	}
	at, errno := k.walk(int(int32(a[0])), path, false)
	switch {
	case errno != 0:
		return errno
	case at.in == nil:
		return -eNOENT
	case at.in.mode&sIFMT != sIFLNK || int64(a[3]) <= 0:
		return -eINVAL
	}
	b := k.linkTarget(at.in)
	b = b[:min(uint64(len(b)), a[3])]
	if !k.mem.writeBytes(a[2], []byte(b)) {
		return -eFAULT
	}
	return int64(len(b))
}

func sysFaccessat(k *kernel, _ *thread, a *[6]uint64) int64 {
	at, errno := k.find(a[0], a[1], a[3]&atSymlinkNofollow == 0)
	switch {
	case errno != 0:
		return errno
	case at.in == nil:
		return -eNOENT
	case a[2]&1 != 0 && !at.in.isDir() && at.in.mode&0o111 == 0:
		return -eACCES // root may do all but execute what nobody may
	}
	return 0
}
