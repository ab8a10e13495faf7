package vmft

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

// PlantReleaseEarly lets outputs leave before the backup has acknowledged them.
func PlantReleaseEarly(c *Config) { c.planted.core.releaseEarly = true }

// PlantAckInputEarly lets inputs of a processor count as safe when they are on their way.
func PlantAckInputEarly(c *Config) { c.planted.core.ackInputEarly = true }

// PlantSocketEarly lets what a stream sends leave before the backup has acknowledged it.
func PlantSocketEarly(c *Config) { c.planted.core.socketEarly = true }

// PlantRunPast lets a backup's processor run past the last entry.
func PlantRunPast(c *Config) { c.planted.core.runPast = true }

// PlantForgetPending lets a new primary do nothing again.
func PlantForgetPending(c *Config) { c.planted.core.forgetPending = true }

// PlantReissueAnyhow lets a new primary do again what is pending in another order.
func PlantReissueAnyhow(c *Config) { c.planted.core.reissueAnyhow = true }

// SetDeltaPart has deltas sent in parts of so many bytes.
func SetDeltaPart(c *Config, part int) { c.planted.deltaPart = part }

// Describe says what both ends have of a stream, for a test that has failed.
func (s *Stream) Describe(nodes []*Node) string {
	var b strings.Builder
	s.mu.Lock()
	fmt.Fprintf(&b, "stream %x: client %+v, in %+v, unread %d to %d, gone %v, far %v, %v", s.id[:4], describeSide(&s.side), s.in, s.unread.base, s.unread.end, s.gone, s.far, s.err)
	s.mu.Unlock()
	for i, n := range nodes {
		st := n.brief()
		fmt.Fprintf(&b, "\n  node %d, %s at %d (released %d, acked %d, queued %d, pending %d, held %d)", i, st.Role, st.Applied, st.Released, st.Acked, st.Queued, st.Pending, st.Held)
		l := n.leading.Load()
		if l == nil || l.flight == nil || l.flight.streams == nil {
			continue
		}
		p := l.flight.streams
		p.mu.Lock()
		if d := p.desk.streams[s.id]; d != nil {
			fmt.Fprintf(&b, ": desk %s, attached %d, talk %+v, taken %v, told %v, dying %v, taking %d", describeSide(&d.side), d.attached, d.talk, d.taken, d.told, d.dying, d.taking)
		}
		p.mu.Unlock()
		done := make(chan struct{})
		l.do(func() {
			defer close(done)
			if m := streamsOf(l.flight.r.p); m != nil {
				if t := m.table.byID[s.id]; t != nil {
					wake, idle := m.Idle()
					fmt.Fprintf(&b, "; table in %+v, out %d to %d, ended %v, done %v, closed %v; at %d, idle %v %v", t.in, t.out.base, t.out.end, t.out.ended, t.out.done, t.closed, m.Position(), idle, wake)
				}
			}
		})
		select {
		case <-done:
		case <-time.After(time.Second):
			b.WriteString("; it does not answer")
		}
	}
	return b.String()
}

func describeSide(s *streamSide) string {
	return fmt.Sprintf("{out %d to %d ended %v done %v, limit %d, closed %v, in %+v, reset %v}", s.out.base, s.out.end, s.out.ended, s.out.done, s.limit, s.closed, s.in, s.reset)
}

var seedsFactor = flag.Int("seeds.factor", 1, "how many times as many seeds the bubbles and simulations of Processors and their streams run")

// ManySeeds is how many seeds a test runs: short, if tests are to be short, or usual.
func ManySeeds(short, usual int) int {
	if testing.Short() {
		return short
	}
	return usual * *seedsFactor
}
