package gfs

import (
	"encoding/hex"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
)

// MasterReport is what status.json holds: how a master, its chunkservers and what they
// hold are doing. All lists are bounded.
type MasterReport struct {
	Master    string    `json:"master"`  // its address
	Shadow    bool      `json:"shadow"`  // it is one
	Leading   bool      `json:"leading"` // it serves mutations
	Epoch     uint64    `json:"epoch"`   // in which it leads; 0: it does not
	Time      time.Time `json:"time"`    // of this report
	ChunkSize int64     `json:"chunk_size"`
	SafeMode  bool      `json:"safe_mode"` // too few chunks are covered for leases to be granted
	Settled   bool      `json:"settled"`   // all chunkservers have reported, or were waited for long enough
	Awaited   int       `json:"awaited"`   // chunkservers that have not reported yet, while not settled
	// Lag is how many seconds old what a shadow shows may be; -1: it knows nothing yet.
	Lag float64 `json:"lag"`

	Files       uint64 `json:"files"` // with those that were removed, likewise of Directories
	Directories uint64 `json:"directories"`
	Removed     uint64 `json:"removed"` // files and directories that can be undeleted
	Chunks      uint64 `json:"chunks"`  // each once

	Covered   int  `json:"covered"`   // chunks with a replica that is current and whole
	Short     int  `json:"short"`     // of these, chunks with fewer than they should have; under a lease they wait for its end
	Replicas  int  `json:"replicas"`  // that are known, of all sorts
	Queued    int  `json:"queued"`    // chunks to be repaired
	Parked    int  `json:"parked"`    // of which no repair is possible now: no source, or no place
	Repairs   int  `json:"repairs"`   // replicas on their way to chunks that lack one
	Moves     int  `json:"moves"`     // replicas on their way from fuller to emptier chunkservers
	Compares  int  `json:"compares"`  // chunks whose suspect replicas are being compared
	Doomed    int  `json:"doomed"`    // replicas that are of no use and not deleted yet
	Leases    int  `json:"leases"`    // in force
	Surveying bool `json:"surveying"` // all chunks are being looked at, so that Queued may yet rise

	ServersAlive int            `json:"servers_alive"`
	ServersKnown int            `json:"servers_known"` // also those that Servers leaves out
	Servers      []ServerReport `json:"servers"`
	Capacity     int64          `json:"capacity"` // bytes, of those alive
	Used         int64          `json:"used"`     // bytes, likewise
	Read         int64          `json:"read"`     // bytes a second, likewise
	Written      int64          `json:"written"`  // bytes a second, likewise

	Log     *LogReport     `json:"log,omitempty"` // of a master whose log tells
	Shadows []ShadowReport `json:"shadows"`       // that follow this master
	Events  []EventReport  `json:"events"`        // the latest first
	Samples []MasterSample `json:"samples"`       // the oldest first
}

// ServerReport is a chunkserver.
type ServerReport struct {
	ID       uint32  `json:"id"`
	Disk     string  `json:"disk"` // the id of its disk
	Addr     string  `json:"addr"`
	Rack     string  `json:"rack,omitempty"`
	Zone     string  `json:"zone,omitempty"`
	Alive    bool    `json:"alive"`
	Awaited  bool    `json:"awaited"` // by a master that has just started, and has not heard of it
	Draining bool    `json:"draining"`
	Silent   float64 `json:"silent"` // seconds since the last sign of life
	Capacity int64   `json:"capacity"`
	Used     int64   `json:"used"`
	Chunks   uint64  `json:"chunks"`  // replicas
	Read     int64   `json:"read"`    // bytes a second
	Written  int64   `json:"written"` // bytes a second
}

// LogReport is how the operation log of a master is doing.
type LogReport struct {
	Applied    uint64 `json:"applied"`    // the last command
	Safe       uint64 `json:"safe"`       // the last command that is durable
	Queued     int    `json:"queued"`     // commands that are not taken up yet
	Pending    int    `json:"pending"`    // commands that are and have not been answered
	Checkpoint uint64 `json:"checkpoint"` // the command that the last checkpoint stands for; 0: there is none
	First      uint64 `json:"first"`      // the oldest command that is kept
	Segments   int    `json:"segments"`   // files
	Syncs      uint64 `json:"syncs"`      // since the start
	Bytes      int64  `json:"bytes"`      // appended since the start
	Error      string `json:"error,omitempty"`
}

// ShadowReport is a shadow, as its master sees it.
type ShadowReport struct {
	Addr  string `json:"addr"`  // from which it follows
	Index uint64 `json:"index"` // of the last command that it was sent
	// Lag is how many seconds ago it had been sent all there was; -1: never yet.
	Lag float64 `json:"lag"`
}

// EventReport is something that has happened.
type EventReport struct {
	Time time.Time `json:"time"`
	What string    `json:"what"`
}

const (
	// maxServersShown bounds the chunkservers of a report.
	maxServersShown = 1000
	// lagUnknown is the lag of a shadow that knows nothing yet.
	lagUnknown = -1
)

// statusReport returns how everything is doing.
func (m *Master) statusReport(now time.Time) *MasterReport {
	counts := m.state.counts()
	r := &MasterReport{
		Master: m.Addr(), Shadow: m.log == nil, Epoch: m.epoch.Load(), Time: now, ChunkSize: m.cfg.ChunkSize,
		Files: counts.files, Directories: counts.dirs, Removed: counts.removed, Chunks: counts.chunks,
		Log: m.logReport(), Shadows: m.tails.reports(now), Events: []EventReport{}, Samples: m.trend.recent(),
	}
	r.Leading = r.Epoch != 0
	if r.Shadow {
		if r.Lag = lagUnknown; m.applied.Load() != 0 {
			r.Lag = m.Lag().Seconds()
		}
	}
	for _, e := range m.events.recent() {
		r.Events = append(r.Events, EventReport{Time: e.At, What: e.What})
	}
	m.fleetMu.Lock()
	st, servers := m.fleet.stats(), m.fleet.serverList(now)
	r.SafeMode = r.Leading && m.fleet.safeMode(counts.chunks)
	r.Settled = m.fleet.settled()
	m.fleetMu.Unlock()
	r.Awaited = st.unheard
	r.Covered, r.Short, r.Replicas, r.Queued, r.Parked = st.covered, st.short, st.replicas, st.queued, st.parked
	r.Repairs, r.Moves, r.Compares = st.clones-st.moves, st.moves, st.compares
	r.Doomed, r.Leases, r.Surveying = st.doomed, st.leases, st.sweeping
	if r.Shadow { // which gives up nobody
		for i := range servers {
			servers[i].alive = servers[i].alive && servers[i].silent <= m.cfg.ServerTimeout
		}
	}
	r.addServers(servers)
	return r
}

// addServers adds the chunkservers.
func (r *MasterReport) addServers(servers []serverStatus) {
	r.ServersKnown = len(servers)
	r.Servers = make([]ServerReport, 0, min(len(servers), maxServersShown))
	for i := range servers {
		s := &servers[i]
		if s.alive {
			r.ServersAlive++
			r.Capacity += s.capacity
			r.Used += s.used
			r.Read += s.read
			r.Written += s.written
		}
		if len(r.Servers) < maxServersShown {
			r.Servers = append(r.Servers, ServerReport{
				ID: uint32(s.id), Disk: hex.EncodeToString(s.uuid[:]), Addr: s.addr, Rack: s.rack, Zone: s.zone,
				Alive: s.alive, Awaited: s.awaited, Draining: s.draining, Silent: s.silent.Seconds(),
				Capacity: s.capacity, Used: s.used, Chunks: s.chunks, Read: s.read, Written: s.written,
			})
		}
	}
}

// logReport returns how the log is doing, or nil if it does not say.
func (m *Master) logReport() *LogReport {
	solo, ok := m.log.(*statelog.Solo)
	if !ok {
		return nil
	}
	s := solo.Status()
	j := s.Journal
	r := &LogReport{
		Applied: s.Applied, Safe: s.Safe, Queued: s.Queued, Pending: s.Pending,
		Checkpoint: j.Checkpoint, First: j.First, Segments: j.Segments, Syncs: j.Syncs, Bytes: j.Bytes,
	}
	if s.Err != nil {
		r.Error = s.Err.Error()
	}
	return r
}
