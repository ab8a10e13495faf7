package rpc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/wire"
)

// SessionTableConfig configures a SessionTable. The zero value works: a table in
// memory.
type SessionTableConfig struct {
	// Sessions has the table's limits.
	Sessions SessionsConfig
	// Dir is a directory for the journal of this table and nothing else; it is
	// made if need be. Default "": the table is kept in memory.
	Dir string
	// NoWait answers the repetition of a call that is running with ErrInProgress;
	// the client asks again after a pause. Default false: the repetition waits for
	// the result.
	NoWait bool
	// CheckpointBytes is how many bytes of records the journal collects before
	// an image of the table takes their place. Default 16 MiB.
	CheckpointBytes int64
	// Logger receives what the journal has to say; nil is silence.
	Logger hclog.Logger

	fs vfs.FS // where Dir is; tests set it
}

// A SessionTable makes handlers with effects of any kind run once for each
// exactly-once call.
//
// In memory, what was executed is known while the process lives. Afterwards the
// table is another one, which knows none of the ids issued before: a call that
// is repeated across a crash ends with ErrSessionExpired, outcome unknown.
//
// With a directory, it syncs a record before a handler runs and another before
// the answer leaves, many of them in one fsync. After a crash it knows every
// call that was answered, and answers ErrOutcomeUnknown to one that was cut off
// between the two records. If its disk fails, it refuses all calls until it is
// opened again: those under way end with an unknown outcome.
//
// It may be used concurrently, by several servers.
type SessionTable struct {
	log    *tableLog // nil in memory
	noWait bool

	mu      busyMutex // guards what follows
	core    *Sessions
	waiters map[uint64]chan sessionOutput // by the names that the core knows them by
	last    uint64                        // the last such name
	freed   []uint64                      // scratch
}

var _ SessionHost = (*SessionTable)(nil)

// NewSessionTable opens the table in cfg.Dir, or makes an empty one with a UUID
// of its own. It fails if a field of cfg is wrong, which it names, and if what is
// in the directory is damaged, of another format, or in use.
func NewSessionTable(cfg SessionTableConfig) (*SessionTable, error) {
	core, err := NewSessions(cfg.Sessions)
	if err != nil {
		return nil, err
	}
	if cfg.CheckpointBytes < 0 {
		return nil, fmt.Errorf("rpc: SessionTableConfig.CheckpointBytes is %d", cfg.CheckpointBytes)
	}
	t := &SessionTable{noWait: cfg.NoWait, core: core, waiters: make(map[uint64]chan sessionOutput)}
	if cfg.Dir != "" {
		if err := t.openLog(cfg); err != nil {
			return nil, &Error{Op: "open session table", Addr: cfg.Dir, Outcome: NotExecuted, Err: err}
		}
		return t, nil
	}
	t.name()
	return t, nil
}

// name gives a new table its UUID and reports whether it is new.
func (t *SessionTable) name() bool {
	var uuid [16]byte
	rand.Read(uuid[:]) // never fails
	return t.core.SetTable(uuid)
}

// Close makes what a table with a directory holds safe and gives the directory
// up. Calls under way end with an unknown outcome; so close the servers first. It
// is idempotent.
func (t *SessionTable) Close() error {
	if t.log == nil {
		return nil
	}
	return t.closeLog()
}

// Stats returns the table's figures.
func (t *SessionTable) Stats() SessionsStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.core.Stats()
}

// OpenSession issues the id of a new session.
func (t *SessionTable) OpenSession(ctx context.Context) (SessionID, error) {
	now := time.Now()
	if t.log != nil {
		out, err := t.ask(ctx, func(waiter uint64) error {
			t.log.core.expire(now)
			return t.log.core.open(waiter, now)
		})
		return out.ID, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.core.Expire(now)
	id, err := t.core.Open(now)
	return id, sessionAnswer(err)
}

// AcknowledgeSession frees the results below the watermark.
func (t *SessionTable) AcknowledgeSession(ctx context.Context, id SessionID, watermark uint64) error {
	if t.log != nil {
		_, err := t.ask(ctx, func(waiter uint64) error {
			t.log.core.acknowledge(id, watermark, waiter, time.Now())
			return nil
		})
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return sessionAnswer(t.core.Acknowledge(id, watermark, time.Now()))
}

// CloseSession frees all that the session holds.
func (t *SessionTable) CloseSession(ctx context.Context, id SessionID) error {
	if t.log != nil {
		_, err := t.ask(ctx, func(waiter uint64) error {
			t.log.core.close(id, waiter)
			return nil
		})
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.core.Close(id)
	return nil
}

// execute runs the handler of a call that has not been executed, and answers
// the repetition of one that has.
func (t *SessionTable) execute(sc *serverCall) error {
	m := sc.ctx.more
	call := SessionCall{ID: m.session, Seq: m.seq, Watermark: m.mark, Hash: m.hash, NoWait: t.noWait}
	if t.log != nil {
		return t.executeLogged(sc, call)
	}
	t.mu.Lock()
	t.last++
	call.Waiter = t.last
	t.core.Expire(sc.came)
	switch v := t.core.Begin(call, sc.came); v.Action {
	case SessionExecute:
		t.mu.Unlock()
		t.run(sc, call)
		return nil
	case SessionReplay:
		err := sc.setResult(v.Result)
		t.mu.Unlock()
		return err
	case SessionWait:
		ch := make(chan sessionOutput, 1)
		t.waiters[call.Waiter] = ch
		t.mu.Unlock()
		return t.wait(sc, call, ch)
	default:
		t.mu.Unlock()
		return sessionAnswer(v.Err)
	}
}

// run executes a call and keeps its result, which is then sc's response.
func (t *SessionTable) run(sc *serverCall, call SessionCall) {
	kept := sc.handleToKeep()
	var room [sessionResultHead]byte
	result := sc.result(room[:0])
	var err error
	t.mu.Lock()
	if kept {
		t.freed, err = t.core.complete(call.ID, call.Seq, t.freed[:0], result[:]...)
	} else {
		t.freed = t.core.Abort(call.ID, call.Seq, t.freed[:0])
		err = errRefused
	}
	if len(t.freed) > 0 {
		t.tellLocked(err, result)
	}
	t.mu.Unlock()
}

// errRefused is what those get who waited for a call that was refused.
var errRefused = Refuse(ErrUnavailable)

// tellLocked gives those whose wait is over what they waited for: the result,
// if that was kept, or why it was not. The run itself has its response in hand.
func (t *SessionTable) tellLocked(err error, result [3][]byte) {
	out := sessionOutput{Err: err}
	if err == nil || err == ErrSessionStale {
		out = sessionOutput{Result: slices.Concat(result[:]...)}
	}
	for _, w := range t.freed {
		if ch := t.waiters[w]; ch != nil {
			delete(t.waiters, w)
			ch <- out
		}
	}
}

// wait answers a call that is running with that run's result.
func (t *SessionTable) wait(sc *serverCall, call SessionCall, ch chan sessionOutput) error {
	select {
	case out := <-ch:
		if out.Err != nil {
			return sessionAnswer(out.Err)
		}
		return sc.setResult(out.Result)
	case <-sc.ctx.Done():
		t.mu.Lock()
		t.core.CancelWait(call.ID, call.Seq, call.Waiter)
		delete(t.waiters, call.Waiter)
		t.mu.Unlock()
		return Uncertain(sc.ctx.Err())
	}
}

// handleToKeep runs the handler, makes what it returns the response, and reports
// whether that is to be kept: a refused request was not executed.
func (sc *serverCall) handleToKeep() bool {
	var err error
	if sc.ctx.keep() {
		err = sc.handle()
	} else {
		err = Refuse(context.Canceled)
	}
	outcome := outcomeOfHandler(err)
	if err != nil && outcome == OutcomeUnknown { // and stays so: repeats get this answer too
		err = Uncertain(fmt.Errorf("%w: %w", ErrOutcomeUnknown, err))
	}
	if err != nil {
		sc.setError(err)
	}
	return outcome != NotExecuted
}

// executeOnce runs an exactly-once call under the server's session host.
func (sc *serverCall) executeOnce() error {
	fields := sc.fields
	if sc.in.fields != nil {
		fields = sc.in.fields
	}
	sc.ctx.more.hash = SessionHash(sc.m.name, fields, sc.in.body)
	return sc.c.s.cfg.Sessions.execute(sc)
}

// sessionResultHead bounds the head of a result.
const sessionResultHead = 1 + binary.MaxVarintLen64

// result lays out the response as a table keeps it, in parts: a head, of the
// flags and the length of the fields, which is appended to dst; fields; body.
func (sc *serverCall) result(dst []byte) (parts [3][]byte) {
	parts[0] = binary.AppendUvarint(append(dst, sc.flags), uint64(len(sc.fields)))
	parts[1] = sc.fields
	if sc.answer != nil {
		parts[2] = sc.answer.Data
	}
	return parts
}

// setResult makes the response what result laid out.
func (sc *serverCall) setResult(result []byte) error {
	d := wire.NewDecoder(result)
	sc.flags = d.Byte()
	sc.fields = append(sc.fields[:0], d.Bytes()...)
	if body := d.Rest(); len(body) > 0 {
		sc.answer = &Body{Data: append([]byte(nil), body...)}
	}
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: a stored result: %w", ErrMessage, err)
	}
	return nil
}
