package gfs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// reportBatch is the most replicas in one report or heartbeat.
	reportBatch = 4096
	// defaultHeartbeat is used until a master says how often it wants them, within
	// bounds.
	defaultHeartbeat = time.Second
	minHeartbeat     = 5 * time.Millisecond
	maxHeartbeat     = time.Minute
	// heartbeatWait is how long a master may take to answer.
	heartbeatWait = 10 * time.Second
)

// A masterLink is what a chunkserver has with one master, standby or shadow: it registers
// there, reports all it has, and then sends heartbeats with what has changed (§2.3).
type masterLink struct {
	s      *Chunkserver
	addr   string
	client *rpc.Client

	mu    sync.Mutex // guards what follows
	epoch uint64     // the master leads in it; 0: it does not

	kick chan struct{} // of capacity 1: it is not to wait for its next heartbeat

	attempts uint64 // to register; register's alone
	changes  map[handle]struct{}

	heartbeat time.Duration // the loop's
	at        time.Time     // of the last heartbeat
	read      int64         // bytes, until then
	written   int64         // bytes, until then
}

func (s *Chunkserver) newMasterLink(addr string) (*masterLink, error) {
	cfg := s.peerConfig()
	cfg.Addrs = []string{addr}
	client, err := rpc.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &masterLink{s: s, addr: addr, client: client, changes: make(map[handle]struct{}), heartbeat: defaultHeartbeat, kick: make(chan struct{}, 1)}, nil
}

// leaders returns the links, that of the newest epoch first.
func (s *Chunkserver) leaders() []*masterLink {
	links := slices.Clone(s.masters)
	slices.SortStableFunc(links, func(a, b *masterLink) int {
		ea, eb := a.leads(), b.leads()
		switch {
		case ea > eb:
			return -1
		case ea < eb:
			return 1
		}
		return 0
	})
	return links
}

func (l *masterLink) leads() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// changed notes that a replica has changed, for every master to be told.
func (s *Chunkserver) changed(h handle) {
	for _, l := range s.masters {
		l.mu.Lock()
		l.changes[h] = struct{}{}
		l.mu.Unlock()
	}
}

// run keeps the master informed until the server is closed.
func (l *masterLink) run() {
	said := grumble{}
	for {
		if err := l.register(); err != nil {
			if l.s.ctx.Err() == nil && said.again(time.Now(), err) {
				l.s.log.Warn("not registered; it goes on trying", "master", l.addr, "err", err)
			}
			if !l.rest(min(l.heartbeat, time.Second)) {
				return
			}
			continue
		}
		said = grumble{}
		if !l.beats() {
			return
		}
	}
}

// rest waits, unless there is a hurry, and reports whether the server goes on.
func (l *masterLink) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.kick:
	case <-l.s.ctx.Done():
		return false
	}
	return true
}

// hurry has the next heartbeat, or registration, sent at once.
func (l *masterLink) hurry() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// A grumble keeps what fails again and again from filling the log.
type grumble struct {
	last string
	at   time.Time
}

// grumbleEvery is how often the same is said again.
const grumbleEvery = time.Minute

// again reports whether an error is worth being said: it is another than the last, or that
// was long ago.
func (g *grumble) again(now time.Time, err error) bool {
	if text := err.Error(); text != g.last {
		g.last = text
	} else if now.Sub(g.at) < grumbleEvery {
		return false
	}
	g.at = now
	return true
}

// call calls the master.
func masterCall[Resp, Req any](l *masterLink, method string, req *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(l.s.ctx, heartbeatWait)
	defer cancel()
	return rpc.Call[Resp](ctx, l.client, method, req)
}

// register makes the server known, and reports all its replicas.
func (l *masterLink) register() error {
	s := l.s
	l.mu.Lock()
	clear(l.changes) // what changes from now on is told by heartbeats, besides
	l.mu.Unlock()
	l.attempts++
	capacity, used := s.store.space()
	req := &registerReq{
		uuid: s.store.uuid(), boot: s.boot, attempt: l.attempts, addr: s.addr, rack: s.cfg.Rack, zone: s.cfg.Zone,
		capacity: capacity, used: used, epoch: s.store.epoch(),
	}
	resp, err := masterCall[registerResp](l, methodRegister, req)
	if err != nil {
		return err
	}
	if resp.server != 0 {
		s.id.Store(uint32(resp.server))
	}
	if resp.chunkSize > 0 && resp.chunkSize <= MaxChunkSize {
		s.chunkSize.Store(resp.chunkSize)
	}
	l.heartbeat = defaultHeartbeat
	if resp.heartbeat > 0 {
		l.heartbeat = min(max(resp.heartbeat, minHeartbeat), maxHeartbeat)
	}
	l.follows(resp.epoch)
	all := s.store.handles()
	for {
		n := min(len(all), reportBatch)
		rep := &reportReq{server: resp.server, boot: s.boot, attempt: l.attempts, last: n == len(all)}
		for _, h := range all[:n] {
			if st := s.store.state(h); st.health != gone {
				rep.replicas = append(rep.replicas, st)
			}
		}
		all = all[n:]
		if _, err := masterCall[rpc.Empty](l, methodReport, rep); err != nil {
			return err
		}
		if rep.last {
			s.log.Info("registered", "master", l.addr, "server", resp.server, "epoch", resp.epoch)
			return nil
		}
	}
}

// follows notes whether the master leads, and reports whether what it says is to be
// done: nobody has led since.
func (l *masterLink) follows(epoch uint64) bool {
	ok := epoch != 0 && l.s.store.obey(epoch) == nil
	if !ok {
		epoch = 0
	}
	l.mu.Lock()
	l.epoch = epoch
	l.mu.Unlock()
	return ok
}

// beats sends heartbeats until the master wants another registration, or the server is
// closed: then it returns false.
func (l *masterLink) beats() bool {
	l.at = time.Now()
	l.read, l.written = l.s.store.read.Load(), l.s.store.written.Load()
	for l.rest(l.heartbeat) {
		err := l.beat()
		if errors.Is(err, errUnregistered) {
			return true
		}
		if err != nil {
			l.follows(0)
			l.s.log.Debug("heartbeat was not answered", "master", l.addr, "err", err)
		}
	}
	return false
}

// beat sends a heartbeat, and does what the answer says.
func (l *masterLink) beat() error {
	s := l.s
	l.mu.Lock()
	telling := l.changes
	l.changes = make(map[handle]struct{})
	l.mu.Unlock()
	req := &heartbeatReq{server: serverID(s.id.Load()), boot: s.boot, clock: s.clock()}
	req.capacity, req.used = s.store.space()
	req.read, req.written = l.rates()
	rest := make(map[handle]struct{})
	for h := range telling {
		if len(req.changes) == reportBatch {
			rest[h] = struct{}{}
			continue
		}
		req.changes = append(req.changes, s.store.state(h))
	}
	if l.leads() != 0 {
		req.extend = s.extensions()
	}
	s.mu.Lock()
	req.cloning = uint64(len(s.clones))
	s.mu.Unlock()
	resp, err := masterCall[heartbeatResp](l, methodHeartbeat, req)
	if err != nil {
		rest = telling
	}
	l.mu.Lock()
	maps.Copy(l.changes, rest)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if l.follows(resp.epoch) {
		s.extended(resp.extended)
		for _, d := range resp.delete {
			s.discard(d)
		}
	}
	return nil
}

// rates returns bytes a second since the last heartbeat.
func (l *masterLink) rates() (read, written int64) {
	now := time.Now()
	d := max(now.Sub(l.at), time.Millisecond)
	r, w := l.s.store.read.Load(), l.s.store.written.Load()
	read = int64(float64(r-l.read) / d.Seconds())
	written = int64(float64(w-l.written) / d.Seconds())
	l.at, l.read, l.written = now, r, w
	return read, written
}

// extensions returns the leases that should be extended.
func (s *Chunkserver) extensions() []replicaState {
	var list []replicaState
	for _, r := range s.allRoles() {
		r.mu.Lock()
		if p := r.primary; p != nil && p.wants(s.clock()) && len(list) < reportBatch {
			list = append(list, replicaState{handle: r.handle, version: p.version, length: p.length})
		}
		r.mu.Unlock()
	}
	return list
}

// extended prolongs leases.
func (s *Chunkserver) extended(terms []leaseTerm) {
	for _, t := range terms {
		if r := s.role(t.handle); r != nil {
			r.mu.Lock()
			if r.primary != nil {
				r.primary.extend(t)
				r.follow(r.primary)
			}
			r.mu.Unlock()
		}
	}
}

// discard deletes a replica that the master has no use for, if it still is at the version
// at which it was doomed.
func (s *Chunkserver) discard(d doomed) {
	if s.leading(d.handle) {
		return // it will be of use to somebody, until the lease is over
	}
	err := s.store.delete(d.handle, d.version)
	switch {
	case err == nil:
		s.log.Debug("replica deleted", "chunk", uint64(d.handle), "version", uint64(d.version))
		r := s.takeRole(d.handle)
		r.forget()
		r.mu.Unlock()
	case !errors.Is(err, ErrStale):
		s.log.Warn("replica cannot be deleted", "chunk", uint64(d.handle), "err", err)
	}
}
