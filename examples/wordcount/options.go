package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	input       string
	output      string
	workers     int
	reduces     int
	top         int
	sequential  bool
	coordinator string
	worker      string
	listen      string
	journal     string
	timeout     time.Duration
	status      string

	patterns []string // that input stands for, relative to /
}

// errUsage says that the command line is wrong, which has been reported.
var errUsage = errors.New("usage")

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("wordcount", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.input, "input", "", "count the words of this file, of the files in this `directory`, or of those that match a pattern (default: the Go source of the Go distribution)")
	f.StringVar(&o.output, "output", "", "write a file for each partition into this `directory`, which must be empty or not exist")
	f.IntVar(&o.workers, "workers", 0, "run so many `workers` in this process (default: one for each processor)")
	f.IntVar(&o.reduces, "reduce", 4, "divide the words into so many `partitions`")
	f.IntVar(&o.top, "top", 10, "print so many of the most frequent `words`")
	f.BoolVar(&o.sequential, "sequential", false, "run on one goroutine, without a cluster")
	f.StringVar(&o.coordinator, "coordinator", "", "coordinate workers in other processes, at this `address`")
	f.StringVar(&o.worker, "worker", "", "work for the coordinator at this `address`")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "with -worker: the `address` at which other workers fetch")
	f.StringVar(&o.journal, "journal", "", "with -coordinator: keep the job's state in this `directory`, to go on after a crash")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "with -coordinator: how long a worker may be silent before it counts as dead")
	f.StringVar(&o.status, "status", "", "serve the status page at this `address`, as localhost:8080, until interrupted")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	set := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if err := o.check(f.Args(), set); err != nil {
		fmt.Fprintf(stderr, "wordcount: %v\nRun wordcount -help for usage.\n", err)
		return nil, errUsage
	}
	return o, nil
}

// check finds what cannot be meant.
func (o *options) check(rest []string, set map[string]bool) error {
	modes := 0
	for _, mode := range []string{"sequential", "coordinator", "worker"} {
		if set[mode] {
			modes++
		}
	}
	only := func(mode string, flags ...string) error {
		for _, f := range flags {
			if set[f] && !set[mode] {
				return fmt.Errorf("-%s goes with -%s only", f, mode)
			}
		}
		return nil
	}
	without := func(mode string, flags ...string) error {
		for _, f := range flags {
			if set[f] && set[mode] {
				return fmt.Errorf("-%s does not go with -%s", f, mode)
			}
		}
		return nil
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case modes > 1:
		return errors.New("only one of -sequential, -coordinator and -worker can be given")
	case set["workers"] && (o.workers < 1 || o.workers > 1024):
		return fmt.Errorf("-workers is %d, not 1 to 1024", o.workers)
	case o.reduces < 1 || o.reduces > 65536:
		return fmt.Errorf("-reduce is %d, not 1 to 65536", o.reduces)
	case o.top < 0:
		return fmt.Errorf("-top is %d, it cannot be negative", o.top)
	case o.timeout <= 0:
		return fmt.Errorf("-timeout is %v, it must be positive", o.timeout)
	}
	return errors.Join(only("worker", "listen"), only("coordinator", "journal", "timeout"),
		without("sequential", "workers"), without("coordinator", "workers"),
		without("sequential", "status"), without("worker", "workers", "input", "output", "reduce", "top", "status"))
}

// resolve finds the input, and makes the output absolute.
func (o *options) resolve() error {
	if o.input == "" {
		root, err := goroot()
		if err != nil {
			return err
		}
		o.patterns = []string{path.Join(quote(rooted(root)), "src/**/*.go")}
		o.input = filepath.Join(root, "src")
	} else if err := o.resolveInput(); err != nil {
		return err
	}
	if o.output == "" {
		return nil
	}
	abs, err := filepath.Abs(o.output)
	if err != nil {
		return err
	}
	o.output = abs
	return checkEmpty(abs)
}

// resolveInput turns a name or a pattern of the operating system into one relative
// to the root.
func (o *options) resolveInput() error {
	abs, err := filepath.Abs(o.input)
	if err != nil {
		return err
	}
	info, err := os.Stat(abs)
	switch {
	case err == nil && info.IsDir():
		o.patterns = []string{path.Join(quote(rooted(abs)), "**")}
	case err == nil:
		o.patterns = []string{quote(rooted(abs))}
	case errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(o.input, "*?["):
		o.patterns = []string{rooted(abs)}
	default:
		return fmt.Errorf("-input: %w", err)
	}
	return nil
}

// goroot asks the go command where the Go distribution is.
func goroot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	root := strings.TrimSpace(string(out))
	if err != nil || root == "" {
		return "", fmt.Errorf("cannot find the Go distribution by \"go env GOROOT\": %w; name an input with -input", err)
	}
	// It may be a link, which patterns do not follow.
	return filepath.EvalSymlinks(root)
}

// checkEmpty refuses a directory in which there is something.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("-output: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("-output: %s is not empty; choose another directory, or remove what is in it", dir)
		}
	}
	return nil
}
