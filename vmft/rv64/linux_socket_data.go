package rv64

import "encoding/binary"

func sysSendto(k *kernel, t *thread, a *[6]uint64) int64 {
	return k.send1(t, a[0], one(a), a[3], a[4], a[5])
}

// send1 sends what is in a list of vectors, to an address if there is one.
func (k *kernel) send1(t *thread, fd uint64, list []vector, flags, addr, size uint64) int64 {
	s, f, errno := k.socketOf(fd)
	if errno != 0 {
		return errno
	}
	b := make([]byte, 0, total(list))
	for _, v := range list {
		b = b[:len(b)+int(v.n)]
		if !k.mem.readBytes(v.addr, b[len(b)-int(v.n):]) {
			return -eFAULT
		}
	}
	nonblock := f.flags&oNONBLOCK != 0 || flags&msgDontwait != 0
	if addr == 0 || s.kind == sockStream {
		return k.transmit(t, s, b, nonblock, flags)
	}
	to, errno := k.readAddress(s, addr, size)
	if errno != 0 {
		return errno
	}
	if s.domain == afUnix {
		p, errno := k.walk(atFDCWD, to.path, true)
		if errno != 0 || p.in == nil {
			return -eNOENT
		}
		r := k.unixListener(to.path, p.in.id)
		if r == nil || r.kind != sockDgram {
			return -eCONNREFUSED
		}
		return k.arrive(r, s.local, b)
	}
	return k.transmitDatagram(s, to, b)
}

func sysRecvfrom(k *kernel, t *thread, a *[6]uint64) int64 {
	n, _, _ := k.receive1(t, a[0], one(a), a[3], func(s *socket, from address) int64 { return k.writeAddress(s, from, a[4], a[5]) })
	return n
}

// receive1 receives into a list of vectors. tell is given the sender.
func (k *kernel) receive1(t *thread, fd uint64, list []vector, flags uint64, tell func(*socket, address) int64) (n int64, full int, s *socket) {
	s, f, errno := k.socketOf(fd)
	if errno != 0 {
		return errno, 0, nil
	}
	for _, v := range list {
		if !k.mem.writable(v.addr, v.n) {
			return -eFAULT, 0, nil
		}
	}
	b := make([]byte, total(list))
	if len(b) == 0 && s.kind == sockStream {
		return 0, 0, s
	}
	from := s.peer
	n, full = k.receive(t, s, b, f.flags&oNONBLOCK != 0 || flags&msgDontwait != 0, flags, &from)
	if n < 0 {
		return n, 0, s
	}
	rest := b[:n]
	for _, v := range list {
		part := rest[:min(uint64(len(rest)), v.n)]
		k.mem.writeBytes(v.addr, part)
		rest = rest[len(part):]
	}
	if errno := tell(s, from); errno != 0 {
		return errno, 0, s
	}
	if flags&msgTrunc != 0 && full > 0 {
		n = int64(full)
	}
	return n, full, s
}

// header reads a struct msghdr.
func (k *kernel) header(addr uint64) (b [56]byte, list []vector, errno int64) {
	if !k.mem.readBytes(addr, b[:]) {
		return b, nil, -eFAULT
	}
	list, errno = k.vectors(binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]))
	return b, list, errno
}

func sysSendmsg(k *kernel, t *thread, a *[6]uint64) int64 {
	b, list, errno := k.header(a[1])
	switch {
	case errno != 0:
		return errno
	case binary.LittleEndian.Uint64(b[40:]) != 0: // descriptors and credentials are not passed
		return -eOPNOTSUPP
	}
	return k.send1(t, a[0], list, a[2], binary.LittleEndian.Uint64(b[0:]), uint64(binary.LittleEndian.Uint32(b[8:])))
}

func sysRecvmsg(k *kernel, t *thread, a *[6]uint64) int64 {
	b, list, errno := k.header(a[1])
	if errno != 0 {
		return errno
	}
	n, full, _ := k.receive1(t, a[0], list, a[2], func(s *socket, from address) int64 {
		if name := binary.LittleEndian.Uint64(b[0:]); name != 0 && (s.kind == sockDgram || s.domain == afUnix) {
			return k.writeAddress(s, from, name, a[1]+8)
		}
		k.mem.store(a[1]+8, 4, 0)
		return 0
	})
	if n >= 0 {
		flags := uint64(0)
		if uint64(full) > total(list) {
			flags = msgTrunc
		}
		k.mem.store(a[1]+40, 8, 0)
		k.mem.store(a[1]+48, 4, flags)
	}
	return n
}

// messages does a call for each struct mmsghdr of an array, and says how many it did
// before the first one that failed.
func (k *kernel) messages(t *thread, a *[6]uint64, call func(k *kernel, t *thread, a *[6]uint64) int64) int64 {
	for n := min(uint64(uint32(a[2])), maxVectors); t.batch < n; t.batch++ {
		at, flags := a[1]+64*t.batch, a[3]
		if flags&msgWaitForOne != 0 && t.batch > 0 {
			flags |= msgDontwait
		}
		size := call(k, t, &[6]uint64{a[0], at, flags})
		switch {
		case size == callBlocks:
			return size
		case size < 0 && t.batch == 0:
			return size
		case size < 0:
			n = t.batch
			t.batch = 0
			return int64(n)
		}
		k.mem.store(at+56, 4, uint64(size))
		t.timedOut = false
	}
	n := t.batch
	t.batch = 0
	return int64(n)
}

// sysRecvmmsg looks at no time limit, as Linux does while a message is waited for.
func sysRecvmmsg(k *kernel, t *thread, a *[6]uint64) int64 { return k.messages(t, a, sysRecvmsg) }

func sysSendmmsg(k *kernel, t *thread, a *[6]uint64) int64 { return k.messages(t, a, sysSendmsg) }
