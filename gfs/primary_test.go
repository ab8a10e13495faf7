package gfs

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// check looks for what must never be so in a primary.
func (p *primary) check() error {
	for i, op := range p.ops {
		if op.serial != p.ops[0].serial+uint64(i) {
			return fmt.Errorf("mutation %d follows %d", op.serial, p.ops[0].serial)
		}
		if i > 0 && op.local && !p.ops[i-1].local {
			return fmt.Errorf("mutation %d is applied here before %d", op.serial, p.ops[i-1].serial)
		}
		if op.kind != mutationSync && (op.off < 0 || op.off+op.n > p.chunkSize || op.off+op.n > p.length) {
			return fmt.Errorf("mutation %d at %d, %d bytes", op.serial, op.off, op.n)
		}
		if len(op.sends) != len(p.members) {
			return fmt.Errorf("mutation %d goes to %d members", op.serial, len(op.sends))
		}
	}
	if n := len(p.ops); n > 0 && p.ops[n-1].serial != p.last {
		return fmt.Errorf("the last is %d, not %d", p.ops[n-1].serial, p.last)
	}
	for _, m := range p.members {
		if m.acked > p.last {
			return fmt.Errorf("%s has %d of %d", m.where.addr, m.acked, p.last)
		}
	}
	if p.over != nil && len(p.ops) > 0 {
		return errors.New("over, and mutations in progress")
	}
	return nil
}

func testPrimary(others ...serverID) *primary {
	var members []location
	for _, id := range others {
		members = append(members, location{id: id, addr: fmt.Sprint("s", id)})
	}
	return newPrimary(leaseTerm{handle: 1, version: 3, until: time.Minute}, members, 0, 1000)
}

// kinds lists actions in short.
func kinds(actions []primaryAction) string {
	s := ""
	for _, a := range actions {
		switch a.kind {
		case actApply:
			s += fmt.Sprintf("apply %d ", a.op.serial)
		case actSend:
			s += fmt.Sprintf("send %d to %d ", a.op.serial, a.to.id)
			if a.resend {
				s += "with data "
			}
		case actAnswer:
			s += fmt.Sprintf("answer %d %v ", a.op.ref, a.err)
		case actReform:
			s += fmt.Sprintf("reform %v ", a.failed)
		}
	}
	return s
}

func wantActions(t *testing.T, p *primary, want string) {
	t.Helper()
	if got := kinds(p.take()); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := p.check(); err != nil {
		t.Error(err)
	}
}

func TestPrimaryAnswersWhenAllHaveIt(t *testing.T) {
	p := testPrimary(2, 3)
	storeMust(t, p.write(1, 10, mutationWrite, dataID{}, 0, 100))
	storeMust(t, p.write(1, 11, mutationWrite, dataID{}, 50, 100))
	wantActions(t, p, "send 1 to 2 send 1 to 3 apply 1 send 2 to 2 send 2 to 3 ")
	p.answered(2, 3, 2, 2, 2, nil) // the answer to 2 says that it has 1 too
	p.answered(2, 3, 3, 1, 1, nil)
	wantActions(t, p, "")
	p.applied(2, 3, 10, nil)
	wantActions(t, p, "answer 10 <nil> apply 2 ")
	p.applied(2, 3, 11, nil)
	wantActions(t, p, "")
	p.answered(3, 3, 3, 2, 2, nil)
	wantActions(t, p, "answer 11 <nil> ")
	if !p.idle() || p.tick(4) != 0 {
		t.Error("not idle")
	}
}

func TestPrimaryPlacesRecords(t *testing.T) {
	p := testPrimary()
	storeMust(t, p.append(1, 1, dataID{}, 250))
	storeMust(t, p.append(1, 2, dataID{}, 250))
	storeMust(t, p.write(1, 3, mutationWrite, dataID{}, 600, 100))
	storeMust(t, p.append(1, 4, dataID{}, 250))
	storeMust(t, p.append(1, 5, dataID{}, 100))
	storeWant(t, p.append(1, 6, dataID{}, 1), errChunkFull)
	storeWant(t, p.append(1, 6, dataID{}, 251), ErrTooLarge)
	offs := []int64{}
	for _, op := range p.ops {
		offs = append(offs, op.off)
	}
	if fmt.Sprint(offs) != "[0 250 600 700 950]" || p.ops[4].kind != mutationPad || p.ops[4].n != 50 {
		t.Errorf("at %v", offs)
	}
	p.take()
	for ref := range uint64(5) {
		p.applied(2, 3, ref+1, nil)
	}
	if got := kinds(p.take()); !slices.Contains([]string{
		"answer 1 <nil> apply 2 answer 2 <nil> apply 3 answer 3 <nil> apply 4 answer 4 <nil> apply 5 answer 5 gfs: chunk full ",
	}, got) {
		t.Errorf("got %q", got)
	}
}

func TestPrimaryKeepsToItsLease(t *testing.T) {
	p := testPrimary(2)
	storeMust(t, p.write(time.Minute-1, 1, mutationWrite, dataID{}, 0, 1))
	storeWant(t, p.write(time.Minute, 2, mutationWrite, dataID{}, 0, 1), ErrStale)
	p.applied(time.Minute, 3, 1, nil)
	p.take()
	p.answered(time.Minute, 3, 2, 1, 1, nil) // a moment too late
	if a := p.take(); len(a) != 1 || !errors.Is(a[0].err, ErrStale) {
		t.Errorf("answered after the lease: %q", kinds(a))
	}

	p = testPrimary(2)
	if p.wants(1) {
		t.Error("wants to lead for nothing")
	}
	storeMust(t, p.write(1, 1, mutationWrite, dataID{}, 0, 1))
	if !p.wants(2) {
		t.Error("does not want to lead on")
	}
	p.extend(leaseTerm{version: 2, until: time.Hour})
	if p.until != time.Minute {
		t.Error("extended by a lease of another version")
	}
	p.extend(leaseTerm{version: 3, until: time.Hour})
	storeMust(t, p.write(30*time.Minute, 2, mutationSync, dataID{}, 0, 0))
	p.revoke()
	storeWant(t, p.write(30*time.Minute, 3, mutationSync, dataID{}, 0, 0), ErrStale)
	p.extend(leaseTerm{version: 3, until: 2 * time.Hour})
	if p.wants(1) || p.until != time.Hour || p.idle() {
		t.Error("a revoked lease is extended, or what is in progress is forgotten")
	}
}

func TestPrimaryResends(t *testing.T) {
	p := testPrimary(2, 3)
	storeMust(t, p.write(1, 1, mutationWrite, dataID{}, 0, 1))
	storeMust(t, p.write(1, 2, mutationPad, dataID{}, 0, 1))
	p.take()
	p.answered(2, 3, 2, 1, 0, errNoData)
	wantActions(t, p, "send 1 to 2 with data ")
	p.answered(3, 3, 3, 1, 0, fmt.Errorf("%w: reset", errUnreached))
	wantActions(t, p, "")
	if next := p.tick(4); next != 3+resendPause {
		t.Errorf("next at %v", next)
	}
	p.tick(3 + resendPause)
	wantActions(t, p, "send 1 to 3 ")
	p.answered(3+resendPause, 3, 3, 2, 0, errGap)
	p.tick(3 + 2*resendPause)
	wantActions(t, p, "send 2 to 3 ")
}

func TestPrimaryReforms(t *testing.T) {
	for name, fail := range map[string]func(p *primary){
		"an error that lasts": func(p *primary) { p.answered(2, 3, 3, 1, 0, ErrNoSpace) },
		"no answer": func(p *primary) {
			p.answered(2, 3, 2, 2, 2, nil)
			p.tick(silentPatience + 1)
		},
		"unreachable": func(p *primary) {
			p.answered(2, 3, 2, 2, 2, nil)
			p.answered(2, 3, 3, 1, 0, errUnreached)
			p.tick(3 + failingPatience)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPrimary(2, 3)
			storeMust(t, p.append(1, 1, dataID{}, 10))
			storeMust(t, p.append(1, 2, dataID{}, 10))
			p.applied(1, 3, 1, nil)
			p.take()
			fail(p)
			if got := kinds(p.take()); got != "reform [3] " && got != "send 1 to 3 reform [3] " {
				t.Fatalf("got %q", got)
			}
			storeWant(t, p.append(3, 9, dataID{}, 1), errPrimaryBusy)
			p.raised(4) // the master raises the version for the new grant
			p.applied(3, 3, 2, ErrStale)
			wantActions(t, p, "")
			if p.lease(4, leaseTerm{version: 3, until: time.Hour}, nil) {
				t.Fatal("took the old lease for a new one")
			}
			if !p.lease(4, leaseTerm{version: 4, until: time.Hour}, []location{{id: 2}}) {
				t.Fatal("did not take the lease")
			}
			p.reformed(3, nil)
			wantActions(t, p, "send 1 to 2 with data send 2 to 2 with data apply 2 ")
			p.answered(5, 3, 2, 2, 2, nil) // of the old version
			p.answered(5, 4, 2, 2, 2, nil)
			wantActions(t, p, "answer 1 <nil> ")
			p.applied(6, 4, 2, nil)
			wantActions(t, p, "answer 2 <nil> ")
			storeMust(t, p.append(7, 3, dataID{}, 1))
			if p.ops[0].serial != 3 || p.ops[0].off != 20 {
				t.Errorf("%+v", p.ops[0])
			}
		})
	}
	p := testPrimary(2)
	storeMust(t, p.append(1, 1, dataID{}, 10))
	p.answered(2, 3, 2, 1, 0, errNoChunk)
	p.take()
	p.reformed(3, ErrStale)
	if got := p.take(); len(got) != 1 || !errors.Is(got[0].err, ErrStale) {
		t.Errorf("no new grant: %q", kinds(got))
	}
	storeWant(t, p.append(3, 2, dataID{}, 1), ErrStale)
}

// TestPrimaryGivesWayToAnother: a primary that waits for a new grant hears of mutations of
// another one. What it has in progress may have been tried again there, and overwritten
// since: it must not come back with a later grant.
func TestPrimaryGivesWayToAnother(t *testing.T) {
	p := testPrimary(2, 3)
	storeMust(t, p.write(1, 1, mutationWrite, dataID{}, 0, 10))
	p.answered(2, 3, 3, 1, 0, ErrNoSpace)
	p.raised(4) // another grant was made at the same time
	p.take()
	p.raised(5)
	p.follows(3)
	wantActions(t, p, "")
	p.follows(4)
	got := p.take()
	if len(got) != 1 || got[0].kind != actAnswer || !errors.Is(got[0].err, ErrStale) {
		t.Errorf("what was in progress: %q", kinds(got))
	}
	if p.lease(4, leaseTerm{version: 6, until: time.Hour}, nil) {
		t.Error("it goes on with a later grant")
	}
}

func TestPrimaryFailsWithItsDisk(t *testing.T) {
	p := testPrimary(2)
	storeMust(t, p.append(1, 1, dataID{}, 10))
	storeMust(t, p.append(1, 2, dataID{}, 10))
	p.take()
	p.applied(2, 3, 1, ErrNoSpace)
	if got := p.take(); len(got) != 2 || !errors.Is(got[0].err, ErrNoSpace) || !errors.Is(got[1].err, ErrNoSpace) {
		t.Errorf("got %q", kinds(got))
	}
	p.answered(3, 3, 2, 1, 1, nil)
	wantActions(t, p, "")

	p = testPrimary(2)
	storeMust(t, p.append(1, 1, dataID{}, 10))
	p.take()
	p.raised(5) // by a master that did not ask
	if got := p.take(); len(got) != 1 || !errors.Is(got[0].err, ErrStale) {
		t.Errorf("got %q", kinds(got))
	}
}

func TestSecondaryOrders(t *testing.T) {
	s := secondary{version: 2}
	want := func(v version, serial uint64, turn turn, code error) {
		t.Helper()
		got, err := s.offer(v, serial)
		if got != turn || !errors.Is(err, code) {
			t.Errorf("offered %d at %d: %v, %v", serial, v, got, err)
		}
	}
	want(1, 1, turnNever, ErrStale)
	want(3, 1, turnNever, ErrStale)
	want(2, 0, turnNever, errGap)
	want(2, 2, turnLater, nil)
	want(2, 1, turnNow, nil)
	want(2, 1, turnLater, nil) // a duplicate while it is being applied
	want(2, 2, turnLater, nil)
	s.done(2, nil)
	want(2, 1, turnPast, nil)
	want(2, 3, turnLater, nil)
	want(2, 2+secondaryWindow, turnNever, errGap)
	want(2, 2, turnNow, nil)
	s.done(2, ErrNoSpace)
	want(2, 2, turnNever, ErrNoSpace)
	want(2, 3, turnNever, ErrNoSpace)
	want(2, 1, turnPast, nil)
	s.raise(3)
	want(2, 2, turnNever, ErrStale)
	want(3, 1, turnNow, nil)
	s.raise(4)
	s.done(3, nil) // of the version before
	want(4, 2, turnLater, nil)
	want(4, 1, turnNow, nil)
	s.done(4, nil)
	s.raise(4)
	want(4, 2, turnNow, nil)
}

// TestPrimarySimulation drives a primary and its secondaries from seeds: messages are
// late, lost and repeated, members stop and lose what they knew, disks fail. Whatever is
// answered with success is on every member of the grant, in the same order.
func TestPrimarySimulation(t *testing.T) {
	t.Parallel()
	seeds := uint64(10_000)
	if testing.Short() {
		seeds = 300
	}
	answered, reforms := 0, 0
	for seed := range seeds {
		w := newOrderWorld(seed, orderBugs{})
		if err := w.run(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		answered += w.answered
		reforms += w.reforms
	}
	if answered < int(seeds)*10 || reforms < int(seeds)/10 {
		t.Errorf("only %d mutations were answered, and %d grants made anew", answered, reforms)
	}
	t.Logf("%d answered, %d new grants", answered, reforms)
}

// TestPrimarySimulationRepeats: a seed gives the same run again.
func TestPrimarySimulationRepeats(t *testing.T) {
	for seed := range uint64(20) {
		a, b := newOrderWorld(seed, orderBugs{}), newOrderWorld(seed, orderBugs{})
		if a.run() != nil || b.run() != nil || a.trace != b.trace {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

func TestPrimarySimulationFindsPlantedBugs(t *testing.T) {
	for name, bugs := range map[string]orderBugs{
		"apply past a gap":            {pastGap: true},
		"apply again what is applied": {twice: true},
		"skip the version check":      {anyVersion: true},
		"answer before all have it":   {early: true},
		"no resend after a new grant": {forgetful: true},
	} {
		found := error(nil)
		for seed := uint64(0); seed < 3000 && found == nil; seed++ {
			found = newOrderWorld(seed, bugs).run()
		}
		if found == nil {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %v", name, found)
	}
}
