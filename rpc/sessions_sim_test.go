package rpc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// This file simulates clients, a bad network and a server with a duplicate table
// that crashes, loses what it has not synced, expires sessions and is sometimes
// wiped; in sessions_sim_server_test.go are the two servers, one with the table
// inside a machine, one with the table beside handlers.

// simMsg is a request or the answer to it.
type simMsg struct {
	kind   simKind
	token  uint64 // names the request for its client
	call   SessionCall
	result []byte // of an answer
	err    error  // of an answer
}

type simKind uint8

const (
	simOpen simKind = iota
	simCall
	simAck
	simClose
	simAnswer // flag
)

func (m simMsg) String() string {
	s := [...]string{"open", "call", "ack", "close"}[m.kind&^simAnswer]
	if m.kind&simAnswer != 0 {
		s += " answered"
	}
	return fmt.Sprintf("%s ⟨%d/%d,%d⟩ X=%d %x %v", s, m.call.ID.Table[0], m.call.ID.N, m.call.Seq, m.call.Watermark, m.result, m.err)
}

type simKey struct {
	id  SessionID
	seq uint64
}

// simAnswered is an answer that settles a call, as the server gave it.
type simAnswered struct {
	err    error
	result string
}

// simLedger sees everything, and survives everything.
type simLedger struct {
	w       *sim.World[simMsg]
	bugs    sessionsPlanted
	inside  bool // the table is inside the machine
	cfg     SessionsConfig
	wipes   bool
	nonce   uint64
	wiped   int               // how often
	born    map[SessionID]int // the value of wiped when the id was issued
	effects map[simKey]int    // executions beside the table
	settled map[simKey]simAnswered
	told    []simKey // calls whose client has the result
	clients []*simPlan
	server  *sim.Node[simMsg]
	check   func() error // of the server that is up
}

// simPlan is what a client has to do, over all its crashes.
type simPlan struct {
	calls    int
	parallel int
	finished bool
}

func (l *simLedger) failf(format string, args ...any) { l.server.Failf(format, args...) }

// execute counts an effect that nothing can undo.
func (l *simLedger) execute(k simKey) {
	l.belongs(k)
	l.effects[k]++
	if l.effects[k] > 1 {
		l.failf("⟨%v,%d⟩ executed %d times", k.id, k.seq, l.effects[k])
	}
}

// belongs checks that a call is executed by the table that issued its id.
func (l *simLedger) belongs(k simKey) {
	if at, ok := l.born[k.id]; !ok || at != l.wiped {
		l.failf("⟨%v,%d⟩ executed by a table that did not issue the id", k.id, k.seq)
	}
}

// answers checks an answer as it leaves the server.
func (l *simLedger) answers(m simMsg) {
	switch {
	case m.kind == simOpen|simAnswer:
		if m.err == nil {
			if at, ok := l.born[m.call.ID]; ok && at != l.wiped {
				l.failf("id %v issued again", m.call.ID)
			}
			l.born[m.call.ID] = l.wiped
		}
		return
	case m.kind != simCall|simAnswer:
		return
	}
	k := simKey{m.call.ID, m.call.Seq}
	switch m.err {
	case nil, ErrSessionResultTooLarge, ErrOutcomeUnknown:
		a := simAnswered{m.err, string(m.result)}
		if before, ok := l.settled[k]; ok && before != a {
			l.failf("⟨%v,%d⟩ answered %x, %v; before that %x, %v", k.id, k.seq, a.result, a.err, before.result, before.err)
		}
		l.settled[k] = a
	case ErrSessionsFull, ErrSessionWindow, ErrUnavailable:
		if l.effects[k] > 0 {
			l.failf("⟨%v,%d⟩ was executed and gets %v", k.id, k.seq, m.err)
		}
	case ErrSessionMismatch:
		l.failf("⟨%v,%d⟩: %v", k.id, k.seq, m.err)
	}
	l.w.Count(simOutcomes[m.err], 1)
}

// simOutcomes are the counters of answers to calls.
var simOutcomes = map[error]string{
	nil: "result", ErrSessionResultTooLarge: "too large", ErrOutcomeUnknown: "unknown",
	ErrSessionsFull: "full", ErrSessionWindow: "window", ErrUnavailable: "aborted",
	ErrSessionStale: "stale", ErrSessionExpired: "expired", ErrInProgress: "in progress",
}

// simBuild makes a world: one server, a few clients, limits that pinch.
func simBuild(inside bool, bugs sessionsPlanted) func(w *sim.World[simMsg]) {
	return func(w *sim.World[simMsg]) {
		r := w.Rand()
		maxResult := 64
		l := &simLedger{
			w: w, bugs: bugs, inside: inside, wipes: r.IntN(3) == 0,
			born: make(map[SessionID]int), effects: make(map[simKey]int), settled: make(map[simKey]simAnswered),
			cfg: SessionsConfig{
				TTL:             time.Duration(1+r.IntN(3)) * time.Second,
				Window:          1 + r.IntN(6),
				MaxSessions:     3 + r.IntN(4),
				MaxEntries:      2 + r.IntN(12),
				MaxResult:       maxResult,
				MaxSessionBytes: int64(2+r.IntN(6)) * (sessionSlotBytes + 64),
				MaxBytes:        int64(2+r.IntN(16)) * (sessionSlotBytes + 64),
				WaitersPerCall:  1 + r.IntN(3),
				MaxWaiters:      64,
			},
		}
		boot := l.bootTable
		if inside {
			boot = l.bootMachine
		}
		l.server = w.Add("server", boot)
		for i := range 1 + r.IntN(3) {
			plan := &simPlan{calls: 4 + r.IntN(16), parallel: 1 + r.IntN(4)}
			l.clients = append(l.clients, plan)
			w.Add(fmt.Sprint("client", i), func(n *sim.Node[simMsg]) sim.Process[simMsg] {
				return newSimClient(n, l, plan)
			})
		}
		w.Invariant(func() error {
			if l.server.Up() && l.check != nil {
				return l.check()
			}
			return nil
		})
		w.Done(func() bool {
			return !slices.ContainsFunc(l.clients, func(p *simPlan) bool { return !p.finished })
		})
	}
}

// uuid returns one that was never used before.
func (l *simLedger) uuid() [16]byte {
	l.nonce++
	var u [16]byte
	binary.BigEndian.PutUint64(u[8:], l.nonce)
	u[0] = byte(l.nonce)
	return u
}

var simConfig = sim.Config{
	Faults: sim.Faults{
		Loss: 0.3, Duplicate: 0.3, Straggle: 0.1, Delay: 30 * time.Millisecond,
		CrashEvery: 200 * time.Millisecond, Down: 100 * time.Millisecond,
		PartitionEvery: 2 * time.Second, PauseEvery: 2 * time.Second,
		Skew: time.Second, Drift: 0.05, Sync: 30 * time.Millisecond,
	},
	Chaos: 5 * time.Second,
	Calm:  2 * time.Minute,
}

// Seeds of each simulation in a plain run; -sim.seeds asks for more.
const simSeeds = 10_000

func TestSessionsSimulation(t *testing.T) {
	for _, c := range []struct {
		name   string
		inside bool
		want   map[string]uint64
	}{
		{"beside handlers", false, map[string]uint64{
			"replayed": 5000, "waited": 3000, "unknown": 500, "in progress": 1000, "aborted": 1000, "cancelled": 100,
		}},
		{"inside a machine", true, map[string]uint64{"replayed": 5000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			seeds := simSeeds
			if sessionsRace {
				seeds = 600
			}
			stats := sim.Run(t, seeds, simConfig, simBuild(c.inside, sessionsPlanted{}))
			c.want["stale"] = 1000
			c.want["expired"] = 300
			c.want["full"] = 1000
			c.want["window"] = 1000
			c.want["too large"] = 500
			c.want["abandoned"] = 500
			c.want["wiped"] = 100
			c.want["checkpoints"] = 1000
			c.want["collected"] = 500
			c.want["result"] = 20000
			scale := float64(stats.Seeds) / 6000 // what is wanted is wanted of so many
			for name, least := range c.want {
				if n := stats.Tally[name]; float64(n) < float64(least)*scale {
					t.Errorf("%s: %d times, want at least %d", name, n, least)
				}
			}
			if float64(stats.Crashes) < 5000*scale || float64(stats.Erased) < 500*scale {
				t.Errorf("%d crashes, %d records lost", stats.Crashes, stats.Erased)
			}
		})
	}
}

func TestSessionsSimulationCatchesPlantedBugs(t *testing.T) {
	for _, c := range []struct {
		name   string
		bugs   sessionsPlanted
		beside bool
		inside bool
	}{
		{"forget the watermark", sessionsPlanted{forgetWatermark: true}, true, true},
		{"reuse an id after a wiped table", sessionsPlanted{reuseID: true}, true, true},
		{"reply before the record is safe", sessionsPlanted{replyEarly: true}, true, true},
		{"drop a waiting duplicate", sessionsPlanted{dropWaiter: true}, true, false},
	} {
		for _, inside := range []bool{false, true} {
			if inside && !c.inside {
				continue // nothing waits inside a machine
			}
			failure, stats := sim.Search(2000, simConfig, simBuild(inside, c.bugs))
			if failure == nil {
				t.Errorf("%s, table inside: %v: not caught in %d seeds", c.name, inside, stats.Seeds)
				continue
			}
			t.Logf("%s, table inside: %v: %v", c.name, inside, failure)
		}
	}
}

// simClient calls, repeats, gives up now and then, and crashes.
type simClient struct {
	n    *sim.Node[simMsg]
	l    *simLedger
	plan *simPlan

	session clientSession
	opening uint64 // the token of the request for a session
	calls   []simOutgoing
	token   uint64
	resting bool
}

type simOutgoing struct {
	ordinal uint64
	call    SessionCall
	tries   int
}

const (
	simTimerRest  = 1 << 60
	simTimerOpen  = 2 << 60
	simTimerRetry = 3 << 60
	simTimerMask  = 15 << 60
)

func newSimClient(n *sim.Node[simMsg], l *simLedger, plan *simPlan) *simClient {
	c := &simClient{n: n, l: l, plan: plan, token: n.Uint64N(1 << 50)}
	n.After(0, simTimerRest)
	return c
}

// proceed opens a session, or starts calls, or ends.
func (c *simClient) proceed() {
	switch {
	case c.plan.finished || c.resting:
		return
	case c.plan.calls == 0 && len(c.calls) == 0:
		c.plan.finished = true
		if c.session.opened() {
			c.send(simClose, SessionCall{ID: c.session.id})
		}
		return
	case !c.session.opened():
		if c.opening == 0 && len(c.calls) == 0 {
			c.open()
		}
		return
	}
	for len(c.calls) < c.plan.parallel && c.plan.calls > 0 {
		id, seq, watermark, ok := c.session.next()
		if !ok {
			break
		}
		c.plan.calls--
		c.token++
		out := simOutgoing{c.token, SessionCall{ID: id, Seq: seq, Watermark: watermark, Hash: c.token}, 0}
		c.calls = append(c.calls, out)
		c.try(&c.calls[len(c.calls)-1])
	}
}

func (c *simClient) open() {
	c.opening = c.send(simOpen, SessionCall{})
	c.n.After(200*time.Millisecond, simTimerOpen)
}

func (c *simClient) send(kind simKind, call SessionCall) uint64 {
	c.token++
	c.n.Send(c.l.server.ID(), simMsg{kind: kind, token: c.token, call: call})
	return c.token
}

// try sends a call, once more.
func (c *simClient) try(o *simOutgoing) {
	o.tries++
	o.call.Watermark = c.session.watermark()
	o.call.NoWait = c.n.Uint64N(3) == 0
	c.send(simCall, o.call)
	wait := 20*time.Millisecond + time.Duration(c.n.Uint64N(uint64(min(o.tries, 5))*uint64(40*time.Millisecond)))
	c.n.After(wait, simTimerRetry|o.ordinal)
}

func (c *simClient) Timer(key uint64) {
	switch key & simTimerMask {
	case simTimerRest:
		c.resting = false
	case simTimerOpen:
		if c.opening != 0 {
			c.opening = 0
		}
	case simTimerRetry:
		i := slices.IndexFunc(c.calls, func(o simOutgoing) bool { return o.ordinal == key&^simTimerMask })
		if i < 0 {
			return
		}
		if c.n.Uint64N(20) == 0 {
			c.n.Count("abandoned", 1)
			c.finish(i, true)
			return
		}
		c.try(&c.calls[i])
	}
	c.proceed()
}

func (c *simClient) Receive(_ int, m simMsg) {
	switch m.kind &^ simAnswer {
	case simOpen:
		if m.token != c.opening {
			return
		}
		if c.opening = 0; m.err == nil {
			c.session.open(m.call.ID, 8)
		} else {
			c.rest(300 * time.Millisecond)
		}
		c.proceed()
	case simCall:
		c.answer(m)
	case simAck:
		if m.err == nil {
			c.session.heard(m.call.ID, m.call.Watermark)
		}
	}
}

func (c *simClient) answer(m simMsg) {
	i := slices.IndexFunc(c.calls, func(o simOutgoing) bool { return o.call.ID == m.call.ID && o.call.Seq == m.call.Seq })
	if i < 0 {
		return // of no interest any more
	}
	c.session.heard(m.call.ID, m.call.Watermark)
	switch m.err {
	case nil:
		k := simKey{m.call.ID, m.call.Seq}
		if !c.l.inside && c.l.effects[k] != 1 {
			c.n.Failf("⟨%v,%d⟩ succeeded and was executed %d times", k.id, k.seq, c.l.effects[k])
		}
		c.l.told = append(c.l.told, k)
		c.finish(i, false)
	case ErrSessionResultTooLarge, ErrOutcomeUnknown:
		c.finish(i, false)
	case ErrSessionExpired:
		c.session.lost(m.call.ID)
		c.calls = slices.DeleteFunc(c.calls, func(o simOutgoing) bool { return o.call.ID == m.call.ID })
		c.proceed()
	case ErrSessionStale:
		c.n.Failf("⟨%v,%d⟩ is stale, and wanted", m.call.ID, m.call.Seq)
	}
}

// finish ends a call, and sometimes rests, which may take longer than a session
// lives.
func (c *simClient) finish(i int, abandoned bool) {
	o := c.calls[i]
	c.calls = slices.Delete(c.calls, i, i+1)
	if abandoned {
		c.session.abandoned(o.call.ID, o.call.Seq)
	} else {
		c.session.done(o.call.ID, o.call.Seq)
	}
	switch c.n.Uint64N(20) {
	case 0:
		c.rest(4 * time.Second)
	case 1, 2, 3:
		c.rest(100 * time.Millisecond)
	}
	c.proceed()
	if len(c.calls) == 0 && c.session.owes() {
		c.send(simAck, SessionCall{ID: c.session.id, Watermark: c.session.watermark()})
	}
}

func (c *simClient) rest(most time.Duration) {
	c.resting = true
	c.n.After(time.Duration(c.n.Uint64N(uint64(most))), simTimerRest)
}

// simMachine is a machine that remembers the calls it executed.
type simMachine struct {
	l    *simLedger
	done []simDone
}

type simDone struct {
	key   simKey
	nonce uint64
}

func simCommand(k simKey, nonce uint64) []byte {
	b := appendSessionID(nil, k.id)
	b = binary.BigEndian.AppendUint64(b, k.seq)
	return binary.BigEndian.AppendUint64(b, nonce)
}

// simResult is what an execution gives: one that differs each time, and that is
// sometimes too large.
func simResult(dst []byte, nonce uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, nonce)
	if nonce%16 == 0 {
		return append(dst, make([]byte, 64)...)
	}
	return append(dst, make([]byte, nonce%50)...)
}

func (m *simMachine) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	var d simDone
	if err := d.key.id.UnmarshalBinary(cmd[:sessionIDLen]); err != nil {
		panic(err)
	}
	d.key.seq = binary.BigEndian.Uint64(cmd[sessionIDLen:])
	d.nonce = binary.BigEndian.Uint64(cmd[sessionIDLen+8:])
	m.l.belongs(d.key)
	if _, again := m.find(d.key); again {
		m.l.failf("⟨%v,%d⟩ executed again", d.key.id, d.key.seq)
	}
	m.done = append(m.done, d)
	return simResult(dst, d.nonce)
}

func (m *simMachine) find(k simKey) (nonce uint64, ok bool) {
	for i := len(m.done) - 1; i >= 0; i-- {
		if m.done[i].key == k {
			return m.done[i].nonce, true
		}
	}
	return 0, false
}

func (m *simMachine) Freeze() (io.WriterTo, error) {
	var b []byte
	for _, d := range m.done {
		b = append(b, simCommand(d.key, d.nonce)...)
	}
	return bytes.NewReader(b), nil
}

func (m *simMachine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.done = nil
	const size = sessionIDLen + 16
	for ; len(b) >= size; b = b[size:] {
		m.Apply(0, time.Time{}, b[:size], nil)
	}
	return nil
}

func (m *simMachine) Fingerprint() string { return "sim/1" }
