package gfs

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// A simCluster is a world of cores.
type simCluster struct {
	w       *sim.World[*simMessage]
	model   *simModel
	master  *simMaster
	servers []*simServer
	disks   []*simDisk
}

var simConfig = sim.Config{
	Faults: sim.Faults{
		Loss: 0.02, Duplicate: 0.02, Straggle: 0.02, CrashEvery: time.Second, Down: 400 * time.Millisecond,
		PartitionEvery: time.Second, Partition: 700 * time.Millisecond, PauseEvery: 2 * time.Second, Pause: 500 * time.Millisecond,
		Drift: 0.005,
	},
	Chaos: 6 * time.Second,
	Calm:  90 * time.Second,
}

// buildSimCluster fills a world with a master, chunkservers and clients.
func buildSimCluster(w *sim.World[*simMessage], bugs *simBugs) *simCluster {
	k := &simCluster{w: w, model: &simModel{places: make(map[simPlace]*simHistory), power: w.Rand().IntN(2) == 0}}
	servers, clients, steps := 4+w.Rand().IntN(2), 2, 15
	w.Add("master", func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
		k.master = bootSimMaster(n, bugs)
		return k.master
	})
	k.servers = make([]*simServer, servers)
	for i := range servers {
		disk := &simDisk{power: k.model.power, replicas: make(map[handle]*simReplica)}
		disk.uuid[0] = byte(i + 1)
		k.disks = append(k.disks, disk)
		w.Add(fmt.Sprintf("chunk%d", i), func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
			k.servers[i] = bootSimServer(n, disk, fmt.Sprintf("rack%d", i%3), 0, bugs)
			return k.servers[i]
		})
	}
	k.model.blackout = func() {
		for _, s := range k.servers {
			if !w.Calm() && s.n.Up() {
				w.Crash(s.n.ID())
				w.Restart(s.n.ID())
			}
		}
	}
	for i := range clients {
		w.AddImmortal(fmt.Sprintf("client%d", i), func(n *sim.Node[*simMessage]) sim.Process[*simMessage] {
			return bootSimClient(n, i, steps, 0, k.model, bugs)
		})
	}
	w.Done(func() bool {
		if k.model.done < clients || !w.Calm() {
			return false
		}
		err := k.settled()
		if err != nil && k.master.n.Tracing() {
			k.master.n.Logf("not settled: %v", err)
		}
		return err == nil
	})
	w.AtEnd(func() error { return errors.Join(k.settled(), k.check()) })
	return k
}

// settled says what is still to be done before the cluster is at rest: every chunk has
// its replicas, at its version or one that was asked for in vain, on living servers;
// nothing else is on any disk; no lease
// is in force.
func (k *simCluster) settled() error {
	m := k.master
	if m.epoch == 0 || !m.fleet.settled() || len(m.busy) > 0 || len(m.fleet.leases) > 0 || len(m.fleet.clones) > 0 {
		return errors.New("the master is not at rest")
	}
	rows := m.state.chunksAfter(nil, 0, 1<<20)
	for _, row := range rows {
		n := 0
		for _, s := range k.servers {
			if r := s.replicas[row.handle]; r != nil && r.version >= row.version && !r.suspect && !r.rotten {
				n++
			}
		}
		if n != int(row.goal) {
			return fmt.Errorf("chunk %x has %d replicas, not %d", uint64(row.handle), n, row.goal)
		}
	}
	for _, s := range k.servers {
		for h, r := range s.replicas { // order-free
			row, exists := m.state.chunk(h)
			if !exists || r.version < row.version || r.suspect || r.rotten {
				return fmt.Errorf("%s has a replica of chunk %x at version %d, which is of no use: %+v", s.n.Name(), uint64(h), r.version, row)
			}
		}
	}
	return nil
}

// check holds every replica against what the clients know.
func (k *simCluster) check() error {
	if err := k.master.state.data.check(); err != nil {
		return err
	}
	if err := k.master.fleet.check(); err != nil {
		return err
	}
	for _, p := range k.model.order {
		h := k.model.places[p]
		err := k.each(p.file, p.index, h.certain >= 0, func(data []byte) error {
			got := simAt(data, p.off, simSlot)
			from := max(h.certain, 0)
			if h.certain < 0 && bytes.Equal(got, make([]byte, simSlot)) || simOneOf(got, h.values[from:]) {
				return nil
			}
			return fmt.Errorf("%+v has %q; of %d values that of %d must be there, or a later one", p, got, len(h.values), h.certain+1)
		})
		if err != nil {
			return err
		}
	}
	for _, r := range k.model.records {
		err := k.each(r.file, r.index, r.synced, func(data []byte) error {
			if got := simAt(data, r.off, len(r.data)); r.synced && !bytes.Equal(got, r.data) {
				return fmt.Errorf("the record in chunk %d of %s at %d is not there", r.index, r.file, r.off)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, s := range k.model.copies {
		for p, values := range s.places { // order-free
			err := k.each(s.path, p.index, false, func(data []byte) error {
				if got := simAt(data, p.off, simSlot); !bytes.Equal(got, make([]byte, simSlot)) && !simOneOf(got, values) {
					return fmt.Errorf("snapshot %s of %+v has %q", s.path, p, got)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// each calls f with the content of every replica of a chunk.
func (k *simCluster) each(path string, index uint64, must bool, f func(data []byte) error) error {
	place, err := k.master.state.chunkAt(simSuper, path, 0, index, false)
	if err != nil {
		return err
	}
	if place.handle == 0 {
		if must {
			return fmt.Errorf("chunk %d of %s is not there", index, path)
		}
		return nil
	}
	for _, s := range k.servers {
		if r := s.replicas[place.handle]; r != nil {
			if err := f(r.data); err != nil {
				return fmt.Errorf("on %s, chunk %x at version %d: %w", s.n.Name(), uint64(place.handle), r.version, err)
			}
		}
	}
	return nil
}

// What was acknowledged is there, on every replica, whatever happens: see simModel.
func TestClusterSimulation(t *testing.T) {
	seeds := 10_000
	if testing.Short() {
		seeds = 200
	}
	stats := sim.Run(t, seeds, simConfig, func(w *sim.World[*simMessage]) { buildSimCluster(w, new(simBugs)) })
	t.Logf("%+v", stats)
	for _, what := range []string{"written", "appended", "synced", "lost", "read", "grants", "reforms", "forks", "snapshots", "padded",
		"clones", "cloned", "compares", "suspects", "mended", "deleted", "dead", "revoked", "without a member"} {
		if stats.Tally[what] < stats.Seeds/200 {
			t.Errorf("%s: only %d in %d seeds", what, stats.Tally[what], stats.Seeds)
		}
	}
}

// The simulation finds what it is there to find. (That garbage is collected before all
// chunkservers have reported, that of the fleet alone finds: see fleetBugs.)
func TestClusterSimulationFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	for name, bugs := range map[string]simBugs{
		"answers before the log is safe":                {unsafeReply: true},
		"grants before all members have persisted":      {grantEarly: true},
		"no version check":                              {skipVersion: true},
		"applies past a gap":                            {pastGap: true},
		"counts a half-made clone":                      {halfClone: true},
		"answers without one of its secondaries":        {lostMember: true},
		"reads at the version that it was granted":      {oldVersion: true},
		"answers a sync before the data is on the disk": {forgetSync: true},
		"syncs what was lost before":                    {sameVerifier: true},
	} {
		t.Run(name, func(t *testing.T) {
			failure, _ := sim.Search(4000, simConfig, func(w *sim.World[*simMessage]) { buildSimCluster(w, &bugs) })
			if failure == nil {
				t.Error("not found")
			} else {
				t.Log(failure)
			}
		})
	}
}
