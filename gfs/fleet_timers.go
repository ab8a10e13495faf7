package gfs

import "time"

// A fleetTimer is something to look at again at a time.
type fleetTimer struct {
	at     time.Duration
	handle handle
	kind   timerKind
}

type timerKind uint8

const (
	timerLease   timerKind = iota // a lease may have expired
	timerRevoke                   // a chunk may have waited too long for its lease to end
	timerHeld                     // a chunk may have been held too long
	timerClone                    // a clone may have taken too long
	timerCompare                  // a comparison may have taken too long
	timerRetry                    // a repair that has failed may be tried again
	timerParked                   // there may be a place now
)

// A timerQueue is a heap of timers. Those whose reason has gone stay until they are due.
type timerQueue struct{ heap []fleetTimer }

func (q *timerQueue) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.handle != b.handle {
		return a.handle < b.handle
	}
	return a.kind < b.kind
}

func (q *timerQueue) push(t fleetTimer) {
	q.heap = append(q.heap, t)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.before(i, up) {
			return
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

// pop returns the first timer if it is due.
func (q *timerQueue) pop(now time.Duration) (fleetTimer, bool) {
	if len(q.heap) == 0 || q.heap[0].at > now {
		return fleetTimer{}, false
	}
	first := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap = q.heap[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if down+1 < last && q.before(down+1, down) {
			down++
		}
		if !q.before(down, i) {
			break
		}
		q.heap[i], q.heap[down] = q.heap[down], q.heap[i]
		i = down
	}
	return first, true
}

func (f *fleet) after(d time.Duration, kind timerKind, h handle) {
	f.timers.push(fleetTimer{f.now + d, h, kind})
}

func (f *fleet) runTimers() {
	for range tickTimers {
		t, ok := f.timers.pop(f.now)
		if !ok {
			return
		}
		switch t.kind {
		case timerLease:
			f.leaseDue(t.handle, t.at)
		case timerRevoke:
			f.revokeDue(t.handle)
		case timerHeld:
			if until, held := f.held[t.handle]; held && until <= f.now {
				f.release(t.handle)
			}
		case timerClone:
			if k := f.clones[t.handle]; k != nil && k.due <= f.now {
				f.cloneOver(t.handle, false)
			}
		case timerCompare:
			if k := f.compares[t.handle]; k != nil && k.due <= f.now {
				f.compareOver(t.handle, false)
			}
		case timerRetry:
			f.retryDue(t.handle)
		case timerParked:
			f.parkedDue()
		}
	}
	f.acts.again = true
}
