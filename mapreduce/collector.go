package mapreduce

import (
	"bytes"
	"errors"

	"github.com/trilith-go/trilith/internal/vfs"
)

// collector gathers what one map task emits: in memory up to a limit, beyond it
// in sorted runs on disk, and in the end as one sorted region a partition.
type collector struct {
	reduces int
	limit   int64 // of bytes in memory, beyond which a run is spilled
	fold    func(dst, a, b []byte) ([]byte, error)
	pairs   *pairBuffer
	runs    []*mapOutput // on disk
	spilled int64        // bytes of them

	// alive is called now and then while much is written that shows no progress
	// otherwise.
	alive func()
	// scratch opens an empty file that is gone once it is closed.
	scratch func() (vfs.File, error)
	// reserve asks for n bytes of memory in which to keep the result, or gives
	// them back if n is negative; if it is refused the result is kept on disk.
	reserve func(n int64) bool
}

// add collects a pair, which it copies.
func (c *collector) add(partition int, key, value []byte) error {
	if n := len(key) + len(value); n > MaxRecordBytes {
		return tooLarge(n)
	}
	c.pairs.add(partition, key, value)
	if c.pairs.size() > c.limit || c.pairs.full() {
		return c.spill()
	}
	return nil
}

// spill sorts what is in memory and writes it to disk.
func (c *collector) spill() error {
	c.pairs.sort()
	run, err := c.toFile(c.writePairs)
	if err != nil {
		return err
	}
	c.runs = append(c.runs, run)
	c.spilled += run.size()
	c.pairs.reset()
	return nil
}

// finish returns all that was collected, one sorted region a partition. The
// collector keeps its memory, but is not used again for this task.
func (c *collector) finish() (*mapOutput, error) {
	c.pairs.sort()
	size := c.regionBytes(c.pairs.bytes)
	write := c.writePairs
	if len(c.runs) > 0 {
		for _, run := range c.runs {
			size += run.size()
		}
		last := newMemoryRegions(c.regionBytes(c.pairs.bytes))
		ends, err := c.writePairs(last)
		if err != nil {
			return nil, err
		}
		c.pairs.reset()
		runs := append(c.runs, &mapOutput{ends: ends, data: last.buf})
		write = func(w *regionWriter) ([]int64, error) { return c.merge(runs, w) }
	}
	if !c.reserve(size) {
		return c.toFile(write)
	}
	w := newMemoryRegions(size)
	ends, err := write(w)
	if err != nil {
		c.reserve(-size)
		return nil, err
	}
	return &mapOutput{ends: ends, data: w.buf, reserved: size}, nil
}

// regionBytes returns what pairs of so many bytes take in regions, at most.
func (c *collector) regionBytes(pairs int64) int64 {
	return pairs + (pairs/blockBytes+int64(c.reduces))*blockHeader
}

// discard frees the runs and empties the memory for another task.
func (c *collector) discard() {
	for _, run := range c.runs {
		run.close()
	}
	c.runs = nil
	c.pairs.reset()
}

// toFile lets write fill a file with regions.
func (c *collector) toFile(write func(*regionWriter) ([]int64, error)) (*mapOutput, error) {
	f, err := c.scratch()
	if err != nil {
		return nil, err
	}
	w := newFileRegions(f)
	ends, err := write(w)
	if err == nil {
		err = w.drain()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &mapOutput{ends: ends, file: f}, nil
}

// writePairs writes the sorted pairs and returns where each region ends.
func (c *collector) writePairs(w *regionWriter) ([]int64, error) {
	ends := make([]int64, c.reduces)
	at := 0
	for p := range ends {
		pairs := c.pairs.pairs[at : at+c.pairs.parts[p].pairs]
		at += len(pairs)
		c.alive()
		err := c.writePartition(pairs, w)
		if err == nil {
			err = w.end()
		}
		if err != nil {
			return nil, err
		}
		ends[p] = w.offset()
	}
	return ends, nil
}

// writePartition writes sorted pairs, the values of equal keys folded together.
func (c *collector) writePartition(pairs []pair, w *regionWriter) error {
	if c.fold == nil {
		for _, p := range pairs {
			if err := w.addEncoded(encodedPair(c.pairs.encoded(p.place))); err != nil {
				return err
			}
		}
		return nil
	}
	var folded, spare []byte // take turns, as fold may not append to its own argument
	for i := 0; i < len(pairs); {
		key, value := splitPair(c.pairs.encoded(pairs[i].place))
		for i++; i < len(pairs); i++ {
			k, v := splitPair(c.pairs.encoded(pairs[i].place))
			if !bytes.Equal(k, key) {
				break
			}
			joined, err := c.fold(spare[:0], value, v)
			if err != nil {
				return err
			}
			spare, folded, value = folded, joined, joined
		}
		if err := w.add(key, value); err != nil {
			return err
		}
	}
	return nil
}

// merge merges runs, the earlier first, region by region.
func (c *collector) merge(runs []*mapOutput, w *regionWriter) ([]int64, error) {
	ends := make([]int64, c.reduces)
	for p := range ends {
		regions := make([]blockReader, len(runs))
		for i, run := range runs {
			regions[i] = run.at(p).blocks()
		}
		err := combined(regions, c.fold, func(key, value []byte) error {
			c.alive()
			return w.add(key, value)
		})
		if err == nil {
			err = w.end()
		}
		if err != nil {
			return nil, err
		}
		ends[p] = w.offset()
	}
	return ends, nil
}

// encodedPair returns the pair that src begins with. src is our own memory.
func encodedPair(src []byte) []byte {
	k, n := uvarint(src)
	v, m := uvarint(src[n:])
	return src[:n+m+k+v]
}

// splitPair returns the key and value of the pair that src begins with.
func splitPair(src []byte) (key, value []byte) {
	k, n := uvarint(src)
	v, m := uvarint(src[n:])
	src = src[n+m:]
	return src[:k:k], src[k : k+v : k+v]
}

// mapOutput is what a map task has made: one region for each partition, in memory
// or in a file that vanishes when it is closed.
type mapOutput struct {
	ends     []int64 // of the regions; each begins where the one before ends
	data     []byte
	file     vfs.File // nil if data holds the regions
	reserved int64    // memory to be given back on close
}

// size returns the bytes of all regions.
func (o *mapOutput) size() int64 {
	if len(o.ends) == 0 {
		return 0
	}
	return o.ends[len(o.ends)-1]
}

// region returns where a region begins and how long it is.
func (o *mapOutput) region(p int) (off, n int64) {
	if p > 0 {
		off = o.ends[p-1]
	}
	return off, o.ends[p] - off
}

// at returns a region.
func (o *mapOutput) at(p int) region {
	off, n := o.region(p)
	if o.file == nil {
		return region{data: o.data[off : off+n]}
	}
	return region{file: o.file, off: off, n: n}
}

func (o *mapOutput) close() {
	if o.file != nil {
		_ = o.file.Close() // it was only read since it was written
	}
}
