package rpc_test

import (
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/rpc/rpctest"
)

// faults are what can happen to single calls.
var faults = []rpctest.Config{
	{},
	{DropRequest: 0.3},
	{DropReply: 0.3},
	{Duplicate: 0.4},
	{Delay: 0.5},
	{DropRequest: 0.1, DropReply: 0.1, Duplicate: 0.1, Delay: 0.2},
}

// kinds are the promises, and who keeps them.
var kinds = []struct {
	sem    rpc.Semantics
	keeper keeper
}{
	{rpc.AtMostOnce, inMemory}, {rpc.AtLeastOnce, inMemory},
	{rpc.ExactlyOnce, inMemory}, {rpc.ExactlyOnce, onDisk}, {rpc.ExactlyOnce, inLog},
}

// add adds up reports.
func (r *report) add(o report) {
	r.struck += o.struck
	addCounts(&r.injected, o.injected)
	if r.outcomes == nil {
		r.outcomes = make(map[rpc.Outcome]int)
	}
	for k, n := range o.outcomes {
		r.outcomes[k] += n
	}
	r.expired += o.expired
	r.succeeded += o.succeeded
	r.repeated += o.repeated
	r.replayed += o.replayed
	r.waited += o.waited
	r.lives += o.lives
	r.redialed += o.redialed
}

func addCounts(c *rpctest.Counts, o rpctest.Counts) {
	c.Attempts += o.Attempts
	c.DroppedRequests += o.DroppedRequests
	c.DroppedReplies += o.DroppedReplies
	c.Duplicates += o.Duplicates
	c.Delays += o.Delays
}

// TestSemanticsUnderFaults: every fault of single calls, at random, together with every
// strike at every point of a call, for each promise: the count of executions and
// what the caller is told agree with it. TestSemanticsUnderSubsets has the faults
// together.
func TestSemanticsUnderFaults(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.sem.String()+" "+kind.keeper.String(), func(t *testing.T) {
			var all report
			var struck [points][strikes]int
			seed := uint64(0)
			rounds := 3
			if testing.Short() {
				rounds = 1
			}
			for i := range rounds * len(faults) {
				cfg := faults[i%len(faults)]
				for at := range points {
					for s := range strikes {
						seed++
						p := plan{seed: seed, sem: kind.sem, keeper: kind.keeper, faults: cfg, at: at, strike: s}
						testutil.Bubble(t, func(t *testing.T) {
							r, err := p.run(t)
							if err != nil {
								t.Errorf("%v:\n%v", p, err)
							}
							all.add(r)
							struck[at][s] += r.struck
						})
					}
				}
			}
			t.Logf("%d experiments: %+v", seed, all)
			for at := range points {
				for s := reset; s < strikes; s++ {
					if struck[at][s] < len(faults)/2 {
						t.Errorf("%v when %v took place %d times: too few", s, at, struck[at][s])
					}
				}
			}
			enough := map[string]int{
				"dropped requests": int(all.injected.DroppedRequests), "dropped replies": int(all.injected.DroppedReplies),
				"delays": int(all.injected.Delays), "reconnections": int(all.redialed), "lives": all.lives - int(seed),
			}
			switch kind.sem {
			case rpc.AtMostOnce:
				enough["unknown outcomes"] = all.outcomes[rpc.OutcomeUnknown]
				enough["calls known not to be executed"] = all.outcomes[rpc.NotExecuted]
			case rpc.AtLeastOnce:
				enough["repeated executions"] = all.repeated
				enough["duplicates"] = int(all.injected.Duplicates)
			case rpc.ExactlyOnce:
				enough["replies out of the table"] = int(all.replayed)
				enough["duplicates"] = int(all.injected.Duplicates)
				if kind.keeper != inLog {
					enough["duplicates that waited"] = int(all.waited)
					enough["calls that a crash left unknown"] = all.outcomes[rpc.OutcomeUnknown]
				}
			}
			for what, n := range enough {
				if n < 5 {
					t.Errorf("%d %s: too few to have tested anything", n, what)
				}
			}
		})
	}
}

// TestSemanticsFindBugs: the same experiments find known bugs.
func TestSemanticsFindBugs(t *testing.T) {
	for bug, p := range map[string]plan{
		"amnesia":     {keeper: inMemory, strike: reset, at: ran},
		"reuse id":    {keeper: inMemory, strike: crash, at: ran},
		"drop waiter": {keeper: inMemory, strike: reset, at: running},
		"reply early": {keeper: onDisk, strike: crash, at: running},
	} {
		t.Run(bug, func(t *testing.T) {
			const tries = 50
			for seed := range uint64(tries) {
				p.sem, p.seed, p.bug = rpc.ExactlyOnce, seed, bug
				if bug != "reuse id" {
					p.faults = rpctest.Config{DropReply: 0.3}
				}
				var found error
				testutil.Bubble(t, func(t *testing.T) { _, found = p.run(t) })
				if found != nil {
					t.Logf("found at seed %d: %v", seed, found)
					return
				}
			}
			t.Errorf("not found in %d experiments", tries)
		})
	}
}
