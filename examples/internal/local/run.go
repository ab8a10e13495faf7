package local

import (
	"context"
	"flag"
	"io"
	"os"

	"github.com/trilith-go/trilith/mapreduce"
)

// Flags are the flags of a program that runs one job.
type Flags struct {
	SpecFlags
	workers    int
	output     string
	sequential bool
}

// Define defines the flags. reduces is the default of that one.
func (l *Flags) Define(f *flag.FlagSet, reduces int) {
	l.SpecFlags.Define(f, reduces)
	f.IntVar(&l.workers, "workers", 0, "run so many `workers` (default: one, with a slot for each processor)")
	f.StringVar(&l.output, "output", "", "write the output into this `directory`, which must be empty or not exist (default: show it)")
	f.BoolVar(&l.sequential, "sequential", false, "run on one goroutine, without a cluster")
}

// Check finds what is wrong with the flags.
func (l *Flags) Check() error {
	const maxWorkers = 1024
	if l.workers < 0 || l.workers > maxWorkers {
		return BadUsage("-workers is %d, not 1 to %d", l.workers, maxWorkers)
	}
	return l.SpecFlags.Check()
}

// Run runs a job over the files that names stand for. Without -output it copies what
// comes out to stdout. Progress is shown on stderr, if that is a terminal.
func (l *Flags) Run(ctx context.Context, job mapreduce.Definition, args map[string]string, names []string, stdout, stderr io.Writer) error {
	spec := l.Spec()
	spec.Args = args
	var err error
	if spec.Input, err = Patterns(names...); err != nil {
		return err
	}
	dir := l.output
	if dir == "" {
		if dir, err = os.MkdirTemp("", "output-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if dir, err = NewOutput(dir); err != nil {
		return err
	}
	spec.Output = Rooted(dir)
	cfg := mapreduce.RunConfig{FileSystem: Files, Workers: l.workers, Progress: NewProgress(stderr).Show}
	run := mapreduce.Run
	if l.sequential {
		run = mapreduce.RunSequential
	}
	result, err := run(ctx, job, spec, cfg)
	if err != nil || l.output != "" {
		return err
	}
	return Copy(stdout, Names(result.Files))
}
