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
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/mapreduce"
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
		return o.work(ctx, stderr)
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
	if o.chaos {
		return o.runChaos(ctx, output, stdout, stderr)
	}
	if o.fs == fsGFS {
		if in, err = openStore(ctx, o.patterns, stderr); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.close()) }()
		files = in.client.Files()
	}
	spec := o.spec.Spec()
	spec.Input, spec.Output = o.patterns, local.Rooted(output)
	result, took, err := o.count(ctx, spec, files, local.NewProgress(stderr), page, stderr)
	if err != nil {
		return err
	}
	if in != nil {
		if err := o.fetch(ctx, in, result); err != nil {
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

// fetch copies what came out to where it is wanted.
func (o *options) fetch(ctx context.Context, in *store, result *mapreduce.Result) error {
	err := in.fetch(ctx, vfs.OS(), result.Files)
	if err != nil && o.output != "" {
		return fmt.Errorf("-output: %w", err)
	}
	return err
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

// count runs the job, and returns how long that took.
func (o *options) count(ctx context.Context, spec mapreduce.Spec, files mapreduce.FileSystem, p *local.Progress, page *statusPage, stderr io.Writer) (result *mapreduce.Result, took time.Duration, err error) {
	if o.coordinator != "" {
		return o.coordinate(ctx, spec, p, page, stderr)
	}
	run := mapreduce.Run
	if o.sequential {
		run = mapreduce.RunSequential
	}
	begin := time.Now()
	result, err = run(ctx, jobs.WordCount, spec, mapreduce.RunConfig{FileSystem: files, Workers: o.workers, Progress: p.Show, Started: page.show})
	return result, time.Since(begin), err
}
