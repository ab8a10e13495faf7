package mapreduce

import (
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// peers holds a client for each worker from which something is fetched.
type peers struct {
	cfg rpc.ClientConfig

	mu      sync.Mutex // guards what follows
	clients map[string]*peer
	closed  bool
}

// peer is a client and who uses it.
type peer struct {
	*rpc.Client
	users int
	since time.Time // when the last user left
}

// peerIdle is how long a client is kept that nobody uses.
const peerIdle = time.Minute

func newPeers(cfg rpc.ClientConfig) *peers {
	return &peers{cfg: cfg, clients: make(map[string]*peer)}
}

// get returns the client for an address, until done is called.
func (p *peers) get(addr string) (c *rpc.Client, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	known := p.clients[addr]
	if known == nil {
		p.prune()
		cfg := p.cfg
		cfg.Addrs = []string{addr}
		client, err := rpc.NewClient(cfg)
		if err != nil {
			return nil, nil, err
		}
		known = &peer{Client: client}
		p.clients[addr] = known
	}
	known.users++
	return known.Client, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		known.users--
		known.since = time.Now()
	}, nil
}

// prune closes clients that have not been used for a while.
func (p *peers) prune() {
	for addr, known := range p.clients {
		if known.users == 0 && time.Since(known.since) > peerIdle {
			_ = known.Close()
			delete(p.clients, addr)
		}
	}
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, known := range p.clients {
		_ = known.Close()
	}
	clear(p.clients)
}
