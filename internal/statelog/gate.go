package statelog

// gate holds outputs back until the log is safe up to the position that they
// depend on. It is pure: the goroutines that own the positions tell it about them
// and deliver what it returns. T is an output, R a reader that waits.
//
// Invariants, checked by check: outputs are held in the order of their positions,
// all of which are applied; what is held is beyond synced. The same for readers,
// except that theirs may be about to be applied.
type gate[T, R any] struct {
	applied uint64 // the last command that has been applied
	synced  uint64 // the last command that is safe
	outputs fifo[T]
	readers fifo[R]
}

// apply takes note that a command has been applied and returns whether its output
// may leave at once; if not it is held.
func (g *gate[T, R]) apply(position uint64, output T) (free bool) {
	g.applied = position
	if position <= g.synced {
		return true
	}
	g.outputs.push(position, output)
	return false
}

// reach takes note that the log is safe up to a position, and appends the outputs
// and readers that have waited for it to those given.
func (g *gate[T, R]) reach(position uint64, outputs []T, readers []R) ([]T, []R) {
	g.synced = max(g.synced, position)
	return g.outputs.pop(g.synced, outputs), g.readers.pop(g.synced, readers)
}

// abandon empties the gate: nothing will become safe any more.
func (g *gate[T, R]) abandon(outputs []T, readers []R) ([]T, []R) {
	return g.outputs.pop(^uint64(0), outputs), g.readers.pop(^uint64(0), readers)
}

// fifo holds values in the order of the positions that they wait for.
type fifo[T any] struct {
	held []held[T]
	head int // where the oldest is
}

type held[T any] struct {
	position uint64
	value    T
}

func (f *fifo[T]) push(position uint64, value T) {
	f.held = append(f.held, held[T]{position, value})
}

// last returns the newest value, if it waits for a position.
func (f *fifo[T]) last(position uint64) (value T, ok bool) {
	if n := len(f.held); n > f.head && f.held[n-1].position == position {
		return f.held[n-1].value, true
	}
	return value, false
}

// pop appends to dst, and forgets, the values up to a position.
func (f *fifo[T]) pop(position uint64, dst []T) []T {
	from := f.head
	for f.head < len(f.held) && f.held[f.head].position <= position {
		dst = append(dst, f.held[f.head].value)
		f.head++
	}
	clear(f.held[from:f.head])
	if f.head == len(f.held) {
		f.held, f.head = f.held[:0], 0
	} else if f.head > len(f.held)/2 {
		// Each value moves at most once for every one that left before it.
		n := copy(f.held, f.held[f.head:])
		clear(f.held[n:])
		f.held, f.head = f.held[:n], 0
	}
	return dst
}

func (f *fifo[T]) len() int { return len(f.held) - f.head }
