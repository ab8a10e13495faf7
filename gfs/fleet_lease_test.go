package gfs

import (
	"errors"
	"testing"
	"time"
)

// grantTo grants a lease as the shell does.
func (r *fleetRig) grantTo(h handle, wish grantWish) leaseTerm {
	r.t.Helper()
	plan, err := r.planGrant(r.now, h, wish)
	if err != nil {
		r.t.Fatal(err)
	}
	var members []grantMember
	for _, m := range plan.members {
		members = append(members, grantMember{m.id, m.boot, r.now.Sub(modelStart), 1 << 20})
	}
	row := r.rows[h]
	row.version = plan.to
	r.rows[h] = row
	r.touched(h)
	term := r.granted(r.now, h, plan.to, members, true)
	r.taken(r.now, h, plan.to)
	r.verify()
	return term
}

// extendTo asks for an extension and returns until when there is one, or 0.
func (r *fleetRig) extendTo(id serverID, h handle, v version) time.Duration {
	var resp heartbeatResp
	clock := r.now.Sub(modelStart)
	req := &heartbeatReq{server: id, boot: uint64(id), clock: clock, capacity: 1 << 40, extend: []replicaState{{handle: h, version: v}}}
	if err := r.heartbeat(r.now, req, &resp); err != nil {
		r.t.Fatal(err)
	}
	r.verify()
	if len(resp.extended) == 0 {
		return 0
	}
	return resp.extended[0].until
}

// §3.1: a lease lasts from the primary's own clock when it answered; for the master it
// lasts longer, by what the two clocks may differ.
func TestFleetLeaseByTwoClocks(t *testing.T) {
	r := newFleetRig(t, fleetConfig{lease: time.Minute, drift: time.Second, moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2, 3)
	sampled := r.now.Sub(modelStart)
	term := r.grantTo(1, grantWish{})
	if term.until != sampled+time.Minute {
		t.Errorf("until %v, granted at %v", term.until, sampled)
	}
	l, ok := r.lease(r.now, 1)
	if !ok || l.left != time.Minute || len(l.members) != 3 || l.version != term.version {
		t.Errorf("%+v, %t", l, ok)
	}
	r.alive(60 * time.Second)
	if _, ok := r.lease(r.now, 1); ok || !r.leased(r.now, 1) {
		t.Error("after a minute clients are told of it, or others may have one")
	}
	r.alive(2 * time.Second)
	if r.leased(r.now, 1) {
		t.Error("it does not end")
	}
}

// A lease is extended on heartbeats: for its primary, at its version, while it is in force.
func TestFleetLeaseExtension(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2, 3)
	term := r.grantTo(1, grantWish{prefer: 2})
	r.alive(50 * time.Second)
	if until := r.extendTo(2, 1, term.version); until != r.now.Sub(modelStart)+time.Minute {
		t.Errorf("until %v", until)
	}
	if r.extendTo(1, 1, term.version) != 0 || r.extendTo(2, 1, term.version-1) != 0 {
		t.Error("extended for somebody else")
	}
	r.alive(55 * time.Second)
	if !r.leased(r.now, 1) {
		t.Error("it was not extended")
	}
	plan, err := r.planGrant(r.now, 1, grantWish{})
	if err != nil {
		t.Fatal(err)
	}
	if r.extendTo(2, 1, term.version) != 0 {
		t.Error("extended while another is granted")
	}
	r.abandon(r.now, plan.handle)
	r.alive(20 * time.Second)
	if r.extendTo(2, 1, term.version) != 0 {
		t.Error("extended after it was over")
	}
}

// A grant excludes all else; its members are the current replicas, at a version that no
// other has; those that are not members any more are stale.
func TestFleetGrant(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2, 3)
	plan, err := r.planGrant(r.now, 1, grantWish{prefer: 3, without: []serverID{1}})
	if err != nil || len(plan.members) != 2 || plan.members[0].id != 3 || plan.members[1].id != 2 || plan.from != rigV || plan.to <= rigV {
		t.Fatalf("%+v, %v", plan, err)
	}
	if _, err := r.planGrant(r.now, 1, grantWish{}); !errors.Is(err, errChunkBusy) {
		t.Errorf("a second one: %v", err)
	}
	if r.hold(r.now, 1) {
		t.Error("held beside it")
	}
	answers := []grantMember{{id: 3, boot: 3}}
	if plan.answered(answers) {
		t.Error("one has not answered")
	}
	answers = append(answers, grantMember{id: 2, boot: 2})
	if !plan.answered(answers) {
		t.Error("all have answered")
	}
	r.rows[1] = chunkRow{plan.to, 1, 1, 3}
	r.granted(r.now, 1, plan.to, answers, true)
	r.verify()
	wantEqual(t, "to be read", r.at(1), []serverID{2, 3})
	if _, err := r.planGrant(r.now, 2, grantWish{}); !errors.Is(err, errNoChunk) {
		t.Error(err)
	}
	r.rows[3] = chunkRow{rigV, 1, 1, 3}
	if _, err := r.planGrant(r.now, 3, grantWish{}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

// A message that was sent before a version was raised, and comes after, changes nothing.
func TestFleetVersionsDoNotGoDown(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2, 3)
	r.grantTo(1, grantWish{})
	r.beat(2, replicaState{1, rigV, 1 << 20, sound})
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2, 3})
}

// A heartbeat that is overtaken by a later one says nothing any more.
func TestFleetHeartbeatOvertaken(t *testing.T) {
	r := newFleetRig(t, fleetConfig{}, "a")
	r.has(1, 1, 1)
	late := &heartbeatReq{server: 1, boot: 1, clock: r.now.Sub(modelStart), changes: []replicaState{{1, rigV, 1, sound}}}
	r.now = r.now.Add(time.Second)
	r.beat(1, replicaState{handle: 1, health: gone})
	if err := r.heartbeat(r.now, late, new(heartbeatResp)); !errors.Is(err, ErrStale) || len(r.at(1)) > 0 {
		t.Errorf("%v, %v", err, r.at(1))
	}
}

// A chunk that lacks replicas is not copied while it is mutated; if that goes on, its
// lease is revoked, and there is no other until it has been copied.
func TestFleetRevokesToCopy(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2, 3)
	term := r.grantTo(1, grantWish{prefer: 1, without: []serverID{3}})
	var acts fleetActions
	for range 10 {
		acts = r.alive(10 * time.Second)
		if len(acts.clone) > 0 {
			t.Fatal("copied while it is mutated")
		}
		if len(acts.revoke) > 0 {
			break
		}
		r.extendTo(1, 1, term.version)
	}
	if len(acts.revoke) != 1 || acts.revoke[0].primary.id != 1 || r.extendTo(1, 1, term.version) != 0 {
		t.Fatalf("%+v", acts)
	}
	r.revoked(r.now, 1, term.version, true)
	if _, err := r.planGrant(r.now, 1, grantWish{}); !errors.Is(err, errChunkBusy) {
		t.Errorf("granted before it is copied: %v", err)
	}
	acts = r.wait(0)
	if len(acts.clone) != 1 || acts.clone[0].version != term.version {
		t.Fatalf("%+v", acts)
	}
	r.beat(acts.clone[0].to.id, replicaState{1, term.version, 1 << 20, sound})
	if plan, err := r.planGrant(r.now, 1, grantWish{}); err != nil || len(plan.members) != 3 {
		t.Errorf("%+v, %v", plan, err)
	}
}

// A primary asks for its lease anew, without a secondary, while the lease is being ended
// for a snapshot: one of the two comes first, and the other knows.
func TestFleetRevokesBesideAReform(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2, 3)
	first := r.grantTo(1, grantWish{prefer: 1})
	plan, err := r.planGrant(r.now, 1, grantWish{prefer: 1, without: []serverID{3}, lease: first.version})
	if err != nil {
		t.Fatal(err)
	}
	if r.revoked(r.now, 1, first.version, true) {
		t.Error("over, while a grant is under way")
	}
	r.abandon(r.now, plan.handle)
	if _, err := r.planGrant(r.now, 1, grantWish{prefer: 1, lease: first.version}); !errors.Is(err, ErrStale) {
		t.Errorf("a lease that has been revoked goes on: %v", err)
	}
	second := r.grantTo(1, grantWish{prefer: 1})
	third := r.grantTo(1, grantWish{prefer: 1, lease: second.version})
	if r.revoked(r.now, 1, second.version, true) {
		t.Error("over, while the lease that was granted anew is in force")
	}
	if !r.revoked(r.now, 1, third.version, true) {
		t.Error("not over")
	}
}

// With one copy left there is no waiting, unless the primary may not have its lease yet: a
// revocation could arrive before it.
func TestFleetRevokesAtOnceForTheLastCopy(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1)
	plan, err := r.planGrant(r.now, 1, grantWish{})
	if err != nil {
		t.Fatal(err)
	}
	r.rows[1] = chunkRow{plan.to, 1, 1, 3}
	r.granted(r.now, 1, plan.to, []grantMember{{id: 1, boot: 1}}, true)
	if acts := r.wait(time.Second); len(acts.revoke) > 0 {
		t.Error("revoked before it was taken")
	}
	r.taken(r.now, 1, plan.to)
	if acts := r.alive(5 * time.Second); len(acts.revoke) != 1 {
		t.Errorf("%+v", acts)
	}
}

// A clone under way when a lease is granted is worth nothing: it lacks what follows.
func TestFleetGrantEndsClone(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2)
	acts := r.wait(0)
	if len(acts.clone) != 1 {
		t.Fatal(acts)
	}
	r.grantTo(1, grantWish{})
	r.beat(3, replicaState{1, rigV, 1 << 20, sound})
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2})
}

// A new master knows nothing of the leases of the one before: it copies nothing until
// they are over.
func TestFleetWaitsForEarlierLeases(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.begun = r.fleet.now
	r.has(1, 3, 1, 2)
	if acts := r.alive(time.Minute); len(acts.clone) > 0 {
		t.Error("copied too early")
	}
	if acts := r.alive(5 * time.Second); len(acts.clone) != 1 {
		t.Errorf("%+v", acts)
	}
}

// The lease of a process that has been started anew is over; that of one that is only
// silent is not.
func TestFleetLeaseOfTheDead(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2, 3)
	r.has(2, 3, 1, 2, 3)
	r.grantTo(1, grantWish{prefer: 1})
	r.grantTo(2, grantWish{prefer: 2})
	r.register(r.now, 2, &registerReq{boot: 22, addr: "h2:1", rack: "b", capacity: 1 << 40})
	r.verify()
	if r.leased(r.now, 2) {
		t.Error("the lease of a process that is no more")
	}
	r.alive(40*time.Second, 1, 2)
	if _, told := r.lease(r.now, 1); told || !r.leased(r.now, 1) {
		t.Error("the lease of one that is silent")
	}
}
