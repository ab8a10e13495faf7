package mapreduce

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// The counters that the library keeps for each job. Their names, and no others,
// begin with "map." or "reduce.". Those of records and keys are those of one
// sequential execution, however the job was executed; of bytes, those that move
// between workers and disks depend on where and how.
const (
	CounterMapRecordsIn   = "map.records.in"       // records that Map took in
	CounterMapBytesIn     = "map.bytes.in"         // of their keys and values
	CounterMapBytesLocal  = "map.bytes.local"      // of splits on the host of their worker, if the FileSystem is a Locator
	CounterMapSkipped     = "map.records.skipped"  // that Spec.SkipBadRecords let go
	CounterMapRecordsOut  = "map.records.out"      // pairs that Map emitted
	CounterMapBytesOut    = "map.bytes.out"        // of map output, encoded and combined; of a MapOnly's output files
	CounterMapBytesKept   = "map.bytes.kept"       // of map output as it is kept and fetched: in blocks, packed if Spec.Compress is set
	CounterMapBytesSpill  = "map.bytes.spilled"    // written to disk as memory was used up: spills, and output that is kept there
	CounterMapSideOut     = "map.bytes.side"       // of side files and named outputs
	CounterShuffleFetched = "reduce.bytes.fetched" // of map output that came from other workers
	CounterShuffleLocal   = "reduce.bytes.local"   // of map output that was on the reduce's own worker
	CounterReduceKeysIn   = "reduce.keys.in"       // keys that Reduce was called with
	CounterReduceSkipped  = "reduce.keys.skipped"  // that Spec.SkipBadRecords let go
	CounterReduceRecsIn   = "reduce.records.in"    // values that it took
	CounterReduceRecsOut  = "reduce.records.out"   // results that it emitted
	CounterReduceBytesOut = "reduce.bytes.out"     // of the output files
	CounterReduceSideOut  = "reduce.bytes.side"    // of side files and named outputs
)

// Counter counts for one attempt of a task. It may be used by several goroutines
// at once.
type Counter struct{ n atomic.Int64 }

// Add adds n, which may be negative.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Counter returns the attempt's counter of that name: a part of the job's, which
// JobStatus and Result show. Of all attempts of a task only the one that counts
// as its execution counts here too, so the sum is that of a sequential run if the
// job's functions are deterministic.
//
// A name has 1 to 128 bytes and does not begin with "map." or "reduce."; a job
// has at most 256 counters, those of the library's own included. An attempt that
// asks for others fails with ErrCounter. To look a counter up takes a few
// nanoseconds; code that wants to spare them keeps it as long as the Task.
func (t *Task) Counter(name string) *Counter {
	if c := t.counters.find(name); c != nil {
		return c
	}
	switch {
	case name == "" || len(name) > maxCounterBytes:
		return t.counters.refuse(fmt.Errorf("%w: the name %.40q has %d bytes, not 1 to %d", ErrCounter, name, len(name), maxCounterBytes))
	case strings.HasPrefix(name, "map.") || strings.HasPrefix(name, "reduce."):
		return t.counters.refuse(fmt.Errorf("%w: names like %q are the library's own", ErrCounter, name))
	}
	return t.counters.get(name)
}

// counterSet holds the counters of an attempt. The zero value is empty.
type counterSet struct {
	known atomic.Pointer[map[string]*Counter] // replaced when there is another, so that reading needs no lock

	mu      sync.Mutex // guards the replacement of known, and refused
	refused error      // the first time that a counter was
}

// find returns a counter that there is, or nil.
func (s *counterSet) find(name string) *Counter {
	if known := s.known.Load(); known != nil {
		return (*known)[name]
	}
	return nil
}

// get returns a counter of a legal name.
func (s *counterSet) get(name string) *Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.find(name); c != nil {
		return c
	}
	next := make(map[string]*Counter)
	if known := s.known.Load(); known != nil {
		maps.Copy(next, *known)
	}
	if len(next) == maxCounters {
		s.refuseLocked(fmt.Errorf("%w: %q is one more than the %d that a job may have", ErrCounter, name, maxCounters))
		return new(Counter)
	}
	c := new(Counter)
	next[strings.Clone(name)] = c
	s.known.Store(&next)
	return c
}

// refuse returns a counter that counts nowhere, for an attempt that has failed.
func (s *counterSet) refuse(err error) *Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuseLocked(err)
	return new(Counter)
}

func (s *counterSet) refuseLocked(err error) {
	if s.refused == nil {
		s.refused = err
	}
}

// err returns why the attempt must fail, if it must.
func (s *counterSet) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// counts returns what was counted so far, without what is zero.
func (s *counterSet) counts() counts {
	known := s.known.Load()
	if known == nil {
		return nil
	}
	c := make(counts, 0, len(*known))
	for name, counter := range *known { // order-free: sorted below
		if n := counter.n.Load(); n != 0 {
			c = append(c, namedCount{name, n})
		}
	}
	slices.SortFunc(c, func(a, b namedCount) int { return cmp.Compare(a.name, b.name) })
	return c
}

// localCounter is one goroutine's part of a counter, handed on now and then: the
// hot path adds to memory of its own.
type localCounter struct {
	to *Counter
	n  int64
}

func (s *counterSet) local(name string) localCounter { return localCounter{to: s.get(name)} }

func (c *localCounter) flush() {
	if c.n != 0 {
		c.to.Add(c.n)
		c.n = 0
	}
}

// countEvery is after how many records or keys local counters are handed on.
const countEvery = 16
