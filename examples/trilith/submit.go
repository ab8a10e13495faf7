package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
)

// submitRole is a function because its help lists the jobs.
func submitRole() role {
	var list strings.Builder
	list.WriteString("\nPatterns name the input: files below the coordinator's -root, as in 'logs/**/*.txt',\nor directories. Flags may also follow the name of the job. The jobs are\n")
	for _, e := range jobs.All() {
		fmt.Fprintf(&list, "  %-12s %s", e.Name, e.Summary)
		for _, arg := range e.Args {
			fmt.Fprintf(&list, "; needs -arg %s=…", arg)
		}
		switch {
		case e.Sorts:
			list.WriteString("; samples the input below -root if there are several -reduce")
		case e.Name == jobs.Streaming.Name:
			list.WriteString("; needs -mapper, -reducer, and processes with -programs")
		}
		list.WriteByte('\n')
	}
	return role{
		name:    "submit",
		usage:   "JOB PATTERN...",
		summary: "submits a job and shows how it gets on",
		details: list.String(),
		define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
			s := submitFlags{args: make(map[string]string)}
			s.define(f)
			s.run.Define(f, 1)
			s.programs.define(f)
			f.StringVar(&s.output, "output", "", "write the output into this `directory` below -root, which must be empty or not exist (required)")
			f.Var(&s.labels, "labels", "only workers will do that have all of these -labels, separated by `commas`")
			f.BoolVar(&s.abort, "abort", false, "abort the job if the coordinator dies, instead of going on when it is back")
			f.IntVar(&s.resubmits, "resubmits", 0, "submit the job again so many `times` if it was aborted")
			f.StringVar(&s.root.dir, "root", ".", "with a job that sorts: the `directory` of the input, as the coordinator has it")
			f.StringVar(&s.root.gfs, "gfs", "", "with a job that sorts: the `address` of the gfs master, as the coordinator has it")
			f.BoolVar(&s.detach, "detach", false, "do not wait for the job to end")
			f.Func("arg", "an argument of the job, `name=value`; may be repeated", func(v string) error {
				name, value, ok := strings.Cut(v, "=")
				if !ok || name == "" {
					return errors.New("it is not of the form name=value")
				}
				s.args[name] = value
				return nil
			})
			return func(ctx context.Context, args []string, out output) error {
				if len(args) == 0 {
					return local.BadUsage("the name of a job is missing")
				}
				if err := local.Parse(f, args[1:]); err != nil {
					return err
				}
				return s.submit(ctx, args[0], f.Args(), out)
			}
		},
	}
}

type submitFlags struct {
	clientFlags
	run      local.SpecFlags
	programs programFlags
	output   string
	labels   listFlag
	abort    bool
	root     rootFlag
	args     map[string]string
	detach   bool
	// resubmits is how often an aborted job is submitted again.
	resubmits int
}

// check finds what is wrong before anybody is asked.
func (s *submitFlags) check(name string, patterns []string) (*jobs.Example, error) {
	all := jobs.All()
	i := slices.IndexFunc(all, func(e jobs.Example) bool { return e.Name == name })
	switch {
	case i < 0:
		return nil, local.BadUsage("there is no job %q", name)
	case len(patterns) == 0:
		return nil, local.BadUsage("the patterns of the input are missing")
	case s.output == "":
		return nil, local.BadUsage("-output is missing: the directory of the output")
	case s.resubmits < 0:
		return nil, local.BadUsage("-resubmits is %d, it cannot be negative", s.resubmits)
	}
	if err := s.run.Check(); err != nil {
		return nil, err
	}
	job := &all[i]
	if err := s.programs.take(s.args, name == jobs.Streaming.Name); err != nil {
		return nil, err
	}
	for _, need := range job.Args {
		if s.args[need] == "" {
			return nil, local.BadUsage("job %s needs -arg %s=…", name, need)
		}
	}
	return job, nil
}

// spec returns what the job is to work on.
func (s *submitFlags) spec(ctx context.Context, job *jobs.Example, patterns []string, out output) (mapreduce.Spec, error) {
	spec := s.run.Spec()
	spec.Input, spec.Output, spec.Args = patterns, s.output, s.args
	spec.Labels, spec.Abort, spec.Resubmits = s.labels, s.abort, s.resubmits
	if !job.Sorts || spec.Reduces == 1 {
		return spec, nil
	}
	cl, err := s.clusterFlags.open("submit", false, out)
	if err != nil {
		return spec, err
	}
	files, closeFiles, err := s.root.open(ctx, cl, "")
	if err != nil {
		return spec, err
	}
	defer closeFiles()
	spec.Bounds, err = mapreduce.SampleBounds(ctx, job.Job, spec, files)
	return spec, err
}

func (s *submitFlags) submit(ctx context.Context, name string, patterns []string, out output) error {
	job, err := s.check(name, patterns)
	if err != nil {
		return err
	}
	client, err := s.client("submit", out)
	if err != nil {
		return err
	}
	defer client.Close()
	spec, err := s.spec(ctx, job, patterns, out)
	if err != nil {
		return err
	}
	begin := time.Now()
	id, err := client.Submit(ctx, name, spec)
	if errors.Is(err, mapreduce.ErrUnknownJob) && name == jobs.Streaming.Name {
		err = fmt.Errorf("%w; start the coordinator and the workers with -programs", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "job %d\n", id)
	if s.detach {
		return nil
	}
	if err := follow(ctx, client, id, out); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted; job %d goes on: \"trilith status\" shows it, \"trilith cancel\" ends it", id)
		}
		return err
	}
	result, err := client.Wait(ctx, id)
	if err != nil {
		return err
	}
	for _, skipped := range result.Skipped {
		fmt.Fprintf(out.stdout, "left out: %v\n", skipped)
	}
	mb, seconds := float64(result.InputBytes)/1e6, time.Since(begin).Seconds()
	fmt.Fprintf(out.stdout, "%.1f MB took %.2f s; the output is in %s/part-*\n", mb, seconds, s.output)
	return nil
}

// follow prints how a job gets on whenever that has changed, until it has ended.
func follow(ctx context.Context, client *mapreduce.Client, id mapreduce.JobID, out output) error {
	const often = 500 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for last := ""; ; {
		s, err := client.Status(ctx, id)
		if err != nil {
			return err
		}
		if line := s.String(); line != last {
			fmt.Fprintln(out.stdout, line)
			last = line
		}
		switch {
		case s.State == mapreduce.JobAborted && (s.Successor != 0 || s.Resubmits > 0):
			if id, err = client.Resubmit(ctx, id); err != nil {
				return err
			}
			continue
		case s.State.Ended():
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
