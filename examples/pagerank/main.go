package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

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

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("pagerank", flag.ContinueOnError)
	f.SetOutput(stderr)
	source := f.String("source", "", "rank the packages in this `directory` (default: the Go distribution's own source)")
	iterations := f.Int("iterations", 15, "compute the ranks so many `times`")
	workers := f.Int("workers", 0, "run so many `workers` (default: one, with a slot for each processor)")
	top := f.Int("top", 20, "print so many `packages`")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	var bad error
	switch {
	case f.NArg() > 0:
		bad = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case *iterations < 0 || *iterations > 999:
		bad = fmt.Errorf("-iterations is %d, not 0 to 999", *iterations)
	case *workers < 0 || *workers > 1024:
		bad = fmt.Errorf("-workers is %d, not 1 to 1024", *workers)
	case *top < 0:
		bad = fmt.Errorf("-top is %d, it cannot be negative", *top)
	}
	if bad != nil {
		fmt.Fprintf(stderr, "pagerank: %v\nRun pagerank -help for usage.\n", bad)
		return exitUsage
	}
	if err := printRanks(ctx, *source, *iterations, *workers, *top, stdout); err != nil {
		fmt.Fprintf(stderr, "pagerank: %v\n", err)
		return exitFailed
	}
	return 0
}

// printRanks ranks the packages and prints the first ones.
func printRanks(ctx context.Context, source string, iterations, workers, top int, stdout io.Writer) error {
	if source == "" {
		var err error
		if source, err = goSource(); err != nil {
			return err
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

// goSource asks the go command where the source of the Go distribution is.
func goSource() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	root := strings.TrimSpace(string(out))
	if err != nil || root == "" {
		return "", fmt.Errorf("cannot find the Go distribution by \"go env GOROOT\": %w; name a tree with -source", err)
	}
	return filepath.EvalSymlinks(filepath.Join(root, "src"))
}
