package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
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

	pair   [2][]byte   // what the writer hands to the transport at once
	vector net.Buffers // of pair; a field because WriteTo makes it escape

	mu      sync.Mutex // guards everything below, and the side's calls
	err     error      // why the connection ended, once it has
	out     *buffer    // encoded frames that wait for the writer
	spare   *buffer    // the writer's last buffer
	bulk    []*outflow // payloads of which chunks wait for the writer
	writing bool       // somebody is the writer
	ponging bool       // a pong waits in out
	pending int        // calls in progress: if many, more frames are likely to come
	usual   int        // the most bytes in a round of writing, lately: how large to make out
	room    chan struct{}
	streams map[uint64]*Stream
	drained func()        // if not nil, called when a stream or the writer has ended
	silent  chan struct{} // if not nil, closed when the writer has ended

	ended chan struct{} // closed when err is set
	over  chan struct{} // closed when all has been told of it, and nobody writes
	probe *time.Timer
	quiet int   // probes since something was heard; guarded by mu
	seen  int64 // heard at the last probe; guarded by mu
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
	// settle is called by the reader before it may block.
	settle()
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
	m.ended, m.over = make(chan struct{}), make(chan struct{})
	m.streams = make(map[uint64]*Stream)
	m.mu.Lock()
	m.probe = time.AfterFunc(lim.PingInterval, m.probePeer)
	m.mu.Unlock()
}

// An outflow is a payload on its way out in chunks. Guarded by the mux's lock.
type outflow struct {
	kind   frameKind
	id     uint64
	rest   [2][]byte // what has not been handed to the transport: fields, body
	stream *Stream   // whose credit it uses, if it is a stream's
	queued bool      // in mux.bulk
	busy   int       // bytes of it that are in a write
	sent   int       // bytes that the transport has taken, or that were copied for it
	cut    bool      // to be sent no further
	last   func()    // called, if not nil, before the last chunk leaves
	done   func(err error)
}

// size returns how many bytes the next chunk may have.
func (o *outflow) size() int {
	n := min(len(o.rest[0]), maxChunk)
	if n == 0 {
		n = min(len(o.rest[1]), maxChunk)
	}
	if o.stream != nil {
		n = int(min(int64(n), o.stream.credit))
	}
	return n
}

func (o *outflow) take(n int) []byte {
	i := 0
	if len(o.rest[0]) == 0 {
		i = 1
	}
	chunk := o.rest[i][:n]
	o.rest[i] = o.rest[i][n:]
	if o.stream != nil {
		o.stream.credit -= int64(n)
	}
	return chunk
}

func (o *outflow) empty() bool { return len(o.rest[0]) == 0 && len(o.rest[1]) == 0 }

// finish ends the flow; the caller holds the lock.
func (o *outflow) finish(err error) {
	o.rest = [2][]byte{}
	if done := o.done; done != nil {
		o.done = nil
		done(err)
	}
}

// pushBulk queues o, unless it has no credit. The lock is held.
func (m *mux) pushBulk(o *outflow) {
	if !o.queued && o.busy == 0 && !o.cut && o.size() > 0 {
		o.queued = true
		m.bulk = append(m.bulk, o)
	}
}

// cutBulk takes o out of the way and ends it, at once or, if a chunk of it is
// in a write, when that is over. The lock is held.
func (m *mux) cutBulk(o *outflow) {
	o.cut = true
	if o.queued {
		i := slices.Index(m.bulk, o)
		m.bulk = slices.Delete(m.bulk, i, i+1)
		o.queued = false
	}
	if o.busy == 0 {
		o.finish(nil)
	}
}

// buffered returns the buffer of frames that wait, to append to. The lock is
// held.
func (m *mux) buffered() *buffer {
	if m.out == nil {
		if m.out = m.spare; m.out == nil {
			m.out = getBuffer(max(1<<10, m.usual))
		}
		m.spare = nil
	}
	return m.out
}

// add appends a frame to those that wait. The lock is held.
func (m *mux) add(kind frameKind, id uint64, payload []byte) {
	o := m.buffered()
	o.b = appendHead(o.b, kind, id, len(payload))
	o.b = append(o.b, payload...)
}

// full reports whether too many frames wait. Only frames whose number nothing else
// bounds need to ask. The lock is held.
func (m *mux) full() bool { return m.err == nil && m.out != nil && len(m.out.b) > maxPending }

// awaitRoom waits until it is worth asking full again, or stop is closed, and
// reports whether that came first. The lock is held on entry and on return.
func (m *mux) awaitRoom(stop <-chan struct{}) (stopped bool) {
	if m.room == nil {
		m.room = make(chan struct{})
	}
	room := m.room
	m.mu.Unlock()
	defer m.mu.Lock()
	select {
	case <-room:
	case <-m.ended:
	case <-stop:
		return true
	}
	return false
}

// stirRoom wakes all who wait for room. The lock is held.
func (m *mux) stirRoom() {
	if m.room != nil {
		close(m.room)
		m.room = nil
	}
}

// waitRoom waits until the frames that wait are few. The lock is held on entry
// and on return.
func (m *mux) waitRoom(ctx context.Context) error {
	for m.full() {
		if m.awaitRoom(ctx.Done()) {
			return ctxError(ctx)
		}
	}
	return m.err
}

// rounds of writing before the role is handed on.
const (
	noRounds     = 0  // do not write here
	fewRounds    = 2  // a caller that waits for its answer
	workerRounds = 16 // a goroutine of ours that has nothing else to do
	allRounds    = -1
)

// unlockAndWrite sees to it that what waits is written: here, for at most so
// many rounds, or by a goroutine of its own. The lock is held on entry.
func (m *mux) unlockAndWrite(rounds int) {
	if m.writing || m.err != nil || m.out == nil && len(m.bulk) == 0 {
		m.mu.Unlock()
		return
	}
	m.writing = true
	crowd := m.pending > 1
	m.mu.Unlock()
	if rounds == noRounds {
		go m.write(allRounds, crowd)
		return
	}
	m.write(rounds, crowd)
}

// write is the writer's loop. crowd tells that others are likely to add frames
// in a moment: they are let go first, so that all leave together.
func (m *mux) write(rounds int, crowd bool) {
	if crowd {
		runtime.Gosched()
	}
	m.mu.Lock()
	for m.err == nil && (m.out != nil || len(m.bulk) > 0) {
		if rounds == 0 {
			m.mu.Unlock()
			go m.write(allRounds, false)
			return
		}
		rounds--
		out := m.buffered()
		m.out, m.ponging = nil, false
		m.stirRoom()
		m.usual = max(min(len(out.b), maxUsual), m.usual-m.usual/8)
		o, chunk := m.nextChunk(out)
		crowd := m.pending > 1 && o == nil
		m.mu.Unlock()
		err := m.send(out.b, chunk)
		if crowd {
			runtime.Gosched()
		}
		m.mu.Lock()
		m.recycle(out)
		if o != nil {
			m.chunkSent(o, err)
		}
		if err != nil {
			m.failLocked(fmt.Errorf("%w: %w", ErrConnLost, err))
		}
	}
	m.writing = false
	if m.drained != nil {
		m.drained()
	}
	if m.silent != nil {
		close(m.silent)
		m.silent = nil
	}
	m.mu.Unlock()
}

// maxUsual bounds the buffer that a busy connection starts a round with.
const maxUsual = 64 << 10

// nextChunk takes the next chunk in turn and appends its frame head to out. A
// small one is copied there whole, and has left as far as its flow is concerned:
// nobody needs to wait for the write to get memory back.
func (m *mux) nextChunk(out *buffer) (*outflow, []byte) {
	if len(m.bulk) == 0 {
		return nil, nil
	}
	o := m.bulk[0]
	m.bulk = slices.Delete(m.bulk, 0, 1)
	n := o.size()
	o.queued, o.busy = false, n
	chunk := o.take(n)
	if o.last != nil && o.empty() {
		o.last()
	}
	out.b = appendHead(out.b, o.kind, o.id, n)
	if n <= copiedChunk {
		out.b = append(out.b, chunk...)
		m.chunkSent(o, nil)
		return nil, nil
	}
	return o, chunk
}

// copiedChunk is the size up to which a chunk is copied beside the frames that wait.
const copiedChunk = 4 << 10

func (m *mux) chunkSent(o *outflow, err error) {
	if err == nil {
		o.sent += o.busy
		err = m.err
	}
	o.busy = 0
	switch {
	case err != nil, o.cut, o.empty():
		o.finish(err)
	default:
		m.pushBulk(o)
	}
}

// recycle keeps out for the next round, or frees it if it has become large or
// nothing waits.
func (m *mux) recycle(out *buffer) {
	if m.spare == nil && m.out != nil && cap(out.b) <= 256<<10 {
		out.b = out.b[:0]
		m.spare = out
		return
	}
	out.free()
	if m.out == nil {
		m.spare.free()
		m.spare = nil
	}
}

// send hands frames and a chunk to the transport.
func (m *mux) send(frames, chunk []byte) error {
	m.ctr.bytesOut.Add(int64(len(frames) + len(chunk)))
	if len(chunk) == 0 {
		_, err := m.nc.Write(frames)
		return err
	}
	if m.tcp != nil {
		m.pair = [2][]byte{frames, chunk}
		m.vector = m.pair[:]
		_, err := m.vector.WriteTo(m.tcp)
		m.pair = [2][]byte{}
		return err
	}
	if _, err := m.nc.Write(frames); err != nil {
		return err
	}
	_, err := m.nc.Write(chunk)
	return err
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
		m.nc.Close()
		m.side.lost(err)
		m.awaitSilence()
		close(m.over)
	}()
}

// lendPatience is how long the owner of memory that is being sent, who wants it
// back, waits for the transport to take one chunk.
const lendPatience = time.Second

// reclaim waits until the writer has let go of memory. A connection that takes
// nothing is given up: to wait for it would be to ignore a deadline.
func (m *mux) reclaim(letGo <-chan struct{}) {
	t := time.NewTimer(lendPatience)
	defer t.Stop()
	select {
	case <-letGo:
	case <-t.C:
		m.fail(fmt.Errorf("%w: the peer has not taken a chunk of %d bytes in %v", ErrConnLost, maxChunk, lendPatience))
		<-letGo
	}
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

// probePeer runs every PingInterval: a peer that has been silent is asked to
// say something, and given up if it stays silent.
func (m *mux) probePeer() {
	const patience = 3
	m.mu.Lock()
	if heard := m.in.heard.Load(); heard != m.seen {
		m.seen, m.quiet = heard, 0
	} else if m.quiet++; m.quiet >= patience {
		m.failLocked(fmt.Errorf("%w: nothing heard for %v", ErrConnLost, patience*m.lim.PingInterval))
	} else if m.err == nil {
		m.add(kindPing, 0, nil)
		m.in.nudge()
		m.side.calm()
	}
	if m.err == nil {
		m.probe.Reset(m.lim.PingInterval)
	}
	m.unlockAndWrite(noRounds)
}

// read is the reader's loop. It returns when the connection has ended.
func (m *mux) read() {
	err := m.readFrames()
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
