package local

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// The exit statuses of a program.
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// Context returns the context of a program. The first SIGINT or SIGTERM ends it, and
// only that; the second finds the default, which is to end the process.
func Context() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// usageError is an error in the command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// BadUsage returns an error in the command line.
func BadUsage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// Named reports whether an address names a host and a port that others can dial.
func Named(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n != 0
}

// Listenable reports whether an address names a port to listen on; without a host, or with
// port 0, too.
func Listenable(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// Parse parses flags. Its error is flag.ErrHelp, or one in the command line; nothing is
// printed.
func Parse(f *flag.FlagSet, args []string) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return BadUsage("%v", err)
	}
	return err
}

// refuseEmpty refuses flags that are given nothing, as by a variable of the shell that is not
// set: a flag that is empty counts as one that is not given, and the program would do
// something else.
func refuseEmpty(f *flag.FlagSet) (err error) {
	f.Visit(func(f *flag.Flag) {
		if err == nil && f.Value.String() == "" {
			err = BadUsage("-%s is empty; leave it out, or give it a value", f.Name)
		}
	})
	return err
}

// NamedAll reports whether addresses, separated by commas, are all Named.
func NamedAll(addrs string) bool {
	for addr := range strings.SplitSeq(addrs, ",") {
		if !Named(addr) {
			return false
		}
	}
	return true
}

// Reachable reports whether an address to listen on can be one that other machines dial.
func Reachable(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); ip != nil {
		return !ip.IsLoopback() && !ip.IsUnspecified()
	}
	return err == nil && host != "" && host != "localhost"
}

// Status returns the exit status of a program that ends with err. An error is one line
// on stderr; if the command line is wrong another says which command gives help.
func Status(name, help string, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(stderr, "Run %q for usage.\n", help)
		return ExitUsage
	}
	return ExitFailed
}

// Program is a program with one set of flags.
type Program struct {
	Name  string
	Usage string // of the command line, as the help shows it
	// Define defines the flags and returns what is done with the other arguments.
	Define func(f *flag.FlagSet) func(args []string) error
}

// Run does what the command line says, and returns the exit status.
func (p Program) Run(args []string, stderr io.Writer) int {
	f := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	do := p.Define(f)
	err := Parse(f, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stderr, "Usage: %s\n\nFlags:\n", p.Usage)
		f.SetOutput(stderr)
		f.PrintDefaults()
		return 0
	}
	if err == nil {
		err = refuseEmpty(f)
	}
	if err == nil {
		err = do(f.Args())
	}
	return Status(p.Name, p.Name+" -help", err, stderr)
}
