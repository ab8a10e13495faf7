package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/transport"
)

// ClientConfig configures a Client. Transport and Addrs are required.
type ClientConfig struct {
	// Transport dials.
	Transport transport.Transport
	// Addrs are the servers of one service, of which one may be serving at a
	// time. The client keeps one connection, to the one that answered first,
	// goes where a redirect points, and comes back here when it is lost.
	Addrs []string
	// Cluster is the cluster's id, at most 255 bytes. A server of another
	// cluster is refused. Default "".
	Cluster string
	// Secret is known to the whole cluster, and proven in the handshake without
	// being sent. It should hold 16 random bytes at least: whoever poses as a
	// server can try guesses against what a client answers. Default none.
	Secret []byte
	// Node is this node's id, at most 255 bytes, for the server to know: with
	// TLS it must be a name in the client's certificate. Default "".
	Node string
	// Limits bound what a server can make this client hold.
	Limits Limits
	// Backoff spaces the attempts of calls that are retried.
	Backoff Backoff
	// DialTimeout bounds one attempt to connect, handshake included. Default 3 s.
	DialTimeout time.Duration
	// DialStagger is how long an attempt to connect is left alone before the
	// next address is tried beside it. Default 100 ms.
	DialStagger time.Duration
	// Patience is how long a server may be silent while calls that may be retried
	// wait for it. Then it is asked for a sign of life, and if there is none they are
	// tried at another address: a process that was stopped, or a machine that has
	// gone, holds nobody up for the minutes that it takes to break a connection. How
	// long a handler takes is of no account. An address that was given up is the last
	// to be tried until it has answered again. Calls that are made at most once end
	// with an unknown outcome. Default: 1 s if there are several Addrs, for another may
	// serve; with one, silence has Limits.PingInterval's time.
	Patience time.Duration
	// SessionWindow bounds the exactly-once calls of the client in progress;
	// more wait. Default 1,024; the server's table must allow as much.
	SessionWindow int
	// Interceptors wrap every attempt of every call, the first outermost.
	Interceptors []ClientInterceptor
	// Logger receives violations of the protocol and panics of connections; nil is
	// silence.
	Logger hclog.Logger
}

func (cfg ClientConfig) withDefaults() (ClientConfig, error) {
	switch {
	case cfg.Transport == nil:
		return cfg, errors.New("rpc: ClientConfig.Transport is nil")
	case len(cfg.Addrs) == 0:
		return cfg, errors.New("rpc: ClientConfig.Addrs is empty")
	case len(cfg.Cluster) > maxName:
		return cfg, fmt.Errorf("rpc: ClientConfig.Cluster is longer than %d bytes", maxName)
	case len(cfg.Node) > maxName:
		return cfg, fmt.Errorf("rpc: ClientConfig.Node is longer than %d bytes", maxName)
	case cfg.DialTimeout < 0:
		return cfg, fmt.Errorf("rpc: ClientConfig.DialTimeout is %v", cfg.DialTimeout)
	case cfg.DialStagger < 0:
		return cfg, fmt.Errorf("rpc: ClientConfig.DialStagger is %v", cfg.DialStagger)
	case cfg.Patience < 0:
		return cfg, fmt.Errorf("rpc: ClientConfig.Patience is %v", cfg.Patience)
	case cfg.SessionWindow < 0:
		return cfg, fmt.Errorf("rpc: ClientConfig.SessionWindow is %d", cfg.SessionWindow)
	}
	for _, a := range cfg.Addrs {
		if a == "" {
			return cfg, errors.New("rpc: ClientConfig.Addrs holds an empty address")
		}
	}
	if err := errors.Join(cfg.Limits.validate(), cfg.Backoff.validate()); err != nil {
		return cfg, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Backoff = cfg.Backoff.withDefaults()
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 3 * time.Second
	}
	if cfg.DialStagger == 0 {
		cfg.DialStagger = 100 * time.Millisecond
	}
	if cfg.Patience == 0 && len(cfg.Addrs) > 1 {
		cfg.Patience = time.Second
	}
	if cfg.SessionWindow == 0 {
		cfg.SessionWindow = 1024
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return cfg, nil
}

// Client calls the methods of a service. It connects when it is first used,
// reconnects by itself, and may be used by any number of goroutines. A Client
// is a Caller whose calls are made at most once.
type Client struct {
	cfg       ClientConfig
	ctr       counters
	handshake handshake
	cur       atomic.Pointer[clientConn] // the connection that new calls use
	ctx       context.Context            // ends with Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup // connections and what else runs in the background
	alo, eo   view
	session   atomic.Pointer[session] // of exactly-once calls; made by the first
	spare     sync.Pool               // of *call; the client's own, as their channels may be of a synctest bubble

	mu      sync.Mutex // guards what follows
	dialing *dialing   // the attempt to connect that is under way
	prefer  []string   // where a redirect pointed, else nil
	first   int        // the address in cfg.Addrs to try first
	silent  silence    // who has fallen silent
	closed  bool
}

// NewClient returns a Client. It does not connect yet; an error names the
// field of cfg that is wrong.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg}
	c.handshake = handshake{cluster: cfg.Cluster, node: cfg.Node, secret: cfg.Secret, lim: cfg.Limits}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.alo = view{c, AtLeastOnce}
	c.eo = view{c, ExactlyOnce}
	return c, nil
}

// Close ends all calls and streams with ErrClosed, after telling the server
// that the client's session, if it has one, is over. It is idempotent.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	s := c.session.Load()
	c.mu.Unlock()
	if first {
		if s != nil {
			s.close()
		}
		c.cancel()
	}
	c.wg.Wait()
	return nil
}

// closing reports whether Close was called.
func (c *Client) closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// enter counts a piece of work in the background in, which then ends with
// c.wg.Done. If it reports false, the client is closed and the work must not begin.
func (c *Client) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Add(1)
	}
	return !c.closed
}

// Stats returns the client's counts.
func (c *Client) Stats() ClientStats {
	return ClientStats{
		Calls: c.ctr.calls.Load(), Failures: c.ctr.failures.Load(),
		Retries: c.ctr.retries.Load(), Redirects: c.ctr.redirects.Load(),
		Streams: c.ctr.streams.Load(), Conns: c.ctr.conns.Load(), OpenConns: c.ctr.openConns.Load(),
		Panics: c.ctr.panics.Load(), BytesIn: c.ctr.bytesIn.Load(), BytesOut: c.ctr.bytesOut.Load(),
	}
}

// A dialing is an attempt to connect that any number of calls wait for.
type dialing struct {
	done chan struct{} // closed when conn or err is set
	conn *clientConn
	err  error
}

// connect returns the current connection, or waits for one.
func (c *Client) connect(ctx context.Context) (*clientConn, error) {
	if cc := c.cur.Load(); cc != nil {
		return cc, nil
	}
	c.mu.Lock()
	if cc := c.cur.Load(); cc != nil || c.closed {
		c.mu.Unlock()
		if cc == nil {
			return nil, ErrClosed
		}
		return cc, nil
	}
	d := c.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		c.dialing = d
		addrs := c.prefer
		for i := range c.cfg.Addrs {
			addrs = append(addrs, c.cfg.Addrs[(c.first+i)%len(c.cfg.Addrs)])
		}
		addrs = c.silent.last(addrs)
		c.prefer = nil
		c.wg.Go(func() { c.dial(d, addrs) })
	}
	c.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctxError(ctx)
	}
}

// dial makes the first of addrs that answers the current connection. A slow
// address is not waited for: the next is tried beside it.
func (c *Client) dial(d *dialing, addrs []string) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	type result struct {
		conn *clientConn
		nc   net.Conn
		err  error
	}
	results := make(chan result)
	start := func(addr string) {
		c.wg.Go(func() {
			cc, nc, err := c.dialOne(ctx, addr)
			select {
			case results <- result{cc, nc, err}:
			case <-ctx.Done():
				if nc != nil {
					shut(&c.ctr, c.cfg.Logger, cc.peer.Addr, nc)
				}
			}
		})
	}
	var errs []error
	next, running := 0, 0
	stagger := time.NewTimer(0)
	defer stagger.Stop()
	for d.conn == nil && (running > 0 || next < len(addrs)) && ctx.Err() == nil {
		select {
		case <-stagger.C:
			if next < len(addrs) {
				start(addrs[next])
				next, running = next+1, running+1
				stagger.Reset(c.cfg.DialStagger)
			}
		case r := <-results:
			running--
			if r.err == nil {
				d.conn = r.conn
				break
			}
			errs = append(errs, r.err)
			stagger.Reset(0)
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	c.dialing = nil
	switch {
	case c.closed:
		if d.conn != nil {
			shut(&c.ctr, c.cfg.Logger, d.conn.peer.Addr, d.conn.nc)
		}
		d.conn, d.err = nil, ErrClosed
	case d.conn != nil:
		c.start(d.conn)
	default:
		if d.err = dialErrors(errs); len(errs) == 1 {
			d.err = errs[0]
		}
	}
	c.mu.Unlock()
	close(d.done)
}

// dialErrors are why none of several addresses answered.
type dialErrors []error

func (d dialErrors) Error() string {
	texts := make([]string, len(d))
	for i, err := range d {
		texts[i] = strings.TrimPrefix(err.Error(), "rpc: ")
	}
	return strings.Join(texts, "; ")
}

func (d dialErrors) Unwrap() []error { return d }

// start puts a connection to use. The client's lock is held.
func (c *Client) start(cc *clientConn) {
	c.ctr.conns.Add(1)
	c.ctr.openConns.Add(1)
	cc.every = c.silent.every(cc.addr, c.cfg)
	cc.run(cc, c.cfg.Limits, &c.ctr, c.cfg.Logger)
	c.cur.Store(cc)
	c.wg.Go(func() {
		defer context.AfterFunc(c.ctx, func() { cc.fail(ErrClosed) })()
		cc.read()
		<-cc.over
		c.forget(cc)
		c.ctr.openConns.Add(-1)
	})
}

// forget makes calls look for another connection than cc.
func (c *Client) forget(cc *clientConn) { c.cur.CompareAndSwap(cc, nil) }

func (c *Client) dialOne(ctx context.Context, addr string) (*clientConn, net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	nc, err := c.cfg.Transport.Dial(ctx, addr)
	if err != nil {
		return nil, nil, &Error{Op: "dial", Addr: addr, Outcome: NotExecuted, Err: err}
	}
	cc := &clientConn{addr: addr}
	cc.shunned = func() { c.shun(cc) }
	cc.moved = func(addrs []string) {
		c.ctr.redirects.Add(1)
		c.redirected(cc, addrs)
	}
	cc.nc = nc
	cc.remote, cc.peer, err = c.shake(ctx, nc)
	if err != nil {
		shut(&c.ctr, c.cfg.Logger, cc.peer.Addr, nc)
		return nil, nil, &Error{Op: "handshake", Addr: addr, Outcome: NotExecuted, Err: err}
	}
	return cc, nc, nil
}

// redirected leaves cc for where addrs point, or for the next address.
func (c *Client) redirected(cc *clientConn, addrs []string) {
	c.mu.Lock()
	if c.cur.CompareAndSwap(cc, nil) {
		c.prefer = c.silent.others(addrs)
		if len(c.prefer) == 0 {
			c.first = (c.first + 1) % len(c.cfg.Addrs)
		}
	}
	c.mu.Unlock()
	cc.drain() // the calls in progress there may end
}
