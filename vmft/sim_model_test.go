package vmft

import (
	"fmt"

	"github.com/trilith-go/trilith/internal/sim"
)

// These files simulate the cores of a whole group: nodes that crash, pause and lose what
// they have not synced, the arbiter, and clients that count. What the shells do is in
// simNode, as simply as it can be said.

const (
	simClients = 3
	simCalls   = 15          // of each client
	simTTL     = int64(30e9) // of a client's session, in the machine's time
)

// simEntry is an entry of the log.
type simEntry struct {
	client int // -1: a new epoch begins
	seq    uint64
	at     int64
}

// simMachine counts what clients ask it to, with a duplicate table in front. It is a value:
// assigning it makes an image.
type simMachine struct {
	position uint64
	at       int64
	total    uint64 // calls executed
	hash     uint64 // of all entries
	sessions [simClients]simSession
}

type simSession struct {
	seq    uint64 // the last call
	result simResult
	seen   int64
}

// simResult is the reply to a call, or to a read, in which count is 0.
type simResult struct {
	position uint64 // that it shows
	hash     uint64 // of the log up to there
	total    uint64
	count    uint64 // of the client's own calls
	expired  bool
}

// apply executes the entry at the next position.
func (m *simMachine) apply(e simEntry) simResult {
	m.position++
	m.at = e.at
	for _, v := range [...]uint64{m.position, uint64(e.client + 1), e.seq, uint64(e.at)} {
		m.hash = (m.hash ^ v) * 0x9e3779b97f4a7c15
		m.hash ^= m.hash >> 29
	}
	if e.client < 0 {
		return simResult{}
	}
	s := &m.sessions[e.client]
	if s.seen != 0 && e.at-s.seen > simTTL {
		*s = simSession{seen: e.at}
		return simResult{expired: true}
	}
	s.seen = e.at
	if e.seq <= s.seq {
		return s.result
	}
	m.total++
	s.seq = e.seq
	s.result = simResult{position: m.position, hash: m.hash, total: m.total, count: s.result.count + 1}
	return s.result
}

func (m *simMachine) read() simResult {
	return simResult{position: m.position, hash: m.hash, total: m.total}
}

// simModel is what must hold, as seen from outside.
type simModel struct {
	w       *sim.World[*simMessage]
	chain   []Record
	told    map[uint64]uint64 // position → hash of the log, as some client was told
	floor   uint64            // the greatest total that anybody was told
	leaders map[uint64]ID     // epoch → whose outputs have left in it
	done    int               // clients that have finished
	failure error
}

func (m *simModel) failf(format string, args ...any) {
	if m.failure == nil {
		m.failure = fmt.Errorf(format, args...)
	}
}

// leaves takes note of an output that leaves.
func (m *simModel) leaves(epoch uint64, who ID) {
	if other, ok := m.leaders[epoch]; ok && other != who {
		m.failf("outputs of %v and %v leave in epoch %d", other, who, epoch)
	}
	m.leaders[epoch] = who
}

// tell takes note of what a client was told; floor is what had been told to anybody when
// it asked.
func (m *simModel) tell(r simResult, floor uint64) {
	if known, ok := m.told[r.position]; ok && known != r.hash {
		m.failf("at position %d clients were told of different logs", r.position)
	}
	m.told[r.position] = r.hash
	m.floor = max(m.floor, r.total)
	if r.total < floor && r.count == 0 {
		m.failf("a read sees %d calls, %d had been told of before it was asked for", r.total, floor)
	}
}

// simArbiter serves the chain. What is written is safe at once.
type simArbiter struct {
	n     *sim.Node[*simMessage]
	model *simModel
}

func (a *simArbiter) Timer(uint64) {}

func (a *simArbiter) Receive(from int, m *simMessage) {
	chain := &a.model.chain
	answer := &simMessage{kind: simChain, id: m.id}
	switch {
	case m.record.Epoch == 0:
		if n := len(*chain); n > 0 {
			answer.record = (*chain)[n-1]
		}
	case m.record.Epoch <= uint64(len(*chain)):
		answer.record = (*chain)[m.record.Epoch-1]
		if answer.record != m.record {
			a.n.Count("fenced claims", 1)
		}
	case m.record.Epoch == uint64(len(*chain))+1:
		before := Record{}
		if n := len(*chain); n > 0 {
			before = (*chain)[n-1]
		}
		if err := m.record.follows(before); err != nil {
			a.model.failf("%v is claimed after %v: %v", m.record, before, err)
		}
		*chain = append(*chain, m.record)
		answer.record = m.record
		switch {
		case before.Epoch == 0:
		case m.record.Primary.Incarnation != before.Primary.Incarnation:
			a.n.Count("fail-overs", 1)
		case m.record.Backup.IsZero():
			a.n.Count("alone", 1)
		default:
			a.n.Count("paired", 1)
		}
	default:
		return // it has a gap before it: nobody wins it
	}
	a.n.Send(from, answer)
}

// simClient calls, one call after the other, and reads in between.
type simClient struct {
	n       *sim.Node[*simMessage]
	model   *simModel
	index   int
	nodes   int
	calls   uint64 // to be made
	at      int    // the node that is asked
	seq     uint64 // the call that is in progress, or the last
	reading uint64 // the read that is in progress; 0: none
	busy    bool
	floor   uint64
	ids     uint64
}

func (c *simClient) Timer(key uint64) {
	switch {
	case !c.busy:
		c.next()
	case key == c.ids: // no answer
		c.at = (c.at + 1) % c.nodes
		c.ask()
	}
}

func (c *simClient) next() {
	if c.seq == c.calls && c.reading == 0 {
		c.seq++ // finished
		c.model.done++
		return
	}
	if c.seq > c.calls {
		return
	}
	c.busy, c.floor, c.reading = true, c.model.floor, 0
	if c.n.Uint64N(3) == 0 {
		c.reading = c.n.Uint64N(1<<60) + 1
	} else {
		c.seq++
	}
	c.ask()
}

func (c *simClient) ask() {
	c.ids++
	m := &simMessage{kind: simCall, client: c.index, seq: c.seq, id: c.reading}
	if c.reading != 0 {
		m.kind = simRead
	}
	c.n.Send(c.at, m)
	c.n.After(60e6, c.ids)
}

func (c *simClient) Receive(from int, m *simMessage) {
	if !c.busy || m.id != c.reading || m.kind == simReply && m.seq != c.seq {
		return
	}
	switch m.kind {
	case simElsewhere:
		return // it will ask another in time
	case simReply:
		if m.result.expired {
			c.model.failf("client %d: its session has expired", c.index)
			return
		}
		if c.reading == 0 && m.result.count != c.seq {
			c.model.failf("client %d: its call %d was number %d to be executed", c.index, c.seq, m.result.count)
		}
		c.model.tell(m.result, c.floor)
	default:
		return
	}
	c.at, c.busy = from, false
	c.reading = 0
	c.n.After(20e6, 0)
}
