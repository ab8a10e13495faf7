package rv64

func sysGetcwd(k *kernel, _ *thread, a *[6]uint64) int64 {
	path := k.disk.path(k.cwd)
	if path == "(deleted)" {
		return -eNOENT
	}
	if uint64(len(path))+1 > a[1] {
		return -eRANGE
	}
	if !k.mem.writeBytes(a[0], append([]byte(path), 0)) {
		return -eFAULT
	}
	return int64(len(path)) + 1
}

// enter makes a directory the working directory.
func (k *kernel) enter(in *inode) int64 {
	switch {
	case in == nil:
		return -eNOENT
	case !in.isDir():
		return -eNOTDIR
	}
	in.opens++
	if old := k.disk.inode(k.cwd); old != nil {
		old.opens--
		k.disk.release(old)
	}
	k.cwd = in.id
	return 0
}

func sysChdir(k *kernel, _ *thread, a *[6]uint64) int64 {
	fd := atFDCWD
	at, errno := k.find(uint64(fd), a[0], true)
	if errno != 0 {
		return errno
	}
	return k.enter(at.in)
}

func sysFchdir(k *kernel, _ *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	if f == nil {
		return -eBADF
	}
	if f.inode == 0 {
		return -eNOTDIR
	}
	return k.enter(k.disk.inode(f.inode))
}

func sysUmask(k *kernel, _ *thread, a *[6]uint64) int64 {
	old := k.umask
	k.umask = uint32(a[0]) & 0o777
	return int64(old)
}
