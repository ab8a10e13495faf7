package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
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
	wlimit streamDeadline
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
	rlimit streamDeadline
	cur    *buffer // being read
	at     int     // bytes of cur that have been read

	mu      sync.Mutex    // guards what follows; taken after mux.mu, if both are
	want    []byte        // the memory of a Read that waits, for the connection's reader to fill
	got     int           // bytes that it has put there; it is then no longer wanted
	filling bool          // it is about to
	letGo   chan struct{} // to be closed when it has stopped
	arrived []*buffer
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
	st.rlimit.set(t)
	st.wlimit.set(t)
	return nil
}

// SetReadDeadline bounds Read; it then returns os.ErrDeadlineExceeded.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.rlimit.set(t)
	return nil
}

// SetWriteDeadline bounds Write; it then returns os.ErrDeadlineExceeded and how
// much was sent. A chunk that the transport is taking is waited for.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.wlimit.set(t)
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
// returns io.EOF, or why the stream was cut short.
func (st *Stream) Read(p []byte) (int, error) {
	limit := st.rlimit.wait()
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
	if st.cur != nil && st.isClosed() {
		st.cur.free()
		st.cur = nil
	}
	for st.cur == nil {
		if n, err := st.await(p, limit); n > 0 || err != nil {
			if err != nil {
				return 0, st.err("read stream", err)
			}
			st.giveBack(int64(n))
			return n, nil
		}
	}
	n := copy(p, st.cur.b[st.at:])
	st.at += n
	if st.at == len(st.cur.b) {
		st.cur.free()
		st.cur = nil
	}
	st.giveBack(int64(n))
	return n, nil
}

// isClosed reports whether Close was called.
func (st *Stream) isClosed() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.rclosed
}

// await takes the next buffer that has arrived as st.cur. If there is none, it
// lends p to the connection's reader, so that what arrives next is copied once
// less, and returns how much has come.
func (st *Stream) await(p []byte, limit <-chan struct{}) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var err error
	for st.got == 0 {
		switch {
		case st.rclosed:
			err = ErrClosed
		case len(st.arrived) > 0:
			st.cur, st.at = st.arrived[0], 0
			st.arrived[0] = nil
			st.arrived = st.arrived[1:]
			st.want = nil
			return 0, nil
		case st.rend != nil:
			err = st.rend
		case st.want == nil && len(p) >= minDirect:
			st.want = p
		}
		if err != nil {
			break
		}
		st.mu.Unlock()
		select {
		case <-st.ready:
		case <-limit:
			err = os.ErrDeadlineExceeded
		}
		st.mu.Lock()
		if err != nil {
			break
		}
	}
	if st.filling { // p is needed back, at once
		letGo := make(chan struct{})
		st.letGo = letGo
		st.m.nc.SetReadDeadline(time.Unix(1, 0))
		st.mu.Unlock()
		<-letGo
		st.mu.Lock()
	}
	n := st.got
	st.want, st.got = nil, 0
	if n > 0 {
		err = nil
	}
	return n, err
}

// minDirect is the smallest memory that Read lends to the connection's reader.
const minDirect = 4 << 10

// fill reads up to n payload bytes from the connection into the memory of a Read
// that waits, if one does, with a single read.
func (st *Stream) fill(n int) (got int, tried bool, err error) {
	st.mu.Lock()
	if st.want == nil || st.got > 0 || st.rclosed || st.rend != nil || len(st.arrived) > 0 {
		st.mu.Unlock()
		return 0, false, nil
	}
	dst := st.want[:min(n, len(st.want))]
	st.filling = true
	st.mu.Unlock()
	got, err = st.m.in.read(dst)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.filling = false
	if st.letGo != nil {
		st.m.nc.SetReadDeadline(time.Time{})
		close(st.letGo)
		st.letGo = nil
		if isTimeout(err) {
			err = nil
		}
	}
	st.want, st.got = nil, got
	st.unread += int64(got)
	if st.unread > st.window {
		return got, true, errBeyondWindow
	}
	st.wake()
	return got, true, err
}

var errBeyondWindow = fmt.Errorf("%w: a stream's peer sent beyond its window", ErrProtocol)

// giveBack lets the peer send as much again as has been read, once that is a
// fair part of the window. If nothing is left unread, the window and not the
// reader held the peer up: it gets a larger one, as far as the limits allow.
func (st *Stream) giveBack(n int64) {
	st.mu.Lock()
	st.owed += n
	owed := st.owed
	if owed < st.window/4 || st.rend != nil {
		st.mu.Unlock()
		return
	}
	st.owed = 0
	st.unread -= owed
	more := int64(0)
	if len(st.arrived) == 0 {
		more = min(st.window, int64(st.m.lim.StreamWindowBytes)-st.window)
	}
	st.mu.Unlock()
	m := st.m
	m.mu.Lock()
	if m.streams[st.id] == st {
		if more > 0 && (m.budget == nil || m.budget.reserve(more)) {
			st.mu.Lock()
			st.window += more
			st.mu.Unlock()
			owed += more
		}
		m.appendCredit(st.id, owed)
	}
	m.unlockAndWrite(fewRounds)
}

// wake tells the reader that something changed.
func (st *Stream) wake() {
	select {
	case st.ready <- struct{}{}:
	default:
	}
}

// deliver takes bytes from the connection. It reports whether the peer kept
// within its window.
func (st *Stream) deliver(b *buffer) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.unread += int64(len(b.b))
	if st.unread > st.window {
		return false
	}
	switch last := len(st.arrived) - 1; {
	case st.rclosed || st.rend != nil:
		b.free()
		return true
	case last >= 0 && cap(st.arrived[last].b)-len(st.arrived[last].b) >= len(b.b):
		// Small pieces share a buffer, so that what is held is in proportion
		// to what was sent.
		st.arrived[last].b = append(st.arrived[last].b, b.b...)
		b.free()
	default:
		st.arrived = append(st.arrived, b)
	}
	st.wake()
	return true
}

// Write sends p, and waits while the peer's window is full. p is not kept.
func (st *Stream) Write(p []byte) (int, error) {
	limit := st.wlimit.wait()
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
	if st.wend == nil && len(p) <= smallWrite && st.credit >= int64(len(p)) {
		return st.writeSmall(p)
	}
	if st.wend != nil || len(p) == 0 {
		err := st.wend
		st.m.mu.Unlock()
		if err != nil {
			err = st.err("write stream", err)
		}
		return 0, err
	}
	done := make(chan struct{})
	o := &outflow{kind: kindData, id: st.id, rest: [2][]byte{p}, stream: st, done: func(error) { close(done) }}
	left := func() int { return len(p) - o.sent }
	st.out = o
	st.m.pushBulk(o)
	st.m.unlockAndWrite(workerRounds)
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
		<-done
		st.m.mu.Lock()
	}
	st.out = nil
	if left() > 0 && err == nil {
		err = st.wend
	}
	st.m.mu.Unlock()
	if left() == 0 {
		return len(p), nil
	}
	return o.sent, st.err("write stream", err)
}

// writeSmall copies p into the frames that wait. The mux is locked on entry.
func (st *Stream) writeSmall(p []byte) (int, error) {
	if len(p) > 0 {
		if err := st.m.waitRoom(context.Background()); err != nil {
			st.m.mu.Unlock()
			return 0, st.err("write stream", err)
		}
		if st.wend != nil {
			err := st.wend
			st.m.mu.Unlock()
			return 0, st.err("write stream", err)
		}
		st.credit -= int64(len(p))
		st.m.add(kindData, st.id, p)
	}
	st.m.unlockAndWrite(fewRounds)
	return len(p), nil
}

// creditLocked lets n more bytes be sent, and is the server's word that it has
// taken the stream. The mux is locked.
func (st *Stream) creditLocked(n int64) {
	st.answer(nil)
	st.credit += n
	if st.out != nil {
		st.m.pushBulk(st.out)
	}
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
	st.m.unlockAndWrite(fewRounds)
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
		st.ctx.cancel(context.Canceled)
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
	st.m.unlockAndWrite(fewRounds)
}

// Close ends both directions: what was written is delivered; what has not been
// read is thrown away, and the peer's writes fail. It is idempotent.
func (st *Stream) Close() error {
	st.m.mu.Lock()
	st.finishSending()
	open := st.m.streams[st.id] == st
	st.m.unlockAndWrite(fewRounds)
	if open {
		st.reset(Executed, ErrClosed)
	}
	st.mu.Lock()
	st.rclosed = true
	for _, b := range st.arrived {
		b.free()
	}
	st.arrived = nil
	st.mu.Unlock()
	st.wake()
	return nil
}

// OpenStream opens a stream to a handler of HandleStream and returns when the
// server has taken it. ctx bounds the opening only; an error says, as for calls,
// whether the handler can have been started.
func OpenStream[Req any](ctx context.Context, c *Client, method string, req *Req) (*Stream, error) {
	return c.openStream(ctx, method, req)
}

func (c *Client) openStream(ctx context.Context, method string, req any) (*Stream, error) {
	var st *Stream // of the last attempt that succeeded
	inv := &Invocation{Method: method, Attempt: 1, Stream: true, Req: req}
	open := func(ctx context.Context) (err error) {
		if st != nil {
			st.Close() // an interceptor wants another
		}
		st, err = c.attemptStream(ctx, method, req)
		return err
	}
	for i := len(c.cfg.Interceptors) - 1; i >= 0; i-- {
		inner := open
		open = func(ctx context.Context) error { return c.cfg.Interceptors[i](ctx, inv, inner) }
	}
	err := open(ctx)
	if err == nil && st != nil {
		c.ctr.streams.Add(1)
		return st, nil
	}
	if st != nil {
		st.Close() // an interceptor has dropped the reply
	}
	var e *Error
	switch {
	case err == nil:
		err = errors.New("an interceptor has not opened it")
	case errors.As(err, &e) && e == err:
		return nil, err
	}
	return nil, &Error{Op: "open stream", Method: method, Outcome: OutcomeOf(err), Err: err}
}

// attemptStream opens a stream. As for a call, a connection that turns out to be of
// no use gives way to another.
func (c *Client) attemptStream(ctx context.Context, method string, req any) (*Stream, error) {
	fail := func(addr string, outcome Outcome, err error) error {
		var e *Error
		if errors.As(err, &e) && e == err { // of the dial
			addr, err = e.Addr, e.Err
		}
		return &Error{Op: "open stream", Method: method, Addr: addr, Outcome: outcome, Err: err}
	}
	for try := 1; ; try++ {
		cc, err := c.connect(ctx)
		if err != nil {
			return nil, fail("", NotExecuted, err)
		}
		st, outcome, err := cc.open(ctx, method, req)
		if err == nil {
			return st, nil
		}
		if errors.Is(err, ErrShutdown) || errors.Is(err, ErrConnLost) {
			c.forget(cc)
		}
		if err = fail(cc.addr, outcome, err); !unused(err) || try == 2 {
			return nil, err
		}
	}
}

// open asks the server for a stream and waits until it has taken it.
func (c *clientConn) open(ctx context.Context, method string, req any) (*Stream, Outcome, error) {
	head := requestHead{method: method}
	if method == "" || len(method) > maxMethod {
		return nil, NotExecuted, fmt.Errorf("%w: a method's name has 1 to %d bytes", ErrNoMethod, maxMethod)
	}
	fields, err := appendMessage(nil, req)
	switch {
	case err != nil:
		return nil, NotExecuted, malformed(req, err)
	case len(fields) > maxInline:
		return nil, NotExecuted, tooLarge("the request of a stream", len(fields), maxInline)
	}
	c.mu.Lock()
	if err := c.mayOpen(ctx); err != nil {
		c.mu.Unlock()
		return nil, NotExecuted, err
	}
	c.lastStream++
	st := newStream(&c.mux, c.lastStream, method, false)
	c.streams[st.id] = st
	b := head.append(make([]byte, 0, maxRequestHead+len(fields)))
	c.add(kindOpen, st.id, append(b, fields...))
	c.unlockAndWrite(noRounds)
	select {
	case <-st.accepted:
	case <-ctx.Done():
		st.Close()
		return nil, OutcomeUnknown, ctxError(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.refused != nil {
		return nil, st.refused.outcome, st.refused.err
	}
	return st, Executed, nil
}

// mayOpen reports why no stream can be opened now. The lock is held.
func (c *clientConn) mayOpen(ctx context.Context) error {
	if err := c.waitRoom(ctx); err != nil {
		return err
	}
	limit := min(c.lim.MaxStreams, c.remote.maxStreams)
	switch {
	case c.err != nil:
		return c.err
	case c.draining:
		return fmt.Errorf("%w: the server takes no new streams on this connection", ErrShutdown)
	case len(c.streams) >= limit:
		return fmt.Errorf("%w: %d streams are open, the limit of the connection", ErrOverloaded, limit)
	}
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

// readData moves the payload of a data frame to its stream: straight into the
// memory of a Read that waits, or into buffers.
func (m *mux) readData(h frameHead) error {
	if h.size > maxChunk {
		return fmt.Errorf("%w: %d bytes of a stream in one frame", ErrProtocol, h.size)
	}
	m.mu.Lock()
	st := m.streams[h.id]
	m.mu.Unlock()
	if st == nil { // it ended here while this was under way
		return m.in.skip(h.size)
	}
	for n := h.size; n > 0; {
		got, tried, err := st.fill(n)
		if err != nil {
			return err
		}
		if n -= got; tried {
			runtime.Gosched() // so that Read may be back before there is more
			continue
		}
		b := getBuffer(n)
		if got, err = m.in.read(b.b[:n]); got == 0 {
			b.free()
			if err != nil {
				return err
			}
			continue
		}
		n -= got
		b.b = b.b[:got]
		if !st.deliver(b) {
			return errBeyondWindow
		}
	}
	return nil
}

// open takes a stream on the server: the handler runs on a goroutine of its own.
func (c *serverConn) open(id uint64, payload []byte) error {
	var head requestHead
	d := wire.NewDecoder(payload)
	head.parse(&d, &c.lim)
	if head.flags != 0 {
		d.Fail("unknown flags of a stream %#x", head.flags)
	}
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: stream: %w", ErrProtocol, err)
	}
	meth := c.s.methods[string(head.name)]
	fields := append([]byte(nil), d.Rest()...)
	c.handOver() // nothing that is ready waits for what may block here
	c.mu.Lock()
	c.waitRoom(context.Background())
	if id <= c.lastStream {
		c.mu.Unlock()
		return fmt.Errorf("%w: stream %d was opened before", ErrProtocol, id)
	}
	c.lastStream = id
	if err := c.mayTake(meth, string(head.name)); err != nil {
		c.s.ctr.failures.Add(1)
		c.add(kindReset, id, appendError(nil, NotExecuted, err))
		c.unlockAndWrite(noRounds)
		return nil
	}
	st := newStream(&c.mux, id, meth.name, true)
	st.ctx = &callContext{peer: &c.peer, method: meth.name}
	c.streams[id] = st
	c.appendCredit(id, 0) // the client's sign that the stream is taken
	c.unlockAndWrite(noRounds)
	c.s.ctr.streams.Add(1)
	c.s.workers.wg.Go(func() { c.serveStream(meth, fields, st) })
	return nil
}

// mayTake reports why a stream is refused, or takes what it will hold. The lock
// is held.
func (c *serverConn) mayTake(meth *method, name string) error {
	switch {
	case c.err != nil:
		return c.err
	case meth == nil || meth.stream == nil:
		return fmt.Errorf("%w for streams: %q", ErrNoMethod, name)
	case c.handlers >= c.lim.MaxStreams, !c.budget.reserve(c.lim.firstWindow()):
		return c.overloaded()
	case !c.s.begin():
		c.budget.release(c.lim.firstWindow())
		return ErrShutdown
	}
	c.handlers++
	return nil
}

// serveStream runs the handler of a stream. Until it returns, the stream counts and
// holds its window, even if the client has reset it.
func (c *serverConn) serveStream(meth *method, fields []byte, st *Stream) {
	err := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = c.panicked(meth, r)
			}
		}()
		return meth.stream(st.ctx, c.s, fields, st)
	}()
	c.mu.Lock() // before the client can hear of the end and open another
	c.handlers--
	st.returned = true
	if c.streams[st.id] != st {
		c.budget.release(st.window)
	}
	c.mu.Unlock()
	if err == nil {
		st.Close()
	} else {
		c.s.ctr.failures.Add(1)
		st.reset(outcomeOfHandler(err), err)
		st.Close()
	}
	st.ctx.cancel(context.Canceled)
	c.s.finish()
}
