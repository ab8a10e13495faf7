package gfs

import (
	"math/bits"
	"sync"
	"time"
)

// When a read has not been answered for longer than nearly all reads of the other
// replicas take, another replica is asked beside the first, and the first answer counts:
// the tail of the latencies is cut off, for few reads more (the lecture notes' hedged
// requests). What a read takes is estimated per chunkserver and class of size.

const (
	// hedgeMin and hedgeGuess bound how long a read waits at least, and how long it
	// waits for replicas of which nothing is known.
	hedgeMin   = 2 * time.Millisecond
	hedgeGuess = 50 * time.Millisecond

	// Latencies older than latencyForget do not count any more: a server that was slow
	// is tried again.
	latencyForget = 15 * time.Second

	// latencyClasses are small reads and large ones, from largeRead bytes on.
	latencyClasses = 2
	largeRead      = 256 << 10

	// A histogram has latencyBuckets, four for each doubling from latencyUnit on. When
	// it holds latencyFull its counts are halved, so that it follows what is new.
	latencyUnit    = 16 * time.Microsecond
	latencyBuckets = 96
	latencyFull    = 256
)

// latencies are what the reads of one chunkserver have lately taken. The owner locks.
type latencies struct {
	classes [latencyClasses]latencyHistogram
}

type latencyHistogram struct {
	counts [latencyBuckets]uint16
	total  int
	last   time.Time
}

func latencyClass(n int) int {
	if n >= largeRead {
		return 1
	}
	return 0
}

// latencyBucket returns the bucket of d; latencyBound returns the greatest in a bucket.
func latencyBucket(d time.Duration) int {
	u := uint64(max(d, 0)/latencyUnit) + 4
	shift := bits.Len64(u) - 3 // u>>shift is 4…7
	return min(shift*4+int(u>>shift)-4, latencyBuckets-1)
}

func latencyBound(bucket int) time.Duration {
	u := uint64(bucket%4+5)<<(bucket/4) - 4
	return time.Duration(u) * latencyUnit
}

// add notes that n bytes took so long.
func (l *latencies) add(n int, took time.Duration, now time.Time) {
	h := &l.classes[latencyClass(n)]
	if now.Sub(h.last) > latencyForget {
		*h = latencyHistogram{}
	}
	if h.total >= latencyFull {
		h.total = 0
		for i := range h.counts {
			h.counts[i] /= 2
			h.total += int(h.counts[i])
		}
	}
	h.counts[latencyBucket(took)]++
	h.total++
	h.last = now
}

// quantiles returns the median and the 95th percentile for reads of n bytes, 0 if
// nothing is known.
func (l *latencies) quantiles(n int, now time.Time) (p50, p95 time.Duration) {
	h := &l.classes[latencyClass(n)]
	if h.total == 0 || now.Sub(h.last) > latencyForget {
		return 0, 0
	}
	seen := 0
	for i, k := range h.counts {
		seen += int(k)
		if p50 == 0 && 2*seen >= h.total {
			p50 = latencyBound(i)
		}
		if 20*seen >= 19*h.total {
			return p50, latencyBound(i)
		}
	}
	return p50, latencyBound(latencyBuckets - 1)
}

// hedgeDelay returns how long to wait for the first of the candidates before another is
// asked: until the best of the others would nearly surely have answered.
func hedgeDelay(others []candidate, most time.Duration) time.Duration {
	delay := time.Duration(0)
	for _, k := range others {
		if k.late > 0 && (delay == 0 || k.late < delay) {
			delay = k.late
		}
	}
	if delay == 0 {
		delay = hedgeGuess
	}
	return min(max(delay, hedgeMin), most)
}

// A hedgeBudget keeps second reads a small part of all, so that a cluster which is slow
// as a whole is not made slower: one for every hedgeEvery reads, and hedgeBurst at once.
type hedgeBudget struct {
	mu   sync.Mutex
	have int // in parts of a second read, hedgeEvery to one; it starts full
	used bool
}

const (
	hedgeEvery = 8
	hedgeBurst = 64
)

// earn counts a read.
func (b *hedgeBudget) earn() {
	b.mu.Lock()
	b.fill()
	b.have = min(b.have+1, hedgeBurst*hedgeEvery)
	b.mu.Unlock()
}

// spend reports whether there may be a second read.
func (b *hedgeBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	if b.have < hedgeEvery {
		return false
	}
	b.have -= hedgeEvery
	return true
}

func (b *hedgeBudget) fill() {
	if !b.used {
		b.have, b.used = hedgeBurst*hedgeEvery, true
	}
}
