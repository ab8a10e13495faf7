package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/mapreduce"
)

// submitRole is a function because its help lists the jobs.
func submitRole() role {
	var list strings.Builder
	list.WriteString("\nPatterns name the input: files below the coordinator's -root, as in 'logs/**/*.txt',\nor directories. The jobs are\n")
	for _, e := range jobs.All() {
		fmt.Fprintf(&list, "  %-12s %s", e.Name, e.Summary)
		for _, arg := range e.Args {
			fmt.Fprintf(&list, "; needs -arg %s=…", arg)
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
			f.StringVar(&s.spec.Output, "output", "", "write the output into this `directory` below -root, which must be empty or not exist (required)")
			f.IntVar(&s.spec.Reduces, "reduces", 1, "divide the keys into so many `partitions`, each with an output file")
			f.Int64Var(&s.splitMiB, "split", 0, "give each map task about so many `MiB` of input (default: 1/64 of it, between 16 and 64)")
			f.DurationVar(&s.spec.TaskTimeout, "task-timeout", mapreduce.DefaultTaskTimeout, "how long a task may go without a record")
			f.IntVar(&s.spec.ReduceAfter, "reduce-after", mapreduce.DefaultReduceAfter, "reduces begin to fetch when so many maps, in `percent`, have completed")
			f.Var((*listFlag)(&s.spec.Labels), "labels", "only workers will do that have all of these -labels, separated by `commas`")
			f.BoolVar(&s.spec.Abort, "abort", false, "abort the job if the coordinator dies, instead of going on when it is back")
			f.IntVar(&s.spec.Resubmits, "resubmits", 0, "submit the job again so many `times` if it was aborted")
			f.BoolVar(&s.detach, "detach", false, "do not wait for the job to end")
			f.Func("arg", "an argument of the job, `name=value`; may be repeated", func(v string) error {
				name, value, ok := strings.Cut(v, "=")
				if !ok || name == "" {
					return errors.New("it is not of the form name=value")
				}
				s.args[name] = value
				return nil
			})
			return s.run
		},
	}
}

type submitFlags struct {
	clientFlags
	spec     mapreduce.Spec
	splitMiB int64
	args     map[string]string
	detach   bool
}

// check finds what is wrong before anybody is asked.
func (s *submitFlags) check(args []string) error {
	if len(args) == 0 {
		return badUsage("the name of a job is missing")
	}
	all := jobs.All()
	i := slices.IndexFunc(all, func(e jobs.Example) bool { return e.Name == args[0] })
	switch {
	case i < 0:
		return badUsage("there is no job %q", args[0])
	case len(args) == 1:
		return badUsage("the patterns of the input are missing")
	case s.spec.Output == "":
		return badUsage("-output is missing: the directory of the output")
	case s.spec.Reduces < 1:
		return badUsage("-reduces is %d, it must be positive", s.spec.Reduces)
	case s.splitMiB < 0:
		return badUsage("-split is %d, it cannot be negative", s.splitMiB)
	case s.spec.ReduceAfter < 1 || s.spec.ReduceAfter > mapreduce.Barrier:
		return badUsage("-reduce-after is %d, not 1 to %d", s.spec.ReduceAfter, mapreduce.Barrier)
	case s.spec.Resubmits < 0:
		return badUsage("-resubmits is %d, it cannot be negative", s.spec.Resubmits)
	case s.spec.TaskTimeout <= 0:
		return badUsage("-task-timeout is %v, it must be positive", s.spec.TaskTimeout)
	}
	for _, need := range all[i].Args {
		if s.args[need] == "" {
			return badUsage("job %s needs -arg %s=…", args[0], need)
		}
	}
	return nil
}

func (s *submitFlags) run(ctx context.Context, args []string, out output) error {
	if err := s.check(args); err != nil {
		return err
	}
	s.spec.Input, s.spec.Args, s.spec.SplitBytes = args[1:], s.args, s.splitMiB<<20
	client, err := s.client("submit", out)
	if err != nil {
		return err
	}
	defer client.Close()
	begin := time.Now()
	id, err := client.Submit(ctx, args[0], s.spec)
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
	mb, seconds := float64(result.InputBytes)/1e6, time.Since(begin).Seconds()
	fmt.Fprintf(out.stdout, "%.1f MB took %.2f s; the output is in %s/part-*\n", mb, seconds, s.spec.Output)
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

var statusRole = role{
	name:    "status",
	usage:   "[JOB]",
	summary: "shows how the jobs are doing, or one of them",
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var s askFlags
		s.define(f)
		return s.status
	},
}

var cancelRole = role{
	name:    "cancel",
	usage:   "JOB",
	summary: "ends a job that runs",
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var s askFlags
		s.define(f)
		f.StringVar(&s.reason, "reason", "cancelled by trilith cancel", "what its submitter is told")
		return s.cancel
	},
}

// askFlags are those of what asks a coordinator and ends.
type askFlags struct {
	clientFlags
	timeout time.Duration
	reason  string
}

func (a *askFlags) define(f *flag.FlagSet) {
	a.clientFlags.define(f)
	f.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long to wait for the coordinator")
}

// ask calls f with a client, for as long as the timeout allows.
func (a *askFlags) ask(ctx context.Context, role string, out output, f func(context.Context, *mapreduce.Client) error) error {
	if a.timeout <= 0 {
		return badUsage("-timeout is %v, it must be positive", a.timeout)
	}
	client, err := a.client(role, out)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return f(ctx, client)
}

// jobID reads the number of a job.
func jobID(arg string) (mapreduce.JobID, error) {
	n, err := strconv.ParseUint(arg, 10, 63)
	if err != nil {
		return 0, badUsage("%q is not the number of a job", arg)
	}
	return mapreduce.JobID(n), nil
}

func (a *askFlags) status(ctx context.Context, args []string, out output) error {
	if len(args) > 1 {
		return badUsage("unexpected argument %q", args[1])
	}
	var id mapreduce.JobID
	if len(args) == 1 {
		var err error
		if id, err = jobID(args[0]); err != nil {
			return err
		}
	}
	return a.ask(ctx, "status", out, func(ctx context.Context, client *mapreduce.Client) error {
		if len(args) == 1 {
			s, err := client.Status(ctx, id)
			if err != nil {
				return err
			}
			printStatus(s, out)
			return nil
		}
		all, err := client.Jobs(ctx)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			fmt.Fprintln(out.stdout, "no jobs")
		}
		for i := range all {
			printStatus(&all[i], out)
		}
		return nil
	})
}

func printStatus(s *mapreduce.JobStatus, out output) {
	fmt.Fprintln(out.stdout, s)
	if s.Failure != "" {
		fmt.Fprintf(out.stdout, "  %s\n", strings.ReplaceAll(s.Failure, "\n", "\n  "))
	}
}

func (a *askFlags) cancel(ctx context.Context, args []string, out output) error {
	switch {
	case len(args) == 0:
		return badUsage("the number of the job is missing")
	case len(args) > 1:
		return badUsage("unexpected argument %q", args[1])
	}
	id, err := jobID(args[0])
	if err != nil {
		return err
	}
	return a.ask(ctx, "cancel", out, func(ctx context.Context, client *mapreduce.Client) error {
		return client.Cancel(ctx, id, a.reason)
	})
}
