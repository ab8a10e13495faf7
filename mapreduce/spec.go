package mapreduce

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// A Spec says what one run of a job works on. The zero value of each field but
// Input and Output means its default.
type Spec struct {
	// Input names the input: patterns as FileSystem.Glob takes them, relative to
	// the input's file system. A directory stands for all files below it, "." for
	// all there are. But a directory with output of a job, files named part-00000
	// and so on, stands for those alone, not for what else the job has written.
	Input []string

	// Output is the directory of the R output files, part-00000 and so on. It
	// must be empty or not exist. "." is the root of the output's file system.
	Output string

	// Reduces is the number of partitions R, each with a reduce task and an
	// output file of its own. Default 1, at most 65,536. It has no meaning for a
	// MapOnly.
	Reduces int

	// SplitBytes is the size of the splits, of which each is the input of one map
	// task, in bytes. The default gives 64 splits, for a job with a combiner 16, of at
	// least 16 MiB and at most 64 MiB.
	SplitBytes int64

	// Bounds, if there are any, are the R-1 keys that divide all keys into ranges,
	// encoded and in increasing order: partition p has the keys from Bounds[p-1] on
	// and below Bounds[p], so that the output files, one after the other, are in
	// order as a whole. They take the place of Job.Partition. SampleBounds finds
	// some that make the partitions about equally large; with Job.Group it is groups
	// that they divide.
	Bounds [][]byte

	// Args are arguments for the job's functions, which get them from Task.Arg.
	Args map[string]string

	// MaxAttempts is how often a task may fail before the job is given up.
	// Attempts that were lost with their worker count for a quarter. Default 4,
	// at most 60.
	MaxAttempts int

	// SkipBadRecords is how many records, or keys and their values, may be left
	// out because the job's code fails on them: returns an error, panics, makes no
	// progress, or takes its process with it. A record is skipped after more than
	// one failure, and Result lists it. Default 0: a bad record fails the job. At
	// most 1,000.
	SkipBadRecords int

	// Compress, if set, compresses map output, on disk and over the network, with
	// DEFLATE at its fastest. It pays where these move less than about 50 MB a second
	// for each processor. Default: it is off.
	Compress bool

	// NoBackups turns backup tasks off: a task that will end late is not also
	// given to a worker that has nothing else to do. Default: they are on.
	NoBackups bool

	// TaskTimeout is how long an attempt may go without taking in a record before
	// it counts as failed. Default 10 s.
	TaskTimeout time.Duration

	// ReduceAfter is how many of the maps, in percent, have completed when reduces
	// begin to fetch their output. They fetch while other maps still run, and wait
	// for those. Default DefaultReduceAfter; with Barrier, reduces begin when all
	// maps have completed.
	ReduceAfter int

	// Abort says what becomes of the job when its coordinator ends, by a crash or
	// otherwise, and is started again or replaced: with it the job is given up, what
	// it has left behind is removed, and Client.Wait submits it again, as often as
	// Resubmits allows, or fails with ErrAborted. Default: the new coordinator goes
	// on with the job. Either way, one whose output is complete is completed.
	Abort bool

	// Resubmits is how often the job may be submitted again after it was aborted.
	// Default 0, at most 1,000.
	Resubmits int

	// Labels restrict the job to workers that have all of these in
	// WorkerConfig.Labels; those of Run have them. Default: none; every worker will
	// do. At most 32, of at most 128 bytes each.
	Labels []string

	combined bool // the job has a combiner; set while the input is divided
}

// Defaults and limits of a Spec.
const (
	DefaultMaxAttempts = 4
	DefaultTaskTimeout = 10 * time.Second
	DefaultReduceAfter = 5

	// Barrier is the Spec.ReduceAfter with which no reduce begins before the last
	// map has completed.
	Barrier = 100

	maxReduces     = 1 << 16
	maxMaxAttempts = 60
	maxPatterns    = 1 << 16
	maxArgs        = 1 << 10
	maxBoundsBytes = 4 << 20  // of all together
	maxTextBytes   = 64 << 10 // of a pattern, a directory or an argument
)

// withDefaults returns a copy with every zero field set, but SplitBytes, whose
// default is the Input's affair.
func (s Spec) withDefaults() Spec {
	s.Input = slices.Clone(s.Input)
	s.Bounds = slices.Clone(s.Bounds)
	s.Args = maps.Clone(s.Args)
	if s.Reduces == 0 {
		s.Reduces = 1
	}
	if s.MaxAttempts == 0 {
		s.MaxAttempts = DefaultMaxAttempts
	}
	if s.TaskTimeout == 0 {
		s.TaskTimeout = DefaultTaskTimeout
	}
	if s.ReduceAfter == 0 {
		s.ReduceAfter = DefaultReduceAfter
	}
	s.Labels = sortedLabels(s.Labels)
	return s
}

func (s *Spec) validate() error {
	bad := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: Spec.%s %w", ErrConfig, field, fmt.Errorf(format, args...))
	}
	switch {
	case len(s.Input) > maxPatterns:
		return bad("Input", "has %d patterns, the limit is %d", len(s.Input), maxPatterns)
	case s.Output == "":
		return bad("Output", "is missing")
	case !fs.ValidPath(s.Output) || len(s.Output) > maxTextBytes:
		return bad("Output", "is %.200q; it must be relative, with slashes, and without . or .. elements", s.Output)
	case s.Reduces < 0 || s.Reduces > maxReduces: // 0 in a job without, when it is planned
		return bad("Reduces", "is %d, not 1 to %d", s.Reduces, maxReduces)
	case s.SplitBytes < 0:
		return bad("SplitBytes", "is negative")
	case len(s.Args) > maxArgs:
		return bad("Args", "has %d entries, the limit is %d", len(s.Args), maxArgs)
	case s.MaxAttempts < 1 || s.MaxAttempts > maxMaxAttempts:
		return bad("MaxAttempts", "is %d, not 1 to %d", s.MaxAttempts, maxMaxAttempts)
	case s.SkipBadRecords < 0 || s.SkipBadRecords > maxSkips:
		return bad("SkipBadRecords", "is %d, not 0 to %d", s.SkipBadRecords, maxSkips)
	case s.TaskTimeout < 0:
		return bad("TaskTimeout", "is negative")
	case s.Resubmits < 0 || s.Resubmits > maxResubmits:
		return bad("Resubmits", "is %d, not 0 to %d", s.Resubmits, maxResubmits)
	case s.ReduceAfter < 1 || s.ReduceAfter > Barrier:
		return bad("ReduceAfter", "is %d, not 1 to %d", s.ReduceAfter, Barrier)
	}
	if err := checkLabels(s.Labels); err != nil {
		return bad("Labels", "%w", err)
	}
	if err := s.validateBounds(); err != nil {
		return bad("Bounds", "%w", err)
	}
	for _, pattern := range s.Input {
		if len(pattern) > maxTextBytes {
			return bad("Input", "has a pattern of %d bytes, the limit is %d", len(pattern), maxTextBytes)
		}
	}
	for name, value := range s.Args { // order-free: any that is too long will do
		if len(name)+len(value) > maxTextBytes {
			return bad("Args", "%.50q has %d bytes, the limit is %d", name, len(name)+len(value), maxTextBytes)
		}
	}
	return nil
}

// last returns the kind of the tasks that write the output: maps if there are no
// reduces.
func (s *Spec) last() TaskKind {
	if s.Reduces == 0 {
		return MapTask
	}
	return ReduceTask
}

func (s *Spec) validateBounds() error {
	if len(s.Bounds) == 0 {
		return nil
	}
	if len(s.Bounds) != s.Reduces-1 {
		return fmt.Errorf("has %d keys for %d partitions, not one less", len(s.Bounds), s.Reduces)
	}
	size := 0
	for i, bound := range s.Bounds {
		if size += len(bound); size > maxBoundsBytes {
			return fmt.Errorf("has more than %d bytes", maxBoundsBytes)
		}
		if i > 0 && bytes.Compare(s.Bounds[i-1], bound) > 0 {
			return fmt.Errorf("is not in increasing order at %d", i)
		}
	}
	return nil
}

// rangeOf returns the number of the range in which an encoded key lies.
func rangeOf(bounds [][]byte, key []byte) int {
	low, high := 0, len(bounds)
	for low < high {
		if mid := int(uint(low+high) >> 1); bytes.Compare(bounds[mid], key) <= 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// ranges finds the range of a key as rangeOf does, mostly by the first bytes of keys.
type ranges struct {
	bounds   [][]byte
	prefixes []uint64 // of bounds
}

func newRanges(bounds [][]byte) *ranges {
	r := &ranges{bounds: bounds, prefixes: make([]uint64, len(bounds))}
	for i, bound := range bounds {
		r.prefixes[i] = prefixOf(bound)
	}
	return r
}

func (r *ranges) of(key []byte) int {
	prefix := prefixOf(key)
	low, n := 0, len(r.prefixes)
	for n > 0 { // all below low are less, none from low+n on is
		half := (n + 1) / 2
		if r.prefixes[low+half-1] < prefix {
			low += half
		}
		n -= half
	}
	if low < len(r.prefixes) && r.prefixes[low] == prefix {
		return rangeOf(r.bounds, key)
	}
	return low
}

// append appends the Spec, in which defaults are set, to dst.
func (s *Spec) append(dst []byte) []byte {
	dst = wire.AppendBool(wire.AppendString(dst, s.Output), s.Compress)
	dst = appendUvarints(dst, uint64(s.Reduces), uint64(s.SplitBytes), uint64(s.MaxAttempts), uint64(s.SkipBadRecords), uint64(s.TaskTimeout), uint64(len(s.Input)))
	for _, pattern := range s.Input {
		dst = wire.AppendString(dst, pattern)
	}
	dst = appendUvarints(dst, uint64(len(s.Bounds)))
	for _, bound := range s.Bounds {
		dst = wire.AppendBytes(dst, bound)
	}
	dst = appendLabels(appendUvarints(wire.AppendBool(dst, s.NoBackups), uint64(s.ReduceAfter)), s.Labels)
	dst = appendUvarints(wire.AppendBool(dst, s.Abort), uint64(s.Resubmits))
	dst = appendUvarints(dst, uint64(len(s.Args)))
	for _, name := range slices.Sorted(maps.Keys(s.Args)) {
		dst = wire.AppendString(dst, name)
		dst = wire.AppendString(dst, s.Args[name])
	}
	return dst
}

// decode takes a Spec off the front of d.
func (s *Spec) decode(d *wire.Decoder) {
	s.Output, s.Compress = d.String(), d.Bool()
	s.Reduces = d.Int(maxReduces)
	s.SplitBytes = int64(d.Int(maxInt))
	s.MaxAttempts = d.Int(maxMaxAttempts)
	s.SkipBadRecords = d.Int(maxSkips)
	s.TaskTimeout = time.Duration(d.Int(maxInt))
	s.Input = make([]string, d.Count(1))
	for i := range s.Input {
		s.Input[i] = d.String()
	}
	if n := d.Count(1); n > 0 {
		s.Bounds = make([][]byte, n)
	}
	for i := range s.Bounds {
		s.Bounds[i] = bytes.Clone(d.Bytes())
	}
	s.NoBackups, s.ReduceAfter, s.Labels = d.Bool(), d.Int(Barrier), decodeLabels(d)
	s.Abort, s.Resubmits = d.Bool(), d.Int(maxResubmits)
	n := d.Count(2)
	if n > 0 {
		s.Args = make(map[string]string, n)
	}
	for range n {
		name := d.String()
		s.Args[name] = d.String()
	}
	if d.Err() == nil {
		if err := s.validate(); err != nil {
			d.Fail("%v", err)
		}
	}
}
