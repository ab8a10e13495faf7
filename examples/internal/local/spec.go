package local

import (
	"flag"
	"time"

	"github.com/trilith-go/trilith/mapreduce"
)

// SpecFlags are the flags that say how a job is run, whatever it is.
type SpecFlags struct {
	reduce      ReduceFlag
	splitMiB    int64
	attempts    int
	skip        int
	noBackups   bool
	reduceAfter int
	taskTimeout time.Duration
}

// Define defines the flags. reduces is the default of that one.
func (s *SpecFlags) Define(f *flag.FlagSet, reduces int) {
	s.reduce.Define(f, reduces, "divide the keys into so many `partitions`, each with an output file")
	f.Int64Var(&s.splitMiB, "split", 0, "give each map task about so many `MiB` of input (default: 1/64 of it, between 16 and 64)")
	f.IntVar(&s.attempts, "attempts", mapreduce.DefaultMaxAttempts, "give the job up when a task has failed so many `times`")
	f.IntVar(&s.skip, "skip", 0, "leave out up to so many `records` on which the job's code fails more than once")
	f.BoolVar(&s.noBackups, "no-backups", false, "do not give tasks that are slow to idle workers too")
	f.IntVar(&s.reduceAfter, "reduce-after", mapreduce.DefaultReduceAfter, "reduces begin to fetch when so many maps, in `percent`, have completed")
	f.DurationVar(&s.taskTimeout, "task-timeout", mapreduce.DefaultTaskTimeout, "how long a task may make no progress")
}

// SpecFlagNames are the names of the flags that SpecFlags defines.
var SpecFlagNames = func() (names []string) {
	var s SpecFlags
	f := flag.NewFlagSet("", flag.ContinueOnError)
	s.Define(f, 0)
	f.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}()

// Check finds what is wrong with the flags.
func (s *SpecFlags) Check() error {
	const maxAttempts, maxSkips, maxMiB = 60, 1000, 1 << 30
	if err := s.reduce.Check(); err != nil {
		return err
	}
	switch {
	case s.splitMiB < 0 || s.splitMiB > maxMiB:
		return BadUsage("-split is %d, not 0 to %d", s.splitMiB, maxMiB)
	case s.attempts < 1 || s.attempts > maxAttempts:
		return BadUsage("-attempts is %d, not 1 to %d", s.attempts, maxAttempts)
	case s.skip < 0 || s.skip > maxSkips:
		return BadUsage("-skip is %d, not 0 to %d", s.skip, maxSkips)
	case s.reduceAfter < 1 || s.reduceAfter > mapreduce.Barrier:
		return BadUsage("-reduce-after is %d, not 1 to %d", s.reduceAfter, mapreduce.Barrier)
	case s.taskTimeout <= 0:
		return BadUsage("-task-timeout is %v, it must be positive", s.taskTimeout)
	}
	return nil
}

// Spec returns what the flags say, without input and output.
func (s *SpecFlags) Spec() mapreduce.Spec {
	return mapreduce.Spec{
		Reduces: s.reduce.N(), SplitBytes: s.splitMiB << 20, MaxAttempts: s.attempts, SkipBadRecords: s.skip,
		NoBackups: s.noBackups, ReduceAfter: s.reduceAfter, TaskTimeout: s.taskTimeout,
	}
}
