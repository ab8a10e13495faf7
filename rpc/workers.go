package rpc

import "sync"

// maxIdleWorkers bounds the goroutines that wait for a call.
const maxIdleWorkers = 256

// workers are the goroutines that run handlers. They outlive their call, stack
// and all, and take the next from a queue.
//
// A handler may block, so a call that waits must not depend on a worker that is
// busy: whoever takes a call and leaves others behind wakes one more worker
// first. But one at a time is enough, since that one does the same; so a batch
// of calls that end quickly is run by a few workers, at the price of a few
// wake-ups, and a batch of calls that block gets a worker each.
type workers struct {
	wg sync.WaitGroup // all workers, and the handlers of streams

	mu     busyMutex       // guards what follows
	queue  []*serverCall   // at most the calls of all connections
	head   int             // queue[:head] are taken
	idle   []chan struct{} // of workers that wait, the last to go on first: a core's cache holds most of it
	waking bool            // one has been told, and has not looked yet
	closed bool
}

// run has workers run calls.
func (w *workers) run(calls []*serverCall) {
	w.mu.Lock()
	if w.head > 0 && len(w.queue)+len(calls) > cap(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.queue = append(w.queue, calls...)
	w.unlockAndWake()
}

// unlockAndWake sees to it that a worker looks at the queue, unless one is
// about to. The lock is held on entry.
func (w *workers) unlockAndWake() {
	switch {
	case w.waking:
		w.mu.Unlock()
	case len(w.idle) > 0:
		w.waking = true
		wake := w.idle[len(w.idle)-1]
		w.idle = w.idle[:len(w.idle)-1]
		w.mu.Unlock()
		wake <- struct{}{} // does not block
	default:
		w.waking = true
		w.mu.Unlock()
		w.wg.Go(w.work)
	}
}

// work runs calls until there are none, and then waits for more, unless enough
// do already.
func (w *workers) work() {
	wake := make(chan struct{}, 1)
	var spare spareCalls
	w.mu.Lock()
	w.waking = false
	for {
		if w.head == len(w.queue) {
			w.queue, w.head = w.queue[:0], 0
			if len(w.idle) >= maxIdleWorkers || w.closed {
				w.mu.Unlock()
				spare.share()
				return
			}
			w.idle = append(w.idle, wake)
			w.mu.Unlock()
			spare.share()
			if _, ok := <-wake; !ok {
				return
			}
			w.mu.Lock()
			w.waking = false
			continue
		}
		sc := w.queue[w.head]
		w.queue[w.head] = nil
		w.head++
		if w.head < len(w.queue) {
			w.unlockAndWake()
		} else {
			w.mu.Unlock()
		}
		sc.run(false, &spare)
		w.mu.Lock()
	}
}

// close ends the idle workers and waits for all. No more calls come.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	for _, wake := range w.idle {
		close(wake)
	}
	w.idle = nil
	w.mu.Unlock()
	w.wg.Wait()
}
