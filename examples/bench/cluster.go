package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// helloRuns is how often the start-up is measured; the median counts.
const helloRuns = 11

// repeat does a job, hello again and again, each time writing to another place.
func (t *task) repeat(once func(spec mapreduce.Spec) (*mapreduce.Result, error)) (*report, error) {
	if t.kind() != hello {
		return t.timed(newSpec(t), once)
	}
	var reports []*report
	for i := range helloRuns {
		spec := newSpec(t)
		if i > 0 {
			spec.Output += strconv.Itoa(i)
		}
		r, err := t.timed(spec, once)
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	slices.SortFunc(reports, func(a, b *report) int { return cmp.Compare(a.Took, b.Took) })
	return reports[len(reports)/2], nil
}

// timed does a job once.
func (t *task) timed(spec mapreduce.Spec, once func(spec mapreduce.Spec) (*mapreduce.Result, error)) (*report, error) {
	begin := time.Now()
	result, err := once(spec)
	end := time.Now()
	if err != nil {
		return nil, err
	}
	c := result.Counters
	return &report{
		Took:        end.Sub(begin),
		Shuffled:    c[mapreduce.CounterMapBytesOut],
		Spilled:     c[mapreduce.CounterMapBytesSpill],
		FirstRecord: time.Unix(0, c[counterMapped]).Sub(begin),
		Result:      end.Sub(time.Unix(0, c[counterReduced])),
	}, nil
}

// run does the job by a call of Run or RunSequential.
func (t *task) run(ctx context.Context, run func(context.Context, mapreduce.Definition, mapreduce.Spec, mapreduce.RunConfig) (*mapreduce.Result, error)) (*report, error) {
	if t.Memory > 0 { // and its peak is of interest
		defer local.LimitMemory(t.Memory)()
	}
	return t.repeat(func(spec mapreduce.Spec) (*mapreduce.Result, error) {
		spec, err := sampled(ctx, t, spec)
		if err != nil {
			return nil, err
		}
		return run(ctx, definitions[t.Job], spec, mapreduce.RunConfig{
			FileSystem: mapreduce.Dir(t.Dir), Input: t.inputFiles(), Memory: t.Memory, Dir: filepath.Join(t.Dir, "workers"),
		})
	})
}

// coordinate starts a coordinator and a client, has start bring up the workers, and
// does the job when they have registered; begun is called first.
func (t *task) coordinate(ctx context.Context, server, dialer transport.Transport, addr string, start func(coordinator string) error, begun func()) (_ *report, err error) {
	jobs, err := mapreduce.NewRegistry(definitions[t.Job])
	if err != nil {
		return nil, err
	}
	c, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: server, Addr: addr, Jobs: jobs, FileSystem: mapreduce.Dir(t.Dir), Input: t.inputFiles(), WorkerTimeout: t.WorkerTimeout,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := start(c.Addr()); err != nil {
		return nil, err
	}
	if err := awaitWorkers(ctx, c, t.Workers); err != nil {
		return nil, err
	}
	client, err := mapreduce.NewClient(mapreduce.ClientConfig{Transport: dialer, Coordinators: []string{c.Addr()}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	begun()
	return t.repeat(func(spec mapreduce.Spec) (*mapreduce.Result, error) {
		spec, err := sampled(ctx, t, spec)
		if err != nil {
			return nil, err
		}
		id, err := client.Submit(ctx, t.Job, spec)
		if err != nil {
			return nil, err
		}
		return client.Wait(ctx, id)
	})
}

// startWorker starts a worker with one slot.
func (t *task) startWorker(ctx context.Context, by transport.Transport, addr, coordinator, dir string) (*mapreduce.Worker, error) {
	jobs, err := mapreduce.NewRegistry(definitions[t.Job])
	if err != nil {
		return nil, err
	}
	return mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: by, Addr: addr, Coordinators: []string{coordinator}, Jobs: jobs, FileSystem: mapreduce.Dir(t.Dir), Input: t.inputFiles(),
		Slots: 1, Memory: t.Memory, Dir: dir,
	})
}

// runInMemory does the job on a cluster in this process.
func (t *task) runInMemory(ctx context.Context) (_ *report, err error) {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	var workers []*mapreduce.Worker
	defer func() {
		for _, w := range workers {
			err = errors.Join(err, w.Close())
		}
	}()
	return t.coordinate(ctx, network.Host("coordinator"), network.Host("client"), "coordinator:1", func(coordinator string) error {
		for i := range t.Workers {
			host := fmt.Sprintf("worker%d", i)
			w, err := t.startWorker(ctx, network.Host(host), host+":1", coordinator, filepath.Join(t.Dir, host))
			if err != nil {
				return err
			}
			workers = append(workers, w)
		}
		return nil
	}, func() {})
}

// runProcesses does the job with workers that are processes of their own.
func (t *task) runProcesses(ctx context.Context) (*report, error) {
	ctx, cancel := context.WithCancel(ctx) // kills them
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var workers []*os.Process
	r, err := t.coordinate(ctx, &transport.TCP{}, &transport.TCP{}, "127.0.0.1:0", func(coordinator string) error {
		for i := range t.Workers {
			w := *t
			w.Role, w.Coordinator, w.Output = roleWorker, coordinator, filepath.Join(t.Dir, fmt.Sprintf("worker%d", i))
			cmd, err := w.command(ctx)
			if err != nil {
				return err
			}
			cmd.Stderr = os.Stderr
			if _, err := cmd.StdinPipe(); err != nil { // ends the worker if this process dies
				return err
			}
			if err := cmd.Start(); err != nil {
				return err
			}
			running.Go(func() { _ = cmd.Wait() }) // it will have been killed
			workers = append(workers, cmd.Process)
		}
		return nil
	}, func() { t.trouble(ctx, &running, workers[0]) })
	if err != nil {
		return nil, err
	}
	r.Peak = peak("self")
	for _, p := range workers {
		r.Peak += peak(strconv.Itoa(p.Pid)) // 0 of one that was killed
	}
	return r, nil
}

// A slow worker runs for a tenth of the time.
const (
	slowRuns  = 10 * time.Millisecond
	slowRests = 90 * time.Millisecond
)

// trouble does to a worker what is to be done to one.
func (t *task) trouble(ctx context.Context, running *sync.WaitGroup, worker *os.Process) {
	pause := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	switch {
	case t.Kill:
		running.Go(func() {
			if pause(t.KillAfter) {
				_ = worker.Kill()
			}
		})
	case t.Slow:
		running.Go(func() {
			for suspend(worker) == nil && pause(slowRests) && resume(worker) == nil && pause(slowRuns) {
			}
		})
	}
}

// work is a worker's process, until it is killed or who has started it dies.
func (t *task) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	w, err := t.startWorker(ctx, &transport.TCP{}, "127.0.0.1:0", t.Coordinator, t.Output)
	if err != nil {
		return err
	}
	return w.Wait(ctx)
}

// awaitWorkers waits until so many workers have registered.
func awaitWorkers(ctx context.Context, c *mapreduce.Coordinator, n int) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/status.json", nil)
		if err != nil {
			return err
		}
		var page page
		c.StatusHandler().ServeHTTP(&page, req)
		var status mapreduce.ClusterReport
		if err := json.Unmarshal(page.Bytes(), &status); err == nil && status.WorkersAlive == n {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A page takes an answer of a handler in.
type page struct {
	bytes.Buffer
	header http.Header
}

func (p *page) WriteHeader(int) {}
func (p *page) Header() http.Header {
	if p.header == nil {
		p.header = make(http.Header)
	}
	return p.header
}
