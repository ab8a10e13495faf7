package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/wire"
)

// A mux is one connection after its handshake, as both ends need it: frames go
// out through one writer, come in through one reader, and streams live on it.
// What only one end has, the calls, is the side's.
//
// There is no writer goroutine. Whoever adds a frame when nobody writes becomes
// the writer until nothing waits, or hands the role on; whoever adds one
// meanwhile just leaves it. So a lone call costs no hand-over, and many at once
// share their system calls.
type mux struct {
	nc     net.Conn
	tcp    *net.TCPConn // nc if it is one: net.Buffers needs the concrete type for writev
	in     frameReader
	side   side
	lim    Limits // what is tolerated here
	remote params // what the peer tolerates
	peer   Peer
	ctr    *counters
	log    hclog.Logger
	budget *connBudget // of a server's connection; nil on a client

	pieces [6][]byte   // what the writer hands to the transport at once
	vector net.Buffers // of pieces; a field because WriteTo makes it escape
	heads  [2][16]byte // of chunks among them that are not the first
	swift  int         // writes of chunks that were quick, in a row; a socket's buffer takes one of any network

	mu       busyMutex  // guards everything below, and the side's calls
	err      error      // why the connection ended, once it has
	out      *buffer    // encoded frames that wait for the writer
	spare    *buffer    // the writer's last buffer
	bulk     []*outflow // payloads of which chunks wait for the writer
	writing  bool       // somebody is the writer
	gathered bool       // all that is likely to come soon waits in out
	ponging  bool       // a pong waits in out
	pending  int        // calls in progress: if many, more frames are likely to come
	usual    int        // the most bytes in a round of writing, lately: how large to make out
	room     chan struct{}
	streams  map[uint64]*Stream
	drained  func()        // if not nil, called when a stream or the writer has ended
	silent   chan struct{} // if not nil, closed when the writer has ended

	ended chan struct{} // closed when err is set
	over  chan struct{} // closed when all has been told of it, and nobody writes
	probe *time.Timer
	every time.Duration // between two probes; 0 before run: PingInterval
	seen  int64         // heard at the last probe; guarded by mu
	quiet int           // probes since something was heard; guarded by mu
	owed  int           // of those, in a row, with calls in progress; guarded by mu
	left  int           // bytes of bulk that were to be sent at the last one; guarded by mu
}

// A side is the part of a mux that only a client or only a server has.
type side interface {
	// frame takes a whole frame. Its payload is borrowed. An error ends the
	// connection.
	frame(h frameHead, payload []byte) error
	// inflow returns where bytes of a chunk go. The mux's lock is held.
	inflow(id uint64) (*inflow, error)
	// arrived is told, with the lock held, that in has taken bytes.
	arrived(id uint64, in *inflow)
	// reset is told, without the lock, how the peer has ended a stream, before the
	// stream's user is.
	reset(end streamEnd)
	// settle is called by the reader before it may block, and before what it has
	// lent goes. An error ends the connection.
	settle() error
	// calm is called, with the lock held, when nothing has been heard for a
	// while: what a burst has left behind can go.
	calm()
	// lost is called once, without the lock, when the connection has ended.
	lost(err error)
}

// params are what a peer said of its limits in the handshake.
type params struct {
	maxMessage, maxBody, maxCalls, maxStreams, window int
}

// run readies a mux whose nc, remote and peer are set. The caller then calls
// read.
func (m *mux) run(s side, lim Limits, ctr *counters, log hclog.Logger) {
	m.side, m.lim, m.ctr, m.log = s, lim, ctr, log
	m.tcp, _ = m.nc.(*net.TCPConn)
	m.in.nc, m.in.block, m.in.total = m.nc, s.settle, &ctr.bytesIn
	m.in.panicked = func(r any) error { return rescued(ctr, log, m.peer.Addr, r) }
	m.ended, m.over = make(chan struct{}), make(chan struct{})
	m.streams = make(map[uint64]*Stream)
	if m.every == 0 {
		m.every = lim.PingInterval
	}
	m.mu.Lock()
	m.probe = time.AfterFunc(m.every, m.probePeer)
	m.mu.Unlock()
}

// fail ends the connection.
func (m *mux) fail(err error) {
	m.mu.Lock()
	m.failLocked(err)
	m.mu.Unlock()
}

// failLocked ends the connection: everything on it learns err.
func (m *mux) failLocked(err error) {
	if m.err != nil {
		return
	}
	m.err = err
	close(m.ended)
	m.probe.Stop()
	for _, o := range m.bulk {
		o.queued = false
		o.finish(err)
	}
	m.bulk = nil
	for _, st := range m.streams {
		st.endLocked(streamEnd{err: err, lost: true})
	}
	go func() { // closing can block, and lost takes other locks
		shut(m.ctr, m.log, m.peer.Addr, m.nc)
		m.side.lost(err)
		m.awaitSilence()
		close(m.over)
	}()
}

// awaitSilence waits for the writer of a connection that has ended.
func (m *mux) awaitSilence() {
	m.mu.Lock()
	var silent chan struct{}
	if m.writing {
		silent = make(chan struct{})
		m.silent = silent
	}
	m.mu.Unlock()
	if silent != nil {
		<-silent
	}
}

// read is the reader's loop. It returns when the connection has ended.
func (m *mux) read() {
	err := m.readFrames()
	if errors.Is(err, ErrProtocol) {
		m.side.settle() // what came before the mistake counts
	}
	m.in.close()
	switch {
	case errors.Is(err, ErrProtocol) && !isClosed(m.ended): // afterwards, frames miss what they are about
		m.log.Warn("closing a connection", "peer", m.peer.Addr, "error", err)
	case err == io.EOF: // which must not be taken for the end of a stream
		err = fmt.Errorf("%w: closed by the peer", ErrConnLost)
	case !errors.Is(err, ErrConnLost):
		err = fmt.Errorf("%w: %w", ErrConnLost, err)
	}
	m.fail(err)
}

func (m *mux) readFrames() error {
	for {
		h, payload, err := m.in.next()
		if err != nil {
			return err
		}
		switch h.kind {
		case kindChunk:
			err = m.readChunk(h)
		case kindData:
			err = m.readData(h)
		case kindCredit, kindFin, kindReset:
			err = m.streamFrame(h, payload)
		case kindPing:
			err = m.pong()
		case kindPong:
		default:
			err = m.side.frame(h, payload)
		}
		if err != nil {
			return err
		}
	}
}

// pong answers a ping. One answer waits at most, so that pings cannot pile up.
func (m *mux) pong() error {
	m.mu.Lock()
	if !m.ponging {
		m.ponging = true
		m.add(kindPong, 0, nil)
	}
	m.unlockAndWrite(noRounds)
	return nil
}

// readChunk moves the payload of a chunk to where its call wants it.
func (m *mux) readChunk(h frameHead) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := h.size; n > 0; {
		in, err := m.side.inflow(h.id)
		if err != nil {
			return err
		}
		dst := in.space(n)
		in.busy = true
		m.mu.Unlock()
		got, err := m.in.read(dst)
		m.mu.Lock()
		n -= got
		in.busy = false
		in.filled(got)
		if in.letGo != nil { // a caller took its buffer back, by way of the read deadline
			m.nc.SetReadDeadline(time.Time{})
			close(in.letGo)
			in.letGo = nil
			if isTimeout(err) {
				err = nil
			}
		}
		m.side.arrived(h.id, in)
		if err == nil {
			err = m.err
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// streamFrame handles the small frames of streams.
func (m *mux) streamFrame(h frameHead, payload []byte) error {
	d := wire.NewDecoder(payload)
	var credit uint64
	var end streamEnd
	switch h.kind {
	case kindCredit:
		credit = d.Uvarint()
	case kindReset:
		end.outcome, end.err = decodeError(&d)
	}
	if err := d.Finish(); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if h.kind == kindReset {
		m.side.reset(end)
	}
	m.mu.Lock()
	st := m.streams[h.id]
	if st == nil { // it ended here while this was under way
		m.mu.Unlock()
		return nil
	}
	switch h.kind {
	case kindCredit:
		if credit > 1<<31 || st.credit+int64(credit) > 1<<31 {
			m.mu.Unlock()
			return fmt.Errorf("%w: stream credit of %d bytes", ErrProtocol, credit)
		}
		st.creditLocked(int64(credit))
	case kindFin:
		st.finLocked()
	case kindReset:
		st.endLocked(end)
	}
	m.unlockAndWrite(noRounds)
	return nil
}

// appendCredit adds a frame that lets the peer send n bytes more on a stream.
func (m *mux) appendCredit(id uint64, n int64) {
	var b [binary.MaxVarintLen64]byte
	m.add(kindCredit, id, binary.AppendUvarint(b[:0], uint64(n)))
}
