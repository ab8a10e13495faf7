package gfs

import (
	"container/heap"
	flags "flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

var (
	fleetSeed  = flags.Uint64("fleet.seed", 0, "run the fleet's simulation from this seed alone, and log it")
	fleetSeeds = flags.Int("fleet.seeds", 300, "how many seeds the fleet's simulation runs")
)

// fault breaks or mends something, and comes again.
func (w *modelWorld) fault() {
	if w.calm {
		return
	}
	w.after(time.Duration(w.r.ExpFloat64()*float64(8*time.Second)), w.fault)
	s := w.servers[w.r.IntN(len(w.servers))]
	switch k := w.r.IntN(20); {
	case s.lost:
	case k < 5:
		if s.up {
			w.counts["kills"]++
			w.logf("server %d is killed", s.id)
			s.up, s.boot = false, 0
			w.after(time.Duration(w.r.ExpFloat64()*float64(30*time.Second)), s.restart)
		}
	case k < 8:
		w.logf("server %d: cut from masters %t", s.id, !s.cut)
		s.cut = !s.cut
	case k < 11:
		w.logf("server %d: cut from others %t", s.id, !s.cutPeers)
		s.cutPeers = !s.cutPeers
	case k < 14:
		w.corrupt(s)
	case k < 15:
		w.wipe(s)
	case k < 17:
		w.drain(s)
	default:
		w.elect(w.r.IntN(2) == 0)
	}
}

func (s *modelServer) restart() {
	if !s.up && !s.lost {
		s.w.logf("server %d starts", s.id)
		s.start()
	}
}

// spare reports whether a replica may be destroyed: two others are known that have all.
func (w *modelWorld) spare(s *modelServer, h handle) bool {
	c := w.chunks[h]
	if c == nil { // garbage, unless it is being made
		return !w.leader().occupied(h)
	}
	if c.row.goal < 3 || !w.leader().settled() {
		return false
	}
	n := 0
	for _, at := range w.leader().locate(h, nil) {
		if o := w.server(at.id); o != nil && o != s && o.up && !o.cut {
			if r := o.disk[h]; r != nil && r.health == sound && r.version >= c.row.version && lacksData(r.data, c.acked) == 0 {
				n++
			}
		}
	}
	return n >= 2
}

func (w *modelWorld) corrupt(s *modelServer) {
	for _, h := range s.handles() {
		if r := s.disk[h]; r.health == sound && w.spare(s, h) && w.r.IntN(3) == 0 {
			w.counts["corrupted"]++
			w.logf("chunk %d is corrupt on %d", h, s.id)
			r.health = corrupt
			s.change(h)
			return
		}
	}
}

// wipe takes a disk away; another comes in its place.
func (w *modelWorld) wipe(s *modelServer) {
	for _, h := range s.handles() {
		if !w.spare(s, h) {
			return
		}
	}
	w.counts["wiped"]++
	w.logf("server %d is lost", s.id)
	s.up, s.boot, s.lost, s.disk = false, 0, true, make(map[handle]*modelReplica)
	if w.r.IntN(2) == 0 {
		w.rows[s.id-1].forgotten = true
		w.masters[0].setServer(w.time(), w.rows[s.id-1])
		w.masters[1].setServer(w.time(), w.rows[s.id-1])
	}
	w.addServer(s.row.rack, s.row.addr).start()
}

func (w *modelWorld) drain(s *modelServer) {
	row := &w.rows[s.id-1]
	row.draining = !row.draining
	w.logf("server %d: draining %t", s.id, row.draining)
	w.masters[0].setServer(w.time(), *row)
	w.masters[1].setServer(w.time(), *row)
}

// run lets time pass, and verifies as it does: after every event, or after some.
func (w *modelWorld) run(until time.Duration, every int) error {
	for n := 0; len(w.events) > 0 && w.events[0].at <= until; n++ {
		e := heap.Pop(&w.events).(fleetEvent)
		w.now = e.at
		e.do()
		if w.err != nil {
			return w.err
		}
		if n%every == 0 {
			if err := w.checkModel(); err != nil {
				return err
			}
		}
	}
	w.now = until
	return w.checkModel()
}

// mend ends all faults.
func (w *modelWorld) mend() {
	w.calm = true
	for _, s := range w.servers {
		s.cut, s.cutPeers = false, false
		s.restart()
		if row := &w.rows[s.id-1]; row.draining && w.r.IntN(2) == 0 {
			w.drain(s)
		}
	}
}

// checkRest verifies how things are after a time without faults.
func (w *modelWorld) checkRest() error {
	m := w.leader()
	open := 0
	for _, s := range w.servers {
		if !s.lost && !w.rows[s.id-1].draining {
			open++
		}
	}
	for _, h := range w.order {
		c := w.chunks[h]
		goal, good, all := min(max(1, int(c.row.goal)), open), 0, 0
		racks := make(map[string]bool)
		for _, s := range w.servers {
			r := s.disk[h]
			if r == nil {
				continue
			}
			all++
			if r.health == sound && r.version >= c.row.version && !w.rows[s.id-1].draining {
				good++
				racks[s.row.rack] = true
			}
		}
		if good < goal || good == int(c.row.goal) && all > good {
			row, _ := m.chunk(h)
			e := m.table.find(h)
			return fmt.Errorf("chunk %d has %d good replicas of %d, %d in all, %d servers are open: %+v", h, good, goal, all, open, m.census(h, e, &row))
		}
		if good == int(c.row.goal) && good >= 2 && len(racks) < 2 && m.racks >= 2 {
			return fmt.Errorf("chunk %d has %d replicas, all in one rack: lane %d, %+v, %d racks, %v", h, good, m.table.find(h).lane, m.stats(), m.racks, w.rows)
		}
	}
	for _, s := range w.servers {
		for _, h := range s.handles() {
			if w.chunks[h] == nil {
				return fmt.Errorf("server %d still has a replica of chunk %d, which was dropped", s.id, h)
			}
		}
	}
	if st := m.stats(); st.doomed+st.compares+st.queued > 0 || !m.settled() {
		return fmt.Errorf("not at rest: %+v, %v busy", st, slices.Sorted(maps.Keys(m.busy)))
	}
	return nil
}

// simulateFleet runs a world from a seed.
func simulateFleet(seed uint64, bugs modelBugs, trace func(string, ...any), counts map[string]int) error {
	w := newModelWorld(seed, bugs)
	w.trace = trace
	err := w.run(4*time.Minute, 4)
	if err == nil {
		w.mend()
		err = w.run(10*time.Minute, 64)
	}
	if err == nil {
		err = w.checkRest()
	}
	for k, n := range w.counts { // order-free: sums
		counts[k] += n
	}
	return err
}

func TestFleetSimulation(t *testing.T) {
	t.Parallel()
	counts := make(map[string]int)
	if *fleetSeed != 0 {
		if err := simulateFleet(*fleetSeed, modelBugs{}, t.Logf, counts); err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := *fleetSeeds
	if testing.Short() {
		seeds = min(seeds, 40)
	}
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		if err := simulateFleet(seed, modelBugs{}, nil, counts); err != nil {
			t.Fatalf("seed %d: %v\nrun again with -run TestFleetSimulation -fleet.seed %d -v", seed, err, seed)
		}
	}
	t.Log(counts)
	for _, what := range []string{"acked", "grants", "extended", "clones", "cloned", "compares", "deleted", "kills", "corrupted", "wiped", "elections", "fenced", "adopted", "revoked"} {
		if counts[what] < seeds/20 {
			t.Errorf("%d %s in %d seeds: too few to prove anything", counts[what], what, seeds)
		}
	}
}

// A fleet decides the same from the same events.
func TestFleetIsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var logs [2][]string
		for n := range logs {
			_ = simulateFleet(seed, modelBugs{}, func(format string, args ...any) { logs[n] = append(logs[n], fmt.Sprintf(format, args...)) }, make(map[string]int))
		}
		if !slices.Equal(logs[0], logs[1]) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// Each of these bugs is found by the simulation.
func TestFleetSimulationFindsPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 20 seconds")
	}
	for name, bugs := range map[string]modelBugs{
		"a grant is logged though a member has not answered": {unanswered: true},
		"stale replicas count as current":                    {fleetBugs: fleetBugs{anyVersion: true}},
		"known chunkservers are not waited for":              {fleetBugs: fleetBugs{impatient: true}},
		"leases of an earlier master are not waited for":     {fleetBugs: fleetBugs{unfenced: true}},
		"a clone counts before it is complete":               {fleetBugs: fleetBugs{eager: true}},
		"chunks are copied under a lease":                    {fleetBugs: fleetBugs{openCopies: true}},
		"a version that was tried is tried again":            {fleetBugs: fleetBugs{sameAgain: true}},
		"masters try the same versions":                      {fleetBugs: fleetBugs{flatVersions: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 2000; seed++ {
				if err := simulateFleet(seed, bugs, nil, make(map[string]int)); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}
