package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return local.Program{Name: "pagerank", Usage: "pagerank [flags]", Define: func(f *flag.FlagSet) func([]string) error {
		source := f.String("source", "", "rank the packages in this `directory` (default: the Go distribution's own source)")
		iterations := f.Int("iterations", 15, "compute the ranks so many `times`")
		workers := f.Int("workers", 0, "run so many `workers` (default: one, with a slot for each processor)")
		top := f.Int("top", 20, "print so many `packages`")
		return func(args []string) error {
			switch {
			case len(args) > 0:
				return local.BadUsage("unexpected argument %q", args[0])
			case *iterations < 0 || *iterations > 999:
				return local.BadUsage("-iterations is %d, not 0 to 999", *iterations)
			case *workers < 0 || *workers > 1024:
				return local.BadUsage("-workers is %d, not 1 to 1024", *workers)
			case *top < 0:
				return local.BadUsage("-top is %d, it cannot be negative", *top)
			}
			return printRanks(ctx, *source, *iterations, *workers, *top, stdout)
		}
	}}.Run(args, stderr)
}

// printRanks ranks the packages and prints the first ones.
func printRanks(ctx context.Context, source string, iterations, workers, top int, stdout io.Writer) error {
	if source == "" {
		var err error
		if source, err = local.GoSource(); err != nil {
			return fmt.Errorf("%w; name a tree with -source", err)
		}
	}
	if _, err := os.Stat(source); err != nil {
		return fmt.Errorf("-source: %w", err)
	}
	dir, err := os.MkdirTemp("", "pagerank-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	begin, jobs := time.Now(), 0
	c := &chain{
		source: mapreduce.Dir(source), files: mapreduce.Dir(dir),
		iterations: iterations, workers: workers, reduces: 2, done: func(string) { jobs++ },
	}
	name, err := c.run(ctx)
	if err != nil {
		return err
	}
	ranks, err := readFile(ctx, c.files, name)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(ranks) {
		if top--; top < 0 {
			break
		}
		number, pkg, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "\t")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		fmt.Fprintf(stdout, "%10.3f  %s\n", float64(n)/unit, pkg)
	}
	fmt.Fprintf(stdout, "%d packages, %d jobs in %.2f s; the mean rank is 1\n", bytes.Count(ranks, []byte("\n")), jobs, time.Since(begin).Seconds())
	return nil
}
