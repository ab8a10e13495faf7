package mapreducetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// cluster is a cluster whose parts can be killed. One goroutine at a time uses it.
type cluster struct {
	*oracle
	cfg    Config
	seed   uint64
	rand   *rand.Rand
	unit   time.Duration // what times are multiples of
	report Report
	uses   atomic.Int64

	network     *transport.Network
	output      mapreduce.FileSystem
	journal     *vfs.Memory
	coordinator *mapreduce.Coordinator // nil while it is down
	speed       *speed                 // of the coordinator that is up, or was last
	workers     []*node
	client      *mapreduce.Client
	boots       uint64
}

// node is a worker.
type node struct {
	host   string
	worker *mapreduce.Worker // nil while it is down
	speed  *speed
}

const (
	coordinatorHost = "coordinator"
	clientHost      = "client"
	port            = ":1"

	// bubbleUnit and wallUnit are the unit of times in the two kinds of time.
	bubbleUnit = 100 * time.Millisecond
	wallUnit   = 4 * time.Millisecond
	// A worker is dead after so many units of silence, or the least there is.
	timeoutUnits = 20
	minTimeout   = 500 * time.Millisecond
)

func startCluster(ctx context.Context, o *oracle, seed uint64, cfg Config) (*cluster, error) {
	c := &cluster{
		oracle: o, cfg: cfg, seed: seed, rand: rand.New(rand.NewPCG(seed, 0x6d7274657374)), unit: bubbleUnit,
		output: cfg.Output(), journal: vfs.NewMemory(seed), workers: make([]*node, cfg.Workers),
	}
	if cfg.WallClock {
		c.unit = wallUnit
	}
	var err error
	c.network, err = transport.NewNetwork(transport.NetworkConfig{
		Seed: seed, Latency: transport.Uniform(c.unit/100, c.unit/10),
	})
	if err != nil {
		return nil, err
	}
	err = c.startCoordinator(ctx)
	for i := range c.workers {
		c.workers[i] = &node{host: fmt.Sprint("worker", i)}
		if err == nil {
			err = c.startWorker(ctx, c.workers[i])
		}
	}
	if err == nil {
		c.client, err = mapreduce.NewClient(mapreduce.ClientConfig{Transport: c.network.Host(clientHost), Coordinators: []string{coordinatorHost + port}})
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// newSpeed returns that of a process that has just been started.
func (c *cluster) newSpeed() *speed {
	c.boots++
	return &speed{unit: c.unit, seed: mix(c.seed, c.boots), dead: make(chan struct{})}
}

func (c *cluster) startCoordinator(ctx context.Context) error {
	c.speed = c.newSpeed()
	journal := c.journal
	coordinator, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: c.network.Host(coordinatorHost), Addr: coordinatorHost + port, Jobs: c.jobs,
		FileSystem: &disk{inner: c.output, speed: c.speed}, Input: &disk{inner: c.input, speed: c.speed},
		OpenLog: func(m mapreduce.Machine) (mapreduce.Log, error) {
			return statelog.Open(statelog.Config{Machine: m, Dir: "/journal", FS: journal})
		},
		WorkerTimeout: max(timeoutUnits*c.unit, minTimeout), Build: "mapreducetest", Logger: c.cfg.Logger.Named(coordinatorHost),
	})
	if err != nil {
		return err
	}
	c.coordinator = coordinator
	if c.cfg.Started != nil {
		c.cfg.Started(coordinator)
	}
	return nil
}

func (c *cluster) startWorker(ctx context.Context, n *node) error {
	n.speed = c.newSpeed()
	worker, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: c.network.Host(n.host), Addr: n.host + port, Coordinators: []string{coordinatorHost + port}, Jobs: c.jobs,
		FileSystem: &disk{inner: c.output, uses: &c.uses, speed: n.speed}, Input: &disk{inner: c.input, uses: &c.uses, speed: n.speed},
		Slots: 1 + c.rand.IntN(2), Build: "mapreducetest", Logger: c.cfg.Logger.Named(n.host),
	})
	if err != nil {
		return err
	}
	n.worker = worker
	return nil
}

// killWorker cuts a worker's power. What it has written stays.
func (c *cluster) killWorker(n *node, mode transport.CrashMode) error {
	close(n.speed.dead)
	c.network.Host(n.host).Crash(mode)
	worker := n.worker
	n.worker = nil
	return worker.Close() // its goroutines; nobody hears of it
}

// killCoordinator cuts the coordinator's power, and that of its disk.
func (c *cluster) killCoordinator(mode transport.CrashMode) {
	close(c.speed.dead)
	c.network.Host(coordinatorHost).Crash(mode)
	after := c.journal.Crash()
	_ = c.coordinator.Close() // it cannot close its journal any more
	c.journal, c.coordinator = after, nil
}

// close ends everything.
func (c *cluster) close() error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	for _, n := range c.workers {
		if n != nil && n.worker != nil {
			n.speed.normal()
			errs = append(errs, n.worker.Close())
		}
	}
	if c.coordinator != nil {
		errs = append(errs, c.coordinator.Close())
	}
	return errors.Join(append(errs, c.network.Close())...)
}

// variant returns the job's spec with things changed that cannot show in the output.
func (c *cluster) variant() mapreduce.Spec {
	spec := c.spec
	spec.NoBackups = spec.NoBackups || c.rand.IntN(4) == 0
	spec.Compress = spec.Compress || c.rand.IntN(2) == 0
	if begin := []int{mapreduce.DefaultReduceAfter, 50, mapreduce.Barrier}; spec.ReduceAfter == 0 {
		spec.ReduceAfter = begin[c.rand.IntN(len(begin))]
	}
	return spec
}

// runJob runs the job while things go wrong.
func (c *cluster) runJob(ctx context.Context) (*mapreduce.Result, error) {
	id, err := c.client.Submit(ctx, c.jobs.Names()[0], c.variant())
	if err != nil {
		return nil, err
	}
	var result *mapreduce.Result
	running, ended := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ended()
		result, err = c.client.Wait(ctx, id)
	}()
	terr := c.torment(running, ctx)
	if terr != nil {
		ended()
		_ = c.client.Close() // ends the wait
	}
	<-done
	c.report.FileErrors += c.fileErrors()
	return result, errors.Join(terr, err)
}
