package gfs

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sampleEvery is how often the status page's samples are taken, and samplesKept how
	// many of them are remembered: the last ten minutes.
	sampleEvery = 2 * time.Second
	samplesKept = 300
)

// MasterSample is how things were at a time.
type MasterSample struct {
	Time    time.Time `json:"time"`
	Read    int64     `json:"read"`    // bytes a second, of all chunkservers
	Written int64     `json:"written"` // bytes a second, likewise
	Used    int64     `json:"used"`    // bytes, likewise
	Calls   float64   `json:"calls"`   // of the master, a second
	Short   int       `json:"short"`   // chunks with fewer replicas than they should have
	Queued  int       `json:"queued"`  // chunks to be repaired
	Clones  int       `json:"clones"`  // replicas on their way
	Alive   int       `json:"alive"`   // chunkservers
}

// A trend remembers the last samples.
type trend struct {
	mu      sync.Mutex // guards what follows
	samples []MasterSample
	calls   uint64 // of the master, when the last was taken
}

// sample takes a sample if it is time for one.
func (m *Master) sample() {
	now := time.Now()
	t := &m.trend
	t.mu.Lock()
	defer t.mu.Unlock()
	since := sampleEvery
	if n := len(t.samples); n > 0 {
		since = now.Sub(t.samples[n-1].Time)
	}
	if since < sampleEvery {
		return
	}
	calls := m.server.Stats().Calls
	s := MasterSample{Time: now, Calls: float64(calls-t.calls) / since.Seconds()}
	t.calls = calls
	m.fleetMu.Lock()
	stats, servers := m.fleet.stats(), m.fleet.serverList(now)
	m.fleetMu.Unlock()
	s.Short, s.Queued, s.Clones, s.Alive = stats.short, stats.queued, stats.clones, stats.alive
	for i := range servers {
		if servers[i].alive {
			s.Read += servers[i].read
			s.Written += servers[i].written
			s.Used += servers[i].used
		}
	}
	if len(t.samples) == samplesKept {
		t.samples = slices.Delete(t.samples, 0, 1)
	}
	t.samples = append(t.samples, s)
}

// recent returns the samples, the oldest first.
func (t *trend) recent() []MasterSample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.samples)
}

// A shadowTail is one shadow that follows.
type shadowTail struct {
	addr  net.Addr
	index atomic.Uint64 // of the last command that it was sent
	level atomic.Int64  // UnixNano of when it had been sent all there was
}

// sent notes what the shadow has been sent, and whether that was all there is.
func (t *shadowTail) sent(level bool, index uint64) {
	t.index.Store(index)
	if level {
		t.level.Store(time.Now().UnixNano())
	}
}

// shadowTails are the shadows that follow now.
type shadowTails struct {
	mu  sync.Mutex // guards all
	all []*shadowTail
}

func (s *shadowTails) add(addr net.Addr) *shadowTail {
	t := &shadowTail{addr: addr}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, t)
	return t
}

func (s *shadowTails) remove(t *shadowTail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(other *shadowTail) bool { return other == t })
}

// reports describes the shadows, in the order in which they came.
func (s *shadowTails) reports(now time.Time) []ShadowReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	reports := make([]ShadowReport, 0, len(s.all))
	for _, t := range s.all {
		r := ShadowReport{Addr: t.addr.String(), Index: t.index.Load(), Lag: lagUnknown}
		if at := t.level.Load(); at != 0 {
			r.Lag = now.Sub(time.Unix(0, at)).Seconds()
		}
		reports = append(reports, r)
	}
	return reports
}
