package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/rpc/rpctest"
)

// A subset is of the faults of single calls.
type subset uint8

const (
	dropsRequest subset = 1 << iota
	dropsReply
	duplicates
	delays
	subsets // how many there are
)

func (s subset) has(fault subset) bool { return s&fault != 0 }

func (s subset) String() string {
	var names []string
	for i, name := range []string{"drop request", "drop reply", "duplicate", "delay"} {
		if s.has(1 << i) {
			names = append(names, name)
		}
	}
	return "{" + strings.Join(names, ", ") + "}"
}

// A script makes each call of an experiment meet all faults of a subset. A request that
// is dropped meets no other fault, so there the first attempt is dropped and the second
// meets the rest; and of calls that have one attempt, each third is dropped.
type script struct {
	of          subset
	once        bool
	first, rest *rpctest.Faults

	mu    sync.Mutex // guards tries
	tries map[uint64]int
}

func newScript(p plan) (*script, error) {
	certain := func(of subset) float64 {
		if p.subset.has(of) {
			return 1
		}
		return 0
	}
	cfg := rpctest.Config{Seed: p.seed, MaxDelay: 50 * time.Millisecond, Guarded: p.keeper == inLog}
	first, rest := cfg, cfg
	first.DropRequest = certain(dropsRequest)
	rest.DropReply, rest.Duplicate, rest.Delay = certain(dropsReply), certain(duplicates), certain(delays)
	s := &script{of: p.subset, once: p.sem == rpc.AtMostOnce, tries: make(map[uint64]int)}
	var err1, err2 error
	s.first, err1 = rpctest.New(first)
	s.rest, err2 = rpctest.New(rest)
	return s, errors.Join(err1, err2)
}

// faults returns those of the next attempt, or nil.
func (s *script) faults(inv *rpc.Invocation) *rpctest.Faults {
	req, ok := inv.Req.(*request)
	if !ok { // of the session
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries[req.ID]++
	n := s.tries[req.ID]
	dropped := s.of.has(dropsRequest)
	switch {
	case dropped && s.once && req.ID%3 == 0, dropped && !s.once && n == 1:
		return s.first
	case n == 1, n == 2 && dropped && !s.once:
		return s.rest
	}
	return nil
}

// Client is the interceptor of the client.
func (s *script) Client(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	if f := s.faults(inv); f != nil {
		return f.Client(ctx, inv, next)
	}
	return next(ctx)
}

// Server is that of the server.
func (s *script) Server(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	if f := s.faults(inv); f != nil {
		return f.Server(ctx, inv, next)
	}
	return next(ctx)
}

// Counts returns what has happened so far.
func (s *script) Counts() rpctest.Counts {
	all := s.first.Counts()
	addCounts(&all, s.rest.Counts())
	return all
}

// check reports a fault of the subset that did not take place in an experiment, or one
// that did and is not of it.
func (s subset) check(r report) error {
	var wrong []error
	for fault, n := range map[subset]uint64{
		dropsRequest: r.injected.DroppedRequests, dropsReply: r.injected.DroppedReplies,
		duplicates: r.injected.Duplicates, delays: r.injected.Delays,
	} {
		if s.has(fault) != (n > 0) {
			wrong = append(wrong, fmt.Errorf("%v took place %d times", fault, n))
		}
	}
	return errors.Join(wrong...)
}

// TestSemanticsUnderSubsets: for each promise, all faults of each subset meet in each
// call, while the strike falls at each point of one of them. Every cell of this table is
// seen to have taken place, and none breaks a promise.
func TestSemanticsUnderSubsets(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.sem.String()+" "+kind.keeper.String(), func(t *testing.T) {
			seed := uint64(0)
			for of := range subsets {
				if of.has(duplicates) && kind.sem == rpc.AtMostOnce {
					continue // nothing repeats such a call
				}
				for at := range points {
					for s := range strikes {
						if seed++; testing.Short() && s != strike((int(of)+int(at))%int(strikes)) {
							continue
						}
						p := plan{seed: seed, sem: kind.sem, keeper: kind.keeper, subset: of, scripted: true, at: at, strike: s}
						testutil.Bubble(t, func(t *testing.T) {
							r, err := p.run(t)
							if err = errors.Join(err, of.check(r)); err != nil {
								t.Errorf("%v:\n%v", p, err)
							}
							if (s != nothing) != (r.struck > 0) {
								t.Errorf("%v: it struck %d times", p, r.struck)
							}
						})
					}
				}
			}
		})
	}
}
