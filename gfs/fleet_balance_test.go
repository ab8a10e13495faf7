package gfs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// balanceWorld is a fleet whose clones succeed after a while: nothing but the balance moves.
type balanceWorld struct {
	*fleetRig
	size  map[handle]int64
	on    map[handle][]serverID
	cap   []int64 // by id - 1
	moves int
}

func (w *balanceWorld) used(id serverID) (n int64) {
	for h, on := range w.on { // order-free: a sum
		if slices.Contains(on, id) {
			n += w.size[h]
		}
	}
	return n
}

// beats sends a heartbeat of each server, deletes what is to be deleted, and verifies that
// no disk is overfull.
func (w *balanceWorld) beats() {
	w.t.Helper()
	for i := range w.cap {
		id := serverID(i + 1)
		if used := w.used(id); used > w.cap[i] {
			w.t.Fatalf("server %d has %d bytes of %d", id, used, w.cap[i])
		}
		var resp heartbeatResp
		var changes []replicaState
		for round := 0; round < 2; round++ { // what is deleted is told at once
			req := &heartbeatReq{server: id, boot: uint64(id), clock: w.now.Sub(modelStart), capacity: w.cap[i], used: w.used(id), cloning: uint64(len(w.servers[id].clones)), changes: changes}
			resp = heartbeatResp{}
			if err := w.heartbeat(w.now, req, &resp); err != nil {
				w.t.Fatal(err)
			}
			changes = nil
			for _, d := range resp.delete {
				w.on[d.handle] = slices.DeleteFunc(w.on[d.handle], func(s serverID) bool { return s == id })
				changes = append(changes, replicaState{handle: d.handle, health: gone})
			}
		}
	}
}

// settle runs until nothing moves any more, and returns whether that came to be.
func (w *balanceWorld) settle(most time.Duration) bool {
	w.t.Helper()
	quiet := 0
	for end := w.now.Add(most); w.now.Before(end) && quiet < 200; {
		w.beats()
		w.verify()
		w.now = w.now.Add(time.Second)
		acts := w.tick(w.now)
		if len(acts.clone) == 0 {
			quiet++
			continue
		}
		quiet = 0
		for _, c := range acts.clone {
			w.moves++
			if len(w.servers[c.to.id].clones) > w.cfg.movesEach+w.cfg.clonesEach {
				w.t.Fatalf("%d at once to server %d", len(w.servers[c.to.id].clones), c.to.id)
			}
			w.on[c.handle] = append(w.on[c.handle], c.to.id)
			w.beat1(c.to.id, replicaState{c.handle, rigV, w.size[c.handle], sound})
		}
	}
	return quiet >= 200
}

func (w *balanceWorld) beat1(id serverID, change replicaState) {
	var resp heartbeatResp
	i := id - 1
	req := &heartbeatReq{server: id, boot: uint64(id), clock: w.now.Sub(modelStart), capacity: w.cap[i], used: w.used(id), cloning: uint64(len(w.servers[id].clones)), changes: []replicaState{change}}
	if err := w.heartbeat(w.now, req, &resp); err != nil {
		w.t.Fatal(err)
	}
	for _, d := range resp.delete {
		w.on[d.handle] = slices.DeleteFunc(w.on[d.handle], func(s serverID) bool { return s == id })
		w.beat1(id, replicaState{handle: d.handle, health: gone})
	}
}

// §4.3: balancing ends, with all disks within the band (or as near as one chunk allows),
// and at no time is a disk overfull, a chunk short of replicas or less spread than it was.
func TestFleetBalanceConverges(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			n := 4 + r.IntN(6)
			racks := make([]string, n)
			for i := range racks {
				racks[i] = fmt.Sprint(r.IntN(3))
			}
			w := &balanceWorld{fleetRig: newFleetRig(t, fleetConfig{chunkSize: 64, band: 0.05, balanceEach: time.Second, movesEach: 1 + r.IntN(3)}, racks...),
				size: make(map[handle]int64), on: make(map[handle][]serverID)}
			for range racks {
				w.cap = append(w.cap, 64*int64(20+r.IntN(300)))
			}
			w.fill(r)
			spread := w.spread()
			if !w.settle(3 * time.Hour) {
				t.Fatalf("after %d moves it goes on", w.moves)
			}
			for h, racks := range w.spread() {
				if len(w.on[h]) != int(w.rows[h].goal) || racks < spread[h] {
					t.Errorf("chunk %d is on %v, in %d racks; it was in %d", h, w.on[h], racks, spread[h])
				}
			}
			w.near(n)
			t.Logf("%d chunks, %d servers, %d moves", len(w.rows), n, w.moves)
		})
	}
}

// fill fills some servers far more than others.
func (w *balanceWorld) fill(r *rand.Rand) {
	for h := handle(1); h <= 200; h++ {
		w.size[h] = 1 + r.Int64N(64)
		goal := 1 + r.IntN(3)
		for _, i := range r.Perm(len(w.cap)) {
			id := serverID(i + 1)
			if i%2 == int(h)%3%2 && len(w.on[h]) < goal && w.used(id)+w.size[h]+64 <= w.cap[i] {
				w.on[h] = append(w.on[h], id)
			}
		}
		if len(w.on[h]) == 0 {
			delete(w.on, h)
			delete(w.size, h)
			continue
		}
		w.rows[h] = chunkRow{rigV, 1, 1, uint8(len(w.on[h]))}
	}
	w.beats()
	for h := handle(1); h <= 200; h++ {
		for _, id := range slices.Clone(w.on[h]) {
			w.beat1(id, replicaState{h, rigV, w.size[h], sound})
		}
	}
}

// spread counts the racks of each chunk.
func (w *balanceWorld) spread() map[handle]int {
	racks := make(map[handle]int)
	for h, on := range w.on { // order-free: each for itself
		seen := make(map[string]bool)
		for _, id := range on {
			seen[w.servers[id].row.rack] = true
		}
		racks[h] = len(seen)
	}
	return racks
}

// near verifies that no replica could be moved from one server to another that differs by
// more than the band, without making it the fuller one.
func (w *balanceWorld) near(n int) {
	w.t.Helper()
	use := func(id serverID, more int64) float64 { return float64(w.used(id)+more) / float64(w.cap[id-1]) }
	for h := handle(1); h <= 200; h++ {
		for _, from := range w.on[h] {
			for to := serverID(1); to <= serverID(n); to++ {
				if slices.Contains(w.on[h], to) || w.used(to)+w.size[h] > w.cap[to-1] {
					continue
				}
				var others []*fleetServer
				for _, o := range w.on[h] {
					if o != from {
						others = append(others, w.servers[o])
					}
				}
				var was, is placeKey
				was.spreadKey(w.servers[from], others)
				is.spreadKey(w.servers[to], others)
				if use(from, 0)-use(to, 0) > w.cfg.band && use(to, w.size[h]) <= use(from, -w.size[h]) && is.oneRack <= was.oneRack && is.sameRack <= was.sameRack {
					w.t.Errorf("chunk %d (%d bytes) could go from %d (%.2f) to %d (%.2f)", h, w.size[h], from, use(from, 0), to, use(to, 0))
					return
				}
			}
		}
	}
}

// A server that is new is filled gradually: only so many copies go to it at a time, and
// creations do not all go to it.
func TestFleetFillsNewServerGradually(t *testing.T) {
	r := newFleetRig(t, fleetConfig{movesEach: 2, balanceEach: time.Second}, "a", "b", "c")
	for h := handle(1); h <= 100; h++ {
		r.has(h, 3, 1, 2, 3)
	}
	for id := serverID(1); id <= 3; id++ {
		r.servers[id].used = 80 << 30
	}
	r.join(4, "d")
	acts := r.wait(2 * time.Second)
	if len(acts.clone) != 2 || acts.clone[0].to.id != 4 {
		t.Fatalf("%+v", acts.clone)
	}
	c := acts.clone[0]
	from := c.from[0].id
	r.beat(4, replicaState{c.handle, rigV, 1 << 20, sound})
	wantEqual(t, "deleted", r.beat(from).delete, []doomed{{c.handle, rigV}})
	if acts := r.wait(2 * time.Second); len(acts.clone) != 1 {
		t.Errorf("%d more", len(acts.clone))
	}
}

// A chunkserver that is drained is emptied, and is a source meanwhile.
func TestFleetDrains(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2, 3)
	r.setServer(r.now, serverRow{location: location{id: 2, addr: "h2:1", rack: "b"}, draining: true})
	acts := r.wait(time.Second)
	if len(acts.clone) != 1 || acts.clone[0].to.id != 4 || len(acts.clone[0].from) != 3 || len(r.at(1)) != 3 {
		t.Fatalf("%+v", acts.clone)
	}
	if len(r.beat(2).delete) > 0 {
		t.Error("deleted before there is another")
	}
	r.beat(4, replicaState{1, rigV, 1 << 20, sound})
	wantEqual(t, "deleted", r.beat(2).delete, []doomed{{1, rigV}})
}

// A server is dead after some silence: what it had is copied. When it comes back there is
// one too many.
func TestFleetDeadServer(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2, 3)
	if acts := r.alive(25*time.Second, 3); len(acts.clone)+len(acts.dead) > 0 {
		t.Error("given up too early")
	}
	acts := r.alive(10*time.Second, 3)
	if len(acts.clone) != 1 || acts.clone[0].to.id != 4 || len(acts.dead) != 1 {
		t.Fatalf("%+v", acts)
	}
	r.beat(4, replicaState{1, rigV, 1 << 20, sound})
	var resp heartbeatResp
	if err := r.heartbeat(r.now, &heartbeatReq{server: 3, boot: 3}, &resp); err != errUnregistered {
		t.Errorf("%v", err)
	}
	r.join(3, "c", replicaState{1, rigV, 1 << 20, sound})
	r.verify()
	if len(r.at(1)) != 3 || r.stats().doomed != 1 {
		t.Errorf("%v, %+v", r.at(1), r.stats())
	}
}

// A server that starts anew is not read until it has reported, and nothing is copied for
// that.
func TestFleetRestartedServer(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c", "d")
	r.has(1, 3, 1, 2, 3)
	r.has(2, 3, 1, 2, 3)
	r.register(r.now, 3, &registerReq{boot: 33, addr: "h3:1", rack: "c", capacity: 1 << 40})
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2})
	if acts := r.wait(5 * time.Second); len(acts.clone) > 0 {
		t.Error("copied what is coming back")
	}
	if err := r.report(r.now, &reportReq{server: 3, boot: 33, replicas: []replicaState{{1, rigV, 1 << 20, sound}}, last: true}); err != nil {
		t.Fatal(err)
	}
	r.verify()
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2, 3})
	wantEqual(t, "copied", cloned(r.wait(time.Second)), []handle{2}) // which it has lost
}

// A new master does nothing that can't be undone before it has heard from every known
// server, or has waited long enough.
func TestFleetSettles(t *testing.T) {
	rows := map[handle]chunkRow{1: {rigV, 1, 1, 3}, 2: {rigV, 1, 1, 3}}
	r := &fleetRig{t: t, now: modelStart, rows: rows}
	r.fleet = newFleet(fleetConfig{moves: -1, grace: 20 * time.Second}, r.chunkRows())
	if !r.safeMode(0) {
		t.Error("a standby grants leases")
	}
	r.begin(r.now, 1, []serverRow{{location: location{id: 1}}, {location: location{id: 2}}, {location: location{id: 3}, forgotten: true}})
	r.join(1, "a", replicaState{1, rigV, 0, sound}, replicaState{9, rigV, 0, sound})
	if r.settled() || !r.safeMode(2) || r.safeMode(1) {
		t.Error("settled, or safe with half of the chunks, or not safe with all")
	}
	if resp := r.beat(1); len(resp.delete) > 0 {
		t.Error("garbage is collected too early")
	}
	r.alive(15 * time.Second)
	if r.settled() {
		t.Error("settled too early")
	}
	r.alive(10 * time.Second)
	if !r.settled() || r.safeMode(2) {
		t.Error("not settled though it has waited")
	}
	if st := r.stats(); st.queued != 1 || st.doomed != 1 {
		t.Errorf("%+v", st)
	}
}

// A standby that takes over keeps what it knows, but hears from everybody first.
func TestFleetStandbyTakesOver(t *testing.T) {
	r := newFleetRig(t, fleetConfig{moves: -1}, "a", "b", "c")
	r.has(1, 3, 1, 2, 3)
	r.begin(r.now, 2, nil)
	r.verify()
	wantEqual(t, "to be read", r.at(1), []serverID{1, 2, 3})
	for id := serverID(1); id <= 3; id++ {
		if r.settled() {
			t.Errorf("settled before server %d", id)
		}
		r.beat(id)
	}
	if !r.settled() {
		t.Error("not settled")
	}
	plan, err := r.planGrant(r.now, 1, grantWish{})
	if err != nil || epochOfVersion(plan.to) != 2 {
		t.Errorf("%+v, %v", plan, err)
	}
}

// There may be no place for very many chunks: that costs little, and is over when there is.
func TestFleetParksWhatHasNoPlace(t *testing.T) {
	r := newFleetRig(t, fleetConfig{clones: 1000, clonesEach: 1000, moves: -1}, "a", "b")
	for h := handle(1); h <= 3000; h++ {
		r.rows[h] = chunkRow{rigV, 1, 1, 3}
	}
	var all []replicaState
	for h := handle(1); h <= 3000; h++ {
		all = append(all, replicaState{h, rigV, 1 << 20, sound})
	}
	r.beat(1, all...)
	r.beat(2, all...)
	r.alive(10 * time.Second)
	if st := r.stats(); st.parked != 3000 || st.queued > 0 {
		t.Fatalf("%+v", st)
	}
	r.join(3, "c")
	if acts := r.wait(time.Second); len(acts.clone) != 1000 {
		t.Errorf("%d clones", len(acts.clone))
	}
}

func TestDistance(t *testing.T) {
	at := func(addr, rack, zone string) *location { return &location{addr: addr, rack: rack, zone: zone} }
	me := at("10.0.1.7:1", "r1", "z1")
	ordered := []*location{
		at("10.0.1.7:2", "r1", "z1"), at("10.0.1.8:1", "r1", "z1"), at("10.0.2.8:1", "r1", "z1"),
		at("10.0.1.9:1", "r2", "z1"), at("10.9.9.9:1", "r2", "z1"), at("10.0.1.9:1", "r1", "z2"),
	}
	for i, l := range ordered[1:] {
		if distance(me, ordered[i]) >= distance(me, l) {
			t.Errorf("%v is not nearer than %v: %d, %d", *ordered[i], *l, distance(me, ordered[i]), distance(me, l))
		}
	}
	chain := []location{*at("b:1", "r2", ""), *at("c:1", "r1", ""), *at("d:1", "r2", ""), *at("e:1", "r1", "")}
	chainByDistance(at("x:1", "r1", ""), chain)
	wantEqual(t, "racks", []string{chain[0].rack, chain[1].rack, chain[2].rack, chain[3].rack}, []string{"r1", "r1", "r2", "r2"})
}
