package rv64

import (
	"encoding/binary"
	"slices"
)

func sysSocket(k *kernel, _ *thread, a *[6]uint64) int64 {
	domain, kind, proto := int(a[0]), int(a[1])&0xf, a[2]
	switch {
	case domain != afUnix && domain != afInet && domain != afInet6:
		return -eAFNOSUPPORT
	case kind != sockStream && kind != sockDgram:
		return -eSOCKTNOSUPPORT
	case domain != afUnix && proto != 0 && !(kind == sockStream && proto == 6 || kind == sockDgram && proto == 17):
		return -ePROTONOSUPPORT
	}
	return k.installSocket(k.newSocket(domain, kind), a[1])
}

func (k *kernel) installSocket(s *socket, flags uint64) int64 {
	f := &file{kind: kindSocket, flags: int(flags&sockNonblock) | oRDWR, socket: s.id}
	fd := k.install(f, flags&sockCloexec != 0)
	if fd >= 0 {
		s.file = f.id
	}
	return fd
}

func sysSocketpair(k *kernel, _ *thread, a *[6]uint64) int64 {
	kind := int(a[1]) & 0xf
	switch {
	case a[0] != afUnix:
		return -eOPNOTSUPP
	case kind != sockStream && kind != sockDgram:
		return -eSOCKTNOSUPPORT
	case !k.mem.writable(a[3], 8):
		return -eFAULT
	}
	var fds [2]int64
	var pair [2]*socket
	for i := range pair {
		pair[i] = k.newSocket(afUnix, kind)
		pair[i].state = socketConnected
		if fds[i] = k.installSocket(pair[i], a[1]); fds[i] < 0 {
			if i == 1 {
				k.closeDescriptor(int(fds[0]))
			}
			return fds[i]
		}
	}
	pair[0].mate, pair[1].mate = pair[1].id, pair[0].id
	k.mem.store(a[3], 4, uint64(fds[0]))
	k.mem.store(a[3]+4, 4, uint64(fds[1]))
	return 0
}

// socketOf returns the socket of a descriptor.
func (k *kernel) socketOf(fd uint64) (*socket, *file, int64) {
	f := k.file(int(int32(fd)))
	switch {
	case f == nil:
		return nil, nil, -eBADF
	case f.kind != kindSocket:
		return nil, nil, -eNOTSOCK
	}
	return k.sockets[f.socket], f, 0
}

// readAddress reads a sockaddr for a socket of a domain.
func (k *kernel) readAddress(s *socket, addr, n uint64) (address, int64) {
	var b [128]byte
	if n < 2 || n > 128 {
		return address{}, -eINVAL
	}
	if !k.mem.readBytes(addr, b[:n]) {
		return address{}, -eFAULT
	}
	at := address{family: binary.LittleEndian.Uint16(b[:])}
	switch {
	case at.family == 0 && n >= 16 && s.domain == afInet:
		at.family = afInet
		fallthrough
	case at.family == afInet && n >= 16 && s.domain == afInet:
		at.ip[10], at.ip[11] = 0xff, 0xff
		copy(at.ip[12:], b[4:8])
	case at.family == afInet6 && n >= 24 && s.domain == afInet6:
		copy(at.ip[:], b[8:24])
	case at.family == afUnix && s.domain == afUnix:
		at.path = string(b[2:n])
		if n > 2 && b[2] != 0 {
			at.path = string(b[2 : 2+slices.Index(append(b[2:n:n], 0), 0)])
		}
		return at, 0
	case at.family == uint16(s.domain):
		return at, -eINVAL
	default:
		return at, -eAFNOSUPPORT
	}
	at.port = binary.BigEndian.Uint16(b[2:])
	return at, 0
}

// writeAddress writes the address of a socket of a domain, as much as there is room for.
func (k *kernel) writeAddress(s *socket, at address, addr, size uint64) int64 {
	if addr == 0 {
		return 0
	}
	room, ok := k.mem.load(size, 4)
	if !ok {
		return -eFAULT
	}
	if int32(room) < 0 {
		return -eINVAL
	}
	b := binary.LittleEndian.AppendUint16(nil, uint16(s.domain))
	switch s.domain {
	case afUnix:
		if b = append(b, at.path...); at.path != "" && at.path[0] != 0 {
			b = append(b, 0)
		}
	case afInet:
		b = binary.BigEndian.AppendUint16(b, at.port)
		b = append(append(b, at.ip[12:]...), make([]byte, 8)...)
	default:
		b = binary.BigEndian.AppendUint16(b, at.port)
		b = append(append(append(b, 0, 0, 0, 0), at.ip[:]...), 0, 0, 0, 0)
	}
	if !k.mem.writeBytes(addr, b[:min(uint64(len(b)), room)]) || !k.mem.store(size, 4, uint64(len(b))) {
		return -eFAULT
	}
	return 0
}

func sysBind(k *kernel, _ *thread, a *[6]uint64) int64 {
	s, _, errno := k.socketOf(a[0])
	if errno != 0 {
		return errno
	}
	at, errno := k.readAddress(s, a[1], a[2])
	switch {
	case errno != 0:
		return errno
	case s.local.port != 0 || s.local.path != "" || s.state != socketFresh:
		return -eINVAL
	case s.domain != afUnix:
		return k.bind(s, at)
	case at.path == "":
		return -eINVAL
	case at.path[0] == 0:
		if k.unixListener(at.path, 0) != nil {
			return -eADDRINUSE
		}
		s.local = at
		return 0
	}
	p, errno := k.walk(atFDCWD, at.path, false)
	switch {
	case errno != 0:
		return errno
	case p.in != nil:
		return -eADDRINUSE
	case p.dir.device != deviceNone:
		return -eACCES
	}
	now := k.realtime()
	in := k.disk.add(sIFSOCK|0o777&^k.umask, now)
	k.disk.link(p.dir, p.name, in, now)
	in.opens++
	s.local, s.inode = at, in.id
	return 0
}

// unixListener finds the socket of a name or an inode, that listens or is bound.
func (k *kernel) unixListener(name string, inode int) *socket {
	for _, s := range k.sockets {
		if s != nil && s.domain == afUnix && s.file >= 0 && s.state != socketConnected && (inode != 0 && s.inode == inode || inode == 0 && s.local.path == name) {
			return s
		}
	}
	return nil
}

func sysListen(k *kernel, _ *thread, a *[6]uint64) int64 {
	s, _, errno := k.socketOf(a[0])
	switch {
	case errno != 0:
		return errno
	case s.kind != sockStream:
		return -eOPNOTSUPP
	case s.state != socketFresh && s.state != socketListening:
		return -eINVAL
	}
	if s.domain != afUnix && s.local.port == 0 {
		at := address{family: uint16(s.domain)}
		if s.domain == afInet {
			at.ip[10], at.ip[11] = 0xff, 0xff
		}
		if errno := k.bind(s, at); errno != 0 {
			return errno
		}
	}
	s.backlogMax = min(max(int(int32(a[1])), 1), maxBacklog)
	if s.state == socketFresh && s.domain != afUnix {
		k.emit(output{Kind: OutputListen, Conn: uint64(s.local.port)})
	}
	s.state = socketListening
	return 0
}

func sysAccept(k *kernel, t *thread, a *[6]uint64) int64 {
	return sysAccept4(k, t, &[6]uint64{a[0], a[1], a[2]})
}

func sysAccept4(k *kernel, t *thread, a *[6]uint64) int64 {
	s, f, errno := k.socketOf(a[0])
	switch {
	case errno != 0:
		return errno
	case s.kind != sockStream:
		return -eOPNOTSUPP
	case s.state != socketListening || a[3]&^(sockNonblock|sockCloexec) != 0:
		return -eINVAL
	case len(s.backlog) == 0:
		return k.blockOr(t, f)
	}
	c := k.sockets[s.backlog[0]]
	if errno := k.writeAddress(c, c.peer, a[1], a[2]); errno != 0 {
		return errno
	}
	s.backlog = slices.Delete(s.backlog, 0, 1)
	return k.installSocket(c, a[3])
}

func sysConnect(k *kernel, t *thread, a *[6]uint64) int64 {
	s, f, errno := k.socketOf(a[0])
	if errno != 0 {
		return errno
	}
	at, errno := k.readAddress(s, a[1], a[2])
	switch {
	case s.kind == sockDgram && errno == -eAFNOSUPPORT && at.family == 0:
		s.state, s.peer = socketFresh, address{}
		return 0
	case errno != 0:
		return errno
	case s.domain == afUnix:
		return k.connectUnix(s, at)
	case s.kind == sockStream:
		return k.connectStream(t, s, at, f.flags&oNONBLOCK != 0)
	}
	if s.local.port == 0 {
		from := address{family: at.family}
		if at.isV4() {
			from.ip[10], from.ip[11] = 0xff, 0xff
		}
		if at.local() {
			from.ip = at.loopback().ip
		}
		if errno := k.bind(s, from); errno != 0 {
			return errno
		}
	}
	s.state, s.peer = socketConnected, at.loopback()
	return 0
}

func (k *kernel) connectUnix(s *socket, at address) int64 {
	if s.state != socketFresh {
		return -eISCONN
	}
	inode := 0
	if at.path == "" || at.path[0] != 0 {
		p, errno := k.walk(atFDCWD, at.path, true)
		switch {
		case errno != 0:
			return errno
		case p.in == nil:
			return -eNOENT
		}
		inode = p.in.id
	}
	l := k.unixListener(at.path, inode)
	switch {
	case l == nil:
		return -eCONNREFUSED
	case l.kind != s.kind:
		return -ePROTOTYPE
	case s.kind == sockDgram:
		s.state, s.mate, s.peer = socketConnected, l.id, at
		return 0
	case l.state != socketListening:
		return -eCONNREFUSED
	}
	return k.join(s, l, at)
}

func sysGetsockname(k *kernel, _ *thread, a *[6]uint64) int64 {
	s, _, errno := k.socketOf(a[0])
	if errno != 0 {
		return errno
	}
	at := s.local
	if s.domain == afInet && at.family == 0 {
		at.ip[10], at.ip[11] = 0xff, 0xff
	}
	return k.writeAddress(s, at, a[1], a[2])
}

func sysGetpeername(k *kernel, _ *thread, a *[6]uint64) int64 {
	s, _, errno := k.socketOf(a[0])
	if errno != 0 {
		return errno
	}
	if s.state != socketConnected {
		return -eNOTCONN
	}
	return k.writeAddress(s, s.peer, a[1], a[2])
}

func sysShutdown(k *kernel, _ *thread, a *[6]uint64) int64 {
	s, _, errno := k.socketOf(a[0])
	switch {
	case errno != 0:
		return errno
	case a[1] > 2:
		return -eINVAL
	case s.state == socketListening:
		s.state = socketDead
		k.emit(output{Kind: OutputUnlisten, Conn: uint64(s.local.port)})
		k.socketChanged(s)
		return 0
	case s.state != socketConnected:
		return -eNOTCONN
	}
	if a[1] != 1 {
		s.shutRead = true
	}
	if a[1] != 0 && !s.shutWrite {
		s.shutWrite = true
		if s.conn != 0 {
			k.emit(output{Kind: OutputShutdown, Conn: s.conn})
		} else if s.mate >= 0 {
			mate := k.sockets[s.mate]
			mate.ended = true
			k.socketChanged(mate)
		}
	}
	k.socketChanged(s)
	return 0
}

func sysSetsockopt(k *kernel, _ *thread, a *[6]uint64) int64 {
	s, _, errno := k.socketOf(a[0])
	if errno != 0 {
		return errno
	}
	level, name := int(int32(a[1])), int(int32(a[2]))
	if level == 1 && (name == 20 || name == 21 || name == 66 || name == 67) {
		var b [16]byte
		if a[4] < 16 || !k.mem.readBytes(a[3], b[:]) {
			return -eINVAL
		}
		limit := uint64(nanoseconds(int64(binary.LittleEndian.Uint64(b[:])), int64(binary.LittleEndian.Uint64(b[8:])%1e6)*1000))
		if name == 20 || name == 66 {
			s.readLimit = limit
		} else {
			s.writeLimit = limit
		}
		return 0
	}
	if a[4] < 4 {
		return -eINVAL
	}
	v, ok := k.mem.load(a[3], 4)
	if !ok {
		return -eFAULT
	}
	switch level {
	case 1, 6, 0, 41:
	default:
		return -eNOPROTOOPT
	}
	if len(s.options) > 64 {
		return -eNOBUFS
	}
	if level == 41 && name == 26 {
		if s.domain != afInet6 {
			return -eNOPROTOOPT
		}
		s.v6only = v != 0
	}
	s.setOption(level, name, int(int32(v)))
	return 0
}

func sysGetsockopt(k *kernel, _ *thread, a *[6]uint64) int64 {
	s, _, errno := k.socketOf(a[0])
	if errno != 0 {
		return errno
	}
	level, name := int(int32(a[1])), int(int32(a[2]))
	v := s.option(level, name)
	switch {
	case level == 1 && name == 3:
		v = s.kind
	case level == 1 && name == 4:
		v, s.errno = int(s.errno), 0
	case level == 1 && (name == 7 || name == 8):
		v = socketBuffer
	case level == 1 && name == 30:
		v = int(truth(s.state == socketListening))
	case level == 1 && name == 38:
		if s.domain != afUnix {
			v = map[int]int{sockStream: 6, sockDgram: 17}[s.kind]
		}
	case level == 1 && name == 39:
		v = s.domain
	case level == 41 && name == 26:
		v = int(truth(s.v6only))
	case level != 1 && level != 6 && level != 0 && level != 41:
		return -eNOPROTOOPT
	}
	room, ok := k.mem.load(a[4], 4)
	if !ok {
		return -eFAULT
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(v))
	n := min(room, 4)
	if !k.mem.writeBytes(a[3], b[:n]) || !k.mem.store(a[4], 4, n) {
		return -eFAULT
	}
	return 0
}
