package transport

import "sync"

// chunks is the byte queue of a flow: a list of pieces from a pool. It holds no
// memory while it is empty, grows and shrinks without copying, and lets one
// writer and one reader copy at the same time without a lock:
//
//	w := q.reserve(n)      // locked
//	copy(w, p)             // not locked
//	q.commit(len(w))       // locked
//
//	c := q.front()         // locked
//	c.copyTo(p[:n])        // not locked
//	q.discard(n)           // locked
//
// They touch different bytes: the reader copies only what was committed before.
type chunks struct {
	head, tail *chunk
	from       int // the first unread byte of head
}

type chunk struct {
	next *chunk
	used int // bytes committed
	buf  []byte
}

// The sizes of chunks: the small one for a message, the large one for bulk.
const (
	smallChunk  = 1 << 10
	mediumChunk = 8 << 10
	largeChunk  = 64 << 10
)

var smallChunks, mediumChunks, largeChunks = pool(smallChunk), pool(mediumChunk), pool(largeChunk)

func pool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { return &chunk{buf: make([]byte, size)} }}
}

func newChunk(atLeast int) *chunk {
	switch {
	case atLeast <= smallChunk:
		return smallChunks.Get().(*chunk)
	case atLeast <= mediumChunk:
		return mediumChunks.Get().(*chunk)
	}
	return largeChunks.Get().(*chunk)
}

func (c *chunk) free() {
	c.next, c.used = nil, 0
	switch len(c.buf) {
	case smallChunk:
		smallChunks.Put(c)
	case mediumChunk:
		mediumChunks.Put(c)
	case largeChunk:
		largeChunks.Put(c)
	}
}

// reserve returns room for at least one and at most n bytes behind the last.
func (q *chunks) reserve(n int) []byte {
	if q.tail == nil || q.tail.used == len(q.tail.buf) {
		c := newChunk(n)
		if q.tail == nil {
			q.head = c
		} else {
			q.tail.next = c
		}
		q.tail = c
	}
	room := q.tail.buf[q.tail.used:]
	return room[:min(n, len(room))]
}

// commit appends the first n reserved bytes to the queue.
func (q *chunks) commit(n int) { q.tail.used += n }

// front returns a cursor to the first unread byte.
func (q *chunks) front() cursor { return cursor{q.head, q.from} }

type cursor struct {
	chunk *chunk
	from  int
}

// copyTo fills p, which is no longer than what was committed when the cursor was
// made.
func (c cursor) copyTo(p []byte) {
	for {
		// A chunk that was full stays as it is; of the last one, only bytes
		// below len(p) are read. So neither used nor, at the end, next matters.
		n := copy(p, c.chunk.buf[c.from:])
		if p = p[n:]; len(p) == 0 {
			return
		}
		c.chunk, c.from = c.chunk.next, 0
	}
}

// discard removes the first n bytes, and the chunks that nobody will need again.
func (q *chunks) discard(n int) {
	for q.from += n; q.head != nil && q.from >= len(q.head.buf); {
		c := q.head
		q.from -= len(c.buf)
		q.head = c.next
		if q.head == nil {
			q.tail = nil
		}
		c.free()
	}
}

// drop empties the queue for good. Chunks that somebody is copying in are left to
// the garbage collector.
func (q *chunks) drop(inUse bool) {
	for c := q.head; c != nil && !inUse; {
		next := c.next
		c.free()
		c = next
	}
	*q = chunks{}
}
