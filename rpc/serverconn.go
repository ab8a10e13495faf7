package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// accept takes connections until the listener is closed.
func (s *Server) accept(l net.Listener) {
	const minPause, maxPause = 5 * time.Millisecond, time.Second
	pause := minPause
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil || s.draining.Load() {
				break
			}
			s.cfg.Logger.Warn("accepting a connection failed", "addr", l.Addr(), "error", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
			}
			pause = min(2*pause, maxPause)
			continue
		}
		pause = minPause
		s.mu.Lock()
		ok := !s.closed && s.accepted < s.cfg.Limits.MaxConns
		if ok {
			s.accepted++
			s.wg.Go(func() { s.serve(nc) })
		}
		s.mu.Unlock()
		if !ok {
			s.ctr.rejected.Add(1)
			shut(&s.ctr, s.cfg.Logger, nil, nc)
		}
	}
	l.Close()
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
}

// serve is the life of one connection.
func (s *Server) serve(nc net.Conn) {
	defer func() {
		s.mu.Lock()
		s.accepted--
		s.mu.Unlock()
	}()
	c := &serverConn{s: s}
	c.fresh, c.ready = c.freshRoom[:0], c.readyRoom[:0]
	c.nc = nc
	var err error
	c.remote, c.peer, err = s.shake(nc)
	if err == nil {
		err = s.join(c)
	}
	if err != nil {
		s.ctr.rejected.Add(1)
		s.cfg.Logger.Debug("refused a connection", "peer", c.peer.Addr, "error", err)
		shut(&s.ctr, s.cfg.Logger, c.peer.Addr, nc)
		return
	}
	c.read()
	c.handOver()
	c.recycled.share()
	<-c.over
	s.mu.Lock()
	delete(s.conns, c)
	s.ctr.openConns.Add(-1)
	s.checkIdleLocked()
	s.mu.Unlock()
}

// admit says whether the server takes new connections.
func (s *Server) admit() byte {
	if s.draining.Load() {
		return helloShutdown
	}
	return helloOK
}

// join counts a connection in.
func (s *Server) join(c *serverConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.conns[c] = struct{}{}
	s.ctr.conns.Add(1)
	s.ctr.openConns.Add(1)
	c.budget = &connBudget{limit: s.cfg.Limits.ConnBudgetBytes, total: &s.budget}
	c.run(c, s.cfg.Limits, &s.ctr, s.cfg.Logger)
	if s.draining.Load() {
		go c.goAway()
	}
	return nil
}

// A serverConn is the server's side of a connection.
type serverConn struct {
	mux
	s *Server

	// The reader's own:
	fresh     []*serverCall // requests that are not among calls yet
	freshRoom [maxBatch]*serverCall
	ready     []*serverCall // those that are, and have not been given to the workers
	readyRoom [maxBatch]*serverCall
	came      time.Time // of what is being read; zero: not asked yet
	latest    *method   // that was called
	recycled  spareCalls

	// Guarded by mux.mu:
	calls      []*serverCall // by slot
	lastCall   uint64
	lastStream uint64
	handlers   int  // of streams, running
	owing      bool // inline handlers have left responses to be written
}

var _ side = (*serverConn)(nil)

// maxBatch bounds the requests that are taken under one lock.
const maxBatch = 16

func (c *serverConn) frame(h frameHead, payload []byte) error {
	if h.kind == kindRequest {
		return c.request(h.id, payload)
	}
	if err := c.enter(); err != nil { // what follows can be about what has arrived
		return err
	}
	switch h.kind {
	case kindCancel:
		c.cancel(h.id)
		return nil
	case kindOpen:
		return c.open(h.id, payload)
	}
	return fmt.Errorf("%w: a client sent a frame of kind %d", ErrProtocol, h.kind)
}

// request takes the head of a request and, if it came whole, all of it.
func (c *serverConn) request(id uint64, payload []byte) error {
	sc := c.recycled.take()
	sc.c, sc.id = c, id
	d := wire.NewDecoder(payload)
	sc.head.parse(&d, &c.lim)
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: request: %w", ErrProtocol, err)
	}
	if sc.m = c.latest; sc.m == nil || sc.m.name != string(sc.head.name) {
		sc.m = c.s.methods[string(sc.head.name)] // complete before the first connection
		c.latest = sc.m
	}
	sc.fields = append(sc.fields, d.Rest()...)
	sc.refusal = c.admit(sc)
	c.fresh = append(c.fresh, sc)
	if len(c.fresh) < maxBatch && !sc.chunked() {
		return nil
	}
	return c.enter() // the chunks that follow need to know where to go
}

// enter puts the requests that have arrived among the calls, and has those run
// that came whole.
func (c *serverConn) enter() error {
	if len(c.fresh) == 0 {
		return nil
	}
	n, whole, err := 0, 0, error(nil)
	c.mu.Lock()
	for n < len(c.fresh) && err == nil {
		sc := c.fresh[n]
		if err = c.place(sc); err == nil {
			n++
			if sc.state == callRunning {
				whole++
			}
		}
	}
	c.mu.Unlock()
	open := whole > 0 && c.s.begin(whole)
	for _, sc := range c.fresh[:n] {
		switch sc.state {
		case callRunning:
			c.dispatch(sc, open)
		case callRefused:
			c.mu.Lock()
			if c.find(sc.id) == sc {
				c.refuse(sc, sc.refusal, sc.chunked())
			} else { // the connection was lost meanwhile
				c.mu.Unlock()
			}
		}
	}
	clear(c.fresh)
	c.fresh = c.fresh[:0]
	return err
}

// place puts a request in its slot. The lock is held.
func (c *serverConn) place(sc *serverCall) error {
	slot, n := sc.id&(1<<slotBits-1), sc.id>>slotBits
	switch {
	case c.err != nil:
		return c.err
	case slot >= uint64(c.lim.MaxCalls):
		return fmt.Errorf("%w: a call in slot %d of %d", ErrProtocol, slot, c.lim.MaxCalls)
	case slot < uint64(len(c.calls)) && c.calls[slot] != nil:
		return fmt.Errorf("%w: two calls in one slot", ErrProtocol)
	case n <= c.lastCall:
		return fmt.Errorf("%w: call %d was made before", ErrProtocol, n)
	}
	for slot >= uint64(len(c.calls)) {
		c.calls = append(c.calls, nil)
	}
	c.lastCall = n
	c.calls[slot] = sc
	c.pending++
	held := int64(len(sc.fields)) + callOverhead
	if sc.refusal == nil && !c.budget.reserve(held) {
		sc.refusal = c.overloaded()
	}
	switch {
	case sc.refusal != nil:
		sc.state = callRefused
		return nil
	case sc.chunked():
		sc.in.pooled = true
		sc.in.fieldsLeft, sc.in.bodyLeft = sc.head.fields, sc.head.body
	default:
		sc.state = callRunning
	}
	sc.held = held
	return nil
}

// admit reports why a request cannot be served, and readies its context.
func (c *serverConn) admit(sc *serverCall) error {
	switch {
	case sc.m == nil || sc.m.unary == nil:
		return fmt.Errorf("%w: %q", ErrNoMethod, sc.head.name)
	case sc.head.flags&flagExactlyOnce != 0 && c.s.cfg.Sessions == nil:
		return ErrNoSessions
	}
	sc.m.begin(sc)
	if sc.head.flags&flagExactlyOnce != 0 {
		sc.ctx.semantics = ExactlyOnce
		m := sc.ctx.more
		m.session, m.seq, m.mark = sc.head.session, sc.head.seq, sc.head.mark
	} else if sc.head.flags&flagAtLeastOnce != 0 {
		sc.ctx.semantics = AtLeastOnce
	}
	sc.ctx.method, sc.ctx.peer = sc.m, &c.peer
	if sc.head.flags&flagDeadline != 0 {
		sc.ctx.more.deadline = c.arrival().Add(sc.head.timeout)
	}
	sc.head.name = nil // borrowed
	return nil
}

// arrival returns when what is being read came in. It looks at the clock once for
// all that came in one read. Only the reader calls it.
func (c *serverConn) arrival() time.Time {
	if c.came.IsZero() {
		c.came = time.Now()
	}
	return c.came
}

func (c *serverConn) overloaded() error {
	c.ctr.overloads.Add(1)
	return ErrOverloaded
}

// refuse answers a request that is not executed. If more of it is to come, its
// slot stays taken until that has been thrown away. The lock is held on entry.
func (c *serverConn) refuse(sc *serverCall, err error, more bool) {
	c.handOver() // nothing that is ready waits for what may block here
	c.s.ctr.failures.Add(1)
	sc.state = callRefused
	sc.in.fieldsLeft, sc.in.bodyLeft = sc.head.fields-len(sc.in.fields), sc.head.body-len(sc.in.body)
	sc.in.discard()
	c.budget.release(sc.held)
	sc.held = 0
	c.waitRoom(context.Background()) // holds up the reader, so a flood of bad requests holds up itself
	c.addResponse(sc.id, flagError, appendError(nil, NotExecuted, err))
	if !more {
		c.free(sc)
	}
	c.unlockAndWrite(noRounds)
}

// addResponse adds a response that goes whole. The lock is held.
func (c *serverConn) addResponse(id uint64, flags byte, payload []byte) {
	b := c.buffered()
	b.b = appendHead(b.b, kindResponse, id, 1+len(payload))
	b.b = append(append(b.b, flags), payload...)
}

// free empties a call's slot. The lock is held.
func (c *serverConn) free(sc *serverCall) {
	c.calls[sc.id&(1<<slotBits-1)] = nil
	c.budget.release(sc.held)
	sc.held = 0
	c.pending--
}

// find returns the call with this id, or nil. The lock is held.
func (c *serverConn) find(id uint64) *serverCall {
	slot := id & (1<<slotBits - 1)
	if slot >= uint64(len(c.calls)) {
		return nil
	}
	if sc := c.calls[slot]; sc != nil && sc.id == id {
		return sc
	}
	return nil
}

func (c *serverConn) inflow(id uint64) (*inflow, error) {
	sc := c.find(id)
	if sc == nil || sc.state > callRefused || sc.in.complete() {
		return nil, fmt.Errorf("%w: a chunk that was not announced", ErrProtocol)
	}
	if n := int64(sc.in.need()); n > 0 {
		if !c.budget.reserve(n) {
			c.refuse(sc, c.overloaded(), true)
			c.mu.Lock()
			return c.inflow(id)
		}
		sc.held += n
		sc.in.grow(int(n))
	}
	return &sc.in, nil
}

func (c *serverConn) arrived(id uint64, in *inflow) {
	sc := c.find(id)
	switch {
	case sc == nil: // the connection was lost meanwhile
		in.discard()
		return
	case !in.complete():
		return
	case sc.state == callRefused:
		c.free(sc)
		return
	}
	sc.state = callRunning
	c.mu.Unlock()
	c.dispatch(sc, c.s.begin(1))
	c.mu.Lock()
}

// cancel ends a call whose caller has gone, or has its answer and sends no more
// of the request.
func (c *serverConn) cancel(id uint64) {
	c.mu.Lock()
	sc := c.find(id)
	if sc == nil { // answered in the meantime
		c.mu.Unlock()
		return
	}
	switch sc.state {
	case callReceiving:
		c.refuse(sc, context.Canceled, false)
		return
	case callRefused:
		c.free(sc)
	case callRunning:
		ctx := sc.ctx
		c.mu.Unlock()
		ctx.cancel(canceled)
		return
	case callSending: // the client waits for chunks; an error is an end too
		c.addResponse(id, flagError, appendError(nil, Executed, context.Canceled))
		c.cutBulk(&sc.out)
	}
	c.unlockAndWrite(noRounds)
}

// lost ends the contexts of the calls in progress and of the streams' handlers.
func (c *serverConn) lost(error) {
	c.mu.Lock()
	var running []*callContext
	for _, sc := range c.calls {
		if sc == nil {
			continue
		}
		switch sc.state {
		case callReceiving, callRefused:
			if !sc.in.busy {
				sc.in.discard()
			}
			c.free(sc)
		case callRunning:
			running = append(running, sc.ctx)
		}
	}
	c.mu.Unlock()
	for _, ctx := range running {
		ctx.lost(c.s.ctx)
	}
}

// goAway tells the client to make no new calls here.
func (c *serverConn) goAway() {
	c.mu.Lock()
	c.add(kindGoAway, 0, nil)
	c.unlockAndWrite(noRounds)
}

// dispatch runs a call's handler, here or on a worker, or refuses it if the server is
// not open to calls any more.
func (c *serverConn) dispatch(sc *serverCall, open bool) {
	if !open {
		c.mu.Lock()
		c.refuse(sc, ErrShutdown, false)
		return
	}
	if sc.m.inline && sc.head.flags&flagExactlyOnce == 0 {
		sc.run(true, &c.recycled)
		return
	}
	if sc.head.flags&flagExactlyOnce != 0 {
		sc.came = c.arrival()
	}
	// Calls that were read together go to the workers together.
	if c.ready = append(c.ready, sc); len(c.ready) == cap(c.ready) {
		c.handOver()
	}
}

// handOver gives the workers the calls that are ready. Only the reader calls it.
func (c *serverConn) handOver() {
	if len(c.ready) > 0 {
		c.s.workers.run(c.ready)
		clear(c.ready)
		c.ready = c.ready[:0]
	}
}

func (c *serverConn) reset(streamEnd) {}

func (c *serverConn) calm() {
	if c.pending == 0 {
		c.calls = nil
	}
}

// settle writes what inline handlers have left, before the reader waits.
func (c *serverConn) settle() error {
	if err := c.enter(); err != nil {
		return err
	}
	c.came = time.Time{}
	c.handOver()
	c.recycled.share()
	c.mu.Lock()
	if !c.owing {
		c.mu.Unlock()
		return nil
	}
	c.owing = false
	c.unlockAndWrite(workerRounds)
	return nil
}
