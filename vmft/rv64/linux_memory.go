package rv64

// The layout of the address space: the program low, then its break, the heaps of
// programs that ask for an address, mappings from mapTop downwards, the stack.
const (
	mapBottom  = 0x10000
	mapTop     = 0x3f_0000_0000
	stackTop   = addressEnd - 16*pageSize
	stackSize  = 8 << 20
	brkLimit   = 16 << 30 // bytes the break may be moved
	maxMapping = addressEnd / 2
)

func permOf(prot uint64) (perm uint8) {
	if prot&protRead != 0 {
		perm |= permRead
	}
	if prot&protWrite != 0 {
		perm |= permRead | permWrite
	}
	if prot&protExec != 0 {
		perm |= permExec
	}
	return perm
}

// span rounds a range to pages. ok is false if it is not one of the address space.
func span(addr, n uint64) (start, end uint64, ok bool) {
	if n > addressEnd || addr > addressEnd || addr&pageMask != 0 {
		return 0, 0, false
	}
	end = (addr + n + pageMask) &^ pageMask
	return addr, end, end <= addressEnd
}

func sysMmap(k *kernel, _ *thread, a *[6]uint64) int64 {
	addr, n, prot, flags, fd, offset := a[0], a[1], a[2], a[3], int(int32(a[4])), a[5]
	if n == 0 || offset&pageMask != 0 || flags&3 == 0 || n > maxMapping && flags&mapFixed == 0 && n > addressEnd {
		return -eINVAL
	}
	if n > maxMapping {
		return -eNOMEM
	}
	if len(k.mem.areas) >= maxAreas {
		return -eNOMEM
	}
	n = (n + pageMask) &^ pageMask
	ar := area{perm: permOf(prot), shared: flags&3 != mapPrivate}
	var from *inode
	if flags&mapAnon == 0 {
		var errno int64
		if from, errno = k.mappable(fd, prot, flags); errno != 0 {
			return errno
		}
		if from != nil {
			ar.inode, ar.offset = from.id, offset
		}
	}
	addr, errno := k.place(addr, n, flags)
	if errno != 0 {
		return errno
	}
	ar.start, ar.end = addr, addr+n
	k.flushAll(ar.start, ar.end)
	if from != nil {
		k.flush(from)
		k.shared = k.shared || ar.shared
	}
	k.mem.mapArea(ar)
	if from != nil && !k.fillMapping(from, ar) {
		k.mem.unmap(ar.start, ar.end)
		return -eNOMEM
	}
	return int64(addr)
}

// mappable checks that a descriptor may be mapped. It returns nil for /dev/zero.
func (k *kernel) mappable(fd int, prot, flags uint64) (*inode, int64) {
	f := k.file(fd)
	if f == nil {
		return nil, -eBADF
	}
	if f.kind == kindZero {
		return nil, 0
	}
	if f.kind != kindRegular {
		return nil, -eNODEV
	}
	if f.flags&oACCMODE == oWRONLY {
		return nil, -eACCES
	}
	if flags&3 != mapPrivate && prot&protWrite != 0 && f.flags&oACCMODE != oRDWR {
		return nil, -eACCES
	}
	if k.isMounted(f) { // its pages would have to be fetched when they are touched
		return nil, -eNODEV
	}
	return k.disk.inode(f.inode), 0
}

// place finds where a mapping goes.
func (k *kernel) place(addr, n, flags uint64) (uint64, int64) {
	if flags&(mapFixed|mapNoReplace) != 0 {
		start, end, ok := span(addr, n)
		switch {
		case !ok:
			return 0, -eINVAL
		case start < mapBottom:
			return 0, -ePERM
		case end > trampoline:
			return 0, -eNOMEM
		case flags&mapNoReplace != 0 && k.mem.areas.overlaps(start, end):
			return 0, -eEXIST
		}
		return start, 0
	}
	if start, end, ok := span(addr&^pageMask, n); ok && start >= mapBottom && end <= mapTop && !k.mem.areas.overlaps(start, end) {
		return start, 0
	}
	start, ok := k.mem.areas.gap(mapBottom, mapTop, n)
	if !ok {
		return 0, -eNOMEM
	}
	return start, 0
}

// fillMapping copies a file into its mapping. Pages of zeroes stay untouched. A private
// mapping does not see what is written to the file later.
func (k *kernel) fillMapping(from *inode, a area) bool {
	var buf page
	for at := a.start; at < a.end && a.offset+at-a.start < uint64(from.size); at += pageSize {
		n := from.read(buf[:], int64(a.offset+at-a.start))
		clear(buf[n:])
		if buf == zeroPage {
			continue
		}
		p := k.mem.own(at)
		if p == nil {
			return false
		}
		*p = buf
	}
	return true
}

func sysMunmap(k *kernel, _ *thread, a *[6]uint64) int64 {
	start, end, ok := span(a[0], a[1])
	if !ok || start == end || end > trampoline {
		return -eINVAL
	}
	if len(k.mem.areas) >= maxAreas {
		return -eNOMEM
	}
	k.flushAll(start, end)
	k.mem.unmap(start, end)
	return 0
}

func sysMprotect(k *kernel, _ *thread, a *[6]uint64) int64 {
	start, end, ok := span(a[0], a[1])
	switch {
	case !ok || end > trampoline:
		return -eINVAL
	case start == end:
		return 0
	case !k.mem.areas.covers(start, end) || len(k.mem.areas) >= maxAreas:
		return -eNOMEM
	}
	k.flushAll(start, end)
	k.mem.protect(start, end, permOf(a[2]))
	return 0
}

func sysMadvise(k *kernel, _ *thread, a *[6]uint64) int64 {
	start, end, ok := span(a[0], a[1])
	switch {
	case !ok:
		return -eINVAL
	case !k.mem.areas.covers(start, end):
		return -eNOMEM
	}
	switch a[2] {
	case madvDontneed, madvFree:
		if end > trampoline {
			return -eINVAL
		}
		for i := range k.mem.areas { // a private mapping of a file shows the file again
			ar := k.mem.areas[i]
			if ar.end <= start || ar.start >= end {
				continue
			}
			k.flushAll(ar.start, ar.end)
			lo, hi := max(ar.start, start), min(ar.end, end)
			if ar.inode != 0 && a[2] == madvFree {
				return -eINVAL
			}
			k.mem.discard(lo, hi)
			if in := k.disk.inode(ar.inode); ar.inode != 0 && in != nil {
				k.fillMapping(in, area{start: lo, end: hi, offset: ar.offset + lo - ar.start})
			}
		}
		return 0
	case 0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21: // hints that need nothing
		return 0
	}
	return -eINVAL
}

const (
	mremapMaymove = 1
	mremapFixed   = 2
)

func sysMremap(k *kernel, _ *thread, a *[6]uint64) int64 {
	start, oldEnd, ok := span(a[0], a[1])
	n, flags := (a[2]+pageMask)&^pageMask, a[3]
	if !ok || a[2] == 0 || n > maxMapping || flags&^3 != 0 || flags == mremapFixed || oldEnd > trampoline || start == oldEnd {
		return -eINVAL
	}
	i, found := k.mem.areas.find(start)
	if !found || k.mem.areas[i].end < oldEnd {
		return -eFAULT
	}
	k.flushAll(start, oldEnd)
	ar, old := k.mem.areas[i], oldEnd-start
	ar.offset += start - ar.start
	if flags&mremapFixed == 0 {
		if n <= old {
			if n < old {
				k.mem.unmap(start+n, oldEnd)
			}
			return int64(start)
		}
		if start+n <= mapTop && !k.mem.areas.overlaps(oldEnd, start+n) {
			grown := ar
			grown.start, grown.end, grown.offset = oldEnd, start+n, ar.offset+old
			k.mem.mapArea(grown)
			if in := k.disk.inode(grown.inode); in != nil && !k.fillMapping(in, grown) {
				return -eNOMEM
			}
			return int64(start)
		}
		if flags&mremapMaymove == 0 {
			return -eNOMEM
		}
	}
	to, errno := k.place(a[4]*(flags>>1&1), n, (flags>>1&1)*mapFixed)
	if errno != 0 {
		return errno
	}
	if to < oldEnd && start < to+n {
		return -eINVAL
	}
	moved := ar
	moved.start, moved.end = to, to+n
	k.mem.mapArea(moved)
	k.mem.move(start, to, min(old, n))
	if in := k.disk.inode(ar.inode); in != nil && n > old {
		tail := area{start: to + old, end: to + n, offset: ar.offset + old}
		if !k.fillMapping(in, tail) {
			k.mem.unmap(tail.start, tail.end)
		}
	}
	k.mem.unmap(start, oldEnd)
	return int64(to)
}

func sysBrk(k *kernel, _ *thread, a *[6]uint64) int64 {
	to := a[0]
	if to < k.brkStart || to > k.brkStart+brkLimit {
		return int64(k.brk)
	}
	old, end := (k.brk+pageMask)&^pageMask, (to+pageMask)&^pageMask
	if end > old {
		if k.mem.areas.overlaps(old, end) {
			return int64(k.brk)
		}
		k.mem.mapArea(area{start: old, end: end, perm: permRead | permWrite})
	} else if end < old {
		k.mem.unmap(end, old)
	}
	k.brk = to
	return int64(to)
}

// sysMincore says that all that is mapped is resident.
func sysMincore(k *kernel, _ *thread, a *[6]uint64) int64 {
	start, end, ok := span(a[0], a[1])
	if !ok {
		return -eINVAL
	}
	if !k.mem.areas.covers(start, end) {
		return -eNOMEM
	}
	n := (end - start) >> pageShift
	if !k.mem.writable(a[2], n) {
		return -eFAULT
	}
	for i := range n {
		k.mem.store(a[2]+i, 1, 1)
	}
	return 0
}

func sysMsync(k *kernel, _ *thread, a *[6]uint64) int64 {
	start, end, ok := span(a[0], a[1])
	if !ok {
		return -eINVAL
	}
	if !k.mem.areas.covers(start, end) {
		return -eNOMEM
	}
	k.flushAll(start, end)
	return 0
}

// sysMlock: there is nothing that could be swapped out.
func sysMlock(k *kernel, t *thread, a *[6]uint64) int64 { return 0 }
