package vmft

// gate holds back what waits for a position of the log to be safe: outputs, and readers.
// It is pure: who owns the positions tells it about them and delivers what it returns.
//
// Invariants: values are held in the order of their positions; what is held is beyond what
// was released.
type gate[T any] struct {
	held     []held[T]
	head     int // where the oldest is
	released uint64
}

type held[T any] struct {
	position uint64
	value    T
}

// push holds a value until a position is released. Positions do not go back. It reports
// false, and holds nothing, if the position has been.
func (g *gate[T]) push(position uint64, value T) bool {
	if position <= g.released {
		return false
	}
	g.held = append(g.held, held[T]{position, value})
	return true
}

// release appends to dst, and forgets, what has waited for positions up to one.
func (g *gate[T]) release(position uint64, dst []T) []T {
	g.released = max(g.released, position)
	from := g.head
	for g.head < len(g.held) && g.held[g.head].position <= g.released {
		dst = append(dst, g.held[g.head].value)
		g.head++
	}
	clear(g.held[from:g.head])
	if g.head == len(g.held) {
		g.held, g.head = g.held[:0], 0
	} else if g.head > len(g.held)/2 {
		// Each value moves at most once for every one that left before it.
		n := copy(g.held, g.held[g.head:])
		clear(g.held[n:])
		g.held, g.head = g.held[:n], 0
	}
	return dst
}

// empty appends everything to dst: nothing will be released any more.
func (g *gate[T]) empty(dst []T) []T {
	for _, h := range g.held[g.head:] {
		dst = append(dst, h.value)
	}
	clear(g.held)
	g.held, g.head = g.held[:0], 0
	return dst
}

func (g *gate[T]) len() int { return len(g.held) - g.head }
