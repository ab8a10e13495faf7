package gfs

import "time"

// Lanes. Chunks are repaired in the order of their lanes, and within one in the order in
// which they came (§4.3).
const (
	laneNone   uint8                    = iota
	laneWaits                           // a client waits
	laneLive                            // of a live file; the first of laneRanks
	laneHidden = laneLive + laneRanks   // only of removed files; likewise
	laneSpread = laneHidden + laneRanks // all replicas are in one rack

	laneCompareFirst = laneSpread + 1 // to be compared; nothing else can be read
	laneCompare      = laneSpread + 2
	laneParked       = laneSpread + 3 // there is no place now
	laneResting      = laneSpread + 4 // it has failed, and is tried again later
	laneCount        = laneSpread + 5

	laneRanks = 8
)

// laneOf says where a chunk belongs: fewest replicas first, then the furthest from its
// goal.
func (f *fleet) laneOf(h handle, e *chunkEntry, row *chunkRow, c *chunkCensus) uint8 {
	missing, unsure := c.missing(), c.suspect+c.doubted > 0
	_, held := f.held[h]
	switch {
	case missing <= 0 && !unsure && (c.apart || c.good < 2 || f.racks < 2):
		e.flags &^= entryWaits
		delete(f.failures, h)
		if held {
			f.release(h)
		}
		return laneNone
	case f.failures[h].until > f.now:
		return laneResting
	case missing > 0 && c.copies() > 0:
		if held || e.flags&entryWaits != 0 {
			return laneWaits
		}
		rank := 2*min(c.copies(), laneRanks/2) - 1
		if missing >= 2 {
			rank--
		}
		if row.live == 0 {
			return laneHidden + uint8(rank)
		}
		return laneLive + uint8(rank)
	case c.suspect > 0 && c.copies() == 0, c.lost():
		return laneCompareFirst
	case unsure:
		return laneCompare
	case missing > 0: // nobody has it
		return laneNone
	}
	return laneSpread
}

// A repairLane is a queue of chunks. An entry whose chunk is in another lane now, or in
// none, is skipped when it is met.
type repairLane struct {
	entries []handle
	live    int // chunks that are in it
}

// enqueue puts a chunk into a lane, and takes it out of any other.
func (f *fleet) enqueue(h handle, e *chunkEntry, lane uint8) {
	if e.lane == lane {
		return
	}
	f.dequeue(e)
	if lane == laneNone {
		return
	}
	e.lane = lane
	q := &f.lanes[lane]
	q.live++
	if lane < laneParked {
		f.queued++
	}
	if lane != laneResting {
		q.entries = append(q.entries, h)
	}
	if len(q.entries) > 2*q.live+1024 {
		f.compact(lane)
	}
}

// compact drops the entries of a lane whose chunks are not in it.
func (f *fleet) compact(lane uint8) {
	q := &f.lanes[lane]
	seen := make(map[handle]bool, q.live)
	kept := make([]handle, 0, q.live)
	for _, h := range q.entries {
		if e := f.table.find(h); e != nil && e.lane == lane && !seen[h] {
			seen[h] = true
			kept = append(kept, h)
		}
	}
	q.entries = kept
}

func (f *fleet) dequeue(e *chunkEntry) {
	if e.lane == laneNone {
		return
	}
	f.lanes[e.lane].live--
	if e.lane < laneParked {
		f.queued--
	}
	e.lane = laneNone
}

// lookAhead is how many chunks of a lane that can't be begun now do not keep those after
// them from being begun.
const lookAhead = 64

// tickRepairs bounds the chunks of the lanes that a tick looks at.
const tickRepairs = 512

// walk calls try for the chunks of a lane, the oldest first, until it says to stop. Those
// of which it says so stay.
func (f *fleet) walk(lane uint8, budget *int, try func(h handle, e *chunkEntry) (stays, stop bool)) {
	q := &f.lanes[lane]
	if q.live == 0 {
		q.entries = nil
		return
	}
	entries, n, stop := q.entries, 0, false
	kept := make([]handle, 0, lookAhead)
	q.entries = nil // what comes meanwhile goes behind
	for ; n < len(entries) && !stop && *budget > 0 && len(kept) < lookAhead; n++ {
		e := f.table.find(entries[n])
		if e == nil || e.lane != lane {
			continue
		}
		*budget--
		var stays bool
		if stays, stop = try(entries[n], e); stays {
			kept = append(kept, entries[n])
		}
	}
	n -= len(kept)
	copy(entries[n:], kept)
	q.entries = append(entries[n:], q.entries...)
}

// A repairFailure remembers that repairs of a chunk have failed.
type repairFailure struct {
	times int
	until time.Duration // it rests
	where serverID      // to which it was to be copied
}

// failed makes a chunk rest, the longer the more often it has failed.
func (f *fleet) failed(h handle, where serverID) {
	k := f.failures[h]
	rest := min(f.cfg.retryFirst<<min(k.times, 20), f.cfg.retryMost)
	f.failures[h] = repairFailure{k.times + 1, f.now + rest, where}
	f.after(rest, timerRetry, h)
}

func (f *fleet) retryDue(h handle) {
	if e := f.table.find(h); e != nil && e.lane == laneResting && f.failures[h].until <= f.now {
		f.dequeue(e)
		f.assess(h)
	}
}
