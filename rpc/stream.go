package rpc

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/deadline"
)

// smallWrite is the longest write that is copied and left to the connection's
// writer; a longer one is handed to the transport from the caller's memory.
const smallWrite = 4 << 10

// A Stream is an ordered flow of bytes in both directions beside the calls on a
// connection. It is a net.Conn: its methods may be used by several goroutines at
// once, deadlines included. Each direction has a credit window, so a reader who
// stalls stalls its own writer and nobody else.
//
// The client ends its direction with CloseWrite, or both with Close. The
// server's handler ends the stream by returning: what it wrote is delivered, and
// then its error, or io.EOF for nil.
type Stream struct {
	m      *mux
	id     uint64
	method string
	server bool

	// The sending side.
	wlock  chan struct{} // of capacity 1, held by the writer
	wlimit deadline.Deadline
	// Guarded by mux.mu:
	credit   int64 // bytes that may be sent
	out      *outflow
	finSent  bool
	wend     error         // why no more can be sent
	accepted chan struct{} // client: closed when the server has taken or refused the stream
	answered bool          // client: accepted is closed
	refused  *streamEnd    // client: how the stream ended before it was taken
	returned bool          // server: the handler has returned

	// The receiving side.
	rlock  chan struct{} // of capacity 1, held by the reader, with cur
	rlimit deadline.Deadline
	cur    arrival // being read

	mu      sync.Mutex    // guards what follows; taken after mux.mu, if both are
	want    []byte        // the memory of a Read that waits, for the connection's reader to fill
	got     int           // bytes that it has put there; it is then no longer wanted
	filling bool          // it is about to
	letGo   chan struct{} // to be closed when it has stopped
	arrived []arrival
	window  int64         // what the peer may send ahead; changed under mux.mu too
	owed    int64         // bytes read for which no credit has been given back
	unread  int64         // bytes arrived that the peer has not been given back
	rend    error         // what Read returns after what has arrived
	outcome Outcome       // what the peer has said of the handler's
	rclosed bool          // Close was called: what arrives is thrown away
	ready   chan struct{} // of capacity 1: something changed

	ctx *callContext // server: the handler's
}

var _ net.Conn = (*Stream)(nil)

// A streamEnd is why a stream ended as a whole.
type streamEnd struct {
	err     error
	outcome Outcome
	lost    bool // with its connection
}

func newStream(m *mux, id uint64, method string, server bool) *Stream {
	return &Stream{
		m: m, id: id, method: method, server: server,
		credit: int64(m.remote.window), window: m.lim.firstWindow(),
		wlock: make(chan struct{}, 1), rlock: make(chan struct{}, 1),
		ready: make(chan struct{}, 1), accepted: make(chan struct{}),
	}
}

// Method returns the method that the stream was opened with.
func (st *Stream) Method() string { return st.method }

// Peer returns who is at the other end.
func (st *Stream) Peer() Peer { return st.m.peer }

// LocalAddr returns the local address of the connection.
func (st *Stream) LocalAddr() net.Addr { return st.m.nc.LocalAddr() }

// RemoteAddr returns the remote address of the connection.
func (st *Stream) RemoteAddr() net.Addr { return st.m.nc.RemoteAddr() }

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error {
	st.rlimit.Set(t)
	st.wlimit.Set(t)
	return nil
}

// SetReadDeadline bounds Read; it then returns os.ErrDeadlineExceeded.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.rlimit.Set(t)
	return nil
}

// SetWriteDeadline bounds Write; it then returns os.ErrDeadlineExceeded and how
// much was sent. A chunk that the transport is taking is waited for, for a second;
// then the connection is given up.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.wlimit.Set(t)
	return nil
}

// err dresses the error of an operation on the stream; io.EOF stays bare.
func (st *Stream) err(op string, err error) error {
	if err == io.EOF {
		return err
	}
	st.mu.Lock()
	outcome := st.outcome
	st.mu.Unlock()
	return &Error{Op: op, Method: st.method, Addr: st.m.nc.RemoteAddr().String(), Outcome: outcome, Err: err}
}

// Read reads what has arrived, and waits if nothing has. After the last byte it
// returns io.EOF, or why the stream was cut short. What comes while it waits goes
// straight into p: bulk is read fastest with room for a whole chunk, 256 KiB.
func (st *Stream) Read(p []byte) (int, error) {
	limit := st.rlimit.Wait()
	if isClosed(limit) {
		return 0, st.err("read stream", os.ErrDeadlineExceeded)
	}
	if len(p) == 0 {
		return 0, nil
	}
	select {
	case st.rlock <- struct{}{}:
		defer func() { <-st.rlock }()
	case <-limit:
		return 0, st.err("read stream", os.ErrDeadlineExceeded)
	}
	st.dropClosed()
	for st.cur.in == nil {
		if n, err := st.await(p, limit); n > 0 || err != nil {
			if err != nil {
				return 0, st.err("read stream", err)
			}
			st.giveBack(int64(n))
			return n, nil
		}
	}
	n := copy(p, st.cur.b)
	st.took(n)
	return n, nil
}

// isClosed reports whether Close was called.
func (st *Stream) isClosed() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.rclosed
}

// Write sends p, and waits while the peer's window is full. p is not kept.
func (st *Stream) Write(p []byte) (int, error) { return st.write(nil, p) }

// WriteAfter is Write of p after a short head, which leaves in the same go. It returns
// how much of both was sent.
func (st *Stream) WriteAfter(head, p []byte) (int, error) {
	if len(head) <= smallWrite && len(p) > 0 {
		return st.write(head, p)
	}
	n, err := st.write(nil, head)
	if err != nil {
		return n, err
	}
	m, err := st.write(nil, p)
	return n + m, err
}

// write sends head, which is short, and p.
func (st *Stream) write(head, p []byte) (int, error) {
	limit := st.wlimit.Wait()
	select {
	case st.wlock <- struct{}{}:
		defer func() { <-st.wlock }()
	case <-limit:
		return 0, st.err("write stream", os.ErrDeadlineExceeded)
	}
	if isClosed(limit) {
		return 0, st.err("write stream", os.ErrDeadlineExceeded)
	}
	st.m.mu.Lock()
	all := len(head) + len(p)
	if st.wend == nil && all <= smallWrite && st.credit >= int64(all) {
		return st.writeSmall(head, p, limit)
	}
	if st.wend != nil || all == 0 {
		err := st.wend
		st.m.mu.Unlock()
		if err != nil {
			err = st.err("write stream", err)
		}
		return 0, err
	}
	copied := 0
	if n := len(head); n > 0 && st.credit >= int64(n) && !st.m.full() {
		st.credit -= int64(n)
		st.m.add(kindData, st.id, head)
		head, copied = nil, n
	}
	done := make(chan struct{})
	o := &outflow{kind: kindData, id: st.id, rest: [2][]byte{head, p}, stream: st, done: func(error) { close(done) }}
	left := func() int { return all - copied - o.sent }
	st.out = o
	st.m.pushBulk(o)
	st.m.unlockAndWrite(st.rounds(workerRounds))
	var err error
	select {
	case <-done:
	case <-limit:
		err = os.ErrDeadlineExceeded
	}
	st.m.mu.Lock()
	if err != nil {
		st.m.cutBulk(o)
		st.m.mu.Unlock()
		st.m.reclaim(done)
		st.m.mu.Lock()
	}
	st.out = nil
	if left() > 0 && err == nil {
		err = st.wend
	}
	st.m.mu.Unlock()
	if left() == 0 {
		return all, nil
	}
	return copied + o.sent, st.err("write stream", err)
}

// writeSmall copies head and p into the frames that wait. The mux is locked on entry.
func (st *Stream) writeSmall(head, p []byte, limit <-chan struct{}) (int, error) {
	all := len(head) + len(p)
	if all > 0 {
		var err error
		for err == nil && st.wend == nil && st.m.full() {
			if st.m.awaitRoom(limit) {
				err = os.ErrDeadlineExceeded
			}
		}
		if err == nil {
			err = st.wend
		}
		if err != nil {
			st.m.mu.Unlock()
			return 0, st.err("write stream", err)
		}
		st.credit -= int64(all)
		for _, part := range [2][]byte{head, p} {
			if len(part) > 0 {
				st.m.add(kindData, st.id, part)
			}
		}
	}
	st.m.unlockAndWrite(st.rounds(fewRounds))
	return all, nil
}

// rounds returns for how many rounds a Write may be the connection's writer: for
// none if it has a deadline, which the transport does not know of.
func (st *Stream) rounds(n int) int {
	if st.wlimit.IsSet() {
		return noRounds
	}
	return n
}

// answer notes that the server has taken the stream, or refused it. The mux is
// locked.
func (st *Stream) answer(refused *streamEnd) {
	if !st.server && !st.answered {
		st.answered, st.refused = true, refused
		close(st.accepted)
	}
}

// stopSending makes writes fail with err. The mux is locked.
func (st *Stream) stopSending(err error) {
	if st.wend != nil {
		return
	}
	st.wend = err
	st.m.stirRoom() // this stream's Write may wait there
	if st.out != nil && !st.out.cut {
		st.m.cutBulk(st.out)
	}
}

// CloseWrite tells the peer that no more comes: its Read returns io.EOF after
// what was written. Reading goes on.
func (st *Stream) CloseWrite() error {
	st.wlock <- struct{}{} // after the writes in progress
	defer func() { <-st.wlock }()
	st.m.mu.Lock()
	st.finishSending()
	st.m.unlockAndWrite(noRounds)
	return nil
}

// finishSending sends the end of this direction. The mux is locked.
func (st *Stream) finishSending() {
	if st.wend != nil {
		return
	}
	st.stopSending(ErrClosed)
	st.finSent = true
	st.m.add(kindFin, st.id, nil)
	st.removeIfDone()
}

// finLocked notes that the peer sends no more. The mux is locked.
func (st *Stream) finLocked() {
	st.mu.Lock()
	if st.rend == nil {
		st.rend = io.EOF
	}
	st.mu.Unlock()
	st.wake()
	st.removeIfDone()
}

// removeIfDone forgets a stream both of whose directions have ended. The mux is
// locked.
func (st *Stream) removeIfDone() {
	st.mu.Lock()
	over := st.rend != nil
	st.mu.Unlock()
	if over && st.finSent {
		st.m.removeStream(st)
	}
}

// endLocked ends both directions and forgets the stream: either end reset it,
// or the connection is lost. The mux is locked.
func (st *Stream) endLocked(end streamEnd) {
	st.m.removeStream(st)
	if end.lost {
		end.outcome = OutcomeUnknown
	}
	st.mu.Lock()
	if st.rend == nil {
		st.rend = end.err
	}
	st.outcome = end.outcome
	st.mu.Unlock()
	werr := end.err
	if errors.Is(werr, io.EOF) {
		werr = ErrClosed
	}
	st.stopSending(werr)
	st.answer(&end)
	if st.ctx != nil {
		st.ctx.cancel(canceled)
	}
	st.wake()
}

// reset ends the stream and tells the peer why. What was written before is still
// delivered.
func (st *Stream) reset(outcome Outcome, err error) {
	st.m.mu.Lock()
	if st.m.streams[st.id] == st {
		st.m.add(kindReset, st.id, appendError(nil, outcome, err))
		st.endLocked(streamEnd{err: ErrClosed})
	}
	st.m.unlockAndWrite(noRounds)
}

// Close ends both directions: what was written is delivered; what has not been
// read is thrown away, and the peer's writes fail. It is idempotent.
func (st *Stream) Close() error {
	st.m.mu.Lock()
	st.finishSending()
	open := st.m.streams[st.id] == st
	st.m.unlockAndWrite(noRounds)
	if open {
		st.reset(Executed, ErrClosed)
	}
	st.mu.Lock()
	st.rclosed = true
	for i := range st.arrived {
		st.arrived[i].free()
	}
	st.arrived = nil
	st.mu.Unlock()
	st.wake()
	return nil
}

// removeStream forgets a stream. The lock is held.
func (m *mux) removeStream(st *Stream) {
	if m.streams[st.id] != st {
		return
	}
	delete(m.streams, st.id)
	if st.returned {
		m.budget.release(st.window)
	}
	if m.drained != nil {
		m.drained()
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
