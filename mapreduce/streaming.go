package mapreduce

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// A Command is a job whose functions are programs, in whatever language, with the
// contract of Hadoop streaming. The mapper reads the records of its split, a line
// each, and writes lines, each a key and a value. The reducer reads the lines of its
// partition, sorted by key, and what it writes is the output file, as it is. A task
// runs its program once. So the job gives in one partition what a shell gives with
//
//	cat input | mapper | LC_ALL=C sort -s -t "$separator" -k 1,1 | reducer
//
// A line may hold any bytes but a newline, and up to MaxRecordBytes of them. Lines
// pass from mapper to reducer as they are: unlike Hadoop, nothing is added to a line
// that has no separator. The records of an [Input] that have keys are handed to the
// mapper as key, separator and value.
//
// # The programs
//
// They are started without a shell, in the directory and with the environment of the
// process that runs the task, and must be installed wherever tasks run, and where the
// coordinator does. The environment tells them more, also by Hadoop's names:
//
//	TRILITH_JOB          mapreduce_job_name            the name of the job
//	TRILITH_TASK_KIND    mapreduce_task_ismap          map or reduce; true or false
//	TRILITH_TASK         mapreduce_task_partition      the number of the task, from 0
//	TRILITH_ATTEMPT      mapreduce_task_attempt_id     what Task.Attempt returns: no two executions have the same
//	TRILITH_REDUCES      mapreduce_job_reduces         the number of partitions
//	TRILITH_INPUT_FILE   mapreduce_map_input_file      mapper: the file that its first line is from
//	TRILITH_ARG_name                                   each of Spec.Args; what is no letter, digit or _ in the name is a _
//
// What a program writes to its standard error goes to the log of its attempt, as with
// [Task.Logf], and to the error of an attempt that fails, the last 4 KiB of it. Lines
// that begin with reporter: are for the job instead, as in Hadoop:
//
//	reporter:counter:group,name,n    adds n to the counter group/name
//	reporter:status:text             puts the text into the log of the attempt, not into its error
//
// A program that exits with another status than 0 has failed, and one that a signal
// ended; so beware of grep, which exits with 1 if it finds nothing. One that stops
// reading before the end of its input, like head, has not. What it has started in
// the background must have closed its output shortly after it exits, and is killed.
//
// What a program reads and what it writes show that it is alive. One that does
// neither for Spec.TaskTimeout is killed, and so is one whose attempt is not wanted
// any more, with all processes of its group. If the worker itself dies, Linux kills
// the program; elsewhere, and what the program has started, has to notice the end of
// its input.
//
// # Bad records
//
// A program reads ahead, so when it fails nobody can tell on which record. It can
// help Spec.SkipBadRecords by counting, as Hadoop has it: if it writes
//
//	reporter:counter:SkippingTaskCounters,MapProcessedRecords,1
//
// after each line that it is done with, or ReduceProcessedGroups after each key, then
// it has failed on the next. With a count of 0 at the beginning it speaks for the
// first one too. Without that no record is skipped, and the failure is the task's.
type Command struct {
	// Name and Version are as in Job.
	Name, Version string

	// Mapper, Reducer and Combiner are programs, each with its arguments. A name
	// without a slash is looked up in PATH. Without a Reducer the job is like a
	// [MapOnly]: what a mapper writes is an output file, as it is. The Combiner is
	// optional: it reads sorted lines of part of a map's output, as a reducer does,
	// and writes lines that stand for them, as a mapper does. What is said of
	// Job.Combine holds for it.
	Mapper, Reducer, Combiner []string

	// Separator ends a field of a line that the mapper writes. Default: a tab.
	Separator string
	// KeyFields is how many fields are the key. A line with fewer, or with just as
	// many, is all key. Default 1, at most 1,000.
	KeyFields int
	// PartitionFields is how many of the key's fields decide in which partition it
	// is: keys that begin with the same ones meet in the same reduce, which gets them
	// sorted by all fields. Default: all.
	PartitionFields int

	// PerFile runs a mapper for each file of the split, one after the other, so that
	// TRILITH_INPUT_FILE holds for all that it reads. Default: one mapper reads the
	// whole split, into which several small files are packed.
	PerFile bool
	// IgnoreExitStatus says that a program has not failed, whatever status it exits
	// with. Default: every status but 0 is a failure.
	IgnoreExitStatus bool

	// FromArgs lets Spec.Args take the place of the fields above, by the names that
	// begin with CommandArg: any program can be run by whoever can submit a job. The
	// Mapper may be left to them too. Default: what runs is fixed.
	FromArgs bool

	// Input divides and reads the input. The default is [Text].
	Input Input
}

// The arguments of a job with Command.FromArgs, by Hadoop's names where it has them.
// Programs are divided into words at spaces; quotes, single or double, keep spaces
// together. A reducer of NONE is none.
const (
	CommandArgMapper          = "mapper"
	CommandArgReducer         = "reducer"
	CommandArgCombiner        = "combiner"
	CommandArgSeparator       = "stream.map.output.field.separator"
	CommandArgKeyFields       = "stream.num.map.output.key.fields"
	CommandArgPartitionFields = "num.key.fields.for.partition"
	CommandArgExitIsFailure   = "stream.non.zero.exit.is.failure" // true or false
	CommandArgPerFile         = "stream.mapper.per.file"          // true or false
)

const (
	noReducer        = "NONE"
	defaultSeparator = "\t"

	maxKeyFields      = 1000
	maxSeparatorBytes = 64
	maxProgramWords   = 1 << 12
)

var _ Definition = Command{}

// define checks the command and makes a job of it.
func (c Command) define() (*definition, error) {
	fail := func(err error) (*definition, error) { return nil, &Error{Op: "define", Job: c.Name, Err: err} }
	if err := checkJobName("Command", c.Name); err != nil {
		return fail(err)
	}
	if c.Input == nil {
		c.Input = Text{}
	}
	s := &streaming{c}
	if c.FromArgs {
		// What is missing may yet come. What is there must be right.
		filled := c.withDefaults()
		if len(filled.Mapper) == 0 {
			filled.Mapper = []string{CommandArgMapper}
		}
		if err := filled.validate(); err != nil {
			return fail(err)
		}
	} else if err := s.check(&Spec{}); err != nil {
		return fail(err)
	}
	return &definition{
		name:         c.Name,
		version:      c.Version,
		types:        c.fingerprint(),
		input:        c.Input,
		check:        s.check,
		mapsOnly:     s.mapsOnly,
		mapRecords:   s.mapRecords,
		mapToFile:    s.mapToFile,
		emittedKeys:  s.emittedKeys,
		reduceGroups: s.reduceGroups,
		sequential:   s.sequential,
	}, nil
}

// fingerprint tells of everything that decides what the job does.
func (c *Command) fingerprint() string {
	return fmt.Sprintf("command %q %q %q separator=%q fields=%d/%d per-file=%t any-status=%t from-args=%t input=%T",
		c.Mapper, c.Combiner, c.Reducer, c.Separator, c.KeyFields, c.PartitionFields, c.PerFile, c.IgnoreExitStatus, c.FromArgs, c.Input)
}

func (c Command) withDefaults() *Command {
	if c.Separator == "" {
		c.Separator = defaultSeparator
	}
	if c.KeyFields == 0 {
		c.KeyFields = 1
	}
	if c.PartitionFields == 0 {
		c.PartitionFields = c.KeyFields
	}
	return &c
}

func (c *Command) validate() error {
	bad := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: Command.%s %s", ErrConfig, field, fmt.Sprintf(format, args...))
	}
	switch {
	case len(c.Mapper) == 0:
		return bad("Mapper", "is missing")
	case len(c.Combiner) > 0 && len(c.Reducer) == 0 && !c.FromArgs:
		return bad("Combiner", "goes with a Reducer only")
	case len(c.Mapper)+len(c.Reducer)+len(c.Combiner) > maxProgramWords:
		return bad("Mapper", "and the other programs have more than %d words", maxProgramWords)
	case len(c.Separator) > maxSeparatorBytes || strings.Contains(c.Separator, "\n"):
		return bad("Separator", "is %.100q, with more than %d bytes or a newline", c.Separator, maxSeparatorBytes)
	case c.KeyFields < 1 || c.KeyFields > maxKeyFields:
		return bad("KeyFields", "is %d, not 1 to %d", c.KeyFields, maxKeyFields)
	case c.PartitionFields < 1 || c.PartitionFields > c.KeyFields:
		return bad("PartitionFields", "is %d, not 1 to %d, the number of KeyFields", c.PartitionFields, c.KeyFields)
	}
	for _, words := range [][]string{c.Mapper, c.Reducer, c.Combiner} {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, "\x00") }) {
			return bad("Mapper", "or another program has a zero byte in %.200q", words)
		}
	}
	return nil
}

// find says whether the programs are there.
func (c *Command) find() error {
	for _, words := range [][]string{c.Mapper, c.Reducer, c.Combiner} {
		if len(words) == 0 {
			continue
		}
		if _, err := exec.LookPath(words[0]); err != nil {
			return fmt.Errorf("%w: %w", ErrProgram, err)
		}
	}
	return nil
}

// streaming is a Command as a job.
type streaming struct{ Command }

// settle returns what a job with these arguments runs, checked.
func (s *streaming) settle(args map[string]string) (*Command, error) {
	c := s.Command
	if s.FromArgs {
		if err := c.take(args); err != nil {
			return nil, err
		}
		c.FromArgs = false // no more
	}
	settled := c.withDefaults()
	return settled, settled.validate()
}

// check implements definition.check.
func (s *streaming) check(spec *Spec) error {
	c, err := s.settle(spec.Args)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Args)) {
		if strings.Contains(spec.Args[name], "\x00") {
			return fmt.Errorf("%w: Spec.Args %.50q has a zero byte, which no environment can hold", ErrConfig, name)
		}
	}
	return c.find()
}

// mapsOnly implements definition.mapsOnly.
func (s *streaming) mapsOnly(spec *Spec) bool {
	c, err := s.settle(spec.Args)
	return err == nil && len(c.Reducer) == 0
}

// take takes what arguments say.
func (c *Command) take(args map[string]string) error {
	var errs []error
	take := func(name string, into func(value string) error) {
		value, ok := args[name]
		if !ok {
			return
		}
		if err := into(value); err != nil {
			errs = append(errs, fmt.Errorf("%w: Spec.Args %q: %w", ErrConfig, name, err))
		}
	}
	words := func(to *[]string) func(string) error {
		return func(value string) (err error) { *to, err = splitWords(value); return err }
	}
	number := func(to *int) func(string) error {
		return func(value string) (err error) { *to, err = strconv.Atoi(value); return err }
	}
	flag := func(to *bool, when bool) func(string) error {
		return func(value string) error {
			is, err := strconv.ParseBool(value)
			*to = is == when
			return err
		}
	}
	take(CommandArgMapper, words(&c.Mapper))
	take(CommandArgReducer, words(&c.Reducer))
	if slices.Equal(c.Reducer, []string{noReducer}) {
		c.Reducer = nil
	}
	take(CommandArgCombiner, words(&c.Combiner))
	take(CommandArgSeparator, func(value string) error { c.Separator = value; return nil })
	take(CommandArgKeyFields, number(&c.KeyFields))
	take(CommandArgPartitionFields, number(&c.PartitionFields))
	take(CommandArgExitIsFailure, flag(&c.IgnoreExitStatus, false))
	take(CommandArgPerFile, flag(&c.PerFile, true))
	return errors.Join(errs...)
}
