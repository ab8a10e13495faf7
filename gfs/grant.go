package gfs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A grant is how somebody comes to be the primary of a chunk (§3.1, §4.5), step by step:
// it is told the time and what has happened, and says what to do next. The steps:
//
//	issue   reserve a handle, of a chunk that is new
//	ask     have the members-to-be make a replica, or raise the version of theirs, durably
//	log     log the new version, or the new chunk
//	lease   tell the primary, by a term that counts from its own clock
//
// The rule that everything rests on: a version is logged only if all who were asked to
// take it have it. A server that did not answer may get the order yet, long afterwards;
// if the version had been granted without it, its replica would then pass for current,
// and have missed mutations. So whenever somebody does not answer, the grant starts over
// without it, with a version, or a new chunk's handle, that nobody has been asked for
// before. Versions of different masters differ in their epoch.
//
// A grant that has failed, or that nobody goes on with, has changed nothing that counts.
type grant struct {
	fleet *fleet
	kind  grantKind
	goal  int       // grantMake: replicas wanted
	near  *location // grantMake: who will write
	wish  grantWish // grantAgain

	source  handle // grantFork: what is copied
	chunk   handle // whose lease it is; 0: none yet
	from    version
	version version
	asked   []grantAsk
	answers []grantMember // of those asked, in their order; a zero id is no answer yet
	missing int           // answers that are still to come
	silent  []serverID    // who did not answer, in any round
	rounds  int
	held    handle // what the fleet keeps others away from, 0 if nothing
	err     error  // the last reason to start over
}

type grantKind uint8

const (
	grantAgain grantKind = iota + 1 // a chunk that is there
	grantMake                       // a new chunk
	grantFork                       // a copy of a chunk that a snapshot shares (§3.4)
	grantRaise                      // a chunk that is there; nobody may mutate it then
)

// grantRounds bounds how often a grant starts over.
const grantRounds = 5

// A grantAsk is a chunkserver that is asked to make a replica, raise its version, or copy.
type grantAsk struct {
	to   location
	boot uint64
	from version // the least that its replica, or grantFork's source, must have
}

// A grantStep is what is to be done next.
type grantStep struct {
	what grantWhat
	term leaseTerm // stepLease: for the first of grant.locations()
	err  error     // stepDone: nil if the lease is granted
}

type grantWhat uint8

const (
	stepIssue grantWhat = iota + 1 // then issued
	stepAsk                        // ask all of grant.asked, then answered for each
	stepWait                       // other answers are still to come
	stepLog                        // then logged
	stepLease                      // then leased
	stepDone
)

// newGrant returns the grant of a chunk that is there.
func newGrant(f *fleet, h handle, wish grantWish, lease bool) *grant {
	g := &grant{fleet: f, kind: grantAgain, chunk: h, wish: wish}
	if !lease {
		g.kind = grantRaise
	}
	return g
}

// newMake returns the grant of a chunk that is to be made.
func newMake(f *fleet, goal int, near *location) *grant {
	return &grant{fleet: f, kind: grantMake, goal: goal, near: near}
}

// newFork returns the grant of a chunk that is to be copied from another.
func newFork(f *fleet, source handle) *grant {
	return &grant{fleet: f, kind: grantFork, source: source}
}

// begin returns the first step.
func (g *grant) begin(now time.Time) grantStep { return g.round(now, nil) }

// round starts, or starts over.
func (g *grant) round(now time.Time, why error) grantStep {
	g.drop(now)
	g.asked, g.answers = nil, nil
	if why != nil {
		g.err = why
	}
	if g.rounds++; g.rounds > grantRounds {
		return g.done(now, fmt.Errorf("%w: no grant after %d attempts: %w", ErrUnavailable, grantRounds, g.err))
	}
	switch g.kind {
	case grantMake, grantFork:
		return grantStep{what: stepIssue}
	default:
		return g.plan(now)
	}
}

// issued goes on with the handle of a new chunk.
func (g *grant) issued(now time.Time, h handle, err error) grantStep {
	if err != nil {
		return g.done(now, err)
	}
	if g.chunk = h; g.kind == grantFork {
		return g.planFork(now)
	}
	places, err := g.fleet.place(now, g.goal, g.near, g.silent)
	if err != nil {
		return g.done(now, cmp.Or(g.err, err))
	}
	g.hold(now)
	g.version = g.fleet.firstVersion()
	for _, p := range places {
		g.asked = append(g.asked, grantAsk{to: p.location, boot: p.boot})
	}
	return g.ask()
}

// hold keeps the new chunk from being taken for garbage.
func (g *grant) hold(now time.Time) {
	g.fleet.creating(now, g.chunk)
	g.held = g.chunk
}

// plan asks for the members that a chunk has.
func (g *grant) plan(now time.Time) grantStep {
	wish := g.wish
	wish.without = slices.Concat(wish.without, g.silent)
	g.wish.lease = 0 // it was there when the first round began: what ends leases waits since
	plan, err := g.fleet.planGrant(now, g.chunk, wish)
	if err != nil {
		return g.refused(now, err)
	}
	g.held, g.from, g.version = g.chunk, plan.from, plan.to
	for _, m := range plan.members {
		g.asked = append(g.asked, grantAsk{to: m.location, boot: m.boot, from: plan.from})
	}
	return g.ask()
}

// planFork asks those who have the source to copy it. The source has no lease, as the
// snapshot has ended it and only a fork follows, so it does not change meanwhile.
func (g *grant) planFork(now time.Time) grantStep {
	plan, err := g.fleet.planGrant(now, g.source, grantWish{without: g.silent})
	if err != nil {
		return g.refused(now, err)
	}
	g.held = g.source
	g.fleet.creating(now, g.chunk)
	g.version = g.fleet.firstVersion()
	for _, m := range plan.members {
		g.asked = append(g.asked, grantAsk{to: m.location, boot: m.boot, from: plan.from})
	}
	return g.ask()
}

// refused ends a grant that the fleet has no plan for. Where some did not answer before,
// that is the reason to tell.
func (g *grant) refused(now time.Time, err error) grantStep {
	if g.err != nil && errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", err, g.err)
	}
	return g.done(now, err)
}

func (g *grant) ask() grantStep {
	g.answers = make([]grantMember, len(g.asked))
	g.missing = len(g.asked)
	return grantStep{what: stepAsk}
}

// answered goes on when one of those asked has answered, or has not: resp is nil then.
// now must not be earlier than when the answer came.
func (g *grant) answered(now time.Time, i int, resp *raiseResp, err error) grantStep {
	if resp == nil {
		g.silent = append(g.silent, g.asked[i].to.id)
		g.err = err
	} else {
		g.answers[i] = grantMember{id: g.asked[i].to.id, boot: resp.boot, clock: resp.clock, length: resp.length}
	}
	if g.missing--; g.missing > 0 {
		return grantStep{what: stepWait}
	}
	if slices.ContainsFunc(g.answers, func(m grantMember) bool { return m.id == 0 }) {
		return g.round(now, g.err)
	}
	return grantStep{what: stepLog}
}

// logged goes on when the new version is in the log, and applied. An error says that it
// is not, or that this is unknown: then the next master finds out.
func (g *grant) logged(now time.Time, err error) grantStep {
	if err != nil {
		return g.done(now, err)
	}
	term := g.fleet.granted(now, g.chunk, g.version, g.answers, g.kind != grantRaise)
	if g.kind == grantRaise {
		return g.done(now, nil)
	}
	// Until the primary has answered nothing else is done with the chunk: were the lease
	// revoked meanwhile, it might hear of that before it hears of the lease.
	g.fleet.creating(now, g.chunk)
	if g.held == 0 {
		g.held = g.chunk
	}
	return grantStep{what: stepLease, term: term}
}

// superseded ends a grant whose chunk was made by somebody else meanwhile.
func (g *grant) superseded(now time.Time) grantStep { return g.done(now, errSuperseded) }

// errSuperseded says that there is a chunk where one was to be made.
var errSuperseded = errors.New("gfs: the chunk was made meanwhile")

// leased goes on when the primary has been told, or has not answered: it may know of the
// lease or not, so the version is raised again, which makes the lease worth nothing.
func (g *grant) leased(now time.Time, err error) grantStep {
	if err == nil {
		g.fleet.taken(now, g.chunk, g.version)
		return g.done(now, nil)
	}
	g.kind = grantAgain // the chunk is there now
	return g.round(now, err)
}

// done ends the grant.
func (g *grant) done(now time.Time, err error) grantStep {
	g.drop(now)
	return grantStep{what: stepDone, err: err}
}

// drop gives up what a round has begun.
func (g *grant) drop(now time.Time) {
	if g.held != 0 {
		g.fleet.abandon(now, g.held)
		if g.held == g.source && g.chunk != 0 {
			g.fleet.abandon(now, g.chunk)
		}
	}
	g.held = 0
}

// locations are those of the members, the primary first, once the grant is done.
func (g *grant) locations() []location {
	where := make([]location, len(g.asked))
	for i, a := range g.asked {
		where[i] = a.to
	}
	return where
}
