package rv64

import "slices"

// transmit sends on a connected stream, or a datagram to the peer.
func (k *kernel) transmit(t *thread, s *socket, b []byte, nonblock bool, flags uint64) int64 {
	if s.kind == sockDgram {
		if s.state != socketConnected {
			return -eDESTADDRREQ
		}
		return k.transmitDatagram(s, s.peer, b)
	}
	done := func(errno int64) int64 {
		if n := t.progress; n > 0 {
			t.progress = 0
			return int64(n)
		}
		return errno
	}
	switch {
	case s.errno != 0:
		errno := s.errno
		s.errno = 0
		return done(-errno)
	case s.state == socketFresh || s.state == socketListening || s.state == socketConnecting:
		return -eNOTCONN
	case s.shutWrite || s.state == socketDead || s.conn == 0 && s.mate < 0:
		if flags&msgNosignal == 0 && t.progress == 0 {
			k.post(t, signalInfo{number: sigPIPE})
		}
		return done(-ePIPE)
	case t.timedOut:
		return done(-eAGAIN)
	}
	b = b[min(t.progress, uint64(len(b))):]
	n := min(len(b), k.sendRoom(s))
	if n > 0 {
		if s.conn != 0 {
			s.unacked += n
			k.emit(output{Kind: OutputData, Conn: s.conn, Data: slices.Clone(b[:n])})
		} else {
			mate := k.sockets[s.mate]
			if !mate.shutRead {
				mate.data = append(mate.data, b[:n]...)
			}
			k.socketChanged(mate)
		}
	}
	t.progress += uint64(n)
	if n == len(b) {
		done := t.progress
		t.progress = 0
		return int64(done)
	}
	if nonblock {
		return done(-eAGAIN)
	}
	return k.wait(t, waitChange, k.after(s.writeLimit))
}

// after is the deadline of a limit, 0 if there is none.
func (k *kernel) after(limit uint64) uint64 {
	if limit == 0 {
		return 0
	}
	return k.monotonic() + limit
}

func (k *kernel) transmitDatagram(s *socket, to address, b []byte) int64 {
	if len(b) > maxDatagram {
		return -eMSGSIZE
	}
	if s.domain == afUnix {
		if s.mate < 0 {
			return -eCONNREFUSED
		}
		return k.arrive(k.sockets[s.mate], s.local, b)
	}
	if s.local.port == 0 {
		from := address{family: to.family}
		if to.isV4() {
			from.ip[10], from.ip[11] = 0xff, 0xff
		}
		if errno := k.bind(s, from); errno != 0 {
			return errno
		}
	}
	if !to.local() {
		k.emit(output{Kind: OutputPacket, Conn: uint64(s.local.port), Addr: to, Data: slices.Clone(b)})
		return int64(len(b))
	}
	to = to.loopback()
	from := s.local
	if from.any() {
		from.ip = to.ip
	}
	if r := k.receiver(&to, &from); r != nil {
		return k.arrive(r, from, b)
	}
	if s.state == socketConnected { // nobody is there, and who is connected is told
		s.errno = eCONNREFUSED
		k.socketChanged(s)
	}
	return int64(len(b))
}

// arrive puts a datagram where it is received, or drops it if there is no room.
func (k *kernel) arrive(s *socket, from address, b []byte) int64 {
	if len(s.datagrams) < maxDatagrams && !s.shutRead {
		s.datagrams = append(s.datagrams, datagram{from, slices.Clone(b)})
		k.socketChanged(s)
	}
	return int64(len(b))
}

// receive reads from a socket. The sender of a datagram is put into from.
func (k *kernel) receive(t *thread, s *socket, b []byte, nonblock bool, flags uint64, from *address) (n int64, full int) {
	if s.errno != 0 && len(s.data) == 0 {
		errno := s.errno
		s.errno = 0
		return -errno, 0
	}
	switch {
	case s.kind == sockDgram && len(s.datagrams) > 0:
		d := s.datagrams[0]
		if flags&msgPeek == 0 {
			s.datagrams = slices.Delete(s.datagrams, 0, 1)
		}
		if from != nil {
			*from = d.from
		}
		return int64(copy(b, d.data)), len(d.data)
	case s.kind == sockStream && (s.state == socketFresh || s.state == socketListening || s.state == socketConnecting):
		return -eNOTCONN, 0
	case len(s.data) > 0:
		return k.receiveStream(t, s, b, nonblock, flags), 0
	case s.ended || s.shutRead:
		n := t.progress
		t.progress = 0
		return int64(n), 0
	case t.timedOut, nonblock || flags&msgDontwait != 0:
		return -eAGAIN, 0
	}
	return k.wait(t, waitChange, k.after(s.readLimit)), 0
}

func (k *kernel) receiveStream(t *thread, s *socket, b []byte, nonblock bool, flags uint64) int64 {
	if flags&msgWaitall != 0 && flags&msgPeek == 0 && len(s.data) < len(b) && !s.ended && !nonblock && !t.timedOut && len(b) <= socketBuffer/2 {
		return k.wait(t, waitChange, k.after(s.readLimit))
	}
	n := copy(b, s.data)
	if flags&msgPeek != 0 {
		return int64(n)
	}
	s.data = slices.Delete(s.data, 0, n)
	if s.conn != 0 {
		k.emit(output{Kind: OutputWindow, Conn: s.conn, Number: uint64(n)})
	} else if s.mate >= 0 {
		k.socketChanged(k.sockets[s.mate])
	}
	return int64(n)
}
