package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

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
	// verbs, if there are some, are what the role can do: the first argument says which,
	// and define defines the flags that all of them have. Flags of a verb may stand
	// anywhere between its arguments.
	verbs []role
}

// output is where a role prints what it was asked for, and what went wrong.
type output struct{ stdout, stderr io.Writer }

// roles returns all roles, in the order in which a user meets them.
func roles() []role {
	return []role{
		coordinatorRole, workerRole, submitRole(), statusRole, cancelRole,
		masterRole, shadowRole, chunkserverRole, fsRole(), arbiterRole, allRole,
	}
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
	r, ok := findRole(roles(), name)
	if !ok {
		fmt.Fprintf(stderr, "trilith: there is no role %q\n", name)
		printRoles(stderr)
		return local.ExitUsage
	}
	if len(r.verbs) > 0 && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		v, ok := findRole(r.verbs, args[0])
		if !ok {
			fmt.Fprintf(stderr, "trilith %s: there is no %q\nRun \"trilith help %s\" for usage.\n", r.name, args[0], r.name)
			return local.ExitUsage
		}
		v.name = r.name + " " + v.name
		r, args = v, args[1:]
	}
	return r.run(ctx, args, output{stdout, stderr})
}

func findRole(all []role, name string) (role, bool) {
	for _, r := range all {
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
	r, ok := findRole(roles(), args[0])
	if !ok {
		fmt.Fprintf(stderr, "trilith help: there is no role %q\n", args[0])
		printRoles(stderr)
		return local.ExitUsage
	}
	if len(r.verbs) > 0 && len(args) > 1 {
		v, ok := findRole(r.verbs, args[1])
		if !ok {
			fmt.Fprintf(stderr, "trilith help: there is no %q of %s\n", args[1], r.name)
			return local.ExitUsage
		}
		v.name = r.name + " " + v.name
		r = v
	}
	r.help(stdout)
	return 0
}

func (r role) help(w io.Writer) {
	fmt.Fprintf(w, "Usage: trilith %s [flags] %s\n\nIt %s.\n%s", r.name, r.usage, r.summary, r.details)
	for i, v := range r.verbs {
		if i == 0 {
			fmt.Fprintf(w, "\nThe verbs are\n")
		}
		fmt.Fprintf(w, "  %-10s %-26s %s\n", v.name, v.usage, v.summary)
	}
	if len(r.verbs) > 0 {
		fmt.Fprintf(w, "\"trilith help %s VERB\" tells more of each. All of them have the flags below.\n", r.name)
	}
	fmt.Fprintf(w, "\nFlags:\n")
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
