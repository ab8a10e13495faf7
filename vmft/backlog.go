package vmft

// backlog is the batches that a backup has received and not executed, the oldest first.
type backlog struct {
	batches []batch
	head    int // where the oldest is
}

func (q *backlog) empty() bool { return q.head == len(q.batches) }

func (q *backlog) push(b batch) { q.batches = append(q.batches, b) }

// next takes the oldest batch out. There is one.
func (q *backlog) next() batch {
	b := q.batches[q.head]
	q.batches[q.head] = batch{}
	q.head++
	if q.empty() {
		q.batches, q.head = q.batches[:0], 0
	} else if q.head > len(q.batches)/2 { // each moves at most once for every one that has left
		n := copy(q.batches, q.batches[q.head:])
		clear(q.batches[n:])
		q.batches, q.head = q.batches[:n], 0
	}
	return b
}
