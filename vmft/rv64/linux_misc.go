package rv64

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// osRelease is the version of Linux whose interface this is.
const osRelease = "6.6.0-rv64"

// noise is the guest's randomness: SHA-256 of the seed and a counter.
type noise struct {
	seed    [32]byte
	counter uint64
}

func (n *noise) read(b []byte) {
	for len(b) > 0 {
		var block [40]byte
		copy(block[:], n.seed[:])
		binary.LittleEndian.PutUint64(block[32:], n.counter)
		n.counter++
		sum := sha256.Sum256(block[:])
		b = b[copy(b, sum[:]):]
	}
}

func sysGetrandom(k *kernel, _ *thread, a *[6]uint64) int64 {
	n := min(a[1], maxTransfer)
	if !k.mem.writable(a[0], n) {
		return -eFAULT
	}
	b := make([]byte, n)
	k.noise.read(b)
	k.mem.writeBytes(a[0], b)
	return int64(n)
}

func sysUname(k *kernel, _ *thread, a *[6]uint64) int64 {
	var b [6 * 65]byte
	for i, s := range []string{"Linux", k.set.hostname, osRelease, "#1", "riscv64", "(none)"} {
		copy(b[65*i:65*i+64], s)
	}
	if !k.mem.writeBytes(a[0], b[:]) {
		return -eFAULT
	}
	return 0
}

// What riscv_hwprobe answers, by key; the identities of the processor are zeroes.
var hwprobe = map[int64]uint64{
	0: 0, 1: 0, 2: 0,
	3: 1,                                // IMA
	4: 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5, // FD, C, Zba, Zbb, Zbs
	5: 3,                                // misaligned accesses are fast
}

func sysHwprobe(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[4] != 0 || a[2] == 0 != (a[3] == 0) || a[1] > 1<<16 {
		return -eINVAL
	}
	for i := range a[1] {
		at := a[0] + 16*i
		key, ok := k.mem.load(at, 8)
		v, known := hwprobe[int64(key)]
		if !known {
			key = ^uint64(0)
		}
		if !ok || !k.mem.writable(at, 16) {
			return -eFAULT
		}
		k.mem.store(at, 8, key)
		k.mem.store(at+8, 8, v)
	}
	return 0
}

func sysSysinfo(k *kernel, _ *thread, a *[6]uint64) int64 {
	var b [112]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], k.monotonic()/1e9)
	le.PutUint64(b[32:], uint64(k.mem.limit)*pageSize)
	le.PutUint64(b[40:], uint64(k.mem.limit-k.mem.resident)*pageSize)
	le.PutUint16(b[80:], 1)
	le.PutUint32(b[104:], 1)
	if !k.mem.writeBytes(a[0], b[:]) {
		return -eFAULT
	}
	return 0
}

// limitOf is the soft and hard limit of a resource. They can't be changed.
func (k *kernel) limitOf(resource uint64) (uint64, uint64) {
	switch resource {
	case 3:
		return stackSize, math.MaxUint64
	case 4:
		return 0, 0 // core files
	case 6:
		return maxThreads, maxThreads
	case 7:
		return maxFiles, maxFiles
	}
	return math.MaxUint64, math.MaxUint64
}

func (k *kernel) writeLimit(resource, addr uint64) int64 {
	if resource > 15 {
		return -eINVAL
	}
	soft, hard := k.limitOf(resource)
	if !k.mem.writable(addr, 16) {
		return -eFAULT
	}
	k.mem.store(addr, 8, soft)
	k.mem.store(addr+8, 8, hard)
	return 0
}

func sysPrlimit64(k *kernel, _ *thread, a *[6]uint64) int64 {
	if k.other(a[0]) == nil {
		return -eSRCH
	}
	if a[3] != 0 {
		if errno := k.writeLimit(a[1], a[3]); errno != 0 {
			return errno
		}
	}
	if a[2] != 0 {
		return sysSetrlimit(k, nil, &[6]uint64{a[1], a[2]})
	}
	return 0
}

func sysGetrlimit(k *kernel, _ *thread, a *[6]uint64) int64 { return k.writeLimit(a[0], a[1]) }

// sysSetrlimit accepts what stays within the limits, which stay what they are.
func sysSetrlimit(k *kernel, _ *thread, a *[6]uint64) int64 {
	var b [16]byte
	if a[0] > 15 {
		return -eINVAL
	}
	if !k.mem.readBytes(a[1], b[:]) {
		return -eFAULT
	}
	_, hard := k.limitOf(a[0])
	soft, wanted := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	switch {
	case soft > wanted:
		return -eINVAL
	case wanted > hard:
		return -ePERM
	}
	return 0
}

func sysGetrusage(k *kernel, _ *thread, a *[6]uint64) int64 {
	var b [144]byte
	used := k.cpu.count * k.set.tick
	if int32(a[0]) == -1 {
		used = 0 // of children
	}
	binary.LittleEndian.PutUint64(b[0:], used/1e9)
	binary.LittleEndian.PutUint64(b[8:], used%1e9/1000)
	binary.LittleEndian.PutUint64(b[32:], uint64(k.mem.resident)*pageSize>>10)
	if !k.mem.writeBytes(a[1], b[:]) {
		return -eFAULT
	}
	return 0
}

func sysTimes(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0] != 0 {
		var b [32]byte
		binary.LittleEndian.PutUint64(b[:], k.cpu.count*k.set.tick/1e7)
		if !k.mem.writeBytes(a[0], b[:]) {
			return -eFAULT
		}
	}
	return int64(k.monotonic() / 1e7)
}

func sysPrctl(k *kernel, t *thread, a *[6]uint64) int64 {
	switch a[0] {
	case 15: // PR_SET_NAME
		s, ok := k.mem.readString(a[1], 64)
		if !ok {
			return -eFAULT
		}
		t.name = s[:min(len(s), 15)]
		if t.id == k.id {
			k.name = t.name
		}
		return 0
	case 16: // PR_GET_NAME
		var b [16]byte
		copy(b[:15], t.name)
		if !k.mem.writeBytes(a[1], b[:]) {
			return -eFAULT
		}
		return 0
	case 3: // PR_GET_DUMPABLE
		return 1
	}
	return -eINVAL
}

func sysIoctl(k *kernel, _ *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	if f == nil {
		return -eBADF
	}
	n := -1
	switch f.kind {
	case kindPipe:
		n = len(k.pipes[f.pipe].data)
	case kindSocket:
		n = len(k.sockets[f.socket].data)
	case kindInput:
		n = len(k.input.data)
	}
	switch uint32(a[1]) {
	case 0x541b: // FIONREAD
		if n < 0 {
			return -eNOTTY
		}
		if !k.mem.store(a[2], 4, uint64(n)) {
			return -eFAULT
		}
		return 0
	case 0x5421: // FIONBIO
		v, ok := k.mem.load(a[2], 4)
		if !ok {
			return -eFAULT
		}
		if f.flags &^= oNONBLOCK; v != 0 {
			f.flags |= oNONBLOCK
		}
		return 0
	}
	return -eNOTTY
}

// sysSendfile copies from a file to anything.
func sysSendfile(k *kernel, t *thread, a *[6]uint64) int64 {
	out, in := k.file(int(int32(a[0]))), k.file(int(int32(a[1])))
	switch {
	case out == nil || in == nil || in.flags&oACCMODE == oWRONLY:
		return -eBADF
	case in.kind != kindRegular && in.kind != kindSnapshot, k.isMounted(in), k.isMounted(out): // programs copy instead
		return -eINVAL
	}
	off := in.offset
	if a[2] != 0 {
		v, ok := k.mem.load(a[2], 8)
		if !ok {
			return -eFAULT
		}
		if off = int64(v); off < 0 {
			return -eINVAL
		}
	}
	b := make([]byte, min(a[3], socketBuffer))
	if b = b[:k.readAt(in, b, off)]; len(b) == 0 {
		return 0
	}
	n := k.writeFile(t, out, b, -1)
	if n <= 0 {
		return n
	}
	if a[2] == 0 {
		in.offset = off + n
	} else {
		k.mem.store(a[2], 8, uint64(off+n))
	}
	return n
}

// sysCopyFileRange copies between files.
func sysCopyFileRange(k *kernel, t *thread, a *[6]uint64) int64 {
	in, out := k.file(int(int32(a[0]))), k.file(int(int32(a[2])))
	switch {
	case in == nil || out == nil || in.flags&oACCMODE == oWRONLY || out.flags&oACCMODE == oRDONLY || out.flags&oAPPEND != 0:
		return -eBADF
	case in.kind != kindRegular || out.kind != kindRegular || a[5] != 0:
		return -eINVAL
	case k.isMounted(in) || k.isMounted(out): // programs copy instead
		return -eXDEV
	}
	offs := [2]int64{in.offset, out.offset}
	for i, addr := range [2]uint64{a[1], a[3]} {
		if addr != 0 {
			v, ok := k.mem.load(addr, 8)
			if !ok {
				return -eFAULT
			}
			if offs[i] = int64(v); offs[i] < 0 {
				return -eINVAL
			}
		}
	}
	b := make([]byte, min(a[4], maxTransfer))
	if n := int64(len(b)); in.inode == out.inode && offs[0] < offs[1]+n && offs[1] < offs[0]+n {
		return -eINVAL
	}
	b = b[:k.readAt(in, b, offs[0])]
	if len(b) == 0 {
		return 0
	}
	n := k.writeAt(out, b, offs[1])
	if n < 0 {
		return n
	}
	for i, f := range [2]*file{in, out} {
		if addr := a[1+2*i]; addr != 0 {
			k.mem.store(addr, 8, uint64(offs[i]+n))
		} else {
			f.offset = offs[i] + n
		}
	}
	return n
}

// sysSplice is refused as for files that don't do it: programs copy instead.
func sysSplice(*kernel, *thread, *[6]uint64) int64 { return -eINVAL }

func sysZero(*kernel, *thread, *[6]uint64) int64 { return 0 }

func sysGetgroups(*kernel, *thread, *[6]uint64) int64 { return 0 }

func sysGetresid(k *kernel, _ *thread, a *[6]uint64) int64 {
	for _, addr := range a[:3] {
		if !k.mem.store(addr, 4, 0) {
			return -eFAULT
		}
	}
	return 0
}

// sysSetid: the program is root, and nobody else.
func sysSetid(_ *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0] != 0 {
		return -ePERM
	}
	return 0
}

func sysGetcpu(k *kernel, _ *thread, a *[6]uint64) int64 {
	for _, addr := range a[:2] {
		if addr != 0 && !k.mem.store(addr, 4, 0) {
			return -eFAULT
		}
	}
	return 0
}

func sysSchedGetscheduler(*kernel, *thread, *[6]uint64) int64 { return 0 }

func sysSchedGetparam(k *kernel, _ *thread, a *[6]uint64) int64 {
	if !k.mem.store(a[1], 4, 0) {
		return -eFAULT
	}
	return 0
}

func sysSchedSetaffinity(k *kernel, _ *thread, a *[6]uint64) int64 {
	v, ok := k.mem.load(a[2], 1)
	switch {
	case !ok:
		return -eFAULT
	case v&1 == 0:
		return -eINVAL
	}
	return 0
}

// sysMembarrier: there is one processor.
func sysMembarrier(_ *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0] == 0 {
		return 0x1f &^ 1
	}
	return 0
}
