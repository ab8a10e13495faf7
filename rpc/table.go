package rpc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// SessionTableConfig configures a SessionTable. The zero value works: a table in
// memory.
type SessionTableConfig struct {
	// Sessions has the table's limits.
	Sessions SessionsConfig
}

// A SessionTable makes handlers with effects of any kind run once for each
// exactly-once call.
//
// In memory, what was executed is known while the process lives. Afterwards the
// table is another one, which knows none of the ids issued before: a call that
// is repeated across a crash ends with ErrSessionExpired, outcome unknown.
//
// It may be used concurrently, by several servers.
type SessionTable struct {
	mu      sync.Mutex // guards what follows
	core    *Sessions
	waiters map[uint64]chan []byte // by the names that the core knows them by
	last    uint64                 // the last such name
	freed   []uint64               // scratch
}

var _ SessionHost = (*SessionTable)(nil)

// NewSessionTable returns an empty table with a UUID of its own. An error names
// the field of cfg that is wrong.
func NewSessionTable(cfg SessionTableConfig) (*SessionTable, error) {
	core, err := NewSessions(cfg.Sessions)
	if err != nil {
		return nil, err
	}
	if core.Table() == [16]byte{} {
		var uuid [16]byte
		rand.Read(uuid[:]) // never fails
		core.SetTable(uuid)
	}
	return &SessionTable{core: core, waiters: make(map[uint64]chan []byte)}, nil
}

// Stats returns the table's figures.
func (t *SessionTable) Stats() SessionsStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.core.Stats()
}

// OpenSession issues the id of a new session.
func (t *SessionTable) OpenSession(context.Context) (SessionID, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.core.Expire(now)
	id, err := t.core.Open(now)
	return id, sessionAnswer(err)
}

// AcknowledgeSession frees the results below the watermark.
func (t *SessionTable) AcknowledgeSession(_ context.Context, id SessionID, watermark uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sessionAnswer(t.core.Acknowledge(id, watermark, time.Now()))
}

// CloseSession frees all that the session holds.
func (t *SessionTable) CloseSession(_ context.Context, id SessionID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.core.Close(id)
	return nil
}

// execute runs the handler of a call that has not been executed, and answers
// the repetition of one that has.
func (t *SessionTable) execute(sc *serverCall) error {
	info := &sc.ctx.info
	t.mu.Lock()
	t.last++
	call := SessionCall{ID: info.Session, Seq: info.Seq, Watermark: info.Watermark, Hash: info.Hash, Waiter: t.last}
	switch v := t.core.Begin(call, time.Now()); v.Action {
	case SessionExecute:
		t.mu.Unlock()
		return t.run(sc, call)
	case SessionReplay:
		err := sc.setResult(v.Result)
		t.mu.Unlock()
		return err
	case SessionWait:
		return t.wait(sc, call)
	default:
		t.mu.Unlock()
		return sessionAnswer(v.Err)
	}
}

// run executes a call and keeps its result.
func (t *SessionTable) run(sc *serverCall, call SessionCall) error {
	err := sc.handle()
	if err != nil {
		sc.setError(err)
	}
	var result *buffer
	if outcomeOfHandler(err) != NotExecuted {
		result = sc.result()
		defer result.free()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if result == nil {
		t.freed = t.core.Abort(call.ID, call.Seq, t.freed[:0])
	} else if t.freed, err = t.core.Complete(call.ID, call.Seq, result.b, t.freed[:0]); err == ErrSessionResultTooLarge {
		err = nil // the one who runs it has it all the same
	}
	for _, w := range t.freed {
		if ch := t.waiters[w]; ch != nil {
			delete(t.waiters, w)
			if result != nil {
				ch <- append([]byte(nil), result.b...)
			}
			close(ch)
		}
	}
	return nil
}

// wait answers a call that is running with that run's result. The table is
// locked on entry.
func (t *SessionTable) wait(sc *serverCall, call SessionCall) error {
	ch := make(chan []byte, 1)
	t.waiters[call.Waiter] = ch
	t.mu.Unlock()
	select {
	case result, ok := <-ch:
		if !ok { // it was refused after all: so is this
			return Refuse(ErrUnavailable)
		}
		return sc.setResult(result)
	case <-sc.ctx.Done():
		t.mu.Lock()
		t.core.CancelWait(call.ID, call.Seq, call.Waiter)
		delete(t.waiters, call.Waiter)
		t.mu.Unlock()
		return Uncertain(sc.ctx.Err())
	}
}

// executeOnce runs an exactly-once call under the server's session host.
func (sc *serverCall) executeOnce() error {
	fields := sc.fields
	if sc.in.fields != nil {
		fields = sc.in.fields
	}
	sc.ctx.info.Hash = SessionHash(sc.m.name, fields, sc.in.body)
	return sc.c.s.cfg.Sessions.execute(sc)
}

// result lays out the response as a table keeps it: flags, the length of the
// fields, fields and body.
func (sc *serverCall) result() *buffer {
	var body []byte
	if sc.answer != nil {
		body = sc.answer.Data
	}
	b := getBuffer(1 + binary.MaxVarintLen64 + len(sc.fields) + len(body))
	b.b = append(b.b, sc.flags)
	b.b = wire.AppendBytes(b.b, sc.fields)
	b.b = append(b.b, body...)
	return b
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
