// Bench measures what the systems here cost, each suite beside its baselines:
// what the standard library offers for the same work, and the limit, a bare
// program that does only this work. On a machine shared with others the absolute
// figures move; the ratio to the limit, measured in the same minute, is what can
// be compared.
//
//	go run ./examples/bench -suite rpc
//	go run ./examples/bench -suite rpc -cases echo64/conc64 -subjects limit,netrpc -duration 5s
//	go run ./examples/bench -suite rpc -json
//	go run ./examples/bench -suite mapreduce
//	go run ./examples/bench -suite mapreduce -cases terasort -size 128 -rounds 3
//	go run ./examples/bench -suite gfs
//	go run ./examples/bench -suite gfs -cases write,append -cpuprofile /tmp/cpu
//	go run ./examples/bench -suite vmft
//	go run ./examples/bench -suite vmft -cases clone -size 256 -rounds 1
//	go run ./examples/bench -suite rv64 -cases fib,sort
//
// The suite rpc measures each cell, one subject on one case, for -duration in all,
// divided into -rounds. The suite mapreduce does a whole job each time, on -size of
// text or records that are made from a seed, or on -input. The suite gfs runs a cluster of
// processes on one machine and measures for -duration, with files of -size. The suite vmft
// measures commands for -duration; a clone, of a state of -size, and fail-overs, four in a
// turn, take as long as they take. The subjects of a case take
// turns, so that a disturbance hits them all, and each metric's median over the rounds
// is printed: as a table, or with -json as one object a line.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/bench/internal/corpus"
	"github.com/trilith-go/trilith/examples/internal/local"
)

// suites are all there is to measure.
var suites = []*suite{&rpcSuite, &mapreduceSuite, &gfsSuite, &vmftSuite, &rv64Suite, &ftvmSuite}

func main() {
	if len(os.Args) == 3 && os.Args[1] == taskArg {
		os.Exit(local.Status("bench", "", doTask(taskContext(), os.Args[2], os.Stdout), os.Stderr))
	}
	err := run(local.Context(), os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	os.Exit(local.Status("bench", "bench -help", err, os.Stderr))
}

// options are the arguments, checked.
type options struct {
	suite    *suite
	cases    []string
	subjects []string
	plan     plan
	json     bool
	profile  string
	size     int64 // bytes
	input    string
	pattern  string
}

// maxSize bounds -size, in MiB.
const maxSize = 1 << 20

// parse reads the arguments. Its error is flag.ErrHelp, when the help has been printed, or one in the
// command line.
func parse(args []string, stderr io.Writer) (*options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		name     = flags.String("suite", suites[0].name, "what to measure: "+strings.Join(suiteNames(), ", "))
		cases    = flags.String("cases", "", "only the cases with these prefixes, separated by commas (default all)")
		subjects = flags.String("subjects", "", "only these subjects, separated by commas (default all)")
		duration = flags.Duration("duration", 2*time.Second, "how long to measure each subject on each case (gfs: default 6s); mapreduce: as long as it takes")
		rounds   = flags.Int("rounds", 0, "how many turns to take: rpc, gfs and vmft divide the duration into them (default 5, 3 and 5), mapreduce does a job in each (default 1)")
		size     = flags.Int64("size", 512, "make inputs, files or states of so many `MiB` (vmft: default 1024)")
	)
	flags.StringVar(&o.input, "input", "", "mapreduce: a `file` to work on instead, for terasort one of 100-byte records (default: made from a seed)")
	flags.StringVar(&o.pattern, "pattern", corpus.Needle, "mapreduce: what grep looks for")
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line")
	flags.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile to this `file`; mapreduce: of the job that is done last, without workers that are processes; gfs: of the clients, and of the processes of the cluster that runs last into files beside it")
	if err := local.Parse(flags, args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(stderr)
			flags.Usage()
		}
		return nil, err
	}
	i := slices.IndexFunc(suites, func(s *suite) bool { return s.name == *name })
	switch {
	case flags.NArg() > 0:
		return nil, local.BadUsage("unexpected argument %q; everything is a flag", flags.Arg(0))
	case i < 0:
		return nil, local.BadUsage("-suite %q: there is only %s", *name, strings.Join(suiteNames(), ", "))
	case *duration <= 0:
		return nil, local.BadUsage("-duration %v: must be positive", *duration)
	case *rounds < 0:
		return nil, local.BadUsage("-rounds %d: must be positive", *rounds)
	case *size < 1 || *size > maxSize:
		return nil, local.BadUsage("-size %d: must be 1 to %d", *size, maxSize)
	case o.pattern == "" || strings.Contains(o.pattern, "\n"):
		return nil, local.BadUsage("-pattern %q: must be a part of a line", o.pattern)
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.suite = suites[i]
	if o.suite.duration > 0 && !given["duration"] {
		*duration = o.suite.duration
	}
	if o.suite.size > 0 && !given["size"] {
		*size = o.suite.size
	}
	o.size = *size << 20
	o.plan.rounds = cmp.Or(*rounds, o.suite.rounds)
	o.plan.turn = *duration / time.Duration(o.plan.rounds)
	o.plan.warmup = min(o.plan.turn/4, 100*time.Millisecond)
	var err error
	if o.cases, err = pick("-cases", *cases, o.suite.cases, strings.HasPrefix); err != nil {
		return nil, err
	}
	equal := func(name, wanted string) bool { return name == wanted }
	if o.subjects, err = pick("-subjects", *subjects, o.suite.subjects, equal); err != nil {
		return nil, err
	}
	return &o, nil
}

func suiteNames() []string {
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	return names
}

// pick returns the names, in their own order, that match one of those in a list
// separated by commas. An empty list picks all; one that matches nothing is an error.
func pick(option, list string, names []string, match func(name, wanted string) bool) ([]string, error) {
	if list == "" {
		return names, nil
	}
	wanted := strings.Split(list, ",")
	for _, w := range wanted {
		if w == "" || !slices.ContainsFunc(names, func(n string) bool { return match(n, w) }) {
			return nil, local.BadUsage("%s %q: nothing is called %q; there are %s", option, list, w, strings.Join(names, ", "))
		}
	}
	var picked []string
	for _, n := range names {
		if slices.ContainsFunc(wanted, func(w string) bool { return match(n, w) }) {
			picked = append(picked, n)
		}
	}
	return picked, nil
}

// turns says what a figure is the median of.
func (o *options) turns() string {
	switch {
	case o.suite.timed:
		return fmt.Sprintf("median of %d turns of %v each", o.plan.rounds, o.plan.turn)
	case o.input != "":
		return fmt.Sprintf("median of %d turns on %s", o.plan.rounds, o.input)
	}
	return fmt.Sprintf("median of %d turns on %d MiB", o.plan.rounds, o.size>>20)
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.profile != "" && o.suite.timed {
		stop, err := startProfile(o.profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	if o.suite.works {
		if o.plan.work, err = newWorkspace(o.size, o.input, o.pattern); err != nil {
			return err
		}
		o.plan.work.profile = o.profile
		defer func() { err = errors.Join(err, o.plan.work.close()) }()
	}
	var out printer = &table{w: stdout, suite: o.suite}
	if o.json {
		out = &lines{w: stdout, suite: o.suite.name}
	} else {
		fmt.Fprintf(stdout, "suite %s: %s\n%s %s/%s, %d cores; %s\n",
			o.suite.name, o.suite.about, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), o.turns())
	}
	for _, c := range o.cases {
		results, err := o.suite.measure(ctx, c, o.subjects, o.plan)
		if err != nil {
			return err
		}
		if err := out.print(c, results); err != nil {
			return err
		}
	}
	return nil
}

// startProfile profiles this process until stop is called.
func startProfile(name string) (stop func(), err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // nothing depends on it
	}, nil
}
