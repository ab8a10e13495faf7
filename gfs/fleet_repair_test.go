package gfs

import (
	"testing"
	"time"
)

// A server that does not answer is given no other clones for a while, longer each time,
// however many chunks there are to copy and though it is not dead yet; others are.
func TestUnreachedServersRest(t *testing.T) {
	const chunks = 50
	r := newFleetRig(t, fleetConfig{dead: 20 * time.Minute, clones: chunks, clonesEach: chunks}, "", "")
	for h := range handle(chunks) {
		r.has(h+1, 3, 1, 2)
	}
	r.join(3, "")
	orders := 0
	for range 60 {
		for _, a := range r.alive(time.Second, 3).clone {
			if a.to.id != 3 {
				t.Fatalf("a clone on %d", a.to.id)
			}
			orders++
			r.unreached(r.now, 3)
			r.cloneFailed(r.now, a.handle, 3)
		}
	}
	// Each time as many as are under way at once, after 1, 2, 4, … 32 s.
	if orders < 2*chunks || orders > 7*chunks {
		t.Errorf("%d orders in a minute", orders)
	}
	r.join(4, "")
	for _, a := range r.alive(10*time.Minute, 3).clone {
		if a.to.id == 4 {
			r.beat(4, replicaState{a.handle, rigV, 1 << 20, sound})
		}
	}
	if n := len(r.at(1)); n != 3 {
		t.Errorf("%d replicas although there is another server", n)
	}
	r.unreached(r.now, 3)
	r.join(3, "")
	if r.rests(r.servers[3]) {
		t.Error("one that has come back rests on")
	}
}
