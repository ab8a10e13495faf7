package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
// it is done. One that stands by does the same when it comes to lead. It returns how long
// the job took too, without the time when no coordinator was there.
func (o *options) coordinate(ctx context.Context, spec mapreduce.Spec, p *local.Progress, page *statusPage, stderr io.Writer) (result *mapreduce.Result, took time.Duration, err error) {
	registry, err := mapreduce.NewRegistry(jobs.WordCount)
	if err != nil {
		return nil, 0, err
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
		return nil, 0, o.blame(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	page.show(c)
	client, err := mapreduce.NewClient(mapreduce.ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{c.Addr()}})
	if err != nil {
		return nil, 0, err
	}
	defer client.Close()
	id, ended, err := o.begin(ctx, client, spec, stderr)
	if err != nil {
		return nil, 0, err
	}
	if result, took, err = await(ctx, client, id, p); err != nil {
		return nil, 0, err
	}
	patience := o.timeout // a worker that is not told now notices that nobody answers
	if ended {            // another has told the workers, if it has not died of that
		patience = min(patience, farewell)
	}
	told, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.Dismiss(told); err != nil && !ended {
		fmt.Fprintf(stderr, "wordcount: %v\n", err) // the job is done all the same
	}
	return result, took, nil
}

// blame says which flag is wrong if a coordinator cannot be started.
func (o *options) blame(err error) error {
	switch at, ok := errors.AsType[*transport.Error](err); {
	case ok && at.Addr == o.coordinator:
		return fmt.Errorf("-coordinator: %w", err)
	case !ok && o.journal != "" && !o.standby.On(): // a node has more that can be wrong
		return fmt.Errorf("-journal: %w", err)
	}
	return err
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

// begin submits the job, or finds it in the log of a coordinator that did not live to print
// what comes out. It may have ended: then what it has written is there.
func (o *options) begin(ctx context.Context, client *mapreduce.Client, spec mapreduce.Spec, stderr io.Writer) (id mapreduce.JobID, ended bool, err error) {
	known, err := client.Jobs(ctx)
	if err != nil {
		return 0, false, err
	}
	used := local.CheckEmpty(local.Names([]string{spec.Output})[0])
	var last *mapreduce.JobStatus // of those with this output: no other can be meant
	for _, j := range known {
		if j.Output == spec.Output {
			last = &j
		}
	}
	switch {
	case last == nil:
	case o.standby.On(): // it is the job of all of them
		return last.ID, last.State.Ended(), nil
	case !last.State.Ended(), last.State == mapreduce.JobSucceeded && used != nil:
		if err := sameJob(ctx, client, last.ID, spec); err != nil {
			return 0, false, err
		}
		if last.State.Ended() {
			fmt.Fprintf(stderr, "job %d, which is in the journal, has ended before: this is its result\n", last.ID)
		} else {
			fmt.Fprintf(stderr, "goes on with job %d, which is in the journal\n", last.ID)
		}
		return last.ID, last.State.Ended(), nil
	}
	switch {
	case used == nil:
	case last != nil: // it has failed, perhaps while it committed
		return 0, false, fmt.Errorf("%w; job %d in the journal, which wrote there, has ended as %v", used, last.ID, last.State)
	case o.journal != "":
		return 0, false, fmt.Errorf("%w; no job in the journal %s writes there", used, o.journal)
	default:
		return 0, false, used
	}
	id, err = client.Submit(ctx, jobs.WordCount.Name, spec)
	return id, false, err
}

// sameJob returns an error if a job with the output of spec was asked to do something else, as
// far as can be seen. What its input has become since does not count.
func sameJob(ctx context.Context, client *mapreduce.Client, id mapreduce.JobID, spec mapreduce.Spec) error {
	j, err := client.Status(ctx, id) // with the patterns
	if err != nil {
		return err
	}
	if !slices.Equal(j.Input, spec.Input) || j.Reduces.Total != spec.Reduces {
		return fmt.Errorf("job %d, which is in the journal, writes to this -output from %s to %d partitions; these arguments say %s and %d: choose another -output",
			id, patternList(j.Input), j.Reduces.Total, patternList(spec.Input), spec.Reduces)
	}
	return nil
}

// patternList names the first few of patterns.
func patternList(patterns []string) string {
	const few = 3
	list := strings.Join(local.Names(patterns[:min(few, len(patterns))]), ", ")
	if len(patterns) > few {
		list += fmt.Sprintf(" and %d more", len(patterns)-few)
	}
	return list
}

// await waits for the job and shows how it gets on. It returns how long the job took too.
func await(ctx context.Context, client *mapreduce.Client, id mapreduce.JobID, p *local.Progress) (*mapreduce.Result, time.Duration, error) {
	const often = 200 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		s, err := client.Status(ctx, id)
		if err != nil {
			return nil, 0, err
		}
		p.Show(*s)
		if s.State.Ended() {
			result, err := client.Wait(ctx, id)
			return result, s.Ended.Sub(s.Submitted), err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
}

// work runs a worker until the coordinator dismisses it. It says on stderr what an operator
// wants to know: above all, that it waits for a coordinator, and why.
func (o *options) work(ctx context.Context, stderr io.Writer) error {
	registry, err := mapreduce.NewRegistry(jobs.WordCount)
	if err != nil {
		return err
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "wordcount", Level: hclog.Warn, Output: stderr})
	coordinators := strings.Split(o.worker, ",")
	if !local.Reachable(o.listen) && slices.ContainsFunc(coordinators, local.Reachable) {
		logger.Warn("workers on other machines cannot fetch from this one at " + o.listen + "; if there are any, name this machine's address with -listen")
	}
	w, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: &transport.TCP{}, Addr: o.listen, Coordinators: coordinators, Jobs: registry, FileSystem: local.Files, Logger: logger,
	})
	if err != nil {
		return err
	}
	defer w.Close()
	return w.Wait(ctx)
}
