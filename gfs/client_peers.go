package gfs

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// maxClientPeers is how many chunkservers a client is connected to at most, apart from
	// those that are in use just now.
	maxClientPeers = 1024
	// shunFor is how long a chunkserver that did not answer is asked last.
	shunFor = 5 * time.Second
)

// A clientPeer is a chunkserver as a client knows it.
type clientPeer struct {
	client *rpc.Client

	mu    sync.Mutex // guards what follows
	used  time.Time
	users int       // operations that use client
	shun  time.Time // it failed: until then others are asked first
	reads latencies
}

// A peerTable has the chunkservers that a client has to do with.
type peerTable struct {
	cfg rpc.ClientConfig // without Addrs

	mu     sync.Mutex // guards what follows
	peers  map[string]*clientPeer
	wg     sync.WaitGroup // peers that are being closed
	closed bool
}

func newPeerTable(cfg rpc.ClientConfig) *peerTable {
	return &peerTable{cfg: cfg, peers: make(map[string]*clientPeer)}
}

// take returns the peer at an address, for use until done.
func (t *peerTable) take(addr string) (*clientPeer, error) {
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
		p = &clientPeer{client: client}
		t.peers[addr] = p
	}
	p.mu.Lock()
	p.users++
	p.used = time.Now()
	p.mu.Unlock()
	return p, nil
}

// done ends a use.
func (p *clientPeer) done() {
	p.mu.Lock()
	p.users--
	p.mu.Unlock()
}

// makeRoom lets go of the peer that has not been used for longest, if the table is full.
func (t *peerTable) makeRoom() {
	if len(t.peers) < maxClientPeers {
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
func (t *peerTable) peek(addr string) *clientPeer {
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
func (p *clientPeer) failed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shun = now.Add(shunFor)
}

// served notes that a read of n bytes took so long, or was given up after so long.
func (p *clientPeer) served(n int, took time.Duration, ok bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads.add(n, took, now)
	if ok {
		p.shun = time.Time{}
	}
}

// A candidate is a replica that could serve a read.
type candidate struct {
	location
	far     int           // distance from the client
	shunned bool          // it has failed lately
	typical time.Duration // what reads of it take, 0 if that is not known
	late    time.Duration // what nearly all of them take, 0 likewise
	turn    uint64        // decides between equals
}

// candidates returns the replicas of a chunk in the order in which to ask them for n
// bytes: those that work before those that have failed, those that are not much slower
// than others before those that are, and the nearest first. Between equals it depends on
// the client and the chunk, so that not all clients ask the same.
func (c *Client) candidates(info *chunkInfo, n int, now time.Time) []candidate {
	all := make([]candidate, 0, len(info.where))
	var best time.Duration
	for _, l := range info.where {
		k := candidate{location: l, far: distance(&c.here, &l), turn: mix64(c.id ^ uint64(info.handle)<<20 ^ uint64(l.id))}
		if p := c.peers.peek(l.addr); p != nil {
			p.mu.Lock()
			k.shunned = now.Before(p.shun)
			k.typical, k.late = p.reads.quantiles(n, now)
			p.mu.Unlock()
		}
		if k.typical > 0 && (best == 0 || k.typical < best) {
			best = k.typical
		}
		all = append(all, k)
	}
	rank := func(k candidate) int {
		switch {
		case k.shunned:
			return 2
		case best > 0 && k.typical > slowFactor*best && k.typical > best+slowMargin:
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.far, b.far), cmp.Compare(a.turn, b.turn))
	})
	return all
}

// A replica counts as slow if it takes slowFactor times as long as the fastest, and
// slowMargin longer.
const (
	slowFactor = 4
	slowMargin = 5 * time.Millisecond
)

// mix64 spreads the bits of x.
func mix64(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// hostOf returns the host of an address.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// local reports whether a replica is on the client's own machine.
func (c *Client) local(l location) bool {
	return c.here.addr != "" && hostOf(l.addr) == hostOf(c.here.addr)
}
