package transport

import (
	"cmp"
	"slices"
)

// LinkStats counts what has happened in one direction between two hosts.
type LinkStats struct {
	From, To string

	Connections uint64 // dialed from From to To, and made
	Refused     uint64 // dialed, and refused
	Resets      uint64 // connections broken by a Write's verdict or by Reset
	Writes      uint64 // to connections, whoever dialed
	Bytes       uint64 // written to connections
	Delivered   uint64 // of them, arrived at the other host

	Packets     uint64 // written
	PacketBytes uint64 // written
	Cut         uint64 // packets that met a partition or a silent host
	Lost        uint64 // packets lost by a verdict
	Duplicated  uint64 // packets that were sent twice
	Reordered   uint64 // packets that were delayed
	Overflowed  uint64 // packets that met a full queue
	Unreachable uint64 // packets to a port on which nobody listens
}

// count adds a stream's flow.
func (s *LinkStats) count(f *flow) {
	s.Writes += f.writes
	s.Bytes += f.written
	s.Delivered += f.arrived
}

// Stats counts for the link between two hosts; all is zero if they never met.
func (n *Network) Stats(from, to string) LinkStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[pair{from, to}]; l != nil {
		return l.stats()
	}
	return LinkStats{From: from, To: to}
}

// Links counts for every link that was ever used, by the names of From and To.
func (n *Network) Links() []LinkStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]LinkStats, 0, len(n.order))
	for _, l := range n.order {
		all = append(all, l.stats())
	}
	slices.SortFunc(all, func(a, b LinkStats) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return all
}

func (l *link) stats() LinkStats {
	s := l.past
	l.each(s.count)
	s.From, s.To = l.from.name, l.to.name
	l.mu.Lock()
	s.Resets = l.resets
	l.mu.Unlock()
	return s
}
