package rv64

import (
	"encoding/binary"
	"slices"
)

// An interest is what an epoll file watches: a descriptor, and the file that it
// stood for then.
type interest struct {
	fd, file int
	events   uint32
	data     uint64
	edge     uint64 // the file's, when it was reported last
	off      bool   // a one-shot that was reported
}

func sysEpollCreate1(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0]&^oCLOEXEC != 0 {
		return -eINVAL
	}
	return k.install(&file{kind: kindEpoll, flags: oRDWR}, a[0]&oCLOEXEC != 0)
}

func sysEpollCtl(k *kernel, _ *thread, a *[6]uint64) int64 {
	ep, target := k.file(int(int32(a[0]))), k.file(int(int32(a[2])))
	switch {
	case ep == nil || target == nil:
		return -eBADF
	case ep.kind != kindEpoll || ep == target:
		return -eINVAL
	}
	switch target.kind {
	case kindRegular, kindDir, kindSnapshot, kindPath:
		return -ePERM
	case kindEpoll:
		if k.reaches(target, ep, 0) {
			return -eLOOP
		}
	}
	fd := int(int32(a[2]))
	i := slices.IndexFunc(ep.interests, func(in interest) bool { return in.fd == fd && in.file == target.id })
	var b [16]byte
	if a[1] != 2 && !k.mem.readBytes(a[3], b[:]) {
		return -eFAULT
	}
	in := interest{fd: fd, file: target.id, events: binary.LittleEndian.Uint32(b[:]), data: binary.LittleEndian.Uint64(b[8:]), edge: target.edge - 1}
	switch a[1] {
	case 1:
		if i >= 0 {
			return -eEXIST
		}
		if len(ep.interests) >= maxInterests {
			return -eNOSPC
		}
		ep.interests = append(ep.interests, in)
	case 2, 3:
		if i < 0 {
			return -eNOENT
		}
		if a[1] == 2 {
			ep.interests = slices.Delete(ep.interests, i, i+1)
			return 0
		}
		ep.interests[i] = in
	default:
		return -eINVAL
	}
	k.kick()
	return 0
}

// reaches reports whether one epoll file watches another, or would be watched too deeply.
func (k *kernel) reaches(from, to *file, depth int) bool {
	if from == to || depth > 4 {
		return true
	}
	for _, in := range from.interests {
		if f := k.files[in.file]; f.kind == kindEpoll && k.reaches(f, to, depth+1) {
			return true
		}
	}
	return false
}

// forgetInterests drops what epoll files watch of a file whose last descriptor is
// closed.
func (k *kernel) forgetInterests(f *file) {
	for _, ep := range k.files {
		if ep != nil && len(ep.interests) > 0 {
			ep.interests = slices.DeleteFunc(ep.interests, func(in interest) bool { return in.file == f.id })
		}
	}
}

// look returns what there is to be reported about an interest.
func (k *kernel) look(in *interest) uint32 {
	f := k.files[in.file]
	if in.off || in.events&epollET != 0 && in.edge == f.edge {
		return 0
	}
	return k.readiness(f) & (in.events | epollErr | epollHup)
}

func (k *kernel) anyReady(ep *file, depth int) bool {
	if depth > 5 {
		return false
	}
	for i := range ep.interests {
		if k.look(&ep.interests[i]) != 0 {
			return true
		}
	}
	return false
}

func sysEpollPwait(k *kernel, t *thread, a *[6]uint64) int64 {
	timeout := int64(int32(a[3]))
	if timeout >= 0 {
		timeout *= 1e6
	}
	return k.epollWait(t, a, timeout)
}

func sysEpollPwait2(k *kernel, t *thread, a *[6]uint64) int64 {
	timeout := int64(-1)
	if a[3] != 0 {
		var errno int64
		if timeout, errno = k.readTimespec(a[3]); errno != 0 {
			return errno
		}
	}
	return k.epollWait(t, a, timeout)
}

func (k *kernel) epollWait(t *thread, a *[6]uint64, timeout int64) int64 {
	ep, most := k.file(int(int32(a[0]))), int(int32(a[2]))
	switch {
	case ep == nil:
		return -eBADF
	case ep.kind != kindEpoll || most <= 0:
		return -eINVAL
	}
	if errno := k.enterMasked(t, a[4], a[5]); errno != 0 {
		return errno
	}
	n := int64(0)
	var b [16]byte
	var reported, rest []interest
	for _, in := range ep.interests {
		r := uint32(0)
		if n < int64(most) {
			r = k.look(&in)
		}
		if r == 0 {
			rest = append(rest, in)
			continue
		}
		binary.LittleEndian.PutUint32(b[:], r)
		binary.LittleEndian.PutUint64(b[8:], in.data)
		if !k.mem.writeBytes(a[1]+16*uint64(n), b[:]) {
			k.unswapMask(t)
			return -eFAULT
		}
		in.edge = k.files[in.file].edge
		in.off = in.events&epollOneshot != 0
		reported = append(reported, in)
		n++
	}
	if n > 0 {
		ep.interests = append(rest, reported...) // the next time, others come first
		k.unswapMask(t)
		return n
	}
	return k.pollWait(t, timeout)
}

// enterMasked sets the signal mask of a call that waits, the first time it is called.
func (k *kernel) enterMasked(t *thread, set, size uint64) int64 {
	if set == 0 || t.waiting != waitNot {
		return 0
	}
	if size != 8 {
		return -eINVAL
	}
	mask, ok := k.mem.load(set, 8)
	if !ok {
		return -eFAULT
	}
	k.swapMask(t, mask)
	return 0
}

// pollWait ends a look at files that found nothing: by waiting, or because the time
// is up. The timeout is in ns, negative for ever.
func (k *kernel) pollWait(t *thread, timeout int64) int64 {
	if queue, _ := k.nextSignal(t, ^t.mask|unblockable); queue != nil {
		return -eINTR
	}
	switch {
	case t.timedOut, timeout == 0:
		k.unswapMask(t)
		return 0
	case timeout < 0:
		return k.wait(t, waitChange, 0)
	}
	return k.wait(t, waitChange, k.monotonic()+uint64(timeout))
}

func (k *kernel) pollTimeout(addr uint64) (ns, errno int64) {
	if addr == 0 {
		return -1, 0
	}
	return k.readTimespec(addr)
}

func sysPpoll(k *kernel, t *thread, a *[6]uint64) int64 {
	if a[1] > maxFiles {
		return -eINVAL
	}
	timeout, errno := k.pollTimeout(a[2])
	if errno != 0 {
		return errno
	}
	b := make([]byte, 8*a[1])
	if !k.mem.readBytes(a[0], b) {
		return -eFAULT
	}
	if errno := k.enterMasked(t, a[3], a[4]); errno != 0 {
		return errno
	}
	n := int64(0)
	for i := 0; i < len(b); i += 8 {
		fd, events := int32(binary.LittleEndian.Uint32(b[i:])), uint32(binary.LittleEndian.Uint16(b[i+4:]))
		r := uint32(0)
		if f := k.file(int(fd)); f != nil {
			r = k.readiness(f) & (events | epollErr | epollHup)
		} else if fd >= 0 {
			r = 0x20 // POLLNVAL
		}
		binary.LittleEndian.PutUint16(b[i+6:], uint16(r))
		if r != 0 {
			n++
		}
	}
	if n == 0 {
		if n = k.pollWait(t, timeout); n == callBlocks || n < 0 {
			return n
		}
	}
	k.unswapMask(t)
	if !k.mem.writeBytes(a[0], b) {
		return -eFAULT
	}
	return n
}

// sysPselect6 watches sets of descriptors.
func sysPselect6(k *kernel, t *thread, a *[6]uint64) int64 {
	if a[0] > 1024 {
		return -eINVAL
	}
	timeout, errno := k.pollTimeout(a[4])
	if errno != 0 {
		return errno
	}
	size := (a[0] + 63) / 64 * 8
	var sets, found [3][]byte
	for i := range sets {
		sets[i], found[i] = make([]byte, size), make([]byte, size)
		if a[1+i] != 0 && !k.mem.readBytes(a[1+i], sets[i]) {
			return -eFAULT
		}
	}
	if a[5] != 0 && t.waiting == waitNot {
		set, ok1 := k.mem.load(a[5], 8)
		n, ok2 := k.mem.load(a[5]+8, 8)
		if !ok1 || !ok2 {
			return -eFAULT
		}
		if errno := k.enterMasked(t, set, n); errno != 0 {
			return errno
		}
	}
	n := int64(0)
	masks := [3]uint32{epollIn | epollHup | epollErr, epollOut | epollErr, epollPri}
	for fd := range int(a[0]) {
		for i := range sets {
			if sets[i][fd/8]>>(fd%8)&1 == 0 {
				continue
			}
			f := k.file(fd)
			if f == nil {
				k.unswapMask(t)
				return -eBADF
			}
			if k.readiness(f)&masks[i] != 0 {
				found[i][fd/8] |= 1 << (fd % 8)
				n++
			}
		}
	}
	if n == 0 {
		if n = k.pollWait(t, timeout); n == callBlocks || n < 0 {
			return n
		}
	}
	k.unswapMask(t)
	for i := range found {
		if a[1+i] != 0 && !k.mem.writeBytes(a[1+i], found[i]) {
			return -eFAULT
		}
	}
	return n
}
