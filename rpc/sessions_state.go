package rpc

import (
	"math/bits"
	"slices"
	"time"
)

// sessionState is one client's session.
type sessionState struct {
	n         uint64
	watermark uint64 // sequences below it are finished with
	top       uint64 // one above the highest sequence that began; at least watermark
	last      int64  // the last activity, Unix milliseconds
	bytes     int64  // accounted
	running   int    // calls in phase sessionRunning, orphans among them
	closed    bool   // gone for the client, kept for its orphans
	// ring holds the entries of [watermark, top), seq at seq & (len-1). Its
	// length is a power of two, at least top-watermark and at most four times it
	// (or sessionRingMin); nil before the first call.
	ring []sessionEntry
	// orphans are running calls that the watermark has passed, in that order.
	orphans []sessionOrphan

	older, newer *sessionState // neighbours by last activity
}

// sessionPhase is the state of one call.
type sessionPhase uint8

const (
	sessionFree     sessionPhase = iota // no entry; → running
	sessionRunning                      // → done, tooLarge, unknown; aborted → free
	sessionDone                         // result is kept; passed → free
	sessionTooLarge                     // executed, result not kept; passed → free
	sessionUnknown                      // cut off by a crash; passed → free
)

type sessionEntry struct {
	phase   sessionPhase
	shared  bool  // an image refers to result: don't recycle it
	waiters int32 // list in Sessions.waiters, 0 is empty
	hash    uint64
	result  []byte
}

type sessionOrphan struct {
	seq     uint64
	waiters int32
}

const (
	sessionSlotBytes = 48 // accounted for each sequence of a window
	sessionRingMin   = 8  // entries of the smallest ring
)

// find returns the session of id, closed ones too, or nil.
func (s *Sessions) find(id SessionID) *sessionState {
	if id.Table != s.table && !s.planted.reuseID {
		return nil
	}
	return s.byN[id.N]
}

// open returns the session of id if its client may still use it, or nil.
func (s *Sessions) open(id SessionID) *sessionState {
	if ss := s.find(id); ss != nil && !ss.closed {
		return ss
	}
	return nil
}

// watermark returns that of a session that the table knows.
func (s *Sessions) watermark(id SessionID) uint64 {
	if ss := s.find(id); ss != nil {
		return ss.watermark
	}
	return 0
}

// fresh reports whether a request is certainly the first of its call.
func (s *Sessions) fresh(c SessionCall) bool {
	ss := s.open(c.ID)
	return ss != nil && c.Seq >= ss.watermark && ss.entry(c.Seq) == nil
}

// entry returns the entry of seq, or nil if there is none.
func (ss *sessionState) entry(seq uint64) *sessionEntry {
	if seq < ss.watermark || seq >= ss.top {
		return nil
	}
	if e := &ss.ring[seq&uint64(len(ss.ring)-1)]; e.phase != sessionFree {
		return e
	}
	return nil
}

// account adds bytes to what the session and the table hold.
func (s *Sessions) account(ss *sessionState, bytes int64) {
	ss.bytes += bytes
	s.bytes += bytes
}

// advance moves the table's time, which never goes back.
func (s *Sessions) advance(at time.Time) {
	s.now = max(s.now, at.UnixMilli())
}

func (s *Sessions) touch(ss *sessionState, at time.Time) {
	s.advance(at)
	s.touchNow(ss)
}

// touchNow makes ss the session that was active last.
func (s *Sessions) touchNow(ss *sessionState) {
	ss.last = s.now
	if ss.newer == &s.root {
		return
	}
	ss.older.newer, ss.newer.older = ss.newer, ss.older
	ss.older, ss.newer = s.root.older, &s.root
	ss.older.newer, s.root.older = ss, ss
}

// stretch raises top, growing the ring to the next power of two if need be.
func (s *Sessions) stretch(ss *sessionState, top uint64) {
	added := int(top - ss.top)
	ss.top = top
	s.slots += added
	s.account(ss, int64(added)*sessionSlotBytes)
	if span := int(top - ss.watermark); span > len(ss.ring) {
		s.resize(ss, sessionRingSize(span))
	}
}

// sessionRingSize returns the size of a ring that holds span entries.
func sessionRingSize(span int) int {
	if span <= sessionRingMin {
		return sessionRingMin
	}
	return 1 << bits.Len(uint(span-1))
}

// acknowledge raises the watermark and frees what it passes. What runs on stays
// as an orphan: it counts, and its waiters will get the result.
func (s *Sessions) acknowledge(ss *sessionState, watermark uint64) {
	if watermark <= ss.watermark {
		return
	}
	end := min(watermark, ss.top)
	for seq := ss.watermark; seq < end; seq++ {
		e := &ss.ring[seq&uint64(len(ss.ring)-1)]
		switch e.phase {
		case sessionRunning:
			ss.orphans = append(ss.orphans, sessionOrphan{seq, e.waiters})
			s.slots++
			s.account(ss, sessionSlotBytes-s.reserve())
		case sessionDone:
			s.account(ss, -sessionSize(len(e.result)))
			if !e.shared {
				s.pool.put(e.result)
			}
		}
		*e = sessionEntry{}
	}
	if end > ss.watermark {
		freed := int(end - ss.watermark)
		s.slots -= freed
		s.account(ss, -int64(freed)*sessionSlotBytes)
	}
	ss.watermark = watermark
	ss.top = max(ss.top, watermark)
	if span := int(ss.top - watermark); len(ss.ring) > max(sessionRingMin, 4*span) {
		s.resize(ss, sessionRingSize(2*span))
	}
}

// resize moves the entries into a ring of n, which holds the span.
func (s *Sessions) resize(ss *sessionState, n int) {
	ring := s.pool.ring(n)
	for seq := ss.watermark; seq < ss.top && len(ss.ring) > 0; seq++ {
		e := &ss.ring[seq&uint64(len(ss.ring)-1)]
		ring[seq&uint64(n-1)], *e = *e, sessionEntry{}
	}
	s.pool.putRing(ss.ring)
	ss.ring = ring
}

// ended counts a running call off.
func (s *Sessions) ended(ss *sessionState) {
	ss.running--
	s.running--
}

// store ends a running call, with a copy of its result or without.
func (s *Sessions) store(ss *sessionState, e *sessionEntry, kept bool, result ...[]byte) {
	e.phase, e.result, e.shared = sessionTooLarge, nil, false
	if kept {
		e.phase, e.result = sessionDone, s.pool.copy(result...)
	}
	s.account(ss, sessionSize(len(e.result))-s.reserve())
	s.ended(ss)
	s.touchNow(ss)
}

// release appends the waiters of e to dst and forgets them.
func (s *Sessions) release(e *sessionEntry, dst []uint64) []uint64 {
	if s.planted.dropWaiter {
		s.waiters.release(&e.waiters, nil)
		return dst
	}
	return s.waiters.release(&e.waiters, dst)
}

// endOrphan is Complete for a call that the watermark has passed.
func (s *Sessions) endOrphan(ss *sessionState, seq uint64, dst []uint64) ([]uint64, error) {
	i := slices.IndexFunc(ss.orphans, func(o sessionOrphan) bool { return o.seq == seq })
	if i < 0 {
		return dst, ErrSessionStale
	}
	dst = s.waiters.release(&ss.orphans[i].waiters, dst)
	ss.orphans = slices.Delete(ss.orphans, i, i+1)
	s.slots--
	s.account(ss, -sessionSlotBytes)
	s.ended(ss)
	s.touchNow(ss)
	if ss.closed && ss.running == 0 {
		s.drop(ss)
	}
	return dst, ErrSessionStale
}

// recoverSession turns running calls into unknown ones and returns their number.
func (s *Sessions) recoverSession(ss *sessionState) int {
	n := 0
	for seq := ss.watermark; seq < ss.top; seq++ {
		if e := ss.entry(seq); e != nil && e.phase == sessionRunning {
			e.phase, e.waiters = sessionUnknown, 0
			s.ended(ss)
			s.account(ss, -s.reserve())
			n++
		}
	}
	for range ss.orphans {
		s.slots--
		s.account(ss, -sessionSlotBytes)
		s.ended(ss)
	}
	ss.orphans = nil
	return n
}

// drop removes a session that has no running calls.
func (s *Sessions) drop(ss *sessionState) {
	s.acknowledge(ss, ss.top)
	s.pool.putRing(ss.ring)
	ss.older.newer, ss.newer.older = ss.newer, ss.older
	delete(s.byN, ss.n)
}
