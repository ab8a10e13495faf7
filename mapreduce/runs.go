package mapreduce

import "io"

// run is what a map task has spilled: a region for each partition.
type run struct {
	*mapOutput
	tier int // how often what is in it has been merged
}

// maxRuns is how many runs are merged at a time. A map task has at most so many of each
// tier, and as many open files.
const maxRuns = 16

// writePairs writes the sorted pairs of a buffer and returns where each region ends.
func (c *collector) writePairs(b *pairBuffer, w *regionWriter) ([]int64, error) {
	return c.eachPartition(w, func(p int, pairs []pair) error {
		if c.fold != nil {
			return combined([]blockReader{&pairBlocks{b: b, rest: pairs}}, c.fold, w.add)
		}
		for i, x := range pairs {
			if i%touchAhead == 0 {
				b.touch(pairs[i:min(i+touchAhead, len(pairs))])
			}
			if err := w.addEncoded(encodedPair(b.encoded(x.place))); err != nil {
				return err
			}
		}
		return nil
	}, b)
}

// merge merges runs, the earlier first, and the sorted pairs of a buffer after them if
// it is not nil, region by region.
func (c *collector) merge(runs []*run, b *pairBuffer, w *regionWriter) ([]int64, error) {
	readers := make([]*streamBlocks, len(runs))
	for i, r := range runs {
		readers[i] = newStreamBlocks(io.NewSectionReader(r.file, 0, r.size()), 0)
	}
	return c.eachPartition(w, func(p int, pairs []pair) error {
		regions := make([]blockReader, 0, len(runs)+1)
		for i, r := range runs {
			if _, n := r.region(p); n > 0 {
				readers[i].left = n // it stands where the region before ends
				regions = append(regions, readers[i])
			}
		}
		if len(pairs) > 0 {
			regions = append(regions, &pairBlocks{b: b, rest: pairs})
		}
		return combined(regions, c.fold, func(key, value []byte) error {
			c.alive()
			return w.add(key, value)
		})
	}, b)
}

// eachPartition lets write write one region after the other, with the pairs of the
// buffer that belong into it, and returns where each ends.
func (c *collector) eachPartition(w *regionWriter, write func(p int, pairs []pair) error, b *pairBuffer) ([]int64, error) {
	ends := make([]int64, c.reduces)
	at := 0
	for p := range ends {
		c.alive()
		var pairs []pair
		if b != nil {
			pairs = b.pairs[at : at+b.counts[p]]
			at += len(pairs)
		}
		err := write(p, pairs)
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

// tidy merges the latest runs as long as there are maxRuns of a tier.
func (c *collector) tidy(runs []*run) ([]*run, error) {
	for {
		n := 0
		for n < len(runs) && runs[len(runs)-1-n].tier == runs[len(runs)-1].tier {
			n++
		}
		if n < maxRuns {
			return runs, nil
		}
		var err error
		if runs, err = c.mergeLast(runs, n); err != nil {
			return runs, err
		}
	}
}

// narrow merges the latest runs, which are the smallest, until all that is left can be
// merged at a time with what is in memory.
func (c *collector) narrow() (err error) {
	for err == nil && len(c.runs) >= maxRuns {
		c.runs, err = c.mergeLast(c.runs, min(len(c.runs)-maxRuns+2, maxRuns))
	}
	return err
}

// mergeLast merges the latest n runs into one.
func (c *collector) mergeLast(runs []*run, n int) ([]*run, error) {
	last := runs[len(runs)-n:]
	out, err := toFile(c.scratch, c.pack, func(w *regionWriter) ([]int64, error) { return c.merge(last, nil, w) })
	if err != nil {
		return runs, err
	}
	for _, r := range last {
		r.close()
	}
	return append(runs[:len(runs)-n], &run{mapOutput: out, tier: last[0].tier + 1}), nil
}

// pairBlocks reads sorted pairs in a buffer as if they were a region.
type pairBlocks struct {
	b    *pairBuffer
	rest []pair
	buf  []byte
}

var _ blockReader = (*pairBlocks)(nil)

// pairBlockBytes is the size from which on a block of pairBlocks is closed: small, as
// it is to stay in the processor's cache until it has been read.
const pairBlockBytes = 8 << 10

// next implements blockReader.
func (r *pairBlocks) next() ([]byte, error) {
	if len(r.rest) == 0 {
		return nil, io.EOF
	}
	r.buf = r.buf[:0]
	for len(r.rest) > 0 && len(r.buf) < pairBlockBytes {
		some := r.rest[:min(touchAhead, len(r.rest))]
		r.b.touch(some)
		for _, p := range some {
			r.buf = append(r.buf, encodedPair(r.b.encoded(p.place))...)
		}
		r.rest = r.rest[len(some):]
	}
	return r.buf, nil
}

// splitPair returns the key and value of the pair that src begins with. src is our own
// memory.
func splitPair(src []byte) (key, value []byte) {
	k, n := uvarint(src)
	v, m := uvarint(src[n:])
	src = src[n+m:]
	return src[:k:k], src[k : k+v : k+v]
}

// encodedPair returns the pair that src begins with. src is our own memory.
func encodedPair(src []byte) []byte {
	k, n := uvarint(src)
	v, m := uvarint(src[n:])
	return src[:n+m+k+v]
}
