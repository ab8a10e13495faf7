package gfs

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// fleetRig is a fleet, a durable side in a map, and time.
type fleetRig struct {
	attempt uint64
	*fleet
	t    *testing.T
	now  time.Time
	rows map[handle]chunkRow
}

func (r *fleetRig) chunkRows() chunkView { return rigView(r.rows) }

type rigView map[handle]chunkRow

func (v rigView) chunk(h handle) (chunkRow, bool) { row, ok := v[h]; return row, ok }

// rigV is the version of chunks in tests: that of an earlier master's grant.
const rigV version = 7

// newFleetRig returns a fleet that leads, has servers in the given racks, is settled and
// waits for no earlier lease.
func newFleetRig(t *testing.T, cfg fleetConfig, racks ...string) *fleetRig {
	r := &fleetRig{t: t, now: modelStart, rows: make(map[handle]chunkRow)}
	r.fleet = newFleet(cfg, r.chunkRows())
	r.begin(r.now, 1, nil)
	for i, rack := range racks {
		r.join(serverID(i+1), rack)
	}
	r.wait(0)
	r.begun = -time.Hour
	return r
}

func (r *fleetRig) join(id serverID, rack string, has ...replicaState) {
	r.attempt++
	r.register(r.now, id, &registerReq{boot: uint64(id), attempt: r.attempt, addr: fmt.Sprintf("h%d:1", id), rack: rack, capacity: 100 << 30})
	if err := r.report(r.now, &reportReq{server: id, boot: uint64(id), attempt: r.attempt, replicas: has, last: true}); err != nil {
		r.t.Fatal(err)
	}
}

// beat sends a heartbeat with changes.
func (r *fleetRig) beat(id serverID, changes ...replicaState) heartbeatResp {
	r.t.Helper()
	var resp heartbeatResp
	s := r.servers[id]
	if err := r.heartbeat(r.now, &heartbeatReq{server: id, boot: uint64(id), clock: r.now.Sub(modelStart), capacity: s.capacity, used: s.used, cloning: uint64(len(s.clones)), changes: changes}, &resp); err != nil {
		r.t.Fatal(err)
	}
	r.verify()
	return resp
}

func (r *fleetRig) verify() {
	r.t.Helper()
	if err := r.check(); err != nil {
		r.t.Fatal(err)
	}
}

// has makes a chunk that is on some servers.
func (r *fleetRig) has(h handle, goal uint8, ids ...serverID) {
	r.t.Helper()
	r.rows[h] = chunkRow{rigV, 1, 1, goal}
	for _, id := range ids {
		r.beat(id, replicaState{h, rigV, 1 << 20, sound})
	}
}

// wait lets time pass, with heartbeats of all that are alive, and returns what is wanted.
func (r *fleetRig) wait(d time.Duration) (acts fleetActions) {
	r.t.Helper()
	for end := r.now.Add(d); ; {
		for {
			a := r.tick(r.now)
			r.verify()
			acts.clone = append(acts.clone, a.clone...)
			acts.compare = append(acts.compare, a.compare...)
			acts.adopt = append(acts.adopt, a.adopt...)
			acts.revoke = append(acts.revoke, a.revoke...)
			acts.dead = append(acts.dead, a.dead...)
			if !a.again {
				break
			}
		}
		if !r.now.Before(end) {
			return acts
		}
		r.now = r.now.Add(min(time.Second, end.Sub(r.now)))
	}
}

// alive lets time pass in which all but some servers send heartbeats.
func (r *fleetRig) alive(d time.Duration, but ...serverID) (acts fleetActions) {
	r.t.Helper()
	for range d / time.Second {
		for _, s := range r.roster {
			if s.here != nil && !slices.Contains(but, s.row.id) {
				r.beat(s.row.id)
			}
		}
		a := r.wait(time.Second)
		acts.clone = append(acts.clone, a.clone...)
		acts.compare = append(acts.compare, a.compare...)
		acts.revoke = append(acts.revoke, a.revoke...)
		acts.dead = append(acts.dead, a.dead...)
	}
	return acts
}

func (r *fleetRig) at(h handle) (ids []serverID) {
	for _, l := range r.locate(h, nil) {
		ids = append(ids, l.id)
	}
	slices.Sort(ids)
	return ids
}

func wantEqual[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func cloned(acts fleetActions) (hs []handle) {
	for _, c := range acts.clone {
		hs = append(hs, c.handle)
	}
	return hs
}

// §4.3: the fewer replicas are left the sooner a chunk is copied; those of removed files
// come last, and those for which a client waits first.
func TestFleetRepairsInTheOrderOfNeed(t *testing.T) {
	r := newFleetRig(t, fleetConfig{clones: 1, moves: -1}, "a", "b", "c", "d")
	r.begun = 0 // nothing is copied yet
	r.has(1, 3, 1, 2)
	r.has(2, 3, 1)
	r.has(3, 4, 1, 2)
	r.has(4, 3, 2)
	r.rows[4] = chunkRow{rigV, 1, 0, 3}
	r.touched(4)
	r.has(5, 3, 3, 4)
	r.wanted(5)
	r.wait(0)
	r.begun = -time.Hour
	var order []handle
	for range 5 {
		acts := r.wait(0)
		if len(acts.clone) != 1 {
			t.Fatalf("%d clones at a time", len(acts.clone))
		}
		c := acts.clone[0]
		order = append(order, c.handle)
		r.rows[c.handle] = chunkRow{rigV, 1, 1, 1} // one is enough after that
		r.beat(c.to.id, replicaState{c.handle, rigV, 1 << 20, sound})
	}
	wantEqual(t, "order", order, []handle{5, 2, 3, 1, 4})
}

// §4.3: clones are limited in the cluster, from a server and to one.
func TestFleetThrottlesClones(t *testing.T) {
	r := newFleetRig(t, fleetConfig{clones: 7, clonesEach: 2, cloneRate: 100, moves: -1}, "a", "b", "c", "d", "e", "f")
	for h := handle(1); h <= 100; h++ {
		r.has(h, 3, serverID(h%3+1), serverID((h+1)%3+1))
	}
	acts := r.wait(time.Second)
	from, to := make(map[serverID]int), make(map[serverID]int)
	for _, c := range acts.clone {
		from[c.from[0].id]++
		to[c.to.id]++
		if c.rate != 50 {
			t.Errorf("a rate of %d", c.rate)
		}
	}
	if len(acts.clone) != 6 {
		t.Errorf("%d clones; three servers give two each", len(acts.clone))
	}
	for id := serverID(1); id <= 6; id++ {
		if from[id] > 2 || to[id] > 2 {
			t.Errorf("server %d: %d from it, %d to it", id, from[id], to[id])
		}
	}
	if r.stats().queued != 94 {
		t.Errorf("%+v", r.stats())
	}
}

// §4.2: replicas are spread over racks.
func TestFleetPlacesInSeveralRacks(t *testing.T) {
	r := newFleetRig(t, fleetConfig{}, "a", "a", "a", "a", "b", "c")
	for range 200 {
		places, err := r.place(r.now, 3, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		racks := make(map[string]bool)
		for _, p := range places {
			racks[p.rack] = true
		}
		if len(racks) < 2 {
			t.Fatalf("all in one rack: %v", places)
		}
		r.now = r.now.Add(time.Second)
	}
}

// §4.2: servers with less use than the average come first; those that are full, are drained
// or not wanted do not come at all.
func TestFleetPlacesBelowTheAverage(t *testing.T) {
	r := newFleetRig(t, fleetConfig{}, "a", "b", "c", "d", "e", "f", "g")
	for id, used := range map[serverID]int64{1: 90, 2: 80, 3: 10, 4: 10, 5: 10, 6: 100, 7: 0} {
		r.servers[id].used = used << 30
	}
	r.setServer(r.now, serverRow{location: location{id: 7, addr: "h7:1", rack: "g"}, draining: true})
	chosen := func(exclude ...serverID) (ids []serverID) {
		places, err := r.place(r.now, 3, nil, exclude)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range places {
			ids = append(ids, p.id)
		}
		slices.Sort(ids)
		return ids
	}
	r.mean.valid = false
	wantEqual(t, "chosen", chosen(), []serverID{3, 4, 5})
	wantEqual(t, "chosen", chosen(3), []serverID{2, 4, 5})
	wantEqual(t, "chosen", chosen(3, 4, 5), []serverID{1, 2})
	if _, err := r.place(r.now, 3, nil, []serverID{1, 2, 3, 4, 5}); !errors.Is(err, ErrNoSpace) {
		t.Error(err)
	}
}

// §4.2: no server gets many creations at once, even if it is the emptiest.
func TestFleetLimitsRecentCreations(t *testing.T) {
	r := newFleetRig(t, fleetConfig{creations: 5}, "a", "b", "c", "d", "e")
	for id := serverID(2); id <= 5; id++ {
		r.servers[id].used = 50 << 30
	}
	r.mean.valid = false
	got := make(map[serverID]int)
	for range 10 {
		places, _ := r.place(r.now, 1, nil, nil)
		got[places[0].id]++
	}
	if got[1] != 5 {
		t.Errorf("the empty one got %d of 10: %v", got[1], got)
	}
	r.alive(30 * time.Second)
	if places, _ := r.place(r.now, 1, nil, nil); places[0].id != 1 {
		t.Errorf("later %v", places)
	}
}

// §4.5: a replica with a lower version is stale: nobody is told of it, and it is deleted
// once there are enough others.
func TestFleetStaleReplica(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2)
	if resp := r.beat(3, replicaState{1, rigV - 1, 1 << 20, sound}); len(resp.delete) > 0 {
		t.Error("deleted while there are not enough")
	}
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2})
	acts := r.wait(time.Second)
	if len(acts.clone) != 1 || acts.clone[0].to.id != 4 || acts.clone[0].version != rigV {
		t.Fatalf("%+v", acts.clone)
	}
	r.beat(4, replicaState{1, rigV, 1 << 20, sound})
	resp := r.beat(3)
	wantEqual(t, "deleted", resp.delete, []doomed{{1, rigV - 1}})
	r.beat(3, replicaState{handle: 1, health: gone})
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2, 4})
}

// A stale replica gives way if there is no other place.
func TestFleetStaleReplicaMakesRoom(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2)
	r.beat(3, replicaState{1, rigV - 1, 1 << 20, sound})
	r.wait(time.Second)
	wantEqual(t, "deleted", r.beat(3).delete, []doomed{{1, rigV - 1}})
	r.beat(3, replicaState{handle: 1, health: gone})
	if acts := r.wait(time.Second); len(acts.clone) != 1 || acts.clone[0].to.id != 3 {
		t.Errorf("%+v", acts.clone)
	}
}

// §5.2: of a corrupt replica another is made, and only then is it deleted.
func TestFleetCorruptReplica(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2, 3)
	if resp := r.beat(2, replicaState{1, rigV, 1 << 20, corrupt}); len(resp.delete) > 0 {
		t.Error("deleted first")
	}
	acts := r.wait(time.Second)
	if len(acts.clone) != 1 || acts.clone[0].to.id != 4 || slices.ContainsFunc(acts.clone[0].from, func(l location) bool { return l.id == 2 }) {
		t.Fatalf("%+v", acts.clone)
	}
	if resp := r.beat(2); len(resp.delete) > 0 {
		t.Error("deleted before there is another")
	}
	r.beat(4, replicaState{1, rigV, 1 << 20, sound})
	wantEqual(t, "deleted", r.beat(2).delete, []doomed{{1, rigV}})
}

// What a client could not read is compared, not deleted.
func TestFleetComparesWhatClientsComplainOf(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2, 3)
	r.bad(r.now, &badReq{handle: 1, version: rigV, server: 2})
	if where := r.locate(1, nil); len(where) != 3 || where[2].id != 2 {
		t.Errorf("to be read: %v", where)
	}
	acts := r.wait(time.Second)
	if len(acts.compare) != 1 || len(acts.compare[0].holders) != 3 || len(acts.clone) > 0 {
		t.Fatalf("%+v", acts)
	}
	r.compared(r.now, 1, []verdict{{2, 2, rigV, sound, sound}})
	r.verify()
	if acts := r.wait(time.Minute / 4); len(acts.compare) > 0 || len(r.at(1)) != 3 {
		t.Errorf("%+v", acts)
	}
}

// A suspect replica serves nothing until it has been compared; if that fails it is tried
// again.
func TestFleetSuspectReplica(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2)
	r.beat(3, replicaState{1, rigV, 1 << 20, suspect})
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2})
	acts := r.wait(0)
	if len(acts.compare) != 1 || len(acts.clone) > 0 {
		t.Fatalf("%+v", acts)
	}
	r.compared(r.now, 1, nil)
	if acts = r.wait(0); len(acts.compare) > 0 {
		t.Error("it does not rest")
	}
	if acts = r.wait(2 * time.Second); len(acts.compare) != 1 {
		t.Error("it is not tried again")
	}
	r.compared(r.now, 1, []verdict{{3, 3, rigV, corrupt, suspect}})
	if acts = r.wait(0); len(acts.clone) != 1 || acts.clone[0].to.id != 4 {
		t.Errorf("%+v", acts)
	}
}

// A version that a grant has tried in vain counts as that before it; one that nobody has
// an explanation for is adopted (§4.5).
func TestFleetHigherVersions(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2)
	r.beat(3, replicaState{1, rigV + 1, 1 << 20, sound})
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2, 3})
	plan, err := r.planGrant(r.now, 1, grantWish{})
	if err != nil || plan.to <= rigV+1 || len(plan.members) != 3 {
		t.Fatalf("%+v, %v", plan, err)
	}
	r.abandon(r.now, 1)
	again, err := r.planGrant(r.now, 1, grantWish{})
	if err != nil || again.to <= plan.to {
		t.Fatalf("%+v after %+v, %v", again, plan, err)
	}
	r.abandon(r.now, 1)

	r.has(2, 3, 1, 2)
	r.beat(3, replicaState{2, rigV + 2, 1 << 20, sound})
	acts := r.wait(0)
	if len(acts.adopt) != 1 || acts.adopt[0] != (adoptAction{2, rigV + 2}) {
		t.Fatalf("%+v", acts.adopt)
	}
	if acts = r.wait(0); len(acts.adopt) != 0 {
		t.Fatalf("wanted twice: %+v", acts.adopt)
	}
	r.adoptFailed(2, rigV+2)
	if acts = r.wait(0); len(acts.adopt) != 1 {
		t.Fatalf("after a failure: %+v", acts.adopt)
	}
	r.rows[2] = chunkRow{rigV + 2, 1, 1, 3}
	r.touched(2)
	r.wait(0)
	wantEqual(t, "to be read", r.at(2), []serverID{3})
}

// Replicas of chunks that are not there are deleted (§4.4), but not those of one that is
// being created.
func TestFleetCollectsOrphans(t *testing.T) {
	r := newFleetRig(t, fleetConfig{doomBatch: 2, moves: -1}, "a")
	r.creating(r.now, 9)
	if resp := r.beat(1, replicaState{9, rigV, 0, sound}); len(resp.delete) > 0 {
		t.Error("a chunk that is being created was deleted")
	}
	for h := handle(1); h <= 4; h++ {
		r.has(h, 1, 1)
	}
	r.abandon(r.now, 9)
	for h := handle(1); h <= 4; h++ {
		delete(r.rows, h)
		r.touched(h)
	}
	r.wait(0)
	first, second, third := r.beat(1).delete, r.beat(1).delete, r.beat(1).delete
	if len(first) != 2 || len(second) != 2 || len(third) != 1 {
		t.Errorf("%v, %v, %v", first, second, third)
	}
	if again := r.beat(1).delete; len(again) > 0 {
		t.Errorf("%v again at once", again)
	}
	r.now = r.now.Add(15 * time.Second)
	if again := r.beat(1).delete; len(again) != 2 {
		t.Errorf("%v again after a while", again)
	}
	for h := handle(1); h <= 9; h++ {
		r.beat(1, replicaState{handle: h, health: gone})
	}
	if st := r.stats(); st.replicas+st.doomed > 0 {
		t.Errorf("%+v", st)
	}
}

// Too many replicas: one goes from the fullest server, unless that would leave all in one
// rack.
func TestFleetOverReplicated(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "a", "a", "b")
	r.servers[1].used, r.servers[4].used = 50<<30, 90<<30
	r.has(1, 3, 1, 2, 3, 4)
	wantEqual(t, "to be read", r.at(1), []serverID{2, 3, 4})
	wantEqual(t, "deleted", r.beat(1).delete, []doomed{{1, rigV}})
}

// A doomed replica that was not ordered to be deleted is spared if others are lost.
func TestFleetSparesTheDoomed(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.servers[4].used = 90 << 30
	r.has(1, 3, 4, 1, 2, 3)
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2, 3})
	r.beat(1, replicaState{handle: 1, health: gone})
	if resp := r.beat(4); len(resp.delete) > 0 {
		t.Errorf("%v", resp.delete)
	}
	wantEqual(t, "to be read", r.at(1), []serverID{2, 3, 4})
}

// Registrations that come late, of the process before and then of the present one, make the
// server one of which nothing is known: its next sign of life has it report anew.
func TestFleetLateRegistrationsAreOvercome(t *testing.T) {
	r := newFleetRig(t, fleetConfig{}, "", "", "")
	r.has(1, 3, 1, 2, 3)
	late := func(boot, attempt uint64) {
		r.register(r.now, 3, &registerReq{boot: boot, attempt: attempt, addr: "h3:1", capacity: 100 << 30})
	}
	late(99, 1)
	late(3, r.attempt-1)
	if err := r.heartbeat(r.now, &heartbeatReq{server: 3, boot: 3, clock: r.now.Sub(modelStart)}, new(heartbeatResp)); err != errUnregistered {
		t.Fatalf("a server whose replicas are not known goes on: %v", err)
	}
	r.join(3, "", replicaState{1, rigV, 1 << 20, sound})
	r.alive(time.Minute)
	wantEqual(t, "replicas", r.at(1), []serverID{1, 2, 3})
	if r.servers[3].here.state != incarnationComplete {
		t.Error("the server is not complete")
	}
}
