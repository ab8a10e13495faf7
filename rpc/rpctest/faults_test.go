package rpctest

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// pair starts a server whose handler "Add" counts its runs in ran, and a client.
//
//lint:bubble
func pair(t *testing.T, server, client *Faults, ran *atomic.Int64) *rpc.Client {
	t.Helper()
	n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
	table, err := rpc.NewSessionTable(rpc.SessionTableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	scfg := rpc.ServerConfig{Sessions: table}
	if server != nil {
		scfg.Interceptors = append(scfg.Interceptors, server.Server)
	}
	s, err := rpc.NewServer(scfg)
	if err != nil {
		t.Fatal(err)
	}
	rpc.Handle(s, "Add", func(context.Context, *rpc.Empty) (*rpc.Empty, error) {
		ran.Add(1)
		return nil, nil
	})
	if _, err := s.Listen(t.Context(), n.Host("server"), ":1"); err != nil {
		t.Fatal(err)
	}
	ccfg := rpc.ClientConfig{Transport: n.Host("client"), Addrs: []string{"server:1"}}
	if client != nil {
		ccfg.Interceptors = append(ccfg.Interceptors, client.Client)
	}
	c, err := rpc.NewClient(ccfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c
}

func newFaults(t *testing.T, cfg Config) *Faults {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func callers(c *rpc.Client) map[rpc.Semantics]rpc.Caller {
	return map[rpc.Semantics]rpc.Caller{
		rpc.AtMostOnce: c, rpc.AtLeastOnce: c.AtLeastOnce(), rpc.ExactlyOnce: c.ExactlyOnce(),
	}
}

// TestEachFault: each fault alone, for certain, on each side, does what the
// documentation says, and is counted.
func TestEachFault(t *testing.T) {
	all := Config{Methods: []string{"Add"}}
	with := func(set func(*Config)) Config {
		cfg := all
		set(&cfg)
		return cfg
	}
	dropRequest := with(func(c *Config) { c.DropRequest = 1 })
	dropReply := with(func(c *Config) { c.DropReply = 1 })
	duplicate := with(func(c *Config) { c.Duplicate = 1 })
	delay := with(func(c *Config) { c.Delay = 1 })
	for _, tc := range []struct {
		name    string
		cfg     Config
		server  bool
		sem     rpc.Semantics
		runs    int64
		fails   bool
		outcome rpc.Outcome
		counts  Counts
	}{
		{"request", dropRequest, false, rpc.AtMostOnce, 0, true, rpc.OutcomeUnknown, Counts{DroppedRequests: 1}},
		{"request", dropRequest, true, rpc.AtMostOnce, 0, true, rpc.NotExecuted, Counts{DroppedRequests: 1}},
		{"reply", dropReply, false, rpc.AtMostOnce, 1, true, rpc.OutcomeUnknown, Counts{DroppedReplies: 1}},
		{"reply", dropReply, true, rpc.AtMostOnce, 1, true, rpc.OutcomeUnknown, Counts{DroppedReplies: 1}},
		{"reply", dropReply, true, rpc.ExactlyOnce, 1, true, rpc.OutcomeUnknown, Counts{DroppedReplies: 1}},
		{"duplicate", duplicate, false, rpc.AtMostOnce, 1, false, 0, Counts{}},
		{"duplicate", duplicate, true, rpc.AtMostOnce, 1, false, 0, Counts{}},
		{"duplicate", duplicate, false, rpc.AtLeastOnce, 2, false, 0, Counts{Duplicates: 1}},
		{"duplicate", duplicate, true, rpc.AtLeastOnce, 2, false, 0, Counts{Duplicates: 1}},
		{"duplicate", duplicate, false, rpc.ExactlyOnce, 1, false, 0, Counts{Duplicates: 1}},
		{"duplicate", duplicate, true, rpc.ExactlyOnce, 1, false, 0, Counts{}},
		{"delay", delay, false, rpc.AtMostOnce, 1, false, 0, Counts{Delays: 1}},
		{"delay", delay, true, rpc.AtMostOnce, 1, false, 0, Counts{Delays: 1}},
	} {
		where := "client"
		if tc.server {
			where = "server"
		}
		t.Run(tc.name+"/"+where+"/"+tc.sem.String(), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				f := newFaults(t, tc.cfg)
				var ran atomic.Int64
				server, client := (*Faults)(nil), f
				if tc.server {
					server, client = f, nil
				}
				c := pair(t, server, client, &ran)
				start := time.Now()
				_, err := rpc.Call[rpc.Empty](t.Context(), callers(c)[tc.sem], "Add", &rpc.Empty{})
				if ran.Load() != tc.runs {
					t.Errorf("the handler ran %d times, want %d", ran.Load(), tc.runs)
				}
				if tc.fails != (err != nil) || err != nil && (!errors.Is(err, ErrInjected) || rpc.OutcomeOf(err) != tc.outcome) {
					t.Errorf("error %v, outcome %v", err, rpc.OutcomeOf(err))
				}
				tc.counts.Attempts = 1
				if got := f.Counts(); got != tc.counts {
					t.Errorf("counts %+v, want %+v", got, tc.counts)
				}
				if took := time.Since(start); tc.counts.Delays > 0 && (took < 4*time.Millisecond || took > 110*time.Millisecond) {
					t.Errorf("a delayed call took %v", took)
				}
			})
		})
	}
}

// TestVerdictsFollowTheSeed: the same seed brings the same faults, another seed
// others, each about as often as was asked for.
func TestVerdictsFollowTheSeed(t *testing.T) {
	judge := func(seed uint64) (verdicts []verdict) {
		f := newFaults(t, Config{Seed: seed, DropRequest: 0.2, DropReply: 0.2, Duplicate: 0.2, Delay: 0.2})
		for range 1000 {
			verdicts = append(verdicts, f.judge(clientSide, &rpc.Invocation{Method: "M"}, false))
			f.judge(clientSide, &rpc.Invocation{Method: "Other"}, false)
			f.judge(serverSide, &rpc.Invocation{Method: "M"}, false)
		}
		c := f.Counts()
		for name, n := range map[string]uint64{"dropped requests": c.DroppedRequests, "delays": c.Delays} {
			if n < 450 || n > 750 {
				t.Errorf("seed %d: %d %s of 3000, where 600 are to be expected", seed, n, name)
			}
		}
		return verdicts
	}
	if !reflect.DeepEqual(judge(1), judge(1)) {
		t.Error("one seed, two series of verdicts")
	}
	if reflect.DeepEqual(judge(1), judge(2)) {
		t.Error("two seeds, one series of verdicts")
	}
}

// TestRetriesGetThrough: calls that are retried succeed in the midst of faults,
// on both sides at once, and once they are stopped at the first attempt.
func TestRetriesGetThrough(t *testing.T) {
	for _, sem := range []rpc.Semantics{rpc.AtLeastOnce, rpc.ExactlyOnce} {
		t.Run(sem.String(), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				cfg := Config{Seed: 3, DropRequest: 0.2, Delay: 0.2, Duplicate: 0.2}
				server := newFaults(t, cfg)
				cfg.DropReply = 0.2
				client := newFaults(t, cfg)
				var ran atomic.Int64
				c := pair(t, server, client, &ran)
				const calls = 200
				for range calls {
					if _, err := rpc.Call[rpc.Empty](t.Context(), callers(c)[sem], "Add", &rpc.Empty{}); err != nil {
						t.Fatal(err)
					}
				}
				if n := ran.Load(); sem == rpc.ExactlyOnce && n != calls || n < calls {
					t.Errorf("%d calls ran the handler %d times", calls, n)
				}
				for name, n := range map[string]uint64{
					"requests dropped by the client": client.Counts().DroppedRequests,
					"requests dropped by the server": server.Counts().DroppedRequests,
					"replies dropped":                client.Counts().DroppedReplies,
					"duplicates":                     client.Counts().Duplicates,
					"delays":                         server.Counts().Delays,
				} {
					if n < 10 {
						t.Errorf("%d %s: too few to have tested anything", n, name)
					}
				}
				server.Stop()
				client.Stop()
				before := client.Counts()
				if _, err := rpc.Call[rpc.Empty](t.Context(), c, "Add", &rpc.Empty{}); err != nil {
					t.Errorf("after Stop: %v", err)
				}
				before.Attempts++
				if got := client.Counts(); got != before {
					t.Errorf("after Stop: counts went from %+v to %+v", before, got)
				}
			})
		})
	}
}

func TestConfig(t *testing.T) {
	for field, cfg := range map[string]Config{
		"DropRequest": {DropRequest: -1}, "DropReply": {DropReply: 1.5},
		"Duplicate": {Duplicate: 2}, "Delay": {Delay: -0.1}, "MaxDelay": {MaxDelay: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("a bad %s was accepted", field)
		}
	}
}
