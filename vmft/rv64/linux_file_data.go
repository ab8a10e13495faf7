package rv64

import (
	"encoding/binary"
	"math"
)

// A vector is a part of the guest's memory that is read or written.
type vector struct{ addr, n uint64 }

// vectors reads an array of iovec.
func (k *kernel) vectors(addr, count uint64) ([]vector, int64) {
	if count > maxVectors {
		return nil, -eINVAL
	}
	b := make([]byte, 16*count)
	if !k.mem.readBytes(addr, b) {
		return nil, -eFAULT
	}
	list := make([]vector, 0, count)
	total := uint64(0)
	for i := range int(count) {
		v := vector{binary.LittleEndian.Uint64(b[16*i:]), binary.LittleEndian.Uint64(b[16*i+8:])}
		if v.n > math.MaxInt64 {
			return nil, -eINVAL
		}
		if v.n = min(v.n, maxTransfer-total); v.n > 0 {
			list = append(list, v)
			total += v.n
		}
	}
	return list, 0
}

func total(list []vector) (n uint64) {
	for _, v := range list {
		n += v.n
	}
	return n
}

// scatter reads once from a file into memory.
func (k *kernel) scatter(t *thread, fd int, list []vector, off int64) int64 {
	f := k.file(fd)
	if f == nil {
		return -eBADF
	}
	n := total(list)
	for _, v := range list {
		if !k.mem.writable(v.addr, v.n) {
			return -eFAULT
		}
	}
	if n == 0 && f.kind != kindDir {
		return 0
	}
	if k.isMounted(f) {
		return k.readShared(t, f, list, off)
	}
	b := make([]byte, n)
	result := k.readFile(t, f, b, off)
	if result <= 0 {
		return result
	}
	b = b[:result]
	for _, v := range list {
		part := b[:min(uint64(len(b)), v.n)]
		k.mem.writeBytes(v.addr, part)
		b = b[len(part):]
	}
	return result
}

// gather writes memory to a file. A call that waits goes on after what it has
// written already.
func (k *kernel) gather(t *thread, fd int, list []vector, off int64) int64 {
	f := k.file(fd)
	if f == nil {
		return -eBADF
	}
	b := make([]byte, 0, total(list))
	for _, v := range list {
		b = b[:len(b)+int(v.n)]
		if !k.mem.readBytes(v.addr, b[len(b)-int(v.n):]) {
			return -eFAULT
		}
	}
	if len(b) == 0 && f.kind != kindSocket {
		return 0
	}
	if k.isMounted(f) {
		return k.writeShared(t, f, b, off)
	}
	return k.writeFile(t, f, b, off)
}

func one(a *[6]uint64) []vector { return []vector{{a[1], min(a[2], maxTransfer)}} }

func sysRead(k *kernel, t *thread, a *[6]uint64) int64 {
	return k.scatter(t, int(int32(a[0])), one(a), -1)
}

func sysWrite(k *kernel, t *thread, a *[6]uint64) int64 {
	return k.gather(t, int(int32(a[0])), one(a), -1)
}

func sysReadv(k *kernel, t *thread, a *[6]uint64) int64 {
	list, errno := k.vectors(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return k.scatter(t, int(int32(a[0])), list, -1)
}

func sysWritev(k *kernel, t *thread, a *[6]uint64) int64 {
	list, errno := k.vectors(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return k.gather(t, int(int32(a[0])), list, -1)
}

// seekable checks that a file has positions.
func (k *kernel) seekable(fd int, off uint64) int64 {
	f := k.file(fd)
	switch {
	case f == nil:
		return -eBADF
	case int64(off) < 0:
		return -eINVAL
	}
	switch f.kind {
	case kindRegular, kindSnapshot, kindNull, kindZero, kindRandom, kindDir:
		return 0
	}
	return -eSPIPE
}

func sysPread(k *kernel, t *thread, a *[6]uint64) int64 {
	if errno := k.seekable(int(int32(a[0])), a[3]); errno != 0 {
		return errno
	}
	return k.scatter(t, int(int32(a[0])), one(a), int64(a[3]))
}

func sysPwrite(k *kernel, t *thread, a *[6]uint64) int64 {
	if errno := k.seekable(int(int32(a[0])), a[3]); errno != 0 {
		return errno
	}
	return k.gather(t, int(int32(a[0])), one(a), int64(a[3]))
}

func sysPreadv(k *kernel, t *thread, a *[6]uint64) int64 {
	if errno := k.seekable(int(int32(a[0])), a[3]); errno != 0 {
		return errno
	}
	list, errno := k.vectors(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return k.scatter(t, int(int32(a[0])), list, int64(a[3]))
}

func sysPwritev(k *kernel, t *thread, a *[6]uint64) int64 {
	if errno := k.seekable(int(int32(a[0])), a[3]); errno != 0 {
		return errno
	}
	list, errno := k.vectors(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return k.gather(t, int(int32(a[0])), list, int64(a[3]))
}

func sysLseek(k *kernel, _ *thread, a *[6]uint64) int64 {
	if errno := k.seekable(int(int32(a[0])), 0); errno != 0 {
		return errno
	}
	f := k.file(int(int32(a[0])))
	off, size := int64(a[1]), int64(0)
	if f.kind == kindSnapshot {
		size = int64(len(f.data))
	} else if in := k.disk.inode(f.inode); in != nil && f.kind == kindRegular {
		size = in.size
	}
	switch a[2] {
	case 0:
	case 1:
		off += f.offset
	case 2:
		off += size
	case 3, 4: // data, hole: all is data up to the end
		if off < 0 || off >= size {
			return -eNXIO
		}
		if a[2] == 4 {
			off = size
		}
	default:
		return -eINVAL
	}
	if off < 0 {
		return -eINVAL
	}
	f.offset = off
	return off
}
