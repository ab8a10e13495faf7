package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// vmftSuite measures two nodes in one process, with callers in the primary's, so that only
// the logging channel is on the network; and fail-overs of two processes.
var vmftSuite = suite{
	name: "vmft",
	about: "two nodes in one process, of which callers propose to the primary, and the logging channel is loopback TCP. apply64: commands of " +
		"64 bytes; memory: on the network in memory; tcp+journal: both nodes sync; solo: no backup, no journal; limit: a bare batched " +
		"send and acknowledge loop; client64: by an exactly-once client over TCP; failover: two processes, from kill -9 or SIGSTOP until " +
		"the call of a client that hangs on the primary is acknowledged, 4 in a turn; gfs-failover: two masters and three chunkservers, " +
		"processes, from kill -9 of the master that leads to the first directory that is made (ms), and to the first append to a file that " +
		"is open (append_ms), each by a client that had worked with the first master; clone: a new backup, with a state of -size, under " +
		"load; overhead: calls/s with a backup to without",
	cases:    names(vmftCases),
	subjects: []string{"limit", "memory", "tcp", "tcp+journal", "solo", "kill", "stop"},
	baseline: func(string) string { return "limit" },
	rounds:   5,
	timed:    true,
	size:     1 << 10,
	works:    true,
	open: func(ctx context.Context, kase, subject string, w *workspace) (cell, error) {
		open := find(vmftCases, kase)[subject]
		if open == nil {
			return nil, nil
		}
		return open(ctx, w)
	},
}

// A vmftCase is how its subjects are set up.
type vmftCase map[string]func(ctx context.Context, w *workspace) (cell, error)

var vmftCases = []named[vmftCase]{
	{"apply64/conc1", applies(1)},
	{"apply64/conc64", applies(64)},
	{"apply64/conc1024", applies(1024)},
	{"client64/conc64", vmftCase{"tcp": openPairClients}},
	{"failover", vmftCase{"kill": openFailover(false), "stop": openFailover(true)}},
	{"gfs-failover", vmftCase{"tcp": openMasterPair}},
	{"clone", vmftCase{"tcp": openClone}},
	{"overhead", vmftCase{"tcp": openOverhead}},
}

func applies(callers int) vmftCase {
	return vmftCase{
		"limit": func(ctx context.Context, _ *workspace) (cell, error) { return openLogLimit(ctx, callers) },
		"memory": func(ctx context.Context, w *workspace) (cell, error) {
			return openApplies(ctx, w, callers, pairKind{memory: true, nodes: 2})
		},
		"tcp": func(ctx context.Context, w *workspace) (cell, error) {
			return openApplies(ctx, w, callers, pairKind{nodes: 2})
		},
		"tcp+journal": func(ctx context.Context, w *workspace) (cell, error) {
			return openApplies(ctx, w, callers, pairKind{journal: true, nodes: 2})
		},
		"solo": func(ctx context.Context, w *workspace) (cell, error) {
			return openApplies(ctx, w, callers, pairKind{nodes: 1})
		},
	}
}

// A pairKind says what nodes are like.
type pairKind struct {
	memory  bool // on the network in memory
	journal bool
	nodes   int
	state   int64 // bytes
}

// A vmftPair is a primary and its backup, if there is one, in this process.
type vmftPair struct {
	kind    pairKind
	dir     string
	nodes   []*vmft.Node
	arbiter vmft.Arbiter
	network *transport.Network // nil: TCP
}

func openPair(ctx context.Context, w *workspace, kind pairKind) (_ *vmftPair, err error) {
	p := &vmftPair{kind: kind, arbiter: vmft.MemoryArbiter()}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.dir, err = os.MkdirTemp(w.dir, "vmft-"); err != nil {
		return nil, err
	}
	if kind.memory {
		if p.network, err = transport.NewNetwork(transport.NetworkConfig{}); err != nil {
			return nil, err
		}
	}
	for range kind.nodes {
		if err := p.add(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// add starts one node more: the primary, or its backup.
func (p *vmftPair) add(ctx context.Context) error {
	number := len(p.nodes)
	cfg := vmft.Config{
		Transport: &transport.TCP{}, Addr: "127.0.0.1:0", Arbiter: p.arbiter, Machine: newPages(p.kind.state),
		CheckEvery: -1, // which would be measured now and then
	}
	if p.network != nil {
		host := fmt.Sprintf("node%d", number)
		cfg.Transport, cfg.Addr = p.network.Host(host), host+":1"
	}
	if p.kind.journal {
		cfg.Dir = fmt.Sprintf("%s/%d", p.dir, number)
	}
	for _, n := range p.nodes {
		cfg.Peers = append(cfg.Peers, n.Addr())
	}
	n, err := vmft.Start(ctx, cfg)
	if err != nil {
		return err
	}
	p.nodes = append(p.nodes, n)
	return awaitThat(ctx, func() bool {
		s := p.nodes[0].Status()
		return s.Role == vmft.RolePrimary && s.Newest.Backup.IsZero() == (number == 0)
	})
}

// awaitThat waits until something is so.
func awaitThat(ctx context.Context, so func() bool) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close ends the nodes, the backup first.
func (p *vmftPair) Close() error {
	var err error
	for i := len(p.nodes) - 1; i >= 0; i-- {
		err = errors.Join(err, p.nodes[i].Close())
	}
	if p.network != nil {
		err = errors.Join(err, p.network.Close())
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

// commandSize is the size of a command.
const commandSize = 64

// callers returns so many callers that propose to the primary.
func (p *vmftPair) callers(n int) []caller {
	var callers []caller
	primary := p.nodes[0]
	for i := range n {
		cmd := make([]byte, commandSize)
		cmd[0], cmd[1] = byte(i), byte(i>>8)
		callers = append(callers, func() error {
			_, out, err := primary.Propose(context.Background(), cmd)
			if err == nil && len(out) != 8 {
				err = fmt.Errorf("an output of %d bytes", len(out))
			}
			return err
		})
	}
	return callers
}

func openApplies(ctx context.Context, w *workspace, callers int, kind pairKind) (cell, error) {
	p, err := openPair(ctx, w, kind)
	if err != nil {
		return nil, err
	}
	return &callsCell{load{callers: p.callers(callers), close: p.Close}}, nil
}

// A callsCell is a load of which bytes are of no interest.
type callsCell struct{ load }

func (c *callsCell) measure(ctx context.Context, warmup, turn time.Duration) ([]metric, error) {
	all, err := c.load.measure(ctx, warmup, turn)
	if err != nil {
		return nil, err
	}
	return append(all[:1:1], all[2:]...), nil
}

// openPairClients has 64 callers call by a client, exactly once.
func openPairClients(ctx context.Context, w *workspace) (cell, error) {
	p, err := openPair(ctx, w, pairKind{nodes: 2})
	if err != nil {
		return nil, err
	}
	client, err := vmft.Dial(&transport.TCP{}, p.nodes[0].Addr(), p.nodes[1].Addr())
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	l := load{close: func() error { return errors.Join(client.Close(), p.Close()) }}
	for range 64 {
		cmd := make([]byte, commandSize)
		l.callers = append(l.callers, func() error {
			_, err := client.Call(context.Background(), cmd)
			return err
		})
	}
	return &callsCell{l}, nil
}

// openOverhead compares the same load with a backup and without.
func openOverhead(ctx context.Context, w *workspace) (cell, error) {
	solo, err := openApplies(ctx, w, 64, pairKind{nodes: 1})
	if err != nil {
		return nil, err
	}
	pair, err := openApplies(ctx, w, 64, pairKind{nodes: 2})
	if err != nil {
		return nil, errors.Join(err, solo.Close())
	}
	return &turn{
		run: func(ctx context.Context, d time.Duration) ([]metric, error) {
			alone, err := solo.measure(ctx, d/8, d/2)
			if err != nil {
				return nil, err
			}
			both, err := pair.measure(ctx, d/8, d/2)
			if err != nil {
				return nil, err
			}
			return []metric{{"ratio", both[0].value / alone[0].value}}, nil
		},
		close: func() error { return errors.Join(pair.Close(), solo.Close()) },
	}, nil
}

// openClone makes a backup of a primary that has a large state and works all the time.
func openClone(_ context.Context, w *workspace) (cell, error) {
	return &turn{run: func(ctx context.Context, _ time.Duration) (_ []metric, err error) {
		p, err := openPair(ctx, w, pairKind{nodes: 1, state: w.size})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		over := make(chan struct{})
		var work sync.WaitGroup
		var once sync.Once
		var failure error
		for _, call := range p.callers(64) {
			work.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					if err := call(); err != nil {
						once.Do(func() { failure = err })
						return
					}
				}
			})
		}
		err = p.add(ctx)
		close(over)
		work.Wait()
		if err = errors.Join(err, failure); err != nil {
			return nil, err
		}
		s := p.nodes[0].Status()
		return []metric{{"pause_ms", s.LastPause.Seconds() * 1e3}, {"total_ms", s.LastClone.Seconds() * 1e3}}, nil
	}}, nil
}
