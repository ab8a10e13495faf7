package gfs

import (
	"context"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// maxPeers is how many chunkservers a process is connected to at most, apart from
	// those that are in use just now.
	maxPeers = 1024
	// shunFor is how long a chunkserver that did not answer is asked last.
	shunFor = 5 * time.Second
)

// A chunkPeer is a chunkserver as another process knows it.
type chunkPeer struct {
	client *rpc.Client

	mu    sync.Mutex // guards what follows
	used  time.Time
	users int       // operations that use client
	shun  time.Time // it failed: until then others are asked first
	reads latencies
}

// A peerTable has the chunkservers that a process has to do with, as masters, chunkservers
// and clients all talk to many. It may be used concurrently.
type peerTable struct {
	cfg rpc.ClientConfig // without Addrs

	mu     sync.Mutex // guards what follows
	peers  map[string]*chunkPeer
	wg     sync.WaitGroup // peers that are being closed
	closed bool
}

func newPeerTable(cfg rpc.ClientConfig) *peerTable {
	return &peerTable{cfg: cfg, peers: make(map[string]*chunkPeer)}
}

// take returns the peer at an address, for use until done.
func (t *peerTable) take(addr string) (*chunkPeer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[addr]
	if p == nil {
		if t.closed {
			return nil, ErrClosed
		}
		cfg := t.cfg
		cfg.Addrs = []string{addr}
		client, err := rpc.NewClient(cfg)
		if err != nil {
			return nil, err
		}
		t.makeRoom()
		p = &chunkPeer{client: client}
		t.peers[addr] = p
	}
	p.mu.Lock()
	p.users++
	p.used = time.Now()
	p.mu.Unlock()
	return p, nil
}

// done ends a use.
func (p *chunkPeer) done() {
	p.mu.Lock()
	p.users--
	p.mu.Unlock()
}

// makeRoom lets go of the peer that has not been used for longest, if the table is full.
func (t *peerTable) makeRoom() {
	if len(t.peers) < maxPeers {
		return
	}
	var oldest string
	var used time.Time
	// order-free: the one with the least time is taken
	for addr, p := range t.peers {
		p.mu.Lock()
		if p.users == 0 && (oldest == "" || p.used.Before(used)) {
			oldest, used = addr, p.used
		}
		p.mu.Unlock()
	}
	if p := t.peers[oldest]; p != nil {
		delete(t.peers, oldest)
		t.wg.Go(func() { p.client.Close() })
	}
}

// peek returns the peer at an address if there is one.
func (t *peerTable) peek(addr string) *chunkPeer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[addr]
}

// dial is take for a chain, whose stream ends with the client in any case.
func (t *peerTable) dial(_ context.Context, addr string) (*rpc.Client, error) {
	p, err := t.take(addr)
	if err != nil {
		return nil, err
	}
	p.done()
	return p.client, nil
}

func (t *peerTable) close() {
	t.mu.Lock()
	t.closed = true
	for _, p := range t.peers {
		t.wg.Go(func() { p.client.Close() })
	}
	t.mu.Unlock()
	t.wg.Wait()
}

// failed notes that a peer did not answer, or answered that it cannot serve.
func (p *chunkPeer) failed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shun = now.Add(shunFor)
}

// served notes that a read of n bytes took so long, or was given up after so long.
func (p *chunkPeer) served(n int, took time.Duration, ok bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads.add(n, took, now)
	if ok {
		p.shun = time.Time{}
	}
}
