package gfs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// orderTimeout bounds an order that a chunkserver carries out at once: one that does not
// answer for so long is not to be waited for, whether or not it lives.
const orderTimeout = 3 * time.Second

// orderTo calls a method of a chunkserver, in this master's epoch. Orders can be
// repeated: each leads to a state, not from one.
func orderTo[Resp, Req any](ctx context.Context, m *Master, to location, timeout time.Duration, method string, req *Req) (*Resp, error) {
	client, err := m.dial.client(to.addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := rpc.Call[Resp](ctx, client, method, req)
	if errors.Is(err, rpc.ErrNotExecuted) && ctx.Err() == nil { // a connection that was broken already: try another
		resp, err = rpc.Call[Resp](ctx, client, method, req)
	}
	return resp, err
}

// order is what an order to a chunkserver begins with.
func (m *Master) order(epoch uint64, to serverID) order {
	return order{epoch: epoch, server: to}
}

// A raised replica has the version that it was told to take.
type raised struct {
	location
	raiseResp
	heard time.Time // when it was known to be so: not before clock was read
}

// onAll does something at several chunkservers at once and returns the answers of those
// that did it, in their order, and the error of the last that did not.
func onAll(to []location, do func(location) (*raiseResp, error)) (done []raised, err error) {
	answers := make([]raised, len(to))
	errs := make([]error, len(to))
	var wg sync.WaitGroup
	for i, l := range to {
		wg.Go(func() {
			resp, err := do(l)
			if err != nil {
				errs[i] = err
				return
			}
			answers[i] = raised{location: l, raiseResp: *resp, heard: time.Now()}
		})
	}
	wg.Wait()
	for i := range to {
		if errs[i] != nil {
			err = errs[i]
		} else {
			done = append(done, answers[i])
		}
	}
	return done, err
}

// raise raises the version of replicas.
func (m *Master) raise(ctx context.Context, epoch uint64, to []location, h handle, from, at version) ([]raised, error) {
	return onAll(to, func(l location) (*raiseResp, error) {
		return orderTo[raiseResp](ctx, m, l, orderTimeout, methodRaise,
			&raiseReq{order: m.order(epoch, l.id), handle: h, from: from, to: at})
	})
}

// makeReplicas makes empty replicas of a chunk.
func (m *Master) makeReplicas(ctx context.Context, epoch uint64, at []location, h handle, v version) ([]raised, error) {
	return onAll(at, func(l location) (*raiseResp, error) {
		return orderTo[raiseResp](ctx, m, l, orderTimeout, methodMake, &makeReq{order: m.order(epoch, l.id), handle: h, version: v})
	})
}

// forkTimeout bounds the local copy of a whole chunk.
const forkTimeout = 30 * time.Second

// fork copies replicas where they are, as those of another chunk.
func (m *Master) fork(ctx context.Context, epoch uint64, at []location, from handle, v version, to handle, tv version) ([]raised, error) {
	return onAll(at, func(l location) (*raiseResp, error) {
		return orderTo[raiseResp](ctx, m, l, forkTimeout, methodFork,
			&forkReq{order: m.order(epoch, l.id), from: from, fromVersion: v, to: to, toVersion: tv})
	})
}
