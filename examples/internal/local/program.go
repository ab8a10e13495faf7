package local

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// The exit statuses of a program.
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// usageError is an error in the command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// BadUsage returns an error in the command line.
func BadUsage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// Program is a program with one set of flags.
type Program struct {
	Name      string
	Arguments string // as the help shows them
	// Define defines the flags and returns what is done with the other arguments.
	Define func(f *flag.FlagSet) func(args []string) error
}

// Run does what the command line says, and returns the exit status. Errors are one
// line on stderr; if the command line is wrong another says where help is.
func (p Program) Run(args []string, stderr io.Writer) int {
	f := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed below
	do := p.Define(f)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stderr, "Usage: %s [flags] %s\n\nFlags:\n", p.Name, p.Arguments)
		f.SetOutput(stderr)
		f.PrintDefaults()
		return 0
	case err != nil:
		err = usageError{err.Error()}
	default:
		err = do(f.Args())
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
	if usage := (usageError{}); errors.As(err, &usage) {
		fmt.Fprintf(stderr, "Run \"%s -help\" for usage.\n", p.Name)
		return ExitUsage
	}
	return ExitFailed
}
