package gfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// A fileRef names a file as a client opened it.
type fileRef struct {
	path string
	id   fileID
}

// lookupChunks is how many chunks are asked for at once (§2.7.1: the client typically
// asks for several): those that follow will be needed soon, if the file is read
// sequentially, and cost little.
const lookupChunks = 64

// A lookupFlight is a lookup of a file's chunks that any number of readers wait for. It
// ends when the last of them has gone.
type lookupFlight struct {
	done    chan struct{} // closed when what follows is set
	chunks  uint64        // of the file
	err     error
	waiting int
	cancel  context.CancelFunc
}

// lookupFlights has at most one flight for each file.
type lookupFlights struct {
	mu      sync.Mutex // guards what follows, and the flights' waiting
	flights map[fileID]*lookupFlight
}

// locate returns where a chunk is and how many chunks the file has. A hole has handle 0.
// The chunk is nil if the file ends before it, as a master has just said.
func (c *Client) locate(ctx context.Context, f fileRef, index uint64) (*chunkInfo, uint64, error) {
	if info, count := c.cache.get(f.id, index, time.Now()); info != nil {
		return info, count, nil
	}
	for range 8 {
		mine, chunks, err := c.lookUp(ctx, f, index)
		if err != nil {
			return nil, 0, err
		}
		info, count := c.cache.get(f.id, index, time.Now())
		if info != nil {
			return info, count, nil
		}
		if mine && index >= chunks {
			return nil, chunks, nil
		}
		// The flight was another reader's, who asked for other chunks, or before the file
		// was opened or written to.
	}
	return nil, 0, fmt.Errorf("%w: chunk %d is forgotten as fast as it is looked up", ErrUnavailable, index)
}

// lookUp asks the master where chunks are, from index on, or waits for who is asking
// about this file already. It reports whether the question was its own, and how many
// chunks the file has.
func (c *Client) lookUp(ctx context.Context, f fileRef, index uint64) (mine bool, chunks uint64, err error) {
	s := &c.flights
	s.mu.Lock()
	fl := s.flights[f.id]
	if fl == nil {
		mine = true
		fl = &lookupFlight{done: make(chan struct{})}
		var flight context.Context
		flight, fl.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if !c.background(func(context.Context) { c.fly(flight, fl, f, index) }) {
			s.mu.Unlock()
			fl.cancel()
			return false, 0, ErrClosed
		}
		if s.flights == nil {
			s.flights = make(map[fileID]*lookupFlight)
		}
		s.flights[f.id] = fl
	}
	fl.waiting++
	s.mu.Unlock()
	select {
	case <-fl.done:
		chunks, err = fl.chunks, fl.err
	case <-ctx.Done():
		err = endedBy(ctx, nil)
	}
	s.mu.Lock()
	if fl.waiting--; fl.waiting == 0 {
		fl.cancel()
		if s.flights[f.id] == fl {
			delete(s.flights, f.id)
		}
	}
	s.mu.Unlock()
	return mine, chunks, err
}

// fly makes the lookup of a flight.
func (c *Client) fly(ctx context.Context, fl *lookupFlight, f fileRef, index uint64) {
	fl.chunks, fl.err = c.lookUpNow(ctx, f, index, lookupChunks)
	c.flights.mu.Lock()
	if c.flights.flights[f.id] == fl {
		delete(c.flights.flights, f.id)
	}
	c.flights.mu.Unlock()
	close(fl.done)
}

// lookUpNow asks the master, and returns how many chunks the file has.
func (c *Client) lookUpNow(ctx context.Context, f fileRef, index, count uint64) (uint64, error) {
	c.count.lookups.Add(1)
	asked := c.cache.ask()
	resp, err := askMaster[lookupResp](ctx, c, methodLookup, &lookupReq{path: f.path, file: f.id, first: index, count: count})
	if errors.Is(err, ErrStale) {
		err = fmt.Errorf("%w: %w", errMoved, err)
	}
	if err != nil {
		return 0, err
	}
	c.cache.put(f.id, index, resp, asked, time.Now())
	return resp.chunks, nil
}

// A badReplica is one that was reported.
type badReplica struct {
	handle handle
	server serverID
}

const (
	// A replica is reported again after reportEvery, and at most maxReported are
	// remembered and under way.
	reportEvery = 10 * time.Second
	maxReported = 1024
)

// reportBad tells the master, in the background, that a replica did not serve.
func (c *Client) reportBad(info *chunkInfo, server serverID, why error) {
	key := badReplica{info.handle, server}
	now := time.Now()
	c.mu.Lock()
	again := now.Sub(c.reported[key]) < reportEvery
	if !again && len(c.reported) >= maxReported {
		// order-free: all that are old go
		for k, at := range c.reported {
			if now.Sub(at) >= reportEvery {
				delete(c.reported, k)
			}
		}
		again = len(c.reported) >= maxReported // somebody else will say it, or we later
	}
	if !again {
		c.reported[key] = now
	}
	c.mu.Unlock()
	if again {
		return
	}
	c.count.bad.Add(1)
	c.cfg.Logger.Warn("replica did not serve", "handle", uint64(info.handle), "version", uint64(info.version), "server", uint32(server), "error", why)
	c.background(func(ctx context.Context) {
		ctx, end := c.begin(ctx)
		defer end()
		req := &badReq{handle: info.handle, version: info.version, server: server, why: why.Error()}
		if _, err := callMaster[rpc.Empty](ctx, c, c.master.AtLeastOnce(), methodBad, req); err != nil && !errors.Is(err, ErrClosed) {
			c.cfg.Logger.Warn("report of a bad replica failed", "error", err)
		}
	})
}
