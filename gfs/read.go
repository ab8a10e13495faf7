package gfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// readPiece is how many bytes are read from a replica at once.
	readPiece = 1 << 20
	// parallelReads is how many pieces of one read are under way at once.
	parallelReads = 8
	// readTimeout bounds one attempt at one replica.
	readTimeout = 10 * time.Second
	// unavailableAfter is how long replicas that cannot be reached, or that nobody
	// knows, are looked for before a read fails.
	unavailableAfter = 10 * time.Second
)

// A fileReader reads from a file at any place.
type fileReader struct {
	c   *Client
	ref fileRef
}

// readAt fills p from off on. Like io.ReaderAt it returns an error if it returns fewer
// bytes: io.EOF at the end of the file. Pieces of p are read in parallel.
func (r fileReader) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if n := r.span(p, off); n == len(p) {
		return r.readSpan(ctx, p, off)
	}
	type part struct {
		want, got int
		err       error
	}
	var parts []*part
	var g errgroup.Group
	var over atomic.Bool // a piece came short: those behind it are not needed
	g.SetLimit(parallelReads)
	for at := 0; at < len(p) && !over.Load(); {
		k := &part{want: r.span(p[at:], off+int64(at))}
		parts = append(parts, k)
		from := at
		g.Go(func() error {
			k.got, k.err = r.readSpan(ctx, p[from:from+k.want], off+int64(from))
			if k.err != nil {
				over.Store(true)
			}
			return nil
		})
		at += k.want
	}
	_ = g.Wait() // the pieces have their errors
	n := 0
	for _, k := range parts {
		n += k.got
		if k.err != nil {
			return n, k.err
		}
	}
	return n, nil
}

// span returns how much of p belongs to the piece that begins at off: pieces end where
// multiples of readPiece and chunks do.
func (r fileReader) span(p []byte, off int64) int {
	in := off % r.c.chunkSize
	return int(min(int64(len(p)), readPiece-in%readPiece, r.c.chunkSize-in))
}

// readSpan reads a part of one chunk. ctx ends with the client; each attempt is bounded,
// and so is the time for which replicas are looked for.
func (r fileReader) readSpan(ctx context.Context, p []byte, off int64) (int, error) {
	index, at := uint64(off/r.c.chunkSize), off%r.c.chunkSize
	var t retry
	n := 0
	var lost time.Time // since when nobody could serve
	for {
		got, whole, err := r.attempt(ctx, index, p[n:], at+int64(n))
		n += got
		switch {
		case err == nil && (n == len(p) || whole):
			if n < len(p) {
				return n, io.EOF
			}
			return n, nil
		case err == nil:
			continue // the replica gave less than it has
		case ctx.Err() != nil:
			t.note(ctx, err)
			return n, t.ended(ctx)
		case refused(err):
			return n, err
		}
		if now := time.Now(); lost.IsZero() {
			lost = now
		} else if now.Sub(lost) >= min(unavailableAfter, r.c.cfg.Patience) {
			return n, fmt.Errorf("%w: chunk %d: %w", ErrUnavailable, index, err)
		}
		if err := t.again(ctx, err); err != nil {
			return n, err
		}
	}
}

// attempt reads from whichever replica serves. It reports whether the file ends after
// what it has read.
func (r fileReader) attempt(ctx context.Context, index uint64, p []byte, at int64) (n int, ended bool, err error) {
	c := r.c
	info, count, err := c.locate(ctx, r.ref, index)
	switch {
	case err != nil:
		return 0, false, err
	case info == nil:
		return 0, true, nil
	case info.handle == 0:
		clear(p)
		return len(p), false, nil
	case len(info.where) == 0:
		c.cache.drop(r.ref.id, info)
		return 0, false, fmt.Errorf("%w: no replica of chunk %d is known", ErrUnavailable, index)
	}
	n, length, err := c.readChunk(ctx, info, p, at)
	if err != nil {
		c.cache.drop(r.ref.id, info)
		return 0, false, err
	}
	switch {
	case n == 0 && at < length:
		return 0, false, fmt.Errorf("%w: a replica gives nothing of what it has", rpc.ErrProtocol)
	case n == len(p), at+int64(n) < length:
		return n, false, nil
	}
	// The replica ends here. A chunk that is not the last is as long as all: what it
	// does not have was never written.
	if index+1 < count {
		clear(p[n:])
		return len(p), false, nil
	}
	return n, true, nil
}

// readChunk reads from one replica of a chunk, or from one after the other. It returns
// how many bytes there were and how long the replica is.
func (c *Client) readChunk(ctx context.Context, info *chunkInfo, p []byte, at int64) (int, int64, error) {
	began := time.Now()
	all := c.candidates(info, len(p), began)
	late := c.hedging.earn(len(p))
	var why error
	for len(all) > 0 {
		h := hedgedRead{c: c, info: info, p: p, at: at, late: late}
		n, length, used, err := h.run(ctx, all)
		if err == nil {
			c.hedging.served(len(p), time.Since(began))
			return n, length, nil
		}
		if ctx.Err() != nil {
			return 0, 0, err
		}
		why = err
		if errors.Is(err, ErrStale) {
			// The version may be an old one, by which old replicas would serve old data.
			return 0, 0, err
		}
		all = all[used:]
	}
	return 0, 0, why
}

// A hedgedRead asks one replica and, if that takes long, another beside it.
type hedgedRead struct {
	c    *Client
	info *chunkInfo
	p    []byte
	at   int64
	late time.Duration // what nearly all reads of so much take, 0 if that is not known
}

// A hedge is the second read.
type hedge struct {
	done   chan struct{} // closed when what follows is set
	p      []byte
	n      int
	length int64
	err    error

	mu     sync.Mutex // guards what follows
	over   bool       // there is to be none any more
	cancel context.CancelFunc
}

// begin returns the context of the second read, or nil if there is to be none.
func (s *hedge) begin(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	ctx, s.cancel = context.WithTimeout(ctx, readTimeout)
	return ctx
}

// stop ends the second read.
func (s *hedge) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.cancel != nil {
		s.cancel()
	}
}

// run reads from the first of the candidates, or the second; used says how many it has
// asked.
func (h *hedgedRead) run(ctx context.Context, all []candidate) (n int, length int64, used int, err error) {
	c := h.c
	first, cancelFirst := context.WithTimeout(ctx, readTimeout)
	defer cancelFirst()
	if len(all) == 1 || c.cfg.Hedge < 0 {
		n, length, err = h.one(first, all[0], h.p)
		return n, length, 1, err
	}
	second := &hedge{done: make(chan struct{})}
	defer second.stop()
	timer := time.AfterFunc(hedgeDelay(all, h.late, c.cfg.Hedge), func() {
		defer close(second.done)
		sctx := second.begin(ctx)
		if sctx == nil || !c.hedging.spend() {
			second.err = errNoHedge
			return
		}
		c.count.hedges.Add(1)
		second.p = getPiece(len(h.p)) // the first read may still write to p
		second.n, second.length, second.err = h.one(sctx, all[1], second.p)
		if second.err == nil {
			cancelFirst()
		}
	})
	n, length, err = h.one(first, all[0], h.p)
	if timer.Stop() {
		return n, length, 1, err
	}
	if err == nil {
		second.stop()
	}
	<-second.done // soon: it is cancelled, or all that is left to wait for
	defer putPiece(second.p)
	switch {
	case err == nil:
		return n, length, 2, nil
	case second.err == nil:
		c.count.wins.Add(1)
		return copy(h.p, second.p[:second.n]), second.length, 2, nil
	case errors.Is(second.err, errNoHedge):
		return 0, 0, 1, err
	}
	return 0, 0, 2, fmt.Errorf("%w; %w", err, second.err)
}

var errNoHedge = errors.New("no second read")

// one reads from one replica into p. ctx bounds the attempt.
func (h *hedgedRead) one(ctx context.Context, k candidate, p []byte) (int, int64, error) {
	c := h.c
	peer, err := c.peers.take(k.addr)
	if err != nil {
		return 0, 0, err
	}
	defer peer.done()
	req := readReq{handle: h.info.handle, version: h.info.version, off: h.at, n: int64(len(p))}
	resp := readResp{Body: rpc.Body{Data: p[:0:len(p)]}}
	began := time.Now()
	err = rpc.CallInto(ctx, peer.client, methodRead, &req, &resp)
	now := time.Now()
	took := now.Sub(began)
	if err == nil && len(resp.Data) > len(p) {
		err = fmt.Errorf("%w: %d bytes of %d that were asked for", rpc.ErrProtocol, len(resp.Data), len(p))
	}
	if err != nil {
		return 0, 0, h.failed(ctx, peer, k, len(p), took, err)
	}
	peer.served(len(p), took, true, now)
	n := len(resp.Data)
	if n > 0 && &resp.Data[0] != &p[0] {
		copy(p, resp.Data)
	}
	c.count.reads.Add(1)
	c.count.readBytes.Add(uint64(n))
	if c.local(k.location) {
		c.count.localBytes.Add(uint64(n))
	}
	return n, resp.length, nil
}

// failed draws the conclusions from a read that failed, and returns its error.
func (h *hedgedRead) failed(ctx context.Context, peer *chunkPeer, k candidate, n int, took time.Duration, err error) error {
	now := time.Now()
	if errors.Is(context.Cause(ctx), context.Canceled) || errors.Is(err, rpc.ErrClosed) {
		// Another was quicker, or the reader has gone: it took so long at least.
		if took >= hedgeMin {
			peer.served(n, took, false, now)
		}
		return err
	}
	h.c.count.readFailures.Add(1)
	switch err := answered(err); {
	case errors.Is(err, ErrChecksum), errors.Is(err, errNoChunk):
		h.c.reportBad(h.info, k.id, err)
	case errors.Is(err, ErrStale), errors.Is(err, errSuspect):
	default:
		peer.failed(now)
	}
	return fmt.Errorf("read from %s: %w", k.addr, answered(err))
}

// lengthOf returns how long a chunk is, as its primary or another replica says.
func (c *Client) lengthOf(ctx context.Context, info *chunkInfo) (int64, error) {
	why := error(ErrUnavailable)
	for _, l := range info.where {
		peer, err := c.peers.take(l.addr)
		if err != nil {
			return 0, err
		}
		brief, cancel := context.WithTimeout(ctx, readTimeout)
		resp, err := rpc.Call[lengthResp](brief, peer.client, methodLength, &replicaReq{handle: info.handle, version: info.version})
		cancel()
		peer.done()
		if err == nil {
			return resp.length, nil
		}
		if ctx.Err() != nil {
			return 0, err
		}
		why = answered(err)
	}
	return 0, why
}

func (f *File) size(ctx context.Context) (int64, error) {
	info, err := f.c.stat(ctx, f.ref.path)
	if err == nil && info.attr.id != f.ref.id {
		err = fmt.Errorf("%w: %w", ErrStale, errMoved)
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
