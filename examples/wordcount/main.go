package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return local.Program{Name: "wordcount", Usage: "wordcount [flags]", Define: func(f *flag.FlagSet) func([]string) error {
		var o options
		o.define(f)
		return func(args []string) error {
			set := make(map[string]bool)
			f.Visit(func(f *flag.Flag) { set[f.Name] = true })
			if err := o.check(args, set); err != nil {
				return err
			}
			return o.do(ctx, stdout, stderr)
		}
	}}.Run(args, stderr)
}

// do does what the options say.
func (o *options) do(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if o.worker != "" {
		return o.work(ctx)
	}
	if err := o.resolve(); err != nil {
		return err
	}
	output := o.output
	if output == "" {
		dir, err := os.MkdirTemp("", "wordcount-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		output = dir
	}
	page, err := openStatusPage(ctx, o.status, stderr)
	if err != nil {
		return err
	}
	defer page.close()
	files := mapreduce.FileSystem(local.Files)
	var in *store // nil: no gfs
	if o.fs == fsGFS {
		if in, err = openStore(ctx, o.patterns, stderr); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.close()) }()
		files = in.client.Files()
	}
	spec := o.spec.Spec()
	spec.Input, spec.Output = o.patterns, local.Rooted(output)
	begin := time.Now()
	result, err := o.count(ctx, spec, files, local.NewProgress(stderr), page)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	if in != nil {
		if err := in.fetch(ctx, result.Files); err != nil {
			return err
		}
	}
	if err := o.print(stdout, result, took); err != nil {
		return err
	}
	if in != nil {
		fmt.Fprintln(stdout, in.loaded)
	}
	return page.linger(ctx)
}

// print prints what came out.
func (o *options) print(stdout io.Writer, result *mapreduce.Result, took time.Duration) error {
	t, err := readTotals(local.Names(result.Files), o.top)
	if err != nil {
		return err
	}
	t.print(stdout)
	mb := float64(result.InputBytes) / 1e6
	fmt.Fprintf(stdout, "%d words, %d different ones, in %.1f MB of %s\n", t.count, t.words, mb, o.input)
	fmt.Fprintf(stdout, "%d map and %d reduce tasks took %.2f s: %.1f MB/s\n", result.Maps, result.Reduces, took.Seconds(), mb/took.Seconds())
	for _, name := range slices.Sorted(maps.Keys(result.Counters)) {
		fmt.Fprintf(stdout, "%14d  %s\n", result.Counters[name], name)
	}
	for _, skipped := range result.Skipped {
		fmt.Fprintf(stdout, "left out: %v\n", skipped)
	}
	if o.output != "" {
		fmt.Fprintf(stdout, "the counts are in %s\n", filepath.Join(o.output, "part-*"))
	}
	return nil
}

// count runs the job.
func (o *options) count(ctx context.Context, spec mapreduce.Spec, files mapreduce.FileSystem, p *local.Progress, page *statusPage) (*mapreduce.Result, error) {
	cfg := mapreduce.RunConfig{FileSystem: files, Workers: o.workers, Progress: p.Show, Started: page.show}
	switch {
	case o.sequential:
		return mapreduce.RunSequential(ctx, jobs.WordCount, spec, cfg)
	case o.coordinator != "":
		return o.coordinate(ctx, spec, p, page)
	}
	return mapreduce.Run(ctx, jobs.WordCount, spec, cfg)
}

// coordinate runs the job on workers in other processes, and dismisses them when
// it is done.
func (o *options) coordinate(ctx context.Context, spec mapreduce.Spec, p *local.Progress, page *statusPage) (result *mapreduce.Result, err error) {
	registry, err := mapreduce.NewRegistry(jobs.WordCount)
	if err != nil {
		return nil, err
	}
	c, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: &transport.TCP{}, Addr: o.coordinator, Jobs: registry, FileSystem: local.Files, Dir: o.journal, WorkerTimeout: o.timeout,
	})
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
	id, err := begin(ctx, client, spec)
	if err != nil {
		return nil, err
	}
	if result, err = await(ctx, client, id, p); err != nil {
		return nil, err
	}
	// A worker that is not told now notices that nobody answers.
	told, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return result, c.Dismiss(told)
}

// begin submits the job, or finds it in the journal of a coordinator that did not
// live to see its end.
func begin(ctx context.Context, client *mapreduce.Client, spec mapreduce.Spec) (mapreduce.JobID, error) {
	known, err := client.Jobs(ctx)
	if err != nil {
		return 0, err
	}
	for _, j := range known {
		if !j.State.Ended() && j.Output == spec.Output {
			return j.ID, nil
		}
	}
	return client.Submit(ctx, jobs.WordCount.Name, spec)
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
		Transport: &transport.TCP{}, Addr: o.listen, Coordinators: []string{o.worker}, Jobs: registry, FileSystem: local.Files,
	})
	if err != nil {
		return err
	}
	defer w.Close()
	return w.Wait(ctx)
}
