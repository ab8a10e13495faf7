package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

// check returns the first invariant of the table that does not hold.
func (s *Sessions) check() error {
	slots, running, waiting, sessions := 0, 0, 0, 0
	bytes := int64(0)
	last := int64(-1 << 63)
	for ss := s.root.newer; ss != &s.root; ss = ss.newer {
		sessions++
		if s.byN[ss.n] != ss || ss.n == 0 || ss.n >= s.next {
			return fmt.Errorf("session %d is not where it belongs", ss.n)
		}
		if ss.newer.older != ss || ss.last < last || ss.last > s.now {
			return fmt.Errorf("session %d: order of activity is broken", ss.n)
		}
		last = ss.last
		if err := s.checkSession(ss); err != nil {
			return fmt.Errorf("session %d: %w", ss.n, err)
		}
		slots += int(ss.top-ss.watermark) + len(ss.orphans)
		running += ss.running
		bytes += ss.bytes
		for seq := ss.watermark; seq < ss.top; seq++ {
			if e := ss.entry(seq); e != nil {
				waiting += s.waiters.count(e.waiters)
			}
		}
		for _, o := range ss.orphans {
			waiting += s.waiters.count(o.waiters)
		}
	}
	switch {
	case sessions != len(s.byN) || sessions > s.cfg.MaxSessions:
		return fmt.Errorf("%d sessions, %d known", sessions, len(s.byN))
	case slots != s.slots || slots > s.cfg.MaxEntries:
		return fmt.Errorf("%d slots, %d accounted, limit %d", slots, s.slots, s.cfg.MaxEntries)
	case bytes != s.bytes || bytes > s.cfg.MaxBytes:
		return fmt.Errorf("%d bytes, %d accounted, limit %d", bytes, s.bytes, s.cfg.MaxBytes)
	case running != s.running:
		return fmt.Errorf("%d running, %d accounted", running, s.running)
	case waiting != s.waiters.n || waiting > s.cfg.MaxWaiters:
		return fmt.Errorf("%d waiting, %d accounted, limit %d", waiting, s.waiters.n, s.cfg.MaxWaiters)
	}
	return nil
}

func (s *Sessions) checkSession(ss *sessionState) error {
	span := int(ss.top - ss.watermark)
	if ss.watermark == 0 || ss.top < ss.watermark || span > s.cfg.Window {
		return fmt.Errorf("watermark %d, top %d", ss.watermark, ss.top)
	}
	if n := len(ss.ring); n < span || n&(n-1) != 0 || n > max(sessionRingMin, 4*span) {
		return fmt.Errorf("a ring of %d for a span of %d", n, span)
	}
	if ss.closed && (span > 0 || ss.running == 0) {
		return errors.New("closed and kept")
	}
	bytes := int64(span+len(ss.orphans)) * sessionSlotBytes
	running := len(ss.orphans)
	used := 0
	for i := range ss.ring {
		if ss.ring[i].phase != sessionFree {
			used++
		}
	}
	for seq := ss.watermark; seq < ss.top; seq++ {
		e := ss.entry(seq)
		if e == nil {
			continue
		}
		used--
		switch e.phase {
		case sessionRunning:
			running++
			bytes += s.reserve()
		case sessionDone:
			bytes += sessionSize(len(e.result))
		}
		if e.waiters != 0 && e.phase != sessionRunning {
			return fmt.Errorf("somebody waits for %d, which is not running", seq)
		}
		if s.waiters.count(e.waiters) > s.cfg.WaitersPerCall {
			return fmt.Errorf("too many wait for %d", seq)
		}
	}
	if used != 0 {
		return fmt.Errorf("%d entries outside the window", used)
	}
	if bytes != ss.bytes || bytes > s.cfg.MaxSessionBytes {
		return fmt.Errorf("%d bytes, %d accounted, limit %d", bytes, ss.bytes, s.cfg.MaxSessionBytes)
	}
	if running != ss.running {
		return fmt.Errorf("%d running, %d accounted", running, ss.running)
	}
	return nil
}

func (w *sessionWaiters) count(list int32) int {
	n := 0
	for i := list; i != 0; i = w.nodes[i].next {
		n++
	}
	return n
}

func (s *Sessions) image() []byte {
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

var sessionEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newTestSessions(t testing.TB, cfg SessionsConfig) *Sessions {
	t.Helper()
	if cfg.Table == [16]byte{} {
		cfg.Table = [16]byte{0xab, 15: 1}
	}
	s, err := NewSessions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func BenchmarkSessions(b *testing.B) {
	for _, size := range []int{64, 4096} {
		b.Run(fmt.Sprintf("window64/result%d", size), func(b *testing.B) {
			s := newTestSessions(b, SessionsConfig{})
			var ids [16]SessionID
			for i := range ids {
				ids[i], _ = s.Open(sessionEpoch)
			}
			result := make([]byte, size)
			seq := uint64(0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				id := ids[i%len(ids)]
				if i%len(ids) == 0 {
					seq++
				}
				c := SessionCall{ID: id, Seq: seq, Watermark: max(seq, 64) - 63, Hash: seq}
				if v := s.Begin(c, sessionEpoch); v.Action != SessionExecute {
					b.Fatal(v.Err)
				}
				if _, err := s.Complete(id, seq, result, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
