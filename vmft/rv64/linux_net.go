package rv64

import "slices"

// An address is one of a socket. IPv4 is kept as it is mapped into IPv6.
type address struct {
	family uint16 // 0: none
	ip     [16]byte
	port   uint16
	path   string // of a Unix socket; an abstract name starts with a zero byte
}

func (a *address) isV4() bool {
	return [12]byte(a.ip[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// any reports whether it stands for all addresses of the machine.
func (a *address) any() bool {
	return a.ip == [16]byte{} || a.isV4() && [4]byte(a.ip[12:]) == [4]byte{}
}

// local reports whether it is an address of the machine itself.
func (a *address) local() bool {
	return a.any() || a.isV4() && a.ip[12] == 127 || a.ip == [16]byte{15: 1}
}

// loopback replaces the address for all by the one that reaches the machine itself.
func (a address) loopback() address {
	if a.any() {
		if a.isV4() {
			a.ip[12], a.ip[15] = 127, 1
		} else {
			a.ip[15] = 1
		}
	}
	return a
}

type socketState uint8

const (
	socketFresh      socketState = iota
	socketListening              // from fresh
	socketConnecting             // from fresh, to somewhere outside
	socketConnected              // from fresh or connecting
	socketDead                   // reset, refused; from connecting or connected
)

// Limits of sockets, in bytes and connections.
const (
	socketBuffer = 256 << 10
	maxBacklog   = 1024
	maxDatagrams = 256
	maxDatagram  = 65507
)

type datagram struct {
	from address
	data []byte
}

// A socket is one end of a connection, a listener, or a place for datagrams.
type socket struct {
	id     int
	domain int
	kind   int // sockStream or sockDgram
	state  socketState
	file   int // -1 while it is in a backlog
	local  address
	peer   address
	v6only bool
	inode  int   // of a Unix socket with a path
	errno  int64 // to be reported once

	data      []byte // received, not yet read
	datagrams []datagram
	ended     bool // the peer sends no more
	shutRead  bool
	shutWrite bool

	mate    int    // the other end, if it is in the machine too; -1: none
	conn    uint64 // the connection to outside, 0: none
	unacked int    // bytes that have been sent on it and not been taken over outside

	backlog    []int
	backlogMax int
	options    []socketOption
	readLimit  uint64 // SO_RCVTIMEO in ns, 0: for ever
	writeLimit uint64
}

type socketOption struct {
	level, name, value int
}

func (k *kernel) newSocket(domain, kind int) *socket {
	s := &socket{id: slot(&k.sockets), domain: domain, kind: kind, file: -1, mate: -1}
	k.sockets[s.id] = s
	return s
}

// socketChanged tells those who watch a socket.
func (k *kernel) socketChanged(s *socket) {
	if s.file >= 0 {
		k.changed(k.files[s.file])
	}
	k.kick()
}

func (k *kernel) socketReadiness(s *socket) (r uint32) {
	switch {
	case s.state == socketListening:
		if len(s.backlog) > 0 {
			return epollIn
		}
		return 0
	case s.kind == sockDgram:
		r = epollOut
		if len(s.datagrams) > 0 || s.ended {
			r |= epollIn
		}
	case s.state == socketFresh:
		return epollOut | epollHup
	case s.state == socketConnecting:
		return 0
	case s.state == socketDead:
		return epollIn | epollOut | epollHup | epollErr | epollRdhup
	default:
		if len(s.data) > 0 || s.ended || s.shutRead {
			r = epollIn
		}
		if s.ended {
			r |= epollRdhup
		}
		if s.ended && s.shutWrite {
			r |= epollHup
		}
		if k.sendRoom(s) >= socketBuffer/4 || s.shutWrite {
			r |= epollOut
		}
	}
	if s.errno != 0 {
		r |= epollErr
	}
	return r
}

// sendRoom is how many bytes a connected socket takes at once.
func (k *kernel) sendRoom(s *socket) int {
	if s.conn != 0 {
		return socketBuffer - s.unacked
	}
	if s.mate < 0 {
		return socketBuffer // it fails
	}
	return socketBuffer - len(k.sockets[s.mate].data)
}

// closeSocket lets go of a socket that no descriptor stands for any more.
func (k *kernel) closeSocket(s *socket) {
	if s.state == socketListening {
		if s.domain != afUnix {
			k.emit(output{Kind: OutputUnlisten, Conn: uint64(s.local.port)})
		}
		for _, id := range s.backlog {
			k.closeSocket(k.sockets[id])
		}
	}
	if s.kind == sockDgram && s.domain != afUnix && s.local.port != 0 {
		k.emit(output{Kind: OutputUnbind, Conn: uint64(s.local.port)})
	}
	if s.conn != 0 && s.state != socketDead {
		k.emit(output{Kind: OutputClose, Conn: s.conn})
	}
	if s.mate >= 0 {
		mate := k.sockets[s.mate]
		mate.mate = -1
		mate.ended = true
		if len(s.data) > 0 { // what the peer has sent was not read
			k.reset(mate, eCONNRESET)
		}
		k.socketChanged(mate)
	}
	for _, other := range k.sockets { // those whose datagrams went there
		if other != nil && other.mate == s.id {
			other.mate = -1
		}
	}
	k.sockets[s.id] = nil
	if in := k.disk.inode(s.inode); in != nil {
		in.opens--
		k.disk.release(in)
	}
}

// reset ends a connection with an error.
func (k *kernel) reset(s *socket, errno int64) {
	s.state, s.errno, s.ended = socketDead, errno, true
	s.data = nil
	k.socketChanged(s)
}

// accepts reports whether a socket that is bound takes what is sent to an address.
func (s *socket) accepts(to *address) bool {
	switch {
	case s.local.port != to.port || s.domain == afUnix:
		return false
	case !s.local.any():
		return s.local.ip == to.ip || to.any()
	case to.isV4():
		return s.domain == afInet || !s.v6only
	}
	return s.domain == afInet6
}

// listener finds who listens on an address.
func (k *kernel) listener(to *address) *socket {
	var found *socket
	for _, s := range k.sockets {
		if s != nil && s.state == socketListening && s.accepts(to) && (found == nil || found.local.any() && !s.local.any()) {
			found = s
		}
	}
	return found
}

// receiver finds the socket that datagrams to an address go to.
func (k *kernel) receiver(to, from *address) *socket {
	var found *socket
	for _, s := range k.sockets {
		if s == nil || s.kind != sockDgram || !s.accepts(to) {
			continue
		}
		if s.state == socketConnected {
			if s.peer.port == from.port && s.peer.ip == from.ip {
				return s
			}
			continue
		}
		if found == nil || found.local.any() && !s.local.any() {
			found = s
		}
	}
	return found
}

// free reports whether an address may be bound.
func (k *kernel) free(s *socket, to *address) bool {
	for _, other := range k.sockets {
		if other == nil || other == s || other.kind != s.kind || other.domain == afUnix || other.local.port != to.port {
			continue
		}
		if other.file < 0 || other.state == socketConnected && other.kind == sockStream {
			continue // a connection does not keep others from listening
		}
		if s.option(1, 15) != 0 && other.option(1, 15) != 0 { // SO_REUSEPORT
			continue
		}
		bothAny := (other.local.any() || to.any()) && !(s.v6only && other.domain == afInet || other.v6only && s.domain == afInet)
		if bothAny || other.local.ip == to.ip {
			return false
		}
	}
	return true
}

const (
	firstPort = 32768
	lastPort  = 60999
)

// ephemeral finds a free port.
func (k *kernel) ephemeral(s *socket, at address) (uint16, bool) {
	for range lastPort - firstPort + 1 {
		k.nextPort++
		if k.nextPort < firstPort || k.nextPort > lastPort {
			k.nextPort = firstPort
		}
		if at.port = k.nextPort; k.free(s, &at) {
			return at.port, true
		}
	}
	return 0, false
}

// bind gives a socket of the internet its local address.
func (k *kernel) bind(s *socket, to address) int64 {
	if !to.local() {
		return -eADDRNOTAVAIL
	}
	if to.port == 0 {
		port, ok := k.ephemeral(s, to)
		if !ok {
			return -eADDRINUSE
		}
		to.port = port
	} else if !k.free(s, &to) {
		return -eADDRINUSE
	}
	s.local = to
	if s.kind == sockDgram {
		k.emit(output{Kind: OutputBind, Conn: uint64(to.port)})
	}
	return 0
}

func (s *socket) option(level, name int) int {
	for _, o := range s.options {
		if o.level == level && o.name == name {
			return o.value
		}
	}
	return 0
}

func (s *socket) setOption(level, name, value int) {
	i := slices.IndexFunc(s.options, func(o socketOption) bool { return o.level == level && o.name == name })
	if i < 0 {
		s.options = append(s.options, socketOption{level, name, value})
		return
	}
	s.options[i].value = value
}

// join connects a socket to a listener in the machine.
func (k *kernel) join(s, listener *socket, to address) int64 {
	if len(listener.backlog) >= listener.backlogMax {
		return -eCONNREFUSED
	}
	far := k.newSocket(listener.domain, sockStream)
	far.state, far.local, far.peer, far.mate = socketConnected, to, s.local, s.id
	s.state, s.peer, s.mate = socketConnected, to, far.id
	listener.backlog = append(listener.backlog, far.id)
	k.socketChanged(listener)
	k.socketChanged(s)
	return 0
}

// connectStream starts a connection.
func (k *kernel) connectStream(t *thread, s *socket, to address, nonblock bool) int64 {
	switch s.state {
	case socketConnected:
		if t.waiting != waitNot {
			return 0
		}
		return -eISCONN
	case socketListening:
		return -eISCONN
	case socketDead:
		errno := s.errno
		if s.errno = 0; errno == 0 {
			errno = eCONNABORTED
		}
		return -errno
	case socketConnecting:
		if t.waiting != waitNot {
			return k.wait(t, waitChange, 0)
		}
		return -eALREADY
	}
	if s.local.port == 0 {
		from := address{family: to.family, ip: to.loopback().ip}
		if !to.local() { // the host will say which address it is
			from.ip = [16]byte{10: to.ip[10], 11: to.ip[11]}
		}
		port, ok := k.ephemeral(s, from)
		if !ok {
			return -eADDRNOTAVAIL
		}
		from.port = port
		s.local = from
	} else if s.local.any() {
		s.local.ip = to.loopback().ip
	}
	if to.local() {
		to = to.loopback()
		l := k.listener(&to)
		if l == nil {
			return -eCONNREFUSED
		}
		return k.join(s, l, to)
	}
	k.nextConn++
	s.conn, s.state, s.peer = k.nextConn, socketConnecting, to
	k.emit(output{Kind: OutputDial, Conn: s.conn, Addr: to})
	if nonblock {
		return -eINPROGRESS
	}
	return k.wait(t, waitChange, 0)
}

// ofConn finds the socket of a connection to outside.
func (k *kernel) ofConn(conn uint64) *socket {
	for _, s := range k.sockets {
		if s != nil && s.conn == conn {
			return s
		}
	}
	return nil
}
