package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdout, os.Stderr)) }

// options are what the command line says.
type options struct {
	size    uint64 // MB
	seed    uint64
	reduce  local.ReduceFlag
	workers int
	memory  int64 // MiB
	output  string
	input   string
}

func (o *options) define(f *flag.FlagSet) {
	f.Uint64Var(&o.size, "size", 64, "generate so many `MB` of records")
	f.Uint64Var(&o.seed, "seed", 1, "generate them from this `number`")
	o.reduce.Define(f, 4, "sort into so many `files`")
	f.IntVar(&o.workers, "workers", 0, "sort with so many `workers` (default: one, with a slot for each processor)")
	f.Int64Var(&o.memory, "memory", mapreduce.DefaultMemory>>20, "sort with so many `MiB`, all workers together; then go to disk")
	f.StringVar(&o.output, "output", "", "sort: the `directory` of the sorted files, which must be empty or not exist")
	f.StringVar(&o.input, "input", "", "validate: the `file` that was sorted")
}

// check finds what cannot be meant.
func (o *options) check() error {
	switch {
	case o.size > 1<<24:
		return local.BadUsage("-size is %d MB, more than %d", o.size, 1<<24)
	case o.workers < 0 || o.workers > 1024:
		return local.BadUsage("-workers is %d, not 1 to 1024", o.workers)
	case o.memory < 1 || o.memory > 1<<30:
		return local.BadUsage("-memory is %d MiB, not 1 to %d", o.memory, 1<<30)
	}
	return o.reduce.Check()
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	step := ""
	if len(args) > 0 && (args[0] == "generate" || args[0] == "sort" || args[0] == "validate") {
		step, args = args[0], args[1:]
	}
	return local.Program{Name: "terasort", Usage: "terasort [generate|sort|validate] [flags] [FILE...]", Define: func(f *flag.FlagSet) func([]string) error {
		var o options
		o.define(f)
		return func(args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return o.do(ctx, step, args, stdout)
		}
	}}.Run(args, stderr)
}

// do takes a step, or all of them.
func (o *options) do(ctx context.Context, step string, args []string, stdout io.Writer) error {
	switch step {
	case "generate":
		if len(args) != 1 {
			return local.BadUsage("generate needs one file")
		}
		return o.generateFile(ctx, args[0], stdout)
	case "sort":
		if len(args) == 0 || o.output == "" {
			return local.BadUsage("sort needs -output and files")
		}
		_, err := o.sortFiles(ctx, args, stdout)
		return err
	case "validate":
		if len(args) == 0 || o.input == "" {
			return local.BadUsage("validate needs -input and the sorted files in their order")
		}
		return o.validateFiles(ctx, args, stdout)
	}
	if len(args) > 0 {
		return local.BadUsage("unexpected argument %q", args[0])
	}
	if o.output != "" || o.input != "" {
		return local.BadUsage("-output goes with sort only, and -input with validate")
	}
	dir, err := os.MkdirTemp("", "terasort-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.input, o.output = filepath.Join(dir, "records"), filepath.Join(dir, "sorted")
	if err := o.generateFile(ctx, o.input, stdout); err != nil {
		return err
	}
	sorted, err := o.sortFiles(ctx, []string{o.input}, stdout)
	if err != nil {
		return err
	}
	return o.validateFiles(ctx, sorted, stdout)
}

func (o *options) generateFile(ctx context.Context, name string, stdout io.Writer) error {
	s, err := generate(ctx, name, o.seed, o.size*1e6/recordBytes)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "generated: %v\n", &s)
	return nil
}

// sortFiles sorts files and returns the names of the output files, in order.
func (o *options) sortFiles(ctx context.Context, names []string, stdout io.Writer) ([]string, error) {
	input, err := local.Patterns(names...)
	if err != nil {
		return nil, err
	}
	output, err := local.NewOutput(o.output)
	if err != nil {
		return nil, err
	}
	spec := mapreduce.Spec{Input: input, Output: local.Rooted(output), Reduces: o.reduce.N()}
	defer local.LimitMemory(o.memory << 20)()
	begin := time.Now()
	result, err := sortRecords(ctx, spec, mapreduce.RunConfig{
		FileSystem: local.Files, Workers: o.workers, Memory: o.memory << 20,
	})
	if err != nil {
		return nil, err
	}
	mb, seconds := float64(result.InputBytes)/1e6, time.Since(begin).Seconds()
	fmt.Fprintf(stdout, "sorted: %.1f MB in %.2f s, %.1f MB/s\n", mb, seconds, mb/seconds)
	return local.Names(result.Files), nil
}

func (o *options) validateFiles(ctx context.Context, sorted []string, stdout io.Writer) error {
	input, err := summarize(ctx, []string{o.input})
	if err != nil {
		return err
	}
	s, err := summarize(ctx, sorted)
	if err != nil {
		return err
	}
	if err := s.sorts(&input); err != nil {
		return fmt.Errorf("not a sorted version of %s: %w", o.input, err)
	}
	fmt.Fprintf(stdout, "valid: %v\n", &s)
	return nil
}
