package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
)

// The exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the command line says.
type options struct {
	size    uint64 // MB
	seed    uint64
	reduces int
	workers int
	memory  int64 // MiB
	output  string
	input   string
}

// errUsage says that the command line is wrong.
var errUsage = errors.New("usage")

func badUsage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := parseAndDo(ctx, args, stdout, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "terasort: %v\nRun terasort -help for the flags.\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "terasort: %v\n", err)
	return exitFailed
}

func parseAndDo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	step := ""
	if len(args) > 0 && (args[0] == "generate" || args[0] == "sort" || args[0] == "validate") {
		step, args = args[0], args[1:]
	}
	var o options
	f := flag.NewFlagSet("terasort [generate|sort|validate] [flags] [files]", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed by run
	f.Uint64Var(&o.size, "size", 64, "generate so many `MB` of records")
	f.Uint64Var(&o.seed, "seed", 1, "generate them from this `number`")
	f.IntVar(&o.reduces, "reduces", 4, "sort into so many `files`")
	f.IntVar(&o.workers, "workers", 0, "sort with so many `workers` (default: one, with a slot for each processor)")
	f.Int64Var(&o.memory, "memory", mapreduce.DefaultMemory>>20, "sort with so many `MiB`, all workers together; then go to disk")
	f.StringVar(&o.output, "output", "", "sort: the `directory` of the sorted files, which must be empty or not exist")
	f.StringVar(&o.input, "input", "", "validate: the `file` that was sorted")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(stderr)
			f.Usage()
			return err
		}
		return badUsage("%v", err)
	}
	switch {
	case o.size > 1<<24:
		return badUsage("-size is %d MB, more than %d", o.size, 1<<24)
	case o.reduces < 1 || o.reduces > 1<<16:
		return badUsage("-reduces is %d, not 1 to %d", o.reduces, 1<<16)
	case o.workers < 0 || o.workers > 1024:
		return badUsage("-workers is %d, not 1 to 1024", o.workers)
	case o.memory < 1 || o.memory > 1<<30:
		return badUsage("-memory is %d MiB, not 1 to %d", o.memory, 1<<30)
	}
	return o.do(ctx, step, f.Args(), stdout)
}

// do takes a step, or all of them.
func (o *options) do(ctx context.Context, step string, args []string, stdout io.Writer) error {
	switch step {
	case "generate":
		if len(args) != 1 {
			return badUsage("generate needs one file")
		}
		return o.generateFile(args[0], stdout)
	case "sort":
		if len(args) == 0 || o.output == "" {
			return badUsage("sort needs -output and files")
		}
		_, err := o.sortFiles(ctx, args, stdout)
		return err
	case "validate":
		if len(args) == 0 || o.input == "" {
			return badUsage("validate needs -input and the sorted files in their order")
		}
		return o.validateFiles(args, stdout)
	}
	if len(args) > 0 {
		return badUsage("unexpected argument %q", args[0])
	}
	if o.output != "" || o.input != "" {
		return badUsage("-output goes with sort only, and -input with validate")
	}
	dir, err := os.MkdirTemp("", "terasort-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.input, o.output = filepath.Join(dir, "records"), filepath.Join(dir, "sorted")
	if err := o.generateFile(o.input, stdout); err != nil {
		return err
	}
	sorted, err := o.sortFiles(ctx, []string{o.input}, stdout)
	if err != nil {
		return err
	}
	return o.validateFiles(sorted, stdout)
}

func (o *options) generateFile(name string, stdout io.Writer) error {
	s, err := generate(name, o.seed, o.size*1e6/recordBytes)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "generated: %v\n", &s)
	return nil
}

// sortFiles sorts files and returns the names of the output files, in order.
func (o *options) sortFiles(ctx context.Context, names []string, stdout io.Writer) ([]string, error) {
	spec := mapreduce.Spec{Reduces: o.reduces}
	for _, name := range names {
		rooted, err := rooted(name)
		if err != nil {
			return nil, err
		}
		spec.Input = append(spec.Input, mapreduce.QuotePattern(rooted))
	}
	var err error
	if spec.Output, err = rooted(o.output); err != nil {
		return nil, err
	}
	defer local.LimitMemory(o.memory << 20)()
	begin := time.Now()
	result, err := sortRecords(ctx, spec, mapreduce.RunConfig{
		FileSystem: mapreduce.Dir(root), Workers: o.workers, Memory: o.memory << 20,
	})
	if err != nil {
		return nil, err
	}
	mb, seconds := float64(result.InputBytes)/1e6, time.Since(begin).Seconds()
	fmt.Fprintf(stdout, "sorted: %.1f MB in %.2f s, %.1f MB/s\n", mb, seconds, mb/seconds)
	sorted := make([]string, len(result.Files))
	for i, name := range result.Files {
		sorted[i] = filepath.Join(root, filepath.FromSlash(name))
	}
	return sorted, nil
}

func (o *options) validateFiles(sorted []string, stdout io.Writer) error {
	input, err := summarize([]string{o.input})
	if err != nil {
		return err
	}
	s, err := summarize(sorted)
	if err != nil {
		return err
	}
	if err := s.sorts(&input); err != nil {
		return fmt.Errorf("not a sorted version of %s: %w", o.input, err)
	}
	fmt.Fprintf(stdout, "valid: %v\n", &s)
	return nil
}

// root is the directory that the job sees.
var root = func() string {
	abs, err := filepath.Abs(".")
	if err != nil {
		return string(filepath.Separator)
	}
	return filepath.VolumeName(abs) + string(filepath.Separator)
}()

// rooted returns a name relative to root, with slashes.
func rooted(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(root, abs)
	return filepath.ToSlash(rel), err
}
