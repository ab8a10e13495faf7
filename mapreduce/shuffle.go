package mapreduce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
)

const (
	// fetchesAtOnce bounds the workers that one reduce fetches from at a time.
	fetchesAtOnce = 8
	// fetchBatch bounds the maps whose regions one stream carries.
	fetchBatch = 1 << 10
	// fetchStall is how long a fetch may make no progress.
	fetchStall = 10 * time.Second
	// fetchTries is how often a worker that cannot be reached is tried before it is
	// complained of, with a pause that doubles from fetchPause to maxFetchPause.
	fetchTries    = 3
	fetchPause    = 100 * time.Millisecond
	maxFetchPause = 2 * time.Second
	// minFanIn and maxFanIn bound the regions on disk that are merged at a time, as
	// memory allows; those that are packed have no upper bound.
	minFanIn = 8
	maxFanIn = 256
)

// fetcher gets a reduce its region of every map's output. One goroutine, in fetch,
// owns its state; others ask the coordinator where the outputs are, and fetch from
// one worker each.
type fetcher struct {
	w       *Worker
	e       *execution
	where   []location // by map; as last heard
	got     []bool     // by map
	regions []region   // by map; those that are got
	missing int
	sources map[string]*source
	busy    int // sources being fetched from
	results chan fetched
	readers []func() // end the reading of outputs of this worker's own

	mu      sync.Mutex // guards what follows
	share   int64      // of memory for regions that is left
	claimed int64      // memory beyond it, of the worker's
	spill   vfs.File   // for regions that find none
	end     int64      // of spill
}

// source is a worker from which something is to be fetched.
type source struct {
	addr     string
	wanted   []int // maps, of which some may have moved or be got
	busy     bool
	failures int
	retry    time.Time
}

// fetched is what a fetch from one worker has brought.
type fetched struct {
	source  *source
	maps    []int
	regions []region // of the first of maps
	missing []int    // maps whose output is not there or not sound
	err     error    // why the others were not got
}

func newFetcher(w *Worker, e *execution) *fetcher {
	return &fetcher{
		w: w, e: e, where: make([]location, e.maps), got: make([]bool, e.maps), regions: make([]region, e.maps),
		missing: e.maps, sources: make(map[string]*source), results: make(chan fetched, fetchesAtOnce),
		share: w.memory.share / 2,
	}
}

// close frees what the regions take.
func (f *fetcher) close() {
	for _, done := range f.readers {
		done()
	}
	f.w.memory.reserve(-f.claimed)
	if f.spill != nil {
		_ = f.spill.Close() // it was only read since it was written
	}
}

// fetch returns the regions in the order of their maps, once all are here.
func (f *fetcher) fetch() (regions []blockReader, err error) {
	if err := f.gather(); err != nil {
		return nil, err
	}
	err = guard(func() string { return "combining" }, func() (err error) {
		regions, err = f.narrow()
		return err
	})
	return regions, err
}

// gather fetches all regions. When it returns nothing is fetched any more, also not
// what has come from elsewhere meanwhile: the spill file is narrow's alone.
func (f *fetcher) gather() error {
	ctx, cancel := context.WithCancel(f.e.ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	changes := make(chan *locateResp)
	failed := make(chan error, 1)
	if f.missing > 0 {
		background.Go(func() { failed <- f.locate(ctx, changes) })
	}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for f.missing > 0 {
		retry.Reset(f.start(ctx, &background))
		select {
		case resp := <-changes:
			for _, l := range resp.changed {
				f.relocate(l)
			}
		case r := <-f.results:
			if own := (ownDiskError{}); errors.As(r.err, &own) {
				return fmt.Errorf("keep map output that is fetched: %w", own.error)
			}
			f.settle(ctx, r)
		case <-retry.C:
		case err := <-failed:
			if f.e.ctx.Err() != nil {
				err = context.Cause(f.e.ctx)
			}
			return err
		case <-ctx.Done():
			return context.Cause(f.e.ctx)
		}
	}
	return nil
}

// locate asks the coordinator for changes until ctx ends.
func (f *fetcher) locate(ctx context.Context, changes chan<- *locateResp) error {
	req := &locateReq{job: f.e.task.job, partition: f.e.task.index}
	for {
		resp, err := rpc.Call[locateResp](ctx, f.w.client.AtLeastOnce(), methodLocate, req)
		if err != nil {
			return fmt.Errorf("ask where map output is: %w", err)
		}
		f.e.t.Progress() // waiting for maps is no fault of the reduce's
		req.since = resp.next
		select {
		case changes <- resp:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// relocate takes in where the output of a map is.
func (f *fetcher) relocate(l location) {
	if l.index >= len(f.where) || f.got[l.index] {
		return
	}
	f.where[l.index] = l
	switch {
	case l.attempt == Attempt{}:
	case l.size == 0:
		f.take(l.index, region{})
	case l.addr == f.w.addr && f.takeOwn(l):
	default:
		s := f.sources[l.addr]
		if s == nil {
			s = &source{addr: l.addr}
			f.sources[l.addr] = s
		}
		s.wanted = append(s.wanted, l.index)
	}
}

// takeOwn takes a region of an output that this worker itself holds, if it does.
func (f *fetcher) takeOwn(l location) bool {
	out, done := f.w.store.open(l.attempt)
	if out == nil {
		return false // which a fetch will complain of until it is heard
	}
	f.readers = append(f.readers, done)
	r := out.at(f.e.task.index)
	r.damaged = func(err error) {
		f.w.cfg.Logger.Warn("own map output cannot be read", "attempt", l.attempt, "error", err)
		f.complain(f.e.ctx, l.index) // or the reduce would fail on it again and again
	}
	f.e.t.counters.get(CounterShuffleLocal).Add(r.size())
	f.take(l.index, r)
	return true
}

func (f *fetcher) take(index int, r region) {
	if !f.got[index] {
		f.got[index], f.regions[index] = true, r
		f.missing--
	}
}

// start begins fetches, as many as may run, and returns when to look again.
func (f *fetcher) start(ctx context.Context, background *sync.WaitGroup) time.Duration {
	wait := time.Hour
	now := time.Now()
	for _, s := range f.sources {
		if s.busy || len(s.wanted) == 0 || f.busy == fetchesAtOnce {
			continue
		}
		if pause := s.retry.Sub(now); pause > 0 {
			wait = min(wait, pause)
			continue
		}
		batch := f.batch(s)
		if len(batch) == 0 {
			continue
		}
		req := &fetchReq{partition: f.e.task.index}
		for _, i := range batch {
			req.attempts = append(req.attempts, f.where[i].attempt)
		}
		s.busy = true
		f.busy++
		background.Go(func() { f.results <- f.from(ctx, s, batch, req) })
	}
	return wait
}

// batch takes maps off what is wanted from a source, those left out that are got
// or have moved.
func (f *fetcher) batch(s *source) []int {
	var batch []int
	seen := make(map[int]bool)
	for len(s.wanted) > 0 && len(batch) < fetchBatch {
		i := s.wanted[0]
		s.wanted = s.wanted[1:]
		if !f.got[i] && !seen[i] && f.where[i].addr == s.addr && f.where[i].attempt != (Attempt{}) {
			seen[i] = true
			batch = append(batch, i)
		}
	}
	return batch
}

// settle takes in what a fetch has brought.
func (f *fetcher) settle(ctx context.Context, r fetched) {
	s := r.source
	s.busy = false
	f.busy--
	bad := make(map[int]bool, len(r.missing))
	for _, i := range r.missing {
		bad[i] = true
	}
	took := 0
	var last []int // what is wrong with one must not keep the others from being fetched
	for _, i := range r.maps {
		switch {
		case bad[i]:
			last = append(last, i) // it may have been a mistake
			f.complain(ctx, i)
		case took < len(r.regions):
			f.e.t.counters.get(CounterShuffleFetched).Add(r.regions[took].size())
			f.take(i, r.regions[took])
			took++
		case len(last) == 0:
			last = append(last, i) // here the fetch has ended
		default:
			s.wanted = append(s.wanted, i)
		}
	}
	s.wanted = append(s.wanted, last...)
	switch {
	case r.err != nil:
		s.failures++
		f.w.cfg.Logger.Debug("fetch", "from", s.addr, "error", r.err)
		if s.failures >= fetchTries {
			for _, i := range f.batchAgain(s) {
				if !f.complain(ctx, i) {
					break // the next failure is another occasion
				}
			}
		}
	case len(r.missing) > 0:
		s.failures++
	default:
		s.failures = 0
	}
	if s.failures > 0 {
		pause := maxFetchPause
		if s.failures < 5 {
			pause = fetchPause << (s.failures - 1)
		}
		s.retry = time.Now().Add(min(pause, maxFetchPause))
	}
}

// batchAgain returns what is wanted from a source, and leaves it wanted.
func (f *fetcher) batchAgain(s *source) []int {
	batch := f.batch(s)
	s.wanted = append(s.wanted, batch...)
	return batch
}

// complain tells the coordinator that a map's output could not be had. It reports
// whether that got through.
func (f *fetcher) complain(ctx context.Context, index int) bool {
	l := f.where[index]
	if l.attempt == (Attempt{}) {
		return true // it knows
	}
	req := &unfetchedReq{reducer: f.e.attempt, task: taskRef{f.e.task.job, MapTask, index}, attempt: l.attempt}
	ctx, cancel := context.WithTimeout(ctx, fetchStall)
	defer cancel()
	_, err := rpc.Call[rpc.Empty](ctx, f.w.client, methodUnfetched, req)
	return err == nil
}

// from fetches regions from one worker.
func (f *fetcher) from(ctx context.Context, s *source, batch []int, req *fetchReq) fetched {
	r := fetched{source: s, maps: batch}
	client, done, err := f.w.peers.get(s.addr)
	if err != nil {
		r.err = err
		return r
	}
	defer done()
	opening, cancel := context.WithTimeout(ctx, fetchStall)
	st, err := rpc.OpenStream(opening, client, methodFetch, req)
	cancel()
	if err != nil {
		r.err = err
		return r
	}
	defer st.Close()
	defer context.AfterFunc(ctx, func() { _ = st.Close() })()
	for _, i := range batch {
		got, err := f.receive(st)
		switch {
		case errors.Is(err, errMissing):
			r.missing = append(r.missing, i)
		case errors.Is(err, ErrCorrupt):
			// What follows cannot be trusted to be where it should be.
			r.missing = append(r.missing, i)
			r.err = err
			return r
		case err != nil:
			r.err = err
			return r
		default:
			r.regions = append(r.regions, got)
		}
	}
	return r
}

// errMissing says that a worker does not hold an output.
var errMissing = errors.New("the output is not there")

// ownDiskError is an error of this worker's disk. It fails the attempt: whoever sends
// is not to blame, and the disk would be no better for the next region.
type ownDiskError struct{ error }

// receive reads one region from a stream, into memory or the spill file, and
// checks every block of it.
func (f *fetcher) receive(st *rpc.Stream) (region, error) {
	var header [9]byte
	_ = st.SetReadDeadline(time.Now().Add(fetchStall)) // a stream always has deadlines
	if _, err := io.ReadFull(st, header[:1]); err != nil {
		return region{}, err
	}
	if header[0] == fetchMissing {
		return region{}, errMissing
	}
	if _, err := io.ReadFull(st, header[1:]); err != nil {
		return region{}, err
	}
	n := int64(binary.LittleEndian.Uint64(header[1:]))
	if n < 0 || header[0] != fetchFound {
		return region{}, corrupt("a region of %d bytes", n)
	}
	if f.reserve(n) {
		data := make([]byte, n)
		err := f.eachBlock(st, n, func(at int64, size int) []byte { return data[at : at+int64(size)] }, nil)
		if err != nil {
			f.unreserve(n)
		}
		return region{data: [][]byte{data}}, err
	}
	file, off, err := f.spillSpace(n)
	if err != nil {
		return region{}, ownDiskError{err}
	}
	var buf []byte
	err = f.eachBlock(st, n, func(_ int64, size int) []byte {
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		return buf[:size]
	}, func(at int64, block []byte) error {
		if _, err := file.WriteAt(block, off+at); err != nil {
			return ownDiskError{err}
		}
		return nil
	})
	return region{file: file, off: off, n: n}, err
}

// eachBlock reads n bytes of blocks. into says where a part of a block goes, and
// keep, if not nil, what becomes of it then.
func (f *fetcher) eachBlock(st *rpc.Stream, n int64, into func(at int64, size int) []byte, keep func(at int64, block []byte) error) error {
	for at := int64(0); at < n; {
		_ = st.SetReadDeadline(time.Now().Add(fetchStall))
		var header [blockHeader]byte
		if n-at < blockHeader {
			return corrupt("a block's header is cut off")
		}
		if _, err := io.ReadFull(st, header[:]); err != nil {
			return err
		}
		size := storedBytes(header[:])
		if size > maxBlock || size > n-at-blockHeader {
			return corrupt("a block of %d bytes, %d are left", size, n-at-blockHeader)
		}
		block := into(at, blockHeader+int(size))
		copy(block, header[:])
		if _, err := io.ReadFull(st, block[blockHeader:]); err != nil {
			return err
		}
		if err := checkBlock(block); err != nil {
			return err
		}
		if keep != nil {
			if err := keep(at, block); err != nil {
				return err
			}
		}
		at += int64(len(block))
		f.e.t.Progress()
	}
	return nil
}

// reserve takes memory for a region, or refuses.
func (f *fetcher) reserve(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n <= f.share {
		f.share -= n
		return true
	}
	if !f.w.memory.reserveFirst(n) {
		return false
	}
	f.claimed += n
	return true
}

// unreserve gives back memory of a region that has not come. It goes to the share, as
// what is claimed is kept until the task ends.
func (f *fetcher) unreserve(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.share += n
}

// spillSpace takes space in the spill file.
func (f *fetcher) spillSpace(n int64) (vfs.File, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spill == nil {
		file, err := f.w.disk.file()
		if err != nil {
			return nil, 0, err
		}
		f.spill = file
	}
	off := f.end
	f.end += n
	return f.spill, off, nil
}
