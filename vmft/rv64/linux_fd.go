package rv64

func sysClose(k *kernel, _ *thread, a *[6]uint64) int64 {
	if k.file(int(int32(a[0]))) == nil {
		return -eBADF
	}
	k.closeDescriptor(int(int32(a[0])))
	return 0
}

func sysCloseRange(k *kernel, _ *thread, a *[6]uint64) int64 {
	first, last := uint32(a[0]), uint32(a[1])
	if first > last {
		return -eINVAL
	}
	for fd := int(first); fd < len(k.fds) && fd <= int(last); fd++ {
		switch {
		case k.fds[fd].file < 0:
		case a[2]&4 != 0:
			k.fds[fd].cloexec = true
		default:
			k.closeDescriptor(fd)
		}
	}
	return 0
}

func sysDup(k *kernel, _ *thread, a *[6]uint64) int64 {
	return k.duplicate(int(int32(a[0])), 0, false)
}

func (k *kernel) duplicate(old, from int, cloexec bool) int64 {
	f := k.file(old)
	if f == nil {
		return -eBADF
	}
	if from < 0 || from >= maxFiles {
		return -eINVAL
	}
	fd := k.freeDescriptor(from)
	if fd < 0 {
		return -eMFILE
	}
	k.connect(fd, f, cloexec)
	return int64(fd)
}

func sysDup3(k *kernel, _ *thread, a *[6]uint64) int64 {
	old, fd := int(int32(a[0])), int(int32(a[1]))
	f := k.file(old)
	switch {
	case f == nil || fd < 0 || fd >= maxFiles:
		return -eBADF
	case old == fd || a[2]&^oCLOEXEC != 0:
		return -eINVAL
	}
	if k.file(fd) != nil {
		f.refs++ // should both be the same file
		k.closeDescriptor(fd)
		f.refs--
	}
	for fd >= len(k.fds) {
		k.fds = append(k.fds, descriptor{file: -1})
	}
	k.connect(fd, f, a[2]&oCLOEXEC != 0)
	return int64(fd)
}

func sysFcntl(k *kernel, _ *thread, a *[6]uint64) int64 {
	fd := int(int32(a[0]))
	f := k.file(fd)
	if f == nil {
		return -eBADF
	}
	switch a[1] {
	case 0, 1030: // F_DUPFD, F_DUPFD_CLOEXEC
		return k.duplicate(fd, int(int32(a[2])), a[1] == 1030)
	case 1:
		return int64(truth(k.fds[fd].cloexec))
	case 2:
		k.fds[fd].cloexec = a[2]&1 != 0
		return 0
	case 3:
		return int64(f.flags)
	case 4:
		f.flags = f.flags&^(oNONBLOCK|oAPPEND) | int(a[2])&(oNONBLOCK|oAPPEND)
		return 0
	case 5, 36: // F_GETLK: there is nobody else who could hold one
		if !k.mem.store(a[2], 2, 2) {
			return -eFAULT
		}
		return 0
	case 6, 7, 37, 38: // setting locks
		return 0
	case 1032: // F_GETPIPE_SZ
		if f.kind == kindPipe {
			return maxPipe
		}
		return -eBADF
	}
	return -eINVAL
}

func sysFlock(k *kernel, _ *thread, a *[6]uint64) int64 {
	if k.file(int(int32(a[0]))) == nil {
		return -eBADF
	}
	return 0
}
