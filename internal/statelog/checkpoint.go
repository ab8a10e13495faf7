package statelog

import (
	"context"
	"io"
	"slices"
)

// imaging is the state of making checkpoints. Solo.mu guards it.
type imaging struct {
	running bool
	failed  bool         // the last one did, and the applier has not taken note
	wanted  []chan error // who waits for one of a state not before now; each has room for one
}

// due reports whether somebody waits for a checkpoint that can begin.
func (i *imaging) due() bool { return !i.running && len(i.wanted) > 0 }

// Checkpoint makes a checkpoint of the machine as it is now or later, so that the
// next start has little to replay. It is not necessary: checkpoints are made by
// themselves. In memory it does nothing. After an error the log goes on.
func (l *Solo) Checkpoint(ctx context.Context) error {
	if l.journal == nil {
		return nil
	}
	done := make(chan error, 1)
	l.mu.Lock()
	l.images.wanted = append(l.images.wanted, done)
	l.wake()
	l.mu.Unlock()
	var err error
	select {
	case err = <-done:
	case <-l.term.Done():
		err = context.Cause(l.term)
	case <-ctx.Done():
		err = causeOf(ctx)
		l.mu.Lock()
		l.images.wanted = slices.DeleteFunc(l.images.wanted, func(w chan error) bool { return w == done })
		l.mu.Unlock()
	}
	if err != nil {
		return &Error{Op: "checkpoint", Err: err}
	}
	return nil
}

// freezeIfDue begins a checkpoint of what has been applied, if it is time and none
// is being made. The applier calls it between two commands.
func (l *Solo) freezeIfDue() {
	if l.journal == nil {
		return
	}
	a := &l.applier
	l.mu.Lock()
	i := &l.images
	if i.failed {
		i.failed = false
		a.logged = max(a.logged, l.cfg.CheckpointBytes-l.cfg.CheckpointBytes/4) // the next try is not far
	}
	begin := i.due() || !i.running && a.logged >= l.cfg.CheckpointBytes
	var waiters []chan error
	if begin {
		i.running, waiters, i.wanted = true, i.wanted, nil
	}
	l.mu.Unlock()
	if !begin {
		return
	}
	a.logged = 0
	state, err := l.cfg.Machine.Freeze()
	if err != nil {
		l.imaged(waiters, err)
		return
	}
	image := &stateImage{
		log:    l,
		header: imageHeader{fingerprint: l.cfg.Machine.Fingerprint(), epoch: l.epoch, at: a.clock.last},
		state:  state,
	}
	index := a.index
	l.work.Go(func() { l.imaged(waiters, l.journal.Checkpoint(index, image)) })
}

// imaged ends a checkpoint.
func (l *Solo) imaged(waiters []chan error, err error) {
	if err != nil && l.down.Load() == nil {
		l.cfg.Logger.Warn("a checkpoint failed; the log goes on", "dir", l.cfg.Dir, "error", err)
	}
	l.mu.Lock()
	l.images.running = false
	l.images.failed = err != nil
	l.wake() // others may have begun to wait
	l.mu.Unlock()
	for _, w := range waiters {
		w <- err
	}
}

// stateImage is the image of a machine with what the log needs before it. It gives
// up when the service ends.
type stateImage struct {
	log    *Solo
	header imageHeader
	state  io.WriterTo
}

// WriteTo implements io.WriterTo.
func (i *stateImage) WriteTo(w io.Writer) (int64, error) {
	w = &termWriter{ctx: i.log.term, to: w}
	n, err := w.Write(i.header.encode())
	if err != nil {
		return int64(n), err
	}
	m, err := i.state.WriteTo(w)
	return int64(n) + m, err
}

// termWriter writes while a term lasts.
type termWriter struct {
	ctx context.Context
	to  io.Writer
}

func (w *termWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.to.Write(p)
}
