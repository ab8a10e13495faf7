package gfs

import (
	"cmp"
	"slices"
	"time"
)

// A creationRate counts creations lately: those of this span, and of the one before as
// far as it is not past.
type creationRate struct {
	span      int64 // number of the span
	this, old int
}

func (r *creationRate) roll(now, span time.Duration) {
	switch n := int64(now / span); {
	case n == r.span:
	case n == r.span+1:
		r.span, r.this, r.old = n, 0, r.this
	default:
		r.span, r.this, r.old = n, 0, 0
	}
}

// lately estimates the creations of the last span.
func (r *creationRate) lately(now, span time.Duration) int {
	r.roll(now, span)
	left := span - now%span
	return r.this + int(int64(r.old)*int64(left)/int64(span))
}

// A meanUse is the use of all disks together.
type meanUse struct {
	valid   bool
	at      time.Duration
	use     float64 // of 1
	traffic float64 // bytes a second, of one server on the average
}

// above is 0 for a server with no more use than the average, and the greater the more.
func (m *meanUse) above(s *fleetServer) int {
	if more := s.use(0) - m.use; more > 0 {
		return 1 + int(16*more)
	}
	return 0
}

// use is how full a server is, of 1, if so many bytes more come: what is on its way
// counts, and so does what is to be deleted.
func (s *fleetServer) use(more int64) float64 {
	if s.capacity <= 0 {
		return 1
	}
	return float64(max(0, s.used+s.incoming+more)) / float64(s.capacity)
}

// settledUse is how full a server will be when what is under way is done.
func (s *fleetServer) settledUse(more int64) float64 {
	if s.here != nil {
		more -= s.here.leaving
	}
	return s.use(more - s.outgoing)
}

// hasRoom reports whether so many bytes fit on a server.
func (s *fleetServer) hasRoom(bytes int64) bool {
	return s.capacity-s.used-s.incoming >= bytes
}

// takes reports whether a server may be given replicas at all.
func (s *fleetServer) takes() bool {
	return s.here != nil && !s.row.draining && !s.row.forgotten
}

// average returns the use of all disks, which is looked at once in a heartbeat.
func (f *fleet) average() *meanUse {
	m := &f.mean
	if m.valid && f.now-m.at < f.cfg.heartbeat {
		return m
	}
	var used, capacity float64
	var traffic, n int64
	for _, s := range f.roster {
		if s.takes() {
			used += float64(s.used + s.incoming)
			capacity += float64(s.capacity)
			traffic += s.read + s.written
			n++
		}
	}
	*m = meanUse{valid: true, at: f.now}
	if n > 0 && capacity > 0 {
		m.use, m.traffic = used/capacity, float64(traffic)/float64(n)
	}
	return m
}

// label numbers the rack and the host of a server, so that they compare quickly.
func (f *fleet) label(s *fleetServer) {
	s.rack = f.intern(s.row.zone + "\x00" + s.row.rack + "\x00r")
	s.zone = f.intern(s.row.zone + "\x00z")
	s.host = f.intern(addressHost(s.row.addr) + "\x00h")
}

func (f *fleet) intern(name string) int {
	n, ok := f.labels[name]
	if !ok {
		n = len(f.labels) + 1
		f.labels[name] = n
	}
	return n
}

// noteRacks counts the racks of the living. When there is a second one, chunks can be
// spread that could not be.
func (f *fleet) noteRacks() {
	var seen []int
	for _, s := range f.roster {
		if s.takes() && !slices.Contains(seen, s.rack) {
			seen = append(seen, s.rack)
		}
	}
	if f.racks < 2 && len(seen) >= 2 {
		f.sweepAll()
	}
	f.racks = len(seen)
}

// A placeKey says how good a place is for a replica; the least is the best. Replicas are
// never all in one rack if they need not be. Further than that they are spread as far as
// no server has more than its share of creations for it (§4.2).
type placeKey struct {
	sameHost int // as another replica
	oneRack  int // all would be in one rack
	failed   int // it has just failed there
	busy     int // too many creations lately
	sameRack int // as another replica
	above    int // the average use: by so many sixteenths of a disk
	sameZone int // as another replica
	far      int // from who writes; only for the first
	recent   int
	mixed    uint64 // any of those that are left, another for each chunk
}

// mixedKey orders servers in another way for each chunk, so that those of one server have
// their other replicas on all others, and all help when it is lost (§4.3).
func mixedKey(chunk uint64, s *fleetServer) uint64 {
	x := chunk*0x9e3779b97f4a7c15 + uint64(s.row.id)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (k *placeKey) compare(o *placeKey) int {
	return cmp.Or(
		cmp.Compare(k.sameHost, o.sameHost), cmp.Compare(k.oneRack, o.oneRack), cmp.Compare(k.failed, o.failed),
		cmp.Compare(k.busy, o.busy), cmp.Compare(k.sameRack, o.sameRack), cmp.Compare(k.above, o.above),
		cmp.Compare(k.sameZone, o.sameZone), cmp.Compare(k.far, o.far), cmp.Compare(k.recent, o.recent), cmp.Compare(k.mixed, o.mixed))
}

// spreadKey fills in what follows from where the others are.
func (k *placeKey) spreadKey(s *fleetServer, others []*fleetServer) {
	apart := false
	for _, o := range others {
		if o.host == s.host {
			k.sameHost = 1
		}
		if o.rack == s.rack {
			k.sameRack++
		} else {
			apart = true
		}
		if o.zone == s.zone {
			k.sameZone++
		}
		apart = apart || o.rack != others[0].rack
	}
	k.oneRack = btoi(len(others) > 0 && !apart)
}

// place chooses the servers of a new chunk: up to n of them, fewer if there are fewer
// with room. The creation counts as theirs. near is who will write it, or nil; exclude are
// servers that are not wanted. The error is ErrNoSpace if there is none.
func (f *fleet) place(now time.Time, n int, near *location, exclude []serverID) ([]holder, error) {
	f.clock(now)
	chosen := make([]*fleetServer, 0, n)
	mean := f.average()
	f.placed++
	for len(chosen) < n {
		var best *fleetServer
		var bestKey placeKey
		for _, s := range f.roster {
			if !s.takes() || !s.hasRoom(f.cfg.chunkSize) || slices.Contains(exclude, s.row.id) || slices.Contains(chosen, s) {
				continue
			}
			key := placeKey{mixed: mixedKey(f.placed, s), recent: s.recent.lately(f.now, f.cfg.creationSpan), above: mean.above(s)}
			key.busy = btoi(key.recent >= f.cfg.creations || !s.hasRoom(int64(key.recent+1)*f.cfg.chunkSize))
			key.spreadKey(s, chosen)
			if near != nil && len(chosen) == 0 {
				at := s.location()
				key.far = distance(near, &at)
			}
			if best == nil || key.compare(&bestKey) < 0 {
				best, bestKey = s, key
			}
		}
		if best == nil {
			break
		}
		chosen = append(chosen, best)
	}
	if len(chosen) == 0 {
		return nil, ErrNoSpace
	}
	places := make([]holder, 0, len(chosen))
	for _, s := range chosen {
		s.recent.roll(f.now, f.cfg.creationSpan)
		s.recent.this++
		places = append(places, holder{location: s.location(), boot: s.here.boot})
	}
	return places, nil
}

// pickTarget chooses where a chunk is to be copied to, or returns nil if there is no
// place. With limits, servers to which enough is on its way are none.
func (f *fleet) pickTarget(h handle, e *chunkEntry, c *chunkCensus, limits bool) *fleetServer {
	bytes := int64(cmp.Or(e.length, uint32(f.cfg.chunkSize)))
	row, _ := f.chunk(h)
	holders, good := make([]*fleetServer, 0, 8), make([]*fleetServer, 0, 8)
	for _, w := range f.table.words(h, e) {
		s := f.slots[w.slot()].server
		holders = append(holders, s)
		switch f.worth(h, e, w, &row) {
		case worthGood, worthDoubted, worthExpected, worthSuspect:
			if !s.row.draining {
				good = append(good, s)
			}
		}
	}
	spread := c.missing() <= 0 // there are enough, but all in one rack
	mean := f.average()
	var best *fleetServer
	var bestKey placeKey
	for _, s := range f.roster {
		if !s.takes() || s.here.state != incarnationComplete || slices.Contains(holders, s) || !s.hasRoom(bytes) ||
			limits && (s.clonesIn >= f.cfg.clonesEach || f.rests(s)) {
			continue
		}
		key := placeKey{mixed: mixedKey(uint64(h), s), recent: s.clonesIn, above: mean.above(s), failed: btoi(f.failures[h].where == s.row.id)}
		key.spreadKey(s, good)
		if spread && key.oneRack != 0 {
			continue
		}
		if best == nil || key.compare(&bestKey) < 0 {
			best, bestKey = s, key
		}
	}
	return best
}
