package rpc

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// simRecord is a record of the server's log: an image, which is the first if
// there is one, or a record of the table, or a command with its time.
type simRecord struct {
	image []byte
	data  []byte
	at    time.Time
}

// simOrigin is a request that the server has not answered yet.
type simOrigin struct {
	client int
	m      simMsg
}

// simFront is what both servers have: requests, timers and answers.
type simFront struct {
	n       *sim.Node[simMsg]
	l       *simLedger
	log     *sim.Log[simRecord]
	origins map[uint64]simOrigin
	token   uint64
	syncing bool
}

const (
	simServerSync       = 1 << 60
	simServerExpire     = 2 << 60
	simServerCheckpoint = 3 << 60
	simServerRun        = 4 << 60
	simServerCancel     = 5 << 60
)

// boot opens the log, which a careless operator may have wiped.
func (l *simLedger) boot(n *sim.Node[simMsg]) *simFront {
	f := &simFront{n: n, l: l, origins: make(map[uint64]simOrigin), log: sim.OpenLog[simRecord](n, "log")}
	if l.wipes && f.log.End() > 0 && n.Uint64N(5) == 0 {
		n.Count("wiped", 1)
		f.log.Reset()
		l.wiped++
	}
	n.After(200*time.Millisecond, simServerExpire)
	n.After(300*time.Millisecond, simServerCheckpoint)
	return f
}

// take notes a request and gives it a token.
func (f *simFront) take(from int, m simMsg) uint64 {
	f.token++
	f.origins[f.token] = simOrigin{from, m}
	return f.token
}

// answer answers the request with a token.
func (f *simFront) answer(token uint64, id SessionID, result []byte, err error) {
	o, ok := f.origins[token]
	if !ok {
		f.l.failf("request %d is answered, and was before", token)
		return
	}
	delete(f.origins, token)
	m := o.m
	m.kind |= simAnswer
	m.result, m.err = result, err
	if o.m.kind == simOpen {
		m.call.ID = id
	}
	f.l.answers(m)
	f.n.Send(o.client, m)
}

func (f *simFront) sync() {
	if !f.syncing && f.log.Safe() < f.log.End() {
		f.syncing = true
		f.log.Sync(simServerSync)
	}
}

// simTable is the server whose table is beside its handlers.
type simTable struct {
	*simFront
	j       *sessionJournal
	running map[uint64]sessionOutput // by token
	written uint64                   // journal position that the log is at
	syncTo  uint64                   // journal position that the sync under way makes safe
	outputs []sessionOutput
}

func (l *simLedger) bootTable(n *sim.Node[simMsg]) sim.Process[simMsg] {
	s := &simTable{simFront: l.boot(n), running: make(map[uint64]sessionOutput)}
	cfg := l.cfg
	records := s.log.Records()
	if len(records) == 0 {
		cfg.Table = l.uuid()
	}
	table, err := NewSessions(cfg)
	if err != nil {
		n.Failf("%v", err)
		return s
	}
	table.planted = l.bugs
	if len(records) == 0 {
		s.j = newSessionJournal(table)
	} else {
		s.recover(table, records)
	}
	l.check = s.check
	return s
}

func (s *simTable) recover(table *Sessions, records []simRecord) {
	if image := records[0].image; image != nil {
		if err := table.Restore(bytes.NewReader(image)); err != nil {
			s.n.Failf("%v", err)
		}
		records = records[1:]
	}
	for i, r := range records {
		if err := table.replay(r.data); err != nil {
			s.n.Failf("record %d: %v", i, err)
		}
	}
	s.j = &sessionJournal{table: table}
	s.n.Count("cut off", uint64(table.Recover(s.n.Now())))
}

func (s *simTable) check() error {
	if err := s.j.table.check(); err != nil {
		return err
	}
	known := s.j.table.waiters.n + len(s.j.held) + len(s.running)
	if len(s.origins) != known {
		return fmt.Errorf("%d requests are unanswered, %d of them known", len(s.origins), known)
	}
	return nil
}

func (s *simTable) Receive(from int, m simMsg) {
	token := s.take(from, m)
	now := s.n.Now()
	var err error
	switch m.kind {
	case simOpen:
		err = s.j.open(token, now)
	case simCall:
		before := s.j.table.stats
		m.call.Waiter = token
		err = s.j.begin(m.call, now)
		s.n.Count("replayed", s.j.table.stats.Replayed-before.Replayed)
		if waited := s.j.table.stats.Waited - before.Waited; waited > 0 {
			s.n.Count("waited", waited)
			if s.n.Uint64N(8) == 0 {
				s.n.After(time.Duration(s.n.Uint64N(uint64(30*time.Millisecond))), simServerCancel|token)
			}
		}
	case simAck:
		s.j.acknowledge(m.call.ID, m.call.Watermark, token, now)
	case simClose:
		s.j.close(m.call.ID, token)
	}
	if err != nil {
		s.answer(token, SessionID{}, nil, err)
	}
	s.flush()
}

func (s *simTable) Timer(key uint64) {
	token := key &^ simTimerMask
	switch key & simTimerMask {
	case simServerSync:
		s.syncing = false
		s.j.synced(s.syncTo)
	case simServerExpire:
		before := s.j.table.stats.Collected
		s.j.expire(s.n.Now())
		s.n.Count("collected", s.j.table.stats.Collected-before)
		s.n.After(200*time.Millisecond, simServerExpire)
	case simServerCheckpoint:
		s.checkpoint()
	case simServerRun:
		s.handle(token)
	case simServerCancel:
		if o, ok := s.origins[token]; ok && s.j.table.CancelWait(o.m.call.ID, o.m.call.Seq, token) {
			s.n.Count("cancelled", 1)
			delete(s.origins, token)
		}
	}
	s.flush()
}

// handle executes a call, whose effect nobody can take back, or refuses to.
func (s *simTable) handle(token uint64) {
	o := s.running[token]
	delete(s.running, token)
	if s.n.Uint64N(20) == 0 {
		s.j.abort(o.ID, o.Seq, token, ErrUnavailable)
		return
	}
	s.l.execute(simKey{o.ID, o.Seq})
	s.l.nonce++
	s.j.complete(o.ID, o.Seq, token, simResult(nil, s.l.nonce))
}

func (s *simTable) checkpoint() {
	s.n.Count("checkpoints", 1)
	image, end := s.j.image()
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		s.n.Failf("%v", err)
	}
	s.j.take()
	s.log.Reset(simRecord{image: b.Bytes()})
	s.j.synced(end)
	s.written = end
	s.n.After(time.Duration(s.n.Uint64N(uint64(time.Second))), simServerCheckpoint)
}

// flush writes what is to be written and does what may be done.
func (s *simTable) flush() {
	records, end := s.j.take()
	for _, r := range records {
		s.log.Append(simRecord{data: r})
	}
	s.written = end
	if !s.syncing && s.log.Safe() < s.log.End() {
		s.syncTo = end
	}
	s.sync()
	s.outputs = s.j.released(s.outputs[:0])
	for _, o := range s.outputs {
		if !o.Run {
			s.answer(o.Waiter, o.ID, o.Result, o.Err)
			continue
		}
		s.running[o.Waiter] = o
		s.n.After(time.Duration(s.n.Uint64N(uint64(60*time.Millisecond))), simServerRun|o.Waiter)
	}
}

// simHost is the server whose table is inside its machine.
type simHost struct {
	*simFront
	machine *SessionMachine
	inner   *simMachine
	index   uint64
	last    time.Time
	held    []simHeld
}

type simHeld struct {
	position int64
	token    uint64
	out      []byte
}

func (l *simLedger) bootMachine(n *sim.Node[simMsg]) sim.Process[simMsg] {
	s := &simHost{simFront: l.boot(n), inner: &simMachine{l: l}}
	var err error
	if s.machine, err = NewSessionMachine(s.inner, l.cfg); err != nil {
		n.Failf("%v", err)
		return s
	}
	s.machine.sessions.planted = l.bugs
	for _, r := range s.log.Records() {
		s.last = r.at
		if r.image != nil {
			if err := s.machine.Restore(bytes.NewReader(r.image)); err != nil {
				n.Failf("%v", err)
			}
			continue
		}
		s.index++
		s.machine.Apply(s.index, r.at, r.data, nil)
	}
	l.check = s.check
	for _, k := range l.told {
		s.remembers(k)
	}
	return s
}

// remembers checks that the result of a call that a client has is here.
func (s *simHost) remembers(k simKey) {
	if s.l.born[k.id] != s.l.wiped {
		return
	}
	nonce, ok := s.inner.find(k)
	if !ok || s.l.settled[k].result != string(simResult(nil, nonce)) {
		s.n.Failf("⟨%v,%d⟩ succeeded and was lost", k.id, k.seq)
	}
}

func (s *simHost) check() error {
	if len(s.l.told) > 0 {
		s.remembers(s.l.told[len(s.l.told)-1])
	}
	return s.machine.sessions.check()
}

func (s *simHost) Receive(from int, m simMsg) {
	var cmd []byte
	switch m.kind {
	case simOpen:
		cmd = AppendSessionOpen(nil, s.l.uuid())
	case simCall:
		s.l.nonce++
		cmd = AppendSessionCall(nil, m.call, simCommand(simKey{m.call.ID, m.call.Seq}, s.l.nonce))
	case simAck:
		cmd = AppendSessionAcknowledge(nil, m.call.ID, m.call.Watermark)
	case simClose:
		cmd = AppendSessionClose(nil, m.call.ID)
	}
	s.propose(s.take(from, m), cmd)
}

func (s *simHost) propose(token uint64, cmd []byte) {
	if now := s.n.Now(); now.After(s.last) {
		s.last = now
	}
	before := s.machine.sessions.stats
	position := s.log.Append(simRecord{data: cmd, at: s.last})
	s.index++
	out := s.machine.Apply(s.index, s.last, cmd, nil)
	s.held = append(s.held, simHeld{position, token, out})
	after := s.machine.sessions.stats
	s.n.Count("replayed", after.Replayed-before.Replayed)
	s.n.Count("collected", after.Collected-before.Collected)
	s.flush()
}

func (s *simHost) Timer(key uint64) {
	switch key {
	case simServerSync:
		s.syncing = false
	case simServerExpire:
		s.propose(0, AppendSessionExpire(nil))
		s.n.After(200*time.Millisecond, simServerExpire)
	case simServerCheckpoint:
		s.checkpoint()
	}
	s.flush()
}

func (s *simHost) checkpoint() {
	s.n.Count("checkpoints", 1)
	image, err := s.machine.Freeze()
	var b bytes.Buffer
	if err == nil {
		_, err = image.WriteTo(&b)
	}
	if err != nil {
		s.n.Failf("%v", err)
	}
	s.log.Reset(simRecord{image: b.Bytes(), at: s.last})
	s.n.After(time.Duration(s.n.Uint64N(uint64(time.Second))), simServerCheckpoint)
}

// flush syncs what is to be synced and releases outputs whose position is safe.
func (s *simHost) flush() {
	s.sync()
	for len(s.held) > 0 && (s.held[0].position < s.log.Safe() || s.l.bugs.replyEarly) {
		h := s.held[0]
		s.held = slices.Delete(s.held, 0, 1)
		if h.token == 0 {
			continue
		}
		result, err := ParseSessionOutput(h.out)
		var id SessionID
		if s.origins[h.token].m.kind == simOpen && err == nil {
			err = id.UnmarshalBinary(result)
		}
		s.answer(h.token, id, result, err)
	}
}
