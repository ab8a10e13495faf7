package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/transport"
)

// ServerConfig configures a Server. The zero value works.
type ServerConfig struct {
	// Cluster is the cluster's id, at most 255 bytes. A client of another
	// cluster is refused. Default "".
	Cluster string
	// Secret is known to the whole cluster; clients must prove that they know
	// it, and it is not sent. Default none.
	Secret []byte
	// Node is this node's id, at most 255 bytes, for clients to know. Default "".
	Node string
	// Limits bound what clients can make this server hold.
	Limits Limits
	// Sessions makes exactly-once calls work: a SessionTable beside the
	// handlers, or a Guard before a machine that has its own. Default nil:
	// exactly-once calls fail with ErrNoSessions.
	Sessions SessionHost
	// Interceptors wrap every handler, the first outermost.
	Interceptors []ServerInterceptor
	// Logger receives refused connections, protocol violations and panics; nil
	// is silence.
	Logger hclog.Logger
}

func (cfg ServerConfig) withDefaults() (ServerConfig, error) {
	switch {
	case len(cfg.Cluster) > maxName:
		return cfg, fmt.Errorf("rpc: ServerConfig.Cluster is longer than %d bytes", maxName)
	case len(cfg.Node) > maxName:
		return cfg, fmt.Errorf("rpc: ServerConfig.Node is longer than %d bytes", maxName)
	}
	if err := cfg.Limits.validate(); err != nil {
		return cfg, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return cfg, nil
}

// ServerInterceptor wraps handlers: it runs the handler by calling next, any
// number of times, one after the other, or answers with an error of its own.
// It must not keep inv.
type ServerInterceptor func(ctx context.Context, inv *Invocation, next func(context.Context) error) error

// Server serves methods on any number of listeners. Its handlers run on
// goroutines that are kept for the next call; a connection that is idle has one
// goroutine.
type Server struct {
	cfg       ServerConfig
	ctr       counters
	handshake handshake
	budget    budget
	workers   workers
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup // listeners and connections

	mu        sync.Mutex // guards what follows
	methods   map[string]*method
	fixed     bool  // Listen was called: the methods are complete
	bad       error // the first bad registration
	listeners map[net.Listener]struct{}
	conns     map[*serverConn]struct{}
	accepted  int // connections, those in their handshake included
	closed    bool
	idle      chan struct{} // made by Shutdown, closed when nothing runs any more
	gone      chan struct{} // made by Shutdown, closed when no connection is left
	draining  atomic.Bool   // idle and gone are made; also read without mu
}

// A method is a registered handler, of one of the two kinds.
type method struct {
	name   string
	inline bool
	begin  func(sc *serverCall) // makes sc's context and what its request is decoded into
	unary  func(s *Server, sc *serverCall) error
	stream func(ctx context.Context, s *Server, fields []byte, st *Stream) error
}

// NewServer returns a Server that serves nothing yet: register handlers, then
// Listen. An error names the field of cfg that is wrong.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		methods:   make(map[string]*method),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*serverConn]struct{}),
	}
	s.handshake = handshake{cluster: cfg.Cluster, node: cfg.Node, secret: cfg.Secret, lim: cfg.Limits}
	s.budget.limit = cfg.Limits.BudgetBytes
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if cfg.Sessions != nil {
		registerSessions(s, cfg.Sessions)
	}
	return s, nil
}

// Handle registers a handler of calls. It runs on a goroutine of its own and may
// block; ctx ends with the caller's, or with its connection (that of a call whose
// result a SessionTable keeps, only with the caller's: the caller will ask
// again). req is the handler's to keep, but for its Body, if it has one. An error is the caller's,
// whole but for its type: errors.Is finds the codes and standard sentinels in
// it. A response of nil is an empty one. A mistake (an empty or repeated name,
// a nil handler, a message with only one of the two methods of a codec, too late) is
// reported by Listen. The package's comment says what can be a message.
func Handle[Req, Resp any](s *Server, name string, h func(ctx context.Context, req *Req) (*Resp, error)) {
	handle(s, name, false, h)
}

// HandleInline registers a handler that promises not to block, nor to take long. It
// runs on the goroutine that reads its connection, which saves a change of
// goroutine, and its response leaves in one write with those to the requests that
// were read together with its own. All else is as with Handle: panics, limits,
// deadlines, interceptors, Shutdown. An exactly-once call runs on a goroutine of
// its own all the same, since the duplicate table may make it wait.
//
// A handler that breaks the promise holds up its own connection, and no other:
// while it runs nothing is read there, and the responses that were to leave with its
// own wait. So its context ends with the caller's deadline and with Close, but not
// when the caller cancels, which cannot be heard meanwhile. If it goes on for three
// times Limits.PingInterval, the connection is given up.
func HandleInline[Req, Resp any](s *Server, name string, h func(ctx context.Context, req *Req) (*Resp, error)) {
	handle(s, name, true, h)
}

func handle[Req, Resp any](s *Server, name string, inline bool, h func(ctx context.Context, req *Req) (*Resp, error)) {
	err := errors.Join(checkMessage(new(Req)), checkMessage(new(Resp)))
	if h == nil {
		err = errors.New("the handler is nil")
	}
	begin := func(sc *serverCall) {
		if sc.head.flags&(flagDeadline|flagExactlyOnce) != 0 {
			g := new(givenMore[Req])
			g.callContext.more = &g.more
			sc.ctx, sc.req = &g.callContext, &g.req
			return
		}
		g := new(given[Req])
		sc.ctx, sc.req = &g.callContext, &g.req
	}
	s.register(&method{name: name, inline: inline, begin: begin, unary: func(s *Server, sc *serverCall) error {
		ctx, req := sc.ctx, sc.req.(*Req)
		if err := sc.decode(req); err != nil {
			return err
		}
		if len(s.cfg.Interceptors) == 0 {
			resp, err := h(ctx, req)
			if err != nil {
				return err
			}
			return sc.encode(resp, resp == nil)
		}
		inv := &Invocation{Method: name, Semantics: sc.ctx.semantics, Req: req}
		return s.intercept(ctx, inv, 0, func(ctx context.Context) error {
			resp, err := h(ctx, req)
			if err != nil {
				return err
			}
			return sc.encode(resp, resp == nil)
		})
	}}, err)
}

// given is what a handler is given and may keep, in one allocation.
type given[Req any] struct {
	callContext
	req Req
}

// givenMore is given for a call that is sure to need more.
type givenMore[Req any] struct {
	given[Req]
	more contextMore
}

// HandleStream registers a handler of streams. When it returns, the stream ends;
// what it wrote is delivered first.
func HandleStream[Req any](s *Server, name string, h func(ctx context.Context, req *Req, st *Stream) error) {
	err := checkMessage(new(Req))
	if h == nil {
		err = errors.New("the handler is nil")
	}
	s.register(&method{name: name, stream: func(ctx context.Context, s *Server, fields []byte, st *Stream) error {
		req := new(Req)
		if err := decodeMessage(fields, req); err != nil {
			return Refuse(malformed(req, err))
		}
		inv := &Invocation{Method: name, Stream: true, Req: req}
		return s.intercept(ctx, inv, 0, func(ctx context.Context) error { return h(ctx, req, st) })
	}}, err)
}

func (s *Server) intercept(ctx context.Context, inv *Invocation, i int, h func(context.Context) error) error {
	if i == len(s.cfg.Interceptors) {
		return h(ctx)
	}
	return s.cfg.Interceptors[i](ctx, inv, func(ctx context.Context) error {
		return s.intercept(ctx, inv, i+1, h)
	})
}

// register notes a method, or the first mistake.
func (s *Server) register(m *method, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
	case m.name == "" || len(m.name) > maxMethod:
		err = fmt.Errorf("a name has 1 to %d bytes", maxMethod)
	case s.methods[m.name] != nil:
		err = errors.New("it is registered already")
	case s.fixed:
		err = errors.New("the server is listening already")
	}
	if err != nil {
		if s.bad == nil {
			s.bad = fmt.Errorf("rpc: method %q: %w", m.name, err)
		}
		return
	}
	s.methods[m.name] = m
}

// Listen listens on addr and serves in the background until Shutdown or Close.
// It may be called several times, with several transports. It returns the
// address that it listens on, and fails with the first mistake that was made in
// registering handlers. ctx bounds the listening call only.
func (s *Server) Listen(ctx context.Context, t transport.Transport, addr string) (net.Addr, error) {
	if t == nil {
		return nil, &Error{Op: "listen", Addr: addr, Outcome: NotExecuted, Err: errors.New("the transport is nil")}
	}
	s.mu.Lock()
	s.fixed = true
	err := s.bad
	if s.closed || s.draining.Load() {
		err = ErrClosed
	}
	s.mu.Unlock()
	if err != nil {
		return nil, &Error{Op: "listen", Addr: addr, Outcome: NotExecuted, Err: err}
	}
	l, err := t.Listen(ctx, addr)
	if err != nil {
		return nil, &Error{Op: "listen", Addr: addr, Outcome: NotExecuted, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.draining.Load() {
		l.Close()
		return nil, &Error{Op: "listen", Addr: addr, Outcome: NotExecuted, Err: ErrClosed}
	}
	s.listeners[l] = struct{}{}
	s.wg.Go(func() { s.accept(l) })
	return l.Addr(), nil
}

// Stats returns the server's counts.
func (s *Server) Stats() ServerStats {
	c := &s.ctr
	streams := c.streams.Load() // before started, which counts each of them first
	return ServerStats{
		Calls: c.started.Load() - uint64(streams), Failures: c.failures.Load(), Panics: c.panics.Load(),
		Overloads: c.overloads.Load(), Streams: streams, Conns: c.conns.Load(),
		Rejected: c.rejected.Load(), OpenConns: c.openConns.Load(), Running: c.running(),
		HeldBytes: s.budget.used.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
	}
}

// Shutdown drains the server: it stops listening, tells its clients to go
// elsewhere, refuses new calls with ErrShutdown, waits for those in progress and
// for open streams, and closes. If ctx ends first it closes at once and returns
// the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	if !s.draining.Load() {
		s.idle, s.gone = make(chan struct{}), make(chan struct{})
		s.draining.Store(true)
		for l := range s.listeners {
			l.Close()
		}
		s.checkIdleLocked()
	}
	conns := s.connsLocked()
	s.mu.Unlock()
	for _, c := range conns {
		c.goAway()
	}
	var err error
	select {
	case <-s.idle:
		s.farewell(ctx)
	case <-ctx.Done():
		err = &Error{Op: "shutdown", Err: ctxError(ctx)}
	}
	return errors.Join(err, s.Close())
}

// farewell waits a little for the clients to take their last answers and hang
// up: to hang up on them could cost them what is still under way.
func (s *Server) farewell(ctx context.Context) {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-s.gone:
	case <-ctx.Done():
	}
}

// checkIdleLocked wakes Shutdown when there is nothing left to wait for.
func (s *Server) checkIdleLocked() {
	if !s.draining.Load() {
		return
	}
	if s.ctr.running() == 0 && !isClosed(s.idle) {
		close(s.idle)
	}
	if len(s.conns) == 0 && !isClosed(s.gone) {
		close(s.gone)
	}
}

// begin counts n calls or streams that are about to run; if it reports false, the
// server drains and they must not.
func (s *Server) begin(n int) bool {
	s.ctr.started.Add(uint64(n))
	if s.draining.Load() {
		s.ctr.started.Add(-uint64(n))
		s.checkIdle()
		return false
	}
	return true
}

// finish counts a call or stream that has run.
func (s *Server) finish() {
	s.ctr.finished.Add(1)
	if s.draining.Load() {
		s.checkIdle()
	}
}

func (s *Server) checkIdle() {
	s.mu.Lock()
	s.checkIdleLocked()
	s.mu.Unlock()
}

func (s *Server) connsLocked() []*serverConn {
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// Close stops the server at once: connections are closed, handlers' contexts
// end, and Close returns when all its goroutines have. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	conns := s.connsLocked()
	s.mu.Unlock()
	s.cancel()
	for _, c := range conns {
		c.fail(ErrClosed)
	}
	s.wg.Wait()
	s.workers.close()
	return nil
}
