//lint:bubble
package vmft_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// pairHost runs a group of two nodes, again and again.
type pairHost struct {
	t       *testing.T
	durable bool
	disks   [2]*vfs.Memory
	arbiter vmft.Arbiter
	network *transport.Network
	nodes   [2]*vmft.Node
}

func (h *pairHost) subject() *statelogtest.Subject {
	s := &statelogtest.Subject{Start: h.start, Stop: h.stop, Volatile: !h.durable}
	if h.durable {
		s.Crash = h.crash
	}
	return s
}

func (h *pairHost) start(newMachine func() *statelogtest.Book) (statelog.Log, *statelogtest.Book, error) {
	if h.arbiter == nil || !h.durable {
		h.arbiter = vmft.MemoryArbiter()
	}
	var err error
	if h.network, err = transport.NewNetwork(transport.NetworkConfig{Seed: 1}); err != nil {
		return nil, nil, err
	}
	var books [2]*statelogtest.Book
	for i := range h.nodes {
		books[i] = newMachine()
		cfg := vmft.Config{
			Transport: h.network.Host(fmt.Sprintf("node%d", i)), Addr: ":1", Advertise: fmt.Sprintf("node%d:1", i),
			Peers: []string{"node0:1", "node1:1"}, Arbiter: h.arbiter, Machine: books[i],
			CheckpointBytes: 8 << 10, CheckEvery: 100 * time.Millisecond,
		}
		if testing.Verbose() {
			cfg.Logger = hclog.New(&hclog.LoggerOptions{Name: fmt.Sprintf("node%d", i), Level: hclog.Debug})
		}
		if h.durable {
			if h.disks[i] == nil {
				h.disks[i] = vfs.NewMemory(uint64(i))
			}
			cfg.Dir, cfg.FS = "log", h.disks[i]
		}
		if h.nodes[i], err = vmft.Start(context.Background(), cfg); err != nil {
			if errors.Is(err, vmft.ErrFingerprint) {
				err = errors.Join(err, statelog.ErrFingerprint)
			}
			if i == 1 {
				_ = h.nodes[0].Close()
			}
			return nil, nil, err
		}
	}
	for range 2000 {
		for i, n := range h.nodes {
			if s := n.Status(); s.Role == vmft.RolePrimary && !s.Newest.Backup.IsZero() {
				return n, books[i], nil
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, nil, fmt.Errorf("no pair after 10s: %+v\n%+v", h.nodes[0].Status(), h.nodes[1].Status())
}

func (h *pairHost) stop() error {
	var errs []error
	for _, n := range h.nodes {
		errs = append(errs, n.Close())
	}
	for i, n := range h.nodes {
		if d := n.Status().Diverged; d != 0 {
			errs = append(errs, fmt.Errorf("node %d: the states differed at %d", i, d))
		}
	}
	return errors.Join(append(errs, h.network.Close())...)
}

func (h *pairHost) crash() error {
	for i := range h.nodes {
		h.disks[i] = h.disks[i].Crash()
	}
	_ = h.stop() // of the dead: their disks fail
	return nil
}

func TestLogInMemory(t *testing.T) {
	statelogtest.TestLog(t, func() *statelogtest.Subject { return (&pairHost{t: t}).subject() })
}

func TestLogWithJournals(t *testing.T) {
	statelogtest.TestLog(t, func() *statelogtest.Subject { return (&pairHost{t: t, durable: true}).subject() })
}
