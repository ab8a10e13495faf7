package sim

// eventKind says what happens at an event.
type eventKind uint8

const (
	kindMessage   eventKind = iota + 1 // node gets msg from the node arg
	kindTimer                          // node's timer key fires
	kindSync                           // node's log number arg is safe up to pos; then key fires
	kindStart                          // node boots, if it is down
	kindCrash                          // some node crashes
	kindPartition                      // some links are cut
	kindHeal                           // partition arg is healed
	kindPause                          // some node pauses
	kindCalm                           // faults end
)

// event is the body of an event. Bodies stay in one place of the queue's slab;
// the heap moves only their keys.
type event[M any] struct {
	kind   eventKind
	node   int32
	arg    int32
	boot   uint32 // the node's incarnation that timers and syncs belong to
	serial uint32 // counts the uses of this place
	key    uint64
	pos    int64
	msg    M
}

// eventKey orders events by time, then by creation.
type eventKey struct {
	at   int64
	seq  uint64
	body int32
}

func (k eventKey) before(o eventKey) bool {
	return k.at < o.at || k.at == o.at && k.seq < o.seq
}

// queue is a heap of events, four children to a node: half the depth of a binary
// heap, and the children share a cache line or two.
type queue[M any] struct {
	heap   []eventKey
	bodies []event[M]
	idle   []int32
	seq    uint64
}

func (q *queue[M]) reset() {
	clear(q.bodies) // for the collector
	q.heap, q.bodies, q.idle, q.seq = q.heap[:0], q.bodies[:0], q.idle[:0], 0
}

// add schedules e and returns its place in the slab.
func (q *queue[M]) add(at int64, e event[M]) int32 {
	var i int32
	if n := len(q.idle); n > 0 {
		i = q.idle[n-1]
		q.idle = q.idle[:n-1]
	} else {
		i = int32(len(q.bodies))
		q.bodies = append(q.bodies, event[M]{})
	}
	e.serial = q.bodies[i].serial + 1
	q.bodies[i] = e
	q.push(at, i)
	return i
}

func (q *queue[M]) push(at int64, body int32) {
	q.seq++
	k := eventKey{at, q.seq, body}
	q.heap = append(q.heap, k)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !k.before(q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = k
}

// pop takes the first event's key off; its body is freed by free.
func (q *queue[M]) pop() eventKey {
	first := q.heap[0]
	n := len(q.heap) - 1
	k := q.heap[n]
	q.heap = q.heap[:n]
	if n == 0 {
		return first
	}
	i := 0
	for {
		child := 4*i + 1
		if child >= n {
			break
		}
		for c := child + 1; c < min(child+4, n); c++ {
			if q.heap[c].before(q.heap[child]) {
				child = c
			}
		}
		if !q.heap[child].before(k) {
			break
		}
		q.heap[i] = q.heap[child]
		i = child
	}
	q.heap[i] = k
	return first
}

// free gives a popped body back.
func (q *queue[M]) free(body int32) {
	serial := q.bodies[body].serial
	q.bodies[body] = event[M]{serial: serial}
	q.idle = append(q.idle, body)
}
