package rpc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/journal"
)

// defaultCheckpointBytes is the default of SessionTableConfig.CheckpointBytes.
const defaultCheckpointBytes = 16 << 20

// A tableLog is the durable part of a SessionTable: the core that says which
// records must be safe before what may happen, and a goroutine that makes them
// so. Its core is guarded by the table's lock.
type tableLog struct {
	core       *sessionJournal
	journal    *journal.Journal
	checkpoint int64 // bytes of records between checkpoints
	logger     hclog.Logger
	wake       chan struct{} // of capacity 1: there are records to be written
	stop       chan struct{} // closed by Close
	stopOnce   sync.Once
	wg         sync.WaitGroup // the writer and the checkpoint
	imaging    bool           // a checkpoint is being written; guarded by the table's lock
	err        error          // why the log has failed; guarded by the table's lock
}

// tableRecovery hands what a journal holds to a table.
type tableRecovery struct{ core *Sessions }

func (r tableRecovery) Restore(_ uint64, image io.Reader) error { return r.core.Restore(image) }
func (r tableRecovery) Replay(_ uint64, record []byte) error    { return r.core.replay(record) }

// openLog recovers the table from its directory and starts the writer.
func (t *SessionTable) openLog(cfg SessionTableConfig) error {
	l := &tableLog{
		checkpoint: cfg.CheckpointBytes, logger: cfg.Logger,
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if l.checkpoint == 0 {
		l.checkpoint = defaultCheckpointBytes
	}
	if l.logger == nil {
		l.logger = hclog.NewNullLogger()
	}
	var err error
	l.journal, err = journal.Open(journal.Config{Dir: cfg.Dir, FS: cfg.fs, Logger: cfg.Logger}, tableRecovery{t.core})
	if err != nil {
		return err
	}
	if t.name() {
		l.core = newSessionJournal(t.core)
	} else {
		l.core = &sessionJournal{table: t.core}
		if n := t.core.Recover(time.Now()); n > 0 {
			l.logger.Warn("calls were cut off by a crash; their outcome is unknown", "dir", cfg.Dir, "calls", n)
		}
	}
	t.log = l
	l.wg.Go(func() { t.writeLog() })
	l.kick()
	return nil
}

// kick tells the writer that there is something to do.
func (l *tableLog) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// ask gives the core a request and waits for the output that concerns it.
func (t *SessionTable) ask(ctx context.Context, request func(waiter uint64) error) (sessionOutput, error) {
	t.mu.Lock()
	waiter, ch, err := t.enter(request)
	t.mu.Unlock()
	if err != nil {
		return sessionOutput{}, err
	}
	select {
	case out := <-ch:
		return out, sessionAnswer(out.Err)
	case <-ctx.Done():
		t.mu.Lock()
		delete(t.waiters, waiter)
		t.mu.Unlock()
		return sessionOutput{}, Uncertain(ctxError(ctx))
	}
}

// enter gives the core a request. The table is locked.
func (t *SessionTable) enter(request func(waiter uint64) error) (uint64, chan sessionOutput, error) {
	if t.log.err != nil {
		return 0, nil, Refuse(fmt.Errorf("%w: %w", ErrUnavailable, t.log.err))
	}
	t.last++
	waiter, ch := t.last, make(chan sessionOutput, 1)
	t.waiters[waiter] = ch
	if err := request(waiter); err != nil {
		delete(t.waiters, waiter)
		return 0, nil, sessionAnswer(err)
	}
	t.log.kick()
	return waiter, ch, nil
}

// executeLogged is execute for a table with a directory.
func (t *SessionTable) executeLogged(sc *serverCall, call SessionCall) error {
	t.mu.Lock()
	_, ch, err := t.enter(func(waiter uint64) error {
		now := time.Now()
		call.Waiter = waiter
		t.log.core.expire(now)
		return t.log.core.begin(call, now)
	})
	t.mu.Unlock()
	if err != nil {
		return err
	}
	var out sessionOutput
	select {
	case out = <-ch:
	case <-sc.ctx.Done():
		t.mu.Lock()
		if _, waiting := t.waiters[call.Waiter]; waiting {
			delete(t.waiters, call.Waiter)
			t.log.core.cancel(call.ID, call.Seq, call.Waiter)
			t.mu.Unlock()
			return Uncertain(sc.ctx.Err())
		}
		t.mu.Unlock()
		out = <-ch
	}
	if out.Run {
		out = t.runLogged(sc, call)
		if out.Err == nil || out.Err == ErrSessionResultTooLarge {
			return nil // the response is in sc
		}
	}
	if out.Err != nil {
		return sessionAnswer(out.Err)
	}
	return sc.setResult(out.Result)
}

// runLogged executes a call whose begin record is safe, and returns when its
// completion record is.
func (t *SessionTable) runLogged(sc *serverCall, call SessionCall) sessionOutput {
	kept := sc.handleToKeep()
	ch := make(chan sessionOutput, 1)
	t.mu.Lock()
	if err := t.log.err; err != nil {
		t.mu.Unlock()
		return sessionOutput{Err: Uncertain(fmt.Errorf("%w: %w", ErrUnavailable, err))}
	}
	t.waiters[call.Waiter] = ch
	if !kept {
		t.log.core.abort(call.ID, call.Seq, call.Waiter, ErrUnavailable)
	} else {
		result := sc.result(nil)
		t.log.core.complete(call.ID, call.Seq, call.Waiter, slices.Concat(result[:]...))
	}
	t.mu.Unlock()
	t.log.kick()
	out := <-ch // the writer always answers, if only that it has failed
	if !kept && out.Err == ErrUnavailable {
		out.Err = nil // the response in sc says so, and more
	}
	return out
}

// writeLog makes records safe, all that wait at a time, and releases what
// depends on them.
func (t *SessionTable) writeLog() {
	l := t.log
	var outs []sessionOutput
	collected := int64(0)
	for {
		select {
		case <-l.wake:
		case <-l.stop:
			t.failLog(ErrClosed)
			return
		}
		t.mu.Lock()
		records, end := l.core.take()
		var image io.WriterTo
		if collected >= l.checkpoint && !l.imaging {
			image, _ = l.core.image()
			l.imaging, collected = true, 0
		}
		outs = t.release(outs)
		t.mu.Unlock()
		n, safe, err := l.write(records)
		collected += n
		if err != nil {
			t.failLog(err)
			return
		}
		if image != nil {
			l.wg.Go(func() { t.checkpointLog(safe, image) })
		}
		t.mu.Lock()
		l.core.synced(end)
		outs = t.release(outs)
		t.mu.Unlock()
	}
}

// write makes records safe. It returns their size and the sequence number of the
// last record in the journal.
func (l *tableLog) write(records [][]byte) (bytes int64, safe uint64, err error) {
	for _, r := range records {
		if safe, err = l.journal.Append(r); err != nil {
			return bytes, 0, err
		}
		bytes += int64(len(r))
	}
	if len(records) == 0 {
		return 0, l.journal.Safe(), nil
	}
	_, err = l.journal.Sync()
	return bytes, safe, err
}

// release gives the outputs that may leave to those who wait for them. The table
// is locked; scratch is memory to work in.
func (t *SessionTable) release(scratch []sessionOutput) []sessionOutput {
	outs := t.log.core.released(scratch[:0])
	for _, o := range outs {
		if ch := t.waiters[o.Waiter]; ch != nil {
			delete(t.waiters, o.Waiter)
			ch <- o
		} else if o.Run { // its caller has gone: it need not run
			t.log.core.abort(o.ID, o.Seq, o.Waiter, ErrUnavailable)
			t.log.kick()
		}
	}
	clear(outs)
	return outs
}

// checkpointLog replaces the records up to a sequence number by an image.
func (t *SessionTable) checkpointLog(sequence uint64, image io.WriterTo) {
	if err := t.log.journal.Checkpoint(sequence, image); err != nil {
		// The log is as it was. The next is tried when as much has been written again.
		t.log.logger.Error("a checkpoint of the session table failed", "error", err)
	}
	t.mu.Lock()
	t.log.imaging = false
	t.mu.Unlock()
}

// failLog ends the table: nobody can know what of the calls under way is safe.
func (t *SessionTable) failLog(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log.err == nil {
		t.log.err = err
	}
	for w, ch := range t.waiters {
		delete(t.waiters, w)
		ch <- sessionOutput{Err: Uncertain(fmt.Errorf("%w: %w", ErrUnavailable, err))}
	}
}

func (t *SessionTable) closeLog() error {
	t.log.stopOnce.Do(func() { close(t.log.stop) })
	t.log.wg.Wait()
	return t.log.journal.Close()
}
