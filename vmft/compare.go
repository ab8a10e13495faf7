package vmft

import (
	"context"
	"errors"
	"hash/crc64"
	"io"
	"time"
)

// A comparison is one of the states of both nodes at a position of the log. One at a time is
// in progress, and all of CheckEvery lies between two: a hash may take longer than that, and
// the machine has to come to something too. l.mu guards it.
type comparison struct {
	with  *session  // whose follower takes part; nil: none is in progress
	since time.Time // when one was last in progress

	ours, theirs stateSum
	instructions uint64 // where the processor stood
}

// A stateSum is the hash of the state at a position.
type stateSum struct{ position, hash uint64 }

// due reports whether a comparison with the follower of a session is to begin, and begins it.
func (c *comparison) due(s *session, now time.Time, every time.Duration) bool {
	if c.since.IsZero() || c.with == s {
		c.since = now
	}
	if now.Sub(c.since) < every {
		return false
	}
	*c = comparison{with: s, since: now}
	return true
}

// check has both sides hash their states. It runs on the applier.
func (l *leader) check() {
	l.mu.Lock()
	closed := !l.core.heir.IsZero() || l.over() != nil
	full := l.keptSize+batchHead+entryOverhead > l.n.cfg.BufferBytes
	l.mu.Unlock()
	if closed || full { // the log has ended; or another time
		l.unhashed(nil)
		return
	}
	l.flight.stamp()
	l.note(kindCheck, nil)
	position, instructions := l.host.position, l.flight.stands()
	sum, err := l.host.hash(l.term, &l.work)
	if err != nil {
		l.unhashed(err)
		return
	}
	l.work.Go(func() {
		h, ok := <-sum
		if !ok {
			l.unhashed(errUnhashed)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if c := &l.comparison; position > c.ours.position { // or it was given up
			c.ours, c.instructions = stateSum{position, h}, instructions
			l.compare()
		}
	})
}

var errUnhashed = errors.New("the image cannot be made")

// unhashed gives the comparison up.
func (l *leader) unhashed(err error) {
	if err != nil && l.term.Err() == nil {
		l.n.cfg.Logger.Warn("the state could not be hashed", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.comparison.with = nil
}

// theirs takes note of the hash that the follower of a session has, or that it has none.
func (l *leader) theirs(s *session, payload []byte) error {
	if len(payload) != 0 && len(payload) != 16 {
		return errFormat
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.comparison
	switch {
	case c.with != s: // one before, which was given up
	case len(payload) == 0:
		c.with = nil
	default:
		if sum := (stateSum{le.Uint64(payload), le.Uint64(payload[8:])}); sum.position > c.theirs.position {
			c.theirs = sum
			l.compare()
		}
	}
	return nil
}

// compare does so if both hashes are there. l.mu is held.
func (l *leader) compare() {
	c := &l.comparison
	if c.with == nil || c.ours.position != c.theirs.position {
		return
	}
	l.n.stats.checks.Add(1)
	if c.ours.hash != c.theirs.hash {
		l.n.diverged(c.ours.position, c.instructions)
		if c.with == l.session { // or it has gone already
			l.session.close() // the backup is made anew, from an image
			l.core.lose()
			poke(l.chain)
		}
	}
	c.with = nil
}

var crcTable = crc64.MakeTable(crc64.ECMA)

// hash freezes the state, and returns where the hash of the image will come.
func (h *host) hash(ctx context.Context, work interface{ Go(func()) }) (<-chan uint64, error) {
	if h.free != nil { // it knows its own, for the cost of what has changed
		sum := make(chan uint64, 1)
		sum <- h.free.sum()
		return sum, nil
	}
	image, err := h.sessions.Freeze()
	if err != nil {
		return nil, err
	}
	sum := make(chan uint64, 1)
	work.Go(func() {
		defer close(sum)
		w := crc64.New(crcTable)
		if _, err := image.WriteTo(whileTerm{ctx, w}); err == nil {
			sum <- w.Sum64()
		}
	})
	return sum, nil
}

// whileTerm writes while a term lasts.
type whileTerm struct {
	ctx context.Context
	to  io.Writer
}

func (w whileTerm) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.to.Write(p)
}
