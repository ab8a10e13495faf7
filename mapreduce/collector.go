package mapreduce

import (
	"errors"
	"fmt"

	"github.com/trilith-go/trilith/internal/vfs"
)

// collector gathers what one map task emits: in memory as far as that goes, beyond it
// in sorted runs on disk, and in the end as one sorted region a partition.
//
// There are two buffers in its memory. When one has most of the memory there is, it is
// sorted and written to disk in the background, while the other takes what comes; only
// if that is filled before the first is free again, Map has to wait.
type collector struct {
	reduces int
	fold    func(dst, a, b []byte) ([]byte, error)
	mem     *sortMemory
	pack    *packer // compresses what is written, if not nil
	limit   int64   // what the memory may grow to, as far as is known

	spilling chan spilled // what a spill in the background comes to; nil if there is none
	runs     []*run       // on disk
	spilled  int64        // bytes of pairs that were written to them

	// alive is called now and then while much is written that shows no progress
	// otherwise. It may be called on another goroutine.
	alive func()
	// scratch opens an empty file that is gone once it is closed.
	scratch func() (vfs.File, error)
	// reserve asks for n bytes of memory in which to keep the result, or gives
	// them back if n is negative; if it is refused the result is kept on disk.
	reserve func(n int64) bool
}

func newCollector(mem *sortMemory, reduces int) *collector {
	mem.begin(reduces)
	return &collector{reduces: reduces, mem: mem, limit: mem.most}
}

// pairs is the buffer that is being filled.
func (c *collector) pairs() *pairBuffer { return c.mem.buffers[0] }

// add collects a pair, which it copies.
func (c *collector) add(partition int, key, value []byte) error {
	n := len(key) + len(value)
	if !c.pairs().fits(n) {
		if n > MaxRecordBytes {
			return tooLarge(n)
		}
		if err := c.makeRoom(n); err != nil {
			return err
		}
	}
	c.pairs().add(partition, key, value)
	return nil
}

// spillAt is the share of the memory, in percent, at which a buffer is spilled.
const spillAt = 80

// makeRoom makes room for a pair of n bytes: in more memory, or by spilling.
func (c *collector) makeRoom(n int) error {
	for !c.pairs().fits(n) {
		if c.pairs().size() < c.limit/100*spillAt {
			if c.pairs().grow(n, false) {
				continue
			}
			c.limit = min(c.limit, c.mem.held)
		}
		switch {
		case c.spilling != nil:
			if err := c.await(); err != nil {
				return err
			}
		case len(c.pairs().pairs) > 0:
			c.spill()
		case cap(c.mem.buffers[1].pairs) > cap(c.pairs().pairs):
			// The other, empty too, has what there is of memory.
			c.mem.buffers[0], c.mem.buffers[1] = c.mem.buffers[1], c.mem.buffers[0]
		default:
			c.pairs().grow(n, true) // a pair as large as all memory
		}
	}
	return nil
}

// spilled is what a spill in the background has come to.
type spilled struct {
	runs  []*run // all there are
	bytes int64
	err   error
}

var errSpillEnded = errors.New("the job's code has ended the goroutine that it was called on")

// spill begins to sort the pairs and to write them to disk. The other buffer takes what
// comes.
func (c *collector) spill() {
	b := c.pairs()
	b.prepare()
	c.mem.buffers[0], c.mem.buffers[1] = c.mem.buffers[1], b
	done := make(chan spilled, 1)
	c.spilling = done
	runs := c.runs
	go func() {
		s := spilled{runs: runs, err: errSpillEnded}
		defer func() { done <- s }()
		s.err = guard(func() string { return "combining" }, func() error {
			b.sort()
			out, err := toFile(c.scratch, c.pack, func(w *regionWriter) ([]int64, error) { return c.writePairs(b, w) })
			if err != nil {
				return err
			}
			s.bytes = out.raw
			s.runs = append(s.runs, &run{mapOutput: out})
			s.runs, err = c.tidy(s.runs)
			return err
		})
	}()
}

// await waits for the spill that is under way.
func (c *collector) await() error {
	s := <-c.spilling
	c.spilling = nil
	c.runs = s.runs
	c.spilled += s.bytes
	c.mem.buffers[1].reset()
	if s.err != nil {
		return fmt.Errorf("spill to disk: %w", s.err)
	}
	return nil
}

// finish returns all that was collected, one sorted region a partition.
func (c *collector) finish() (out *mapOutput, err error) {
	err = guard(func() string { return "combining" }, func() (err error) {
		out, err = c.output()
		return err
	})
	return out, err
}

func (c *collector) output() (out *mapOutput, err error) {
	if c.spilling != nil {
		if err := c.await(); err != nil {
			return nil, err
		}
	}
	b := c.pairs()
	b.prepare()
	b.sort()
	write := func(w *regionWriter) ([]int64, error) { return c.writePairs(b, w) }
	if len(c.runs) > 0 {
		if err := c.narrow(); err != nil {
			return nil, err
		}
		write = func(w *regionWriter) ([]int64, error) { return c.merge(c.runs, b, w) }
	}
	sink := &pieceSink{reserve: c.reserve, scratch: c.scratch}
	defer func() { // also if the job's combiner panics
		if out == nil {
			err = errors.Join(err, sink.abandon())
		}
	}()
	w := newRegionWriter(sink, c.pack)
	ends, err := write(w)
	if err != nil {
		return nil, err
	}
	return sink.finish(ends, w.raw)
}

// discard frees the runs and empties the memory for another task.
func (c *collector) discard() {
	if c.spilling != nil {
		_ = c.await() // the task has failed already
	}
	for _, r := range c.runs {
		r.close()
	}
	c.runs = nil
}
