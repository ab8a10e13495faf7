package mapreduce

import (
	"context"
	"errors"
)

// errDrained is why a worker ends that has nothing left to do for anybody.
var errDrained = errors.New("the worker is drained")

// Drain ends the worker without loss: it takes no more tasks, completes those that
// it runs, and goes on serving the output of its maps until their jobs have ended.
// It returns when the worker has ended, with what Wait returns, or when ctx ends;
// then the worker goes on draining, and Close ends it at once.
func (w *Worker) Drain(ctx context.Context) error {
	w.mu.Lock()
	w.draining = true
	if w.id == 0 { // no coordinator knows it yet
		w.cancel(ErrClosed)
	}
	w.repoll()
	w.mu.Unlock()
	return w.Wait(ctx)
}

// drained reports whether a worker that polled as a draining one, and got no task,
// has nothing left to do.
func (w *Worker) drained() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running) == 0 && len(w.store.jobs()) == 0
}
