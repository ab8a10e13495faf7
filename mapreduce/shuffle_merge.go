package mapreduce

import "io"

// fanIn returns how many of n regions that take memory to read may be merged at a time,
// and takes that: a half of the task's share, and more if there is some.
func (f *fetcher) fanIn(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	each, most := int64(readerBytes), maxFanIn
	if f.e.spec.Compress {
		each, most = readerBytes+unpackerBytes, n // most may be in memory, which merging would take to disk
	}
	fanIn := max(int(f.w.memory.share/2/each), minFanIn)
	for fanIn < min(n, most) && f.w.memory.reserveFirst(each) {
		f.claimed += each
		fanIn++
	}
	return fanIn
}

// costly reports whether it takes memory to read a region.
func (f *fetcher) costly(r region) bool { return r.file != nil || f.e.spec.Compress && r.size() > 0 }

// pack returns what compresses regions that are written, if the job wants that.
func (f *fetcher) pack() *packer {
	if !f.e.spec.Compress {
		return nil
	}
	return new(packer)
}

// narrow returns readers of the regions, after as much merging as leaves no more
// costly ones than can be merged at a time. Only neighbours are merged, so that equal
// keys stay in the order of their maps.
func (f *fetcher) narrow() ([]blockReader, error) {
	regions, costly := f.regions, 0
	for _, r := range regions {
		if f.costly(r) {
			costly++
		}
	}
	fanIn := f.fanIn(costly)
	for costly > fanIn {
		var merged []region
		for costly > fanIn && len(regions) > 0 {
			n, some := 0, 0
			for most := min(fanIn, costly-fanIn+1); n < len(regions) && some < most; n++ {
				if f.costly(regions[n]) {
					some++
				}
			}
			r, err := f.mergeToSpill(regions[:n])
			if err != nil {
				return nil, err
			}
			merged = append(merged, r)
			regions = regions[n:]
			costly -= some - 1
		}
		regions = append(merged, regions...)
	}
	readers := make([]blockReader, 0, len(regions))
	for _, r := range regions {
		if r.size() > 0 {
			readers = append(readers, r.blocks())
		}
	}
	return readers, nil
}

// mergeToSpill merges regions into one in the spill file.
func (f *fetcher) mergeToSpill(regions []region) (region, error) {
	file, off, err := f.spillSpace(0)
	if err != nil {
		return region{}, err
	}
	readers := make([]blockReader, len(regions))
	for i, r := range regions {
		readers[i] = r.blocks()
	}
	sink := newFileSink(file)
	sink.w = io.NewOffsetWriter(file, off)
	w := newRegionWriter(sink, f.pack())
	err = combined(readers, f.e.job.fold, func(key, value []byte) error {
		f.e.t.Progress()
		return w.add(key, value)
	})
	if err == nil {
		err = w.end()
	}
	if err == nil {
		err = sink.drain()
	}
	if err != nil {
		return region{}, err
	}
	f.end = off + w.offset()
	return region{file: file, off: off, n: w.offset()}, nil
}
