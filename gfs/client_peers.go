package gfs

import (
	"cmp"
	"net"
	"slices"
	"time"
)

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
