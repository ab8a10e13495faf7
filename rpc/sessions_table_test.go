package rpc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// do makes one request and returns the verdict in a word.
func (s *Sessions) word(c SessionCall, at time.Time) string {
	switch v := s.Begin(c, at); v.Action {
	case SessionExecute:
		return "execute"
	case SessionWait:
		return "wait"
	case SessionReplay:
		return "replay " + string(v.Result)
	default:
		return v.Err.Error()
	}
}

func openSession(t testing.TB, s *Sessions) SessionID {
	t.Helper()
	id, err := s.Open(sessionEpoch)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestSessionsAnswers tells the stories of single calls, step by step.
func TestSessionsAnswers(t *testing.T) {
	call := func(seq, watermark, hash uint64) func(s *Sessions, id SessionID) string {
		return func(s *Sessions, id SessionID) string {
			return s.word(SessionCall{ID: id, Seq: seq, Watermark: watermark, Hash: hash, Waiter: 100 + seq}, sessionEpoch)
		}
	}
	poll := func(seq uint64) func(s *Sessions, id SessionID) string {
		return func(s *Sessions, id SessionID) string {
			return s.word(SessionCall{ID: id, Seq: seq, Hash: seq, NoWait: true}, sessionEpoch)
		}
	}
	complete := func(seq uint64, result string) func(s *Sessions, id SessionID) string {
		return func(s *Sessions, id SessionID) string {
			w, err := s.Complete(id, seq, []byte(result), nil)
			return fmt.Sprintf("%v %v", w, err)
		}
	}
	abort := func(seq uint64) func(s *Sessions, id SessionID) string {
		return func(s *Sessions, id SessionID) string { return fmt.Sprint(s.Abort(id, seq, nil)) }
	}
	crash := func(s *Sessions, _ SessionID) string { return fmt.Sprint(s.Recover(sessionEpoch)) }
	closed := func(s *Sessions, id SessionID) string { s.Close(id); return "" }
	other := func(s *Sessions, id SessionID) string {
		id.Table[0]++
		return s.word(SessionCall{ID: id, Seq: 1, Hash: 1}, sessionEpoch)
	}
	never := func(s *Sessions, id SessionID) string {
		id.N += 7
		return s.word(SessionCall{ID: id, Seq: 1, Hash: 1}, sessionEpoch)
	}
	text := func(err error) string { return err.Error() }
	type step struct {
		do   func(s *Sessions, id SessionID) string
		want string
	}
	for name, steps := range map[string][]step{
		"a repeat gets the result": {
			{call(1, 1, 1), "execute"}, {complete(1, "r"), "[] <nil>"}, {call(1, 1, 1), "replay r"}, {call(1, 1, 1), "replay r"},
		},
		"an empty result is a result": {
			{call(1, 1, 1), "execute"}, {complete(1, ""), "[] <nil>"}, {call(1, 1, 1), "replay "},
		},
		"a repeat waits for the call": {
			{call(1, 1, 1), "execute"}, {call(1, 1, 1), "wait"}, {complete(1, "r"), "[101] <nil>"}, {call(1, 1, 1), "replay r"},
		},
		"or is told": {
			{call(1, 1, 1), "execute"}, {poll(1), text(ErrInProgress)}, {complete(1, "r"), "[] <nil>"}, {poll(1), "replay r"},
		},
		"no more than so many wait": {
			{call(1, 1, 1), "execute"}, {call(1, 1, 1), "wait"}, {call(1, 1, 1), "wait"}, {call(1, 1, 1), text(ErrInProgress)},
			{complete(1, "r"), "[101 101] <nil>"},
		},
		"the watermark frees": {
			{call(1, 1, 1), "execute"}, {complete(1, "r"), "[] <nil>"}, {call(2, 2, 2), "execute"}, {call(1, 1, 1), text(ErrSessionStale)},
		},
		"the watermark itself is not passed": {
			{call(2, 2, 2), "execute"}, {complete(2, "r"), "[] <nil>"}, {call(3, 2, 3), "execute"}, {call(2, 2, 2), "replay r"},
		},
		"a late request's watermark lowers nothing": {
			{call(5, 5, 5), "execute"}, {call(6, 2, 6), "execute"}, {call(4, 1, 4), text(ErrSessionStale)},
		},
		"a watermark above its own request": {
			{call(2, 3, 2), text(ErrSessionStale)}, {call(3, 3, 3), "execute"},
		},
		"sequence zero": {{call(0, 0, 0), text(ErrSessionStale)}},
		"sequences in any order": {
			{call(3, 1, 3), "execute"}, {call(1, 1, 1), "execute"}, {call(2, 1, 2), "execute"}, {complete(2, "b"), "[] <nil>"}, {call(2, 1, 2), "replay b"},
		},
		"another request under the same sequence": {
			{call(1, 1, 1), "execute"}, {call(1, 1, 9), text(ErrSessionMismatch)}, {complete(1, "r"), "[] <nil>"},
			{call(1, 1, 9), text(ErrSessionMismatch)}, {call(1, 1, 1), "replay r"},
		},
		"too far above the watermark": {
			{call(8, 1, 8), "execute"}, {call(9, 1, 9), text(ErrSessionWindow)}, {call(9, 2, 9), "execute"},
			{call(1<<64-1, 1<<64-2, 1), text(ErrSessionWindow)},
		},
		"a session of another table": {{other, text(ErrSessionExpired)}},
		"a session never opened":     {{never, text(ErrSessionExpired)}},
		"a closed session": {
			{call(1, 1, 1), "execute"}, {complete(1, "r"), "[] <nil>"}, {closed, ""}, {call(1, 1, 1), text(ErrSessionExpired)}, {closed, ""},
		},
		"closed while a call runs": {
			{call(1, 1, 1), "execute"}, {call(1, 1, 1), "wait"}, {closed, ""}, {call(1, 1, 1), text(ErrSessionExpired)},
			{complete(1, "r"), "[101] " + text(ErrSessionStale)}, {complete(1, "r"), "[] " + text(ErrSessionExpired)},
		},
		"given up while it runs": {
			{call(1, 1, 1), "execute"}, {call(1, 1, 1), "wait"}, {call(2, 2, 2), "execute"}, {call(1, 1, 1), text(ErrSessionStale)},
			{complete(1, "r"), "[101] " + text(ErrSessionStale)}, {complete(1, "r"), "[] " + text(ErrSessionStale)},
		},
		"a result that is too large": {
			{call(1, 1, 1), "execute"}, {call(1, 1, 1), "wait"}, {complete(1, strings.Repeat("x", 65)), "[101] " + text(ErrSessionResultTooLarge)},
			{call(1, 1, 1), text(ErrSessionResultTooLarge)},
		},
		"cut off by a crash": {
			{call(1, 1, 1), "execute"}, {call(2, 1, 2), "execute"}, {complete(2, "r"), "[] <nil>"}, {crash, "1"},
			{call(1, 1, 1), text(ErrOutcomeUnknown)}, {complete(1, "r"), "[] " + text(ErrOutcomeUnknown)},
			{call(1, 1, 1), text(ErrOutcomeUnknown)}, {call(2, 1, 2), "replay r"}, {call(3, 2, 3), "execute"}, {call(1, 1, 1), text(ErrSessionStale)},
		},
		"not executed after all": {
			{call(1, 1, 1), "execute"}, {call(1, 1, 1), "wait"}, {abort(1), "[101]"}, {call(1, 1, 7), "execute"},
			{complete(1, "r"), "[] <nil>"}, {abort(1), "[]"}, {call(1, 1, 7), "replay r"},
		},
		"completed twice": {
			{call(1, 1, 1), "execute"}, {complete(1, "r"), "[] <nil>"}, {complete(1, "other"), "[] " + text(ErrSessionStale)}, {call(1, 1, 1), "replay r"},
		},
		"completed and never begun": {{complete(1, "r"), "[] " + text(ErrSessionStale)}, {call(1, 1, 1), "execute"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSessions(t, SessionsConfig{Window: 8, MaxResult: 64, WaitersPerCall: 2})
			id := openSession(t, s)
			for i, step := range steps {
				if got := step.do(s, id); got != step.want {
					t.Fatalf("step %d: %q, want %q", i+1, got, step.want)
				}
				if err := s.check(); err != nil {
					t.Fatalf("step %d: %v", i+1, err)
				}
			}
		})
	}
}

func TestSessionsExpire(t *testing.T) {
	s := newTestSessions(t, SessionsConfig{})
	if _, ok := s.NextExpiry(); ok {
		t.Error("an empty table has something to expire")
	}
	at := func(minutes int) time.Time { return sessionEpoch.Add(time.Duration(minutes) * time.Minute) }
	idle, active, running := openSession(t, s), openSession(t, s), openSession(t, s)
	s.Begin(SessionCall{ID: running, Seq: 1}, at(0))
	if next, ok := s.NextExpiry(); !ok || !next.Equal(at(30)) {
		t.Errorf("next expiry %v", next)
	}
	s.Acknowledge(active, 1, at(20))
	if n := s.Expire(at(29)); n != 0 {
		t.Fatalf("%d expired early", n)
	}
	if n := s.Expire(at(30)); n != 1 {
		t.Fatalf("%d expired, want the idle one", n)
	}
	if err := s.Acknowledge(idle, 1, at(30)); err != ErrSessionExpired {
		t.Errorf("the expired session: %v", err)
	}
	if n := s.Expire(at(49)); n != 0 {
		t.Errorf("%d expired early", n)
	}
	// Time that goes back stands still.
	if n := s.Expire(at(1)); n != 0 {
		t.Errorf("%d expired by a time of the past", n)
	}
	if n := s.Expire(at(50)); n != 1 {
		t.Errorf("%d expired, want the active one", n)
	}
	// The last is renewed by its call, as long as that runs, and once it ends.
	if n := s.Expire(at(1000)); n != 0 {
		t.Error("a session with a running call expired")
	}
	s.Complete(running, 1, nil, nil)
	if n := s.Expire(at(1029)); n != 0 {
		t.Error("expired before the client could fetch the result")
	}
	if n := s.Expire(at(1030)); n != 1 || s.Stats().Sessions != 0 {
		t.Errorf("%d expired, %d left", n, s.Stats().Sessions)
	}
	if next := openSession(t, s); next.N != 4 {
		t.Errorf("after all have expired, id %v", next)
	}
}

func TestSessionsWaitersAreCancellable(t *testing.T) {
	s := newTestSessions(t, SessionsConfig{MaxWaiters: 3})
	id := openSession(t, s)
	for seq := uint64(1); seq <= 2; seq++ {
		s.Begin(SessionCall{ID: id, Seq: seq}, sessionEpoch)
	}
	wait := func(seq, waiter uint64) SessionAction {
		return s.Begin(SessionCall{ID: id, Seq: seq, Waiter: waiter}, sessionEpoch).Action
	}
	if wait(1, 11) != SessionWait || wait(1, 12) != SessionWait || wait(2, 13) != SessionWait || wait(2, 14) != SessionReject {
		t.Fatal("of four, not the first three wait")
	}
	if !s.CancelWait(id, 1, 11) || s.CancelWait(id, 1, 11) || s.CancelWait(id, 9, 11) || s.CancelWait(SessionID{}, 1, 12) {
		t.Error("CancelWait is wrong about who waits")
	}
	if wait(2, 14) != SessionWait {
		t.Error("a cancelled wait left no room")
	}
	// Given up by its client, call 1 is still waited for.
	s.Acknowledge(id, 2, sessionEpoch)
	if !s.CancelWait(id, 1, 12) {
		t.Error("the waiter of a call that was given up is gone")
	}
	if w, _ := s.Complete(id, 2, nil, nil); !slices.Equal(w, []uint64{13, 14}) {
		t.Errorf("released %v", w)
	}
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	slot := int64(sessionSlotBytes)
	for name, cfg := range map[string]SessionsConfig{
		"entries":       {MaxEntries: 10},
		"session bytes": {MaxResult: 64, MaxSessionBytes: 10 * (64 + slot)},
		"bytes":         {MaxResult: 64, MaxBytes: 10 * (64 + slot)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSessions(t, cfg)
			id := openSession(t, s)
			result := make([]byte, 64)
			admitted := 0
			for seq := uint64(2); ; seq++ {
				v := s.Begin(SessionCall{ID: id, Seq: seq}, sessionEpoch)
				if v.Err != nil {
					if v.Err != ErrSessionsFull {
						t.Fatal(v.Err)
					}
					break
				}
				admitted++
				if _, err := s.Complete(id, seq, result, nil); err != nil {
					t.Fatal(err)
				}
			}
			if admitted < 7 || admitted > 9 {
				t.Errorf("%d calls admitted", admitted)
			}
			// Nothing was dropped to make room.
			for seq := uint64(2); seq < uint64(2+admitted); seq++ {
				if v := s.Begin(SessionCall{ID: id, Seq: seq}, sessionEpoch); v.Action != SessionReplay {
					t.Fatalf("result %d: %v", seq, v.Err)
				}
			}
			// The lowest call is not locked out by the results above it.
			if v := s.Begin(SessionCall{ID: id, Seq: 1}, sessionEpoch); v.Action != SessionExecute {
				t.Fatalf("the lowest call: %v", v.Err)
			}
			s.Complete(id, 1, nil, nil)
			if err := s.check(); err != nil {
				t.Fatal(err)
			}
			// Acknowledging makes room.
			s.Acknowledge(id, uint64(2+admitted), sessionEpoch)
			if st := s.Stats(); st.Entries != 0 || st.Bytes != 0 {
				t.Errorf("after all is acknowledged: %+v", st)
			}
		})
	}
	s := newTestSessions(t, SessionsConfig{MaxSessions: 2})
	openSession(t, s)
	id := openSession(t, s)
	if _, err := s.Open(sessionEpoch); err != ErrSessionsFull {
		t.Errorf("the third of two sessions: %v", err)
	}
	s.Close(id)
	if id := openSession(t, s); id.N != 3 {
		t.Errorf("a number was issued again: %v", id)
	}
}

// A client whose lowest call arrives last must get through, whatever the rest.
func TestSessionsFullTableDrains(t *testing.T) {
	s := newTestSessions(t, SessionsConfig{MaxResult: 64, MaxEntries: 12, MaxBytes: 1200})
	type client struct {
		id   SessionID
		core clientSession
		todo []uint64 // sequences, the highest first
	}
	var clients [4]*client
	for i := range clients {
		c := &client{id: openSession(t, s)}
		c.core.open(c.id, 5)
		clients[i] = c
	}
	for round := range 2000 {
		c := clients[round%len(clients)]
		if len(c.todo) == 0 {
			for {
				_, seq, _, ok := c.core.next()
				if !ok {
					break
				}
				c.todo = append([]uint64{seq}, c.todo...)
			}
		}
		for i, seq := range c.todo {
			v := s.Begin(SessionCall{ID: c.id, Seq: seq, Watermark: c.core.watermark()}, sessionEpoch)
			if v.Action == SessionExecute {
				s.Complete(c.id, seq, make([]byte, 60), nil)
				c.todo = slices.Delete(c.todo, i, i+1)
				c.core.done(c.id, seq)
				break
			}
		}
		s.Acknowledge(c.id, c.core.watermark(), sessionEpoch)
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range clients {
		if c.core.watermark() < 400 {
			t.Errorf("client %d got to %d", i, c.core.watermark())
		}
	}
}

func TestSessionsDo(t *testing.T) {
	s := newTestSessions(t, SessionsConfig{MaxResult: 64})
	id := openSession(t, s)
	runs := 0
	run := func(dst []byte) []byte {
		runs++
		return append(dst, "result"...)
	}
	for range 3 {
		out, err := s.Do(SessionCall{ID: id, Seq: 1}, sessionEpoch, []byte("head "), run)
		if string(out) != "head result" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	}
	if runs != 1 {
		t.Errorf("run %d times", runs)
	}
	large := func(dst []byte) []byte { return append(dst, make([]byte, 65)...) }
	if out, err := s.Do(SessionCall{ID: id, Seq: 2}, sessionEpoch, []byte("head"), large); string(out) != "head" || err != ErrSessionResultTooLarge {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := s.Do(SessionCall{ID: id, Seq: 0}, sessionEpoch, []byte("head"), run); string(out) != "head" || err != ErrSessionStale {
		t.Errorf("%q, %v", out, err)
	}
}

func TestSessionsTableName(t *testing.T) {
	s, err := NewSessions(SessionsConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(sessionEpoch); err == nil {
		t.Error("a table without a name issued an id")
	}
	a, b := [16]byte{1}, [16]byte{2}
	if s.SetTable([16]byte{}) || !s.SetTable(a) || s.SetTable(b) || s.Table() != a {
		t.Errorf("the table's name is %x", s.Table())
	}
	id := openSession(t, s)
	text, _ := id.AppendBinary(nil)
	var back SessionID
	if err := back.UnmarshalBinary(text); err != nil || back != id || id.IsZero() {
		t.Errorf("%v read back as %v, %v", id, back, err)
	}
	if err := back.UnmarshalBinary(text[1:]); !errors.Is(err, ErrMessage) {
		t.Errorf("a short id: %v", err)
	}
	if got := id.String(); got != "01000000000000000000000000000000:1" {
		t.Error(got)
	}
}

func TestSessionsConfigErrors(t *testing.T) {
	for field, cfg := range map[string]SessionsConfig{
		"TTL": {TTL: time.Microsecond}, "Window": {Window: SessionMaxWindow + 1}, "MaxSessions": {MaxSessions: -1},
		"MaxEntries": {MaxEntries: 1}, "MaxResult": {MaxResult: -5}, "MaxSessionBytes": {MaxSessionBytes: 100},
		"MaxBytes": {MaxBytes: 100}, "WaitersPerCall": {WaitersPerCall: -1}, "MaxWaiters": {MaxWaiters: -1},
	} {
		if _, err := NewSessions(cfg); err == nil || !strings.Contains(err.Error(), "SessionsConfig."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestSessionHash(t *testing.T) {
	seen := make(map[uint64]string)
	for _, parts := range [][]string{{"A"}, {"B"}, {"A", "x"}, {"A", "y"}, {"B", "x"}, {"A", "xx"}, {"Ax"}} {
		var request [][]byte
		for _, p := range parts[1:] {
			request = append(request, []byte(p))
		}
		h := SessionHash(parts[0], request...)
		if other, ok := seen[h]; ok {
			t.Errorf("%v and %v have the same hash", parts, other)
		}
		seen[h] = fmt.Sprint(parts)
	}
	if SessionHash("A", []byte("xy")) != SessionHash("A", []byte("x"), []byte("y")) {
		t.Error("how the request is cut changes its hash")
	}
	if n := testing.AllocsPerRun(100, func() { SessionHash("Service.Method", nil) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSessionOutcome(t *testing.T) {
	for err, want := range map[error]Outcome{
		nil: Executed, ErrSessionResultTooLarge: Executed,
		ErrSessionsFull: NotExecuted, ErrSessionWindow: NotExecuted, ErrSessionMismatch: NotExecuted,
		ErrSessionStale: OutcomeUnknown, ErrSessionExpired: OutcomeUnknown, ErrInProgress: OutcomeUnknown, ErrOutcomeUnknown: OutcomeUnknown,
	} {
		if got := sessionOutcome(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

func TestSessionsAllocations(t *testing.T) {
	s := newTestSessions(t, SessionsConfig{})
	id := openSession(t, s)
	result := make([]byte, 64)
	seq := uint64(0)
	n := testing.AllocsPerRun(10_000, func() {
		seq++
		s.Begin(SessionCall{ID: id, Seq: seq, Watermark: max(seq, 64) - 63}, sessionEpoch)
		s.Complete(id, seq, result, nil)
	})
	if n > 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func TestClientSession(t *testing.T) {
	var c clientSession
	if _, _, _, ok := c.next(); ok || c.opened() || c.owes() {
		t.Error("a session that is not open gives sequences")
	}
	a, b := SessionID{[16]byte{1}, 1}, SessionID{[16]byte{1}, 2}
	c.open(a, 3)
	for want := uint64(1); want <= 3; want++ {
		if id, seq, watermark, ok := c.next(); id != a || seq != want || watermark != 1 || !ok {
			t.Fatalf("sequence %d is %v %d, watermark %d, %v", want, id, seq, watermark, ok)
		}
	}
	if _, _, _, ok := c.next(); ok {
		t.Error("beyond the window")
	}
	c.done(a, 2)
	c.done(a, 2)
	c.done(a, 9)
	c.done(b, 1)
	if c.watermark() != 1 || c.owes() || c.outstanding() != 3 {
		t.Errorf("watermark %d passes a call that is not done", c.watermark())
	}
	c.abandoned(a, 1)
	if c.watermark() != 3 || !c.owes() || c.outstanding() != 1 {
		t.Errorf("watermark %d, want 3", c.watermark())
	}
	if _, seq, watermark, ok := c.next(); seq != 4 || watermark != 3 || !ok {
		t.Errorf("sequence %d, watermark %d, %v", seq, watermark, ok)
	}
	c.heard(b, 3)
	if !c.owes() {
		t.Error("what another session's server heard counts")
	}
	c.heard(a, 3)
	if c.owes() {
		t.Error("owes what the server has")
	}
	c.lost(b)
	if !c.opened() {
		t.Error("another session's end is taken for this one's")
	}
	c.lost(a)
	if _, _, _, ok := c.next(); ok || c.opened() {
		t.Error("a session that is over goes on")
	}
	c.open(b, 1<<30)
	c.done(a, 1)
	if id, seq, watermark, ok := c.next(); id != b || seq != 1 || watermark != 1 || !ok {
		t.Errorf("the next session begins with %v %d, watermark %d, %v", id, seq, watermark, ok)
	}
	for range 1 << 17 {
		_, seq, _, ok := c.next()
		if !ok {
			break
		}
		c.done(b, seq)
	}
	if n := c.outstanding(); n != SessionMaxWindow {
		t.Errorf("%d outstanding", n)
	}
	c.done(b, 1)
	if n := c.outstanding(); n != 0 {
		t.Errorf("%d outstanding", n)
	}
}
