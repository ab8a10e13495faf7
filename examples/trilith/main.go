package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/trilith-go/trilith/examples/internal/local"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdout, os.Stderr)) }

// role is one thing that the binary can be.
type role struct {
	name    string
	usage   string // the arguments, as the help shows them
	summary string // in a line
	details string // what else the help says; empty, or lines
	// define defines the role's flags and returns what it does with its other
	// arguments, until ctx ends.
	define func(f *flag.FlagSet) func(ctx context.Context, args []string, out output) error
}

// output is where a role prints what it was asked for, and what went wrong.
type output struct{ stdout, stderr io.Writer }

// roles returns all roles, in the order in which a user meets them.
func roles() []role {
	return []role{coordinatorRole, workerRole, submitRole(), statusRole, cancelRole}
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printRoles(stderr)
		return local.ExitUsage
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(args, stdout, stderr)
	}
	r, ok := findRole(name)
	if !ok {
		fmt.Fprintf(stderr, "trilith: there is no role %q\n", name)
		printRoles(stderr)
		return local.ExitUsage
	}
	return r.run(ctx, args, output{stdout, stderr})
}

func findRole(name string) (role, bool) {
	for _, r := range roles() {
		if r.name == name {
			return r, true
		}
	}
	return role{}, false
}

// run does what the role's command line says.
func (r role) run(ctx context.Context, args []string, out output) int {
	f := flag.NewFlagSet(r.name, flag.ContinueOnError)
	do := r.define(f)
	err := local.Parse(f, args)
	if err == nil {
		err = do(ctx, f.Args(), out)
	}
	if errors.Is(err, flag.ErrHelp) {
		r.help(out.stdout)
		return 0
	}
	return local.Status("trilith "+r.name, "trilith help "+r.name, err, out.stderr)
}

// help prints the help on a role, or the list of roles.
func help(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printRoles(stdout)
		return 0
	}
	r, ok := findRole(args[0])
	if !ok {
		fmt.Fprintf(stderr, "trilith help: there is no role %q\n", args[0])
		printRoles(stderr)
		return local.ExitUsage
	}
	r.help(stdout)
	return 0
}

func (r role) help(w io.Writer) {
	fmt.Fprintf(w, "Usage: trilith %s [flags] %s\n\nIt %s.\n%s\nFlags:\n", r.name, r.usage, r.summary, r.details)
	f := flag.NewFlagSet(r.name, flag.ContinueOnError)
	f.SetOutput(w)
	r.define(f)
	f.PrintDefaults()
}

func printRoles(w io.Writer) {
	fmt.Fprintf(w, "Usage: trilith ROLE [flags] [arguments]\n\nThe roles are\n")
	for _, r := range roles() {
		fmt.Fprintf(w, "  %-12s %s\n", r.name, r.summary)
	}
	fmt.Fprintf(w, "\"trilith help ROLE\" tells more of each.\n")
}
