package vmft

import (
	"context"
	"fmt"
	"sync"

	"github.com/trilith-go/trilith/rpc"
)

// An Arbiter keeps the chain of epochs, on storage that all nodes reach and that survives
// them. Its methods may be called concurrently, by any number of processes.
type Arbiter interface {
	// Newest returns the last record of the chain, or a zero Record if there is none. It
	// sees every record whose Claim has returned.
	Newest(ctx context.Context) (Record, error)
	// Claim writes r as the successor of epoch r.Epoch-1, unless that has one, and returns
	// the record that stands there then, durably and for ever: the claim was won if and only
	// if it is r. To claim what stands there already is harmless. With an error the result
	// is unknown, unless that matches ErrGap: then there is no epoch r.Epoch-1.
	Claim(ctx context.Context, r Record) (Record, error)
}

// MemoryArbiter returns an arbiter that lives in this process, for groups that do, and for
// tests.
func MemoryArbiter() Arbiter { return &memoryArbiter{} }

type memoryArbiter struct {
	mu    sync.Mutex // guards chain
	chain []Record   // epoch n is at n-1
}

// Newest implements [Arbiter].
func (a *memoryArbiter) Newest(ctx context.Context) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, &Error{Op: "newest", Err: err}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.chain); n > 0 {
		return a.chain[n-1], nil
	}
	return Record{}, nil
}

// Claim implements [Arbiter].
func (a *memoryArbiter) Claim(ctx context.Context, r Record) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, &Error{Op: "claim", Err: err}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := uint64(len(a.chain))
	switch {
	case r.Epoch == 0 || r.Epoch > n+1:
		return Record{}, &Error{Op: "claim", Err: fmt.Errorf("%w: %d", ErrGap, r.Epoch)}
	case r.Epoch == n+1:
		a.chain = append(a.chain, r)
	}
	return a.chain[r.Epoch-1], nil
}

// The methods of an arbiter that is served by rpc.
const (
	methodNewest = "vmft.Newest"
	methodClaim  = "vmft.Claim"
)

// ServeArbiter lets a server answer for an arbiter: a third process then decides who goes
// live, where the nodes share no storage. It is called before the server listens.
func ServeArbiter(s *rpc.Server, a Arbiter) {
	rpc.Handle(s, methodNewest, func(ctx context.Context, _ *rpc.Empty) (*Record, error) {
		r, err := a.Newest(ctx)
		if err != nil {
			return nil, rpc.Refuse(err)
		}
		return &r, nil
	})
	rpc.Handle(s, methodClaim, func(ctx context.Context, r *Record) (*Record, error) {
		stands, err := a.Claim(ctx, *r)
		if err != nil {
			return nil, rpc.Uncertain(err)
		}
		return &stands, nil
	})
}

// RPCArbiter returns an arbiter that is served elsewhere, by [ServeArbiter]. The client is
// borrowed.
func RPCArbiter(c *rpc.Client) Arbiter { return &rpcArbiter{c} }

type rpcArbiter struct{ client *rpc.Client }

// Newest implements [Arbiter].
func (a *rpcArbiter) Newest(ctx context.Context) (Record, error) {
	r, err := rpc.Call[Record](ctx, a.client, methodNewest, &rpc.Empty{})
	if err != nil {
		return Record{}, &Error{Op: "newest", Err: err}
	}
	return *r, nil
}

// Claim implements [Arbiter].
func (a *rpcArbiter) Claim(ctx context.Context, r Record) (Record, error) {
	stands, err := rpc.Call[Record](ctx, a.client, methodClaim, &r)
	if err != nil {
		return Record{}, &Error{Op: "claim", Err: err}
	}
	return *stands, nil
}
