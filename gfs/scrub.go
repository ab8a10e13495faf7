package gfs

import (
	"cmp"
	"slices"
	"time"
)

// scrub reads replicas that are not being mutated, each once an interval, and holds them
// against their checksums (§5.2): what is seldom read could rot on all servers at once
// without anybody noticing. What does not match is reported.
func (s *Chunkserver) scrub() {
	interval := s.cfg.ScrubInterval
	began := time.Now() // what was there at the start counts as read then
	for {
		due := s.scrubDue(began, interval)
		if len(due) == 0 {
			if !s.pause(max(interval/16, time.Millisecond)) {
				return
			}
			continue
		}
		pace := s.pacer(s.cfg.ScrubRate)
		for _, c := range due {
			if s.ctx.Err() != nil {
				return
			}
			d, err := s.store.digest(c.handle, pace)
			if err != nil {
				c.mu.Lock()
				c.scrubbed = time.Now() // it is not read again at once
				c.mu.Unlock()
				continue
			}
			s.counts.scrubbed.Add(1)
			s.counts.rotten.Add(uint64(len(d.bad)))
		}
	}
}

// scrubDue returns the replicas that have not been read for an interval and are not being
// mutated, those that have waited longest first.
func (s *Chunkserver) scrubDue(began time.Time, interval time.Duration) []*storedChunk {
	type candidate struct {
		c    *storedChunk
		last time.Time
	}
	var due []candidate
	for _, h := range s.store.handles() {
		c, err := s.store.find(h)
		if err != nil {
			continue
		}
		c.mu.RLock()
		last, resting := c.scrubbed, !c.dirty && c.health == sound && !c.gone
		c.mu.RUnlock()
		if last.IsZero() {
			last = began
		}
		if resting && time.Since(last) >= interval {
			due = append(due, candidate{c, last})
		}
	}
	slices.SortFunc(due, func(a, b candidate) int {
		return cmp.Or(a.last.Compare(b.last), cmp.Compare(a.c.handle, b.c.handle))
	})
	chunks := make([]*storedChunk, len(due))
	for i := range due {
		chunks[i] = due[i].c
	}
	return chunks
}
