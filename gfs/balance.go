package gfs

import (
	"slices"
	"time"
)

// A balanceState is how far the balancing of disk use has come (§4.3).
type balanceState struct {
	next   time.Duration // when it is looked at again
	at     uint64        // the page of the table from which replicas were moved last
	entry  int           // in it
	left   int           // pages to be looked at before it is given up for now
	began  bool          // a move has begun since that many were left
	moving int           // replicas that are on their way
}

// fruitlessRest is how many times longer it rests when all chunks were looked at and none
// could be moved.
const fruitlessRest = 20

// tickMoves bounds the chunks that a tick looks at for one to be moved.
const tickMoves = 4 << 10

// startMoves begins to move replicas from fuller to emptier servers. A replica is moved
// if the use of the two differs by more than the band and the one it comes to is not the
// fuller of the two after it: each move brings the two nearer to each other, so that there
// is an end. A server that has much more traffic than others gives within the band too.
// Repairs come first.
func (f *fleet) startMoves() {
	b := &f.balance
	if f.cfg.moves < 0 || !f.quiet || f.now < f.fenced() || f.queued > 0 || f.sweep.left > 0 || b.moving >= f.cfg.moves {
		return
	}
	if b.left == 0 {
		if f.now < b.next {
			return
		}
		b.next = f.now + f.cfg.balanceEach
		b.left, b.began = len(f.table.order)+1, false
	}
	givers, takers := f.movers()
	if len(takers) == 0 || !givers {
		b.left = 0
		return
	}
	for seen := 0; seen < tickMoves && b.left > 0 && b.moving < f.cfg.moves; seen++ {
		p := f.table.page(b.at)
		if p == nil || b.entry == replicaPageSize {
			b.at, _ = f.table.next(b.at)
			b.entry = 0
			b.left--
			continue
		}
		e := &p.entries[b.entry]
		h := handle(b.at<<replicaPageShift | uint64(b.entry))
		b.entry++
		if e.n > 0 && e.lane == laneNone && f.move(h, e, takers) {
			b.began = true
			if givers, takers = f.movers(); len(takers) == 0 || !givers {
				b.left = 0
			}
		}
	}
	switch {
	case b.left > 0:
		f.acts.again = f.acts.again || b.moving < f.cfg.moves
	case !b.began: // nothing can be moved
		b.next = f.now + fruitlessRest*f.cfg.balanceEach
	}
}

// movers marks the servers that may give replicas, and returns those that may take some,
// the emptiest first. Both are short of the limits.
func (f *fleet) movers() (givers bool, takers []*fleetServer) {
	mean := f.average()
	least, most, strained := 1.0, 0.0, false
	for _, s := range f.roster {
		s.gives = false
		if s.here == nil || s.row.forgotten || s.row.draining || s.here.state != incarnationComplete {
			continue
		}
		least, most = min(least, s.settledUse(0)), max(most, s.settledUse(0))
		strained = strained || s.strained(mean)
	}
	for _, s := range f.roster {
		if !s.takes() || s.here.state != incarnationComplete {
			continue
		}
		use := s.settledUse(0)
		if s.movesOut < f.cfg.movesEach && (use-least > f.cfg.band || use > least && s.strained(mean)) {
			s.gives, givers = true, true
		}
		if s.movesIn < f.cfg.movesEach && !f.rests(s) && (most-use > f.cfg.band || use < most && strained) && !s.strained(mean) {
			takers = append(takers, s)
		}
	}
	slices.SortFunc(takers, func(a, b *fleetServer) int {
		if x, y := a.settledUse(0), b.settledUse(0); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return a.byID(b)
	})
	return givers, takers
}

// strainedBy is how many times the average traffic makes a server a busy one, from
// strainedFrom bytes a second on.
const (
	strainedBy   = 1.5
	strainedFrom = 1 << 20
)

func (s *fleetServer) strained(mean *meanUse) bool {
	traffic := float64(s.read + s.written)
	return traffic > strainedFrom && traffic > strainedBy*mean.traffic
}

// move begins to move a replica of the chunk, if there is one to be moved.
func (f *fleet) move(h handle, e *chunkEntry, takers []*fleetServer) bool {
	if e.length == 0 || f.leases[h] != nil || f.clones[h] != nil || f.compares[h] != nil || f.occupied(h) {
		return false
	}
	row, exists := f.chunk(h)
	if !exists {
		return false
	}
	words := f.table.words(h, e)
	if !slices.ContainsFunc(words, func(w replicaWord) bool { return f.slots[w.slot()].server.gives }) {
		return false
	}
	others := make([]*fleetServer, 0, 8)
	for _, w := range words {
		if f.worth(h, e, w, &row) != worthGood { // something is to be done for it first
			return false
		}
		others = append(others, f.slots[w.slot()].server)
	}
	for k := range words {
		giver := others[k]
		if !giver.gives || giver.movesOut >= f.cfg.movesEach {
			continue
		}
		for _, taker := range takers {
			if f.mayMove(giver, taker, others, int64(e.length)) {
				from := &cloning{handle: h, version: f.table.versionOf(h, e, words[k]), target: taker, source: giver, moved: giver}
				f.clone(from, e, []*fleetServer{giver}, f.cfg.moveRate/int64(f.cfg.movesEach))
				return true
			}
		}
	}
	return false
}

// mayMove reports whether a replica goes from one server to another, the others having
// replicas too.
func (f *fleet) mayMove(giver, taker *fleetServer, others []*fleetServer, bytes int64) bool {
	if taker.movesIn >= f.cfg.movesEach || slices.Contains(others, taker) || !taker.hasRoom(bytes) || taker.settledUse(bytes) > giver.settledUse(-bytes) {
		return false
	}
	if giver.settledUse(0)-taker.settledUse(0) <= f.cfg.band && !giver.strained(f.average()) {
		return false
	}
	rest := make([]*fleetServer, 0, 8)
	for _, o := range others {
		if o != giver {
			rest = append(rest, o)
		}
	}
	var was, is placeKey
	was.spreadKey(giver, rest)
	is.spreadKey(taker, rest)
	return is.sameHost <= was.sameHost && is.oneRack <= was.oneRack && is.sameRack <= was.sameRack
}

// moveDone dooms the replica that was moved, if the other is as good.
func (f *fleet) moveDone(k *cloning) {
	e := f.table.find(k.handle)
	row, exists := f.chunk(k.handle)
	if e == nil || !exists || f.occupied(k.handle) || f.leases[k.handle] != nil {
		return
	}
	c := f.census(k.handle, e, &row)
	if c.good > c.goal {
		f.trim(k.handle, e, &row, &c, k.moved)
	}
}
