package transport

import "slices"

// A matrix knows who is kept from reaching whom. A host always reaches itself.
type matrix struct {
	group map[string]int // the side of the partition; 0 for hosts that no side names
	cuts  map[pair]bool  // one-way partitions
	holds map[pair]bool  // links that keep what is sent
}

type pair struct{ from, to string }

// partition replaces the partition by one in which hosts reach their own side only.
func (m *matrix) partition(sides [][]string) {
	m.group = make(map[string]int)
	for i, side := range sides {
		for _, host := range side {
			m.group[host] = i + 1
		}
	}
}

// cut adds a one-way partition.
func (m *matrix) cut(from, to []string) {
	for _, f := range from {
		for _, t := range to {
			m.cuts = mark(m.cuts, f, t)
		}
	}
}

// hold makes a link keep what is sent.
func (m *matrix) hold(from, to string) { m.holds = mark(m.holds, from, to) }

// release undoes hold.
func (m *matrix) release(from, to string) { delete(m.holds, pair{from, to}) }

// heal removes everything.
func (m *matrix) heal() { *m = matrix{} }

// isCut reports whether a partition separates from and to.
func (m *matrix) isCut(from, to string) bool {
	return from != to && (m.group[from] != m.group[to] || m.cuts[pair{from, to}])
}

// isHeld reports whether the link keeps what is sent.
func (m *matrix) isHeld(from, to string) bool { return m.holds[pair{from, to}] }

func mark(set map[pair]bool, from, to string) map[pair]bool {
	if set == nil {
		set = make(map[pair]bool)
	}
	set[pair{from, to}] = true
	return set
}

// twice returns a host that is named more than once, if any is.
func twice(sides ...[]string) (host string, found bool) {
	all := slices.Sorted(slices.Values(slices.Concat(sides...)))
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			return all[i], true
		}
	}
	return "", false
}
