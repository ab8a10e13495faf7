package rpc

import (
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"
)

// SessionID names a client's session: the table that issued it and a number.
// A table never issues a number twice, and two tables never share a UUID, so an
// id means one session for ever, also after that session or its table is gone.
type SessionID struct {
	Table [16]byte // the UUID of the table
	N     uint64   // counts from 1 within the table; 0 is no session
}

// IsZero reports whether id names no session.
func (id SessionID) IsZero() bool { return id == SessionID{} }

// String gives the id as the table's UUID in hexadecimal, a colon and the number.
func (id SessionID) String() string {
	b := make([]byte, 0, 53)
	b = hex.AppendEncode(b, id.Table[:])
	b = append(b, ':')
	return string(strconv.AppendUint(b, id.N, 10))
}

// sessionIDLen is the length of an id in bytes, as AppendBinary lays it out.
const sessionIDLen = 24

// AppendBinary appends the id as 24 bytes. It never fails.
func (id SessionID) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, id.Table[:]...)
	return binary.BigEndian.AppendUint64(dst, id.N), nil
}

// UnmarshalBinary reads what AppendBinary appended; anything else is ErrMessage.
func (id *SessionID) UnmarshalBinary(b []byte) error {
	if len(b) != sessionIDLen {
		return fmt.Errorf("%w: a session id of %d bytes", ErrMessage, len(b))
	}
	copy(id.Table[:], b)
	id.N = binary.BigEndian.Uint64(b[len(id.Table):])
	return nil
}

var (
	_ encoding.BinaryAppender    = SessionID{}
	_ encoding.BinaryUnmarshaler = (*SessionID)(nil)
)

// SessionCall is one request as the table sees it.
type SessionCall struct {
	ID SessionID
	// Seq numbers the client's calls, from 1, each once. A retry repeats it.
	Seq uint64
	// Watermark is the client's X: it is finished with every sequence below it.
	Watermark uint64
	// Hash identifies the request, to tell a retry from a reused sequence;
	// SessionHash makes one.
	Hash uint64
	// Waiter is the owner's name for this request, handed back by Complete if
	// the verdict is SessionWait.
	Waiter uint64
	// NoWait asks for ErrInProgress instead of SessionWait.
	NoWait bool
}

// SessionAction is what Begin tells the owner to do with a request.
type SessionAction uint8

const (
	// SessionReject: answer with SessionVerdict.Err.
	SessionReject SessionAction = iota
	// SessionExecute: run the call, then Complete (or Abort) it.
	SessionExecute
	// SessionWait: the call is running. Answer when Complete hands out the Waiter.
	SessionWait
	// SessionReplay: answer with SessionVerdict.Result.
	SessionReplay
)

// SessionVerdict is the table's answer to one request.
type SessionVerdict struct {
	Action SessionAction
	// Result is the stored result of a replay. It belongs to the table and is
	// valid until the next call of one of the table's methods.
	Result []byte
	// Err is set for a rejection, and only then.
	Err error
}

// Sessions is a duplicate table: it makes calls that are sent repeatedly be
// executed once. It is a deterministic core: it has no clock, goroutine, lock or
// random source, so two tables that were told the same are the same, byte for
// byte (all but who waits, which is no part of a table's image: replicas set
// NoWait). It is not safe for concurrent use; its owner locks.
//
// A call is ⟨session, sequence⟩. Begin decides what happens to a request:
// execute it, wait for the execution that is running, replay the result, or
// reject it. Complete stores the result, which stays until the client's
// watermark passes it: the table is bounded by refusing new calls, never by
// forgetting an answer somebody may still ask for.
//
// There are two ways to own one.
//
// Within a state machine whose commands are the calls (SessionMachine does it),
// Begin, the mutation and Complete happen in one Apply: see Do. The log entry of
// the command is then the completion record too, and no crash can come between.
//
// Beside handlers with effects of their own, the owner must make the begin
// record safe before the handler runs and the completion record before it
// answers, and after a crash call Recover, which turns calls that had begun and
// not completed into ErrOutcomeUnknown. What was executed exactly once stays so;
// what was cut off in the middle is reported, not repeated.
//
// Invariants, held between any two calls:
//   - a call gets SessionExecute at most once, unless it was aborted
//   - a result stays, unchanged, until the watermark passes it or its session
//     ends; a session with running calls does not end
//   - watermarks and the table's time never go back, numbers are never reissued
//   - the limits of SessionsConfig hold, and a client whose lowest call is
//     refused need only wait until others acknowledge or expire
type Sessions struct {
	cfg   SessionsConfig
	table [16]byte
	next  uint64 // the number of the next session
	now   int64  // the latest time told, Unix milliseconds

	byN map[uint64]*sessionState
	// root closes the ring of sessions, the longest idle first.
	root sessionState

	slots   int   // spans and orphans of all sessions
	bytes   int64 // accounted, all sessions
	running int

	waiters sessionWaiters
	pool    sessionPool
	stats   SessionsStats
	planted sessionsPlanted
}

// sessionsPlanted holds the known bugs that tests switch on to see that they
// are caught. It is all false outside this package's tests.
type sessionsPlanted struct {
	forgetWatermark bool // run calls again that the watermark has passed
	reuseID         bool // accept ids that another table has issued
	dropWaiter      bool // complete a call without releasing who waits for it
	replyEarly      bool // release outputs before their records are safe
}

// NewSessions returns an empty table.
// The error names the field that is wrong.
func NewSessions(cfg SessionsConfig) (*Sessions, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Sessions{cfg: cfg.withDefaults()}
	s.reset()
	s.table = cfg.Table
	return s, nil
}

func (s *Sessions) reset() {
	s.table, s.next, s.now = [16]byte{}, 1, 0
	s.byN = make(map[uint64]*sessionState)
	s.root.older, s.root.newer = &s.root, &s.root
	s.slots, s.bytes, s.running = 0, 0, 0
	s.waiters = sessionWaiters{limit: s.cfg.MaxWaiters, perCall: s.cfg.WaitersPerCall}
}

// Table returns the table's UUID, zero if it has none yet.
func (s *Sessions) Table() [16]byte { return s.table }

// SetTable names a table that has no UUID yet and reports whether it did. The
// UUID must be new: never that of a table that was lost, wiped or rolled back,
// or ids of lost sessions would be issued again.
func (s *Sessions) SetTable(uuid [16]byte) bool {
	if s.table != [16]byte{} || uuid == [16]byte{} {
		return false
	}
	s.table = uuid
	return true
}

// Open issues an id for a new session. It fails with ErrSessionsFull at
// MaxSessions, and with ErrSessionExpired on a table without a UUID.
func (s *Sessions) Open(at time.Time) (SessionID, error) {
	if s.table == [16]byte{} {
		return SessionID{}, ErrSessionExpired
	}
	if len(s.byN) >= s.cfg.MaxSessions {
		s.stats.Refused++
		return SessionID{}, ErrSessionsFull
	}
	n := s.next
	s.next++
	s.add(n, at)
	return SessionID{s.table, n}, nil
}

// add makes session n, as the one that was active last.
func (s *Sessions) add(n uint64, at time.Time) *sessionState {
	ss := &sessionState{n: n, watermark: 1, top: 1}
	s.byN[n] = ss
	ss.older, ss.newer = ss, ss
	s.touch(ss, at)
	return ss
}

// Begin decides what to do with a request that arrived at the time at, and
// first frees what its watermark passes. Errors in a rejection are
// ErrSessionExpired, ErrSessionStale, ErrSessionWindow, ErrSessionMismatch,
// ErrSessionsFull, ErrInProgress, ErrOutcomeUnknown and
// ErrSessionResultTooLarge.
func (s *Sessions) Begin(c SessionCall, at time.Time) SessionVerdict {
	ss := s.open(c.ID)
	if ss == nil {
		s.stats.Expired++
		return SessionVerdict{Err: ErrSessionExpired}
	}
	s.touch(ss, at)
	s.acknowledge(ss, c.Watermark)
	if c.Seq < ss.watermark {
		if s.planted.forgetWatermark && c.Seq != 0 {
			return SessionVerdict{Action: SessionExecute}
		}
		s.stats.Stale++
		return SessionVerdict{Err: ErrSessionStale}
	}
	if c.Seq-ss.watermark >= uint64(s.cfg.Window) || c.Seq == math.MaxUint64 {
		s.stats.Refused++
		return SessionVerdict{Err: ErrSessionWindow}
	}
	if e := ss.entry(c.Seq); e != nil {
		return s.repeat(e, c)
	}
	if !s.admits(ss, c.Seq) {
		s.stats.Refused++
		return SessionVerdict{Err: ErrSessionsFull}
	}
	s.insert(ss, c.Seq, c.Hash)
	s.stats.Executed++
	return SessionVerdict{Action: SessionExecute}
}

// repeat answers a request whose sequence has an entry.
func (s *Sessions) repeat(e *sessionEntry, c SessionCall) SessionVerdict {
	if e.hash != c.Hash {
		s.stats.Mismatched++
		return SessionVerdict{Err: ErrSessionMismatch}
	}
	switch e.phase {
	case sessionDone:
		s.stats.Replayed++
		return SessionVerdict{Action: SessionReplay, Result: e.result}
	case sessionTooLarge:
		s.stats.Replayed++
		return SessionVerdict{Err: ErrSessionResultTooLarge}
	case sessionUnknown:
		s.stats.Unknown++
		return SessionVerdict{Err: ErrOutcomeUnknown}
	}
	if c.NoWait || !s.waiters.add(&e.waiters, c.Waiter) {
		s.stats.InProgress++
		return SessionVerdict{Err: ErrInProgress}
	}
	s.stats.Waited++
	return SessionVerdict{Action: SessionWait}
}

// admits reports whether a new call of seq keeps within the limits. A call that
// starts holds room for the largest result, so that Complete can't fail. Only
// the call at the watermark gets the last such room: results above it can't be
// freed before it is done, and must not keep it out.
func (s *Sessions) admits(ss *sessionState, seq uint64) bool {
	slots := max(0, int(seq+1-ss.top))
	bytes := int64(slots)*sessionSlotBytes + s.reserve()
	if seq != ss.watermark {
		slots++
		bytes += s.reserve() + sessionSlotBytes
	}
	return s.slots+slots <= s.cfg.MaxEntries &&
		len(ss.orphans) < s.cfg.Window &&
		ss.bytes+bytes <= s.cfg.MaxSessionBytes &&
		s.bytes+bytes <= s.cfg.MaxBytes
}

// insert makes the entry of a call that starts.
func (s *Sessions) insert(ss *sessionState, seq, hash uint64) {
	if seq >= ss.top {
		s.stretch(ss, seq+1)
	}
	e := &ss.ring[seq&uint64(len(ss.ring)-1)]
	*e = sessionEntry{phase: sessionRunning, hash: hash}
	s.account(ss, s.reserve())
	ss.running++
	s.running++
}

// Complete stores the result (a copy) of a call that Begin told to execute, and
// appends to dst the waiters to be answered with what the original gets. What
// that is depends on the error:
//   - nil: the result
//   - ErrSessionResultTooLarge: this error, as every later duplicate will get
//   - ErrSessionStale: the result; the client has passed it meanwhile, or has
//     closed its session, and it was not kept
//   - ErrSessionExpired, ErrOutcomeUnknown: the call wasn't running in this
//     table: this error
func (s *Sessions) Complete(id SessionID, seq uint64, result []byte, dst []uint64) ([]uint64, error) {
	return s.complete(id, seq, dst, result)
}

// complete is Complete for a result in parts.
func (s *Sessions) complete(id SessionID, seq uint64, dst []uint64, result ...[]byte) ([]uint64, error) {
	ss := s.find(id)
	if ss == nil {
		return dst, ErrSessionExpired
	}
	e := ss.entry(seq)
	if e == nil {
		return s.endOrphan(ss, seq, dst)
	}
	if e.phase != sessionRunning {
		if e.phase == sessionUnknown {
			return dst, ErrOutcomeUnknown
		}
		return dst, ErrSessionStale
	}
	dst = s.release(e, dst)
	if partsLen(result) > s.cfg.MaxResult {
		s.store(ss, e, false)
		return dst, ErrSessionResultTooLarge
	}
	s.store(ss, e, true, result...)
	return dst, nil
}

// Abort takes back a SessionExecute for a call that was certainly not executed
// and never will be on its account: a retry is a new call. It appends to dst the
// waiters, to be told so.
func (s *Sessions) Abort(id SessionID, seq uint64, dst []uint64) []uint64 {
	ss := s.find(id)
	if ss == nil {
		return dst
	}
	e := ss.entry(seq)
	if e == nil {
		dst, _ = s.endOrphan(ss, seq, dst)
		return dst
	}
	if e.phase != sessionRunning {
		return dst
	}
	dst = s.release(e, dst)
	s.ended(ss)
	s.account(ss, -s.reserve())
	*e = sessionEntry{}
	return dst
}

// CancelWait takes back a SessionWait and reports whether waiter was waiting.
func (s *Sessions) CancelWait(id SessionID, seq, waiter uint64) bool {
	ss := s.find(id)
	if ss == nil {
		return false
	}
	if e := ss.entry(seq); e != nil {
		return s.waiters.remove(&e.waiters, waiter)
	}
	for i := range ss.orphans {
		if o := &ss.orphans[i]; o.seq == seq {
			return s.waiters.remove(&o.waiters, waiter)
		}
	}
	return false
}

// Acknowledge frees what the watermark passes and keeps the session from
// expiring: what a client sends when it is idle. It fails with ErrSessionExpired.
func (s *Sessions) Acknowledge(id SessionID, watermark uint64, at time.Time) error {
	ss := s.open(id)
	if ss == nil {
		s.stats.Expired++
		return ErrSessionExpired
	}
	s.touch(ss, at)
	s.acknowledge(ss, watermark)
	return nil
}

// Close ends a session whose client is finished with all its calls. Calls that
// are running go on, and what waits for them is released when they complete.
// Closing a session that the table doesn't know is no error.
func (s *Sessions) Close(id SessionID) {
	ss := s.open(id)
	if ss == nil {
		return
	}
	s.acknowledge(ss, ss.top)
	ss.closed = true
	s.stats.Closed++
	if ss.running == 0 {
		s.drop(ss)
	}
}

// Expire ends the sessions that have been idle for the TTL at the time at, and
// returns their number. A session with running calls counts as active.
func (s *Sessions) Expire(at time.Time) int { return len(s.expire(at, nil)) }

// expire is Expire; it appends the numbers of the sessions to dst.
func (s *Sessions) expire(at time.Time, dst []uint64) []uint64 {
	s.advance(at)
	for {
		ss := s.root.newer
		if ss == &s.root || s.now-ss.last < s.cfg.TTL.Milliseconds() {
			return dst
		}
		if ss.running > 0 {
			s.touchNow(ss)
			continue
		}
		dst = append(dst, ss.n)
		s.drop(ss)
		s.stats.Collected++
	}
}

// NextExpiry returns the time before which Expire has nothing to do; false if
// there is no session.
func (s *Sessions) NextExpiry() (at time.Time, ok bool) {
	ss := s.root.newer
	if ss == &s.root {
		return time.Time{}, false
	}
	return time.UnixMilli(ss.last + s.cfg.TTL.Milliseconds()), true
}

// Recover is called once after a crash, when everything recorded has been
// applied: calls that were running when the server died answer
// ErrOutcomeUnknown from now on, and every session counts as active at the time
// at, since nobody could reach the server before. It returns the number of such
// calls. A replicated table must do it at the same place of the log everywhere.
func (s *Sessions) Recover(at time.Time) int {
	s.advance(at)
	s.waiters.reset() // who waited died with the server
	n := 0
	for ss := s.root.newer; ss != &s.root; {
		next := ss.newer
		ss.last = s.now
		n += s.recoverSession(ss)
		if ss.closed {
			s.drop(ss)
		}
		ss = next
	}
	return n
}

// Do is Begin, the call and Complete in one step, for a state machine that
// applies a command: run appends the result to the buffer it is given and must
// be deterministic, like everything a machine does. The result, fresh or
// replayed, is appended to dst; on an error dst is returned as it was.
func (s *Sessions) Do(c SessionCall, at time.Time, dst []byte, run func(dst []byte) []byte) ([]byte, error) {
	c.NoWait = true
	switch v := s.Begin(c, at); v.Action {
	case SessionExecute:
		n := len(dst)
		out := run(dst)
		if _, err := s.Complete(c.ID, c.Seq, out[n:], nil); err != nil {
			return out[:n], err
		}
		return out, nil
	case SessionReplay:
		return append(dst, v.Result...), nil
	default:
		return dst, v.Err
	}
}
