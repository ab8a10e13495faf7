package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// coordinate runs the job on workers in other processes, and dismisses them when
// it is done. One that stands by does the same when it comes to lead.
func (o *options) coordinate(ctx context.Context, spec mapreduce.Spec, p *local.Progress, page *statusPage, stderr io.Writer) (result *mapreduce.Result, err error) {
	registry, err := mapreduce.NewRegistry(jobs.WordCount)
	if err != nil {
		return nil, err
	}
	cfg := mapreduce.CoordinatorConfig{
		Transport: &transport.TCP{}, Addr: o.coordinator, Jobs: registry, FileSystem: local.Files, Dir: o.journal, WorkerTimeout: o.timeout,
	}
	if o.standby.On() {
		stop := o.replicate(ctx, &cfg, stderr)
		defer stop()
	}
	c, err := mapreduce.StartCoordinator(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	page.show(c)
	client, err := mapreduce.NewClient(mapreduce.ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{c.Addr()}})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	id, ended, err := begin(ctx, client, spec, o.standby.On())
	if err != nil {
		return nil, err
	}
	if result, err = await(ctx, client, id, p); err != nil {
		return nil, err
	}
	if ended { // by another, which has told the workers, if it has not died of that
		told, cancel := context.WithTimeout(ctx, farewell)
		defer cancel()
		_ = c.Dismiss(told)
		return result, nil
	}
	// A worker that is not told now notices that nobody answers.
	told, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return result, c.Dismiss(told)
}

// farewell is how long a coordinator that finds its job done waits for workers that were
// not told.
const farewell = 2 * time.Second

// replicate has the state of a coordinator kept in a node, of which it prints what becomes
// until stop is called.
func (o *options) replicate(ctx context.Context, cfg *mapreduce.CoordinatorConfig, stderr io.Writer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	dir := cfg.Dir
	cfg.Dir = ""
	cfg.OpenLog = func(machine mapreduce.Machine) (mapreduce.Log, error) {
		node, err := o.standby.Start(ctx, standby.Config{What: "coordinator", Dir: dir, Transport: cfg.Transport, Logger: hclog.NewNullLogger()}, machine)
		if err != nil {
			return nil, err
		}
		work.Go(func() { node.Watch(ctx, stderr) })
		return node, nil
	}
	return func() {
		cancel()
		work.Wait()
	}
}

// begin submits the job, or finds it in the log of a coordinator that did not live to see
// its end. One that has taken over from another may find that it has ended.
func begin(ctx context.Context, client *mapreduce.Client, spec mapreduce.Spec, takesOver bool) (id mapreduce.JobID, ended bool, err error) {
	known, err := client.Jobs(ctx)
	if err != nil {
		return 0, false, err
	}
	for _, j := range known {
		if j.Output == spec.Output && (takesOver || !j.State.Ended()) {
			return j.ID, j.State.Ended(), nil
		}
	}
	id, err = client.Submit(ctx, jobs.WordCount.Name, spec)
	return id, false, err
}

// await waits for the job and shows how it gets on.
func await(ctx context.Context, client *mapreduce.Client, id mapreduce.JobID, p *local.Progress) (*mapreduce.Result, error) {
	const often = 200 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		s, err := client.Status(ctx, id)
		if err != nil {
			return nil, err
		}
		p.Show(*s)
		if s.State.Ended() {
			return client.Wait(ctx, id)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// work runs a worker until the coordinator dismisses it.
func (o *options) work(ctx context.Context) error {
	registry, err := mapreduce.NewRegistry(jobs.WordCount)
	if err != nil {
		return err
	}
	w, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: &transport.TCP{}, Addr: o.listen, Coordinators: strings.Split(o.worker, ","), Jobs: registry, FileSystem: local.Files,
	})
	if err != nil {
		return err
	}
	defer w.Close()
	return w.Wait(ctx)
}
