package rpc

import "math/bits"

// clientSession is the client's side of exactly-once calls: it gives each call
// its sequence, and knows up to where all calls are finished with (the
// watermark). It is a core: no lock, no clock. The zero value has no session.
//
// Whoever makes a call repeats ⟨id, seq⟩, each time with the watermark of that
// moment, until there is an answer that settles it, and then says done. Whoever
// gives up says abandoned: what is still under way of that call will be executed
// or refused as stale, but never answered.
//
// When the server answers ErrSessionExpired, the session is over (lost); calls go
// on in the next one. The outcome of those that were under way is unknown.
//
// Invariants: no ⟨id, seq⟩ is handed out twice; the watermark never goes back,
// and never passes a call that is neither done nor abandoned; at most window
// sequences lie from the watermark on.
type clientSession struct {
	id     SessionID
	window uint64
	seq    uint64 // the next sequence
	low    uint64 // the watermark
	told   uint64 // the highest watermark that the server is known to have
	// over has a bit for each sequence of [low, seq), at seq & (window-1) of a
	// window rounded up to a power of two: finished with.
	over []uint64
}

// open begins a session that the server has issued, with at most window calls
// unacknowledged (at least 1, at most SessionMaxWindow).
func (c *clientSession) open(id SessionID, window int) {
	window = min(max(window, 1), SessionMaxWindow)
	words := max(1, 1<<bits.Len(uint(window-1))/64)
	if len(c.over) != words {
		c.over = make([]uint64, words)
	}
	clear(c.over)
	c.id, c.window, c.seq, c.low, c.told = id, uint64(window), 1, 1, 1
}

// lost ends the session, if it is still the one of id.
func (c *clientSession) lost(id SessionID) {
	if c.id == id {
		c.id = SessionID{}
	}
}

// opened reports whether there is a session.
func (c *clientSession) opened() bool { return !c.id.IsZero() }

// next hands out the sequence of a new call. It reports false if there is no
// session or the window is full.
func (c *clientSession) next() (id SessionID, seq, watermark uint64, ok bool) {
	if !c.opened() || c.room() == 0 {
		return SessionID{}, 0, 0, false
	}
	seq = c.seq
	c.seq++
	return c.id, seq, c.low, true
}

// watermark returns the sequence below which all calls are finished with.
func (c *clientSession) watermark() uint64 { return c.low }

// done finishes with a call that has its answer. Calls of sessions that are over
// are ignored.
func (c *clientSession) done(id SessionID, seq uint64) {
	if id != c.id || seq < c.low || seq >= c.seq {
		return
	}
	word, bit := c.place(seq)
	*word |= bit
	for c.low < c.seq {
		word, bit := c.place(c.low)
		if *word&bit == 0 {
			return
		}
		*word &^= bit
		c.low++
	}
}

// abandoned finishes with a call that nobody wants an answer to any more.
func (c *clientSession) abandoned(id SessionID, seq uint64) { c.done(id, seq) }

func (c *clientSession) place(seq uint64) (word *uint64, bit uint64) {
	i := seq & uint64(len(c.over)*64-1)
	return &c.over[i/64], 1 << (i % 64)
}

// outstanding returns the number of sequences from the watermark on.
func (c *clientSession) outstanding() int { return int(c.seq - c.low) }

// room returns how many calls the window has room for.
func (c *clientSession) room() int { return int(c.window) - c.outstanding() }

// heard notes that the server has answered a request with this watermark.
func (c *clientSession) heard(id SessionID, watermark uint64) {
	if id == c.id {
		c.told = max(c.told, watermark)
	}
}

// owes reports whether the server holds results that it could free, if it were
// told the watermark: what a client does that has been idle for a while.
func (c *clientSession) owes() bool { return c.opened() && c.told < c.low }
