package rpc

import (
	"io"
	"slices"
	"time"
)

// sessionJournal is the core of a table that stands on its own, beside handlers
// whose effects it does not see (a file written, a mail sent, a call made to
// somebody else). It adds one rule to the table: an output (run this call,
// answer this request) is released when the records it depends on are safe.
//
//	request → begin record → safe → handler runs → completion record → safe → answer
//
// So a call that was executed has its begin record, and one that was answered
// has its completion record. A crash before the begin record is safe leaves a
// call that was not executed; one between the two, a call whose outcome is
// unknown, for ever; one after, a result.
//
// The owner takes what is to be written with take, writes and syncs it, says so
// with synced, and does what released hands out. Positions count records, from 0
// when the process starts. After a crash the owner restores the last image into a
// table, replays the records since, calls Recover, and goes on with a
// sessionJournal of that table.
//
// A request gets one output. At SessionsConfig.MaxWaiters held outputs, further
// requests are refused: with ErrSessionsFull, or ErrInProgress if the call is not
// new.
//
// It is a core, like the table in it.
type sessionJournal struct {
	table *Sessions

	pending [][]byte // records to be written, up to end
	end     uint64   // position of the next record
	safe    uint64   // records before it are safe

	held  []sessionOutput // in the order in which they become releasable
	freed []uint64        // scratch: waiters released, sessions expired
}

// sessionOutput is something to be done, once what it depends on is safe.
type sessionOutput struct {
	// Run tells to execute ⟨ID, Seq⟩ for the request Waiter. Otherwise Waiter is
	// to be answered: with Err, or with ID if it asked for a session, or Result.
	Run    bool
	Waiter uint64
	ID     SessionID
	Seq    uint64
	Result []byte
	Err    error

	after uint64 // records before this position must be safe
}

// newSessionJournal makes a journal for a new, empty table with a UUID.
func newSessionJournal(table *Sessions) *sessionJournal {
	j := &sessionJournal{table: table}
	j.record(appendSessionRecordTable(nil, table.table))
	return j
}

// record adds a record to what is to be written.
func (j *sessionJournal) record(r []byte) {
	j.pending = append(j.pending, r)
	j.end++
}

// output holds o until all that has been decided so far is safe: more than it
// depends on, but never less, and it costs at most the sync that is under way.
func (j *sessionJournal) output(o sessionOutput) {
	o.after = j.end
	j.held = append(j.held, o)
}

// full reports whether no further request can be taken.
func (j *sessionJournal) full() bool { return len(j.held) >= j.table.cfg.MaxWaiters }

// take hands over the records to be written next, and the position to be told
// to synced when they are safe.
func (j *sessionJournal) take() (records [][]byte, end uint64) {
	records, j.pending = j.pending, nil
	return records, j.end
}

// synced notes that the records before a position are safe.
func (j *sessionJournal) synced(position uint64) { j.safe = max(j.safe, position) }

// released appends to dst the outputs that may leave.
func (j *sessionJournal) released(dst []sessionOutput) []sessionOutput {
	n := 0
	for n < len(j.held) && (j.held[n].after <= j.safe || j.table.planted.replyEarly) {
		n++
	}
	dst = append(dst, j.held[:n]...)
	j.held = slices.Delete(j.held, 0, n)
	return dst
}

// image returns the image of the table, which stands for all records before the
// position: once it is safe, so are they, and they can go.
func (j *sessionJournal) image() (image io.WriterTo, position uint64) {
	return j.table.Freeze(), j.end
}

// open asks for a session, for the request waiter.
func (j *sessionJournal) open(waiter uint64, at time.Time) error {
	if j.full() {
		return ErrSessionsFull
	}
	id, err := j.table.Open(at)
	if err == nil {
		j.record(appendSessionRecordOpen(nil, id.N, at))
	}
	j.output(sessionOutput{Waiter: waiter, ID: id, Err: err})
	return nil
}

// begin takes a request; c.Waiter names it in the output that concerns it.
func (j *sessionJournal) begin(c SessionCall, at time.Time) error {
	if j.full() {
		if j.table.fresh(c) {
			return ErrSessionsFull
		}
		return ErrInProgress // never that an executed call was not executed
	}
	o := sessionOutput{Waiter: c.Waiter, ID: c.ID, Seq: c.Seq}
	before := j.table.watermark(c.ID)
	v := j.table.Begin(c, at)
	c.Watermark = j.table.watermark(c.ID)
	if v.Action != SessionExecute && c.Watermark != before {
		j.record(appendSessionRecordMark(nil, c.ID.N, c.Watermark, at))
	}
	switch v.Action {
	case SessionWait:
		return nil
	case SessionExecute:
		j.record(appendSessionRecordBegin(nil, c, at))
		o.Run = true
	case SessionReplay:
		o.Result = append([]byte(nil), v.Result...)
	default:
		o.Err = v.Err
	}
	j.output(o)
	return nil
}

// complete ends a call that was told to run for the request waiter. It keeps
// result.
func (j *sessionJournal) complete(id SessionID, seq, waiter uint64, result []byte) {
	var err error
	j.freed, err = j.table.Complete(id, seq, result, append(j.freed[:0], waiter))
	switch err {
	case nil, ErrSessionStale:
		j.record(appendSessionRecordComplete(nil, id.N, seq, err == nil, result))
		err = nil
	case ErrSessionResultTooLarge:
		j.record(appendSessionRecordComplete(nil, id.N, seq, false, nil))
		result = nil
	}
	j.answer(id, seq, result, err)
}

// abort ends a call that was told to run and certainly was not. The requests
// that waited for it are answered with err.
func (j *sessionJournal) abort(id SessionID, seq, waiter uint64, err error) {
	j.freed = j.table.Abort(id, seq, append(j.freed[:0], waiter))
	j.record(appendSessionRecordAbort(nil, id.N, seq))
	j.answer(id, seq, nil, err)
}

// answer makes the outputs for the requests in freed.
func (j *sessionJournal) answer(id SessionID, seq uint64, result []byte, err error) {
	for _, w := range j.freed {
		j.output(sessionOutput{Waiter: w, ID: id, Seq: seq, Result: result, Err: err})
	}
}

// acknowledge takes a watermark that came alone.
func (j *sessionJournal) acknowledge(id SessionID, watermark, waiter uint64, at time.Time) {
	before := j.table.watermark(id)
	err := j.table.Acknowledge(id, watermark, at)
	if now := j.table.watermark(id); now != before {
		j.record(appendSessionRecordMark(nil, id.N, now, at))
	}
	j.output(sessionOutput{Waiter: waiter, ID: id, Err: err})
}

// close ends a session.
func (j *sessionJournal) close(id SessionID, waiter uint64) {
	if j.table.open(id) != nil {
		j.table.Close(id)
		j.record(appendSessionRecordClose(nil, id.N))
	}
	j.output(sessionOutput{Waiter: waiter, ID: id})
}

// expire ends the sessions that are due.
func (j *sessionJournal) expire(at time.Time) {
	j.freed = j.table.expire(at, j.freed[:0])
	for _, n := range j.freed {
		j.record(appendSessionRecordClose(nil, n))
	}
}

// cancel forgets that a request waits: nobody wants its answer any more.
func (j *sessionJournal) cancel(id SessionID, seq, waiter uint64) {
	j.table.CancelWait(id, seq, waiter)
}
