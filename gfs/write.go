package gfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// parallelWrites is how many pieces of one write are under way at once.
	parallelWrites = 4
	// writeTimeout bounds one attempt at one primary, which may have to wait for its
	// secondaries, or for the master.
	writeTimeout = 15 * time.Second
	// shortFor is how long data goes to the primary alone after a chain has broken: the
	// primary passes it on to those who lack it, and finds out who is dead.
	shortFor = 5 * time.Second
	// maxChunkWriters is how many grants an open file remembers.
	maxChunkWriters = 8
	// spaceTries is how often a full chunkserver makes the client ask for other places.
	spaceTries = 4
)

// A writerGrant is what a client was told of who serves mutations of a chunk. It stays
// good for as long as the primary does not refuse: the lease is extended while mutations
// go on, and steady writing sends the master nothing.
type writerGrant struct {
	chunk   chunkInfo // never changed
	chunks  uint64    // of the file, then
	members []location

	mu    sync.Mutex // guards what follows
	short time.Time  // until then data goes to the primary alone
}

func (g *writerGrant) primary() location { return g.chunk.where[0] }

// A chunkWriter mutates one chunk of an open file, on behalf of any number of callers.
type chunkWriter struct {
	f     *File
	index uint64
	users int // guarded by the file's writers

	asking chan struct{} // of capacity 1: held by who asks the master
	mu     sync.Mutex    // guards what follows
	have   *writerGrant
}

// granted returns the present grant, if there is one other than bad, or asks the master
// for one. bad is one that did not serve.
func (w *chunkWriter) granted(ctx context.Context, bad *writerGrant) (*writerGrant, error) {
	if g := w.current(); g != nil && g != bad {
		return g, nil
	}
	select {
	case w.asking <- struct{}{}:
		defer func() { <-w.asking }()
	case <-ctx.Done():
		return nil, endedBy(ctx, nil)
	}
	if g := w.current(); g != nil && g != bad {
		return g, nil
	}
	req := &grantReq{index: w.index}
	if bad != nil {
		req.known = bad.chunk.version
	}
	g, err := w.f.askGrant(ctx, req)
	if err != nil {
		return nil, err
	}
	w.set(g)
	return g, nil
}

func (w *chunkWriter) current() *writerGrant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.have
}

func (w *chunkWriter) set(g *writerGrant) {
	w.mu.Lock()
	w.have = g
	w.mu.Unlock()
}

// A notGranted error is the master's.
type notGranted struct{ error }

func (n notGranted) Unwrap() error { return n.error }

// askGrant asks the master who serves mutations of a chunk.
func (f *File) askGrant(ctx context.Context, req *grantReq) (*writerGrant, error) {
	c := f.c
	c.count.grants.Add(1)
	asked := c.cache.ask()
	req.path, req.file = f.ref.path, f.ref.id
	resp, err := callMaster[grantResp](ctx, c, c.master.AtLeastOnce(), methodGrant, req)
	if err == nil && (len(resp.chunk.where) == 0 || resp.chunk.handle == 0) {
		err = fmt.Errorf("%w: a grant without a primary", ErrUnavailable)
	}
	if err != nil {
		return nil, notGranted{err}
	}
	c.cache.granted(f.ref.id, resp, asked, time.Now())
	g := &writerGrant{chunk: resp.chunk, chunks: resp.chunks, members: slices.Clone(resp.chunk.where)}
	chainByDistance(&c.here, g.members)
	return g, nil
}

// A mutation is a write, an append or a sync of one chunk, over all its attempts.
type mutation struct {
	w    *chunkWriter
	data []byte                                                               // nil: nothing is pushed
	off  int64                                                                // in the chunk: where data belongs, or is guessed to
	sums []uint32                                                             // of data's pieces there; nil: not taken yet
	ask  func(ctx context.Context, g *writerGrant, id dataID) (placed, error) // the primary

	retry retry
	id    dataID
	to    *writerGrant // whom the data with the id was pushed to; nil: it has to be pushed
	lost  int          // attempts in a row that the primary did not answer

	verifier writeVerifier // of the answer
	full     int           // that found a chunkserver full
	moved    int           // that found another file
}

// placed is where in the chunk a mutation went, and the version of the replicas that have it.
type placed struct {
	off     int64
	version version
}

// run makes attempts (§3.1): while the primary's lease is good, data is pushed and the
// primary is asked again; otherwise the master is asked who is the primary now.
func (m *mutation) run(ctx context.Context) (int64, error) {
	c := m.w.f.c
	ctx, end := c.begin(ctx)
	defer end()
	var bad *writerGrant
	for {
		g, err := m.w.granted(ctx, bad)
		var at placed
		if err == nil {
			at, err = m.attempt(ctx, g)
		}
		if err == nil {
			c.count.writes.Add(1)
			c.count.writeBytes.Add(uint64(len(m.data)))
			c.cache.wrote(m.w.f.ref.id, m.w.index, g.chunk.handle, max(at.version, g.chunk.version))
			return at.off, nil
		}
		c.count.writeRetries.Add(1)
		if ctx.Err() != nil {
			m.retry.note(ctx, err)
			return 0, m.retry.ended(ctx)
		}
		if m.final(err) {
			return 0, err
		}
		if m.regrant(g, err) {
			bad = g
		}
		if err := m.retry.again(ctx, err); err != nil {
			return 0, err
		}
	}
}

// attempt pushes the data, if the members of the grant have not got it from an attempt
// before, and asks the primary.
func (m *mutation) attempt(ctx context.Context, g *writerGrant) (placed, error) {
	c := m.w.f.c
	if m.data != nil && m.to != g {
		m.id, m.to = c.nextData(), g
		if err := c.push(ctx, g, m.id, m.data, m.off, m.sums); err != nil {
			m.to = nil
			return placed{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	at, err := m.ask(ctx, g, m.id)
	if err != nil && rpc.OutcomeOf(err) == rpc.Executed {
		m.lost = 0
	}
	return at, answered(err)
}

// final reports whether another attempt is of no use.
func (m *mutation) final(err error) bool {
	var refusal notGranted
	if errors.As(err, &refusal) {
		if errors.Is(err, ErrStale) { // or the master was just about to change the chunk
			m.moved++
			return m.moved > 3
		}
		return refused(err)
	}
	switch {
	case errors.Is(err, ErrNoSpace):
		m.full++
		return m.full > spaceTries
	case errors.Is(err, errChunkFull), errors.Is(err, rpc.ErrNoMethod), errors.Is(err, rpc.ErrMessage), errors.Is(err, rpc.ErrTooLarge):
		return true
	}
	return errors.Is(err, fs.ErrInvalid) || errors.Is(err, ErrTooLarge) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrClosed)
}

// regrant decides, after a failure, whether the master has to be asked.
func (m *mutation) regrant(g *writerGrant, err error) bool {
	var refusal notGranted
	var cut pushError
	switch {
	case g == nil || errors.As(err, &refusal):
		return false
	case errors.Is(err, errNoData):
		m.to = nil
		return false
	case errors.As(err, &cut):
		g.mu.Lock()
		alone := time.Now().Before(g.short)
		g.short = time.Now().Add(shortFor)
		g.mu.Unlock()
		return alone // the primary cannot be reached either
	case errors.Is(err, ErrStale), errors.Is(err, errNoChunk), errors.Is(err, errSuspect), errors.Is(err, ErrNoSpace):
		return true
	case rpc.OutcomeOf(err) != rpc.Executed:
		// The primary may have done it, and the answer is lost: it knows the data's id.
		m.lost++
		return m.lost > 1
	}
	return true
}

// A pushError is why data did not get into a chain.
type pushError struct{ error }

func (p pushError) Unwrap() error { return p.error }

// push sends data down the chain of a grant.
func (c *Client) push(ctx context.Context, g *writerGrant, id dataID, data []byte, off int64, sums []uint32) error {
	members := g.members
	g.mu.Lock()
	if time.Now().Before(g.short) {
		members = g.chunk.where[:1]
	}
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	s, err := c.chains.take(ctx, c.peers, members)
	if err != nil {
		return pushError{err}
	}
	defer c.chains.done(s)
	if err := s.pushSummed(ctx, id, data, off, sums); err != nil {
		return pushError{err}
	}
	return nil
}

// askWrite asks the primary to write.
func (m *mutation) askWrite(ctx context.Context, g *writerGrant, id dataID) (placed, error) {
	req := &writeReq{handle: g.chunk.handle, version: g.chunk.version, data: id, off: m.off, n: int64(len(m.data))}
	resp, err := askPrimary[writeResp](ctx, m.w.f.c, g, methodWrite, req)
	if err != nil {
		return placed{}, err
	}
	m.verifier = resp.verifier
	return placed{m.off, resp.version}, nil
}

// askAppend asks the primary to append.
func (m *mutation) askAppend(ctx context.Context, g *writerGrant, id dataID) (placed, error) {
	req := &appendReq{handle: g.chunk.handle, version: g.chunk.version, data: id, n: int64(len(m.data))}
	resp, err := askPrimary[appendResp](ctx, m.w.f.c, g, methodAppend, req)
	if err != nil {
		return placed{}, err
	}
	m.verifier = resp.verifier
	return placed{resp.off, resp.version}, nil
}

// askSync asks the primary to make everything durable.
func (m *mutation) askSync(ctx context.Context, g *writerGrant, _ dataID) (placed, error) {
	req := &replicaReq{handle: g.chunk.handle, version: g.chunk.version}
	resp, err := askPrimary[writeResp](ctx, m.w.f.c, g, methodSync, req)
	if err != nil {
		return placed{}, err
	}
	m.verifier = resp.verifier
	return placed{version: resp.version}, nil
}

func askPrimary[Resp, Req any](ctx context.Context, c *Client, g *writerGrant, method string, req *Req) (*Resp, error) {
	peer, err := c.peers.take(g.primary().addr)
	if err != nil {
		return nil, err
	}
	defer peer.done()
	return rpc.Call[Resp](ctx, peer.client, method, req)
}

// writeAt writes p at off, in pieces that are under way at the same time, and returns
// how many bytes from its beginning on have been acknowledged.
func (f *File) writeAt(ctx context.Context, p []byte, off int64) (int, error) {
	if span := f.reader().span(p, off); span == len(p) {
		if err := f.writeSpan(ctx, p, off, nil); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelWrites)
	var mu sync.Mutex
	failed := len(p) // the first byte that was not written
	for at := 0; at < len(p) && gctx.Err() == nil; {
		n := f.reader().span(p[at:], off+int64(at))
		from := at
		g.Go(func() error {
			err := f.writeSpan(gctx, p[from:from+n], off+int64(from), nil)
			if err != nil {
				mu.Lock()
				failed = min(failed, from)
				mu.Unlock()
			}
			return err
		})
		at += n
	}
	if err := g.Wait(); err != nil {
		return failed, err
	}
	return len(p), nil
}

// writeSpan writes a piece that lies within one chunk. sums are those of its parts in
// blocks, or nil.
func (f *File) writeSpan(ctx context.Context, p []byte, off int64, sums []uint32) error {
	index := uint64(off / f.c.chunkSize)
	w, err := f.writers.take(f, index)
	if err != nil {
		return err
	}
	defer f.writers.done(w)
	m := mutation{w: w, data: p, off: off % f.c.chunkSize, sums: sums}
	m.ask = m.askWrite
	_, err = m.run(ctx)
	if derr := f.touched(ctx, &m, off, err); err == nil { // if it failed, a part may have been written
		err = derr
	}
	return err
}

// chunkWriters has the writers of an open file.
type chunkWriters struct {
	mu     sync.Mutex // guards what follows
	byIdx  map[uint64]*chunkWriter
	recent []*chunkWriter // the last used at the end
}

// take returns the writer of a chunk, for use until done.
func (s *chunkWriters) take(f *File, index uint64) (*chunkWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.byIdx[index]
	if w == nil {
		w = &chunkWriter{f: f, index: index, asking: make(chan struct{}, 1)}
		if s.byIdx == nil {
			s.byIdx = make(map[uint64]*chunkWriter)
		}
		s.byIdx[index] = w
	} else {
		s.unlist(w)
	}
	s.recent = append(s.recent, w)
	w.users++
	for i := 0; len(s.recent) > maxChunkWriters && i < len(s.recent); i++ {
		if old := s.recent[i]; old.users == 0 {
			s.unlist(old)
			delete(s.byIdx, old.index)
			break
		}
	}
	return w, nil
}

func (s *chunkWriters) unlist(w *chunkWriter) {
	for i, other := range s.recent {
		if other == w {
			s.recent = append(s.recent[:i], s.recent[i+1:]...)
			return
		}
	}
}

func (s *chunkWriters) done(w *chunkWriter) {
	s.mu.Lock()
	w.users--
	s.mu.Unlock()
}
