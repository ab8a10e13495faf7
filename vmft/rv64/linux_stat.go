package rv64

import (
	"encoding/binary"
	"math"
)

// target finds what the calls that take a path or, if it is empty, a descriptor, mean.
func (k *kernel) target(dirFD, addr, flags uint64) (*inode, int64) {
	path := ""
	if addr != 0 {
		var errno int64
		if path, errno = k.path(addr); errno != 0 {
			return nil, errno
		}
	}
	if path == "" && (flags&atEmptyPath != 0 || addr == 0) {
		if int32(dirFD) == atFDCWD {
			return k.disk.inode(k.cwd), 0
		}
		return k.inodeOf(int(int32(dirFD)))
	}
	at, errno := k.walk(int(int32(dirFD)), path, flags&atSymlinkNofollow == 0)
	switch {
	case errno != 0:
		return nil, errno
	case at.in == nil:
		return nil, -eNOENT
	}
	return at.in, 0
}

// inodeOf returns the inode of a descriptor: one made up, if the file is not on the disk.
func (k *kernel) inodeOf(fd int) (*inode, int64) {
	f := k.file(fd)
	if f == nil {
		return nil, -eBADF
	}
	if in := k.disk.inode(f.inode); in != nil {
		return in, 0
	}
	mode := uint32(sIFCHR | 0o620)
	switch f.kind {
	case kindPipe, kindInput, kindOutput:
		mode = sIFIFO | 0o600
	case kindSocket:
		mode = sIFSOCK | 0o777
	case kindEpoll, kindEvent, kindTimer:
		mode = 0o600
	case kindPath:
		mode = sIFLNK | 0o777
	}
	return &inode{id: 1<<20 + f.id, mode: mode, nlink: 1}, 0
}

// putStat lays out a struct stat.
func putStat(b []byte, in *inode) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], 1+uint64(truth(in.mounted()))) // the device it is on
	le.PutUint64(b[8:], uint64(in.id))
	le.PutUint32(b[16:], in.mode)
	le.PutUint32(b[20:], uint32(in.nlink))
	le.PutUint32(b[24:], in.uid)
	le.PutUint32(b[28:], in.gid)
	le.PutUint64(b[32:], in.device.number())
	size := in.size
	if in.isDir() {
		size = pageSize
	}
	le.PutUint64(b[48:], uint64(size))
	le.PutUint32(b[56:], pageSize)
	le.PutUint64(b[64:], uint64(size+511)/512)
	for i, ns := range []int64{in.atime, in.mtime, in.ctime} {
		sec, nsec := ns/1e9, ns%1e9
		if nsec < 0 {
			sec, nsec = sec-1, nsec+1e9
		}
		le.PutUint64(b[72+16*i:], uint64(sec))
		le.PutUint64(b[80+16*i:], uint64(nsec))
	}
}

func (k *kernel) writeStat(addr uint64, in *inode) int64 {
	var b [128]byte
	putStat(b[:], in)
	if !k.mem.writeBytes(addr, b[:]) {
		return -eFAULT
	}
	return 0
}

func sysNewfstatat(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.target(a[0], a[1], a[3])
	if errno != 0 {
		return errno
	}
	return k.writeStat(a[2], in)
}

func sysFstat(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.inodeOf(int(int32(a[0])))
	if errno != 0 {
		return errno
	}
	return k.writeStat(a[1], in)
}

func sysStatx(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.target(a[0], a[1], a[2])
	if errno != 0 {
		return errno
	}
	var st [128]byte
	putStat(st[:], in)
	var b [256]byte
	le := binary.LittleEndian
	le.PutUint32(b[0:], 0x7ff) // the basic fields, and no others
	le.PutUint32(b[4:], pageSize)
	copy(b[16:20], st[20:]) // nlink
	copy(b[20:28], st[24:]) // uid, gid
	le.PutUint16(b[28:], uint16(in.mode))
	copy(b[32:40], st[8:])  // inode
	copy(b[40:48], st[48:]) // size
	copy(b[48:56], st[64:]) // blocks
	for i, at := range []int{64, 96, 112} {
		copy(b[at:at+8], st[72+16*i:])
		copy(b[at+8:at+12], st[80+16*i:])
	}
	rdev := in.device.number()
	le.PutUint32(b[128:], uint32(rdev>>8))
	le.PutUint32(b[132:], uint32(rdev&0xff))
	le.PutUint32(b[140:], 1)
	if !k.mem.writeBytes(a[4], b[:]) {
		return -eFAULT
	}
	return 0
}

// unknownRoom is what there seems to be on a shared disk, in bytes: only it knows.
const unknownRoom = 1 << 50

func (k *kernel) writeStatfs(addr uint64, in *inode) int64 {
	var b [120]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], 0x01021994) // tmpfs
	le.PutUint64(b[8:], pageSize)
	limit, used := k.disk.limit, k.disk.used
	if in != nil && in.mounted() {
		limit, used = unknownRoom, 0
	}
	le.PutUint64(b[16:], uint64(limit)/pageSize)
	free := uint64(limit-used) / pageSize
	le.PutUint64(b[24:], free)
	le.PutUint64(b[32:], free)
	le.PutUint64(b[40:], math.MaxInt32)
	le.PutUint64(b[48:], math.MaxInt32)
	le.PutUint64(b[64:], maxName)
	le.PutUint64(b[72:], pageSize)
	if !k.mem.writeBytes(addr, b[:]) {
		return -eFAULT
	}
	return 0
}

func sysStatfs(k *kernel, _ *thread, a *[6]uint64) int64 {
	fd := atFDCWD
	at, errno := k.find(uint64(fd), a[0], true)
	switch {
	case errno != 0:
		return errno
	case at.in == nil:
		return -eNOENT
	}
	return k.writeStatfs(a[1], at.in)
}

func sysFstatfs(k *kernel, _ *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	if f == nil {
		return -eBADF
	}
	return k.writeStatfs(a[1], k.disk.inode(f.inode))
}

// sysGetdents64 lists a directory. The offset counts entries; those of the
// directory itself and the one above come first.
func sysGetdents64(k *kernel, _ *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	if f == nil {
		return -eBADF
	}
	if f.kind != kindDir {
		return -eNOTDIR
	}
	in := k.disk.inode(f.inode)
	names := []dirent{{".", in.id}, {"..", in.parent}}
	names = append(names, in.names...)
	if in.device == deviceFDs {
		names = append(names, k.descriptorNames()...)
	}
	var b []byte
	limit := int(min(a[2], maxTransfer))
	for ; f.offset < int64(len(names)); f.offset++ {
		e := names[f.offset]
		size := (19 + len(e.name) + 1 + 7) &^ 7
		if len(b)+size > limit {
			if len(b) == 0 {
				return -eINVAL
			}
			break
		}
		kind := byte(sIFLNK >> 12)
		if at := k.disk.inode(e.inode); at != nil {
			kind = byte(at.mode >> 12)
		}
		start := len(b)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.inode))
		b = binary.LittleEndian.AppendUint64(b, uint64(f.offset+1))
		b = binary.LittleEndian.AppendUint16(b, uint16(size))
		b = append(b, kind)
		b = append(b, e.name...)
		b = append(b, make([]byte, start+size-len(b))...)
	}
	if !k.mem.writeBytes(a[1], b) {
		return -eFAULT
	}
	return int64(len(b))
}

func sysFtruncate(k *kernel, t *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	switch {
	case f == nil:
		return -eBADF
	case f.kind != kindRegular || f.flags&oACCMODE == oRDONLY || int64(a[1]) < 0:
		return -eINVAL
	}
	return k.resize(t, k.disk.inode(f.inode), int64(a[1]))
}

func sysTruncate(k *kernel, t *thread, a *[6]uint64) int64 {
	fd := atFDCWD
	at, errno := k.find(uint64(fd), a[0], true)
	switch {
	case errno != 0:
		return errno
	case at.in == nil:
		return -eNOENT
	case at.in.isDir():
		return -eISDIR
	case at.in.mode&sIFMT != sIFREG || at.in.device != deviceNone || int64(a[1]) < 0:
		return -eINVAL
	}
	return k.resize(t, at.in, int64(a[1]))
}

func (k *kernel) resize(t *thread, in *inode, size int64) int64 {
	if in.body != 0 {
		return k.resizeShared(t, in, size)
	}
	now := k.realtime()
	in.mtime, in.ctime = now, now
	return k.truncate(in, size)
}

func sysFallocate(k *kernel, t *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	off, n := int64(a[2]), int64(a[3])
	switch {
	case f == nil:
		return -eBADF
	case a[1] != 0 || k.isMounted(f): // room on a shared disk can't be promised
		return -eOPNOTSUPP
	case f.kind != kindRegular || off < 0 || n <= 0 || off > math.MaxInt64-n:
		return -eINVAL
	}
	if in := k.disk.inode(f.inode); off+n > in.size {
		return k.resize(t, in, off+n)
	}
	return 0
}

func (k *kernel) chmod(in *inode, mode uint64) int64 {
	in.mode = in.mode&sIFMT | uint32(mode)&0o7777
	in.ctime = k.realtime()
	k.mount.touch(in)
	return 0
}

func sysFchmod(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.inodeOf(int(int32(a[0])))
	if errno != 0 {
		return errno
	}
	return k.chmod(in, a[1])
}

func sysFchmodat(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.target(a[0], a[1], 0)
	if errno != 0 {
		return errno
	}
	return k.chmod(in, a[2])
}

func sysFchmodat2(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.target(a[0], a[1], a[3])
	switch {
	case errno != 0:
		return errno
	case in.mode&sIFMT == sIFLNK:
		return -eOPNOTSUPP
	}
	return k.chmod(in, a[2])
}

func (k *kernel) chown(in *inode, uid, gid uint64) int64 {
	if uint32(uid) != math.MaxUint32 {
		in.uid = uint32(uid)
	}
	if uint32(gid) != math.MaxUint32 {
		in.gid = uint32(gid)
	}
	in.ctime = k.realtime()
	k.mount.touch(in)
	return 0
}

func sysFchown(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.inodeOf(int(int32(a[0])))
	if errno != 0 {
		return errno
	}
	return k.chown(in, a[1], a[2])
}

func sysFchownat(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.target(a[0], a[1], a[4])
	if errno != 0 {
		return errno
	}
	return k.chown(in, a[2], a[3])
}

const (
	utimeNow  = 1<<30 - 1
	utimeOmit = 1<<30 - 2
)

func sysUtimensat(k *kernel, _ *thread, a *[6]uint64) int64 {
	in, errno := k.target(a[0], a[1], a[3])
	if errno != 0 {
		return errno
	}
	now := k.realtime()
	times := [2]int64{now, now}
	if a[2] != 0 {
		var b [32]byte
		if !k.mem.readBytes(a[2], b[:]) {
			return -eFAULT
		}
		for i, old := range []int64{in.atime, in.mtime} {
			sec, nsec := int64(binary.LittleEndian.Uint64(b[16*i:])), int64(binary.LittleEndian.Uint64(b[16*i+8:]))
			switch {
			case nsec == utimeNow:
			case nsec == utimeOmit:
				times[i] = old
			case nsec < 0 || nsec >= 1e9:
				return -eINVAL
			default:
				times[i] = max(min(sec, 9e9), -9e9)*1e9 + nsec
			}
		}
	}
	in.atime, in.mtime, in.ctime = times[0], times[1], now
	k.mount.touch(in)
	return 0
}

// sysFsync: the local disk is memory; the shared one has to be waited for.
func sysFsync(k *kernel, t *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	if f == nil {
		return -eBADF
	}
	if in := k.disk.inode(f.inode); in != nil && in.mounted() {
		return k.syncShared(t, f, 0)
	}
	return 0
}

func sysFadvise(k *kernel, _ *thread, a *[6]uint64) int64 {
	if k.file(int(int32(a[0]))) == nil {
		return -eBADF
	}
	return 0
}

func sysSync(k *kernel, t *thread, _ *[6]uint64) int64 {
	if k.mount.root == 0 {
		return 0
	}
	return k.syncShared(t, nil, 0)
}
