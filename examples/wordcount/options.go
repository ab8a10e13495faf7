package main

import (
	"cmp"
	"flag"
	"fmt"
	"path"
	"path/filepath"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/mapreduce"
)

// options are what the command line says.
type options struct {
	input       string
	output      string
	workers     int
	spec        local.SpecFlags
	top         int
	sequential  bool
	coordinator string
	worker      string
	standby     standby.Flags
	chaos       bool
	listen      string
	journal     string
	timeout     time.Duration
	status      string
	fs          string

	patterns []string // that input stands for, relative to /
}

func (o *options) define(f *flag.FlagSet) {
	f.StringVar(&o.input, "input", "", "count the words of this file, of the files in this `directory`, or of those that match a pattern (default: the Go source of the Go distribution)")
	f.StringVar(&o.output, "output", "", "write a file for each partition into this `directory`, which must be empty or not exist, unless -coordinator goes on with the job that writes there")
	f.IntVar(&o.workers, "workers", 0, "run so many `workers` in this process (default: one, with a slot for each processor)")
	o.spec.Define(f, 4)
	f.IntVar(&o.top, "top", 10, "print so many of the most frequent `words`")
	f.BoolVar(&o.sequential, "sequential", false, "run on one goroutine, without a cluster")
	f.StringVar(&o.coordinator, "coordinator", "", "coordinate workers in other processes, at this `address`")
	f.StringVar(&o.worker, "worker", "", "work for the coordinator at this `address`; several, separated by commas, if any of them may lead")
	o.standby.Define(f, "coordinator")
	f.BoolVar(&o.chaos, "chaos", false, "run two masters of gfs and two coordinators, and crash the ones that lead while the job runs")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "with -worker: the `address` at which other workers fetch; if they are on other machines, one that these can dial")
	f.StringVar(&o.journal, "journal", "", "with -coordinator: keep the job's state in this `directory`, to go on after a crash; needs -output")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "with -coordinator: how long a worker may be silent before it counts as dead")
	f.StringVar(&o.fs, "fs", "", "where the job finds its input: in `gfs`, a replicated file system in this process into which it is copied first, or in dir, where it is (default: gfs; dir with -sequential, -coordinator and -worker)")
	f.StringVar(&o.status, "status", "", "serve the status page at this `address`, as localhost:8080, until interrupted")
}

// What -fs can be.
const (
	fsGFS = "gfs"
	fsDir = "dir"
)

// check finds what cannot be meant.
func (o *options) check(rest []string, set map[string]bool) error {
	modes := 0
	for _, mode := range []string{"sequential", "coordinator", "worker"} {
		if set[mode] {
			modes++
		}
	}
	if o.chaos && modes > 0 {
		return local.BadUsage("-chaos does not go with -sequential, -coordinator and -worker: all that it crashes is in one process")
	}
	only := func(mode string, flags ...string) error {
		for _, f := range flags {
			if set[f] && !set[mode] {
				return local.BadUsage("-%s goes with -%s only", f, mode)
			}
		}
		return nil
	}
	without := func(mode string, flags ...string) error {
		for _, f := range flags {
			if set[f] && set[mode] {
				return local.BadUsage("-%s does not go with -%s", f, mode)
			}
		}
		return nil
	}
	switch {
	case len(rest) > 0:
		return local.BadUsage("unexpected argument %q", rest[0])
	case modes > 1:
		return local.BadUsage("only one of -sequential, -coordinator and -worker can be given")
	case set["workers"] && (o.workers < 1 || o.workers > 1024):
		return local.BadUsage("-workers is %d, not 1 to 1024", o.workers)
	case o.top < 0:
		return local.BadUsage("-top is %d, it cannot be negative", o.top)
	case o.timeout <= 0:
		return local.BadUsage("-timeout is %v, it must be positive", o.timeout)
	}
	if o.fs == "" {
		if o.fs = fsGFS; modes > 0 {
			o.fs = fsDir
		}
	}
	switch {
	case o.fs != fsGFS && o.fs != fsDir:
		return local.BadUsage("-fs is %q, not %s or %s", o.fs, fsGFS, fsDir)
	case o.fs == fsGFS && modes > 0:
		return local.BadUsage("-fs %s does not go with -sequential, -coordinator and -worker: it is in one process", fsGFS)
	}
	return cmp.Or(o.spec.Check(), only("worker", "listen"), only("coordinator", append([]string{"journal", "timeout"}, standby.Names...)...), o.standby.Check(),
		without("chaos", "fs", "status"), without("sequential", "workers"), without("coordinator", "workers"),
		without("sequential", "status"), without("worker", append([]string{"workers", "input", "output", "top", "status"}, local.SpecFlagNames...)...),
		o.checkCluster())
}

// checkCluster finds what cannot be meant of several processes.
func (o *options) checkCluster() error {
	switch {
	case o.coordinator != "" && !local.Listenable(o.coordinator):
		return local.BadUsage("-coordinator is %q, not host:port", o.coordinator)
	case o.worker != "" && !local.NamedAll(o.worker):
		return local.BadUsage("-worker is %q, not host:port, or several, separated by commas", o.worker)
	case !local.Listenable(o.listen):
		return local.BadUsage("-listen is %q, not host:port", o.listen)
	case o.output != "":
		return nil
	case o.journal != "":
		return local.BadUsage("-journal needs -output: a job goes on where its output is, and without the flag that is another place each time")
	case o.standby.On():
		return local.BadUsage("-standby needs -output: all coordinators run the job that writes there")
	}
	return nil
}

// resolve finds the input, and makes the output absolute.
func (o *options) resolve() error {
	if o.input == "" {
		source, err := local.GoSource()
		if err != nil {
			return fmt.Errorf("%w; name an input with -input", err)
		}
		o.patterns = []string{path.Join(mapreduce.QuotePattern(local.Rooted(source)), "**/*.go")}
		o.input = source
	} else {
		var err error
		if o.patterns, err = local.Patterns(o.input); err != nil {
			return fmt.Errorf("-input: %w", err)
		}
	}
	if o.output == "" {
		return nil
	}
	var err error
	if o.coordinator == "" {
		o.output, err = local.NewOutput(o.output)
		return err
	}
	// A coordinator that is started again finds there what its job has written: begin
	// looks, when it knows whether there is a job.
	if o.output, err = filepath.Abs(o.output); err != nil {
		return err
	}
	return local.MakeOutput(o.output)
}
