package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/transport"
)

// RunConfig says where Run and RunSequential work. The zero value of each field
// but FileSystem means its default.
type RunConfig struct {
	// FileSystem takes the output, and holds the input unless Input is set.
	FileSystem FileSystem
	// Input holds the input. Default: FileSystem.
	Input FileSystem

	// Workers is how many workers there are, and Slots how many tasks of each kind
	// each runs at a time. Default: one worker, whose reduces read the output of its
	// maps where it is, with a slot for each processor that Go uses; if Workers is
	// given, one slot. At most 1,024 workers.
	Workers, Slots int
	// Memory is what the workers together may use, as in WorkerConfig. Default
	// 1 GiB, or 16 MiB for each slot if that is more.
	Memory int64
	// Dir is the directory in which the workers put what is too large for memory.
	// Default: one in os.TempDir.
	Dir string

	// OnlyMaps, if there are any, are the numbers of the only map tasks that
	// RunSequential executes, to look for what is wrong with one of them (§4.7 of the
	// paper). Task.Index is the number of a task. Run refuses it.
	OnlyMaps []int

	// Progress, if set, is called about ten times a second with how the job is
	// doing, and once when it has ended.
	Progress func(JobStatus)
	// Started, if set, is called by Run with the coordinator before the job is
	// submitted. Its StatusHandler shows how the job is doing, and, when Run has
	// returned, how it went.
	Started func(*Coordinator)
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger
}

const (
	maxRunWorkers = 1 << 10
	progressEvery = 100 * time.Millisecond
)

func (c RunConfig) withDefaults() RunConfig {
	if c.Input == nil {
		c.Input = c.FileSystem
	}
	if c.Slots == 0 {
		c.Slots = 1
		if c.Workers == 0 {
			c.Slots = runtime.GOMAXPROCS(0)
		}
	}
	if c.Workers == 0 {
		c.Workers = 1
	}
	if c.Memory == 0 {
		c.Memory = max(DefaultMemory, int64(c.Workers*c.Slots)*minSlotMemory)
	}
	return c
}

func (c *RunConfig) validate() error {
	switch {
	case c.FileSystem == nil:
		return fmt.Errorf("%w: RunConfig.FileSystem is missing", ErrConfig)
	case c.Workers < 0 || c.Workers > maxRunWorkers:
		return fmt.Errorf("%w: RunConfig.Workers is %d, not 1 to %d", ErrConfig, c.Workers, maxRunWorkers)
	case c.Slots < 0 || c.Slots > maxSlots:
		return fmt.Errorf("%w: RunConfig.Slots is %d, not 1 to %d", ErrConfig, c.Slots, maxSlots)
	case c.Memory < 0:
		return fmt.Errorf("%w: RunConfig.Memory is negative", ErrConfig)
	}
	return nil
}

// Result is what is known of a job that has succeeded.
type Result struct {
	// Files are the names of the output files, one a partition, or one a split of a
	// MapOnly.
	Files []string
	// Maps and Reduces are the numbers of tasks, M and R, which is 0 for a MapOnly.
	Maps, Reduces int
	// InputBytes is the size of the input.
	InputBytes int64
	// Counters are those of the job's functions and of the library, by name.
	Counters map[string]int64
	// SideFiles is the number of files that tasks have written besides, see
	// Task.Create and Task.Output.
	SideFiles int
	// Backups counts second attempts of tasks that would have ended late.
	Backups Backups
	// Skipped are the records that Spec.SkipBadRecords has let go.
	Skipped []SkippedRecord
}

// Run runs a job on a cluster in this process: a coordinator and workers that talk
// over a network in memory, the same that run on many machines. When it returns
// they are gone. If ctx ends the job is cancelled.
func Run(ctx context.Context, job Definition, spec Spec, cfg RunConfig) (result *Result, err error) {
	jobs, err := NewRegistry(job)
	if err != nil {
		return nil, err
	}
	name := jobs.Names()[0]
	fail := func(err error) (*Result, error) { return nil, &Error{Op: "run", Job: name, Err: err} }
	if err := cfg.validate(); err != nil {
		return fail(err)
	}
	if len(cfg.OnlyMaps) > 0 {
		return fail(fmt.Errorf("%w: RunConfig.OnlyMaps is for RunSequential", ErrConfig))
	}
	cfg = cfg.withDefaults()
	c, err := startLocal(ctx, jobs, cfg, spec.Labels)
	if err != nil {
		return fail(err)
	}
	defer func() {
		err = errors.Join(err, c.close())
		c.coordinator.sweepAll(context.WithoutCancel(ctx))
	}()
	if cfg.Started != nil {
		cfg.Started(c.coordinator)
	}
	id, err := c.client.Submit(ctx, name, spec)
	if err != nil {
		return nil, err
	}
	if cfg.Progress == nil {
		return c.client.Wait(ctx, id)
	}
	for {
		status, err := c.client.ask(ctx, id, progressEvery)
		if err != nil {
			return nil, err
		}
		cfg.Progress(*status)
		if err := status.err(); err != nil {
			return nil, err
		}
		if status.State == JobSucceeded {
			return status.result(), nil
		}
	}
}

// localCluster is a cluster in this process.
type localCluster struct {
	network     *transport.Network
	coordinator *Coordinator
	workers     []*Worker
	client      *Client
}

// localBuild identifies code that is the same because it is one process.
const localBuild = "one process"

// localTimeout is the patience of a coordinator whose workers cannot die alone.
const localTimeout = time.Minute

func startLocal(ctx context.Context, jobs *Registry, cfg RunConfig, labels []string) (*localCluster, error) {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		return nil, err
	}
	c := &localCluster{network: network}
	c.coordinator, err = StartCoordinator(ctx, CoordinatorConfig{
		Transport: network.Host("coordinator"), Addr: "coordinator:1", Jobs: jobs, FileSystem: cfg.FileSystem, Input: cfg.Input,
		WorkerTimeout: localTimeout, Build: localBuild, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	for i := range cfg.Workers {
		host := fmt.Sprintf("worker-%d", i)
		dir := ""
		if cfg.Dir != "" {
			dir = filepath.Join(cfg.Dir, host)
		}
		w, err := StartWorker(ctx, WorkerConfig{
			Transport: network.Host(host), Addr: host + ":1", Coordinators: []string{c.coordinator.Addr()}, Jobs: jobs,
			FileSystem: cfg.FileSystem, Input: cfg.Input, Slots: cfg.Slots, Memory: cfg.Memory / int64(cfg.Workers),
			Dir: dir, Labels: labels, Build: localBuild, Logger: cfg.Logger,
		})
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.workers = append(c.workers, w)
	}
	c.client, err = NewClient(ClientConfig{
		Transport: network.Host("client"), Coordinators: []string{c.coordinator.Addr()}, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *localCluster) close() error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	for _, w := range c.workers {
		errs = append(errs, w.Close())
	}
	if c.coordinator != nil {
		errs = append(errs, c.coordinator.Close())
	}
	return errors.Join(append(errs, c.network.Close())...)
}
