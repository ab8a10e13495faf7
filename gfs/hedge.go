package gfs

import (
	"math/bits"
	"sync"
	"time"
)

// When a read has not been answered for longer than nearly all reads of its class of size
// lately took, another replica is asked beside the first, and the first answer counts: the
// tail of the latencies is cut off, for few reads more (the lecture notes' hedged
// requests). What reads take is measured per chunkserver, and of all together: the least
// of what is known of the replicas and of all counts, so that a replica that is slow does
// not set the measure.

const (
	// hedgeMin and hedgeGuess bound how long a read waits at least, and how long it
	// waits when the client has read nothing of the class before.
	hedgeMin   = time.Millisecond
	hedgeGuess = 25 * time.Millisecond

	// lateShare is the part of reads, one in so many, that take longer than what counts
	// as late: about as many are read a second time.
	lateShare = 50

	// Latencies of a server older than latencyForget do not count any more: one that was
	// slow is tried again.
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
	h.add(took)
	h.last = now
}

func (h *latencyHistogram) add(took time.Duration) {
	if h.total >= latencyFull {
		h.total = 0
		for i := range h.counts {
			h.counts[i] /= 2
			h.total += int(h.counts[i])
		}
	}
	h.counts[latencyBucket(took)]++
	h.total++
}

// quantiles returns the median for reads of n bytes, and what all but one in lateShare
// take; 0 if that is not known: the latter, before there were so many.
func (l *latencies) quantiles(n int, now time.Time) (p50, late time.Duration) {
	h := &l.classes[latencyClass(n)]
	if now.Sub(h.last) > latencyForget {
		return 0, 0
	}
	if p50, late = h.quantiles(); h.total < lateShare {
		late = 0
	}
	return p50, late
}

func (h *latencyHistogram) quantiles() (p50, late time.Duration) {
	if h.total == 0 {
		return 0, 0
	}
	seen := 0
	for i, k := range h.counts {
		seen += int(k)
		if p50 == 0 && 2*seen >= h.total {
			p50 = latencyBound(i)
		}
		if lateShare*seen >= (lateShare-1)*h.total {
			return p50, latencyBound(i)
		}
	}
	return p50, latencyBound(latencyBuckets - 1)
}

// hedgeDelay returns how long to wait for the first of the candidates before another is
// asked. all is what nearly all reads take, 0 if that is not known.
func hedgeDelay(candidates []candidate, all, most time.Duration) time.Duration {
	delay := all
	for _, k := range candidates {
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
// It also knows what reads take, whichever replica was the first to answer.
type hedgeBudget struct {
	mu    sync.Mutex // guards what follows
	have  int        // in parts of a second read, hedgeEvery to one; it starts full
	used  bool
	reads [latencyClasses]latencyHistogram
}

const (
	hedgeEvery = 20
	hedgeBurst = 64
)

// earn counts a read of n bytes, and returns what nearly all such reads take.
func (b *hedgeBudget) earn(n int) (late time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	b.have = min(b.have+1, hedgeBurst*hedgeEvery)
	h := &b.reads[latencyClass(n)]
	if _, late = h.quantiles(); h.total < lateShare {
		late *= 2 // the most of a few
	}
	return late
}

// served notes that a read of n bytes took so long.
func (b *hedgeBudget) served(n int, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads[latencyClass(n)].add(took)
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
