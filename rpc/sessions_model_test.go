package rpc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// modelTable is a duplicate table as one would write it down: maps, and every
// figure counted anew.
type modelTable struct {
	cfg      SessionsConfig
	next     uint64
	now      time.Time
	sessions map[uint64]*modelSession
}

type modelSession struct {
	watermark, top uint64
	last           time.Time
	closed         bool
	calls          map[uint64]*modelCall // orphans too
}

type modelCall struct {
	phase   sessionPhase
	hash    uint64
	result  []byte
	waiters []uint64
}

func (m *modelTable) running(s *modelSession) (n int) {
	for _, c := range s.calls {
		if c.phase == sessionRunning {
			n++
		}
	}
	return n
}

func (m *modelTable) orphans(s *modelSession) (n int) {
	for seq := range s.calls {
		if seq < s.watermark {
			n++
		}
	}
	return n
}

func (m *modelTable) size(s *modelSession) (slots int, bytes int64) {
	slots = int(s.top-s.watermark) + m.orphans(s)
	bytes = int64(slots) * sessionSlotBytes
	for seq, c := range s.calls {
		switch {
		case seq < s.watermark:
		case c.phase == sessionRunning:
			bytes += sessionSize(m.cfg.MaxResult)
		case len(c.result) > sessionRecycled:
			bytes += int64(len(c.result))
		case len(c.result) > 0:
			size := int64(sessionSmallest)
			for size < int64(len(c.result)) {
				size *= 2
			}
			bytes += size
		}
	}
	return slots, bytes
}

func (m *modelTable) waiting() (n int) {
	for _, s := range m.sessions {
		for _, c := range s.calls {
			n += len(c.waiters)
		}
	}
	return n
}

func (m *modelTable) touch(s *modelSession, at time.Time) {
	if at.After(m.now) {
		m.now = at
	}
	s.last = m.now
}

func (m *modelTable) acknowledge(s *modelSession, watermark uint64) {
	s.watermark = max(s.watermark, watermark)
	s.top = max(s.top, s.watermark)
	for seq, c := range s.calls {
		if seq < s.watermark && c.phase != sessionRunning {
			delete(s.calls, seq)
		}
	}
}

func (m *modelTable) begin(c SessionCall, at time.Time) SessionVerdict {
	s := m.sessions[c.ID.N]
	if s == nil || s.closed {
		return SessionVerdict{Err: ErrSessionExpired}
	}
	m.touch(s, at)
	m.acknowledge(s, c.Watermark)
	call := s.calls[c.Seq]
	switch {
	case c.Seq < s.watermark:
		return SessionVerdict{Err: ErrSessionStale}
	case c.Seq-s.watermark >= uint64(m.cfg.Window):
		return SessionVerdict{Err: ErrSessionWindow}
	case call == nil:
		if !m.admits(s, c.Seq) {
			return SessionVerdict{Err: ErrSessionsFull}
		}
		s.calls[c.Seq] = &modelCall{phase: sessionRunning, hash: c.Hash}
		s.top = max(s.top, c.Seq+1)
		return SessionVerdict{Action: SessionExecute}
	case call.hash != c.Hash:
		return SessionVerdict{Err: ErrSessionMismatch}
	case call.phase == sessionDone:
		return SessionVerdict{Action: SessionReplay, Result: call.result}
	case call.phase == sessionTooLarge:
		return SessionVerdict{Err: ErrSessionResultTooLarge}
	case call.phase == sessionUnknown:
		return SessionVerdict{Err: ErrOutcomeUnknown}
	case c.NoWait || len(call.waiters) >= m.cfg.WaitersPerCall || m.waiting() >= m.cfg.MaxWaiters:
		return SessionVerdict{Err: ErrInProgress}
	}
	call.waiters = append(call.waiters, c.Waiter)
	return SessionVerdict{Action: SessionWait}
}

func (m *modelTable) admits(s *modelSession, seq uint64) bool {
	slots, bytes := 0, int64(0)
	for _, o := range m.sessions {
		n, b := m.size(o)
		slots, bytes = slots+n, bytes+b
	}
	_, own := m.size(s)
	more := int(max(seq+1, s.top) - s.top)
	room := int64(more)*sessionSlotBytes + sessionSize(m.cfg.MaxResult)
	if seq > s.watermark {
		more++
		room += sessionSlotBytes + sessionSize(m.cfg.MaxResult)
	}
	return slots+more <= m.cfg.MaxEntries && own+room <= m.cfg.MaxSessionBytes &&
		bytes+room <= m.cfg.MaxBytes && m.orphans(s) < m.cfg.Window
}

// end is what Complete (with a result) and Abort (without) do to the waiters.
func (m *modelTable) end(n, seq uint64, abort bool, result []byte) (released []uint64, err error) {
	s := m.sessions[n]
	if s == nil {
		return nil, ErrSessionExpired
	}
	c := s.calls[seq]
	switch {
	case c == nil || c.phase == sessionDone || c.phase == sessionTooLarge:
		return nil, ErrSessionStale
	case c.phase == sessionUnknown:
		return nil, ErrOutcomeUnknown
	}
	released, c.waiters = c.waiters, nil
	switch {
	case seq < s.watermark:
		delete(s.calls, seq)
		s.last = m.now
		if s.closed && len(s.calls) == 0 {
			delete(m.sessions, n)
		}
		return released, ErrSessionStale
	case abort:
		delete(s.calls, seq)
		return released, nil
	}
	s.last = m.now
	if len(result) > m.cfg.MaxResult {
		c.phase = sessionTooLarge
		return released, ErrSessionResultTooLarge
	}
	c.phase, c.result = sessionDone, bytes.Clone(result)
	return released, nil
}

func (m *modelTable) expire(at time.Time) (n int) {
	if at.After(m.now) {
		m.now = at
	}
	for id, s := range m.sessions {
		if m.now.Sub(s.last) < m.cfg.TTL {
			continue
		}
		if m.running(s) > 0 {
			s.last = m.now
			continue
		}
		delete(m.sessions, id)
		n++
	}
	return n
}

func (m *modelTable) recover(at time.Time) (n int) {
	if at.After(m.now) {
		m.now = at
	}
	for id, s := range m.sessions {
		s.last = m.now
		for seq, c := range s.calls {
			if c.phase == sessionRunning {
				c.phase, c.waiters = sessionUnknown, nil
				if seq >= s.watermark {
					n++
				} else {
					delete(s.calls, seq)
				}
			}
		}
		if s.closed {
			delete(m.sessions, id)
		}
	}
	return n
}

func TestSessionsAgainstModel(t *testing.T) {
	seeds := uint64(300)
	if sessionsRace {
		seeds = 30
	}
	for seed := range seeds {
		if err := sessionsModelRun(t, seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func sessionsModelRun(t *testing.T, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	cfg := SessionsConfig{
		TTL: 10 * time.Second, Window: 1 + r.IntN(40), MaxSessions: 1 + r.IntN(5), MaxEntries: 2 + r.IntN(100),
		MaxResult: 200, MaxSessionBytes: 650 + int64(r.IntN(5000)), MaxBytes: 650 + int64(r.IntN(20000)),
		WaitersPerCall: 1 + r.IntN(3), MaxWaiters: 1 + r.IntN(6),
	}
	s := newTestSessions(t, cfg)
	m := &modelTable{cfg: s.cfg, next: 1, now: time.UnixMilli(0), sessions: make(map[uint64]*modelSession)}
	at := sessionEpoch
	token := uint64(0)
	for step := range 1500 {
		at = at.Add(time.Duration(r.IntN(500)-50) * time.Millisecond)
		n := 1 + r.Uint64N(m.next)
		id := SessionID{s.table, n}
		seq := 1 + r.Uint64N(4)
		if ms := m.sessions[n]; ms != nil {
			seq = max(3, ms.watermark) - 2 + r.Uint64N(uint64(cfg.Window)+3)
		}
		var got, want string
		switch op := r.IntN(100); {
		case op < 3:
			id, err := s.Open(at)
			if len(m.sessions) < cfg.MaxSessions {
				ms := &modelSession{watermark: 1, top: 1, calls: make(map[uint64]*modelCall)}
				m.touch(ms, at)
				m.sessions[m.next] = ms
				want = fmt.Sprint(m.next, nil)
				m.next++
			} else {
				want = fmt.Sprint(0, ErrSessionsFull)
			}
			got = fmt.Sprint(id.N, err)
		case op < 50:
			token++
			c := SessionCall{ID: id, Seq: seq, Hash: seq + max(r.Uint64N(20), 18), Waiter: token, NoWait: r.IntN(4) == 0}
			if ms := m.sessions[n]; ms != nil && r.IntN(3) == 0 {
				c.Watermark = ms.watermark + r.Uint64N(4)
			}
			got, want = fmt.Sprintf("%+v", s.Begin(c, at)), fmt.Sprintf("%+v", m.begin(c, at))
		case op < 85:
			result := make([]byte, r.IntN(220))
			for i := range result {
				result[i] = byte(token + uint64(i))
			}
			w, err := s.Complete(id, seq, result, nil)
			mw, merr := m.end(n, seq, false, result)
			got, want = fmt.Sprint(w, err), fmt.Sprint(mw, merr)
		case op < 88:
			mw, _ := m.end(n, seq, true, nil)
			got, want = fmt.Sprint(s.Abort(id, seq, nil)), fmt.Sprint(mw)
		case op < 92:
			wanted := false
			victim := 1 + r.Uint64N(token+1)
			if ms := m.sessions[n]; ms != nil && ms.calls[seq] != nil {
				c := ms.calls[seq]
				if len(c.waiters) > 0 && r.IntN(4) > 0 {
					victim = c.waiters[r.IntN(len(c.waiters))]
				}
				if i := slices.Index(c.waiters, victim); i >= 0 {
					wanted = true
					c.waiters = slices.Delete(c.waiters, i, i+1)
				}
			}
			got, want = fmt.Sprint(s.CancelWait(id, seq, victim)), fmt.Sprint(wanted)
		case op < 95:
			err := s.Acknowledge(id, seq, at)
			want = fmt.Sprint(ErrSessionExpired)
			if ms := m.sessions[n]; ms != nil && !ms.closed {
				m.touch(ms, at)
				m.acknowledge(ms, seq)
				want = fmt.Sprint(nil)
			}
			got = fmt.Sprint(err)
		case op < 96:
			s.Close(id)
			if ms := m.sessions[n]; ms != nil && !ms.closed {
				m.acknowledge(ms, ms.top)
				ms.closed = true
				if len(ms.calls) == 0 {
					delete(m.sessions, n)
				}
			}
		case op < 98:
			got, want = fmt.Sprint(s.Expire(at)), fmt.Sprint(m.expire(at))
		case op < 99:
			if r.IntN(10) == 0 {
				got, want = fmt.Sprint(s.Recover(at)), fmt.Sprint(m.recover(at))
			}
		default:
			image := s.image()
			restored := newTestSessions(t, cfg)
			if err := restored.Restore(bytes.NewReader(image)); err != nil {
				return err
			}
			if !bytes.Equal(restored.image(), image) {
				return fmt.Errorf("step %d: a restored table has another image", step)
			}
			if m.waiting() == 0 {
				s = restored
			}
		}
		if got != want {
			return fmt.Errorf("step %d: got %s, want %s", step, got, want)
		}
		if err := s.check(); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		if len(s.byN) != len(m.sessions) {
			return fmt.Errorf("step %d: %d sessions, want %d", step, len(s.byN), len(m.sessions))
		}
	}
	return nil
}
