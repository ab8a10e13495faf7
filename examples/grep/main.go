// Grep finds the lines of files that match a regular expression, with MapReduce: the
// first example of the paper. It prints for each line where it is, by file and offset:
//
//	go run ./examples/grep '^func Test' transport rpc
//
// Files, directories and patterns name the input. Map emits the lines that match, with
// their places as keys; so the output is in the order of the input, however it was
// divided among workers.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"regexp"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return local.Program{Name: "grep", Usage: "grep [flags] PATTERN FILE...", Define: func(f *flag.FlagSet) func([]string) error {
		var flags local.Flags
		flags.Define(f, 1)
		return func(args []string) error {
			if err := flags.Check(); err != nil {
				return err
			}
			if len(args) < 2 {
				return local.BadUsage("a pattern and files are needed")
			}
			if _, err := regexp.Compile(args[0]); err != nil {
				return local.BadUsage("%v", err)
			}
			return flags.Run(ctx, jobs.Grep, map[string]string{jobs.PatternArg: args[0]}, args[1:], stdout, stderr)
		}
	}}.Run(args, stderr)
}
