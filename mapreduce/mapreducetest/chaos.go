package mapreducetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
)

// Fault is a kind of things that go wrong, or several, joined by |.
type Fault uint8

// The faults.
const (
	// WorkerCrashes: workers are killed, or lose their power, with all they hold, and
	// come back later.
	WorkerCrashes Fault = 1 << iota
	// CoordinatorCrashes: so does the coordinator, with what its disk has not synced.
	CoordinatorCrashes
	// NetworkFaults: hosts are cut off, in one direction or both, connections break.
	NetworkFaults
	// SlowWorkers: what a worker does with files takes ten times longer for a while, or
	// does not end, or the whole machine hangs.
	SlowWorkers
	// FileErrors: calls of the file system fail.
	FileErrors

	// AllFaults are all of them.
	AllFaults = WorkerCrashes | CoordinatorCrashes | NetworkFaults | SlowWorkers | FileErrors
)

// Config configures Test and Run. Input is required; the zero value of every other
// field means its default.
type Config struct {
	// Input holds the input. In a bubble it must not wait for goroutines outside.
	Input mapreduce.FileSystem
	// Output returns an empty file system for the output of one run. Default:
	// NewMemory.
	Output func() mapreduce.FileSystem

	// Seed is the seed of the first run; those after it have the numbers that follow.
	// Default 0, a seed like others.
	Seed uint64
	// Runs is how many runs Test makes; where these have not brought every kind of fault,
	// it makes up to ten times as many. Default 20.
	Runs int
	// Faults is what may go wrong. Default AllFaults.
	Faults Fault
	// Workers is how many workers there are. Default 4, at most 64.
	Workers int

	// WallClock makes Test run the job in real time and not in bubbles: for jobs that
	// start processes or use a real network, for which virtual time does not wait. A
	// run takes seconds then. Default: bubbles.
	WallClock bool
	// Patience is how long a run may take, in the time that it is run in. Default
	// 1 hour in a bubble, 2 minutes by the wall clock.
	Patience time.Duration

	// Started, if set, is called with each coordinator before it has work.
	Started func(*mapreduce.Coordinator)
	// Logger is told what happens, faults among it. Default: silent.
	Logger hclog.Logger
}

const (
	defaultRuns    = 20
	defaultWorkers = 4
	maxWorkers     = 64
	// defaultTasks is about how many splits the input is divided into if the Spec does
	// not say it.
	defaultTasks = 16
	// patientAttempts is Spec.MaxAttempts where it is not set: faults, too, count
	// as failures.
	patientAttempts = 60
	// maxRuns is how many times Config.Runs Test makes at most.
	maxRuns = 10
	// maxFailures is how many runs may fail before Test gives up.
	maxFailures = 3
)

func (c Config) withDefaults(spec *mapreduce.Spec) (Config, error) {
	bad := func(field, format string, args ...any) (Config, error) {
		return c, fmt.Errorf("mapreducetest: Config.%s %s", field, fmt.Sprintf(format, args...))
	}
	switch {
	case c.Input == nil:
		return bad("Input", "is missing")
	case c.Runs < 0:
		return bad("Runs", "is negative")
	case c.Faults&^AllFaults != 0:
		return bad("Faults", "has bits that mean nothing: %b", c.Faults)
	case c.Workers < 0 || c.Workers > maxWorkers:
		return bad("Workers", "is %d, not 1 to %d", c.Workers, maxWorkers)
	case c.Patience < 0:
		return bad("Patience", "is negative")
	}
	if c.Output == nil {
		c.Output = func() mapreduce.FileSystem { return NewMemory(nil) }
	}
	if c.Patience == 0 {
		c.Patience = time.Hour
		if c.WallClock {
			c.Patience = 2 * time.Minute
		}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	c.Runs, c.Workers, c.Faults = cmp.Or(c.Runs, defaultRuns), cmp.Or(c.Workers, defaultWorkers), cmp.Or(c.Faults, AllFaults)
	if spec.Abort {
		c.Faults &^= CoordinatorCrashes // the job would end with them
	}
	if c.Faults == 0 {
		return bad("Faults", "is CoordinatorCrashes alone, and Spec.Abort is set")
	}
	return c, nil
}

// Report counts what went wrong while a job ran.
type Report struct {
	Runs               int
	WorkerCrashes      int
	CoordinatorCrashes int
	NetworkFaults      int
	SlowWorkers        int
	FileErrors         int
	// Repeats is how many input files and output files were opened or created by
	// workers beyond what one execution of each task needs.
	Repeats int
}

// add adds up reports.
func (r *Report) add(other Report) {
	r.Runs += other.Runs
	r.WorkerCrashes += other.WorkerCrashes
	r.CoordinatorCrashes += other.CoordinatorCrashes
	r.NetworkFaults += other.NetworkFaults
	r.SlowWorkers += other.SlowWorkers
	r.FileErrors += other.FileErrors
	r.Repeats += other.Repeats
}

// idle returns what should have gone wrong and never did.
func (r *Report) idle(faults Fault) string {
	var idle []string
	for _, f := range []struct {
		fault Fault
		n     int
		name  string
	}{
		{WorkerCrashes, r.WorkerCrashes, "no worker crashed"},
		{CoordinatorCrashes, r.CoordinatorCrashes, "no coordinator crashed"},
		{NetworkFaults, r.NetworkFaults, "the network was sound"},
		{SlowWorkers, r.SlowWorkers, "no worker was slow"},
		{FileErrors, r.FileErrors, "no call of the file system failed"},
		{WorkerCrashes, r.Repeats, "no task was executed again"},
	} {
		if faults&f.fault != 0 && f.n == 0 {
			idle = append(idle, f.name)
		}
	}
	return strings.Join(idle, ", ")
}

// Test runs a job Config.Runs times under faults and fails t where what it writes or
// counts is not what a sequential run does. If a kind of fault has not taken place by then
// it makes more runs, up to ten times as many, and fails t if it never does: then the job
// is too short, and needs more input, smaller splits or more runs.
//
// Output need not be set in spec. SplitBytes is by default what gives about 16 map
// tasks, MaxAttempts is 60. Whether there are backup tasks, whether map output is
// compressed and when reduces begin cannot show in the output; it is for the seed to
// say, unless spec turns the first off, the second on, or sets ReduceAfter. With
// Spec.Abort no coordinator crashes.
func Test(t *testing.T, job mapreduce.Definition, spec mapreduce.Spec, cfg Config) Report {
	t.Helper()
	cfg, err := cfg.withDefaults(&spec)
	if err != nil {
		t.Fatal(err)
	}
	inside := func(f func(t *testing.T)) {
		if cfg.WallClock {
			f(t)
		} else {
			testutil.Bubble(t, f)
		}
	}
	var o *oracle
	inside(func(t *testing.T) {
		if o, err = newOracle(t.Context(), job, spec, cfg.Input); err != nil {
			t.Fatal(err)
		}
	})
	var total Report
	failures := 0
	for i := 0; i < cfg.Runs || i < maxRuns*cfg.Runs && cfg.Runs > 1 && failures == 0 && total.idle(cfg.Faults) != ""; i++ {
		seed := cfg.Seed + uint64(i)
		inside(func(t *testing.T) {
			report, err := o.run(t.Context(), seed, cfg)
			total.add(report)
			if err != nil {
				failures++
				t.Errorf("seed %d: %v\n(to repeat the faults: Config{Seed: %d, Runs: 1}; there have been %+v)", seed, err, seed, report)
			}
		})
		if failures == maxFailures {
			t.Fatalf("gave up after %d of %d runs", i+1, cfg.Runs)
		}
	}
	if idle := total.idle(cfg.Faults); idle != "" && failures == 0 && cfg.Runs > 1 {
		t.Errorf("nothing was tested: in %d runs %s", total.Runs, idle)
	}
	return total
}

// Run runs a job once under the faults of Config.Seed, in a bubble if it is called in
// one and Config.WallClock is not set. The error matches ErrDiffers if the output is
// not that of a sequential run.
func Run(ctx context.Context, job mapreduce.Definition, spec mapreduce.Spec, cfg Config) (Report, error) {
	cfg, err := cfg.withDefaults(&spec)
	if err != nil {
		return Report{}, err
	}
	o, err := newOracle(ctx, job, spec, cfg.Input)
	if err != nil {
		return Report{}, err
	}
	return o.run(ctx, cfg.Seed, cfg)
}

// oracle is a job and what it should do.
type oracle struct {
	jobs  *mapreduce.Registry
	spec  mapreduce.Spec
	input mapreduce.FileSystem
	want  *outcome
	uses  int // of files, by the sequential run
}

func newOracle(ctx context.Context, job mapreduce.Definition, spec mapreduce.Spec, input mapreduce.FileSystem) (*oracle, error) {
	o := &oracle{spec: spec, input: input}
	var err error
	if o.jobs, err = mapreduce.NewRegistry(job); err != nil {
		return nil, err
	}
	o.spec.Output = cmp.Or(spec.Output, "out")
	o.spec.MaxAttempts = cmp.Or(spec.MaxAttempts, patientAttempts)
	if spec.SplitBytes == 0 {
		if o.want, err = sequential(ctx, job, o.spec, input); err != nil {
			return nil, err
		}
		o.spec.SplitBytes = splitsFor(o.want.result.InputBytes, defaultTasks)
	}
	var reads atomic.Int64
	if o.want, err = sequential(ctx, job, o.spec, &disk{inner: input, uses: &reads, speed: &speed{}}); err != nil {
		return nil, err
	}
	again, err := sequential(ctx, job, o.spec, input)
	if err == nil {
		err = o.want.compare(again)
	}
	if err != nil {
		return nil, fmt.Errorf("a second sequential run, the job is not deterministic: %w", err)
	}
	o.uses = int(reads.Load()) + len(o.want.files)
	return o, nil
}

// errPatience is why a run ends that takes too long.
var errPatience = errors.New("mapreducetest: the job has not ended within Config.Patience")

// run runs the job under the faults of a seed.
func (o *oracle) run(ctx context.Context, seed uint64, cfg Config) (report Report, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Patience, errPatience)
	defer cancel()
	c, err := startCluster(ctx, o, seed, cfg)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	result, err := c.runJob(ctx)
	report = c.report
	report.Runs, report.Repeats = 1, max(0, int(c.uses.Load())-o.uses)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w, %v: %w", context.Cause(ctx), cfg.Patience, err)
		}
		return report, err
	}
	got, err := gather(ctx, c.output, o.spec.Output, result)
	if err != nil {
		return report, err
	}
	return report, o.want.compare(got)
}
