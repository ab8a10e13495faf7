package gfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// orderBugs are switched on to see whether the simulation notices.
type orderBugs struct{ pastGap, twice, anyVersion, early, forgetful bool }

// orderChunk is the size of the chunk that is simulated, in bytes.
const orderChunk = 4000

// An orderWorld is a primary, its secondaries and a master, driven from a seed without
// goroutines: events wait until it is their time.
type orderWorld struct {
	rng     *rand.Rand
	bugs    orderBugs
	now     time.Duration
	events  []orderEvent
	seq     int
	primary *primary
	here    orderMember // the primary's replica
	members map[serverID]*orderMember
	grant   []serverID // the secondaries of the present grant
	ops     map[uint64]primaryOp
	results map[uint64]error
	busy    map[uint64]bool // being applied here

	trace    uint64
	answered int
	reforms  int
	fault    error
}

type orderEvent struct {
	at  time.Duration
	seq int
	do  func()
}

// An orderMember is a replica: who wrote each byte, and which mutations it has had.
type orderMember struct {
	secondary
	content [orderChunk]uint64
	had     map[uint64]bool
	waiting []func()
	down    bool
}

func (m *orderMember) apply(op primaryOp) {
	for i := range op.n {
		m.content[op.off+i] = op.ref
	}
	m.had[op.ref] = true
}

func newOrderWorld(seed uint64, bugs orderBugs) *orderWorld {
	w := &orderWorld{
		rng: rand.New(rand.NewPCG(seed, 9)), bugs: bugs, now: 1, here: orderMember{had: make(map[uint64]bool)},
		members: make(map[serverID]*orderMember), ops: make(map[uint64]primaryOp),
		results: make(map[uint64]error), busy: make(map[uint64]bool),
	}
	var others []location
	for id := serverID(2); id < 4; id++ {
		w.members[id] = &orderMember{secondary: secondary{version: 1}, had: make(map[uint64]bool)}
		w.grant = append(w.grant, id)
		others = append(others, location{id: id})
	}
	w.here.version = 1
	w.primary = newPrimary(leaseTerm{version: 1, until: time.Minute}, others, 0, orderChunk)
	return w
}

func (w *orderWorld) after(d time.Duration, do func()) {
	w.seq++
	w.events = append(w.events, orderEvent{w.now + d, w.seq, do})
}

// delay is short as a rule.
func (w *orderWorld) delay() time.Duration {
	d := time.Duration(w.rng.IntN(2000)) * time.Microsecond
	if w.rng.IntN(20) == 0 {
		d *= 200
	}
	return d
}

func (w *orderWorld) chance(n int) bool { return w.rng.IntN(n) == 0 }

func (w *orderWorld) fail(format string, args ...any) {
	if w.fault == nil {
		w.fault = fmt.Errorf(format, args...)
	}
}

// run begins some mutations and lets everything happen.
func (w *orderWorld) run() error {
	at := time.Duration(0)
	for ref := uint64(1); ref <= 25; ref++ {
		at += w.delay()
		w.after(at, func() { w.begin(ref, 0) })
	}
	if w.chance(3) {
		w.after(at/2, func() { w.members[serverID(2+w.rng.IntN(2))].down = true })
	}
	for steps := 0; len(w.events) > 0 && w.fault == nil; steps++ {
		if steps > 20000 {
			return errors.New("it does not end")
		}
		i := 0
		for j, e := range w.events {
			if b := w.events[i]; e.at < b.at || e.at == b.at && e.seq < b.seq {
				i = j
			}
		}
		e := w.events[i]
		w.events = slices.Delete(w.events, i, i+1)
		w.now = max(w.now, e.at)
		e.do()
		w.follow()
		if err := w.primary.check(); err != nil {
			return err
		}
	}
	if w.fault != nil {
		return w.fault
	}
	return w.compare()
}

// begin begins a mutation, again if the primary is busy.
func (w *orderWorld) begin(ref uint64, tries int) {
	n := int64(1 + w.rng.IntN(100))
	var err error
	switch w.rng.IntN(6) {
	case 0:
		err = w.primary.write(w.now, ref, mutationSync, dataID{}, 0, 0)
	case 1, 2:
		err = w.primary.write(w.now, ref, mutationWrite, dataID{n: ref}, int64(w.rng.IntN(orderChunk-100)), n)
	default:
		err = w.primary.append(w.now, ref, dataID{n: ref}, n)
	}
	if errors.Is(err, errPrimaryBusy) && tries < 1000 {
		w.after(10*time.Millisecond, func() { w.begin(ref, tries+1) })
	}
}

// follow does what the primary says.
func (w *orderWorld) follow() {
	if next := w.primary.tick(w.now); next > 0 && len(w.events) == 0 {
		w.after(max(next-w.now, time.Millisecond), func() {})
	} else if next > 0 && w.chance(4) {
		w.after(next-w.now+1, func() {})
	}
	for _, a := range w.primary.take() {
		w.trace = w.trace*31 + uint64(a.kind)*7 + a.op.serial*3 + a.op.ref + uint64(a.to.id)
		switch a.kind {
		case actApply:
			w.applyHere(a)
		case actSend:
			w.ops[a.op.ref] = a.op
			w.send(a)
		case actAnswer:
			w.answer(a)
		case actReform:
			w.reform(a)
		}
	}
}

func (w *orderWorld) applyHere(a primaryAction) {
	w.ops[a.op.ref] = a.op
	w.after(w.delay(), func() {
		err := error(nil)
		switch {
		case a.version != w.here.version:
			err = ErrStale
		case w.chance(2000):
			err = ErrNoSpace
		default:
			w.here.apply(a.op)
		}
		w.primary.applied(w.now, a.version, a.op.ref, err)
	})
}

// send carries a mutation to a member, and the answer back.
func (w *orderWorld) send(a primaryAction) {
	answer := func(applied uint64, err error) {
		if w.chance(25) {
			applied, err = 0, errUnreached
		}
		w.after(w.delay(), func() { w.primary.answered(w.now, a.version, a.to.id, a.op.serial, applied, err) })
	}
	if w.bugs.early && w.chance(10) {
		answer(a.op.serial, nil)
	}
	m := w.members[a.to.id]
	if w.chance(25) || m.down {
		w.after(100*time.Millisecond, func() { w.primary.answered(w.now, a.version, a.to.id, a.op.serial, 0, errUnreached) })
		return
	}
	w.after(w.delay(), func() { w.arrive(m, a, answer) })
	if w.chance(20) { // once more, perhaps much later
		w.after(3*w.delay(), func() { w.arrive(m, a, func(uint64, error) {}) })
	}
}

// arrive is what a chunkserver does with a mutation.
func (w *orderWorld) arrive(m *orderMember, a primaryAction, answer func(uint64, error)) {
	if m.down {
		return
	}
	if !a.resend && a.op.kind == mutationWrite && w.chance(15) {
		answer(0, errNoData)
		return
	}
	v := a.version
	if w.bugs.anyVersion {
		v = m.version
	}
	turn, err := m.offer(v, a.op.serial)
	if turn == turnLater && w.bugs.pastGap && !m.busy {
		m.applied = a.op.serial - 1
		turn, err = m.offer(v, a.op.serial)
	}
	switch {
	case turn == turnNever:
		answer(0, err)
	case turn == turnPast:
		if w.bugs.twice {
			m.apply(a.op)
		}
		answer(m.applied, nil)
	case turn == turnLater:
		deadline := w.now + time.Second
		m.waiting = append(m.waiting, func() {
			if w.now > deadline {
				answer(0, errGap)
				return
			}
			w.arrive(m, a, answer)
		})
	default:
		w.after(w.delay(), func() { w.perform(m, a, v, answer) })
	}
}

func (w *orderWorld) perform(m *orderMember, a primaryAction, v version, answer func(uint64, error)) {
	var err error
	switch {
	case m.version != v: // raised meanwhile: the store refuses
		err = ErrStale
	case w.chance(1000):
		err = ErrNoSpace
	default:
		m.apply(a.op)
	}
	m.done(v, err)
	waiting := m.waiting
	m.waiting = nil
	for _, again := range waiting {
		w.after(0, again)
	}
	if err == nil && v != m.version {
		err = ErrStale
	}
	answer(m.applied, err)
}

// answer holds an answer against what the replicas have.
func (w *orderWorld) answer(a primaryAction) {
	if _, twice := w.results[a.op.ref]; twice {
		w.fail("mutation %d is answered twice", a.op.ref)
	}
	w.results[a.op.ref] = a.err
	if a.err != nil && !errors.Is(a.err, errChunkFull) {
		return
	}
	w.answered++
	if !w.here.had[a.op.ref] {
		w.fail("mutation %d is answered and not applied at the primary", a.op.ref)
	}
	for _, id := range w.grant {
		if !w.members[id].had[a.op.ref] {
			w.fail("mutation %d is answered and not applied at %d", a.op.ref, id)
		}
	}
}

// reform is what a master does.
func (w *orderWorld) reform(a primaryAction) {
	w.after(w.delay(), func() {
		if w.primary.over != nil || w.chance(10) {
			w.primary.reformed(a.version, ErrUnavailable)
			return
		}
		w.reforms++
		v := w.here.version + 1
		w.here.raise(v)
		w.primary.raised(v)
		w.grant = nil
		var others []location
		for id := serverID(2); id < 4; id++ {
			m := w.members[id]
			if slices.Contains(a.failed, id) || m.down || m.version != a.version {
				continue
			}
			m.raise(v)
			w.grant = append(w.grant, id)
			others = append(others, location{id: id})
		}
		w.primary.lease(w.now, leaseTerm{version: v, until: w.now + time.Minute}, others)
		if w.bugs.forgetful {
			for _, m := range w.primary.members {
				m.acked = w.primary.last
			}
			w.primary.finish(w.now)
		}
		w.follow()
		w.primary.reformed(a.version, nil)
	})
}

// compare wants the members of the last grant to be the same when nothing is in progress
// and nothing has failed.
func (w *orderWorld) compare() error {
	if !w.primary.idle() {
		return fmt.Errorf("%d mutations never end", len(w.primary.ops))
	}
	if w.primary.over != nil {
		return nil // what failed leaves the replicas different (§2.7.1)
	}
	for _, id := range w.grant {
		if m := w.members[id]; m.content != w.here.content {
			for i := range m.content {
				if m.content[i] != w.here.content[i] {
					return fmt.Errorf("byte %d is of mutation %d at %d and of %d at the primary", i, m.content[i], id, w.here.content[i])
				}
			}
		}
	}
	return nil
}
