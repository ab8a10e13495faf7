package gfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// These files simulate the cores of a whole cluster: the durable state behind a log that
// loses what it has not synced, the fleet, grants, and the orders of mutations on
// chunkservers that crash, are cut off and lose messages. What the shells do is in
// simMaster and simServer, as simply as it can be said.

// simMessage is any message: a request, or the answer to one.
type simMessage struct {
	id    uint64
	reply bool
	body  any
	err   error
}

func (m *simMessage) String() string {
	if m.err != nil {
		return fmt.Sprintf("%T %v", m.body, m.err)
	}
	return fmt.Sprintf("%T%+v", m.body, m.body)
}

var errSimTimeout = errors.New("no answer")

// A simHost makes calls and has alarms, as processes do.
type simHost struct {
	n      *sim.Node[*simMessage]
	next   uint64
	calls  map[uint64]func(body any, err error)
	alarms map[uint64]func()
	serve  func(from int, body any, reply func(body any, err error))
}

func newSimHost(n *sim.Node[*simMessage]) *simHost {
	// Ids of an earlier process on the node are not taken for ours.
	return &simHost{n: n, next: n.Uint64N(1<<40) << 20, calls: make(map[uint64]func(any, error)), alarms: make(map[uint64]func())}
}

func (h *simHost) now() time.Time { return h.n.Now() }

// call sends a request; done is called once.
func (h *simHost) call(to int, body any, timeout time.Duration, done func(body any, err error)) {
	h.next++
	id := h.next
	h.calls[id] = done
	h.n.Send(to, &simMessage{id: id, body: body})
	h.after(timeout, func() {
		if done := h.calls[id]; done != nil {
			delete(h.calls, id)
			done(nil, errSimTimeout)
		}
	})
}

func (h *simHost) after(d time.Duration, f func()) {
	h.next++
	h.alarms[h.next] = f
	h.n.After(d, h.next)
}

// onSync has a function called when what a log has now is safe.
func (h *simHost) onSync(sync func(key uint64), f func()) {
	h.next++
	h.alarms[h.next] = f
	sync(h.next)
}

func (h *simHost) Receive(from int, m *simMessage) {
	if !m.reply {
		h.serve(from, m.body, func(body any, err error) {
			h.n.Send(from, &simMessage{id: m.id, reply: true, body: body, err: err})
		})
		return
	}
	if done := h.calls[m.id]; done != nil {
		delete(h.calls, m.id)
		done(m.body, m.err)
	}
}

func (h *simHost) Timer(key uint64) {
	if f := h.alarms[key]; f != nil {
		delete(h.alarms, key)
		f()
	}
}

// simAddr is the address of a node, simNode the node of a location.
func simAddr(id int) string { return fmt.Sprintf("n%03d:1", id) }

func simNode(l location) int {
	id, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(l.addr, "n"), ":1"))
	if err != nil {
		panic(err) // of a test
	}
	return id
}

// simBugs are bugs that can be planted.
type simBugs struct {
	unsafeReply bool // answer before the log is safe
	grantEarly  bool // grant before all members have persisted the version
	skipVersion bool // a replica of any version serves and is applied to
	pastGap     bool // a secondary applies what comes, in any order
	halfClone   bool // a clone counts when it has begun
	lostMember  bool // the primary answers without waiting for one of its secondaries
	forgetSync  bool // a sync is answered before it is done
	oldVersion  bool // a client goes by the version that it was granted, not by that at which it was acknowledged

	sameVerifier bool // what may have been lost is not told
}
