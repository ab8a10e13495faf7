package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// The methods by which a client manages its session.
const (
	methodOpenSession  = "trilith.session.open"
	methodAckSession   = "trilith.session.acknowledge"
	methodCloseSession = "trilith.session.close"
)

// SessionHost keeps the sessions of exactly-once calls: a SessionTable or a
// Guard.
type SessionHost interface {
	// OpenSession issues the id of a new session, durably.
	OpenSession(ctx context.Context) (SessionID, error)
	// AcknowledgeSession frees the results below the watermark.
	AcknowledgeSession(ctx context.Context, id SessionID, watermark uint64) error
	// CloseSession frees all that the session holds.
	CloseSession(ctx context.Context, id SessionID) error
	// execute runs an exactly-once call.
	execute(sc *serverCall) error
}

// sessionMessage is the request and the response of these methods.
type sessionMessage struct {
	id        SessionID
	watermark uint64
}

func (m *sessionMessage) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, m.id.Table[:]...)
	dst = binary.AppendUvarint(dst, m.id.N)
	return binary.AppendUvarint(dst, m.watermark), nil
}

func (m *sessionMessage) UnmarshalBinary(b []byte) error {
	d := wire.NewDecoder(b)
	copy(m.id.Table[:], d.Next(len(m.id.Table)))
	m.id.N, m.watermark = d.Uvarint(), d.Uvarint()
	return d.Finish()
}

func registerSessions(s *Server, host SessionHost) {
	Handle(s, methodOpenSession, func(ctx context.Context, _ *Empty) (*sessionMessage, error) {
		id, err := host.OpenSession(ctx)
		return &sessionMessage{id: id}, err
	})
	Handle(s, methodAckSession, func(ctx context.Context, m *sessionMessage) (*Empty, error) {
		return nil, host.AcknowledgeSession(ctx, m.id, m.watermark)
	})
	Handle(s, methodCloseSession, func(ctx context.Context, m *sessionMessage) (*Empty, error) {
		return nil, host.CloseSession(ctx, m.id)
	})
}

const (
	// sessionAckAfter is how long a client is idle before it tells its watermark
	// by itself, so that the server can free the last results. It may take twice
	// as long.
	sessionAckAfter = time.Second
	// sessionCloseWithin bounds what closing a session may take.
	sessionCloseWithin = time.Second
)

// A session is the shell around a client's clientSession.
type session struct {
	c *Client

	mu      busyMutex // guards what follows
	core    clientSession
	opening chan struct{}   // non-nil while somebody opens a session
	queue   []chan struct{} // calls that wait for the window, each for its channel to be closed
	idle    *time.Timer
	armed   bool // idle runs
	used    bool // a call has ended since it was armed
	closed  bool
}

// exactlyOnceSession returns the client's session, which may yet have to be
// opened.
func (c *Client) exactlyOnceSession() (*session, error) {
	if s := c.session.Load(); s != nil {
		return s, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if c.session.Load() == nil {
		c.session.Store(&session{c: c})
	}
	return c.session.Load(), nil
}

// begin hands out the sequence of a new call, after opening a session or waiting
// for the window where that is needed.
func (s *session) begin(ctx context.Context) (id SessionID, seq, watermark uint64, err error) {
	for {
		s.mu.Lock()
		id, seq, watermark, ok := s.core.next()
		if ok || s.closed {
			if s.closed {
				err = ErrClosed
			}
			s.mu.Unlock()
			return id, seq, watermark, err
		}
		if s.core.opened() {
			err = s.awaitRoom(ctx)
		} else {
			err = s.awaitOpen(ctx)
		}
		if err != nil {
			return id, 0, 0, err
		}
	}
}

// awaitOpen opens a session, or waits for who does. It unlocks s.
func (s *session) awaitOpen(ctx context.Context) error {
	opening := s.opening
	if opening == nil {
		s.opening = make(chan struct{})
		s.mu.Unlock()
		return s.open(ctx)
	}
	s.mu.Unlock()
	return s.await(ctx, opening)
}

// awaitRoom waits until it is worth asking for a sequence again. It unlocks s.
func (s *session) awaitRoom(ctx context.Context) error {
	turn := make(chan struct{})
	s.queue = append(s.queue, turn)
	s.mu.Unlock()
	err := s.await(ctx, turn)
	if err != nil {
		s.mu.Lock()
		if i := slices.Index(s.queue, turn); i >= 0 {
			s.queue = slices.Delete(s.queue, i, i+1)
		} else {
			s.wakeLocked() // the turn was ours; it is the next one's
		}
		s.mu.Unlock()
	}
	return err
}

func (s *session) await(ctx context.Context, turn <-chan struct{}) error {
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	case <-s.c.ctx.Done():
		return ErrClosed
	}
}

// open asks the server for a session. A reply that is lost leaves an id that
// nobody uses, which expires.
func (s *session) open(ctx context.Context) error {
	var m sessionMessage
	err := s.c.do(ctx, AtLeastOnce, methodOpenSession, &Empty{}, &m)
	if errors.Is(err, ErrNoMethod) {
		err = ErrNoSessions
	}
	s.mu.Lock()
	if err == nil {
		s.core.open(m.id, s.c.cfg.SessionWindow)
		s.wakeLocked()
	}
	close(s.opening)
	s.opening = nil
	s.mu.Unlock()
	return err
}

// wakeLocked wakes as many calls as the window has room for, those first that
// have waited longest; all, if there is no session any more: one of them opens the
// next.
func (s *session) wakeLocked() {
	n := len(s.queue)
	if n == 0 {
		return
	}
	if s.core.opened() {
		n = min(n, s.core.room())
	}
	for _, turn := range s.queue[:n] {
		close(turn)
	}
	s.queue = slices.Delete(s.queue, 0, n)
}

// watermark returns what a request of the session with this id should carry now.
// Of one that is over, that is what it has carried before.
func (s *session) watermark(id SessionID, before uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.core.id != id {
		return before
	}
	return s.core.watermark()
}

// end finishes with a call: heard is the watermark of a request that was
// answered, or 0, and lost that the server does not know the session.
func (s *session) end(id SessionID, seq, heard uint64, lost bool) {
	s.mu.Lock()
	if heard > 0 {
		s.core.heard(id, heard)
	}
	s.core.done(id, seq)
	if lost {
		s.core.lost(id)
	}
	s.wakeLocked()
	s.used = true
	if !s.armed && !s.closed && s.core.owes() {
		s.armLocked()
	}
	s.mu.Unlock()
}

// armLocked has the watermark told after a while, unless there are calls that
// tell it.
func (s *session) armLocked() {
	s.armed, s.used = true, false
	if s.idle == nil {
		s.idle = time.AfterFunc(sessionAckAfter, s.acknowledge)
	} else {
		s.idle.Reset(sessionAckAfter)
	}
}

// acknowledge tells the server the watermark, after a while without calls that
// would have.
func (s *session) acknowledge() {
	if !s.c.enter() {
		return
	}
	defer s.c.wg.Done()
	s.mu.Lock()
	m := sessionMessage{id: s.core.id, watermark: s.core.watermark()}
	s.armed = false
	owes := s.core.owes() && !s.closed
	if owes && s.used {
		s.armLocked()
		owes = false
	}
	s.mu.Unlock()
	if !owes {
		return
	}
	ctx, cancel := context.WithTimeout(s.c.ctx, sessionCloseWithin)
	defer cancel()
	err := s.c.do(ctx, AtMostOnce, methodAckSession, &m, &Empty{})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.core.heard(m.id, m.watermark)
	case errors.Is(err, ErrSessionExpired):
		s.core.lost(m.id)
	case !s.closed && !s.armed:
		s.armLocked()
	}
}

// close tells the server that the session is over, if it can be told at once.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	if s.idle != nil {
		s.idle.Stop()
	}
	m := sessionMessage{id: s.core.id, watermark: s.core.watermark()}
	opened := s.core.opened()
	s.mu.Unlock()
	if !opened || s.c.cur.Load() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.c.ctx, sessionCloseWithin)
	defer cancel()
	// Without an answer the session expires in its time.
	_ = s.c.do(ctx, AtMostOnce, methodCloseSession, &m, &Empty{})
}

// exactlyOnce makes the attempts of an exactly-once call.
func (a *attempts) exactlyOnce(ctx context.Context) error {
	s, err := a.c.exactlyOnceSession()
	if err != nil {
		return a.err("", NotExecuted, err)
	}
	a.session = s
	a.out.head.flags |= flagExactlyOnce
	for n := 0; ; n++ {
		if n > 1 { // one session may be gone, but two?
			if err := a.c.pause(ctx, n-1); err != nil {
				return a.err("", NotExecuted, err)
			}
		}
		id, seq, mark, err := s.begin(ctx)
		if err != nil {
			var e *Error
			if errors.As(err, &e) {
				err = e.Err
			}
			return a.err("", NotExecuted, err)
		}
		a.out.head.session, a.out.head.seq, a.out.head.mark = id, seq, mark
		a.sends = 0
		if len(a.c.cfg.Interceptors) > 0 {
			err = a.attempt(ctx, 1)
		} else { // it is waited for from here, as in do
			a.inv.Attempt = 1
			if err = a.begin(ctx); err == nil {
				err = a.finish(a.wait(ctx))
			}
			if err != nil {
				err = a.elsewhere(ctx, err)
			}
		}
		if err != nil {
			err = a.retry(ctx, err)
		}
		lost := err != nil && errors.Is(err, ErrSessionExpired) && OutcomeOf(err) == OutcomeUnknown
		heard := uint64(0)
		if err == nil || OutcomeOf(err) == Executed {
			heard = a.out.head.mark
		}
		s.end(id, seq, heard, lost)
		if lost && a.sends == 1 && unknownSession(err) {
			continue // the one request that was not refused found no session: nothing was executed
		}
		return err
	}
}

// unknownSession reports whether err is the table's own word that it does not know
// the session: not that of another table, which a handler has passed on.
func unknownSession(err error) bool {
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Err == ErrSessionExpired {
			return true
		}
	}
	return false
}
