package transport

import (
	"fmt"
	"time"
)

// A Link says how one direction between two hosts behaves. The zero value is
// perfect: no delay, no bound, no fault. Probabilities are from 0 to 1.
type Link struct {
	// Latency is how long a write or a packet is on its way. A stream keeps its
	// order all the same; packets may overtake one another.
	Latency Distribution
	// Bandwidth in bytes a second is shared by all connections and packets on
	// the link. 0 means unbounded.
	Bandwidth int64
	// Reset is the probability that a Write breaks its connection.
	Reset float64
	// Loss is the probability that a packet is lost.
	Loss float64
	// Duplicate is the probability that a packet arrives twice.
	Duplicate float64
	// Reorder is the probability that a packet is delayed by ReorderDelay in
	// addition, so that later ones overtake it.
	Reorder float64
	// ReorderDelay is that delay. Zero means uniform from 1 ms to 10 ms.
	ReorderDelay Distribution
}

var defaultReorderDelay = Uniform(time.Millisecond, 10*time.Millisecond)

func (l Link) validate(prefix string) error {
	if err := l.Latency.validate(prefix + "Latency"); err != nil {
		return err
	}
	if err := l.ReorderDelay.validate(prefix + "ReorderDelay"); err != nil {
		return err
	}
	if l.Bandwidth < 0 {
		return badConfig(prefix+"Bandwidth", "%d bytes a second is negative", l.Bandwidth)
	}
	for _, p := range []struct {
		field string
		value float64
	}{{"Reset", l.Reset}, {"Loss", l.Loss}, {"Duplicate", l.Duplicate}, {"Reorder", l.Reorder}} {
		if !(p.value >= 0 && p.value <= 1) { // NaN too
			return badConfig(prefix+p.field, "%v is not a probability from 0 to 1", p.value)
		}
	}
	return nil
}

func (l Link) withDefaults() Link {
	if l.ReorderDelay.IsZero() {
		l.ReorderDelay = defaultReorderDelay
	}
	return l
}

// plain reports whether a stream's bytes cross the link at once and unharmed.
func (l Link) plain() bool { return l.Latency.IsZero() && l.Bandwidth == 0 && l.Reset == 0 }

// String describes l in one line, naming only what is set.
func (l Link) String() string {
	s := "latency " + l.Latency.String()
	if l.Bandwidth > 0 {
		s += fmt.Sprintf(", %d bytes/s", l.Bandwidth)
	}
	for _, p := range []struct {
		name  string
		value float64
	}{{"reset", l.Reset}, {"loss", l.Loss}, {"duplicate", l.Duplicate}, {"reorder", l.Reorder}} {
		if p.value > 0 {
			s += fmt.Sprintf(", %s %g", p.name, p.value)
		}
	}
	return s
}

// A question is what a verdict decides. Each has draws of its own, so that
// raising one probability changes no other verdict.
type question uint64

const (
	askLoss question = iota + 1
	askDuplicate
	askReorder
	askReorderDelay
	askLatency
	askCopyLatency
	askReset
	askWriteLatency
	askHandshake
)

// linkSeed is what all draws of the link from → to start from.
func linkSeed(seed uint64, from, to string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := offset ^ mix(seed)
	for _, name := range [...]string{from, to} {
		for _, c := range []byte(name) {
			h = (h ^ uint64(c)) * prime
		}
		h = (h ^ 0xff) * prime // no name holds this byte
	}
	return mix(h)
}

// draw gives 64 bits that depend on nothing but its arguments.
func draw(seed uint64, q question, major, minor uint64) uint64 {
	return mix(mix(mix(seed+uint64(q))+major) + minor)
}

// mix is the finalizer of splitmix64, preceded by its increment.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// A packetFate is the verdict on one packet.
type packetFate struct {
	lost, duplicated, reordered bool
	delay                       time.Duration // of the packet
	copyDelay                   time.Duration // of its duplicate
}

// packetFate decides on packet number index of the link.
func (l Link) packetFate(seed, index uint64) packetFate {
	happens := func(q question, p float64) bool { return p > 0 && unit(draw(seed, q, index, 0)) < p }
	if happens(askLoss, l.Loss) {
		return packetFate{lost: true}
	}
	f := packetFate{
		duplicated: happens(askDuplicate, l.Duplicate),
		reordered:  happens(askReorder, l.Reorder),
		delay:      l.Latency.at(draw(seed, askLatency, index, 0)),
		copyDelay:  l.Latency.at(draw(seed, askCopyLatency, index, 0)),
	}
	if f.reordered {
		f.delay += l.ReorderDelay.at(draw(seed, askReorderDelay, index, 0))
	}
	return f
}

// A writeFate is the verdict on one Write to a stream.
type writeFate struct {
	reset bool
	delay time.Duration
}

// writeFate decides on Write number index of the link's stream number stream.
func (l Link) writeFate(seed, stream, index uint64) writeFate {
	return writeFate{
		reset: l.Reset > 0 && unit(draw(seed, askReset, stream, index)) < l.Reset,
		delay: l.Latency.at(draw(seed, askWriteLatency, stream, index)),
	}
}

// handshakeDelay is how long the handshake of dial number index takes on the link.
func (l Link) handshakeDelay(seed, index uint64) time.Duration {
	return l.Latency.at(draw(seed, askHandshake, index, 0))
}

// A wire is what a link's bandwidth is spent on: one thing after the other.
type wire struct {
	free time.Duration // when everything sent so far has left
}

// send puts size bytes on the wire at now and returns when they arrive.
func (w *wire) send(now time.Duration, size int, bandwidth int64, delay time.Duration) time.Duration {
	leave := now
	if bandwidth > 0 {
		leave = max(now, w.free) + time.Duration(float64(size)/float64(bandwidth)*float64(time.Second))
		w.free = leave
	}
	return leave + delay
}

// A notice is what the far end of a stream is told after the last byte.
type notice uint8

const (
	noNotice     notice = iota
	noticeEnd           // nothing more will be written; reading goes on
	noticeClosed        // closed both ways
	noticeReset         // broken
)

// A segment is a piece of a stream on its way.
type segment struct {
	end    uint64        // the stream's position after its last byte
	at     time.Duration // when it arrives
	notice notice        // what comes after that byte
}

// A transit holds a stream's segments in order. Latency never reorders them: a
// segment arrives no earlier than the one before it.
type transit struct {
	segments []segment
}

// maxTransit bounds a transit; a writer waits when it is full.
const maxTransit = 1024

func (t *transit) empty() bool { return len(t.segments) == 0 }

func (t *transit) full() bool { return len(t.segments) >= maxTransit }

func (t *transit) push(s segment) {
	if n := len(t.segments); n > 0 {
		last := &t.segments[n-1]
		if s.at <= last.at {
			s.at = last.at
			if last.notice == noNotice {
				*last = s
				return
			}
		}
	}
	t.segments = append(t.segments, s)
}

// pop takes the first segment if it has arrived by now.
func (t *transit) pop(now time.Duration) (s segment, ok bool) {
	if len(t.segments) == 0 || t.segments[0].at > now {
		return segment{}, false
	}
	s = t.segments[0]
	t.segments = t.segments[1:]
	if len(t.segments) == 0 {
		t.segments = nil
	}
	return s, true
}

// next tells when the first segment arrives.
func (t *transit) next() time.Duration { return t.segments[0].at }

// A flight holds packets on their way, by time of arrival and, at the same time,
// by the order in which they were sent. It is a binary heap.
type flight[P any] struct {
	heap []flying[P]
	sent uint64
}

type flying[P any] struct {
	at     time.Duration
	number uint64
	packet P
}

// maxFlight bounds the packets on their way on one link; more are lost.
const maxFlight = 4096

func (f *flight[P]) empty() bool { return len(f.heap) == 0 }

func (f *flight[P]) less(i, j int) bool {
	a, b := &f.heap[i], &f.heap[j]
	return a.at < b.at || a.at == b.at && a.number < b.number
}

// push reports false when the flight is full.
func (f *flight[P]) push(at time.Duration, p P) bool {
	if len(f.heap) >= maxFlight {
		return false
	}
	f.heap = append(f.heap, flying[P]{at, f.sent, p})
	f.sent++
	for i := len(f.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !f.less(i, parent) {
			break
		}
		f.heap[i], f.heap[parent] = f.heap[parent], f.heap[i]
		i = parent
	}
	return true
}

// pop takes the first packet if it has arrived by now.
func (f *flight[P]) pop(now time.Duration) (p P, ok bool) {
	if len(f.heap) == 0 || f.heap[0].at > now {
		return p, false
	}
	p = f.heap[0].packet
	last := len(f.heap) - 1
	f.heap[0] = f.heap[last]
	f.heap[last] = flying[P]{}
	f.heap = f.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if f.less(child, least) {
				least = child
			}
		}
		if least == i {
			return p, true
		}
		f.heap[i], f.heap[least] = f.heap[least], f.heap[i]
		i = least
	}
}

// next tells when the first packet arrives.
func (f *flight[P]) next() time.Duration { return f.heap[0].at }
