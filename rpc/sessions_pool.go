package rpc

import "math/bits"

// Results up to sessionRecycled bytes live in recycled buffers whose sizes are
// powers of two; what is accounted for a result depends on its length alone, so
// that replicas agree on when they are full.
const (
	sessionSmallest = 64       // bytes of the smallest buffer
	sessionRecycled = 32 << 10 // bytes of the largest buffer that is recycled
	sessionIdle     = 1 << 20  // bytes of idle buffers kept, and as many of rings
	sessionClasses  = 17       // size classes, by power of two
)

// sessionSize returns the bytes accounted for a result of n bytes.
func sessionSize(n int) int64 {
	if n == 0 || n > sessionRecycled {
		return int64(n)
	}
	return sessionSmallest << sessionClass(n)
}

// reserve is what a running call holds: the room for any result.
func (s *Sessions) reserve() int64 { return sessionSize(s.cfg.MaxResult) }

func sessionClass(n int) int {
	return max(0, bits.Len(uint(n-1))-bits.Len(sessionSmallest-1))
}

// sessionPool keeps idle result buffers and rings, within a bound.
type sessionPool struct {
	buffers     [sessionClasses][][]byte
	rings       [sessionClasses][][]sessionEntry
	bufferBytes int
	ringSlots   int
}

// copy returns a result, put together from its parts, in a buffer of the pool.
func (p *sessionPool) copy(result ...[]byte) []byte {
	n := partsLen(result)
	if n == 0 {
		return nil
	}
	b := p.get(n)
	for _, part := range result {
		b = append(b, part...)
	}
	return b
}

// get returns an empty buffer for n bytes.
func (p *sessionPool) get(n int) []byte {
	if n > sessionRecycled {
		return make([]byte, 0, n)
	}
	class := sessionClass(n)
	free := p.buffers[class]
	if len(free) == 0 {
		return make([]byte, 0, sessionSmallest<<class)
	}
	b := free[len(free)-1]
	p.buffers[class] = free[:len(free)-1]
	p.bufferBytes -= cap(b)
	return b
}

// partsLen returns the length of what parts make together.
func partsLen(parts [][]byte) int {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	return n
}

// put takes back a buffer of copy.
func (p *sessionPool) put(b []byte) {
	if cap(b) == 0 || cap(b) > sessionRecycled || p.bufferBytes+cap(b) > sessionIdle {
		return
	}
	p.bufferBytes += cap(b)
	class := sessionClass(cap(b))
	p.buffers[class] = append(p.buffers[class], b[:0])
}

// ring returns a ring of n free entries, a power of two.
func (p *sessionPool) ring(n int) []sessionEntry {
	class := bits.Len(uint(n - 1))
	free := p.rings[class]
	if len(free) == 0 {
		return make([]sessionEntry, n)
	}
	r := free[len(free)-1]
	p.rings[class] = free[:len(free)-1]
	p.ringSlots -= n
	return r
}

// putRing takes back a ring whose entries are free.
func (p *sessionPool) putRing(r []sessionEntry) {
	if len(r) == 0 || (p.ringSlots+len(r))*sessionSlotBytes > sessionIdle {
		return
	}
	p.ringSlots += len(r)
	class := bits.Len(uint(len(r) - 1))
	p.rings[class] = append(p.rings[class], r)
}

// sessionWaiters holds the lists of duplicates that wait, in one slab: a list
// is named by the index of its first node, 0 being the empty list.
type sessionWaiters struct {
	limit   int // of all lists
	perCall int // of one list
	n       int
	nodes   []sessionWaiter // nodes[0] heads the list of idle nodes
}

type sessionWaiter struct {
	token uint64
	next  int32
}

// reset forgets all lists.
func (w *sessionWaiters) reset() { w.n, w.nodes = 0, nil }

// add appends token to a list and reports whether the limits allowed it.
func (w *sessionWaiters) add(list *int32, token uint64) bool {
	if w.n >= w.limit {
		return false
	}
	if len(w.nodes) == 0 {
		w.nodes = append(w.nodes, sessionWaiter{})
	}
	length, tail := 0, int32(0)
	for i := *list; i != 0; i = w.nodes[i].next {
		length, tail = length+1, i
	}
	if length >= w.perCall {
		return false
	}
	i := w.nodes[0].next
	if i == 0 {
		i = int32(len(w.nodes))
		w.nodes = append(w.nodes, sessionWaiter{})
	}
	w.nodes[0].next = w.nodes[i].next
	w.nodes[i] = sessionWaiter{token: token}
	if tail == 0 {
		*list = i
	} else {
		w.nodes[tail].next = i
	}
	w.n++
	return true
}

// remove takes one token out of a list and reports whether it was there.
func (w *sessionWaiters) remove(list *int32, token uint64) bool {
	for p, i := list, *list; i != 0; p, i = &w.nodes[i].next, w.nodes[i].next {
		if w.nodes[i].token == token {
			*p = w.nodes[i].next
			w.free(i)
			return true
		}
	}
	return false
}

// release appends the tokens of a list to dst, first come first, and empties it.
func (w *sessionWaiters) release(list *int32, dst []uint64) []uint64 {
	for i := *list; i != 0; {
		next := w.nodes[i].next
		dst = append(dst, w.nodes[i].token)
		w.free(i)
		i = next
	}
	*list = 0
	return dst
}

func (w *sessionWaiters) free(i int32) {
	w.nodes[i] = sessionWaiter{next: w.nodes[0].next}
	w.nodes[0].next = i
	w.n--
}
