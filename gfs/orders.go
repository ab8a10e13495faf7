package gfs

import (
	"context"
	"errors"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// orderTimeout bounds an order that a chunkserver carries out at once: one that does not
// answer for so long is not to be waited for, whether or not it lives.
const orderTimeout = 3 * time.Second

// orderTo calls a method of a chunkserver, in this master's epoch. Orders can be
// repeated: each leads to a state, not from one.
func orderTo[Resp, Req any](ctx context.Context, m *Master, to location, timeout time.Duration, method string, req *Req) (*Resp, error) {
	peer, err := m.peers.take(to.addr)
	if err != nil {
		return nil, err
	}
	defer peer.done()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := rpc.Call[Resp](ctx, peer.client, method, req)
	if errors.Is(err, rpc.ErrNotExecuted) && ctx.Err() == nil { // a connection that was broken already: try another
		resp, err = rpc.Call[Resp](ctx, peer.client, method, req)
	}
	return resp, err
}

// order is what an order to a chunkserver begins with.
func (m *Master) order(epoch uint64, to serverID) order {
	return order{epoch: epoch, server: to}
}

// forkTimeout bounds the local copy of a whole chunk.
const forkTimeout = 30 * time.Second
