package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
)

var statusRole = role{
	name:    "status",
	usage:   "[JOB]",
	summary: "shows how the jobs are doing, or one of them with its counters",
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
		return local.BadUsage("-timeout is %v, it must be positive", a.timeout)
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
		return 0, local.BadUsage("%q is not the number of a job", arg)
	}
	return mapreduce.JobID(n), nil
}

func (a *askFlags) status(ctx context.Context, args []string, out output) error {
	if len(args) > 1 {
		return local.BadUsage("unexpected argument %q", args[1])
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
			printDetails(s, out)
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

// printDetails prints what a line has no room for.
func printDetails(s *mapreduce.JobStatus, out output) {
	if s.Successor != 0 {
		fmt.Fprintf(out.stdout, "  job %d is in its place\n", s.Successor)
	}
	if s.Backups.Started > 0 {
		fmt.Fprintf(out.stdout, "  %d backup tasks, %d won\n", s.Backups.Started, s.Backups.Won)
	}
	for _, skipped := range s.Skipped {
		fmt.Fprintf(out.stdout, "  left out: %v\n", skipped)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		fmt.Fprintf(out.stdout, "%14d  %s\n", s.Counters[name], name)
	}
}

func (a *askFlags) cancel(ctx context.Context, args []string, out output) error {
	switch {
	case len(args) == 0:
		return local.BadUsage("the number of the job is missing")
	case len(args) > 1:
		return local.BadUsage("unexpected argument %q", args[1])
	}
	id, err := jobID(args[0])
	if err != nil {
		return err
	}
	return a.ask(ctx, "cancel", out, func(ctx context.Context, client *mapreduce.Client) error {
		return client.Cancel(ctx, id, a.reason)
	})
}
